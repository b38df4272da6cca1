package loop

import (
	"net/netip"
	"syscall"

	"github.com/sluice-gateway/sluice/l7/h1"
	"github.com/sluice-gateway/sluice/l7/upstream"
)

// poolKey says which connections are interchangeable: for plain HTTP, those to the same address.
type poolKey struct{ addr netip.AddrPort }

// pool holds the idle connections to one address, the last used one on top.
type pool struct {
	key   poolKey
	idle  []*upConn
	conns int // open connections, idle and busy
}

// upConn is a connection to an upstream node.
type upConn struct {
	fd       int
	slot     uint32
	pool     *pool
	x        *exchange // nil while idle
	out      pending
	timer    timer
	requests int

	connecting, reused         bool
	readable, writable, closed bool
	eof                        bool
}

// takeIdle returns an idle connection for key, or nil.
func (l *Loop) takeIdle(key poolKey) *upConn {
	p := l.pools[key]
	if p == nil || len(p.idle) == 0 {
		return nil
	}
	u := p.idle[len(p.idle)-1]
	p.idle = p.idle[:len(p.idle)-1]
	u.reused = true
	return u
}

// dial starts a connection to the picked node.
func (l *Loop) dial(key poolKey) (*upConn, syscall.Errno) {
	fd, errno := l.io.dial(key.addr)
	if fd < 0 {
		return nil, errno
	}
	i, err := l.newSlot(fd, false)
	if err != nil {
		l.io.close(fd)
		return nil, syscall.ENOMEM
	}
	var u *upConn
	if n := len(l.freeU); n > 0 {
		u = l.freeU[n-1]
		l.freeU = l.freeU[:n-1]
	} else {
		u = &upConn{}
	}
	p := l.pools[key]
	if p == nil {
		p = &pool{key: key}
		l.pools[key] = p
	}
	p.conns++
	*u = upConn{fd: fd, slot: i, pool: p, connecting: true}
	u.timer.up = u
	l.slots[i].up = u
	l.Stats.UpstreamConns.Add(1)
	return u, 0
}

// park puts a connection whose response is complete into its pool, or closes it.
func (l *Loop) park(u *upConn, k upstream.Keepalive) {
	u.x = nil
	u.requests++
	if u.eof || u.closed || u.out.any() || l.draining || k.Size <= 0 || u.requests >= k.Requests || len(u.pool.idle) >= k.Size {
		l.closeUpstream(u)
		return
	}
	u.pool.idle = append(u.pool.idle, u)
	if k.IdleTimeout > 0 {
		l.timers.set(&u.timer, l.now+int64(k.IdleTimeout))
	} else {
		l.timers.clear(&u.timer)
	}
}

// closeUpstream closes a connection wherever it is. An exchange that uses it has to be told before.
func (l *Loop) closeUpstream(u *upConn) {
	if u.closed {
		return
	}
	u.closed = true
	p := u.pool
	for i, v := range p.idle {
		if v == u {
			copy(p.idle[i:], p.idle[i+1:])
			p.idle[len(p.idle)-1] = nil
			p.idle = p.idle[:len(p.idle)-1]
			break
		}
	}
	if u.x != nil {
		u.x.up = nil
		u.x = nil
	}
	l.timers.drop(&u.timer)
	u.out.drop(&l.bufs)
	l.io.close(u.fd)
	l.freeSlot(u.slot)
	l.Stats.UpstreamConns.Add(-1)
	if p.conns--; p.conns == 0 {
		delete(l.pools, p.key)
	}
	l.deadU = append(l.deadU, u)
}

// trailersOf returns the trailer fields that may be forwarded, in place.
func trailersOf(b *h1.Body) []h1.Field {
	all := b.Trailers()
	kept := all[:0]
	for _, f := range all {
		if h1.TrailerAllowed(f.Name) {
			kept = append(kept, f)
		}
	}
	return kept
}
