package adminapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/control/model"
)

// kindCase is a kind with two bodies that it takes.
type kindCase struct {
	kind  model.Kind
	path  string // of the kind
	id    string
	setup [][2]string // PUTs that come first
	body  func() string
	patch string
	// post and patched are what POST and PATCH answer: a status, or the name in the 405.
	post, patched string
}

func text(s string) func() string { return func() string { return s } }

var kindCases = []kindCase{
	{kind: model.Routes, path: "/routes", id: "1", body: text(route("")), patch: `{"desc":"d"}`},
	{kind: model.Services, path: "/services", id: "1", body: text(`{"upstream":{"type":"roundrobin","nodes":{"127.0.0.1:1980":1}}}`), patch: `{"desc":"d"}`},
	{kind: model.Upstreams, path: "/upstreams", id: "1", body: text(`{"type":"roundrobin","nodes":{"127.0.0.1:1980":1}}`), patch: `{"desc":"d"}`},
	{kind: model.SSLs, path: "/ssls", id: "1", body: sslBody, patch: `{"labels":{"a":"b"}}`},
	{kind: model.Protos, path: "/protos", id: "1", body: text(`{"content":"syntax = \"proto3\";"}`), patched: "proto"},
	{kind: model.StreamRoutes, path: "/stream_routes", id: "1", body: text(`{"server_port":9100,"upstream":{"type":"roundrobin","nodes":{"127.0.0.1:1995":1}}}`), patched: "stream route"},
	{kind: model.Consumers, path: "/consumers", id: "jack", body: text(`{"username":"jack","plugins":{"key-auth":{"key":"auth-one"}}}`), post: "consumer", patched: "consumer"},
	{kind: model.Credentials, path: "/consumers/jill/credentials", id: "c1", setup: [][2]string{{"/consumers", `{"username":"jill"}`}},
		body: text(`{"plugins":{"key-auth":{"key":"auth-two"}}}`), post: "credential", patched: "credential"},
	{kind: model.ConsumerGroups, path: "/consumer_groups", id: "1", body: text(`{"plugins":{"limit-count":{"count":2,"time_window":60}}}`), patch: `{"desc":"d"}`, post: "consumer group"},
	{kind: model.PluginConfigs, path: "/plugin_configs", id: "1", body: text(`{"plugins":{"limit-count":{"count":2,"time_window":60}}}`), patch: `{"desc":"d"}`, post: "plugin config"},
	{kind: model.GlobalRules, path: "/global_rules", id: "1", body: text(`{"plugins":{"limit-count":{"count":2,"time_window":60}}}`), patch: `{"plugins":{"cors":{}}}`, post: "global rule"},
	{kind: model.PluginMetadatas, path: "/plugin_metadata", id: "limit-count", body: text(`{"limit_header":"X-L"}`), post: "plugin_metadata", patched: "plugin_metadata"},
	{kind: model.Secrets, path: "/secrets/vault", id: "1", body: text(`{"uri":"http://127.0.0.1:8200","prefix":"kv/apisix","token":"apisix"}`), patch: `{"token":"other"}`, post: "secret"},
	{kind: model.GraphQLCostDecorations, path: "/services/s/graphql_cost_decorations", id: "1", setup: [][2]string{{"/services/s", `{}`}},
		body: text(`{"field_path":"Query.users"}`), patch: `{"add_value":2}`},
}

// TestEveryMethodOnEveryKind goes through the life of an object of every kind (contract, section 2, the table of resources and the
// envelopes): what a kind does not have is 405, the rest has its status and envelope.
func TestEveryMethodOnEveryKind(t *testing.T) {
	for i := range kindCases {
		k := &kindCases[i]
		t.Run(string(k.kind), func(t *testing.T) {
			f := newFixture(t, func(o *Options) { o.StreamEnabled = true })
			for _, s := range k.setup {
				f.must("PUT", s[0], s[1])
			}
			one := k.path + "/" + k.id
			key := "/apisix" + one
			notFound := func(method, path, body string) {
				t.Helper()
				status, answer := f.send(method, path, body)
				expect(t, status, answer, 404, `{"message":"Key not found"}`)
			}
			refused := func(method, path, name string) {
				t.Helper()
				status, answer := f.send(method, path, k.body())
				expect(t, status, answer, 405, fmt.Sprintf("{\"error_msg\":\"not supported `%s` method for %s\"}", method, name))
			}

			// Nothing is there.
			info, _ := model.Lookup(k.kind)
			status, answer := f.send("GET", k.path, "")
			if info.Parent != "" {
				expect(t, status, answer, 404, `{"message":"Key not found"}`)
			} else {
				expect(t, status, answer, 200, `{"total":0,"list":[]}`)
			}
			notFound("GET", one, "")
			notFound("DELETE", one, "")
			if k.patched == "" {
				notFound("PATCH", one, k.patch)
			}

			// PUT creates, and then updates.
			for _, want := range []int{201, 200} {
				status, answer := f.send("PUT", one, k.body())
				if status != want {
					t.Fatalf("PUT: %d %s, want %d", status, answer, want)
				}
				var it map[string]any
				decodeInto(t, answer, &it)
				if it["key"] != key || len(it) != 2 {
					t.Errorf("PUT answers %s", answer)
				}
			}
			status, answer = f.send("GET", one, "")
			if status != 200 {
				t.Fatalf("GET: %d %s", status, answer)
			}
			var it map[string]any
			decodeInto(t, answer, &it)
			if it["key"] != key || it["createdIndex"] == nil || it["modifiedIndex"] == nil || len(it) != 4 {
				t.Errorf("GET answers %s", answer)
			}
			status, list := f.send("GET", k.path, "")
			expect(t, status, list, 200, `{"total":1,"list":[`+answer+`]}`)

			if k.patched != "" {
				refused("PATCH", one, k.patched)
			} else {
				var patched struct {
					Key   string
					Value map[string]any
				}
				decodeInto(t, f.must("PATCH", one, k.patch), &patched)
				for name, want := range decode(t, k.patch).(map[string]any) {
					if _, nested := want.(map[string]any); !nested && patched.Value[name] != want {
						t.Errorf("PATCH: %s is %v, want %v", name, patched.Value[name], want)
					}
				}
			}

			status, answer = f.send("DELETE", one, "")
			expect(t, status, answer, 200, fmt.Sprintf(`{"key":%q,"deleted":"1"}`, key))
			notFound("DELETE", one, "")

			if k.post != "" {
				refused("POST", k.path, k.post)
				return
			}
			status, answer = f.send("POST", k.path, k.body())
			var posted struct {
				Key   string
				Value map[string]any
			}
			decodeInto(t, answer, &posted)
			id, _ := posted.Value["id"].(string)
			if status != 201 || len(id) != 20 || posted.Key != "/apisix"+k.path+"/"+id {
				t.Errorf("POST: %d %s", status, answer)
			}
			if got := f.value(k.path + "/" + id); got["id"] != id {
				t.Errorf("what was posted: %v", got)
			}
		})
	}
}

// TestOtherMethods asks with methods that no kind has.
func TestOtherMethods(t *testing.T) {
	f := newFixture(t)
	for _, method := range []string{"TRACE", "PURGE", "CONNECT", "PROPFIND"} {
		t.Run(method, func(t *testing.T) {
			status, body := f.send(method, "/routes", "")
			expect(t, status, body, 404, `{"error_msg":"not found"}`)
		})
	}
	if w := f.record("HEAD", "/routes", "", func(r *http.Request) { r.Header.Set("X-API-KEY", adminKey) }); w.Code != 404 || w.Body.Len() != 0 {
		t.Errorf("HEAD: %d %q", w.Code, w.Body)
	}
}

// TestStamps follows create_time and update_time through the methods (apisix/admin/utils.lua).
func TestStamps(t *testing.T) {
	clock := int64(1000)
	f := newFixture(t, func(o *Options) { o.Now = fakeClock(&clock) })
	check := func(step string, create, update string) {
		t.Helper()
		v := f.value("/routes/1")
		if v["create_time"] != json.Number(create) || v["update_time"] != json.Number(update) {
			t.Errorf("%s: created %v, updated %v, want %s, %s", step, v["create_time"], v["update_time"], create, update)
		}
	}
	f.must("PUT", "/routes/1", route(""))
	check("create", "1000", "1000")
	clock = 1010
	f.must("PUT", "/routes/1", route(""))
	check("PUT", "1000", "1010")
	clock = 1020
	f.must("PATCH", "/routes/1", `{"desc":"x"}`)
	check("PATCH", "1000", "1020")
	clock = 1030
	f.must("PATCH", "/routes/1/desc", `"y"`)
	check("PATCH below", "1000", "1030")
	f.must("PATCH", "/routes/1", `{"create_time":5,"update_time":6}`)
	check("PATCH that gives both", "5", "6")
	f.must("PATCH", "/routes/1", `{"create_time":null,"update_time":null}`)
	check("PATCH that removes both", "1030", "1030")
	f.must("PATCH", "/routes/1/update_time", `7`)
	check("PATCH of the field itself", "1030", "1030")

	for _, body := range []string{route(`,"create_time":1`), route(`,"update_time":1`)} {
		name := "create_time"
		if strings.Contains(body, "update_time") {
			name = "update_time"
		}
		for _, m := range [][2]string{{"PUT", "/routes/1"}, {"POST", "/routes"}} {
			status, answer := f.send(m[0], m[1], body)
			expect(t, status, answer, 400, `{"error_msg":"the property is forbidden:  `+name+`"}`)
		}
	}
	status, answer := f.send("PUT", "/plugin_metadata/limit-count", `{"create_time":1}`)
	expect(t, status, answer, 400, `{"error_msg":"the property is forbidden:  create_time"}`)
	status, answer = f.send("PUT", "/routes/1", route(`,"plugins":{"update_time":{}}`))
	expect(t, status, answer, 400, `{"error_msg":"the property is forbidden:  plugins.update_time"}`)
}
