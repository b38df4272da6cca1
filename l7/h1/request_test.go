package h1

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// view is a parsed request as text.
type view struct {
	Method, Target, Path, Query, Scheme, Host, Upgrade string
	HasQuery                                           bool
	Form                                               TargetForm
	Minor                                              int
	Fields                                             []string
	Body                                               Framing
	Length                                             int64
	KeepAlive, ExpectContinue                          bool
	HeadLen                                            int
}

func viewOf(r *Request) view {
	v := view{
		Method: string(r.Method), Target: string(r.Target), Path: string(r.Path), Query: string(r.Query),
		Scheme: string(r.Scheme), Host: string(r.Host), Upgrade: string(r.Upgrade), HasQuery: r.HasQuery,
		Form: r.Form, Minor: r.Minor, Body: r.Body, Length: r.Length, KeepAlive: r.KeepAlive,
		ExpectContinue: r.ExpectContinue, HeadLen: r.HeadLen,
	}
	for i, f := range r.Fields {
		v.Fields = append(v.Fields, fmt.Sprintf("%s=%s/%d", f.Name, f.Value, r.Kinds[i]))
	}
	return v
}

func TestRequestParse(t *testing.T) {
	tests := []struct {
		name, head string
		want       view
	}{
		{
			name: "plain get",
			head: "GET /a/b?x=1&y HTTP/1.1\r\nHost: a.test:8080\r\nAccept:  */* \r\n\r\n",
			want: view{
				Method: "GET", Target: "/a/b?x=1&y", Path: "/a/b", Query: "x=1&y", HasQuery: true, Host: "a.test:8080",
				Minor: 1, KeepAlive: true, Fields: []string{fmt.Sprintf("Host=a.test:8080/%d", KindHost), "Accept=*/*/0"},
			},
		},
		{
			name: "empty query",
			head: "GET /a? HTTP/1.0\r\n\r\n",
			want: view{Method: "GET", Target: "/a?", Path: "/a", HasQuery: true},
		},
		{
			name: "http 1.0 keep-alive with length",
			head: "POST / HTTP/1.0\r\nConnection: Keep-Alive\r\ncontent-length: 12\r\n\r\n",
			want: view{
				Method: "POST", Target: "/", Path: "/", Body: BodyLength, Length: 12, KeepAlive: true,
				Fields: []string{
					fmt.Sprintf("Connection=Keep-Alive/%d", KindConnection),
					fmt.Sprintf("content-length=12/%d", KindContentLength),
				},
			},
		},
		{
			name: "close wins over keep-alive",
			head: "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, CLOSE\r\n\r\n",
			want: view{
				Method: "GET", Target: "/", Path: "/", Host: "a", Minor: 1,
				Fields: []string{fmt.Sprintf("Host=a/%d", KindHost), fmt.Sprintf("Connection=keep-alive, CLOSE/%d", KindConnection)},
			},
		},
		{
			name: "expect with chunked body",
			head: "PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\nExpect: 100-Continue\r\n\r\n",
			want: view{
				Method: "PUT", Target: "/x", Path: "/x", Host: "a", Minor: 1, Body: BodyChunked, KeepAlive: true, ExpectContinue: true,
				Fields: []string{
					fmt.Sprintf("Host=a/%d", KindHost),
					fmt.Sprintf("Transfer-Encoding=Chunked/%d", KindTransferEncoding),
					fmt.Sprintf("Expect=100-Continue/%d", KindExpect),
				},
			},
		},
		{
			name: "websocket and named fields",
			head: "\r\nGET /ws HTTP/1.1\r\nhost: a\r\nUpgrade: websocket\r\nConnection: Upgrade, X-One\r\nx-one: 1\r\nx_two: 2\r\n\r\n",
			want: view{
				Method: "GET", Target: "/ws", Path: "/ws", Host: "a", Minor: 1, KeepAlive: true, Upgrade: "websocket",
				Fields: []string{
					fmt.Sprintf("host=a/%d", KindHost),
					fmt.Sprintf("Upgrade=websocket/%d", KindUpgrade),
					fmt.Sprintf("Connection=Upgrade, X-One/%d", KindConnection),
					fmt.Sprintf("x-one=1/%d", KindNamed),
					fmt.Sprintf("x_two=2/%d", KindUnderscore),
				},
			},
		},
		{
			name: "two upgrade fields are ignored",
			head: "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n\r\n",
			want: view{
				Method: "GET", Target: "/", Path: "/", Host: "a", Minor: 1, KeepAlive: true,
				Fields: []string{
					fmt.Sprintf("Host=a/%d", KindHost), fmt.Sprintf("Connection=upgrade/%d", KindConnection),
					fmt.Sprintf("Upgrade=h2c/%d", KindUpgrade), fmt.Sprintf("Upgrade=websocket/%d", KindUpgrade),
				},
			},
		},
		{
			name: "absolute-form without path",
			head: "GET https://b.test:1?q HTTP/1.1\r\nHost: a\r\n\r\n",
			want: view{
				Method: "GET", Target: "https://b.test:1?q", Form: FormAbsolute, Scheme: "https", Path: "/", Query: "q", HasQuery: true,
				Host: "b.test:1", Minor: 1, KeepAlive: true, Fields: []string{fmt.Sprintf("Host=a/%d", KindHost)},
			},
		},
		{
			name: "absolute-form options without path",
			head: "OPTIONS http://b.test HTTP/1.1\r\nHost: a\r\n\r\n",
			want: view{
				Method: "OPTIONS", Target: "http://b.test", Form: FormAbsolute, Scheme: "http", Path: "*",
				Host: "b.test", Minor: 1, KeepAlive: true, Fields: []string{fmt.Sprintf("Host=a/%d", KindHost)},
			},
		},
		{
			name: "connect",
			head: "CONNECT b.test:443 HTTP/1.1\r\nHost: a\r\n\r\n",
			want: view{
				Method: "CONNECT", Target: "b.test:443", Form: FormAuthority, Host: "b.test:443", Minor: 1, KeepAlive: true,
				Fields: []string{fmt.Sprintf("Host=a/%d", KindHost)},
			},
		},
		{
			name: "asterisk",
			head: "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
			want: view{
				Method: "OPTIONS", Target: "*", Form: FormAsterisk, Path: "*", Host: "a", Minor: 1, KeepAlive: true,
				Fields: []string{fmt.Sprintf("Host=a/%d", KindHost)},
			},
		},
	}
	var reused Request // must carry nothing over from case to case
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.want.HeadLen = len(tt.head)
			if err := reused.Parse([]byte(tt.head+"GET /next"), nil); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, viewOf(&reused)); diff != "" {
				t.Errorf("reused request (-want +got):\n%s", diff)
			}
			var r Request
			for n := 0; n < len(tt.head); n++ {
				if err := r.Parse([]byte(tt.head[:n]), nil); err != ErrIncomplete {
					t.Fatalf("%d bytes: %v, want ErrIncomplete", n, err)
				}
			}
			if err := r.Parse([]byte(tt.head), nil); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, viewOf(&r)); diff != "" {
				t.Errorf("byte by byte (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRequestLimits(t *testing.T) {
	const head = "GET /abc HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n"
	tests := []struct {
		name string
		lim  Limits
		want int
	}{
		{"zero means default", Limits{}, 0},
		{"negative means default", Limits{HeadBytes: -1, Fields: -1, TargetBytes: -1}, 0},
		{"head at the limit", Limits{HeadBytes: len(head)}, 0},
		{"head over the limit", Limits{HeadBytes: len(head) - 1}, 431},
		{"fields at the limit", Limits{Fields: 2}, 0},
		{"fields over the limit", Limits{Fields: 1}, 431},
		{"target at the limit", Limits{TargetBytes: 4}, 0},
		{"target over the limit", Limits{TargetBytes: 3}, 414},
		{"huge field limit is bounded", Limits{Fields: 1 << 30}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, step := range []int{1, len(head)} {
				var r Request
				err := ErrIncomplete
				for n := step; n <= len(head) && err == ErrIncomplete; n += step {
					err = r.Parse([]byte(head[:n]), &tt.lim)
				}
				var refused *Error
				if errors.As(err, &refused) != (tt.want != 0) || refused != nil && refused.Status != tt.want {
					t.Errorf("%d bytes at a time: %v, want status %d", step, err, tt.want)
				}
			}
		})
	}
}

// TestResumeIsLinear counts how often a head that comes byte by byte is parsed
// from the start, by way of the buffer lengths that headMayEnd lets through.
func TestResumeIsLinear(t *testing.T) {
	head := []byte("GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: yyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n", 90) + "\r\n")
	var scanned, wake, work int
	for n := 1; n <= len(head); n++ {
		if scanned != 0 && !headMayEnd(head[:n], &scanned, wake, nil) {
			if scanned != n {
				t.Fatalf("%d of %d bytes scanned", scanned, n)
			}
			continue
		}
		work += n
		scanned, wake = n, nextWake(n)
	}
	if work > 4*len(head) {
		t.Errorf("%d bytes parsed for a head of %d", work, len(head))
	}
}

func TestResetDropsPartialHead(t *testing.T) {
	var r Request
	if err := r.Parse([]byte("GET / HTTP/1.1\r\nHost: a\r\nX"), nil); err != ErrIncomplete {
		t.Fatal(err)
	}
	r.Reset()
	if err := r.Parse([]byte("GET /b HTTP/1.0\r\n\r\n"), nil); err != nil || string(r.Path) != "/b" || len(r.Fields) != 0 {
		t.Errorf("after Reset: %v, path %q, %d fields", err, r.Path, len(r.Fields))
	}
}

func TestNamedByConnection(t *testing.T) {
	head := "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, X-One\r\nAuthorization: b\r\nCookie: c\r\nConnection: authorization,, x-two\r\n\r\n"
	var r Request
	if err := r.Parse([]byte(head), nil); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"x-ONE": true, "X-Two": true, "Authorization": true, "cookie": false, "host": false, "": false,
	} {
		if got := r.NamedByConnection([]byte(name)); got != want {
			t.Errorf("NamedByConnection(%q) = %v, want %v", name, got, want)
		}
	}
	if r.Has(KindAuthorization) || !r.Has(KindNamed) || r.Index(KindNamed) != 2 || r.Index(KindAuthorization) != -1 {
		t.Errorf("a named field keeps its kind: %v", r.Kinds)
	}
	if got := string(r.Value(KindCookie)); got != "c" {
		t.Errorf("Value(KindCookie) = %q", got)
	}
	if got, ok := r.Get("cookie"); !ok || string(got) != "c" {
		t.Errorf("Get(cookie) = %q, %v", got, ok)
	}
	if _, ok := r.Get("x-one"); ok || r.Value(KindXFF) != nil {
		t.Error("a field that was not sent is found")
	}
}

func TestDefaultLimits(t *testing.T) {
	want := DefaultLimits()
	for name, lim := range map[string]*Limits{"nil": nil, "zero": {}, "default": &want} {
		t.Run(name, func(t *testing.T) {
			got := Limits{lim.headBytes(), lim.fields(), lim.targetBytes(), lim.chunkExtBytes(), lim.trailerBytes()}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("limits (-want +got):\n%s", diff)
			}
		})
	}
}
