package route

import (
	"hash/maphash"

	"github.com/sluice-gateway/sluice/l7/plugin"
)

// query is one lookup.
type query struct {
	t      *Table
	ex     *plugin.Exchange
	path   []byte
	method uint32

	// def, uri and host are what was found: host is the pattern of the scope, or of a host with a port that held as a condition.
	def       *Def
	uri, host string
}

// leaf finds the leaf under a key of the scope with that salt.
func (q *query) leaf(key []byte, place, salt uint64) *leaf {
	h := maphash.Bytes(hashSeed, key) ^ salt
	if place&1 != 0 {
		h = ^h
	}
	c := q.t.leaves.chunkOf(h)
	mask := uint32(len(c.slots) - 1)
	for i := uint32(h) & mask; ; i = (i + 1) & mask {
		s := c.slots[i]
		if s == 0 {
			return nil
		}
		if s.holds(h) {
			if l := &c.items[s.item()]; l.is(place, key) {
				return l
			}
		}
	}
}

// scope finds the scope of a host, or of a wildcard by its reversed suffix.
func (t *Table) scope(key []byte, wildcard bool) *scope {
	h := maphash.Bytes(hashSeed, key)
	if wildcard {
		h = ^h
	}
	c := t.scopes.chunkOf(h)
	mask := uint32(len(c.slots) - 1)
	for i := uint32(h) & mask; ; i = (i + 1) & mask {
		s := c.slots[i]
		if s == 0 {
			return nil
		}
		if s.holds(h) {
			if sc := &c.items[s.item()]; sc.is(key, wildcard) {
				return sc
			}
		}
	}
}

// take finds the first route of a leaf that holds.
func (q *query) take(l *leaf) bool {
	if l.flags&leafPlain != 0 && (l.methods == 0 || l.methods&q.method != 0) {
		if l.flags&leafRest == 0 {
			q.ex.SetParams(nil)
		} else {
			one := [1]plugin.Param{{Name: extName, Value: q.path[l.keyLen:]}}
			q.ex.SetParams(one[:])
		}
		q.def, q.uri, q.host = l.def, l.written, ""
		return true
	}
	if l.more == nil {
		return q.first(l.first)
	}
	for _, e := range l.more.all {
		if q.first(e) {
			return true
		}
	}
	return false
}

// first takes the route of an entry when it holds.
func (q *query) first(e *entry) bool {
	if e.methods != 0 && e.methods&q.method == 0 {
		return false
	}
	host := ""
	if e.cond != nil {
		var ok bool
		if host, ok = e.cond.holds(q.ex); !ok {
			return false
		}
	}
	switch {
	case e.rest != "":
		one := [1]plugin.Param{{Name: e.rest, Value: q.path[e.keyLen:]}}
		q.ex.SetParams(one[:])
	case !e.pattern:
		q.ex.SetParams(nil)
	case !e.uri.match(q.ex, q.path):
		return false
	}
	q.def, q.uri, q.host = e.def, e.written, host
	return true
}

// byPath finds the route for the path among those of a scope.
func (q *query) byPath(s *scope) bool {
	depths := s.paths.depths
	if depths&1 != 0 {
		if l := q.leaf(q.path, s.place, s.salt); l != nil && q.take(l) {
			return true
		}
	}
	if depths <= 1 && s.paths.tree == nil {
		return false
	}
	var p prefixes[leaf]
	p.key, p.tree = q.path, s.paths.tree
	p.start(depths, '/')
	for l, end := p.next(); end >= 0; l, end = p.next() {
		if l == nil {
			l = q.leaf(q.path[:end], s.place+1, s.salt)
		}
		if l != nil && q.take(l) {
			return true
		}
	}
	return false
}

// byHost finds the route among those of the hosts that the request's host matches.
func (q *query) byHost() bool {
	host := q.ex.Request.Host
	hosts := &q.t.hosts
	if hosts.depths&1 != 0 {
		if s := q.t.scope(host, false); s != nil && q.inScope(s) {
			return true
		}
	}
	return (hosts.depths > 1 || hosts.tree != nil) && q.bySuffix(host)
}

func (q *query) inScope(s *scope) bool {
	if !q.byPath(s) {
		return false
	}
	if q.host == "" {
		q.host = s.pattern
	}
	return true
}

func (q *query) bySuffix(host []byte) bool {
	var reversed [MaxHost]byte
	if len(host) > len(reversed) {
		// No configured name is longer, and suffixes are compared with the end only.
		host = host[len(host)-len(reversed):]
	}
	for i, c := range host {
		reversed[len(host)-1-i] = c
	}
	var p prefixes[scope]
	p.key, p.tree = reversed[:len(host)], q.t.hosts.tree
	p.start(q.t.hosts.depths, '.')
	for s, end := p.next(); end >= 0; s, end = p.next() {
		if s == nil {
			s = q.t.scope(p.key[:end], true)
		}
		if s != nil && q.inScope(s) {
			return true
		}
	}
	return false
}
