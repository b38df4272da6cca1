package adminapi

import (
	"strings"
	"testing"
)

// step is one request and its answer. Steps of a case run in order on one API.
type step struct {
	method, path, body string
	status             int
	// want is the answer; "*" takes any.
	want string
}

// contractCase is what APISIX 3.18 was seen to answer, or what its own tests expect; from says where.
type contractCase struct {
	name, from string
	steps      []step
}

func errorMsg(s string) string { return `{"error_msg":"` + strings.ReplaceAll(s, `"`, `\"`) + `"}` }

const (
	up       = `"upstream":{"type":"roundrobin","nodes":{"127.0.0.1:1980":1}}`
	upObject = `{"type":"roundrobin","nodes":{"127.0.0.1:1980":1}}`
	stamps   = `"create_time":"<n>","update_time":"<n>"`
	indexes  = `"createdIndex":"<n>","modifiedIndex":"<n>"`
	keyGone  = `{"message":"Key not found"}`
)

// put is a step of the setup.
func put(path, body string) step { return step{"PUT", path, body, 201, "*"} }

// bad is a PUT that is refused.
func bad(path, body, message string) step { return step{"PUT", path, body, 400, errorMsg(message)} }

var contractCases = []contractCase{
	// Envelopes.
	{"create, update, read, list, delete", "contract 2, envelopes; t/admin/routes.t tests 1 to 4", []step{
		{"GET", "/routes", "", 200, `{"total":0,"list":[]}`},
		{"PUT", "/routes/1", route(`,"desc":"new route"`), 201, `{"key":"/apisix/routes/1","value":{"id":"1",` + stamps + `,"uri":"/a","desc":"new route",` + up + `}}`},
		{"PUT", "/routes/1", route(``), 200, `{"key":"/apisix/routes/1","value":{"id":"1",` + stamps + `,"uri":"/a",` + up + `}}`},
		{"GET", "/routes/1", "", 200, `{"key":"/apisix/routes/1",` + indexes + `,"value":{"id":"1",` + stamps + `,"uri":"/a",` + up + `}}`},
		{"GET", "/routes", "", 200, `{"total":1,"list":[{"key":"/apisix/routes/1",` + indexes + `,"value":{"id":"1",` + stamps + `,"uri":"/a",` + up + `}}]}`},
		{"DELETE", "/routes/1", "", 200, `{"key":"/apisix/routes/1","deleted":"1"}`},
		{"GET", "/routes/1", "", 404, keyGone},
		{"DELETE", "/routes/1", "", 404, keyGone},
		{"PATCH", "/routes/1", `{"desc":"x"}`, 404, keyGone},
	}},
	{"POST makes an id", "contract 2, ids; t/admin/routes.t test 5", []step{
		{"POST", "/routes", route(``), 201, `{"key":"/apisix/routes/<id>","value":{"id":"<id>",` + stamps + `,"uri":"/a",` + up + `}}`},
	}},
	{"no defaults are written", "contract 2, envelopes", []step{
		{"PUT", "/upstreams/1", upObject, 201, `{"key":"/apisix/upstreams/1","value":{"id":"1",` + stamps + `,"type":"roundrobin","nodes":{"127.0.0.1:1980":1}}}`},
		{"PUT", "/routes/1", `{"uri":"/a","upstream_id":1,"plugins":{"key-auth":{}}}`, 201, `{"key":"/apisix/routes/1","value":{"id":"1",` + stamps + `,"uri":"/a","upstream_id":1,"plugins":{"key-auth":{}}}}`},
	}},

	// Ids.
	{"id in the body only", "contract 2, ids", []step{
		{"PUT", "/routes", `{"id":1,"uri":"/a",` + up + `}`, 201, `{"key":"/apisix/routes/1","value":{"id":"1",` + stamps + `,"uri":"/a",` + up + `}}`},
		{"PUT", "/routes", `{"id":"not_a-number.1","uri":"/a",` + up + `}`, 201, "*"},
		{"PUT", "/routes/5", `{"id":5,"uri":"/a",` + up + `}`, 201, "*"},
	}},
	{"ids that are refused", "contract 2, ids; t/admin/routes.t tests 6 to 9", []step{
		bad("/routes/1", `{"id":"3","uri":"/a",`+up+`}`, "wrong route id"),
		bad("/routes", route(``), "missing route id"),
		{"POST", "/routes/1", route(``), 400, errorMsg("wrong route id, do not need it")},
		{"POST", "/routes", `{"id":1,"uri":"/a",` + up + `}`, 400, errorMsg("wrong route id, do not need it")},
		bad("/routes/*invalid", route(``), `invalid configuration: property "id" validation failed: object matches none of the required`),
		bad("/routes/"+strings.Repeat("a", 65), route(``), `invalid configuration: property "id" validation failed: object matches none of the required`),
		bad("/routes/a%2Fb", route(``), `invalid configuration: property "id" validation failed: object matches none of the required`),
		{"DELETE", "/routes", "", 400, errorMsg("missing route id")},
		{"PATCH", "/routes", "{}", 400, errorMsg("missing route id")},
		{"POST", "/services/1", `{` + up + `}`, 400, errorMsg("wrong service id, do not need it")},
		bad("/upstreams/1", `{"id":"2","type":"roundrobin","nodes":{"127.0.0.1:1980":1}}`, "wrong upstream id"),
		bad("/consumers/jack/credentials", `{"plugins":{"key-auth":{"key":"k"}}}`, "missing credential id"),
	}},
	{"unknown resource", "contract 2, envelopes; t/admin/routes.t test \"not unwanted data\"", []step{
		{"GET", "/nosuch", "", 404, errorMsg("Unsupported resource type: nosuch")},
		{"PUT", "/routs/1", route(``), 404, errorMsg("Unsupported resource type: routs")},
		{"GET", "/configs", "", 404, errorMsg("Unsupported resource type: configs")},
		{"PUT", "/configs", "{}", 404, errorMsg("Unsupported resource type: configs")},
		{"GET", "/credentials/1", "", 404, errorMsg("Unsupported resource type: credentials")},
	}},

	// Bodies.
	{"body that is not JSON", "contract 2, errors; t/admin/routes_request_body.t", []step{
		{"PUT", "/routes/1", `{"uri":`, 400, `{"error_msg":"invalid request body: expected a value but found the end at character 8","req_body":"{\"uri\":"}`},
		{"POST", "/routes", `abc`, 400, `{"error_msg":"invalid request body: expected a value but found 'a' at character 1","req_body":"abc"}`},
		{"PUT", "/routes/1", `{"uri":"/a","uri":"/b"}`, 400, `{"error_msg":"invalid request body: duplicate key \"uri\" at character 13","req_body":"{\"uri\":\"/a\",\"uri\":\"/b\"}"}`},
		{"DELETE", "/routes/1", `{`, 400, `*`},
	}},
	{"no body", "contract 2, errors", []step{
		bad("/routes/1", "", "missing configurations"),
		bad("/routes", "", "missing configurations"),
		bad("/routes/1", "null", "missing configurations"),
		{"POST", "/routes", "", 400, errorMsg("missing configurations")},
		put("/routes/1", route(``)),
		{"PATCH", "/routes/1", "", 400, errorMsg("missing new configuration")},
		{"PATCH", "/routes/1", "5", 400, errorMsg("invalid configuration")},
	}},
	{"body that is no object", "schema of the resources", []step{
		bad("/routes/1", `"text"`, "invalid configuration: wrong type: expected object, got string"),
		bad("/routes/1", `5`, "invalid configuration: wrong type: expected object, got number"),
		bad("/routes/1", `true`, "invalid configuration: wrong type: expected object, got boolean"),
		bad("/routes/1", `[1]`, "invalid configuration: wrong type: expected object, got table"),
	}},
	{"body above 1.5 MiB", "t/admin/routes4.t", []step{
		bad("/routes/1", `{"desc":"`+strings.Repeat("x", 1678025-11)+`"}`, "invalid request body: request size 1678025 is greater than the maximum size 1572864 allowed"),
	}},
	{"ttl", "contract 2, resources; t/admin/routes.t", []step{
		bad("/routes/1?ttl=nope", route(``), "invalid argument ttl: should be a number"),
		put("/routes/1?ttl=60", route(``)),
		{"POST", "/routes?ttl=60", route(``), 201, "*"},
		{"PATCH", "/routes/1?ttl=60", `{"desc":"x"}`, 200, "*"},
	}},

	// Schema errors.
	{"wrong type", "contract 2, errors", []step{bad("/routes/1", `{"uri":1}`, `invalid configuration: property "uri" validation failed: wrong type: expected string, got number`)}},
	{"unknown field", "contract 2, errors", []step{bad("/routes/1", route(`,"bogus":1`), "invalid configuration: additional properties forbidden, found bogus")}},
	{"required", "contract 2, errors; t/admin/consumers.t", []step{
		bad("/consumers", `{}`, `invalid configuration: property "username" is required`),
		bad("/consumer_groups/1", `{}`, `invalid configuration: property "plugins" is required`)}},
	{"minimum", "t/admin/upstream2.t", []step{
		bad("/upstreams/1", `{"type":"roundrobin","nodes":{"127.0.0.1:1980":1},"retries":-1}`, `invalid configuration: property "retries" validation failed: expected -1 to be at least 0`)}},
	{"enum", "t/admin/routes.t", []step{
		bad("/routes/1", route(`,"methods":["GETT"]`), `invalid configuration: property "methods" validation failed: failed to validate item 1: matches none of the enum values`)}},
	{"labels", "t/admin/routes3.t", []step{
		bad("/routes/1", route(`,"labels":{"env":["a"]}`), `invalid configuration: property "labels" validation failed: failed to validate env (matching ".*"): wrong type: expected string, got table`),
		bad("/routes/1", route(`,"labels":"a"`), `invalid configuration: property "labels" validation failed: wrong type: expected object, got string`)}},
	{"nodes", "t/admin/upstream-array-nodes.t", []step{
		bad("/upstreams/1", `{"type":"roundrobin","nodes":[{"host":"127.0.0.1","port":80}]}`, `invalid configuration: property "nodes" validation failed: object matches none of the required`)}},
	{"name too long", "t/admin/routes2.t", []step{
		bad("/routes/1", route(`,"name":"`+strings.Repeat("1", 257)+`"`), `invalid configuration: property "name" validation failed: string too long, expected at most 256, got 257`)}},
	{"one of two fields", "t/admin/routes.t", []step{
		bad("/routes/1", route(`,"host":"a.com","hosts":["b.com"]`), "only one of host or hosts is allowed"),
		bad("/routes/1", route(`,"remote_addr":"127.0.0.1","remote_addrs":["127.0.0.1"]`), "only one of remote_addr or remote_addrs is allowed")}},
	{"chash without key", "t/admin/upstream.t", []step{
		bad("/upstreams/1", `{"type":"chash","nodes":{"127.0.0.1:1980":1}}`, "missing key"),
		bad("/routes/1", `{"uri":"/a","upstream":{"type":"chash","nodes":{"127.0.0.1:1980":1}}}`, "missing key")}},
	{"a private key that is none", "t/admin/ssl.t", []step{
		{"PUT", "/ssls/1", `{"sni":"test.com"}`, 400, errorMsg("invalid configuration: then clause did not match")}}},

	// Plugins.
	{"unknown plugin", "contract 2, errors", []step{
		bad("/routes/1", route(`,"plugins":{"nope":{}}`), "unknown plugin [nope]"),
		bad("/consumers", `{"username":"jack","plugins":{"nope":{}}}`, "invalid plugins configuration: unknown plugin [nope]"),
		bad("/global_rules/1", `{"plugins":{"nope":{}}}`, "unknown plugin [nope]")}},
	{"a plugin's configuration", "contract 2, errors; t/admin/plugin-configs.t", []step{
		bad("/routes/1", route(`,"plugins":{"limit-count":{"count":2}}`), `failed to check the configuration of plugin limit-count err: property "time_window" is required`),
		bad("/routes/1", route(`,"plugins":{"limit-count":{"count":2,"time_window":60,"group":"unlucky"}}`), `failed to check the configuration of plugin limit-count err: group conf mismatched`),
		bad("/consumers", `{"username":"jack","plugins":{"key-auth":{}}}`, `invalid plugins configuration: failed to check the configuration of plugin key-auth err: property "key" is required`)}},
	{"plugin metadata", "contract 2, resources; t/admin/plugin-metadata.t", []step{
		{"PUT", "/plugin_metadata/limit-count", `{"limit_header":"X-L"}`, 201, `{"key":"/apisix/plugin_metadata/limit-count","value":{"id":"limit-count","limit_header":"X-L"}}`},
		bad("/plugin_metadata", `{"k":"v"}`, "missing plugin name"),
		bad("/plugin_metadata/nope", `{"k":"v"}`, "invalid plugin name"),
		bad("/plugin_metadata/limit-count", `{"limit_header":1}`, `invalid configuration: property "limit_header" validation failed: wrong type: expected string, got number`)}},
	{"a plugin in two global rules", "t/admin/global-rules-conflict.t", []step{
		put("/global_rules/1", `{"plugins":{"cors":{}}}`),
		bad("/global_rules/2", `{"plugins":{"cors":{}}}`, "plugin 'cors' already exists in global rule with id '1'"),
		{"PUT", "/global_rules/1", `{"plugins":{"cors":{}}}`, 200, "*"}}},

	// References.
	{"what is not there", "contract 2, errors", []step{
		bad("/routes/1", `{"uri":"/a","service_id":"x"}`, "failed to fetch service info by service id [x], response code: 404"),
		bad("/routes/1", `{"uri":"/a","upstream_id":"9999999999"}`, "failed to fetch upstream info by upstream id [9999999999], response code: 404"),
		bad("/routes/1", route(`,"plugin_config_id":"not_found"`), "failed to fetch plugin config info by plugin config id [not_found], response code: 404"),
		bad("/services/1", `{"upstream_id":"x"}`, "failed to fetch upstream info by upstream id [x], response code: 404"),
		bad("/consumers", `{"username":"jack","group_id":"x"}`, "failed to fetch consumer group info by consumer group id [x], response code: 404"),
		bad("/upstreams/1", `{"type":"roundrobin","nodes":{"127.0.0.1:1980":1},"tls":{"client_cert_id":"9999999"}}`, "failed to fetch ssl info by ssl id [9999999], response code: 404"),
		{"PUT", "/consumers/nobody/credentials/c", `{"plugins":{"key-auth":{"key":"k"}}}`, 404, errorMsg("consumer not found")}}},
	{"what is in use: upstream", "contract 2, errors; t/admin/upstream-force-delete.t", []step{
		put("/upstreams/1", upObject), put("/services/1", `{"upstream_id":1}`), put("/routes/1", `{"uri":"/a","upstream_id":"1"}`),
		{"DELETE", "/upstreams/1", "", 400, errorMsg("can not delete this upstream, route [1] is still using it now")},
		{"DELETE", "/routes/1", "", 200, "*"},
		{"DELETE", "/upstreams/1", "", 400, errorMsg("can not delete this upstream, service [1] is still using it now")},
		{"DELETE", "/upstreams/1?force=anyvalue", "", 400, errorMsg("can not delete this upstream, service [1] is still using it now")},
		{"DELETE", "/upstreams/1?force=true", "", 200, `{"key":"/apisix/upstreams/1","deleted":"1"}`}}},
	{"what is in use: upstream of traffic-split", "t/admin/upstream4.t, upstream5.t", []step{
		put("/upstreams/1", upObject),
		put("/routes/1", route(`,"plugins":{"traffic-split":{"rules":[{"weighted_upstreams":[{"upstream_id":1,"weight":1}]}]}}`)),
		{"DELETE", "/upstreams/1", "", 400, errorMsg("can not delete this upstream, plugin in route [1] is still using it now")},
		{"DELETE", "/routes/1", "", 200, "*"},
		put("/plugin_configs/1", `{"plugins":{"traffic-split":{"rules":[{"weighted_upstreams":[{"weight":1},{"upstream_id":"1","weight":1}]}]}}}`),
		{"DELETE", "/upstreams/1", "", 400, errorMsg("can not delete this upstream, plugin in plugin_config [1] is still using it now")},
		{"DELETE", "/plugin_configs/1", "", 200, "*"},
		put("/global_rules/1", `{"plugins":{"traffic-split":{"rules":[{"weighted_upstreams":[{"upstream_id":1,"weight":1}]}]}}}`),
		{"DELETE", "/upstreams/1", "", 400, errorMsg("can not delete this upstream, plugin in global_rules [1] is still using it now")}}},
	{"what is in use: service", "contract 2, errors; t/admin/services-force-delete.t", []step{
		put("/services/1", `{`+up+`}`), put("/routes/r", `{"uri":"/a","service_id":1}`),
		{"DELETE", "/services/1", "", 400, errorMsg("can not delete this service directly, route [r] is still using it now")},
		{"DELETE", "/services/1?force=true", "", 200, "*"}}},
	{"what is in use: plugin config", "t/admin/plugin-configs-force-delete.t", []step{
		put("/plugin_configs/1", `{"plugins":{}}`), put("/routes/1", route(`,"plugin_config_id":1`)),
		{"DELETE", "/plugin_configs/1", "", 400, errorMsg("can not delete this plugin config, route [1] is still using it now")}}},
	{"what is in use: consumer group", "t/admin/consumer-group-force-delete.t", []step{
		put("/consumer_groups/1", `{"plugins":{}}`), put("/consumers", `{"username":"foobar","group_id":"1"}`),
		{"DELETE", "/consumer_groups/1", "", 400, errorMsg("can not delete this consumer group, consumer [foobar] is still using it now")}}},
	{"what is in use: proto", "t/admin/protos-force-delete.t", []step{
		put("/protos/1", `{"content":"syntax = \"proto3\";"}`), put("/routes/2", route(`,"plugins":{"grpc-transcode":{"proto_id":"1"}}`)),
		{"DELETE", "/protos/1", "", 400, errorMsg("can not delete this proto, route [2] is still using it now")}}},

	// Consumers and credentials.
	{"consumers", "contract 2, resources; t/admin/consumers.t", []step{
		{"PUT", "/consumers", `{"username":"jack","desc":"new consumer"}`, 201, `{"key":"/apisix/consumers/jack","value":{` + stamps + `,"username":"jack","desc":"new consumer"}}`},
		{"PUT", "/consumers/jack", `{"username":"jack"}`, 200, `{"key":"/apisix/consumers/jack","value":{` + stamps + `,"username":"jack"}}`},
		bad("/consumers/jack1", `{"username":"jack"}`, "wrong username"),
		{"POST", "/consumers", `{"username":"jack"}`, 405, "{\"error_msg\":\"not supported `POST` method for consumer\"}"},
		{"DELETE", "/consumers", "", 400, errorMsg("missing consumer id")}}},
	{"credentials", "t/admin/credentials.t tests 1 to 16", []step{
		put("/consumers", `{"username":"jack"}`),
		put("/consumers/jack/credentials/credential_a", `{"plugins":{"basic-auth":{"username":"the-user","password":"the-password"}}}`),
		put("/consumers/jack/credentials/credential_b", `{"plugins":{"key-auth":{"key":"the-key"}}}`),
		bad("/consumers/jack/credentials/credential_b", `{"plugins":{"limit-count":{"count":2,"time_window":60}}}`, "only supports auth type plugins in consumer credential"),
		bad("/consumers/jack/credentials/xx", `{"plugins":{"key-auth":{"key":"a"},"basic-auth":{"username":"a","password":"b"}}}`,
			`invalid configuration: property "plugins" validation failed: expect object to have at most 1 properties`),
		{"GET", "/consumers", "", 200, `{"total":1,"list":[{"key":"/apisix/consumers/jack",` + indexes + `,"value":{` + stamps + `,"username":"jack"}}]}`},
		{"GET", "/consumers/jack/credentials/credential_b", "", 200,
			`{"key":"/apisix/consumers/jack/credentials/credential_b",` + indexes + `,"value":{"id":"credential_b",` + stamps + `,"plugins":{"key-auth":{"key":"the-key"}}}}`},
		{"PUT", "/consumers/jack/credentials", `{"id":"in-the-body","plugins":{"key-auth":{"key":"p7a3k6r4t9"}}}`, 201, "*"},
		{"DELETE", "/consumers/jack/credentials/credential_a", "", 200, `{"key":"/apisix/consumers/jack/credentials/credential_a","deleted":"1"}`},
		{"DELETE", "/consumers/jack", "", 200, `{"key":"/apisix/consumers/jack","deleted":"1"}`},
		{"GET", "/consumers/jack/credentials", "", 404, keyGone},
		{"DELETE", "/consumers/jack/credentials/credential_b", "", 404, keyGone}}},
	{"keys that are taken", "t/admin/credentials.t tests 17 to 24; t/admin/consumers2.t", []step{
		put("/consumers", `{"username":"alex"}`), put("/consumers", `{"username":"bob","plugins":{"key-auth":{"key":"key-of-bob"}}}`),
		put("/consumers/alex/credentials/cred-alex-a", `{"plugins":{"key-auth":{"key":"key-of-alex"}}}`),
		bad("/consumers/bob/credentials/c", `{"plugins":{"key-auth":{"key":"key-of-alex"}}}`, "duplicate key of plugin key-auth found with credential: cred-alex-a of consumer: alex"),
		bad("/consumers/alex/credentials/c", `{"plugins":{"key-auth":{"key":"key-of-bob"}}}`, "duplicate key of plugin key-auth found with consumer: bob"),
		bad("/consumers", `{"username":"carl","plugins":{"key-auth":{"key":"key-of-alex"}}}`, "duplicate key of plugin key-auth found with credential: cred-alex-a of consumer: alex"),
		{"PUT", "/consumers/alex/credentials/cred-alex-a", `{"plugins":{"key-auth":{"key":"key-of-alex"}}}`, 200, "*"},
		bad("/consumers/alex/credentials/c", `{"plugins":{"key-auth":{"key":"key-of-alex"}}}`, "duplicate key of plugin key-auth found with credential: cred-alex-a of consumer: alex"),
		bad("/consumers/bob/credentials/c", `{"plugins":{"key-auth":{"key":"key-of-bob"}}}`, "duplicate key of plugin key-auth found with consumer: bob")}},

	// Secrets.
	{"secrets", "contract 2, resources; t/admin/secrets.t", []step{
		{"PUT", "/secrets/vault/test1", `{"uri":"http://127.0.0.1:12800/get","prefix":"apisix","token":"apisix"}`, 201,
			`{"key":"/apisix/secrets/vault/test1","value":{"id":"vault/test1",` + stamps + `,"uri":"http://127.0.0.1:12800/get","prefix":"apisix","token":"apisix"}}`},
		{"GET", "/secrets/vault/test1", "", 200,
			`{"key":"/apisix/secrets/vault/test1",` + indexes + `,"value":{"id":"vault/test1",` + stamps + `,"uri":"http://127.0.0.1:12800/get","prefix":"apisix","token":"apisix"}}`},
		{"GET", "/secrets", "", 200, "*"},
		{"PATCH", "/secrets/vault/test1", `{"token":"unknown"}`, 200, "*"},
		{"PATCH", "/secrets/vault/test1/token", `"again"`, 200,
			`{"key":"/apisix/secrets/vault/test1","value":{"id":"vault/test1",` + stamps + `,"uri":"http://127.0.0.1:12800/get","prefix":"apisix","token":"again"}}`},
		{"PATCH", "/secrets/vault", `{}`, 400, errorMsg("no secret id")},
		{"PATCH", "/secrets", `{}`, 400, errorMsg("no secret id")},
		bad("/secrets/nope/1", `{}`, "invalid secret manager: nope"),
		bad("/secrets/vault/1", `{"prefix":"a","token":"b"}`, `invalid configuration: property "uri" is required`),
		bad("/secrets/vault", `{}`, "missing secret id"),
		{"DELETE", "/secrets/vault/test1", "", 200, `{"key":"/apisix/secrets/vault/test1","deleted":"1"}`},
		{"DELETE", "/secrets/vault", "", 400, errorMsg("missing secret id")}}},

	// GraphQL cost decorations.
	{"cost decorations", "t/admin/graphql-cost-decorations.t", []step{
		{"PUT", "/services/s1/graphql_cost_decorations/d1", `{"field_path":"Query.products"}`, 404, errorMsg("service not found")},
		put("/services/s1", `{`+up+`}`), put("/services/s2", `{`+up+`}`),
		{"PUT", "/services/s1/graphql_cost_decorations/d1", `{"field_path":"Query.products","add_value":2}`, 201,
			`{"key":"/apisix/services/s1/graphql_cost_decorations/d1","value":{"id":"d1",` + stamps + `,"service_id":"s1","field_path":"Query.products","add_value":2}}`},
		bad("/services/s1/graphql_cost_decorations/d2", `{"field_path":"Query.x","service_id":"s2"}`, "wrong service_id, it is taken from the path"),
		bad("/services/s1/graphql_cost_decorations/d2", `{"field_path":"Query.products"}`, "field_path Query.products is already decorated on this service by [d1]"),
		put("/services/s2/graphql_cost_decorations/d1", `{"field_path":"Query.products"}`),
		{"POST", "/services/s1/graphql_cost_decorations", `{"field_path":"Query.orders"}`, 201, "*"},
		{"PATCH", "/services/s1/graphql_cost_decorations/d1", `{"add_value":9}`, 200,
			`{"key":"/apisix/services/s1/graphql_cost_decorations/d1","value":{"id":"d1",` + stamps + `,"service_id":"s1","field_path":"Query.products","add_value":9}}`},
		{"PATCH", "/services/s1/graphql_cost_decorations/d1", `{"service_id":"s2"}`, 400, errorMsg("service_id can not be patched")},
		{"PATCH", "/services/s1/graphql_cost_decorations/d1", `{"field_path":"Query.orders"}`, 400, "*"},
		{"DELETE", "/services/s1", "", 200, "*"},
		{"GET", "/services/s1/graphql_cost_decorations/d1", "", 404, keyGone},
		{"GET", "/services/s2/graphql_cost_decorations/d1", "", 200, "*"}}},

	// PATCH.
	{"patch", "contract 2, PATCH; t/admin/routes2.t, t/admin/upstream3.t", []step{
		put("/routes/1", `{"uri":"/a","methods":["GET"],`+up+`}`),
		{"PATCH", "/routes/1", `{"desc":"new","upstream":{"nodes":{"127.0.0.1:1981":1}}}`, 200,
			`{"key":"/apisix/routes/1","value":{"id":"1",` + stamps + `,"uri":"/a","methods":["GET"],"desc":"new","upstream":{"type":"roundrobin","nodes":{"127.0.0.1:1980":1,"127.0.0.1:1981":1}}}}`},
		{"PATCH", "/routes/1", `{"methods":["GET",null,null,null],"upstream":{"nodes":{"127.0.0.1:1980":null}}}`, 400, "*"},
		{"PATCH", "/routes/1", `{"desc":null,"methods":["PUT"],"upstream":{"nodes":{"127.0.0.1:1980":null}}}`, 200,
			`{"key":"/apisix/routes/1","value":{"id":"1",` + stamps + `,"uri":"/a","methods":["PUT"],"upstream":{"type":"roundrobin","nodes":{"127.0.0.1:1981":1}}}}`},
		{"PATCH", "/routes/1/methods", `["GET","DELETE"]`, 200,
			`{"key":"/apisix/routes/1","value":{"id":"1",` + stamps + `,"uri":"/a","methods":["GET","DELETE"],"upstream":{"type":"roundrobin","nodes":{"127.0.0.1:1981":1}}}}`},
		{"PATCH", "/routes/1/upstream/nodes", `[{"host":"127.0.0.1","port":80,"weight":1}]`, 200,
			`{"key":"/apisix/routes/1","value":{"id":"1",` + stamps + `,"uri":"/a","methods":["GET","DELETE"],"upstream":{"type":"roundrobin","nodes":[{"host":"127.0.0.1","port":80,"weight":1}]}}}`},
		{"PATCH", "/routes/1/plugins/cors", `{}`, 200, "*"},
		{"GET", "/routes/1", "", 200,
			`{"key":"/apisix/routes/1",` + indexes + `,"value":{"id":"1",` + stamps + `,"uri":"/a","methods":["GET","DELETE"],"plugins":{"cors":{}},"upstream":{"type":"roundrobin","nodes":[{"host":"127.0.0.1","port":80,"weight":1}]}}}`},
		{"PATCH", "/routes/1/labels/env/", `"prod"`, 200, "*"},
		{"PATCH", "/routes/1/labels/env", `null`, 200, "*"},
		{"PATCH", "/routes/1/labels", `null`, 200, "*"},
		{"PATCH", "/routes/1/upstream/nodes/0/host", `"127.0.0.2"`, 400, errorMsg("invalid sub-path: /upstream/nodes")},
		{"PATCH", "/routes/1/uri/x", `1`, 400, errorMsg("invalid sub-path: /uri")},
		{"PATCH", "/routes/1/bogus", `1`, 400, errorMsg("invalid configuration: additional properties forbidden, found bogus")},
		{"PATCH", "/routes/1", `{"id":"2"}`, 400, errorMsg("wrong route id")},
		{"PATCH", "/routes/1", `{"uri":5}`, 400, errorMsg(`invalid configuration: property "uri" validation failed: wrong type: expected string, got number`)}}},

	// Schemas and plugins.
	{"schemas", "contract 2, resources; t/admin/schema.t", []step{
		{"GET", "/schema/nope", "", 400, errorMsg("not found schema: nope")},
		{"GET", "/schema/route", "", 200, "*"}, {"GET", "/schema/service", "", 200, "*"}, {"GET", "/schema/upstream", "", 200, "*"},
		{"GET", "/schema/consumer", "", 200, "*"}, {"GET", "/schema/ssl", "", 200, "*"}, {"GET", "/schema/stream_route", "", 200, "*"},
		{"PUT", "/schema/route", "{}", 404, errorMsg("not found")},
		{"GET", "/schema/plugins/limit-count", "", 200, "*"},
		{"GET", "/schema/plugins/key-auth?schema_type=consumer", "", 200, `{"type":"object","properties":{"key":{"type":"string"}},"required":["key"],"encrypt_fields":["key"]}`},
		{"GET", "/schema/plugins/limit-count?schema_type=metadata", "", 200,
			`{"type":"object","properties":{"limit_header":{"type":"string","default":"X-RateLimit-Limit"},"token":{"type":"string"}},"encrypt_fields":["token"]}`},
		{"GET", "/schema/plugins/cors?schema_type=consumer", "", 400, errorMsg("not found schema")},
		{"GET", "/schema/plugins/nope", "", 404, errorMsg("plugin not found in subsystem http")}}},
	{"schema/validate", "contract 2, resources; t/admin/schema-validate.t", []step{
		{"POST", "/schema/validate/routes", route(``), 200, ""},
		{"POST", "/schema/validate/routes", route(`,"plugins":{"nope":{}}`), 200, ""},
		{"POST", "/schema/validate/routes", `{"uri":666}`, 400, errorMsg(`property "uri" validation failed: wrong type: expected string, got number`)},
		{"POST", "/schema/validate/routes", `{"uri":""}`, 400, errorMsg(`property "uri" validation failed: string too short, expected at least 1, got 0`)},
		{"POST", "/schema/validate/routes", `{"uris":["/a","/a"]}`, 400, errorMsg(`property "uris" validation failed: expected unique items but items 1 and 2 are equal`)},
		{"POST", "/schema/validate/routes", `{}`, 400, errorMsg("allOf 1 failed: value should match only one schema, but matches none")},
		{"POST", "/schema/validate/routes", ``, 400, errorMsg("missing configurations")},
		{"POST", "/schema/validate/routes", `{`, 400, "*"},
		{"POST", "/schema/validate/secrets", `{}`, 200, ""},
		{"POST", "/schema/validate/nope", `{}`, 404, errorMsg("Unsupported resource type: nope")}}},
	{"configs/validate", "contract 2, resources; t/admin/config-validate.t", []step{
		{"POST", "/configs/validate", `{"routes":[{"id":"r1","uri":"/a","upstream_id":"nowhere"}],"consumers":[{"username":"jack"},{"id":"jack/credentials/c1","plugins":{"key-auth":{"key":"k"}}}]}`, 200, `{}`},
		{"POST", "/configs/validate", `{}`, 200, `{}`},
		{"POST", "/configs/validate", ``, 400, errorMsg("invalid request body: empty request body")},
		{"POST", "/configs/validate", `{`, 400, "*"},
		{"POST", "/configs/validate", `{"routes":[{"id":"r1","uri":5}]}`, 400, `{"error_msg":"Configuration validation failed","errors":[{"resource_type":"routes","resource_id":"r1","index":0,
			"error":"invalid configuration: property \"uri\" validation failed: wrong type: expected string, got number"}]}`},
		{"POST", "/configs/validate", `{"routes":[` + route(`,"id":"r1"`) + `,` + route(`,"id":"r1"`) + `]}`, 400,
			`{"error_msg":"Configuration validation failed","errors":[{"resource_type":"routes","resource_id":"r1","index":1,"error":"found duplicate id r1 in routes"}]}`},
		{"POST", "/configs/validate", `{"consumers":[{"username":"a"},{"username":"a"}]}`, 400,
			`{"error_msg":"Configuration validation failed","errors":[{"resource_type":"consumers","resource_id":"a","index":1,"error":"found duplicate username a in consumers"}]}`},
		{"POST", "/configs/validate", `{"upstreams":[{"id":"u","type":"chash","nodes":{"127.0.0.1:80":1}}],"routes_conf_version":"1"}`, 400,
			`{"error_msg":"Configuration validation failed","errors":[{"resource_type":"routes","error":"routes_conf_version must be a number, got string"},{"resource_type":"upstreams","resource_id":"u","index":0,"error":"missing key"}]}`},
		{"POST", "/configs/validate", `{"routes":[5,null,"a",true,[]]}`, 400, `{"error_msg":"Configuration validation failed","errors":[
			{"resource_type":"routes","index":0,"error":"invalid configuration: wrong type: expected object, got number"},
			{"resource_type":"routes","index":1,"error":"invalid configuration: wrong type: expected object, got userdata"},
			{"resource_type":"routes","index":2,"error":"invalid configuration: wrong type: expected object, got string"},
			{"resource_type":"routes","index":3,"error":"invalid configuration: wrong type: expected object, got boolean"},
			{"resource_type":"routes","index":4,"error":"invalid configuration: wrong type: expected object, got table"}]}`},
		{"POST", "/configs/validate", `[]`, 400, errorMsg("invalid request body: expected an object")},
		{"POST", "/configs/validate", `{"secrets":[{"id":"nope","uri":"http://a"}]}`, 400,
			`{"error_msg":"Configuration validation failed","errors":[{"resource_type":"secrets","resource_id":"nope","index":0,"error":"invalid secret id: nope"}]}`},
		{"GET", "/routes", "", 200, `{"total":0,"list":[]}`}}},
	{"plugins", "contract 2, resources; t/admin/plugins.t", []step{
		{"GET", "/plugins/list", "", 200, `["cors","basic-auth","key-auth","proxy-rewrite","limit-count","traffic-split","grpc-transcode","prometheus"]`},
		{"GET", "/plugins/list?subsystem=stream", "", 200, `["mqtt-proxy","prometheus"]`},
		{"GET", "/plugins/list?subsystem=nope", "", 400, "invalid subsystem passed"},
		{"GET", "/plugins/cors", "", 200, `{"type":"object","properties":{"allow_origins":{"type":"string","default":"*"}}}`},
		{"GET", "/plugins/nope", "", 404, errorMsg("plugin not found in subsystem http")},
		{"GET", "/plugins/cors?subsystem=asdf", "", 400, errorMsg("unsupported subsystem: asdf")},
		{"GET", "/plugins/cors?subsystem=stream", "", 404, errorMsg("plugin not found in subsystem stream")},
		{"GET", "/plugins?all=true&subsystem=stream", "", 200, `{
			"mqtt-proxy":{"priority":1000,"version":0.1,"schema":{"type":"object","properties":{"protocol_name":{"type":"string"}},"required":["protocol_name"]}},
			"prometheus":{"priority":500,"version":0.2,"schema":{"type":"object","properties":{"prefer_name":{"type":"boolean","default":false}}}}}`}}},
	{"plugins/reload", "contract 2, resources; t/admin/plugins-reload.t", []step{
		{"PUT", "/plugins/reload", "", 200, "done"},
		{"GET", "/plugins/reload", "", 405, errorMsg("please use PUT method to reload the plugins, GET method is not allowed.")},
		{"POST", "/plugins/reload", "", 405, errorMsg("please use PUT method to reload the plugins, POST method is not allowed.")}}},

	// Streams.
	{"no stream proxy", "t/admin/stream-routes-disable.t", []step{
		bad("/stream_routes/1", `{"upstream_id":"1"}`, "stream mode is disabled, can not add stream routes"),
		{"GET", "/stream_routes", "", 400, errorMsg("stream mode is disabled, can not add stream routes")}}},
}

func TestContract(t *testing.T) {
	for _, c := range contractCases {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			for _, s := range c.steps {
				status, body := f.send(s.method, s.path, s.body)
				if s.want == "*" {
					if status != s.status {
						t.Fatalf("%s %s: %d %s, want %d (%s)", s.method, s.path, status, body, s.status, c.from)
					}
					continue
				}
				if !t.Run(s.method+" "+s.path, func(t *testing.T) { expect(t, status, body, s.status, s.want) }) {
					t.Fatalf("%s %s, see %s", s.method, s.path, c.from)
				}
			}
		})
	}
}

// TestReferencesOfTheRest asks for client certificates and stream routes, which need more than one API's defaults.
func TestReferencesOfTheRest(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.StreamEnabled = true })
	f.must("PUT", "/ssls/1", sslBody())
	for _, s := range []step{
		bad("/upstreams/1", `{"type":"roundrobin","nodes":{"127.0.0.1:1980":1},"tls":{"client_cert_id":"1"}}`, "failed to fetch ssl info by ssl id [1], wrong ssl type"),
		bad("/stream_routes/1", `{"upstream_id":"9"}`, "failed to fetch upstream info by upstream id [9], response code: 404"),
		bad("/stream_routes/1", `{"service_id":"9"}`, "failed to fetch service info by service id [9], response code: 404"),
		bad("/stream_routes/1", `{"upstream":{"type":"roundrobin","nodes":{"127.0.0.1:1":1}},"plugins":{"cors":{}}}`, "unknown plugin [cors]"),
		put("/services/1", `{`+up+`}`), put("/stream_routes/1", `{"service_id":"1"}`),
		{"DELETE", "/services/1", "", 400, errorMsg("can not delete this service directly, stream_route [1] is still using it now")},
	} {
		status, body := f.send(s.method, s.path, s.body)
		if s.want != "*" {
			expect(t, status, body, s.status, s.want)
		} else if status != s.status {
			t.Errorf("%s %s: %d %s", s.method, s.path, status, body)
		}
	}
}
