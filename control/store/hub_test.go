package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-gateway/sluice/control/model"
	"github.com/sluice-gateway/sluice/control/store"
)

func routeKey(n int) model.Key { return model.Key{Kind: "routes", ID: strconv.Itoa(n)} }

// TestDeadlines has more objects expire at once than one expiry takes, later than the committer trusts its timer.
func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := store.NewMemory()
		defer s.Close()
		const objects = 2500
		ops := make([]store.Op, objects)
		for n := range ops {
			ops[n] = store.Op{Key: routeKey(n), Value: json.RawMessage(`1`), TTL: 26*time.Hour + time.Duration(n%3)}
		}
		ops = append(ops, store.Op{Key: routeKey(objects), Value: json.RawMessage(`1`), TTL: 27 * time.Hour})
		rev, _, err := s.Txn(t.Context(), ops)
		if err != nil {
			t.Fatal(err)
		}
		watch, err := s.Watch(t.Context(), rev)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		for gone := 0; gone < objects; {
			gone += len((<-watch).Events)
		}
		if age := time.Since(start); age < 26*time.Hour || age > 26*time.Hour+time.Second {
			t.Errorf("deleted after %s", age)
		}
		objs, _, err := s.All(t.Context())
		if err != nil || len(objs) != 1 || objs[0].Key != routeKey(objects) {
			t.Errorf("left are %v, %v", objs, err)
		}
	})
}

// heldLog waits in Append until it may go on.
type heldLog struct{ release chan error }

func (l heldLog) Append([]store.Record, func() store.State) error { return <-l.release }
func (l heldLog) Tidy(func() store.State)                         {}
func (l heldLog) Close() error                                    { return nil }

// TestGiveUp ends the context of a transaction that waits behind another, and closes the store over a third.
func TestGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := heldLog{make(chan error)}
		s := store.NewHub(store.State{}, log, slog.New(slog.DiscardHandler))
		results := make([]error, 4)
		ctx, cancel := context.WithCancel(t.Context())
		write := func(ctx context.Context, n int) {
			_, _, results[n] = s.Txn(ctx, []store.Op{{Key: routeKey(n), Value: json.RawMessage(`1`)}})
		}
		go write(ctx, 0) // taken up
		synctest.Wait()
		go write(ctx, 1)         // gives up
		go write(t.Context(), 2) // meets Close
		synctest.Wait()
		cancel()
		synctest.Wait()
		if !errors.Is(results[1], context.Canceled) || results[0] != nil {
			t.Errorf("results are %v", results)
		}
		closed := make(chan error, 1)
		go func() { closed <- s.Close() }()
		synctest.Wait()
		write(t.Context(), 3)
		log.release <- nil
		if err := <-closed; err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if results[0] != nil || !errors.Is(results[2], store.ErrClosed) || !errors.Is(results[3], store.ErrClosed) {
			t.Errorf("results are %v", results)
		}
	})
}

// TestHistoryBound: large batches push old ones out, and a watcher that would hold on to them is dropped.
func TestHistoryBound(t *testing.T) {
	s := store.NewMemory()
	defer s.Close()
	watch, err := s.Watch(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	v := json.RawMessage(`"` + strings.Repeat("x", 8<<20) + `"`)
	for n := range 12 {
		if _, _, err := s.Txn(t.Context(), []store.Op{{Key: routeKey(n), Value: v}}); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	for range watch {
		n++
	}
	if n == 0 || n > 10 {
		t.Errorf("watcher was dropped after %d batches of 8 MiB", n)
	}
	if _, err := s.Watch(t.Context(), 0); !errors.Is(err, store.ErrCompacted) {
		t.Errorf("got error %v, want ErrCompacted", err)
	}
}
