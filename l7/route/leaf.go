package route

import "sort"

// leaf is what is kept under one path, or one prefix of paths, of one host. The first route at that place is inline, as far as the
// common one needs it: then a lookup that ends here reads these two cache lines and no other.
type leaf struct {
	// place is that of the host, see scope.
	place uint64
	// def, written and methods are those of first.
	def     *Def
	written string
	methods uint32
	keyLen  uint16
	flags   leafFlags
	// text is the key when it fits; written begins with the key in any case.
	text [textSize]byte
	// first is the first entry at this place; more has them all when there are others.
	first *entry
	more  *entries
}

// textSize makes a leaf two cache lines.
const textSize = 73

type leafFlags uint8

const (
	// leafPlain: nothing but methods is asked for by the first entry.
	leafPlain leafFlags = 1 << iota
	// leafRest: the first entry's only parameter is what follows the key, under extName.
	leafRest
)

// entries are the routes at one place in the order in which they are tried.
type entries struct {
	all  []*entry
	edit *edit
}

// is tells whether l is the leaf of that key.
func (l *leaf) is(place uint64, key []byte) bool {
	n := int(l.keyLen)
	if l.place != place || len(key) != n {
		return false
	}
	if n <= textSize {
		return string(l.text[:n]) == string(key)
	}
	return l.written[:n] == string(key)
}

// update adds an entry or takes it out, and tells whether any is left.
func (l *leaf) update(ed *edit, place uint64, e *entry, add bool) bool {
	if l.first == nil {
		if add {
			l.place, l.keyLen = place, e.keyLen
			copy(l.text[:], e.uri.key)
			l.set(e)
		}
		return add
	}
	if l.more == nil {
		l.more = &entries{[]*entry{l.first}, ed}
	} else if l.more.edit != ed {
		l.more = &entries{append(make([]*entry, 0, len(l.more.all)+1), l.more.all...), ed}
	}
	all := l.more.all
	i := sort.Search(len(all), func(i int) bool { return !before(all[i], e) })
	present := i < len(all) && !before(e, all[i])
	switch {
	case add && !present:
		all = append(all, nil)
		copy(all[i+1:], all[i:])
		all[i] = e
	case !add && present:
		all = append(all[:i], all[i+1:]...)
	}
	if len(all) == 0 {
		return false
	}
	l.set(all[0])
	if l.more.all = all; len(all) == 1 {
		l.more = nil
	}
	return true
}

func (l *leaf) set(e *entry) {
	l.first, l.def, l.written, l.methods, l.flags = e, e.def, e.written, e.methods, 0
	switch {
	case e.cond != nil:
	case !e.pattern:
		l.flags = leafPlain
	case e.rest == extName:
		l.flags = leafPlain | leafRest
	}
}

// before is the order of entries at the same place (lua-resty-radixtree sort_route); routes are inserted there by age.
func before(a, b *entry) bool {
	switch {
	case a.def.Priority != b.def.Priority:
		return a.def.Priority > b.def.Priority
	case len(a.written) != len(b.written):
		return len(a.written) > len(b.written)
	case a.def.Created != b.def.Created:
		return a.def.Created < b.def.Created
	case a.def.ID != b.def.ID:
		return a.def.ID < b.def.ID
	}
	return a.written < b.written
}
