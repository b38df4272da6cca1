package keyauth

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/l7/plugin"
	"github.com/sluice-gateway/sluice/l7/plugin/plugintest"
)

func consumers() *plugin.ConsumerIndex {
	x := plugin.NewConsumerIndex()
	jack := &plugin.Consumer{Username: "jack", GroupID: "g1", CredentialID: "cred-1", CustomID: "495aec6a"}
	x.Add(jack)
	x.AddKey(name, "auth-one", jack)
	x.Add(&plugin.Consumer{Username: "anonymous"})
	return x
}

// outcome is what a case looks at.
type outcome struct {
	Status    int
	Body      string
	Challenge string
	Consumer  string
	Query     string
	// Fields are the request fields that go to the upstream.
	Fields string
}

func run(t *testing.T, conf, target string, fields ...string) outcome {
	t.Helper()
	ex := plugintest.Request("GET", target, fields...)
	ex.Consumers = consumers()
	r := plugintest.Run(ex, plugintest.Upstream{}, plugintest.New(t, name, conf))
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	o := outcome{Status: r.Status, Body: strings.TrimSuffix(r.Body, "\n"), Challenge: r.Header("WWW-Authenticate"), Query: string(ex.Request.Query)}
	if ex.Consumer != nil {
		o.Consumer = ex.Consumer.Username
	}
	var list []string
	for _, f := range ex.Request.Header.Fields() {
		list = append(list, string(f.Name)+": "+string(f.Value))
	}
	o.Fields = strings.Join(list, "|")
	return o
}

const (
	missing      = `{"message":"Missing API key in request"}`
	invalid      = `{"message":"Invalid API key in request"}`
	unauthorized = `{"message":"Invalid user authorization"}`
	realmKey     = `apikey realm="key"`
	jackFields   = "X-Consumer-Username: jack|X-Credential-Identifier: cred-1|X-Consumer-Custom-ID: 495aec6a"
)

func TestRewrite(t *testing.T) {
	for _, c := range []struct {
		name, conf, target string
		fields             []string
		want               outcome
	}{
		{"t/plugin/key-auth.t TEST 5: valid consumer", `{}`, "/hello", []string{"apikey: auth-one"},
			outcome{200, "", "-", "jack", "", "apikey: auth-one|" + jackFields}},
		{"t/plugin/key-auth.t TEST 6: invalid consumer", `{}`, "/hello", []string{"apikey: 123"},
			outcome{401, invalid, realmKey, "", "", "apikey: 123"}},
		{"t/plugin/key-auth.t TEST 7: not found apikey header", `{}`, "/hello", nil,
			outcome{401, missing, realmKey, "", "", ""}},
		{"t/plugin/key-auth.t TEST 11: valid consumer, customized header", `{"header":"Authorization"}`, "/hello", []string{"authorization: auth-one"},
			outcome{200, "", "-", "jack", "", "authorization: auth-one|" + jackFields}},
		{"t/plugin/key-auth.t TEST 13: valid consumer, customized query", `{"query":"auth"}`, "/hello?auth=auth-one", nil,
			outcome{200, "", "-", "jack", "auth=auth-one", jackFields}},
		{"t/plugin/key-auth.t TEST 15: apikey request header should not hidden", `{"hide_credentials":false}`, "/echo", []string{"apikey: auth-one"},
			outcome{200, "", "-", "jack", "", "apikey: auth-one|" + jackFields}},
		{"t/plugin/key-auth.t TEST 17: apikey request header is hidden", `{"hide_credentials":true}`, "/echo", []string{"apikey: auth-one"},
			outcome{200, "", "-", "jack", "", jackFields}},
		{"t/plugin/key-auth.t TEST 18: only the keys in the title are deleted", `{"hide_credentials":true}`, "/echo", []string{"apikey: auth-one", "test: auth-two"},
			outcome{200, "", "-", "jack", "", "test: auth-two|" + jackFields}},
		{"t/plugin/key-auth.t TEST 19: apikey both in header and query, header hidden, args not", `{"hide_credentials":true}`, "/echo?apikey=auth-one", []string{"apikey: auth-one"},
			outcome{200, "", "-", "jack", "apikey=auth-one", jackFields}},
		{"t/plugin/key-auth.t TEST 21: auth request args is hidden", `{"query":"auth","hide_credentials":true}`, "/echo?auth=auth-one", nil,
			outcome{200, "", "-", "jack", "", jackFields}},
		{"t/plugin/key-auth.t TEST 22: only the keys in the query parameters are deleted", `{"query":"auth","hide_credentials":true}`, "/echo?auth=auth-one&test=auth-two", nil,
			outcome{200, "", "-", "jack", "test=auth-two", jackFields}},
		{"t/plugin/key-auth.t TEST 23: auth in header and query, args hidden, header not", `{"query":"auth","hide_credentials":true}`, "/echo?auth=auth-one", []string{"auth: auth-one"},
			outcome{200, "", "-", "jack", "", "auth: auth-one|" + jackFields}},
		{"t/plugin/key-auth.t TEST 25: auth request args should not hidden", `{"query":"auth","hide_credentials":false}`, "/hello?auth=auth-one", nil,
			outcome{200, "", "-", "jack", "auth=auth-one", jackFields}},

		{"t/plugin/key-auth-anonymous-consumer.t TEST 4: without header, from anonymous consumer", `{"anonymous_consumer":"anonymous"}`, "/hello", nil,
			outcome{200, "", "-", "anonymous", "", "X-Consumer-Username: anonymous"}},
		{"t/plugin/key-auth-anonymous-consumer.t TEST 7: anonymous-consumer should not be found", `{"anonymous_consumer":"not-found-anonymous"}`, "/hello", nil,
			outcome{401, unauthorized, realmKey, "", "", ""}},
		{"t/plugin/key-auth-anonymous-consumer.t TEST 9: invalid key in header not forwarded", `{"query":"auth","anonymous_consumer":"anonymous","hide_credentials":true}`, "/print", []string{"apikey: invalid-key"},
			outcome{200, "", "-", "anonymous", "", "X-Consumer-Username: anonymous"}},
		{"t/plugin/key-auth-anonymous-consumer.t TEST 10: invalid key in query not forwarded", `{"query":"auth","anonymous_consumer":"anonymous","hide_credentials":true}`, "/print?auth=invalid-key", nil,
			outcome{200, "", "-", "anonymous", "", "X-Consumer-Username: anonymous"}},
		{"t/plugin/key-auth-anonymous-consumer.t TEST 11: invalid key in both, neither forwarded", `{"query":"auth","anonymous_consumer":"anonymous","hide_credentials":true}`, "/print?auth=invalid-key&a=1", []string{"apikey: invalid-key"},
			outcome{200, "", "-", "anonymous", "a=1", "X-Consumer-Username: anonymous"}},

		{"t/plugin/key-auth-realm.t TEST 4: custom realm", `{"realm":"my-custom-realm"}`, "/hello", nil,
			outcome{401, missing, `apikey realm="my-custom-realm"`, "", "", ""}},
		{"t/plugin/key-auth-realm.t TEST 6: anonymous consumer missing returns realm", `{"anonymous_consumer":"missing-consumer"}`, "/hello", []string{"apikey: auth-one-x"},
			outcome{401, unauthorized, realmKey, "", "", "apikey: auth-one-x"}},

		{"a wrong header key is not made good by the query", `{}`, "/?apikey=auth-one", []string{"apikey: x"},
			outcome{401, invalid, realmKey, "", "apikey=auth-one", "apikey: x"}},
		{"an empty header is a wrong key", `{}`, "/", []string{"apikey:"}, outcome{401, invalid, realmKey, "", "", "apikey: "}},
		{"the first of two header fields counts", `{"hide_credentials":true}`, "/", []string{"apikey: auth-one", "ApiKey: other"},
			outcome{200, "", "-", "jack", "", jackFields}},
		{"an argument that comes twice is no key", `{}`, "/?apikey=auth-one&apikey=auth-one", nil,
			outcome{401, invalid, realmKey, "", "apikey=auth-one&apikey=auth-one", ""}},
		{"an argument without = is no key", `{}`, "/?apikey", nil, outcome{401, invalid, realmKey, "", "apikey", ""}},
		{"an escaped argument", `{"hide_credentials":true}`, "/?b=%20&%61pikey=auth%2Done&a=+", nil,
			outcome{200, "", "-", "jack", "b=%20&a=+", jackFields}},
		{"identity fields of the client are dropped", `{"anonymous_consumer":"anonymous"}`, "/",
			[]string{"X-Consumer-Username: root", "X-Credential-Identifier: c", "X-Consumer-Custom-ID: i"},
			outcome{200, "", "-", "anonymous", "", "X-Consumer-Username: anonymous"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if d := cmp.Diff(c.want, run(t, c.conf, c.target, c.fields...)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestNoConsumers(t *testing.T) {
	ex := plugintest.Request("GET", "/", "apikey: auth-one")
	r := plugintest.Run(ex, plugintest.Upstream{}, plugintest.New(t, name, `{}`))
	if r.Status != 401 || r.Body != invalid+"\n" {
		t.Fatalf("got %d %s", r.Status, r.Body)
	}
}

// A target that the upstream gets in place of path and query must not carry the key either.
func TestHideInUpstreamTarget(t *testing.T) {
	ex := plugintest.Request("GET", "/a?apikey=auth-one&b=1")
	ex.Consumers = consumers()
	ex.Request.UpstreamTarget = []byte("/a;v=1?apikey=auth-one&b=1")
	plugintest.Run(ex, plugintest.Upstream{}, plugintest.New(t, name, `{"hide_credentials":true}`))
	if got := string(ex.Request.UpstreamTarget); got != "/a;v=1?b=1" {
		t.Fatalf("got %s", got)
	}
}

func TestMissingAnonymousIsLoggedOnce(t *testing.T) {
	var out bytes.Buffer
	env := plugintest.Env()
	env.Logger = slog.New(slog.NewTextHandler(&out, nil))
	inst := plugintest.NewEnv(t, name, `{"anonymous_consumer":"missing"}`, env)
	for range 3 {
		ex := plugintest.Request("GET", "/")
		ex.Consumers = consumers()
		plugintest.Run(ex, plugintest.Upstream{}, inst)
	}
	if n := strings.Count(out.String(), "failed to get anonymous consumer"); n != 1 || !strings.Contains(out.String(), "consumer=missing") {
		t.Fatalf("log: %s", out.String())
	}
}

func TestSchema(t *testing.T) {
	for _, c := range []struct {
		name, conf string
		ok         bool
	}{
		{"empty", `{}`, true},
		{"realm with a quote", `{"realm":"a\"b"}`, false},
		{"realm with a backslash", `{"realm":"a\\b"}`, false},
		{"realm with a line feed", `{"realm":"a\nb"}`, false},
		{"realm of printable characters", `{"realm":" !#[]^~"}`, true},
		{"realm empty", `{"realm":""}`, false},
		{"realm too long", `{"realm":"` + strings.Repeat("x", 129) + `"}`, false},
		{"anonymous consumer empty", `{"anonymous_consumer":""}`, false},
		{"header of the wrong type", `{"header":1}`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := plugintest.Try(name, c.conf, nil); (err == nil) != c.ok {
				t.Fatalf("got %v", err)
			}
		})
	}
	for _, c := range []struct {
		name, conf string
		ok         bool
	}{
		{"t/plugin/key-auth.t TEST 1: sanity", `{"key":"test-key"}`, true},
		{"t/plugin/key-auth.t TEST 2: wrong type of string", `{"key":123}`, false},
		{"t/plugin/key-auth.t TEST 9: empty key", `{}`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := plugintest.Complete(consumerSchema, c.conf); (err == nil) != c.ok {
				t.Fatalf("got %v", err)
			}
		})
	}
}

func TestConsumerKey(t *testing.T) {
	if k, err := consumerKey([]byte(`{"key":"k"}`)); k != "k" || err != nil {
		t.Fatalf("got %q, %v", k, err)
	}
	if _, err := consumerKey([]byte(`[`)); err == nil {
		t.Fatal("no error for a broken document")
	}
}

func TestAllocations(t *testing.T) {
	index := consumers()
	for _, c := range []struct{ name, conf, target, field string }{
		{"header", `{}`, "/", "apikey: auth-one"},
		{"hidden header", `{"hide_credentials":true}`, "/", "apikey: auth-one"},
		{"query", `{}`, "/?a=1&apikey=auth-one", "accept: */*"},
		{"refused", `{}`, "/", "apikey: wrong"},
		{"anonymous", `{"anonymous_consumer":"anonymous"}`, "/", "apikey: wrong"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inst := plugintest.New(t, name, c.conf).(*auth)
			ex := plugintest.Request("GET", c.target, "host: a", c.field)
			ex.Consumers = index
			fields := append([]plugin.Field(nil), ex.Request.Header.Fields()...)
			buf := make([]plugin.Field, 0, 16)
			if n := testing.AllocsPerRun(100, func() {
				ex.Request.Header.Reset(append(buf[:0], fields...))
				ex.Consumer = nil
				if _, err := inst.Rewrite(ex); err != nil {
					t.Fatal(err)
				}
			}); n != 0 {
				t.Fatalf("%v allocations", n)
			}
		})
	}
}

func BenchmarkHeader(b *testing.B) {
	inst := plugintest.New(b, name, `{}`).(*auth)
	ex := plugintest.Request("GET", "/", "host: a", "user-agent: curl/8.0", "accept: */*", "apikey: auth-one")
	ex.Consumers = consumers()
	fields := append([]plugin.Field(nil), ex.Request.Header.Fields()...)
	buf := make([]plugin.Field, 0, 16)
	b.ReportAllocs()
	for b.Loop() {
		ex.Request.Header.Reset(append(buf[:0], fields...))
		if r, _ := inst.Rewrite(ex); r != nil {
			b.Fatal(r.Status)
		}
	}
}
