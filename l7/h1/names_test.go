package h1

import (
	"strings"
	"testing"
)

func TestEqualFold(t *testing.T) {
	tests := []struct {
		a, lower string
		want     bool
	}{
		{"Content-Length", "content-length", true},
		{"CONTENT-LENGTH", "content-length", true},
		{"content-lengt", "content-length", false},
		{"content\rlength", "content-length", false}, // CR and "-" differ in one bit
		{"\x48ost", "host", true},
		{"hos\xd4", "host", false},
		{"", "", true},
	}
	for _, tt := range tests {
		t.Run(tt.a, func(t *testing.T) {
			if got := EqualFold([]byte(tt.a), tt.lower); got != tt.want {
				t.Errorf("EqualFold(%q, %q) = %v", tt.a, tt.lower, got)
			}
			if got := EqualFoldBytes([]byte(tt.a), []byte(strings.ToUpper(tt.lower))); got != tt.want {
				t.Errorf("EqualFoldBytes(%q, %q) = %v", tt.a, tt.lower, got)
			}
		})
	}
}

func TestKindOf(t *testing.T) {
	tests := []struct {
		name    string
		want    FieldKind
		dropped bool
		hop     bool
	}{
		{"Accept", KindOther, false, false},
		{"X_Y", KindUnderscore, true, false},
		{"Connection", KindConnection, true, true},
		{"Keep-Alive", KindHopByHop, true, true},
		{"Proxy-Connection", KindHopByHop, true, true},
		{"HTTP2-Settings", KindHopByHop, true, true},
		{"TE", KindTE, true, true},
		{"Trailer", KindTrailer, true, true},
		{"Upgrade", KindUpgrade, true, true},
		{"Transfer-Encoding", KindTransferEncoding, true, true},
		{"Host", KindHost, false, false},
		{"Content-Length", KindContentLength, false, false},
		{"Expect", KindExpect, false, false},
		{"X-Forwarded-For", KindXFF, false, false},
		{"X-Forwarded-Proto", KindXFProto, false, false},
		{"X-Forwarded-Host", KindXFHost, false, false},
		{"X-Forwarded-Port", KindXFPort, false, false},
		{"X-Real-IP", KindXRealIP, false, false},
		{"Authorization", KindAuthorization, false, false},
		{"Cookie", KindCookie, false, false},
		{"User-Agent", KindUserAgent, false, false},
		{"Referer", KindReferer, false, false},
		{"Accept-Encoding", KindAcceptEncoding, false, false},
		{"Content-Type", KindContentType, false, false},
		{"Content-Encoding", KindContentEncoding, false, false},
		{"Server", KindServer, false, false},
		{"Date", KindDate, false, false},
		{"", KindOther, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, name := range []string{tt.name, strings.ToLower(tt.name), strings.ToUpper(tt.name)} {
				if got := KindOf([]byte(name)); got != tt.want || got.Dropped() != tt.dropped {
					t.Errorf("KindOf(%q) = %d, dropped %v; want %d, %v", name, got, got.Dropped(), tt.want, tt.dropped)
				}
				if got := HopByHop([]byte(name)); got != tt.hop {
					t.Errorf("HopByHop(%q) = %v", name, got)
				}
				if len(name) > 0 && KindOf([]byte(name[:len(name)-1]+"!")) != KindOther && tt.want != KindUnderscore {
					t.Errorf("a name like %q has its kind", name)
				}
			}
		})
	}
}

func TestTrailerAllowed(t *testing.T) {
	for name, want := range map[string]bool{
		"grpc-status": true, "Grpc-Message": true, "grpc-status-details-bin": true, "Content-Digest": true,
		"Repr-Digest": true, "Digest": true, "Content-MD5": true, "Server-Timing": true, "ETag": true,
		"Host": false, "Date": false, "Content-Length": false, "Set-Cookie": false, "Authorization": false,
		"Transfer-Encoding": false, "grpc_status": false, "X-Forwarded-For": false, "": false,
	} {
		if got := TrailerAllowed([]byte(name)); got != want {
			t.Errorf("TrailerAllowed(%q) = %v", name, got)
		}
	}
}

func TestValidField(t *testing.T) {
	for value, want := range map[string]bool{
		"": true, "a b": true, "a\tb": true, "\xff": true, "0123456789\tabcdefghij": true,
		"a\rb": false, "a\nb": false, "\x00": false, "0123456789abcdef\x7f": false, "0123\t5678\t\x1f": false,
	} {
		if got := ValidFieldValue([]byte(value)); got != want {
			t.Errorf("ValidFieldValue(%q) = %v", value, got)
		}
	}
	for name, want := range map[string]bool{"": false, "a": true, "A-b_c": true, "a b": false, "a:": false, "\xe9": false} {
		if got := ValidFieldName([]byte(name)); got != want {
			t.Errorf("ValidFieldName(%q) = %v", name, got)
		}
	}
}

// TestControlAt compares the word-wise scan with a plain one, for each byte at
// each place of a word and every neighbour that could carry into it.
func TestControlAt(t *testing.T) {
	for c := 0; c < 256; c++ {
		for _, fill := range []byte{' ', '!', '~', 0x80, 0xff} {
			for at := range 20 {
				b := []byte(strings.Repeat(string([]byte{fill}), 20))
				b[at] = byte(c)
				want := len(b)
				if c < 0x20 || c == 0x7f {
					want = at
				}
				if got := controlAt(b, 0); got != want {
					t.Fatalf("byte %#x at %d between %#x: %d, want %d", c, at, fill, got, want)
				}
			}
		}
	}
}

func TestAppend(t *testing.T) {
	tests := []struct {
		name, got, want string
	}{
		{"request line", string(AppendRequestLine(nil, []byte("GET"), []byte("/a?b"), 1)), "GET /a?b HTTP/1.1\r\n"},
		{"request line 1.0", string(AppendRequestLine(nil, []byte("GET"), []byte("/"), 0)), "GET / HTTP/1.0\r\n"},
		{"status line", string(AppendStatusLine(nil, 404, nil)), "HTTP/1.1 404 Not Found\r\n"},
		{"status line with reason", string(AppendStatusLine(nil, 200, []byte("Fine"))), "HTTP/1.1 200 Fine\r\n"},
		{"status line with empty reason", string(AppendStatusLine(nil, 200, []byte{})), "HTTP/1.1 200 \r\n"},
		{"status line unknown", string(AppendStatusLine(nil, 799, nil)), "HTTP/1.1 799 \r\n"},
		{"status line invalid", string(AppendStatusLine(nil, 42, []byte("x"))), "HTTP/1.1 500 Internal Server Error\r\n"},
		{"field", string(AppendField([]byte("x"), []byte("A"), []byte("b"))), "xA: b\r\n"},
		{"content-length", string(AppendContentLength(nil, 1234)), "Content-Length: 1234\r\n"},
		{"chunk header", string(AppendChunkHeader(nil, 26)), "1a\r\n"},
		{"chunk", string(AppendChunk(nil, []byte("hello"))), "5\r\nhello\r\n"},
		{"empty chunk", string(AppendChunk(nil, nil)), ""},
		{"last chunk", string(AppendLastChunk(nil, nil)), "0\r\n\r\n"},
		{"trailers", string(AppendLastChunk(nil, []Field{{[]byte("A"), []byte("b")}})), "0\r\nA: b\r\n\r\n"},
		{"status text out of range", StatusText(-1) + StatusText(512) + StatusText(299), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.got != tt.want {
				t.Errorf("got %q, want %q", tt.got, tt.want)
			}
		})
	}
}

func TestFramingString(t *testing.T) {
	for f, want := range map[Framing]string{
		BodyNone: "none", BodyLength: "length", BodyChunked: "chunked", BodyUntilClose: "until-close", 9: "invalid",
	} {
		if f.String() != want {
			t.Errorf("Framing(%d) is %q, want %q", f, f, want)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	var (
		r     Request
		resp  Response
		body  Body
		get   = []byte("GET")
		curl  = []byte(curlHead)
		surf  = []byte(browserHead)
		bad   = []byte("GET / HTTP/1.1\r\nHost : a\r\n\r\n")
		reply = []byte(responseHead)
		dst   = make([]byte, 0, 4096)
		wire  = []byte("5\r\nhello\r\n5;a=b\r\nworld\r\n0\r\nGrpc-Status: 0\r\n\r\n")
		path  = []byte("/a/../b/%7Ec//d")
		plain = []byte("/api/v1/users")
	)
	tests := []struct {
		name string
		run  func() error
	}{
		{"curl head", func() error { return r.Parse(curl, nil) }},
		{"browser head", func() error { return r.Parse(surf, nil) }},
		{"refused head", func() error {
			if r.Parse(bad, nil) == nil {
				return errHost
			}
			return nil
		}},
		{"split head", func() error {
			r.Reset()
			for n := 16; n < len(curlHead); n += 16 {
				if err := r.Parse(curl[:n], nil); err != ErrIncomplete {
					return errHost
				}
			}
			return r.Parse(curl, nil)
		}},
		{"response head", func() error { return resp.Parse(reply, get, nil) }},
		{"chunked body", func() error {
			body.Reset(BodyChunked, 0, nil)
			for in := wire; !body.Done(); {
				_, n, err := body.Next(in)
				if err != nil {
					return err
				}
				in = in[n:]
			}
			return nil
		}},
		{"path", func() error {
			norm, err := NormalizePath(dst, path, PathOptions{})
			if err == nil {
				_, err = NormalizePath(nil, plain, PathOptions{})
			}
			_ = AppendEscapedPath(norm[len(norm):], norm)
			return err
		}},
		{"serialise", func() error {
			out := AppendRequestLine(dst, get, plain, 1)
			for _, f := range r.Fields {
				out = AppendField(out, f.Name, f.Value)
			}
			out = AppendStatusLine(out, 200, nil)
			out = AppendContentLength(out, 1<<40)
			out = AppendLastChunk(AppendChunk(out, path), body.Trailers())
			if len(out) > cap(dst) {
				return errHeadLong
			}
			return nil
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var err error
			n := testing.AllocsPerRun(100, func() {
				if e := tt.run(); e != nil {
					err = e
				}
			})
			if err != nil || n != 0 {
				t.Errorf("%v allocations, error %v", n, err)
			}
		})
	}
}
