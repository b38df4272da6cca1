package route

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/sluice-gateway/sluice/l7/plugin"
	"github.com/sluice-gateway/sluice/l7/plugin/expr"
)

func mustExpr(tb testing.TB, doc string) *expr.Expr {
	tb.Helper()
	e, err := expr.Compile(json.RawMessage(doc))
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

// generator makes routes and requests over a small alphabet, so that they collide often.
type generator struct {
	*rand.Rand
	vars []*expr.Expr
}

func newGenerator(tb testing.TB, seed uint64) *generator {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 1))}
	g.vars = []*expr.Expr{nil, nil, nil, nil, mustExpr(tb, `[["arg_a","==","1"]]`), mustExpr(tb, `[["arg_a","!","==","1"]]`)}
	return g
}

func pick[T any](g *generator, list ...T) T { return list[g.IntN(len(list))] }

func (g *generator) path() string {
	s := ""
	for range g.IntN(5) {
		s += "/" + pick(g, "a", "b", "ab", "aa", "a.b", "abc", "x", ":id", "")
	}
	if s == "" {
		return "/"
	}
	return s
}

func (g *generator) uri() string {
	s := g.path()
	switch g.IntN(11) {
	case 0, 1:
		s += "/*"
	case 2:
		s += "*"
	case 3:
		s += "/*rest"
	case 4:
		s += "/*x" + g.path()
	case 5:
		s += "/:n" + g.path()
	case 6:
		s += "/:n/*x/b/*y"
	case 7:
		s += "/*x/:n/*x"
	case 8:
		s += "/:n" + g.path() + "/?"
	}
	return s
}

func (g *generator) host() string { return pick(g, "a.com", "b.com", "x.a.com", "y.x.a.com", "com") }

func (g *generator) def(id int) *Def {
	d := &Def{ID: fmt.Sprint(id), Priority: pick(g, 0, 0, 0, 1, -1), Created: int64(g.IntN(20)), Vars: pick(g, g.vars...)}
	for range 1 + g.IntN(2) {
		d.URIs = append(d.URIs, g.uri())
	}
	for range g.IntN(3) {
		d.Hosts = append(d.Hosts, pick(g, g.host(), g.host(), "*."+g.host(), "*"+g.host(), "*", "A.com", g.host()+":80", "*."+g.host()+":80"))
	}
	if g.IntN(4) == 0 {
		d.Methods = pick(g, []string{"GET"}, []string{"POST", "PUT"}, []string{"PURGE"})
	}
	if g.IntN(6) == 0 {
		d.RemoteAddrs = pick(g, []string{"10.0.0.0/8"}, []string{"10.0.0.1", "::1"})
	}
	return d
}

func (g *generator) request(ex *plugin.Exchange) string {
	ex.Reset()
	path := g.path()
	ex.Request.Path = []byte(path)
	ex.Request.Method = []byte(pick(g, "GET", "GET", "POST", "PURGE", "X"))
	host := pick(g, g.host(), "z."+g.host(), "")
	ex.Request.Host = []byte(host)
	ex.Request.HostPort = []byte(host + pick(g, "", ":80", ":81"))
	ex.Request.Query = []byte(pick(g, "", "a=1", "a=2"))
	ex.Client = netip.AddrPortFrom(netip.MustParseAddr(pick(g, "10.0.0.1", "10.1.1.1", "::1", "11.0.0.1")), 1)
	return path
}

// check compares table and reference for one request.
func check(t *testing.T, table *Table, ref *reference, ex *plugin.Exchange, path string) {
	t.Helper()
	got, ok := table.Match(ex)
	want, wantOK := ref.match(ex, path)
	if ok != wantOK || ok && (got != want.def || ex.Route.MatchedURI != want.uri || ex.Route.MatchedHost != want.host) {
		t.Fatalf("%s %s http://%s%s?%s from %s\ngot  %+v uri %q host %q\nwant %v", table.Mode(), ex.Request.Method, ex.Request.HostPort, path,
			ex.Request.Query, ex.Client, got, ex.Route.MatchedURI, ex.Route.MatchedHost, want)
	}
	if !ok {
		return
	}
	for name, v := range want.params {
		if p, ok := ex.Param(name); !ok || string(p) != v {
			t.Fatalf("%s of %s: parameter %q is %q (%v), want %q", path, want.uri, name, p, ok, v)
		}
	}
	if len(want.params) == 0 {
		for _, name := range []string{"n", "x", "y", "rest", ":ext"} {
			if p, ok := ex.Param(name); ok {
				t.Fatalf("%s of %s: parameter %q is %q, want none", path, want.uri, name, p)
			}
		}
	}
}

// TestAgainstReference compares the table with the reference after every one of many random edits, and old tables with what they held.
func TestAgainstReference(t *testing.T) {
	for _, mode := range []Mode{RadixtreeHostURI, RadixtreeURI, RadixtreeURIWithParameter} {
		t.Run(mode.String(), func(t *testing.T) {
			for seed := range uint64(60) {
				g := newGenerator(t, seed)
				ex := &plugin.Exchange{}
				type version struct {
					table *Table
					ref   *reference
				}
				versions := []version{{New(mode), &reference{mode: mode}}}
				next := 0
				for range 12 {
					last := versions[len(versions)-1]
					defs := slices.Clone(last.ref.defs)
					var add, remove []*Def
					for range g.IntN(1 + len(defs)/2) {
						i := g.IntN(len(defs))
						// A route is found by its id alone.
						remove = append(remove, &Def{ID: defs[i].ID})
						defs = slices.Delete(defs, i, i+1)
					}
					for range g.IntN(8) {
						d := g.def(next)
						next++
						if len(remove) > 0 && g.IntN(3) == 0 {
							if id := remove[g.IntN(len(remove))].ID; !slices.ContainsFunc(defs, func(d *Def) bool { return d.ID == id }) {
								d.ID = id
							}
						}
						add, defs = append(add, d), append(defs, d)
					}
					table, err := last.table.With(add, remove)
					if err != nil {
						t.Fatal(err)
					}
					if table.Len() != len(defs) {
						t.Fatalf("Len is %d, want %d", table.Len(), len(defs))
					}
					versions = append(versions, version{table, &reference{mode, defs}})
					for range 25 {
						v := versions[len(versions)-1]
						if g.IntN(3) == 0 {
							v = versions[g.IntN(len(versions))]
						}
						path := g.request(ex)
						check(t, v.table, v.ref, ex, path)
					}
				}
				empty, err := versions[len(versions)-1].table.With(nil, versions[len(versions)-1].ref.defs)
				if err != nil {
					t.Fatal(err)
				}
				if !empty.empty() || empty.Len() != 0 || empty.NeedsBody() {
					t.Fatalf("nodes are left after the last route was removed: %+v", empty)
				}
			}
		})
	}
}

// empty tells whether nothing is left in the table.
func (t *Table) empty() bool {
	return t.byID == nil && t.any.paths.empty() && t.hosts.empty() && t.leaves.chunks == nil && t.leaves.n == 0 && t.scopes.chunks == nil && t.scopes.n == 0
}
