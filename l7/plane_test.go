package l7_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/control/snapshot"
	"github.com/sluice-gateway/sluice/l7"
	"github.com/sluice-gateway/sluice/l7/engine"
	"github.com/sluice-gateway/sluice/l7/listen"
)

// serve starts a plane with the given snapshot and returns it with its address.
func serve(t testing.TB, o l7.Options, s *snapshot.Snapshot) (*l7.Plane, string) {
	t.Helper()
	if o.Loops == 0 {
		o.Loops = 1
	}
	p, err := l7.New(o)
	if err != nil {
		t.Fatal(err)
	}
	files, err := listen.Shards("127.0.0.1:0", p.Loops())
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.FileListener(files[0])
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	if err := p.Listen(files); err != nil {
		t.Fatal(err)
	}
	commit(t, p, s)
	p.Start()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = p.Close(ctx)
	})
	return p, addr
}

func commit(t testing.TB, p *l7.Plane, s *snapshot.Snapshot) {
	t.Helper()
	n, err := p.Prepare(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	n.Commit()
}

func upstreamTo(addr string) *snapshot.Upstream {
	a := netip.MustParseAddrPort(addr)
	return &snapshot.Upstream{Resource: "/routes/1", Type: "roundrobin", Scheme: "http", PassHost: "pass",
		Nodes: []snapshot.Node{{Host: a.Addr().String(), Port: int(a.Port()), Weight: 1}}}
}

func routeTo(addr string, uris ...string) *snapshot.Snapshot {
	return &snapshot.Snapshot{Routes: []*snapshot.Route{{ID: "1", Created: 1, URIs: uris, Upstream: upstreamTo(addr)}}}
}

func TestProxy(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Seen", r.Method+" "+r.RequestURI+" "+r.Header.Get("X-Forwarded-For"))
		if r.URL.Query().Has("flush") {
			for i := range 5 {
				fmt.Fprintf(w, "part %d;", i)
				w.(http.Flusher).Flush()
			}
			return
		}
		if r.URL.Query().Has("big") {
			_, _ = io.Copy(w, io.LimitReader(zeros{}, 3<<20))
			return
		}
		fmt.Fprintf(w, "%d bytes", len(b))
	}))
	defer up.Close()
	_, addr := serve(t, l7.Options{Engine: engine.Config{ServerHeader: "APISIX/3.18.0"}}, routeTo(up.Listener.Addr().String(), "/*"))

	for _, tc := range []struct {
		name, method, path string
		body               io.Reader
		want               string
		length             int
	}{
		{name: "get", method: "GET", path: "/a?x=1", want: "0 bytes"},
		{name: "post with length", method: "POST", path: "/a", body: strings.NewReader("hello"), want: "5 bytes"},
		{name: "post chunked", method: "POST", path: "/a", body: io.LimitReader(zeros{}, 1<<20), want: "1048576 bytes"},
		{name: "stream", method: "GET", path: "/a?flush", want: "part 0;part 1;part 2;part 3;part 4;"},
		{name: "big", method: "GET", path: "/a?big", length: 3 << 20},
		{name: "head", method: "HEAD", path: "/a", want: ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for range 3 {
				req, err := http.NewRequest(tc.method, "http://"+addr+tc.path, tc.body)
				if err != nil {
					t.Fatal(err)
				}
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				b, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil {
					t.Fatal(err)
				}
				if tc.length > 0 {
					if len(b) != tc.length {
						t.Fatalf("got %d bytes, want %d", len(b), tc.length)
					}
				} else if string(b) != tc.want && tc.body == nil {
					t.Fatalf("got %q, want %q", b, tc.want)
				}
				if got := resp.Header.Get("Server"); got != "APISIX/3.18.0" {
					t.Errorf("Server: %q", got)
				}
				if tc.body != nil {
					if string(b) != tc.want {
						t.Fatalf("got %q, want %q", b, tc.want)
					}
					break
				}
			}
		})
	}
	t.Run("no route", func(t *testing.T) {
		_, addr := serve(t, l7.Options{}, routeTo(up.Listener.Addr().String(), "/a"))
		resp, err := http.Get("http://" + addr + "/b")
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 404 || string(b) != "{\"error_msg\":\"404 Route Not Found\"}\n" {
			t.Errorf("got %d %q", resp.StatusCode, b)
		}
	})
	t.Run("pipelined", func(t *testing.T) {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for i := range 20 {
			fmt.Fprintf(c, "GET /p%d HTTP/1.1\r\nHost: a\r\n\r\n", i)
		}
		br := bufio.NewReader(c)
		for i := range 20 {
			resp, err := http.ReadResponse(br, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			if got, want := resp.Header.Get("X-Seen"), fmt.Sprintf("GET /p%d 127.0.0.1", i); got != want {
				t.Fatalf("answer %d: got %q, want %q", i, got, want)
			}
		}
	})
	t.Run("refused", func(t *testing.T) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		dead := ln.Addr().String()
		ln.Close()
		_, addr := serve(t, l7.Options{}, routeTo(dead, "/*"))
		resp, err := http.Get("http://" + addr + "/b")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 502 {
			t.Errorf("got %d, want 502", resp.StatusCode)
		}
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
