package adminapi

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

var fuzzMethods = []string{"GET", "PUT", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS"}

// plain are the answers that are not JSON.
var plain = map[string]bool{"": true, "done": true, "invalid subsystem passed": true, "page_size must be between 10 and 500": true}

// FuzzRequest sends any method, path and body: no panic, which would be a 500, and always JSON or one of the known texts.
func FuzzRequest(f *testing.F) {
	for _, c := range contractCases {
		for _, s := range c.steps {
			if len(s.body) > 2000 {
				continue
			}
			for i, m := range fuzzMethods {
				if m == s.method {
					f.Add(i, s.path, s.body)
				}
			}
		}
	}
	f.Add(0, "/routes?page=1&page_size=10&name=a&label=b&uri=c&filter=service_id%3D1", "")
	f.Add(3, "/routes/1//a/../%2f/", `[{"a":null}]`)
	f.Add(1, "/consumers/jack/credentials/c/d?ttl=1e999", `{"id":1e400}`)
	f.Fuzz(func(t *testing.T, method int, path, body string) {
		u, err := url.Parse("/apisix/admin" + path)
		if err != nil || len(body) > 1<<16 {
			return
		}
		fix := newFixture(t, func(o *Options) { o.StreamEnabled = true })
		fix.must("PUT", "/services/s", `{`+up+`}`)
		fix.must("PUT", "/routes/1", route(`,"service_id":"s"`))
		fix.must("PUT", "/consumers", `{"username":"jack"}`)
		if method < 0 {
			method = -(method + 1)
		}
		r := httptest.NewRequest(fuzzMethods[method%len(fuzzMethods)], "/", strings.NewReader(body))
		r.URL = u
		r.Header = http.Header{"X-Api-Key": {adminKey}}
		w := httptest.NewRecorder()
		fix.api.ServeHTTP(w, r)
		answer := strings.TrimSpace(w.Body.String())
		if w.Code == http.StatusInternalServerError {
			t.Fatalf("%s %q %q: %d %s", r.Method, path, body, w.Code, answer)
		}
		if !plain[answer] && !json.Valid([]byte(answer)) {
			t.Fatalf("%s %q %q: the answer is no JSON: %s", r.Method, path, body, answer)
		}
		if w.Code >= 400 && strings.HasPrefix(answer, "{") && !strings.Contains(answer, `"error_msg"`) && answer != keyGone {
			t.Fatalf("%s %q %q: %d without an error: %s", r.Method, path, body, w.Code, answer)
		}
	})
}
