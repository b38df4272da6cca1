package echo

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/l7/plugin"
	"github.com/sluice-gateway/sluice/l7/plugin/plugintest"
)

func TestBody(t *testing.T) {
	for _, c := range []struct {
		name, conf string
		chunks     []string
		want       string
	}{
		{"t/plugin/echo.t TEST 4: all three", `{"before_body":"before the body modification ","body":"hello upstream","after_body":" after the body modification."}`,
			[]string{"hello world\n"}, "before the body modification hello upstream after the body modification."},
		{"t/plugin/echo.t TEST 6: without upstream body change", `{"before_body":"before the body modification "}`,
			[]string{"hello world\n"}, "before the body modification hello world\n"},
		{"t/plugin/echo.t TEST 9: set body with chunked upstream", `{"body":"hello upstream"}`, []string{"hello", " ", "world\n"}, "hello upstream"},
		{"t/plugin/echo.t TEST 11: before/after body with chunked upstream", `{"before_body":"before the body modification ","after_body":" after the body modification."}`,
			[]string{"hello", " ", "world\n"}, "before the body modification hello world\n after the body modification."},
		{"an empty response", `{"before_body":"<","after_body":">"}`, nil, "<>"},
		{"an empty response replaced", `{"body":"x"}`, nil, "x"},
		{"a body replaced by nothing", `{"body":""}`, []string{"a"}, ""},
		{"after the body only", `{"after_body":">"}`, []string{"a", "b"}, "ab>"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ex := plugintest.Request("GET", "/hello")
			inst := plugintest.New(t, name, c.conf)
			r := plugintest.Run(ex, plugintest.Upstream{Chunks: c.chunks, Fields: []string{"ETag: x", "Content-Encoding: gzip", "Last-Modified: y", "A: b"}}, inst)
			if r.Err != nil || r.Body != c.want || ex.Response.ContentLength != -1 {
				t.Fatalf("got %q, length %d, %v, want %q", r.Body, ex.Response.ContentLength, r.Err, c.want)
			}
			if d := cmp.Diff([]string{"A: b"}, r.Fields); d != "" {
				t.Error(d)
			}
			// The same when the end comes together with the last piece.
			if len(c.chunks) == 1 {
				ex = plugintest.Request("GET", "/hello")
				if err := inst.(plugin.HeaderFilterer).HeaderFilter(ex); err != nil {
					t.Fatal(err)
				}
				out, err := inst.(plugin.BodyFilterer).BodyFilter(ex, []byte(c.chunks[0]), true)
				if err != nil || string(out) != c.want {
					t.Fatalf("in one piece: got %q, %v, want %q", out, err, c.want)
				}
			}
		})
	}
}

// Two responses at a time must not share how far they have come.
func TestInterleaved(t *testing.T) {
	e := plugintest.New(t, name, `{"before_body":"<","after_body":">"}`).(*echo)
	a, b := plugintest.Request("GET", "/a"), plugintest.Request("GET", "/b")
	var got [2]strings.Builder
	for _, ex := range []*plugin.Exchange{a, b} {
		if err := e.HeaderFilter(ex); err != nil {
			t.Fatal(err)
		}
	}
	for _, last := range []bool{false, true} {
		for i, ex := range []*plugin.Exchange{a, b} {
			out, err := e.BodyFilter(ex, []byte("x"), last)
			if err != nil {
				t.Fatal(err)
			}
			got[i].Write(out)
		}
	}
	if got[0].String() != "<xx>" || got[1].String() != "<xx>" {
		t.Fatalf("got %q and %q", got[0].String(), got[1].String())
	}
}

func TestHeaders(t *testing.T) {
	for _, c := range []struct {
		name, conf string
		want       []string
	}{
		{"t/plugin/echo.t TEST 4: headers", `{"body":"x","headers":{"Location":"https://www.iresty.com","Authorization":"userpass"}}`,
			[]string{"A: b", "Authorization: userpass", "Location: https://www.iresty.com"}},
		{"numbers", `{"body":"x","headers":{"X-N":123,"X-F":1.5}}`, []string{"A: b", "X-F: 1.5", "X-N: 123"}},
		{"in place of the upstream's", `{"body":"x","headers":{"a":"c"}}`, []string{"A: c"}},
		{"removed by an empty value", `{"body":"x","headers":{"a":""}}`, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := plugintest.Run(plugintest.Request("GET", "/"), plugintest.Upstream{Fields: []string{"A: b"}}, plugintest.New(t, name, c.conf))
			if d := cmp.Diff(c.want, r.Fields); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestConfiguration(t *testing.T) {
	for _, c := range []struct {
		name, conf string
		ok         bool
	}{
		{"t/plugin/echo.t TEST 1: sanity", `{"before_body":"body before","body":"body to attach","after_body":"body to attach"}`, true},
		{"t/plugin/echo.t TEST 2: wrong type of integer", `{"before_body":"body before","body":"body to attach","after_body":10}`, false},
		{"nothing", `{}`, false},
		{"headers only", `{"headers":{"a":"b"}}`, false},
		{"no headers", `{"body":"x","headers":{}}`, false},
		{"a table as header value", `{"body":"x","headers":{"a":{}}}`, false},
		{"no field name", `{"body":"x","headers":{"":"a"}}`, false},
		{"a field name with a space", `{"body":"x","headers":{"a b":"a"}}`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := plugintest.Try(name, c.conf, nil); (err == nil) != c.ok {
				t.Fatalf("got %v", err)
			}
		})
	}
}
