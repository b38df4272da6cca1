package route

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/l7/plugin"
)

// request is what a benchmark looks up.
type request struct{ host, path []byte }

// manyRoutes makes n routes, half of them prefixes, spread over hosts names (0: no hosts).
func manyRoutes(n, hosts int) []*Def {
	defs := make([]*Def, n)
	for i := range defs {
		d := &Def{ID: fmt.Sprint(i), URIs: []string{fmt.Sprintf("/api/v1/service%d/items", i)}, Created: int64(i), Value: i}
		if i%2 != 0 {
			d.URIs[0] += "/*"
		}
		if hosts > 0 {
			d.Hosts = []string{fmt.Sprintf("app%d.example.com", i%hosts)}
		}
		defs[i] = d
	}
	return defs
}

// manyRequests makes n requests for routes of manyRoutes in random order, no two for the same route as long as there are routes.
func manyRequests(defs []*Def, n int) []request {
	order := rand.New(rand.NewPCG(1, 2)).Perm(max(n, len(defs)))
	// The bytes of a real request were just read; here they stand one after the other, so that fetching them is not what is measured.
	var buf []byte
	reqs := make([]request, n)
	for i := range reqs {
		d := defs[order[i]%len(defs)]
		if len(d.Hosts) > 0 {
			buf = append(buf, d.Hosts[0]...)
			reqs[i].host = make([]byte, len(d.Hosts[0]))
		}
		at := len(buf)
		path, prefix := strings.CutSuffix(d.URIs[0], "*")
		if buf = append(buf, path...); prefix {
			buf = fmt.Append(buf, order[i]%10000)
		}
		reqs[i].path = make([]byte, len(buf)-at)
	}
	for i := range reqs {
		h, p := len(reqs[i].host), len(reqs[i].path)
		reqs[i].host, reqs[i].path, buf = buf[:h:h], buf[h:h+p:h+p], buf[h+p:]
	}
	return reqs
}

func mustTable(tb testing.TB, mode Mode, defs []*Def) *Table {
	tb.Helper()
	t, err := New(mode).With(defs, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

func newRequest() *plugin.Exchange {
	ex := &plugin.Exchange{}
	ex.Request.Method = []byte("GET")
	ex.Client = netip.MustParseAddrPort("10.0.0.1:1")
	return ex
}

// BenchmarkMatch measures one lookup that finds its route in a table of 10, 1,000 and 100,000 routes, without hosts, with one host and with up to
// 10,000 of them. Half of the lookups are for a whole path, half for a prefix.
//
// paths is the number of requests that are looked up in turn. With 10 all that a lookup reads stays in the first-level cache, and what is
// measured is the search itself. With 1,024 and 4,096 every lookup is for a route of its own as long as the table has so many: then it reads memory
// that was not read for that many lookups, out of the second-level cache and beyond, as a gateway does whose requests are spread over many routes. Ten
// routes are looked up by as many different requests too, those for prefixes with different paths, because what the requests themselves
// take of the caches and the branch predictor is no property of the table. Rows of the same hosts and paths are to be compared with one another.
func BenchmarkMatch(b *testing.B) {
	for _, hosts := range []int{0, 1, 10000} {
		for _, n := range []int{10, 1000, 100000} {
			defs := manyRoutes(n, min(hosts, n))
			t := mustTable(b, RadixtreeHostURI, defs)
			for _, paths := range []int{10, 1024, 4096} {
				reqs := manyRequests(defs, paths)
				b.Run(fmt.Sprintf("hosts=%d/routes=%d/paths=%d", hosts, n, paths), func(b *testing.B) {
					ex := newRequest()
					i := 0
					b.ReportAllocs()
					for b.Loop() {
						r := &reqs[i]
						if i++; i == len(reqs) {
							i = 0
						}
						ex.Request.Host, ex.Request.Path = r.host, r.path
						if _, ok := t.Match(ex); !ok {
							b.Fatal("no match")
						}
					}
				})
			}
		}
	}
}

func BenchmarkWithOne(b *testing.B) {
	for _, n := range []int{10, 10000, 100000} {
		b.Run(fmt.Sprintf("routes=%d", n), func(b *testing.B) {
			defs := manyRoutes(n, 100)
			t := mustTable(b, RadixtreeHostURI, defs)
			one := []*Def{defs[n/2]}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := t.With(one, one); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkBuild(b *testing.B) {
	defs := manyRoutes(10000, 100)
	for b.Loop() {
		mustTable(b, RadixtreeHostURI, defs)
	}
}
