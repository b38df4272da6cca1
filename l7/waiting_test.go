package l7_test

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/l7"
	"github.com/sluice-gateway/sluice/l7/l7test"
	"github.com/sluice-gateway/sluice/l7/loop"
)

// TestAnswerBeforeBody has a client that stops sending its body when the answer begins, as it may (RFC 9112 9.5): the answer goes on for longer than the
// client could have been silent otherwise.
func TestAnswerBeforeBody(t *testing.T) {
	l7test.NoLeaks(t)
	const pause = 100 * time.Millisecond
	step := make(chan struct{})
	up := l7test.NewUpstream(t, func(c *l7test.Conn) {
		if _, err := c.R.Peek(1); err != nil {
			return
		}
		c.Send(l7test.Head("HTTP/1.1 403 Enough", "Content-Length: 10") + "hello")
		<-step
		c.Send("world")
		_, _ = io.Copy(io.Discard, c.R)
	})
	g := l7test.Start(t, l7.Options{Loop: loop.Config{BodyTimeout: pause}}, l7test.Routes(l7test.To(up.Addr)))
	c := l7test.Dial(t, g.Addr)
	c.Send(l7test.Head("POST / HTTP/1.1", "Host: a", "Content-Length: 1000") + strings.Repeat("x", 100))
	if _, err := c.R.Peek(1); err != nil {
		t.Fatal(err)
	}
	<-time.After(3 * pause)
	close(step)
	if m := c.Want("POST", 403, "helloworld"); !m.Close() {
		t.Error("keeps the connection")
	}
	c.Closed()
}

// TestGoneWhileDelayed has clients that hang up while a plugin delays their request: the upstream request that follows is given up.
func TestGoneWhileDelayed(t *testing.T) {
	for _, reset := range []bool{false, true} {
		l7test.NoLeaks(t)
		resetNotes()
		up := l7test.NewUpstreams(t, silent)
		g := l7test.Start(t, l7.Options{Loop: loop.Config{HalfCloseGrace: 20 * time.Millisecond}},
			l7test.Routes(l7test.To(up.Addr), with("probe-mid", probeConf{Tag: "x", Access: "delay"})))
		c := l7test.Dial(t, g.Addr)
		c.Send(l7test.Get("/"))
		g.Barrier()
		if reset {
			c.Reset()
		} else {
			c.Close()
		}
		l7test.Eventually(t, "it is logged", func() bool { return countNotes("x log 499") == 1 })
		up.Wait("the upstream connection ends", func() bool { return up.Open() == 0 })
		if reset && up.Conns() > 0 {
			t.Error("the request of a client that is gone was sent")
		}
	}
}

// TestFairness has one client that downloads without end while another asks for small things.
func TestFairness(t *testing.T) {
	l7test.NoLeaks(t)
	large := strings.Repeat("0123456789abcdef", 8<<20/16)
	up := l7test.NewUpstreams(t, func(u *l7test.Upstream, c *l7test.Conn) {
		for {
			m, ok := c.Request()
			switch {
			case !ok:
				return
			case m.Target() == "/large":
				c.Send(l7test.Head("HTTP/1.1 200 OK"))
				for c.SendErr() == nil {
					c.Send(large)
				}
				return
			default:
				c.Send(l7test.OK("small"))
			}
		}
	})
	g := l7test.Start(t, l7.Options{}, l7test.Routes(l7test.To(up.Addr)))
	hog := l7test.Dial(t, g.Addr)
	hog.Send(l7test.Get("/large"))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(io.Discard, hog.R)
	}()
	c := l7test.Dial(t, g.Addr)
	var worst time.Duration
	for range 50 {
		start := time.Now()
		c.Send(l7test.Get("/"))
		c.Want("GET", 200, "small")
		worst = max(worst, time.Since(start))
	}
	if worst > time.Second {
		t.Errorf("a small request took %v", worst)
	}
	hog.Close()
	<-done
}
