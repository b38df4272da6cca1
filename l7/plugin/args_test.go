package plugin

import (
	"testing"
)

func TestDelArg(t *testing.T) {
	for _, c := range []struct {
		name, query, target string
		want, wantTarget    string
		found               bool
	}{
		{"none", "a=1&b=2", "", "a=1&b=2", "", false},
		{"empty", "", "", "", "", false},
		{"only", "k=1", "/x?k=1", "", "/x", true},
		{"first", "k=1&a=%20", "/x?k=1&a=%20", "a=%20", "/x?a=%20", true},
		{"last", "a=1&k=1", "/x?a=1&k", "a=1", "/x?a=1", true},
		{"middle and again", "a=1&k=1&b=2&k&c", "", "a=1&b=2&c", "", true},
		{"escaped name", "%6b=1&a=+", "", "a=+", "", true},
		{"other case", "K=1", "", "K=1", "", false},
		{"only in the target", "a=1", "/x?k=2&&a=1", "a=1", "/x?a=1", true},
		{"prefix", "kk=1&k=2", "/x", "kk=1", "/x", true},
		{"empty pairs", "&&k=1&&", "", "&&", "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			ex := &Exchange{}
			ex.SetQuery([]byte(c.query))
			if c.target != "" {
				ex.Request.UpstreamTarget = []byte(c.target)
			}
			found := ex.DelArg("k")
			if found != c.found || string(ex.Request.Query) != c.want || string(ex.Request.UpstreamTarget) != c.wantTarget {
				t.Errorf("got %v %q %q, want %v %q %q", found, ex.Request.Query, ex.Request.UpstreamTarget, c.found, c.want, c.wantTarget)
			}
			if ex.Request.HasQuery != (c.want != "") {
				t.Errorf("has query: %v", ex.Request.HasQuery)
			}
			if _, ok := ex.Arg("k"); ok {
				t.Error("the argument is still there")
			}
		})
	}
}
