package limit

import "math"

// Window is the state of a window counter: of fixed windows, that begin with the first request, or of sliding ones.
type Window struct {
	start       int64 // of the current window
	count, prev int64
}

// Windows counts requests in windows of time.
type Windows struct{ t *Table[Window] }

// NewWindows makes window counters for at most keys keys (0 for DefaultKeys).
func NewWindows(keys int) *Windows { return &Windows{NewTable[Window](keys)} }

// Decision is the outcome of a count: whether it was within the limit, what remains, and how many nanoseconds until the window ends.
type Decision struct {
	Allowed   bool
	Remaining int64
	Reset     int64
}

// Fixed takes cost from the window of key, limit for each window nanoseconds. A window begins with the first request in it and keeps its length until it
// ends, while limit may differ from request to request. What is refused costs nothing.
func (w *Windows) Fixed(key []byte, now, limit, window, cost int64) (d Decision) {
	w.t.Do(key, now, func(e *Entry[Window], fresh bool) {
		if fresh {
			e.Value.start, e.Expires = now, now+window
		}
		d.Reset = e.Expires - max(now, e.Value.start)
		if e.Value.count+cost > limit {
			return
		}
		e.Value.count += cost
		d.Allowed, d.Remaining = true, limit-e.Value.count
	})
	return d
}

// Sliding takes cost from a sliding window: the previous aligned window counts with the share of it that is still inside. As in APISIX
// (limit-count/sliding-window) a request passes while the estimate is below limit, so the last one may exceed it by a fraction, and the
// previous window counts for at most limit. The Reset of a refusal is the time until the estimate has sunk to limit.
func (w *Windows) Sliding(key []byte, now, limit, window, cost int64) (d Decision) {
	w.t.Do(key, now, func(e *Entry[Window], _ bool) {
		v := &e.Value
		// now may lie a little before a window that another event loop has begun.
		at := max(now, v.start)
		start := at - at%window
		switch {
		case v.start == start:
		case v.start == start-window:
			v.prev, v.count = v.count, 0
		default:
			v.prev, v.count = 0, 0
		}
		v.start, e.Expires = start, start+2*window
		left := window - (at - start)
		d.Reset = left
		prev := float64(min(v.prev, limit))
		share := prev * float64(left) / float64(window)
		if v.count >= limit || share+float64(v.count) >= float64(limit) {
			if v.count < limit {
				d.Reset = max(left-int64(float64(limit-v.count)/prev*float64(window)), 0)
			}
			return
		}
		v.count += cost
		d.Allowed, d.Remaining = true, max(int64(math.Floor(float64(limit-v.count)-share)), 0)
	})
	return d
}

// bucket is the state of a leaky bucket: how full it is, in requests.
type bucket struct {
	excess float64
	last   int64
}

// Buckets are leaky buckets (resty.limit.req).
type Buckets struct{ t *Table[bucket] }

// NewBuckets makes leaky buckets for at most keys keys (0 for DefaultKeys).
func NewBuckets(keys int) *Buckets { return &Buckets{NewTable[bucket](keys)} }

// Take puts one request into the bucket of key, which leaks rate requests a second and holds burst. delay is how long, in nanoseconds, the request has to wait to
// keep the rate; ok is false when the bucket would overflow, and then the bucket is as it was.
func (b *Buckets) Take(key []byte, now int64, rate, burst float64) (delay int64, ok bool) {
	b.t.Do(key, now, func(e *Entry[bucket], fresh bool) {
		excess := 0.0
		if !fresh {
			excess = max(e.Value.excess-rate*float64(max(now-e.Value.last, 0))/1e9+1, 0)
			if excess > burst {
				return
			}
		}
		e.Value.excess, e.Value.last = excess, max(now, e.Value.last)
		e.Expires = e.Value.last + nanoseconds((excess+1)/rate) + 1e9
		delay, ok = nanoseconds(excess/rate), true
	})
	return delay, ok
}

// nanoseconds converts seconds; what would be longer than a century is a century.
func nanoseconds(seconds float64) int64 { return int64(min(seconds*1e9, 100*365*86400e9)) }

// Conns counts requests under way. A key with requests is never forgotten, however long they take.
type Conns struct{ t *Table[int64] }

// NewConns makes counters of concurrent requests for at most keys keys without requests (0 for DefaultKeys).
func NewConns(keys int) *Conns { return &Conns{NewTable[int64](keys)} }

// Enter adds a request to key unless there are limit already; it returns how many there are with it. What enters must Leave once.
func (c *Conns) Enter(key []byte, now, limit int64) (n int64, ok bool) {
	c.t.Do(key, now, func(e *Entry[int64], _ bool) {
		n = e.Value + 1
		if n > limit {
			// Nothing holds a counter of 0, which is here when limit is 0.
			if e.Value == 0 {
				e.Expires = now + 1
			}
			return
		}
		e.Value, e.Expires, ok = n, 0, true
	})
	return n, ok
}

// Leave takes a request off again.
func (c *Conns) Leave(key []byte, now int64) {
	c.t.Do(key, now, func(e *Entry[int64], _ bool) {
		if e.Value > 0 {
			e.Value--
		}
		if e.Value == 0 {
			e.Expires = now + 1
		}
	})
}
