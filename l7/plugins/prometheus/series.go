package prometheus

import (
	"hash/maphash"
	"maps"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/l7/plugin"
)

// statusKey and timingKey are the labels of a series. Their strings belong to the configuration, but for extra, which lives as long as the exchange: a key costs no
// allocation, and the table copies extra when it keeps the key.
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

func (k statusKey) own() statusKey {
	k.extra = strings.Clone(k.extra)
	return k
}

func (k timingKey) own() timingKey {
	k.extra = strings.Clone(k.extra)
	return k
}

// count is one counter.
type count struct{ n atomic.Uint64 }

func (c *count) add(n uint64) { c.n.Add(n) }

// timing is what takes how long for one set of labels.
type timing struct {
	request, upstream, gateway histogram
}

// traffic is the bytes of one set of labels.
type traffic struct{ ingress, egress atomic.Uint64 }

// maxBuckets is the most bounds of a histogram, as many as config.yaml may have.
const maxBuckets = 200

// histogram counts by upper bound; the last bucket is +Inf. Sum is in nanoseconds.
type histogram struct {
	buckets []atomic.Uint64
	sum     atomic.Int64
}

// newTiming makes histograms with that many bounds.
func newTiming(bounds int) *timing {
	b, n := make([]atomic.Uint64, 3*(bounds+1)), bounds+1
	return &timing{request: histogram{buckets: b[:n:n]}, upstream: histogram{buckets: b[n : 2*n : 2*n]}, gateway: histogram{buckets: b[2*n:]}}
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
	expire time.Duration // a series that has not changed for that long is dropped; 0 keeps it
	own    func(K) K     // makes a key that may be kept
	fresh  func() *V
	// Overflow counts what went to spill because there are too many series.
	overflow atomic.Uint64
	spill    *V
}

type tableShard[K comparable, V any] struct {
	m  atomic.Pointer[map[K]*series[V]]
	mu sync.Mutex
}

// series is one set of labels.
type series[V any] struct {
	v       *V
	changed atomic.Int64 // plugin.Clock of the last request, kept for expire only
}

func newTable[K comparable, V any](limit int64, expire time.Duration, own func(K) K, fresh func() *V) *table[K, V] {
	t := &table[K, V]{seed: maphash.MakeSeed(), limit: limit, expire: expire, own: own, fresh: fresh, spill: fresh()}
	for i := range t.shards {
		t.shards[i].m.Store(&map[K]*series[V]{})
	}
	return t
}

// get finds or begins a series for a request that ends now.
func (t *table[K, V]) get(k K, now int64) *V {
	s := &t.shards[maphash.Comparable(t.seed, k)%uint64(len(t.shards))]
	if v := (*s.m.Load())[k]; v != nil {
		if t.expire > 0 {
			v.changed.Store(now)
		}
		return v.v
	}
	return t.add(s, k, now)
}

func (t *table[K, V]) add(s *tableShard[K, V], k K, now int64) *V {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := *s.m.Load()
	if v := old[k]; v != nil {
		v.changed.Store(now)
		return v.v
	}
	if t.size.Load() >= t.limit {
		t.overflow.Add(1)
		return t.spill
	}
	t.size.Add(1)
	grown := make(map[K]*series[V], len(old)+1)
	maps.Copy(grown, old)
	v := &series[V]{v: t.fresh()}
	v.changed.Store(now)
	grown[t.own(k)] = v
	s.m.Store(&grown)
	return v.v
}

// each calls f for every series. It first drops those that have not changed since expire ago; a request that is just being counted into such a series is lost.
func (t *table[K, V]) each(now int64, f func(K, *V)) {
	for i := range t.shards {
		s := &t.shards[i]
		if t.expire > 0 {
			t.dropOld(s, now)
		}
		for k, v := range *s.m.Load() {
			f(k, v.v)
		}
	}
}

func (t *table[K, V]) dropOld(s *tableShard[K, V], now int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := *s.m.Load()
	kept := make(map[K]*series[V], len(old))
	for k, v := range old {
		if now-v.changed.Load() < int64(t.expire) {
			kept[k] = v
		}
	}
	if len(kept) < len(old) {
		t.size.Add(int64(len(kept) - len(old)))
		s.m.Store(&kept)
	}
}
