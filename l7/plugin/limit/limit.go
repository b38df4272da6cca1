// Package limit holds the counters that limiting plugins share: windows, leaky buckets and concurrent requests.
//
// A table of counters lives as long as the process (plugin.Env.Shared), so edits of a configuration do not lose counts. It is exact
// over all event loops: each key has one entry, behind the lock of one of many stripes. The number of keys is bounded; expired
// entries go first, a few at each insertion, so there is never a sweep over everything.
//
// Event loops read the clock once per event, so the times that arrive at a table may be a little out of order. No counter goes back in
// time: a window that has begun is not left again, and a bucket does not fill up because somebody was late.
package limit

import (
	"crypto/sha256"
	"hash/maphash"
	"sync"
)

const (
	stripes = 256
	// DefaultKeys bounds the keys of a table. An entry costs about 200 bytes and its key.
	DefaultKeys = 1 << 20
	// sweep is how many other entries an insertion looks at for expired ones.
	sweep = 4
	// maxKey bounds the bytes of a key that is kept as it is: clients choose keys.
	maxKey = 128
)

// Table maps keys to counters of one kind. The zero value is not usable; see NewTable.
type Table[E any] struct {
	seed    maphash.Seed
	perPart int
	parts   [stripes]part[E]
}

type part[E any] struct {
	mu sync.Mutex
	m  map[string]*Entry[E]
	// ring lists the entries in order of insertion, for eviction.
	ring []*Entry[E]
	next int
	_    [64]byte // stripes do not share cache lines
}

// Entry is a counter and the time, in nanoseconds of plugin.Clock, at which it may be forgotten. With Expires 0 it is in use and must stay.
type Entry[E any] struct {
	Value   E
	Expires int64
	key     string
}

// NewTable makes a table for at most keys keys, DefaultKeys for 0.
func NewTable[E any](keys int) *Table[E] {
	if keys <= 0 {
		keys = DefaultKeys
	}
	t := &Table[E]{seed: maphash.MakeSeed(), perPart: max(1, keys/stripes)}
	for i := range t.parts {
		t.parts[i].m = map[string]*Entry[E]{}
	}
	return t
}

// Do runs f on the entry of key, of which a long one is kept as its SHA-256, while nobody else can; fresh tells that it was made just now or had expired, and is zero. f must be quick. It does not allocate for a key
// that exists, provided that f does not escape.
func (t *Table[E]) Do(key []byte, now int64, f func(e *Entry[E], fresh bool)) {
	if len(key) > maxKey {
		sum := sha256.Sum256(key)
		key = sum[:]
	}
	p := &t.parts[maphash.Bytes(t.seed, key)%stripes]
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.m[string(key)]
	if e != nil {
		fresh := e.Expires != 0 && e.Expires <= now
		if fresh {
			var zero E
			e.Value, e.Expires = zero, 0
		}
		f(e, fresh)
		return
	}
	e = p.insert(string(key), now, t.perPart)
	f(e, true)
}

// insert adds an entry, in the place of an expired one or, when the part is full, of the next one that is not in use. Only where all that it looks at
// are in use does a part grow beyond its limit; what is in use is bounded by the requests under way.
func (p *part[E]) insert(key string, now int64, limit int) *Entry[E] {
	e := &Entry[E]{key: key}
	full := len(p.ring) >= limit
	victim := -1
	for range min(sweep, len(p.ring)) {
		i := p.next
		p.next = (p.next + 1) % len(p.ring)
		old := p.ring[i]
		if old.Expires != 0 && old.Expires <= now {
			victim = i
			break
		}
		if full && victim < 0 && old.Expires != 0 {
			victim = i
		}
	}
	if victim >= 0 {
		delete(p.m, p.ring[victim].key)
		p.ring[victim] = e
	} else {
		p.ring = append(p.ring, e)
	}
	p.m[key] = e
	return e
}

// Len is the number of keys, expired ones that nobody asked for included.
func (t *Table[E]) Len() int {
	n := 0
	for i := range t.parts {
		t.parts[i].mu.Lock()
		n += len(t.parts[i].m)
		t.parts[i].mu.Unlock()
	}
	return n
}
