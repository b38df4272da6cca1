package compile

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/sluice-gateway/sluice/control/model"
	"github.com/sluice-gateway/sluice/control/schema"
	"github.com/sluice-gateway/sluice/control/snapshot"
)

// unit is what the first stage makes of one object. Which fields are set depends on the kind.
type unit struct {
	// warnings say what is odd about an object that is nevertheless served.
	warnings []string

	// plugins are set for every kind with a plugins field; auth holds those of consumers and credentials that
	// authenticate.
	plugins uses
	auth    []snapshot.Auth

	route       *model.Route
	service     *model.Service
	streamRoute *model.StreamRoute
	consumer    *model.Consumer
	// upstream is the object itself for upstreams, the inline upstream for routes, services and stream routes.
	upstream *upstreamUnit
	ssl      *sslUnit
	proto    *snapshot.Proto
	metadata *snapshot.Metadata
	protocol json.RawMessage
}

// examination is the first stage on one object.
type examination struct {
	c   *Compiler
	key model.Key
	// stored says that the object comes from a store, where some fields are encrypted.
	stored bool
	// prev is the last good unit of the object, or nil.
	prev *unit
	// refs checks references, or is nil.
	refs     *references
	warnings []string
}

func (x *examination) warn(format string, args ...any) {
	x.warnings = append(x.warnings, fmt.Sprintf(format, args...))
}

// run checks and compiles the object. The errors are the Admin API's.
func (x *examination) run(doc any) (*unit, error) {
	var u *unit
	var err error
	object, ok := doc.(map[string]any)
	if !ok {
		return nil, errors.New("invalid configuration: wrong type: expected object, got " + typeName(doc))
	}
	switch x.key.Kind {
	case model.Routes:
		u, err = x.route(object)
	case model.Services:
		u, err = x.service(object)
	case model.Upstreams:
		u, err = x.upstreamObject(object)
	case model.StreamRoutes:
		u, err = x.streamRoute(object)
	case model.Consumers:
		u, err = x.consumer(object)
	case model.Credentials:
		u, err = x.credential(object)
	case model.ConsumerGroups, model.PluginConfigs, model.GlobalRules:
		u, err = x.pluginHolder(object)
	case model.PluginMetadatas:
		u, err = x.metadata(object)
	case model.SSLs:
		u, err = x.sslObject(object)
	case model.Protos:
		u, err = x.proto(object)
	case model.Secrets:
		u, err = x.secret(object)
	case model.GraphQLCostDecorations:
		u = &unit{}
		_, err = x.shape(object, nil)
	default:
		return nil, fmt.Errorf("unknown kind of resource %q", x.key.Kind)
	}
	if err == nil {
		err = x.refGroups(u.plugins)
	}
	if err != nil {
		return nil, err
	}
	u.warnings = x.warnings
	return u, nil
}

func typeName(v any) string {
	switch v.(type) {
	case nil:
		return "nil"
	case bool:
		return "boolean"
	case string:
		return "string"
	case []any:
		return "table"
	}
	return "number"
}

// shape checks an object against the schema of its kind and decodes it, defaults filled, into m if that is not nil.
// It returns the document with defaults.
func (x *examination) shape(object map[string]any, m any) (map[string]any, error) {
	info, _ := model.Lookup(x.key.Kind)
	s, ok := schema.Resource(info.Schema)
	if !ok {
		return nil, fmt.Errorf("no schema for %s", x.key.Kind)
	}
	full, err := s.Check(object)
	if err != nil {
		return nil, fmt.Errorf("invalid configuration: %w", err)
	}
	if m != nil {
		if err := json.Unmarshal(canonical(full), m); err != nil {
			return nil, fmt.Errorf("invalid configuration: %w", err)
		}
	}
	out, _ := full.(map[string]any)
	return out, nil
}

// prevPlugins are the plugins of the last good unit.
func (x *examination) prevPlugins() uses {
	if x.prev == nil {
		return nil
	}
	return x.prev.plugins
}

// inline compiles the upstream inside an object, if there is one.
func (x *examination) inline(object, full map[string]any, m *model.Upstream) (*upstreamUnit, error) {
	if m == nil {
		return nil, nil
	}
	doc, _ := object["upstream"].(map[string]any)
	fullDoc, _ := full["upstream"].(map[string]any)
	return x.upstream(doc, fullDoc, m)
}

func (x *examination) route(object map[string]any) (*unit, error) {
	for _, names := range [][2]string{{"host", "hosts"}, {"remote_addr", "remote_addrs"}} {
		if object[names[0]] != nil && object[names[1]] != nil {
			return nil, fmt.Errorf("only one of %s or %s is allowed", names[0], names[1])
		}
	}
	m := &model.Route{}
	full, err := x.shape(object, m)
	if err != nil {
		return nil, err
	}
	u := &unit{route: m}
	if u.upstream, err = x.inline(object, full, m.Upstream); err != nil {
		return nil, err
	}
	if err := x.refFields(object); err != nil {
		return nil, err
	}
	if u.plugins, err = x.plugins(object, KindPlugin, x.prevPlugins()); err != nil {
		return nil, err
	}
	if vars, ok := object["vars"]; ok {
		if err := x.c.checkVars(canonical(vars)); err != nil {
			return nil, fmt.Errorf("failed to validate the 'vars' expression: %w", err)
		}
	}
	if m.FilterFunc != "" {
		return nil, errors.New("failed to load 'filter_func' string: Lua code is not supported, write the condition as vars")
	}
	return u, noScript(m.Script, string(m.ScriptID))
}

// noScript refuses what would need a Lua machine. Serving the object without its script would be something else than
// what was asked for.
func noScript(script, id string) error {
	if script != "" || id != "" {
		return errors.New("failed to load 'script' string: Lua code is not supported, use plugins")
	}
	return nil
}

func (x *examination) service(object map[string]any) (*unit, error) {
	m := &model.Service{}
	full, err := x.shape(object, m)
	if err != nil {
		return nil, err
	}
	u := &unit{service: m}
	if u.upstream, err = x.inline(object, full, m.Upstream); err != nil {
		return nil, err
	}
	if err := x.refFields(object); err != nil {
		return nil, err
	}
	if u.plugins, err = x.plugins(object, KindPlugin, x.prevPlugins()); err != nil {
		return nil, err
	}
	return u, noScript(m.Script, "")
}

func (x *examination) upstreamObject(object map[string]any) (*unit, error) {
	m := &model.Upstream{}
	full, err := x.shape(object, m)
	if err != nil {
		return nil, err
	}
	u := &unit{}
	u.upstream, err = x.upstream(object, full, m)
	return u, err
}

func (x *examination) streamRoute(object map[string]any) (*unit, error) {
	m := &model.StreamRoute{}
	full, err := x.shape(object, m)
	if err != nil {
		return nil, err
	}
	u := &unit{streamRoute: m}
	if err := x.refFields(object); err != nil {
		return nil, err
	}
	if u.upstream, err = x.inline(object, full, m.Upstream); err != nil {
		return nil, err
	}
	if m.Protocol != nil {
		if x.refs != nil {
			if err := x.c.checkProt(m.Protocol.Name); err != nil {
				return nil, err
			}
		}
		if err := x.refSuperior(m.Protocol); err != nil {
			return nil, err
		}
		u.protocol = canonical(full["protocol"])
	}
	if u.plugins, err = x.plugins(object, KindPlugin, x.prevPlugins()); err != nil {
		return nil, err
	}
	if m.RemoteAddr != "" && !isAddress(m.RemoteAddr) {
		return nil, errors.New("invalid remote_addr: " + m.RemoteAddr)
	}
	if m.ServerAddr != "" && !isAddress(m.ServerAddr) {
		return nil, errors.New("invalid server_addr: " + m.ServerAddr)
	}
	return u, nil
}

// isAddress says whether a text is an IP address or a CIDR.
func isAddress(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	_, err := netip.ParsePrefix(s)
	return err == nil
}

func (x *examination) pluginHolder(object map[string]any) (*unit, error) {
	if _, err := x.shape(object, nil); err != nil {
		return nil, err
	}
	u := &unit{}
	var err error
	if u.plugins, err = x.plugins(object, KindPlugin, x.prevPlugins()); err != nil {
		return nil, err
	}
	if x.key.Kind == model.GlobalRules {
		return u, x.refGlobalPlugins(u.plugins)
	}
	return u, nil
}

func (x *examination) consumer(object map[string]any) (*unit, error) {
	m := &model.Consumer{}
	if _, err := x.shape(object, m); err != nil {
		return nil, err
	}
	if x.key.ID != m.Username {
		return nil, errors.New("wrong username")
	}
	u := &unit{consumer: m}
	var err error
	if u.plugins, err = x.plugins(object, KindConsumer, x.prevPlugins()); err != nil {
		return nil, fmt.Errorf("invalid plugins configuration: %w", err)
	}
	if err := x.refAuthKeys(u.plugins); err != nil {
		return nil, err
	}
	if err := x.refFields(object); err != nil {
		return nil, err
	}
	u.splitAuth("", x)
	return u, nil
}

func (x *examination) credential(object map[string]any) (*unit, error) {
	if _, err := x.shape(object, nil); err != nil {
		return nil, err
	}
	_, id, ok := splitCredential(x.key)
	if !ok {
		return nil, fmt.Errorf("credential %q does not belong to a consumer", x.key.ID)
	}
	u := &unit{}
	var err error
	if u.plugins, err = x.plugins(object, KindConsumer, x.prevPlugins()); err != nil {
		return nil, fmt.Errorf("invalid plugins configuration: %w", err)
	}
	for _, p := range u.plugins {
		if !p.info.Auth {
			return nil, errors.New("only supports auth type plugins in consumer credential")
		}
	}
	if err := x.refAuthKeys(u.plugins); err != nil {
		return nil, err
	}
	u.splitAuth(id, x)
	return u, nil
}

// splitCredential takes "jack/credentials/c1" apart.
func splitCredential(key model.Key) (username, id string, ok bool) {
	if key.Kind != model.Credentials {
		return "", "", false
	}
	username, id, ok = strings.Cut(key.ID, "/"+string(model.Credentials)+"/")
	return username, id, ok && username != "" && id != ""
}

// splitAuth moves the auth plugins from plugins to auth. One whose configuration keeps a reference is left out: a
// client could authenticate with the text of the reference (apisix/consumer.lua, create_consume_cache).
func (u *unit) splitAuth(credential string, x *examination) {
	var rest uses
	for _, p := range u.plugins {
		switch {
		case !p.info.Auth:
			rest = append(rest, p)
		case p.plugin == nil:
		case p.unresolved:
			x.warn("plugins.%s: left out, for its configuration has an unresolved reference", p.name)
		default:
			u.auth = append(u.auth, snapshot.Auth{Plugin: p.name, CredentialID: credential, Conf: p.plugin.Conf})
		}
	}
	u.plugins = rest
}

func (x *examination) sslObject(object map[string]any) (*unit, error) {
	m := &model.SSL{}
	if _, err := x.shape(object, m); err != nil {
		return nil, err
	}
	u := &unit{}
	var err error
	u.ssl, err = x.ssl(m)
	return u, err
}

func (x *examination) proto(object map[string]any) (*unit, error) {
	m := &model.Proto{}
	if _, err := x.shape(object, m); err != nil {
		return nil, err
	}
	return &unit{proto: &snapshot.Proto{ID: x.key.ID, Content: m.Content}}, nil
}

func (x *examination) secret(object map[string]any) (*unit, error) {
	manager, _, ok := strings.Cut(x.key.ID, "/")
	if !ok {
		return nil, errors.New("no secret id")
	}
	s, ok := schema.Secret(manager)
	if !ok {
		return nil, errors.New("invalid secret manager: " + manager)
	}
	if err := s.Validate(object); err != nil {
		return nil, fmt.Errorf("invalid configuration: %w", err)
	}
	return &unit{}, nil
}

func (x *examination) metadata(object map[string]any) (*unit, error) {
	info, ok := x.c.plugins.Plugin(x.key.ID)
	if !ok {
		if x.stored {
			// It takes effect when the plugin is switched on, and until then it is nobody's business
			// (apisix/plugin.lua, check_plugin_metadata).
			return &unit{}, nil
		}
		return nil, errors.New("invalid plugin name")
	}
	doc := make(map[string]any, len(object))
	for name, value := range object {
		if name != "id" {
			doc[name] = value
		}
	}
	conf, notes, err := x.conf(info, KindMetadata, nil, doc)
	if err != nil {
		return nil, fmt.Errorf("invalid configuration: %w", err)
	}
	for _, note := range notes {
		x.warn("%s", note)
	}
	return &unit{metadata: &snapshot.Metadata{Conf: conf}}, nil
}
