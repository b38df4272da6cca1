package engine

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/control/snapshot"
	"github.com/sluice-gateway/sluice/l7/h1"
	"github.com/sluice-gateway/sluice/l7/plugin"
	"github.com/sluice-gateway/sluice/l7/plugin/expr"
	"github.com/sluice-gateway/sluice/l7/route"
	"github.com/sluice-gateway/sluice/l7/upstream"
)

// trace is the phases that have run, in order.
type trace struct{ steps []string }

func (tr *trace) String() string { return strings.Join(tr.steps, " ") }

// probe is a plugin that notes each of its phases and does what do says there.
type probe struct {
	name string
	tr   *trace
	do   map[string]func(ex *plugin.Exchange) (*plugin.Reply, error)
}

func (p *probe) step(phase string, ex *plugin.Exchange) (*plugin.Reply, error) {
	p.tr.steps = append(p.tr.steps, p.name+"."+phase)
	if f := p.do[phase]; f != nil {
		return f(ex)
	}
	return nil, nil
}

func (p *probe) Rewrite(ex *plugin.Exchange) (*plugin.Reply, error)     { return p.step("rewrite", ex) }
func (p *probe) Access(ex *plugin.Exchange) (*plugin.Reply, error)      { return p.step("access", ex) }
func (p *probe) BeforeProxy(ex *plugin.Exchange) (*plugin.Reply, error) { return p.step("proxy", ex) }
func (p *probe) HeaderFilter(ex *plugin.Exchange) error {
	_, err := p.step("header", ex)
	return err
}
func (p *probe) BodyFilter(ex *plugin.Exchange, chunk []byte, _ bool) ([]byte, error) {
	_, err := p.step("body", ex)
	return append(append([]byte(p.name+"("), chunk...), ')'), err
}
func (p *probe) Log(ex *plugin.Exchange) { _, _ = p.step("log", ex) }

// waiting is a probe that may wait, reading one that wants the body.
type waiting struct{ *probe }

func (waiting) MayWait() bool { return true }

type reading struct {
	*probe
	limit int64
}

func (r reading) RequestBody() int64 { return r.limit }

// unit puts an instance into a chain. meta may be "error_response" or "filter" with a value.
func unit(t testing.TB, name string, priority int, inst plugin.Instance, meta ...string) *Unit {
	t.Helper()
	var filter *expr.Expr
	var errorResponse []byte
	for i := 0; i+1 < len(meta); i += 2 {
		switch meta[i] {
		case "filter":
			var err error
			if filter, err = expr.Compile([]byte(meta[i+1])); err != nil {
				t.Fatal(err)
			}
		case "error_response":
			errorResponse = []byte(meta[i+1])
		}
	}
	return NewUnit(&plugin.Def{Name: name, Priority: priority}, inst, "routes/1", nil, filter, errorResponse)
}

// site is what an engine serves in a test: one route for /hello*.
type site struct {
	conf      Config
	global    []*Unit
	units     []*Unit
	upstream  *snapshot.Upstream // nil for two nodes
	without   bool               // no upstream at all
	consumers *plugin.ConsumerIndex
	vars      string // conditions of the route
}

func (s site) engine(t testing.TB) *Engine {
	t.Helper()
	set := upstream.NewSet(upstream.Options{FirstWait: -1, Logger: slog.New(slog.DiscardHandler)})
	t.Cleanup(set.Close)
	var up *upstream.Upstream
	if !s.without {
		conf := s.upstream
		if conf == nil {
			conf = &snapshot.Upstream{Type: "roundrobin", Nodes: nodes("10.0.0.1:80", "10.0.0.2:8080")}
		}
		var err error
		if up, err = set.Get(conf); err != nil {
			t.Fatal(err)
		}
	}
	def := &route.Def{ID: "1", URIs: []string{"/hello*"}}
	if s.vars != "" {
		e, err := expr.Compile([]byte(s.vars))
		if err != nil {
			t.Fatal(err)
		}
		def.Vars = e
	}
	var timeouts upstream.Timeouts
	if up != nil {
		timeouts = up.Timeouts
	}
	def.Value = NewRoute(plugin.RouteInfo{ID: "1", Name: "hello"}, NewChain(s.units), up, timeouts)
	table, err := route.New(s.conf.RouterMode).With([]*route.Def{def}, nil)
	if err != nil {
		t.Fatal(err)
	}
	consumers := s.consumers
	if consumers == nil {
		consumers = plugin.NewConsumerIndex()
	}
	e := New(s.conf)
	e.Publish(NewState(table, NewChain(s.global), consumers))
	return e
}

func nodes(list ...string) (out []snapshot.Node) {
	for _, n := range list {
		ap := netip.MustParseAddrPort(n)
		out = append(out, snapshot.Node{Host: ap.Addr().String(), Port: int(ap.Port()), ExplicitPort: ap.Port() != 80, Weight: 1})
	}
	return out
}

// message writes a head with CRLF and an empty line at the end.
func message(lines ...string) string { return strings.Join(lines, "\r\n") + "\r\n\r\n" }

// begin parses a request as a driver does and begins the exchange.
func begin(t testing.TB, e *Engine, raw string) *Exchange {
	t.Helper()
	x := &Exchange{}
	again(t, e, x, raw)
	return x
}

func again(t testing.TB, e *Engine, x *Exchange, raw string) {
	t.Helper()
	var req h1.Request
	if err := req.Parse([]byte(raw), &h1.Limits{}); err != nil {
		t.Fatalf("%q: %v", raw, err)
	}
	r := &x.Request
	r.Method, r.Target, r.Query, r.HasQuery, r.HostPort = req.Method, req.Target, req.Query, req.HasQuery, req.Host
	r.Scheme, r.Protocol, r.HeadBytes = "http", fmt.Sprintf("HTTP/1.%d", req.Minor), req.HeadLen
	switch req.Body {
	case h1.BodyLength:
		r.ContentLength = req.Length
	case h1.BodyChunked:
		r.ContentLength = -1
	}
	x.SetFields(req.Fields, req.Kinds)
	x.Peer = netip.MustParseAddrPort("192.0.2.7:4000")
	x.Client, x.Server, x.Now = x.Peer, netip.MustParseAddrPort("198.51.100.1:9080"), 1
	x.Begin(e, req.Path)
}

// answer takes the answer of a node through the filters.
func answer(t testing.TB, x *Exchange, method, raw string) {
	t.Helper()
	var resp h1.Response
	if err := resp.Parse([]byte(raw), []byte(method), &h1.Limits{}); err != nil {
		t.Fatalf("%q: %v", raw, err)
	}
	length := resp.Length
	if resp.Body == h1.BodyChunked || resp.Body == h1.BodyUntilClose {
		length = -1
	}
	x.Upstream.Attempts = append(x.Upstream.Attempts, plugin.Attempt{})
	x.ResponseHead(resp.Status, resp.Reason, resp.Fields, resp.Kinds, length)
	x.FilterHead()
}
