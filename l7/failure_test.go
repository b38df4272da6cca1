package l7_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluice-gateway/sluice/control/snapshot"
	"github.com/sluice-gateway/sluice/l7"
	"github.com/sluice-gateway/sluice/l7/l7test"
	"github.com/sluice-gateway/sluice/l7/loop"
	"github.com/sluice-gateway/sluice/l7/upstream"
)

// refusing is an address on loopback where nobody listens.
func refusing(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// blackHole is an address whose accept queue is full, so that connecting to it takes for ever.
func blackHole(t testing.TB) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", sa.(*unix.SockaddrInet4).Port)
	for range 3 {
		c, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(c) })
		if err := unix.Connect(c, sa); err != unix.EINPROGRESS && err != nil {
			t.Fatal(err)
		}
	}
	return addr
}

// timeouts gives an upstream short ones, in seconds.
func timeouts(u *snapshot.Upstream, connect, send, read float64) *snapshot.Upstream {
	u.Timeout = snapshot.Timeout{Connect: connect, Send: send, Read: read}
	return u
}

// silent reads requests and never answers.
func silent(u *l7test.Upstream, c *l7test.Conn) {
	for {
		m, ok := c.Request()
		if m.Start != "" {
			u.Record(m)
		}
		if !ok {
			return
		}
	}
}

// within checks how long f takes.
func within(t *testing.T, least, most time.Duration, f func()) {
	t.Helper()
	start := time.Now()
	f()
	if d := time.Since(start); d < least || d > most {
		t.Errorf("took %v, want %v to %v", d, least, most)
	}
}

func TestUpstreamTimeouts(t *testing.T) {
	const least, most = 80 * time.Millisecond, 5 * time.Second
	t.Run("connect", func(t *testing.T) {
		l7test.NoLeaks(t)
		g := l7test.Start(t, l7.Options{}, l7test.Routes(timeouts(l7test.To(blackHole(t)), 0.1, 9, 9)))
		c := l7test.Dial(t, g.Addr)
		within(t, least, most, func() {
			c.Send(l7test.Get("/"))
			c.Want("GET", 504, "*")
		})
		c.Open()
	})
	t.Run("read head", func(t *testing.T) {
		l7test.NoLeaks(t)
		up := l7test.NewUpstreams(t, silent)
		g := l7test.Start(t, l7.Options{}, l7test.Routes(timeouts(l7test.To(up.Addr), 9, 9, 0.1)))
		c := l7test.Dial(t, g.Addr)
		within(t, least, most, func() {
			c.Send(l7test.Post("/", "hello"))
			c.Want("POST", 504, "*")
		})
		c.Open()
		up.Wait("the connection is closed", func() bool { return up.Open() == 0 })
	})
	t.Run("read body", func(t *testing.T) {
		l7test.NoLeaks(t)
		up := l7test.NewUpstream(t, func(c *l7test.Conn) {
			if _, ok := c.Request(); ok {
				c.Send(l7test.Head("HTTP/1.1 200 OK", "Content-Length: 10") + "hello")
				_, _ = io.Copy(io.Discard, c.R)
			}
		})
		g := l7test.Start(t, l7.Options{}, l7test.Routes(timeouts(l7test.To(up.Addr), 9, 9, 0.1)))
		c := l7test.Dial(t, g.Addr)
		within(t, least, most, func() {
			c.Send(l7test.Get("/"))
			if m := c.Cut("GET"); m.Body != "hello" {
				t.Errorf("got %q", m.Body)
			}
		})
	})
	t.Run("send", func(t *testing.T) {
		l7test.NoLeaks(t)
		release := make(chan struct{})
		up := l7test.NewUpstream(t, func(c *l7test.Conn) { <-release })
		// The client's own timer for its body is shorter and must not be blamed.
		g := l7test.Start(t, l7.Options{Loop: loop.Config{BodyTimeout: 50 * time.Millisecond}}, l7test.Routes(timeouts(l7test.To(up.Addr), 9, 0.3, 9)))
		defer close(release)
		c := l7test.Dial(t, g.Addr)
		within(t, 3*least, most, func() {
			go c.Send(l7test.Post("/", strings.Repeat("x", 16<<20)))
			c.Want("POST", 504, "*")
		})
	})
}

func TestClientTimeouts(t *testing.T) {
	l7test.NoLeaks(t)
	up := l7test.NewUpstreams(t, l7test.Echo)
	start := func(c loop.Config) *l7test.Gateway {
		return l7test.Start(t, l7.Options{Loop: c}, l7test.Routes(l7test.To(up.Addr)))
	}
	const short, least, most = 100 * time.Millisecond, 80 * time.Millisecond, 5 * time.Second
	t.Run("head", func(t *testing.T) {
		g := start(loop.Config{HeaderTimeout: short})
		c := l7test.Dial(t, g.Addr)
		within(t, least, most, func() {
			c.Send("GET / HTTP/1.1\r\n")
			if m := c.Want("GET", 408, "*"); !m.Close() {
				t.Error("keeps the connection")
			}
		})
		c.Closed()
	})
	t.Run("head byte by byte", func(t *testing.T) {
		g := start(loop.Config{HeaderTimeout: short})
		c := l7test.Dial(t, g.Addr)
		within(t, least, most, func() {
			done := make(chan struct{})
			go func() {
				tick := time.NewTicker(short / 10)
				defer tick.Stop()
				for _, b := range []byte("GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 1000)) {
					select {
					case <-done:
						return
					case <-tick.C:
						c.Send(string(b))
					}
				}
			}()
			c.Want("GET", 408, "*")
			close(done)
		})
	})
	t.Run("nothing", func(t *testing.T) {
		g := start(loop.Config{HeaderTimeout: short})
		c := l7test.Dial(t, g.Addr)
		within(t, least, most, c.Closed)
	})
	t.Run("body", func(t *testing.T) {
		g := start(loop.Config{BodyTimeout: short})
		c := l7test.Dial(t, g.Addr)
		within(t, least, most, func() {
			c.Send(l7test.Head("POST / HTTP/1.1", "Host: a", "Content-Length: 10") + "hello")
			if m := c.Want("POST", 408, "*"); !m.Close() {
				t.Error("keeps the connection")
			}
		})
		c.Closed()
		up.Wait("the request is cut", func() bool { return up.Count() > 0 })
		for _, m := range up.Seen() {
			if m.Complete {
				t.Errorf("upstream got a complete request: %q", m.Body)
			}
		}
	})
	t.Run("idle", func(t *testing.T) {
		g := start(loop.Config{IdleTimeout: short})
		c := l7test.Dial(t, g.Addr)
		c.Send(l7test.Get("/"))
		c.Want("GET", 200, "*")
		within(t, least, most, c.Closed)
	})
	t.Run("write", func(t *testing.T) {
		big := l7test.NewUpstreams(t, l7test.Answers(l7test.OK(strings.Repeat("x", 20<<20))))
		g := l7test.Start(t, l7.Options{Loop: loop.Config{WriteTimeout: short}}, l7test.Routes(l7test.To(big.Addr)))
		c := l7test.Dial(t, g.Addr)
		c.Send(l7test.Get("/"))
		if _, err := c.R.Peek(1); err != nil {
			t.Fatal(err)
		}
		// The client takes nothing more: the upstream has to be let go.
		big.Wait("the upstream connection ends", func() bool { return big.Conns() == 1 && big.Open() == 0 })
		c.Cut("GET")
	})
}

func TestRetries(t *testing.T) {
	n := func(i int) *int { return &i }
	good := func(t *testing.T) *l7test.Upstream { return l7test.NewUpstreams(t, l7test.Echo) }
	// ending records the head of each request and hangs up.
	ending := func(t *testing.T) *l7test.Upstream {
		return l7test.NewUpstreams(t, func(u *l7test.Upstream, c *l7test.Conn) {
			m, _ := c.Request()
			u.Record(m)
		})
	}
	for _, tc := range []struct {
		name    string
		bad     func(t *testing.T) (addr string, u *l7test.Upstream)
		request string
		retries *int
		timeout float64
		want    []int // possible statuses
	}{
		{name: "refused get", bad: func(t *testing.T) (string, *l7test.Upstream) { return refusing(t), nil }, request: l7test.Get("/"), want: []int{200}},
		{name: "refused post with body", bad: func(t *testing.T) (string, *l7test.Upstream) { return refusing(t), nil }, request: l7test.Post("/", "hello"), want: []int{200}},
		{name: "refused post without retries", bad: func(t *testing.T) (string, *l7test.Upstream) { return refusing(t), nil }, request: l7test.Post("/", "hello"), retries: n(0), want: []int{200, 502}},
		{name: "connect timeout", bad: func(t *testing.T) (string, *l7test.Upstream) { return blackHole(t), nil }, request: l7test.Post("/", "hello"), want: []int{200}},
		{name: "connect timeout over retry_timeout", bad: func(t *testing.T) (string, *l7test.Upstream) { return blackHole(t), nil }, request: l7test.Get("/"), timeout: 0.01, want: []int{200, 504}},
		{name: "get on a node that hangs up", bad: func(t *testing.T) (string, *l7test.Upstream) { u := ending(t); return u.Addr, u }, request: l7test.Get("/"), want: []int{200}},
		{name: "post on a node that hangs up", bad: func(t *testing.T) (string, *l7test.Upstream) { u := ending(t); return u.Addr, u }, request: l7test.Post("/", "hello"), want: []int{200, 502}},
		{name: "empty post on a node that hangs up", bad: func(t *testing.T) (string, *l7test.Upstream) { u := ending(t); return u.Addr, u }, request: l7test.Post("/", ""), want: []int{200, 502}},
		{name: "put with a body on a node that hangs up", bad: func(t *testing.T) (string, *l7test.Upstream) { u := ending(t); return u.Addr, u }, request: strings.Replace(l7test.Post("/", "hello"), "POST", "PUT", 1), want: []int{200, 502}},
		{name: "get on a silent node", bad: func(t *testing.T) (string, *l7test.Upstream) {
			u := l7test.NewUpstreams(t, silent)
			return u.Addr, u
		}, request: l7test.Get("/"), want: []int{200}},
		{name: "post on a silent node", bad: func(t *testing.T) (string, *l7test.Upstream) {
			u := l7test.NewUpstreams(t, silent)
			return u.Addr, u
		}, request: l7test.Post("/", "hello"), want: []int{200, 504}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l7test.NoLeaks(t)
			addr, bad := tc.bad(t)
			ok := good(t)
			u := timeouts(l7test.To(addr, ok.Addr), 0.1, 9, 0.2)
			u.Retries, u.RetryTimeout = tc.retries, tc.timeout
			g := l7test.Start(t, l7.Options{Upstream: upstream.Options{Memory: upstream.FailureMemory{First: -1}}}, l7test.Routes(u))
			statuses := map[int]int{}
			for range 4 {
				c := l7test.Dial(t, g.Addr)
				c.Send(tc.request)
				statuses[c.Response("GET").Status()]++
				c.Close()
			}
			total := 0
			for _, s := range tc.want {
				if statuses[s] == 0 {
					t.Errorf("statuses are %v, want each of %v", statuses, tc.want)
				}
				total += statuses[s]
			}
			if total != 4 {
				t.Errorf("statuses are %v, want only %v", statuses, tc.want)
			}
			served := len(ok.Seen())
			if served != statuses[200] {
				t.Errorf("%d requests reached the good node for %d answers", served, statuses[200])
			}
			if bad == nil {
				return
			}
			asked := len(bad.Seen())
			if asked < 1 || asked > 4 {
				t.Errorf("the bad node was asked %d times", asked)
			}
			if !strings.HasPrefix(tc.request, "GET") && asked+served != 4 {
				t.Errorf("4 requests were sent %d times", asked+served)
			}
		})
	}
}

// TestStaleKeepalive reuses connections that the upstream closes after 0 to 4 ms of idleness. A GET never fails, a POST is never sent twice.
func TestStaleKeepalive(t *testing.T) {
	l7test.NoLeaks(t)
	var mu sync.Mutex
	got := map[string]int{}
	up := l7test.NewUpstream(t, func(c *l7test.Conn) {
		for n := 0; ; n++ {
			if n > 0 {
				_ = c.SetReadDeadline(time.Now().Add(time.Duration(c.N%9) * 500 * time.Microsecond))
			}
			m, ok := c.Request()
			if !ok {
				return
			}
			mu.Lock()
			got[m.Target()]++
			mu.Unlock()
			c.Send(l7test.OK("x"))
		}
	})
	g := l7test.Start(t, l7.Options{Loop: loop.Config{KeepaliveRequests: 1 << 20}}, l7test.Routes(l7test.To(up.Addr)))
	const workers, each = 4, 300
	var failed atomic.Int64
	var wg sync.WaitGroup
	for w := range workers {
		c := l7test.Dial(t, g.Addr)
		wg.Add(1)
		go func() {
			defer wg.Done()
			pause := time.NewTimer(0)
			defer pause.Stop()
			<-pause.C
			for i := range each {
				target := fmt.Sprintf("/%d-%d", w, i)
				post := i%3 == 0
				if post {
					c.Send(l7test.Post(target, "body"))
				} else {
					c.Send(l7test.Get(target))
				}
				m, err := l7test.ReadResponse(c.R, "GET")
				switch {
				case err != nil:
					t.Errorf("%s: %v", target, err)
					return
				case m.Status() != 200 && post:
					failed.Add(1)
				case m.Status() != 200:
					t.Errorf("%s: GET failed: %q", target, m.Start)
				}
				pause.Reset(time.Duration((w*each+i)%9) * 500 * time.Microsecond)
				<-pause.C
			}
		}()
	}
	wg.Wait()
	mu.Lock()
	defer mu.Unlock()
	for target, n := range got {
		var w, i int
		if _, err := fmt.Sscanf(target, "/%d-%d", &w, &i); err != nil {
			t.Fatal(err)
		}
		if i%3 == 0 && n > 1 {
			t.Errorf("%s: POST was sent %d times", target, n)
		}
	}
	t.Logf("%d of %d POST failed, %d upstream connections", failed.Load(), workers*each/3, up.Conns())
}

// TestDisconnect cancels upstream requests when their client is gone.
func TestDisconnect(t *testing.T) {
	const grace = 100 * time.Millisecond
	for _, tc := range []struct {
		name  string
		send  string
		reset bool
		begun bool // the response has begun
	}{
		{name: "end before the response", send: l7test.Get("/")},
		{name: "reset before the response", send: l7test.Get("/"), reset: true},
		{name: "end in the response", send: l7test.Get("/"), begun: true},
		{name: "reset in the response", send: l7test.Get("/"), begun: true, reset: true},
		{name: "end in the request body", send: l7test.Head("POST / HTTP/1.1", "Host: a", "Content-Length: 100") + "hello"},
		{name: "reset in the request body", send: l7test.Head("POST / HTTP/1.1", "Host: a", "Content-Length: 100") + "hello", reset: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l7test.NoLeaks(t)
			seen := make(chan struct{})
			up := l7test.NewUpstream(t, func(c *l7test.Conn) {
				if _, err := c.R.Peek(1); err != nil {
					return
				}
				if tc.begun {
					c.Send(l7test.Head("HTTP/1.1 200 OK", "Content-Length: 100") + "hello")
				}
				close(seen)
				_, _ = io.Copy(io.Discard, c.R)
			})
			g := l7test.Start(t, l7.Options{Loop: loop.Config{HalfCloseGrace: grace}}, l7test.Routes(l7test.To(up.Addr)))
			c := l7test.Dial(t, g.Addr)
			c.Send(tc.send)
			<-seen
			if tc.begun {
				if _, err := c.R.Peek(1); err != nil {
					t.Fatal(err)
				}
			}
			within(t, 0, grace+2*time.Second, func() {
				if tc.reset {
					c.Reset()
				} else {
					c.Close()
				}
				up.Wait("the upstream connection ends", func() bool { return up.Open() == 0 })
			})
			l7test.Eventually(t, "counters are back", func() bool {
				s := g.Totals()
				return s.Busy == 0 && s.Conns == 0 && s.UpstreamConns == 0 && s.Aborted == 1
			})
		})
	}
}
