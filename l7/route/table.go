package route

import "hash/maphash"

var hashSeed = maphash.MakeSeed()

// Chunks hold chunkLow to chunkHigh items on average. An edit copies the chunks that it touches and the list of chunks; larger chunks make a shorter
// list, which stays in the first-level cache.
const (
	chunkLow  = 128
	chunkHigh = 1024
	minSlots  = 8
)

// table is a persistent hash table of items that hold their own keys. Half of a hash chooses one of a list of chunks, the other half a place in its
// slots. A lookup reads a slot and the item that it names; one that finds nothing reads a slot alone. Equality is the caller's: items are compared
// with what is looked for whenever 32 bits of the hashes agree.
type table[V any] struct {
	// chunks has a power of two of members, none when the table is empty.
	chunks []chunk[V]
	n      int
	edit   *edit
}

// chunk fills one cache line.
type chunk[V any] struct {
	// slots is searched from the place that the hash names to the first empty one. It has a power of two of members, a quarter of them empty at least.
	slots []slot
	items []V
	own   *chunkEdit
	_     [8]byte
}

// chunkEdit is what only edits need to know about a chunk.
type chunkEdit struct {
	edit *edit
	// hashes are those of the items.
	hashes []uint64
}

// slot is the lower half of an item's hash followed by the item's index plus one; 0 is the empty slot.
type slot uint64

func newSlot(h uint64, item int) slot { return slot(h<<32 | uint64(item+1)) }

func (s slot) holds(h uint64) bool { return uint32(s>>32) == uint32(h) }

func (s slot) item() uint32 { return uint32(s) - 1 }

// chunkOf returns the chunk of a hash. The table is not empty.
func (t *table[V]) chunkOf(h uint64) *chunk[V] {
	return &t.chunks[h>>32&uint64(len(t.chunks)-1)]
}

// update hands the item with that hash for which is holds to f, or a zero one, and keeps it when f says so. It changes in place what this
// edit made, and copies of everything else: t itself belongs to the edit.
func (t *table[V]) update(ed *edit, h uint64, is func(*V) bool, f func(v *V, present bool) (keep bool)) {
	if t.n > 0 {
		if at, ok := t.chunkOf(h).search(h, is); ok {
			c := t.own(ed, h)
			if !f(&c.items[c.slots[at].item()], true) {
				c.remove(at)
				t.n--
				t.fit(ed)
			}
			return
		}
	}
	var v V
	if f(&v, false) {
		t.n++
		t.fit(ed)
		t.own(ed, h).insert(h, v)
	}
}

// own returns the chunk of a hash in memory that the edit may change.
func (t *table[V]) own(ed *edit, h uint64) *chunk[V] {
	if t.edit != ed {
		t.chunks, t.edit = append([]chunk[V](nil), t.chunks...), ed
	}
	c := t.chunkOf(h)
	if c.own.edit != ed {
		n := len(c.items) + 1
		c.own = &chunkEdit{edit: ed, hashes: append(make([]uint64, 0, n), c.own.hashes...)}
		c.slots = append([]slot(nil), c.slots...)
		c.items = append(make([]V, 0, n), c.items...)
	}
	return c
}

// fit changes the number of chunks when the number of items asks for it.
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
	// Hashes spread evenly, so that few chunks grow beyond this.
	room := t.n/n + t.n/n/8
	slots := minSlots
	for 3*slots < 4*room {
		slots *= 2
	}
	for i := range t.chunks {
		own := &chunkEdit{edit: ed, hashes: make([]uint64, 0, room)}
		t.chunks[i] = chunk[V]{slots: make([]slot, slots), items: make([]V, 0, room), own: own}
	}
	for i := range old {
		for j, h := range old[i].own.hashes {
			t.chunkOf(h).insert(h, old[i].items[j])
		}
	}
}

// search returns the slot of an item, or the empty slot where the search for it ends.
func (c *chunk[V]) search(h uint64, is func(*V) bool) (at int, found bool) {
	mask := len(c.slots) - 1
	for i := int(uint32(h)) & mask; ; i = (i + 1) & mask {
		s := c.slots[i]
		if s == 0 {
			return i, false
		}
		if s.holds(h) && is(&c.items[s.item()]) {
			return i, true
		}
	}
}

func (c *chunk[V]) insert(h uint64, v V) {
	c.items, c.own.hashes = append(c.items, v), append(c.own.hashes, h)
	if 4*len(c.items) > 3*len(c.slots) {
		c.rebuild(2 * len(c.slots))
		return
	}
	c.link(len(c.items) - 1)
}

// link puts an item into the first empty slot of its run.
func (c *chunk[V]) link(item int) {
	h := c.own.hashes[item]
	mask := len(c.slots) - 1
	i := int(uint32(h)) & mask
	for c.slots[i] != 0 {
		i = (i + 1) & mask
	}
	c.slots[i] = newSlot(h, item)
}

func (c *chunk[V]) rebuild(size int) {
	c.slots = make([]slot, size)
	for i := range c.items {
		c.link(i)
	}
}

// remove takes out the item of the slot i. It closes the gap in the slots by moving later ones of the same run forward (Knuth, The Art of Computer
// Programming 6.4, algorithm R), and the one among the items with the last.
func (c *chunk[V]) remove(i int) {
	item, last := int(c.slots[i].item()), len(c.items)-1
	mask := len(c.slots) - 1
	for j := (i + 1) & mask; c.slots[j] != 0; j = (j + 1) & mask {
		if (j-int(c.slots[j]>>32))&mask >= (j-i)&mask {
			c.slots[i] = c.slots[j]
			i = j
		}
	}
	c.slots[i] = 0
	if item != last {
		h := c.own.hashes[last]
		i := int(uint32(h)) & mask
		for c.slots[i] != newSlot(h, last) {
			i = (i + 1) & mask
		}
		c.slots[i] = newSlot(h, item)
		c.items[item], c.own.hashes[item] = c.items[last], h
	}
	var none V
	c.items[last] = none
	c.items, c.own.hashes = c.items[:last], c.own.hashes[:last]
	if len(c.slots) > minSlots && 8*len(c.items) < len(c.slots) {
		c.rebuild(len(c.slots) / 2)
	}
}
