package faultinjection

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/l7/plugin"
	"github.com/sluice-gateway/sluice/l7/plugin/plugintest"
)

func TestRewrite(t *testing.T) {
	const (
		vars    = `"vars":[[["arg_name","==","jack"],["arg_age","!","<",18]],[["http_apikey","==","api-key"]]]`
		abort   = `{"abort":{"http_status":403,"body":"Fault Injection!\n",` + vars + `}}`
		negated = `{"abort":{"http_status":403,"body":"Fault Injection!\n","vars":[["!AND",["arg_name","==","jack"],["arg_age","!","<",18]]]}}`
		delay   = `{"delay":{"duration":2,"vars":[[["arg_name","==","jack"],["arg_age","!","<",18]]]}}`
		both    = `{"abort":{"http_status":403,"body":"Fault Injection!\n","vars":[[["arg_name","==","jack"],["arg_age","!","<",18]]]},
			"delay":{"duration":2,"vars":[[["http_apikey","==","api-key"]]]}}`
		fault = "Fault Injection!\n"
	)
	key := []string{"apikey: api-key"}
	for _, c := range []struct {
		name, conf, target string
		fields             []string
		want               plugintest.Result
	}{
		{"t/plugin/fault-injection.t TEST 11: delay 1 seconds", `{"delay":{"duration":1}}`, "/hello", nil, plugintest.Result{Status: 200, Delay: time.Second}},
		{"t/plugin/fault-injection.t TEST 13: abort with http code 200", `{"abort":{"http_status":200,"body":"Fault Injection!\n"}}`, "/hello", nil, plugintest.Result{Replied: true, Status: 200, Body: fault}},
		{"t/plugin/fault-injection.t TEST 15: abort with http status 405", `{"abort":{"http_status":405,"body":"Fault Injection!\n"}}`, "/hello", nil, plugintest.Result{Replied: true, Status: 405, Body: fault}},
		{"t/plugin/fault-injection.t TEST 19: abort with zero percentage", `{"abort":{"http_status":200,"body":"Fault Injection!\n","percentage":0}}`, "/hello", nil, plugintest.Result{Status: 200}},
		{"t/plugin/fault-injection.t TEST 21: delay with zero percentage", `{"delay":{"duration":1,"percentage":0}}`, "/hello", nil, plugintest.Result{Status: 200}},
		{"t/plugin/fault-injection.t TEST 23: body with var", `{"abort":{"http_status":200,"body":"client addr: $remote_addr\n"}}`, "/hello", nil, plugintest.Result{Replied: true, Status: 200, Body: "client addr: 127.0.0.1\n"}},
		{"t/plugin/fault-injection.t TEST 25: abort without body", `{"abort":{"http_status":200}}`, "/hello", nil, plugintest.Result{Replied: true, Status: 200}},
		{"t/plugin/fault-injection.t TEST 29: all vars rules pass", abort, "/hello?name=jack&age=18", key, plugintest.Result{Replied: true, Status: 403, Body: fault}},
		{"t/plugin/fault-injection.t TEST 30: missing apikey", abort, "/hello?name=jack&age=20", nil, plugintest.Result{Replied: true, Status: 403, Body: fault}},
		{"t/plugin/fault-injection.t TEST 31: missing request parameters", abort, "/hello", key, plugintest.Result{Replied: true, Status: 403, Body: fault}},
		{"t/plugin/fault-injection.t TEST 32: vars do not match, age is missing", abort, "/hello?name=allen", nil, plugintest.Result{Status: 200}},
		{"t/plugin/fault-injection.t TEST 33: all vars do not match", abort, "/hello", nil, plugintest.Result{Status: 200}},
		{"t/plugin/fault-injection.t TEST 35: delay 2 seconds", delay, "/hello?name=jack&age=22", nil, plugintest.Result{Status: 200, Delay: 2 * time.Second}},
		{"t/plugin/fault-injection.t TEST 36: no wait", delay, "/hello", nil, plugintest.Result{Status: 200}},
		{"t/plugin/fault-injection.t TEST 38: abort and delay", both, "/hello?name=jack&age=18", key, plugintest.Result{Replied: true, Status: 403, Body: fault, Delay: 2 * time.Second}},
		{"t/plugin/fault-injection.t TEST 39: only delay", both, "/hello?name=jack&age=16", key, plugintest.Result{Status: 200, Delay: 2 * time.Second}},
		{"t/plugin/fault-injection2.t TEST 2: vars rule with ! (hit)", negated, "/hello?name=jack&age=17", nil, plugintest.Result{Replied: true, Status: 403, Body: fault}},
		{"t/plugin/fault-injection2.t TEST 3: vars rule with ! (miss)", negated, "/hello?name=jack&age=18", nil, plugintest.Result{Status: 200}},
		{"t/plugin/fault-injection2.t TEST 5: inject header", `{"abort":{"http_status":200,"headers":{"h1":"v1","h2":2,"h3":"$uri"}}}`, "/hello", nil,
			plugintest.Result{Replied: true, Status: 200, Fields: []string{"h1: v1", "h2: 2", "h3: /hello"}}},
		{"t/plugin/fault-injection2.t TEST 7: closing curly brace is no part of a variable", `{"abort":{"http_status":200,"body":"{\"count\": $arg_count}"}}`, "/hello?count=2", nil,
			plugintest.Result{Replied: true, Status: 200, Body: `{"count": 2}`}},

		{"one hundred percent", `{"abort":{"http_status":503,"percentage":100},"delay":{"duration":0.25,"percentage":100}}`, "/", nil,
			plugintest.Result{Replied: true, Status: 503, Delay: 250 * time.Millisecond}},
		{"an empty list of conditions never holds", `{"abort":{"http_status":503,"vars":[]},"delay":{"duration":1,"vars":[]}}`, "/", nil, plugintest.Result{Status: 200}},
		{"an empty condition always holds", `{"abort":{"http_status":503,"vars":[[]]}}`, "/", nil, plugintest.Result{Replied: true, Status: 503}},
		{"a field without value is left out", `{"abort":{"http_status":503,"headers":{"a":"$arg_none","b":"","c":1.5}}}`, "/", nil,
			plugintest.Result{Replied: true, Status: 503, Fields: []string{"c: 1.5"}}},
		{"a value with a line break", `{"abort":{"http_status":503,"headers":{"a":"$arg_x"}}}`, "/?x=1%0d%0aSet-Cookie:%20a", nil,
			plugintest.Result{Replied: true, Status: 503, Fields: []string{"a: 1  Set-Cookie: a"}}},
		{"a delay longer than a day", `{"delay":{"duration":1e300}}`, "/", nil, plugintest.Result{Status: 200, Delay: maxDelay}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := plugintest.Run(plugintest.Request("GET", c.target, c.fields...), plugintest.Upstream{}, plugintest.New(t, name, c.conf))
			if c.want.Body != "" {
				c.want.Fields = append(c.want.Fields, "Content-Type: text/plain; charset=utf-8")
			}
			if d := cmp.Diff(&c.want, got); d != "" {
				t.Error(d)
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
	// Nine standard deviations either way.
	if hits < 800 || hits > 1200 {
		t.Errorf("%d of 2000 requests were aborted, want about half", hits)
	}
}

func TestReadsBodyVars(t *testing.T) {
	for _, c := range []struct {
		conf string
		want bool
	}{
		{`{"abort":{"http_status":403}}`, false},
		{`{"abort":{"http_status":403,"body":"$arg_a","vars":[[["arg_a","==","b"]]]}}`, false},
		{`{"abort":{"http_status":403,"vars":[[["post_arg_a","==","b"]]]}}`, true},
		{`{"delay":{"duration":1,"vars":[[["arg_a","==","b"]],[["post_arg.a","==","b"]]]}}`, true},
		{`{"abort":{"http_status":403,"body":"$post_arg_a"}}`, true},
		{`{"abort":{"http_status":403,"headers":{"a":"$post_arg_a"}}}`, true},
	} {
		t.Run(c.conf, func(t *testing.T) {
			if got := plugintest.New(t, name, c.conf).(plugin.BodyVarsReader).ReadsBodyVars(); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestConfiguration(t *testing.T) {
	for _, c := range []struct{ name, conf, want string }{
		{"t/plugin/fault-injection.t TEST 1: invalid http_status", `{"abort":{"http_status":100,"body":"Fault Injection!\n"}}`, "http_status"},
		{"t/plugin/fault-injection.t TEST 2: without http_status", `{"abort":{}}`, "http_status"},
		{"t/plugin/fault-injection.t TEST 3: without abort & delay", `{}`, ""},
		{"t/plugin/fault-injection.t TEST 4: without duration", `{"delay":{}}`, "duration"},
		{"t/plugin/fault-injection.t TEST 5: duration with string", `{"delay":{"duration":"test"}}`, "duration"},
		{"t/plugin/fault-injection.t TEST 27: vars schema validation failed", `{"abort":{"http_status":403,"vars":[["arg_name","!=","jack"]]}}`, "rule should be wrapped inside brackets"},
		{"broken vars of the delay", `{"delay":{"duration":1,"vars":[[["a","nope","b"]]]}}`, "(in delay.vars[0])"},
		{"negative duration", `{"delay":{"duration":-1}}`, "duration"},
		{"percentage over 100", `{"abort":{"http_status":200,"percentage":110}}`, "percentage"},
		{"status with four digits", `{"abort":{"http_status":2000}}`, "expected 2000 to be at most 999"},
		{"no headers", `{"abort":{"http_status":200,"headers":{}}}`, "headers"},
		{"boolean header", `{"abort":{"http_status":200,"headers":{"a":true}}}`, "headers"},
		{"header name with a space", `{"abort":{"http_status":200,"headers":{"a b":"c"}}}`, `"a b" is not a header field`},
		{"header name with a colon", `{"abort":{"http_status":200,"headers":{"a:":"c"}}}`, `"a:" is not a header field`},
		{"too many vars", `{"abort":{"http_status":200,"vars":[` + strings.Repeat("[],", 20) + `[]]}}`, "vars"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := plugintest.Try(name, c.conf, nil)
			if err == nil {
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
		})
	}
	t.Run("t/plugin/fault-injection.t TEST 26: vars schema validation passed", func(t *testing.T) {
		plugintest.New(t, name, `{"abort":{"http_status":403,"body":"Fault Injection!\n","vars":[[["arg_name","==","jack"],["arg_age","!","<",18]],[["http_apikey","==","api-key"]]]},
			"delay":{"duration":2,"vars":[[["arg_name","==","jack"],["arg_age","!","<",18]],[["http_apikey","==","api-key"]]]}}`)
	})
}

func TestPassingByDoesNotAllocate(t *testing.T) {
	in := plugintest.New(t, name, `{"abort":{"http_status":403,"vars":[[["arg_name","==","jack"]]]},"delay":{"duration":1,"percentage":0}}`).(*injector)
	ex := plugintest.Request("GET", "/?name=rose")
	if n := testing.AllocsPerRun(100, func() {
		if r, err := in.Rewrite(ex); r != nil || err != nil {
			t.Fatal(r, err)
		}
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}
