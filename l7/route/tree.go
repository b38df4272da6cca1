package route

import "strings"

// edit marks the nodes that one With call made and may therefore change in place; everything else is copied before it is changed.
type edit struct{ _ byte }

// node is a node of a persistent radix tree over bytes with path compression. It fills one cache line.
type node[V any] struct {
	// text is the bytes that lead into this node, text[:prefix], followed by the first byte of every child in the order of kids.
	text string
	kids []*node[V]
	// leaf is what the tree keeps under the key that ends here, nil when no key does.
	leaf   *V
	edit   *edit
	prefix int
}

// own returns n itself when this edit made it, and a copy that it may change otherwise.
func (n *node[V]) own(ed *edit) *node[V] {
	if n.edit == ed {
		return n
	}
	c := *n
	c.edit = ed
	c.kids = append(make([]*node[V], 0, len(n.kids)+1), n.kids...)
	return &c
}

// find returns the leaf under exactly that key, or nil.
func (n *node[V]) find(key string) *V {
	for n != nil {
		if !strings.HasPrefix(key, n.text[:n.prefix]) {
			return nil
		}
		if key = key[n.prefix:]; key == "" {
			return n.leaf
		}
		i := strings.IndexByte(n.text[n.prefix:], key[0])
		if i < 0 {
			return nil
		}
		n = n.kids[i]
	}
	return nil
}

// longest returns the leaf under the longest key that key begins with and that is shorter than limit, with its length, or nil.
func (n *node[V]) longest(key []byte, limit int) (leaf *V, length int) {
	at := 0
	for n != nil {
		p := n.prefix
		if len(key)-at < p || string(key[at:at+p]) != n.text[:p] {
			break
		}
		if at += p; at >= limit {
			break
		}
		if n.leaf != nil {
			leaf, length = n.leaf, at
		}
		if at == len(key) {
			break
		}
		i := strings.IndexByte(n.text[p:], key[at])
		if i < 0 {
			break
		}
		n = n.kids[i]
	}
	return leaf, length
}

// update returns the tree with the leaf under key replaced by f of the old one, nil standing for none on both sides. n may be nil, the empty tree. Only
// the nodes on the way to key are copied.
func (n *node[V]) update(ed *edit, key string, f func(old *V) *V) *node[V] {
	if n == nil {
		return newLeaf(ed, key, f(nil))
	}
	common := commonPrefix(n.text[:n.prefix], key)
	if common < n.prefix {
		leaf := newLeaf(ed, key[common:], f(nil))
		if leaf == nil {
			return n
		}
		return n.split(ed, common, leaf)
	}
	key = key[common:]
	if key == "" {
		m := n.own(ed)
		m.leaf = f(m.leaf)
		return m.tidy(ed)
	}
	i := strings.IndexByte(n.text[n.prefix:], key[0])
	if i < 0 {
		leaf := newLeaf(ed, key, f(nil))
		if leaf == nil {
			return n
		}
		m := n.own(ed)
		m.kids = append(m.kids, leaf)
		m.text += key[:1]
		return m
	}
	kid := n.kids[i].update(ed, key, f)
	m := n.own(ed)
	if kid != nil {
		m.kids[i] = kid
		return m
	}
	m.kids = append(m.kids[:i], m.kids[i+1:]...)
	m.text = m.text[:m.prefix+i] + m.text[m.prefix+i+1:]
	return m.tidy(ed)
}

func newLeaf[V any](ed *edit, key string, v *V) *node[V] {
	if v == nil {
		return nil
	}
	return &node[V]{text: key, prefix: len(key), leaf: v, edit: ed}
}

// split puts a node for the first at bytes of n's prefix above n and the new leaf, whose key goes on after those bytes.
func (n *node[V]) split(ed *edit, at int, leaf *node[V]) *node[V] {
	below := n.own(ed)
	above := &node[V]{prefix: at, edit: ed}
	text := below.text
	below.text, below.prefix = text[at:], below.prefix-at
	if leaf.text == "" {
		above.leaf = leaf.leaf
		above.text = text[:at] + text[at:at+1]
		above.kids = []*node[V]{below}
		return above
	}
	above.text = text[:at] + text[at:at+1] + leaf.text[:1]
	above.kids = []*node[V]{below, leaf}
	return above
}

// tidy removes a node that holds nothing and joins one that has nothing but one child with that child.
func (n *node[V]) tidy(ed *edit) *node[V] {
	if n.leaf != nil || len(n.kids) > 1 {
		return n
	}
	if len(n.kids) == 0 {
		return nil
	}
	kid := n.kids[0].own(ed)
	kid.text = n.text[:n.prefix] + kid.text
	kid.prefix += n.prefix
	return kid
}

func commonPrefix(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}
