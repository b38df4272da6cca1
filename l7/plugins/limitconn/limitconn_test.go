package limitconn

import (
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/l7/plugin"
	"github.com/sluice-gateway/sluice/l7/plugin/plugintest"
)

func enter(t *testing.T, inst plugin.Instance, fields ...string) (*plugin.Exchange, int) {
	t.Helper()
	ex := plugintest.Request("GET", "/", fields...)
	r, err := inst.(plugin.Accesser).Access(ex)
	if err != nil {
		t.Fatal(err)
	}
	if r != nil {
		return ex, r.Status
	}
	return ex, 200
}

func TestConcurrency(t *testing.T) {
	inst := plugintest.New(t, name, `{"conn":1,"burst":1,"default_conn_delay":0.1,"only_use_default_delay":true,"key":"remote_addr"}`)
	log := inst.(plugin.Logger).Log
	a, status := enter(t, inst)
	if status != 200 || a.Delay != 0 {
		t.Fatalf("first: %d, delay %v", status, a.Delay)
	}
	b, status := enter(t, inst)
	if status != 200 || b.Delay != 100*time.Millisecond {
		t.Errorf("in the burst: %d, delay %v, want 100ms", status, b.Delay)
	}
	c, status := enter(t, inst)
	if status != 503 {
		t.Errorf("over the burst: %d, want 503", status)
	}
	log(c) // what was refused holds nothing
	if _, status := enter(t, inst); status != 503 {
		t.Errorf("after a refused request ended: %d, want 503", status)
	}
	log(a)
	log(b)
	if d, status := enter(t, inst); status != 200 || d.Delay != 0 {
		t.Errorf("after both ended: %d, delay %v", status, d.Delay)
	}
}

func TestDelayFollowsLatency(t *testing.T) {
	inst := plugintest.New(t, name, `{"conn":1,"burst":5,"default_conn_delay":0.1,"key":"remote_addr"}`)
	a, _ := enter(t, inst)
	a.Now = a.Start + int64(300*time.Millisecond)
	inst.(plugin.Logger).Log(a)
	enter(t, inst)
	if b, _ := enter(t, inst); b.Delay != 200*time.Millisecond {
		t.Errorf("delay %v, want the mean of 100 ms and 300 ms", b.Delay)
	}
}

func TestRules(t *testing.T) {
	inst := plugintest.New(t, name, `{"default_conn_delay":0.1,"rejected_code":429,"rules":[{"conn":1,"burst":0,"key":"$http_x_user"}]}`)
	for i, want := range []int{200, 429} {
		if _, status := enter(t, inst, "X-User: a"); status != want {
			t.Errorf("request %d of a: %d, want %d", i, status, want)
		}
	}
	// t/plugin/limit-conn-variable.t TEST 10: request not matching any rule.
	if _, status := enter(t, inst); status != 500 {
		t.Errorf("a request without the variable: %d, want 500", status)
	}
	lax := plugintest.New(t, name, `{"default_conn_delay":0.1,"allow_degradation":true,"rules":[{"conn":1,"burst":0,"key":"$http_x_user"}]}`)
	if _, status := enter(t, lax); status != 200 {
		t.Errorf("a request without the variable with allow_degradation: %d, want 200", status)
	}
}

func TestLogGivesBackOnce(t *testing.T) {
	inst := plugintest.New(t, name, `{"conn":2,"burst":0,"default_conn_delay":0.1,"key":"remote_addr"}`)
	a, _ := enter(t, inst)
	enter(t, inst)
	inst.(plugin.Logger).Log(a)
	inst.(plugin.Logger).Log(a)
	for i, want := range []int{200, 503} {
		if _, status := enter(t, inst); status != want {
			t.Errorf("request %d: %d, want %d", i, status, want)
		}
	}
}

func TestNumbersOfTheRequest(t *testing.T) {
	inst := plugintest.New(t, name, `{"conn":"${http_conn ?? 1}","burst":"${http_burst ?? 0}","default_conn_delay":0.1,"key":"remote_addr"}`)
	for _, c := range []struct {
		name, field string
		want        int
	}{
		{"zero conn (t/plugin/limit-conn-variable.t TEST 12)", "Conn: 0", 500},
		{"negative conn (TEST 13)", "Conn: -1", 500},
		{"fractional conn (TEST 14)", "Conn: 1.5", 500},
		{"fractional burst (TEST 15)", "Burst: 0.5", 500},
		{"conn above 2^53-1 (TEST 16)", "Conn: 9007199254740993", 500},
		{"burst 0 (TEST 17)", "Burst: 0", 200},
		{"negative burst (TEST 18)", "Burst: -1", 500},
	} {
		t.Run(c.name, func(t *testing.T) {
			ex, status := enter(t, inst, c.field)
			if status != c.want {
				t.Errorf("got %d, want %d", status, c.want)
			}
			inst.(plugin.Logger).Log(ex)
		})
	}
}

// TestStreamKeepsItsDelay tests that connections of stream routes leave the delay as it is configured.
func TestStreamKeepsItsDelay(t *testing.T) {
	inst := plugintest.New(t, name, `{"conn":1,"burst":5,"default_conn_delay":0.1,"key":"remote_addr"}`)
	for range 5 {
		a, _ := enter(t, inst)
		a.Now = a.Start + int64(time.Hour)
		inst.(plugin.StreamLogger).StreamLog(a)
	}
	enter(t, inst)
	if b, _ := enter(t, inst); b.Delay != 100*time.Millisecond {
		t.Errorf("delay %v, want 100ms", b.Delay)
	}
}
