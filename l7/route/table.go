package route

import (
	"hash/maphash"
	"math/bits"
)

var hashSeed = maphash.MakeSeed()

// Chunks hold chunkLow to chunkHigh slots in use on average: an edit copies one chunk and the list of chunks.
const (
	chunkLow  = 8
	chunkHigh = 64
	minSlots  = 4
)

// table is a persistent hash table: a list of small tables with open addressing, chosen by the high bits of the hash. A lookup reads one or two
// neighbouring slots.
type table[V any] struct {
	chunks []chunk[V]
	n      int
	edit   *edit
	shift  uint8
}

type chunk[V any] struct {
	// slots has a power of two of members, a quarter of them empty at least.
	slots []slot[V]
	n     int
	edit  *edit
}

// slot is empty when leaf is nil.
type slot[V any] struct {
	hash uint64
	key  string
	leaf *V
}

func (t *table[V]) find(key []byte) *V {
	if t.n == 0 {
		return nil
	}
	h := maphash.Bytes(hashSeed, key)
	slots := t.chunks[h>>t.shift].slots
	if len(slots) == 0 {
		return nil
	}
	mask := uint64(len(slots) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		s := &slots[i]
		if s.leaf == nil {
			return nil
		}
		if s.hash == h && s.key == string(key) {
			return s.leaf
		}
	}
}

// update replaces what is under key by f of it, in place as far as this edit made the memory, and in copies elsewhere: t itself belongs to the edit.
func (t *table[V]) update(ed *edit, key string, f func(old *V) *V) {
	h := maphash.String(hashSeed, key)
	if t.n > 0 {
		c := t.own(ed, h)
		if i, ok := c.search(h, key); ok {
			if c.slots[i].leaf = f(c.slots[i].leaf); c.slots[i].leaf == nil {
				c.remove(i)
				t.n--
				t.fit(ed)
			}
			return
		}
	}
	if v := f(nil); v != nil {
		t.n++
		t.fit(ed)
		t.own(ed, h).insert(slot[V]{h, key, v})
	}
}

// own returns the chunk of a hash in memory that the edit may change.
func (t *table[V]) own(ed *edit, h uint64) *chunk[V] {
	if t.edit != ed {
		t.chunks, t.edit = append([]chunk[V](nil), t.chunks...), ed
	}
	c := &t.chunks[h>>t.shift]
	if c.edit != ed {
		c.slots, c.edit = append([]slot[V](nil), c.slots...), ed
	}
	return c
}

// fit changes the number of chunks when the number of slots in use asks for it.
func (t *table[V]) fit(ed *edit) {
	switch n := len(t.chunks); {
	case t.n == 0:
		*t = table[V]{edit: ed}
	case n == 0:
		t.resize(ed, 1)
	case t.n > n*chunkHigh:
		t.resize(ed, 2*n)
	case n > 1 && t.n < n*chunkLow:
		t.resize(ed, n/2)
	}
}

func (t *table[V]) resize(ed *edit, n int) {
	old := t.chunks
	t.chunks, t.edit = make([]chunk[V], n), ed
	t.shift = uint8(64 - bits.TrailingZeros(uint(n)))
	for i := range t.chunks {
		t.chunks[i].edit = ed
	}
	for i := range old {
		for _, s := range old[i].slots {
			if s.leaf != nil {
				t.chunks[s.hash>>t.shift].insert(s)
			}
		}
	}
}

// search returns the slot of a key, or the empty slot where the search for it ends.
func (c *chunk[V]) search(h uint64, key string) (at uint64, found bool) {
	if len(c.slots) == 0 {
		return 0, false
	}
	mask := uint64(len(c.slots) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		s := &c.slots[i]
		if s.leaf == nil {
			return i, false
		}
		if s.hash == h && s.key == key {
			return i, true
		}
	}
}

func (c *chunk[V]) insert(s slot[V]) {
	if c.n++; 4*c.n > 3*len(c.slots) {
		c.rebuild(max(minSlots, 2*len(c.slots)))
	}
	i, _ := c.search(s.hash, s.key)
	c.slots[i] = s
}

// remove closes the gap at i by moving later slots of the same run forward (Knuth, The Art of Computer Programming 6.4, algorithm R).
func (c *chunk[V]) remove(i uint64) {
	c.n--
	mask := uint64(len(c.slots) - 1)
	for j := (i + 1) & mask; c.slots[j].leaf != nil; j = (j + 1) & mask {
		if (j-c.slots[j].hash)&mask >= (j-i)&mask {
			c.slots[i] = c.slots[j]
			i = j
		}
	}
	c.slots[i] = slot[V]{}
	if len(c.slots) > minSlots && 8*c.n < len(c.slots) {
		c.rebuild(len(c.slots) / 2)
	}
}

func (c *chunk[V]) rebuild(size int) {
	old := c.slots
	c.slots = make([]slot[V], size)
	for _, s := range old {
		if s.leaf != nil {
			i, _ := c.search(s.hash, s.key)
			c.slots[i] = s
		}
	}
}
