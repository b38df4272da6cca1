package faultinjection

import (
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/l7/plugin"
	"github.com/sluice-gateway/sluice/l7/plugin/plugintest"
)

func TestRewrite(t *testing.T) {
	for _, tc := range []struct {
		name, conf, target string
		status             int
		body, header       string
		delay              time.Duration
	}{
		{"abort (t/plugin/fault-injection.t TEST 4)", `{"abort":{"http_status":200,"body":"Fault Injection!\n"}}`, "/hello", 200, "Fault Injection!\n", "", 0},
		{"abort without body", `{"abort":{"http_status":503}}`, "/hello", 503, "", "", 0},
		{"variables (TEST 20)", `{"abort":{"http_status":200,"body":"client addr: $remote_addr\n","headers":{"h1":"v1","h2":"$arg_q"}}}`, "/hello?q=x", 200, "client addr: 127.0.0.1\n", "x", 0},
		{"delay", `{"delay":{"duration":0.1}}`, "/hello", 0, "", "", 100 * time.Millisecond},
		{"delay, then abort", `{"delay":{"duration":0.1},"abort":{"http_status":500}}`, "/hello", 500, "", "", 100 * time.Millisecond},
		{"nobody", `{"abort":{"http_status":403,"percentage":0},"delay":{"duration":1,"percentage":0}}`, "/hello", 0, "", "", 0},
		{"everybody", `{"abort":{"http_status":403,"percentage":100}}`, "/hello", 403, "", "", 0},
		{"vars match (TEST 25)", `{"abort":{"http_status":403,"vars":[[["arg_name","==","jack"]]]}}`, "/hello?name=jack", 403, "", "", 0},
		{"vars do not match", `{"abort":{"http_status":403,"vars":[[["arg_name","==","jack"]]]}}`, "/hello?name=rose", 0, "", "", 0},
		{"one of several vars is enough", `{"delay":{"duration":1,"vars":[[["arg_name","==","jack"]],[["arg_age","==","18"]]]}}`, "/hello?age=18", 0, "", "", time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ex := plugintest.Request("GET", tc.target)
			r, err := plugintest.New(t, name, tc.conf).(plugin.Rewriter).Rewrite(ex)
			if err != nil {
				t.Fatal(err)
			}
			status, body, h2 := 0, "", ""
			if r != nil {
				status, body = r.Status, string(r.Body)
				for _, f := range r.Header {
					if string(f.Name) == "h2" {
						h2 = string(f.Value)
					}
				}
			}
			if status != tc.status || body != tc.body || h2 != tc.header || ex.Delay != tc.delay {
				t.Errorf("got %d %q %q after %v", status, body, h2, ex.Delay)
			}
		})
	}
}

func TestPercentage(t *testing.T) {
	in := plugintest.New(t, name, `{"abort":{"http_status":403,"percentage":50}}`).(plugin.Rewriter)
	hits := 0
	for range 2000 {
		if r, _ := in.Rewrite(plugintest.Request("GET", "/")); r != nil {
			hits++
		}
	}
	if hits < 800 || hits > 1200 {
		t.Errorf("%d of 2000 requests were aborted, want about half", hits)
	}
}

func TestRefusedConfigurations(t *testing.T) {
	for _, conf := range []string{`{}`, `{"abort":{"http_status":100}}`, `{"abort":{"http_status":200,"percentage":110}}`, `{"delay":{"duration":-1}}`,
		`{"delay":{}}`, `{"abort":{"http_status":200,"vars":[[["a","nope","b"]]]}}`, `{"abort":{"http_status":2000}}`} {
		if _, err := plugintest.Try(name, conf, nil); err == nil {
			t.Errorf("%s is accepted", conf)
		}
	}
}
