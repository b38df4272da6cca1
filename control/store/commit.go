package store

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/control/model"
)

// maxTimer is how long the committer trusts a timer before it looks at the wall clock again: deadlines are wall
// clock times, which can be set, timers are not.
const maxTimer = time.Minute

// maxExpired bounds the deletes of one expiry, so that writers do not wait for all of them.
const maxExpired = 1000

// request is a transaction on its way through the committer. Whoever sets taken decides: the committer to carry it
// out, the caller to give it up.
type request struct {
	ops   []Op
	size  int
	taken atomic.Bool

	done   chan struct{} // closed when the fields below are set
	rev    Rev
	events []Event
	err    error
}

// queue holds the requests that wait for the committer. Each has a caller that waits for it, which bounds it.
type queue struct {
	mu     sync.Mutex
	reqs   []*request
	closed bool
	wake   chan struct{}
}

func (q *queue) put(r *request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.reqs = append(q.reqs, r)
	q.signal()
	return true
}

// signal wakes the committer; one signal is enough for any number of reasons.
func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.signal()
}

// take returns the requests to commit together, skipping those whose caller has left.
func (q *queue) take() (reqs []*request, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	size, n := 0, 0
	for ; n < len(q.reqs) && (len(reqs) == 0 || size+q.reqs[n].size <= MaxTxnBytes); n++ {
		if r := q.reqs[n]; r.taken.CompareAndSwap(false, true) {
			reqs = append(reqs, r)
			size += r.size
		}
	}
	if n == len(q.reqs) {
		q.reqs = nil
	} else {
		q.reqs = q.reqs[n:]
		q.signal()
	}
	return reqs, q.closed
}

// run is the committer.
func (h *Hub) run() {
	defer close(h.done)
	timer := time.NewTimer(maxTimer)
	defer timer.Stop()
	for {
		if h.expire(time.Now()) {
			h.queue.signal()
		}
		timer.Reset(h.untilExpiry(time.Now()))
		select {
		case <-h.queue.wake:
		case <-timer.C:
		}
		// A transaction must not find an object whose deadline has passed.
		h.expire(time.Now())
		reqs, closed := h.queue.take()
		if closed {
			h.shutdown(reqs)
			return
		}
		if len(reqs) > 0 {
			h.commit(reqs)
			if h.log != nil {
				h.log.Tidy(h.live)
			}
		}
	}
}

// shutdown fails what waits and ends the watches.
func (h *Hub) shutdown(reqs []*request) {
	for len(reqs) > 0 {
		for _, r := range reqs {
			r.err = ErrClosed
			close(r.done)
		}
		reqs, _ = h.queue.take()
	}
	h.mu.Lock()
	h.closed = true
	for w := range h.feed.watchers {
		h.feed.drop(w)
	}
	h.mu.Unlock()
	if h.log != nil {
		h.closeErr = h.log.Close()
	}
}

// live is the state that readers see. Only the committer changes it, so the committer reads it without the lock.
func (h *Hub) live() State { return h.index.state(h.rev) }

// commit carries out requests that were taken from the queue. In order each sees what those before it did.
func (h *Hub) commit(reqs []*request) {
	now := time.Now()
	recs := make([]Record, 0, len(reqs))
	owners := make([]*request, 0, len(reqs))
	overlay := make(map[model.Key]*Object)
	for _, r := range reqs {
		// The answer to a refused request may rest on a write that is not durable yet: it shares that write's fate.
		dependent := len(overlay) > 0
		rec, err := h.stage(r.ops, overlay, now)
		if err != nil {
			r.err = err
			if !dependent {
				close(r.done)
				continue
			}
		} else {
			recs = append(recs, rec)
		}
		owners = append(owners, r)
	}
	if len(owners) == 0 {
		return
	}
	if h.log != nil {
		if err := h.log.Append(recs, h.live); err != nil {
			for _, r := range owners {
				r.err = err
				close(r.done)
			}
			return
		}
	}
	batches := h.apply(recs)
	for _, r := range owners {
		if r.err == nil {
			r.rev, r.events = batches[0].Rev, batches[0].Events
			batches = batches[1:]
		}
		close(r.done)
	}
}

// stage checks the operations against the state with overlay on top, gives them a revision and adds them to
// overlay, where nil means deleted. On error overlay is as it was.
func (h *Hub) stage(ops []Op, overlay map[model.Key]*Object, now time.Time) (Record, error) {
	rec := Record{Changes: make([]Change, len(ops))}
	for i, op := range ops {
		cur, staged := overlay[op.Key]
		if e := h.index.entries[op.Key]; e != nil && !staged {
			cur = e.object
		}
		if err := check(op, cur); err != nil {
			return Record{}, &OpError{Index: i, Key: op.Key, Err: err}
		}
		c := Change{Key: op.Key}
		if op.Value != nil {
			c.Object = &Object{Key: op.Key, Value: op.Value}
			if cur != nil {
				c.Object.Create = cur.Create
			}
			if op.TTL > 0 {
				// Logs keep milliseconds; memory must not know better.
				c.Expires = now.Add(op.TTL + time.Millisecond - 1).Truncate(time.Millisecond)
			}
		}
		rec.Changes[i] = c
	}
	rec.Rev = Rev(h.next.Add(1))
	for _, c := range rec.Changes {
		if o := c.Object; o != nil {
			o.Mod = rec.Rev
			if o.Create == 0 {
				o.Create = rec.Rev
			}
		}
		overlay[c.Key] = c.Object
	}
	return rec, nil
}

// check tells whether the conditions of an operation hold for the present object, which may be nil.
func check(op Op, cur *Object) error {
	switch {
	case op.Value == nil && cur == nil:
		return ErrNotFound
	case op.IfAbsent && cur != nil:
		return fmt.Errorf("%w: key exists at revision %d", ErrConflict, cur.Mod)
	case op.IfMod != 0 && cur == nil:
		return fmt.Errorf("%w: key does not exist, wanted revision %d", ErrConflict, op.IfMod)
	case op.IfMod != 0 && cur.Mod != op.IfMod:
		return fmt.Errorf("%w: key is at revision %d, wanted %d", ErrConflict, cur.Mod, op.IfMod)
	}
	return nil
}

// apply shows records to readers and watchers.
func (h *Hub) apply(recs []Record) []Batch {
	batches := make([]Batch, len(recs))
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, rec := range recs {
		b := Batch{Rev: rec.Rev, Events: make([]Event, len(rec.Changes))}
		for j, c := range rec.Changes {
			b.Events[j] = Event{Key: c.Key, Object: c.Object, Prev: h.index.apply(c)}
		}
		h.rev = rec.Rev
		h.feed.publish(b)
		batches[i] = b
	}
	return batches
}

// untilExpiry is how long the committer may sleep.
func (h *Hub) untilExpiry(now time.Time) time.Duration {
	next := h.index.due.next()
	if next.IsZero() {
		return maxTimer
	}
	return min(max(next.Sub(now), 0), maxTimer)
}

// expire deletes objects whose deadline has passed and reports whether there may be more. It does so even if the
// log refuses the write: the deadlines are in the log already, so the objects go after a restart as well, and a
// credential must not stay valid because a disk is full.
func (h *Hub) expire(now time.Time) (more bool) {
	gone := h.index.due.passed(now, maxExpired)
	if len(gone) == 0 {
		return false
	}
	rec := Record{Rev: Rev(h.next.Add(1)), Changes: make([]Change, len(gone))}
	for i, o := range gone {
		rec.Changes[i] = Change{Key: o.Key}
	}
	if h.log != nil {
		if err := h.log.Append([]Record{rec}, h.live); err != nil {
			h.logger.Warn("write expiry of objects to the store, they are gone from memory", "objects", len(gone), "err", err)
		}
	}
	h.apply([]Record{rec})
	return len(gone) == maxExpired
}
