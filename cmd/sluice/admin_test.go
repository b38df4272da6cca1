package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// adminCase is one request to the Admin API and what it must answer. In want, <n> stands for any number.
type adminCase struct {
	name, method, path, body string
	status                   int
	want                     string
}

var number = regexp.MustCompile(`<n>`)

// compare holds an answer against want; JSON is compared by value, whatever the order of keys.
func (c *adminCase) compare(t *testing.T, status int, got string) {
	t.Helper()
	got = strings.TrimSpace(got)
	pattern := regexp.QuoteMeta(c.want)
	pattern = "^" + number.ReplaceAllString(strings.ReplaceAll(pattern, regexp.QuoteMeta("<n>"), "<n>"), `[0-9]+`) + "$"
	if status != c.status || !regexp.MustCompile(pattern).MatchString(sorted(got)) {
		t.Errorf("%s %s: %d %s\nwant %d %s", c.method, c.path, status, sorted(got), c.status, c.want)
	}
}

// sorted writes JSON with sorted keys; anything else stays.
func sorted(s string) string {
	var v any
	d := json.NewDecoder(strings.NewReader(s))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return s
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(v) != nil {
		return s
	}
	return strings.TrimSpace(b.String())
}

const (
	notThere  = `{"message":"Key not found"}`
	someRoute = `{"uri":"/a","upstream":{"type":"roundrobin","nodes":{"127.0.0.1:1980":1}}}`
)

// TestAdminContract goes through what APISIX 3.18 was seen to answer, and what its documentation and tests say, in this order on one gateway.
func TestAdminContract(t *testing.T) {
	p := startProcess(t, t.TempDir(), "")
	up := `"upstream":{"nodes":{"127.0.0.1:1980":1},"type":"roundrobin"}`
	stamp := `"create_time":<n>`
	cases := []adminCase{
		{"empty list", "GET", "/routes", "", 200, `{"list":[],"total":0}`},
		{"create", "PUT", "/routes/1", someRoute, 201, `{"key":"/apisix/routes/1","value":{` + stamp + `,"id":"1","update_time":<n>,` + up + `,"uri":"/a"}}`},
		{"update", "PUT", "/routes/1", someRoute, 200, `{"key":"/apisix/routes/1","value":{` + stamp + `,"id":"1","update_time":<n>,` + up + `,"uri":"/a"}}`},
		{"get", "GET", "/routes/1", "", 200, `{"createdIndex":<n>,"key":"/apisix/routes/1","modifiedIndex":<n>,"value":{` + stamp + `,"id":"1","update_time":<n>,` + up + `,"uri":"/a"}}`},
		{"list", "GET", "/routes", "", 200, `{"list":[{"createdIndex":<n>,"key":"/apisix/routes/1","modifiedIndex":<n>,"value":{` + stamp + `,"id":"1","update_time":<n>,` + up + `,"uri":"/a"}}],"total":1}`},
		{"id in the body", "PUT", "/routes", `{"id":2,` + someRoute[1:], 201, `{"key":"/apisix/routes/2","value":{` + stamp + `,"id":"2","update_time":<n>,` + up + `,"uri":"/a"}}`},
		{"ids disagree", "PUT", "/routes/1", `{"id":"2",` + someRoute[1:], 400, `{"error_msg":"wrong route id"}`},
		{"a slash in the id", "PUT", "/routes/a%2Fb", someRoute, 400, `{"error_msg":"invalid configuration: property \"id\" validation failed: object matches none of the required"}`},
		{"no id", "PUT", "/routes", someRoute, 400, `{"error_msg":"missing route id"}`},
		{"POST makes an id", "POST", "/routes", someRoute, 201, `{"key":"/apisix/routes/<n>","value":{` + stamp + `,"id":"<n>","update_time":<n>,` + up + `,"uri":"/a"}}`},
		{"POST with an id", "POST", "/routes/9", someRoute, 400, `{"error_msg":"wrong route id, do not need it"}`},
		{"patch", "PATCH", "/routes/1", `{"desc":"new","upstream":{"nodes":{"127.0.0.1:1981":1}}}`, 200,
			`{"key":"/apisix/routes/1","value":{` + stamp + `,"desc":"new","id":"1","update_time":<n>,"upstream":{"nodes":{"127.0.0.1:1980":1,"127.0.0.1:1981":1},"type":"roundrobin"},"uri":"/a"}}`},
		{"patch removes by null", "PATCH", "/routes/1", `{"desc":null,"upstream":{"nodes":{"127.0.0.1:1981":null}}}`, 200,
			`{"key":"/apisix/routes/1","value":{` + stamp + `,"id":"1","update_time":<n>,` + up + `,"uri":"/a"}}`},
		{"patch a sub path", "PATCH", "/routes/1/upstream/nodes", `{"127.0.0.1:1982":1}`, 200,
			`{"key":"/apisix/routes/1","value":{` + stamp + `,"id":"1","update_time":<n>,"upstream":{"nodes":{"127.0.0.1:1982":1},"type":"roundrobin"},"uri":"/a"}}`},
		{"patch something absent", "PATCH", "/routes/nope", `{"desc":"x"}`, 404, notThere},
		{"patch without id", "PATCH", "/routes", `{"desc":"x"}`, 400, `{"error_msg":"missing route id"}`},
		{"patch without body", "PATCH", "/routes/1", "", 400, `{"error_msg":"missing new configuration"}`},
		{"patch into something invalid", "PATCH", "/routes/1", `{"uri":5}`, 400, `{"error_msg":"invalid configuration: property \"uri\" validation failed: wrong type: expected string, got number"}`},
		{"get something absent", "GET", "/routes/nope", "", 404, notThere},
		{"delete something absent", "DELETE", "/routes/nope", "", 404, notThere},
		{"delete without id", "DELETE", "/routes", "", 400, `{"error_msg":"missing route id"}`},
		{"delete", "DELETE", "/routes/2", "", 200, `{"deleted":"1","key":"/apisix/routes/2"}`},
		{"unknown resource", "GET", "/nosuch", "", 404, `{"error_msg":"Unsupported resource type: nosuch"}`},
		{"no body", "PUT", "/routes/1", "", 400, `{"error_msg":"missing configurations"}`},
		{"wrong type", "PUT", "/routes/1", `{"uri":1}`, 400, `{"error_msg":"invalid configuration: property \"uri\" validation failed: wrong type: expected string, got number"}`},
		// APISIX, docs/en/latest/certificate.md: certificates come with their line breaks in the string.
		{"line breaks in a string", "PUT", "/routes/1", "{\"desc\":\"a\n\tb\"," + someRoute[1:], 200,
			`{"key":"/apisix/routes/1","value":{` + stamp + `,"desc":"a\n\tb","id":"1","update_time":<n>,` + up + `,"uri":"/a"}}`},
		{"unknown field", "PUT", "/routes/1", `{"bogus":1,` + someRoute[1:], 400, `{"error_msg":"invalid configuration: additional properties forbidden, found bogus"}`},
		{"unknown plugin", "PUT", "/routes/1", `{"plugins":{"nope":{}},` + someRoute[1:], 400, `{"error_msg":"unknown plugin [nope]"}`},
		{"plugin configuration", "PUT", "/routes/1", `{"plugins":{"limit-count":{"count":-1,"time_window":1}},` + someRoute[1:], 400, ""},
		{"missing service", "PUT", "/routes/1", `{"uri":"/a","service_id":"x"}`, 400, `{"error_msg":"failed to fetch service info by service id [x], response code: 404"}`},
		{"missing upstream", "PUT", "/routes/1", `{"uri":"/a","upstream_id":"x"}`, 400, `{"error_msg":"failed to fetch upstream info by upstream id [x], response code: 404"}`},
		{"missing plugin_config", "PUT", "/routes/1", `{"plugin_config_id":"x",` + someRoute[1:], 400, `{"error_msg":"failed to fetch plugin config info by plugin config id [x], response code: 404"}`},
		{"timestamps are forbidden", "PUT", "/routes/1", `{"create_time":1,` + someRoute[1:], 400, `{"error_msg":"the property is forbidden:  create_time"}`},
		{"timestamps in the upstream", "PUT", "/routes/1", `{"uri":"/a","upstream":{"create_time":1,"type":"roundrobin","nodes":{"127.0.0.1:1980":1}}}`, 400, `{"error_msg":"the property is forbidden:  upstream.create_time"}`},
		{"ttl", "PUT", "/routes/1?ttl=x", someRoute, 400, `{"error_msg":"invalid argument ttl: should be a number"}`},
		{"page_size", "GET", "/routes?page=1&page_size=5", "", 400, `page_size must be between 10 and 500`},
		{"filter", "GET", "/routes?filter=service_id%3Dx", "", 200, `{"list":[],"total":0}`},

		{"upstream", "PUT", "/upstreams/u", `{"type":"roundrobin","nodes":{"127.0.0.1:1980":1}}`, 201, `{"key":"/apisix/upstreams/u","value":{` + stamp + `,"id":"u","nodes":{"127.0.0.1:1980":1},"type":"roundrobin","update_time":<n>}}`},
		{"chash needs a key", "PUT", "/upstreams/v", `{"type":"chash","nodes":{"127.0.0.1:1980":1}}`, 400, `{"error_msg":"missing key"}`},
		{"service", "PUT", "/services/s", `{"upstream_id":"u"}`, 201, `{"key":"/apisix/services/s","value":{` + stamp + `,"id":"s","update_time":<n>,"upstream_id":"u"}}`},
		{"route of a service", "PUT", "/routes/r", `{"uri":"/r","service_id":"s"}`, 201, ""},
		{"service in use", "DELETE", "/services/s", "", 400, `{"error_msg":"can not delete this service directly, route [r] is still using it now"}`},
		{"upstream in use", "DELETE", "/upstreams/u", "", 400, `{"error_msg":"can not delete this upstream, service [s] is still using it now"}`},
		{"force", "DELETE", "/services/s?force=true", "", 200, `{"deleted":"1","key":"/apisix/services/s"}`},

		{"consumers have no POST", "POST", "/consumers", `{"username":"jack"}`, 405, "{\"error_msg\":\"not supported `POST` method for consumer\"}"},
		{"consumer", "PUT", "/consumers", `{"username":"jack"}`, 201, `{"key":"/apisix/consumers/jack","value":{` + stamp + `,"update_time":<n>,"username":"jack"}}`},
		{"consumer with id in the path", "PUT", "/consumers/jack", `{"username":"jack","desc":"d"}`, 200, `{"key":"/apisix/consumers/jack","value":{` + stamp + `,"desc":"d","update_time":<n>,"username":"jack"}}`},
		{"wrong username", "PUT", "/consumers/jill", `{"username":"jack"}`, 400, `{"error_msg":"wrong username"}`},
		{"credential of nobody", "PUT", "/consumers/nobody/credentials/c", `{"plugins":{"key-auth":{"key":"k"}}}`, 404, `{"error_msg":"consumer not found"}`},
		{"credential", "PUT", "/consumers/jack/credentials/c1", `{"plugins":{"key-auth":{"key":"jack-key"}}}`, 201, ""},
		{"credential is decrypted on GET", "GET", "/consumers/jack/credentials/c1", "", 200,
			`{"createdIndex":<n>,"key":"/apisix/consumers/jack/credentials/c1","modifiedIndex":<n>,"value":{` + stamp + `,"id":"c1","plugins":{"key-auth":{"key":"jack-key"}},"update_time":<n>}}`},
		{"only auth plugins", "PUT", "/consumers/jack/credentials/c2", `{"plugins":{"cors":{}}}`, 400, `{"error_msg":"only supports auth type plugins in consumer credential"}`},
		{"a key that is taken", "PUT", "/consumers", `{"username":"jill","plugins":{"key-auth":{"key":"jack-key"}}}`, 400, `{"error_msg":"duplicate key of plugin key-auth found with credential: c1 of consumer: jack"}`},
		{"consumers without credentials in the list", "GET", "/consumers", "", 200, `{"list":[{"createdIndex":<n>,"key":"/apisix/consumers/jack","modifiedIndex":<n>,"value":{` + stamp + `,"desc":"d","update_time":<n>,"username":"jack"}}],"total":1}`},
		{"delete cascades", "DELETE", "/consumers/jack", "", 200, `{"deleted":"1","key":"/apisix/consumers/jack"}`},
		{"credentials are gone", "GET", "/consumers/jack/credentials", "", 404, notThere},

		{"consumer group", "PUT", "/consumer_groups/g", `{"plugins":{"cors":{}}}`, 201, ""},
		{"consumer in the group", "PUT", "/consumers", `{"username":"ann","group_id":"g"}`, 201, ""},
		{"consumer group in use", "DELETE", "/consumer_groups/g", "", 400, `{"error_msg":"can not delete this consumer group, consumer [ann] is still using it now"}`},
		{"missing consumer group", "PUT", "/consumers", `{"username":"bob","group_id":"x"}`, 400, `{"error_msg":"failed to fetch consumer group info by consumer group id [x], response code: 404"}`},
		{"consumer groups have no POST", "POST", "/consumer_groups", `{"plugins":{}}`, 405, "{\"error_msg\":\"not supported `POST` method for consumer group\"}"},
		{"plugin config", "PUT", "/plugin_configs/p", `{"plugins":{"cors":{}}}`, 201, ""},
		{"plugin configs have no POST", "POST", "/plugin_configs", `{"plugins":{}}`, 405, "{\"error_msg\":\"not supported `POST` method for plugin config\"}"},
		{"global rule", "PUT", "/global_rules/1", `{"plugins":{"request-id":{}}}`, 201, ""},
		{"global rules have no POST", "POST", "/global_rules", `{"plugins":{}}`, 405, "{\"error_msg\":\"not supported `POST` method for global rule\"}"},
		{"plugin metadata", "PUT", "/plugin_metadata/limit-count", `{"limit_header":"X-L"}`, 201, `{"key":"/apisix/plugin_metadata/limit-count","value":{"id":"limit-count","limit_header":"X-L"}}`},
		{"labels to disable: APISIX, t/plugin/prometheus-label-filter.t TEST 1", "PUT", "/plugin_metadata/prometheus", `{"disabled_labels":{"http_status":["route","node"],"bandwidth":["node"],"llm_latency":["consumer"]}}`, 201, ""},
		{"a label that must stay: TEST 6", "PUT", "/plugin_metadata/prometheus", `{"disabled_labels":{"http_status":["code"]}}`, 400,
			`{"error_msg":"invalid configuration: property \"disabled_labels\" validation failed: property \"http_status\" validation failed: failed to validate item 1: matches none of the enum values"}`},
		{"a metric that there is not: TEST 7", "PUT", "/plugin_metadata/prometheus", `{"disabled_labels":{"unknown_metric":["node"]}}`, 400,
			`{"error_msg":"invalid configuration: property \"disabled_labels\" validation failed: additional properties forbidden, found unknown_metric"}`},
		{"plugin metadata of nothing", "PUT", "/plugin_metadata/nope", `{}`, 400, `{"error_msg":"invalid plugin name"}`},
		{"plugin metadata has no PATCH", "PATCH", "/plugin_metadata/limit-count", `{}`, 405, "{\"error_msg\":\"not supported `PATCH` method for plugin_metadata\"}"},
		{"proto", "PUT", "/protos/1", `{"content":"syntax = \"proto3\";"}`, 201, ""},
		{"protos have no PATCH", "PATCH", "/protos/1", `{}`, 405, "{\"error_msg\":\"not supported `PATCH` method for proto\"}"},
		{"secret", "PUT", "/secrets/vault/1", `{"uri":"http://127.0.0.1:8200","prefix":"kv/apisix","token":"t"}`, 201,
			`{"key":"/apisix/secrets/vault/1","value":{` + stamp + `,"id":"vault/1","prefix":"kv/apisix","token":"t","update_time":<n>,"uri":"http://127.0.0.1:8200"}}`},
		{"unknown secret manager", "PUT", "/secrets/nope/1", `{}`, 400, `{"error_msg":"invalid secret manager: nope"}`},
		{"secrets have no POST", "POST", "/secrets/vault/1", `{}`, 405, "{\"error_msg\":\"not supported `POST` method for secret\"}"},
		{"stream routes without the stream proxy", "GET", "/stream_routes", "", 400, `{"error_msg":"stream mode is disabled, can not add stream routes"}`},

		{"unknown schema", "GET", "/schema/nope", "", 400, `{"error_msg":"not found schema: nope"}`},
		{"validate", "POST", "/schema/validate/routes", someRoute, 200, ""},
		{"validate something wrong", "POST", "/schema/validate/routes", `{"uri":5}`, 400, `{"error_msg":"property \"uri\" validation failed: wrong type: expected string, got number"}`},
		{"validate a document", "POST", "/configs/validate", `{"routes":[{"id":"1",` + someRoute[1:] + `]}`, 200, `{}`},
		{"validate a wrong document", "POST", "/configs/validate", `{"routes":[{"id":"1","uri":5}]}`, 400,
			`{"error_msg":"Configuration validation failed","errors":[{"error":"invalid configuration: property \"uri\" validation failed: wrong type: expected string, got number","index":0,"resource_id":"1","resource_type":"routes"}]}`},
		{"reload", "PUT", "/plugins/reload", "", 200, `done`},
		{"reload by GET", "GET", "/plugins/reload", "", 405, `{"error_msg":"please use PUT method to reload the plugins, GET method is not allowed."}`},
		{"plugins by priority", "GET", "/plugins/list", "", 200, `["request-id","fault-injection","cors","ip-restriction","key-auth","consumer-restriction","proxy-rewrite","limit-conn","limit-count","limit-req","redirect","response-rewrite","prometheus","echo"]`},
		{"a plugin that is not there", "GET", "/plugins/nope", "", 404, `{"error_msg":"plugin not found in subsystem http"}`},
		{"standalone is another mode", "GET", "/configs", "", 404, `{"error_msg":"Unsupported resource type: configs"}`},
	}
	for i := range cases {
		c := &cases[i]
		t.Run(c.name, func(t *testing.T) {
			status, body := p.admin(c.method, c.path, c.body)
			if c.want == "" {
				if status != c.status {
					t.Errorf("%s %s: %d %s, want %d", c.method, c.path, status, body, c.status)
				}
				return
			}
			c.compare(t, status, body)
		})
	}
	t.Run("invalid JSON", func(t *testing.T) {
		status, body := p.admin("PUT", "/routes/1", `{"uri":`)
		if status != 400 || !strings.Contains(body, `"error_msg":"invalid request body: `) || !strings.Contains(body, `"req_body":"{\"uri\":"`) {
			t.Errorf("%d %s", status, body)
		}
	})
	t.Run("too large a body", func(t *testing.T) {
		status, body := p.admin("PUT", "/routes/1", `{"desc":"`+strings.Repeat("x", 3<<19)+`"}`)
		if status != 400 || !strings.Contains(body, "is greater than the maximum size") {
			t.Errorf("%d %.200s", status, body)
		}
	})
}

// TestAdminEveryMethod sends every method to every kind and compares with the table of apisix-contract section 2: what a kind does not have is 405.
func TestAdminEveryMethod(t *testing.T) {
	p := startProcess(t, t.TempDir(), "\n")
	for kind, missing := range map[string]string{"routes": "", "services": "", "upstreams": "", "ssls": "", "protos": "PATCH", "consumers": "POST PATCH",
		"consumer_groups": "POST", "plugin_configs": "POST", "global_rules": "POST", "plugin_metadata": "POST PATCH", "secrets/vault": "POST",
		"consumers/jack/credentials": "POST PATCH"} {
		for _, method := range []string{"GET", "PUT", "POST", "PATCH", "DELETE"} {
			t.Run(kind+" "+method, func(t *testing.T) {
				status, body := p.admin(method, "/"+kind+"/x", `{}`)
				if refused := strings.Contains(missing, method) && !strings.Contains(missing, "PATCH") || strings.Contains(" "+missing+" ", " "+method+" "); refused != (status == 405) {
					t.Errorf("%d %s", status, body)
				}
				if !json.Valid([]byte(body)) {
					t.Errorf("not JSON: %s", body)
				}
				if status >= 500 {
					t.Errorf("%d %s", status, body)
				}
			})
		}
	}
}

// TestAdminAccess tests keys, roles and addresses.
func TestAdminAccess(t *testing.T) {
	p := startProcess(t, t.TempDir(), "")
	ask := func(method, path, key string, set func(*http.Request)) (int, string, http.Header) {
		req, err := http.NewRequest(method, "http://"+p.addrs["Admin API"]+"/apisix/admin"+path, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		if key != "" {
			req.Header.Set("X-API-KEY", key)
		}
		if set != nil {
			set(req)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var b [4096]byte
		n, _ := resp.Body.Read(b[:])
		return resp.StatusCode, strings.TrimSpace(string(b[:n])), resp.Header
	}
	refused := func(why string) string {
		return fmt.Sprintf(`{"description":"%s","error_msg":"failed to check token"}`, why)
	}
	for _, tc := range []struct {
		name, method, path, key string
		set                     func(*http.Request)
		status                  int
		want                    string
	}{
		{"missing", "GET", "/routes", "", nil, 401, refused("missing apikey")},
		{"wrong", "GET", "/routes", "nope", nil, 401, refused("wrong apikey")},
		{"header", "GET", "/routes", p.key, nil, 200, ""},
		{"argument", "GET", "/routes?api_key=" + p.key, "", nil, 200, ""},
		{"cookie", "GET", "/routes", "", func(r *http.Request) { r.AddCookie(&http.Cookie{Name: "x_api_key", Value: p.key}) }, 200, ""},
		{"HEAD without a key", "HEAD", "", "", nil, 200, ""},
		{"OPTIONS", "OPTIONS", "/routes", "", nil, 200, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			status, body, h := ask(tc.method, tc.path, tc.key, tc.set)
			if status != tc.status || tc.want != "" && sorted(body) != tc.want {
				t.Errorf("%d %s", status, body)
			}
			if h.Get("Server") != "APISIX/3.18.0" || h.Get("Access-Control-Allow-Origin") != "*" {
				t.Errorf("fields %v", h)
			}
		})
	}
}

// rolesConfig has a key of each role and lets only one client address in, through the older form of the answers.
const rolesConfig = `
apisix:
  node_listen: [{ip: 127.0.0.1, port: 0}]
  enable_control: false
deployment:
  admin:
    admin_listen: {ip: 127.0.0.1, port: 0}
    admin_api_version: v2
    allow_admin: [%s]
    admin_key:
      - {name: boss, key: boss-key-of-this-test, role: admin}
      - {name: guest, key: guest-key-of-this-test, role: viewer}
plugin_attr:
  prometheus:
    export_addr: {ip: 127.0.0.1, port: 0}
sluice:
  data_dir: %s
`

func startRoles(t *testing.T, allow string) *process {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p, err := runProcess(t, path, dir, fmt.Sprintf(rolesConfig, allow, dir))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestAdminRoles tests that a viewer reads and nothing else, and the answers of admin_api_version v2 (apisix/admin/v3_adapter.lua).
func TestAdminRoles(t *testing.T) {
	p := startRoles(t, "127.0.0.1")
	const viewer, admin = "guest-key-of-this-test", "boss-key-of-this-test"
	refused := `{"description":"invalid method for role viewer","error_msg":"failed to check token"}`
	stored := `"key":"/apisix/routes/1","value":{"create_time":<n>,"id":"1","update_time":<n>,"upstream":{"nodes":{"127.0.0.1:1980":1},"type":"roundrobin"},"uri":"/a"}`
	for _, tc := range []struct {
		key string
		adminCase
	}{
		{viewer, adminCase{"viewer PUT", "PUT", "/routes/1", someRoute, 401, refused}},
		{viewer, adminCase{"viewer POST", "POST", "/routes", someRoute, 401, refused}},
		{viewer, adminCase{"viewer PATCH", "PATCH", "/routes/1", `{"desc":"x"}`, 401, refused}},
		{viewer, adminCase{"viewer DELETE", "DELETE", "/routes/1", "", 401, refused}},
		{viewer, adminCase{"viewer GET", "GET", "/routes/1", "", 404, notThere}},
		{admin, adminCase{"create", "PUT", "/routes/1", someRoute, 201, `{"action":"set","node":{` + stored + `}}`}},
		{viewer, adminCase{"get", "GET", "/routes/1", "", 200, `{"action":"get","node":{"createdIndex":<n>,` + strings.Replace(stored, `"value"`, `"modifiedIndex":<n>,"value"`, 1) + `}}`}},
		{viewer, adminCase{"list", "GET", "/routes", "", 200,
			`{"action":"get","node":{"dir":true,"key":"/apisix/routes","nodes":[{"createdIndex":<n>,` +
				strings.Replace(stored, `"value"`, `"modifiedIndex":<n>,"value"`, 1) + `}]}}`}},
		{admin, adminCase{"delete", "DELETE", "/routes/1", "", 200, `{"action":"delete","deleted":"1","key":"/apisix/routes/1","node":{}}`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p.key = tc.key
			status, body := p.admin(tc.method, tc.path, tc.body)
			tc.compare(t, status, body)
		})
	}
}

// TestAdminAllow tests that an address outside of allow_admin is refused before its key is looked at.
func TestAdminAllow(t *testing.T) {
	p := startRoles(t, "192.0.2.0/24")
	for _, key := range []string{"", "wrong", "boss-key-of-this-test"} {
		p.key = key
		if status, body := p.admin("GET", "/routes", ""); status != 403 {
			t.Errorf("key %q: %d %s, want 403", key, status, body)
		}
	}
}
