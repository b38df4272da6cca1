package route

import (
	"sort"

	"github.com/sluice-gateway/sluice/l7/plugin"
)

// bucket is what a path index keeps under one key.
type bucket struct {
	// exact holds the URIs that are the key, prefix those that begin with it, both in the order in which they are tried.
	exact, prefix []*entry
	edit          *edit
	// first backs a list of one, next to the rest of the bucket in memory.
	first [1]*entry
}

// hostLeaf is what the host index keeps under one reversed name: the paths for the name itself and for those that end with it.
type hostLeaf struct {
	exact, wild hostPaths
	edit        *edit
}

type hostPaths struct {
	pattern string
	paths   *index[bucket]
}

func (l *hostLeaf) own(ed *edit) *hostLeaf {
	switch {
	case l == nil:
		return &hostLeaf{edit: ed}
	case l.edit == ed:
		return l
	}
	c := *l
	c.edit = ed
	return &c
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

// with returns the bucket with e added or taken out, or nil when it is then empty, and by how much the number of keys with prefixes changes. b may be nil.
func (b *bucket) with(ed *edit, e *entry, add bool) (result *bucket, by int32) {
	c := b
	if b == nil {
		c = &bucket{edit: ed}
	} else if b.edit != ed {
		c = &bucket{edit: ed}
		c.exact = append(make([]*entry, 0, len(b.exact)+1), b.exact...)
		c.prefix = append(make([]*entry, 0, len(b.prefix)+1), b.prefix...)
	}
	list, other := &c.prefix, &c.exact
	if e.uri.exact {
		list, other = other, list
	}
	l := *list
	had := len(l)
	i := sort.Search(len(l), func(i int) bool { return !before(l[i], e) })
	present := i < len(l) && !before(e, l[i])
	switch {
	case add && !present:
		l = append(l, nil)
		copy(l[i+1:], l[i:])
		l[i] = e
	case !add && present:
		l = append(l[:i], l[i+1:]...)
	}
	if !e.uri.exact {
		by = int32(min(len(l), 1) - min(had, 1))
	}
	switch {
	case len(l)+len(*other) == 0:
		return nil, by
	case len(l) == 0:
		// The other list may use first from now on.
		l = nil
	case len(l) == 1 && len(*other) == 0:
		// One entry is the rule; it is then read without another cache miss.
		c.first[0] = l[0]
		l = c.first[:]
	}
	*list = l
	return c, by
}

// query is one lookup.
type query struct {
	ex     *plugin.Exchange
	path   []byte
	method uint32
	// host is the pattern of the host that held as a condition.
	host string
}

func (q *query) found(e *entry, host string) (*Def, bool) {
	if !e.pattern {
		q.ex.SetParams(nil)
	}
	q.ex.Route.MatchedURI, q.ex.Route.MatchedHost = e.written, host
	return e.def, true
}

func (q *query) first(list []*entry) *entry {
	for _, e := range list {
		if e.methods != 0 && e.methods&q.method == 0 {
			continue
		}
		q.host = ""
		if e.cond != nil {
			host, ok := e.cond.holds(q.ex)
			if !ok {
				continue
			}
			q.host = host
		}
		if e.pattern && !e.uri.match(q.ex, q.path) {
			continue
		}
		return e
	}
	return nil
}

// byPath finds the entry for the path among those of an index.
func (q *query) byPath(x *index[bucket]) *entry {
	if x == nil {
		return nil
	}
	if b := x.keys.find(q.path); b != nil {
		if e := q.first(b.exact); e != nil {
			return e
		}
	}
	if x.depths == 0 && x.tree == nil {
		return nil
	}
	var l lookup[bucket]
	l.start(x, q.path)
	for b := l.next(); b != nil; b = l.next() {
		if e := q.first(b.prefix); e != nil {
			return e
		}
	}
	return nil
}

// byHost finds the entry in the path indexes of the hosts that the request's host matches, and the pattern of that host.
func (q *query) byHost(x *index[hostLeaf]) (*entry, string) {
	host := q.ex.Request.Host
	var tmp [MaxHost + 1]byte
	if len(host) > len(tmp) {
		// No configured name is that long; wildcards compare the end only.
		host = host[len(host)-len(tmp):]
	}
	rev := tmp[:len(host)]
	for i, c := range host {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		rev[len(host)-1-i] = c
	}
	if h := x.keys.find(rev); h != nil {
		if e := q.byPath(h.exact.paths); e != nil {
			return e, q.hostOr(h.exact.pattern)
		}
	}
	if x.depths == 0 && x.tree == nil {
		return nil, ""
	}
	var l lookup[hostLeaf]
	l.start(x, rev)
	for h := l.next(); h != nil; h = l.next() {
		if e := q.byPath(h.wild.paths); e != nil {
			return e, q.hostOr(h.wild.pattern)
		}
	}
	return nil, ""
}

// hostOr prefers the host with a port that an entry checked itself.
func (q *query) hostOr(pattern string) string {
	if q.host != "" {
		return q.host
	}
	return pattern
}
