package loop

import (
	"net/http"
	"syscall"
	"time"

	"github.com/sluice-gateway/sluice/l7/engine"
	"github.com/sluice-gateway/sluice/l7/h1"
	"github.com/sluice-gateway/sluice/l7/plugin"
	"github.com/sluice-gateway/sluice/l7/upstream"
)

func durationOf(ns int64) time.Duration { return time.Duration(ns) }

// connectUpstream finds a connection to the picked node, trying others when one refuses at once.
func (l *Loop) connectUpstream(x *exchange) {
	for {
		if x.Upstream.Scheme != "http" {
			l.conf.Logger.Error("upstream scheme is not served by this listener", "scheme", x.Upstream.Scheme, "route_id", x.Route.ID)
			x.Fail(http.StatusBadGateway)
			l.answer(x)
			return
		}
		x.Upstream.Attempts = append(x.Upstream.Attempts, plugin.Attempt{Addr: x.Node.Addr, Started: l.now})
		key := poolKey{x.Node.Addr}
		var u *upConn
		if !x.fresh {
			for u = l.takeIdle(key); u != nil && !l.reusable(u, x); u = l.takeIdle(key) {
				l.closeUpstream(u)
			}
		}
		if u == nil {
			var errno syscall.Errno
			if u, errno = l.dial(key); u == nil {
				x.Upstream.Attempts[len(x.Upstream.Attempts)-1].Ended = l.now
				if localFault(errno) {
					l.conf.Logger.Warn("connect to upstream failed", "err", errno, "upstream", x.Upstream.Node)
				} else {
					l.report(x, upstream.ConnectError)
				}
				if x.NextNode(http.StatusBadGateway, false, x.bodySent) {
					continue
				}
				l.answer(x)
				return
			}
		}
		u.x, x.up = x, u
		if u.connecting {
			l.timers.set(&u.timer, l.now+int64(x.Timeouts.Connect))
			return
		}
		x.Upstream.Attempts[len(x.Upstream.Attempts)-1].Connected = l.now
		l.sendRequest(x)
		return
	}
}

// localFault tells whether an error says something about this host and not about the node.
func localFault(errno syscall.Errno) bool {
	switch errno {
	case syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOBUFS, syscall.EADDRNOTAVAIL:
		return true
	}
	return false
}

// reusable tells whether a request may go out on an idle connection. The node may have closed it just now; a request that is safe to repeat finds that out by failing, for
// another one it is worth a system call to look first.
func (l *Loop) reusable(u *upConn, x *exchange) bool {
	if u.eof || u.closed {
		return false
	}
	if engine.Idempotent(x.Request.Method) && x.Request.ContentLength == 0 {
		return true
	}
	_, errno := l.io.peek(u.fd)
	return errno == syscall.EAGAIN
}

// sendRequest writes the head and as much of the body as is there already.
func (l *Loop) sendRequest(x *exchange) {
	u, c := x.up, x.c
	l.wbuf = x.AppendRequestHead(l.wbuf[:0])
	var tail []byte
	mark, used := x.reqBody, 0
	if x.Request.BodyBuffered {
		tail = x.Request.Body
		x.bodySent = len(tail) > 0
	} else if x.reqBody.Done() && x.Request.ContentLength < 0 {
		// Another attempt after one that has taken the end of an empty body from the client.
		l.wbuf = h1.AppendLastChunk(l.wbuf, trailersOf(&x.reqBody))
	} else if !x.reqBody.Done() && c.in != nil {
		var err error
		if used, err = l.encodeBody(x, c.in.unread()); err != nil {
			l.badBody(x, statusOf(err))
			return
		}
		if l.tooLarge(x) {
			l.badBody(x, http.StatusRequestEntityTooLarge)
			return
		}
	}
	head := l.wbuf
	var n int
	var errno syscall.Errno
	if len(tail) > 0 {
		n, errno = l.io.write2(u.fd, head, tail)
	} else {
		n, errno = l.io.write(u.fd, head)
	}
	switch {
	case errno == syscall.EAGAIN:
		n = 0
	case errno != 0:
		// Nothing of this request has left the host, so it may go elsewhere whatever it is.
		x.reqBody, x.bodySent, x.bodyIn = mark, false, 0
		x.BytesIn -= int64(used)
		l.attemptFailed(x, http.StatusBadGateway, upstream.Reset, false)
		return
	}
	if used > 0 {
		l.keepRest(c, c.in.unread(), used)
	}
	x.Upstream.BytesOut += int64(n)
	if rest := len(head) + len(tail) - n; rest > 0 {
		u.writable = false
		x.Upstream.BytesOut += int64(rest)
		if n < len(head) {
			u.out.add(&l.bufs, head[n:], tail)
		} else {
			u.out.add(&l.bufs, tail[n-len(head):])
		}
	}
	l.requestProgress(x)
	if x.up == u && x.wantsRequestBody() {
		l.pumpRequest(x)
	}
}

// requestProgress sets the timers after bytes were handed to the upstream.
func (l *Loop) requestProgress(x *exchange) {
	u := x.up
	x.reqDone = x.Request.BodyBuffered || x.reqBody.Done()
	switch {
	case u.out.any():
		l.timers.set(&u.timer, l.now+int64(x.Timeouts.Send))
	default:
		l.timers.set(&u.timer, l.now+int64(x.Timeouts.Read))
	}
	if !x.c.out.any() {
		l.rearmBusy(x.c)
	}
}

// encodeBody decodes body bytes of the client and appends them to wbuf as the upstream gets them. It returns how much of in belongs to the body.
func (l *Loop) encodeBody(x *exchange, in []byte) (used int, err error) {
	for used < len(in) && !x.reqBody.Done() {
		data, n, err := x.reqBody.Next(in[used:])
		if err != nil {
			return used, err
		}
		x.bodyIn += int64(len(data))
		if len(data) > 0 {
			x.bodySent = true
			if x.Request.ContentLength < 0 {
				l.wbuf = h1.AppendChunk(l.wbuf, data)
			} else {
				l.wbuf = append(l.wbuf, data...)
			}
		}
		used += n
		if n == 0 {
			break
		}
	}
	if x.reqBody.Done() && x.Request.ContentLength < 0 {
		l.wbuf = h1.AppendLastChunk(l.wbuf, trailersOf(&x.reqBody))
	}
	x.BytesIn += int64(used)
	return used, nil
}

// bodyBytes returns the next bytes from the client: what was read already, or a new read into rbuf. ok is false when there is nothing now or the connection has ended.
func (l *Loop) bodyBytes(c *conn) (in []byte, ok bool) {
	if c.in != nil && !c.in.empty() {
		return c.in.unread(), true
	}
	if !c.readable {
		return nil, false
	}
	n, errno := l.io.read(c.fd, l.rbuf)
	if errno == syscall.EAGAIN {
		c.readable = false
		return nil, false
	}
	if errno != 0 || n == 0 {
		if c.state == stateBusy {
			l.Stats.Aborted.Add(1)
		}
		l.abort(c)
		return nil, false
	}
	if n < len(l.rbuf) && !c.eof {
		c.readable = false
	}
	return l.rbuf[:n], true
}

// keepRest keeps what bodyBytes returned beyond used: it belongs to the next request.
func (l *Loop) keepRest(c *conn, in []byte, used int) {
	if c.in != nil && !c.in.empty() {
		c.in.r += used
		if c.in.empty() {
			l.bufs.put(c.in)
			c.in = nil
		}
		return
	}
	if used == len(in) {
		return
	}
	if c.in == nil || len(c.in.b) < len(in)-used {
		l.bufs.put(c.in)
		c.in = l.bufs.get(len(in) - used)
	}
	c.in.r, c.in.w = 0, copy(c.in.b, in[used:])
}

// pumpBudget is how many reads one connection gets before others have their turn.
const pumpBudget = 16

// pumpRequest moves request body from the client to where it is wanted: the upstream, or the buffer.
func (l *Loop) pumpRequest(x *exchange) {
	c := x.c
	if !x.continued {
		x.continued = true
		if c.in == nil || c.in.empty() {
			if !l.writeClient(c, continueLine, nil) {
				return
			}
		}
	}
	for budget := pumpBudget; x.wantsRequestBody(); budget-- {
		u := x.up
		if u != nil && u.out.any() {
			return
		}
		if budget == 0 {
			l.again = append(l.again, c.slot)
			return
		}
		in, ok := l.bodyBytes(c)
		if !ok {
			if c.closed {
				return
			}
			if !c.out.any() {
				l.rearmBusy(c)
			}
			return
		}
		if x.buffering {
			if !l.collect(x, in) {
				return
			}
			continue
		}
		l.wbuf = l.wbuf[:0]
		used, err := l.encodeBody(x, in)
		if err != nil {
			l.badBody(x, statusOf(err))
			return
		}
		l.keepRest(c, in, used)
		if l.tooLarge(x) {
			l.badBody(x, http.StatusRequestEntityTooLarge)
			return
		}
		if len(l.wbuf) > 0 && !l.writeUpstream(x, l.wbuf) {
			return
		}
		l.requestProgress(x)
	}
}

var continueLine = []byte("HTTP/1.1 100 Continue\r\n\r\n")

// collect buffers body bytes for the engine; it is false when the exchange has moved on.
func (l *Loop) collect(x *exchange, in []byte) bool {
	used := 0
	for used < len(in) && !x.reqBody.Done() {
		data, n, err := x.reqBody.Next(in[used:])
		if err != nil {
			l.badBody(x, statusOf(err))
			return false
		}
		x.bodyIn += int64(len(data))
		if x.bodyIn > x.BodyLimit() || l.tooLarge(x) {
			l.badBody(x, http.StatusRequestEntityTooLarge)
			return false
		}
		if len(x.body.free()) < len(data) {
			grown := l.bufs.get(max(2*len(x.body.b), x.body.w+len(data)))
			grown.w = copy(grown.b, x.body.unread())
			l.bufs.put(x.body)
			x.body = grown
		}
		x.body.w += copy(x.body.free(), data)
		used += n
		if n == 0 {
			break
		}
	}
	x.BytesIn += int64(used)
	l.keepRest(x.c, in, used)
	if !x.reqBody.Done() {
		return true
	}
	x.buffering = false
	x.SetBody(x.body.unread())
	l.step(x)
	return false
}

// statusOf is the status that a framing fault is refused with.
func statusOf(err error) int {
	if e, ok := err.(*h1.Error); ok {
		return e.Status
	}
	return http.StatusBadRequest
}

// badBody refuses a request whose body breaks the framing rules or a limit.
func (l *Loop) badBody(x *exchange, status int) {
	l.Stats.Malformed.Add(1)
	x.c.keepAlive = false
	x.buffering = false
	if x.headSent {
		l.cut(x)
		return
	}
	x.Refuse(status)
	l.answer(x)
}

// writeUpstream sends p and keeps what the socket does not take. It is false when the attempt failed and the exchange has moved on.
func (l *Loop) writeUpstream(x *exchange, p []byte) bool {
	u := x.up
	x.Upstream.BytesOut += int64(len(p))
	n, errno := l.io.write(u.fd, p)
	if errno == syscall.EAGAIN {
		n = 0
	} else if errno != 0 {
		return l.upstreamBroke(x)
	}
	if n < len(p) {
		u.writable = false
		u.out.add(&l.bufs, p[n:])
	}
	return true
}

// flushUpstream writes what is pending; it tells whether everything went out.
func (l *Loop) flushUpstream(u *upConn) bool {
	b := u.out.buf
	n, errno := l.io.write(u.fd, b.unread())
	if errno == syscall.EAGAIN {
		u.writable = false
		return false
	}
	if errno != 0 {
		l.upstreamBroke(u.x)
		return false
	}
	b.r += n
	if !b.empty() {
		u.writable = false
		l.timers.set(&u.timer, l.now+int64(u.x.Timeouts.Send))
		return false
	}
	u.out.drop(&l.bufs)
	return true
}

// upstreamBroke deals with an upstream that closed or reset while a request was being sent. It may have answered before: what has
// arrived is read first. It is always false, for the callers' convenience.
func (l *Loop) upstreamBroke(x *exchange) bool {
	u := x.up
	if !x.headSent {
		u.readable, u.eof = true, true
		u.out.drop(&l.bufs)
		l.readResponseHead(x)
		return false
	}
	// The response goes on; only the request cannot.
	u.out.drop(&l.bufs)
	x.c.keepAlive, x.noBody = false, true
	return false
}

// attemptFailed ends the current attempt before the client got anything of a response, and tries the next node if that is allowed.
func (l *Loop) attemptFailed(x *exchange, status int, ev upstream.Event, sent bool) {
	u := x.up
	reused := u.reused
	l.report(x, ev)
	l.dropUpstream(x)
	x.resp.Reset()
	l.bufs.put(x.respHead)
	x.respHead = nil
	stale := reused && !x.gotByte && ev == upstream.Reset
	x.gotByte = false
	if stale && !x.bodySent && (!sent || engine.Idempotent(x.Request.Method)) {
		// The node closed an idle connection at the moment of its reuse: that is no failure of the node.
		x.fresh = true
		x.Upstream.Attempts = x.Upstream.Attempts[:len(x.Upstream.Attempts)-1]
		l.connectUpstream(x)
		return
	}
	x.Now = l.now
	if x.NextNode(status, sent, x.bodySent) {
		l.connectUpstream(x)
		return
	}
	if !x.reqBody.Done() {
		x.c.keepAlive = false
	}
	l.answer(x)
}
