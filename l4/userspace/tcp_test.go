package userspace

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/control/snapshot"
	"github.com/sluice-gateway/sluice/l7/proxyproto"
)

func TestEchoAndHalfClose(t *testing.T) {
	s := serveTCP(t, echo)
	g := start(t, Options{}, nil, to(s.addr))
	c := g.dial()
	fmt.Fprint(c, "hello")
	if got := read(t, c, 5); got != "hello" {
		t.Errorf("got %q", got)
	}
	// The node answers after the client has closed its side, and the other way round.
	fmt.Fprint(c, "more")
	_ = c.CloseWrite()
	rest, err := io.ReadAll(c)
	if err != nil || string(rest) != "more" {
		t.Errorf("got %q, %v", rest, err)
	}
	eventually(t, "the connection ends", func() bool { return g.stats.Active.Load() == 0 })
	r := g.byID.of("1")
	if r.Total.Load() != 1 || r.Active.Load() != 0 || r.BytesIn.Load() != 9 || r.BytesOut.Load() != 9 {
		t.Errorf("counted %d connections, %d active, %d bytes in, %d out", r.Total.Load(), r.Active.Load(), r.BytesIn.Load(), r.BytesOut.Load())
	}
}

func TestServerClosesItsSideFirst(t *testing.T) {
	got := make(chan string, 1)
	s := serveTCP(t, func(c *net.TCPConn) {
		fmt.Fprint(c, "bye")
		_ = c.CloseWrite()
		b, _ := io.ReadAll(c)
		got <- string(b)
	})
	c := start(t, Options{}, nil, to(s.addr)).dial()
	if b, err := io.ReadAll(c); err != nil || string(b) != "bye" {
		t.Fatalf("got %q, %v", b, err)
	}
	fmt.Fprint(c, "still here")
	_ = c.CloseWrite()
	if g := <-got; g != "still here" {
		t.Errorf("the node got %q", g)
	}
}

// TestReset tests that a broken connection does not look like one that has ended well, on either side.
func TestReset(t *testing.T) {
	t.Run("node", func(t *testing.T) {
		s := serveTCP(t, func(c *net.TCPConn) {
			_, _ = c.Write([]byte("part"))
			_, _ = c.Read(make([]byte, 2))
			_ = c.SetLinger(0)
		})
		c := start(t, Options{}, nil, to(s.addr)).dial()
		read(t, c, 4)
		fmt.Fprint(c, "go")
		if _, err := io.ReadAll(c); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the client saw %v, want a reset", err)
		}
	})
	t.Run("client", func(t *testing.T) {
		saw := make(chan error, 1)
		s := serveTCP(t, func(c *net.TCPConn) {
			_, _ = c.Write([]byte("part"))
			_, err := io.ReadAll(c)
			saw <- err
		})
		c := start(t, Options{}, nil, to(s.addr)).dial()
		read(t, c, 4)
		_ = c.SetLinger(0)
		_ = c.Close()
		if err := <-saw; !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the node saw %v, want a reset", err)
		}
	})
}

// TestBulk moves 64 MB both ways at the same time and compares checksums.
func TestBulk(t *testing.T) {
	const size = 64 << 20
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	sums := make(chan [32]byte, 1)
	s := serveTCP(t, func(c *net.TCPConn) {
		go func() {
			_, _ = c.Write(data)
			_ = c.CloseWrite()
		}()
		h := sha256.New()
		_, _ = io.Copy(h, c)
		sums <- [32]byte(h.Sum(nil))
	})
	c := start(t, Options{}, nil, to(s.addr)).dial()
	go func() {
		_, _ = c.Write(data)
		_ = c.CloseWrite()
	}()
	h := sha256.New()
	if n, err := io.Copy(h, c); err != nil || n != size {
		t.Fatalf("got %d bytes, %v", n, err)
	}
	want := sha256.Sum256(data)
	if [32]byte(h.Sum(nil)) != want || <-sums != want {
		t.Error("what arrived is not what was sent")
	}
}

// TestSlowReader tests that a client that does not read holds the node up instead of filling memory.
func TestSlowReader(t *testing.T) {
	var sent, stopped = make(chan int64, 1), make(chan struct{})
	s := serveTCP(t, func(c *net.TCPConn) {
		defer close(stopped)
		var n int64
		chunk := make([]byte, 1<<20)
		_ = c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		for n < 1<<30 {
			m, err := c.Write(chunk)
			if n += int64(m); err != nil {
				break
			}
		}
		sent <- n
	})
	c := start(t, Options{}, nil, to(s.addr)).dial()
	_ = c.SetReadBuffer(64 << 10)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	<-stopped
	runtime.ReadMemStats(&after)
	if n := <-sent; n >= 64<<20 {
		t.Errorf("the node could send %d bytes to a client that reads nothing", n)
	}
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 8<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
}

func TestRetries(t *testing.T) {
	s := serveTCP(t, says("here"))
	zero := 0
	for _, tt := range []struct {
		name  string
		route *snapshot.StreamRoute
		ok    bool
	}{
		{"the next node", to(refusing(t), s.addr), true},
		{"the third node", to(refusing(t), refusing(t), s.addr), true},
		{"none left", to(refusing(t), refusing(t)), false},
		{"no retries", func() *snapshot.StreamRoute {
			r := to(refusing(t), s.addr)
			r.Upstream.Retries = &zero
			r.Upstream.Nodes[0].Weight = 1000 // it comes first
			return r
		}(), false},
		{"no nodes", to(), false},
		{"no upstream", &snapshot.StreamRoute{ID: "1"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := start(t, Options{}, nil, tt.route)
			c := g.dial()
			b := make([]byte, 4)
			if _, err := io.ReadFull(c, b); (err == nil) != tt.ok {
				t.Errorf("got %q, %v", b, err)
			}
			if n := g.stats.Refused(ReasonUpstream); (n == 0) != tt.ok {
				t.Errorf("%d connections are counted as failed", n)
			}
		})
	}
}

// TestIdle tests that a connection on which nothing moves ends after timeout.read and timeout.send, and that one that is used does not.
func TestIdle(t *testing.T) {
	s := serveTCP(t, echo)
	r := to(s.addr)
	r.Upstream.Timeout = snapshot.Timeout{Connect: 5, Send: 0.25, Read: 0.25}
	g := start(t, Options{}, nil, r)
	quiet, busy := g.dial(), g.dial()
	gone := make(chan time.Duration, 1)
	begun := time.Now()
	go func() {
		_, _ = io.ReadAll(quiet)
		gone <- time.Since(begun)
	}()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for range 12 {
		fmt.Fprint(busy, "x")
		read(t, busy, 1)
		<-tick.C
	}
	if took := <-gone; took < 250*time.Millisecond {
		t.Errorf("the quiet connection ended after %v", took)
	}
}

func TestMatching(t *testing.T) {
	a, b := serveTCP(t, says("a")), serveTCP(t, says("b"))
	route := func(id, node string, edit func(*snapshot.StreamRoute)) *snapshot.StreamRoute {
		r := to(node)
		r.ID = id
		edit(r)
		return r
	}
	all := func(*snapshot.StreamRoute) {}
	g := start(t, Options{}, nil)
	port := portOf(t, g.tcp)
	for _, tt := range []struct {
		name   string
		routes []*snapshot.StreamRoute
		want   string
	}{
		{"none", nil, ""},
		{"one", []*snapshot.StreamRoute{route("1", a.addr, all)}, "a"},
		{"the first", []*snapshot.StreamRoute{route("1", a.addr, all), route("2", b.addr, all)}, "a"},
		{"port", []*snapshot.StreamRoute{route("1", a.addr, func(r *snapshot.StreamRoute) { r.ServerPort = port + 1 }), route("2", b.addr, func(r *snapshot.StreamRoute) { r.ServerPort = port })}, "b"},
		{"server address", []*snapshot.StreamRoute{route("1", a.addr, func(r *snapshot.StreamRoute) { r.ServerAddr = "127.0.0.2" }), route("2", b.addr, func(r *snapshot.StreamRoute) { r.ServerAddr = "127.0.0.1" })}, "b"},
		{"client address", []*snapshot.StreamRoute{route("1", a.addr, func(r *snapshot.StreamRoute) { r.RemoteAddr = "10.0.0.0/8" }), route("2", b.addr, func(r *snapshot.StreamRoute) { r.RemoteAddr = "127.0.0.0/8" })}, "b"},
		{"only others", []*snapshot.StreamRoute{route("1", a.addr, func(r *snapshot.StreamRoute) { r.RemoteAddr = "10.0.0.1" })}, ""},
		{"plain TCP with a route by name", []*snapshot.StreamRoute{route("1", a.addr, func(r *snapshot.StreamRoute) { r.SNI = "a.test" }), route("2", b.addr, all)}, "b"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g.t = t
			g.serve(tt.routes...)
			c := g.dial()
			fmt.Fprint(c, "no TLS")
			_ = c.CloseWrite()
			if got, _ := io.ReadAll(c); string(got) != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestEditsLeaveConnectionsAlone commits many snapshots while connections are in use.
func TestEditsLeaveConnectionsAlone(t *testing.T) {
	a, b := serveTCP(t, echo), serveTCP(t, echo)
	g := start(t, Options{}, nil, to(a.addr))
	var conns []*net.TCPConn
	ping := func(c *net.TCPConn, what string) {
		fmt.Fprint(c, what)
		if got := read(t, c, len(what)); got != what {
			t.Fatalf("got %q, want %q", got, what)
		}
	}
	for range 20 {
		c := g.dial()
		ping(c, "begin")
		conns = append(conns, c)
	}
	for i := range 300 {
		switch i % 3 {
		case 0:
			g.serve(to(b.addr))
		case 1:
			g.serve()
		default:
			g.serve(to(a.addr))
		}
		ping(conns[i%len(conns)], fmt.Sprint(i))
	}
	if n := a.accepted.Load(); n != 20 {
		t.Errorf("the first node has seen %d connections, want 20", n)
	}
}

func TestDeletedRouteKeepsItsConnections(t *testing.T) {
	s := serveTCP(t, echo)
	g := start(t, Options{}, nil, to(s.addr))
	c := g.dial()
	fmt.Fprint(c, "a")
	read(t, c, 1)
	g.serve()
	fmt.Fprint(c, "b")
	if got := read(t, c, 1); got != "b" {
		t.Errorf("got %q", got)
	}
	other := g.dial()
	if b, _ := io.ReadAll(other); len(b) > 0 {
		t.Errorf("a new connection got %q", b)
	}
}

func TestMaxConns(t *testing.T) {
	s := serveTCP(t, says("hi"))
	g := start(t, Options{MaxConns: 2}, nil, to(s.addr))
	a, b := g.dial(), g.dial()
	read(t, a, 2)
	read(t, b, 2)
	// The reset may come before Dial has looked at its socket.
	if c, err := net.Dial("tcp", g.tcp); err == nil {
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		_, err = io.ReadAll(c)
		c.Close()
		if !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the third connection ended with %v, want a reset", err)
		}
	} else if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the third connection was answered with %v, want a reset", err)
	}
	if n := g.stats.Refused(ReasonLimit); n != 1 {
		t.Errorf("%d connections are counted as refused", n)
	}
	_ = a.Close()
	eventually(t, "there is room again", func() bool { return g.stats.Active.Load() == 1 })
	read(t, g.dial(), 2)
}

func TestProxyProtocol(t *testing.T) {
	got := make(chan string, 1)
	s := serveTCP(t, func(c *net.TCPConn) {
		b, _ := io.ReadAll(c)
		got <- string(b)
	})
	both := func(l *TCPListener) { l.ProxyProtocol, l.ProxyProtocolOut = true, true }
	from := proxyproto.Header{Source: netip.MustParseAddrPort("203.0.113.7:1234"), Destination: netip.MustParseAddrPort("192.0.2.1:80")}
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	for _, tt := range []struct {
		name  string
		trust []netip.Prefix
		send  []byte
		want  string // what the node gets; %d is the gateway's port
	}{
		{"version 1", loopback, append(proxyproto.AppendV1(nil, from), "data"...), "PROXY TCP4 203.0.113.7 127.0.0.1 1234 %d\r\ndata"},
		{"version 2", loopback, append(proxyproto.AppendV2(nil, from), "data"...), "PROXY TCP4 203.0.113.7 127.0.0.1 1234 %d\r\ndata"},
		{"a peer that is not trusted", nil, append(proxyproto.AppendV1(nil, from), "data"...), "PROXY TCP4 127.0.0.1 127.0.0.1 "},
		{"no header", loopback, []byte("data"), ""},
		{"a broken one", loopback, []byte("PROXY TCP4 x\r\ndata"), ""},
		{"only part of one", loopback, []byte("PROXY TCP4 "), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := start(t, Options{TrustProxy: tt.trust}, both, to(s.addr))
			c := g.dial()
			_, _ = c.Write(tt.send)
			_ = c.CloseWrite()
			_, _ = io.ReadAll(c)
			if tt.want == "" {
				if s.accepted.Load() > 3 {
					t.Error("the connection reached the node")
				}
				return
			}
			want := strings.ReplaceAll(tt.want, "%d", fmt.Sprint(portOf(t, g.tcp)))
			if b := <-got; !strings.HasPrefix(b, want) || !strings.HasSuffix(b, "data") {
				t.Errorf("the node got %q, want %q", b, want)
			}
		})
	}
}

func TestHelloTimeout(t *testing.T) {
	s := serveTCP(t, says("hi"))
	g := start(t, Options{HelloTimeout: 50 * time.Millisecond}, func(l *TCPListener) { l.ProxyProtocol = true }, to(s.addr))
	c := g.dial()
	fmt.Fprint(c, "PROXY")
	if b, err := io.ReadAll(c); len(b) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %q, %v", b, err)
	}
	eventually(t, "it is counted", func() bool { return g.stats.Refused(ReasonProxyProtocol) == 1 })
}

// TestChash tests that a client address sticks to its node.
func TestChash(t *testing.T) {
	var nodes []string
	for _, name := range []string{"a", "b", "c"} {
		nodes = append(nodes, serveTCP(t, says(name)).addr)
	}
	r := to(nodes...)
	r.Upstream.Type, r.Upstream.HashOn, r.Upstream.Key = "chash", "vars", "remote_addr"
	g := start(t, Options{}, nil, r)
	used := map[string]bool{}
	for i := range 12 {
		var names []string
		for range 3 {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(10+i))}}
			c, err := d.Dial("tcp", g.tcp)
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, read(t, c, 1))
			c.Close()
		}
		if names[0] != names[1] || names[1] != names[2] {
			t.Errorf("client %d went to %v", i, names)
		}
		used[names[0]] = true
	}
	if len(used) < 2 {
		t.Errorf("all clients went to %v", used)
	}
}

// TestClose tests that open connections may end in their own time, and that those that do not are cut.
func TestClose(t *testing.T) {
	s := serveTCP(t, echo)
	p := New(Options{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.ListenTCP(TCPListener{TCPListener: ln.(*net.TCPListener)})
	g := &gateway{p, t, ln.Addr().String(), ""}
	g.serve(to(s.addr))
	p.Start()
	good, stuck := g.dial(), g.dial()
	for _, c := range []*net.TCPConn{good, stuck} {
		fmt.Fprint(c, "a")
		read(t, c, 1)
	}
	ctx, cancel := context.WithCancel(t.Context())
	closed := make(chan error, 1)
	go func() { closed <- p.Close(ctx) }()
	eventually(t, "nobody listens", func() bool {
		c, err := net.Dial("tcp", g.tcp)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	fmt.Fprint(good, "b")
	_ = good.CloseWrite()
	if b, err := io.ReadAll(good); err != nil || string(b) != "b" {
		t.Errorf("got %q, %v", b, err)
	}
	eventually(t, "one is left", func() bool { return p.stats.Active.Load() == 1 })
	cancel()
	if err := <-closed; err == nil || !strings.Contains(err.Error(), "1 connections") {
		t.Errorf("got %v", err)
	}
	if _, err := io.ReadAll(stuck); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the connection that was cut saw %v", err)
	}
}

// TestManyConnections holds that nothing is left of connections that have ended.
func TestManyConnections(t *testing.T) {
	s := serveTCP(t, echo)
	g := start(t, Options{}, nil, to(s.addr, s.addr))
	before := runtime.NumGoroutine()
	var wg sync.WaitGroup
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range 100 {
				c, err := net.Dial("tcp", g.tcp)
				if err != nil {
					t.Error(err)
					return
				}
				fmt.Fprint(c, "ping")
				_ = c.(*net.TCPConn).CloseWrite()
				if b, err := io.ReadAll(c); err != nil || !bytes.Equal(b, []byte("ping")) {
					t.Errorf("got %q, %v", b, err)
				}
				c.Close()
			}
		}()
	}
	wg.Wait()
	eventually(t, "all have ended", func() bool { return g.stats.Active.Load() == 0 && runtime.NumGoroutine() <= before+2 })
	if n := len(g.open); n != 0 {
		t.Errorf("%d connections are still registered", n)
	}
	if n := g.byID.of("1").Total.Load(); n != 800 {
		t.Errorf("%d connections were counted", n)
	}
}
