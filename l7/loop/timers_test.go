package loop

import (
	"math/rand/v2"
	"testing"
)

// TestTimers compares the heap with a plain list over random operations: a timer expires at its last deadline, not before and not twice.
func TestTimers(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var h timers
	all := make([]*timer, 50)
	for i := range all {
		all[i] = &timer{}
	}
	want := make([]int64, len(all)) // deadline, 0 for none
	now := int64(1)
	for step := range 20000 {
		i := rnd.IntN(len(all))
		switch rnd.IntN(5) {
		case 0, 1:
			want[i] = now + 1 + rnd.Int64N(100)
			h.set(all[i], want[i])
		case 2:
			want[i] = 0
			h.clear(all[i])
		case 3:
			want[i] = 0
			h.drop(all[i])
		default:
			now += rnd.Int64N(30)
			got := map[*timer]bool{}
			for x := h.expired(now); x != nil; x = h.expired(now) {
				if got[x] {
					t.Fatalf("step %d: a timer expired twice", step)
				}
				got[x] = true
			}
			for i, d := range want {
				due := d != 0 && d <= now
				if due != got[all[i]] {
					t.Fatalf("step %d: deadline %d at %d expired: %v", step, d, now, got[all[i]])
				}
				if due {
					want[i] = 0
				}
			}
		}
		earliest := int64(0)
		for _, d := range want {
			if d != 0 && (earliest == 0 || d < earliest) {
				earliest = d
			}
		}
		if next := h.next(); earliest != 0 && (next == 0 || next > earliest) {
			t.Fatalf("step %d: next is %d, the earliest deadline %d", step, next, earliest)
		}
	}
}

func TestBuffers(t *testing.T) {
	var p buffers
	for _, n := range []int{0, 1, 4095, 4096, 4097, 8192, 8193, 128 << 10, 128<<10 + 1, 1 << 20} {
		b := p.get(n)
		if len(b.b) < n || len(b.b) < 1<<minBufShift {
			t.Errorf("get(%d) has %d bytes", n, len(b.b))
		}
		b.r, b.w = 1, 1
		p.put(b)
		if again := p.get(n); again.r != 0 || again.w != 0 || len(again.b) < n {
			t.Errorf("get(%d) after put has %d bytes, read from %d to %d", n, len(again.b), again.r, again.w)
		}
	}
	p.put(nil)
	var q pending
	for _, s := range []string{"hello", "", "world"} {
		q.add(&p, []byte(s[:len(s)/2]), []byte(s[len(s)/2:]))
	}
	q.buf.r += 3
	q.add(&p, make([]byte, 10000))
	if got := string(q.buf.unread()[:7]); got != "loworld" || len(q.buf.unread()) != 10007 {
		t.Errorf("pending holds %q and %d bytes", got, len(q.buf.unread()))
	}
	q.drop(&p)
	if q.any() {
		t.Error("something is left")
	}
}
