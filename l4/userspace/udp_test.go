package userspace

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/control/snapshot"
	"github.com/sluice-gateway/sluice/l7/listen"
)

// serveUDP answers each datagram with name and what it got.
func serveUDP(t testing.TB, name string) string {
	t.Helper()
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { c.Close(); <-done })
	go func() {
		defer close(done)
		b := make([]byte, maxDatagram)
		for {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			_, _ = c.WriteToUDPAddrPort(append([]byte(name), b[:n]...), from)
		}
	}()
	return c.LocalAddr().String()
}

func dialUDP(t testing.TB, addr string) *net.UDPConn {
	t.Helper()
	c, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	return c.(*net.UDPConn)
}

// insist sends a datagram until it is echoed, because a full socket buffer drops datagrams.
func insist(c *net.UDPConn, what string) error {
	b := make([]byte, 64)
	for range 20 {
		if _, err := c.Write([]byte(what)); err != nil {
			return err
		}
		_ = c.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		for {
			n, err := c.Read(b)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return err
			}
			if string(b[1:n]) == what { // else a late echo of an earlier one
				return nil
			}
		}
	}
	return fmt.Errorf("no echo of %q", what)
}

// ask sends a datagram and returns the answer.
func ask(t testing.TB, c *net.UDPConn, what string) string {
	t.Helper()
	if _, err := c.Write([]byte(what)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, maxDatagram)
	n, err := c.Read(b)
	if err != nil {
		t.Fatalf("ask %.20q: %v", what, err)
	}
	return string(b[:n])
}

func TestUDP(t *testing.T) {
	g := start(t, Options{}, nil, to(serveUDP(t, "a"), serveUDP(t, "b")))
	c := dialUDP(t, g.udp)
	first := ask(t, c, "1")
	for i := range 5 {
		if got, want := ask(t, c, fmt.Sprint(i)), first[:1]+fmt.Sprint(i); got != want {
			t.Errorf("got %q, want %q: a client stays with its node", got, want)
		}
	}
	if other := ask(t, dialUDP(t, g.udp), "x"); other[:1] == first[:1] {
		t.Errorf("both clients went to %s", other[:1])
	}
	if n := g.stats.Sessions.Load(); n != 2 {
		t.Errorf("%d sessions, want 2", n)
	}
	large := strings.Repeat("x", 60000)
	if got := ask(t, c, large); got[1:] != large {
		t.Errorf("%d of %d bytes came back", len(got)-1, len(large))
	}
	if got := ask(t, c, ""); got != first[:1] {
		t.Errorf("an empty datagram: %q", got)
	}
}

func TestUDPManyClients(t *testing.T) {
	g := start(t, Options{}, nil, to(serveUDP(t, "a"), serveUDP(t, "b"), serveUDP(t, "c")))
	var wg sync.WaitGroup
	for i := range 200 {
		c := dialUDP(t, g.udp)
		wg.Add(1)
		go func() {
			defer wg.Done()
			for j := range 5 {
				what := fmt.Sprintf("%d/%d", i, j)
				if err := insist(c, what); err != nil {
					t.Errorf("client %d: %v", i, err)
					return
				}
			}
		}()
	}
	wg.Wait()
	if n := g.stats.SessionsTotal.Load(); n != 200 {
		t.Errorf("%d sessions for 200 clients", n)
	}
}

func TestUDPIdleAndEviction(t *testing.T) {
	r := to(serveUDP(t, "a"))
	r.Upstream.Timeout = snapshot.Timeout{Connect: 1, Send: 0.2, Read: 0.2}
	g := start(t, Options{MaxSessions: 3}, nil, r)
	for range 5 {
		ask(t, dialUDP(t, g.udp), "x")
	}
	if n := g.stats.Evicted.Load(); n != 2 {
		t.Errorf("%d sessions made room, want 2", n)
	}
	eventually(t, "quiet sessions end", func() bool { return g.stats.Sessions.Load() == 0 })
	if n := g.byID.of("1").Total.Load(); n != 5 {
		t.Errorf("%d sessions were counted", n)
	}
}

// TestUDPUnreachable tests that a node whose port is closed is left, once the kernel says so.
func TestUDPUnreachable(t *testing.T) {
	closed, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	addr := closed.LocalAddr().String()
	closed.Close()
	g := start(t, Options{}, nil, to(addr, serveUDP(t, "a")))
	c := dialUDP(t, g.udp)
	eventually(t, "the other node answers", func() bool {
		_, _ = c.Write([]byte("x"))
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		n, err := c.Read(make([]byte, 8))
		return err == nil && n == 2
	})
}

// TestUDPWildcard tests that answers come from the address that the client used, on a socket that is bound to all.
func TestUDPWildcard(t *testing.T) {
	for _, tt := range []struct{ bind, client string }{
		{"0.0.0.0:0", "127.0.0.5"}, {"[::]:0", "127.0.0.6"}, {"[::]:0", "::1"},
	} {
		t.Run(tt.bind+" "+tt.client, func(t *testing.T) {
			c, err := listen.UDP(tt.bind)
			if err != nil {
				t.Fatal(err)
			}
			p := New(Options{})
			p.ListenUDP(c)
			g := &gateway{Plane: p, t: t}
			r := to(serveUDP(t, "a"))
			r.ServerAddr = tt.client
			g.serve(r)
			p.Start()
			t.Cleanup(func() { _ = p.Close(t.Context()) })
			// A connected socket takes answers from the address that it sends to only.
			addr := netip.AddrPortFrom(netip.MustParseAddr(tt.client), c.LocalAddr().(*net.UDPAddr).AddrPort().Port())
			if got := ask(t, dialUDP(t, addr.String()), "x"); got != "ax" {
				t.Errorf("got %q", got)
			}
		})
	}
}

// TestUDPBursts tests that the datagrams of several clients, which come in the same system calls, arrive whole and in order both ways.
func TestUDPBursts(t *testing.T) {
	g := start(t, Options{}, nil, to(serveUDP(t, "a")))
	const clients, each = 5, 2 * batchSize // few enough for the sockets' buffers
	var conns []*net.UDPConn
	for range clients {
		c := dialUDP(t, g.udp)
		ask(t, c, "begin")
		conns = append(conns, c)
	}
	word := func(client, n int) string { return strings.Repeat(fmt.Sprintf("%d/%d ", client, n), 1+n%7) }
	for n := range each {
		for i, c := range conns {
			if _, err := c.Write([]byte(word(i, n))); err != nil {
				t.Fatal(err)
			}
		}
	}
	b := make([]byte, maxDatagram)
	for i, c := range conns {
		for n := range each {
			got, err := c.Read(b)
			if err != nil {
				t.Fatalf("client %d, datagram %d: %v", i, n, err)
			}
			if want := "a" + word(i, n); string(b[:got]) != want {
				t.Fatalf("client %d, datagram %d: got %.20q of %d bytes, want %.20q of %d", i, n, b[:got], got, want, len(want))
			}
		}
	}
	if n := g.stats.Sessions.Load(); n != clients {
		t.Errorf("%d sessions, want %d", n, clients)
	}
}

// TestUDPTooLarge tests that a datagram that cannot be passed on does not take the next one with it.
func TestUDPTooLarge(t *testing.T) {
	g := start(t, Options{}, nil, to(serveUDP(t, "a")))
	c := dialUDP(t, g.udp)
	// 65,507 bytes are the most that IPv4 carries; the node's answer would have one more.
	if _, err := c.Write(make([]byte, 65507)); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, c, "next"); got != "anext" {
		t.Errorf("got %.20q", got)
	}
}
