package redirect

import (
	"testing"

	"github.com/sluice-gateway/sluice/l7/plugin/plugintest"
)

// TestRewrite follows apisix/plugins/redirect.lua; the cases are our own.
func TestRewrite(t *testing.T) {
	for _, tc := range []struct {
		name, conf, method, target string
		fields                     []string
		status                     int
		location                   string
	}{
		{"uri", `{"uri":"/test/add","ret_code":301}`, "GET", "/hello", nil, 301, "/test/add"},
		{"default code", `{"uri":"/test/add"}`, "GET", "/hello", nil, 302, "/test/add"},
		{"variables", `{"uri":"$uri/test/add"}`, "GET", "/hello", nil, 302, "/hello/test/add"},
		{"braces", `{"uri":"https://${host}/x"}`, "GET", "/hello", []string{"Host: foo.com"}, 302, "https://foo.com/x"},
		{"regex_uri", `{"regex_uri":["^/test/(.*)","http://test.com/${1}"]}`, "GET", "/test/hello", nil, 302, "http://test.com/hello"},
		{"regex_uri without a match passes", `{"regex_uri":["^/test/(.*)","http://test.com/${1}"]}`, "GET", "/hello", nil, 200, "-"},
		{"http_to_https", `{"http_to_https":true}`, "GET", "/hello?a=1", []string{"Host: foo.com"}, 301, "https://foo.com/hello?a=1"},
		{"http_to_https POST (RFC 9110 15.4.9)", `{"http_to_https":true}`, "POST", "/hello", []string{"Host: foo.com"}, 308, "https://foo.com/hello"},
		{"https already", `{"http_to_https":true}`, "GET", "/hello", []string{"X-Forwarded-Proto: https"}, 200, "-"},
		{"append_query_string", `{"uri":"/x?b=2","append_query_string":true}`, "GET", "/hello?a=1", nil, 302, "/x?b=2&a=1"},
		{"encode_uri", `{"uri":"$uri","encode_uri":true}`, "GET", "/a b", nil, 302, "/a%20b"},
		{"line breaks cannot get into the field", `{"uri":"$uri"}`, "GET", "/a\r\nX: y", nil, 302, "/a%0D%0AX:%20y"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := plugintest.Run(plugintest.Request(tc.method, tc.target, tc.fields...), plugintest.Upstream{}, plugintest.New(t, name, tc.conf))
			if r.Status != tc.status || r.Header("Location") != tc.location {
				t.Errorf("got %d %s, want %d %s", r.Status, r.Header("Location"), tc.status, tc.location)
			}
		})
	}
}

func TestHTTPSPort(t *testing.T) {
	env := plugintest.Env()
	env.Attr = []byte(`{"https_port":9443}`)
	r := plugintest.Run(plugintest.Request("GET", "/a", "Host: foo.com"), plugintest.Upstream{}, plugintest.NewEnv(t, name, `{"http_to_https":true}`, env))
	if got := r.Header("Location"); got != "https://foo.com:9443/a" {
		t.Errorf("got %s", got)
	}
}

func TestRefusedConfigurations(t *testing.T) {
	for _, conf := range []string{`{}`, `{"http_to_https":true,"append_query_string":true}`, `{"regex_uri":["(","x"]}`, `{"uri":"/a","ret_code":100}`, `{"uri":"/a","ret_code":1000}`,
		`{"regex_uri":["^/a","/b$"]}`, `{"regex_uri":["^/a","/$name"]}`} {
		if _, err := plugintest.Try(name, conf, nil); err == nil {
			t.Errorf("%s is accepted", conf)
		}
	}
}
