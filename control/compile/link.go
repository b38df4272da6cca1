package compile

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/sluice-gateway/sluice/control/model"
	"github.com/sluice-gateway/sluice/control/snapshot"
	"github.com/sluice-gateway/sluice/control/store"
)

// linker is the second stage on all objects.
type linker struct {
	c      *Compiler
	view   View
	result *Result
	// moved are the objects whose outcome is different from that in the previous result.
	moved map[model.Key]bool
	// was is the previous entry of the object that is being linked, or nil.
	was *entry
	// owned are the credentials by consumer, once somebody asked.
	owned map[string][]*entry
}

// serviceOut is a linked service.
type serviceOut struct {
	id, name  string
	labels    map[string]string
	hosts     []string
	websocket bool
	plugins   uses
	upstream  *upstreamOut
	// err is why the service lacks the upstream that it asks for.
	err string
}

// pluginsOut is a set of plugins that others refer to.
type pluginsOut struct{ plugins uses }

// credentialOut is what a credential adds to its consumer.
type credentialOut struct{ auth []snapshot.Auth }

// same says whether two outcomes are the same configuration. Parts that are shared are compared by pointer first, which is
// what makes this cheap.
func same(a, b any) bool { return reflect.DeepEqual(a, b) }

// lookup finds the linked object that a field of e names, and notes the dependency.
func (l *linker) lookup(e *entry, ref model.Ref, id string) (*entry, error) {
	key := model.Key{Kind: ref.Kind, ID: id}
	e.deps = append(e.deps, key)
	o := l.view.Get(key)
	if o == nil {
		return nil, errors.New(ref.Missing(id))
	}
	target := l.result.kinds[ref.Kind].at(o)
	if target == nil || target.out == nil {
		return nil, fmt.Errorf("%s does not compile", resourceKey(key))
	}
	return target, nil
}

// ref is the reference of a kind with the given path.
func ref(kind model.Kind, path ...string) model.Ref {
	info, _ := model.Lookup(kind)
	for _, ref := range info.Refs {
		if slices.Equal(ref.Path, path) {
			return ref
		}
	}
	panic(fmt.Sprintf("compile: %s has no reference %s", kind, strings.Join(path, ".")))
}

var (
	routeUpstream     = ref(model.Routes, "upstream_id")
	routeService      = ref(model.Routes, "service_id")
	routePluginConfig = ref(model.Routes, "plugin_config_id")
	consumerGroup     = ref(model.Consumers, "group_id")
	upstreamCert      = ref(model.Upstreams, "tls", "client_cert_id")
)

// upstream links an upstream that stands in e.
func (l *linker) upstream(e *entry, u *upstreamUnit) (*upstreamOut, error) {
	out := &upstreamOut{http: u.up}
	var err error
	if u.certID != "" {
		var pair snapshot.KeyPair
		if pair, err = l.clientCert(e, u.certID); err != nil {
			// Without its certificate the upstream is of no use, and must not be spoken to in another way.
			return nil, err
		}
		up := *u.up
		tls := *u.up.TLS
		tls.ClientCert, tls.ClientKey = pair.Cert, pair.Key
		up.TLS = &tls
		out.http = &up
	}
	out.finish()
	if l.was != nil && l.was.inline != nil && same(l.was.inline, out) {
		out = l.was.inline
	}
	e.inline = out
	return out, nil
}

func (l *linker) clientCert(e *entry, id string) (snapshot.KeyPair, error) {
	key := model.Key{Kind: model.SSLs, ID: id}
	e.deps = append(e.deps, key)
	o := l.view.Get(key)
	if o == nil {
		return snapshot.KeyPair{}, errors.New(upstreamCert.Missing(id))
	}
	target := l.result.kinds[model.SSLs].at(o)
	if target == nil || target.unit == nil {
		return snapshot.KeyPair{}, fmt.Errorf("%s does not compile", resourceKey(key))
	}
	pair, ok := target.unit.ssl.clientCert()
	if !ok {
		return snapshot.KeyPair{}, fmt.Errorf("failed to fetch ssl info by ssl id [%s], wrong ssl type", id)
	}
	return pair, nil
}

// ownUpstream links the upstream that an object itself names: by id before inline, as APISIX looks first at upstream_id
// (apisix/init.lua, handle_upstream). Without either it is nil.
func (l *linker) ownUpstream(e *entry, inline *upstreamUnit, id model.ID) (*upstreamOut, error) {
	if id != "" {
		target, err := l.lookup(e, routeUpstream, string(id))
		if err != nil {
			return nil, err
		}
		return target.out.(*upstreamOut), nil
	}
	if inline != nil {
		return l.upstream(e, inline)
	}
	return nil, nil
}

func linkNothing(*linker, *entry) {}

// linkSSL keeps disabled certificates too, for upstreams may refer to them.
func linkSSL(_ *linker, e *entry) { e.out = e.unit.ssl }

func linkProto(_ *linker, e *entry) { e.out = e.unit.proto }

func linkMetadata(_ *linker, e *entry) {
	if e.unit.metadata != nil {
		e.out = e.unit.metadata
	}
}

func linkPlugins(_ *linker, e *entry) { e.out = &pluginsOut{e.unit.plugins} }

func linkCredential(_ *linker, e *entry) { e.out = &credentialOut{e.unit.auth} }

func linkUpstream(l *linker, e *entry) {
	out, err := l.upstream(e, e.unit.upstream)
	if err != nil {
		e.linkErr = err
		return
	}
	e.out = out
}

func linkService(l *linker, e *entry) {
	m := e.unit.service
	out := &serviceOut{
		id: e.src.Key.ID, name: m.Name, labels: m.Labels, hosts: m.Hosts, plugins: e.unit.plugins,
		websocket: m.EnableWebsocket != nil && *m.EnableWebsocket,
	}
	up, err := l.ownUpstream(e, e.unit.upstream, m.UpstreamID)
	if err != nil {
		// Routes with an upstream of their own do not need this one.
		e.linkErr, out.err = err, err.Error()
	}
	out.upstream = up
	e.out = out
}

// linkRoute makes the route that requests meet. What a route shares with its service, and which of the two wins, is
// merge_service_route in apisix/plugin.lua; plugin_config stands between them (apisix/plugin_config.lua, merge).
//
// A route whose service or plugin_config is missing is left out: their plugins may be what protects it. One whose
// upstream is missing stays without an upstream, so that its requests are refused and meet no other route.
func linkRoute(l *linker, e *entry) {
	m := e.unit.route
	if m.Status != nil && *m.Status == 0 {
		return
	}
	out := &snapshot.Route{
		ID:       e.src.Key.ID,
		Name:     m.Name,
		Labels:   m.Labels,
		Created:  int64(e.src.Create),
		Priority: m.Priority,
		URIs:     oneOrMany(m.URI, m.URIs), Hosts: oneOrMany(m.Host, m.Hosts),
		RemoteAddrs: oneOrMany(m.RemoteAddr, m.RemoteAddrs),
		Methods:     m.Methods,
		Vars:        m.Vars,
	}
	if m.Timeout != nil {
		timeout := snapshot.Timeout(*m.Timeout)
		out.Timeout = &timeout
	}
	sets := []uses{e.unit.plugins}
	if m.PluginConfigID != "" {
		target, err := l.lookup(e, routePluginConfig, string(m.PluginConfigID))
		if err != nil {
			e.linkErr = err
			return
		}
		sets = append(sets, target.out.(*pluginsOut).plugins)
	}
	var service *serviceOut
	if m.ServiceID != "" {
		target, err := l.lookup(e, routeService, string(m.ServiceID))
		if err != nil {
			e.linkErr = err
			return
		}
		service = target.out.(*serviceOut)
		sets = append(sets, service.plugins)
		out.ServiceID, out.ServiceName = service.id, service.name
		if len(out.Hosts) == 0 {
			out.Hosts = service.hosts
		}
		if out.Labels == nil {
			out.Labels = service.labels
		}
		out.EnableWebsocket = service.websocket
	}
	if m.EnableWebsocket != nil {
		out.EnableWebsocket = *m.EnableWebsocket
	}
	out.Plugins = mergeUses(func(p *PluginInfo) bool { return p.HTTP }, sets...)
	up, err := l.effectiveUpstream(e, m.UpstreamID, service)
	if err != nil {
		e.linkErr = err
	} else if up != nil {
		out.Upstream = up.http
	}
	e.out = out
}

// effectiveUpstream is the object's own upstream before its service's.
func (l *linker) effectiveUpstream(e *entry, id model.ID, service *serviceOut) (*upstreamOut, error) {
	up, err := l.ownUpstream(e, e.unit.upstream, id)
	if up != nil || err != nil || service == nil {
		return up, err
	}
	if service.err != "" {
		return nil, fmt.Errorf("/%s/%s: %s", model.Services, service.id, service.err)
	}
	return service.upstream, nil
}

func oneOrMany(one string, many []string) []string {
	if len(many) == 0 && one != "" {
		return []string{one}
	}
	return many
}

func linkStreamRoute(l *linker, e *entry) {
	m := e.unit.streamRoute
	out := &snapshot.StreamRoute{
		ID: e.src.Key.ID, Name: m.Name, Labels: m.Labels,
		ServerAddr: m.ServerAddr, ServerPort: m.ServerPort, RemoteAddr: m.RemoteAddr, SNI: m.SNI,
		Protocol: e.unit.protocol,
	}
	sets := []uses{e.unit.plugins}
	var service *serviceOut
	if m.ServiceID != "" {
		target, err := l.lookup(e, routeService, string(m.ServiceID))
		if err != nil {
			e.linkErr = err
			return
		}
		service = target.out.(*serviceOut)
		sets = append(sets, service.plugins)
		out.ServiceID, out.ServiceName = service.id, service.name
	}
	// Plugins of a service that only know HTTP have no meaning here (apisix/plugin.lua, stream_filter).
	out.Plugins = mergeUses(func(p *PluginInfo) bool { return p.Stream }, sets...)
	up, err := l.effectiveUpstream(e, m.UpstreamID, service)
	switch {
	case err != nil:
		e.linkErr = err
	case up != nil && up.stream == nil:
		e.linkErr = errors.New(up.streamErr)
	case up != nil:
		out.Upstream = up.stream
	}
	e.out = out
}

// linkConsumer joins a consumer with its credentials and its group. A consumer whose group is missing is left out, so that
// the limits of the group cannot be got around.
func linkConsumer(l *linker, e *entry) {
	m := e.unit.consumer
	out := &snapshot.Consumer{Username: m.Username, GroupID: string(m.GroupID), Labels: m.Labels}
	out.Auth = slices.Clip(e.unit.auth)
	e.deps = append(e.deps, credentialsOf(m.Username))
	for _, target := range l.credentials(m.Username) {
		if target.out != nil {
			out.Auth = append(out.Auth, target.out.(*credentialOut).auth...)
		}
	}
	sets := []uses{e.unit.plugins}
	if m.GroupID != "" {
		target, err := l.lookup(e, consumerGroup, string(m.GroupID))
		if err != nil {
			e.linkErr = err
			return
		}
		sets = append(sets, target.out.(*pluginsOut).plugins)
	}
	http := func(p *PluginInfo) bool { return p.HTTP && !p.Auth }
	out.Plugins = mergeUses(http, sets...)
	out.Disabled = switchedOff(http, sets...)
	e.out = out
}

// credentials are the credentials of a consumer in the order of creation.
func (l *linker) credentials(username string) []*entry {
	if l.owned == nil {
		l.owned = make(map[string][]*entry)
		for _, e := range l.result.kinds[model.Credentials].all() {
			if owner, _, ok := splitCredential(e.src.Key); ok {
				l.owned[owner] = append(l.owned[owner], e)
			}
		}
	}
	return l.owned[username]
}

// assemble makes the snapshot of what the steps left; a kind in which nothing is fresh keeps its slice.
func (l *linker) assemble(prev *Result, fresh map[model.Kind]bool) {
	s, was, kinds := l.result.Snapshot, prev.Snapshot, l.result.kinds
	s.Routes = collect(fresh[model.Routes], was.Routes, kinds[model.Routes], identity[*snapshot.Route])
	s.Consumers = collect(fresh[model.Consumers], was.Consumers, kinds[model.Consumers], identity[*snapshot.Consumer])
	s.StreamRoutes = collect(fresh[model.StreamRoutes], was.StreamRoutes, kinds[model.StreamRoutes], identity[*snapshot.StreamRoute])
	s.SSLs = collect(fresh[model.SSLs], was.SSLs, kinds[model.SSLs], func(u *sslUnit) *snapshot.SSL {
		if u.off || len(u.ssl.Pairs) == 0 {
			return nil
		}
		return u.ssl
	})
	s.Upstreams = index(fresh[model.Upstreams], was.Upstreams, kinds[model.Upstreams],
		func(u *upstreamOut) *snapshot.Upstream { return u.http })
	s.Protos = index(fresh[model.Protos], was.Protos, kinds[model.Protos], identity[*snapshot.Proto])
	s.PluginMetadata = index(fresh[model.PluginMetadatas], was.PluginMetadata, kinds[model.PluginMetadatas], identity[*snapshot.Metadata])
	s.GlobalRules = was.GlobalRules
	if fresh[model.GlobalRules] {
		s.GlobalRules = l.globalRules()
	}
	for _, step := range steps {
		s.Problems = append(s.Problems, l.result.problems[step.kind]...)
	}
	sortProblems(s.Problems)
}

func identity[T any](v T) T { return v }

func collect[Out, T any](fresh bool, was []*T, list *compiled, get func(Out) *T) []*T {
	if !fresh {
		return was
	}
	if len(list.all()) == 0 {
		return nil
	}
	out := make([]*T, 0, len(list.all()))
	for _, e := range list.all() {
		if e.out == nil {
			continue
		}
		if v := get(e.out.(Out)); v != nil {
			out = append(out, v)
		}
	}
	return out
}

func index[Out, T any](fresh bool, was map[string]*T, list *compiled, get func(Out) *T) map[string]*T {
	if !fresh && was != nil {
		return was
	}
	out := make(map[string]*T, len(list.all()))
	for _, e := range list.all() {
		if e.out != nil {
			out[e.src.Key.ID] = get(e.out.(Out))
		}
	}
	return out
}

// globalRules merges all global rules into one set. A plugin that stands in two of them runs in neither, and says so:
// that is what APISIX does (apisix/plugin.lua, merge_global_rules) with what its Admin API would not have let in.
func (l *linker) globalRules() []*snapshot.Plugin {
	holder := make(map[string]*store.Object)
	twice := make(map[string]bool)
	var out []*snapshot.Plugin
	entries := l.result.kinds[model.GlobalRules].all()
	for _, e := range entries {
		if e.out == nil {
			continue
		}
		for _, u := range e.out.(*pluginsOut).plugins {
			if first := holder[u.name]; first != nil {
				twice[u.name] = true
				l.result.problems[model.GlobalRules] = append(l.result.problems[model.GlobalRules], snapshot.Problem{
					Key: resourceKey(e.src.Key),
					Err: fmt.Sprintf("plugin %s stands in %s too and runs in neither: take it out of one", u.name, resourceKey(first.Key)),
				})
				continue
			}
			holder[u.name] = e.src
			if u.plugin != nil {
				out = append(out, u.plugin)
			}
		}
	}
	out = slices.DeleteFunc(out, func(p *snapshot.Plugin) bool { return twice[p.Name] })
	slices.SortFunc(out, func(a, b *snapshot.Plugin) int { return strings.Compare(a.Name, b.Name) })
	return out
}
