package upstream

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"slices"
	"sort"
	"strconv"
)

const (
	// pointsPerWeight is how many points a node has on the ring for each unit of weight (apisix/balancer/chash.lua).
	pointsPerWeight = 160
	// maxPoints bounds a ring to 2 MiB. Weights that need more get points in proportion, at least one each.
	maxPoints = 1 << 18
)

// ring is consistent hashing: a key belongs to the node of the first point at or after the key's hash. Points and hash are those of
// APISIX's balancer (each point is the CRC-32 of "host NUL port" and the point before, as in nginx's "hash ... consistent"), so keys stay with their
// nodes when a gateway is replaced. Retries take the next point of another node.
type ring struct {
	nodes  []*Node
	points []point // by hash
}

type point struct {
	hash uint32
	node uint32
}

func newRing(nodes []*Node) *ring {
	w, total := weights(nodes)
	r := &ring{nodes: nodes}
	per := float64(pointsPerWeight)
	if total > maxPoints/pointsPerWeight {
		per = max(maxPoints/float64(total), 1/float64(math.MaxInt32))
	}
	for i, n := range nodes {
		num := max(1, int(math.Round(float64(w[i])*per)))
		id := append([]byte(bracketed(n.Addr.Addr().String())), 0)
		id = strconv.AppendUint(id, uint64(n.Addr.Port()), 10)
		base := crc32.ChecksumIEEE(id)
		var prev [4]byte
		for range num {
			h := crc32.Update(base, crc32.IEEETable, prev[:])
			r.points = append(r.points, point{h, uint32(i)})
			binary.LittleEndian.PutUint32(prev[:], h)
		}
	}
	// Equal hashes are ordered by name, not by place in the configuration, so that all gateways agree.
	slices.SortFunc(r.points, func(a, b point) int {
		if a.hash != b.hash {
			if a.hash < b.hash {
				return -1
			}
			return 1
		}
		return nodes[a.node].Addr.Compare(nodes[b.node].Addr)
	})
	return r
}

func (r *ring) pick(p *Pick, l level) *Node {
	h := crc32.ChecksumIEEE(p.Key)
	at := sort.Search(len(r.points), func(i int) bool { return r.points[i].hash >= h })
	for i := range r.points {
		k := at + i
		if k >= len(r.points) {
			k -= len(r.points)
		}
		if n := r.nodes[r.points[k].node]; p.usable(n, l) {
			return n
		}
		if i == scanLimit && firstUsable(r.nodes, 0, p, l) == nil {
			return nil
		}
	}
	return nil
}
