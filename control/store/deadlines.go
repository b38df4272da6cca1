package store

import (
	"container/heap"
	"time"
)

// deadlines is a heap of the entries that expire, earliest first. Entries know their place in it, so that one
// that is written again leaves it at once.
type deadlines struct {
	heap deadlineHeap
}

func (d *deadlines) add(e *entry)    { heap.Push(&d.heap, e) }
func (d *deadlines) remove(e *entry) { heap.Remove(&d.heap, e.deadline) }

// next returns the earliest deadline, or the zero time.
func (d *deadlines) next() time.Time {
	if len(d.heap) == 0 {
		return time.Time{}
	}
	return d.heap[0].expires
}

// passed returns up to limit objects whose deadline is not after now, in no particular order.
func (d *deadlines) passed(now time.Time, limit int) []*Object {
	var out []*Object
	// The subtree below an entry that is not due holds none that is.
	for stack := []int{0}; len(stack) > 0 && len(out) < limit; {
		i := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if i >= len(d.heap) || d.heap[i].expires.After(now) {
			continue
		}
		out = append(out, d.heap[i].object)
		stack = append(stack, 2*i+1, 2*i+2)
	}
	return out
}

// deadlineHeap implements heap.Interface.
type deadlineHeap []*entry

func (h deadlineHeap) Len() int           { return len(h) }
func (h deadlineHeap) Less(i, j int) bool { return h[i].expires.Before(h[j].expires) }
func (h deadlineHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].deadline, h[j].deadline = i, j
}

func (h *deadlineHeap) Push(x any) {
	e := x.(*entry)
	e.deadline = len(*h)
	*h = append(*h, e)
}

func (h *deadlineHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	e.deadline = -1
	return e
}
