package loop

import (
	"context"
	"net/http"

	"github.com/sluice-gateway/sluice/l7/engine"
	"github.com/sluice-gateway/sluice/l7/h1"
	"github.com/sluice-gateway/sluice/l7/plugin"
	"github.com/sluice-gateway/sluice/l7/upstream"
)

// exchange is a request on its way through this driver.
type exchange struct {
	engine.Exchange
	l  *Loop
	c  *conn // nil when the client is gone and a blocked plugin still holds the exchange
	up *upConn

	req      h1.Request
	resp     h1.Response
	reqBody  h1.Body
	respBody h1.Body
	framing  engine.Framing

	head     *buf // the request head; Request's slices alias it
	respHead *buf // the response head and first body bytes
	body     *buf // the buffered request body
	cancel   context.CancelFunc

	malformed, blocked, delaying bool
	buffering                    bool  // the body is being collected for the engine
	continued                    bool  // 100 (Continue) was sent or is not wanted
	reqDone                      bool  // the whole request was handed to the upstream's socket
	bodySent                     bool  // at least part of the body was
	fresh                        bool  // do not use an idle upstream connection again
	gotByte                      bool  // the upstream has sent something
	headSent                     bool  // the response head went to the client
	noBody                       bool  // the upstream takes no more of the request body
	flushing                     bool  // everything is written but for what is pending
	ended                        bool  // the log phase has run
	informational                int   // 1xx heads seen
	bodyIn                       int64 // decoded bytes of the request body so far
	delayEnd                     int64 // when a plugin's delay is over
}

func (l *Loop) newExchange(c *conn) *exchange {
	var x *exchange
	if n := len(l.freeX); n > 0 {
		x = l.freeX[n-1]
		l.freeX = l.freeX[:n-1]
	} else {
		x = &exchange{}
	}
	x.l, x.c, x.Loop = l, c, l.id
	x.Start, x.WallStart, x.Now = l.now, l.wall, l.now
	return x
}

// recycle gives everything of x back.
func (l *Loop) recycle(x *exchange) {
	l.bufs.put(x.head)
	l.bufs.put(x.respHead)
	l.bufs.put(x.body)
	x.Exchange.Reset()
	x.req.Reset()
	x.resp.Reset()
	x.l, x.c, x.up, x.head, x.respHead, x.body, x.cancel = nil, nil, nil, nil, nil, nil, nil
	x.framing = engine.Framing{}
	x.malformed, x.blocked, x.delaying, x.buffering, x.continued, x.reqDone, x.bodySent = false, false, false, false, false, false, false
	x.fresh, x.gotByte, x.headSent, x.noBody, x.flushing, x.ended = false, false, false, false, false, false
	x.informational, x.bodyIn = 0, 0
	if len(l.freeX) < maxFree {
		l.freeX = append(l.freeX, x)
	}
}

// begin turns a parsed head into a running exchange.
func (l *Loop) begin(x *exchange) {
	c, req := x.c, &x.req
	x.head, c.in = c.in, nil
	x.head.r += req.HeadLen
	if rest := x.head.unread(); len(rest) > 0 {
		// The head must stay where it is, so what follows moves.
		c.in = l.bufs.get(len(rest))
		c.in.w = copy(c.in.b, rest)
	}
	c.state = stateBusy
	c.requests++
	c.keepAlive = req.KeepAlive && !l.draining && c.requests < l.conf.KeepaliveRequests
	l.Stats.Requests.Add(1)
	l.Stats.Busy.Add(1)

	r := &x.Request
	r.Method, r.Target, r.Query, r.HasQuery, r.HostPort = req.Method, req.Target, req.Query, req.HasQuery, req.Host
	r.Scheme, r.Protocol, r.HeadBytes = "http", "HTTP/1.1", req.HeadLen
	if req.Minor == 0 {
		r.Protocol = "HTTP/1.0"
	}
	switch req.Body {
	case h1.BodyLength:
		r.ContentLength = req.Length
	case h1.BodyChunked:
		r.ContentLength = -1
	}
	x.reqBody.Reset(req.Body, req.Length, &l.conf.Limits)
	x.continued = !req.ExpectContinue
	x.SetFields(req.Fields, req.Kinds)
	x.Peer, x.Client, x.Server = c.peer, c.peer, c.local
	x.ConnSeq, x.ConnRequests = c.seq, c.requests
	x.Now, x.BytesIn = l.now, int64(req.HeadLen)
	if m := string(req.Method); m == http.MethodConnect || m == http.MethodTrace {
		// No tunnels, and no echo of a client's secrets.
		c.keepAlive = false
		x.BeginMalformed(l.engine, http.StatusMethodNotAllowed)
		l.answer(x)
		return
	}
	l.rearmBusy(c)
	x.Begin(l.engine, req.Path)
	if x.Answering() {
		// The path could be read in more than one way, so the rest of what this client sends is not trusted either.
		l.Stats.Malformed.Add(1)
		c.keepAlive = false
	} else if l.tooLarge(x) {
		c.keepAlive = false
		x.Refuse(http.StatusRequestEntityTooLarge)
	}
	l.step(x)
}

// tooLarge tells whether the body is over the limit, as far as it is known.
func (l *Loop) tooLarge(x *exchange) bool {
	return l.conf.MaxBody > 0 && max(x.Request.ContentLength, x.bodyIn) > l.conf.MaxBody
}

// step acts on the engine's verdicts until something has to be waited for.
func (l *Loop) step(x *exchange) {
	x.Now = l.now
	switch x.Step() {
	case engine.Answer:
		l.answer(x)
	case engine.Proxy:
		l.connectUpstream(x)
	case engine.Delay:
		x.delaying = true
		x.delayEnd = l.now + int64(x.Delay)
		l.timers.set(&x.c.timer, x.delayEnd)
		x.Delay = 0
	case engine.Block:
		l.block(x)
	case engine.NeedBody:
		x.buffering = true
		x.body = l.bufs.get(int(max(min(x.Request.ContentLength, x.BodyLimit(), firstBody), 1<<minBufShift)))
		l.pumpRequest(x)
	}
}

// firstBody bounds what is allocated for a buffered body before any of it has come.
const firstBody = 64 << 10

// block runs plugins that may wait on a goroutine of their own.
func (l *Loop) block(x *exchange) {
	ctx, cancel := context.WithCancel(context.Background())
	x.blocked, x.cancel = true, cancel
	if !x.c.eof {
		l.timers.clear(&x.c.timer)
	}
	l.blocks.Add(1)
	go func() {
		defer l.blocks.Done()
		x.StepBlocking(ctx)
		l.post(post{resume: x})
	}()
}

func (l *Loop) resumeBlocked(x *exchange) {
	x.blocked = false
	x.cancel()
	if x.c == nil {
		l.endGone(x)
		return
	}
	l.rearmBusy(x.c)
	l.step(x)
}

// wantsRequestBody tells whether the loop is to read more of the request body now.
func (x *exchange) wantsRequestBody() bool {
	if x.ended || x.blocked || x.delaying || x.noBody || x.reqBody.Done() {
		return false
	}
	return x.buffering || x.up != nil && !x.up.connecting && !x.Request.BodyBuffered
}

// answer sends an answer of the gateway.
func (l *Loop) answer(x *exchange) {
	l.dropUpstream(x)
	x.FilterHead()
	l.sendAnswer(x)
}

func (l *Loop) sendAnswer(x *exchange) {
	c := x.c
	body := x.ReplyBody()
	if x.FiltersBody() {
		out, err := x.FilterBody(body, true)
		if err != nil {
			l.cut(x)
			return
		}
		body = out
	}
	if l.draining {
		c.keepAlive = false
	}
	x.Response.ContentLength = int64(len(body))
	if x.NoBody() {
		body = nil
	}
	if !x.reqBody.Done() && !l.drainable(x) {
		c.keepAlive = false
	}
	minor := x.req.Minor
	if x.malformed {
		minor = 1
	}
	l.wbuf = x.AppendResponseHead(l.wbuf[:0], l.date, engine.Framing{None: len(body) == 0}, c.keepAlive, minor)
	x.headSent = true
	x.BytesOut += int64(len(l.wbuf) + len(body))
	x.BodyBytesOut += int64(len(body))
	if !l.writeClient(c, l.wbuf, body) {
		return
	}
	l.finish(x)
}

// drainable tells whether the rest of the request body is small enough to be read and forgotten, so that the connection can be kept.
func (l *Loop) drainable(x *exchange) bool {
	return x.continued && x.reqBody.Remaining() >= 0 && x.reqBody.Remaining() <= drainBytes
}

// finish is called when the last byte of the response has been handed to writeClient.
func (l *Loop) finish(x *exchange) {
	if x.c.out.any() {
		x.flushing = true
		return
	}
	l.endExchange(x)
}

// endLog runs the log phase once.
func (l *Loop) endLog(x *exchange) {
	if x.ended {
		return
	}
	x.ended = true
	x.Now = l.now
	if n := len(x.Upstream.Attempts); n > 0 && x.Upstream.Attempts[n-1].Ended == 0 {
		x.Upstream.Attempts[n-1].Ended = l.now
	}
	x.End()
}

// endExchange closes the books and makes the connection ready for what comes next.
func (l *Loop) endExchange(x *exchange) {
	c := x.c
	l.endLog(x)
	l.Stats.Busy.Add(-1)
	unread := !x.reqBody.Done()
	if c.keepAlive && unread {
		c.state, c.discard = stateDrain, drainBytes+4096
		l.timers.set(&c.timer, l.now+int64(l.conf.HeaderTimeout)/2)
		l.drainBody(c)
		return
	}
	c.x = nil
	// A client that did not ask for the end may be sending its next request.
	unread = unread || x.malformed || x.req.KeepAlive
	l.recycle(x)
	if !c.keepAlive {
		l.hangUp(c, unread)
		return
	}
	l.nextRequest(c)
}

// drainBody reads the rest of a request body that nobody wants.
func (l *Loop) drainBody(c *conn) {
	x := c.x
	for !x.reqBody.Done() {
		in, ok := l.bodyBytes(c)
		if !ok {
			return
		}
		used, err := 0, error(nil)
		for used < len(in) && !x.reqBody.Done() && err == nil {
			var n int
			_, n, err = x.reqBody.Next(in[used:])
			used += n
		}
		c.discard -= used
		l.keepRest(c, in, used)
		if err != nil || c.discard < 0 {
			c.x = nil
			l.recycle(x)
			l.hangUp(c, true)
			return
		}
	}
	c.x = nil
	l.recycle(x)
	l.nextRequest(c)
}

// clientGone ends an exchange whose client connection is being closed.
func (l *Loop) clientGone(x *exchange) {
	if x.c.state == stateBusy {
		l.Stats.Busy.Add(-1)
	} else if !x.ended {
		// Only part of a head: nothing to log.
		l.recycle(x)
		return
	}
	l.dropUpstream(x)
	x.c = nil
	if x.blocked {
		x.cancel()
		return // the plugin still has it, see resumeBlocked
	}
	l.endGone(x)
}

// endGone ends an exchange without client.
func (l *Loop) endGone(x *exchange) {
	if !x.headSent {
		x.Response.Status = 499
		x.Source = plugin.SourceProxy
	}
	l.endLog(x)
	l.recycle(x)
}

// cut ends a response that cannot be completed so that the client can see that it is not complete.
func (l *Loop) cut(x *exchange) {
	c := x.c
	l.Stats.Cut.Add(1)
	l.dropUpstream(x)
	c.x = nil
	l.Stats.Busy.Add(-1)
	if x.framing.Close {
		l.io.reset(c.fd)
	}
	l.endLog(x)
	l.recycle(x)
	l.closeClient(c)
}

// dropUpstream closes the upstream connection of x, if it has one.
func (l *Loop) dropUpstream(x *exchange) {
	if u := x.up; u != nil {
		if n := len(x.Upstream.Attempts); n > 0 && x.Upstream.Attempts[n-1].Ended == 0 {
			x.Upstream.Attempts[n-1].Ended = l.now
		}
		l.closeUpstream(u)
	}
}

// report tells the balancer what came of the current attempt.
func (l *Loop) report(x *exchange, ev upstream.Event) {
	a := &x.Upstream.Attempts[len(x.Upstream.Attempts)-1]
	x.Up.Report(x.Node, ev, durationOf(l.now-a.Started), l.now)
}
