package engine

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/sluice-gateway/sluice/l7/h1"
	"github.com/sluice-gateway/sluice/l7/plugin"
	"github.com/sluice-gateway/sluice/l7/upstream"
)

// Verdict is what a driver does next with an exchange.
type Verdict uint8

// The verdicts; see the package comment.
const (
	Answer Verdict = iota
	Proxy
	Delay
	Block
	NeedBody
)

type stage uint8

const (
	stageMatch stage = iota
	stageBody
	stageGlobalRewrite
	stageRewrite
	stageConsumer
	stageConsumerRewrite
	stageGlobalAccess
	stageAccess
	stageUpstream
	stageGlobalBeforeProxy
	stageBeforeProxy
	stageProxy
	stageAnswer
)

// Exchange is a plugin.Exchange with the engine's own state. Drivers embed it and reuse it with Reset.
type Exchange struct {
	plugin.Exchange

	// Node is the picked upstream node and Timeouts what bounds talking to it; both are set with the verdict Proxy.
	Node     *upstream.Node
	Up       *upstream.Upstream
	Timeouts upstream.Timeouts
	// Loop is the number of the loop or shard that serves the exchange.
	Loop int

	engine   *Engine
	state    *State
	route    *Route
	chain    *Chain
	global   *Chain
	current  *Unit
	stage    stage
	next     int
	blocking bool
	trusted  bool
	head     bool // the client sent HEAD
	held     bool // Node has to be given back

	pick      upstream.Pick
	tries     int
	retryEnd  int64
	replyBody []byte
	bodyMax   int64
}

// Reset makes x ready for another request.
func (x *Exchange) Reset() {
	x.Exchange.Reset()
	pick := x.pick
	pick.Reset()
	*x = Exchange{Exchange: x.Exchange, pick: pick}
}

// Begin takes a request whose fields (Method, Target, raw path and query, Header, HostPort, ContentLength, addresses, times) the driver has filled in, with
// the path as it came. It normalises the path and applies trust rules. Afterwards Step decides.
func (x *Exchange) Begin(e *Engine, rawPath []byte) {
	x.engine, x.state = e, e.state.Load()
	x.Consumers = x.state.consumers
	x.global, x.chain = x.state.global, emptyChain
	r := &x.Request
	x.head = string(r.Method) == http.MethodHead
	r.Host = hostOnly(&x.Exchange, r.HostPort)
	if bytes.Equal(rawPath, star) {
		r.Path = rawPath
	} else {
		norm, err := h1.NormalizePath(x.Alloc(len(rawPath))[:0], rawPath, h1.PathOptions{EncodedSlash: e.conf.MatchURIEncodedSlash})
		if err != nil {
			r.Path = rawPath
			x.Refuse(http.StatusBadRequest)
			return
		}
		if e.conf.NormalizeURILikeServlet && bytes.IndexByte(norm, ';') >= 0 {
			// The upstream still reads the parameters; routes and plugins do not see them.
			r.UpstreamTarget = x.targetOf(norm)
			norm, err = h1.NormalizePath(x.Alloc(len(rawPath))[:0], rawPath, h1.PathOptions{EncodedSlash: e.conf.MatchURIEncodedSlash, Servlet: true})
			if err != nil {
				x.Refuse(http.StatusBadRequest)
				return
			}
		}
		if e.conf.DeleteURITailSlash && len(norm) > 1 && norm[len(norm)-1] == '/' {
			norm = norm[:len(norm)-1]
		}
		r.Path = norm
	}
	e.conf.RealIP.apply(&x.Exchange)
	x.trusted = e.trusts(&x.Exchange)
	x.forwardedFields()
}

var star = []byte("*")

// trusts tells whether the peer is one of the configured trusted addresses.
func (e *Engine) trusts(ex *plugin.Exchange) bool {
	if len(e.conf.TrustedAddresses) == 0 {
		return false
	}
	ip := ex.Peer.Addr().Unmap()
	for _, p := range e.conf.TrustedAddresses {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// Refuse makes the exchange an error answer of the gateway with the plain error page. It is for drivers (408, 413, 502, 504 ...) and may be called at
// any time before the response head was sent.
func (x *Exchange) Refuse(status int) { x.reply(&plugin.Reply{Status: status}, plugin.SourceGateway) }

// Fail is Refuse for an upstream that gave no usable answer (502, 503, 504).
func (x *Exchange) Fail(status int) { x.reply(&plugin.Reply{Status: status}, plugin.SourceProxy) }

func (x *Exchange) reply(r *plugin.Reply, source plugin.ResponseSource) {
	if u := x.current; u != nil && u.errBody != nil && r.Status >= 400 {
		r = &plugin.Reply{Status: r.Status, Body: u.errBody, Header: r.Header, ContentType: r.ContentType}
	}
	resp := &x.Response
	resp.Status, resp.Reason = r.Status, nil
	resp.Header.Reset(resp.Header.Fields()[:0])
	for _, f := range r.Header {
		resp.Header.Add(plugin.String(f.Name), f.Value)
	}
	body, ctype := r.Body, r.ContentType
	if body == nil && r.Status >= 300 && r.Status != http.StatusNotModified {
		body = errorPage(r.Status)
		ctype = "text/html; charset=utf-8"
	} else if ctype == "" {
		ctype = "text/plain; charset=utf-8"
	}
	if len(body) > 0 && !resp.Header.Has("Content-Type") {
		resp.Header.SetString("Content-Type", ctype)
	}
	x.replyBody = body
	resp.ContentLength = int64(len(body))
	x.Source = source
	x.stage = stageAnswer
}

// ReplyBody is the body of an answer of the gateway; it still has to go through FilterBody.
func (x *Exchange) ReplyBody() []byte { return x.replyBody }

// Answering tells whether the gateway itself answers.
func (x *Exchange) Answering() bool { return x.stage == stageAnswer }

// Step goes on with the request phases until a verdict is reached.
func (x *Exchange) Step() (v Verdict) {
	defer func() {
		if p := recover(); p != nil {
			x.panicked(p)
			v = Answer
		}
	}()
	for {
		switch x.stage {
		case stageMatch:
			x.BodyMissed = false
			matched := x.match()
			if x.BodyMissed && x.state.table.NeedsBody() && x.wantsBody(x.engine.conf.MaxBufferedBody) {
				// A condition that decides about this request reads its body: look for the route again when it is there.
				x.unmatch()
				return NeedBody
			}
			switch {
			case x.stage == stageAnswer:
			case matched:
				x.stage = stageBody
			default:
				x.stage = stageGlobalRewrite
			}
		case stageBody:
			if x.pluginsWantBody() {
				return NeedBody
			}
			if x.stage != stageAnswer {
				x.stage = stageGlobalRewrite
			}
		case stageGlobalRewrite:
			if v, stop := x.runList(x.global.rewrite, phaseRewrite); stop {
				return v
			}
		case stageRewrite:
			if v, stop := x.runList(x.chain.rewrite, phaseRewrite); stop {
				return v
			}
		case stageConsumer:
			x.stage++
			if x.Consumer != nil && x.route != nil {
				if cc, _ := x.Consumer.Engine.(*ConsumerChain); cc != nil {
					x.chain = x.state.mergedWith(x.route.chain, cc)
					if x.pluginsWantBody() {
						return NeedBody
					}
				}
			}
		case stageConsumerRewrite:
			if v, stop := x.runList(x.chain.consumerRewrite, phaseRewrite); stop {
				return v
			}
		case stageGlobalAccess:
			if v, stop := x.runList(x.global.access, phaseAccess); stop {
				return v
			}
		case stageAccess:
			if x.route == nil {
				x.current = nil
				x.reply(notFound, plugin.SourceGateway)
				continue
			}
			if v, stop := x.runList(x.chain.access, phaseAccess); stop {
				return v
			}
		case stageUpstream:
			x.current = nil
			if !x.pickFirst() {
				continue
			}
			x.stage++
		case stageGlobalBeforeProxy:
			if v, stop := x.runList(x.global.beforeProxy, phaseBeforeProxy); stop {
				return v
			}
		case stageBeforeProxy:
			if v, stop := x.runList(x.chain.beforeProxy, phaseBeforeProxy); stop {
				return v
			}
		case stageProxy:
			x.current = nil
			return Proxy
		default:
			return Answer
		}
	}
}

var notFound = &plugin.Reply{Status: 404, Body: []byte("{\"error_msg\":\"404 Route Not Found\"}\n")}

// StepBlocking runs the units of the current phase on the caller's goroutine, where they may block, up to the end of the phase. ctx ends when the client
// went away. The driver calls Step again afterwards.
func (x *Exchange) StepBlocking(ctx context.Context) {
	x.blocking = true
	x.SetContext(ctx)
	start := x.stage
	for x.stage == start {
		switch x.Step() {
		case Delay:
			t := time.NewTimer(x.Delay)
			select {
			case <-t.C:
			case <-ctx.Done():
				t.Stop()
			}
			x.Delay = 0
			continue
		default:
		}
		break
	}
	x.blocking = false
	x.SetContext(context.Background())
}

type phase uint8

const (
	phaseRewrite phase = iota
	phaseAccess
	phaseBeforeProxy
)

// runList runs the units of one phase from where it stopped and moves on to the next stage at the end.
func (x *Exchange) runList(list []*Unit, p phase) (v Verdict, stop bool) {
	for x.next < len(list) {
		u := list[x.next]
		if u.waits && !x.blocking {
			return Block, true
		}
		x.next++
		if u.filter != nil && !x.passes(u) {
			continue
		}
		x.current = u
		var r *plugin.Reply
		var err error
		switch p {
		case phaseRewrite:
			r, err = u.rewriter.Rewrite(&x.Exchange)
		case phaseAccess:
			r, err = u.accesser.Access(&x.Exchange)
		default:
			r, err = u.beforeProxy.BeforeProxy(&x.Exchange)
		}
		if err != nil {
			x.fault(err)
			return Answer, true
		}
		if r != nil {
			x.reply(r, plugin.SourceGateway)
			if x.Delay > 0 {
				return Delay, true // first the wait, then the answer
			}
			return Answer, true
		}
		x.current = nil
		if x.Delay > 0 {
			return Delay, true
		}
	}
	x.next = 0
	x.stage++
	if x.blocking {
		// The rest is for the driver's own goroutine.
		return Block, true
	}
	return 0, false
}

// passes evaluates _meta.filter once per exchange, so that all phases of a plugin run or none.
func (x *Exchange) passes(u *Unit) bool {
	if v := x.Value(u); v != nil {
		return v.(bool)
	}
	ok := u.filter.Eval(&x.Exchange)
	x.SetValue(u, ok)
	return ok
}

// wantsBody tells whether the body has to be buffered first; a body known to be over the limit is refused.
func (x *Exchange) wantsBody(limit int64) bool {
	if x.Request.ContentLength == 0 || x.Request.BodyBuffered {
		return false
	}
	if x.Request.ContentLength > limit {
		x.Refuse(http.StatusRequestEntityTooLarge)
		return false
	}
	x.bodyMax = limit
	return true
}

// pluginsWantBody tells whether a plugin of the exchange needs the body buffered before it goes on.
func (x *Exchange) pluginsWantBody() bool {
	limit := max(x.chain.body, x.global.body)
	if x.chain.bodyVars || x.global.bodyVars {
		limit = max(limit, x.engine.conf.MaxBufferedBody)
	}
	return limit > 0 && x.wantsBody(limit)
}

// BodyLimit is how many bytes of body the driver may buffer after the verdict NeedBody; more is refused with 413.
func (x *Exchange) BodyLimit() int64 { return x.bodyMax }

func (x *Exchange) match() bool {
	s := x.state
	def, ok := s.table.Match(&x.Exchange)
	if !ok {
		return false
	}
	rt := def.Value.(*Route)
	x.route, x.chain = rt, rt.chain
	x.global = s.globalFor(rt.chain)
	uri, host := x.Exchange.Route.MatchedURI, x.Exchange.Route.MatchedHost
	x.Exchange.Route = rt.info
	x.Exchange.Route.MatchedURI, x.Exchange.Route.MatchedHost = uri, host
	return true
}

// unmatch takes back what match has set.
func (x *Exchange) unmatch() {
	x.route, x.chain, x.global = nil, emptyChain, x.state.global
	x.Exchange.Route = plugin.RouteInfo{}
}

// pickFirst chooses the first node; without one the exchange becomes an answer.
func (x *Exchange) pickFirst() bool {
	rt := x.route
	if rt.up == nil {
		x.reply(missingUpstream, plugin.SourceGateway)
		return false
	}
	x.Up = rt.up
	x.tries = 0
	if d := rt.up.RetryTimeout; d > 0 {
		x.retryEnd = x.Now + int64(d)
	}
	x.Timeouts = rt.timeouts
	x.pick.Loop = x.Loop
	if rt.up.NeedsKey() {
		x.pick.Key = rt.up.HashKey(&x.Exchange)
	}
	if err := x.pickNode(); err != nil {
		// No node at all is a matter of the configuration; nodes that cannot be picked are a bad gateway (apisix/upstream.lua, apisix/init.lua handle_upstream).
		status := http.StatusBadGateway
		if len(rt.up.Conf.Nodes) == 0 {
			status = http.StatusServiceUnavailable
		}
		x.reply(&plugin.Reply{Status: status}, plugin.SourceGateway)
		return false
	}
	return true
}

var missingUpstream = &plugin.Reply{Status: 503, Body: []byte("{\"error_msg\":\"missing upstream configuration in Route or Service\"}\n")}

func (x *Exchange) pickNode() error {
	x.release()
	x.pick.Now = x.Now
	n, err := x.Up.Pick(&x.pick)
	if err != nil {
		return err
	}
	x.Node, x.held = n, true
	x.Upstream.Node, x.Upstream.Addr, x.Upstream.Scheme = n.HostPort, n.Addr, x.Up.Scheme
	if s := x.Request.UpstreamScheme; s != "" {
		x.Upstream.Scheme = s
	}
	x.Upstream.Host = x.UpstreamHost()
	return nil
}

// release gives the picked node back; Node itself stays for the log phase.
func (x *Exchange) release() {
	if x.held {
		x.Up.Release(x.Node)
		x.held = false
	}
}

// NextNode says whether to try again after the current attempt failed with status (502 or 504) before the client got any of the response, and picks the node.
// sent tells that the request reached a node (as far as one can know): then only a request that is safe to repeat is tried again (RFC 9110 9.2.2), and never one
// whose body has been sent in part. When it returns false the exchange has become the error answer.
func (x *Exchange) NextNode(status int, sent, bodySent bool) bool {
	again := !bodySent && (!sent || Idempotent(x.Request.Method)) && x.tries < x.Up.Retries() &&
		(x.retryEnd == 0 || x.Now < x.retryEnd)
	if again {
		x.tries++
		if x.pickNode() == nil {
			return true
		}
	}
	x.Fail(status)
	return false
}

// Idempotent tells whether a request with this method may be sent again (RFC 9110 9.2.2).
func Idempotent(method []byte) bool {
	switch string(method) {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "PROPFIND":
		return true
	}
	return false
}

// ErrAborted says that a body filter failed in the middle of a response: the driver cuts the connection.
var ErrAborted = errors.New("filter response body: aborted")
