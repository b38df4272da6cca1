package l7_test

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/control/snapshot"
	"github.com/sluice-gateway/sluice/l7"
	"github.com/sluice-gateway/sluice/l7/engine"
	"github.com/sluice-gateway/sluice/l7/l7test"
	"github.com/sluice-gateway/sluice/l7/loop"
	"github.com/sluice-gateway/sluice/l7/plugin"
)

// corner is a plugin for the tests of this file.
type corner struct {
	Method string        `json:"method"`
	Delay  time.Duration `json:"delay"`
	Waits  bool          `json:"waits"`
	Host   string        `json:"host"`
}

func init() {
	plugin.Register(plugin.Def{Name: "corner", Priority: 1, Schema: []byte(`{"type":"object"}`), New: func(conf []byte, _ *plugin.Env) (plugin.Instance, error) {
		c := &corner{}
		return c, json.Unmarshal(conf, c)
	}})
}

func (c *corner) MayWait() bool { return c.Waits }

func (c *corner) Access(ex *plugin.Exchange) (*plugin.Reply, error) {
	if c.Method != "" {
		ex.Request.Method = []byte(c.Method)
	}
	if c.Host != "" {
		ex.Request.UpstreamHost = []byte(c.Host)
	}
	ex.Delay = c.Delay
	return nil, nil
}

func cornered(conf string) *snapshot.Plugin {
	return &snapshot.Plugin{Name: "corner", Conf: json.RawMessage(conf)}
}

// TestRetryOfEmptyChunkedBody tests that a second attempt ends a chunked body that the first one has taken from the client without finding anything in it.
func TestRetryOfEmptyChunkedBody(t *testing.T) {
	up := l7test.NewUpstreams(t, func(u *l7test.Upstream, c *l7test.Conn) {
		if u.Count() == 0 {
			m, _ := c.Request()
			u.Record(m)
			return // without an answer
		}
		m, ok := c.Request()
		if !ok {
			t.Error("the second attempt is not complete")
			return
		}
		u.Record(m)
		c.Send(l7test.OK("fine"))
	})
	one := 1
	u := l7test.To(up.Addr)
	u.Retries = &one
	g := l7test.Start(t, l7.Options{}, l7test.Routes(u))
	c := l7test.Dial(t, g.Addr)
	c.Send("PUT /x HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
	c.Want("PUT", 200, "fine")
}

// TestMethodOfClientFrames tests that the client's own method decides whether its answer has a body, whatever the upstream was asked with.
func TestMethodOfClientFrames(t *testing.T) {
	up := l7test.NewUpstreams(t, func(u *l7test.Upstream, c *l7test.Conn) {
		for {
			m, ok := c.Request()
			if !ok {
				return
			}
			u.Record(m)
			if strings.HasPrefix(m.Start, "HEAD ") {
				c.Send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n")
			} else {
				c.Send(l7test.OK("BODYBODY"))
			}
		}
	})
	t.Run("HEAD becomes GET", func(t *testing.T) {
		g := l7test.Start(t, l7.Options{}, l7test.Routes(l7test.To(up.Addr), cornered(`{"method":"GET"}`)))
		c := l7test.Dial(t, g.Addr)
		for range 2 {
			c.Send(l7test.Head("HEAD /x HTTP/1.1", "Host: a"))
			if m := c.Response("HEAD"); m.Get("content-length") != "8" {
				t.Errorf("%s, Content-Length %q", m.Start, m.Get("content-length"))
			}
		}
	})
	t.Run("GET becomes HEAD", func(t *testing.T) {
		g := l7test.Start(t, l7.Options{}, l7test.Routes(l7test.To(up.Addr), cornered(`{"method":"HEAD"}`)))
		c := l7test.Dial(t, g.Addr)
		for range 2 {
			c.Send(l7test.Get("/x"))
			c.Want("GET", 200, "")
		}
	})
}

// TestRealIPOfSeveralLines tests that what a trusted proxy has added last counts, also on a line of its own.
func TestRealIPOfSeveralLines(t *testing.T) {
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("10.0.0.0/8")}
	for _, tt := range []struct {
		name      string
		recursive bool
		fields    []string
		want      string
	}{
		{"the last line", false, []string{"X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 9.9.9.9"}, "9.9.9.9"},
		{"its last address", false, []string{"X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 7.7.7.7, 9.9.9.9"}, "9.9.9.9"},
		{"recursively over lines", true, []string{"X-Forwarded-For: 6.6.6.6, 9.9.9.9", "X-Forwarded-For: 10.0.0.1"}, "9.9.9.9"},
		{"recursively within a line", true, []string{"X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 9.9.9.9, 10.0.0.1"}, "9.9.9.9"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			up := l7test.NewUpstreams(t, l7test.Echo)
			o := l7.Options{Engine: engine.Config{RealIP: engine.RealIP{Header: "X-Forwarded-For", From: loopback, Recursive: tt.recursive}}}
			g := l7test.Start(t, o, l7test.Routes(l7test.To(up.Addr)))
			c := l7test.Dial(t, g.Addr)
			c.Send(l7test.Get("/x", tt.fields...))
			c.Want("GET", 200, "*")
			if got := up.Seen()[0].Get("x-real-ip"); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// TestWaitingGlobalRuleWithoutRoute tests that a plugin that may block does not hide that there is no route.
func TestWaitingGlobalRuleWithoutRoute(t *testing.T) {
	g := l7test.Start(t, l7.Options{}, &snapshot.Snapshot{GlobalRules: []*snapshot.Plugin{cornered(`{"waits":true}`)}})
	c := l7test.Dial(t, g.Addr)
	c.Send(l7test.Get("/nothing"))
	c.Want("GET", 404, "{\"error_msg\":\"404 Route Not Found\"}\n")
}

// TestBodyConditionsOfOtherRoutes tests that a route whose conditions read the body does not make others wait for bodies or refuse large ones.
func TestBodyConditionsOfOtherRoutes(t *testing.T) {
	a, b := l7test.NewUpstreams(t, l7test.Answers(l7test.OK("a"))), l7test.NewUpstreams(t, l7test.Answers(l7test.OK("b")))
	form := "Content-Type: application/x-www-form-urlencoded"
	vars := json.RawMessage(`[["post_arg_x","==","1"]]`)
	g := l7test.Start(t, l7.Options{}, &snapshot.Snapshot{Routes: []*snapshot.Route{
		{ID: "1", Created: 1, URIs: []string{"/upload"}, Upstream: l7test.To(a.Addr)},
		{ID: "2", Created: 2, URIs: []string{"/other"}, Vars: vars, Upstream: l7test.To(b.Addr), Priority: 1},
		{ID: "3", Created: 3, URIs: []string{"/other"}, Upstream: l7test.To(a.Addr)},
	}})
	for _, tt := range []struct {
		path, body string
		status     int
		want       string
	}{
		{"/upload", strings.Repeat("a", 2<<20), 200, "a"},
		{"/other", "x=1", 200, "b"},
		{"/other", "x=2", 200, "a"},
		{"/other", strings.Repeat("a", 2<<20), 413, "*"},
		{"/nothing", "x=1", 404, "*"},
	} {
		c := l7test.Dial(t, g.Addr)
		c.Send(l7test.Post(tt.path, tt.body, form))
		c.Want("POST", tt.status, tt.want)
	}
}

// TestClientLeavesDuringDelay tests that nothing is asked of an upstream for a client that has gone while a plugin let it wait.
func TestClientLeavesDuringDelay(t *testing.T) {
	up := l7test.NewUpstreams(t, l7test.Answers(l7test.OK("ok")))
	g := l7test.Start(t, l7.Options{Loop: loop.Config{HalfCloseGrace: 20 * time.Millisecond}}, l7test.Routes(l7test.To(up.Addr), cornered(`{"delay":60000000000}`)))
	c := l7test.Dial(t, g.Addr)
	c.Send(l7test.Get("/x"))
	g.Barrier()
	c.Close()
	for deadline := time.Now().Add(10 * time.Second); g.Totals().Busy > 0; g.Barrier() {
		if time.Now().After(deadline) {
			t.Fatal("the request is still there")
		}
	}
	if n := up.Count(); n != 0 {
		t.Errorf("the upstream has seen %d requests", n)
	}
}

// TestPassHostOverPlugins tests that pass_host node and rewrite stand above what a plugin has set (apisix/init.lua set_upstream_host).
func TestPassHostOverPlugins(t *testing.T) {
	for _, tt := range []struct{ pass, want string }{{"pass", "plugin.test"}, {"rewrite", "configured.test"}, {"node", "node"}} {
		t.Run(tt.pass, func(t *testing.T) {
			up := l7test.NewUpstreams(t, l7test.Echo)
			u := l7test.To(up.Addr)
			u.PassHost, u.UpstreamHost = tt.pass, "configured.test"
			want := tt.want
			if want == "node" {
				want = up.Addr
			}
			logged := make(chan string, 1)
			host, scheme := plugin.CompileVar("upstream_host"), plugin.CompileVar("upstream_scheme")
			access := func(_ int, ex *plugin.Exchange) {
				h, _ := host(ex)
				s, _ := scheme(ex)
				logged <- string(s) + "://" + string(h)
			}
			g := l7test.Start(t, l7.Options{Engine: engine.Config{AccessLog: access}}, l7test.Routes(u, cornered(`{"host":"plugin.test"}`)))
			c := l7test.Dial(t, g.Addr)
			c.Send(l7test.Get("/x"))
			c.Want("GET", 200, "*")
			if got := up.Seen()[0].Get("host"); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			if got := <-logged; got != "http://"+want {
				t.Errorf("variables are %q, want those of %q", got, want)
			}
		})
	}
}

// TestNoNode tests the two ways in which there is no node to send to.
func TestNoNode(t *testing.T) {
	for _, tt := range []struct {
		name   string
		nodes  []snapshot.Node
		status int
	}{
		{"none is configured", nil, 503},
		{"all have weight 0", []snapshot.Node{{Host: "127.0.0.1", Port: 1, Weight: 0}}, 502},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := l7test.Start(t, l7.Options{}, l7test.Routes(&snapshot.Upstream{Type: "roundrobin", Scheme: "http", Nodes: tt.nodes}))
			c := l7test.Dial(t, g.Addr)
			c.Send(l7test.Get("/x"))
			c.Want("GET", tt.status, "*")
		})
	}
}

// TestRetriesAreBounded tests that no configuration makes one request try for ever.
func TestRetriesAreBounded(t *testing.T) {
	many := 200_000
	u := l7test.To(refusing(t))
	u.Retries = &many
	o := l7.Options{Engine: engine.Config{ShowUpstreamStatus: true}}
	g := l7test.Start(t, o, l7test.Routes(u))
	c := l7test.Dial(t, g.Addr)
	c.Send(l7test.Get("/x"))
	m := c.Response("GET")
	if n := len(strings.Split(m.Get("x-apisix-upstream-status"), ",")); n != 65 {
		t.Errorf("%s after %d attempts, want 65", m.Start, n)
	}
}
