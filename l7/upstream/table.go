package upstream

import (
	"cmp"
	"net/netip"
	"slices"
)

// table is the nodes of an upstream at one time, immutable once stored.
type table struct {
	nodes  []*Node // weight above 0, in order of configuration
	groups []group // by falling priority
	memory FailureMemory
}

// group is the nodes of one priority with their balancer.
type group interface {
	// pick returns a node that p.usable allows at the level, or nil when there is none.
	pick(p *Pick, l level) *Node
}

// maxShareUnit bounds the factor that makes the shares of a name's addresses whole numbers.
const maxShareUnit = 10_000

// buildTable makes the table for the addresses that the names have now. prev lends what balancers keep between tables.
func (u *Upstream) buildTable(prev *table) *table {
	t := &table{memory: u.set.memory}
	conf := u.Conf.Nodes
	addrs := make([][]netip.Addr, len(conf))
	unit := int64(1)
	for i := range conf {
		if a, ok := literal(conf[i].Host); ok {
			addrs[i] = []netip.Addr{a}
			continue
		}
		addrs[i] = u.names[i].addresses()
		if n := int64(len(addrs[i])); n > 1 && conf[i].Weight > 0 {
			unit = min(unit/gcd(unit, n)*n, maxShareUnit)
		}
	}
	byKey := map[identity]*Node{}
	for i := range conf {
		c := &conf[i]
		if c.Weight == 0 {
			continue
		}
		host := bracketed(c.Host)
		for _, a := range addrs[i] {
			addr := netip.AddrPortFrom(a, uint16(c.Port))
			n := newNode(host, c.Port, c.Weight, c.Priority, addr)
			n.share = max(1, int64(c.Weight)*unit/int64(len(addrs[i])))
			key := identity{u.Conf.Resource, n.HostPort, addr}
			if old := byKey[key]; old != nil && old.Priority == n.Priority {
				// The same server twice: the last weight counts, as in APISIX's table of servers (apisix/balancer.lua transform_node).
				old.Weight, old.share = n.Weight, n.share
				continue
			}
			n.st = u.set.registry.get(key)
			n.ID = n.st.id
			n.index = len(t.nodes)
			byKey[key] = n
			t.nodes = append(t.nodes, n)
		}
	}
	byPriority := map[int][]*Node{}
	for _, n := range t.nodes {
		byPriority[n.Priority] = append(byPriority[n.Priority], n)
	}
	order := make([]int, 0, len(byPriority))
	for p := range byPriority {
		order = append(order, p)
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(b, a) })
	for i, p := range order {
		var was group
		if prev != nil && i < len(prev.groups) {
			was = prev.groups[i]
		}
		t.groups = append(t.groups, u.newGroup(byPriority[p], was))
	}
	return t
}

func (u *Upstream) newGroup(nodes []*Node, was group) group {
	switch u.kind {
	case chashKind:
		return newRing(nodes)
	case ewmaKind:
		return &twoChoices{nodes}
	case leastConnKind:
		return newLeastConn(nodes, u.set.loops)
	default:
		return newRoundRobin(nodes, u.set.loops, was)
	}
}

// weights returns the nodes' shares divided by their greatest common divisor, and their sum.
func weights(nodes []*Node) (w []int64, total int64) {
	g := int64(0)
	for _, n := range nodes {
		g = gcd(g, n.share)
	}
	w = make([]int64, len(nodes))
	for i, n := range nodes {
		w[i] = n.share / g
		total += w[i]
	}
	return w, total
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// firstUsable scans from an index on.
func firstUsable(nodes []*Node, from int, p *Pick, l level) *Node {
	for i := range nodes {
		k := from + i
		if k >= len(nodes) {
			k -= len(nodes)
		}
		if p.usable(nodes[k], l) {
			return nodes[k]
		}
	}
	return nil
}
