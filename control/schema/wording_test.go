package schema

import (
	"strings"
	"testing"
)

func decode(t testing.TB, doc string) any {
	t.Helper()
	v, err := Decode([]byte(doc))
	if err != nil {
		t.Fatalf("Decode(%s): %v", doc, err)
	}
	return v
}

func resource(t testing.TB, name string) *Schema {
	t.Helper()
	s, ok := Resource(name)
	if !ok {
		t.Fatalf("no schema %q", name)
	}
	return s
}

// routeWithChecks is a route whose upstream has these health checks, as t/admin/health-check.t sends it.
func routeWithChecks(checks string) string {
	return `{"uri":"/x","upstream":{"nodes":{"127.0.0.1:8080":1},"type":"roundrobin","checks":` + checks + `}}`
}

const checksFailed = `property "upstream" validation failed: property "checks" validation failed: `

const long = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" // 64 characters

// TestResourceWording: documents and messages of APISIX's own tests; the file is named in each case.
func TestResourceWording(t *testing.T) {
	nodes := `"upstream":{"scheme":"https","type":"roundrobin","nodes":{"nghttp2.org":1}}`
	tests := []struct {
		source   string
		resource string
		doc      string
		want     string
	}{
		{"t/admin/schema-validate.t TEST 1", "route", `{"uri":"/httpbin/*",` + nodes + `}`, ""},
		{"t/admin/schema-validate.t TEST 2", "route", `{"uri":666,` + nodes + `}`,
			`property "uri" validation failed: wrong type: expected string, got number`},
		{"t/admin/schema-validate.t TEST 3", "route", `{"uri":"",` + nodes + `}`,
			`property "uri" validation failed: string too short, expected at least 1, got 0`},
		{"t/admin/schema-validate.t TEST 4", "route", `{"uris":"foobar",` + nodes + `}`,
			`property "uris" validation failed: wrong type: expected array, got string`},
		{"t/admin/schema-validate.t TEST 5", "route", `{"uris":[],` + nodes + `}`,
			`property "uris" validation failed: expect array to have at least 1 items`},
		{"t/admin/schema-validate.t TEST 6", "route", `{"uris":["/foo","/foo"],` + nodes + `}`,
			`property "uris" validation failed: expected unique items but items 1 and 2 are equal`},
		{"t/admin/schema-validate.t TEST 7", "route", `{` + nodes + `}`,
			`allOf 1 failed: value should match only one schema, but matches none`},
		{"t/admin/schema-validate.t TEST 8", "route", `{"status":3,"uri":"/foo",` + nodes + `}`,
			`property "status" validation failed: matches none of the enum values`},
		{"t/admin/schema-validate.t TEST 9", "route", `{"script":"xxxxxxxxxxxxxxxxxxxxx","plugin_config_id":"foo"}`,
			`allOf 1 failed: value should match only one schema, but matches none`},
		{"t/admin/schema-validate.t TEST 10", "route", `{"plugin_config_id":"@@@@@@@@@@@@@@@@","uri":"/foobar"}`,
			`property "plugin_config_id" validation failed: object matches none of the required`},
		{"t/admin/routes.t TEST 9", "route", `{"methods":["invalid_method"],"uri":"/index.html"}`,
			`property "methods" validation failed: failed to validate item 1: matches none of the enum values`},
		{"t/admin/routes.t TEST 10", "route", `{"service_id":"invalid_id$","uri":"/index.html"}`,
			`property "service_id" validation failed: object matches none of the required`},
		{"t/admin/routes.t TEST 14", "route", `{"id":-100,"uri":"/index.html"}`,
			`property "id" validation failed: object matches none of the required`},
		{"t/admin/routes.t TEST 15", "route", `{"upstream_id":"invalid$","uri":"/index.html"}`,
			`property "upstream_id" validation failed: object matches none of the required`},
		{"t/admin/routes.t TEST 21", "route", `{"host":"a.*.foo.com","uri":"/index.html","plugins":{}}`,
			`property "host" validation failed: failed to match pattern "^\\*$|^\\*?[0-9a-zA-Z-._\\[\\]:]+$" with "a.*.foo.com"`},
		{"t/admin/routes.t TEST 22", "route", `{"host":"*.a.*.foo.com","uri":"/index.html","plugins":{}}`,
			`property "host" validation failed: failed to match pattern "^\\*$|^\\*?[0-9a-zA-Z-._\\[\\]:]+$" with "*.a.*.foo.com"`},
		{"t/admin/routes2.t TEST 1", "route", `{"remote_addrs":[""],"uri":"/index.html","plugins":{}}`,
			`property "remote_addrs" validation failed: failed to validate item 1: object matches none of the required`},
		{"t/admin/routes2.t TEST 2", "route", `{"remote_addrs":["/16"],"uri":"/index.html","plugins":{}}`,
			`property "remote_addrs" validation failed: failed to validate item 1: object matches none of the required`},
		{"t/admin/routes2.t TEST 10", "route", `{"remote_addrs":[],"uri":"/index.html","plugins":{}}`,
			`property "remote_addrs" validation failed: expect array to have at least 1 items`},
		{"t/admin/routes2.t TEST 11", "route", `{"uris":[],"plugins":{}}`,
			`property "uris" validation failed: expect array to have at least 1 items`},
		{"t/admin/routes2.t TEST 12", "route", `{"hosts":[],"uri":"/","plugins":{}}`,
			`property "hosts" validation failed: expect array to have at least 1 items`},
		{"t/admin/routes2.t TEST 16", "route", `{"labels":{"您好":"世 界"},"uri":"/index.html"}`,
			`property "labels" validation failed: failed to validate 您好 (matching ".*"): failed to match pattern "^\\S+$" with "世 界"`},
		{"t/admin/routes3.t TEST 4", "route", `{"remote_addr":"127.0.0.33333","uri":"/index.html","plugins":{}}`,
			`property "remote_addr" validation failed: object matches none of the required`},
		{"t/admin/routes4.t TEST 17", "route", `{"plugins":{"limit-count":{}},"script":"local _M = {} \n return _M","uri":"/index.html"}`,
			`value wasn't supposed to match schema`},
		{"t/admin/routes4.t TEST 21", "route", `{"methods":["GET"],"uri":"/index.html","labels":{"env":["production","release"]}}`,
			`property "labels" validation failed: failed to validate env (matching ".*"): wrong type: expected string, got table`},
		{"t/admin/upstream-array-nodes.t TEST 9", "upstream",
			`{"id":1,"nodes":[{"host":"127.0.0.1","port":8080,"weight":1}],"_service_name":"xyz","_discovery_type":"nacos"}`,
			`additional properties forbidden, found _discovery_type`},
		{"t/admin/upstream-array-nodes.t TEST 10", "upstream", `{"id":1,"nodes":[{"host":"127.0.0.1","port":8080,"weight":"1"}],"type":"chash"}`,
			`property "nodes" validation failed: object matches none of the required`},
		{"t/admin/upstream-array-nodes.t TEST 11", "upstream", `{"id":1,"nodes":[{"host":"127.0.0.1","port":8080,"weight":-100}],"type":"chash"}`,
			`property "nodes" validation failed: object matches none of the required`},
		{"t/admin/upstream-array-nodes.t TEST 12", "upstream", `{"id":1,"nodes":[{"host":"127.0.0.1","port":0,"weight":1}],"type":"chash"}`,
			`property "nodes" validation failed: object matches none of the required`},
		{"t/admin/upstream-array-nodes.t TEST 13", "upstream", `{"id":1,"nodes":[{"host":"127.#.%.1","port":8080,"weight":1}],"type":"chash"}`,
			`property "nodes" validation failed: object matches none of the required`},
		{"t/admin/upstream.t TEST 9", "upstream", `{"id":-100,"nodes":{"127.0.0.1:8080":1},"type":"roundrobin"}`,
			`property "id" validation failed: object matches none of the required`},
		{"t/admin/upstream.t TEST 10", "upstream", `{"id":"invalid_id$","nodes":{"127.0.0.1:8080":1},"type":"roundrobin"}`,
			`property "id" validation failed: object matches none of the required`},
		{"t/admin/upstream.t TEST 14", "upstream", `{"id":1,"nodes":{"127.0.0.1:8080":"1"},"type":"chash"}`,
			`property "nodes" validation failed: object matches none of the required`},
		{"t/admin/upstream.t TEST 15", "upstream", `{"id":1,"nodes":{"127.0.0.1:8080":-100},"type":"chash"}`,
			`property "nodes" validation failed: object matches none of the required`},
		{"t/admin/upstream.t TEST 19", "upstream", `{"nodes":{"127.0.0.1:8080":1},"tls":{"client_cert_id":1,"client_cert":"` +
			strings.Repeat(long, 2) + `","client_key":"` + long + `"}}`,
			`property "tls" validation failed: failed to validate dependent schema for "client_cert_id": value wasn't supposed to match schema`},
		{"t/admin/upstream2.t TEST 9", "upstream", `{"nodes":{"127.0.0.1:8080":1},"timeout":{"connect":0,"send":0,"read":0}}`,
			`property "timeout" validation failed: property "connect" validation failed: expected 0 to be greater than 0`},
		{"t/admin/upstream3.t TEST 2", "upstream", `{"nodes":{"127.0.0.1:8080":1},"retry_timeout":-1}`,
			`property "retry_timeout" validation failed: expected -1 to be at least 0`},
		{"t/admin/upstream3.t TEST 25", "upstream", `{"key":"dsadas","nodes":{"127.0.0.1:8080":1},"type":"chash","hash_on":"aabbcc"}`,
			`property "hash_on" validation failed: matches none of the enum values`},
		{"t/admin/upstream4.t TEST 4", "upstream", `{"id":"*invalid","nodes":{"127.0.0.1:8080":1}}`,
			`property "id" validation failed: object matches none of the required`},
		{"t/admin/upstream4.t TEST 6", "upstream", `{"nodes":{"127.0.0.1:8080":1},"retries":-1}`,
			`property "retries" validation failed: expected -1 to be at least 0`},
		{"t/admin/upstream4.t TEST 11", "upstream", `{"nodes":{"127.0.0.1:8080":1},"labels":{"env":["production","release"]}}`,
			`property "labels" validation failed: failed to validate env (matching ".*"): wrong type: expected string, got table`},
		{"t/admin/services-string-id.t TEST 12", "service", `{"id":"*invalid_id$","plugins":{}}`,
			`property "id" validation failed: object matches none of the required`},
		{"t/admin/services-string-id.t TEST 13", "service", `{"id":"5eeb3dc90f747328b2930b0b","upstream_id":"invalid$"}`,
			`property "upstream_id" validation failed: object matches none of the required`},
		{"t/admin/services.t TEST 11", "service", `{"id":-100,"plugins":{}}`,
			`property "id" validation failed: object matches none of the required`},
		{"t/admin/services.t TEST 33", "service", `{"labels":{"env":["production","release"]},"desc":"new service"}`,
			`property "labels" validation failed: failed to validate env (matching ".*"): wrong type: expected string, got table`},
		{"t/admin/services.t TEST 36", "service", `{"name":"` + strings.Repeat("1", 257) + `"}`,
			`property "name" validation failed: string too long, expected at most 256, got 257`},
		{"t/admin/consumers.t TEST 6", "consumer", `{"id":"jack"}`, `property "username" is required`},
		{"t/admin/consumers.t TEST 9", "consumer", `{"username":"jack","labels":{"env":["production","release"]}}`,
			`property "labels" validation failed: failed to validate env (matching ".*"): wrong type: expected string, got table`},
		{"t/admin/credentials.t TEST 11", "credential", `{"plugins":{"key-auth":{"key":"k"},"basic-auth":{"username":"u","password":"p"}}}`,
			`property "plugins" validation failed: expect object to have at most 1 properties`},
		{"t/admin/ssl.t TEST 6", "ssl", `{"sni":"foo.com"}`, `then clause did not match`},
		{"t/admin/ssl.t TEST 15", "ssl", `{"sni":"test.com","labels":{"env":["production","release"]}}`,
			`property "labels" validation failed: failed to validate env (matching ".*"): wrong type: expected string, got table`},
		{"t/admin/ssl.t TEST 23", "ssl", `{"sni":"test.com","certs":["-----BEGIN CERTIFICATE-----x"],"keys":[]}`,
			`property "certs" validation failed: failed to validate item 1: string too short, expected at least 128, got 28`},
		{"t/admin/ssl2.t TEST 10", "ssl", `{"snis":[]}`,
			`property "snis" validation failed: expect array to have at least 1 items`},
		{"t/admin/ssl5.t TEST 1", "ssl", `{"sni":"test.com","ssl_protocols":["TLSv1.0","TLSv1.2"]}`,
			`property "ssl_protocols" validation failed: failed to validate item 1: matches none of the enum values`},
		{"t/admin/ssl3.t, type client", "ssl", `{"type":"client"}`, `else clause did not match`},
		{"t/admin/global-rules.t TEST 8", "global_rule", `{"id":"1"}`, `property "plugins" is required`},
		{"t/admin/plugin-configs.t TEST 9", "plugin_config", `{"id":"1","labels":"a","plugins":{}}`,
			`property "labels" validation failed: wrong type: expected object, got string`},
		{"t/admin/consumer-group.t TEST 9", "consumer_group", `{"id":"company_a","labels":"a","plugins":{}}`,
			`property "labels" validation failed: wrong type: expected object, got string`},
		{"t/admin/health-check.t TEST 3", "route", routeWithChecks(`{"active":{"healthy":{"successes":255}}}`), checksFailed +
			`property "active" validation failed: property "healthy" validation failed: property "successes" validation failed: expected 255 to be at most 254`},
		{"t/admin/health-check.t TEST 4", "route", routeWithChecks(`{"active":{"healthy":{"successes":0}}}`), checksFailed +
			`property "active" validation failed: property "healthy" validation failed: property "successes" validation failed: expected 0 to be at least 1`},
		{"t/admin/health-check.t TEST 5", "route", routeWithChecks(`{"passive":{"unhealthy":{"http_statuses":[500,600]}}}`), checksFailed +
			`property "passive" validation failed: property "unhealthy" validation failed: property "http_statuses" validation failed: failed to validate item 2: expected 600 to be at most 599`},
		{"t/admin/health-check.t TEST 6", "route", routeWithChecks(`{"active":{"type":"udp"}}`), checksFailed +
			`property "active" validation failed: property "type" validation failed: matches none of the enum values`},
		{"t/admin/health-check.t TEST 7", "route", routeWithChecks(`{"active":{"healthy":{"http_statuses":[200,200]}}}`), checksFailed +
			`property "active" validation failed: property "healthy" validation failed: property "http_statuses" validation failed: expected unique items but items 1 and 2 are equal`},
		{"t/admin/health-check.t TEST 8", "route", routeWithChecks(`{"active":{"unhealthy":{"http_failures":3.1}}}`), checksFailed +
			`property "active" validation failed: property "unhealthy" validation failed: property "http_failures" validation failed: wrong type: expected integer, got number`},
		{"t/admin/health-check.t TEST 11", "route", routeWithChecks(`{"active":{"req_headers":["User-Agent: curl/7.29.0",2233]}}`), checksFailed +
			`property "active" validation failed: property "req_headers" validation failed: failed to validate item 2: wrong type: expected string, got number`},
		{"t/admin/health-check.t TEST 12", "route", routeWithChecks(`{"passive":{"healthy":{"http_statuses":[200,201]}}}`), checksFailed +
			`object matches none of the required: ["active"] or ["active","passive"]`},
	}
	for _, tt := range tests {
		t.Run(tt.source, func(t *testing.T) {
			expectError(t, resource(t, tt.resource).Validate(decode(t, tt.doc)), tt.want)
		})
	}
}

func expectError(t testing.TB, err error, want string) {
	t.Helper()
	got := ""
	if err != nil {
		got = err.Error()
	}
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestSecretManagerWording(t *testing.T) {
	tests := []struct{ source, manager, doc, want string }{
		{"t/admin/secrets.t TEST 8", "vault", `{"uri":"/get","prefix":"apisix","token":"apisix"}`,
			`property "uri" validation failed: failed to match pattern "^[^\\/]+:\\/\\/([\\da-zA-Z.-]+|\\[[\\da-fA-F:]+\\])(:\\d+)?" with "/get"`},
		{"vault, whole", "vault", `{"uri":"http://127.0.0.1:12800/get","prefix":"apisix","token":"apisix"}`, ""},
		{"aws, missing", "aws", `{"access_key_id":"x"}`, `property "secret_access_key" is required`},
		{"gcp, none", "gcp", `{}`, `value should match only one schema, but matches none`},
		{"gcp, both", "gcp", `{"auth_file":"f","auth_config":{"client_email":"e","private_key":"k","project_id":"p"}}`,
			`value should match only one schema, but matches both schemas 1 and 2`},
	}
	for _, tt := range tests {
		t.Run(tt.source, func(t *testing.T) {
			s, ok := Secret(tt.manager)
			if !ok {
				t.Fatalf("no schema for %s", tt.manager)
			}
			expectError(t, s.Validate(decode(t, tt.doc)), tt.want)
		})
	}
	for _, name := range []string{"secret_vault", "common", "nope", "plugin_metadata"} {
		if _, ok := Resource(name); ok {
			t.Errorf("Resource(%q) is known", name)
		}
	}
	if _, ok := Secret("nope"); ok {
		t.Error("Secret(nope) is known")
	}
}
