package prometheus

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/sluice-gateway/sluice/l7/plugin"
)

// statusKey and timingKey are the labels of a series. Their strings belong to the configuration, so a key costs no allocation.
type statusKey struct {
	code                                int
	route, uri, host, service, consumer string
	node                                netip.Addr
	source                              plugin.ResponseSource
	noSource                            bool
	extra                               string
}

type timingKey struct {
	route, service, consumer string
	node                     netip.Addr
	extra                    string
}

// count is one counter.
type count struct{ n atomic.Uint64 }

func (c *count) add(n uint64) { c.n.Add(n) }

// timing is what is measured for one set of labels.
type timing struct {
	request, upstream, gateway histogram
	ingress, egress            atomic.Uint64
}

// maxBuckets is the most bounds of a histogram.
const maxBuckets = 32

// histogram counts by upper bound; the last bucket is +Inf. Sum is in nanoseconds.
type histogram struct {
	buckets [maxBuckets + 1]atomic.Uint64
	sum     atomic.Int64
}

// observe adds a duration in nanoseconds; bounds are in nanoseconds too.
func (h *histogram) observe(bounds []int64, ns int64) {
	i := 0
	for i < len(bounds) && ns > bounds[i] {
		i++
	}
	h.buckets[i].Add(1)
	h.sum.Add(ns)
}

// table finds series without locks: reads look into an immutable map of one of its shards, a new series replaces that map by a larger copy.
type table[K comparable, V any] struct {
	seed   maphash.Seed
	shards [256]tableShard[K, V]
	size   atomic.Int64
	limit  int64
	// Overflow counts what went to spill because there are too many series.
	overflow atomic.Uint64
	spill    V
}

type tableShard[K comparable, V any] struct {
	m  atomic.Pointer[map[K]*V]
	mu sync.Mutex
}

func newTable[K comparable, V any](limit int64) *table[K, V] {
	t := &table[K, V]{seed: maphash.MakeSeed(), limit: limit}
	for i := range t.shards {
		t.shards[i].m.Store(&map[K]*V{})
	}
	return t
}

func (t *table[K, V]) get(k K) *V {
	s := &t.shards[maphash.Comparable(t.seed, k)%uint64(len(t.shards))]
	if v := (*s.m.Load())[k]; v != nil {
		return v
	}
	return t.add(s, k)
}

func (t *table[K, V]) add(s *tableShard[K, V], k K) *V {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := *s.m.Load()
	if v := old[k]; v != nil {
		return v
	}
	if t.size.Load() >= t.limit {
		t.overflow.Add(1)
		return &t.spill
	}
	t.size.Add(1)
	grown := make(map[K]*V, len(old)+1)
	for k, v := range old {
		grown[k] = v
	}
	v := new(V)
	grown[k] = v
	s.m.Store(&grown)
	return v
}

func (t *table[K, V]) each(f func(K, *V)) {
	for i := range t.shards {
		for k, v := range *t.shards[i].m.Load() {
			f(k, v)
		}
	}
}
