package engine

import (
	"encoding/json"
	"sort"

	"github.com/sluice-gateway/sluice/l7/plugin"
	"github.com/sluice-gateway/sluice/l7/plugin/expr"
)

// Unit is one plugin instance at its place in a configuration: the instance and what _meta says about it.
type Unit struct {
	def      *plugin.Def
	inst     plugin.Instance
	priority int
	filter   *expr.Expr
	errBody  []byte
	resource string
	waits    bool
	body     int64
	bodyVars bool

	rewriter     plugin.Rewriter
	accesser     plugin.Accesser
	beforeProxy  plugin.BeforeProxier
	headerFilter plugin.HeaderFilterer
	bodyFilter   plugin.BodyFilterer
	logger       plugin.Logger
}

// NewUnit puts an instance into its place. priority is nil for the plugin's own, filter and errorResponse are nil for none.
func NewUnit(def *plugin.Def, inst plugin.Instance, resource string, priority *int, filter *expr.Expr, errorResponse json.RawMessage) *Unit {
	u := &Unit{def: def, inst: inst, resource: resource, priority: def.Priority, filter: filter}
	if priority != nil {
		u.priority = *priority
	}
	if len(errorResponse) > 0 {
		var s string
		if json.Unmarshal(errorResponse, &s) == nil {
			u.errBody = []byte(s)
		} else {
			u.errBody = append(append([]byte{}, errorResponse...), '\n')
		}
	}
	if w, ok := inst.(plugin.Waiter); ok {
		u.waits = w.MayWait()
	}
	if b, ok := inst.(plugin.BodyReader); ok {
		u.body = b.RequestBody()
	}
	if b, ok := inst.(plugin.BodyVarsReader); ok {
		u.bodyVars = b.ReadsBodyVars()
	}
	u.bodyVars = u.bodyVars || filter != nil && filter.NeedsBody()
	u.rewriter, _ = inst.(plugin.Rewriter)
	u.accesser, _ = inst.(plugin.Accesser)
	u.beforeProxy, _ = inst.(plugin.BeforeProxier)
	u.headerFilter, _ = inst.(plugin.HeaderFilterer)
	u.bodyFilter, _ = inst.(plugin.BodyFilterer)
	u.logger, _ = inst.(plugin.Logger)
	return u
}

// Instance returns the plugin instance.
func (u *Unit) Instance() plugin.Instance { return u.inst }

// Chain is a set of units compiled to one slice per phase.
type Chain struct {
	units                                                       []*Unit
	rewrite, access, beforeProxy, headerFilter, bodyFilter, log []*Unit
	consumerRewrite                                             []*Unit
	// body is the most request body bytes that a unit wants buffered, 0 for none; bodyVars is set when a variable of a unit or its _meta.filter reads the body.
	body     int64
	bodyVars bool
}

var emptyChain = &Chain{}

// NewChain orders units by descending priority (equal ones by name) and compiles them.
func NewChain(units []*Unit) *Chain {
	if len(units) == 0 {
		return emptyChain
	}
	c := &Chain{units: append([]*Unit(nil), units...)}
	sort.SliceStable(c.units, func(i, j int) bool {
		a, b := c.units[i], c.units[j]
		if a.priority != b.priority {
			return a.priority > b.priority
		}
		return a.def.Name < b.def.Name
	})
	for _, u := range c.units {
		if u.rewriter != nil {
			c.rewrite = append(c.rewrite, u)
		}
		if u.accesser != nil {
			c.access = append(c.access, u)
		}
		if u.beforeProxy != nil {
			c.beforeProxy = append(c.beforeProxy, u)
		}
		if u.headerFilter != nil {
			c.headerFilter = append(c.headerFilter, u)
		}
		if u.bodyFilter != nil {
			c.bodyFilter = append(c.bodyFilter, u)
		}
		if u.logger != nil {
			c.log = append(c.log, u)
		}
		c.body = max(c.body, u.body)
		c.bodyVars = c.bodyVars || u.bodyVars
	}
	return c
}

func (c *Chain) has(name string) bool {
	for _, u := range c.units {
		if u.def.Name == name {
			return true
		}
	}
	return false
}

// ConsumerChain holds the plugins of a consumer (its group's merged in), to be merged into routes.
type ConsumerChain struct {
	units []*Unit
	off   []string // plugins that the consumer has switched off
}

// NewConsumerChain returns nil when there is nothing to merge, so that a consumer without plugins costs nothing.
func NewConsumerChain(units []*Unit, off []string) *ConsumerChain {
	if len(units) == 0 && len(off) == 0 {
		return nil
	}
	return &ConsumerChain{units: units, off: off}
}

// mergeConsumer replaces whole plugins of the route by the consumer's (apisix/plugin.lua merge_consumer_route). Only plugins that the route lacks
// have their rewrite phase run, and auth plugins never: that phase is over by then.
func mergeConsumer(c *Chain, cc *ConsumerChain) *Chain {
	units := make([]*Unit, 0, len(c.units)+len(cc.units))
	own := make(map[*Unit]bool, len(cc.units))
	names := make(map[string]bool, len(cc.units)+len(cc.off))
	for _, name := range cc.off {
		names[name] = true
	}
	for _, u := range cc.units {
		names[u.def.Name] = true
		if !c.has(u.def.Name) && !u.def.Auth {
			own[u] = true
		}
	}
	for _, u := range c.units {
		if !names[u.def.Name] {
			units = append(units, u)
		}
	}
	units = append(units, cc.units...)
	m := *NewChain(units)
	m.consumerRewrite = nil
	for _, u := range m.rewrite {
		if own[u] {
			m.consumerRewrite = append(m.consumerRewrite, u)
		}
	}
	return &m
}
