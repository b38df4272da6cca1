package route

import (
	"testing"

	"github.com/sluice-gateway/sluice/l7/plugin"
)

// FuzzMatch puts two routes into a table and looks a path up, in every mode; the reference must agree.
func FuzzMatch(f *testing.F) {
	for _, s := range [][4]string{
		{"/a/*", "/a", "/a/b", "a.com"}, {"/user/:name/*rest", "/user/*", "/user/x/y/z", "*.a.com"}, {"/*x/b/*y", "/:a/b/c", "/1/b/2/b/3", "*"},
		{"*", "/img*", "/img/1", "*com"}, {"/a//b", "/a:b", "/a//b", "a.com:80"}, {"/n/:x/", "/n/:x", "/n//", "[::1]"},
	} {
		f.Add(s[0], s[1], s[2], s[3])
	}
	f.Fuzz(func(t *testing.T, one, two, path, host string) {
		if len(one)+len(two)+len(path)+len(host) > 200 {
			return
		}
		for _, mode := range []Mode{RadixtreeHostURI, RadixtreeURI, RadixtreeURIWithParameter} {
			defs := []*Def{{ID: "1", URIs: []string{one}, Hosts: []string{host}}, {ID: "2", URIs: []string{two, one}, Created: 1}}
			table, err := New(mode).With(defs, nil)
			if err != nil {
				return
			}
			ex := &plugin.Exchange{}
			ex.Request.Method, ex.Request.Path = []byte("GET"), []byte(path)
			ex.Request.Host, ex.Request.HostPort = []byte("x.a.com"), []byte("x.a.com:80")
			check(t, table, &reference{mode, defs}, ex, path)
			empty, err := table.With(nil, defs)
			if err != nil || !empty.empty() {
				t.Fatalf("removing what was added: %v, %+v", err, empty)
			}
		}
	})
}
