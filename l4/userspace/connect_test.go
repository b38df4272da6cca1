package userspace

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluice-gateway/sluice/control/snapshot"
)

// blackHole is an address that answers nothing: the queue of its listener is full, so the kernel drops what wants to connect.
func blackHole(t testing.TB) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
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
	addr := (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: sa.(*unix.SockaddrInet4).Port}).String()
	for range 16 {
		c, err := net.DialTimeout("tcp", addr, 100*time.Millisecond)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { c.Close() })
	}
	t.Fatal("the queue of the listener never fills")
	return ""
}

func TestConnectTimeout(t *testing.T) {
	hole := blackHole(t)
	for _, tt := range []struct {
		name  string
		nodes []string
		want  string
	}{
		{"the only node", []string{hole}, ""},
		{"the next node", []string{hole, serveTCP(t, says("here")).addr}, "here"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := to(tt.nodes...)
			r.Upstream.Nodes[0].Weight = 1000 // it comes first
			r.Upstream.Timeout = snapshot.Timeout{Connect: 0.15, Send: 20, Read: 20}
			g := start(t, Options{}, nil, r)
			begun := time.Now()
			c := g.dial()
			_ = c.CloseWrite()
			b, _ := io.ReadAll(c)
			if string(b) != tt.want {
				t.Errorf("got %q, want %q", b, tt.want)
			}
			if took := time.Since(begun); took < 150*time.Millisecond || took > 10*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// TestCloseWhileConnecting tests that a node that does not answer does not keep the plane open.
func TestCloseWhileConnecting(t *testing.T) {
	r := to(blackHole(t), blackHole(t))
	r.Upstream.Timeout = snapshot.Timeout{Connect: 60, Send: 60, Read: 60}
	p := New(Options{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.ListenTCP(TCPListener{TCPListener: ln.(*net.TCPListener)})
	g := &gateway{p, t, ln.Addr().String(), ""}
	g.serve(r)
	p.Start()
	g.dial()
	eventually(t, "the connection has its route", func() bool { return p.byID.of("1").Active.Load() == 1 })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	closed := make(chan error, 1)
	go func() { closed <- p.Close(ctx) }()
	select {
	case err := <-closed:
		if err == nil || !strings.Contains(err.Error(), "1 connections") {
			t.Errorf("got %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the plane waits for a node")
	}
	if n := p.stats.Refused(ReasonUpstream); n != 0 {
		t.Errorf("%d connections are counted as failed by the upstream", n)
	}
}
