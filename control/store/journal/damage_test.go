package journal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/control/model"
	"github.com/sluice-gateway/sluice/control/store"
)

// sample is a journal with objects at its head and transactions after them.
type sample struct {
	data []byte
	// ends has the offset after each record, states the values after it.
	ends   []int
	states []map[string]string
	// heads is how many records belong to the head of the file.
	heads int
}

func makeSample(t *testing.T) sample {
	t.Helper()
	fs := newMemFS()
	s, err := open(fs, "/store", Options{})
	if err != nil {
		t.Fatal(err)
	}
	put := func(n int, v string) store.Op { return store.Op{Key: routeKey(n), Value: json.RawMessage(v)} }
	txn := func(ops ...store.Op) {
		if _, _, err := s.Txn(t.Context(), ops); err != nil {
			t.Fatal(err)
		}
	}
	txn(put(1, `{"v":"one"}`), put(2, `{"v":"two"}`))
	txn(put(3, `{"v":"three"}`))
	s.Close()
	// Writing it afresh makes these the head.
	img, err := load(fs.names["/store/journal"].data)
	if err != nil {
		t.Fatal(err)
	}
	l := &log{fs: fs, dir: "/store"}
	if err := l.rewrite(img.state); err != nil {
		t.Fatal(err)
	}
	if s, err = open(fs, "/store", Options{}); err != nil {
		t.Fatal(err)
	}
	txn(put(4, "{\n  \"v\": \"four\"\n}"))
	txn(put(1, `{"v":"one again"}`), store.Op{Key: routeKey(2)})
	txn(put(5, `["R 00000002 00000000 {}"]`))
	s.Close()

	out := sample{data: fs.names["/store/journal"].data, heads: 4}
	for at := 0; at < len(out.data); {
		_, n, ok := readRecord(out.data[at:])
		if !ok {
			t.Fatalf("no record at %d in:\n%s", at, out.data)
		}
		at += n
		out.ends = append(out.ends, at)
		img, err := load(out.data[:at])
		if err != nil {
			t.Fatal(err)
		}
		state := map[string]string{}
		for _, c := range img.state.Items {
			state[c.Key.String()] = string(c.Object.Value)
		}
		out.states = append(out.states, state)
	}
	if len(out.ends) != 7 || len(out.states[6]) != 4 {
		t.Fatalf("sample is %+v", out)
	}
	return out
}

// openBytes opens a store whose journal is data, and returns it with what it logged.
func openBytes(t *testing.T, data []byte) (*Store, string, string, error) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "journal"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	var logged bytes.Buffer
	s, err := Open(dir, Options{Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	if err == nil {
		t.Cleanup(func() { s.Close() })
	}
	return s, dir, logged.String(), err
}

// TestTornTail cuts the journal at every byte of its transactions, with and without garbage behind the cut.
func TestTornTail(t *testing.T) {
	sm := makeSample(t)
	for _, tail := range []struct {
		name string
		data []byte
		from int
	}{
		{"nothing", nil, sm.ends[sm.heads-1]},
		{"zeros", make([]byte, 300), sm.ends[5]},
		{"garbage", []byte("R 00\nR zz 0000\n\xff"), sm.ends[5]},
	} {
		t.Run(tail.name, func(t *testing.T) {
			for cut := tail.from; cut < len(sm.data); cut++ {
				whole := sm.heads - 1
				for whole+1 < len(sm.ends) && sm.ends[whole+1] <= cut {
					whole++
				}
				data := slices.Concat(sm.data[:cut], tail.data)
				torn := len(data) - sm.ends[whole]
				s, dir, logged, err := openBytes(t, data)
				if err != nil {
					t.Fatalf("cut at %d: %v", cut, err)
				}
				if diff := cmp.Diff(sm.states[whole], values(content(t, s))); diff != "" {
					t.Fatalf("cut at %d (-want +got):\n%s", cut, diff)
				}
				want := Recovery{}
				if torn > 0 {
					want = Recovery{TornOffset: sm.ends[whole], TornBytes: torn}
					if !strings.Contains(logged, fmt.Sprintf("offset=%d bytes=%d", sm.ends[whole], torn)) {
						t.Errorf("cut at %d: logged %q", cut, logged)
					}
				}
				if diff := cmp.Diff(want, s.Recovery()); diff != "" {
					t.Fatalf("cut at %d: Recovery (-want +got):\n%s", cut, diff)
				}
				if info, err := os.Stat(filepath.Join(dir, "journal")); err != nil || info.Size() != int64(sm.ends[whole]) {
					t.Fatalf("cut at %d: file is %v, %v, want %d bytes", cut, info.Size(), err, sm.ends[whole])
				}
				if names, _ := filepath.Glob(filepath.Join(dir, "journal.*")); len(names) > 0 {
					t.Fatalf("cut at %d: made %v", cut, names)
				}
				s.Close()
			}
		})
	}
}

// TestDamage destroys parts of the journal that had been acknowledged.
func TestDamage(t *testing.T) {
	sm := makeSample(t)
	rec := func(n int) (from, to int) {
		if n > 0 {
			from = sm.ends[n-1]
		}
		return from, sm.ends[n]
	}
	flip := func(n int) func([]byte) []byte {
		return func(d []byte) []byte {
			_, to := rec(n)
			d[to-5] ^= 1
			return d
		}
	}
	// The sample's records: head, routes 1, 2 and 3, put 4, put 1 and delete 2, put 5.
	last := sm.states[6]
	with := func(m map[string]string, k, v string) map[string]string {
		out := map[string]string{k: v}
		for k2, v2 := range m {
			if k2 != k {
				out[k2] = v2
			}
		}
		if v == "" {
			delete(out, k)
		}
		return out
	}
	tests := []struct {
		name   string
		change func([]byte) []byte
		want   map[string]string
		parts  [][2]int // first and last damaged record
		after  []store.Rev
		lost   int
	}{
		{"one bit of a transaction", flip(4), with(last, "/routes/4", ""), [][2]int{{4, 4}}, []store.Rev{2}, 0},
		{"a lost delete comes back", flip(5), with(with(last, "/routes/1", `{"v":"one"}`), "/routes/2", `{"v":"two"}`),
			[][2]int{{5, 5}}, []store.Rev{3}, 0},
		{"an object of the head", flip(3), with(last, "/routes/3", ""), [][2]int{{3, 3}}, []store.Rev{2}, 1},
		{"an object that was deleted later", flip(2), last, [][2]int{{2, 2}}, []store.Rev{2}, 1},
		{"the head", flip(0), last, [][2]int{{0, 0}}, []store.Rev{0}, 0},
		{"two places", func(d []byte) []byte { return flip(2)(flip(4)(d)) }, with(last, "/routes/4", ""),
			[][2]int{{2, 2}, {4, 4}}, []store.Rev{2, 2}, 1},
		{"a run of zeros over three records", func(d []byte) []byte {
			from, _ := rec(3)
			_, to := rec(5)
			clear(d[from+3 : to-2])
			return d
		}, map[string]string{
			"/routes/1": `{"v":"one"}`, "/routes/2": `{"v":"two"}`, "/routes/5": `["R 00000002 00000000 {}"]`,
		}, [][2]int{{3, 5}}, []store.Rev{2}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			data := tt.change(bytes.Clone(sm.data))
			s, dir, logged, err := openBytes(t, data)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, values(content(t, s))); diff != "" {
				t.Errorf("content (-want +got):\n%s", diff)
			}
			got := s.Recovery()
			if got.TornBytes != 0 || got.LostObjects != tt.lost || len(got.Damaged) != len(tt.parts) {
				t.Fatalf("Recovery is %+v", got)
			}
			for i, part := range tt.parts {
				from, _ := rec(part[0])
				_, to := rec(part[1])
				d := got.Damaged[i]
				if d.Offset != from || d.Bytes != to-from || d.After != tt.after[i] || d.Records < 1 {
					t.Errorf("damage is %+v, want offset %d, %d bytes, after %d", d, from, to-from, tt.after[i])
				}
				saved, err := os.ReadFile(d.File)
				if err != nil || !bytes.Equal(saved, data[from:to]) {
					t.Errorf("saved %q, %v, want %q", saved, err, data[from:to])
				}
				if !strings.HasPrefix(d.File, filepath.Join(dir, fmt.Sprintf("journal.corrupt-%d", tt.after[i]))) {
					t.Errorf("saved as %s", d.File)
				}
				if want := fmt.Sprintf("offset=%d bytes=%d", from, to-from); !strings.Contains(logged, want) || !strings.Contains(logged, "level=ERROR") {
					t.Errorf("log does not say %s: %s", want, logged)
				}
			}
			// The file is whole again, revisions go on, and the copies stay.
			_, rev, err := s.All(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			want := content(t, s)
			s.Close()
			s, err = Open(dir, Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if diff := cmp.Diff(Recovery{}, s.Recovery()); diff != "" {
				t.Errorf("opened again: Recovery (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(want, content(t, s)); diff != "" {
				t.Errorf("opened again (-want +got):\n%s", diff)
			}
			if r, _, err := s.Txn(t.Context(), []store.Op{{Key: routeKey(1), Value: json.RawMessage(`1`)}}); err != nil || r <= rev || rev != 5 {
				t.Errorf("revision %d after %d, %v", r, rev, err)
			}
			if _, err := os.Stat(got.Damaged[0].File); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestCutInHead cuts the journal among the objects at its head: a rewrite is complete before it gets its name, so that
// this is never an unfinished write.
func TestCutInHead(t *testing.T) {
	sm := makeSample(t)
	for cut := sm.ends[0]; cut < sm.ends[sm.heads-1]; cut++ {
		whole := 0
		for sm.ends[whole+1] <= cut {
			whole++
		}
		s, _, logged, err := openBytes(t, sm.data[:cut])
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if diff := cmp.Diff(sm.states[whole], values(content(t, s))); diff != "" {
			t.Fatalf("cut at %d (-want +got):\n%s", cut, diff)
		}
		r := s.Recovery()
		if r.TornBytes != 0 || r.LostObjects != 3-whole || (len(r.Damaged) == 1) != (cut > sm.ends[whole]) {
			t.Fatalf("cut at %d: Recovery is %+v", cut, r)
		}
		if !strings.Contains(logged, "level=ERROR") {
			t.Fatalf("cut at %d: logged %q", cut, logged)
		}
		s.Close()
	}
}

// TestEveryBit flips one bit of each byte. No flip may go unnoticed, and none may cost another record.
func TestEveryBit(t *testing.T) {
	sm := makeSample(t)
	for at := range sm.data {
		data := bytes.Clone(sm.data)
		data[at] ^= 1 << (at % 8)
		payloads, _, bad := split(data)
		if len(bad) != 1 || len(payloads) != len(sm.ends)-1 {
			t.Fatalf("bit of byte %d: %d records, damage %v", at, len(payloads), bad)
		}
		hit, _ := slices.BinarySearch(sm.ends, at+1)
		want := span{0, sm.ends[hit]}
		if hit > 0 {
			want.Offset = sm.ends[hit-1]
		}
		if bad[0] != want {
			t.Fatalf("bit of byte %d: damage %v, want %v", at, bad[0], want)
		}
	}
}

// TestRefused has journals that must not be opened, nor touched.
func TestRefused(t *testing.T) {
	sm := makeSample(t)
	record := func(payload string) []byte {
		return appendRecord(nil, func(b []byte) []byte { return append(b, payload...) })
	}
	head := sm.data[:sm.ends[0]]
	txn5 := sm.data[sm.ends[5]:]
	tests := []struct {
		name string
		data []byte
		want string
	}{
		{"something else", []byte("#!/bin/sh\necho hello\n"), "no record in it is intact"},
		{"zeros", make([]byte, 4096), "no record in it is intact"},
		{"newer version", record(`{"store":"sluice","version":2,"what":"ever"}`), "format version is 2, this program reads 1"},
		{"unknown record", slices.Concat(sm.data, record(`{"future":1}`)), "record is not understood"},
		{"unknown field", slices.Concat(sm.data, record(`{"rev":9,"ops":[{"put":"/routes/1","create":9,"new":1,"size":1,"value":1}]}`)), "not understood"},
		{"trailing bytes", slices.Concat(sm.data, record(`{"rev":9,"ops":[{"delete":"/routes/1"}]} `)), "bytes after the end"},
		{"same transaction twice", slices.Concat(sm.data, txn5), "revision 5 comes after 5"},
		{"two journals", slices.Concat(sm.data, sm.data), "a second head"},
		{"object from the future", slices.Concat(record(`{"store":"sluice","version":1,"rev":1,"objects":1}`),
			record(`{"mod":2,"put":"/routes/1","create":1,"size":1,"value":1}`)), "object is at revision 2"},
		{"one object too many", slices.Concat(record(`{"store":"sluice","version":1,"rev":1,"objects":0}`),
			record(`{"mod":1,"put":"/routes/1","create":1,"size":1,"value":1}`)), "more than the 0 objects"},
		{"object after a transaction", slices.Concat(sm.data, record(`{"mod":1,"put":"/routes/1","create":1,"size":1,"value":1}`)), "an object after"},
		{"bad key", slices.Concat(head, record(`{"mod":1,"put":"/routes/","create":1,"size":1,"value":1}`)), "key has no id"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, dir, _, err := openBytes(t, tt.data)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), filepath.Join(dir, "journal")) {
				t.Errorf("got error %v, want %q and the path", err, tt.want)
			}
			if got, err := os.ReadFile(filepath.Join(dir, "journal")); err != nil || !bytes.Equal(got, tt.data) {
				t.Errorf("the file was changed: %v", err)
			}
			// The lock is free again.
			if err := os.Remove(filepath.Join(dir, "journal")); err != nil {
				t.Fatal(err)
			}
			s, err := Open(dir, Options{})
			if err != nil {
				t.Fatal(err)
			}
			s.Close()
		})
	}
}

// TestFormat pins the file format: what version 1 wrote must stay readable.
func TestFormat(t *testing.T) {
	const want = `R 00000032 ac7c5ef6 {"store":"sluice","version":1,"rev":2,"objects":3}
R 00000044 90275549 {"mod":1,"put":"/routes/1","create":1,"size":11,"value":{"v":"one"}}
R 00000044 9f159f7a {"mod":1,"put":"/routes/2","create":1,"size":11,"value":{"v":"two"}}
R 00000046 fa83b5dc {"mod":2,"put":"/routes/3","create":2,"size":13,"value":{"v":"three"}}
R 00000054 7c81abf1 {"rev":3,"ops":[{"put":"/routes/4","create":3,"size":17,"value":{
  "v": "four"
}}]}
R 0000006b 3053161c {"rev":4,"ops":[{"put":"/routes/1","create":1,"size":17,"value":{"v":"one again"}},{"delete":"/routes/2"}]}
R 0000005d afd8a47e {"rev":5,"ops":[{"put":"/routes/5","create":5,"size":26,"value":["R 00000002 00000000 {}"]}]}
`
	if diff := cmp.Diff(want, string(makeSample(t).data)); diff != "" {
		t.Errorf("journal (-want +got):\n%s", diff)
	}
	c := store.Change{
		Key:     model.Key{Kind: "secrets", ID: `vault/a "b\"`},
		Object:  &store.Object{Key: model.Key{Kind: "secrets", ID: `vault/a "b\"`}, Value: json.RawMessage(`null`), Create: 7, Mod: 8},
		Expires: time.UnixMilli(1750000000123),
	}
	text := `{"mod":8,"put":"/secrets/vault/a \"b\\\"","create":7,"expires":1750000000123,"size":4,"value":null}`
	if got := string(appendObject(nil, c)); got != text {
		t.Errorf("object is %s, want %s", got, text)
	}
	p, err := decode([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&c, p.object); diff != "" {
		t.Errorf("object (-want +got):\n%s", diff)
	}
}
