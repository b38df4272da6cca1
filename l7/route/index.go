package route

import (
	"bytes"
	"hash/maphash"
	"strings"
)

// maxDepth is the number of separators up to which prefixes are found by hashing.
const maxDepth = 32

// keys says where the keys of one kind are kept: those of the paths of one host, or those of all hosts.
//
// Whole keys, and prefixes that end with the separator ("/api/", reversed "com.example."), are found by hashing: a prefix can
// only be as long as one of the places where the key has a separator, and only the depths that some prefix has are looked at. That is a handful of cache
// lines however many keys there are, where a tree takes several per level. Prefixes that end elsewhere ("/img*") are in a radix tree.
type keys[V any] struct {
	// depths has bit d set when a prefix with d separators is found by hashing, and bit 0 when a whole key is.
	depths uint64
	tree   *node[V]
	counts *counts
}

// counts is the number of keys found by hashing, by depth.
type counts struct {
	n    [maxDepth]int32
	edit *edit
}

func (k *keys[V]) empty() bool { return k.depths == 0 && k.tree == nil }

// count adds by to the number of keys with that depth.
func (k *keys[V]) count(ed *edit, depth int, by int32) {
	switch {
	case k.counts == nil:
		k.counts = &counts{edit: ed}
	case k.counts.edit != ed:
		c := *k.counts
		c.edit = ed
		k.counts = &c
	}
	k.counts.n[depth] += by
	k.depths &^= 1 << depth
	if k.counts.n[depth] > 0 {
		k.depths |= 1 << depth
	}
	if k.depths == 0 {
		k.counts = nil
	}
}

// depth is the bit in keys.depths for a key that is found by hashing; ok tells whether it is.
func depth(key string, prefix bool, sep byte) (depth int, ok bool) {
	if !prefix {
		return 0, true
	}
	if key == "" || key[len(key)-1] != sep {
		return 0, false
	}
	depth = strings.Count(key, string(rune(sep)))
	return depth, depth < maxDepth
}

// hashOf is the hash under which a key is kept; salt is that of the host, for paths.
func hashOf(key string, prefix bool, salt uint64) uint64 {
	h := maphash.String(hashSeed, key) ^ salt
	if prefix {
		return ^h
	}
	return h
}

// prefixes yields the prefixes of a key at which something may be kept, from the longest to the shortest, the key itself among them.
type prefixes[V any] struct {
	key  []byte
	tree *node[V]
	// ends are the lengths of the prefixes to look for by hashing, n how many are left.
	ends [maxDepth]uint16
	n    int
	// branch is the longest prefix in the tree that was not yielded, of length branchLen.
	branch    *V
	branchLen int
}

// start prepares the lookup. key and tree are set by the caller, so that key may be on its stack.
func (p *prefixes[V]) start(depths uint64, sep byte) {
	at := 0
	for depths >>= 1; depths != 0; depths >>= 1 {
		i := bytes.IndexByte(p.key[at:], sep)
		if i < 0 || at+i >= 1<<16-1 {
			break
		}
		at += i + 1
		if depths&1 != 0 {
			p.ends[p.n] = uint16(at)
			p.n++
		}
	}
	if p.tree != nil {
		p.branch, p.branchLen = p.tree.longest(p.key, len(p.key)+1)
	}
}

// next returns the next shorter prefix: what the tree holds, or nil and the length of the prefix to look for by hashing. After the last one end is negative.
func (p *prefixes[V]) next() (v *V, end int) {
	if p.n > 0 {
		if end = int(p.ends[p.n-1]); p.branch == nil || p.branchLen <= end {
			p.n--
			return nil, end
		}
	}
	if v = p.branch; v == nil {
		return nil, -1
	}
	p.branch, p.branchLen = p.tree.longest(p.key, p.branchLen)
	return v, 0
}
