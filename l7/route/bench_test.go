package route

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/sluice-gateway/sluice/l7/plugin"
)

// request is what a benchmark looks up.
type request struct{ host, path []byte }

// manyRoutes makes n routes, half of them prefixes, spread over hosts names (0: no hosts), and requests for up to 4096 of them in random order. With few
// requests a benchmark shows what the search itself costs; with many it shows the cache misses of a table that is larger than the caches.
func manyRoutes(n, hosts int) (defs []*Def, reqs []request) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		d := &Def{ID: fmt.Sprint(i), Created: int64(i), Value: i}
		path := fmt.Sprintf("/api/v1/service%d/items", i)
		host := ""
		if i%2 == 0 {
			d.URIs = []string{path}
		} else {
			d.URIs = []string{path + "/*"}
			path += "/42"
		}
		if hosts > 0 {
			host = fmt.Sprintf("app%d.example.com", i%hosts)
			d.Hosts = []string{host}
		}
		defs = append(defs, d)
		reqs = append(reqs, request{[]byte(host), []byte(path)})
	}
	r.Shuffle(n, func(i, j int) { reqs[i], reqs[j] = reqs[j], reqs[i] })
	reqs = reqs[:min(n, 4096)]
	// The bytes of a real request were just read; here they stand one after the other, so that fetching them is not what is measured.
	var buf []byte
	for i := range reqs {
		buf = append(append(buf, reqs[i].host...), reqs[i].path...)
	}
	for i := range reqs {
		h, p := len(reqs[i].host), len(reqs[i].path)
		reqs[i].host, reqs[i].path, buf = buf[:h:h], buf[h:h+p:h+p], buf[h+p:]
	}
	return defs, reqs
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

func BenchmarkMatch(b *testing.B) {
	for _, hosts := range []int{0, 1, 10000} {
		for _, n := range []int{10, 1000, 100000} {
			defs, all := manyRoutes(n, min(hosts, n))
			t := mustTable(b, RadixtreeHostURI, defs)
			for _, paths := range []int{10, 1000, 4096} {
				if paths > n {
					continue
				}
				reqs := all[:min(paths, len(all))]
				b.Run(fmt.Sprintf("hosts=%d/routes=%d/paths=%d", hosts, n, len(reqs)), func(b *testing.B) {
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
			defs, _ := manyRoutes(n, 100)
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
	defs, _ := manyRoutes(10000, 100)
	for b.Loop() {
		mustTable(b, RadixtreeHostURI, defs)
	}
}
