package loop_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/l7"
	"github.com/sluice-gateway/sluice/l7/l7test"
	"github.com/sluice-gateway/sluice/l7/loop"
	"github.com/sluice-gateway/sluice/l7/upstream"
)

// TestHostileFaults has clients whose requests and answers run into resets, broken pipes and refused connections at every place. Whatever a client gets complete
// is right, no POST reaches an upstream twice, nothing hangs, and nothing is left.
func TestHostileFaults(t *testing.T) {
	l7test.NoLeaks(t)
	s := seed(t)
	var mu sync.Mutex
	posts := map[string]int{}
	large := strings.Repeat("0123456789", 20000)
	handle := func(_ *l7test.Upstream, c *l7test.Conn) {
		for {
			m, ok := c.Request()
			if m.Method() == "POST" {
				mu.Lock()
				posts[m.Target()]++
				mu.Unlock()
			}
			if !ok {
				return
			}
			body := m.Target() + " " + m.Body
			switch {
			case strings.HasSuffix(m.Target(), "1"):
				c.Send(l7test.Chunked(body[:1], body[1:], large))
			case strings.HasSuffix(m.Target(), "2"):
				c.Send(l7test.Head("HTTP/1.0 200 OK") + body)
				return
			default:
				c.Send(l7test.OK(body))
			}
		}
	}
	a, b := l7test.NewUpstreams(t, handle), l7test.NewUpstreams(t, handle)
	g := l7test.Start(t, l7.Options{Loops: 2, Upstream: upstream.Options{Memory: upstream.FailureMemory{First: -1}},
		Loop: loop.Config{HalfCloseGrace: 50 * time.Millisecond}.WithFaults(s, true)}, l7test.Routes(l7test.To(a.Addr, b.Addr)))
	outcomes := map[string]int{}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			var c *l7test.Conn
			for i := range 60 {
				if c == nil {
					var err error
					if c, err = l7test.TryDial(t, g.Addr); err != nil {
						t.Error(err)
						return
					}
				}
				target := fmt.Sprintf("/%d-%d", w, i)
				payload := strings.Repeat(target, i%7*100)
				switch i % 3 {
				case 0:
					c.Send(l7test.Post(target, payload))
				case 1:
					c.Send(l7test.Head("POST "+target+" HTTP/1.1", "Host: a", "Transfer-Encoding: chunked"), l7test.Chunks("x", payload+"y")+"0\r\n\r\n")
					payload = "x" + payload + "y"
				default:
					payload = ""
					c.Send(l7test.Get(target))
				}
				want := target + " " + payload
				if strings.HasSuffix(target, "1") {
					want += large
				}
				m, err := l7test.ReadResponse(c.R, "GET")
				outcome := "connection lost"
				if err == nil {
					outcome = fmt.Sprint(m.Status())
				}
				if err == nil && m.Status() == 200 && m.Body != want {
					t.Errorf("%s: got %d bytes, want %d", target, len(m.Body), len(want))
				}
				if err == nil && m.Status() != 200 && m.Status() != 502 {
					t.Errorf("%s: got %q", target, m.Start)
				}
				mu.Lock()
				outcomes[outcome]++
				mu.Unlock()
				if err != nil || m.Close() {
					c.Close()
					c = nil
				}
			}
			if c != nil {
				c.Close()
			}
		}()
	}
	wg.Wait()
	mu.Lock()
	defer mu.Unlock()
	for target, n := range posts {
		if n > 1 {
			t.Errorf("%s: POST was sent %d times", target, n)
		}
	}
	t.Logf("outcomes: %v", outcomes)
	if outcomes["200"] == 0 || outcomes["502"] == 0 || outcomes["connection lost"] == 0 {
		t.Errorf("outcomes are %v, want all three kinds", outcomes)
	}
	l7test.Eventually(t, "nothing is left", func() bool {
		s := g.Totals()
		return s.Conns == 0 && s.Busy == 0
	})
}
