package l7

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/sluice-gateway/sluice/control/snapshot"
	"github.com/sluice-gateway/sluice/l7/engine"
	"github.com/sluice-gateway/sluice/l7/plugin"
	"github.com/sluice-gateway/sluice/l7/plugin/expr"
)

// units makes plugin instances and keeps those that the configuration still uses. Instances are keyed by plugin, resource and canonical configuration, so an edit of something else
// keeps them and what they hold.
type units struct {
	attr   map[string]json.RawMessage
	logger *slog.Logger

	sharedMu sync.Mutex
	shared   map[string]any

	live    map[*snapshot.Plugin]*liveUnit
	inst    map[instanceKey]*instance
	retired []retired

	// Of the snapshot that is being prepared:
	fresh map[*snapshot.Plugin]*liveUnit
	made  []instanceKey
	meta  map[string]*snapshot.Metadata
	stale map[string]bool // plugins whose metadata differs
}

// liveUnit is a plugin configuration at its place. Several routes share it when it stands in their service.
type liveUnit struct {
	unit *engine.Unit
	key  instanceKey
	uses int
}

type instanceKey struct {
	plugin, resource, conf string
	meta                   *snapshot.Metadata
}

type instance struct {
	value plugin.Instance
	units int // live units that use it
}

// retired is an instance that no new request uses; older requests may for a while.
type retired struct {
	value plugin.Closer
	at    time.Time
}

// retireAfter is how long a request may hold on to a configuration that was replaced, before instances of it are closed under it.
const retireAfter = time.Minute

func newUnits(attr map[string]json.RawMessage, logger *slog.Logger) *units {
	return &units{attr: attr, logger: logger, shared: map[string]any{}, live: map[*snapshot.Plugin]*liveUnit{},
		inst: map[instanceKey]*instance{}, fresh: map[*snapshot.Plugin]*liveUnit{}}
}

// begin prepares for the units of s. It returns the plugins whose metadata differs from the served snapshot: their units are made anew.
func (u *units) begin(served, s *snapshot.Snapshot) (stale map[string]bool) {
	clear(u.fresh)
	u.made = u.made[:0]
	u.meta, u.stale = s.PluginMetadata, nil
	mark := func(name string) {
		if u.stale == nil {
			u.stale = map[string]bool{}
		}
		u.stale[name] = true
	}
	for name, m := range s.PluginMetadata {
		if served.PluginMetadata[name] != m {
			mark(name)
		}
	}
	for name := range served.PluginMetadata {
		if s.PluginMetadata[name] == nil {
			mark(name)
		}
	}
	return u.stale
}

func (u *units) chain(list []*snapshot.Plugin) (*engine.Chain, error) {
	l, err := u.list(list)
	if err != nil {
		return nil, err
	}
	return engine.NewChain(l), nil
}

func (u *units) list(list []*snapshot.Plugin) ([]*engine.Unit, error) {
	if len(list) == 0 {
		return nil, nil
	}
	out := make([]*engine.Unit, 0, len(list))
	for _, pl := range list {
		one, err := u.unit(pl)
		if err != nil {
			return nil, fmt.Errorf("plugin %s: %w", pl.Name, err)
		}
		out = append(out, one)
	}
	return out, nil
}

func (u *units) unit(pl *snapshot.Plugin) (*engine.Unit, error) {
	if one := u.live[pl]; one != nil && !u.stale[pl.Name] {
		return one.unit, nil
	}
	if one := u.fresh[pl]; one != nil {
		return one.unit, nil
	}
	def, ok := plugin.Lookup(pl.Name)
	if !ok {
		return nil, fmt.Errorf("unknown plugin [%s]", pl.Name)
	}
	var filter *expr.Expr
	if pl.Filter != nil {
		var err error
		if filter, err = expr.Compile(pl.Filter); err != nil {
			return nil, fmt.Errorf("_meta.filter: %w", err)
		}
	}
	key := instanceKey{pl.Name, pl.Resource, string(pl.Conf), u.meta[pl.Name]}
	in := u.inst[key]
	if in == nil {
		v, err := u.build(def, pl, key.meta)
		if err != nil {
			return nil, err
		}
		in = &instance{value: v}
		u.inst[key] = in
		u.made = append(u.made, key)
	}
	one := engine.NewUnit(def, in.value, pl.Resource, pl.Priority, filter, pl.ErrorResponse)
	u.fresh[pl] = &liveUnit{unit: one, key: key}
	return one, nil
}

// commit makes the prepared units live. add and drop are the plugin lists of what came and what went.
func (u *units) commit(add, drop [][]*snapshot.Plugin) {
	for pl, f := range u.fresh {
		u.inst[f.key].units++
		if old := u.live[pl]; old != nil {
			f.uses = old.uses
			u.leave(old.key)
		}
		u.live[pl] = f
	}
	for _, list := range add {
		for _, pl := range list {
			u.live[pl].uses++
		}
	}
	for _, list := range drop {
		for _, pl := range list {
			l := u.live[pl]
			if l.uses--; l.uses == 0 {
				delete(u.live, pl)
				u.leave(l.key)
			}
		}
	}
	clear(u.fresh)
	u.made = u.made[:0]
	u.closeRetired(time.Now().Add(-retireAfter))
}

func (u *units) leave(key instanceKey) {
	in := u.inst[key]
	if in.units--; in.units > 0 {
		return
	}
	delete(u.inst, key)
	if c, ok := in.value.(plugin.Closer); ok {
		u.retired = append(u.retired, retired{c, time.Now()})
	}
}

func (u *units) closeRetired(before time.Time) {
	n := 0
	for ; n < len(u.retired) && !u.retired[n].at.After(before); n++ {
		u.retired[n].value.Close()
	}
	u.retired = u.retired[n:]
}

// abort drops what was made since begin.
func (u *units) abort() {
	for _, k := range u.made {
		if c, ok := u.inst[k].value.(plugin.Closer); ok {
			c.Close()
		}
		delete(u.inst, k)
	}
	clear(u.fresh)
	u.made = u.made[:0]
}

// close closes every instance, when nothing is served any more.
func (u *units) close() {
	u.closeRetired(time.Now())
	for k, in := range u.inst {
		if c, ok := in.value.(plugin.Closer); ok {
			c.Close()
		}
		delete(u.inst, k)
	}
}

func (u *units) build(def *plugin.Def, pl *snapshot.Plugin, meta *snapshot.Metadata) (v plugin.Instance, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("compile configuration: panic: %v", r)
		}
	}()
	env := plugin.Env{Resource: pl.Resource, Attr: u.attr[def.Name], Logger: u.logger.With("plugin", def.Name), Shared: u.Shared}
	if meta != nil {
		env.Metadata = meta.Conf
	}
	return def.New(bytes.Clone(pl.Conf), &env)
}

// Shared returns the object of that name, made the first time.
func (u *units) Shared(name string, mk func() any) any {
	u.sharedMu.Lock()
	defer u.sharedMu.Unlock()
	v, ok := u.shared[name]
	if !ok {
		v = mk()
		u.shared[name] = v
	}
	return v
}

func (u *units) allShared() map[string]any {
	u.sharedMu.Lock()
	defer u.sharedMu.Unlock()
	all := make(map[string]any, len(u.shared))
	for k, v := range u.shared {
		all[k] = v
	}
	return all
}
