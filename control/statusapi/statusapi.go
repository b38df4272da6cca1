// Package statusapi answers what operators and load balancers ask a running gateway: the control API of APISIX
// (apisix/control/v1.lua), /status and /status/ready, and the state that "sluice status" prints.
package statusapi

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/sluice-gateway/sluice/control/compile"
	"github.com/sluice-gateway/sluice/control/model"
	"github.com/sluice-gateway/sluice/control/reconcile"
	"github.com/sluice-gateway/sluice/control/schema"
	"github.com/sluice-gateway/sluice/control/snapshot"
	"github.com/sluice-gateway/sluice/control/store"
)

// Controller is what the API reads of the controller.
type Controller interface {
	View() compile.View
	Snapshot() *snapshot.Snapshot
	Status() reconcile.Status
}

// Options are the surroundings of an API.
type Options struct {
	// Version is the gateway's version.
	Version string
	// Counters returns the planes' numbers for Status; nil for none.
	Counters func() any
	// Draining tells that the gateway takes no new work, so that load balancers go elsewhere; nil for never.
	Draining func() bool
	Logger   *slog.Logger
}

// API serves the control API and the status endpoints.
type API struct {
	ctl     Controller
	plugins compile.Plugins
	o       Options
	started time.Time
}

// New makes the API. It is ready to serve when the controller has started.
func New(ctl Controller, plugins compile.Plugins, o Options) *API {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &API{ctl: ctl, plugins: plugins, o: o, started: time.Now()}
}

// Control is the handler of the control API, which is for the host itself (apisix.control, 127.0.0.1:9090).
func (a *API) Control() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /v1/schema", a.schema)
	m.HandleFunc("GET /v1/healthcheck", a.healthchecks)
	m.HandleFunc("GET /v1/healthcheck/{kind}", a.healthcheck)
	m.HandleFunc("GET /v1/healthcheck/{kind}/{id}", a.healthcheck)
	for _, k := range []struct {
		kind     model.Kind
		many, is string
	}{{model.Routes, "routes", "route"}, {model.Services, "services", "service"}, {model.Upstreams, "upstreams", "upstream"}} {
		m.HandleFunc("GET /v1/"+k.many, func(w http.ResponseWriter, _ *http.Request) { a.list(w, k.kind) })
		m.HandleFunc("GET /v1/"+k.is+"/{id}", func(w http.ResponseWriter, r *http.Request) { a.one(w, k.kind, k.is, r.PathValue("id")) })
	}
	m.HandleFunc("GET /v1/plugin_metadatas", a.metadatas)
	m.HandleFunc("GET /v1/plugin_metadata/{name}", a.metadata)
	m.HandleFunc("POST /v1/gc", func(w http.ResponseWriter, _ *http.Request) {
		debug.FreeOSMemory()
		w.WriteHeader(http.StatusOK)
	})
	m.HandleFunc("PUT /v1/plugins/reload", func(w http.ResponseWriter, _ *http.Request) {
		// Plugins are compiled in: what is switched on changes with a restart only, as the answer for a reload without changes says.
		fmt.Fprint(w, "done")
	})
	m.HandleFunc("GET /v1/sluice/status", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, a.State()) })
	m.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	return m
}

// Status is the handler of apisix.status: whether the process lives and whether it should get traffic. It tells nothing else.
func (a *API) Status() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	m.HandleFunc("GET /status/ready", func(w http.ResponseWriter, _ *http.Request) {
		if a.ctl.Status().Started.IsZero() {
			answer(w, http.StatusServiceUnavailable, map[string]string{"status": "error", "error": "the configuration is not loaded yet"})
			return
		}
		if a.o.Draining != nil && a.o.Draining() {
			answer(w, http.StatusServiceUnavailable, map[string]string{"status": "error", "error": "the gateway is stopping"})
			return
		}
		answer(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	m.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	return m
}

// State is what GET /v1/sluice/status answers.
type State struct {
	Version string `json:"version"`
	// Health is "healthy", or "degraded" when what is served is not all that is stored.
	Health string `json:"health"`
	// Uptime and LastCommitAge are in seconds.
	Uptime        float64 `json:"uptime"`
	LastCommitAge float64 `json:"last_commit_age"`
	// Revision is that of the store, Served that of the configuration in use.
	Revision   store.Rev      `json:"revision"`
	Served     store.Rev      `json:"served_revision"`
	Objects    map[string]int `json:"objects"`
	Problems   []Problem      `json:"problems"`
	Planes     []Plane        `json:"planes"`
	StoreError string         `json:"store_error,omitempty"`
	Commits    uint64         `json:"commits"`
	Refused    uint64         `json:"refused_updates"`
	Counters   any            `json:"counters,omitempty"`
}

// Problem is an object that is not served as it is stored.
type Problem struct {
	Key   string `json:"key"`
	Error string `json:"error"`
}

// Plane is the state of one plane.
type Plane struct {
	Name      string `json:"name"`
	Health    string `json:"health"`
	LastError string `json:"last_error,omitempty"`
}

// State collects the state of the gateway.
func (a *API) State() State {
	st := a.ctl.Status()
	s := State{Version: a.o.Version, Health: "healthy", Uptime: time.Since(a.started).Seconds(), Revision: st.Rev, Served: st.Served,
		Objects: map[string]int{}, Problems: []Problem{}, Planes: []Plane{}, StoreError: st.StoreError, Commits: st.Commits, Refused: st.Refused}
	if !st.Committed.IsZero() {
		s.LastCommitAge = time.Since(st.Committed).Seconds()
	}
	if st.Degraded || st.StoreError != "" {
		s.Health = "degraded"
	}
	view := a.ctl.View()
	for _, k := range model.Kinds() {
		if n := len(view.List(k.Kind)); n > 0 {
			s.Objects[string(k.Kind)] = n
		}
	}
	for _, p := range st.Problems {
		s.Problems = append(s.Problems, Problem{p.Key, p.Err})
	}
	for _, p := range st.Planes {
		h := "healthy"
		if p.Degraded {
			h = "degraded"
		}
		s.Planes = append(s.Planes, Plane{p.Name, h, p.LastError})
	}
	if a.o.Counters != nil {
		s.Counters = a.o.Counters()
	}
	return s
}

func answer(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"error_msg":"the answer cannot be encoded"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n'))
}

func notFound(w http.ResponseWriter, format string, args ...any) {
	answer(w, http.StatusNotFound, map[string]string{"error_msg": fmt.Sprintf(format, args...)})
}

func (a *API) schema(w http.ResponseWriter, _ *http.Request) {
	main := map[string]json.RawMessage{}
	for _, k := range model.Kinds() {
		if s, ok := schema.Resource(k.Schema); ok {
			main[k.Schema] = s.Raw()
		}
	}
	if s, ok := schema.Resource("plugins"); ok {
		main["plugins"] = s.Raw()
	}
	plugins, stream := map[string]any{}, map[string]any{}
	for _, p := range a.plugins.All() {
		d := map[string]any{"priority": p.Priority, "version": json.RawMessage(versionNumber(p.Version))}
		if p.Auth {
			d["type"] = "auth"
		}
		for name, s := range map[string]*schema.Schema{"schema": p.Schema, "consumer_schema": p.ConsumerSchema, "metadata_schema": p.MetadataSchema} {
			if s != nil {
				d[name] = json.RawMessage(s.Raw())
			}
		}
		if p.HTTP {
			plugins[p.Name] = d
		}
		if p.Stream {
			stream[p.Name] = d
		}
	}
	answer(w, http.StatusOK, map[string]any{"main": main, "plugins": plugins, "stream_plugins": stream})
}

// versionNumber is a plugin's version as the number that APISIX shows.
func versionNumber(v string) string {
	var n json.Number
	if json.Unmarshal([]byte(v), &n) == nil && n != "" {
		return v
	}
	return "0.1"
}

// item is a resource as the control API shows it: with the defaults that the Admin API leaves out.
type item struct {
	Key           string    `json:"key"`
	Value         any       `json:"value"`
	CreatedIndex  store.Rev `json:"createdIndex"`
	ModifiedIndex store.Rev `json:"modifiedIndex"`
	Original      store.Rev `json:"orig_modifiedIndex"`
	HasDomain     bool      `json:"has_domain"`
	UpdateCount   int       `json:"update_count"`
}

func (a *API) item(o *store.Object) item {
	it := item{Key: "/apisix" + o.Key.String(), CreatedIndex: o.Create, ModifiedIndex: o.Mod, Original: o.Mod}
	object := a.full(o)
	if object == nil {
		return it
	}
	redact(object)
	up := object
	if o.Key.Kind != model.Upstreams {
		up, _ = object["upstream"].(map[string]any)
	}
	if up != nil {
		it.HasDomain = expandNodes(up)
		up["parent"] = map[string]any{"key": it.Key, "createdIndex": it.CreatedIndex, "modifiedIndex": it.ModifiedIndex}
		up["resource_id"], up["resource_key"], up["resource_version"] = o.Key.ID, it.Key, it.ModifiedIndex
	}
	it.Value = object
	return it
}

// redact takes private keys out: this API asks for no key.
func redact(v any) {
	switch v := v.(type) {
	case map[string]any:
		if tls, ok := v["tls"].(map[string]any); ok {
			delete(tls, "client_key")
		}
		for _, e := range v {
			redact(e)
		}
	case []any:
		for _, e := range v {
			redact(e)
		}
	}
}

// expandNodes turns nodes into their list form and tells whether one of them is a name.
func expandNodes(up map[string]any) (domain bool) {
	b, err := json.Marshal(up["nodes"])
	if err != nil || up["nodes"] == nil {
		return false
	}
	var nodes model.Nodes
	if json.Unmarshal(b, &nodes) != nil {
		return false
	}
	list := make([]any, 0, len(nodes))
	for _, n := range nodes {
		list = append(list, n)
		if !isAddress(n.Host) {
			domain = true
		}
	}
	up["nodes"] = list
	return domain
}

func (a *API) list(w http.ResponseWriter, kind model.Kind) {
	items := []item{}
	for _, o := range a.ctl.View().List(kind) {
		items = append(items, a.item(o))
	}
	answer(w, http.StatusOK, items)
}

func (a *API) one(w http.ResponseWriter, kind model.Kind, name, id string) {
	o := a.ctl.View().Get(model.Key{Kind: kind, ID: id})
	if o == nil {
		notFound(w, "%s[%s] not found", name, id)
		return
	}
	answer(w, http.StatusOK, a.item(o))
}

func (a *API) metadatas(w http.ResponseWriter, _ *http.Request) {
	list := []any{}
	for _, o := range a.ctl.View().List(model.PluginMetadatas) {
		list = append(list, o.Value)
	}
	answer(w, http.StatusOK, list)
}

func (a *API) metadata(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	o := a.ctl.View().Get(model.Key{Kind: model.PluginMetadatas, ID: name})
	if o == nil {
		notFound(w, "plugin metadata[%s] not found", name)
		return
	}
	answer(w, http.StatusOK, o.Value)
}
