package limitcount

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/l7/plugin"
	"github.com/sluice-gateway/sluice/l7/plugin/plugintest"
)

// outcome is what a request got: status, the quota fields, and the body of a refusal that has one.
type outcome struct {
	Status                  int
	Limit, Remaining, Reset string
	Body                    string
}

func send(inst plugin.Instance, now time.Duration, fields ...string) outcome {
	ex := plugintest.Request("GET", "/hello", fields...)
	ex.Now = int64(now)
	r := plugintest.Run(ex, plugintest.Upstream{}, inst)
	o := outcome{Status: r.Status, Limit: r.Header("X-RateLimit-Limit"), Remaining: r.Header("X-RateLimit-Remaining"), Reset: r.Header("X-RateLimit-Reset")}
	if strings.HasPrefix(r.Body, "{") {
		o.Body = strings.TrimSpace(r.Body)
	}
	return o
}

func TestAccess(t *testing.T) {
	type step struct {
		now    time.Duration
		fields []string
		want   outcome
	}
	ok := func(remaining, reset string) outcome { return outcome{200, "2", remaining, reset, ""} }
	refused := func(code int, reset, body string) outcome { return outcome{code, "2", "0", reset, body} }
	for _, tc := range []struct {
		name, conf string
		steps      []step
	}{
		{"two of three, then the next window", `{"count":2,"time_window":60,"key":"remote_addr"}`, []step{
			{0, nil, ok("1", "60")}, {0, nil, ok("0", "60")}, {10 * time.Second, nil, refused(503, "50", "")}, {60 * time.Second, nil, ok("1", "60")}}},
		{"rejected_code and rejected_msg", `{"count":2,"time_window":60,"rejected_code":429,"rejected_msg":"Requests are too frequent, please try again later."}`, []step{
			{0, nil, ok("1", "60")}, {0, nil, ok("0", "60")},
			{0, nil, refused(429, "60", `{"error_msg":"Requests are too frequent, please try again later."}`)}}},
		{"by header, a missing one counts the address", `{"count":2,"time_window":60,"key":"http_x_user"}`, []step{
			{0, []string{"X-User: a"}, ok("1", "60")}, {0, []string{"X-User: b"}, ok("1", "60")}, {0, nil, ok("1", "60")}, {0, []string{"X-User: a"}, ok("0", "60")}}},
		{"var_combination", `{"count":2,"time_window":60,"key":"$http_a $http_b","key_type":"var_combination"}`, []step{
			{0, []string{"A: 1", "B: 1"}, ok("1", "60")}, {0, []string{"A: 1", "B: 2"}, ok("1", "60")}, {0, []string{"A: 1", "B: 1"}, ok("0", "60")}}},
		{"constant counts everybody", `{"count":2,"time_window":60,"key":"x","key_type":"constant"}`, []step{
			{0, []string{"A: 1"}, ok("1", "60")}, {0, []string{"A: 2"}, ok("0", "60")}}},
		{"without quota fields", `{"count":1,"time_window":60,"show_limit_quota_header":false}`, []step{
			{0, nil, outcome{200, "-", "-", "-", ""}}, {0, nil, outcome{503, "-", "-", "-", ""}}}},
		{"count from the request", `{"count":"$http_x_count","time_window":60}`, []step{
			{0, []string{"X-Count: 2"}, ok("1", "60")}, {0, []string{"X-Count: none"}, outcome{500, "-", "-", "-", ""}}}},
		{"sliding window", `{"count":2,"time_window":10,"window_type":"sliding"}`, []step{
			{0, nil, ok("1", "10")}, {time.Second, nil, ok("0", "9")}, {2 * time.Second, nil, refused(503, "8", "")}, {15 * time.Second, nil, ok("0", "5")}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inst := plugintest.New(t, name, tc.conf)
			for i, s := range tc.steps {
				if diff := cmp.Diff(s.want, send(inst, s.now, s.fields...)); diff != "" {
					t.Errorf("request %d: (-want +got)\n%s", i, diff)
				}
			}
		})
	}
}

func TestRules(t *testing.T) {
	inst := plugintest.New(t, name, `{"rejected_code":429,"rules":[{"count":1,"time_window":10,"key":"$http_x_user"},{"count":2,"time_window":20,"key":"$http_x_team","header_prefix":"team"}]}`)
	one := func(fields ...string) (int, string, string) {
		ex := plugintest.Request("GET", "/", fields...)
		r := plugintest.Run(ex, plugintest.Upstream{}, inst)
		return r.Status, r.Header("X-1-RateLimit-Remaining"), r.Header("X-team-RateLimit-Remaining")
	}
	for i, tc := range []struct {
		fields     []string
		status     int
		user, team string
	}{
		{nil, 500, "-", "-"}, // t/plugin/limit-count-rules.t TEST 4: no any rule matched
		{[]string{"X-User: a", "X-Team: t"}, 200, "0", "1"},
		{[]string{"X-User: b", "X-Team: t"}, 200, "0", "0"},
		{[]string{"X-User: c", "X-Team: t"}, 429, "0", "0"},
		{[]string{"X-User: a"}, 429, "0", "-"},
	} {
		if status, user, team := one(tc.fields...); status != tc.status || user != tc.user || team != tc.team {
			t.Errorf("request %d: %d %s %s", i, status, user, team)
		}
	}
}

func TestDegradation(t *testing.T) {
	inst := plugintest.New(t, name, `{"allow_degradation":true,"rules":[{"count":1,"time_window":9,"key":"$http_x_user"},{"count":"$http_n","time_window":9,"key":"$http_x_team"}]}`)
	for _, fields := range [][]string{nil, {"X-User: a", "X-Team: t", "N: -1"}, {"X-User: a"}} {
		if o := send(inst, 0, fields...); o.Status != 200 {
			t.Errorf("%v: %d, want 200: what has no value takes nothing", fields, o.Status)
		}
	}
}

func TestResetHasDecimals(t *testing.T) {
	// t/plugin/limit-count4.t TEST 2: the second number of X-RateLimit-Reset declines.
	inst := plugintest.New(t, name, `{"count":9,"time_window":60}`)
	for _, c := range []struct {
		now  time.Duration
		want string
	}{{0, "60"}, {25 * time.Millisecond, "59.97"}, {500 * time.Millisecond, "59.5"}, {59995 * time.Millisecond, "0"}} {
		if o := send(inst, c.now); o.Reset != c.want {
			t.Errorf("after %v: %s, want %s", c.now, o.Reset, c.want)
		}
	}
}

func TestRateLimitingInfo(t *testing.T) {
	// t/plugin/limit-count5.t TEST 7.
	inst := plugintest.New(t, name, `{"count":2,"time_window":10,"key":"http_k","group":"g"}`)
	ex := plugintest.Request("GET", "/hello", `K: a"b`)
	plugintest.Run(ex, plugintest.Upstream{}, inst)
	got, _ := plugin.CompileVar("rate_limiting_info")(ex)
	want := `{"rate_limiting_key":"g:a_b","rate_limiting_limit":2,"rate_limiting_remaining":1,"rate_limiting_reset":10}`
	if string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestNeverMoreThanCount(t *testing.T) {
	inst := plugintest.New(t, name, `{"count":50,"time_window":1}`).(plugin.Accesser)
	var admitted atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 400 {
				ex := plugintest.Request("GET", "/hello")
				ex.Now = int64(i/100) * int64(time.Second)
				if r, err := inst.Access(ex); err == nil && r == nil {
					admitted.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if n := admitted.Load(); n > 4*50 || n < 50 {
		t.Errorf("%d requests passed in 4 windows of 50", n)
	}
}

func TestCounterKeys(t *testing.T) {
	env := plugintest.Env()
	const c = `{"count":1,"time_window":60}`
	at := func(resource, conf string) int {
		e := *env
		e.Resource = resource
		return send(plugintest.NewEnv(t, name, conf, &e), 0).Status
	}
	if at("/routes/1", c) != 200 || at("/routes/1", c) != 503 {
		t.Error("the same configuration on the same resource does not keep its counter")
	}
	if at("/routes/2", c) != 200 {
		t.Error("another resource shares the counter")
	}
	if at("/routes/1", `{"count":1,"time_window":61}`) != 200 {
		t.Error("a changed configuration does not start afresh")
	}
	g := `{"count":1,"time_window":60,"group":"g"}`
	if at("/routes/1", g) != 200 || at("/routes/2", g) != 503 {
		t.Error("a group does not share its counter")
	}
}

func TestMetadata(t *testing.T) {
	env := plugintest.Env()
	env.Metadata = []byte(`{"limit_header":"X-L","remaining_header":"X-R","reset_header":"X-S"}`)
	r := plugintest.Run(plugintest.Request("GET", "/"), plugintest.Upstream{}, plugintest.NewEnv(t, name, `{"count":3,"time_window":60}`, env))
	if got := r.Header("X-L") + " " + r.Header("X-R") + " " + r.Header("X-S"); got != "3 2 60" {
		t.Errorf("got %q", got)
	}
}

func TestRefusedConfigurations(t *testing.T) {
	for _, tc := range []struct{ conf, want string }{
		{`{"count":1,"time_window":1,"policy":"redis","redis_host":"127.0.0.1"}`, "policy: redis is not available in this build, use local"},
		{`{"group":"g","rules":[{"count":1,"time_window":1,"key":"$host"}]}`, "group and rules cannot be specified at the same time"},
		{`{"rules":[{"count":1,"time_window":1,"key":"$host"},{"count":2,"time_window":1,"key":"$host"}]}`, "duplicate key '$host' in rules"},
	} {
		if _, err := plugintest.Try(name, tc.conf, nil); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %s", tc.conf, err, tc.want)
		}
	}
}

func TestAcceptDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	inst := plugintest.New(t, name, `{"count":1000000,"time_window":60}`).(plugin.Accesser)
	ex := plugintest.Request("GET", "/hello", "Host: a")
	one := func() {
		plugintest.Refill(ex, "GET", "/hello")
		if r, err := inst.Access(ex); r != nil || err != nil {
			t.Fatal(r, err)
		}
	}
	base := testing.AllocsPerRun(100, func() { plugintest.Refill(ex, "GET", "/hello") })
	one()
	if n := testing.AllocsPerRun(100, one) - base; n > 0 {
		t.Errorf("%v allocations per request", n)
	}
}
