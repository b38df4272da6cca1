package reconcile

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/control/compile"
	"github.com/sluice-gateway/sluice/control/store"
	"github.com/sluice-gateway/sluice/control/store/journal"
)

// open returns a started controller on a journal with n routes.
func open(b *testing.B, n int) *Controller {
	b.Helper()
	st, err := journal.Open(b.TempDir(), journal.Options{})
	if err != nil {
		b.Fatal(err)
	}
	for from := 0; from < n; from += 1000 {
		var ops []store.Op
		for i := from; i < min(from+1000, n); i++ {
			ops = append(ops, put(fmt.Sprintf("routes/%d", i), route(fmt.Sprintf("/%d", i))))
		}
		if _, _, err := st.Txn(context.Background(), ops); err != nil {
			b.Fatal(err)
		}
	}
	ctl := New(st, compile.New(compile.Options{Plugins: plugins{}}), slog.New(slog.DiscardHandler),
		&plane{name: "a", log: &eventLog{}})
	if err := ctl.Start(context.Background()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := ctl.Close(); err != nil {
			b.Error(err)
		}
		if err := st.Close(); err != nil {
			b.Error(err)
		}
	})
	return ctl
}

// BenchmarkPutOneRoute changes one route among 10,000, on disk and down to the plane.
func BenchmarkPutOneRoute(b *testing.B) {
	ctl := open(b, 10_000)
	var took []time.Duration
	i := 0
	for b.Loop() {
		i++
		began := time.Now()
		if _, _, err := ctl.Update(context.Background(), func(compile.View) ([]store.Op, error) {
			return []store.Op{put("routes/5000", route(fmt.Sprintf("/new%d", i)))}, nil
		}); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}

// BenchmarkPutConcurrent has 200 writers change a route each among 10,000.
func BenchmarkPutConcurrent(b *testing.B) {
	const writers = 200
	ctl := open(b, 10_000)
	round := 0
	for b.Loop() {
		round++
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				if _, _, err := ctl.Update(context.Background(), func(compile.View) ([]store.Op, error) {
					return []store.Op{put(fmt.Sprintf("routes/%d", w), route(fmt.Sprintf("/%d-%d", w, round)))}, nil
				}); err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/float64(b.N*writers), "ms/update")
	b.ReportMetric(float64(ctl.Status().Commits)/float64(b.N), "commits/round")
}
