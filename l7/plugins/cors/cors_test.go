package cors

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/l7/plugin"
	"github.com/sluice-gateway/sluice/l7/plugin/plugintest"
)

// answer are the fields that the plugin deals in; "-" stands for an absent one.
type answer struct {
	Origin, Vary, Methods, Headers, Expose, MaxAge, Credentials, Timing string
}

func none(vary string) answer { return answer{"-", vary, "-", "-", "-", "-", "-", "-"} }

func answerOf(r *plugintest.Result) answer {
	return answer{
		Origin: r.Header("Access-Control-Allow-Origin"), Vary: r.Header("Vary"),
		Methods: r.Header("Access-Control-Allow-Methods"), Headers: r.Header("Access-Control-Allow-Headers"),
		Expose: r.Header("Access-Control-Expose-Headers"), MaxAge: r.Header("Access-Control-Max-Age"),
		Credentials: r.Header("Access-Control-Allow-Credentials"), Timing: r.Header("Timing-Allow-Origin"),
	}
}

const allMethods = "GET,POST,PUT,DELETE,PATCH,HEAD,OPTIONS,CONNECT,TRACE"

func TestHeaders(t *testing.T) {
	const (
		specified = `{"allow_origins":"http://sub.domain.com,http://sub2.domain.com","allow_methods":"GET,POST","allow_headers":"headr1,headr2",
			"expose_headers":"ex-headr1,ex-headr2","max_age":50,"allow_credential":true`
		forced    = `{"allow_origins":"**","allow_methods":"**","allow_headers":"**","expose_headers":"*"}`
		overwrite = `{"allow_origins":"**","allow_methods":"**","allow_headers":"request-h","expose_headers":"expose-h","allow_credential":true}`
		metadata  = `{"allow_origins":{"key_1":"https://domain.com","key_2":"https://sub.domain.com,https://sub2.domain.com","key_3":"*"},"inactive_timeout":1}`
		request   = `"allow_methods":"GET,POST","allow_headers":"request-h","expose_headers":"expose-h","max_age":10`
	)
	full := func(origin, vary string) answer {
		return answer{origin, vary, "GET,POST", "headr1,headr2", "ex-headr1,ex-headr2", "50", "true", "-"}
	}
	overwritten := answer{"https://sub.domain.com", "Origin", allMethods, "request-h", "expose-h", "5", "true", "-"}
	byDefault := func(origin, vary string) answer { return answer{origin, vary, "*", "*", "-", "5", "-", "-"} }
	timing := func(origin, vary, timing string) answer {
		a := answer{origin, vary, "GET,POST", "request-h", "expose-h", "10", "-", timing}
		if origin == "-" {
			a = none(vary)
			a.Timing = timing
		}
		return a
	}
	for _, c := range []struct {
		name, conf, meta string
		fields, up       []string
		want             answer
	}{
		{"t/plugin/cors.t TEST 7: cors default", `{}`, "", nil, nil, byDefault("*", "-")},
		{"t/plugin/cors.t TEST 9: cors specified", specified + "}", "", []string{"Origin: http://sub2.domain.com"}, []string{"Vary: Via"}, full("http://sub2.domain.com", "Via, Origin")},
		{"t/plugin/cors.t TEST 10: cors specified no match origin", specified + "}", "", []string{"Origin: http://sub3.domain.com"}, nil, none("Origin")},
		{"t/plugin/cors.t TEST 12: cors force wildcard", forced, "", []string{"Origin: https://sub.domain.com", "Access-Control-Request-Headers: req-header1,req-header2"}, nil,
			answer{"https://sub.domain.com", "Origin", allMethods, "req-header1,req-header2", "*", "5", "-", "-"}},
		{"t/plugin/cors.t TEST 13: cors force wildcard no origin", forced, "", nil, nil, answer{"*", "Origin", allMethods, "-", "*", "5", "-", "-"}},
		{"t/plugin/cors.t TEST 18: overwrite upstream", overwrite, "", []string{"Origin: https://sub.domain.com"}, []string{"Access-Control-Allow-Origin: https://sub.domain.com"}, overwritten},
		{"t/plugin/cors.t TEST 19: overwrite upstream(Access-Control-Allow-Methods)", overwrite, "", []string{"Origin: https://sub.domain.com"}, []string{"Access-Control-Allow-Methods: methods"}, overwritten},
		{"t/plugin/cors.t TEST 20: overwrite upstream(Access-Control-Allow-Headers)", overwrite, "", []string{"Origin: https://sub.domain.com"}, []string{"Access-Control-Allow-Headers: a-headers"}, overwritten},
		{"t/plugin/cors.t TEST 21: overwrite upstream(Access-Control-Expose-Headers)", overwrite, "", []string{"Origin: https://sub.domain.com"}, []string{"Access-Control-Expose-Headers: e-headers"}, overwritten},
		{"t/plugin/cors.t TEST 22: overwrite upstream(Access-Control-Max-Age)", overwrite, "", []string{"Origin: https://sub.domain.com"}, []string{"Access-Control-Max-Age: 10"}, overwritten},
		{"t/plugin/cors.t TEST 23: Access-Control-Allow-Credentials", overwrite, "", []string{"Origin: https://sub.domain.com"}, []string{"Access-Control-Allow-Credentials: false"}, overwritten},
		{"t/plugin/cors.t TEST 29: regex specified", specified + `,"allow_origins_by_regex":[".*\\.test.com$"]}`, "", []string{"Origin: http://a.test.com"}, []string{"Vary: Via"}, full("http://a.test.com", "Via, Origin")},
		{"t/plugin/cors.t TEST 30: regex specified not match", specified + `,"allow_origins_by_regex":[".*\\.test.com$"]}`, "", []string{"Origin: http://a.test2.com"}, []string{"Vary: Via"}, none("Via, Origin")},
		{"t/plugin/cors.t TEST 32: multiple regex specified match", specified + `,"allow_origins_by_regex":[".*\\.test.com$",".*\\.example.org$"]}`, "", []string{"Origin: http://foo.example.org"}, nil, full("http://foo.example.org", "Origin")},
		{"t/plugin/cors.t TEST 33: multiple regex specified not match", specified + `,"allow_origins_by_regex":[".*\\.test.com$",".*\\.example.org$"]}`, "", []string{"Origin: http://foo.example.com"}, nil, none("Origin")},
		{"t/plugin/cors.t TEST 37: request without Origin header", specified + `,"allow_origins_by_regex":[".*\\.test.com$"]}`, "", nil, nil, none("Origin")},

		{"t/plugin/cors2.t TEST 3: regex not match, allow_origins default", `{"allow_origins":"*",` + request + `,"allow_origins_by_regex":[".*\\.domain.com$"]}`, "", []string{"Origin: http://sub.test.com"}, nil, none("-")},
		{"t/plugin/cors2.t TEST 4: regex no origin specified", `{"allow_origins":"*",` + request + `,"allow_origins_by_regex":[".*\\.domain.com$"]}`, "", nil, nil, none("-")},
		{"t/plugin/cors2.t TEST 5: regex specified match", `{"allow_origins":"*",` + request + `,"allow_origins_by_regex":[".*\\.domain.com$"]}`, "", []string{"Origin: http://sub.domain.com"}, []string{"Vary: Via"}, timing("http://sub.domain.com", "Via", "-")},

		{"t/plugin/cors3.t TEST 4: origin not match", `{"allow_origins":"https://test.com","allow_origins_by_metadata":["key_1"]}`, metadata, []string{"Origin: http://foo.example.org"}, nil, none("Origin")},
		{"t/plugin/cors3.t TEST 5: origin matches with allow_origins", `{"allow_origins":"https://test.com","allow_origins_by_metadata":["key_1"]}`, metadata, []string{"Origin: https://test.com"}, []string{"Vary: Via"}, byDefault("https://test.com", "Via, Origin")},
		{"t/plugin/cors3.t TEST 6: origin matches with allow_origins_by_metadata", `{"allow_origins":"https://test.com","allow_origins_by_metadata":["key_1"]}`, metadata, []string{"Origin: https://domain.com"}, nil, byDefault("https://domain.com", "Origin")},
		{"t/plugin/cors3.t TEST 8: origin not match", `{"allow_origins":"https://test.com","allow_origins_by_metadata":["key_1","key_2"]}`, metadata, []string{"Origin: http://foo.example.org"}, nil, none("Origin")},
		{"t/plugin/cors3.t TEST 9: first allow_origins_by_metadata", `{"allow_origins":"https://test.com","allow_origins_by_metadata":["key_1","key_2"]}`, metadata, []string{"Origin: https://domain.com"}, nil, byDefault("https://domain.com", "Origin")},
		{"t/plugin/cors3.t TEST 10: second allow_origins_by_metadata", `{"allow_origins":"https://test.com","allow_origins_by_metadata":["key_1","key_2"]}`, metadata, []string{"Origin: https://sub.domain.com"}, nil, byDefault("https://sub.domain.com", "Origin")},
		{"t/plugin/cors3.t TEST 12: origin matches by wildcard", `{"allow_origins":"https://test.com","allow_origins_by_metadata":["key_3"]}`, metadata, []string{"Origin: http://foo.example.org"}, nil, byDefault("http://foo.example.org", "Origin")},
		{"t/plugin/cors3.t TEST 14: not match because allow_origins * invalid", `{"allow_origins":"*","allow_origins_by_metadata":["key_1"]}`, metadata, []string{"Origin: http://foo.example.org"}, nil, none("-")},
		{"t/plugin/cors3.t TEST 15: first allow_origins_by_metadata", `{"allow_origins":"*","allow_origins_by_metadata":["key_1"]}`, metadata, []string{"Origin: https://domain.com"}, nil, byDefault("https://domain.com", "-")},
		{"a key that metadata lacks", `{"allow_origins":"https://test.com","allow_origins_by_metadata":["key_9"]}`, metadata, []string{"Origin: https://test.com"}, nil, byDefault("https://test.com", "Origin")},
		{"no metadata at all", `{"allow_origins_by_metadata":["key_1"]}`, "", []string{"Origin: https://domain.com"}, nil, none("-")},
		{"metadata and no Origin", `{"allow_origins":"https://test.com","allow_origins_by_metadata":["key_3"]}`, metadata, nil, nil, none("Origin")},

		{"t/plugin/cors4.t TEST 3: origin matching", `{"allow_origins":"*",` + request + `,"timing_allow_origins":"http://sub.domain.com"}`, "", []string{"Origin: http://sub.domain.com"}, nil, timing("*", "-", "http://sub.domain.com")},
		{"t/plugin/cors4.t TEST 4: not matching timing_allow_origins", `{"allow_origins":"*",` + request + `,"timing_allow_origins":"http://sub.domain.com"}`, "", []string{"Origin: http://other.domain.com"}, nil, timing("*", "-", "-")},
		{"t/plugin/cors4.t TEST 6: same, matching", `{"allow_origins":"http://sub.domain.com",` + request + `,"timing_allow_origins":"http://sub.domain.com"}`, "", []string{"Origin: http://sub.domain.com"}, nil, timing("http://sub.domain.com", "Origin", "http://sub.domain.com")},
		{"t/plugin/cors4.t TEST 7: same, not matching", `{"allow_origins":"http://sub.domain.com",` + request + `,"timing_allow_origins":"http://sub.domain.com"}`, "", []string{"Origin: http://other.domain.com"}, nil, none("Origin")},
		{"t/plugin/cors4.t TEST 9: matching allow_origins", `{"allow_origins":"http://one.domain.com",` + request + `,"timing_allow_origins":"http://another.domain.com"}`, "", []string{"Origin: http://one.domain.com"}, nil, timing("http://one.domain.com", "Origin", "-")},
		{"t/plugin/cors4.t TEST 10: matching timing_allow_origins", `{"allow_origins":"http://one.domain.com",` + request + `,"timing_allow_origins":"http://another.domain.com"}`, "", []string{"Origin: http://another.domain.com"}, nil, timing("-", "Origin", "http://another.domain.com")},
		{"t/plugin/cors4.t TEST 17: both sets", `{"allow_origins":"http://one.domain.com,http://two.domain.com",` + request + `,"timing_allow_origins":"http://one.domain.com,http://three.domain.com"}`, "", []string{"Origin: http://one.domain.com"}, nil, timing("http://one.domain.com", "Origin", "http://one.domain.com")},
		{"t/plugin/cors4.t TEST 18: only allow_origins", `{"allow_origins":"http://one.domain.com,http://two.domain.com",` + request + `,"timing_allow_origins":"http://one.domain.com,http://three.domain.com"}`, "", []string{"Origin: http://two.domain.com"}, nil, timing("http://two.domain.com", "Origin", "-")},
		{"t/plugin/cors4.t TEST 19: only timing_allow_origins", `{"allow_origins":"http://one.domain.com,http://two.domain.com",` + request + `,"timing_allow_origins":"http://one.domain.com,http://three.domain.com"}`, "", []string{"Origin: http://three.domain.com"}, nil, timing("-", "Origin", "http://three.domain.com")},
		{"t/plugin/cors4.t TEST 20: neither", `{"allow_origins":"http://one.domain.com,http://two.domain.com",` + request + `,"timing_allow_origins":"http://one.domain.com,http://three.domain.com"}`, "", []string{"Origin: http://notexistent.domain.com"}, nil, none("Origin")},
		{"t/plugin/cors4.t TEST 22: regex match", `{"allow_origins_by_regex":["http://.*?\\.domain\\.com"],` + request + `,"timing_allow_origins_by_regex":["http://.*?\\.domain\\.com"]}`, "", []string{"Origin: http://sub.domain.com"}, nil, timing("http://sub.domain.com", "-", "http://sub.domain.com")},
		{"t/plugin/cors4.t TEST 23: regex no match", `{"allow_origins_by_regex":["http://.*?\\.domain\\.com"],` + request + `,"timing_allow_origins_by_regex":["http://.*?\\.domain\\.com"]}`, "", []string{"Origin: http://other.newdomain.com"}, nil, none("-")},
		{"t/plugin/cors4.t TEST 25: priority of regex over list of origins", `{"allow_origins_by_regex":["http://.*?\\.domain\\.com"],` + request + `,"timing_allow_origins_by_regex":["http://test.*?\\.domain\\.com"],"timing_allow_origins":"http://nonexistent.newdomain.com"}`, "",
			[]string{"Origin: http://testurl.domain.com"}, nil, timing("http://testurl.domain.com", "-", "http://testurl.domain.com")},
		{"t/plugin/cors4.t TEST 27: empty expose_headers", `{"allow_credential":true,"allow_headers":"**","allow_methods":"**","allow_origins":"**","expose_headers":"","max_age":3500}`, "",
			[]string{"Origin: http://sub.domain.com", "Access-Control-Request-Headers: req-header1,req-header2"}, nil,
			answer{"http://sub.domain.com", "Origin", allMethods, "req-header1,req-header2", "-", "3500", "true", "-"}},

		{"timing for everyone", `{"timing_allow_origins":"*"}`, "", nil, nil, answer{"*", "-", "*", "*", "-", "5", "-", "*"}},
		{"timing forced", `{"timing_allow_origins":"**"}`, "", []string{"Origin: http://a.b"}, nil, answer{"*", "-", "*", "*", "-", "5", "-", "http://a.b"}},
		{"one origin and no Origin", `{"allow_origins":"http://a.b"}`, "", nil, nil, none("Origin")},
		{"an upstream's own fields stay when the origin is not allowed", `{"allow_origins":"http://a.b"}`, "", []string{"Origin: http://c.d"},
			[]string{"Access-Control-Allow-Origin: http://c.d"}, answer{"http://c.d", "Origin", "-", "-", "-", "-", "-", "-"}},
		{"the origin null", `{"allow_origins":"null"}`, "", []string{"Origin: null"}, nil, byDefault("null", "Origin")},
		{"methods and headers empty", `{"allow_methods":"","allow_headers":"","max_age":-1}`, "", nil, []string{"Access-Control-Allow-Methods: X"},
			answer{"*", "-", "-", "-", "-", "-1", "-", "-"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := plugintest.Env()
			if c.meta != "" {
				env.Metadata = json.RawMessage(c.meta)
			}
			r := plugintest.Run(plugintest.Request("GET", "/hello", c.fields...), plugintest.Upstream{Fields: c.up, Chunks: []string{"hello world\n"}},
				plugintest.NewEnv(t, name, c.conf, env))
			if d := cmp.Diff(c.want, answerOf(r)); d != "" {
				t.Error(d)
			}
			if r.Status != 200 || r.Body != "hello world\n" {
				t.Errorf("got %d %q", r.Status, r.Body)
			}
		})
	}
}

// t/plugin/cors.t TEST 14: options return directly.
func TestPreflight(t *testing.T) {
	ex := plugintest.Request("OPTIONS", "/hello", "Origin: http://a.b", "Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: x-a")
	r := plugintest.Run(ex, plugintest.Upstream{}, plugintest.New(t, name, `{"allow_headers":"**"}`))
	if !r.Replied || r.Status != 200 || r.Body != "" || r.Header("Access-Control-Allow-Headers") != "x-a" || r.Header("Access-Control-Allow-Origin") != "*" {
		t.Fatalf("got %+v", r)
	}
}

// refuser stands for an auth plugin, renamer for a plugin that edits the request; both run after cors.
type refuser struct{}

func (refuser) Rewrite(*plugin.Exchange) (*plugin.Reply, error) {
	return plugin.Message(401, "no"), nil
}

type renamer struct{}

func (renamer) Rewrite(ex *plugin.Exchange) (*plugin.Reply, error) {
	ex.Request.Header.SetString("Origin", "http://example.com")
	return nil, nil
}

func TestWithOthers(t *testing.T) {
	for _, c := range []struct {
		name, conf string
		other      plugin.Instance
		status     int
	}{
		{"t/plugin/cors.t TEST 16: auth failed still work", `{"allow_origins":"**"}`, refuser{}, 401},
		{"t/plugin/cors.t TEST 35: origin is not affected by proxy_rewrite plugins", `{"allow_origins":"http://sub.domain.com"}`, renamer{}, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			ex := plugintest.Request("GET", "/", "Origin: http://sub.domain.com")
			r := plugintest.Run(ex, plugintest.Upstream{}, plugintest.New(t, name, c.conf), c.other)
			if r.Status != c.status || r.Header("Access-Control-Allow-Origin") != "http://sub.domain.com" {
				t.Fatalf("got %+v", r)
			}
		})
	}
}

func TestConfiguration(t *testing.T) {
	type conf struct {
		name, conf, want string // want is part of the error, "" for none
	}
	cases := []conf{
		{"t/plugin/cors.t TEST 1: sanity", `{"allow_origins":"http://test.com","allow_methods":"","allow_headers":"","expose_headers":"","max_age":600,"allow_credential":true}`, ""},
		{"t/plugin/cors.t TEST 2: wrong value of key", `{"max_age":"600"}`, "max_age"},
		{"t/plugin/cors.t TEST 24: * in allow_origins", `{"allow_origins":"*","allow_credential":true}`, "you can not set '*' for other option when 'allow_credential' is true"},
		{"t/plugin/cors.t TEST 25: * in allow_methods", `{"allow_origins":"**","allow_headers":"**","allow_methods":"*","allow_credential":true}`, "you can not set '*'"},
		{"t/plugin/cors.t TEST 26: * in allow_headers", `{"allow_origins":"**","allow_headers":"*","allow_methods":"**","allow_credential":true}`, "you can not set '*'"},
		{"t/plugin/cors.t TEST 27: * in expose_headers", `{"allow_origins":"**","allow_headers":"**","allow_methods":"**","expose_headers":"*","allow_credential":true}`, "you can not set '*'"},
		{"* in timing_allow_origins", `{"allow_origins":"**","allow_headers":"**","allow_methods":"**","timing_allow_origins":"*","allow_credential":true}`, "you can not set '*'"},
		{"broken allow_origins_by_regex", `{"allow_origins_by_regex":["a("]}`, "allow_origins_by_regex"},
		{"broken timing_allow_origins_by_regex", `{"timing_allow_origins_by_regex":["a("]}`, "timing_allow_origins_by_regex"},
		{"empty list", `{"allow_origins_by_regex":[]}`, "allow_origins_by_regex"},
		{"duplicates", `{"allow_origins_by_metadata":["a","a"]}`, "allow_origins_by_metadata"},
	}
	good := []string{"*", "**", "null", "http://y.com.uk", "https://x.com", "https://x.com,http://y.com.uk", "https://x.com,http://y.com.uk,http://c.tv",
		"https://x.com,http://y.com.uk:12000,http://c.tv"}
	bad := []string{"", "*a", "*,http://y.com", "nulll", "http//y.com.uk", "x.com", "https://x.com,y.com.uk", "https://x.com,*,https://y.com.uk",
		"https://x.com,http://y.com.uk,http:c.tv"}
	for _, field := range []string{"allow_origins", "timing_allow_origins"} {
		file := map[string]string{"allow_origins": "cors2.t", "timing_allow_origins": "cors4.t"}[field]
		for _, v := range good {
			cases = append(cases, conf{"t/plugin/" + file + " TEST 1: good " + v, `{"` + field + `":"` + v + `"}`, ""})
		}
		for _, v := range bad {
			cases = append(cases, conf{"t/plugin/" + file + " TEST 1: bad " + v, `{"` + field + `":"` + v + `"}`, field})
		}
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := plugintest.Try(name, c.conf, nil)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
		})
	}
	for _, v := range good {
		t.Run("t/plugin/cors3.t TEST 1: metadata good "+v, func(t *testing.T) {
			if _, err := plugintest.Complete(metadataSchema, `{"allow_origins":{"key":"`+v+`"}}`); err != nil {
				t.Fatal(err)
			}
		})
	}
	for _, v := range bad {
		t.Run("t/plugin/cors3.t TEST 1: metadata bad "+v, func(t *testing.T) {
			if _, err := plugintest.Complete(metadataSchema, `{"allow_origins":{"key":"`+v+`"}}`); err == nil {
				t.Fatal("no error")
			}
		})
	}
}

func TestAllocations(t *testing.T) {
	for _, c := range []struct{ name, conf string }{
		{"default", `{}`},
		{"list", `{"allow_origins":"http://a.b,http://c.d","allow_methods":"**","allow_headers":"a","allow_credential":true,"timing_allow_origins":"http://a.b"}`},
		{"regex", `{"allow_origins_by_regex":["^http://[a-z]\\.b$"]}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := plugintest.New(t, name, c.conf).(*cors)
			ex := plugintest.Request("GET", "/", "Origin: http://a.b")
			buf := make([]plugin.Field, 0, 16)
			if n := testing.AllocsPerRun(100, func() {
				ex.Response.Header.Reset(buf[:0])
				if _, err := s.Rewrite(ex); err != nil {
					t.Fatal(err)
				}
				if err := s.HeaderFilter(ex); err != nil {
					t.Fatal(err)
				}
			}); n != 0 {
				t.Fatalf("%v allocations", n)
			}
		})
	}
}
