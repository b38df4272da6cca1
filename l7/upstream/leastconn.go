package upstream

import "sync/atomic"

// leastConn picks the node with the fewest requests in flight for its weight, the new one counted (apisix/balancer/least_conn.lua). Among equal
// ones the nodes take turns: each pick of a loop starts to look one node further on.
type leastConn struct {
	nodes []*Node
	loops []lcLoop
	most  int64 // the highest share: an idle node that has it cannot be beaten
}

type lcLoop struct {
	pos atomic.Uint64
	_   [56]byte // loops do not share cache lines
}

func newLeastConn(nodes []*Node, loops int) *leastConn {
	b := &leastConn{nodes: nodes, loops: make([]lcLoop, loops)}
	for _, n := range nodes {
		b.most = max(b.most, n.share)
	}
	for i := range b.loops {
		b.loops[i].pos.Store(uint64(i * len(nodes) / loops))
	}
	return b
}

func (b *leastConn) pick(p *Pick, l level) *Node {
	from := int((b.loops[uint(p.Loop)%uint(len(b.loops))].pos.Add(1) - 1) % uint64(len(b.nodes)))
	var best *Node
	var load int64
	for i := range b.nodes {
		k := from + i
		if k >= len(b.nodes) {
			k -= len(b.nodes)
		}
		n := b.nodes[k]
		if !p.usable(n, l) {
			continue
		}
		c := 1 + max(0, n.st.inflight.Load())
		// c/n.share < load/best.share without a division; in floating point because large weights would overflow.
		if best == nil || float64(c)*float64(best.share) < float64(load)*float64(n.share) {
			best, load = n, c
		}
		if load == 1 && best.share == b.most {
			break
		}
	}
	return best
}
