package main

import (
	"encoding/json"
	"testing"

	"github.com/sluice-gateway/sluice/control/snapshot"
	"github.com/sluice-gateway/sluice/l7"
	"github.com/sluice-gateway/sluice/l7/accesslog"
	"github.com/sluice-gateway/sluice/l7/engine"
	"github.com/sluice-gateway/sluice/l7/l7test"
	"github.com/sluice-gateway/sluice/l7/plugin"
)

// TestPluginAllocations asserts that a proxied keep-alive request through real plugins and the access log allocates nothing.
func TestPluginAllocations(t *testing.T) {
	conf := func(name, doc string) *snapshot.Plugin {
		return &snapshot.Plugin{Name: name, Conf: json.RawMessage(doc), Resource: "/routes/1"}
	}
	keyAuth := conf("key-auth", `{"header":"apikey","query":"apikey","hide_credentials":false,"realm":"key"}`)
	limitCount := conf("limit-count", `{"count":1000000000,"time_window":3600,"window_type":"fixed","key":"remote_addr","key_type":"var","rejected_code":503,"policy":"local","show_limit_quota_header":true}`)
	for _, tc := range []struct {
		name    string
		plugins []*snapshot.Plugin
		log     bool
	}{
		{"key-auth and limit-count", []*snapshot.Plugin{keyAuth, limitCount}, false},
		{"with prometheus and the access log", []*snapshot.Plugin{keyAuth, limitCount, conf("prometheus", `{"prefer_name":false}`)}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := l7.Options{Engine: engine.Config{ServerHeader: "APISIX/3.18.0"}}
			if tc.log {
				log, err := accesslog.New(accesslog.Options{Path: t.TempDir() + "/access.log", BufferBytes: 8 << 20,
					Format: `$remote_addr - $remote_user [$time_local] $http_host "$request" $status $body_bytes_sent $request_time "$http_referer" "$http_user_agent" $upstream_addr $upstream_status $upstream_response_time`})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = log.Close() })
				o.Engine.AccessLog = func(loop int, ex *plugin.Exchange) { log.Write(loop, ex) }
			}
			const n = 4000
			got := l7test.Allocations(t, o, func(up string) *snapshot.Snapshot {
				s := l7test.Routes(l7test.To(up), tc.plugins...)
				s.Consumers = []*snapshot.Consumer{{Username: "jack", Auth: []snapshot.Auth{{Plugin: "key-auth", Conf: json.RawMessage(`{"key":"jack-key"}`)}}}}
				return s
			}, l7test.Get("/hello?a=b", "apikey: jack-key", "User-Agent: test"), 200, n)
			if got > 20 {
				t.Errorf("%d objects for %d requests, want none", got, n)
			}
		})
	}
}
