package l7_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/control/snapshot"
	"github.com/sluice-gateway/sluice/l7"
	"github.com/sluice-gateway/sluice/l7/l7test"
)

// TestCommitUnderLoad edits routes 200 times while requests come without pause. Each answer is that of a version that was served at some moment of the request.
func TestCommitUnderLoad(t *testing.T) {
	l7test.NoLeaks(t)
	resetNotes()
	const routes, edits = 20, 200
	var ups [2]*l7test.Upstream
	for i := range ups {
		ups[i] = l7test.NewUpstreams(t, l7test.Answers(l7test.OK(fmt.Sprintf("upstream %d", i))))
	}
	// Route i answers with its version when that is even, and lets an upstream answer, the one of version/2 modulo 2, when it is odd.
	make1 := func(i, version int) *snapshot.Route {
		r := &snapshot.Route{ID: fmt.Sprint(i), Created: int64(i + 1), URIs: []string{fmt.Sprintf("/%d", i)}}
		conf := probeConf{Tag: fmt.Sprintf("%d:%d", i, version)}
		if version%2 == 0 {
			conf.Access = "reply"
		} else {
			r.Upstream = l7test.To(ups[version/2%2].Addr)
			r.Upstream.Resource = "/routes/" + r.ID
		}
		r.Plugins = []*snapshot.Plugin{with("probe-mid", conf)}
		return r
	}
	want := func(i, version int) string {
		if version%2 == 0 {
			return fmt.Sprintf("%d:%d access", i, version)
		}
		return fmt.Sprintf("upstream %d", version/2%2)
	}
	s := &snapshot.Snapshot{}
	for i := range routes {
		s.Routes = append(s.Routes, make1(i, 0))
	}
	g := l7test.Start(t, l7.Options{Loops: 2}, s)
	// begun and done are the newest version of each route of which Commit has begun and returned.
	var begun, done [routes]atomic.Int64
	stop := make(chan struct{})
	var served atomic.Int64
	var wg sync.WaitGroup
	for w := range 4 {
		c := l7test.Dial(t, g.Addr)
		wg.Add(1)
		go func() {
			defer wg.Done()
			for n := w; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				i := n % routes
				least := done[i].Load()
				c.Send(l7test.Get(fmt.Sprintf("/%d", i)))
				m, err := l7test.ReadResponse(c.R, "GET")
				if err != nil {
					t.Errorf("request %d: %v", n, err)
					return
				}
				most := begun[i].Load()
				ok := false
				for v := least; v <= most; v++ {
					ok = ok || m.Body == want(i, int(v))
				}
				if !ok {
					t.Errorf("route %d answered %q, want that of version %d to %d", i, m.Body, least, most)
					return
				}
				served.Add(1)
				if m.Close() {
					c.Close()
					if c, err = l7test.TryDial(t, g.Addr); err != nil {
						t.Error(err)
						return
					}
					defer c.Close()
				}
			}
		}()
	}
	for e := range edits {
		i := e * 7 % routes
		before := served.Load()
		next := &snapshot.Snapshot{Routes: append([]*snapshot.Route(nil), s.Routes...)}
		version := int(done[i].Load()) + 1
		next.Routes[i] = make1(i, version)
		n, err := g.Prepare(context.Background(), next)
		if err != nil {
			t.Fatal(err)
		}
		if e%10 == 5 {
			n.Abort()
			continue
		}
		begun[i].Store(int64(version))
		n.Commit()
		done[i].Store(int64(version))
		s = next
		l7test.Eventually(t, "requests after the edit", func() bool { return t.Failed() || served.Load() >= before+10 })
	}
	close(stop)
	wg.Wait()
	if got, want := g.Totals().Requests, uint64(served.Load()); got != want {
		t.Errorf("%d requests counted, want %d", got, want)
	}
	_ = g.Stop(l7test.Patience)
	if made, closed := notes.made.Load(), notes.closed.Load(); made != routes+edits || closed != made {
		t.Errorf("%d instances made, %d closed, want %d of both", made, closed, routes+edits)
	}
}

// TestPrepareRefuses leaves everything as it was, and says what it does not take.
func TestPrepareRefuses(t *testing.T) {
	l7test.NoLeaks(t)
	up := l7test.NewUpstreams(t, l7test.Echo)
	good := l7test.Routes(l7test.To(up.Addr), with("probe-mid", probeConf{Tag: "x"}))
	resetNotes()
	g := l7test.Start(t, l7.Options{}, good)
	c := l7test.Dial(t, g.Addr)
	ask := func() {
		t.Helper()
		c.Send(l7test.Get("/"))
		c.Want("GET", 200, "GET /\n")
	}
	ask()
	fresh := func() *snapshot.Route {
		return &snapshot.Route{ID: "new", Created: 9, URIs: []string{"/"}, Plugins: []*snapshot.Plugin{with("probe-high", probeConf{Tag: "new", Access: "reply"})}}
	}
	for _, tc := range []struct {
		name string
		edit func(s *snapshot.Snapshot)
		want string
	}{
		{"unknown plugin", func(s *snapshot.Snapshot) {
			r := fresh()
			r.Plugins = append(r.Plugins, &snapshot.Plugin{Name: "nobody"})
			s.Routes = append(s.Routes, r)
		}, "route new: plugin nobody: unknown plugin [nobody]"},
		{"plugin refuses", func(s *snapshot.Snapshot) {
			r := fresh()
			r.Plugins = append(r.Plugins, with("probe-low", probeConf{Tag: "refused"}))
			s.Routes = append(s.Routes, r)
		}, "route new: plugin probe-low: refused by the plugin"},
		{"bad vars", func(s *snapshot.Snapshot) {
			r := fresh()
			r.Vars = []byte(`[["a","?","b"]]`)
			s.Routes = append(s.Routes, fresh(), r)
		}, "route new: vars: "},
		{"bad upstream", func(s *snapshot.Snapshot) {
			r := fresh()
			r.Upstream = l7test.To(up.Addr)
			r.Upstream.Type = "magic"
			s.Routes = append(s.Routes, r)
		}, "route new: upstream: "},
		{"bad global rule", func(s *snapshot.Snapshot) {
			s.Routes = append(s.Routes, fresh())
			s.GlobalRules = []*snapshot.Plugin{with("probe-low", probeConf{Tag: "refused"})}
		}, "global rules: plugin probe-low: refused by the plugin"},
		{"bad consumer", func(s *snapshot.Snapshot) {
			s.Routes = append(s.Routes, fresh())
			s.Consumers = []*snapshot.Consumer{{Username: "jack", Plugins: []*snapshot.Plugin{with("probe-low", probeConf{Tag: "refused"})}}}
		}, "consumer jack: plugin probe-low: refused by the plugin"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			resetNotes()
			s := &snapshot.Snapshot{Routes: append([]*snapshot.Route(nil), good.Routes...)}
			tc.edit(s)
			n, err := g.Prepare(context.Background(), s)
			if err == nil {
				n.Abort()
				t.Fatal("accepted")
			}
			if !strings.HasPrefix(err.Error(), tc.want) {
				t.Errorf("error is %q, want it to begin with %q", err, tc.want)
			}
			if made, closed := notes.made.Load(), notes.closed.Load(); made != closed {
				t.Errorf("%d instances made, %d closed", made, closed)
			}
			ask()
		})
	}
	if up.Conns() != 1 {
		t.Errorf("%d upstream connections, want the first one kept", up.Conns())
	}
}

// TestInstances keeps instances over edits that do not touch them, whatever pointers the snapshot has.
func TestInstances(t *testing.T) {
	l7test.NoLeaks(t)
	resetNotes()
	up := l7test.NewUpstreams(t, l7test.Echo)
	shared := with("probe-mid", probeConf{Tag: "shared"})
	route := func(id string, plugins ...*snapshot.Plugin) *snapshot.Route {
		return &snapshot.Route{ID: id, Created: 1, URIs: []string{"/" + id}, Upstream: l7test.To(up.Addr), Plugins: plugins}
	}
	a, b := route("a", shared), route("b", shared)
	g := l7test.Start(t, l7.Options{}, &snapshot.Snapshot{Routes: []*snapshot.Route{a, b}})
	var got []int64
	step := func(s *snapshot.Snapshot) {
		g.Commit(s)
		got = append(got, notes.made.Load())
	}
	step(&snapshot.Snapshot{Routes: []*snapshot.Route{a, route("b", shared)}})                                       // an edit beside it
	step(&snapshot.Snapshot{Routes: []*snapshot.Route{a, route("b", with("probe-mid", probeConf{Tag: "shared"}))}})  // another object, the same content
	step(&snapshot.Snapshot{Routes: []*snapshot.Route{a, route("b", with("probe-mid", probeConf{Tag: "another"}))}}) // another content
	meta := map[string]*snapshot.Metadata{"probe-mid": {Conf: []byte(`{"x":1}`)}}
	step(&snapshot.Snapshot{Routes: []*snapshot.Route{a}, PluginMetadata: meta}) // metadata makes instances anew
	step(&snapshot.Snapshot{Routes: []*snapshot.Route{a}, PluginMetadata: meta})
	step(&snapshot.Snapshot{Routes: []*snapshot.Route{a}, PluginMetadata: map[string]*snapshot.Metadata{"probe-low": {}, "probe-mid": meta["probe-mid"]}})
	if diff := cmp.Diff([]int64{1, 1, 2, 3, 3, 3}, got); diff != "" {
		t.Errorf("instances made after each step (-want +got):\n%s", diff)
	}
	c := l7test.Dial(t, g.Addr)
	c.Send(l7test.Get("/a"))
	c.Want("GET", 200, "*")
	if diff := cmp.Diff([]string{"shared rewrite", "shared access", "shared before_proxy", "shared header_filter", "shared body_filter"}, noted()[:5]); diff != "" {
		t.Errorf("phases (-want +got):\n%s", diff)
	}
	_ = g.Stop(l7test.Patience)
	if made, closed := notes.made.Load(), notes.closed.Load(); made != closed {
		t.Errorf("%d instances made, %d closed", made, closed)
	}
}
