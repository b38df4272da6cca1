package compile

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/sluice-gateway/sluice/control/crypt"
	"github.com/sluice-gateway/sluice/control/model"
	"github.com/sluice-gateway/sluice/control/schema"
	"github.com/sluice-gateway/sluice/control/store"
)

// pluginSet is a Plugins for tests.
type pluginSet []*PluginInfo

func (s pluginSet) Plugin(name string) (*PluginInfo, bool) {
	for _, p := range s {
		if p.Name == name {
			return p, true
		}
	}
	return nil, false
}

func (s pluginSet) All() []*PluginInfo {
	out := slices.Clone(s)
	slices.SortFunc(out, func(a, b *PluginInfo) int { return b.Priority - a.Priority })
	return out
}

// testPlugins are a plugin of each sort: limit has defaults and a check of its own, door authenticates, echo takes anything
// and knows streams too, tap only knows streams, logger has metadata.
func testPlugins(tb testing.TB) pluginSet {
	tb.Helper()
	door := mustSchema("door consumer", `{"type":"object","properties":{"key":{"type":"string"},"note":{"type":"string","default":"-"}},
		"required":["key"],"encrypt_fields":["key"]}`)
	return pluginSet{
		{
			Name: "limit", Priority: 1002, HTTP: true,
			Schema: mustSchema("limit", `{"type":"object","properties":{"count":{"type":"integer","minimum":1},
				"window":{"type":"integer","default":60},"group":{"type":"string"},"secret":{"type":"string"},"nested":{"type":"object"}},
				"required":["count"],"additionalProperties":false,"encrypt_fields":["secret","nested.token"]}`),
			Group: func(conf json.RawMessage) string {
				var c struct{ Group string }
				_ = json.Unmarshal(conf, &c)
				return c.Group
			},
			Check: func(_ SchemaKind, conf json.RawMessage) error {
				var c struct{ Count int }
				if err := json.Unmarshal(conf, &c); err != nil {
					return err
				}
				switch c.Count {
				case 13:
					return errors.New("13 is unlucky")
				case 666:
					panic("the devil")
				}
				return nil
			},
		},
		{
			Name: "door", Priority: 2500, HTTP: true, Auth: true,
			Schema:           mustSchema("door", `{"type":"object","properties":{"header":{"type":"string","default":"apikey"}}}`),
			ConsumerSchema:   door,
			ConsumerKeyField: "key",
			ConsumerKey: func(conf json.RawMessage) (string, error) {
				var c struct{ Key string }
				err := json.Unmarshal(conf, &c)
				return c.Key, err
			},
		},
		{Name: "echo", Priority: 412, HTTP: true, Stream: true},
		{Name: "tap", Priority: 1, Stream: true},
		{
			Name: "logger", Priority: 5, HTTP: true,
			MetadataSchema: mustSchema("logger metadata", `{"type":"object","properties":{"format":{"type":"object"},
				"size":{"type":"integer","default":1000}}}`),
		},
	}
}

func testCompiler(tb testing.TB, env map[string]string, keyring *crypt.Keyring) *Compiler {
	tb.Helper()
	return New(Options{
		Plugins: testPlugins(tb),
		Env: func(name string) (string, bool) {
			v, ok := env[name]
			return v, ok
		},
		Keyring: keyring,
		CheckVars: func(expr json.RawMessage) error {
			if string(expr) == `["bad"]` {
				return errors.New("bad expression")
			}
			return nil
		},
	})
}

// keyOf reads "/consumers/jack/credentials/c1" and the like.
func keyOf(tb testing.TB, path string) model.Key {
	tb.Helper()
	for _, info := range model.Kinds() {
		prefix := "/" + string(info.Kind) + "/"
		if len(path) > len(prefix) && path[:len(prefix)] == prefix {
			return model.Key{Kind: info.Kind, ID: path[len(prefix):]}
		}
	}
	tb.Fatalf("no kind in %q", path)
	return model.Key{}
}

func decode(tb testing.TB, text string) any {
	tb.Helper()
	v, err := schema.Decode([]byte(text))
	if err != nil {
		tb.Fatalf("decode %s: %v", text, err)
	}
	return v
}

// world is a state to edit.
type world struct {
	tb      testing.TB
	objects *Objects
}

func newWorld(tb testing.TB) *world { return &world{tb, NewObjects(0, nil)} }

// put stores an object, with its id where the schema demands one; a value of "" deletes it.
func (w *world) put(path, value string) {
	w.tb.Helper()
	key := keyOf(w.tb, path)
	switch key.Kind {
	case model.PluginConfigs, model.ConsumerGroups, model.GlobalRules:
		if value != "" {
			value = fmt.Sprintf(`{"id":%q,%s`, key.ID, value[1:])
		}
	}
	w.putKey(key, value)
}

func (w *world) putKey(key model.Key, value string) {
	rev := w.objects.Rev() + 1
	var o *store.Object
	if value != "" {
		o = &store.Object{Key: key, Value: json.RawMessage(value), Create: rev, Mod: rev}
		if old := w.objects.Get(key); old != nil {
			o.Create = old.Create
		}
	}
	w.objects = w.objects.With(rev, map[model.Key]*store.Object{key: o})
}
