package compile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/sluice-gateway/sluice/control/model"
	"github.com/sluice-gateway/sluice/control/schema"
	"github.com/sluice-gateway/sluice/control/snapshot"
)

// metaSchema is what APISIX adds to the schema of every plugin (apisix/schema_def.lua, plugin_injected_schema).
var metaSchema = sync.OnceValue(func() *schema.Schema {
	return mustSchema("plugin _meta", `{"type":"object","properties":{"_meta":{"type":"object","properties":{
		"disable":{"type":"boolean"},
		"error_response":{"oneOf":[{"type":"string"},{"type":"object"}]},
		"priority":{"type":"integer"},
		"filter":{"type":"array"},
		"pre_function":{"type":"string"}
	},"additionalProperties":false}}}`)
})

// mustSchema compiles a schema that is part of the program.
func mustSchema(name, doc string) *schema.Schema {
	s, err := schema.Compile(name, []byte(doc))
	if err != nil {
		panic(err)
	}
	return s
}

// use is one plugin configuration of an object, after the first stage.
type use struct {
	name string
	info *PluginInfo
	// plugin is nil when the configuration is switched off. It still hides the same plugin of objects that come later in
	// the merge order, because APISIX merges first and looks at _meta.disable afterwards (apisix/plugin.lua, filter).
	plugin *snapshot.Plugin
	// unresolved says that a reference in the configuration stays as it is.
	unresolved bool
}

// uses are the plugin configurations of an object, sorted by name.
type uses []use

// find returns the configuration of a plugin, or nil.
func (u uses) find(name string) *use {
	for i := range u {
		if u[i].name == name {
			return &u[i]
		}
	}
	return nil
}

// mergeUses lets earlier sets win over later ones, whole plugins at a time, and returns what is switched on, by name.
func mergeUses(keep func(*PluginInfo) bool, sets ...uses) []*snapshot.Plugin {
	var out []*snapshot.Plugin
	for i, set := range sets {
		for _, u := range set {
			hidden := slices.ContainsFunc(sets[:i], func(earlier uses) bool { return earlier.find(u.name) != nil })
			if !hidden && u.plugin != nil && keep(u.info) {
				out = append(out, u.plugin)
			}
		}
	}
	slices.SortFunc(out, func(a, b *snapshot.Plugin) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// switchedOff names the plugins that the merge of the sets has and does not run, by name.
func switchedOff(keep func(*PluginInfo) bool, sets ...uses) []string {
	var out []string
	for i, set := range sets {
		for _, u := range set {
			hidden := slices.ContainsFunc(sets[:i], func(earlier uses) bool { return earlier.find(u.name) != nil })
			if !hidden && u.plugin == nil && keep(u.info) {
				out = append(out, u.name)
			}
		}
	}
	slices.Sort(out)
	return out
}

// plugins checks and compiles the plugins field of an object. Unchanged configurations keep the pointer that they have
// in prev.
func (x *examination) plugins(doc map[string]any, kind SchemaKind, prev uses) (uses, error) {
	value, ok := doc["plugins"]
	if !ok {
		return nil, nil
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, nil // an empty array is Lua's empty object; the schema lets nothing else pass
	}
	out := make(uses, 0, len(object))
	for _, name := range slices.Sorted(maps.Keys(object)) {
		u, err := x.plugin(name, object[name], kind)
		if err != nil {
			return nil, err
		}
		if old := prev.find(name); old != nil && reflect.DeepEqual(old.plugin, u.plugin) {
			u.plugin = old.plugin
		}
		out = append(out, u)
	}
	return out, nil
}

// plugin checks and compiles one configuration. The order of the checks is that of check_single_plugin_schema in
// apisix/plugin.lua.
func (x *examination) plugin(name string, value any, kind SchemaKind) (use, error) {
	object, ok := value.(map[string]any)
	if list, isList := value.([]any); isList && len(list) == 0 {
		object, ok = map[string]any{}, true
	}
	if !ok {
		return use{}, fmt.Errorf("invalid plugin conf %s for plugin [%s]", clip(encode(value)), name)
	}
	stream := x.key.Kind == model.StreamRoutes
	info, ok := x.c.plugins.Plugin(name)
	if !ok || (stream && !info.Stream) || (!stream && !info.HTTP) {
		return use{}, fmt.Errorf("unknown plugin [%s]", name)
	}
	if kind == KindConsumer && info.ConsumerSchema == nil {
		kind = KindPlugin
	}
	holder, rest, disabled := splitMeta(info, kind, object)
	meta, _ := holder["_meta"].(map[string]any)
	u := use{name: name, info: info}
	conf, notes, err := x.conf(info, kind, holder, rest)
	if err != nil {
		if disabled {
			// It will not run, so what only this node misses must not refuse the object.
			return u, nil
		}
		if stream {
			return use{}, fmt.Errorf("failed to check the configuration of stream plugin [%s]: %w", name, err)
		}
		return use{}, fmt.Errorf("failed to check the configuration of plugin %s err: %w", name, err)
	}
	if err := x.checkMeta(name, meta); err != nil {
		return use{}, err
	}
	if disabled {
		return u, nil
	}
	for _, note := range notes {
		x.warn("plugins.%s.%s", name, note)
	}
	u.unresolved = len(notes) > 0
	u.plugin = &snapshot.Plugin{Name: name, Conf: conf, Resource: resourceKey(x.key)}
	if filter, ok := meta["filter"]; ok {
		u.plugin.Filter = canonical(filter)
	}
	if response, ok := meta["error_response"]; ok {
		u.plugin.ErrorResponse = canonical(response)
	}
	if number, ok := meta["priority"].(json.Number); ok {
		if priority, err := intOf(number); err == nil {
			u.plugin.Priority = &priority
		}
	}
	return u, nil
}

// splitMeta takes what belongs to the engine out of a configuration: holder has the field _meta, if there is one. A
// `disable` at the top is the form of before APISIX 3.0, and only read for plugins that have no field of that name.
func splitMeta(info *PluginInfo, kind SchemaKind, object map[string]any) (holder, rest map[string]any, disabled bool) {
	rest = maps.Clone(object)
	if value, ok := rest["_meta"]; ok {
		holder = map[string]any{"_meta": value}
		delete(rest, "_meta")
		meta, _ := value.(map[string]any)
		disabled, _ = meta["disable"].(bool)
	}
	if off, ok := rest["disable"].(bool); ok && !info.hasField(kind, "disable") {
		delete(rest, "disable")
		disabled = disabled || off
	}
	return holder, rest, disabled
}

// conf checks a configuration against the schema and the plugin itself, and returns it in canonical form, with a note
// for every reference that stays.
func (x *examination) conf(info *PluginInfo, kind SchemaKind, holder, rest map[string]any) (json.RawMessage, []string, error) {
	if holder != nil {
		if err := metaSchema().Validate(holder); err != nil {
			return nil, nil, err
		}
	}
	// A copy of its own: decryption and resolution change it in place.
	doc := copyValue(rest).(map[string]any)
	if x.stored {
		if err := x.c.keyring.DecryptFields(doc, x.c.sealed[sealedKey{info.Name, kind}]); err != nil {
			// As in APISIX: usually a value written before its field was marked or encryption was switched on.
			x.c.logger.Debug("plugin field is not encrypted", "resource", resourceKey(x.key), "plugin", info.Name, "err", err)
		}
	}
	var full any = doc
	s := info.schema(kind)
	if x.key.Kind == model.StreamRoutes && info.StreamSchema != nil {
		s = info.StreamSchema
	}
	if s != nil {
		var err error
		if full, err = s.Check(doc); err != nil {
			return nil, nil, err
		}
	}
	r := resolver{env: x.c.env}
	conf := canonical(r.value(full, ""))
	if err := info.check(kind, conf); err != nil {
		return nil, nil, err
	}
	return conf, r.unresolved, nil
}

// checkMeta checks what the schema of _meta cannot.
func (x *examination) checkMeta(name string, meta map[string]any) error {
	if filter, ok := meta["filter"]; ok {
		if err := x.c.checkVars(canonical(filter)); err != nil {
			return fmt.Errorf("failed to validate the 'vars' expression: %w", err)
		}
	}
	if _, ok := meta["pre_function"]; ok {
		return fmt.Errorf("failed to load _meta.pre_function in plugin %s: Lua code is not supported", name)
	}
	return nil
}

// schema is the schema of a place, or nil.
func (p *PluginInfo) schema(kind SchemaKind) *schema.Schema {
	switch kind {
	case KindConsumer:
		return p.ConsumerSchema
	case KindMetadata:
		return p.MetadataSchema
	}
	return p.Schema
}

// check asks the plugin, and takes a panic for an answer.
func (p *PluginInfo) check(kind SchemaKind, conf json.RawMessage) (err error) {
	if p.Check == nil {
		return nil
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("plugin %s panicked: %v", p.Name, r)
		}
	}()
	return p.Check(kind, conf)
}

// consumerKey is what identifies a consumer, or "" when the plugin has no such thing.
func (p *PluginInfo) consumerKey(conf json.RawMessage) (key string, err error) {
	if p.ConsumerKey == nil {
		return "", nil
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("plugin %s panicked: %v", p.Name, r)
		}
	}()
	return p.ConsumerKey(conf)
}

// hasField says whether the schema of a place declares a field.
func (p *PluginInfo) hasField(kind SchemaKind, name string) bool {
	s := p.schema(kind)
	if s == nil {
		return false
	}
	var doc struct {
		Properties map[string]json.RawMessage `json:"properties"`
	}
	return json.Unmarshal(s.Raw(), &doc) == nil && doc.Properties[name] != nil
}

// encryptFields are the fields that a schema marks for encryption at rest.
func encryptFields(s *schema.Schema) ([]string, error) {
	if s == nil {
		return nil, nil
	}
	var doc any
	if err := json.Unmarshal(s.Raw(), &doc); err != nil {
		return nil, fmt.Errorf("read encrypt_fields of schema %s: %w", s.Name(), err)
	}
	object, _ := doc.(map[string]any)
	list, _ := object["encrypt_fields"].([]any)
	var fields []string
	for _, item := range list {
		field, ok := item.(string)
		if !ok {
			return nil, fmt.Errorf("read encrypt_fields of schema %s: expected strings", s.Name())
		}
		fields = append(fields, field)
	}
	return fields, nil
}

// canonical encodes a decoded document with sorted keys, so that equal configurations have equal bytes.
func canonical(v any) json.RawMessage {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		// Only values that JSON decoding cannot produce fail here.
		panic(fmt.Sprintf("compile: encode decoded JSON: %v", err))
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
}

func encode(v any) string { return string(canonical(v)) }

// clip keeps what goes into a message short.
func clip(s string) string {
	if len(s) > 128 {
		return s[:128] + "..."
	}
	return s
}

// copyValue copies objects and arrays; scalars are immutable.
func copyValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, value := range v {
			out[name] = copyValue(value)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, value := range v {
			out[i] = copyValue(value)
		}
		return out
	}
	return v
}

var errNotInteger = errors.New("not an integer")

// intOf reads an integer that may be written as 1.0.
func intOf(n json.Number) (int, error) {
	if i, err := n.Int64(); err == nil {
		return int(i), nil
	}
	f, err := n.Float64()
	if err != nil || f != float64(int(f)) {
		return 0, errNotInteger
	}
	return int(f), nil
}
