package l7

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"

	"github.com/sluice-gateway/sluice/control/snapshot"
	"github.com/sluice-gateway/sluice/l7/engine"
	"github.com/sluice-gateway/sluice/l7/loop"
	"github.com/sluice-gateway/sluice/l7/plugin"
	"github.com/sluice-gateway/sluice/l7/plugin/expr"
	"github.com/sluice-gateway/sluice/l7/route"
	"github.com/sluice-gateway/sluice/l7/upstream"
)

// Options configure a Plane.
type Options struct {
	Engine engine.Config
	Loop   loop.Config
	// Loops is the number of event loops, 0 for one per CPU.
	Loops    int
	Upstream upstream.Options
	// PluginAttr is plugin_attr of config.yaml by plugin name, as JSON.
	PluginAttr map[string]json.RawMessage
	Logger     *slog.Logger
}

// Plane serves HTTP by the snapshots that it is given.
type Plane struct {
	engine *engine.Engine
	group  *loop.Group
	set    *upstream.Set
	units  *units
	mode   route.Mode
	logger *slog.Logger

	// mu is held from Prepare to Commit or Abort: there is one change at a time.
	mu        sync.Mutex
	snap      *snapshot.Snapshot
	table     *route.Table
	routes    map[*snapshot.Route]*compiledRoute
	consumers map[*snapshot.Consumer]*compiledConsumer
	index     *plugin.ConsumerIndex
	global    *engine.Chain
	upstreams map[*snapshot.Upstream]int // how many routes use it
	gen       uint64
}

type compiledRoute struct {
	def  *route.Def
	uses []*snapshot.Plugin
	gen  uint64
}

type compiledConsumer struct {
	auth []*plugin.Consumer
	uses []*snapshot.Plugin
	gen  uint64
}

// New makes a plane that answers 404 until a snapshot is committed. Listen and Start make it serve; Close ends it.
func New(o Options) (*Plane, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Engine.Logger == nil {
		o.Engine.Logger = o.Logger
	}
	if o.Loop.Logger == nil {
		o.Loop.Logger = o.Logger
	}
	if o.Upstream.Logger == nil {
		o.Upstream.Logger = o.Logger
	}
	o.Loop.Limits = o.Engine.Limits
	e := engine.New(o.Engine)
	g, err := loop.NewGroup(o.Loops, o.Loop, e)
	if err != nil {
		return nil, err
	}
	o.Upstream.Loops = g.Loops()
	return &Plane{engine: e, group: g, set: upstream.NewSet(o.Upstream), units: newUnits(o.PluginAttr, o.Logger), mode: o.Engine.RouterMode, logger: o.Logger,
		snap: &snapshot.Snapshot{}, table: route.New(o.Engine.RouterMode), routes: map[*snapshot.Route]*compiledRoute{},
		consumers: map[*snapshot.Consumer]*compiledConsumer{}, upstreams: map[*snapshot.Upstream]int{}, index: plugin.NewConsumerIndex()}, nil
}

// Name is the plane's name in status and errors.
func (p *Plane) Name() string { return "l7" }

// Loops is the number of event loops: Listen wants as many sockets for each address.
func (p *Plane) Loops() int { return p.group.Loops() }

// Listen adds an address, see listen.Shards. It is called before Start.
func (p *Plane) Listen(files []*os.File) error { return p.group.Listen(files) }

// Start serves.
func (p *Plane) Start() { p.group.Start() }

// Close drains connections until ctx ends and gives everything back.
func (p *Plane) Close(ctx context.Context) error {
	err := p.group.Shutdown(ctx)
	p.set.Close()
	p.units.close()
	return err
}

// Totals are the counters of the loops.
func (p *Plane) Totals() loop.Totals { return p.group.Totals() }

// Panics and Faults count plugin panics and errors.
func (p *Plane) Panics() uint64 { return p.engine.Panics.Load() }

// Faults counts plugin errors.
func (p *Plane) Faults() uint64 { return p.engine.Faults.Load() }

// SharedObject returns the object of that name that plugins share, made the first time.
func (p *Plane) SharedObject(name string, mk func() any) any { return p.units.Shared(name, mk) }

// Shared lists the objects that plugins share, by name.
func (p *Plane) Shared() map[string]any { return p.units.allShared() }

// Prepared is a snapshot that is compiled and not yet served.
type Prepared struct {
	p        *Plane
	snap     *snapshot.Snapshot
	state    *engine.State
	table    *route.Table
	add      map[*snapshot.Route]*compiledRoute
	drop     []*snapshot.Route
	addUser  map[*snapshot.Consumer]*compiledConsumer
	dropUser []*snapshot.Consumer
	index    *plugin.ConsumerIndex
	global   *engine.Chain
	// addUses and dropUses are the plugin lists of what comes and goes.
	addUses, dropUses [][]*snapshot.Plugin
}

// Prepare compiles what differs from the served snapshot. It has no effect but must be followed by Commit or Abort. Errors name the object.
func (p *Plane) Prepare(_ context.Context, s *snapshot.Snapshot) (_ *Prepared, err error) {
	p.mu.Lock()
	n := &Prepared{p: p, snap: s, table: p.table, index: p.index, global: p.global, add: map[*snapshot.Route]*compiledRoute{}}
	defer func() {
		if err != nil {
			n.Abort()
		}
	}()
	p.gen++
	stale := p.units.begin(p.snap, s)
	if err := n.compileRoutes(s, stale); err != nil {
		return nil, err
	}
	if err := n.compileConsumers(s, stale); err != nil {
		return nil, err
	}
	if len(stale) > 0 || !slices.Equal(s.GlobalRules, p.snap.GlobalRules) {
		if n.global, err = p.units.chain(s.GlobalRules); err != nil {
			return nil, fmt.Errorf("global rules: %w", err)
		}
		n.addUses, n.dropUses = append(n.addUses, s.GlobalRules), append(n.dropUses, p.snap.GlobalRules)
	}
	n.state = engine.NewState(n.table, n.global, n.index)
	return n, nil
}

func usesAny(list []*snapshot.Plugin, names map[string]bool) bool {
	if len(names) == 0 {
		return false
	}
	for _, pl := range list {
		if names[pl.Name] {
			return true
		}
	}
	return false
}

func (n *Prepared) compileRoutes(s *snapshot.Snapshot, stale map[string]bool) error {
	p := n.p
	var add, remove []*route.Def
	for _, r := range s.Routes {
		if c := p.routes[r]; c != nil {
			if !usesAny(c.uses, stale) {
				c.gen = p.gen
				continue
			}
		}
		c, err := p.compileRoute(r)
		if err != nil {
			return fmt.Errorf("route %s: %w", r.ID, err)
		}
		n.add[r] = c
		n.addUses = append(n.addUses, c.uses)
		add = append(add, c.def)
	}
	for _, r := range p.snap.Routes {
		if c := p.routes[r]; c != nil && c.gen != p.gen {
			n.drop = append(n.drop, r)
			n.dropUses = append(n.dropUses, c.uses)
			remove = append(remove, c.def)
		}
	}
	if len(add)+len(remove) == 0 {
		return nil
	}
	table, err := p.table.With(add, remove)
	if err != nil {
		return err
	}
	n.table = table
	return nil
}

func (p *Plane) compileRoute(r *snapshot.Route) (*compiledRoute, error) {
	chain, err := p.units.chain(r.Plugins)
	if err != nil {
		return nil, err
	}
	var vars *expr.Expr
	if r.Vars != nil {
		if vars, err = expr.Compile(r.Vars); err != nil {
			return nil, fmt.Errorf("vars: %w", err)
		}
	}
	var up *upstream.Upstream
	var timeouts upstream.Timeouts
	if r.Upstream != nil {
		if up, err = p.set.Get(r.Upstream); err != nil {
			return nil, fmt.Errorf("upstream: %w", err)
		}
		if timeouts, err = upstream.TimeoutsOf(r.Timeout, up.Timeouts); err != nil {
			return nil, err
		}
	}
	info := plugin.RouteInfo{ID: r.ID, Name: r.Name, ServiceID: r.ServiceID, ServiceName: r.ServiceName}
	return &compiledRoute{gen: p.gen, uses: r.Plugins, def: &route.Def{ID: r.ID, URIs: r.URIs, Hosts: r.Hosts, Methods: r.Methods,
		RemoteAddrs: r.RemoteAddrs, Vars: vars, Priority: r.Priority, Created: r.Created,
		Value: engine.NewRoute(info, chain, up, timeouts)}}, nil
}

func (n *Prepared) compileConsumers(s *snapshot.Snapshot, stale map[string]bool) error {
	p := n.p
	if len(stale) == 0 && slices.Equal(s.Consumers, p.snap.Consumers) {
		return nil
	}
	n.addUser = map[*snapshot.Consumer]*compiledConsumer{}
	index := plugin.NewConsumerIndex()
	for _, u := range s.Consumers {
		c := p.consumers[u]
		if c == nil || usesAny(c.uses, stale) {
			var err error
			if c, err = p.compileConsumer(u); err != nil {
				return fmt.Errorf("consumer %s: %w", u.Username, err)
			}
			if old := p.consumers[u]; old != nil {
				n.dropUses = append(n.dropUses, old.uses)
			}
			n.addUser[u] = c
			n.addUses = append(n.addUses, c.uses)
		}
		c.gen = p.gen
		index.Add(c.auth[0])
		for i, a := range u.Auth {
			def, ok := plugin.Lookup(a.Plugin)
			if !ok || def.ConsumerKey == nil {
				return fmt.Errorf("consumer %s: unknown auth plugin %s", u.Username, a.Plugin)
			}
			key, err := def.ConsumerKey(a.Conf)
			if err != nil {
				return fmt.Errorf("consumer %s: plugin %s: %w", u.Username, a.Plugin, err)
			}
			if taken := index.AddKey(a.Plugin, key, c.auth[i+1]); taken != nil {
				p.logger.Warn("consumer key is taken already", "plugin", a.Plugin, "consumer", u.Username, "owner", taken.Username)
			}
		}
	}
	for _, u := range p.snap.Consumers {
		if c := p.consumers[u]; c != nil && c.gen != p.gen && n.addUser[u] == nil {
			n.dropUser = append(n.dropUser, u)
			n.dropUses = append(n.dropUses, c.uses)
		}
	}
	n.index = index
	return nil
}

func (p *Plane) compileConsumer(u *snapshot.Consumer) (*compiledConsumer, error) {
	list, err := p.units.list(u.Plugins)
	if err != nil {
		return nil, err
	}
	chain := engine.NewConsumerChain(list, u.Disabled)
	base := plugin.Consumer{Username: u.Username, GroupID: u.GroupID, Labels: u.Labels, CustomID: u.Labels["custom_id"]}
	if chain != nil {
		base.Engine = chain
	}
	c := &compiledConsumer{uses: u.Plugins}
	anonymous := base
	c.auth = append(c.auth, &anonymous)
	for _, a := range u.Auth {
		one := base
		one.CredentialID, one.AuthConf = a.CredentialID, a.Conf
		c.auth = append(c.auth, &one)
	}
	return c, nil
}

// Commit serves the prepared snapshot.
func (n *Prepared) Commit() {
	p := n.p
	for r, c := range n.add {
		if p.routes[r] == nil && r.Upstream != nil {
			p.upstreams[r.Upstream]++
		}
		p.routes[r] = c
	}
	for _, r := range n.drop {
		if n.add[r] != nil {
			continue // made anew with other plugin metadata
		}
		delete(p.routes, r)
		if u := r.Upstream; u != nil {
			if p.upstreams[u]--; p.upstreams[u] == 0 {
				delete(p.upstreams, u)
			}
		}
	}
	for _, u := range n.dropUser {
		delete(p.consumers, u)
	}
	for u, c := range n.addUser {
		p.consumers[u] = c
	}
	p.snap, p.table, p.index, p.global = n.snap, n.table, n.index, n.global
	p.engine.Publish(n.state)
	// From here on new requests see the new configuration; what only the old one used is given back.
	p.units.commit(n.addUses, n.dropUses)
	p.set.Retain(func(u *snapshot.Upstream) bool { return p.upstreams[u] > 0 })
	p.mu.Unlock()
}

// Abort forgets the prepared snapshot.
func (n *Prepared) Abort() {
	n.p.units.abort()
	n.p.set.Retain(func(u *snapshot.Upstream) bool { return n.p.upstreams[u] > 0 })
	n.p.mu.Unlock()
}
