package loop

// timer is a deadline of a connection. Moving a deadline into the future is one store: the heap keeps the earlier time and looks again when it comes.
type timer struct {
	deadline int64 // nanoseconds of plugin.Clock, 0 for none
	when     int64 // the time that the heap holds
	index    int32 // position in the heap + 1, 0 when it is not in it
	client   *conn
	up       *upConn
}

// timers is a binary heap of timers by when.
type timers struct {
	heap []*timer
}

// set gives t a deadline.
func (h *timers) set(t *timer, deadline int64) {
	t.deadline = deadline
	switch {
	case t.index == 0:
		t.when = deadline
		h.heap = append(h.heap, t)
		t.index = int32(len(h.heap))
		h.rise(len(h.heap) - 1)
	case deadline < t.when:
		t.when = deadline
		h.rise(int(t.index) - 1)
	}
}

// clear takes the deadline away; the heap entry stays until its time.
func (h *timers) clear(t *timer) { t.deadline = 0 }

// drop removes t from the heap.
func (h *timers) drop(t *timer) {
	t.deadline = 0
	if t.index == 0 {
		return
	}
	i, last := int(t.index)-1, len(h.heap)-1
	moved := h.heap[last]
	h.heap[last] = nil
	h.heap = h.heap[:last]
	t.index = 0
	if i == last {
		return
	}
	h.heap[i] = moved
	moved.index = int32(i + 1)
	h.sink(i)
	h.rise(i)
}

// next is the time of the earliest entry, or 0.
func (h *timers) next() int64 {
	if len(h.heap) == 0 {
		return 0
	}
	return h.heap[0].when
}

// expired returns a timer whose deadline has passed and removes it, or nil when there is none.
func (h *timers) expired(now int64) *timer {
	for len(h.heap) > 0 && h.heap[0].when <= now {
		t := h.heap[0]
		if t.deadline > now {
			t.when = t.deadline
			h.sink(0)
			continue
		}
		due := t.deadline != 0
		h.drop(t)
		if due {
			return t
		}
	}
	return nil
}

func (h *timers) rise(i int) {
	for i > 0 {
		p := (i - 1) / 2
		if h.heap[p].when <= h.heap[i].when {
			return
		}
		h.swap(i, p)
		i = p
	}
}

func (h *timers) sink(i int) {
	for {
		c := 2*i + 1
		if c >= len(h.heap) {
			return
		}
		if c+1 < len(h.heap) && h.heap[c+1].when < h.heap[c].when {
			c++
		}
		if h.heap[i].when <= h.heap[c].when {
			return
		}
		h.swap(i, c)
		i = c
	}
}

func (h *timers) swap(i, j int) {
	h.heap[i], h.heap[j] = h.heap[j], h.heap[i]
	h.heap[i].index, h.heap[j].index = int32(i+1), int32(j+1)
}
