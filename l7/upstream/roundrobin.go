package upstream

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
)

// Bounds of the precomputed sequence: its length, and the work to compute it (length times nodes).
const (
	maxSequence     = 1 << 15
	maxSequenceWork = 4 << 20
)

// scanLimit is how many unusable entries a balancer skips one by one before it looks at the group as a whole.
const scanLimit = 64

// roundRobin is nginx's smooth weighted round robin: each pick raises every node's current weight by its weight, takes the highest and
// lowers it by the sum, so weights 5, 1, 1 give a a b a c a a. That sequence repeats after the sum of the weights, so for usual weights
// it is computed once and a pick is one step of a counter. Nodes that cannot be used are stepped over, which keeps the proportions of the others.
// Each loop has its own place in the sequence, loop 0 at its start and the others spread evenly.
type roundRobin struct {
	nodes []*Node
	seq   []uint16
	loops []rrLoop
	// Only without seq:
	weight []int64
}

type rrLoop struct {
	pos atomic.Uint64
	mu  sync.Mutex
	cur []int64
	_   [64]byte // loops do not share cache lines
}

func newRoundRobin(nodes []*Node, loops int, was group) *roundRobin {
	b := &roundRobin{nodes: nodes, loops: make([]rrLoop, loops)}
	w, total := weights(nodes)
	if total <= maxSequence && total*int64(len(nodes)) <= maxSequenceWork {
		b.seq = sequence(w, total)
	} else {
		b.weight = w
	}
	old, _ := was.(*roundRobin)
	for i := range b.loops {
		l := &b.loops[i]
		if b.seq == nil {
			l.cur = make([]int64, len(nodes))
			continue
		}
		if old != nil && len(old.seq) == len(b.seq) {
			// New addresses of a name do not send the next requests to the first nodes again.
			l.pos.Store(old.loops[i].pos.Load())
		} else {
			l.pos.Store(uint64(i) * uint64(len(b.seq)) / uint64(loops))
		}
	}
	return b
}

// sequence is one period of the smooth order.
func sequence(w []int64, total int64) []uint16 {
	cur := make([]int64, len(w))
	seq := make([]uint16, total)
	for k := range seq {
		best := 0
		for i := range w {
			cur[i] += w[i]
			if cur[i] > cur[best] {
				best = i
			}
		}
		cur[best] -= total
		seq[k] = uint16(best)
	}
	return seq
}

func (b *roundRobin) pick(p *Pick, l level) *Node {
	s := &b.loops[uint(p.Loop)%uint(len(b.loops))]
	if b.seq == nil {
		return b.live(s, p, l)
	}
	for range min(len(b.seq), scanLimit) {
		n := b.nodes[b.seq[(s.pos.Add(1)-1)%uint64(len(b.seq))]]
		if p.usable(n, l) {
			return n
		}
	}
	return b.random(p, l)
}

// random picks among the usable nodes by weight: for when so many are unusable that stepping over them would take long.
func (b *roundRobin) random(p *Pick, l level) *Node {
	total := int64(0)
	for _, n := range b.nodes {
		if p.usable(n, l) {
			total += n.share
		}
	}
	if total == 0 {
		return nil
	}
	at := rand.Int64N(total)
	var last *Node
	for _, n := range b.nodes {
		if !p.usable(n, l) {
			continue
		}
		last = n
		if at -= n.share; at < 0 {
			break
		}
	}
	return last
}

// live does a step of the smooth order for weights whose sequence would be too long to keep.
func (b *roundRobin) live(s *rrLoop, p *Pick, l level) *Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	best, total := -1, int64(0)
	for i, n := range b.nodes {
		if !p.usable(n, l) {
			continue
		}
		s.cur[i] += b.weight[i]
		total += b.weight[i]
		if best < 0 || s.cur[i] > s.cur[best] {
			best = i
		}
	}
	if best < 0 {
		return nil
	}
	s.cur[best] -= total
	return b.nodes[best]
}
