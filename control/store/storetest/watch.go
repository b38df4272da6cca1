package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/control/store"
)

func testWatch(t *testing.T, s store.Store) {
	r0 := txn(t, s, put(route("0"), `0`))
	o0 := get(t, s, route("0"))
	ch := watch(t, s, r0)
	r1, events, err := s.Txn(t.Context(), []store.Op{put(route("1"), `1`), remove(route("0")), put(key("ssls", "1"), `2`)})
	if err != nil {
		t.Fatal(err)
	}
	got := receive(t, ch)
	equal(t, "events of Txn and Watch", store.Batch{Rev: r1, Events: events}, got)
	o1 := object(route("1"), `1`, r1, r1)
	o2 := object(key("ssls", "1"), `2`, r1, r1)
	equal(t, "batch", got, store.Batch{Rev: r1, Events: []store.Event{
		{Key: o1.Key, Object: &o1}, {Key: o0.Key, Prev: &o0}, {Key: o2.Key, Object: &o2},
	}})
	if _, _, err := s.Txn(t.Context(), []store.Op{remove(route("nope"))}); !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
	r2 := txn(t, s, put(route("1"), `3`))
	if b := receive(t, ch); b.Rev != r2 || b.Events[0].Prev == nil || b.Events[0].Prev.Mod != r1 {
		t.Errorf("second batch is %+v", b)
	}
}

func testWatchFrom(t *testing.T, s store.Store) {
	var revs []store.Rev
	for n := range 10 {
		revs = append(revs, txn(t, s, put(route(id(n)), `{}`)))
	}
	for n, from := range revs {
		ch := watch(t, s, from)
		for _, want := range revs[n+1:] {
			if b := receive(t, ch); b.Rev != want {
				t.Fatalf("watch from %d: got revision %d, want %d", from, b.Rev, want)
			}
		}
	}
	// While others write, a list and a watch from its revision together miss nothing and say nothing twice.
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for n := range 50 {
				if _, _, err := s.Txn(t.Context(), []store.Op{put(key("upstreams", strconv.Itoa(w)), strconv.Itoa(n))}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	objs, rev := list(t, s, "upstreams")
	ch := watch(t, s, rev)
	have := map[string]store.Object{}
	for _, o := range objs {
		have[o.Key.ID] = o
	}
	wg.Wait()
	final, last := list(t, s, "upstreams")
	for at := rev; at < last; {
		b := receive(t, ch)
		if b.Rev <= at {
			t.Fatalf("revision %d after %d", b.Rev, at)
		}
		at = b.Rev
		for _, e := range b.Events {
			if e.Prev != nil && e.Prev.Mod != have[e.Key.ID].Mod || e.Prev == nil && have[e.Key.ID].Mod != 0 {
				t.Fatalf("event %+v does not follow %+v", e, have[e.Key.ID])
			}
			have[e.Key.ID] = *e.Object
		}
	}
	for _, o := range final {
		equal(t, "object from watch", have[o.Key.ID], o)
	}
}

func testWatchUnknown(t *testing.T, s store.Store) {
	rev := txn(t, s, put(route("1"), `1`))
	if _, err := s.Watch(t.Context(), rev+1000); !errors.Is(err, store.ErrCompacted) {
		t.Errorf("watch of the future: got error %v, want ErrCompacted", err)
	}
	if _, err := s.Watch(t.Context(), -1); !errors.Is(err, store.ErrCompacted) {
		t.Errorf("watch of a negative revision: got error %v, want ErrCompacted", err)
	}
}

func testWatchContext(t *testing.T, s store.Store) {
	rev := txn(t, s, put(route("1"), `1`))
	ctx, cancel := context.WithCancel(t.Context())
	ch, err := s.Watch(ctx, rev)
	if err != nil {
		t.Fatal(err)
	}
	other := watch(t, s, rev)
	cancel()
	ended(t, ch)
	r := txn(t, s, put(route("1"), `2`))
	if b := receive(t, other); b.Rev != r {
		t.Errorf("the other watch got revision %d, want %d", b.Rev, r)
	}
}

func testSlowWatcher(t *testing.T, s store.Store) {
	rev := txn(t, s, put(route("1"), `1`))
	slow := watch(t, s, rev)
	const writes = 3000
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for n := w; n < writes; n += 16 {
				if _, _, err := s.Txn(t.Context(), []store.Op{put(route(strconv.Itoa(w)), `{}`)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := ended(t, slow); n == 0 || n >= writes {
		t.Errorf("slow watcher was dropped after %d batches", n)
	}
	if _, err := s.Watch(t.Context(), rev); !errors.Is(err, store.ErrCompacted) {
		t.Errorf("watch from %d writes ago: got error %v, want ErrCompacted", writes, err)
	}
	_, rev = list(t, s, "routes")
	ch := watch(t, s, rev)
	r := txn(t, s, put(route("1"), `2`))
	if b := receive(t, ch); b.Rev != r {
		t.Errorf("after the relist: got revision %d, want %d", b.Rev, r)
	}
}

func testDeadline(t *testing.T, s store.Store) {
	k := route("1")
	start := time.Now()
	r := txn(t, s, store.Op{Key: k, Value: json.RawMessage(`1`), TTL: 30 * time.Millisecond}, put(route("2"), `2`))
	b := receive(t, watch(t, s, r))
	if age := time.Since(start); age < 30*time.Millisecond {
		t.Errorf("deleted after %s", age)
	}
	o := object(k, `1`, r, r)
	equal(t, "events", b.Events, []store.Event{{Key: k, Prev: &o}})
	if b.Rev <= r {
		t.Errorf("deleted at revision %d, written at %d", b.Rev, r)
	}
	absent(t, s, k)
	get(t, s, route("2"))
}

func testDeadlineChanged(t *testing.T, s store.Store) {
	// On a slow machine the deadlines pass before they are changed: then again with more time.
	ttl := 40 * time.Millisecond
	for {
		for _, name := range []string{"kept", "moved", "deleted", "short"} {
			txn(t, s, store.Op{Key: route(name), Value: json.RawMessage(`1`), TTL: ttl})
		}
		_, _, err := s.Txn(t.Context(), []store.Op{
			put(route("kept"), `2`),
			{Key: route("moved"), Value: json.RawMessage(`2`), TTL: time.Hour},
			remove(route("deleted")),
		})
		if err == nil {
			break
		}
		if ttl *= 4; !errors.Is(err, store.ErrNotFound) || ttl > patience {
			t.Fatal(err)
		}
	}
	_, rev := all(t, s)
	ch := watch(t, s, rev)
	txn(t, s, store.Op{Key: route("last"), Value: json.RawMessage(`1`), TTL: 2 * ttl})
	for seen := map[string]bool{}; !seen["last"]; {
		for _, e := range receive(t, ch).Events {
			if e.Object == nil {
				seen[e.Key.ID] = true
			}
		}
		if seen["kept"] || seen["moved"] || seen["deleted"] {
			t.Fatalf("deleted: %v", seen)
		}
	}
	absent(t, s, route("short"))
	get(t, s, route("kept"))
	get(t, s, route("moved"))
}

func testConcurrent(t *testing.T, s store.Store) {
	const writers, each = 16, 25
	revs := make([][]store.Rev, writers)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for n := range each {
				k := route(strconv.Itoa(w) + "-" + strconv.Itoa(n))
				r, _, err := s.Txn(t.Context(), []store.Op{put(k, `{}`)})
				if err != nil {
					t.Error(err)
					return
				}
				if o, err := s.Get(t.Context(), k); err != nil || o.Mod != r {
					t.Errorf("%s after its write: %+v, %v", k, o, err)
				}
				revs[w] = append(revs[w], r)
			}
		})
	}
	wg.Wait()
	seen := map[store.Rev]bool{}
	for w, rs := range revs {
		for n, r := range rs {
			if seen[r] || n > 0 && r <= rs[n-1] {
				t.Errorf("writer %d: revision %d is not new", w, r)
			}
			seen[r] = true
		}
	}
	if objs, _ := list(t, s, "routes"); len(objs) != writers*each {
		t.Errorf("%d objects, want %d", len(objs), writers*each)
	}
}

func testCompareAndSwap(t *testing.T, s store.Store) {
	const writers, each = 8, 20
	k := route("counter")
	txn(t, s, put(k, `0`))
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for done := 0; done < each; {
				o, err := s.Get(t.Context(), k)
				if err != nil {
					t.Error(err)
					return
				}
				n, _ := strconv.Atoi(string(o.Value))
				_, _, err = s.Txn(t.Context(), []store.Op{{Key: k, Value: json.RawMessage(strconv.Itoa(n + 1)), IfMod: o.Mod}})
				switch {
				case err == nil:
					done++
				case !errors.Is(err, store.ErrConflict):
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if got, want := string(get(t, s, k).Value), strconv.Itoa(writers*each); got != want {
		t.Errorf("counter is %s, want %s", got, want)
	}
}
