package userspace

import (
	"context"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/control/snapshot"
)

// gateway is a plane with one listener of each sort on loopback.
type gateway struct {
	*Plane
	t   testing.TB
	tcp string
	udp string
}

func start(t testing.TB, o Options, edit func(*TCPListener), routes ...*snapshot.StreamRoute) *gateway {
	t.Helper()
	p := New(o)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := TCPListener{TCPListener: ln.(*net.TCPListener)}
	if edit != nil {
		edit(&l)
	}
	p.ListenTCP(l)
	u, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	p.ListenUDP(u)
	g := &gateway{p, t, ln.Addr().String(), u.LocalAddr().String()}
	g.serve(routes...)
	p.Start()
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = p.Close(ctx)
	})
	return g
}

// serve commits a snapshot with the routes.
func (g *gateway) serve(routes ...*snapshot.StreamRoute) {
	g.t.Helper()
	g.commit(&snapshot.Snapshot{StreamRoutes: routes})
}

func (g *gateway) commit(s *snapshot.Snapshot) {
	g.t.Helper()
	n, err := g.Prepare(context.Background(), s)
	if err != nil {
		g.t.Fatal(err)
	}
	n.Commit()
}

// to is a route to nodes of weight 1.
func to(nodes ...string) *snapshot.StreamRoute {
	u := &snapshot.Upstream{Resource: "/stream_routes/1", Type: "roundrobin", Scheme: "tcp"}
	for _, n := range nodes {
		host, port, _ := net.SplitHostPort(n)
		number, _ := strconv.Atoi(port)
		u.Nodes = append(u.Nodes, snapshot.Node{Host: host, Port: number, Weight: 1})
	}
	return &snapshot.StreamRoute{ID: "1", Upstream: u}
}

func (g *gateway) dial() *net.TCPConn {
	g.t.Helper()
	c, err := net.Dial("tcp", g.tcp)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c.(*net.TCPConn)
}

// server accepts connections and runs handle for each.
type server struct {
	addr     string
	accepted atomic.Int64
}

func serveTCP(t testing.TB, handle func(c *net.TCPConn)) *server {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{addr: ln.Addr().String()}
	var wg sync.WaitGroup
	done := make(chan struct{})
	t.Cleanup(func() { ln.Close(); <-done; wg.Wait() })
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s.accepted.Add(1)
			wg.Add(1)
			go func() {
				defer wg.Done()
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(20 * time.Second))
				handle(c.(*net.TCPConn))
			}()
		}
	}()
	return s
}

// echo sends back what it gets, and closes its sending side after the client's.
func echo(c *net.TCPConn) {
	_, _ = io.Copy(c, c)
	_ = c.CloseWrite()
}

// says answers with its name at once, and ends with the client.
func says(name string) func(*net.TCPConn) {
	return func(c *net.TCPConn) {
		_, _ = io.WriteString(c, name)
		_, _ = io.Copy(io.Discard, c)
	}
}

// refusing is an address where nobody listens.
func refusing(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// eventually waits for a condition that other goroutines bring about.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("it never came to this: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func read(t testing.TB, c net.Conn, n int) string {
	t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatalf("read %d bytes: %v", n, err)
	}
	return string(b)
}

func portOf(t testing.TB, addr string) int {
	t.Helper()
	a, err := netip.ParseAddrPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return int(a.Port())
}
