package l7test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/control/snapshot"
	"github.com/sluice-gateway/sluice/l7"
	"github.com/sluice-gateway/sluice/l7/loop"
)

// Semantics runs what HTTP/1.1 promises about connections and messages through a whole gateway.
func Semantics(t *testing.T, start Starter) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, start Starter)
	}{
		{"pairings", pairings},
		{"pipelining", pipelining},
		{"bodies", bodies},
		{"trailers", trailers},
		{"expect", expect},
		{"informational", informational},
		{"no body", noBody},
		{"early answer", earlyAnswer},
		{"half-closed client", halfClosed},
		{"upstream ends early", upstreamEnds},
		{"bytes after the response", surplus},
		{"limits", limits},
		{"keepalive requests", keepaliveRequests},
	} {
		t.Run(c.name, func(t *testing.T) {
			NoLeaks(t)
			c.run(t, start)
		})
	}
}

// pairings are HTTP/1.0 and 1.1, keep-alive and close, on both sides, with each framing of the response.
func pairings(t *testing.T, start Starter) {
	for _, client := range []string{"1.0 close", "1.0 keep-alive", "1.1 close", "1.1 keep-alive"} {
		for _, server := range []string{"1.0 close", "1.0 keep-alive", "1.1 close", "1.1 keep-alive"} {
			for _, framing := range []string{"length", "chunked", "close"} {
				if framing == "chunked" && strings.HasPrefix(server, "1.0") || framing == "close" && strings.HasSuffix(server, "alive") {
					continue
				}
				t.Run(client+" to "+server+" "+framing, func(t *testing.T) { pairing(t, start, client, server, framing) })
			}
		}
	}
}

func pairing(t *testing.T, start Starter, client, server, framing string) {
	cv, ck, _ := strings.Cut(client, " ")
	sv, sk, _ := strings.Cut(server, " ")
	up := NewUpstreams(t, func(u *Upstream, c *Conn) {
		for {
			m, ok := c.Request()
			if !ok {
				return
			}
			u.Record(m)
			head := []string{"HTTP/" + sv + " 200 Fine", "Connection: " + sk}
			switch framing {
			case "length":
				c.Send(Head(append(head, "Content-Length: 5")...) + "hello")
			case "chunked":
				c.Send(Head(append(head, "Transfer-Encoding: chunked")...) + Chunks("hel", "lo") + "0\r\n\r\n")
			default:
				c.Send(Head(head...) + "hello")
			}
			if sk == "close" {
				return
			}
		}
	})
	g := start(t, l7.Options{}, Routes(To(up.Addr)))
	c := Dial(t, g.Addr)
	keep := ck == "keep-alive" && (cv == "1.1" || framing == "length")
	rounds := 1
	if keep {
		rounds = 3
	}
	for range rounds {
		c.Send(Head("GET /x HTTP/"+cv, "Host: a.test", "Connection: "+ck))
		m := c.Want("GET", 200, "hello")
		if !strings.HasSuffix(m.Start, " 200 Fine") {
			t.Errorf("status line is %q", m.Start)
		}
		if got := !m.Close(); got != keep {
			t.Errorf("keeps the connection: %v, want %v: %q", got, keep, m.Fields)
		}
		if cv == "1.0" && m.Framing == "chunked" {
			t.Error("chunked to HTTP/1.0")
		}
		if cv == "1.0" && keep && m.Get("connection") != "keep-alive" {
			t.Errorf("Connection: %q for a kept HTTP/1.0 connection", m.Get("connection"))
		}
	}
	if !keep {
		c.Closed()
	}
	conns := 1
	if sk == "close" {
		conns = rounds
	}
	if up.Conns() != conns {
		t.Errorf("%d upstream connections for %d requests, want %d", up.Conns(), rounds, conns)
	}
	for _, m := range up.Seen() {
		if m.Start != "GET /x HTTP/1.1" || m.Get("connection") != "" || m.Get("host") != "a.test" || m.Get("x-forwarded-for") != "127.0.0.1" {
			t.Errorf("upstream got %q %q", m.Start, m.Fields)
		}
	}
}

// pipelining sends 200 requests with mixed bodies at once and wants 200 answers in order.
func pipelining(t *testing.T, start Starter) {
	up := NewUpstreams(t, Echo)
	g := start(t, l7.Options{}, Routes(To(up.Addr)))
	c := Dial(t, g.Addr)
	const n = 200
	want := make([]string, n)
	var all strings.Builder
	for i := range n {
		body := strings.Repeat(itoa(i%10), i*7)
		target := "/" + itoa(i)
		switch i % 4 {
		case 0:
			all.WriteString(Get(target))
			want[i] = "GET " + target + "\n"
		case 1:
			all.WriteString(Post(target, body))
			want[i] = "POST " + target + "\n" + body
		case 2:
			all.WriteString(Head("PUT "+target+" HTTP/1.1", "Host: a.test", "Transfer-Encoding: chunked") + Chunks(body, "x") + "0\r\n\r\n")
			want[i] = "PUT " + target + "\n" + body + "x"
		default:
			all.WriteString(Head("HEAD "+target+" HTTP/1.1", "Host: a.test"))
		}
	}
	go c.Send(all.String())
	for i := range n {
		method := "GET"
		if i%4 == 3 {
			method = "HEAD"
		}
		c.Want(method, 200, want[i])
	}
	c.Open()
}

// bodies go up and down in each framing and in sizes around those of the buffers.
func bodies(t *testing.T, start Starter) {
	up := NewUpstreams(t, func(u *Upstream, c *Conn) {
		for {
			m, ok := c.Request()
			if !ok {
				return
			}
			if m.Get("x-answer") == "chunked" {
				half := len(m.Body) / 2
				parts := []string{m.Body[half:]}
				if half > 0 {
					parts = []string{m.Body[:half], m.Body[half:]}
				}
				if m.Body == "" {
					parts = nil
				}
				c.Send(Chunked(parts...))
			} else {
				c.Send(OK(m.Body, "X-Framing: "+m.Framing))
			}
		}
	})
	g := start(t, l7.Options{}, Routes(To(up.Addr)))
	c := Dial(t, g.Addr)
	for _, size := range []int{0, 1, 2, 4000, 4096, 8 << 10, 64<<10 - 1, 64 << 10, 64<<10 + 1, 1 << 20, 3<<20 + 7} {
		body := pattern(size)
		for _, down := range []string{"length", "chunked"} {
			go c.Send(Post("/", body, "X-Answer: "+down))
			if m := c.Want("POST", 200, body); down == "length" && m.Get("x-framing") != "length" {
				t.Errorf("%d bytes with a length went up as %q", size, m.Get("x-framing"))
			}
			var chunks []string
			for rest, n := body, 1; rest != ""; n = n*3 + 1 {
				n = min(n, len(rest), 70<<10)
				chunks = append(chunks, rest[:n])
				rest = rest[n:]
			}
			go c.Send(Head("POST / HTTP/1.1", "Host: a.test", "Transfer-Encoding: chunked", "X-Answer: "+down), Chunks(chunks...), "0\r\n\r\n")
			c.Want("POST", 200, body)
		}
	}
	c.Open()
}

// pattern is a body in which no two places look alike.
func pattern(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('a' + (i*7+i>>8+i>>16)%26)
	}
	return string(b)
}

// trailers pass when they are on the allow list.
func trailers(t *testing.T, start Starter) {
	up := NewUpstreams(t, func(u *Upstream, c *Conn) {
		for {
			m, ok := c.Request()
			if !ok {
				return
			}
			u.Record(m)
			c.Send(Head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "Trailer: Server-Timing, Set-Cookie") + Chunks("hello") +
				"0\r\nServer-Timing: db;dur=1\r\nSet-Cookie: a=b\r\nETag: \"x\"\r\n\r\n")
		}
	})
	g := start(t, l7.Options{}, Routes(To(up.Addr)))
	c := Dial(t, g.Addr)
	c.Send(Head("POST / HTTP/1.1", "Host: a.test", "Transfer-Encoding: chunked") + Chunks("body") +
		"0\r\nContent-Digest: sha-256=:x:\r\nHost: evil.test\r\n\r\n")
	m := c.Want("POST", 200, "hello")
	if fmt.Sprint(m.Trailers) != `[Server-Timing: db;dur=1 ETag: "x"]` {
		t.Errorf("trailers down are %q", m.Trailers)
	}
	for _, m := range up.Seen() {
		if fmt.Sprint(m.Trailers) != "[Content-Digest: sha-256=:x:]" {
			t.Errorf("trailers up are %q", m.Trailers)
		}
	}
	c.Send(Head("GET / HTTP/1.0", "Host: a.test"))
	if m := c.Want("GET", 200, "hello"); m.Framing != "close" {
		t.Errorf("framing for HTTP/1.0 is %q", m.Framing)
	}
}

// expect is Expect: 100-continue in all its forms.
func expect(t *testing.T, start Starter) {
	up := NewUpstreams(t, Echo)
	s := Routes(To(up.Addr))
	s.Routes = append(s.Routes, &snapshot.Route{ID: "2", Created: 3, URIs: []string{"/refused"}})
	g := start(t, l7.Options{Loop: loop.Config{MaxBody: 1 << 20}}, s)
	head := func(target string, n int, more ...string) string {
		return Head(append([]string{"POST " + target + " HTTP/1.1", "Host: a.test", "Expect: 100-continue", "Content-Length: " + itoa(n)}, more...)...)
	}
	t.Run("waits", func(t *testing.T) {
		c := Dial(t, g.Addr)
		for range 3 {
			c.Send(head("/", 5))
			c.Want("POST", 100, "")
			c.Send("hello")
			c.Want("POST", 200, "POST /\nhello")
		}
		for _, m := range up.Seen() {
			if m.Has("expect") {
				t.Errorf("upstream got Expect")
			}
		}
	})
	t.Run("does not wait", func(t *testing.T) {
		c := Dial(t, g.Addr)
		for range 3 {
			c.Send(head("/", 5) + "hello")
			m := c.Response("POST")
			if m.Status() == 100 {
				m = c.Response("POST")
			}
			if m.Status() != 200 || m.Body != "POST /\nhello" {
				t.Fatalf("got %q %q", m.Start, m.Body)
			}
		}
	})
	t.Run("sends a part", func(t *testing.T) {
		c := Dial(t, g.Addr)
		c.Send(head("/", 5) + "he")
		g.Barrier()
		c.Send("llo")
		m := c.Response("POST")
		if m.Status() == 100 {
			m = c.Response("POST")
		}
		if m.Status() != 200 || m.Body != "POST /\nhello" {
			t.Fatalf("got %q %q", m.Start, m.Body)
		}
	})
	t.Run("without body", func(t *testing.T) {
		c := Dial(t, g.Addr)
		c.Send(Get("/", "Expect: 100-continue"))
		c.Want("GET", 200, "GET /\n")
		c.Send(head("/", 0))
		c.Want("POST", 200, "POST /\n")
	})
	t.Run("in HTTP/1.0", func(t *testing.T) {
		c := Dial(t, g.Addr)
		c.Send(Head("POST / HTTP/1.0", "Host: a.test", "Expect: 100-continue", "Content-Length: 5") + "hello")
		c.Want("POST", 200, "POST /\nhello")
	})
	t.Run("refused before the body", func(t *testing.T) {
		c := Dial(t, g.Addr)
		c.Send(head("/refused", 5))
		if m := c.Want("POST", 503, "*"); !m.Close() {
			t.Error("keeps a connection on which a body may or may not follow")
		}
		c.Send("hello")
		c.Closed()
	})
	t.Run("too large", func(t *testing.T) {
		c := Dial(t, g.Addr)
		c.Send(head("/", 2<<20))
		c.Want("POST", 413, "*")
		c.Closed()
	})
	t.Run("chunked", func(t *testing.T) {
		c := Dial(t, g.Addr)
		c.Send(Head("POST / HTTP/1.1", "Host: a.test", "Expect: 100-Continue", "Transfer-Encoding: chunked"))
		c.Want("POST", 100, "")
		c.Send(Chunks("hello") + "0\r\n\r\n")
		c.Want("POST", 200, "POST /\nhello")
	})
}

// informational heads come before the final one.
func informational(t *testing.T, start Starter) {
	for _, tc := range []struct {
		name, raw string
		status    int
		early     int // 103 heads that an HTTP/1.1 client gets
		body      string
	}{
		{"continue", "HTTP/1.1 100 Continue\r\n\r\n" + OK("x"), 200, 0, "x"},
		{"processing", "HTTP/1.1 102 Processing\r\n\r\n" + OK("x"), 200, 0, "x"},
		{"early hints", Head("HTTP/1.1 103 Early Hints", "Link: </a.css>; rel=preload", "Connection: close") + OK("x"), 200, 1, "x"},
		{"two early hints", strings.Repeat(Head("HTTP/1.1 103 Early Hints", "Link: </a.css>; rel=preload"), 2) + OK("x"), 200, 2, "x"},
		{"switching", Head("HTTP/1.1 101 Switching Protocols", "Connection: upgrade", "Upgrade: x") + "bytes", 502, 0, "*"},
		{"flood", strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 100) + OK("x"), 502, 0, "*"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			up := NewUpstreams(t, Answers(tc.raw))
			g := start(t, l7.Options{}, Routes(To(up.Addr)))
			c := Dial(t, g.Addr)
			for range 2 {
				c.Send(Get("/"))
				for range tc.early {
					m := c.Want("GET", 103, "")
					if m.Get("link") != "</a.css>; rel=preload" || m.Has("connection") {
						t.Errorf("early hints have %q", m.Fields)
					}
				}
				m := c.Response("GET")
				for ; m.Status() == 102; m = c.Response("GET") {
				}
				if m.Status() != tc.status || tc.body != "*" && m.Body != tc.body {
					t.Fatalf("got %q %q", m.Start, m.Body)
				}
			}
			old := Dial(t, g.Addr)
			old.Send(Head("GET / HTTP/1.0", "Host: a.test"))
			if m := old.Response("GET"); m.Status() != tc.status {
				t.Errorf("HTTP/1.0 client got %q", m.Start)
			}
		})
	}
}

// noBody are responses that never have a body, with fields that speak of one.
func noBody(t *testing.T, start Starter) {
	for _, tc := range []struct {
		name, method, raw string
		status            int
		length            string // Content-Length that the client sees
		keeps             bool   // the upstream connection
	}{
		{"head", "HEAD", Head("HTTP/1.1 200 OK", "Content-Length: 5"), 200, "5", true},
		{"head chunked", "HEAD", Head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked"), 200, "", true},
		{"head without framing", "HEAD", Head("HTTP/1.1 200 OK"), 200, "", true},
		{"204", "GET", Head("HTTP/1.1 204 No Content"), 204, "", true},
		{"204 with zero length", "GET", Head("HTTP/1.1 204 No Content", "Content-Length: 0"), 204, "", true},
		{"204 with length", "GET", Head("HTTP/1.1 204 No Content", "Content-Length: 5"), 204, "", false},
		{"304", "GET", Head("HTTP/1.1 304 Not Modified", "ETag: \"a\""), 304, "", true},
		{"304 with length", "GET", Head("HTTP/1.1 304 Not Modified", "Content-Length: 5"), 304, "5", true},
		{"post 204", "POST", Head("HTTP/1.1 204 No Content"), 204, "", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			up := NewUpstreams(t, Answers(tc.raw))
			g := start(t, l7.Options{}, Routes(To(up.Addr)))
			c := Dial(t, g.Addr)
			for range 3 {
				c.Send(Head(tc.method+" / HTTP/1.1", "Host: a.test", "Content-Length: 0"))
				m := c.Want(tc.method, tc.status, "")
				if got := m.Get("content-length"); got != tc.length {
					t.Errorf("Content-Length: %q, want %q", got, tc.length)
				}
				if m.Has("transfer-encoding") {
					t.Errorf("got %q", m.Fields)
				}
			}
			c.Open()
			want := 3
			if tc.keeps {
				want = 1
			}
			if up.Conns() != want {
				t.Errorf("%d upstream connections, want %d", up.Conns(), want)
			}
		})
	}
}

// limits are refused with their status and the connection is closed.
func limits(t *testing.T, start Starter) {
	up := NewUpstreams(t, Echo)
	g := start(t, l7.Options{Loop: loop.Config{MaxBody: 1000}}, Routes(To(up.Addr)))
	chunked := Head("POST / HTTP/1.1", "Host: a.test", "Transfer-Encoding: chunked")
	one := strings.Repeat("1\r\nx\r\n", 1000)
	for _, tc := range []struct {
		name, raw string
		status    int
	}{
		{"body at the limit", Post("/", pattern(1000)), 200},
		{"body over the limit", Post("/", pattern(1001)), 413},
		{"chunked body at the limit", chunked + one + "0\r\n\r\n", 200},
		{"chunked body over the limit", chunked + one + "1\r\nx\r\n0\r\n\r\n", 413},
		{"large chunk over the limit", chunked + Chunks(pattern(1001)) + "0\r\n\r\n", 413},
		{"endless chunked body", chunked + Chunks(pattern(200<<10)), 413},
		{"head", Get("/", "X: "+pattern(33<<10)), 431},
		{"target", Get("/" + pattern(9<<10)), 414},
		{"head of 30 KiB", Get("/", "X: "+pattern(30<<10)), 200},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := Dial(t, g.Addr)
			go c.Send(tc.raw)
			m := c.Want("POST", tc.status, "*")
			if tc.status == 200 {
				c.Open()
				return
			}
			if !m.Close() {
				t.Errorf("keeps the connection: %q", m.Fields)
			}
			c.Closed()
		})
	}
}

// keepaliveRequests bounds the requests of a connection.
func keepaliveRequests(t *testing.T, start Starter) {
	up := NewUpstreams(t, Echo)
	g := start(t, l7.Options{Loop: loop.Config{KeepaliveRequests: 3}}, Routes(To(up.Addr)))
	for _, pipelined := range []bool{false, true} {
		c := Dial(t, g.Addr)
		if pipelined {
			c.Send(strings.Repeat(Get("/"), 5))
		}
		for i := 1; i <= 3; i++ {
			if !pipelined {
				c.Send(Get("/"))
			}
			if m := c.Want("GET", 200, "GET /\n"); m.Close() != (i == 3) {
				t.Errorf("request %d: %q", i, m.Fields)
			}
		}
		c.Closed()
	}
	if n := len(up.Seen()); n != 6 {
		t.Errorf("%d requests upstream, want 6", n)
	}
}
