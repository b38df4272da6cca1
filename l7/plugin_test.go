package l7_test

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/control/snapshot"
	"github.com/sluice-gateway/sluice/l7"
	"github.com/sluice-gateway/sluice/l7/engine"
	"github.com/sluice-gateway/sluice/l7/l7test"
	"github.com/sluice-gateway/sluice/l7/loop"
	"github.com/sluice-gateway/sluice/l7/plugin"
)

// log takes what the plane logs.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// access counts the calls of the access log.
type access struct {
	mu       sync.Mutex
	statuses []int
}

func (a *access) write(_ int, ex *plugin.Exchange) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.statuses = append(a.statuses, ex.Response.Status)
}

func (a *access) all() []int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]int(nil), a.statuses...)
}

func TestPhaseOrder(t *testing.T) {
	l7test.NoLeaks(t)
	resetNotes()
	up := l7test.NewUpstreams(t, l7test.Echo)
	s := l7test.Routes(l7test.To(up.Addr), with("probe-mid", probeConf{Tag: "route", Rewrite: "jack"}))
	s.GlobalRules = []*snapshot.Plugin{with("probe-low", probeConf{Tag: "global"})}
	s.Consumers = []*snapshot.Consumer{{Username: "jack", Plugins: []*snapshot.Plugin{with("probe-high", probeConf{Tag: "consumer"})}}}
	g := l7test.Start(t, l7.Options{}, s)
	c := l7test.Dial(t, g.Addr)
	c.Send(l7test.Get("/"))
	c.Want("GET", 200, "GET /\n")
	l7test.Eventually(t, "the log phase", func() bool { return countNotes("route log") == 1 })
	want := []string{
		"global rewrite", "route rewrite", "consumer rewrite",
		"global access", "consumer access", "route access",
		"global before_proxy", "consumer before_proxy", "route before_proxy",
		"global header_filter", "consumer header_filter", "route header_filter",
		"global body_filter", "consumer body_filter", "route body_filter",
		"global log 200", "consumer log 200", "route log 200",
	}
	if diff := cmp.Diff(want, noted()); diff != "" {
		t.Errorf("phases (-want +got):\n%s", diff)
	}
	if m := up.Seen(); m[0].Get("x-consumer-username") != "jack" {
		t.Errorf("upstream got %q", m[0].Fields)
	}
}

// TestActions has plugins that answer, fail, panic and wait in each phase.
func TestActions(t *testing.T) {
	const big = 300 << 10
	for _, tc := range []struct {
		name    string
		conf    probeConf
		status  int // 0 for a response that is cut, -1 for a connection that ends without response
		body    string
		request string
		panics  uint64
		faults  uint64
		reached int // requests upstream
	}{
		{name: "reply in rewrite", conf: probeConf{Rewrite: "reply"}, status: 418, body: "x rewrite"},
		{name: "reply in access", conf: probeConf{Access: "reply"}, status: 418, body: "x access"},
		{name: "reply in before_proxy", conf: probeConf{BeforeProxy: "reply"}, status: 418, body: "x before_proxy"},
		{name: "reply to a body", conf: probeConf{Access: "reply"}, status: 418, body: "x access", request: l7test.Post("/", "hello")},
		{name: "error in rewrite", conf: probeConf{Rewrite: "error"}, status: 500, body: "*", faults: 1},
		{name: "error in access", conf: probeConf{Access: "error"}, status: 500, body: "*", faults: 1},
		{name: "error in before_proxy", conf: probeConf{BeforeProxy: "error"}, status: 500, body: "*", faults: 1},
		{name: "error in header_filter", conf: probeConf{HeaderFilter: "error"}, status: 500, body: "*", faults: 1, reached: 1},
		{name: "error in header_filter of a reply", conf: probeConf{Access: "reply", HeaderFilter: "error"}, status: 500, body: "*", faults: 1},
		{name: "error in body_filter", conf: probeConf{BodyFilter: "error"}, faults: 1, reached: 1},
		{name: "error in body_filter of a reply", conf: probeConf{Access: "reply", BodyFilter: "error"}, faults: 1},
		{name: "panic in rewrite", conf: probeConf{Rewrite: "panic"}, status: 500, body: "*", panics: 1},
		{name: "panic in access", conf: probeConf{Access: "panic"}, status: 500, body: "*", panics: 1},
		{name: "panic in before_proxy", conf: probeConf{BeforeProxy: "panic"}, status: 500, body: "*", panics: 1},
		{name: "panic in a blocking phase", conf: probeConf{Access: "panic", Waits: true}, status: 500, body: "*", panics: 1},
		{name: "panic in header_filter", conf: probeConf{HeaderFilter: "panic"}, status: 500, body: "*", panics: 1, reached: 1},
		{name: "panic in body_filter", conf: probeConf{BodyFilter: "panic"}, panics: 1, reached: 1},
		{name: "panic in log", conf: probeConf{Log: "panic"}, status: 200, body: "GET /\n", panics: 1, reached: 1},
		{name: "delay in rewrite", conf: probeConf{Rewrite: "delay"}, status: 200, body: "GET /\n", reached: 1},
		{name: "delay in access", conf: probeConf{Access: "delay"}, status: 200, body: "GET /\n", reached: 1},
		{name: "delay in before_proxy", conf: probeConf{BeforeProxy: "delay"}, status: 200, body: "GET /\n", reached: 1},
		{name: "delay in a blocking phase", conf: probeConf{Access: "delay", Waits: true}, status: 200, body: "GET /\n", reached: 1},
		{name: "delay with a body in flight", conf: probeConf{Access: "delay"}, status: 200, body: "POST /\nhello", reached: 1, request: l7test.Post("/", "hello")},
		{name: "may wait and does not", conf: probeConf{Waits: true}, status: 200, body: "GET /\n", reached: 1},
		{name: "blocking reply", conf: probeConf{Rewrite: "reply", Waits: true}, status: 418, body: "x rewrite"},
		{name: "buffered body", conf: probeConf{Body: 100, Rewrite: "body"}, status: 200, body: "POST /\nhello", reached: 1, request: l7test.Post("/", "hello")},
		{name: "buffered chunked body", conf: probeConf{Body: 100, Rewrite: "body"}, status: 200, body: "POST /\nhello", reached: 1,
			request: l7test.Head("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked") + l7test.Chunks("he", "llo") + "0\r\n\r\n"},
		{name: "buffered body replaced", conf: probeConf{Body: 100, Rewrite: "set body"}, status: 200, body: "POST /\nreplaced", reached: 1, request: l7test.Post("/", "hello")},
		{name: "large buffered body", conf: probeConf{Body: 1 << 20}, status: 200, body: "POST /\n" + strings.Repeat("x", big), reached: 1, request: l7test.Post("/", strings.Repeat("x", big))},
		{name: "body over the buffer", conf: probeConf{Body: 4}, status: 413, body: "*", request: l7test.Post("/", "hello")},
		{name: "chunked body over the buffer", conf: probeConf{Body: 4}, status: 413, body: "*",
			request: l7test.Head("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked") + l7test.Chunks("hello") + "0\r\n\r\n"},
		{name: "bad chunk while buffering", conf: probeConf{Body: 100}, status: 400, body: "*",
			request: l7test.Head("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked") + "x\r\n"},
		{name: "same length body filter", conf: probeConf{BodyFilter: "upper"}, status: 200, body: "GET /\n", reached: 1},
		{name: "longer body", conf: probeConf{HeaderFilter: "will change", BodyFilter: "double"}, status: 200, body: "GET /\nGET /\n", reached: 1},
		{name: "collected body", conf: probeConf{HeaderFilter: "will change", BodyFilter: "collect"}, status: 200, body: "307207 bytes", reached: 1, request: l7test.Post("/", strings.Repeat("x", big))},
		{name: "longer body not announced", conf: probeConf{BodyFilter: "double"}, reached: 1},
		{name: "shorter body not announced", conf: probeConf{BodyFilter: "drop"}, reached: 1},
		{name: "filters of a reply", conf: probeConf{Access: "reply", BodyFilter: "upper"}, status: 418, body: "X ACCESS"},
		{name: "longer reply", conf: probeConf{Access: "reply", BodyFilter: "double"}, status: 418, body: "x accessx access"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l7test.NoLeaks(t)
			resetNotes()
			tc.conf.Tag = "x"
			var lines log
			var a access
			up := l7test.NewUpstreams(t, l7test.Echo)
			g := l7test.Start(t, l7.Options{Logger: slog.New(slog.NewTextHandler(&lines, nil)), Engine: engine.Config{ServerHeader: "test", AccessLog: a.write}},
				l7test.Routes(l7test.To(up.Addr), with("probe-mid", tc.conf)))
			c := l7test.Dial(t, g.Addr)
			request, method := tc.request, "POST"
			if request == "" {
				request, method = l7test.Get("/"), "GET"
			}
			go c.Send(request)
			if tc.status == 0 {
				c.Cut(method)
			} else {
				m := c.Want(method, tc.status, tc.body)
				if m.Get("server") != "test" {
					t.Errorf("fields are %q", m.Fields)
				}
				if !m.Close() {
					// The connection is good for another request that goes the same way.
					c.Send(l7test.Get(barrier))
					c.Want("GET", 503, "*")
				}
			}
			l7test.Eventually(t, "the exchange is logged", func() bool { return countNotes("x log") == 1 && len(a.all()) > 0 })
			if n := len(up.Seen()); n != tc.reached {
				t.Errorf("%d requests upstream, want %d", n, tc.reached)
			}
			if g.Panics() != tc.panics || g.Faults() != tc.faults {
				t.Errorf("%d panics and %d faults counted, want %d and %d", g.Panics(), g.Faults(), tc.panics, tc.faults)
			}
			if tc.panics+tc.faults > 0 {
				for _, want := range []string{"plugin=probe-mid", "route_id=1", "level=ERROR"} {
					if !strings.Contains(lines.String(), want) {
						t.Errorf("log has no %q:\n%s", want, lines.String())
					}
				}
			}
			l7test.Eventually(t, "nothing is left", func() bool { return g.Totals().Busy == 0 })
			if n := countNotes("x log"); n != 1 {
				t.Errorf("logged %d times", n)
			}
		})
	}
}

const barrier = "/l7test-barrier"

// TestAborts has clients that go away at every stage: Log runs exactly once, and nothing is left.
func TestAborts(t *testing.T) {
	for _, tc := range []struct {
		name    string
		conf    probeConf
		request string
		silent  bool // the upstream does not answer
		entered bool // the plugin blocks
		logs    int
	}{
		{name: "while a plugin waits", conf: probeConf{Access: "block", Waits: true}, entered: true, logs: 1},
		{name: "while a plugin waits in before_proxy", conf: probeConf{BeforeProxy: "block", Waits: true}, entered: true, logs: 1},
		{name: "while the upstream works", silent: true, logs: 1},
		{name: "in the body", request: l7test.Head("POST / HTTP/1.1", "Host: a", "Content-Length: 10") + "hello", silent: true, logs: 1},
		{name: "in a buffered body", conf: probeConf{Body: 100}, request: l7test.Head("POST / HTTP/1.1", "Host: a", "Content-Length: 10") + "hello", logs: 1},
		{name: "in the head", request: "GET / HTT", logs: 0},
	} {
		for _, how := range []string{"end", "reset"} {
			t.Run(tc.name+" by "+how, func(t *testing.T) {
				l7test.NoLeaks(t)
				resetNotes()
				var a access
				tc.conf.Tag = "x"
				up := l7test.NewUpstreams(t, func(u *l7test.Upstream, c *l7test.Conn) {
					if _, err := c.R.Peek(1); err == nil {
						u.Record(&l7test.Message{})
					}
					silent(u, c)
				})
				g := l7test.Start(t, l7.Options{Loop: loop.Config{HalfCloseGrace: 20 * time.Millisecond}, Engine: engine.Config{AccessLog: a.write}},
					l7test.Routes(l7test.To(up.Addr), with("probe-mid", tc.conf)))
				c := l7test.Dial(t, g.Addr)
				request := tc.request
				if request == "" {
					request = l7test.Get("/")
				}
				c.Send(request)
				switch {
				case tc.entered:
					<-notes.entered
				case tc.silent:
					up.Wait("the request is there", func() bool { return up.Count() > 0 })
				default:
					g.Barrier()
				}
				if how == "reset" {
					c.Reset()
				} else {
					c.Close()
				}
				if tc.entered {
					l7test.Eventually(t, "the plugin is told", func() bool { return countNotes("x cancelled") == 1 })
				}
				l7test.Eventually(t, "it is logged", func() bool { return countNotes("x log 499") == tc.logs })
				up.Wait("the upstream connection ends", func() bool { return up.Open() == 0 })
				l7test.Eventually(t, "nothing is left", func() bool { return g.Totals().Busy == 0 })
				n := 0
				for _, status := range a.all() {
					if status == 499 {
						n++
					}
				}
				if n != tc.logs {
					t.Errorf("the access log got %d lines, want %d", n, tc.logs)
				}
			})
		}
	}
}

// TestShutdownWhileBlocked closes a plane whose plugins wait: they are cancelled at the deadline, and finish before it when they can.
func TestShutdownWhileBlocked(t *testing.T) {
	up := l7test.NewUpstreams(t, l7test.Echo)
	start := func(t *testing.T) (*l7test.Gateway, *l7test.Conn) {
		resetNotes()
		g := l7test.Start(t, l7.Options{}, l7test.Routes(l7test.To(up.Addr), with("probe-mid", probeConf{Tag: "x", Access: "block", Waits: true})))
		c := l7test.Dial(t, g.Addr)
		c.Send(l7test.Get("/"))
		<-notes.entered
		return g, c
	}
	t.Run("in time", func(t *testing.T) {
		l7test.NoLeaks(t)
		g, c := start(t)
		ended := make(chan error, 1)
		go func() { ended <- g.Stop(l7test.Patience) }()
		close(notes.gate)
		c.Want("GET", 200, "GET /\n")
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Run("too late", func(t *testing.T) {
		l7test.NoLeaks(t)
		g, c := start(t)
		if err := g.Stop(20 * time.Millisecond); err == nil {
			t.Error("no error although a request was cut")
		}
		c.Cut("GET")
		if countNotes("x cancelled") != 1 || countNotes("x log") != 1 || notes.closed.Load() != 1 {
			t.Errorf("notes are %q, %d instances closed", noted(), notes.closed.Load())
		}
	})
}

// TestMeta is _meta: filter, error_response and priority.
func TestMeta(t *testing.T) {
	l7test.NoLeaks(t)
	up := l7test.NewUpstreams(t, l7test.Echo)
	g := l7test.Start(t, l7.Options{}, l7test.Routes(l7test.To(up.Addr)))
	t.Run("filter", func(t *testing.T) {
		resetNotes()
		p := with("probe-mid", probeConf{Tag: "x", Access: "reply"})
		p.Filter = []byte(`[["arg_on","==","1"]]`)
		g.Commit(l7test.Routes(l7test.To(up.Addr), p))
		c := l7test.Dial(t, g.Addr)
		c.Send(l7test.Get("/?on=0"))
		c.Want("GET", 200, "*")
		if n := noted(); len(n) > 0 {
			t.Errorf("phases ran: %q", n)
		}
		c.Send(l7test.Get("/?on=1"))
		c.Want("GET", 418, "x access")
	})
	t.Run("error_response", func(t *testing.T) {
		for _, tc := range []struct{ conf, body string }{{`"sorry"`, "sorry"}, {`{"why":"no"}`, `{"why":"no"}` + "\n"}} {
			resetNotes()
			p := with("probe-mid", probeConf{Tag: "x", Access: "reply"})
			p.ErrorResponse = []byte(tc.conf)
			g.Commit(l7test.Routes(l7test.To(up.Addr), p))
			c := l7test.Dial(t, g.Addr)
			c.Send(l7test.Get("/"))
			c.Want("GET", 418, tc.body)
		}
	})
	t.Run("priority", func(t *testing.T) {
		resetNotes()
		low, high := with("probe-low", probeConf{Tag: "low", Access: "reply"}), with("probe-high", probeConf{Tag: "high", Access: "reply"})
		g.Commit(l7test.Routes(l7test.To(up.Addr), low, high))
		c := l7test.Dial(t, g.Addr)
		c.Send(l7test.Get("/"))
		c.Want("GET", 418, "high access")
		more := 1000
		low = with("probe-low", probeConf{Tag: "low", Access: "reply"})
		low.Priority = &more
		g.Commit(l7test.Routes(l7test.To(up.Addr), low, high))
		c.Send(l7test.Get("/"))
		c.Want("GET", 418, "low access")
	})
	t.Run("early fields", func(t *testing.T) {
		g.Commit(l7test.Routes(l7test.To(up.Addr), with("probe-low", probeConf{Tag: "low", Rewrite: "early", HeaderFilter: "set"})))
		c := l7test.Dial(t, g.Addr)
		c.Send(l7test.Get("/"))
		if m := c.Want("GET", 200, "*"); m.Get("x-early") != "low" || m.Get("x-filtered") != "low" {
			t.Errorf("fields are %q", m.Fields)
		}
	})
}
