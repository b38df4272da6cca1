package store

import (
	"context"
	"fmt"
	"slices"
)

// Bounds of what a Hub remembers for watchers.
const (
	// historyBatches is how many batches a watch can start behind.
	historyBatches = 1024
	// historyBytes bounds the values in those batches; the last batch is kept whatever its size.
	historyBytes = 64 << 20
	// watchBuffer is how many batches a watcher may be behind before it is dropped.
	watchBuffer = 256
)

// feed keeps the last batches and hands new ones to the watchers. Its owner locks.
type feed struct {
	batches []Batch
	bytes   int
	// lost is the revision of the last batch that is no longer in batches.
	lost     Rev
	watchers map[*watcher]struct{}
}

type watcher struct {
	ch   chan Batch
	stop func() bool
}

// publish sends a batch to everybody who keeps up and drops the others.
func (f *feed) publish(b Batch) {
	f.batches = append(f.batches, b)
	f.bytes += batchBytes(b)
	trim := 0
	for len(f.batches)-trim > 1 && (len(f.batches)-trim > historyBatches || f.bytes > historyBytes) {
		f.bytes -= batchBytes(f.batches[trim])
		f.lost = f.batches[trim].Rev
		trim++
	}
	f.batches = slices.Delete(f.batches, 0, trim)
	for w := range f.watchers {
		// What waits in a channel is the tail of batches. A watcher behind all of them would pin memory that is
		// counted nowhere.
		if len(w.ch) > len(f.batches) {
			f.drop(w)
			continue
		}
		select {
		case w.ch <- b:
		default:
			f.drop(w)
		}
	}
}

func batchBytes(b Batch) int {
	n := 0
	for _, e := range b.Events {
		if e.Object != nil {
			n += len(e.Object.Value)
		}
		if e.Prev != nil {
			n += len(e.Prev.Value)
		}
	}
	return n
}

// drop ends a watch; a watch that has ended already is left alone.
func (f *feed) drop(w *watcher) {
	if _, ok := f.watchers[w]; !ok {
		return
	}
	delete(f.watchers, w)
	if w.stop != nil {
		w.stop()
	}
	close(w.ch)
}

// Watch implements Store.
func (h *Hub) Watch(ctx context.Context, from Rev) (<-chan Batch, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, ErrClosed
	}
	if from < h.feed.lost || from > h.rev {
		return nil, fmt.Errorf("watch from revision %d (known are %d to %d): %w", from, h.feed.lost, h.rev, ErrCompacted)
	}
	first, _ := slices.BinarySearchFunc(h.feed.batches, from+1, func(b Batch, rev Rev) int { return int(b.Rev - rev) })
	missed := h.feed.batches[first:]
	w := &watcher{ch: make(chan Batch, len(missed)+watchBuffer)}
	for _, b := range missed {
		w.ch <- b
	}
	h.feed.watchers[w] = struct{}{}
	w.stop = context.AfterFunc(ctx, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.feed.drop(w)
	})
	return w.ch, nil
}
