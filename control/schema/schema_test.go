package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/sluice-gateway/sluice/control/model"
)

func TestCompile(t *testing.T) {
	tests := []struct {
		name, doc string
		ok        bool
	}{
		{"unknown keywords", `{"type":"object","encrypt_fields":["key"],"$comment":"x","description":"y"}`, true},
		{"boolean", `true`, true},
		{"later draft", `{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"string"}`, true},
		{"unknown draft", `{"$schema":"urn:example","type":"string"}`, true},
		{"local reference", `{"definitions":{"a":{"type":"string"}},"properties":{"x":{"$ref":"#/definitions/a"}}}`, true},
		{"look-ahead", `{"pattern":"^(?!x)"}`, true},
		{"not JSON", `{`, false},
		{"unknown type", `{"type":"strnig"}`, false},
		{"bad bound", `{"minimum":"1"}`, false},
		{"bad pattern", `{"pattern":"("}`, false},
		{"file reference", `{"$ref":"file:///etc/passwd"}`, false},
		{"network reference", `{"$ref":"http://localhost:1/x.json"}`, false},
		{"reference to nowhere", `{"$ref":"#/definitions/none"}`, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := Compile("thing", []byte(tt.doc))
			if (err == nil) != tt.ok {
				t.Fatalf("Compile: %v", err)
			}
			if err != nil {
				if !strings.HasPrefix(err.Error(), "compile schema thing: ") {
					t.Errorf("error %q does not name the schema", err)
				}
				return
			}
			if string(s.Raw()) != tt.doc || s.Name() != "thing" {
				t.Errorf("Raw = %s, Name = %s", s.Raw(), s.Name())
			}
		})
	}
}

func TestResourcesStandAlone(t *testing.T) {
	for name, s := range resources() {
		if bytes.Contains(s.Raw(), []byte(`$ref`)) {
			t.Errorf("%s has references left", name)
		}
		if _, err := Compile(name, s.Raw()); err != nil {
			t.Errorf("%s does not compile from Raw: %v", name, err)
		}
	}
	for _, name := range []string{"route", "service", "upstream", "consumer", "credential", "consumer_group", "plugin_config",
		"global_rule", "ssl", "proto", "stream_route", "graphql_cost_decoration", "plugins"} {
		resource(t, name)
	}
}

func TestApplyDefaults(t *testing.T) {
	tests := []struct{ name, schema, doc, want string }{
		{"properties", `{"properties":{"a":{"default":1},"b":{"default":"x"},"c":{"type":"string"}}}`, `{"b":"y"}`, `{"a":1,"b":"y"}`},
		{"nested only where present", `{"properties":{"o":{"properties":{"a":{"default":1}}}}}`, `{}`, `{}`},
		{"nested", `{"properties":{"o":{"properties":{"a":{"default":[1,2]}}}}}`, `{"o":{}}`, `{"o":{"a":[1,2]}}`},
		{"a default is not completed", `{"properties":{"o":{"default":{},"properties":{"a":{"default":1}}}}}`, `{}`, `{"o":{}}`},
		{"null is present", `{"properties":{"a":{"default":1}}}`, `{"a":null}`, `{"a":null}`},
		{"items", `{"items":{"properties":{"a":{"default":1}}}}`, `[{},{"a":2}]`, `[{"a":1},{"a":2}]`},
		{"tuple", `{"items":[{"properties":{"a":{"default":1}}}],"additionalItems":{"properties":{"b":{"default":2}}}}`, `[{},{}]`, `[{"a":1},{"b":2}]`},
		{"additional properties", `{"additionalProperties":{"properties":{"a":{"default":1}}}}`, `{"x":{}}`, `{"x":{"a":1}}`},
		{"pattern properties", `{"patternProperties":{"^x":{"properties":{"a":{"default":1}}}}}`, `{"x":{},"y":{}}`, `{"x":{"a":1},"y":{}}`},
		{"matched oneOf only", `{"oneOf":[{"properties":{"k":{"const":"a"},"d":{"default":1}},"required":["k"]},
			{"properties":{"k":{"const":"b"},"e":{"default":2}},"required":["k"]}]}`, `{"k":"b"}`, `{"k":"b","e":2}`},
		{"matched anyOf only", `{"anyOf":[{"properties":{"d":{"default":1}},"required":["k"]},{"properties":{"e":{"default":2}}}]}`, `{}`, `{"e":2}`},
		{"allOf", `{"allOf":[{"properties":{"a":{"default":1}}},{"properties":{"b":{"default":2}}}]}`, `{}`, `{"a":1,"b":2}`},
		{"then", `{"if":{"properties":{"p":{"const":"redis"}}},"then":{"properties":{"port":{"default":6379}}},"else":{"properties":{"l":{"default":1}}}}`,
			`{"p":"redis"}`, `{"p":"redis","port":6379}`},
		{"else", `{"if":{"properties":{"p":{"const":"redis"}},"required":["p"]},"then":{"properties":{"port":{"default":6379}}},"else":{"properties":{"l":{"default":1}}}}`,
			`{}`, `{"l":1}`},
		{"the condition sees defaults", `{"properties":{"p":{"default":"redis"}},"if":{"properties":{"p":{"const":"redis"}},"required":["p"]},"then":{"properties":{"port":{"default":6379}}}}`,
			`{}`, `{"p":"redis","port":6379}`},
		{"dependency of a present property", `{"properties":{"a":{}},"dependencies":{"a":{"properties":{"b":{"default":1}}}}}`, `{"a":0}`, `{"a":0,"b":1}`},
		{"no dependency of a filled one", `{"properties":{"a":{"default":1}},"dependencies":{"a":{"required":["zz"]}}}`, `{}`, `{"a":1}`},
		{"reference", `{"definitions":{"x":{"properties":{"a":{"default":1}}}},"properties":{"o":{"$ref":"#/definitions/x"}}}`, `{"o":{}}`, `{"o":{"a":1}}`},
		{"empty array for an object", `{"type":"object","properties":{"a":{"default":1}}}`, `[]`, `{"a":1}`},
		{"empty object for an array", `{"type":"array"}`, `{}`, `[]`},
		{"plain integers", `{"properties":{"i":{"type":"integer"},"e":{"type":"integer"},"n":{"type":"number"}}}`, `{"i":1.0,"e":1e3,"n":1.0}`, `{"i":1,"e":1000,"n":1.0}`},
		{"an invalid document stays", `{"properties":{"a":{"default":1},"b":{"type":"string"}}}`, `{"b":1}`, `{"b":1}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			doc := decode(t, tt.doc)
			got := compile(t, tt.schema).ApplyDefaults(doc)
			if diff := cmp.Diff(decode(t, tt.want), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(decode(t, tt.doc), doc); diff != "" {
				t.Errorf("the document changed (-want +got):\n%s", diff)
			}
		})
	}
}

func TestApplyDefaultsIsDeep(t *testing.T) {
	s := compile(t, `{"properties":{"list":{"default":[{"x":1}]},"same":{}}}`)
	doc := decode(t, `{"same":{"a":[1]}}`)
	first := s.ApplyDefaults(doc).(map[string]any)
	first["same"].(map[string]any)["a"].([]any)[0] = "changed"
	first["list"].([]any)[0].(map[string]any)["x"] = "changed"
	want := decode(t, `{"same":{"a":[1]},"list":[{"x":1}]}`)
	if diff := cmp.Diff(want, s.ApplyDefaults(doc)); diff != "" {
		t.Errorf("a copy shares parts (-want +got):\n%s", diff)
	}
}

func TestSecretReferences(t *testing.T) {
	s := compile(t, `{"properties":{"key":{"type":"string","minLength":100},"mode":{"enum":["a"]},"n":{"type":"integer"},"two":{"type":["string","integer"],"minLength":100}}}`)
	tests := []struct {
		doc string
		ok  bool
	}{
		{`{"key":"$env://KEY"}`, true},
		{`{"key":"$ENV://KEY"}`, true},
		{`{"key":"$secret://vault/1/x/y"}`, true},
		{`{"key":"$SECRET://vault/1/x/y"}`, false},
		{`{"key":"$other"}`, false},
		{`{"mode":"$env://M"}`, true},
		{`{"n":"$env://N"}`, false},
		{`{"two":"$env://N"}`, false},
	}
	for _, tt := range tests {
		t.Run(tt.doc, func(t *testing.T) {
			if err := s.Validate(decode(t, tt.doc)); (err == nil) != tt.ok {
				t.Errorf("Validate: %v", err)
			}
		})
	}
}

func TestNumbersKeepTheirDigits(t *testing.T) {
	s := compile(t, `{"properties":{"max":{"type":"integer","maximum":9007199254740992},"one":{"enum":[9007199254740993]},"u":{"uniqueItems":true}}}`)
	tests := []struct {
		doc string
		ok  bool
	}{
		{`{"max":9007199254740992}`, true},
		{`{"max":9007199254740993}`, false},
		{`{"one":9007199254740993}`, true},
		{`{"one":9007199254740992}`, false},
		{`{"u":[9007199254740992,9007199254740993]}`, true},
		{`{"u":[1,1.0]}`, false},
		{`{"u":[1,"1",true,null,"null"]}`, true},
		{`{"u":[{"a":1,"b":2},{"b":2,"a":1.0}]}`, false},
		{`{"u":[0.5,"1/2"]}`, true},
		{`{"u":[1e400,1e401]}`, true},
	}
	for _, tt := range tests {
		t.Run(tt.doc, func(t *testing.T) {
			if err := s.Validate(decode(t, tt.doc)); (err == nil) != tt.ok {
				t.Errorf("Validate: %v", err)
			}
		})
	}
	for _, v := range []any{1, int64(1), 1.0, json.Number("1"), uint64(1), float32(1)} {
		if err := compile(t, `{"type":"integer","minimum":1,"maximum":1,"enum":[1]}`).Validate(v); err != nil {
			t.Errorf("%T: %v", v, err)
		}
	}
}

func TestEndlessReferencesEnd(t *testing.T) {
	for _, doc := range []string{`{"$ref":"#"}`, `{"allOf":[{"$ref":"#"}]}`, `{"anyOf":[{"$ref":"#"},{"type":"string"}]}`,
		`{"oneOf":[{"$ref":"#"}]}`, `{"not":{"$ref":"#"}}`, `{"if":{"$ref":"#"}}`} {
		t.Run(doc, func(t *testing.T) {
			s, err := Compile("loop", []byte(doc))
			if err != nil {
				return
			}
			if err := s.Validate("x"); err == nil {
				t.Error("accepted")
			}
		})
	}
	tree := compile(t, `{"properties":{"next":{"$ref":"#"},"v":{"type":"integer"}}}`)
	expectError(t, tree.Validate(decode(t, `{"next":{"next":{"v":"x"}}}`)),
		`property "next" validation failed: property "next" validation failed: property "v" validation failed: wrong type: expected integer, got string`)
}

func TestBacktrackingEnds(t *testing.T) {
	s := compile(t, `{"pattern":"^(?=(a+)+$)b"}`)
	if err := s.Validate(strings.Repeat("a", 5000) + "!"); err == nil {
		t.Error("accepted")
	}
}

// reference is the validator of santhosh-tekuri/jsonschema for the same schema.
func reference(t testing.TB, doc []byte) *jsonschema.Schema {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(doc))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft7)
	c.UseRegexpEngine(compilePattern)
	if err := c.AddResource("schema:///reference.json", value); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema:///reference.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// differs says whether the document has something that the Lua library judges otherwise than the specification.
func differs(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 {
			return true
		}
		for _, value := range v {
			if differs(value) {
				return true
			}
		}
	case []any:
		if len(v) == 0 {
			return true
		}
		for _, value := range v {
			if differs(value) {
				return true
			}
		}
	case string:
		return isSecretRef(v)
	case json.Number:
		// The reference computes exactly with any exponent, which costs memory without end.
		_, ok := ratOf(v)
		return !ok
	}
	return false
}

// standard is a schema without defaults and formats, where both validators must agree.
const standard = `{"type":["object","array"],"properties":{
	"s":{"type":"string","minLength":2,"maxLength":4,"pattern":"^a"},
	"n":{"type":"number","minimum":0,"exclusiveMaximum":10,"multipleOf":0.5},
	"i":{"type":"integer","exclusiveMinimum":0,"maximum":10},
	"e":{"enum":["x",1,null,[1],{"a":1}]},
	"c":{"const":{"k":[1,2.0]}},
	"a":{"type":"array","minItems":1,"maxItems":3,"uniqueItems":true,"items":{"type":["integer","string","object","array"]}},
	"t":{"items":[{"type":"integer"},{"type":"string"}],"additionalItems":{"type":"boolean"}},
	"h":{"type":"array","contains":{"minimum":5}},
	"o":{"type":"object","patternProperties":{"^p":{"type":"integer"}},"properties":{"q":{}},"additionalProperties":false,
		"minProperties":1,"maxProperties":2},
	"d":{"dependencies":{"x":["y"],"y":{"required":["z"]}},"propertyNames":{"maxLength":3}},
	"any":{"anyOf":[{"type":"string"},{"minimum":3}]},
	"one":{"oneOf":[{"multipleOf":2},{"multipleOf":3}]},
	"if":{"if":{"required":["m"]},"then":{"properties":{"m":{"const":1}}},"else":{"required":["k"]}},
	"not":{"not":{"type":"string"}},
	"r":{"$ref":"#"}},
	"required":["s"],"items":{"$ref":"#"}}`

var standardSeeds = []string{
	`{"s":"ab"}`, `{"s":"b"}`, `{"s":"abcde"}`, `{"s":"ab","n":3.5}`, `{"s":"ab","n":10}`, `{"s":"ab","n":0.3}`, `{"s":"ab","i":1.0}`,
	`{"s":"ab","i":0}`, `{"s":"ab","e":{"a":1.0}}`, `{"s":"ab","e":2}`, `{"s":"ab","c":{"k":[1.0,2]}}`, `{"s":"ab","a":[1,1.0]}`,
	`{"s":"ab","a":[1,"1",{"a":1},{"a":2}]}`, `{"s":"ab","a":[[1],[1]]}`, `{"s":"ab","t":[1,"a",true,1]}`, `{"s":"ab","t":["a"]}`,
	`{"s":"ab","h":[1,2]}`, `{"s":"ab","h":["x"]}`, `{"s":"ab","o":{"p1":1,"q":2,"p3":3}}`, `{"s":"ab","o":{"z":1}}`, `{"s":"ab","d":{"x":1}}`,
	`{"s":"ab","d":{"x":1,"y":2}}`, `{"s":"ab","d":{"long":1}}`, `{"s":"ab","any":1}`, `{"s":"ab","one":6}`, `{"s":"ab","one":1}`, `{"s":"ab","one":4}`,
	`{"s":"ab","if":{"m":2}}`, `{"s":"ab","if":{"k":2}}`, `{"s":"ab","if":{"l":1}}`, `{"s":"ab","not":"x"}`, `{"s":"ab","r":{"s":"x"}}`,
	`[{"s":"ab"},{"s":1}]`, `[1]`, `null`, `1`, `"x"`, `{"n":1}`, `{"s":"ab","n":1e400}`, `{"s":"ab","i":12345678901234567890}`,
}

func TestAgreesWithTheReference(t *testing.T) {
	ours, theirs := compile(t, standard), reference(t, []byte(standard))
	for _, doc := range standardSeeds {
		t.Run(doc, func(t *testing.T) { expectAgreement(t, ours, theirs, decode(t, doc)) })
	}
}

func expectAgreement(t testing.TB, ours *Schema, theirs *jsonschema.Schema, v any) {
	t.Helper()
	if differs(v) {
		return
	}
	got, want := ours.Validate(v), theirs.Validate(v)
	if (got == nil) != (want == nil) {
		t.Errorf("ours: %v\nreference: %v", got, want)
	}
}

func FuzzAgreesWithTheReference(f *testing.F) {
	for _, doc := range standardSeeds {
		f.Add([]byte(doc))
	}
	ours, theirs := compile(f, standard), reference(f, []byte(standard))
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := Decode(data)
		if err != nil {
			return
		}
		expectAgreement(t, ours, theirs, v)
	})
}

func FuzzValidateRoute(f *testing.F) {
	f.Add([]byte(tenFields))
	f.Add([]byte(`{"uri":"/x","plugins":[],"priority":1.0,"upstream":{"nodes":[{"host":"a","weight":1}],"checks":{"active":{}}}}`))
	f.Add([]byte(`{"uris":["/a","/a"],"vars":[["a","==",1]],"remote_addr":"::1/200","labels":{"a":""}}`))
	f.Add([]byte(`{"uri":"$env://X","upstream":{"tls":{"client_cert_id":1},"type":"chash","key":"$#"}}`))
	f.Add([]byte(`null`))
	route, ok := Resource("route")
	if !ok {
		f.Fatal("no route schema")
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := Decode(data)
		if err != nil {
			return
		}
		before := fmt.Sprint(v)
		err = route.Validate(v)
		full := route.ApplyDefaults(v)
		if fmt.Sprint(v) != before {
			t.Fatal("the document changed")
		}
		if err == nil {
			if err := route.Validate(full); err != nil {
				t.Errorf("valid before defaults and not after: %v", err)
			}
			if again := route.ApplyDefaults(full); !reflect.DeepEqual(full, again) {
				t.Errorf("defaults differ the second time: %v, then %v", full, again)
			}
		}
	})
}

// tenFields is a route of the size that operators write.
const tenFields = `{"id":"1","name":"orders","uri":"/orders/*","hosts":["api.example.com","*.example.org"],"methods":["GET","POST"],
	"priority":10,"labels":{"team":"shop","env":"prod"},"enable_websocket":true,
	"plugins":{"limit-count":{"count":100,"time_window":60,"key":"remote_addr"},"key-auth":{}},
	"upstream":{"type":"roundrobin","nodes":{"10.0.0.1:8080":1,"10.0.0.2:8080":1},"timeout":{"connect":1,"send":5,"read":5.5}}}`

func BenchmarkValidateRoute(b *testing.B) {
	s := resource(b, "route")
	doc := decode(b, tenFields)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Validate(doc); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCheckRoute(b *testing.B) {
	s := resource(b, "route")
	doc := decode(b, tenFields)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Check(doc); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReferenceRoute(b *testing.B) {
	s := reference(b, resource(b, "route").Raw())
	doc := decode(b, tenFields)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Validate(doc); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	data := []byte(tenFields)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(data); err != nil {
			b.Fatal(err)
		}
	}
}

func TestEveryKindHasItsSchema(t *testing.T) {
	for _, info := range model.Kinds() {
		if info.Schema != "" {
			resource(t, info.Schema)
		}
	}
}

// TestDefaultedDocumentsDecode: what validates decodes into the wire structs, whatever form it came in.
func TestDefaultedDocumentsDecode(t *testing.T) {
	route := resource(t, "route")
	v, err := Decode([]byte(`{"id":7,"uri":"/x","plugins":[],"priority":1.0,
		"upstream":{"nodes":{"b:2":1,"a:1":2.0},"checks":{"active":{"healthy":{}}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := route.Validate(v); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(route.ApplyDefaults(v))
	if err != nil {
		t.Fatal(err)
	}
	var got model.Route
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if got.ID != "7" || got.Priority != 1 || *got.Status != 1 || got.Upstream.Type != "roundrobin" ||
		len(got.Upstream.Nodes) != 2 || got.Upstream.Nodes[0].Host != "a" || got.Upstream.Nodes[0].Weight != 2 ||
		got.Upstream.Checks.Active.Healthy.Successes != 2 {
		t.Errorf("decoded %s", data)
	}
}
