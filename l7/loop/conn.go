package loop

import (
	"net/http"
	"net/netip"
	"syscall"

	"github.com/sluice-gateway/sluice/l7/h1"
)

type connState uint8

const (
	stateHead   connState = iota // idle, or part of a head is there
	stateBusy                    // an exchange is under way
	stateDrain                   // answered before the request body was read: discarding the rest
	stateLinger                  // our side is shut down, waiting for the peer to have read everything
)

// conn is a client connection. While it is idle it owns this struct and nothing else.
type conn struct {
	fd    int
	slot  uint32
	state connState

	readable, writable bool // since the last edge
	eof                bool // the peer has finished sending
	closed, keepAlive  bool

	in       *buf // bytes not parsed yet
	out      pending
	x        *exchange
	timer    timer
	peer     netip.AddrPort
	local    netip.AddrPort
	seq      uint64
	requests uint64
	discard  int   // bytes that draining may still read
	ends     int64 // when lingering ends at the latest
}

// drainBytes bounds what is read of a request body only to be able to keep the connection.
const drainBytes = 64 << 10

func (l *Loop) newConn(fd int, peer netip.AddrPort) {
	i, err := l.newSlot(fd, false)
	if err != nil {
		l.io.close(fd)
		return
	}
	var c *conn
	if n := len(l.freeC); n > 0 {
		c = l.freeC[n-1]
		l.freeC = l.freeC[:n-1]
	} else {
		c = &conn{}
	}
	*c = conn{fd: fd, slot: i, writable: true, peer: peer, local: l.io.local(fd), seq: l.nextConn.Add(1)}
	c.timer.client = c
	l.slots[i].client = c
	l.Stats.Accepted.Add(1)
	l.Stats.Conns.Add(1)
	l.timers.set(&c.timer, l.now+int64(l.conf.HeaderTimeout))
}

// closeClient closes the connection at once. An exchange that it carries must have been ended before.
func (l *Loop) closeClient(c *conn) {
	if c.closed {
		return
	}
	c.closed = true
	l.timers.drop(&c.timer)
	c.out.drop(&l.bufs)
	l.bufs.put(c.in)
	c.in = nil
	l.io.close(c.fd)
	l.freeSlot(c.slot)
	l.Stats.Conns.Add(-1)
	l.deadC = append(l.deadC, c)
}

// hangUp closes in a way that lets the peer read what was sent: when it may still be sending, a plain close would answer with a reset that
// overtakes the response (RFC 9112 9.6). What comes is thrown away for up to BodyTimeout, as long as it keeps coming.
func (l *Loop) hangUp(c *conn, unread bool) {
	if !c.readable && (c.eof || !unread && (c.in == nil || c.in.empty())) {
		l.closeClient(c)
		return
	}
	l.io.shutdownWrite(c.fd)
	c.state, c.ends = stateLinger, l.now+int64(l.conf.BodyTimeout)
	if l.draining {
		c.ends = l.now + int64(drainGrace)
	}
	l.linger(c)
}

func (l *Loop) linger(c *conn) {
	l.timers.set(&c.timer, min(l.now+int64(l.conf.HeaderTimeout)/2, c.ends))
	if !l.discard(c) {
		l.closeClient(c)
	}
}

// discard reads and forgets what has come. It is false when the connection has ended.
func (l *Loop) discard(c *conn) bool {
	l.bufs.put(c.in)
	c.in = nil
	for budget := pumpBudget; c.readable; budget-- {
		if budget == 0 {
			l.again = append(l.again, c.slot)
			return true
		}
		n, errno := l.io.read(c.fd, l.rbuf)
		if errno == syscall.EAGAIN {
			c.readable = false
			return true
		}
		if errno != 0 || n == 0 {
			c.readable = false
			return false
		}
	}
	return true
}

// abort ends a connection whose client is gone or is not worth an answer, with whatever it was doing.
func (l *Loop) abort(c *conn) {
	if c.closed {
		return
	}
	if x := c.x; x != nil {
		c.x = nil
		l.clientGone(x)
	}
	l.closeClient(c)
}

func (l *Loop) onClient(c *conn, ev *event) {
	c.readable = c.readable || ev.readable
	c.writable = c.writable || ev.writable
	if ev.gone {
		if c.state == stateBusy {
			l.Stats.Aborted.Add(1)
		}
		l.abort(c)
		return
	}
	if ev.eof && !c.eof {
		c.eof = true
		if c.state == stateBusy {
			l.clientEOF(c)
			if c.closed {
				return
			}
		}
	}
	l.resumeClient(c)
}

// resumeClient does whatever has become possible.
func (l *Loop) resumeClient(c *conn) {
	if c.out.any() && c.writable && !l.flushClient(c) && c.closed {
		return
	}
	switch c.state {
	case stateHead:
		l.readHead(c)
	case stateBusy:
		// A client may send all of its request before it reads, so the request goes on while the response has to wait.
		x := c.x
		if x.flushing {
			if !c.out.any() {
				l.endExchange(x)
			} else if !c.keepAlive && !x.reqBody.Done() {
				l.discard(c)
			}
			return
		}
		if x.wantsRequestBody() {
			l.pumpRequest(x)
		}
		if c.x == x && x.up != nil && x.headSent && !c.out.any() {
			l.pumpResponse(x)
		}
	case stateDrain:
		l.drainBody(c)
	case stateLinger:
		l.linger(c)
	}
}

// flushClient writes what is pending; it tells whether everything went out.
func (l *Loop) flushClient(c *conn) bool {
	b := c.out.buf
	n, errno := l.io.write(c.fd, b.unread())
	if errno == syscall.EAGAIN {
		c.writable = false
		return false
	}
	if errno != 0 {
		l.Stats.Aborted.Add(1)
		l.abort(c)
		return false
	}
	b.r += n
	if !b.empty() {
		c.writable = false
		l.armWrite(c)
		return false
	}
	c.out.drop(&l.bufs)
	l.rearmBusy(c)
	return true
}

// armWrite starts the time that the client has to take some bytes.
func (l *Loop) armWrite(c *conn) { l.timers.set(&c.timer, l.now+int64(l.conf.WriteTimeout)) }

// rearmBusy sets the timer of a busy connection that has nothing to write.
func (l *Loop) rearmBusy(c *conn) {
	x := c.x
	switch {
	case x != nil && x.delaying:
		if c.eof {
			l.timers.set(&c.timer, min(x.delayEnd, l.now+int64(l.conf.HalfCloseGrace)))
		}
	case x != nil && x.wantsRequestBody():
		if x.up != nil && x.up.out.any() {
			l.timers.clear(&c.timer) // it is the upstream that is slow; its own timer counts
			return
		}
		l.timers.set(&c.timer, l.now+int64(l.conf.BodyTimeout))
	case c.eof:
		l.timers.set(&c.timer, l.now+int64(l.conf.HalfCloseGrace))
	default:
		l.timers.clear(&c.timer)
	}
}

// writeClient sends a, then b; what the socket does not take is kept. It is false when the connection was lost (and has been dealt with).
func (l *Loop) writeClient(c *conn, a, b []byte) bool {
	if c.out.any() {
		c.out.add(&l.bufs, a, b)
		return true
	}
	var n int
	var errno syscall.Errno
	switch {
	case len(b) == 0:
		n, errno = l.io.write(c.fd, a)
	case len(a) == 0:
		n, errno = l.io.write(c.fd, b)
	default:
		n, errno = l.io.write2(c.fd, a, b)
	}
	if errno == syscall.EAGAIN {
		n = 0
	} else if errno != 0 {
		l.Stats.Aborted.Add(1)
		l.abort(c)
		return false
	}
	if n < len(a)+len(b) {
		c.writable = false
		if n < len(a) {
			c.out.add(&l.bufs, a[n:], b)
		} else {
			c.out.add(&l.bufs, b[n-len(a):])
		}
		l.armWrite(c)
	} else if c.eof {
		l.rearmBusy(c)
	}
	return true
}

// readHead reads and parses until a head is complete or the socket is drained.
func (l *Loop) readHead(c *conn) {
	fresh := c.in != nil && !c.in.empty()
	for {
		if fresh {
			if c.x == nil {
				c.x = l.newExchange(c)
				l.timers.set(&c.timer, l.now+int64(l.conf.HeaderTimeout))
			}
			err := c.x.req.Parse(c.in.unread(), &l.conf.Limits)
			if err == nil {
				l.begin(c.x)
				return
			}
			if err != h1.ErrIncomplete {
				l.refuseHead(c, statusOf(err))
				return
			}
			fresh = false
		}
		if !c.readable {
			if c.in != nil && c.in.empty() {
				l.bufs.put(c.in)
				c.in = nil
			}
			return
		}
		if c.in == nil {
			c.in = l.bufs.get(1 << minBufShift)
		} else if len(c.in.free()) == 0 {
			grown := l.bufs.get(max(2*len(c.in.unread()), 1<<minBufShift))
			grown.w = copy(grown.b, c.in.unread())
			l.bufs.put(c.in)
			c.in = grown
		}
		free := c.in.free()
		n, errno := l.io.read(c.fd, free)
		switch {
		case errno == syscall.EAGAIN:
			c.readable = false
			continue
		case errno != 0 || n == 0:
			l.abort(c)
			return
		}
		c.in.w += n
		if n < len(free) && !c.eof {
			c.readable = false
		}
		fresh = true
	}
}

// refuseHead answers a head that cannot be served and ends the connection.
func (l *Loop) refuseHead(c *conn, status int) {
	x := c.x
	l.Stats.Malformed.Add(1)
	c.state, c.keepAlive = stateBusy, false
	l.Stats.Busy.Add(1)
	x.malformed = true
	x.Now, x.Peer, x.Client, x.Server, x.ConnSeq = l.now, c.peer, c.peer, c.local, c.seq
	x.BeginMalformed(l.engine, status)
	l.answer(x)
}

func (l *Loop) onClientTimer(c *conn) {
	x := c.x
	switch c.state {
	case stateHead:
		if x == nil {
			l.closeClient(c)
			return
		}
		l.refuseHead(c, http.StatusRequestTimeout)
	case stateBusy:
		switch {
		case x.delaying && l.now < x.delayEnd:
			l.Stats.Aborted.Add(1)
			l.abort(c)
		case x.delaying:
			x.delaying = false
			if c.out.any() {
				l.armWrite(c)
			} else {
				l.rearmBusy(c)
			}
			l.step(x)
		case c.out.any():
			l.Stats.Aborted.Add(1)
			l.abort(c)
		case c.eof:
			l.Stats.Aborted.Add(1)
			l.abort(c)
		case x.wantsRequestBody() && !x.headSent:
			l.dropUpstream(x)
			c.keepAlive = false
			x.buffering = false
			x.Refuse(http.StatusRequestTimeout)
			l.answer(x)
		case x.wantsRequestBody():
			// It has its answer already and need not send the rest.
			x.noBody = true
		default:
			l.abort(c)
		}
	default:
		if x != nil {
			c.x = nil
			l.recycle(x)
		}
		l.closeClient(c)
	}
}

// clientEOF deals with a client that has finished sending while its request is served: it may have shut down one side and still want the response, or it may be
// gone. It gets HalfCloseGrace to see something happen. What it has sent before is still served: the rest of a body, and pipelined requests.
func (l *Loop) clientEOF(c *conn) {
	if !c.out.any() {
		l.rearmBusy(c)
	}
}

// quiet tells whether nothing has come on a connection that is between requests. Only then may it be closed: what has come would be answered with a reset.
func (l *Loop) quiet(c *conn) bool {
	if c.in != nil && !c.in.empty() {
		return false
	}
	n, errno := l.io.peek(c.fd)
	return errno != 0 || n == 0
}

// nextRequest makes the connection ready for another request.
func (l *Loop) nextRequest(c *conn) {
	if l.draining && l.quiet(c) {
		l.closeClient(c)
		return
	}
	c.state = stateHead
	l.timers.set(&c.timer, l.now+int64(l.conf.IdleTimeout))
	if c.in != nil || c.readable {
		l.again = append(l.again, c.slot)
	}
}
