package expr

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/l7/plugin"
)

// exchange makes an exchange from a method, a target, header lines "Name: value" and a body.
func exchange(method, path, query string, body string, header ...string) *plugin.Exchange {
	ex := &plugin.Exchange{}
	ex.Request.Method, ex.Request.Path, ex.Request.Query = []byte(method), []byte(path), []byte(query)
	ex.Request.Scheme = "http"
	ex.Request.Host = []byte("foo.com")
	ex.Client = netip.MustParseAddrPort("192.168.3.5:1234")
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		ex.Request.Header.Add(name, []byte(value))
	}
	if body != "" {
		ex.SetBody([]byte(body))
	}
	return ex
}

func TestEval(t *testing.T) {
	get := func(query string, header ...string) *plugin.Exchange {
		return exchange("GET", "/hello", query, "", header...)
	}
	post := func(body string, header ...string) *plugin.Exchange {
		return exchange("POST", "/hello", "", body, header...)
	}
	const (
		jsonType = "Content-Type: application/json"
		formType = "Content-Type: application/x-www-form-urlencoded"
		owner    = "query repo {\n    owner {\n        name\n    }\n}"
		mutation = "mutation repo($ep: Episode!, $review: ReviewInput!) {\n createReview(episode: $ep, review: $review) {\n stars\n }\n}"
	)
	for _, c := range []struct {
		// from is the document or test of APISIX, lua-resty-expr or lua-resty-radixtree that the case comes from.
		from, name, doc string
		ex              *plugin.Exchange
		want            bool
	}{
		{"lua-resty-expr t/v1/sanity.t 1", "uri argument", `[["arg_k","==","v"]]`, get("k=v"), true},
		{"lua-resty-expr t/v1/sanity.t 2", "uri argument, old form", `[["arg_k","v"]]`, get("k=not_hit"), false},
		{"lua-resty-expr v1.lua compile_expr", "old form lower-cases", `[["arg_k","V"]]`, get("k=v"), true},
		{"lua-resty-expr t/v1/sanity.t", "header", `[["http_test","==","v"]]`, get("", "test: v"), true},
		{"lua-resty-expr t/v1/sanity.t", "no such header", `[["http_test","==","v"]]`, get(""), false},
		{"lua-resty-expr README", "several conditions", `[["arg_name","==","json"],["arg_weight",">",10],["arg_weight","!",">",15]]`, get("name=json&weight=12"), true},
		{"lua-resty-expr README", "several conditions, the last fails", `[["arg_name","==","json"],["arg_weight",">",10],["arg_weight","!",">",15]]`, get("name=json&weight=20"), false},
		{"lua-resty-expr README", "!AND with OR", `["!AND",["arg_name","==","json"],["OR",["arg_weight",">",10],["arg_height","!",">",15]]]`, get("name=json&weight=9&height=16"), true},
		{"lua-resty-expr README", "!AND with OR fails", `["!AND",["arg_name","==","json"],["OR",["arg_weight",">",10],["arg_height","!",">",15]]]`, get("name=json&weight=11"), false},
		{"lua-resty-expr README", "in", `[["arg_version","in",["v1","v2"]]]`, get("version=v2"), true},
		{"lua-resty-expr README", "not in the list", `[["arg_version","in",["v1","v2"]]]`, get("version=v3"), false},
		{"lua-resty-expr README", "regular expression", `[["arg_env","~~","[Dd]ev"]]`, get("env=Dev"), true},
		{"lua-resty-expr README", "not regular expression", `[["arg_env","!","~~","[Dd]ev"]]`, get("env=prod"), true},
		{"lua-resty-expr README", "regular expression ignoring case", `[["arg_env","~*","dev"]]`, get("env=DEV"), true},
		{"lua-resty-expr README", "ipmatch", `[["remote_addr","ipmatch",["192.168.102.40","192.168.3.0/24"]]]`, get(""), true},
		{"after lua-resty-expr t/v1/ipmatcher.t", "ipmatch of one text", `[["remote_addr","ipmatch","10.0.0.0/8"]]`, get(""), false},
		{"after lua-resty-expr t/v1/ipmatcher.t", "ipmatch of an argument", `[["arg_ip","ipmatch",["::1","fe80::/32"]]]`, get("ip=fe80::2"), true},
		{"after lua-resty-expr t/v1/ipmatcher.t", "ipmatch of what is no address", `[["arg_ip","!","ipmatch",["::1"]]]`, get("ip=foo"), true},
		{"lua-resty-expr t/v1/or.t", "OR", `["OR",["arg_a","==","1"],["arg_b","==","2"]]`, get("b=2"), true},
		{"lua-resty-expr t/v1/or.t", "!OR", `["!OR",["arg_a","==","1"],["arg_b","==","2"]]`, get("b=3"), true},
		{"lua-resty-expr t/v1/and.t", "AND in lower case", `["and",["arg_a","==","1"],["arg_b","==","2"]]`, get("a=1&b=2"), true},
		{"lua-resty-expr v1.lua new", "no conditions", `[]`, get(""), true},
		{"lua-resty-expr v1.lua compile", "lists in lists are AND", `[[["arg_a","==","1"],["arg_b","==","2"]],["arg_c","==","3"]]`, get("a=1&b=2&c=3"), true},
		{"lua-resty-expr v1.lua compile_expr", "operators in any case", `[["arg_a","IN",["1"]]]`, get("a=1"), true},
		{"lua-resty-expr v1.lua ==", "a number on the right converts the left", `[["arg_a","==",10]]`, get("a=10.0"), true},
		{"lua-resty-expr v1.lua ==", "hexadecimal", `[["arg_a","==",255]]`, get("a=0xFf"), true},
		{"lua-resty-expr v1.lua ==", "text on the right compares text", `[["arg_a","==","10"]]`, get("a=10.0"), false},
		{"lua-resty-expr v1.lua ==", "no number on the left", `[["arg_a","==",10]]`, get("a=x"), false},
		{"lua-resty-expr v1.lua ~=", "no number on the left differs", `[["arg_a","~=",10]]`, get("a=x"), true},
		{"lua-resty-expr v1.lua ~=", "same number", `[["arg_a","~=",10]]`, get("a=1e1"), false},
		{"lua-resty-expr v1.lua >", "text that is a number on the right", `[["arg_a",">=","10"]]`, get("a=10"), true},
		{"lua-resty-expr v1.lua <", "numbers, not texts", `[["arg_a","<",9]]`, get("a=10"), false},
		{"lua-resty-expr v1.lua <=", "no value", `[["arg_a","<=",9]]`, get(""), false},
		{"lua-resty-expr v1.lua >", "text that is no number on the right", `[["arg_a",">","x"]]`, get("a=10"), false},
		{"lua-resty-expr v1.lua compare_val", "null equals no value", `[["arg_a","==",null]]`, get(""), true},
		{"lua-resty-expr v1.lua compare_val", "null differs from a value", `[["arg_a","~=",null]]`, get("a=1"), true},
		{"lua-resty-expr v1.lua compare_val", "null differs from the empty value", `[["arg_a","==",null]]`, get("a="), false},
		{"lua-resty-expr v1.lua ==", "true is not the text true", `[["arg_a","==",true]]`, get("a=true"), false},
		{"lua-resty-expr v1.lua ==", "a list equals nothing", `[["arg_a","==",["1"]]]`, get("a=1"), false},
		{"lua-resty-expr v1.lua in_array", "numbers in the list are not texts", `[["arg_a","in",[1,2]]]`, get("a=1"), false},
		{"lua-resty-expr v1.lua in_array", "in a text", `[["arg_a","in","1"]]`, get("a=1"), false},
		{"lua-resty-expr v1.lua in_array", "long list", `[["arg_a","in",["1","2","3","4","5","6","7","8","9","10"]]]`, get("a=9"), true},
		{"lua-resty-expr v1.lua has_element", "has of a text", `[["arg_a","has","1"]]`, get("a=1"), false},
		{"docs/en/latest/router-radixtree.md", "header, argument and cookie", `[["http_host","==","iresty.com"],["cookie_device_id","==","a66f0cdc4ba2df8c096f74c9110163a9"],["arg_name","==","json"],["arg_age",">","18"],["arg_address","~~","China.*"]]`,
			get("name=json&age=19&address=China-x", "Host: iresty.com", "Cookie: x=1; device_id=a66f0cdc4ba2df8c096f74c9110163a9"), true},
		{"docs/en/latest/router-radixtree.md", "POST form", `[["post_arg_name","==","json"]]`, post("name=json", formType), true},
		{"docs/en/latest/router-radixtree.md", "POST form of another type", `[["post_arg_name","==","json"]]`, post("name=json", "Content-Type: text/plain"), false},
		{"docs/en/latest/apisix-variable.md", "JSON body by path", `[["post_arg.model.name","==","gpt"]]`, post(`{"model":{"name":"gpt"}}`, jsonType), true},
		{"docs/en/latest/apisix-variable.md", "JSON number is a number", `[["post_arg.n","==",5],["post_arg.n","~=","5"],["post_arg.n","in",[4,5]]]`, post(`{"n":5}`, jsonType), true},
		{"docs/en/latest/apisix-variable.md", "JSON boolean", `[["post_arg.stream","==",true]]`, post(`{"stream":true}`, jsonType), true},
		{"apisix/core/ctx.lua post_arg.", "JSONPath gives a list", `[["post_arg.messages[*].content[*].type","has","image_url"]]`, post(`{"messages":[{"content":[{"type":"text"},{"type":"image_url"}]}]}`, jsonType), true},
		{"apisix/core/ctx.lua post_arg.", "JSONPath that finds nothing", `[["post_arg.messages[*].x","has","image_url"]]`, post(`{"messages":[]}`, jsonType), false},
		{"apisix/core/ctx.lua post_arg.", "JSONPath at any depth", `[["post_arg.a..type","has","x"]]`, post(`{"a":{"b":[{"type":"x"}]}}`, jsonType), true},
		{"apisix/core/ctx.lua post_arg.", "form by path", `[["post_arg.name","==","json"]]`, post("name=json", formType), true},
		{"apisix/core/ctx.lua post_arg.", "multipart form", `[["post_arg.name","==","json"]]`,
			post("--b\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\njson\r\n--b--\r\n", "Content-Type: multipart/form-data; boundary=b"), true},
		{"t/router/graphql.t 2", "graphql name", `[["graphql_name","==","repo"]]`, post(owner), true},
		{"t/router/graphql.t 4", "graphql operation and name", `[["graphql_operation","==","mutation"],["graphql_name","==","repo"]]`, post(mutation), true},
		{"t/router/graphql.t 5", "another graphql operation", `[["graphql_operation","==","mutation"],["graphql_name","==","repo"]]`, post(owner), false},
		{"t/router/graphql.t 6", "the first of several operations", `[["graphql_operation","==","mutation"]]`, post(mutation + "\n" + owner), true},
		{"t/router/graphql.t 7", "bad graphql", `[["graphql_name","==","repo"]]`, post("AA"), false},
		{"t/router/graphql.t 9", "anonymous operation", `[["graphql_operation","==","query"],["graphql_name","==",""]]`, post("query {\n owner {\n name\n }\n}"), true},
		{"t/router/graphql.t 12", "root fields", `[["graphql_root_fields","has","owner"]]`, post(owner), true},
		{"t/router/graphql.t 13", "graphql in JSON", `[["graphql_root_fields","has","owner"]]`, post(`{"query":"query{owner{name}}"}`, jsonType), true},
		{"t/router/graphql.t 14", "graphql in the query", `[["graphql_root_fields","has","owner"]]`, get("query=query{owner{name}}"), true},
		{"t/router/graphql.t 16", "the first argument counts", `[["graphql_root_fields","has","owner"]]`, get("query=query{repo{name}}&query=query{owner{name}}"), false},
		{"t/router/graphql.t 17", "no graphql", `[["graphql_root_fields","has","owner"]]`, get(""), false},
		{"t/router/graphql.t 18", "JSON without query", `[["graphql_root_fields","has","owner"]]`, post(`{}`, jsonType), false},
		{"t/router/graphql.t 19", "several root fields", `[["graphql_root_fields","has","owner"]]`, post("query {\n repo {\n stars\n }\n owner {\n name\n }\n}"), true},
		{"GraphQL specification 2.8", "a fragment brings the field in", `[["graphql_root_fields","has","owner"]]`, post("query { ...f } fragment f on Query { owner { name } }"), true},
		{"GraphQL specification 2.7", "an alias does not hide the field", `[["graphql_root_fields","has","owner"]]`, post("{ x: owner { name } }"), true},
	} {
		t.Run(c.from+": "+c.name, func(t *testing.T) {
			e, err := Compile(json.RawMessage(c.doc))
			if err != nil {
				t.Fatal(err)
			}
			if got := e.Eval(c.ex); got != c.want {
				t.Fatalf("%s: got %v, want %v", c.doc, got, c.want)
			}
		})
	}
}

func TestCompileErrors(t *testing.T) {
	deep := strings.Repeat("[", MaxDepth+2) + `"arg_a","==","b"` + strings.Repeat("]", MaxDepth+2)
	for _, c := range []struct{ name, doc, want string }{
		{"not JSON", `[`, "read expression"},
		{"not a list", `{"a":1}`, "got an object"},
		{"no brackets", `["arg_a","==","b"]`, "rule should be wrapped inside brackets"},
		{"unknown operator", `[["arg_a","==","b"],["arg_a","<>","b"]]`, "invalid operator '<>' in element [2]"},
		{"bad not", `[["arg_a","==","!","b"]]`, "bad 'not' expression: the second member of element [1]"},
		{"empty inner list", `[["arg_a","==","b"],[]]`, "rule too short: element [2] is empty"},
		{"APISIX, t/plugin/response-rewrite.t TEST 17", `[{}]`, "rule too short"},
		{"one operand", `["OR",["arg_a","==","b"]]`, "rule too short"},
		{"nested position", `["OR",["arg_a","==","b"],["AND",["arg_a","==","b"],["arg_a","=","b"]]]`, "element [3][3]"},
		{"only a name", `[["arg_a"]]`, "element [1] has no operator"},
		{"no value", `[["arg_a","=="]]`, `no value after the operator "=="`},
		{"number as name", `[[1,"==","b"]]`, "element [1] begins with a number, want a variable name"},
		{"text among conditions", `[["arg_a","==","b"],"x"]`, "element [2] is a string"},
		{"boolean operator", `[["arg_a",true,"b"]]`, "the operator of element [1] is a boolean"},
		{"too many members", `[["arg_a","==","b","c","d"]]`, "has 5 members"},
		{"bad address", `[["remote_addr","ipmatch",["10.0.0.1","x"]]]`, "invalid ip address: x"},
		{"no address", `[["remote_addr","ipmatch",[]]]`, "invalid ip address"},
		{"empty address", `[["remote_addr","ipmatch",""]]`, "invalid ip address"},
		{"bad pattern", `[["arg_a","~~","(a"]]`, "in element [1]"},
		{"pattern of another type", `[["arg_a","~~",["a"]]]`, "got an array, want a string"},
		{"empty name", `[["","==","b"]]`, "empty variable name"},
		{"too deep", deep, "nested deeper than 32 levels"},
		{"too many", "[" + strings.Repeat(`["a","b"],`, MaxTerms) + `["a","b"]]`, "more than 4096 conditions"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Compile(json.RawMessage(c.doc))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func TestNeedsBody(t *testing.T) {
	for doc, want := range map[string]bool{
		`[]`: false, `[["arg_a","==","1"]]`: false, `["OR",["arg_a","==","1"],["post_arg_a","==","1"]]`: true,
		`[["post_arg.a","==","1"]]`: true, `[["graphql_name","==","1"]]`: true, `[["request_body","~~","x"]]`: true,
	} {
		e, err := Compile(json.RawMessage(doc))
		if err != nil {
			t.Fatal(err)
		}
		if e.NeedsBody() != want {
			t.Errorf("%s: got %v, want %v", doc, e.NeedsBody(), want)
		}
	}
	var none *Expr
	if none.NeedsBody() || !none.Always() || !none.Eval(exchange("GET", "/", "", "")) {
		t.Error("a nil expression must hold always and need nothing")
	}
}

func TestEvalDoesNotAllocate(t *testing.T) {
	e, err := Compile(json.RawMessage(`[["arg_a","==","1"],["arg_n",">",3.5],["http_x","~=","z"],["uri","~~","^/hel+o$"],
		["arg_a","in",["0","1"]],["http_x","!","==",7],["http_none","==",null]]`))
	if err != nil {
		t.Fatal(err)
	}
	ex := exchange("GET", "/hello", "a=1&n=4.25", "", "x: y")
	if !e.Eval(ex) {
		t.Fatal("the expression does not hold")
	}
	if n := testing.AllocsPerRun(100, func() { e.Eval(ex) }); n != 0 {
		t.Fatalf("%v allocations per evaluation", n)
	}
}

func BenchmarkEval(b *testing.B) {
	e, err := Compile(json.RawMessage(`[["arg_a","==","1"],["arg_n",">",3]]`))
	if err != nil {
		b.Fatal(err)
	}
	ex := exchange("GET", "/hello", "a=1&n=4", "")
	b.ReportAllocs()
	for b.Loop() {
		e.Eval(ex)
	}
}

func FuzzCompile(f *testing.F) {
	for _, s := range []string{
		`[]`, `null`, `[["arg_a","==","1"]]`, `[["arg_a","!","in",["1",2,null,{}]]]`, `["OR",["arg_a",">",1],["!AND",["http_x","~~","a.*"],["x","y"]]]`,
		`[["remote_addr","ipmatch",["10.0.0.0/8","::1"]]]`, `[["post_arg.a[0]..b","has",1]]`, `[["graphql_root_fields","has","owner"]]`, `[[["a","b"]]]`, `[["arg_a","~*","(?=x)"]]`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, doc string) {
		e, err := Compile(json.RawMessage(doc))
		if err != nil {
			return
		}
		ex := exchange("POST", "/hello", "a=1&b", `{"a":[{"b":1},[true]],"query":"{owner{name}}"}`, "x: ab", "Content-Type: application/json")
		if first := e.Eval(ex); e.Eval(ex) != first {
			t.Fatalf("%s: two evaluations differ", doc)
		}
	})
}
