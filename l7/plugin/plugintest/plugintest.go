// Package plugintest runs plugins in tests without the engine: it makes instances from configurations as a user writes them, builds
// requests, and takes a request through the phases in the engine's order.
package plugintest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/sluice-gateway/sluice/l7/plugin"
)

// New returns an instance of the registered plugin for conf, which is validated and completed with the defaults of the plugin's schema
// first, as the control plane does. The test fails when the configuration is refused. The instance is closed when the test ends.
func New(t testing.TB, name, conf string) plugin.Instance {
	t.Helper()
	return NewEnv(t, name, conf, Env())
}

// NewEnv is New with an environment of the caller's.
func NewEnv(t testing.TB, name, conf string, env *plugin.Env) plugin.Instance {
	t.Helper()
	inst, err := Try(name, conf, env)
	if err != nil {
		t.Fatalf("plugin %s refuses %s: %v", name, conf, err)
	}
	if c, ok := inst.(plugin.Closer); ok {
		t.Cleanup(c.Close)
	}
	return inst
}

// Try is NewEnv for configurations that may be refused; a nil env is Env().
func Try(name, conf string, env *plugin.Env) (plugin.Instance, error) {
	d, ok := plugin.Lookup(name)
	if !ok {
		return nil, fmt.Errorf("plugin %s is not registered", name)
	}
	full, err := Complete(d.Schema, conf)
	if err != nil {
		return nil, err
	}
	if env == nil {
		env = Env()
	}
	return d.New(full, env)
}

// Env returns an environment with its own shared objects and a logger that discards.
func Env() *plugin.Env {
	var mu sync.Mutex
	shared := map[string]any{}
	return &plugin.Env{
		Resource: "/routes/1",
		Logger:   slog.New(slog.DiscardHandler),
		Shared: func(name string, mk func() any) any {
			mu.Lock()
			defer mu.Unlock()
			if _, ok := shared[name]; !ok {
				shared[name] = mk()
			}
			return shared[name]
		},
	}
}

// Complete validates conf against a draft-07 schema and returns it with defaults filled in. Defaults are taken from properties
// and items, in the branch of if/then/else that applies too; the control plane's own schema package knows the remaining places.
func Complete(schema []byte, conf string) ([]byte, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader([]byte(conf)))
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	s, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		return nil, fmt.Errorf("read schema: %w", err)
	}
	fill(s, doc)
	if err := validate(s, doc); err != nil {
		return nil, err
	}
	return json.Marshal(doc)
}

func validate(schema, doc any) error {
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft7)
	if err := c.AddResource("schema.json", schema); err != nil {
		return err
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		return err
	}
	return s.Validate(doc)
}

func fill(schema, doc any) {
	s, ok := schema.(map[string]any)
	if !ok {
		return
	}
	switch d := doc.(type) {
	case map[string]any:
		props, _ := s["properties"].(map[string]any)
		for name, p := range props {
			ps, _ := p.(map[string]any)
			if def, has := ps["default"]; has && d[name] == nil {
				d[name] = clone(def)
			}
			fill(p, d[name])
		}
	case []any:
		for _, e := range d {
			fill(s["items"], e)
		}
	}
	if cond, has := s["if"]; has {
		var failed *jsonschema.ValidationError
		switch err := validate(cond, doc); {
		case err == nil:
			fill(s["then"], doc)
		case errors.As(err, &failed):
			fill(s["else"], doc)
		}
	}
}

// clone keeps a default from being shared by two documents.
func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		c := make(map[string]any, len(v))
		for k, e := range v {
			c[k] = clone(e)
		}
		return c
	case []any:
		c := make([]any, len(v))
		for i, e := range v {
			c[i] = clone(e)
		}
		return c
	default:
		return v
	}
}
