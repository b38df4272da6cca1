package plugintest_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/l7/plugin"
	"github.com/sluice-gateway/sluice/l7/plugin/plugintest"
)

// step is an instance that takes part in every phase.
type step struct{ trace *[]string }

func (s step) Rewrite(ex *plugin.Exchange) (*plugin.Reply, error) {
	*s.trace = append(*s.trace, "rewrite")
	ex.Delay = time.Second
	if ex.Request.Header.Has("stop") {
		return plugin.Exit(403, []byte("no")), nil
	}
	return nil, nil
}

func (s step) Access(*plugin.Exchange) (*plugin.Reply, error) {
	*s.trace = append(*s.trace, "access")
	return nil, nil
}

func (s step) BeforeProxy(*plugin.Exchange) (*plugin.Reply, error) {
	*s.trace = append(*s.trace, "before_proxy")
	return nil, nil
}

func (s step) HeaderFilter(ex *plugin.Exchange) error {
	*s.trace = append(*s.trace, "header_filter")
	ex.Response.Header.SetString("X-Filter", "1")
	return nil
}

func (s step) BodyFilter(_ *plugin.Exchange, chunk []byte, last bool) ([]byte, error) {
	if last {
		return []byte("!"), nil
	}
	return chunk, nil
}

func (s step) Log(*plugin.Exchange) { *s.trace = append(*s.trace, "log") }

func TestRun(t *testing.T) {
	for _, c := range []struct {
		name   string
		fields []string
		want   *plugintest.Result
		trace  []string
	}{
		{"proxied", []string{"Host: a.Test:80"},
			&plugintest.Result{Status: 201, Delay: time.Second, Fields: []string{"A: b", "X-Filter: 1"}, Body: "xyz!"},
			[]string{"rewrite", "access", "before_proxy", "header_filter", "log"}},
		{"answered", []string{"stop: 1"},
			&plugintest.Result{Replied: true, Delay: time.Second, Status: 403, Fields: []string{"Content-Type: text/plain; charset=utf-8", "X-Filter: 1"}, Body: "no!"},
			[]string{"rewrite", "header_filter", "log"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var trace []string
			got := plugintest.Run(plugintest.Request("GET", "/a?b=c", c.fields...),
				plugintest.Upstream{Status: 201, Fields: []string{"A: b"}, Chunks: []string{"x", "yz"}}, step{&trace})
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("result: %s", d)
			}
			if d := cmp.Diff(c.trace, trace); d != "" {
				t.Errorf("phases: %s", d)
			}
		})
	}
}

func TestComplete(t *testing.T) {
	const schema = `{"type":"object","properties":{"a":{"type":"integer","default":5},
		"o":{"type":"object","default":{"k":1},"properties":{"l":{"type":"string","default":"x"}}},
		"list":{"type":"array","items":{"type":"object","properties":{"m":{"type":"boolean","default":true}}}}},
		"if":{"properties":{"a":{"const":6}}},"then":{"properties":{"b":{"type":"integer","default":7}}}}`
	for _, c := range []struct{ name, conf, want string }{
		{"empty", `{}`, `{"a":5,"o":{"k":1,"l":"x"}}`},
		{"nested", `{"a":6,"o":{"l":"y"},"list":[{},{"m":false}]}`, `{"a":6,"b":7,"list":[{"m":true},{"m":false}],"o":{"l":"y"}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := plugintest.Complete([]byte(schema), c.conf)
			if err != nil || string(got) != c.want {
				t.Fatalf("got %s, %v, want %s", got, err, c.want)
			}
		})
	}
	if _, err := plugintest.Complete([]byte(schema), `{"a":"x"}`); err == nil {
		t.Fatal("a document against the schema passed")
	}
}

func TestTry(t *testing.T) {
	plugin.Register(plugin.Def{Name: "plugintest-step", Schema: []byte(`{"type":"object","required":["x"]}`),
		New: func([]byte, *plugin.Env) (plugin.Instance, error) { return step{new([]string)}, nil }})
	plugintest.New(t, "plugintest-step", `{"x":1}`)
	for _, c := range []struct{ name, plugin, conf string }{
		{"refused", "plugintest-step", `{}`}, {"unknown", "no-such-plugin", `{}`}, {"broken", "plugintest-step", `{`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := plugintest.Try(c.plugin, c.conf, nil); err == nil {
				t.Fatal("no error")
			}
		})
	}
}
