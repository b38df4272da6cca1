package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"

	"github.com/sluice-gateway/sluice/control/compile"
	"github.com/sluice-gateway/sluice/control/config"
	"github.com/sluice-gateway/sluice/control/reconcile"
	"github.com/sluice-gateway/sluice/control/schema"
	"github.com/sluice-gateway/sluice/control/snapshot"
	"github.com/sluice-gateway/sluice/l4/userspace"
	"github.com/sluice-gateway/sluice/l7"
	"github.com/sluice-gateway/sluice/l7/plugin"
)

// pluginSet tells the control plane about the plugins of the HTTP plane that are switched on. Control never names one.
type pluginSet struct {
	all    []*compile.PluginInfo
	byName map[string]*compile.PluginInfo
}

// pluginsOf is the plugin set that c asks for, with the names in it that this build does not have, and the plugin_attr of each plugin.
func pluginsOf(c *config.Config) (s *pluginSet, unknown []string, attr map[string]json.RawMessage, err error) {
	if attr, err = attrJSON(c.PluginAttr); err != nil {
		return nil, nil, nil, err
	}
	redirectPort(attr, c)
	s, unknown, err = newPluginSet(c.Plugins, c.StreamPlugins, attr)
	return s, unknown, attr, err
}

// newPluginSet compiles the schemas of every registered plugin that enabled names; nil enables all.
// stream does the same for stream routes.
func newPluginSet(enabled, stream []string, attr map[string]json.RawMessage) (*pluginSet, []string, error) {
	s := &pluginSet{byName: map[string]*compile.PluginInfo{}}
	on := map[string]bool{}
	for _, name := range enabled {
		on[name] = true
	}
	for _, d := range plugin.All() {
		http := enabled == nil || on[d.Name]
		inStreams := d.Stream && (stream == nil || slices.Contains(stream, d.Name))
		if !http && !inStreams {
			continue
		}
		delete(on, d.Name)
		info, err := pluginInfo(d, attr[d.Name])
		if err != nil {
			return nil, nil, err
		}
		info.HTTP, info.Stream = http, inStreams
		s.all = append(s.all, info)
		s.byName[d.Name] = info
	}
	var unknown []string
	for _, name := range enabled {
		if on[name] {
			unknown = append(unknown, name)
		}
	}
	return s, unknown, nil
}

func pluginInfo(d *plugin.Def, attr json.RawMessage) (*compile.PluginInfo, error) {
	info := &compile.PluginInfo{Name: d.Name, Version: d.Version, Priority: d.Priority, Auth: d.Auth, ConsumerKeyField: d.ConsumerKeyField}
	for _, part := range []struct {
		doc []byte
		to  **schema.Schema
	}{{d.Schema, &info.Schema}, {d.ConsumerSchema, &info.ConsumerSchema}, {d.MetadataSchema, &info.MetadataSchema},
		{d.StreamSchema, &info.StreamSchema}} {
		if part.doc == nil {
			continue
		}
		s, err := schema.Compile(d.Name, part.doc)
		if err != nil {
			return nil, fmt.Errorf("plugin %s: %w", d.Name, err)
		}
		*part.to = s
	}
	if d.ConsumerKey != nil {
		info.ConsumerKey = func(conf json.RawMessage) (string, error) { return d.ConsumerKey(conf) }
	}
	if d.Group != nil {
		info.Group = func(conf json.RawMessage) string { return d.Group(conf) }
	}
	// A checked configuration must leave nothing behind, so what it shares goes with it.
	info.Check = func(kind compile.SchemaKind, conf json.RawMessage) error {
		if kind != compile.KindPlugin {
			return nil
		}
		shared := map[string]any{}
		var mu sync.Mutex
		inst, err := d.New(conf, &plugin.Env{Attr: attr, Logger: slog.New(slog.DiscardHandler), Shared: func(name string, mk func() any) any {
			mu.Lock()
			defer mu.Unlock()
			if shared[name] == nil {
				shared[name] = mk()
			}
			return shared[name]
		}})
		if c, ok := inst.(plugin.Closer); ok && err == nil {
			c.Close()
		}
		return err
	}
	return info, nil
}

// Plugin implements compile.Plugins.
func (s *pluginSet) Plugin(name string) (*compile.PluginInfo, bool) {
	p, ok := s.byName[name]
	return p, ok
}

// All implements compile.Plugins.
func (s *pluginSet) All() []*compile.PluginInfo { return s.all }

// httpPlane is the HTTP plane as the controller sees it.
type httpPlane struct{ *l7.Plane }

// Prepare implements reconcile.Plane.
func (p httpPlane) Prepare(ctx context.Context, s *snapshot.Snapshot) (reconcile.Prepared, error) {
	n, err := p.Plane.Prepare(ctx, s)
	if err != nil {
		return nil, err
	}
	return n, nil
}

// streamPlane is the plane of stream routes as the controller sees it.
type streamPlane struct{ *userspace.Plane }

// Prepare implements reconcile.Plane.
func (p streamPlane) Prepare(ctx context.Context, s *snapshot.Snapshot) (reconcile.Prepared, error) {
	n, err := p.Plane.Prepare(ctx, s)
	if err != nil {
		return nil, err
	}
	return n, nil
}

// redirectPort tells redirect where HTTPS is served, unless plugin_attr.redirect does (apisix/plugins/redirect.lua get_port).
func redirectPort(attr map[string]json.RawMessage, c *config.Config) {
	const name, field = "redirect", "https_port"
	ssl := c.APISIX.SSL
	if !ssl.Enable || len(ssl.Listen) == 0 {
		return
	}
	own := map[string]json.RawMessage{}
	if attr[name] != nil && json.Unmarshal(attr[name], &own) != nil || own[field] != nil {
		return // the plugin itself says what is wrong with it
	}
	own[field] = json.RawMessage(strconv.Itoa(ssl.Listen[0].Port))
	if b, err := json.Marshal(own); err == nil {
		attr[name] = b
	}
}

// attrJSON gives each plugin its plugin_attr as JSON.
func attrJSON(attr map[string]any) (map[string]json.RawMessage, error) {
	out := make(map[string]json.RawMessage, len(attr))
	for name, v := range attr {
		b, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("plugin_attr.%s: %w", name, err)
		}
		out[name] = b
	}
	return out, nil
}
