package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestCounters follows APISIX's tests of limit-count that are written in Lua: who shares a counter with whom, and what is no valid number.
func TestCounters(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "hello") }))
	defer up.Close()
	node := `"upstream":{"type":"roundrobin","nodes":{"` + strings.TrimPrefix(up.URL, "http://") + `":1}}`
	p := startProcess(t, t.TempDir(), "")
	for name, key := range map[string]string{"jack1": "one", "jack2": "two"} {
		p.put("/consumers", fmt.Sprintf(`{"username":%q,"plugins":{"key-auth":{"key":%q}}}`, name, key))
	}
	type request struct {
		path   string
		header []string
	}
	get := func(path string, header ...string) request { return request{path, header} }
	for _, tc := range []struct {
		from     string
		objects  map[string]string // by path, plugins and uri
		requests []request
		want     []int
	}{
		{"t/plugin/limit-count2.t TEST 8", map[string]string{
			"/routes/a": `{"uri":"/a","plugins":{"limit-count":{"count":2,"time_window":60,"rejected_code":503,"key":"http_a","key_type":"var"}},` + node + `}`,
		}, []request{get("/a"), get("/a"), get("/a"), get("/a")}, []int{200, 200, 503, 503}},
		{"t/plugin/limit-count2.t TEST 15 and 16", map[string]string{
			"/routes/b1": `{"uri":"/b1","plugins":{"limit-count":{"count":2,"time_window":60,"rejected_code":503,"group":"services_1"}},` + node + `}`,
			"/routes/b2": `{"uri":"/b2","plugins":{"limit-count":{"count":2,"time_window":60,"rejected_code":503,"group":"services_1"}},` + node + `}`,
		}, []request{get("/b1"), get("/b2"), get("/b1"), get("/b2")}, []int{200, 200, 503, 503}},
		{"t/plugin/limit-count3.t TEST 5 to 8", map[string]string{
			"/routes/c1": `{"uri":"/c1","plugins":{"limit-count":{"count":2,"time_window":61}},` + node + `}`,
			"/routes/c2": `{"uri":"/c2","plugins":{"limit-count":{"count":2,"time_window":61}},` + node + `}`,
		}, []request{get("/c1"), get("/c1"), get("/c2"), get("/c2"), get("/c1")}, []int{200, 200, 200, 200, 503}},
		{"t/plugin/limit-count3.t TEST 11 to 13, with key-auth", map[string]string{
			"/routes/d": `{"uri":"/d","plugins":{"key-auth":{},"consumer-restriction":{"whitelist":["jack1","jack2"],"rejected_code":403,"type":"consumer_name"},"limit-count":{"count":1,"time_window":60,"rejected_code":429}},` + node + `}`,
		}, []request{get("/d", "apikey", "one"), get("/d", "apikey", "two")}, []int{200, 429}},
		{"t/plugin/limit-count-variable.t TEST 10", map[string]string{
			"/routes/e": `{"uri":"/e","plugins":{"limit-count":{"count":"${http_count ?? 2}","time_window":"${http_time_window ?? 5}","rejected_code":503,"key_type":"var","key":"remote_addr","policy":"local"}},` + node + `}`,
		}, []request{get("/e", "count", "0"), get("/e", "count", "-1"), get("/e", "count", "1.5"), get("/e", "count", "9999999999999999")}, []int{500, 500, 500, 500}},
		{"t/plugin/limit-count-variable.t TEST 11, with a hyphen in the field's name", map[string]string{
			"/routes/f": `{"uri":"/f","plugins":{"limit-count":{"count":"${http_count ?? 2}","time_window":"${http_time_window ?? 5}","rejected_code":503,"key_type":"var","key":"remote_addr","policy":"local"}},` + node + `}`,
		}, []request{get("/f", "time-window", "0"), get("/f", "time-window", "-1"), get("/f", "time-window", "1.5"), get("/f", "time-window", "9999999999999999")}, []int{500, 500, 500, 500}},
		{"t/plugin/limit-count-variable.t TEST 13", map[string]string{
			"/routes/g": `{"uri":"/g","plugins":{"limit-count":{"rejected_code":503,"rules":[{"key":"${http_user}","count":"${http_count ?? 2}","time_window":60}]}},` + node + `}`,
		}, []request{get("/g", "user", "jack", "count", "0")}, []int{500}},
	} {
		t.Run(tc.from, func(t *testing.T) {
			for path, object := range tc.objects {
				p.put(path, object)
			}
			var got []int
			for _, r := range tc.requests {
				status, _, _ := p.get("http", r.path, r.header...)
				got = append(got, status)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
	t.Run("t/plugin/limit-count2.t TEST 17 to 19", func(t *testing.T) {
		service := func(count int) string {
			return fmt.Sprintf(`{"plugins":{"limit-count":{"count":%d,"time_window":60,"rejected_code":503,"group":"afafafhao"}},%s}`, count, node)
		}
		p.put("/services/1", service(2))
		p.put("/services/2", service(2))
		status, body := p.admin("PUT", "/services/1", service(1))
		if want := `{"error_msg":"failed to check the configuration of plugin limit-count err: group conf mismatched"}`; status != 400 || strings.TrimSpace(body) != want {
			t.Errorf("%d %s, want 400 %s", status, body, want)
		}
		if status, body := p.admin("DELETE", "/services/2", ""); status != 200 {
			t.Fatalf("%d %s", status, body)
		}
		// Other than with APISIX, which remembers the first configuration for a while, the only member may change it: nobody else counts by the old one.
		p.put("/services/1", service(1))
	})
}

// TestConnectionCounters follows t/plugin/limit-conn-shared-counter.t TEST 1 to 5: a consumer's limit-conn counts the consumer, whatever the route, and nobody else.
func TestConnectionCounters(t *testing.T) {
	arrived, release := make(chan struct{}, 8), make(chan struct{})
	up := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		arrived <- struct{}{}
		<-release
	}))
	defer up.Close()
	p := startProcess(t, t.TempDir(), "")
	for _, name := range []string{"jack", "bob"} {
		p.put("/consumers/"+name, fmt.Sprintf(`{"username":%q,"plugins":{"key-auth":{"key":"%s-key"},"limit-conn":{"conn":1,"burst":0,"default_conn_delay":0.1,"rejected_code":503,"key":"remote_addr"}}}`, name, name))
	}
	for _, id := range []string{"1", "2"} {
		p.put("/routes/"+id, fmt.Sprintf(`{"uri":"/limit_conn%s","plugins":{"key-auth":{}},"upstream":{"type":"roundrobin","nodes":{"%s":1}}}`, id, strings.TrimPrefix(up.URL, "http://")))
	}
	ask := func(path, key string) (int, error) {
		req, err := http.NewRequest("GET", "http://"+p.addrs["http"]+path, nil)
		if err != nil {
			return 0, err
		}
		req.Header.Set("apikey", key)
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			return 0, err
		}
		resp.Body.Close()
		return resp.StatusCode, nil
	}
	held := make(chan error, 2)
	hold := func(path, key string) {
		go func() {
			status, err := ask(path, key)
			if err == nil && status != 200 {
				err = fmt.Errorf("%s of %s: %d", path, key, status)
			}
			held <- err
		}()
		select {
		case <-arrived:
		case err := <-held:
			t.Fatalf("%s of %s did not reach the upstream: %v", path, key, err)
		}
	}
	hold("/limit_conn1", "jack-key")
	for _, path := range []string{"/limit_conn1", "/limit_conn2"} {
		if status, err := ask(path, "jack-key"); err != nil || status != 503 {
			t.Errorf("jack on %s beside his request on /limit_conn1: %d, %v, want 503", path, status, err)
		}
	}
	hold("/limit_conn1", "bob-key") // has a counter of his own
	close(release)
	for range 2 {
		if err := <-held; err != nil {
			t.Error(err)
		}
	}
}
