package l7test

import (
	"io"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/l7"
)

// earlyAnswer is a response while the client still sends: it arrives whole.
func earlyAnswer(t *testing.T, start Starter) {
	for _, tc := range []struct {
		name  string
		reads bool // the upstream reads the rest of the request
		size  int  // of the answer
	}{
		{"upstream reads on", true, 5},
		{"upstream stops reading", false, 5},
		{"large answer, upstream reads on", true, 2 << 20},
		{"large answer, upstream stops reading", false, 2 << 20},
	} {
		t.Run(tc.name, func(t *testing.T) {
			body := pattern(tc.size)
			release := make(chan struct{})
			up := NewUpstream(t, func(c *Conn) {
				if _, err := c.R.Peek(1); err != nil {
					return
				}
				done := make(chan struct{})
				go func() {
					defer close(done)
					c.Send(Head("HTTP/1.1 413 Too Much", "Content-Length: "+itoa(len(body))) + body)
				}()
				if tc.reads {
					_, _ = io.Copy(io.Discard, c.R)
				} else {
					<-release
				}
				<-done
			})
			g := start(t, l7.Options{}, Routes(To(up.Addr)))
			c := Dial(t, g.Addr)
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				c.Send(Head("POST / HTTP/1.1", "Host: a.test", "Content-Length: "+itoa(12<<20)), pattern(12<<20))
			}()
			defer close(release)
			if tc.reads {
				<-sent // with an upstream that stops reading this client would wait for ever
			}
			c.Want("POST", 413, body)
			c.Close()
			<-sent
		})
	}
}

// halfClosed is a client that shuts down its sending side and still wants its responses.
func halfClosed(t *testing.T, start Starter) {
	up := NewUpstreams(t, Echo)
	g := start(t, l7.Options{}, Routes(To(up.Addr)))
	t.Run("one request", func(t *testing.T) {
		c := Dial(t, g.Addr)
		c.Send(Get("/"))
		_ = c.CloseWrite()
		c.Want("GET", 200, "GET /\n")
		c.Closed()
	})
	t.Run("three requests", func(t *testing.T) {
		c := Dial(t, g.Addr)
		c.Send(Get("/1") + Post("/2", "hello") + Get("/3"))
		_ = c.CloseWrite()
		c.Want("GET", 200, "GET /1\n")
		c.Want("POST", 200, "POST /2\nhello")
		c.Want("GET", 200, "GET /3\n")
		c.Closed()
	})
	t.Run("large body", func(t *testing.T) {
		c := Dial(t, g.Addr)
		body := pattern(5 << 20)
		go func() {
			c.Send(Post("/", body))
			_ = c.CloseWrite()
		}()
		c.Want("POST", 200, "POST /\n"+body)
		c.Closed()
	})
	t.Run("incomplete body", func(t *testing.T) {
		c := Dial(t, g.Addr)
		c.Send(Head("POST / HTTP/1.1", "Host: a.test", "Content-Length: 10") + "hello")
		_ = c.CloseWrite()
		c.Closed()
	})
	t.Run("incomplete head", func(t *testing.T) {
		c := Dial(t, g.Addr)
		c.Send("GET / HTTP/1.1\r\nHost: a.te")
		_ = c.CloseWrite()
		c.Closed()
	})
}

// upstreamEnds cuts the upstream's answer at every place that matters: before it has a complete head the client gets 502, afterwards a response that is cut.
func upstreamEnds(t *testing.T, start Starter) {
	long := pattern(300 << 10)
	for _, tc := range []struct {
		name, raw string
		cut       bool
	}{
		{"nothing", "", false},
		{"in the status line", "HTTP/1.", false},
		{"in the head", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", false},
		{"after an informational head", "HTTP/1.1 100 Continue\r\n\r\n", false},
		{"garbage", "\x16\x03\x01garbage", false},
		{"before the body", Head("HTTP/1.1 200 OK", "Content-Length: 5"), true},
		{"in the body", Head("HTTP/1.1 200 OK", "Content-Length: 5") + "hel", true},
		{"in a large body", Head("HTTP/1.1 200 OK", "Content-Length: "+itoa(len(long)+1)) + long, true},
		{"before the first chunk", Head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked"), true},
		{"in a chunk", Head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + "5\r\nhel", true},
		{"before the last chunk", Head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + Chunks("hello"), true},
		{"in the last chunk", Head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + Chunks("hello") + "0\r\n", true},
		{"in the trailers", Head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + Chunks("hello") + "0\r\nETag: x\r\n", true},
	} {
		for _, how := range []string{"end", "reset"} {
			for _, version := range []string{"1.1", "1.0"} {
				t.Run(tc.name+" by "+how+" to "+version, func(t *testing.T) {
					got := make(chan struct{}, 1)
					up := NewUpstream(t, func(c *Conn) {
						if _, ok := c.Request(); !ok {
							return
						}
						c.Send(tc.raw)
						if how == "reset" {
							if tc.cut {
								// The reset must not overtake the head.
								<-got
							}
							c.Reset()
						}
					})
					g := start(t, l7.Options{}, Routes(To(up.Addr)))
					c := Dial(t, g.Addr)
					c.Send(Head("GET / HTTP/"+version, "Host: a.test"))
					if !tc.cut {
						c.Want("GET", 502, "*")
						got <- struct{}{}
						return
					}
					if _, err := c.R.Peek(1); err != nil {
						t.Fatalf("no head: %v", err)
					}
					got <- struct{}{}
					c.Cut("GET")
					if n := g.Totals().Cut; n != 1 {
						t.Errorf("%d cut responses counted", n)
					}
				})
			}
		}
	}
	t.Run("a close-delimited response by reset", func(t *testing.T) {
		for _, version := range []string{"1.1", "1.0"} {
			got := make(chan struct{})
			up := NewUpstream(t, func(c *Conn) {
				if _, ok := c.Request(); ok {
					c.Send(Head("HTTP/1.1 200 OK") + "hello")
					<-got
					c.Reset()
				}
			})
			g := start(t, l7.Options{}, Routes(To(up.Addr)))
			c := Dial(t, g.Addr)
			c.Send(Head("GET / HTTP/"+version, "Host: a.test"))
			_, err := c.R.Peek(1)
			if err != nil {
				t.Fatal(err)
			}
			close(got)
			c.Cut("GET")
		}
	})
}

// surplus is what an upstream sends beyond its response: it never becomes the answer to another request.
func surplus(t *testing.T, start Starter) {
	poison := OK("poison")
	for _, tc := range []struct{ name, raw, body string }{
		{"length", OK("hello") + poison, "hello"},
		{"chunked", Chunked("hello") + poison, "hello"},
		{"no content", Head("HTTP/1.1 204 No Content") + poison, ""},
		{"exactly one buffer", exactly(4096, poison), "*"},
		{"a large response", OK(pattern(200<<10)) + poison, "*"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			up := NewUpstreams(t, Answers(tc.raw))
			g := start(t, l7.Options{}, Routes(To(up.Addr)))
			c := Dial(t, g.Addr)
			for range 5 {
				c.Send(Get("/"))
				m := c.Response("GET")
				if strings.Contains(m.Body, "poison") || tc.body != "*" && m.Body != tc.body {
					t.Fatalf("got %q %q", m.Start, short(m.Body))
				}
				g.Barrier()
			}
			if up.Conns() != 5 {
				t.Errorf("%d upstream connections, want one for each request", up.Conns())
			}
		})
	}
}

// exactly is a response of n bytes with something behind it.
func exactly(n int, then string) string {
	head := Head("HTTP/1.1 200 OK", "Content-Length: 1000", "X: y")
	for len(head)+1000 < n {
		head = Head("HTTP/1.1 200 OK", "Content-Length: 1000", "X: "+strings.Repeat("y", n-1000-len(Head("HTTP/1.1 200 OK", "Content-Length: 1000", "X: "))))
	}
	return head + strings.Repeat("z", 1000) + then
}
