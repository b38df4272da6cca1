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
	for range 3 {
		if _, status := enter(t, inst); status != 200 {
			t.Errorf("a request without the variable: %d", status)
		}
	}
}
