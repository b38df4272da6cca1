package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/control/snapshot"
	"github.com/sluice-gateway/sluice/l7/plugin"
)

func (v Verdict) String() string {
	return [...]string{"Answer", "Proxy", "Delay", "Block", "NeedBody"}[v]
}

type action = func(ex *plugin.Exchange) (*plugin.Reply, error)

func reply(r *plugin.Reply) action {
	return func(*plugin.Exchange) (*plugin.Reply, error) { return r, nil }
}

var get = message("GET /hello HTTP/1.1", "Host: a.example")

// TestSteps takes requests through the phases: what runs, what the driver is told, and what the client gets.
func TestSteps(t *testing.T) {
	type outcome struct {
		Trace, Verdicts string
		Status          int
		Body            string
		Source          string
		Panics, Faults  uint64
	}
	later := func(d time.Duration) action {
		return func(ex *plugin.Exchange) (*plugin.Reply, error) { ex.Delay = d; return nil, nil }
	}
	page := func(title string) string {
		return "<html>\r\n<head><title>" + title + "</title></head>\r\n<body>\r\n<center><h1>" + title + "</h1></center>\r\n<hr><center>openresty</center>\r\n</body>\r\n</html>\r\n"
	}
	all := "g.rewrite a.rewrite b.rewrite g.access a.access b.access g.proxy a.proxy b.proxy"
	for _, tc := range []struct {
		name string
		raw  string
		do   map[string]action // of plugin a, by phase
		meta []string          // of plugin a
		site site
		want outcome
	}{
		{"all phases, global rules first, higher priority first", get, nil, nil, site{}, outcome{Trace: all, Verdicts: "Proxy", Source: "apisix"}},
		{"no route: only the global rules run", message("GET /nope HTTP/1.1", "Host: a.example"), nil, nil, site{},
			outcome{Trace: "g.rewrite g.access", Verdicts: "Answer", Status: 404, Body: "{\"error_msg\":\"404 Route Not Found\"}\n", Source: "apisix"}},
		{"route without upstream", get, nil, nil, site{without: true},
			outcome{Trace: "g.rewrite a.rewrite b.rewrite g.access a.access b.access", Verdicts: "Answer", Status: 503, Body: "{\"error_msg\":\"missing upstream configuration in Route or Service\"}\n", Source: "apisix"}},
		{"upstream without nodes", get, nil, nil, site{upstream: &snapshot.Upstream{Type: "roundrobin"}},
			outcome{Trace: "g.rewrite a.rewrite b.rewrite g.access a.access b.access", Verdicts: "Answer", Status: 503, Body: page("503 Service Temporarily Unavailable"), Source: "apisix"}},
		{"no node of any weight", get, nil, nil, site{upstream: &snapshot.Upstream{Type: "roundrobin", Nodes: []snapshot.Node{{Host: "10.0.0.1", Port: 80}}}},
			outcome{Trace: "g.rewrite a.rewrite b.rewrite g.access a.access b.access", Verdicts: "Answer", Status: 502, Body: page("502 Bad Gateway"), Source: "apisix"}},
		{"reply in rewrite ends the request phases", get, map[string]action{"rewrite": reply(&plugin.Reply{Status: 401, Body: []byte("no")})}, nil, site{},
			outcome{Trace: "g.rewrite a.rewrite", Verdicts: "Answer", Status: 401, Body: "no", Source: "apisix"}},
		{"reply in access", get, map[string]action{"access": reply(&plugin.Reply{Status: 403})}, nil, site{},
			outcome{Trace: "g.rewrite a.rewrite b.rewrite g.access a.access", Verdicts: "Answer", Status: 403, Body: page("403 Forbidden"), Source: "apisix"}},
		{"reply in before_proxy", get, map[string]action{"proxy": reply(&plugin.Reply{Status: 200, Body: []byte("instead")})}, nil, site{},
			outcome{Trace: "g.rewrite a.rewrite b.rewrite g.access a.access b.access g.proxy a.proxy", Verdicts: "Answer", Status: 200, Body: "instead", Source: "apisix"}},
		{"reply without body below 300", get, map[string]action{"rewrite": reply(&plugin.Reply{Status: 200})}, nil, site{},
			outcome{Trace: "g.rewrite a.rewrite", Verdicts: "Answer", Status: 200, Source: "apisix"}},
		{"304 has no page", get, map[string]action{"rewrite": reply(&plugin.Reply{Status: 304})}, nil, site{},
			outcome{Trace: "g.rewrite a.rewrite", Verdicts: "Answer", Status: 304, Source: "apisix"}},
		{"_meta.error_response, text", get, map[string]action{"access": reply(&plugin.Reply{Status: 403, Body: []byte("own")})}, []string{"error_response", `"mine"`}, site{},
			outcome{Trace: "g.rewrite a.rewrite b.rewrite g.access a.access", Verdicts: "Answer", Status: 403, Body: "mine", Source: "apisix"}},
		{"_meta.error_response, object", get, map[string]action{"access": reply(&plugin.Reply{Status: 403})}, []string{"error_response", `{"a":1}`}, site{},
			outcome{Trace: "g.rewrite a.rewrite b.rewrite g.access a.access", Verdicts: "Answer", Status: 403, Body: "{\"a\":1}\n", Source: "apisix"}},
		{"_meta.error_response is for errors", get, map[string]action{"access": reply(&plugin.Reply{Status: 200, Body: []byte("own")})}, []string{"error_response", `"mine"`}, site{},
			outcome{Trace: "g.rewrite a.rewrite b.rewrite g.access a.access", Verdicts: "Answer", Status: 200, Body: "own", Source: "apisix"}},
		{"_meta.filter that fails skips every phase", get, nil, []string{"filter", `[["arg_x","==","1"]]`}, site{},
			outcome{Trace: "g.rewrite b.rewrite g.access b.access g.proxy b.proxy", Verdicts: "Proxy", Source: "apisix"}},
		{"_meta.filter that holds", message("GET /hello?x=1 HTTP/1.1", "Host: a.example"), nil, []string{"filter", `[["arg_x","==","1"]]`}, site{},
			outcome{Trace: all, Verdicts: "Proxy", Source: "apisix"}},
		{"error", get, map[string]action{"access": func(*plugin.Exchange) (*plugin.Reply, error) { return nil, errors.New("broken") }}, nil, site{},
			outcome{Trace: "g.rewrite a.rewrite b.rewrite g.access a.access", Verdicts: "Answer", Status: 500, Body: page("500 Internal Server Error"), Source: "apisix", Faults: 1}},
		{"panic", get, map[string]action{"rewrite": func(*plugin.Exchange) (*plugin.Reply, error) { panic("broken") }}, nil, site{},
			outcome{Trace: "g.rewrite a.rewrite", Verdicts: "Answer", Status: 500, Body: page("500 Internal Server Error"), Source: "apisix", Panics: 1}},
		{"delay goes on behind the plugin", get, map[string]action{"access": later(time.Second)}, nil, site{}, outcome{Trace: all, Verdicts: "Delay Proxy", Source: "apisix"}},
		{"delay before a reply", get, map[string]action{"access": func(ex *plugin.Exchange) (*plugin.Reply, error) {
			ex.Delay = time.Second
			return &plugin.Reply{Status: 503, Body: []byte("late")}, nil
		}}, nil, site{}, outcome{Trace: "g.rewrite a.rewrite b.rewrite g.access a.access", Verdicts: "Delay Answer", Status: 503, Body: "late", Source: "apisix"}},
		{"a path that two servers could read differently", message("GET /hello/%2e%2e/%2e%2e/x HTTP/1.1", "Host: a.example"), nil, nil, site{},
			outcome{Verdicts: "Answer", Status: 400, Body: page("400 Bad Request"), Source: "apisix"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tr := &trace{}
			s := tc.site
			s.global = []*Unit{unit(t, "g", 1, &probe{name: "g", tr: tr})}
			s.units = []*Unit{unit(t, "b", 10, &probe{name: "b", tr: tr}), unit(t, "a", 20, &probe{name: "a", tr: tr, do: tc.do}, tc.meta...)}
			e := s.engine(t)
			x := begin(t, e, tc.raw)
			var verdicts []string
			for {
				v := x.Step()
				verdicts = append(verdicts, v.String())
				if v != Delay {
					break
				}
				if x.Delay != time.Second {
					t.Errorf("the delay is %v", x.Delay)
				}
				x.Delay = 0
			}
			got := outcome{Trace: tr.String(), Verdicts: strings.Join(verdicts, " "), Source: x.Source.String(), Panics: e.Panics.Load(), Faults: e.Faults.Load()}
			if x.Answering() {
				got.Status, got.Body = x.Response.Status, string(x.ReplyBody())
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// TestBlocking tests that a plugin that may wait runs on the caller of StepBlocking, with the rest of its phase, and nothing runs twice.
func TestBlocking(t *testing.T) {
	tr := &trace{}
	a := &probe{name: "a", tr: tr}
	s := site{units: []*Unit{unit(t, "a", 30, a), unit(t, "w", 20, waiting{&probe{name: "w", tr: tr}}), unit(t, "b", 10, &probe{name: "b", tr: tr})}}
	x := begin(t, s.engine(t), get)
	var got []string
	for range 20 {
		before := len(tr.steps)
		v := x.Step()
		got = append(got, fmt.Sprintf("loop[%s] %v", strings.Join(tr.steps[before:], " "), v))
		if v != Block {
			break
		}
		before = len(tr.steps)
		x.StepBlocking(context.Background())
		got = append(got, fmt.Sprintf("wait[%s]", strings.Join(tr.steps[before:], " ")))
	}
	want := []string{"loop[a.rewrite] Block", "wait[w.rewrite b.rewrite]", "loop[a.access] Block", "wait[w.access b.access]", "loop[a.proxy] Block", "wait[w.proxy b.proxy]", "loop[] Proxy"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// TestBlockingDelayEnds tests that a client that has left ends a delay on the goroutine.
func TestBlockingDelayEnds(t *testing.T) {
	tr := &trace{}
	do := map[string]func(*plugin.Exchange) (*plugin.Reply, error){"rewrite": func(ex *plugin.Exchange) (*plugin.Reply, error) {
		ex.Delay = time.Hour
		return nil, nil
	}}
	x := begin(t, site{units: []*Unit{unit(t, "w", 20, waiting{&probe{name: "w", tr: tr, do: do}})}}.engine(t), get)
	if v := x.Step(); v != Block {
		t.Fatalf("%v, want Block", v)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	x.StepBlocking(ctx)
	if x.Delay != 0 || tr.String() != "w.rewrite" {
		t.Errorf("delay %v after %s", x.Delay, tr)
	}
}

// TestBodies tests when the driver has to buffer the request body.
func TestBodies(t *testing.T) {
	post := func(framing string) string { return message("POST /hello HTTP/1.1", "Host: a.example", framing) }
	for _, tc := range []struct {
		name, raw string
		limit     int64 // that the plugin wants, -1 for a plugin that wants no body
		want      string
		most      int64 // BodyLimit after NeedBody
	}{
		{"a length within the limit", post("Content-Length: 10"), 10, "NeedBody", 10},
		{"one byte over", post("Content-Length: 11"), 10, "Answer 413", 0},
		{"unknown length", post("Transfer-Encoding: chunked"), 10, "NeedBody", 10},
		{"empty", post("Content-Length: 0"), 10, "Proxy", 0},
		{"no body", get, 10, "Proxy", 0},
		{"nobody wants it", post("Content-Length: 11"), -1, "Proxy", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tr := &trace{}
			var inst plugin.Instance = reading{&probe{name: "r", tr: tr}, tc.limit}
			if tc.limit < 0 {
				inst = &probe{name: "r", tr: tr}
			}
			x := begin(t, site{units: []*Unit{unit(t, "r", 1, inst)}}.engine(t), tc.raw)
			v := x.Step()
			got := v.String()
			if v == Answer {
				got = fmt.Sprint("Answer ", x.Response.Status)
			}
			if got != tc.want || v == NeedBody && x.BodyLimit() != tc.most {
				t.Fatalf("%s with a limit of %d, want %s with %d", got, x.BodyLimit(), tc.want, tc.most)
			}
			if v != NeedBody {
				return
			}
			if len(tr.steps) > 0 {
				t.Errorf("%s ran before the body was there", tr)
			}
			x.Request.Body, x.Request.BodyBuffered = []byte("0123456789"), true
			if v := x.Step(); v != Proxy {
				t.Errorf("%v with the body, want Proxy", v)
			}
		})
	}
}

// TestRouteByBody tests that conditions on the body are looked at again when it is there.
func TestRouteByBody(t *testing.T) {
	for body, want := range map[string]string{"user=jack": "Proxy", "user=jill": "Answer"} {
		t.Run(body, func(t *testing.T) {
			e := site{vars: `[["post_arg_user","==","jack"]]`}.engine(t)
			x := begin(t, e, message("POST /hello HTTP/1.1", "Host: a.example", "Content-Type: application/x-www-form-urlencoded", fmt.Sprintf("Content-Length: %d", len(body))))
			if v := x.Step(); v != NeedBody || x.BodyLimit() != 1<<20 {
				t.Fatalf("%v with a limit of %d, want NeedBody with 1 MiB", v, x.BodyLimit())
			}
			x.Request.Body, x.Request.BodyBuffered = []byte(body), true
			if v := x.Step(); v.String() != want {
				t.Errorf("%v, want %s", v, want)
			}
		})
	}
}

// TestFilters tests the phases behind the upstream's answer.
func TestFilters(t *testing.T) {
	broken := func(*plugin.Exchange) (*plugin.Reply, error) { return nil, errors.New("broken") }
	panics := func(*plugin.Exchange) (*plugin.Reply, error) { panic("broken") }
	type outcome struct {
		Trace     string
		Status    int
		Answering bool
		Body      string
		Aborted   bool
		Faults    uint64
		Panics    uint64
	}
	for _, tc := range []struct {
		name string
		do   map[string]func(*plugin.Exchange) (*plugin.Reply, error)
		want outcome
	}{
		{"order", nil, outcome{Trace: "g.header a.header b.header g.body a.body b.body g.log a.log b.log", Status: 200, Body: "b(a(g(x)))"}},
		{"header filter fails", map[string]func(*plugin.Exchange) (*plugin.Reply, error){"header": broken},
			outcome{Trace: "g.header a.header g.log a.log b.log", Status: 500, Answering: true, Faults: 1}},
		{"header filter panics", map[string]func(*plugin.Exchange) (*plugin.Reply, error){"header": panics},
			outcome{Trace: "g.header a.header g.log a.log b.log", Status: 500, Answering: true, Panics: 1}},
		{"body filter fails", map[string]func(*plugin.Exchange) (*plugin.Reply, error){"body": broken},
			outcome{Trace: "g.header a.header b.header g.body a.body g.log a.log b.log", Status: 200, Aborted: true, Faults: 1}},
		{"body filter panics", map[string]func(*plugin.Exchange) (*plugin.Reply, error){"body": panics},
			outcome{Trace: "g.header a.header b.header g.body a.body g.log a.log b.log", Status: 200, Aborted: true, Panics: 1}},
		{"a logger that panics does not stop the others", map[string]func(*plugin.Exchange) (*plugin.Reply, error){"log": panics},
			outcome{Trace: "g.header a.header b.header g.body a.body b.body g.log a.log b.log", Status: 200, Body: "b(a(g(x)))", Panics: 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tr := &trace{}
			logged := 0
			s := site{global: []*Unit{unit(t, "g", 1, &probe{name: "g", tr: tr})}, units: []*Unit{unit(t, "a", 20, &probe{name: "a", tr: tr, do: tc.do}), unit(t, "b", 10, &probe{name: "b", tr: tr})}}
			s.conf.AccessLog = func(int, *plugin.Exchange) { logged++ }
			s.upstream = &snapshot.Upstream{Type: "least_conn", Nodes: nodes("10.0.0.1:80")} // it counts what is in flight
			e := s.engine(t)
			x := begin(t, e, get)
			if v := x.Step(); v != Proxy {
				t.Fatal(v)
			}
			tr.steps = nil
			if n := x.Node.InFlight(); n != 1 {
				t.Errorf("the node is held %d times", n)
			}
			answer(t, x, "GET", message("HTTP/1.1 200 OK", "Content-Length: 1"))
			got := outcome{Status: x.Response.Status, Answering: x.Answering()}
			if !got.Answering {
				if !x.FiltersBody() {
					t.Error("FiltersBody is false")
				}
				out, err := x.FilterBody([]byte("x"), true)
				got.Body, got.Aborted = string(out), errors.Is(err, ErrAborted)
			}
			x.End()
			got.Trace, got.Faults, got.Panics = tr.String(), e.Faults.Load(), e.Panics.Load()
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if logged != 1 {
				t.Errorf("%d lines in the access log", logged)
			}
			if n := x.Node.InFlight(); n != 0 {
				t.Errorf("the node is held %d times at the end", n)
			}
		})
	}
}

// TestConsumers tests what a consumer's plugins do to a route: apisix/plugin.lua merge_consumer_route.
func TestConsumers(t *testing.T) {
	for _, tc := range []struct {
		name     string
		consumer []string // plugins of the consumer
		off      []string
		want     string
	}{
		{"no plugins", nil, nil, "r:auth.rewrite r:a.rewrite r:auth.access r:a.access"},
		{"another plugin", []string{"c"}, nil, "r:auth.rewrite r:a.rewrite c:c.rewrite r:auth.access r:a.access c:c.access"},
		{"the same plugin: its rewrite has run as the route's", []string{"a"}, nil, "r:auth.rewrite r:a.rewrite r:auth.access c:a.access"},
		{"switched off by the consumer", nil, []string{"a"}, "r:auth.rewrite r:a.rewrite r:auth.access"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tr := &trace{}
			var own []*Unit
			for i, name := range tc.consumer {
				own = append(own, unit(t, name, 5-i, &probe{name: "c:" + name, tr: tr}))
			}
			consumer := &plugin.Consumer{Username: "jack"}
			if cc := NewConsumerChain(own, tc.off); cc != nil {
				consumer.Engine = cc
			}
			find := map[string]func(*plugin.Exchange) (*plugin.Reply, error){"rewrite": func(ex *plugin.Exchange) (*plugin.Reply, error) {
				ex.Consumer = consumer
				return nil, nil
			}}
			s := site{units: []*Unit{unit(t, "auth", 100, &probe{name: "r:auth", tr: tr, do: find}), unit(t, "a", 10, &probe{name: "r:a", tr: tr})}}
			x := begin(t, s.engine(t), get)
			if v := x.Step(); v != Proxy {
				t.Fatal(v)
			}
			got := strings.Join(slicesWithout(tr.steps, ".proxy"), " ")
			if got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func slicesWithout(list []string, suffix string) (out []string) {
	for _, s := range list {
		if !strings.HasSuffix(s, suffix) {
			out = append(out, s)
		}
	}
	return out
}

// TestChainOrder tests priorities, _meta.priority and names.
func TestChainOrder(t *testing.T) {
	first := 1000
	mk := func(name string, priority int, own *int) *Unit {
		return NewUnit(&plugin.Def{Name: name, Priority: priority}, &probe{name: name}, "", own, nil, nil)
	}
	var got []string
	for _, u := range NewChain([]*Unit{mk("b", 10, nil), mk("last", 1, nil), mk("a", 10, nil), mk("moved", 2, &first), mk("top", 50, nil)}).units {
		got = append(got, u.def.Name)
	}
	if diff := cmp.Diff([]string{"moved", "top", "a", "b", "last"}, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// TestPreferRoute tests that a plugin that prefers the route leaves the global rules for routes that have it.
func TestPreferRoute(t *testing.T) {
	for name, want := range map[string]string{"metrics": "r.rewrite", "other": "g.rewrite r.rewrite"} {
		t.Run(name, func(t *testing.T) {
			tr := &trace{}
			s := site{global: []*Unit{NewUnit(&plugin.Def{Name: "metrics", PreferRoute: true}, &probe{name: "g", tr: tr}, "", nil, nil, nil)},
				units: []*Unit{unit(t, name, 1, &probe{name: "r", tr: tr})}}
			x := begin(t, s.engine(t), get)
			if v := x.Step(); v != Proxy {
				t.Fatal(v)
			}
			var got []string
			for _, s := range tr.steps {
				if strings.HasSuffix(s, ".rewrite") {
					got = append(got, s)
				}
			}
			if strings.Join(got, " ") != want {
				t.Errorf("%v, want %s", got, want)
			}
		})
	}
}
