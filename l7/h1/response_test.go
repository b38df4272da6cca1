package h1

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestResponseParse(t *testing.T) {
	type want struct {
		Status, Minor   int
		Reason, Upgrade string
		Body            Framing
		Length          int64
		KeepAlive       bool
	}
	tests := []struct {
		name, method, head string
		want               want
	}{
		{"length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", want{200, 1, "OK", "", BodyLength, 5, true}},
		{"length zero", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", want{200, 1, "OK", "", BodyLength, 0, true}},
		{"chunked", "GET", "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n", want{404, 1, "Not Found", "", BodyChunked, -1, true}},
		{"chunked and close", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n", want{200, 1, "OK", "", BodyChunked, -1, false}},
		{"until close", "GET", "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\n", want{200, 1, "OK", "", BodyUntilClose, -1, false}},
		{"http 1.0 until close", "GET", "HTTP/1.0 200 OK\r\n\r\n", want{200, 0, "OK", "", BodyUntilClose, -1, false}},
		{"http 1.0 length", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", want{200, 0, "OK", "", BodyLength, 1, false}},
		{"http 1.0 keep-alive", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\n", want{200, 0, "OK", "", BodyLength, 1, true}},
		{"head with length", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", want{200, 1, "OK", "", BodyNone, 5, true}},
		{"head chunked", "HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", want{200, 1, "OK", "", BodyNone, -1, true}},
		{"head without framing", "HEAD", "HTTP/1.1 200 OK\r\n\r\n", want{200, 1, "OK", "", BodyNone, -1, true}},
		{"no content", "DELETE", "HTTP/1.1 204 No Content\r\n\r\n", want{204, 1, "No Content", "", BodyNone, -1, true}},
		{"no content with length zero", "DELETE", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", want{204, 1, "No Content", "", BodyNone, 0, true}},
		{"no content with length", "DELETE", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", want{204, 1, "No Content", "", BodyNone, 5, false}},
		{"no content chunked", "DELETE", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", want{204, 1, "No Content", "", BodyNone, -1, false}},
		{"not modified with length", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", want{304, 1, "Not Modified", "", BodyNone, 5, true}},
		{"continue", "POST", "HTTP/1.1 100 Continue\r\n\r\n", want{100, 1, "Continue", "", BodyNone, -1, true}},
		{"early hints", "GET", "HTTP/1.1 103\r\nLink: </a>\r\n\r\n", want{103, 1, "", "", BodyNone, -1, true}},
		{"switching", "GET", "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", want{101, 1, "Switching Protocols", "websocket", BodyNone, -1, false}},
		{"switching not listed", "GET", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", want{101, 1, "Switching Protocols", "", BodyNone, -1, false}},
		{"tunnel", "CONNECT", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", want{200, 1, "OK", "", BodyNone, 5, false}},
	}
	var reused Response
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			check := func(r *Response) {
				t.Helper()
				got := want{r.Status, r.Minor, string(r.Reason), string(r.Upgrade), r.Body, r.Length, r.KeepAlive}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("response (-want +got):\n%s", diff)
				}
				if r.HeadLen != len(tt.head) {
					t.Errorf("HeadLen is %d, want %d", r.HeadLen, len(tt.head))
				}
			}
			if err := reused.Parse([]byte(tt.head+"body"), []byte(tt.method), nil); err != nil {
				t.Fatal(err)
			}
			check(&reused)
			var r Response
			for n := 0; n < len(tt.head); n++ {
				if err := r.Parse([]byte(tt.head[:n]), []byte(tt.method), nil); err != ErrIncomplete {
					t.Fatalf("%d bytes: %v, want ErrIncomplete", n, err)
				}
			}
			if err := r.Parse([]byte(tt.head), []byte(tt.method), nil); err != nil {
				t.Fatal(err)
			}
			check(&r)
			r.Reset()
			if r.Status != 0 || len(r.Fields) != 0 || r.HeadLen != 0 {
				t.Errorf("Reset left %+v", r)
			}
		})
	}
}

func TestErrorUpstream(t *testing.T) {
	var r Request
	err := r.Parse([]byte("GET / HTTP/3.0\r\n\r\n"), nil)
	var refused *Error
	if !errors.As(err, &refused) || refused.Status != 505 {
		t.Fatalf("Parse: %v", err)
	}
	up := refused.Upstream()
	if up.Status != 502 || up.Reason != refused.Reason || up.Upstream() != up {
		t.Errorf("Upstream() = %+v", up)
	}
	if up.Error() != "parse message: HTTP version not supported" {
		t.Errorf("Error() = %q", up.Error())
	}
}
