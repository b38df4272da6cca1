package upstream

import (
	"math"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

const (
	// decayTime is the time constant of the moving average (apisix/balancer/ewma.lua DECAY_TIME).
	decayTime = 10 * time.Second
	// costFloor is added to every average. A node that has no average yet would otherwise cost nothing however many requests it has, and get
	// all of them until it answers the first.
	costFloor = float64(time.Millisecond)
)

// average is an exponentially decaying average of response times: nanoseconds as float32 and the time of the last change in milliseconds,
// in one word so that loops update it without a lock.
type average struct{ word atomic.Uint64 }

func pack(v float64, ms uint32) uint64 { return uint64(math.Float32bits(float32(v)))<<32 | uint64(ms) }

// decayed reads a word at a time. The clock in milliseconds wraps after 49 days; a difference of more than half of that is a
// reading from slightly before the last change.
func decayed(word uint64, ms uint32) (v, factor float64) {
	v = float64(math.Float32frombits(uint32(word >> 32)))
	d := ms - uint32(word)
	if d > math.MaxInt32 {
		d = 0
	}
	factor = math.Exp(-float64(d) / float64(decayTime.Milliseconds()))
	return v * factor, factor
}

// at is the average decayed to now, in nanoseconds.
func (a *average) at(now int64) float64 {
	w := a.word.Load()
	if w == 0 {
		return 0
	}
	v, _ := decayed(w, uint32(now/int64(time.Millisecond)))
	return v
}

// observe adds a response time: new = old*w + rtt*(1-w) with w = e^(-t/decayTime), t being the time since the last one. The first counts in full,
// as it does in APISIX, where the last one is taken to be at the epoch.
func (a *average) observe(now int64, rtt time.Duration) {
	ms := uint32(now / int64(time.Millisecond))
	for {
		old := a.word.Load()
		v := float64(max(rtt, 0))
		if old != 0 {
			rest, factor := decayed(old, ms)
			v = rest + v*(1-factor)
			if ms-uint32(old) > math.MaxInt32 {
				ms = uint32(old)
			}
		}
		if a.word.CompareAndSwap(old, pack(v, ms)) {
			return
		}
	}
}

// twoChoices picks the cheaper of two random nodes. The cost is APISIX's, the decayed average (apisix/balancer/ewma.lua), times the
// requests in flight with the new one. As in APISIX weights do not matter, but for 0.
type twoChoices struct{ nodes []*Node }

func (b *twoChoices) pick(p *Pick, l level) *Node {
	first := b.draw(p, l, nil)
	if first == nil || len(b.nodes) == 1 {
		return first
	}
	second := b.draw(p, l, first)
	if second == nil || cost(first, p.Now) <= cost(second, p.Now) {
		return first
	}
	return second
}

// draw returns a random usable node other than not. A few draws nearly always find one; if they do not, the node after a random place that is
// usable has to do.
func (b *twoChoices) draw(p *Pick, l level, not *Node) *Node {
	for range 8 {
		if n := b.nodes[rand.IntN(len(b.nodes))]; n != not && p.usable(n, l) {
			return n
		}
	}
	from := rand.IntN(len(b.nodes))
	for i := range b.nodes {
		if n := b.nodes[(from+i)%len(b.nodes)]; n != not && p.usable(n, l) {
			return n
		}
	}
	return nil
}

func cost(n *Node, now int64) float64 {
	return (n.st.ewma.at(now) + costFloor) * float64(1+n.st.inflight.Load())
}
