package l7_test

import (
	"testing"

	"github.com/sluice-gateway/sluice/control/snapshot"
	"github.com/sluice-gateway/sluice/l7"
	"github.com/sluice-gateway/sluice/l7/engine"
	"github.com/sluice-gateway/sluice/l7/l7test"
	"github.com/sluice-gateway/sluice/l7/plugin"
)

// TestAllocations asserts that a proxied keep-alive request allocates nothing.
func TestAllocations(t *testing.T) {
	const n = 4000
	for _, tc := range []struct {
		name    string
		request string
		routes  func(up string) *snapshot.Snapshot
		status  int
	}{
		{"plain", l7test.Get("/path?a=b", "User-Agent: test", "Accept: */*", "Cookie: a=b"),
			func(up string) *snapshot.Snapshot { return l7test.Routes(l7test.To(up)) }, 200},
		{"escaped path and upper-case host", "GET /a%20b/../c//d HTTP/1.1\r\nHost: A.Test:8080\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n",
			func(up string) *snapshot.Snapshot { return l7test.Routes(l7test.To(up)) }, 200},
		{"several nodes", l7test.Get("/"),
			func(up string) *snapshot.Snapshot {
				u := l7test.To(up)
				u.Type = "least_conn"
				return l7test.Routes(u)
			}, 200},
		{"hosts and methods", l7test.Get("/api/v1/users"),
			func(up string) *snapshot.Snapshot {
				s := l7test.Routes(l7test.To(up))
				s.Routes[0].Hosts, s.Routes[0].Methods, s.Routes[0].URIs = []string{"*.test"}, []string{"GET"}, []string{"/api/*"}
				return s
			}, 200},
		{"no route", l7test.Get("/none"),
			func(up string) *snapshot.Snapshot {
				s := l7test.Routes(l7test.To(up))
				s.Routes[0].URIs = []string{"/only"}
				return s
			}, 404},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l7test.NoLeaks(t)
			var logged int
			o := l7.Options{Engine: engine.Config{ServerHeader: "APISIX/3.18.0", AccessLog: func(int, *plugin.Exchange) { logged++ }}}
			got := l7test.Allocations(t, o, tc.routes, tc.request, tc.status, n)
			// The runtime itself allocates a few objects now and then.
			if got > 20 {
				t.Errorf("%d objects for %d requests, want none", got, n)
			}
		})
	}
}
