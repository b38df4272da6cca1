package limit

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

// Fixed takes cost from the window of key, limit for each window nanoseconds. A window begins with the first request in it. What is refused costs nothing
// (apisix/plugins/limit-count/limit-count-local.lua counts down to -1 and stops).
func (w *Windows) Fixed(key []byte, now, limit, window, cost int64) (d Decision) {
	w.t.Do(key, now, func(e *Entry[Window], fresh bool) {
		if fresh {
			e.Value.start, e.Expires = now, now+window
		}
		d.Reset = e.Expires - now
		if e.Value.count+cost > limit {
			d.Remaining = max(limit-e.Value.count, 0)
			return
		}
		e.Value.count += cost
		d.Allowed, d.Remaining = true, limit-e.Value.count
	})
	return d
}

// Sliding takes cost from a sliding window: the previous aligned window counts with the share of it that is still inside.
func (w *Windows) Sliding(key []byte, now, limit, window, cost int64) (d Decision) {
	w.t.Do(key, now, func(e *Entry[Window], _ bool) {
		v := &e.Value
		start := now - now%window
		switch {
		case v.start == start:
		case v.start == start-window:
			v.prev, v.count, v.start = v.count, 0, start
		default:
			v.prev, v.count, v.start = 0, 0, start
		}
		e.Expires = start + 2*window
		left := window - (now - start)
		weighted := float64(v.prev)*float64(left)/float64(window) + float64(v.count)
		d.Reset = left
		if weighted+float64(cost) > float64(limit) {
			return
		}
		v.count += cost
		d.Allowed, d.Remaining = true, max(int64(float64(limit)-weighted-float64(cost)), 0)
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
			excess = max(e.Value.excess-rate*float64(now-e.Value.last)/1e9+1, 0)
			if excess > burst {
				return
			}
		}
		e.Value.excess, e.Value.last = excess, now
		e.Expires = now + int64((excess+1)/rate*1e9) + 1e9
		delay, ok = int64(excess/rate*1e9), true
	})
	return delay, ok
}

// Conns counts requests under way.
type Conns struct{ t *Table[int64] }

// NewConns makes counters of concurrent requests for at most keys keys (0 for DefaultKeys).
func NewConns(keys int) *Conns { return &Conns{NewTable[int64](keys)} }

// idleConns is how long an entry without requests is kept, and the longest that one is believed: a request that never ends would hold its key for ever.
const idleConns = int64(3600e9)

// Enter adds a request to key unless there are limit already; it returns how many there are with it.
func (c *Conns) Enter(key []byte, now, limit int64) (n int64, ok bool) {
	c.t.Do(key, now, func(e *Entry[int64], _ bool) {
		e.Expires = now + idleConns
		n = e.Value + 1
		if n > limit {
			return
		}
		e.Value, ok = n, true
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
