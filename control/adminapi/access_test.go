package adminapi

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func cookie(value string) func(*http.Request) {
	return func(r *http.Request) { r.AddCookie(&http.Cookie{Name: "x_api_key", Value: value}) }
}

// TestKeys asks with and without keys (contract, section 2; t/admin/token.t).
func TestKeys(t *testing.T) {
	f := newFixture(t)
	refused := func(why string) string {
		return `{"error_msg":"failed to check token","description":"` + why + `"}`
	}
	for _, tc := range []struct {
		name, method, path string
		set                func(*http.Request)
		status             int
		want               string
	}{
		{"no key", "GET", "/routes", nil, 401, refused("missing apikey")},
		{"wrong key", "GET", "/routes", header("X-API-KEY", "nope"), 401, refused("wrong apikey")},
		{"empty key", "GET", "/routes", header("X-API-KEY", ""), 401, refused("wrong apikey")},
		{"part of the key", "GET", "/routes", header("X-API-KEY", adminKey[:5]), 401, refused("wrong apikey")},
		{"header", "GET", "/routes", header("X-API-KEY", adminKey), 200, `{"total":0,"list":[]}`},
		{"header in lower case", "GET", "/routes", header("x-api-key", adminKey), 200, `{"total":0,"list":[]}`},
		{"argument", "GET", "/routes?api_key=" + adminKey, nil, 200, `{"total":0,"list":[]}`},
		{"argument before header", "GET", "/routes?api_key=nope", header("X-API-KEY", adminKey), 401, refused("wrong apikey")},
		{"cookie", "GET", "/routes", cookie(adminKey), 200, `{"total":0,"list":[]}`},
		{"wrong cookie", "GET", "/routes", cookie("nope"), 401, refused("wrong apikey")},
		{"viewer reads", "GET", "/routes", header("X-API-KEY", viewerKey), 200, `{"total":0,"list":[]}`},
		{"viewer lists plugins", "GET", "/plugins/list", header("X-API-KEY", viewerKey), 200, ""},
		{"viewer puts", "PUT", "/routes/1", header("X-API-KEY", viewerKey), 401, refused("invalid method for role viewer")},
		{"viewer posts", "POST", "/routes", header("X-API-KEY", viewerKey), 401, refused("invalid method for role viewer")},
		{"viewer patches", "PATCH", "/routes/1", header("X-API-KEY", viewerKey), 401, refused("invalid method for role viewer")},
		{"viewer deletes", "DELETE", "/routes/1", header("X-API-KEY", viewerKey), 401, refused("invalid method for role viewer")},
		{"viewer reloads", "PUT", "/plugins/reload", header("X-API-KEY", viewerKey), 401, refused("invalid method for role viewer")},
		{"viewer validates", "POST", "/configs/validate", header("X-API-KEY", viewerKey), 401, refused("invalid method for role viewer")},
		{"schemas need a key", "GET", "/schema/route", nil, 401, refused("missing apikey")},
		{"unknown resources need a key", "GET", "/nosuch", nil, 401, refused("missing apikey")},
		{"OPTIONS without a key", "OPTIONS", "/routes", nil, 200, ""},
		{"HEAD of the root without a key", "HEAD", "", nil, 200, ""},
		{"HEAD of the root with a slash", "HEAD", "/", nil, 200, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var set []func(*http.Request)
			if tc.set != nil {
				set = append(set, tc.set)
			}
			w := f.record(tc.method, tc.path, route(""), set...)
			body := strings.TrimSpace(w.Body.String())
			if tc.want != "" {
				expect(t, w.Code, body, tc.status, tc.want)
			} else if w.Code != tc.status {
				t.Errorf("%d %s, want %d", w.Code, body, tc.status)
			}
		})
	}
	f.must("PUT", "/routes/1", route(""))
	if len(f.value("/routes/1")) == 0 {
		t.Error("the route is not there")
	}
}

func TestNoKeyRequired(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.KeyRequired = false })
	if w := f.record("PUT", "/routes/1", route("")); w.Code != 201 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestEmptyKeys has keys that nobody set: they open nothing.
func TestEmptyKeys(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.Keys = []Key{{Name: "admin", Role: "admin"}} })
	if w := f.record("GET", "/routes", "", header("X-API-KEY", "")); w.Code != 401 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestAllowAdmin(t *testing.T) {
	f := newFixture(t, func(o *Options) {
		o.AllowAdmin = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/24"), netip.MustParsePrefix("fd00::/8")}
	})
	for addr, want := range map[string]int{
		"127.0.0.1:9": 200, "[::ffff:127.0.0.1]:9": 200, "[fd00::1]:9": 200, "[fd00::1%eth0]:9": 200,
		"10.0.0.1:9": 403, "[::1]:9": 403, "127.0.1.1:9": 403, "@": 403, "": 403,
	} {
		t.Run(addr, func(t *testing.T) {
			for _, method := range []string{"GET", "OPTIONS"} {
				w := f.record(method, "/routes", "", header("X-API-KEY", adminKey), func(r *http.Request) { r.RemoteAddr = addr })
				if w.Code != want {
					t.Errorf("%s: %d, want %d", method, w.Code, want)
				}
				if want == 403 && !strings.Contains(w.Body.String(), "403 Forbidden") {
					t.Errorf("%s", w.Body)
				}
			}
		})
	}
}

// TestFields looks at the header fields that clients gate on: ADC reads the version from Server.
func TestFields(t *testing.T) {
	for _, cors := range []bool{true, false} {
		f := newFixture(t, func(o *Options) { o.CORS = cors })
		for _, tc := range []struct{ method, path, contentType, version string }{
			{"GET", "/routes", "application/json", "v3"}, {"GET", "/nosuch", "application/json", "v3"},
			{"GET", "/routes?page=1&page_size=1", "text/plain; charset=utf-8", "v3"}, {"OPTIONS", "/routes", "", ""}, {"HEAD", "", "", ""},
		} {
			w := f.record(tc.method, tc.path, "", header("X-API-KEY", adminKey))
			want := map[string]string{"Server": "APISIX/3.18.0", "Content-Type": tc.contentType, "X-Api-Version": tc.version}
			want["Access-Control-Allow-Origin"] = ""
			if cors {
				want["Access-Control-Allow-Origin"] = "*"
				want["Access-Control-Allow-Credentials"] = "true"
				want["Access-Control-Max-Age"] = "3600"
			}
			for name, value := range want {
				if got := w.Header().Get(name); got != value {
					t.Errorf("%s %s: %s is %q, want %q", tc.method, tc.path, name, got, value)
				}
			}
		}
	}
}

func TestElsewhere(t *testing.T) {
	f := newFixture(t)
	for _, path := range []string{"/", "/apisix", "/apisix/adminx/routes", "/apisix/administration"} {
		w := f.record("GET", "", "", header("X-API-KEY", adminKey), func(r *http.Request) { r.URL.Path, r.URL.RawPath = path, "" })
		if w.Code != 404 {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	if w := f.record("GET", "", "", header("X-API-KEY", adminKey)); w.Code != 404 {
		t.Errorf("GET of the root: %d %s", w.Code, w.Body)
	}
}
