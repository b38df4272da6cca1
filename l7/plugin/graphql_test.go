package plugin

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func graphqlExchange(body string) *Exchange {
	ex := &Exchange{}
	ex.Request.Method = []byte("POST")
	ex.SetBody([]byte(body))
	return ex
}

func TestGraphQLVars(t *testing.T) {
	for _, c := range []struct {
		name, body                   string
		ok                           bool
		opName, operation, fieldList string
	}{
		{"named", "query repo { owner { name } stars }", true, "repo", "query", "owner,stars"},
		{"short form", "{ a b }", true, "", "query", "a,b"},
		{"subscription", "subscription s { a }", true, "s", "subscription", "a"},
		{"fragments", "{ ...f ... on Q { c } ...f } fragment f on Q { a ...f b }", true, "", "query", "a,b,c"},
		{"fragment first", "fragment f on Q { a } query q { ...f }", true, "q", "query", "a"},
		{"unknown fragment", "{ ...f a }", true, "", "query", "a"},
		{"braces in text", `{ a(x: "}{") }`, true, "", "query", "a"},
		{"no operation", "fragment f on Q { a }", false, "", "", ""},
		{"broken", "{ a", false, "", "", ""},
		{"empty", "", false, "", "", ""},
		{"nested too deep", strings.Repeat("{a", maxGraphQL/2), false, "", "", ""},
		{"deep enough", strings.Repeat("{a", 100) + strings.Repeat("}", 100), true, "", "query", "a"},
		{"too large", "{ a }" + strings.Repeat(" ", maxGraphQL), false, "", "", ""},
		{"too many tokens", "{" + strings.Repeat(" a", maxGraphQLTokens+1) + "}", false, "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			ex := graphqlExchange(c.body)
			for name, want := range map[string]string{"graphql_name": c.opName, "graphql_operation": c.operation, graphqlRootFields: c.fieldList} {
				got, ok := CompileVar(name)(ex)
				if string(got) != want || ok != c.ok {
					t.Errorf("%s: got %q, %v, want %q, %v", name, got, ok, want, c.ok)
				}
			}
			v, known := CompileListVar(graphqlRootFields)
			if !known {
				t.Fatal("graphql_root_fields is not a list")
			}
			list, ok := v(ex)
			var got []string
			for _, f := range list {
				got = append(got, string(f))
			}
			if d := cmp.Diff(c.fieldList, strings.Join(got, ",")); d != "" || ok != c.ok {
				t.Fatalf("list: %v %s", ok, d)
			}
		})
	}
}

func TestOtherListVars(t *testing.T) {
	if _, known := CompileListVar("arg_a"); known {
		t.Fatal("arg_a is no list")
	}
	if _, known := CompileAnyVar("arg_a"); known {
		t.Fatal("arg_a is text")
	}
}

func TestPostArgPath(t *testing.T) {
	const body = `{"model":"gpt","n":1.5,"messages":[{"content":"a"},{"content":"b"}],"o":{"k":{"type":"t"}}}`
	for _, c := range []struct{ path, want string }{
		{"model", "gpt"}, {"n", "1.5"}, {"messages[1].content", `["b"]`}, {"messages[-1].content", `["b"]`},
		{"messages[*].content", `["a","b"]`}, {"o..type", `["t"]`}, {"o.k.type", "t"}, {"o['k'].type", `["t"]`},
		{"o.k", `{"type":"t"}`}, {"none", ""}, {"model.x", ""}, {"messages[7]", ""}, {"messages[", ""}, {"[", ""}, {"..", ""},
	} {
		t.Run(c.path, func(t *testing.T) {
			ex := graphqlExchange(body)
			ex.Request.Header.SetString("Content-Type", "application/json; charset=utf-8")
			got, ok := CompileVar("post_arg." + c.path)(ex)
			if c.path == ".." || c.path == "[" {
				// What these find is of no use; they must only end.
				return
			}
			if string(got) != c.want || ok != (c.want != "") {
				t.Fatalf("got %q, %v, want %q", got, ok, c.want)
			}
		})
	}
}

func FuzzBodyPath(f *testing.F) {
	f.Add("a[*]..b", `{"a":[{"b":1}]}`)
	f.Add("..a..b", `{"a":[[[{"b":{"a":{"b":null}}}]]]}`)
	f.Fuzz(func(t *testing.T, path, body string) {
		ex := graphqlExchange(body)
		ex.Request.Header.SetString("Content-Type", "application/json")
		if v, ok := CompileAnyVar("post_arg." + path); ok {
			v(ex)
		}
	})
}

func FuzzGraphQL(f *testing.F) {
	f.Add("query q($a: [Int!]! = [1]) @d { a: b(c: {d: $a}) { ...f } } fragment f on T { e }")
	f.Add(`{ a(x: """block""") }`)
	f.Fuzz(func(t *testing.T, text string) {
		parseGraphQL(text)
	})
}
