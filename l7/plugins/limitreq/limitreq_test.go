package limitreq

import (
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/l7/plugin"
	"github.com/sluice-gateway/sluice/l7/plugin/plugintest"
)

func access(t *testing.T, inst plugin.Instance, now time.Duration, fields ...string) (status int, delay time.Duration) {
	t.Helper()
	ex := plugintest.Request("GET", "/", fields...)
	ex.Now = int64(now)
	r, err := inst.(plugin.Accesser).Access(ex)
	if err != nil {
		t.Fatal(err)
	}
	if r != nil {
		return r.Status, ex.Delay
	}
	return 200, ex.Delay
}

func TestAccess(t *testing.T) {
	type step struct {
		now    time.Duration
		status int
		delay  time.Duration
	}
	for _, tc := range []struct {
		name, conf string
		steps      []step
	}{
		{"delays, then refuses", `{"rate":2,"burst":1,"key":"remote_addr"}`,
			[]step{{0, 200, 0}, {0, 200, time.Second / 2}, {0, 503, 0}, {time.Second, 200, 0}}},
		{"nodelay", `{"rate":2,"burst":1,"key":"remote_addr","nodelay":true}`, []step{{0, 200, 0}, {0, 200, 0}, {0, 503, 0}}},
		{"no burst", `{"rate":1,"burst":0,"key":"remote_addr","rejected_code":429}`, []step{{0, 200, 0}, {0, 429, 0}, {time.Second, 200, 0}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inst := plugintest.New(t, name, tc.conf)
			for i, s := range tc.steps {
				if status, delay := access(t, inst, s.now); status != s.status || delay != s.delay {
					t.Errorf("request %d: %d after %v, want %d after %v", i, status, delay, s.status, s.delay)
				}
			}
		})
	}
}

func TestKeysAndMessages(t *testing.T) {
	inst := plugintest.New(t, name, `{"rate":1,"burst":0,"key":"$http_a-$http_b","key_type":"var_combination","rejected_msg":"slow down"}`)
	if s, _ := access(t, inst, 0, "A: 1"); s != 200 {
		t.Errorf("first: %d", s)
	}
	if s, _ := access(t, inst, 0, "A: 2"); s != 200 {
		t.Errorf("another key: %d", s)
	}
	ex := plugintest.Request("GET", "/", "A: 1")
	r, _ := inst.(plugin.Accesser).Access(ex)
	if r == nil || strings.TrimSpace(string(r.Body)) != `{"error_msg":"slow down"}` {
		t.Errorf("refusal: %+v", r)
	}
	if _, err := plugintest.Try(name, `{"rate":1,"burst":0,"key":"a","policy":"redis","redis_host":"127.0.0.1"}`, nil); err == nil {
		t.Error("policy redis is accepted")
	}
}
