package userspace

import (
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// end is one side of a relay.
type end struct {
	raw *net.TCPConn
	// conn is raw, or TLS over it.
	conn halfCloser
	// pre was read from conn already.
	pre []byte
}

// halfCloser is a connection whose sending side can be closed alone.
type halfCloser interface {
	io.ReadWriter
	CloseWrite() error
}

// reset closes both sockets so that their peers see a broken connection, not the end of a complete one.
func reset(a, b *net.TCPConn) {
	for _, c := range []*net.TCPConn{a, b} {
		_ = c.SetLinger(0)
		_ = c.Close()
	}
}

// relay moves bytes between a client and a node until both have closed their sending side, one of them breaks, or nothing moves for idle; then the sockets are closed. It
// returns how many bytes went up and down. The idle time is watched from outside (see watch), so that nothing but the end of a direction interrupts a copy.
func relay(client, node *end, idle time.Duration) (up, down int64) {
	w := newWatch(client.raw, node.raw, idle)
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		down = pipe(client, node)
	}()
	up = pipe(node, client)
	wg.Wait()
	w.stop()
	_ = client.raw.Close()
	_ = node.raw.Close()
	return up, down
}

// pipe moves bytes from src to dst and passes the end of them on.
func pipe(dst, src *end) (n int64) {
	if len(src.pre) > 0 {
		m, err := dst.conn.Write(src.pre)
		n = int64(m)
		if err != nil {
			reset(dst.raw, src.raw)
			return n
		}
	}
	m, err := io.Copy(dst.conn, src.conn)
	n += m
	if err == nil {
		err = dst.conn.CloseWrite()
	}
	if err != nil {
		// Whatever broke, the other side must not take what it got for everything.
		reset(dst.raw, src.raw)
	}
	return n
}

// watch closes two sockets when neither has got or delivered a byte for a while. It asks the kernel (tcp_info, Linux 4.1), since spliced bytes never come here.
type watch struct {
	a, b   *net.TCPConn
	idle   time.Duration
	period time.Duration
	last   uint64
	since  time.Time

	mu      sync.Mutex // guards timer, which check may need before newWatch has set it
	timer   *time.Timer
	stopped bool
}

func newWatch(a, b *net.TCPConn, idle time.Duration) *watch {
	w := &watch{a: a, b: b, idle: idle, period: max(idle/8, 5*time.Millisecond), since: time.Now()}
	w.last = w.moved()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(w.period, w.check)
	return w
}

func (w *watch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	w.timer.Stop()
}

func (w *watch) check() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return
	}
	now := time.Now()
	if n := w.moved(); n != w.last {
		w.last, w.since = n, now
	} else if now.Sub(w.since) >= w.idle {
		_ = w.a.Close()
		_ = w.b.Close()
		return
	}
	w.timer.Reset(w.period)
}

// moved is a number that changes whenever bytes move.
func (w *watch) moved() uint64 { return bytesOf(w.a) + bytesOf(w.b) }

func bytesOf(c *net.TCPConn) (n uint64) {
	rc, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	_ = rc.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			n = info.Bytes_acked + info.Bytes_received
		}
	})
	return n
}
