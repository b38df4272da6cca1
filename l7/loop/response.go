package loop

import (
	"bytes"
	"net/http"
	"syscall"

	"github.com/sluice-gateway/sluice/l7/h1"
	"github.com/sluice-gateway/sluice/l7/upstream"
)

func (l *Loop) onUpstream(u *upConn, ev *event) {
	u.readable = u.readable || ev.readable
	u.writable = u.writable || ev.writable
	u.eof = u.eof || ev.eof
	x := u.x
	if x == nil {
		// Nothing may come on an idle connection: it is the end of it, or an answer to nobody.
		// The event may be older than the response that was read last, so look.
		if u.readable && !l.drained(u) {
			l.closeUpstream(u)
		}
		return
	}
	if u.connecting {
		if !ev.writable && !ev.gone {
			return
		}
		if errno := l.io.dialed(u.fd); errno != 0 || ev.gone {
			l.attemptFailed(x, http.StatusBadGateway, upstream.ConnectError, false)
			return
		}
		u.connecting = false
		x.Upstream.Attempts[len(x.Upstream.Attempts)-1].Connected = l.now
		l.sendRequest(x)
		if x.up != u || u.closed {
			return
		}
	}
	if u.out.any() && u.writable {
		if l.flushUpstream(u) {
			l.requestProgress(x)
			l.pumpRequestOn(x, u)
		}
		if u.closed || u.x != x {
			return
		}
	}
	if !u.readable {
		return
	}
	if !x.headSent {
		l.readResponseHead(x)
	} else {
		l.pumpResponse(x)
	}
}

func (l *Loop) pumpRequestOn(x *exchange, u *upConn) {
	if u.x == x && x.wantsRequestBody() {
		l.pumpRequest(x)
	}
}

func (l *Loop) onUpstreamTimer(u *upConn) {
	x := u.x
	switch {
	case x == nil:
		l.closeUpstream(u)
	case u.connecting:
		l.attemptFailed(x, http.StatusGatewayTimeout, upstream.ConnectTimeout, false)
	case x.headSent && (x.c.out.any() || x.flushing):
		// It is the client that is slow; its own timer counts.
		l.timers.set(&u.timer, l.now+int64(x.Timeouts.Read))
	case x.headSent:
		l.cut(x)
	case !u.out.any() && x.wantsRequestBody():
		// Waiting for the client's body, not for the upstream.
		l.timers.set(&u.timer, l.now+int64(x.Timeouts.Read))
	default:
		l.attemptFailed(x, http.StatusGatewayTimeout, upstream.Timeout, true)
	}
}

// maxInformational bounds 1xx heads before a final one.
const maxInformational = 16

var headEnd = []byte("\r\n\r\n")

// readResponseHead reads until the head of the final response is complete. It reads into the loop's buffer, so that head and first body bytes take one system call, and
// moves the head to a buffer of its own, where it stays until the exchange is over.
func (l *Loop) readResponseHead(x *exchange) {
	u := x.up
	for u.readable {
		if x.respHead == nil {
			x.respHead = l.bufs.get(1 << minBufShift)
		}
		n, errno := l.io.read(u.fd, l.rbuf)
		if errno == syscall.EAGAIN {
			u.readable = false
			if u.eof {
				break
			}
			return
		}
		if errno != 0 || n == 0 {
			break
		}
		if n < len(l.rbuf) && !u.eof {
			u.readable = false
		}
		x.gotByte = true
		x.Upstream.BytesIn += int64(n)
		// Only the head is kept; the first body bytes go on from where they are.
		over := l.rbuf[:n]
		if h := x.respHead; h.empty() {
			end := bytes.Index(over, headEnd) + len(headEnd)
			if end < len(headEnd) || end > len(h.b) {
				end = min(n, len(h.b))
			}
			h.r, h.w = 0, copy(h.b, over[:end])
			over = over[end:]
		}
		if l.parseResponse(x, over) {
			return
		}
	}
	if x.up == u && !u.readable && !u.eof {
		return
	}
	// Closed or reset before there was a response.
	l.attemptFailed(x, http.StatusBadGateway, upstream.Reset, true)
}

// parseResponse looks for a head in what was read; over is what did not fit. It is true when the exchange has moved on.
func (l *Loop) parseResponse(x *exchange, over []byte) bool {
	for {
		h := x.respHead
		err := x.resp.Parse(h.unread(), x.Request.Method, &l.conf.Limits)
		if err == h1.ErrIncomplete {
			if len(h.free()) > 0 && len(over) == 0 {
				return false
			}
			grown := l.bufs.get(len(h.unread()) + len(over) + 1<<minBufShift)
			grown.w = copy(grown.b, h.unread())
			grown.w += copy(grown.b[grown.w:], over)
			l.bufs.put(h)
			x.respHead = grown
			if len(over) == 0 {
				return false
			}
			over = nil
			continue
		}
		if err != nil || x.resp.Status == http.StatusSwitchingProtocols || x.informational > maxInformational {
			// No upgrade was asked for, so a 101 makes no sense either (RFC 9110 15.2.2).
			l.conf.Logger.Warn("invalid response from upstream", "upstream", x.Upstream.Node, "route_id", x.Route.ID, "err", err)
			l.report(x, upstream.Reset)
			l.dropUpstream(x)
			x.Fail(http.StatusBadGateway)
			if !x.reqBody.Done() {
				x.c.keepAlive = false
			}
			l.answer(x)
			return true
		}
		h.r += x.resp.HeadLen
		if x.resp.Status >= 200 {
			l.onResponseHead(x, h.unread(), over)
			return true
		}
		x.informational++
		if !l.informational(x) {
			return true
		}
		x.resp.Reset()
	}
}

// informational passes a 1xx head on (RFC 9110 15.2). An HTTP/1.0 client does not know them, and 100 (Continue) answers the gateway, which lets the client send
// without asking. It is false when the client was lost.
func (l *Loop) informational(x *exchange) bool {
	if x.req.Minor == 0 || x.resp.Status == http.StatusContinue {
		return true
	}
	l.wbuf = h1.AppendStatusLine(l.wbuf[:0], x.resp.Status, x.resp.Reason)
	for i, f := range x.resp.Fields {
		if k := x.resp.Kinds[i]; !k.Dropped() && k != h1.KindContentLength {
			l.wbuf = h1.AppendField(l.wbuf, f.Name, f.Value)
		}
	}
	l.wbuf = append(l.wbuf, "\r\n"...)
	x.BytesOut += int64(len(l.wbuf))
	return l.writeClient(x.c, l.wbuf, nil)
}

// onResponseHead sends the head and the first body bytes, a and b, to the client.
func (l *Loop) onResponseHead(x *exchange, a, b []byte) {
	c, u, resp := x.c, x.up, &x.resp
	att := &x.Upstream.Attempts[len(x.Upstream.Attempts)-1]
	att.Headers, x.Now = l.now, l.now
	l.report(x, upstream.Success)
	x.respBody.Reset(resp.Body, resp.Length, &l.conf.Limits)
	length := resp.Length
	if resp.Body == h1.BodyChunked || resp.Body == h1.BodyUntilClose {
		length = -1
	}
	x.ResponseHead(resp.Status, resp.Reason, resp.Fields, resp.Kinds, length)
	x.FilterHead()
	if x.Answering() {
		l.dropUpstream(x)
		l.sendAnswer(x)
		return
	}
	if !x.reqDone || u.out.any() {
		// An early answer. The rest of the request still goes up while the response comes down, but nothing follows on these connections.
		c.keepAlive = false
	}
	if l.draining {
		c.keepAlive = false
	}
	x.framing = x.ResponseFraming(x.req.Minor)
	if x.framing.Close {
		c.keepAlive = false
	}
	l.wbuf = x.AppendResponseHead(l.wbuf[:0], l.date, x.framing, c.keepAlive, x.req.Minor)
	x.headSent = true
	l.timers.set(&u.timer, l.now+int64(x.Timeouts.Read))
	if !l.relay(x, a, len(b) > 0) || len(b) > 0 && !l.relay(x, b, false) {
		return
	}
	l.flushRelay(x)
	if x.c == c && x.up == u && !x.flushing && u.readable && !c.out.any() {
		l.pumpResponse(x)
	}
}

// pumpResponse moves response body to the client as long as both sides go along.
func (l *Loop) pumpResponse(x *exchange) {
	c, u := x.c, x.up
	for budget := pumpBudget; u.readable && !c.out.any(); budget-- {
		if budget == 0 {
			l.again = append(l.again, u.slot)
			return
		}
		n, errno := l.io.read(u.fd, l.rbuf)
		if errno == syscall.EAGAIN {
			u.readable = false
			return
		}
		if errno != 0 || n == 0 {
			u.eof = true
			if errno == 0 && x.respBody.EOF() == nil {
				l.wbuf = l.wbuf[:0]
				l.relayEnd(x)
				return
			}
			l.cut(x)
			return
		}
		if n < len(l.rbuf) && !u.eof {
			u.readable = false
		}
		x.Upstream.BytesIn += int64(n)
		l.timers.set(&u.timer, l.now+int64(x.Timeouts.Read))
		l.wbuf = l.wbuf[:0]
		if !l.relay(x, l.rbuf[:n], false) {
			return
		}
		l.flushRelay(x)
		if x.c != c || x.up != u {
			return
		}
	}
}

// copyLimit is up to which size body bytes are copied behind what is already in wbuf instead of being written from where they are.
const copyLimit = 8 << 10

// relay decodes body bytes of the upstream and puts them into wbuf in the client's framing, or writes them; more tells that bytes follow in. It is false when the
// exchange has ended.
func (l *Loop) relay(x *exchange, in []byte, more bool) bool {
	filters := x.FiltersBody() && !x.framing.None
	for len(in) > 0 && !x.respBody.Done() {
		data, n, err := x.respBody.Next(in)
		if err != nil {
			return l.relayFailed(x)
		}
		in = in[n:]
		if len(data) == 0 && n == 0 {
			break
		}
		if len(data) == 0 || x.framing.None {
			continue
		}
		if filters {
			if data, err = x.FilterBody(data, false); err != nil {
				return l.relayFailed(x)
			}
			if len(data) == 0 {
				continue
			}
		}
		if !l.put(x, data) {
			return false
		}
	}
	if !x.respBody.Done() {
		return true
	}
	if len(in) > 0 || more {
		// Bytes after the end of the response: the connection cannot be trusted any more.
		x.up.eof = true
	}
	return l.relayEnd(x)
}

// put sends body data in the client's framing.
func (l *Loop) put(x *exchange, data []byte) bool {
	x.BodyBytesOut += int64(len(data))
	if x.Response.ContentLength >= 0 && x.BodyBytesOut > x.Response.ContentLength {
		// Only a filter can do this. More than was announced would be read as another response.
		return l.relayFailed(x)
	}
	switch {
	case x.framing.Chunked:
		l.wbuf = h1.AppendChunk(l.wbuf, data)
	case len(data) <= copyLimit:
		l.wbuf = append(l.wbuf, data...)
	default:
		head := l.wbuf
		l.wbuf = l.wbuf[:0]
		x.BytesOut += int64(len(head) + len(data))
		return l.writeClient(x.c, head, data)
	}
	return true
}

// flushRelay writes what relay left in wbuf.
func (l *Loop) flushRelay(x *exchange) {
	if len(l.wbuf) == 0 || x.c == nil || x.ended {
		return
	}
	p := l.wbuf
	l.wbuf = l.wbuf[:0]
	x.BytesOut += int64(len(p))
	l.writeClient(x.c, p, nil)
}

// relayEnd finishes the body and the exchange.
func (l *Loop) relayEnd(x *exchange) bool {
	c, u := x.c, x.up
	if x.FiltersBody() && !x.framing.None {
		data, err := x.FilterBody(nil, true)
		if err != nil || len(data) > 0 && !l.put(x, data) {
			if c.x == x {
				l.relayFailed(x)
			}
			return false
		}
		if x.Response.ContentLength >= 0 && x.BodyBytesOut < x.Response.ContentLength && !x.framing.None {
			return l.relayFailed(x)
		}
	}
	if x.framing.Chunked {
		l.wbuf = h1.AppendLastChunk(l.wbuf, trailersOf(&x.respBody))
	}
	p := l.wbuf
	l.wbuf = l.wbuf[:0]
	if len(p) > 0 {
		x.BytesOut += int64(len(p))
		if !l.writeClient(c, p, nil) {
			return false
		}
	}
	if n := len(x.Upstream.Attempts); n > 0 {
		x.Upstream.Attempts[n-1].Ended = l.now
	}
	if x.reqDone && x.resp.KeepAlive && !u.eof && l.drained(u) {
		x.up = nil
		l.park(u, x.Up.Keepalive)
	} else {
		l.dropUpstream(x)
	}
	l.finish(x)
	return false
}

// drained tells whether nothing more has come on u. A read that filled its buffer exactly leaves that open; bytes that came after the response would be taken for
// the answer to the next request.
func (l *Loop) drained(u *upConn) bool {
	if u.readable {
		_, errno := l.io.peek(u.fd)
		u.readable = errno != syscall.EAGAIN
	}
	return !u.readable
}

// relayFailed cuts a response that broke on its way. It is always false.
func (l *Loop) relayFailed(x *exchange) bool {
	if p := l.wbuf; len(p) > 0 {
		l.wbuf = l.wbuf[:0]
		if !l.writeClient(x.c, p, nil) {
			return false
		}
	}
	l.cut(x)
	return false
}
