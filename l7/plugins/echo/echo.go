// Package echo is the plugin echo: it puts text before, after or in place of response bodies (apisix/plugins/echo.lua).
package echo

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/sluice-gateway/sluice/l7/plugin"
)

const name = "echo"

//go:embed schema.json
var confSchema []byte

func init() {
	plugin.Register(plugin.Def{Name: name, Priority: 412, Version: "0.1", Schema: confSchema, New: newEcho})
}

type conf struct {
	Before  *string        `json:"before_body"`
	Body    *string        `json:"body"`
	After   *string        `json:"after_body"`
	Headers map[string]any `json:"headers"`
}

type echo struct {
	conf    conf
	headers []plugin.Field
}

func newEcho(raw []byte, _ *plugin.Env) (plugin.Instance, error) {
	e := &echo{}
	if err := json.Unmarshal(raw, &e.conf); err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	for _, field := range slices.Sorted(maps.Keys(e.conf.Headers)) {
		var text string
		switch v := e.conf.Headers[field].(type) {
		case string:
			text = v
		case float64:
			// As Lua writes numbers.
			text = strconv.FormatFloat(v, 'g', 14, 64)
		default:
			return nil, fmt.Errorf("invalid type as header value: headers.%s must be a string or a number", field)
		}
		if !plugin.ValidName(field) {
			return nil, fmt.Errorf("invalid field in header: %q is no field name", field)
		}
		e.headers = append(e.headers, plugin.Field{Name: []byte(field), Value: []byte(text)})
	}
	return e, nil
}

// progress is how far the body of an exchange has come.
type progress struct{ begun, replaced bool }

var (
	_ plugin.HeaderFilterer = (*echo)(nil)
	_ plugin.BodyFilterer   = (*echo)(nil)
)

// HeaderFilter sets the configured fields.
func (e *echo) HeaderFilter(ex *plugin.Exchange) error {
	ex.SetValue(e, &progress{})
	ex.BodyWillChange()
	for _, f := range e.headers {
		if len(f.Value) == 0 {
			ex.Response.Header.Del(plugin.String(f.Name)) // OpenResty removes a field that is set to nothing.
			continue
		}
		ex.Response.Header.Set(plugin.String(f.Name), f.Value)
	}
	return nil
}

// BodyFilter puts the texts into place.
func (e *echo) BodyFilter(ex *plugin.Exchange, chunk []byte, last bool) ([]byte, error) {
	p, _ := ex.Value(e).(*progress)
	if p == nil {
		return chunk, nil
	}
	out := chunk
	if e.conf.Body != nil {
		out = nil
		if !p.replaced {
			p.replaced = true
			out = []byte(*e.conf.Body)
		}
	}
	if e.conf.Before != nil && !p.begun {
		out = append([]byte(*e.conf.Before), out...)
	}
	p.begun = true
	if last && e.conf.After != nil {
		out = append(out[:len(out):len(out)], *e.conf.After...)
	}
	return out, nil
}
