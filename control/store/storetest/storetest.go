// Package storetest is the conformance suite of store.Store: every back end runs it, so that the Admin API behaves
// the same on all of them.
package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/control/model"
	"github.com/sluice-gateway/sluice/control/store"
)

// patience is how long a test waits for something that must happen.
const patience = 20 * time.Second

// Open returns an empty store. The suite closes it.
type Open func(t *testing.T) store.Store

// Reopen closes a store that Open returned and opens the same data again.
type Reopen func(t *testing.T, s store.Store) store.Store

// Run checks a store. The tests of what survives a restart are skipped if reopen is nil.
func Run(t *testing.T, open Open, reopen Reopen) {
	tests := []struct {
		name string
		run  func(t *testing.T, s store.Store)
	}{
		{"empty store", testEmpty},
		{"put and get", testPut},
		{"values are kept byte for byte", testVerbatim},
		{"caller may reuse its buffers", testBuffers},
		{"list is sorted by create", testList},
		{"all kinds in one list", testAll},
		{"transaction has one revision", testTxn},
		{"transaction is all or nothing", testAtomic},
		{"conditions", testConditions},
		{"refused transactions", testInvalid},
		{"watch", testWatch},
		{"watch starts where a list ended", testWatchFrom},
		{"watch of an unknown revision", testWatchUnknown},
		{"watch ends with its context", testWatchContext},
		{"slow watcher is dropped", testSlowWatcher},
		{"deadline", testDeadline},
		{"deadline is taken away or moved", testDeadlineChanged},
		{"ids", testNextID},
		{"concurrent writers", testConcurrent},
		{"compare and swap loses no update", testCompareAndSwap},
		{"ended context", testContext},
		{"closed store", testClosed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := open(t)
			t.Cleanup(func() { s.Close() })
			tt.run(t, s)
		})
	}
	t.Run("restart", func(t *testing.T) {
		if reopen == nil {
			t.Skip("the store does not survive a restart by design")
		}
		for _, tt := range restartTests {
			t.Run(tt.name, func(t *testing.T) {
				s := open(t)
				t.Cleanup(func() { s.Close() })
				tt.run(t, s, func(t *testing.T, s store.Store) store.Store {
					t.Helper()
					s = reopen(t, s)
					t.Cleanup(func() { s.Close() })
					return s
				})
			})
		}
	})
}

func key(kind, id string) model.Key { return model.Key{Kind: model.Kind(kind), ID: id} }

func route(id string) model.Key { return key("routes", id) }

func put(k model.Key, value string) store.Op {
	return store.Op{Key: k, Value: json.RawMessage(value)}
}

func remove(k model.Key) store.Op { return store.Op{Key: k} }

// object is what the store should hold.
func object(k model.Key, value string, create, mod store.Rev) store.Object {
	return store.Object{Key: k, Value: json.RawMessage(value), Create: create, Mod: mod}
}

// txn carries out operations that must succeed.
func txn(t *testing.T, s store.Store, ops ...store.Op) store.Rev {
	t.Helper()
	rev, _, err := s.Txn(t.Context(), ops)
	if err != nil {
		t.Fatalf("Txn: %v", err)
	}
	return rev
}

// refuse carries out operations that must fail and change nothing.
func refuse(t *testing.T, s store.Store, want error, ops ...store.Op) {
	t.Helper()
	before, rev := all(t, s)
	_, _, err := s.Txn(t.Context(), ops)
	if !errors.Is(err, want) {
		t.Fatalf("Txn: got error %v, want %v", err, want)
	}
	after, rev2 := all(t, s)
	if diff := cmp.Diff(before, after); diff != "" || rev != rev2 {
		t.Fatalf("refused transaction changed the store from revision %d to %d (-before +after):\n%s", rev, rev2, diff)
	}
}

func all(t *testing.T, s store.Store) ([]store.Object, store.Rev) {
	t.Helper()
	objs, rev, err := s.All(t.Context())
	if err != nil {
		t.Fatalf("All: %v", err)
	}
	return objs, rev
}

func list(t *testing.T, s store.Store, kind string) ([]store.Object, store.Rev) {
	t.Helper()
	objs, rev, err := s.List(t.Context(), model.Kind(kind))
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	return objs, rev
}

func get(t *testing.T, s store.Store, k model.Key) store.Object {
	t.Helper()
	o, err := s.Get(t.Context(), k)
	if err != nil {
		t.Fatalf("Get %s: %v", k, err)
	}
	return o
}

func absent(t *testing.T, s store.Store, k model.Key) {
	t.Helper()
	if o, err := s.Get(t.Context(), k); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("Get %s: got %v, %v, want ErrNotFound", k, o, err)
	}
}

func watch(t *testing.T, s store.Store, from store.Rev) <-chan store.Batch {
	t.Helper()
	ch, err := s.Watch(t.Context(), from)
	if err != nil {
		t.Fatalf("Watch from %d: %v", from, err)
	}
	return ch
}

// receive waits for the next batch.
func receive(t *testing.T, ch <-chan store.Batch) store.Batch {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	select {
	case b, ok := <-ch:
		if !ok {
			t.Fatal("watch ended")
		}
		return b
	case <-ctx.Done():
		t.Fatal("no batch came")
	}
	panic("unreachable")
}

// ended reads until the channel is closed and returns how many batches came before.
func ended(t *testing.T, ch <-chan store.Batch) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for n := 0; ; n++ {
		select {
		case _, ok := <-ch:
			if !ok {
				return n
			}
		case <-ctx.Done():
			t.Fatal("watch did not end")
		}
	}
}

func equal[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", what, diff)
	}
}

func id(n int) string { return fmt.Sprintf("%05d", n) }
