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
	// first backs a list of one and one is its entry, next to the rest of the bucket in memory.
	first [1]*entry
	one   entry
}

// hostPaths is what the host indexes keep under one name.
type hostPaths struct {
	// pattern is the host as configured, in lower case and without port.
	pattern string
	paths   *index[bucket]
	edit    *edit
}

// with returns the host with the entries added or taken out, or nil when it is then empty, and by how much the number of hosts changes. h may be nil.
func (h *hostPaths) with(ed *edit, pattern string, entries []*entry, add bool) (result *hostPaths, by int32) {
	c := &hostPaths{pattern: pattern, edit: ed}
	if h == nil {
		by = 1
	} else if h.edit == ed {
		c = h
	} else {
		c.paths = h.paths
	}
	c.paths = placePaths(ed, c.paths, entries, add)
	if c.paths == nil {
		return nil, by - 1
	}
	return c, by
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
		c.one = *l[0]
		c.first[0] = &c.one
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
		switch {
		case e.rest != "":
			one := [1]plugin.Param{{Name: e.rest, Value: q.path[e.keyLen:]}}
			q.ex.SetParams(one[:])
		case e.pattern && !e.uri.match(q.ex, q.path):
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
	l := lookup[bucket]{x: x, key: q.path}
	l.start()
	for b := l.next(); b != nil; b = l.next() {
		if e := q.first(b.prefix); e != nil {
			return e
		}
	}
	return nil
}

// byHost finds the entry in the path indexes of the hosts that the request's host matches, and the pattern of that host.
func (q *query) byHost(names, suffixes *index[hostPaths]) (*entry, string) {
	host := q.ex.Request.Host
	if names != nil {
		if h := names.keys.find(host); h != nil {
			if e := q.byPath(h.paths); e != nil {
				return e, q.hostOr(h.pattern)
			}
		}
	}
	if suffixes == nil {
		return nil, ""
	}
	return q.bySuffix(host, suffixes)
}

func (q *query) bySuffix(host []byte, suffixes *index[hostPaths]) (*entry, string) {
	var reversed [MaxHost]byte
	if len(host) > len(reversed) {
		// No configured name is longer, and suffixes are compared with the end only.
		host = host[len(host)-len(reversed):]
	}
	for i, c := range host {
		reversed[len(host)-1-i] = c
	}
	l := lookup[hostPaths]{x: suffixes, key: reversed[:len(host)]}
	l.start()
	for h := l.next(); h != nil; h = l.next() {
		if e := q.byPath(h.paths); e != nil {
			return e, q.hostOr(h.pattern)
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
