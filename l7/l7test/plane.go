package l7test

import (
	"context"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/control/snapshot"
	"github.com/sluice-gateway/sluice/l7"
	"github.com/sluice-gateway/sluice/l7/listen"
)

func itoa(n int) string { return strconv.Itoa(n) }
func hex(n int) string  { return strconv.FormatInt(int64(n), 16) }

// Gateway is a running plane.
type Gateway struct {
	*l7.Plane
	Addr string
	t    testing.TB
	ping *Conn
	done bool
}

// Start runs a plane with one loop, unless o says otherwise, on a loopback address. It is closed at the end of the test, which fails when something had to be cut
// after ten seconds.
func Start(t testing.TB, o l7.Options, s *snapshot.Snapshot) *Gateway {
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
	g := &Gateway{Plane: p, Addr: ln.Addr().String(), t: t}
	ln.Close()
	if err := p.Listen(files); err != nil {
		t.Fatal(err)
	}
	g.Commit(s)
	p.Start()
	t.Cleanup(func() {
		if !g.done {
			g.Stop(0)
		}
	})
	return g
}

// Stop closes the plane and gives it so long to drain.
func (g *Gateway) Stop(drain time.Duration) error {
	g.done = true
	ctx, cancel := context.WithTimeout(context.Background(), drain)
	defer cancel()
	return g.Close(ctx)
}

// Commit serves another snapshot.
func (g *Gateway) Commit(s *snapshot.Snapshot) {
	g.t.Helper()
	n, err := g.Prepare(context.Background(), s)
	if err != nil {
		g.t.Fatal(err)
	}
	n.Commit()
}

// Barrier returns after a plane of one loop has read everything that was sent to it before: its answer on another connection comes later.
func (g *Gateway) Barrier() {
	g.t.Helper()
	if g.ping == nil {
		g.ping = Dial(g.t, g.Addr)
	}
	_ = g.ping.SetDeadline(time.Now().Add(Patience))
	g.ping.Send("GET " + barrierPath + " HTTP/1.1\r\nHost: barrier.test\r\n\r\n")
	if m := g.ping.Want("GET", 503, "*"); m.Close() {
		g.ping.Close()
		g.ping = nil
	}
}

// To is an upstream of nodes with these addresses and equal weights.
func To(addrs ...string) *snapshot.Upstream {
	u := &snapshot.Upstream{Resource: "/routes/1", Type: "roundrobin", Scheme: "http", PassHost: "pass"}
	for _, addr := range addrs {
		a := netip.MustParseAddrPort(addr)
		u.Nodes = append(u.Nodes, snapshot.Node{Host: a.Addr().String(), Port: int(a.Port()), Weight: 1})
	}
	return u
}

// barrierPath is a route without upstream, which is answered with 503.
const barrierPath = "/l7test-barrier"

// Routes is a snapshot with one route for everything but the barrier, to the upstream, with plugins.
func Routes(u *snapshot.Upstream, plugins ...*snapshot.Plugin) *snapshot.Snapshot {
	return &snapshot.Snapshot{Routes: []*snapshot.Route{
		{ID: "1", Name: "one", Created: 1, URIs: []string{"/*", "*"}, Upstream: u, Plugins: plugins},
		{ID: "barrier", Created: 2, URIs: []string{barrierPath}},
	}}
}

// NoLeaks makes the test fail when it ends with more goroutines or descriptors than it has now. It is called first, so that its check comes last.
func NoLeaks(t testing.TB) {
	t.Helper()
	goroutines, fds := runtime.NumGoroutine(), descriptors(t)
	t.Cleanup(func() {
		if t.Failed() {
			return
		}
		ok := func() bool { return runtime.NumGoroutine() <= goroutines && len(descriptors(t)) <= len(fds) }
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for end := time.Now().Add(5 * time.Second); !ok(); <-tick.C {
			if time.Now().After(end) {
				buf := make([]byte, 64<<10)
				buf = buf[:runtime.Stack(buf, true)]
				t.Errorf("%d goroutines, were %d; descriptors\n%s\nwere\n%s\n%s", runtime.NumGoroutine(), goroutines,
					strings.Join(descriptors(t), "\n"), strings.Join(fds, "\n"), buf)
				return
			}
		}
	})
}

func descriptors(t testing.TB) (all []string) {
	t.Helper()
	dir, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range dir {
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err == nil && !strings.HasPrefix(target, "/proc/") {
			all = append(all, e.Name()+" "+target)
		}
	}
	return all
}
