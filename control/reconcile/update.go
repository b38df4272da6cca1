package reconcile

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/control/compile"
	"github.com/sluice-gateway/sluice/control/model"
	"github.com/sluice-gateway/sluice/control/store"
)

// RefusedError says that a change was not made because of what it would do: an object does not compile or a plane does
// not take it. It is the writer's fault, not the gateway's.
type RefusedError struct{ Err error }

// Error is the reason itself, as the Admin API shows it.
func (e *RefusedError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *RefusedError) Unwrap() error { return e.Err }

// request is an update on its way. Whoever sets taken decides: run to carry it out, the caller to give it up.
type request struct {
	fn    func(compile.View) ([]store.Op, error)
	taken atomic.Bool
	done  chan struct{} // closed when outcome is set

	// ops are what fn returned; with err they are nothing.
	ops []store.Op
	outcome
}

type outcome struct {
	rev    store.Rev
	events []store.Event
	err    error
}

// queue holds the updates that wait. Each has a caller that waits for it, which bounds it.
type queue struct {
	mu       sync.Mutex
	requests []*request
	closed   bool
	wake     chan struct{}
}

func (q *queue) put(r *request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.requests = append(q.requests, r)
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return true
}

// take returns all that wait, without those whose callers have left.
func (q *queue) take() []*request {
	q.mu.Lock()
	defer q.mu.Unlock()
	var taken []*request
	for _, r := range q.requests {
		if r.taken.CompareAndSwap(false, true) {
			taken = append(taken, r)
		}
	}
	q.requests = nil
	return taken
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for _, r := range q.requests {
		if r.taken.CompareAndSwap(false, true) {
			r.err = store.ErrClosed
			close(r.done)
		}
	}
	q.requests = nil
}

// Update changes the stored objects, and is the only way to do so. fn gets the state that the change starts from
// and returns the operations, or an error that Update returns as it is. When Update returns without an error the
// change is durable and every plane serves it; the events have the objects as stored. On an error nothing has
// changed, except after a store error whose outcome is unknown (see store.Store.Txn). Without operations
// nothing happens and the present revision is returned.
//
// Updates are carried out one after the other in effect, many together in cost: those that wait at the same time
// share one compilation and one write, and so one revision. fn runs on the controller's goroutine and must be
// quick; it may be called again, on another state, when what it shared a write with failed.
//
// The error is a *RefusedError when an object does not compile or a plane refuses, store.ErrClosed after Close, the
// context's when it ended before the update was taken up, and otherwise the store's.
func (c *Controller) Update(ctx context.Context, fn func(compile.View) ([]store.Op, error)) (store.Rev, []store.Event, error) {
	if err := ctx.Err(); err != nil {
		return 0, nil, err
	}
	r := &request{fn: fn, done: make(chan struct{})}
	if !c.queue.put(r) {
		return 0, nil, store.ErrClosed
	}
	select {
	case <-r.done:
	case <-ctx.Done():
		if r.taken.CompareAndSwap(false, true) {
			return 0, nil, ctx.Err()
		}
		<-r.done
	}
	return r.rev, r.events, r.err
}

// updates carries out requests, as many together as can be. When a batch fails, one of it is at fault, or each would be
// fine without another: halves of it are tried, down to single requests, so that only those fail that have to.
func (c *Controller) updates(ctx context.Context, requests []*request) {
	for len(requests) > 0 {
		b := c.gather(requests)
		n := len(b.requests)
		requests = requests[n:]
		err := c.carryOut(ctx, b)
		switch {
		case err == nil:
		case n == 1 || hopeless(err):
			c.fail(b, err)
		default:
			c.updates(ctx, b.requests[:n/2])
			c.updates(ctx, b.requests[n/2:])
		}
	}
}

// hopeless says whether an error of the store is one that smaller batches get as well.
func hopeless(err error) bool {
	return errors.Is(err, store.ErrNoSpace) || errors.Is(err, store.ErrReadOnly) || errors.Is(err, store.ErrClosed)
}

// batch is requests that are carried out together.
type batch struct {
	requests []*request
	base     *compile.Objects
	objects  *compile.Objects
	// assumed is the revision of objects: the one that the store is expected to give, or less.
	assumed store.Rev
	ops     []store.Op
	bytes   int
	touched map[model.Key]bool // true for a delete
}

// gather calls the functions of requests, each on the state that the ones before it leave, until one cannot go into the
// same transaction any more. The batch has at least one request.
func (c *Controller) gather(requests []*request) *batch {
	base := c.state.Load().objects
	b := &batch{base: base, objects: base, assumed: base.Rev() + 1, touched: make(map[model.Key]bool)}
	for _, r := range requests {
		r.ops, r.outcome = nil, outcome{}
		ops, err := c.call(r.fn, b.objects)
		if err == nil {
			err = b.conditions(ops)
		}
		switch {
		case errors.Is(err, errFull) && len(b.requests) > 0:
			return b
		case err != nil:
			r.err = err
		default:
			r.ops = ops
			b.add(ops)
		}
		b.requests = append(b.requests, r)
	}
	return b
}

// call runs a function of a caller; its panic must not end everybody's controller.
func (c *Controller) call(fn func(compile.View) ([]store.Op, error), v compile.View) (ops []store.Op, err error) {
	defer func() {
		if r := recover(); r != nil {
			c.logger.Error("update panicked", "err", r, "stack", string(debug.Stack()))
			err = fmt.Errorf("update panicked: %v", r)
		}
	}()
	return fn(v)
}

// errFull ends a batch: the operations need a transaction of their own.
var errFull = errors.New("batch is full")

// conditions checks operations as the store will, so that one that cannot succeed does not take others with it. A
// key that the batch wrote already, or sizes that add up to too much, are errFull.
func (b *batch) conditions(ops []store.Op) error {
	size := 0
	for i, op := range ops {
		if _, ok := b.touched[op.Key]; ok {
			return errFull
		}
		size += len(op.Key.Kind) + len(op.Key.ID) + len(op.Value)
		var err error
		object := b.objects.Get(op.Key)
		switch {
		case op.Value == nil && object == nil:
			err = store.ErrNotFound
		case op.IfAbsent && object != nil, op.IfMod != 0 && (object == nil || object.Mod != op.IfMod):
			err = store.ErrConflict
		}
		if err != nil {
			return &store.OpError{Index: i, Key: op.Key, Err: err}
		}
	}
	if len(b.requests) > 0 && (len(b.ops)+len(ops) > store.MaxOps || b.bytes+size > store.MaxTxnBytes) {
		return errFull
	}
	return nil
}

func (b *batch) add(ops []store.Op) {
	if len(ops) == 0 {
		return
	}
	changes := make(map[model.Key]*store.Object, len(ops))
	for _, op := range ops {
		b.touched[op.Key] = op.Value == nil
		b.bytes += len(op.Key.Kind) + len(op.Key.ID) + len(op.Value)
		changes[op.Key] = nil
		if op.Value == nil {
			continue
		}
		object := &store.Object{Key: op.Key, Value: op.Value, Create: b.assumed, Mod: b.assumed}
		if old := b.objects.Get(op.Key); old != nil {
			object.Create = old.Create
		}
		changes[op.Key] = object
	}
	b.ops = append(b.ops, ops...)
	b.objects = b.objects.With(b.assumed, changes)
}

// deletes says whether the batch deletes an object.
func (b *batch) deletes(key model.Key) bool { return b.touched[key] }

// carryOut compiles, prepares, stores and commits a batch, and answers its requests. On an error nothing has happened and
// nobody was answered.
func (c *Controller) carryOut(ctx context.Context, b *batch) error {
	if len(b.ops) == 0 {
		c.answer(b, b.base.Rev(), nil)
		return nil
	}
	began := time.Now()
	result := c.compiler.Compile(c.latest, b.objects)
	for _, op := range b.ops {
		if op.Value == nil {
			continue
		}
		if err := result.Failure(op.Key); err != nil {
			return &RefusedError{err}
		}
	}
	if err := result.NewFailure(c.latest, b.deletes); err != nil {
		return &RefusedError{err}
	}
	prepared, err := c.prepare(ctx, result.Snapshot)
	if err != nil {
		c.publishReport()
		return &RefusedError{err}
	}
	rev, events, err := c.store.Txn(ctx, b.ops)
	if err != nil {
		prepared.abort()
		return fmt.Errorf("store change: %w", err)
	}
	written := make([]*store.Object, 0, len(events))
	changes := make(map[model.Key]*store.Object, len(events))
	for _, event := range events {
		changes[event.Key] = event.Object
		if event.Object != nil {
			written = append(written, event.Object)
		}
	}
	if others := c.seen(rev); len(others) > 0 || !result.Settle(b.assumed, rev, written) {
		// Somebody else wrote in between, so what was prepared is not what is stored.
		prepared.abort()
		c.catchUp(ctx, others, rev, changes)
		c.answer(b, rev, events)
		return nil
	}
	prepared.commit()
	c.latest = result
	c.committed(began)
	c.publish(&state{objects: b.base.With(rev, changes), served: result})
	c.answer(b, rev, events)
	return nil
}

// seen reads the watch up to the batch of the own transaction rev, and returns the batches of others before it. A watch
// that ends meanwhile may have hidden some; run will list the store again.
func (c *Controller) seen(rev store.Rev) (others []store.Batch) {
	for c.watch != nil {
		batch, ok := <-c.watch
		switch {
		case !ok:
			c.watch = nil
		case batch.Rev >= rev:
			return others
		default:
			others = append(others, batch)
		}
	}
	return others
}

// answer gives every request of a batch its outcome.
func (c *Controller) answer(b *batch, rev store.Rev, events []store.Event) {
	at := 0
	for _, r := range b.requests {
		if r.err == nil {
			r.rev = rev
			if n := len(r.ops); n > 0 {
				r.events = events[at : at+n : at+n]
				at += n
			}
		}
		close(r.done)
	}
}

// fail gives the requests of a batch an error, those aside that have one of their own.
func (c *Controller) fail(b *batch, err error) {
	c.report.Refused++
	c.publishReport()
	for _, r := range b.requests {
		if r.err == nil {
			r.err = err
		}
		close(r.done)
	}
}
