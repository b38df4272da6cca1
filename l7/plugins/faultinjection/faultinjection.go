// Package faultinjection is the plugin fault-injection: it delays requests or answers them with an error, for tests of what depends
// on them (apisix/plugins/fault-injection.lua).
package faultinjection

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/sluice-gateway/sluice/l7/plugin"
	"github.com/sluice-gateway/sluice/l7/plugin/expr"
)

const name = "fault-injection"

//go:embed schema.json
var confSchema []byte

func init() {
	plugin.Register(plugin.Def{Name: name, Priority: 11000, Version: "0.1", Schema: confSchema, New: newInjector})
}

type conf struct {
	Abort *struct {
		when
		Status  int            `json:"http_status"`
		Body    *string        `json:"body"`
		Headers map[string]any `json:"headers"`
	} `json:"abort"`
	Delay *struct {
		when
		Duration float64 `json:"duration"`
	} `json:"delay"`
}

// when says which requests are meant: a share of those for which one of the conditions holds.
type when struct {
	Percentage *int              `json:"percentage"`
	Vars       []json.RawMessage `json:"vars"`
}

type injector struct {
	abort, delay condition
	duration     time.Duration
	status       int
	body         *plugin.Template
	headers      []header
	readsBody    bool
}

type header struct {
	name  string
	value *plugin.Template
}

// condition is a compiled when; the zero value never holds.
type condition struct {
	on         bool
	percentage int
	vars       []*expr.Expr
}

// compile compiles a when; field names it in messages, which begin as APISIX's do.
func (w *when) compile(field string) (condition, error) {
	// An empty list of conditions has none that could hold (apisix/plugins/fault-injection.lua vars_match).
	c := condition{on: w.Vars == nil || len(w.Vars) > 0, percentage: 100}
	if w.Percentage != nil {
		c.percentage = *w.Percentage
	}
	for i, v := range w.Vars {
		e, err := expr.Compile(v)
		if err != nil {
			return c, fmt.Errorf("%w (in %s.vars[%d])", err, field, i)
		}
		c.vars = append(c.vars, e)
	}
	return c, nil
}

func (c *condition) readsBody() bool {
	return slices.ContainsFunc(c.vars, (*expr.Expr).NeedsBody)
}

func (c *condition) holds(ex *plugin.Exchange) bool {
	if !c.on || c.percentage < 100 && rand.IntN(100) >= c.percentage {
		return false
	}
	for _, v := range c.vars {
		if v.Eval(ex) {
			return true
		}
	}
	return len(c.vars) == 0
}

const (
	// maxDelay bounds a delay: a request may not be kept longer than a day.
	maxDelay = 24 * time.Hour
	// maxStatus is the greatest number that fits a status line (RFC 9112 section 4); the schema of APISIX names no limit.
	maxStatus = 999
)

func newInjector(raw []byte, _ *plugin.Env) (plugin.Instance, error) {
	var c conf
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	in := &injector{}
	var err error
	if c.Abort != nil {
		if in.abort, err = c.Abort.compile("abort"); err != nil {
			return nil, err
		}
		if c.Abort.Status > maxStatus {
			return nil, fmt.Errorf("property \"abort\" validation failed: property \"http_status\" validation failed: expected %d to be at most %d", c.Abort.Status, maxStatus)
		}
		in.status = c.Abort.Status
		if c.Abort.Body != nil {
			in.body = plugin.CompileTemplate(*c.Abort.Body)
			in.readsBody = in.body.NeedsBody()
		}
		for _, field := range slices.Sorted(maps.Keys(c.Abort.Headers)) {
			v := c.Abort.Headers[field]
			text, ok := v.(string)
			if n, isNumber := v.(float64); isNumber {
				// As Lua writes numbers.
				text, ok = strconv.FormatFloat(n, 'g', 14, 64), true
			}
			if !ok || !plugin.ValidName(field) {
				return nil, fmt.Errorf("property \"abort\" validation failed: property \"headers\" validation failed: %q is not a header field with a string or a number", field)
			}
			value := plugin.CompileTemplate(text)
			in.readsBody = in.readsBody || value.NeedsBody()
			in.headers = append(in.headers, header{field, value})
		}
	}
	if c.Delay != nil {
		if in.delay, err = c.Delay.compile("delay"); err != nil {
			return nil, err
		}
		in.duration = time.Duration(min(c.Delay.Duration*float64(time.Second), float64(maxDelay)))
	}
	in.readsBody = in.readsBody || in.abort.readsBody() || in.delay.readsBody()
	return in, nil
}

var (
	_ plugin.Rewriter       = (*injector)(nil)
	_ plugin.BodyVarsReader = (*injector)(nil)
)

// ReadsBodyVars implements plugin.BodyVarsReader for conditions and texts.
func (in *injector) ReadsBodyVars() bool { return in.readsBody }

// Rewrite injects the faults: the delay comes first, also before an abort.
func (in *injector) Rewrite(ex *plugin.Exchange) (*plugin.Reply, error) {
	if in.delay.holds(ex) {
		ex.Delay = in.duration
	}
	if !in.abort.holds(ex) {
		return nil, nil
	}
	r := &plugin.Reply{Status: in.status}
	if in.body != nil {
		r.Body, _ = in.body.Eval(ex)
	}
	for i := range in.headers {
		v, _ := in.headers[i].value.Eval(ex)
		if len(v) == 0 {
			continue // OpenResty sends no field for an empty value.
		}
		r.Header = append(r.Header, plugin.Field{Name: plugin.Bytes(in.headers[i].name), Value: v})
	}
	return r, nil
}
