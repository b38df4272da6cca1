package proxyrewrite

import (
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/l7/plugin"
	"github.com/sluice-gateway/sluice/l7/plugin/plugintest"
)

func rewrite(t *testing.T, conf, target string, fields ...string) *plugin.Exchange {
	t.Helper()
	ex := plugintest.Request("GET", target, fields...)
	if r, err := plugintest.New(t, name, conf).(plugin.Rewriter).Rewrite(ex); r != nil || err != nil {
		t.Fatal(r, err)
	}
	return ex
}

// TestURI follows apisix/plugins/proxy-rewrite.lua; the cases are our own.
func TestURI(t *testing.T) {
	for _, tc := range []struct{ name, conf, target, want string }{
		{"uri", `{"uri":"/uri/plugin_proxy_rewrite"}`, "/hello", "/uri/plugin_proxy_rewrite"},
		{"the query stays", `{"uri":"/x"}`, "/hello?q=apisix&a=b", "/x?q=apisix&a=b"},
		{"a query of its own is kept", `{"uri":"/x?a=1"}`, "/hello?b=2", "/x?a=1&b=2"},
		{"variables", `{"uri":"/x/$arg_name/${remote_addr}"}`, "/hello?name=j%20d", "/x/j%20d/127.0.0.1?name=j%20d"},
		{"a question mark from a variable is no separator", `{"uri":"/x/$arg_n"}`, "/hello?n=a%3Fb", "/x/a%3Fb?n=a%3Fb"},
		{"line breaks from a variable", `{"uri":"/x/$arg_n"}`, "/?n=%0d%0aX:y", "/x/%0D%0AX:y?n=%0d%0aX:y"},
		{"regex_uri", `{"regex_uri":["^/test/(.*)/(.*)/(.*)","/$1_$2_$3"]}`, "/test/plugin/proxy/rewrite", "/plugin_proxy_rewrite"},
		{"regex_uri keeps the query", `{"regex_uri":["^/test/(.*)","/$1"]}`, "/test/a?q=1", "/a?q=1"},
		{"regex_uri without a match", `{"regex_uri":["^/test/(.*)","/$1"]}`, "/other?q=1", ""},
		{"the first of several patterns", `{"regex_uri":["^/a/(.*)","/x/$1","^/(.*)","/y/$1"]}`, "/b/c", "/y/b/c"},
		{"a replacement with a query", `{"regex_uri":["^/test/(.*)","/x?id=$1"]}`, "/test/7?q=1", "/x?id=7&q=1"},
		{"the real URI without a match", `{"regex_uri":["^/test/(.*)","/$1"],"use_real_request_uri_unsafe":true}`, "/a%2Fb?q", "/a%2Fb?q"},
		{"a space in the path is encoded", `{"regex_uri":["^/(.*)","/x/$1"]}`, "/a b", "/x/a%20b"},
		{"use_real_request_uri_unsafe", `{"use_real_request_uri_unsafe":true}`, "/a%2Fb?q", "/a%2Fb?q"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := string(rewrite(t, tc.conf, tc.target).Request.UpstreamTarget); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestMethodAndHost(t *testing.T) {
	ex := rewrite(t, `{"method":"POST","host":"apisix.iresty.com:8080"}`, "/hello")
	if string(ex.Request.Method) != "POST" || string(ex.Request.UpstreamHost) != "apisix.iresty.com:8080" {
		t.Errorf("got %s %s", ex.Request.Method, ex.Request.UpstreamHost)
	}
}

// TestQuestionMarkInPath tests that a question mark that the client has encoded, which the path has decoded, does not begin a query.
func TestQuestionMarkInPath(t *testing.T) {
	ex := plugintest.Request("GET", "/")
	ex.Request.Path = []byte("/test/a?b")
	if r, err := plugintest.New(t, name, `{"regex_uri":["^/test/(.*)","/$1"]}`).(plugin.Rewriter).Rewrite(ex); r != nil || err != nil {
		t.Fatal(r, err)
	}
	if got := string(ex.Request.UpstreamTarget); got != "/a%3Fb" {
		t.Errorf("got %q, want /a%%3Fb", got)
	}
}

func TestHeaders(t *testing.T) {
	for _, tc := range []struct{ name, conf, target, want string }{
		{"flat form sets", `{"headers":{"X-Api-Version":"v2","X-N":5}}`, "/", "X-Api-Version: v2|X-N: 5"},
		{"add, set, remove", `{"headers":{"add":{"A":"2"},"set":{"B":"3"},"remove":["C"]}}`, "/", "A: 1|A: 2|B: 3"},
		{"several values", `{"headers":{"set":{"B":["1","2"]}}}`, "/", "A: 1|B: 1|B: 2|C: 1"},
		{"variables", `{"headers":{"set":{"B":"$remote_addr $arg_q"}}}`, "/?q=z", "A: 1|B: 127.0.0.1 z|C: 1"},
		{"captures and variables", `{"regex_uri":["^/test/(.*)","/$1"],"headers":{"set":{"B":"$1-$remote_addr ${1}$12"}}}`, "/test/x", "A: 1|B: x-127.0.0.1 x|C: 1"},
		{"a capture that looks like a variable", `{"regex_uri":["^/test/(.*)","/$1"],"headers":{"set":{"B":"$1"}}}`, "/test/$host", "A: 1|B: $host|C: 1"},
		{"captures of regex_uri", `{"regex_uri":["^/test/(.*)","/$1"],"headers":{"set":{"B":"got $1"}}}`, "/test/x", "A: 1|B: got x|C: 1"},
		// t/plugin/proxy-rewrite.t of APISIX: TEST 20 and TEST 39.
		{"an empty value removes", `{"headers":{"B":""}}`, "/", "A: 1|C: 1"},
		{"a variable without value removes", `{"headers":{"set":{"B":"$arg_nothing"}}}`, "/", "A: 1|C: 1"},
		{"adding nothing", `{"headers":{"add":{"B":"$arg_nothing"}}}`, "/", "A: 1|B: 1|C: 1"},
		{"some of several values are empty", `{"headers":{"set":{"B":["","2","$arg_nothing"]}}}`, "/", "A: 1|B: 2|C: 1"},
		{"line breaks become spaces", `{"headers":{"set":{"B":"$arg_q"}}}`, "/?q=a%0d%0aEvil:1", "A: 1|B: a  Evil:1|C: 1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fields := []string{"A: 1", "B: 1", "C: 1"}
			if tc.name[:4] == "flat" {
				fields = nil
			}
			ex := rewrite(t, tc.conf, tc.target, fields...)
			got := map[string]bool{}
			var list []string
			for _, f := range ex.Request.Header.Fields() {
				list = append(list, string(f.Name)+": "+string(f.Value))
				got[list[len(list)-1]] = true
			}
			want := strings.Split(tc.want, "|")
			for _, w := range want {
				if !got[w] {
					t.Errorf("%q is missing in %q", w, list)
				}
			}
			if len(list) != len(want) {
				t.Errorf("got %q, want %q", list, want)
			}
		})
	}
}

func TestRefusedConfigurations(t *testing.T) {
	for _, conf := range []string{`{"uri":"hello"}`, `{"method":"GETS"}`, `{"regex_uri":["^/(.*)"]}`, `{"regex_uri":["^/(.*)","/$1","x"]}`,
		`{"regex_uri":["(","/"]}`, `{"host":"a b"}`, `{"headers":{"a b":"c"}}`, `{"headers":{"X-A":"b\r\nc"}}`} {
		if _, err := plugintest.Try(name, conf, nil); err == nil {
			t.Errorf("%s is accepted", conf)
		}
	}
}
