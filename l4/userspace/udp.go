package userspace

import (
	"container/list"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluice-gateway/sluice/l7/plugin"
	"github.com/sluice-gateway/sluice/l7/upstream"
)

// drainIdle is how long a session may be quiet once the listener has ended.
const drainIdle = time.Second

// udpListener is a UDP socket and its sessions. Datagrams move in batches (see batch). A session is what one client address sends to one address of ours; it has a socket of its own to its node, so that the node's
// answers and the kernel's errors find their way back. The listener's goroutine reads what clients send, each session's what its node sends.
type udpListener struct {
	p     *Plane
	c     *net.UDPConn
	rc    syscall.RawConn
	local netip.AddrPort // unspecified for every address

	mu       sync.Mutex
	sessions map[udpKey]*udpSession
	quiet    list.List // of *udpSession; the front one has been quiet for longest
	ended    bool
}

type udpKey struct {
	client netip.AddrPort
	scope  uint32     // the interface of a link-local client
	local  netip.Addr // the address of ours that the client used
}

type udpSession struct {
	l     *udpListener
	key   udpKey
	route *route
	node  *upstream.Node
	ex    *plugin.Exchange
	up    *net.UDPConn
	rc    syscall.RawConn // of up
	from  *receiver       // of up
	place *list.Element
	// back is where answers go, and the address of ours that they leave from.
	back target

	idle     time.Duration
	last     atomic.Int64 // plugin.Clock of the newest datagram
	in, out  atomic.Uint64
	answered atomic.Bool
}

func newUDPListener(p *Plane, c *net.UDPConn) *udpListener {
	return &udpListener{p: p, c: c, rc: rawConn(c), local: c.LocalAddr().(*net.UDPAddr).AddrPort(), sessions: map[udpKey]*udpSession{}}
}

// rawConn is c for system calls. It fails for a nil connection only.
func rawConn(c *net.UDPConn) syscall.RawConn {
	rc, err := c.SyscallConn()
	if err != nil {
		panic(err)
	}
	return rc
}

// read takes datagrams until the listener ends. Those that follow each other in one session go on together.
func (l *udpListener) read() {
	in := newReceiver(l.rc)
	for {
		b, err := in.receive()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
				return
			}
			continue // an error that an earlier answer has caused, such as a client that is gone
		}
		for i := 0; i < b.n; {
			key := l.key(b, i)
			j := i + 1
			for j < b.n && l.key(b, j) == key {
				j++
			}
			l.forward(b, i, j, key)
			i = j
		}
		b.release()
	}
}

// key is the session that a datagram belongs to.
func (l *udpListener) key(b *batch, i int) udpKey {
	from, scope := b.sender(i)
	// A socket that is bound to one address may get what was sent to another: sk_lookup steers.
	local := destination(b.control(i))
	if !local.IsValid() {
		local = l.local.Addr()
	}
	return udpKey{from, scope, local.Unmap()}
}

// forward passes on the datagrams of a session from place i up to j. A node that is known to be unreachable by now is replaced once.
func (l *udpListener) forward(b *batch, i, j int, key udpKey) {
	for replaced := false; i < j; {
		s := l.session(key, b, i)
		if s == nil {
			return
		}
		s.last.Store(plugin.Clock())
		n, err := b.send(s.rc, i, j, nil)
		for end := i + n; i < end; i++ {
			s.in.Add(uint64(b.heads[i].n))
		}
		switch {
		case err == nil:
		case errors.Is(err, syscall.ECONNREFUSED):
			s.unreachable()
			if replaced {
				return
			}
			replaced = true
		case errors.Is(err, net.ErrClosed):
			return
		default:
			i++ // too large, or no room in the socket: datagrams get lost
		}
	}
}

// session finds the session of the datagram at a place or begins one; nil when it may not.
func (l *udpListener) session(key udpKey, b *batch, i int) *udpSession {
	l.mu.Lock()
	s := l.sessions[key]
	if s != nil {
		l.quiet.MoveToBack(s.place)
	}
	l.mu.Unlock()
	if s != nil {
		return s
	}
	return l.begin(key, b.origin(i))
}

func (l *udpListener) begin(key udpKey, back target) *udpSession {
	p := l.p
	server := netip.AddrPortFrom(key.local, l.local.Port())
	r := p.table.Load().match(key.client, server, "")
	if r == nil {
		p.refuse(ReasonRoute, "", nil)
		return nil
	}
	r.retain()
	s := &udpSession{l: l, key: key, route: r, back: back}
	if err := s.open(server); err != nil {
		if errors.As(err, new(*errRefused)) {
			p.refuse(ReasonPlugin, r.def.ID, err)
		} else {
			p.unreachable(r, err)
			if s.ex != nil {
				s.ex.Response.Status = statusBadGateway
			}
		}
		s.log()
		r.release()
		return nil
	}
	if key.local != l.local.Addr().Unmap() {
		s.back.control = source(key.local)
	}
	l.mu.Lock()
	if l.ended || !p.enter(s) {
		l.mu.Unlock()
		s.close()
		return nil
	}
	if len(l.sessions) >= p.o.MaxSessions {
		oldest := l.quiet.Front().Value.(*udpSession)
		l.forget(oldest)
		p.stats.Evicted.Add(1)
		_ = oldest.up.Close() // its goroutine does the rest
	}
	l.sessions[key], s.place = s, l.quiet.PushBack(s)
	p.wg.Add(1)
	l.mu.Unlock()
	p.stats.Sessions.Add(1)
	p.stats.SessionsTotal.Add(1)
	r.stats.Total.Add(1)
	r.stats.Active.Add(1)
	s.last.Store(plugin.Clock())
	go s.answers()
	return s
}

// forget takes a session out of the table. The lock is held.
func (l *udpListener) forget(s *udpSession) {
	if l.sessions[s.key] == s {
		delete(l.sessions, s.key)
		l.quiet.Remove(s.place)
	}
}

// open runs the plugins and picks a node.
func (s *udpSession) open(server netip.AddrPort) error {
	p, r := s.l.p, s.route
	u := r.up
	if p.observed(r) {
		s.ex = p.exchange(r, "UDP", s.key.client, server, s.key.client)
		if err := p.admit(r, s.ex); err != nil {
			return err
		}
	}
	if u == nil {
		return errNoUpstream
	}
	pick := upstream.Pick{Now: plugin.Clock()}
	if u.NeedsKey() {
		pick.Key = u.HashKey(s.ex)
	}
	node, err := u.Pick(&pick)
	if err != nil {
		return err
	}
	if s.up, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(node.Addr)); err != nil {
		if !local(err) {
			u.Report(node, upstream.ConnectError, 0, plugin.Clock())
		}
		u.Release(node)
		if s.ex != nil {
			attempt(s.ex, node.HostPort, node.Addr, pick.Now, false)
		}
		return err
	}
	s.rc = rawConn(s.up)
	s.from = newReceiver(s.rc)
	s.node, s.idle = node, max(u.Timeouts.Read, u.Timeouts.Send)
	if s.ex != nil {
		attempt(s.ex, node.HostPort, node.Addr, pick.Now, true)
	}
	return nil
}

// answers passes on what the node sends until the session has been quiet for too long.
func (s *udpSession) answers() {
	l, p := s.l, s.l.p
	defer p.wg.Done()
	for {
		_ = s.up.SetReadDeadline(time.Now().Add(s.left()))
		err := s.answer()
		switch {
		case err == nil:
			continue
		case errors.Is(err, os.ErrDeadlineExceeded) && s.left() > 0:
			continue
		case errors.Is(err, syscall.ECONNREFUSED):
			s.unreachable()
		}
		break
	}
	l.mu.Lock()
	l.forget(s)
	l.mu.Unlock()
	p.leave(s)
	p.stats.Sessions.Add(-1)
	s.route.stats.Active.Add(-1)
	s.route.stats.BytesIn.Add(s.in.Load())
	s.route.stats.BytesOut.Add(s.out.Load())
	s.close()
}

// left is how long the session may still be quiet.
func (s *udpSession) left() time.Duration {
	idle := s.idle
	select {
	case <-s.l.p.ending:
		idle = min(idle, drainIdle)
	default:
	}
	return idle - time.Duration(plugin.Clock()-s.last.Load())
}

// answer waits for datagrams of the node and sends them to the client.
func (s *udpSession) answer() error {
	b, err := s.from.receive()
	if err != nil {
		return err
	}
	defer b.release()
	if !s.answered.Swap(true) {
		s.route.up.Report(s.node, upstream.Success, 0, plugin.Clock())
	}
	s.last.Store(plugin.Clock())
	for i := 0; i < b.n; {
		n, err := b.send(s.l.rc, i, b.n, &s.back)
		for end := i + n; i < end; i++ {
			s.out.Add(uint64(b.heads[i].n))
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		} else if err != nil {
			i++ // the datagram gets lost
		}
	}
	return nil
}

// unreachable remembers that the node's port is closed and makes the client's next datagram begin anew.
func (s *udpSession) unreachable() {
	s.route.up.Report(s.node, upstream.ConnectError, 0, plugin.Clock())
	s.l.mu.Lock()
	s.l.forget(s)
	s.l.mu.Unlock()
	_ = s.up.Close()
}

// abort cuts the session.
func (s *udpSession) abort() { _ = s.up.Close() }

// close gives back what open has taken.
func (s *udpSession) close() {
	_ = s.up.Close()
	s.route.up.Release(s.node)
	s.log()
	s.route.release()
}

func (s *udpSession) log() {
	if s.ex != nil {
		s.l.p.finish(s.route, s.ex, int64(s.in.Load()), int64(s.out.Load()))
	}
}

// end stops reading. Sessions go on for as long as answers come.
func (l *udpListener) end() {
	l.mu.Lock()
	l.ended = true
	for _, s := range l.sessions {
		_ = s.up.SetReadDeadline(time.Now())
	}
	l.mu.Unlock()
	_ = l.c.SetReadDeadline(time.Now())
}

// destination finds the address that a datagram was sent to in its control messages (IP_PKTINFO, IPV6_PKTINFO). It is invalid when they do not say.
func destination(oob []byte) netip.Addr {
	for len(oob) > 0 {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			break
		}
		switch {
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			return netip.AddrFrom4([4]byte(data[8:12]))
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			return netip.AddrFrom16([16]byte(data[:16]))
		}
		oob = rest
	}
	return netip.Addr{}
}

// source is the control message that makes a datagram leave from an address.
func source(a netip.Addr) []byte {
	switch {
	case a.IsUnspecified():
		return nil
	case a.Is4():
		return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: a.As4()})
	}
	return unix.PktInfo6(&unix.Inet6Pktinfo{Addr: a.As16()})
}
