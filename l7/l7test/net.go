package l7test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Patience is how long anything in a test may take before it counts as hung.
const Patience = 15 * time.Second

// Conn is one end of a raw connection with a buffered reader and a deadline.
type Conn struct {
	*net.TCPConn
	R *bufio.Reader
	// N counts an upstream's connections from 1.
	N int
	t testing.TB
	// sendErr is atomic: some tests send on goroutines of their own.
	sendErr atomic.Pointer[error]
}

func newConn(t testing.TB, c net.Conn, n int) *Conn {
	_ = c.SetDeadline(time.Now().Add(Patience))
	return &Conn{TCPConn: c.(*net.TCPConn), R: bufio.NewReaderSize(c, 64<<10), N: n, t: t}
}

// Dial opens a client connection that is closed at the end of the test.
func Dial(t testing.TB, addr string) *Conn {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, Patience)
	if err != nil {
		t.Fatal(err)
	}
	conn := newConn(t, c, 0)
	t.Cleanup(func() { conn.Close() })
	return conn
}

// Send writes parts; an error is kept in SendErr and left to the next read, as for any client whose peer has hung up.
func (c *Conn) Send(parts ...string) {
	c.sendErr.Store(nil)
	for _, s := range parts {
		// Without a copy: some tests measure memory.
		if _, err := c.Write(unsafe.Slice(unsafe.StringData(s), len(s))); err != nil {
			c.sendErr.Store(&err)
			return
		}
	}
}

// SendErr is the error of the last Send.
func (c *Conn) SendErr() error {
	if err := c.sendErr.Load(); err != nil {
		return *err
	}
	return nil
}

// Response reads a response that has to be complete.
func (c *Conn) Response(method string) *Message {
	c.t.Helper()
	m, err := ReadResponse(c.R, method)
	if err != nil {
		c.t.Fatalf("read response: %v after %q", err, short(m.Text()))
	}
	return m
}

// Want reads a response and checks its status and, unless it is "*", its body.
func (c *Conn) Want(method string, status int, body string) *Message {
	c.t.Helper()
	m := c.Response(method)
	if m.Status() != status || body != "*" && m.Body != body {
		c.t.Fatalf("got %q %q, want status %d and body %q", m.Start, short(m.Body), status, short(body))
	}
	return m
}

// Cut checks that the connection ends before the response is complete. It returns what came.
func (c *Conn) Cut(method string) *Message {
	c.t.Helper()
	m, err := ReadResponse(c.R, method)
	if err == nil {
		c.t.Fatalf("response is complete: %q %q", m.Start, short(m.Body))
	}
	if errors.Is(err, errTimeout) || isTimeout(err) {
		c.t.Fatalf("response neither ended nor was cut: %v", err)
	}
	return m
}

// Closed checks that the peer closes without sending anything more.
func (c *Conn) Closed() {
	c.t.Helper()
	b, err := io.ReadAll(c.R)
	if len(b) > 0 {
		c.t.Fatalf("got %q, want the end of the connection", short(string(b)))
	}
	if isTimeout(err) {
		c.t.Fatal("the connection stays open")
	}
}

// Open checks that the connection is open and silent.
func (c *Conn) Open() {
	c.t.Helper()
	if c.R.Buffered() > 0 {
		c.t.Fatal("there is more to read")
	}
	raw, err := c.SyscallConn()
	if err != nil {
		c.t.Fatal(err)
	}
	var n int
	var rerr error
	_ = raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, rerr = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	if rerr != syscall.EAGAIN {
		c.t.Fatalf("connection is not open and silent: %d bytes, %v", n, rerr)
	}
}

// Reset closes the connection with a reset.
func (c *Conn) Reset() {
	_ = c.SetLinger(0)
	c.Close()
}

// Request reads a request; ok is false at the end of the connection.
func (c *Conn) Request() (m *Message, ok bool) {
	m, err := ReadRequest(c.R)
	m.Conn = c.N
	return m, err == nil
}

var errTimeout = errors.New("timeout")

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

func short(s string) string {
	if len(s) > 300 {
		return s[:200] + "..." + s[len(s)-80:]
	}
	return s
}

// Upstream is a TCP server whose behaviour a test scripts per connection.
type Upstream struct {
	// Addr is its address.
	Addr string
	t    testing.TB
	ln   net.Listener
	wg   sync.WaitGroup

	mu    sync.Mutex
	conns []*Conn
	open  int
	seen  []*Message
	ended chan struct{} // closed and made anew at each change
}

// NewUpstream starts a server that runs handle for each connection, on a goroutine of its own, and closes the connection afterwards.
func NewUpstream(t testing.TB, handle func(c *Conn)) *Upstream {
	t.Helper()
	return NewUpstreams(t, func(_ *Upstream, c *Conn) { handle(c) })
}

// NewUpstreams is NewUpstream for a handler that wants to record what it sees.
func NewUpstreams(t testing.TB, handle func(u *Upstream, c *Conn)) *Upstream {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := &Upstream{Addr: ln.Addr().String(), t: t, ln: ln, ended: make(chan struct{})}
	u.wg.Add(1)
	go func() {
		defer u.wg.Done()
		for n := 1; ; n++ {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			conn := newConn(t, c, n)
			u.change(func() { u.conns = append(u.conns, conn); u.open++ })
			u.wg.Add(1)
			go func() {
				defer u.wg.Done()
				handle(u, conn)
				conn.Close()
				u.change(func() { u.open-- })
			}()
		}
	}()
	t.Cleanup(u.Stop)
	return u
}

// Stop closes everything and waits.
func (u *Upstream) Stop() {
	u.ln.Close()
	u.mu.Lock()
	for _, c := range u.conns {
		c.Close()
	}
	u.mu.Unlock()
	u.wg.Wait()
}

func (u *Upstream) change(f func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	f()
	close(u.ended)
	u.ended = make(chan struct{})
}

// Record keeps a message for Seen.
func (u *Upstream) Record(m *Message) { u.change(func() { u.seen = append(u.seen, m) }) }

// Seen returns the recorded messages and forgets them.
func (u *Upstream) Seen() (all []*Message) {
	u.change(func() { all, u.seen = u.seen, nil })
	return all
}

// Count is the number of recorded messages.
func (u *Upstream) Count() int { u.mu.Lock(); defer u.mu.Unlock(); return len(u.seen) }

// Conns is the number of connections so far, Open that of those whose handler runs.
func (u *Upstream) Conns() int { u.mu.Lock(); defer u.mu.Unlock(); return len(u.conns) }

// Open is the number of connections whose handler runs.
func (u *Upstream) Open() int { u.mu.Lock(); defer u.mu.Unlock(); return u.open }

// Wait waits until cond holds; it is asked again whenever a connection comes or goes or a message is recorded.
func (u *Upstream) Wait(what string, cond func() bool) {
	u.t.Helper()
	timeout := time.NewTimer(Patience)
	defer timeout.Stop()
	for {
		u.mu.Lock()
		ch := u.ended
		u.mu.Unlock()
		if cond() {
			return
		}
		select {
		case <-ch:
		case <-timeout.C:
			u.t.Fatalf("upstream: %s: not in %v", what, Patience)
		}
	}
}

// Eventually waits until cond holds.
func Eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(Patience); !cond(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("%s: not in %v", what, Patience)
		}
	}
}

// Answers is a handler that records each request and answers it with raw bytes, the same each time.
func Answers(raw string) func(u *Upstream, c *Conn) {
	return func(u *Upstream, c *Conn) {
		for {
			m, ok := c.Request()
			if !ok {
				if m.Start != "" {
					u.Record(m)
				}
				return
			}
			u.Record(m)
			c.Send(raw)
		}
	}
}

// Echo is a handler that records each request and answers with its request line and body.
func Echo(u *Upstream, c *Conn) {
	for {
		m, ok := c.Request()
		if !ok {
			if m.Start != "" {
				u.Record(m)
			}
			return
		}
		u.Record(m)
		body := m.Method() + " " + m.Target() + "\n" + m.Body
		if m.Method() == "HEAD" {
			c.Send(OK(body)[:strings.Index(OK(body), "\r\n\r\n")+4])
			continue
		}
		c.Send(OK(body))
	}
}

// OK is a 200 response with that body and lines of fields.
func OK(body string, fields ...string) string {
	return Head(append([]string{"HTTP/1.1 200 OK", "Content-Length: " + itoa(len(body))}, fields...)...) + body
}

// Chunked is a 200 response with the parts as chunks.
func Chunked(parts ...string) string {
	return Head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + Chunks(parts...) + "0\r\n\r\n"
}

// Chunks frames parts without the last chunk.
func Chunks(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteString(hex(len(p)) + "\r\n" + p + "\r\n")
	}
	return b.String()
}

// Head joins lines with CR LF and ends with an empty one.
func Head(lines ...string) string { return strings.Join(lines, "\r\n") + "\r\n\r\n" }

// Get is a GET request.
func Get(target string, fields ...string) string {
	return Head(slices.Concat([]string{"GET " + target + " HTTP/1.1", "Host: a.test"}, fields)...)
}

// Post is a POST request with a length.
func Post(target, body string, fields ...string) string {
	return Head(slices.Concat([]string{"POST " + target + " HTTP/1.1", "Host: a.test", "Content-Length: " + itoa(len(body))}, fields)...) + body
}

// deadline is the time by which a step that begins now has to be over.
func (c *Conn) deadline() time.Time { return time.Now().Add(Patience) }

// TryDial is Dial for a server that may be gone.
func TryDial(t testing.TB, addr string) (*Conn, error) {
	c, err := net.DialTimeout("tcp", addr, Patience)
	if err != nil {
		return nil, err
	}
	return newConn(t, c, 0), nil
}

// Unsent is how many bytes the kernel holds that the peer of c has not acknowledged.
func Unsent(t testing.TB, c *Conn) (n int64) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) {
		v, _ := unix.IoctlGetInt(int(fd), unix.TIOCOUTQ)
		n = int64(v)
	})
	return n
}

// Heap is the live heap in bytes after a collection.
func Heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
