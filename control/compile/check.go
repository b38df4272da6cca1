package compile

import (
	"fmt"
	"sync"

	"github.com/sluice-gateway/sluice/control/model"
	"github.com/sluice-gateway/sluice/control/schema"
	"github.com/sluice-gateway/sluice/control/store"
)

// CheckObject validates one object as a write does: the schema of its kind, what its plugins say, and, against
// view, what it refers to. The document is as the client sent it, decoded by schema.Decode, with no field encrypted but
// private keys. The text of the error is the error_msg of the Admin API. view may be nil with
// SkipReferences.
//
// A parent that is missing (of a credential, say) is not looked for: it answers with another status, see
// model.KindInfo.ParentMissing.
func (c *Compiler) CheckObject(key model.Key, doc any, view View, opt CheckOptions) error {
	x := &examination{c: c, key: key}
	if !opt.SkipReferences {
		x.refs = &references{view: view}
	}
	_, err := x.run(doc)
	return err
}

// CheckPlugins validates the plugins field of an object at an HTTP place, as CheckObject does.
func (c *Compiler) CheckPlugins(plugins any, kind SchemaKind) error {
	x := &examination{c: c, key: model.Key{Kind: model.PluginConfigs}}
	_, err := x.plugins(map[string]any{"plugins": plugins}, kind, nil)
	return err
}

// references is where an examination looks for other objects.
type references struct {
	view View
}

// refFields checks that the objects which fields of this one name are there, in the order of model.KindInfo.Refs.
// Client certificates and superior stream routes are left to refClientCert and refSuperior, which look at them closer.
func (x *examination) refFields(object map[string]any) error {
	if x.refs == nil {
		return nil
	}
	info, _ := model.Lookup(x.key.Kind)
	for _, ref := range info.Refs {
		if ref.Kind == model.SSLs || len(ref.Path) > 1 {
			continue
		}
		for _, id := range model.IDs(object, ref.Path) {
			if x.refs.view.Get(model.Key{Kind: ref.Kind, ID: id}) == nil {
				return fmt.Errorf("%s", ref.Missing(id))
			}
		}
	}
	return nil
}

func (x *examination) refClientCert(id string) error {
	if x.refs == nil {
		return nil
	}
	o := x.refs.view.Get(model.Key{Kind: model.SSLs, ID: id})
	if o == nil {
		return fmt.Errorf("failed to fetch ssl info by ssl id [%s], response code: 404", id)
	}
	if fieldText(o, "type") != "client" {
		return fmt.Errorf("failed to fetch ssl info by ssl id [%s], wrong ssl type", id)
	}
	return nil
}

func (x *examination) refSuperior(p *model.StreamProtocol) error {
	id := string(p.SuperiorID)
	if id == "" || x.refs == nil {
		return nil
	}
	if id == x.key.ID {
		return fmt.Errorf("stream route can not set itself as superior_id")
	}
	o := x.refs.view.Get(model.Key{Kind: model.StreamRoutes, ID: id})
	if o == nil {
		return fmt.Errorf("failed to fetch stream routes[%s], response code: 404", id)
	}
	if name := fieldText(o, "protocol", "name"); name != "" && name != p.Name {
		return fmt.Errorf("protocol mismatch: subordinate protocol [%s] does not match superior protocol [%s]", p.Name, name)
	}
	return nil
}

// refGlobalPlugins refuses a plugin that another global rule has: APISIX runs neither (apisix/admin/global_rules.lua).
func (x *examination) refGlobalPlugins(plugins uses) error {
	if x.refs == nil {
		return nil
	}
	for _, o := range x.refs.view.List(model.GlobalRules) {
		if o.Key == x.key {
			continue
		}
		doc, err := schema.Decode(o.Value)
		if err != nil {
			continue
		}
		object, _ := doc.(map[string]any)
		theirs, _ := object["plugins"].(map[string]any)
		for _, p := range plugins {
			if _, ok := theirs[p.name]; ok {
				return fmt.Errorf("plugin '%s' already exists in global rule with id '%s'", p.name, o.Key.ID)
			}
		}
	}
	return nil
}

// fieldText is a string inside a stored object, or "".
func fieldText(o *store.Object, path ...string) string {
	v, err := schema.Decode(o.Value)
	if err != nil {
		return ""
	}
	for _, name := range path {
		object, _ := v.(map[string]any)
		v = object[name]
	}
	s, _ := v.(string)
	return s
}

// authKey is what identifies a consumer to a plugin.
type authKey struct {
	plugin, key string
}

// storedCache remembers something about stored objects, because a write compares with all of them. An entry counts
// while the object is the same; what is gone is dropped when the entries outnumber the objects.
type storedCache[T any] struct {
	mu      sync.Mutex
	entries map[model.Key]storedEntry[T]
}

type storedEntry[T any] struct {
	// object is what the value was read from; its bytes identify it.
	object *store.Object
	value  T
}

// of is what is known about o, from read when it is new. The lock of the cache is held.
func (c *storedCache[T]) of(o *store.Object, read func(*store.Object) T) T {
	if e, ok := c.entries[o.Key]; ok && sameBytes(e.object.Value, o.Value) {
		return e.value
	}
	if c.entries == nil {
		c.entries = map[model.Key]storedEntry[T]{}
	}
	e := storedEntry[T]{object: o, value: read(o)}
	c.entries[o.Key] = e
	return e.value
}

// trim drops the entries when they outnumber the objects that there are. The lock of the cache is held.
func (c *storedCache[T]) trim(objects int) {
	if len(c.entries) > 2*objects+1024 {
		clear(c.entries)
	}
}

// refAuthKeys refuses a key that another consumer or credential has: a consumer may share a key with its own
// credentials, a credential with nobody (apisix/consumer.lua, check_duplicate_key).
func (x *examination) refAuthKeys(plugins uses) error {
	if x.refs == nil {
		return nil
	}
	mine := authKeys(plugins)
	if len(mine) == 0 {
		return nil
	}
	c := &x.c.auth
	c.mu.Lock()
	defer c.mu.Unlock()
	owner, credential, _ := splitCredential(x.key)
	if credential == "" {
		owner = x.key.ID
	}
	total := 0
	for _, kind := range []model.Kind{model.Consumers, model.Credentials} {
		list := x.refs.view.List(kind)
		total += len(list)
		for _, o := range list {
			username, id, _ := splitCredential(o.Key)
			if kind == model.Consumers {
				username = o.Key.ID
			}
			if o.Key == x.key || (credential == "" && username == owner) {
				continue
			}
			for _, theirs := range c.of(o, x.c.storedAuthKeys) {
				for _, key := range mine {
					if theirs == key {
						return duplicateKey(x.c.plugins, key.plugin, username, id)
					}
				}
			}
		}
	}
	c.trim(total)
	return nil
}

func duplicateKey(plugins Plugins, plugin, username, credential string) error {
	field := "key"
	if info, ok := plugins.Plugin(plugin); ok && info.ConsumerKeyField != "" {
		field = info.ConsumerKeyField
	}
	if credential != "" {
		return fmt.Errorf("duplicate %s of plugin %s found with credential: %s of consumer: %s", field, plugin, credential, username)
	}
	return fmt.Errorf("duplicate %s of plugin %s found with consumer: %s", field, plugin, username)
}

// storedAuthKeys are the keys of a stored object.
func (c *Compiler) storedAuthKeys(o *store.Object) []authKey {
	return authKeys(c.storedUses(o, KindConsumer))
}

// storedUses are the plugin configurations of a stored object, none when it does not pass.
func (c *Compiler) storedUses(o *store.Object, kind SchemaKind) uses {
	doc, err := schema.Decode(o.Value)
	if err != nil {
		return nil
	}
	object, ok := doc.(map[string]any)
	if !ok {
		return nil
	}
	x := &examination{c: c, key: o.Key, stored: true}
	all, err := x.plugins(object, kind, nil)
	if err != nil {
		return nil
	}
	return all
}

// sameBytes says whether two values are the same piece of memory; values of a store never change.
func sameBytes(a, b []byte) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// authKeys are the keys in plugin configurations. Those with unresolved references are passed over, as nobody can
// authenticate with them.
func authKeys(plugins uses) []authKey {
	var keys []authKey
	for _, p := range plugins {
		if !p.info.Auth || p.plugin == nil || p.unresolved {
			continue
		}
		if key, err := p.info.consumerKey(p.plugin.Conf); err == nil && key != "" {
			keys = append(keys, authKey{p.name, key})
		}
	}
	return keys
}
