// Package faultinjection is the plugin fault-injection: it delays requests or answers them with an error, for tests of what depends
// on them (apisix/plugins/fault-injection.lua).
package faultinjection

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"math/rand/v2"
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

func (w *when) compile() (condition, error) {
	c := condition{on: true, percentage: 100}
	if w.Percentage != nil {
		c.percentage = *w.Percentage
	}
	for i, v := range w.Vars {
		e, err := expr.Compile(v)
		if err != nil {
			return c, fmt.Errorf("vars[%d]: %w", i, err)
		}
		c.vars = append(c.vars, e)
	}
	return c, nil
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

// maxDelay bounds a delay: a request may not be kept longer than a day.
const maxDelay = 24 * time.Hour

func newInjector(raw []byte, _ *plugin.Env) (plugin.Instance, error) {
	var c conf
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	in := &injector{}
	var err error
	if c.Abort != nil {
		if in.abort, err = c.Abort.compile(); err != nil {
			return nil, fmt.Errorf("abort: %w", err)
		}
		if c.Abort.Status > 999 {
			return nil, fmt.Errorf("abort: http_status: %d is no status code", c.Abort.Status)
		}
		in.status = c.Abort.Status
		if c.Abort.Body != nil {
			in.body = plugin.CompileTemplate(*c.Abort.Body)
		}
		for field, v := range c.Abort.Headers {
			text, ok := v.(string)
			if n, isNumber := v.(float64); isNumber {
				text, ok = strconv.FormatFloat(n, 'f', -1, 64), true
			}
			if !ok || !plugin.ValidName(field) {
				return nil, fmt.Errorf("abort: headers: %q is not a valid field", field)
			}
			in.headers = append(in.headers, header{field, plugin.CompileTemplate(text)})
		}
	}
	if c.Delay != nil {
		if in.delay, err = c.Delay.compile(); err != nil {
			return nil, fmt.Errorf("delay: %w", err)
		}
		in.duration = time.Duration(min(c.Delay.Duration*float64(time.Second), float64(maxDelay)))
	}
	return in, nil
}

var _ plugin.Rewriter = (*injector)(nil)

// Rewrite injects the faults.
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
		r.Header = append(r.Header, plugin.Field{Name: plugin.Bytes(in.headers[i].name), Value: v})
	}
	return r, nil
}
