package route

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"testing"
)

// pair is an item of a table under test.
type pair struct{ key, value int }

func (t *table[V]) get(h uint64, is func(*V) bool) *V {
	if t.n == 0 {
		return nil
	}
	c := t.chunkOf(h)
	at, ok := c.search(h, is)
	if !ok {
		return nil
	}
	return &c.items[c.slots[at].item()]
}

// TestTable compares a table with a map over growth and decline, and old tables with what they held.
func TestTable(t *testing.T) {
	mixed := func(key int) uint64 { return uint64(key+1) * 0x9e3779b97f4a7c15 }
	for _, c := range []struct {
		name string
		hash func(key int) uint64
		keys int
	}{
		{"spread hashes", mixed, 6000},
		{"one place", func(int) uint64 { return 7 }, 100},
		{"one place in all chunks", func(key int) uint64 { return mixed(key) &^ (1<<32 - 1) }, 1500},
		{"one chunk", func(key int) uint64 { return mixed(key) & (1<<32 - 1) }, 3000},
		{"runs that go around", func(key int) uint64 { return 1<<32 - 1 - uint64(key%5) }, 60},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(3, 4))
			type version struct {
				table table[pair]
				want  map[int]int
			}
			check := func(v version) {
				t.Helper()
				if v.table.n != len(v.want) || len(v.want) == 0 && v.table.chunks != nil {
					t.Fatalf("%d items in %d chunks, want %d items", v.table.n, len(v.table.chunks), len(v.want))
				}
				for key := range c.keys {
					p := v.table.get(c.hash(key), func(p *pair) bool { return p.key == key })
					if value, ok := v.want[key]; ok != (p != nil) || ok && p.value != value {
						t.Fatalf("key %d: got %v, want %d (%v)", key, p, value, ok)
					}
				}
			}
			last := version{want: map[int]int{}}
			for step := range 24 {
				old := version{last.table, maps.Clone(last.want)}
				ed := &edit{}
				for range c.keys / 4 {
					key, value := r.IntN(c.keys), r.Int()
					// The first half of the steps adds more often than it removes, the second half the other way round.
					keep := r.IntN(8) != 0 == (step < 12)
					last.table.update(ed, c.hash(key), func(p *pair) bool { return p.key == key }, func(p *pair, present bool) bool {
						if old, ok := last.want[key]; ok != present || present && (p.key != key || p.value != old) {
							t.Fatalf("key %d: update sees %v (%v), want %d (%v)", key, p, present, old, ok)
						}
						*p = pair{key, value}
						return keep
					})
					if delete(last.want, key); keep {
						last.want[key] = value
					}
				}
				check(last)
				check(old)
			}
			ed := &edit{}
			for key := range c.keys {
				last.table.update(ed, c.hash(key), func(p *pair) bool { return p.key == key }, func(*pair, bool) bool { return false })
				delete(last.want, key)
			}
			check(last)
		})
	}
}

// TestKeysAreCompared checks that a hash alone never decides: leaves and scopes tell every other key and place apart.
func TestKeysAreCompared(t *testing.T) {
	for _, n := range []int{1, hostSize, hostSize + 1, textSize, textSize + 1, 200} {
		key := bytes.Repeat([]byte("k"), n)
		other := bytes.Repeat([]byte("k"), n)
		other[n-1] = 'x'
		l := leaf{place: 4, written: string(key) + "*", keyLen: uint16(n)}
		copy(l.text[:], key)
		s := scope{wildcard: true, keyLen: uint8(n), key: string(key)}
		copy(s.text[:], key)
		if !l.is(4, key) || l.is(5, key) || l.is(4, other) || l.is(4, key[1:]) || l.is(4, append(key, '*')) {
			t.Errorf("a leaf with a key of %d bytes is taken for another", n)
		}
		if !s.is(key, true) || s.is(key, false) || s.is(other, true) || s.is(key[1:], true) || s.is(append(key, 'k'), true) {
			t.Errorf("a scope with a key of %d bytes is taken for another", n)
		}
	}
}
