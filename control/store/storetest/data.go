package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/control/model"
	"github.com/sluice-gateway/sluice/control/store"
)

func testEmpty(t *testing.T, s store.Store) {
	objs, rev := list(t, s, "routes")
	if len(objs) != 0 {
		t.Errorf("List: got %v", objs)
	}
	if objs, rev2 := all(t, s); len(objs) != 0 || rev2 != rev {
		t.Errorf("All: got %v at %d, List was at %d", objs, rev2, rev)
	}
	absent(t, s, route("1"))
	got, events, err := s.Txn(t.Context(), nil)
	if got != rev || events != nil || err != nil {
		t.Errorf("empty Txn: got %d, %v, %v, want %d without events", got, events, err, rev)
	}
}

func testPut(t *testing.T, s store.Store) {
	k := route("1")
	r1, events, err := s.Txn(t.Context(), []store.Op{put(k, `{"a":1}`)})
	if err != nil {
		t.Fatal(err)
	}
	o1 := object(k, `{"a":1}`, r1, r1)
	equal(t, "events of create", events, []store.Event{{Key: k, Object: &o1}})
	equal(t, "created", get(t, s, k), o1)

	r2, events, err := s.Txn(t.Context(), []store.Op{put(k, `{"a":2}`)})
	if err != nil {
		t.Fatal(err)
	}
	if r2 <= r1 {
		t.Fatalf("revision %d after %d", r2, r1)
	}
	o2 := object(k, `{"a":2}`, r1, r2)
	equal(t, "events of update", events, []store.Event{{Key: k, Object: &o2, Prev: &o1}})
	equal(t, "updated", get(t, s, k), o2)

	r3, events, err := s.Txn(t.Context(), []store.Op{remove(k)})
	if err != nil {
		t.Fatal(err)
	}
	if r3 <= r2 {
		t.Fatalf("revision %d after %d", r3, r2)
	}
	equal(t, "events of delete", events, []store.Event{{Key: k, Prev: &o2}})
	absent(t, s, k)

	r4 := txn(t, s, put(k, `{"a":3}`))
	equal(t, "created again", get(t, s, k), object(k, `{"a":3}`, r4, r4))
}

// values that a store could be tempted to change.
var values = map[string]string{
	"spaces":          ` {"a" : [ 1 , 2 ] } `,
	"line breaks":     "{\n  \"a\": 1\n}\r\n",
	"null":            `null`,
	"string":          `"R 00000002 00000000 {}"`,
	"numbers":         `{"big":12345678901234567890123,"exp":1E2,"float":1.0,"neg":-0}`,
	"html":            `{"a":"<b>&amp;</b>"}`,
	"escapes":         `{"a":"\u00e9\u2028\n\/"}`,
	"key order":       `{"z":1,"a":2,"z":3}`,
	"empty array":     `{"a":[],"b":{}}`,
	"bytes not utf-8": "{\"a\":\"\xff\xfe\"}",
	"separators":      "{\"a\":\"\u2028\u2029\"}",
}

func testVerbatim(t *testing.T, s store.Store) {
	for name, v := range values {
		k := route(name)
		txn(t, s, put(k, v))
		if got := string(get(t, s, k).Value); got != v {
			t.Errorf("%s: got %q, want %q", name, got, v)
		}
	}
}

func testBuffers(t *testing.T, s store.Store) {
	v := json.RawMessage(`{"a":1}`)
	ops := []store.Op{{Key: route("1"), Value: v}}
	txn(t, s, ops...)
	ops[0].Key.ID = "2"
	copy(v, `[[[[[[[`)
	if got := string(get(t, s, route("1")).Value); got != `{"a":1}` {
		t.Errorf("value became %s", got)
	}
}

func testList(t *testing.T, s store.Store) {
	var want []store.Object
	// Ids against the order of creation.
	for n := 50; n > 0; n-- {
		k := route(id(n))
		r := txn(t, s, put(k, `{}`), put(key("services", id(n)), `{}`))
		want = append(want, object(k, `{}`, r, r))
	}
	got, _ := list(t, s, "routes")
	equal(t, "List", got, want)

	// An update keeps the place, a delete leaves no gap, a new one goes to the end.
	k := want[10].Key
	want[10] = object(k, `{"new":1}`, want[10].Create, txn(t, s, put(k, `{"new":1}`)))
	txn(t, s, remove(want[20].Key))
	gone := want[20].Key
	want = append(want[:20:20], want[21:]...)
	r := txn(t, s, put(gone, `{"back":1}`))
	want = append(want, object(gone, `{"back":1}`, r, r))
	got, rev := list(t, s, "routes")
	equal(t, "List after changes", got, want)
	if rev != r {
		t.Errorf("List is at revision %d, last write was %d", rev, r)
	}
	// Within one revision the id decides.
	r = txn(t, s, put(key("protos", "b"), `1`), put(key("protos", "a"), `2`))
	got, _ = list(t, s, "protos")
	equal(t, "List of one transaction", got,
		[]store.Object{object(key("protos", "a"), `2`, r, r), object(key("protos", "b"), `1`, r, r)})
}

func testAll(t *testing.T, s store.Store) {
	r1 := txn(t, s, put(route("1"), `1`), put(key("consumers", "jack"), `2`))
	r2 := txn(t, s, put(key("consumers", "jack/credentials/c1"), `3`))
	r3 := txn(t, s, put(key("secrets", "vault/1"), `4`), put(route("0"), `5`))
	got, rev := all(t, s)
	equal(t, "All", got, []store.Object{
		object(key("consumers", "jack"), `2`, r1, r1),
		object(route("1"), `1`, r1, r1),
		object(key("consumers", "jack/credentials/c1"), `3`, r2, r2),
		object(route("0"), `5`, r3, r3),
		object(key("secrets", "vault/1"), `4`, r3, r3),
	})
	if rev != r3 {
		t.Errorf("All is at revision %d, last write was %d", rev, r3)
	}
}

func testTxn(t *testing.T, s store.Store) {
	r1 := txn(t, s, put(route("1"), `1`), put(route("2"), `2`))
	r2 := txn(t, s, put(route("1"), `11`), remove(route("2")), put(route("3"), `3`))
	got, rev := list(t, s, "routes")
	equal(t, "List", got, []store.Object{object(route("1"), `11`, r1, r2), object(route("3"), `3`, r2, r2)})
	if rev != r2 {
		t.Errorf("List is at revision %d, want %d", rev, r2)
	}
}

func testAtomic(t *testing.T, s store.Store) {
	r := txn(t, s, put(route("1"), `1`))
	refuse(t, s, store.ErrNotFound, put(route("2"), `2`), remove(route("1")), remove(route("3")))
	refuse(t, s, store.ErrConflict, put(route("2"), `2`), store.Op{Key: route("1"), Value: json.RawMessage(`1`), IfAbsent: true})
	refuse(t, s, store.ErrConflict, remove(route("1")), store.Op{Key: route("4"), Value: json.RawMessage(`1`), IfMod: r})

	_, _, err := s.Txn(t.Context(), []store.Op{put(route("2"), `2`), remove(route("3"))})
	var oe *store.OpError
	if !errors.As(err, &oe) || oe.Index != 1 || oe.Key != route("3") {
		t.Errorf("error does not name the operation: %v", err)
	}
}

func testConditions(t *testing.T, s store.Store) {
	k := route("1")
	op := func(value string, mod store.Rev, absent bool) store.Op {
		o := store.Op{Key: k, IfMod: mod, IfAbsent: absent}
		if value != "" {
			o.Value = json.RawMessage(value)
		}
		return o
	}
	refuse(t, s, store.ErrConflict, op(`1`, 1<<40, false))
	refuse(t, s, store.ErrNotFound, op("", 1<<40, false))
	r1 := txn(t, s, op(`1`, 0, true))
	refuse(t, s, store.ErrConflict, op(`2`, 0, true))
	refuse(t, s, store.ErrConflict, op(`2`, r1+1, false))
	r2 := txn(t, s, op(`2`, r1, false))
	refuse(t, s, store.ErrConflict, op(`3`, r1, false))
	refuse(t, s, store.ErrConflict, op("", r1, false))
	txn(t, s, op("", r2, false))
	refuse(t, s, store.ErrConflict, op(`4`, r2, false))
	txn(t, s, op(`5`, 0, true))
}

func testInvalid(t *testing.T, s store.Store) {
	v := json.RawMessage(`{}`)
	tests := map[string][]store.Op{
		"no kind":             {put(key("", "1"), `1`)},
		"no id":               {put(route(""), `1`)},
		"slash in kind":       {put(key("a/b", "1"), `1`)},
		"line break in id":    {put(route("a\nb"), `1`)},
		"id not utf-8":        {put(route("a\xff"), `1`)},
		"long id":             {put(route(strings.Repeat("x", store.MaxKeyBytes)), `1`)},
		"delete of a bad key": {remove(route(""))},
		"value not json":      {put(route("1"), `{"a":}`)},
		"value with a tail":   {put(route("1"), `{} {}`)},
		"empty value":         {{Key: route("1"), Value: json.RawMessage{}}},
		"key twice":           {put(route("1"), `1`), remove(route("1"))},
		"two conditions":      {{Key: route("1"), Value: v, IfMod: 1, IfAbsent: true}},
		"negative revision":   {{Key: route("1"), Value: v, IfMod: -1}},
		"negative ttl":        {{Key: route("1"), Value: v, TTL: -1}},
		"delete if absent":    {{Key: route("1"), IfAbsent: true}},
		"delete with ttl":     {{Key: route("1"), TTL: time.Second}},
		"too many operations": make([]store.Op, store.MaxOps+1),
		"too large": {{Key: route("1"), Value: json.RawMessage(
			`"` + strings.Repeat("x", store.MaxTxnBytes) + `"`)}},
	}
	for name, ops := range tests {
		t.Run(name, func(t *testing.T) { refuse(t, s, store.ErrInvalid, ops...) })
	}
}

func testNextID(t *testing.T, s store.Store) {
	seen := map[string]bool{}
	last := ""
	for n := range 20 {
		got, err := s.NextID(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != 20 || seen[got] || got <= last {
			t.Fatalf("id %q after %q", got, last)
		}
		seen[got], last = true, got
		if n%3 == 0 {
			if r := txn(t, s, put(route(got), `{}`)); store.FormatID(r) <= got {
				t.Fatalf("object with id %s is at revision %d", got, r)
			}
		}
	}
}

func testContext(t *testing.T, s store.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	calls(ctx, t, s, context.Canceled)
	if objs, _ := all(t, s); len(objs) != 0 {
		t.Errorf("store has %v", objs)
	}
}

func testClosed(t *testing.T, s store.Store) {
	rev := txn(t, s, put(route("1"), `1`))
	ch := watch(t, s, rev)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n := ended(t, ch); n != 0 {
		t.Errorf("%d batches on close", n)
	}
	calls(t.Context(), t, s, store.ErrClosed)
	if err := s.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

// calls expects that each method fails with the error.
func calls(ctx context.Context, t *testing.T, s store.Store, want error) {
	t.Helper()
	for name, call := range map[string]func() error{
		"List":   func() error { _, _, err := s.List(ctx, "routes"); return err },
		"All":    func() error { _, _, err := s.All(ctx); return err },
		"Get":    func() error { _, err := s.Get(ctx, model.Key{Kind: "routes", ID: "1"}); return err },
		"Txn":    func() error { _, _, err := s.Txn(ctx, []store.Op{put(route("9"), `1`)}); return err },
		"NextID": func() error { _, err := s.NextID(ctx); return err },
		"Watch":  func() error { _, err := s.Watch(ctx, 0); return err },
	} {
		if err := call(); !errors.Is(err, want) {
			t.Errorf("%s: got error %v, want %v", name, err, want)
		}
	}
}
