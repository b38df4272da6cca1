package statusapi

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

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
		{"no route", "GET", "/v1/route/3", 404, []string{`{"error_msg":"route[3] not found"}`}},
		{"no service", "GET", "/v1/service/2", 404, []string{`{"error_msg":"service[2] not found"}`}},
		{"upstreams", "GET", "/v1/upstreams", 200, []string{`[]`}},
		{"metadata", "GET", "/v1/plugin_metadata/cors", 200, []string{`{"id":"cors"}`}},
		{"no metadata", "GET", "/v1/plugin_metadata/x", 404, []string{`{"error_msg":"plugin metadata[x] not found"}`}},
		{"metadatas", "GET", "/v1/plugin_metadatas", 200, []string{`[{"id":"cors"}]`}},
		{"schema", "GET", "/v1/schema", 200, []string{`"main":`, `"plugins":{}`, `"stream-plugins":{}`}},
		{"healthcheck", "GET", "/v1/healthcheck", 200, []string{`[]`}},
		{"healthcheck of a route without", "GET", "/v1/healthcheck/routes/1", 404, nil},
		{"healthcheck of a wrong kind", "GET", "/v1/healthcheck/consumers/1", 400, []string{`invalid src type consumers`}},
		{"gc", "POST", "/v1/gc", 200, nil},
		{"reload", "PUT", "/v1/plugins/reload", 200, []string{"done"}},
		{"state", "GET", "/v1/sluice/status", 200, []string{`"health":"healthy"`, `"revision":7`, `"routes":2`, `"requests":4`}},
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
	if s := testAPI(reconcile.Status{Degraded: true}).State(); s.Health != "degraded" {
		t.Errorf("health %s", s.Health)
	}
}
