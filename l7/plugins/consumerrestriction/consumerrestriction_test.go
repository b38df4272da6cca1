package consumerrestriction

import (
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/l7/plugin"
	"github.com/sluice-gateway/sluice/l7/plugin/plugintest"
)

const forbidden = `{"message":"The consumer_name is forbidden."}`

func TestAccess(t *testing.T) {
	jack1 := &plugin.Consumer{Username: "jack1", GroupID: "group1"}
	jack2 := &plugin.Consumer{Username: "jack2", GroupID: "group2"}
	jack3 := &plugin.Consumer{Username: "jack3"}
	for _, c := range []struct {
		name, conf, method string
		consumer           *plugin.Consumer
		route              plugin.RouteInfo
		status             int
		body               string
	}{
		{name: "t/plugin/consumer-restriction.t TEST 7: whitelist, verify jack1", conf: `{"whitelist":["jack1"]}`, consumer: jack1, status: 200},
		{name: "t/plugin/consumer-restriction.t TEST 8: whitelist, verify jack2", conf: `{"whitelist":["jack1"]}`, consumer: jack2, status: 403, body: forbidden},
		{name: "t/plugin/consumer-restriction.t TEST 11: blacklist, verify jack1", conf: `{"blacklist":["jack1"],"rejected_msg":"request is forbidden"}`,
			consumer: jack1, status: 403, body: `{"message":"request is forbidden"}`},
		{name: "t/plugin/consumer-restriction.t TEST 12: blacklist, verify jack2", conf: `{"blacklist":["jack1"]}`, consumer: jack2, status: 200},
		{name: "t/plugin/consumer-restriction.t TEST 14: whitelist without authorization", conf: `{"whitelist":["jack1"]}`, status: 401,
			body: `{"message":"The request is rejected, please check the consumer_name for this request"}`},
		{name: "t/plugin/consumer-restriction.t TEST 18: blacklist without authorization", conf: `{"blacklist":["jack1"]}`, status: 401,
			body: `{"message":"The request is rejected, please check the consumer_name for this request"}`},
		{name: "t/plugin/consumer-restriction.t TEST 22: allowed_by_methods POST", conf: `{"allowed_by_methods":[{"user":"jack1","methods":["POST"]}]}`,
			consumer: jack1, status: 403, body: forbidden},
		{name: "t/plugin/consumer-restriction.t TEST 24: allowed_by_methods POST, GET", conf: `{"allowed_by_methods":[{"user":"jack1","methods":["POST","GET"]}]}`,
			consumer: jack1, status: 200},
		{name: "t/plugin/consumer-restriction.t TEST 26: blacklist priority, jack1", conf: `{"blacklist":["jack1"],"allowed_by_methods":[{"user":"jack1","methods":["POST","GET"]}]}`,
			consumer: jack1, status: 403, body: forbidden},
		{name: "t/plugin/consumer-restriction.t TEST 27: blacklist priority, jack2", conf: `{"blacklist":["jack1"],"allowed_by_methods":[{"user":"jack1","methods":["POST","GET"]}]}`,
			consumer: jack2, status: 200},
		{name: "t/plugin/consumer-restriction.t TEST 29: whitelist priority, jack1", conf: `{"whitelist":["jack1"],"allowed_by_methods":[{"user":"jack1","methods":["POST"]}]}`,
			consumer: jack1, status: 200},
		{name: "t/plugin/consumer-restriction.t TEST 30: whitelist priority, jack2", conf: `{"whitelist":["jack1"],"allowed_by_methods":[{"user":"jack1","methods":["POST"]}]}`,
			consumer: jack2, status: 403, body: forbidden},
		{name: "t/plugin/consumer-restriction.t TEST 38: valid whitelist service_id", conf: `{"type":"service_id","whitelist":["1"],"rejected_code":401}`,
			consumer: jack1, route: plugin.RouteInfo{ServiceID: "1"}, status: 200},
		{name: "t/plugin/consumer-restriction.t TEST 41: invalid whitelist service_id", conf: `{"type":"service_id","whitelist":["1"],"rejected_code":401}`,
			consumer: jack1, route: plugin.RouteInfo{ServiceID: "2"}, status: 401, body: `{"message":"The service_id is forbidden."}`},
		{name: "t/plugin/consumer-restriction.t TEST 44: valid blacklist service_id", conf: `{"type":"service_id","blacklist":["1"],"rejected_code":401}`,
			consumer: jack1, route: plugin.RouteInfo{ServiceID: "1"}, status: 401, body: `{"message":"The service_id is forbidden."}`},
		{name: "t/plugin/consumer-restriction.t TEST 48: valid whitelist route_id", conf: `{"type":"route_id","whitelist":["1"],"rejected_code":401}`,
			consumer: jack1, route: plugin.RouteInfo{ID: "1"}, status: 200},
		{name: "t/plugin/consumer-restriction.t TEST 50: valid blacklist route_id", conf: `{"type":"route_id","blacklist":["1"],"rejected_code":401}`,
			consumer: jack1, route: plugin.RouteInfo{ID: "1"}, status: 401, body: `{"message":"The route_id is forbidden."}`},
		{name: "t/plugin/consumer-restriction2.t TEST 8: group whitelist, jack1", conf: `{"type":"consumer_group_id","whitelist":["group1"]}`, consumer: jack1, status: 200},
		{name: "t/plugin/consumer-restriction2.t TEST 9: group whitelist, jack2", conf: `{"type":"consumer_group_id","whitelist":["group1"]}`,
			consumer: jack2, status: 403, body: `{"message":"The consumer_group_id is forbidden."}`},
		{name: "t/plugin/consumer-restriction2.t TEST 12: group blacklist, jack1", conf: `{"type":"consumer_group_id","blacklist":["group1"],"rejected_msg":"request is forbidden"}`,
			consumer: jack1, status: 403, body: `{"message":"request is forbidden"}`},
		{name: "t/plugin/consumer-restriction2.t TEST 13: group blacklist, jack2", conf: `{"type":"consumer_group_id","blacklist":["group1"]}`, consumer: jack2, status: 200},
		{name: "t/plugin/consumer-restriction2.t TEST 14: consumer without group", conf: `{"type":"consumer_group_id","blacklist":["group1"]}`, consumer: jack3, status: 401,
			body: `{"message":"The request is rejected, please check the consumer_group_id for this request"}`},
		{name: "t/plugin/consumer-restriction2.t: service_id of a route without service", conf: `{"type":"service_id","whitelist":["1"]}`, consumer: jack1,
			route: plugin.RouteInfo{ID: "1"}, status: 401, body: `{"message":"The request is rejected, please check the service_id for this request"}`},

		{name: "names are compared exactly", conf: `{"whitelist":["Jack1"]}`, consumer: jack1, status: 403, body: forbidden},
		{name: "the first entry of a user counts", conf: `{"allowed_by_methods":[{"user":"jack1","methods":["GET"]},{"user":"jack1","methods":["POST"]}]}`,
			method: "POST", consumer: jack1, status: 403, body: forbidden},
		{name: "an entry without methods allows none", conf: `{"allowed_by_methods":[{"user":"jack1"}]}`, consumer: jack1, status: 403, body: forbidden},
		{name: "an entry without user counts for nobody", conf: `{"allowed_by_methods":[{"methods":["POST"]}]}`, consumer: jack1, status: 200},
		{name: "an empty list of methods restricts nobody", conf: `{"allowed_by_methods":[]}`, consumer: jack1, status: 200},
		{name: "on neither list and methods refused", conf: `{"blacklist":["jack2"],"allowed_by_methods":[{"user":"jack1","methods":["POST"]}]}`,
			consumer: jack1, status: 403, body: forbidden},
		{name: "an empty message", conf: `{"blacklist":["jack1"],"rejected_msg":""}`, consumer: jack1, status: 403, body: `{"message":""}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			method := c.method
			if method == "" {
				method = "GET"
			}
			ex := plugintest.Request(method, "/hello")
			ex.Consumer, ex.Route = c.consumer, c.route
			r := plugintest.Run(ex, plugintest.Upstream{}, plugintest.New(t, name, c.conf))
			if body := strings.TrimSuffix(r.Body, "\n"); r.Status != c.status || body != c.body {
				t.Fatalf("got %d %s, want %d %s", r.Status, body, c.status, c.body)
			}
		})
	}
}

func TestConfiguration(t *testing.T) {
	for _, c := range []struct {
		name, conf string
		ok         bool
	}{
		{"t/plugin/consumer-restriction.t TEST 1: sanity", `{"title":"whitelist","whitelist":["jack1","jack2"]}`, true},
		{"t/plugin/consumer-restriction.t TEST 2: all lists", `{"whitelist":["jack1"],"blacklist":["jack2"],"allowed_by_methods":[]}`, true},
		{"no list", `{}`, false},
		{"empty whitelist", `{"whitelist":[]}`, false},
		{"unknown type", `{"type":"consumer","whitelist":["a"]}`, false},
		{"unknown method", `{"allowed_by_methods":[{"user":"a","methods":["get"]}]}`, false},
		{"empty methods", `{"allowed_by_methods":[{"user":"a","methods":[]}]}`, false},
		{"code too small", `{"whitelist":["a"],"rejected_code":199}`, false},
		{"code with four digits", `{"whitelist":["a"],"rejected_code":1000}`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := plugintest.Try(name, c.conf, nil); (err == nil) != c.ok {
				t.Fatalf("got %v", err)
			}
		})
	}
}

func TestAllocations(t *testing.T) {
	r := plugintest.New(t, name, `{"blacklist":["x"],"allowed_by_methods":[{"user":"jack","methods":["GET"]}]}`).(*restriction)
	ex := plugintest.Request("GET", "/")
	ex.Consumer = &plugin.Consumer{Username: "jack"}
	if n := testing.AllocsPerRun(100, func() {
		if reply, err := r.Access(ex); reply != nil || err != nil {
			t.Fatal(reply, err)
		}
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}
