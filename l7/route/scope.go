package route

// scope is one host, or a wildcard for hosts, with its paths; another one holds the paths of all hosts.
type scope struct {
	paths keys[leaf]
	// place marks the leaves of this scope. It is even, and one more for its prefixes.
	place uint64
	// salt is the hash of the host: the same path is at another place for every host.
	salt uint64
	// pattern is the host as configured, in lower case and without port.
	pattern  string
	wildcard bool
	keyLen   uint8
	// text is the key when it fits.
	text [hostSize]byte
	// key is the name without port, or the reversed suffix of a wildcard.
	key string
}

// hostSize makes a scope two cache lines.
const hostSize = 54

// is tells whether s is the scope of that name or reversed suffix.
func (s *scope) is(key []byte, wildcard bool) bool {
	n := int(s.keyLen)
	if s.wildcard != wildcard || len(key) != n {
		return false
	}
	if n <= hostSize {
		return string(s.text[:n]) == string(key)
	}
	return s.key == string(key)
}

// placePaths adds entries to a scope, which belongs to the edit, or takes them out.
func (t *Table) placePaths(ed *edit, s *scope, list []*entry, add bool) {
	for _, e := range list {
		key, prefix := e.uri.key, !e.uri.exact
		place := s.place
		if prefix {
			place++
		}
		d, ok := depth(key, prefix, '/')
		if !ok {
			s.paths.tree = s.paths.tree.update(ed, key, func(old *leaf) *leaf {
				l := leaf{}
				if old != nil {
					l = *old
				}
				if !l.update(ed, place, e, add) {
					return nil
				}
				return &l
			})
			continue
		}
		bytes := []byte(key)
		t.leaves.update(ed, hashOf(key, prefix, s.salt), func(l *leaf) bool { return l.is(place, bytes) }, func(l *leaf, present bool) bool {
			keep := l.update(ed, place, e, add)
			if present != keep {
				by := int32(1)
				if present {
					by = -1
				}
				s.paths.count(ed, d, by)
			}
			return keep
		})
	}
}

// placeHost adds the entries of one host of a route or takes them out.
func (t *Table) placeHost(ed *edit, h *hostPlace, add bool) {
	hash := hashOf(h.key, h.wildcard, 0)
	change := func(s *scope) bool {
		if s.place == 0 {
			t.places += 2
			*s = scope{place: t.places, salt: hash, pattern: h.pattern, wildcard: h.wildcard, keyLen: uint8(len(h.key)), key: h.key}
			copy(s.text[:], h.key)
		}
		t.placePaths(ed, s, h.entries, add)
		return !s.paths.empty()
	}
	d, ok := depth(h.key, h.wildcard, '.')
	if !ok {
		t.hosts.tree = t.hosts.tree.update(ed, h.key, func(old *scope) *scope {
			s := scope{}
			if old != nil {
				s = *old
			}
			if !change(&s) {
				return nil
			}
			return &s
		})
		return
	}
	bytes := []byte(h.key)
	t.scopes.update(ed, hash, func(s *scope) bool { return s.is(bytes, h.wildcard) }, func(s *scope, present bool) bool {
		keep := change(s)
		if present != keep {
			by := int32(1)
			if present {
				by = -1
			}
			t.hosts.count(ed, d, by)
		}
		return keep
	})
}
