package upstream

import "errors"

// ErrNoNodes means that the upstream has no node to pick: none is configured, all weights are 0, or no name has an address yet.
var ErrNoNodes = errors.New("no valid upstream node")

// ErrTried means that this request has tried every node that it may use.
var ErrTried = errors.New("all upstream servers tried")

// Pick is the state of one request's choice among nodes, over all its attempts. The zero value is ready; an owner that reuses it calls
// Reset between requests. It must not be used with two upstreams without a Reset.
type Pick struct {
	// Loop is the number of the caller's event loop. It only spreads state: any number is safe from any goroutine.
	Loop int
	// Key is the result of HashKey; it matters to type chash.
	Key []byte
	// Now is the time in nanoseconds of plugin.Clock.
	Now int64

	table *table
	last  *Node
	tried int
	bits  [4]uint64 // the first 256 nodes
	more  []uint64
}

// Reset forgets the attempts and keeps memory.
func (p *Pick) Reset() { *p = Pick{more: p.more[:0]} }

// isTried tells whether the node at an index of the table was tried.
func (p *Pick) isTried(i int) bool {
	if p.tried == 0 {
		return false
	}
	w := i >> 6
	if w < len(p.bits) {
		return p.bits[w]>>(i&63)&1 != 0
	}
	w -= len(p.bits)
	return w < len(p.more) && p.more[w]>>(i&63)&1 != 0
}

// try marks a node of p.table as tried.
func (p *Pick) try(i int) {
	if p.isTried(i) {
		return
	}
	p.tried++
	w := i >> 6
	if w < len(p.bits) {
		p.bits[w] |= 1 << (i & 63)
		return
	}
	w -= len(p.bits)
	for len(p.more) <= w {
		p.more = append(p.more, 0)
	}
	p.more[w] |= 1 << (i & 63)
}

// enter prepares for an attempt with table t: the last node counts as tried, and what was tried is carried over when addresses changed
// since.
func (p *Pick) enter(t *table) {
	if p.last != nil {
		p.try(p.last.index)
		p.last = nil
	}
	if p.table == t {
		return
	}
	if p.tried > 0 {
		ids := make(map[uint64]bool, p.tried)
		for _, n := range p.table.nodes {
			if p.isTried(n.index) {
				ids[n.ID] = true
			}
		}
		p.tried, p.bits, p.more = 0, [4]uint64{}, p.more[:0]
		for _, n := range t.nodes {
			if ids[n.ID] {
				p.try(n.index)
			}
		}
	}
	p.table = t
}

// level is how choosy a pick is.
type level uint8

const (
	fresh   level = iota // healthy and not failed just now
	healthy              // healthy
	anyNode              // any
)

// usable tells whether n may be picked at a level.
func (p *Pick) usable(n *Node, l level) bool {
	if p.isTried(n.index) {
		return false
	}
	if l < anyNode && n.st.unhealthy.Load() {
		return false
	}
	return l != fresh || !n.st.failed(p.Now)
}

// Pick chooses the node of the next attempt. A request never gets the same node twice until it has tried all that it may use, then
// ErrTried; only an upstream with a single node gives that one again, so that configured retries mean something (apisix/balancer.lua
// pick_server). Each node that Pick returns is given back with Release. It does not allocate before the second attempt.
func (u *Upstream) Pick(p *Pick) (*Node, error) {
	t := u.table.Load()
	if len(t.nodes) == 0 {
		return nil, ErrNoNodes
	}
	p.enter(t)
	n := t.choose(p)
	if n == nil {
		if len(t.nodes) > 1 {
			return nil, ErrTried
		}
		n = t.nodes[0]
	}
	p.last = n
	if u.counts {
		n.st.inflight.Add(1)
	}
	return n, nil
}

// Release ends an attempt's use of a node that Pick returned.
func (u *Upstream) Release(n *Node) {
	if u.counts {
		n.st.inflight.Add(-1)
	}
}

// choose walks the levels and priority groups.
func (t *table) choose(p *Pick) *Node {
	if p.tried >= len(t.nodes) {
		return nil
	}
	for l := fresh; l <= anyNode; l++ {
		if l == anyNode && t.anyHealthy() {
			return nil
		}
		for _, g := range t.groups {
			for {
				n := g.pick(p, l)
				if n == nil {
					break
				}
				// A node that failed is probed by one request at a time: the others find it failed again.
				if l == fresh && !n.st.probe(p.Now, t.memory) {
					continue
				}
				return n
			}
		}
	}
	return nil
}

func (t *table) anyHealthy() bool {
	for _, n := range t.nodes {
		if n.Healthy() {
			return true
		}
	}
	return false
}
