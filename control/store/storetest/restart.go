package storetest

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/control/store"
)

var restartTests = []struct {
	name string
	run  func(t *testing.T, s store.Store, reopen Reopen)
}{
	{"objects and revisions", testRestart},
	{"values are kept byte for byte", testRestartVerbatim},
	{"deadline that is still ahead", testRestartDeadline},
	{"deadline that passed meanwhile", testRestartExpired},
	{"ids", testRestartIDs},
}

func testRestart(t *testing.T, s store.Store, reopen Reopen) {
	for n := range 20 {
		txn(t, s, put(route(id(n)), `{}`), put(key("services", id(n)), `{"desc":"x"}`))
	}
	txn(t, s, put(route(id(3)), `{"new":1}`))
	last := txn(t, s, remove(route(id(4))), put(key("odd", `a "quoted\" id/é`), `{}`))
	want, rev := all(t, s)
	for range 3 {
		s = reopen(t, s)
		got, rev2 := all(t, s)
		equal(t, "objects", got, want)
		if rev2 != rev || rev2 != last {
			t.Fatalf("revision is %d, was %d", rev2, rev)
		}
	}
	ch := watch(t, s, rev)
	r := txn(t, s, put(route(id(3)), `{"new":2}`))
	if r <= rev {
		t.Errorf("revision %d after the restart, was %d before", r, rev)
	}
	if b := receive(t, ch); b.Rev != r {
		t.Errorf("watch got revision %d, want %d", b.Rev, r)
	}
}

func testRestartVerbatim(t *testing.T, s store.Store, reopen Reopen) {
	for name, v := range values {
		txn(t, s, put(route(name), v))
	}
	s = reopen(t, s)
	for name, v := range values {
		if got := string(get(t, s, route(name)).Value); got != v {
			t.Errorf("%s: got %q, want %q", name, got, v)
		}
	}
}

func testRestartDeadline(t *testing.T, s store.Store, reopen Reopen) {
	const ttl = 300 * time.Millisecond
	start := time.Now()
	txn(t, s, store.Op{Key: route("1"), Value: json.RawMessage(`1`), TTL: ttl}, put(route("2"), `2`))
	s = reopen(t, s)
	_, rev := all(t, s)
	ch := watch(t, s, rev)
	if _, err := s.Get(t.Context(), route("1")); err != nil {
		if time.Since(start) < ttl {
			t.Fatalf("gone before its deadline: %v", err)
		}
		return
	}
	if b := receive(t, ch); len(b.Events) != 1 || b.Events[0].Key != route("1") || b.Events[0].Object != nil {
		t.Errorf("batch is %+v", b)
	}
	if age := time.Since(start); age < ttl {
		t.Errorf("deleted after %s", age)
	}
	get(t, s, route("2"))
}

func testRestartExpired(t *testing.T, s store.Store, reopen Reopen) {
	// Which of the two stores deletes it is a matter of timing; it must be gone and stay gone either way.
	r := txn(t, s, store.Op{Key: route("1"), Value: json.RawMessage(`1`), TTL: time.Millisecond})
	s.Close()
	s = reopen(t, s)
	_, rev := all(t, s)
	if _, err := s.Get(t.Context(), route("1")); err == nil {
		receive(t, watch(t, s, rev))
	}
	absent(t, s, route("1"))
	if r2 := txn(t, s, put(route("1"), `2`)); r2 <= r {
		t.Errorf("revision %d after %d", r2, r)
	}
}

func testRestartIDs(t *testing.T, s store.Store, reopen Reopen) {
	last := ""
	for range 5 {
		for range 7 {
			if _, err := s.NextID(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		got, err := s.NextID(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got <= last {
			t.Fatalf("id %s after %s", got, last)
		}
		last = got
		txn(t, s, store.Op{Key: route(got), Value: json.RawMessage(`{}`), IfAbsent: true})
		s = reopen(t, s)
	}
}
