package compile

import (
	"testing"

	"github.com/sluice-gateway/sluice/control/model"
	"github.com/sluice-gateway/sluice/control/schema"
)

// TestCheckObject quotes the messages of apisix/admin/*.lua, apisix/plugin.lua, apisix/upstream.lua and apisix/consumer.lua of
// APISIX 3.18.
func TestCheckObject(t *testing.T) {
	w := newWorld(t)
	w.put("/upstreams/u", `{"type":"roundrobin","nodes":{"127.0.0.1:80":1}}`)
	w.put("/services/s", `{"upstream_id":"u"}`)
	w.put("/services/g", `{"plugins":{"limit":{"count":5,"group":"g"}}}`)
	w.put("/global_rules/1", `{"plugins":{"limit":{"count":1}}}`)
	w.put("/consumers/jack", `{"username":"jack","plugins":{"door":{"key":"jacks"}}}`)
	w.put("/credentials/jack/credentials/c1", `{"plugins":{"door":{"key":"c1s"}}}`)
	w.put("/ssls/server", `{"type":"server","sni":"a.test","cert":"$env://A","key":"$env://B"}`)
	w.put("/stream_routes/1", `{"protocol":{"name":"redis"}}`)
	const hashVars = `"^((uri|server_name|server_addr|request_uri|remote_port|remote_addr|query_string|host|hostname|mqtt_client_id)|arg_[0-9a-zA-z_-]+)$"`
	for _, tt := range []struct{ name, key, doc, want string }{
		{"good", "/routes/1", `{"uri":"/","upstream_id":"u","service_id":"s","plugins":{"limit":{"count":1}},"vars":[["a","==","b"]]}`, ""},
		{"numeric reference", "/routes/1", `{"uri":"/","upstream_id":7}`,
			"failed to fetch upstream info by upstream id [7], response code: 404"},
		{"host and hosts", "/routes/1", `{"uri":"/","host":"a","hosts":["b"],"upstream_id":"u"}`, "only one of host or hosts is allowed"},
		{"remote_addr and remote_addrs", "/routes/1", `{"uri":"/","remote_addr":"127.0.0.1","remote_addrs":["127.0.0.2"],"upstream_id":"u"}`,
			"only one of remote_addr or remote_addrs is allowed"},
		{"schema", "/routes/1", `{"uri":1,"upstream_id":"u"}`,
			`invalid configuration: property "uri" validation failed: wrong type: expected string, got number`},
		{"service", "/routes/1", `{"uri":"/","service_id":"x"}`, "failed to fetch service info by service id [x], response code: 404"},
		{"plugin config", "/routes/1", `{"uri":"/","upstream_id":"u","plugin_config_id":"x"}`,
			"failed to fetch plugin config info by plugin config id [x], response code: 404"},
		{"unknown plugin", "/routes/1", `{"uri":"/","plugins":{"nope":{}}}`, "unknown plugin [nope]"},
		{"stream plugin on a route", "/routes/1", `{"uri":"/","plugins":{"tap":{}}}`, "unknown plugin [tap]"},
		{"plugin schema", "/routes/1", `{"uri":"/","plugins":{"limit":{"count":0}}}`,
			`failed to check the configuration of plugin limit err: property "count" validation failed: expected 0 to be at least 1`},
		{"plugin of another type", "/routes/1", `{"uri":"/","plugins":{"limit":1}}`, "invalid plugin conf 1 for plugin [limit]"},
		{"plugin check", "/routes/1", `{"uri":"/","plugins":{"limit":{"count":13}}}`,
			"failed to check the configuration of plugin limit err: 13 is unlucky"},
		{"disabled plugin", "/routes/1", `{"uri":"/","plugins":{"limit":{"count":13,"_meta":{"disable":true}}}}`, ""},
		{"_meta", "/routes/1", `{"uri":"/","plugins":{"limit":{"count":1,"_meta":{"disable":"yes"}}}}`,
			`failed to check the configuration of plugin limit err: property "_meta" validation failed: ` +
				`property "disable" validation failed: wrong type: expected boolean, got string`},
		{"_meta of another type", "/routes/1", `{"uri":"/","plugins":{"limit":{"count":1,"_meta":1}}}`,
			`failed to check the configuration of plugin limit err: property "_meta" validation failed: wrong type: expected object, got number`},
		{"_meta.filter", "/routes/1", `{"uri":"/","plugins":{"limit":{"count":1,"_meta":{"filter":["bad"]}}}}`,
			"failed to validate the 'vars' expression: bad expression"},
		{"vars", "/routes/1", `{"uri":"/","upstream_id":"u","vars":["bad"]}`, "failed to validate the 'vars' expression: bad expression"},
		{"chash without key", "/upstreams/1", `{"type":"chash","nodes":{"127.0.0.1:80":1}}`, "missing key"},
		{"chash key", "/upstreams/1", `{"type":"chash","hash_on":"header","key":"a b","nodes":{"127.0.0.1:80":1}}`,
			`invalid configuration: failed to match pattern "^[a-zA-Z0-9-_]+$" with "a b"`},
		{"chash on consumer", "/upstreams/1", `{"type":"chash","hash_on":"consumer","nodes":{"127.0.0.1:80":1}}`, ""},
		{"port", "/routes/1", `{"uri":"/","upstream":{"type":"roundrobin","nodes":{"127.0.0.1:65536":1}}}`, "invalid port 65536"},
		{"port 0", "/upstreams/1", `{"type":"roundrobin","nodes":{"127.0.0.1:0":1}}`, "invalid port 0"},
		{"port 65536 with IPv6", "/upstreams/1", `{"nodes":{"[::1]:65536":1}}`, "invalid port 65536"},
		{"port of letters", "/upstreams/1", `{"nodes":{"a:http":1}}`, "invalid port http"},
		{"port with a sign", "/upstreams/1", `{"nodes":{"a:+80":1}}`, "invalid port +80"},
		{"no port", "/upstreams/1", `{"nodes":{"a":1,"[::1]":1,"::1":1}}`, ""},
		{"node without a host", "/upstreams/1", `{"nodes":{"":1}}`, "invalid configuration: a node needs a host, not an empty string"},
		{"t/admin/upstream.t TEST 23", "/upstreams/1", `{"nodes":[{"host":"::1","port":1980,"weight":1}]}`,
			"invalid configuration: IPv6 address must be enclosed with '[' and ']'"},
		{"IPv6 in brackets", "/upstreams/1", `{"nodes":[{"host":"[::1]","port":1980,"weight":1}]}`, ""},
		{"IPv6 in a route's upstream", "/routes/1", `{"uri":"/x","upstream":{"nodes":[{"host":"::1","port":1980,"weight":1}]}}`,
			"invalid configuration: IPv6 address must be enclosed with '[' and ']'"},
		{"chash by combination", "/upstreams/1", `{"nodes":{"a:1":1},"type":"chash","hash_on":"vars_combinations","key":"$uri$host"}`, ""},
		{"chash by argument", "/upstreams/1", `{"nodes":{"a:1":1},"type":"chash","key":"arg_device-id"}`, ""},
		{"t/admin/upstream3.t TEST 13", "/upstreams/1", `{"nodes":{"a:1":1},"type":"chash","key":"not_support"}`,
			"invalid configuration: failed to match pattern " + hashVars + ` with "not_support"`},
		{"t/admin/upstream3.t TEST 22", "/upstreams/1", `{"nodes":{"a:1":1},"type":"chash","hash_on":"cookie","key":"$#^@abc"}`,
			`invalid configuration: failed to match pattern "^[a-zA-Z0-9-_]+$" with "$#^@abc"`},
		{"no client certificate by reference", "/upstreams/1", `{"nodes":{"a:1":1},"tls":{"client_cert":"$env://C","client_key":"$env://K"}}`,
			"failed to parse cert: PEM_read_bio_X509_AUX() failed"},
		{"script", "/services/1", `{"script":"local _M = {} return _M"}`, "failed to load 'script' string: Lua code is not supported, use plugins"},
		{"t/admin/routes3.t TEST 18", "/routes/1", `{"uri":"/x","plugins":{},"filter_func":"function(vars) "}`,
			"failed to load 'filter_func' string: Lua code is not supported, write the condition as vars"},
		{"stream route", "/stream_routes/2", `{"remote_addr":"10.0.0.0/8","server_addr":"::1","upstream_id":"u"}`, ""},
		{"stream route, prefix too long", "/stream_routes/2", `{"remote_addr":"::1/200","upstream_id":"u"}`, "invalid remote_addr: ::1/200"},
		{"graphql field path", "/graphql_cost_decorations/1", `{"field_path":"Query..x"}`,
			`invalid configuration: property "field_path" validation failed: failed to match pattern "^[A-Za-z_][A-Za-z0-9_]*(\\.[A-Za-z_][A-Za-z0-9_]*)*$" with "Query..x"`},
		{"upstream_host", "/upstreams/1", `{"type":"roundrobin","nodes":{"127.0.0.1:80":1},"pass_host":"rewrite"}`,
			"`upstream_host` can't be empty when `pass_host` is `rewrite`"},
		{"client certificate", "/upstreams/1", `{"type":"roundrobin","nodes":{"127.0.0.1:80":1},"tls":{"client_cert_id":"x"}}`,
			"failed to fetch ssl info by ssl id [x], response code: 404"},
		{"server certificate", "/upstreams/1", `{"type":"roundrobin","nodes":{"127.0.0.1:80":1},"tls":{"client_cert_id":"server"}}`,
			"failed to fetch ssl info by ssl id [server], wrong ssl type"},
		{"certificate", "/ssls/1", `{"sni":"a.test","cert":"` + padded("x") + `","key":"` + padded("y") + `"}`, "failed to parse cert: PEM_read_bio_X509_AUX() failed"},
		{"wrong username", "/consumers/jack", `{"username":"rose"}`, "wrong username"},
		{"plugin of a consumer", "/consumers/rose", `{"username":"rose","plugins":{"door":{}}}`,
			`invalid plugins configuration: failed to check the configuration of plugin door err: property "key" is required`},
		{"duplicate of a consumer", "/consumers/rose", `{"username":"rose","plugins":{"door":{"key":"jacks"}}}`,
			"duplicate key of plugin door found with consumer: jack"},
		{"duplicate of a credential", "/consumers/rose", `{"username":"rose","plugins":{"door":{"key":"c1s"}}}`,
			"duplicate key of plugin door found with credential: c1 of consumer: jack"},
		{"no duplicate of itself", "/consumers/jack", `{"username":"jack","plugins":{"door":{"key":"jacks"}}}`, ""},
		{"no duplicate of its credential", "/consumers/jack", `{"username":"jack","plugins":{"door":{"key":"c1s"}}}`, ""},
		{"credential with its consumer's key", "/credentials/jack/credentials/c2", `{"plugins":{"door":{"key":"jacks"}}}`,
			"duplicate key of plugin door found with consumer: jack"},
		{"credential as it is", "/credentials/jack/credentials/c1", `{"plugins":{"door":{"key":"c1s"}}}`, ""},
		{"references are no duplicates", "/consumers/rose", `{"username":"rose","plugins":{"door":{"key":"$env://X"}}}`, ""},
		{"group", "/consumers/rose", `{"username":"rose","group_id":"x"}`,
			"failed to fetch consumer group info by consumer group id [x], response code: 404"},
		{"credential of another sort", "/credentials/jack/credentials/c1", `{"plugins":{"echo":{}}}`,
			"only supports auth type plugins in consumer credential"},
		{"global rule", "/global_rules/2", `{"id":"2","plugins":{"limit":{"count":1}}}`, "plugin 'limit' already exists in global rule with id '1'"},
		{"global rule as it is", "/global_rules/1", `{"id":"1","plugins":{"limit":{"count":1}}}`, ""},
		{"metadata", "/plugin_metadata/logger", `{"size":"x"}`,
			`invalid configuration: property "size" validation failed: wrong type: expected integer, got string`},
		{"metadata of an unknown plugin", "/plugin_metadata/nope", `{}`, "invalid plugin name"},
		{"secret manager", "/secrets/nope/1", `{}`, "invalid secret manager: nope"},
		{"stream plugin", "/stream_routes/2", `{"plugins":{"limit":{"count":1}}}`, "unknown plugin [limit]"},
		{"superior", "/stream_routes/2", `{"protocol":{"name":"redis","superior_id":"9"}}`, "failed to fetch stream routes[9], response code: 404"},
		{"own superior", "/stream_routes/2", `{"protocol":{"name":"redis","superior_id":"2"}}`, "stream route can not set itself as superior_id"},
		{"superior of another protocol", "/stream_routes/2", `{"protocol":{"name":"dubbo","superior_id":"1"}}`,
			"protocol mismatch: subordinate protocol [dubbo] does not match superior protocol [redis]"},
		// t/plugin/limit-count.t of APISIX, "group conf mismatched".
		{"the same in the group", "/routes/1", `{"uri":"/","plugins":{"limit":{"count":5,"window":60,"group":"g"}}}`, ""},
		{"_meta does not matter", "/routes/1", `{"uri":"/","plugins":{"limit":{"count":5,"group":"g","_meta":{"priority":3}}}}`, ""},
		{"something else in the group", "/routes/1", `{"uri":"/","plugins":{"limit":{"count":6,"group":"g"}}}`,
			"failed to check the configuration of plugin limit err: group conf mismatched"},
		{"another group", "/routes/1", `{"uri":"/","plugins":{"limit":{"count":6,"group":"h"}}}`, ""},
		{"the only member changes", "/services/g", `{"plugins":{"limit":{"count":6,"group":"g"}}}`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := testCompiler(t, nil, nil)
			var got string
			if err := c.CheckObject(keyOf(t, tt.key), decode(t, tt.doc), w.objects, CheckOptions{}); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
	t.Run("without references", func(t *testing.T) {
		c := testCompiler(t, nil, nil)
		for _, tt := range []struct{ key, doc string }{
			{"/routes/1", `{"uri":"/","upstream_id":"x","service_id":"x","plugin_config_id":"x"}`},
			{"/consumers/rose", `{"username":"rose","group_id":"x","plugins":{"door":{"key":"jacks"}}}`},
			{"/global_rules/2", `{"id":"2","plugins":{"limit":{"count":1}}}`},
			{"/upstreams/1", `{"type":"roundrobin","nodes":{"127.0.0.1:80":1},"tls":{"client_cert_id":"x"}}`},
			{"/stream_routes/2", `{"protocol":{"name":"redis","superior_id":"9"}}`},
		} {
			if err := c.CheckObject(keyOf(t, tt.key), decode(t, tt.doc), nil, CheckOptions{SkipReferences: true}); err != nil {
				t.Errorf("%s: %v", tt.key, err)
			}
		}
	})
}

func padded(s string) string {
	for len(s) < 200 {
		s += s
	}
	return s
}

func TestCheckObjectLeavesTheDocumentAlone(t *testing.T) {
	c := testCompiler(t, map[string]string{"E": "e"}, nil)
	const text = `{"uri":"/","plugins":{"limit":{"count":1,"secret":"$env://E","_meta":{"priority":1}}},"upstream":{"type":"roundrobin","nodes":{"a.test":1}}}`
	doc := decode(t, text)
	if err := c.CheckObject(model.Key{Kind: model.Routes, ID: "1"}, doc, NewObjects(0, nil), CheckOptions{}); err != nil {
		t.Fatal(err)
	}
	if got, want := encode(doc), encode(decode(t, text)); got != want {
		t.Errorf("document is now %s, was %s", got, want)
	}
}

func FuzzCheckObject(f *testing.F) {
	for _, seed := range []string{
		`{"uri":"/","upstream":{"type":"chash","key":"arg_a","nodes":{"[::1]:80":1,"a:":0}},"plugins":{"limit":{"count":1.0,"_meta":{"priority":1e3}}}}`,
		`{"uris":["/a"],"plugins":{"door":{},"echo":{"a":["$env://A/b",{"c":"$ENV://A"}]}},"vars":[]}`,
		`{"username":"x","plugins":{"door":{"key":"$secret://vault/1/a"}}}`,
		`{"plugins":[]}`, `{"plugins":{"limit":[]}}`, `[]`,
	} {
		f.Add(seed)
	}
	c := testCompiler(f, map[string]string{"A": `{"b":{"c":1}}`}, nil)
	w := newWorld(f)
	w.put("/consumers/jack", `{"username":"jack","plugins":{"door":{"key":"jacks"}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		for _, info := range model.Kinds() {
			key := model.Key{Kind: info.Kind, ID: "x"}
			o := NewObjects(0, nil)
			if doc, err := schema.Decode([]byte(text)); err == nil {
				// No panic, and what a write accepts compiles.
				accepted := c.CheckObject(key, doc, w.objects, CheckOptions{SkipReferences: true}) == nil
				ww := &world{t, o}
				ww.putKey(key, text)
				r := c.Compile(nil, ww.objects)
				e := r.kinds[key.Kind].entries[0]
				if accepted && e.err != nil {
					t.Errorf("%s: accepted %s, but %v", key, text, e.err)
				}
			}
		}
	})
}
