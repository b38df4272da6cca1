package store

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/control/model"
)

// Hub is a Store in memory, with a Log below it that makes its transactions durable. Readers never wait for the
// log. One goroutine, the committer, takes up all transactions that wait, checks them in order, has the log write
// them together, and only then shows them to readers and watchers and answers: concurrent writers share the cost
// of one sync.
type Hub struct {
	log    Log
	logger *slog.Logger

	// next is the last revision given out, to a transaction or by NextID.
	next atomic.Int64

	mu     sync.RWMutex
	rev    Rev // of the last transaction that readers see
	index  *index
	feed   feed
	closed bool

	queue    queue
	done     chan struct{}
	closeErr error
}

var _ Store = (*Hub)(nil)

// NewHub starts a store that holds state and writes to log, which it owns from now on and which may be nil. What
// has expired in the state is deleted before NewHub returns. Close must be called.
func NewHub(state State, log Log, logger *slog.Logger) *Hub {
	h := &Hub{
		log:    log,
		logger: logger,
		rev:    state.Rev,
		index:  newIndex(state.Items),
		feed:   feed{lost: state.Rev, watchers: make(map[*watcher]struct{})},
		queue:  queue{wake: make(chan struct{}, 1)},
		done:   make(chan struct{}),
	}
	h.next.Store(int64(state.Rev))
	for h.expire(time.Now()) {
	}
	go h.run()
	return h
}

// NewMemory returns a store that forgets everything when it is closed.
func NewMemory() *Hub { return NewHub(State{}, nil, slog.New(slog.DiscardHandler)) }

// List implements Store.
func (h *Hub) List(ctx context.Context, kind model.Kind) ([]Object, Rev, error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.closed {
		return nil, 0, ErrClosed
	}
	list := h.index.kinds[kind]
	out := make([]Object, len(list))
	for i, o := range list {
		out[i] = *o
	}
	return out, h.rev, nil
}

// All implements Store.
func (h *Hub) All(ctx context.Context) ([]Object, Rev, error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.closed {
		return nil, 0, ErrClosed
	}
	out := make([]Object, 0, len(h.index.entries))
	for _, e := range h.index.entries {
		out = append(out, *e.object)
	}
	slices.SortFunc(out, func(a, b Object) int { return CompareObjects(&a, &b) })
	return out, h.rev, nil
}

// Get implements Store.
func (h *Hub) Get(ctx context.Context, key model.Key) (Object, error) {
	if err := ctx.Err(); err != nil {
		return Object{}, err
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.closed {
		return Object{}, ErrClosed
	}
	e := h.index.entries[key]
	if e == nil {
		return Object{}, ErrNotFound
	}
	return *e.object, nil
}

// NextID implements Store.
func (h *Hub) NextID(ctx context.Context) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.closed {
		return "", ErrClosed
	}
	return FormatID(Rev(h.next.Add(1))), nil
}

// Txn implements Store.
func (h *Hub) Txn(ctx context.Context, ops []Op) (Rev, []Event, error) {
	if err := ctx.Err(); err != nil {
		return 0, nil, err
	}
	if len(ops) == 0 {
		h.mu.RLock()
		defer h.mu.RUnlock()
		if h.closed {
			return 0, nil, ErrClosed
		}
		return h.rev, nil, nil
	}
	size, err := validate(ops)
	if err != nil {
		return 0, nil, err
	}
	// The caller may reuse its buffers.
	ops = slices.Clone(ops)
	for i := range ops {
		ops[i].Value = slices.Clone(ops[i].Value)
	}
	r := &request{ops: ops, size: size, done: make(chan struct{})}
	if !h.queue.put(r) {
		return 0, nil, ErrClosed
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

// Close implements Store. It returns what went wrong when the log was closed; further calls return the same.
func (h *Hub) Close() error {
	h.queue.close()
	<-h.done
	return h.closeErr
}
