package userspace

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/control/snapshot"
	"github.com/sluice-gateway/sluice/l7/certs"
	"github.com/sluice-gateway/sluice/l7/plugin"
	"github.com/sluice-gateway/sluice/l7/upstream"
)

// Options configure a Plane. New fills in the documented default for every zero field.
type Options struct {
	Upstream upstream.Options
	// PluginAttr is plugin_attr of config.yaml by plugin name, as JSON.
	PluginAttr map[string]json.RawMessage
	// Shared is where plugins keep what all their instances share; see plugin.Env.
	Shared func(name string, mk func() any) any
	// TLS is for listeners that end TLS.
	TLS certs.Options
	// TrustProxy are the peers whose PROXY protocol headers are believed; the headers of others are read and forgotten.
	TrustProxy []netip.Prefix
	// MaxConns bounds the open connections (65536); more are closed as they come.
	MaxConns int
	// MaxSessions bounds the UDP sessions of one listener (16384); the one that has been quiet for longest makes room for another.
	MaxSessions int
	// HelloTimeout is how long a PROXY protocol header, a ClientHello or a TLS handshake may take (10 s).
	HelloTimeout time.Duration
	// AccessLog is called at the end of every connection and UDP session that has found a route; nil logs nothing. It may read the variables of nginx's stream log.
	AccessLog func(ex *plugin.Exchange)
	Logger    *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.MaxConns <= 0 {
		o.MaxConns = 65536
	}
	if o.MaxSessions <= 0 {
		o.MaxSessions = 16384
	}
	if o.HelloTimeout <= 0 {
		o.HelloTimeout = 10 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Upstream.Logger == nil {
		o.Upstream.Logger = o.Logger
	}
	if o.Shared == nil {
		var mu sync.Mutex
		shared := map[string]any{}
		o.Shared = func(name string, mk func() any) any {
			mu.Lock()
			defer mu.Unlock()
			if shared[name] == nil {
				shared[name] = mk()
			}
			return shared[name]
		}
	}
	return o
}

// TCPListener is a listening socket and what config.yaml says about it.
type TCPListener struct {
	*net.TCPListener
	// TLS ends TLS with the certificates of the snapshot.
	TLS bool
	// ProxyProtocol expects a header in front of each connection, ProxyProtocolOut sends one to the node.
	ProxyProtocol, ProxyProtocolOut bool
}

// Plane serves stream routes by the snapshots that it is given.
type Plane struct {
	o     Options
	set   *upstream.Set
	certs certs.Store
	table atomic.Pointer[table]
	stats Stats
	byID  routeStats
	inst  instances

	// mu is held from Prepare to Commit or Abort: there is one change at a time.
	mu     sync.Mutex
	snap   *snapshot.Snapshot
	routes map[*snapshot.StreamRoute]*route

	tcp []TCPListener
	udp []*udpListener
	wg  sync.WaitGroup

	openMu sync.Mutex
	open   map[abortable]struct{}
	closed bool
	ending chan struct{}
}

// abortable is a connection or session that can be cut.
type abortable interface{ abort() }

// New makes a plane without listeners that refuses everything until a snapshot is committed.
func New(o Options) *Plane {
	o = o.withDefaults()
	p := &Plane{o: o, set: upstream.NewSet(o.Upstream), snap: &snapshot.Snapshot{}, routes: map[*snapshot.StreamRoute]*route{}, open: map[abortable]struct{}{},
		ending: make(chan struct{}), inst: instances{attr: o.PluginAttr, shared: o.Shared, logger: o.Logger, live: map[instanceKey]*instance{}}}
	p.table.Store(newTable(nil))
	return p
}

// Name is the plane's name in status and errors.
func (p *Plane) Name() string { return "l4" }

// Stats are the plane's counters.
func (p *Plane) Stats() *Stats { return &p.stats }

// EachRoute calls f with the counters of every stream route.
func (p *Plane) EachRoute(f func(id string, r *RouteStats)) { p.byID.each(f) }

// ListenTCP and ListenUDP give the plane sockets to serve. They are called before Start.
func (p *Plane) ListenTCP(l TCPListener) { p.tcp = append(p.tcp, l) }

// ListenUDP adds a socket. With one that is bound to every address the answers need the address that the client used: it is made by package listen.
func (p *Plane) ListenUDP(c *net.UDPConn) { p.udp = append(p.udp, newUDPListener(p, c)) }

// Start serves.
func (p *Plane) Start() {
	for _, l := range p.tcp {
		p.wg.Add(1)
		go func() { defer p.wg.Done(); p.acceptTCP(l) }()
	}
	for _, l := range p.udp {
		p.wg.Add(1)
		go func() { defer p.wg.Done(); l.read() }()
	}
}

// Prepared is a snapshot that is compiled and not yet served.
type Prepared struct {
	p      *Plane
	snap   *snapshot.Snapshot
	table  *table
	routes map[*snapshot.StreamRoute]*route
	made   map[instanceKey]*instance
	fresh  []*route
	index  *certs.Index
}

// Prepare compiles what differs from the served snapshot. It has no effect but must be followed by Commit or Abort. Errors name the stream route.
func (p *Plane) Prepare(_ context.Context, s *snapshot.Snapshot) (_ *Prepared, err error) {
	p.mu.Lock()
	n := &Prepared{p: p, snap: s, routes: make(map[*snapshot.StreamRoute]*route, len(s.StreamRoutes)), made: map[instanceKey]*instance{}, index: p.certs.Index()}
	defer func() {
		if err != nil {
			n.Abort()
		}
	}()
	list := make([]*route, 0, len(s.StreamRoutes))
	for _, def := range s.StreamRoutes {
		if def.Protocol != nil {
			// The Admin API refuses it; another node or an older version may have stored it.
			p.o.Logger.Warn("stream route is not served: it has a protocol", "route_id", def.ID)
			continue
		}
		r := p.routes[def]
		if r == nil || r.metadataChanged(p.snap.PluginMetadata, s.PluginMetadata) {
			if r, err = p.compile(def, s, n.made); err != nil {
				return nil, fmt.Errorf("stream route %s: %w", def.ID, err)
			}
			n.fresh = append(n.fresh, r)
		}
		n.routes[def] = r
		list = append(list, r)
	}
	n.table = newTable(list)
	if !slices.Equal(s.SSLs, p.snap.SSLs) {
		var errs []error
		n.index, errs = certs.New(s.SSLs, p.o.TLS, p.certs.Index())
		for _, err := range errs {
			p.o.Logger.Error("certificate cannot be used", "err", err)
		}
	}
	return n, nil
}

func (r *route) metadataChanged(was, is map[string]*snapshot.Metadata) bool {
	return slices.ContainsFunc(r.units, func(u *unit) bool { return was[u.name] != is[u.name] })
}

func (p *Plane) compile(def *snapshot.StreamRoute, s *snapshot.Snapshot, made map[instanceKey]*instance) (*route, error) {
	var up *upstream.Upstream
	if def.Upstream != nil {
		var err error
		if up, err = p.set.Get(def.Upstream); err != nil {
			return nil, fmt.Errorf("upstream: %w", err)
		}
	}
	r, err := newRoute(def, up)
	if err != nil {
		return nil, err
	}
	r.units, err = p.inst.units(def.Plugins, s.PluginMetadata, made)
	return r, err
}

// Commit serves the prepared snapshot.
func (n *Prepared) Commit() {
	p := n.p
	for _, r := range n.fresh {
		for _, u := range r.units {
			u.inst.refs.Add(1)
		}
		r.retain()
		r.stats = p.byID.of(r.def.ID)
	}
	old := p.routes
	p.snap, p.routes = n.snap, n.routes
	p.table.Store(n.table)
	p.certs.Set(n.index)
	for def, r := range old {
		if n.routes[def] != r {
			r.release()
		}
	}
	p.inst.live = map[instanceKey]*instance{}
	live, used := map[string]bool{}, map[*snapshot.Upstream]bool{}
	for def, r := range n.routes {
		live[def.ID], used[def.Upstream] = true, true
		for _, u := range r.units {
			p.inst.live[u.inst.key] = u.inst
		}
	}
	p.byID.retain(live)
	p.set.Retain(func(u *snapshot.Upstream) bool { return used[u] })
	p.mu.Unlock()
}

// Abort forgets the prepared snapshot.
func (n *Prepared) Abort() {
	p := n.p
	for _, i := range n.made {
		i.refs.Add(1)
		i.release()
	}
	p.set.Retain(func(u *snapshot.Upstream) bool {
		for def := range p.routes {
			if def.Upstream == u {
				return true
			}
		}
		return false
	})
	p.mu.Unlock()
}

// enter registers something that Close may have to cut. It is false when the plane has closed.
func (p *Plane) enter(a abortable) bool {
	p.openMu.Lock()
	defer p.openMu.Unlock()
	if p.closed {
		return false
	}
	p.open[a] = struct{}{}
	return true
}

func (p *Plane) leave(a abortable) {
	p.openMu.Lock()
	defer p.openMu.Unlock()
	delete(p.open, a)
}

// Close stops accepting, lets connections end until ctx does, then cuts the rest. The error says how many were cut.
func (p *Plane) Close(ctx context.Context) error {
	close(p.ending)
	for _, l := range p.tcp {
		_ = l.Close()
	}
	for _, l := range p.udp {
		l.end()
	}
	done := make(chan struct{})
	go func() { p.wg.Wait(); close(done) }()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		p.openMu.Lock()
		p.closed = true
		if n := len(p.open); n > 0 {
			err = fmt.Errorf("%d connections were still open", n)
		}
		for a := range p.open {
			a.abort()
		}
		p.openMu.Unlock()
		<-done
	}
	for _, l := range p.udp {
		_ = l.c.Close()
	}
	p.set.Close()
	return err
}
