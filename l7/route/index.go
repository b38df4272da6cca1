package route

import (
	"bytes"
	"strings"
)

// maxDepth is the number of separators up to which prefixes are found by hashing.
const maxDepth = 32

// index finds what is kept under a key and under its prefixes. It is persistent: add returns another index and leaves this one as it is.
//
// Whole keys, and prefixes that end with the separator ("/api/", reversed "com.example."), are found by hashing: a prefix can
// only be as long as one of the places where the key has a separator, and only the depths that some prefix has are looked at. That is a handful of cache
// lines however many keys there are, where a tree takes several per level. Prefixes that end elsewhere ("/img*") are in a radix tree.
type index[V any] struct {
	keys table[V]
	tree *node[V]
	// depths has bit d set when a prefix with d separators is in keys.
	depths uint64
	// counts is the number of prefixes by depth.
	counts *[maxDepth]int32
	sep    byte
	edit   *edit
}

// own returns x itself when this edit made it, and a copy otherwise. x may be nil.
func (x *index[V]) own(ed *edit, sep byte) *index[V] {
	switch {
	case x == nil:
		return &index[V]{sep: sep, counts: &[maxDepth]int32{}, edit: ed}
	case x.edit == ed:
		return x
	}
	c, counts := *x, *x.counts
	c.edit, c.counts = ed, &counts
	return &c
}

// hashed tells where a key is kept and how deep it is.
func (x *index[V]) hashed(key string, prefix bool) (depth int, ok bool) {
	if !prefix {
		return 0, true
	}
	if key == "" || key[len(key)-1] != x.sep {
		return 0, false
	}
	depth = strings.Count(key, string(rune(x.sep)))
	return depth, depth < maxDepth
}

// update replaces what is kept under key by f of it; nil stands for nothing on both sides, and so does a nil index. prefix tells that the change is to
// what is found for keys that go on after key; by is 1, 0 or -1 when that begins, goes on or ends with this change.
func (x *index[V]) update(ed *edit, sep byte, key string, prefix bool, f func(old *V) (v *V, by int32)) *index[V] {
	c := x.own(ed, sep)
	depth, ok := c.hashed(key, prefix)
	var by int32
	change := func(old *V) *V {
		v, n := f(old)
		by = n
		return v
	}
	if !ok {
		c.tree = c.tree.update(ed, key, change)
	} else if c.keys.update(ed, key, change); prefix {
		c.counts[depth] += by
		c.depths &^= 1 << depth
		if c.counts[depth] > 0 {
			c.depths |= 1 << depth
		}
	}
	if c.keys.n == 0 && c.tree == nil {
		return nil
	}
	return c
}

// lookup yields what is kept under the prefixes of a key from the longest to the shortest, the key itself among them.
type lookup[V any] struct {
	x   *index[V]
	key []byte
	// ends are the lengths of the prefixes to look for, n how many are left.
	ends [maxDepth]uint16
	n    int
	// branch is the longest prefix in the tree that was not yielded, of length branchLen.
	branch    *V
	branchLen int
}

// start prepares the lookup of the prefixes of key. x and key are set by the caller, so that key may be on its stack.
func (l *lookup[V]) start() {
	x, key := l.x, l.key
	if x.depths != 0 {
		depths := x.depths >> 1
		for at := 0; depths != 0; depths >>= 1 {
			i := bytes.IndexByte(key[at:], x.sep)
			if i < 0 || at+i >= 1<<16-1 {
				break
			}
			at += i + 1
			if depths&1 != 0 {
				l.ends[l.n] = uint16(at)
				l.n++
			}
		}
	}
	if x.tree != nil {
		l.branch, l.branchLen = x.tree.longest(key, len(key)+1)
	}
}

// next returns what is kept under the next shorter prefix, or nil when there is none left.
func (l *lookup[V]) next() *V {
	for l.n > 0 {
		end := int(l.ends[l.n-1])
		if l.branch != nil && l.branchLen > end {
			return l.nextBranch()
		}
		l.n--
		if v := l.x.keys.find(l.key[:end]); v != nil {
			return v
		}
	}
	if l.branch != nil {
		return l.nextBranch()
	}
	return nil
}

func (l *lookup[V]) nextBranch() *V {
	v := l.branch
	l.branch, l.branchLen = l.x.tree.longest(l.key, l.branchLen)
	return v
}
