package l7_test

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluice-gateway/sluice/l7"
	"github.com/sluice-gateway/sluice/l7/l7test"
	"github.com/sluice-gateway/sluice/l7/loop"
)

// TestDrain shuts a plane down while requests are under way: they all end well.
func TestDrain(t *testing.T) {
	l7test.NoLeaks(t)
	release := make(chan struct{})
	up := l7test.NewUpstreams(t, func(u *l7test.Upstream, c *l7test.Conn) {
		for {
			m, ok := c.Request()
			if !ok {
				return
			}
			u.Record(m)
			if m.Target() == "/late" {
				<-release
			}
			if m.Target() == "/half" {
				c.Send(l7test.Head("HTTP/1.1 200 OK", "Content-Length: 10") + "hello")
				<-release
				c.Send("world")
				continue
			}
			c.Send(l7test.OK("done"))
		}
	})
	g := l7test.Start(t, l7.Options{Loops: 2}, l7test.Routes(l7test.To(up.Addr)))
	idle, used, late, half, fresh := l7test.Dial(t, g.Addr), l7test.Dial(t, g.Addr), l7test.Dial(t, g.Addr), l7test.Dial(t, g.Addr), l7test.Dial(t, g.Addr)
	idle.Send(l7test.Get("/"))
	idle.Want("GET", 200, "done")
	used.Send(l7test.Get("/"))
	used.Want("GET", 200, "done")
	late.Send(l7test.Get("/late"))
	half.Send(l7test.Get("/half"))
	if _, err := half.R.Peek(1); err != nil {
		t.Fatal(err)
	}
	up.Wait("all requests are there", func() bool { return up.Count() == 4 })

	ended := make(chan error, 1)
	go func() {
		// This request is on its way when the drain begins, or just before.
		used.Send(l7test.Get("/"))
		ctx, cancel := context.WithTimeout(context.Background(), l7test.Patience)
		defer cancel()
		ended <- g.Close(ctx)
	}()
	idle.Closed()
	used.Want("GET", 200, "done")
	used.Closed()
	// A client that the kernel let in before and that has not said anything yet.
	fresh.Send(l7test.Get("/"))
	fresh.Want("GET", 200, "done")
	fresh.Closed()
	select {
	case err := <-ended:
		t.Fatalf("closed with requests under way: %v", err)
	default:
	}
	close(release)
	if m := late.Want("GET", 200, "done"); !m.Close() {
		t.Error("the last answer does not say so")
	}
	late.Closed()
	half.Want("GET", 200, "helloworld")
	half.Closed()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestDrainUnderLoad has clients that dial, ask and hang up without pause while the plane is closed: whoever got in is served.
func TestDrainUnderLoad(t *testing.T) {
	l7test.NoLeaks(t)
	up := l7test.NewUpstreams(t, l7test.Answers(l7test.OK("done")))
	g := l7test.Start(t, l7.Options{Loops: 2}, l7test.Routes(l7test.To(up.Addr)))
	var served atomic.Int64
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				c, err := l7test.TryDial(t, g.Addr)
				if err != nil {
					return // nobody listens any more
				}
				for i := 0; ; i++ {
					c.Send(l7test.Get("/"))
					m, err := l7test.ReadResponse(c.R, "GET")
					if i == 0 && m.Start == "" && (errors.Is(err, syscall.ECONNRESET) || errors.Is(c.SendErr(), syscall.ECONNRESET)) {
						return // let in by the kernel between the last accept and the close of the listener: as good as refused
					}
					if err != nil && (i == 0 || m.Start != "") {
						t.Errorf("request %d of client %d: %v after %q", i, w, err, m.Start)
					}
					if err != nil || m.Close() || i == w {
						break
					}
					served.Add(1)
				}
				c.Close()
				if t.Failed() {
					return
				}
			}
		}()
	}
	l7test.Eventually(t, "load", func() bool { return served.Load() > 500 })
	ctx, cancel := context.WithTimeout(context.Background(), l7test.Patience)
	defer cancel()
	if err := g.Close(ctx); err != nil {
		t.Error(err)
	}
	wg.Wait()
}

// TestDrainDeadline cuts what does not end in time and says so.
func TestDrainDeadline(t *testing.T) {
	l7test.NoLeaks(t)
	up := l7test.NewUpstreams(t, silent)
	g := l7test.Start(t, l7.Options{}, l7test.Routes(l7test.To(up.Addr)))
	c := l7test.Dial(t, g.Addr)
	c.Send(l7test.Get("/"))
	up.Wait("the request is there", func() bool { return up.Count() == 1 })
	if err := g.Stop(50 * time.Millisecond); err == nil {
		t.Error("no error although a request was cut")
	}
	c.Cut("GET")
}

// TestCloseWithoutStart gives everything back.
func TestCloseWithoutStart(t *testing.T) {
	l7test.NoLeaks(t)
	p, err := l7.New(l7.Options{Loops: 2})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := p.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}
}

// TestMaxConns stops accepting at the limit and goes on when a connection ends.
func TestMaxConns(t *testing.T) {
	l7test.NoLeaks(t)
	up := l7test.NewUpstreams(t, l7test.Echo)
	g := l7test.Start(t, l7.Options{Loop: loop.Config{MaxConns: 2}}, l7test.Routes(l7test.To(up.Addr)))
	ask := func(c *l7test.Conn) {
		t.Helper()
		c.Send(l7test.Get("/"))
		c.Want("GET", 200, "*")
	}
	for range 3 {
		a, b := l7test.Dial(t, g.Addr), l7test.Dial(t, g.Addr)
		ask(a)
		ask(b)
		c := l7test.Dial(t, g.Addr)
		c.Send(l7test.Get("/"))
		ask(a)
		if n := g.Totals().Conns; n != 2 {
			t.Fatalf("%d connections, want 2", n)
		}
		c.Open()
		a.Close()
		c.Want("GET", 200, "*")
		b.Close()
		c.Close()
		l7test.Eventually(t, "all connections end", func() bool { return g.Totals().Conns == 0 })
	}
}

// TestDescriptors runs out of descriptors in a child process: connections wait, nothing spins, and all goes on when there are some again.
func TestDescriptors(t *testing.T) {
	if os.Getenv("L7_CHILD") == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestDescriptors$", "-test.v")
		cmd.Env = append(os.Environ(), "L7_CHILD=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	up := l7test.NewUpstreams(t, l7test.Echo)
	g := l7test.Start(t, l7.Options{}, l7test.Routes(l7test.To(up.Addr)))
	first := l7test.Dial(t, g.Addr)
	first.Send(l7test.Get("/"))
	first.Want("GET", 200, "*")
	var waiting []*l7test.Conn
	for range 3 {
		waiting = append(waiting, l7test.Dial(t, g.Addr))
	}
	l7test.Eventually(t, "they are accepted", func() bool { return g.Totals().Conns == 4 })
	// Take every descriptor that is left, but for one that the next client needs.
	low := unix.Rlimit{Cur: 128, Max: 20000}
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	low.Max = old.Max
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	var taken []*os.File
	take := func() {
		for {
			f, err := os.Open("/dev/null")
			if err != nil {
				return
			}
			taken = append(taken, f)
		}
	}
	take()
	taken[0].Close()
	taken = taken[1:]
	late := l7test.Dial(t, g.Addr) // the gateway cannot accept it
	late.Send(l7test.Get("/"))
	first.Send(l7test.Get("/"))
	first.Want("GET", 200, "*")
	late.Open()
	var before, after unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &before)
	wait := time.NewTimer(300 * time.Millisecond)
	<-wait.C
	_ = unix.Getrusage(unix.RUSAGE_SELF, &after)
	if used := time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()); used > 100*time.Millisecond {
		t.Errorf("used %v of processor time while waiting 300 ms for descriptors", used)
	}
	// Descriptors come back although no connection of the gateway ends.
	taken[0].Close()
	taken[1].Close()
	taken = taken[2:]
	late.Want("GET", 200, "*")
	// A lack of descriptors for the upstream is a 502 and says nothing about the node.
	take()
	both := []*l7test.Conn{waiting[0], waiting[1]}
	for _, c := range both {
		c.Send(l7test.Post("/", "x"))
	}
	for _, c := range both {
		if s := c.Response("POST").Status(); s != 200 && s != 502 {
			t.Errorf("status %d", s)
		}
	}
	for _, f := range taken {
		f.Close()
	}
	late.Send(l7test.Post("/", "x"))
	late.Want("POST", 200, "*")
}

// TestSlowReader has clients that take a large response slowly: the gateway holds back the upstream instead of keeping the bytes.
func TestSlowReader(t *testing.T) {
	l7test.NoLeaks(t)
	const size, clients = 20 << 20, 10
	body := strings.Repeat("0123456789abcdef", size/16)
	up := l7test.NewUpstreams(t, func(_ *l7test.Upstream, c *l7test.Conn) {
		if _, ok := c.Request(); ok {
			c.Send(l7test.Head("HTTP/1.1 200 OK", "Content-Length: "+strconv.Itoa(size)), body)
		}
	})
	g := l7test.Start(t, l7.Options{}, l7test.Routes(l7test.To(up.Addr)))
	var conns []*l7test.Conn
	for range clients {
		c := l7test.Dial(t, g.Addr)
		c.Send(l7test.Get("/"))
		conns = append(conns, c)
	}
	base := l7test.Heap()
	// Each client is at a different place when memory is measured.
	for i, c := range conns {
		if _, err := c.R.Discard(100 + i*size/clients/2); err != nil {
			t.Fatal(err)
		}
	}
	grown := int64(l7test.Heap()) - int64(base)
	if grown > clients*256<<10 {
		t.Errorf("%d slow clients cost %d KiB of heap", clients, grown>>10)
	}
	t.Logf("%d slow clients cost %d KiB of heap", clients, grown>>10)
	for _, c := range conns {
		n, err := io.Copy(io.Discard, io.LimitReader(c.R, size/4))
		if err != nil || n != size/4 {
			t.Fatalf("%d bytes, %v", n, err)
		}
	}
}

// TestSlowUpstream takes an upload slowly: the gateway holds back the client.
func TestSlowUpstream(t *testing.T) {
	l7test.NoLeaks(t)
	const size = 20 << 20
	body := strings.Repeat("0123456789abcdef", size/16)
	step, seen := make(chan struct{}), make(chan struct{})
	up := l7test.NewUpstream(t, func(c *l7test.Conn) {
		if _, err := c.R.Peek(1000); err != nil {
			return
		}
		close(seen)
		<-step
		m, _ := c.Request()
		c.Send(l7test.OK(strconv.Itoa(len(m.Body)) + strconv.FormatBool(m.Body == body)))
	})
	g := l7test.Start(t, l7.Options{}, l7test.Routes(l7test.To(up.Addr)))
	base := l7test.Heap()
	c := l7test.Dial(t, g.Addr)
	var sent atomic.Bool
	go func() {
		c.Send(l7test.Head("POST / HTTP/1.1", "Host: a", "Content-Length: "+strconv.Itoa(size)), body)
		sent.Store(true)
	}()
	<-seen
	// The sockets between take a few MiB; then everything stands still.
	stuck, last := 0, int64(-1)
	l7test.Eventually(t, "the upload stands still", func() bool {
		if n := l7test.Unsent(t, c); n == last && n > 0 {
			stuck++
		} else {
			stuck, last = 0, n
		}
		return stuck > 50
	})
	if grown := int64(l7test.Heap()) - int64(base); grown > 1<<20 {
		t.Errorf("a held upload costs %d KiB of heap", grown>>10)
	}
	if sent.Load() {
		t.Error("the gateway took all of it")
	}
	close(step)
	c.Want("POST", 200, strconv.Itoa(size)+"true")
}
