package journal

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/control/model"
	"github.com/sluice-gateway/sluice/control/store"
)

// sampleRoute is a value of the usual size, about 400 bytes.
var sampleRoute = json.RawMessage(`{"id":"1","uri":"/api/v1/users/*","methods":["GET","POST"],"plugins":{"limit-count":{"count":100,` +
	`"time_window":60,"rejected_code":429},"key-auth":{}},"upstream":{"type":"roundrobin","nodes":{"127.0.0.1:1980":1}},"desc":"` +
	strings.Repeat("x", 140) + `","create_time":1750000000,"update_time":1750000000}`)

func routeKey(n int) model.Key { return model.Key{Kind: "routes", ID: strconv.Itoa(n)} }

// fill puts n routes into a store.
func fill(tb testing.TB, s store.Store, n int) {
	tb.Helper()
	ops := make([]store.Op, n)
	for i := range ops {
		ops[i] = store.Op{Key: routeKey(i), Value: sampleRoute}
	}
	if _, _, err := s.Txn(tb.Context(), ops); err != nil {
		tb.Fatal(err)
	}
}

// BenchmarkTxn reports the median latency of a durable put. Throughput per writer count shows the shared sync.
func BenchmarkTxn(b *testing.B) {
	for _, writers := range []int{1, 16} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			s, err := Open(b.TempDir(), Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			took := make([][]time.Duration, writers)
			var wg sync.WaitGroup
			b.ResetTimer()
			for w := range writers {
				wg.Go(func() {
					for n := w; n < b.N; n += writers {
						start := time.Now()
						if _, _, err := s.Txn(b.Context(), []store.Op{{Key: routeKey(n % 1000), Value: sampleRoute}}); err != nil {
							b.Error(err)
							return
						}
						took[w] = append(took[w], time.Since(start))
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			if all := slices.Concat(took...); len(all) > 0 {
				slices.Sort(all)
				b.ReportMetric(float64(all[len(all)/2].Microseconds()), "p50-µs")
				b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-µs")
			}
		})
	}
}

// BenchmarkOpen opens a store of 10,000 routes.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	s, err := Open(dir, Options{})
	if err != nil {
		b.Fatal(err)
	}
	fill(b, s, 10_000)
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		s, err := Open(dir, Options{})
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRewrite rewrites a store of 10,000 routes: how long a writer may wait for it.
func BenchmarkRewrite(b *testing.B) {
	state := store.State{Rev: 10_000}
	for n := range 10_000 {
		o := &store.Object{Key: routeKey(n), Value: sampleRoute, Create: store.Rev(n + 1), Mod: store.Rev(n + 1)}
		state.Items = append(state.Items, store.Change{Key: o.Key, Object: o})
	}
	l := &log{fs: disk{}, dir: b.TempDir()}
	for b.Loop() {
		if err := l.rewrite(state); err != nil {
			b.Fatal(err)
		}
	}
	l.Close()
}
