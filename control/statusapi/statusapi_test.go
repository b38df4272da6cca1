package statusapi

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/control/compile"
	"github.com/sluice-gateway/sluice/control/model"
	"github.com/sluice-gateway/sluice/control/reconcile"
	"github.com/sluice-gateway/sluice/control/snapshot"
	"github.com/sluice-gateway/sluice/control/store"
)

// controller is a controller at rest.
type controller struct {
	view   compile.View
	status reconcile.Status
}

func (c controller) View() compile.View           { return c.view }
func (c controller) Snapshot() *snapshot.Snapshot { return &snapshot.Snapshot{} }
func (c controller) Status() reconcile.Status     { return c.status }

type noPlugins struct{}

func (noPlugins) Plugin(string) (*compile.PluginInfo, bool) { return nil, false }
func (noPlugins) All() []*compile.PluginInfo                { return nil }

func testAPI(status reconcile.Status) *API {
	objects := compile.NewObjects(7, []store.Object{
		{Key: model.Key{Kind: model.Routes, ID: "1"}, Value: json.RawMessage(`{"id":"1","uri":"/hello","upstream":{"type":"roundrobin","nodes":{"foo.com:80":1}}}`), Create: 3, Mod: 5},
		{Key: model.Key{Kind: model.Routes, ID: "2"}, Value: json.RawMessage(`{"id":"2","uri":"/tls","upstream":{"type":"roundrobin","nodes":{"foo.com:80":1},"tls":{"client_cert":"c","client_key":"secret"}}}`), Create: 4, Mod: 4},
		{Key: model.Key{Kind: model.Routes, ID: "3"}, Value: json.RawMessage(`{"id":"3","uri":"/c","upstream":{"type":"roundrobin","nodes":{"127.0.0.1:80":1},"checks":{"active":{"type":"tcp"}}}}`), Create: 8, Mod: 8},
		{Key: model.Key{Kind: model.Routes, ID: "4"}, Value: json.RawMessage(`{"id":"4","uri":"/s","upstream":{"type":"roundrobin","nodes":{"127.0.0.1:80":1}},
			"plugins":{"traffic-split":{"rules":[{"weighted_upstreams":[{"upstream":{"tls":{"client_key":"secret"}}}]}]}}}`), Create: 9, Mod: 9},
		{Key: model.Key{Kind: model.Upstreams, ID: "u"}, Value: json.RawMessage(`{"id":"u","type":"roundrobin","nodes":{"127.0.0.1:80":1},"checks":{"active":{"http_path":"/<x>"}}}`), Create: 10, Mod: 10},
		{Key: model.Key{Kind: model.PluginMetadatas, ID: "cors"}, Value: json.RawMessage(`{"id":"cors"}`), Create: 6, Mod: 6},
	})
	return New(controller{objects, status}, noPlugins{}, Options{Version: "test", Counters: func() any { return map[string]int{"requests": 4} }})
}

func TestControl(t *testing.T) {
	h := testAPI(reconcile.Status{Rev: 7, Served: 7, Started: time.Unix(1, 0)}).Control()
	for _, tc := range []struct {
		name, method, path string
		status             int
		want               []string
	}{
		{"routes with defaults (docs/en/latest/control-api.md)", "GET", "/v1/routes", 200, []string{`"has_domain":true`, `"createdIndex":3`, `"modifiedIndex":5`, `"hash_on":"vars"`, `"host":"foo.com"`}},
		{"route", "GET", "/v1/route/1", 200, []string{`"key":"/apisix/routes/1"`, `"priority":0`}},
		{"no route", "GET", "/v1/route/9", 404, []string{`{"error_msg":"route[9] not found"}`}},
		{"no service", "GET", "/v1/service/2", 404, []string{`{"error_msg":"service[2] not found"}`}},
		{"services", "GET", "/v1/services", 200, []string{`[]`}},
		{"upstreams", "GET", "/v1/upstreams", 200, []string{`"key":"/apisix/upstreams/u"`, `"pass_host":"pass"`, `"scheme":"http"`, `"resource_id":"u"`, `"has_domain":false`}},
		{"upstream", "GET", "/v1/upstream/u", 200, []string{`"parent":{`, `"update_count":0`}},
		{"metadata", "GET", "/v1/plugin_metadata/cors", 200, []string{`{"id":"cors"}`}},
		{"no metadata", "GET", "/v1/plugin_metadata/x", 404, []string{`{"error_msg":"plugin metadata[x] not found"}`}},
		{"metadatas", "GET", "/v1/plugin_metadatas", 200, []string{`[{"id":"cors"}]`}},
		{"schema", "GET", "/v1/schema", 200, []string{`"main":`, `"plugins":{}`, `"stream_plugins":{}`, `"plugin_config":{`}},
		{"healthcheck (t/control/healthcheck.t)", "GET", "/v1/healthcheck", 200,
			[]string{`[{"name":"/apisix/routes/3","type":"tcp","nodes":[]},{"name":"/apisix/upstreams/u","type":"http","nodes":[]}]`}},
		{"healthcheck of an upstream", "GET", "/v1/healthcheck/upstreams/u", 200, []string{`{"name":"/apisix/upstreams/u","type":"http","nodes":[]}`}},
		{"healthcheck of a route that is not there", "GET", "/v1/healthcheck/routes/9", 404, []string{`{"error_msg":"routes[9] not found"}`}},
		{"healthcheck without an id", "GET", "/v1/healthcheck/upstreams", 404, []string{`{"error_msg":"missing src id for src type upstreams"}`}},
		{"healthcheck of a route without", "GET", "/v1/healthcheck/routes/1", 404, []string{`{"error_msg":"no checker for routes[1]"}`}},
		{"healthcheck of a wrong kind", "GET", "/v1/healthcheck/consumers/1", 400, []string{`{"error_msg":"invalid src type consumers"}`}},
		{"a method that is not there", "DELETE", "/v1/routes", 404, nil},
		{"gc", "POST", "/v1/gc", 200, nil},
		{"reload", "PUT", "/v1/plugins/reload", 200, []string{"done"}},
		{"state", "GET", "/v1/sluice/status", 200, []string{`"health":"healthy"`, `"revision":7`, `"routes":4`, `"requests":4`}},
		{"nothing", "GET", "/v1/nope", 404, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(tc.method, tc.path, nil))
			body := w.Body.String()
			if w.Code != tc.status {
				t.Fatalf("%d %s", w.Code, body)
			}
			for _, part := range tc.want {
				if !strings.Contains(body, part) {
					t.Errorf("%s is missing in %s", part, body)
				}
			}
			if strings.Contains(body, "secret") {
				t.Errorf("a private key is shown: %s", body)
			}
		})
	}
}

func TestHealthcheckHTML(t *testing.T) {
	h := testAPI(reconcile.Status{}).Control()
	for path, want := range map[string]string{"/v1/healthcheck": "<td>/apisix/routes/3</td><td>tcp</td>", "/v1/healthcheck/upstreams/u": "<td>/apisix/upstreams/u</td><td>http</td>"} {
		r := httptest.NewRequest("GET", path, nil)
		r.Header.Set("Accept", "application/xml,text/html;q=0.9")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if got := w.Header().Get("Content-Type"); w.Code != 200 || got != "text/html" || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %s %s", path, w.Code, got, w.Body)
		}
	}
}

func TestStatus(t *testing.T) {
	ask := func(st reconcile.Status, path string) int {
		w := httptest.NewRecorder()
		testAPI(st).Status().ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w.Code
	}
	if got := ask(reconcile.Status{}, "/status"); got != 200 {
		t.Errorf("/status: %d", got)
	}
	if got := ask(reconcile.Status{}, "/status/ready"); got != 503 {
		t.Errorf("/status/ready before the configuration is loaded: %d", got)
	}
	if got := ask(reconcile.Status{Started: time.Unix(1, 0)}, "/status/ready"); got != 200 {
		t.Errorf("/status/ready: %d", got)
	}
	a := testAPI(reconcile.Status{Started: time.Unix(1, 0)})
	a.o.Draining = func() bool { return true }
	w := httptest.NewRecorder()
	if a.Status().ServeHTTP(w, httptest.NewRequest("GET", "/status/ready", nil)); w.Code != 503 {
		t.Errorf("/status/ready while the gateway stops: %d", w.Code)
	}
	if s := testAPI(reconcile.Status{Degraded: true}).State(); s.Health != "degraded" {
		t.Errorf("health %s", s.Health)
	}
}

// TestState looks at what "sluice status" prints when not everything is served.
func TestState(t *testing.T) {
	s := testAPI(reconcile.Status{Rev: 9, Served: 7, Degraded: true, Commits: 3, Refused: 2, Committed: time.Now(),
		Problems: []snapshot.Problem{{Key: "/routes/1", Err: "unknown plugin [x]"}},
		Planes:   []reconcile.PlaneStatus{{Name: "http", Degraded: true, LastError: "no"}, {Name: "l4"}}}).State()
	if s.Uptime < 0 || s.LastCommitAge < 0 {
		t.Errorf("times %v, %v", s.Uptime, s.LastCommitAge)
	}
	s.Uptime, s.LastCommitAge = 0, 0
	want := State{Version: "test", Health: "degraded", Revision: 9, Served: 7, Commits: 3, Refused: 2, Counters: map[string]int{"requests": 4},
		Objects:  map[string]int{"routes": 4, "upstreams": 1, "plugin_metadata": 1},
		Problems: []Problem{{"/routes/1", "unknown plugin [x]"}},
		Planes:   []Plane{{"http", "degraded", "no"}, {"l4", "healthy", ""}}}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestBrokenObjects shows what a store of somebody else may hold.
func TestBrokenObjects(t *testing.T) {
	for _, value := range []string{`5`, `[]`, `null`, `{"uri":5,"upstream":7}`, `{"upstream":{"nodes":"x","checks":5}}`, `{"upstream":{"nodes":[5]}}`, `{`} {
		objects := compile.NewObjects(1, []store.Object{{Key: model.Key{Kind: model.Routes, ID: "1"}, Value: json.RawMessage(value), Create: 1, Mod: 1}})
		h := New(controller{view: objects}, noPlugins{}, Options{}).Control()
		for _, path := range []string{"/v1/routes", "/v1/route/1", "/v1/healthcheck", "/v1/healthcheck/routes/1"} {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
			if w.Code == 500 || !json.Valid(w.Body.Bytes()) {
				t.Errorf("%s with %s: %d %s", path, value, w.Code, w.Body)
			}
		}
	}
}
