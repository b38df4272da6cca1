package userspace

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-gateway/sluice/control/snapshot"
	"github.com/sluice-gateway/sluice/l7/plugin"
)

// probe is a stream plugin for tests. Its configuration says what it does.
type probe struct {
	Do   string `json:"do"`
	Name string `json:"name"`
	log  *journal
}

// journal is what probes have done.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
}

func (j *journal) take() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	out := j.lines
	j.lines = nil
	return out
}

func init() {
	for name, priority := range map[string]int{"probe-high": 2000, "probe-low": 1000} {
		plugin.Register(plugin.Def{Name: name, Priority: priority, Stream: true, Schema: []byte(`{}`), New: func(conf []byte, env *plugin.Env) (plugin.Instance, error) {
			p := &probe{log: env.Shared("journal", func() any { return &journal{} }).(*journal)}
			if err := json.Unmarshal(conf, p); err != nil {
				return nil, err
			}
			p.log.add("new %s", p.Name)
			return p, nil
		}})
	}
	plugin.Register(plugin.Def{Name: "probe-http", Schema: []byte(`{}`), New: func([]byte, *plugin.Env) (plugin.Instance, error) { return nil, nil }})
}

func (p *probe) Access(ex *plugin.Exchange) (*plugin.Reply, error) {
	p.log.add("access %s %s", p.Name, ex.Client.Addr())
	switch p.Do {
	case "refuse":
		return plugin.Exit(403, nil), nil
	case "fail":
		return nil, errors.New("out of order")
	case "panic":
		panic("the devil")
	}
	return nil, nil
}

func (p *probe) StreamLog(ex *plugin.Exchange) {
	p.log.add("log %s %d %d", p.Name, ex.BytesIn, ex.BytesOut)
	if p.Do == "panic in log" {
		panic("the devil")
	}
}

func (p *probe) Close() { p.log.add("close %s", p.Name) }

func with(r *snapshot.StreamRoute, plugins ...*snapshot.Plugin) *snapshot.StreamRoute {
	r.Plugins = plugins
	return r
}

func probing(name, conf string) *snapshot.Plugin {
	return &snapshot.Plugin{Name: name, Resource: "/stream_routes/1", Conf: json.RawMessage(conf)}
}

func TestPlugins(t *testing.T) {
	node := serveTCP(t, echo)
	low, high := `{"name":"low"}`, `{"name":"high"}`
	first := 5000
	for _, tt := range []struct {
		name    string
		plugins []*snapshot.Plugin
		passes  bool
		want    []string // without new and close
		panics  uint64
	}{
		{"by priority", []*snapshot.Plugin{probing("probe-low", low), probing("probe-high", high)}, true,
			[]string{"access high 127.0.0.1", "access low 127.0.0.1", "log high 4 4", "log low 4 4"}, 0},
		{"by _meta.priority", []*snapshot.Plugin{{Name: "probe-low", Conf: json.RawMessage(low), Priority: &first}, probing("probe-high", high)}, true,
			[]string{"access low 127.0.0.1", "access high 127.0.0.1", "log low 4 4", "log high 4 4"}, 0},
		{"one refuses", []*snapshot.Plugin{probing("probe-low", low), probing("probe-high", `{"name":"high","do":"refuse"}`)}, false,
			[]string{"access high 127.0.0.1", "log high 0 0", "log low 0 0"}, 0},
		{"one fails", []*snapshot.Plugin{probing("probe-high", `{"name":"high","do":"fail"}`)}, false, []string{"access high 127.0.0.1", "log high 0 0"}, 0},
		{"one panics", []*snapshot.Plugin{probing("probe-high", `{"name":"high","do":"panic"}`)}, false, []string{"access high 127.0.0.1", "log high 0 0"}, 1},
		{"one panics afterwards", []*snapshot.Plugin{probing("probe-high", `{"name":"high","do":"panic in log"}`), probing("probe-low", low)}, true,
			[]string{"access high 127.0.0.1", "access low 127.0.0.1", "log high 4 4", "log low 4 4"}, 1},
		{"_meta.filter", []*snapshot.Plugin{{Name: "probe-low", Conf: json.RawMessage(low), Filter: json.RawMessage(`[["remote_addr","==","10.0.0.1"]]`)}, probing("probe-high", high)}, true,
			[]string{"access high 127.0.0.1", "log high 4 4"}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := start(t, Options{}, nil, with(to(node.addr), tt.plugins...))
			j := g.o.Shared("journal", nil).(*journal)
			j.take()
			c := g.dial()
			fmt.Fprint(c, "ping")
			_ = c.CloseWrite()
			b, _ := io.ReadAll(c)
			if (string(b) == "ping") != tt.passes {
				t.Errorf("got %q", b)
			}
			eventually(t, "the connection ends", func() bool { return g.stats.Active.Load() == 0 })
			if got := strings.Join(j.take(), ", "); got != strings.Join(tt.want, ", ") {
				t.Errorf("got  %s\nwant %s", got, strings.Join(tt.want, ", "))
			}
			if n := g.stats.PluginPanics.Load(); n != tt.panics {
				t.Errorf("%d panics were counted, want %d", n, tt.panics)
			}
			if n := g.stats.Refused(ReasonPlugin); (n == 0) != tt.passes {
				t.Errorf("%d connections are counted as refused", n)
			}
		})
	}
}

// TestInstances tests when plugin instances are made and closed.
func TestInstances(t *testing.T) {
	node := serveTCP(t, echo)
	g := start(t, Options{}, nil)
	one := func() *snapshot.StreamRoute { return with(to(node.addr), probing("probe-low", `{"name":"a"}`)) }
	g.serve(one())
	j := g.o.Shared("journal", nil).(*journal)
	expect := func(what string, want ...string) {
		t.Helper()
		if got := strings.Join(j.take(), ", "); got != strings.Join(want, ", ") {
			t.Errorf("%s: got %q, want %q", what, got, strings.Join(want, ", "))
		}
	}
	expect("the first", "new a")
	g.serve(one())
	expect("another route with the same configuration of the same resource")
	bad := with(to(node.addr), probing("probe-low", `{"name":"b"}`), probing("probe-http", `{}`))
	if _, err := g.Prepare(t.Context(), &snapshot.Snapshot{StreamRoutes: []*snapshot.StreamRoute{bad}}); err == nil || !strings.Contains(err.Error(), "stream route 1: unknown plugin [probe-http]") {
		t.Errorf("a plugin that knows no streams: %v", err)
	}
	expect("what a refused snapshot has made", "new b", "close b")

	c := g.dial()
	fmt.Fprint(c, "x")
	read(t, c, 1)
	expect("a connection", "access a 127.0.0.1")
	g.serve()
	expect("the connection still uses it")
	_ = c.CloseWrite()
	_, _ = io.ReadAll(c)
	eventually(t, "the connection ends", func() bool { return g.stats.Active.Load() == 0 })
	expect("the last user is gone", "log a 1 1", "close a")

	g.commit(&snapshot.Snapshot{StreamRoutes: []*snapshot.StreamRoute{one()}})
	expect("again", "new a")
	route := one()
	g.commit(&snapshot.Snapshot{StreamRoutes: []*snapshot.StreamRoute{route}, PluginMetadata: map[string]*snapshot.Metadata{"probe-low": {Conf: json.RawMessage(`{}`)}}})
	expect("other metadata", "new a", "close a")
}

// TestProtocol tests that a route of a protocol is not served as a plain one.
func TestProtocol(t *testing.T) {
	r := to(serveTCP(t, echo).addr)
	r.Protocol = json.RawMessage(`{"name":"redis"}`)
	g := start(t, Options{}, nil, r)
	if b, _ := io.ReadAll(g.dial()); len(b) > 0 {
		t.Errorf("got %q", b)
	}
	eventually(t, "it is counted", func() bool { return g.stats.Refused(ReasonRoute) == 1 })
}
