package userspace

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/sluice-gateway/sluice/control/snapshot"
	"github.com/sluice-gateway/sluice/l7/plugin"
	"github.com/sluice-gateway/sluice/l7/plugin/expr"
)

// unit is a plugin instance at its place in a stream route.
type unit struct {
	name     string
	priority int
	filter   *expr.Expr
	inst     *instance
}

// instance is shared by the routes that hold the same configuration of the same resource.
type instance struct {
	key   instanceKey
	value plugin.Instance
	refs  atomic.Int64 // routes that use it
}

type instanceKey struct {
	plugin, resource, conf string
	meta                   *snapshot.Metadata
}

// instances makes plugin instances. Those of unchanged configurations are kept, with what they hold.
type instances struct {
	attr   map[string]json.RawMessage
	shared func(name string, mk func() any) any
	logger *slog.Logger
	live   map[instanceKey]*instance
}

// units compiles the plugins of a route; made collects the instances that did not exist before.
func (in *instances) units(list []*snapshot.Plugin, meta map[string]*snapshot.Metadata, made map[instanceKey]*instance) ([]*unit, error) {
	var out []*unit
	for _, pl := range list {
		def, ok := plugin.Lookup(pl.Name)
		if !ok || !def.Stream {
			return nil, fmt.Errorf("unknown plugin [%s]", pl.Name)
		}
		u := &unit{name: pl.Name, priority: def.Priority}
		if pl.Priority != nil {
			u.priority = *pl.Priority
		}
		if pl.Filter != nil {
			var err error
			if u.filter, err = expr.Compile(pl.Filter); err != nil {
				return nil, fmt.Errorf("plugin %s: _meta.filter: %w", pl.Name, err)
			}
		}
		key := instanceKey{pl.Name, pl.Resource, string(pl.Conf), meta[pl.Name]}
		if u.inst = in.live[key]; u.inst == nil {
			u.inst = made[key]
		}
		if u.inst == nil {
			v, err := in.build(def, pl, key.meta)
			if err != nil {
				return nil, fmt.Errorf("plugin %s: %w", pl.Name, err)
			}
			u.inst = &instance{key: key, value: v}
			made[key] = u.inst
		}
		out = append(out, u)
	}
	slices.SortStableFunc(out, func(a, b *unit) int {
		if a.priority != b.priority {
			return b.priority - a.priority
		}
		return strings.Compare(a.name, b.name)
	})
	return out, nil
}

func (in *instances) build(def *plugin.Def, pl *snapshot.Plugin, meta *snapshot.Metadata) (v plugin.Instance, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("compile configuration: panic: %v", r)
		}
	}()
	env := plugin.Env{Resource: pl.Resource, Attr: in.attr[def.Name], Logger: in.logger.With("plugin", def.Name), Shared: in.shared}
	if meta != nil {
		env.Metadata = meta.Conf
	}
	return def.New(bytes.Clone(pl.Conf), &env)
}

// retain and release count what uses a route. The last one closes the instances that no other route has.
func (r *route) retain() { r.refs.Add(1) }

func (r *route) release() {
	if r.refs.Add(-1) > 0 {
		return
	}
	for _, u := range r.units {
		u.inst.release()
	}
}

func (i *instance) release() {
	if i.refs.Add(-1) > 0 {
		return
	}
	if c, ok := i.value.(plugin.Closer); ok {
		c.Close()
	}
}

// errRefused says that a plugin refused the connection.
type errRefused struct{ plugin string }

func (e *errRefused) Error() string { return "refused by plugin " + e.plugin }

// admit runs the plugins before a node is picked. Streams have one such phase, so rewrite and access run one after the other for each plugin
// (apisix/init.lua stream_preread_phase).
func (p *Plane) admit(r *route, ex *plugin.Exchange) (err error) {
	var current *unit
	defer func() {
		if v := recover(); v != nil {
			p.stats.PluginPanics.Add(1)
			p.o.Logger.Error("plugin panicked", "plugin", current.name, "route_id", r.def.ID, "err", v, "stack", string(debug.Stack()))
			ex.Response.Status = statusFault
			err = &errRefused{current.name}
		}
	}()
	for _, current = range r.units {
		if current.filter != nil && !current.filter.Eval(ex) {
			continue
		}
		var reply *plugin.Reply
		var err error
		if w, ok := current.inst.value.(plugin.Rewriter); ok {
			reply, err = w.Rewrite(ex)
		}
		if a, ok := current.inst.value.(plugin.Accesser); ok && reply == nil && err == nil {
			reply, err = a.Access(ex)
		}
		if err != nil {
			p.o.Logger.Error("plugin failed", "plugin", current.name, "route_id", r.def.ID, "err", err)
			ex.Response.Status = statusFault
		} else if reply != nil {
			ex.Response.Status = reply.Status
		}
		if reply != nil || err != nil {
			return &errRefused{current.name}
		}
	}
	return nil
}

// logPhase runs when a connection is over.
func (p *Plane) logPhase(r *route, ex *plugin.Exchange) {
	for _, u := range r.units {
		p.logOne(r, u, ex)
	}
}

func (p *Plane) logOne(r *route, u *unit, ex *plugin.Exchange) {
	defer func() {
		if v := recover(); v != nil {
			p.stats.PluginPanics.Add(1)
			p.o.Logger.Error("plugin panicked", "plugin", u.name, "route_id", r.def.ID, "err", v, "stack", string(debug.Stack()))
		}
	}()
	if u.filter != nil && !u.filter.Eval(ex) {
		return
	}
	switch l := u.inst.value.(type) {
	case plugin.StreamLogger:
		l.StreamLog(ex)
	case plugin.Logger:
		l.Log(ex)
	}
}
