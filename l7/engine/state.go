package engine

import (
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/sluice-gateway/sluice/l7/h1"
	"github.com/sluice-gateway/sluice/l7/plugin"
	"github.com/sluice-gateway/sluice/l7/route"
	"github.com/sluice-gateway/sluice/l7/upstream"
)

// Config is the static part of the engine: what config.yaml says.
type Config struct {
	// ServerHeader is the Server field of every response, empty for none.
	ServerHeader string
	// RouterMode says how routes are matched.
	RouterMode route.Mode
	// TrustedAddresses are the peers whose X-Forwarded-* and Forwarded fields are believed.
	TrustedAddresses []netip.Prefix
	// RealIP says who may name the client's address.
	RealIP RealIP
	// ShowUpstreamStatus sends X-APISIX-Upstream-Status always, not only for 5xx.
	ShowUpstreamStatus bool
	// DeleteURITailSlash, NormalizeURILikeServlet and MatchURIEncodedSlash are APISIX's settings of the same name.
	DeleteURITailSlash, NormalizeURILikeServlet, MatchURIEncodedSlash bool
	// Limits bounds heads and bodies of messages.
	Limits h1.Limits
	// MaxBufferedBody bounds a request body that is buffered for conditions on it, 0 for 1 MiB.
	MaxBufferedBody int64
	// Logger takes faults.
	Logger *slog.Logger
	// AccessLog, when not nil, is called at the end of every exchange, on the goroutine of the driver with its loop number.
	AccessLog func(loop int, ex *plugin.Exchange)
}

// Engine holds the published state and what outlives it.
type Engine struct {
	conf   Config
	server []byte
	state  atomic.Pointer[State]
	faults faultLog
	// Panics counts plugin panics, Faults plugin errors.
	Panics, Faults atomic.Uint64
}

// New returns an engine that answers 404 to everything until a State is published.
func New(conf Config) *Engine {
	if conf.Logger == nil {
		conf.Logger = slog.New(slog.DiscardHandler)
	}
	if conf.MaxBufferedBody <= 0 {
		conf.MaxBufferedBody = 1 << 20
	}
	e := &Engine{conf: conf, server: []byte(conf.ServerHeader)}
	e.state.Store(&State{table: route.New(conf.RouterMode), global: emptyChain, consumers: plugin.NewConsumerIndex()})
	return e
}

// Publish makes s the state of exchanges that begin from now on.
func (e *Engine) Publish(s *State) { e.state.Store(s) }

// State returns the published state.
func (e *Engine) State() *State { return e.state.Load() }

// State is one compiled configuration. It is immutable but for caches of what can be computed from it.
type State struct {
	table     *route.Table
	global    *Chain
	consumers *plugin.ConsumerIndex
	merged    sync.Map // mergeKey -> *Chain
	preferred sync.Map // *Chain (of a route) -> *Chain (global rules without what the route configures itself)
	hasPrefer bool
}

type mergeKey struct {
	route    *Chain
	consumer *ConsumerChain
}

// Route is a compiled route; it is the Value of its route.Def.
type Route struct {
	info     plugin.RouteInfo
	chain    *Chain
	up       *upstream.Upstream
	timeouts upstream.Timeouts
}

// NewRoute puts a compiled route together. up may be nil for a route whose plugins answer.
func NewRoute(info plugin.RouteInfo, chain *Chain, up *upstream.Upstream, timeouts upstream.Timeouts) *Route {
	return &Route{info: info, chain: chain, up: up, timeouts: timeouts}
}

// NewState puts a state together from its compiled parts.
func NewState(table *route.Table, global *Chain, consumers *plugin.ConsumerIndex) *State {
	if global == nil {
		global = emptyChain
	}
	s := &State{table: table, global: global, consumers: consumers}
	for _, u := range global.units {
		if u.def.PreferRoute {
			s.hasPrefer = true
		}
	}
	return s
}

// globalFor returns the global rules as they apply to a request whose route has chain c.
func (s *State) globalFor(c *Chain) *Chain {
	if !s.hasPrefer || c == nil || len(c.units) == 0 {
		return s.global
	}
	if g, ok := s.preferred.Load(c); ok {
		return g.(*Chain)
	}
	units := make([]*Unit, 0, len(s.global.units))
	for _, u := range s.global.units {
		if u.def.PreferRoute && c.has(u.def.Name) {
			continue
		}
		units = append(units, u)
	}
	g, _ := s.preferred.LoadOrStore(c, NewChain(units))
	return g.(*Chain)
}

// mergedWith returns a route's chain with a consumer's plugins in it.
func (s *State) mergedWith(c *Chain, cc *ConsumerChain) *Chain {
	k := mergeKey{c, cc}
	if m, ok := s.merged.Load(k); ok {
		return m.(*Chain)
	}
	m, _ := s.merged.LoadOrStore(k, mergeConsumer(c, cc))
	return m.(*Chain)
}
