package l7test

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"runtime/debug"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sluice-gateway/sluice/control/snapshot"
	"github.com/sluice-gateway/sluice/l7"
)

// Allocations proxies n requests one after the other on one keep-alive connection, after as many to warm up, and returns how many heap objects the process allocated
// meanwhile. Client and upstream are plain system calls on buffers made before, so whatever is counted is the gateway's. routes makes the snapshot for the
// upstream's address; every answer has to have that status. It skips the test under the race detector.
func Allocations(t testing.TB, o l7.Options, routes func(upstream string) *snapshot.Snapshot, request string, status, n int) uint64 {
	t.Helper()
	if Race {
		t.Skip("the race detector allocates")
	}
	o.Loop.KeepaliveRequests = 1 << 40
	up := rawUpstream(t, OK(string(bytes.Repeat([]byte("x"), 1024)), "Content-Type: text/plain", "ETag: \"1\""))
	s := routes(up)
	for _, r := range s.Routes {
		if r.Upstream != nil {
			r.Upstream.KeepalivePool = snapshot.KeepalivePool{Size: 8, IdleTimeout: 60, Requests: 1 << 30}
		}
	}
	g := Start(t, o, s)
	c := newRawClient(t, g.Addr, request, status)
	for range n {
		c.ask(t)
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range n {
		c.ask(t)
	}
	runtime.ReadMemStats(&after)
	return after.Mallocs - before.Mallocs
}

// rawClient is a client connection that does not allocate.
type rawClient struct {
	fd     int
	in     []byte
	out    []byte
	status []byte
}

func newRawClient(t testing.TB, addr, request string, status int) *rawClient {
	t.Helper()
	a := netip.MustParseAddrPort(addr)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}); err != nil {
		t.Fatal(err)
	}
	return &rawClient{fd: fd, in: make([]byte, 64<<10), out: []byte(request), status: fmt.Appendf(nil, "HTTP/1.1 %d ", status)}
}

var (
	emptyLine     = []byte("\r\n\r\n")
	contentLength = []byte("\r\nContent-Length: ")
)

// ask sends the request and reads one response with a Content-Length.
func (c *rawClient) ask(t testing.TB) {
	if _, err := unix.Write(c.fd, c.out); err != nil {
		t.Fatal(err)
	}
	for have := 0; ; {
		n, err := unix.Read(c.fd, c.in[have:])
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			t.Fatalf("read response: %v after %q", err, c.in[:have])
		}
		have += n
		end := bytes.Index(c.in[:have], emptyLine)
		if end < 0 {
			continue
		}
		if !bytes.HasPrefix(c.in, c.status) {
			t.Fatalf("got %q", c.in[:have])
		}
		length := 0
		i := bytes.Index(c.in[:end], contentLength)
		if i < 0 {
			t.Fatalf("no Content-Length in %q", c.in[:have])
		}
		for _, d := range c.in[i+len(contentLength) : end] {
			if d < '0' || d > '9' {
				break
			}
			length = length*10 + int(d-'0')
		}
		if have >= end+len(emptyLine)+length {
			return
		}
	}
}

// rawUpstream is a server that answers every request without body with the same bytes and does not allocate. It returns its address.
func rawUpstream(t testing.TB, answer string) string {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		var ends []chan struct{}
		for {
			c, err := ln.Accept()
			if err != nil {
				break
			}
			f, err := c.(*net.TCPConn).File() // blocking from here on
			c.Close()
			if err != nil {
				break
			}
			end := make(chan struct{})
			ends = append(ends, end)
			go func() {
				defer close(end)
				defer f.Close()
				fd, in, out := int(f.Fd()), make([]byte, 64<<10), []byte(answer)
				for have := 0; ; {
					n, err := unix.Read(fd, in[have:])
					if err == unix.EINTR {
						continue
					}
					if err != nil || n == 0 {
						return
					}
					if have += n; bytes.HasSuffix(in[:have], emptyLine) {
						have = 0
						if _, err := unix.Write(fd, out); err != nil {
							return
						}
					}
				}
			}()
		}
		for _, end := range ends {
			<-end
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return ln.Addr().String()
}
