package h1

// Field is one header field line. It is an alias of an unnamed type so that the
// codec and the plugin contract share it without importing each other.
type Field = struct{ Name, Value []byte }

// FieldSet is the field section of a parsed head. Its slices alias the parsed
// buffer and keep their capacity from one message to the next.
type FieldSet struct {
	// Fields are the field lines in the order sent. Values have no
	// surrounding whitespace.
	Fields []Field
	// Kinds classifies Fields, index by index.
	Kinds []FieldKind

	seen     uint32            // bit k: at least one field of kind k
	repeated uint32            // bit k: more than one
	first    [kindCount]uint16 // index of the first field of a kind in seen
	options  bool              // Connection holds options besides close, keep-alive, upgrade, te
}

// Has reports whether the head has a field of kind k.
func (s *FieldSet) Has(k FieldKind) bool { return s.seen>>k&1 != 0 }

// Index returns the index of the first field of kind k, or -1.
func (s *FieldSet) Index(k FieldKind) int {
	if !s.Has(k) {
		return -1
	}
	if k == KindNamed { // marked late, not kept in first
		for i, have := range s.Kinds {
			if have == k {
				return i
			}
		}
		return -1
	}
	return int(s.first[k])
}

// Repeated reports whether the head has several fields of kind k.
func (s *FieldSet) Repeated(k FieldKind) bool { return s.repeated>>k&1 != 0 }

// Value returns the value of the first field of kind k, or nil.
func (s *FieldSet) Value(k FieldKind) []byte {
	if i := s.Index(k); i >= 0 {
		return s.Fields[i].Value
	}
	return nil
}

// Get returns the value of the first field with this name, given in lower case,
// and whether there is one.
func (s *FieldSet) Get(lowerName string) (value []byte, ok bool) {
	for i := range s.Fields {
		if EqualFold(s.Fields[i].Name, lowerName) {
			return s.Fields[i].Value, true
		}
	}
	return nil, false
}

// NamedByConnection reports whether a Connection field of the head names the
// field name (RFC 9110 section 7.6.1). The fields that the peer sent and named
// so are already marked KindNamed; a serializer that goes by Kinds needs this
// only for names that did not come with the head.
func (s *FieldSet) NamedByConnection(name []byte) bool {
	if !s.options {
		return false
	}
	for i, k := range s.Kinds {
		if k != KindConnection {
			continue
		}
		for rest := s.Fields[i].Value; ; {
			option, tail, more := cutList(rest)
			if len(option) > 0 && EqualFoldBytes(option, name) {
				return true
			}
			if !more {
				break
			}
			rest = tail
		}
	}
	return false
}

func (s *FieldSet) reset() {
	s.Fields = s.Fields[:0]
	s.Kinds = s.Kinds[:0]
	s.seen, s.repeated, s.options = 0, 0, false
}

// cutList cuts the first element, without surrounding whitespace, off a
// comma-separated list. more says whether a comma followed.
func cutList(list []byte) (element, rest []byte, more bool) {
	for i, c := range list {
		if c == ',' {
			return trimOWS(list[:i]), list[i+1:], true
		}
	}
	return trimOWS(list), nil, false
}

// parse reads field lines from buf at p up to and including the empty line and
// returns the offset behind it. It returns ErrIncomplete at the end of buf.
func (s *FieldSet) parse(buf []byte, p, maxFields int) (int, error) {
	fields, kinds := s.Fields[:0], s.Kinds[:0]
	seen, repeated := uint32(0), uint32(0)
	var err error
	for {
		if p >= len(buf) {
			err = ErrIncomplete
			break
		}
		if buf[p] == '\r' {
			if p+1 >= len(buf) {
				err = ErrIncomplete
			} else if buf[p+1] != '\n' {
				err = errBareCR
			} else {
				p += 2
			}
			break
		}
		if len(fields) >= maxFields {
			err = errFieldCount
			break
		}

		start := p
		flags := uint8(0)
		for p < len(buf) {
			c := class[buf[p]]
			if c&classToken == 0 {
				break
			}
			flags |= c
			p++
		}
		if p >= len(buf) {
			err = ErrIncomplete
			break
		}
		if buf[p] != ':' || p == start {
			err = nameError(buf[p], p == start, len(fields) > 0)
			break
		}
		name := buf[start:p:p]

		p++
		for p < len(buf) && (buf[p] == ' ' || buf[p] == '\t') {
			p++
		}
		start = p
		for p = controlAt(buf, p); p < len(buf) && buf[p] == '\t'; p = controlAt(buf, p+1) {
		}
		if p >= len(buf) {
			err = ErrIncomplete
			break
		}
		if buf[p] != '\r' {
			err = errFieldValue
			if buf[p] == '\n' {
				err = errBareLF
			}
			break
		}
		if p+1 >= len(buf) {
			err = ErrIncomplete
			break
		}
		if buf[p+1] != '\n' {
			err = errBareCR
			break
		}
		end := p
		for end > start && (buf[end-1] == ' ' || buf[end-1] == '\t') {
			end--
		}
		p += 2

		kind := KindUnderscore
		if flags&classUnder == 0 {
			kind = kindOf(name)
		}
		if kind != KindOther {
			if seen>>kind&1 == 0 {
				seen |= 1 << kind
				s.first[kind] = uint16(len(fields))
			} else {
				repeated |= 1 << kind
			}
		}
		fields = append(fields, Field{Name: name, Value: buf[start:end:end]})
		kinds = append(kinds, kind)
	}
	s.Fields, s.Kinds, s.seen, s.repeated = fields, kinds, seen, repeated
	return p, err
}

// nameError says what is wrong with a field line whose name ends in c.
func nameError(c byte, empty, later bool) error {
	switch {
	case (c == ' ' || c == '\t') && empty && later:
		return errFieldFold
	case (c == ' ' || c == '\t') && !empty:
		return errFieldSpace
	case c == '\n':
		return errBareLF
	}
	return errFieldName
}

// connection reads all Connection fields (RFC 9110 section 7.6.1), marks the
// fields they name and reports the options that the codec acts on.
func (s *FieldSet) connection() (closes, keeps, upgrades bool, err error) {
	if s.seen>>KindConnection&1 == 0 {
		return false, false, false, nil
	}
	count := 0
	for i, k := range s.Kinds {
		if k != KindConnection {
			continue
		}
		for rest := s.Fields[i].Value; ; {
			option, tail, more := cutList(rest)
			if count++; count > maxConnectionOptions {
				return false, false, false, errConnectionLong
			}
			switch {
			case len(option) == 0: // RFC 9110 section 5.6.1.2: empty elements are ignored
			case !ValidFieldName(option):
				return false, false, false, errConnection
			case EqualFold(option, "close"):
				closes = true
			case EqualFold(option, "keep-alive"):
				keeps = true
			case EqualFold(option, "upgrade"):
				upgrades = true
			case EqualFold(option, "te"):
			default:
				s.options = true
				s.mark(option)
			}
			if !more {
				break
			}
			rest = tail
		}
	}
	return closes, keeps, upgrades, nil
}

// mark turns the fields called option into KindNamed. Fields that frame or
// route the message keep their kind: a Connection option must not take them
// away from the codec.
func (s *FieldSet) mark(option []byte) {
	for i, k := range s.Kinds {
		if k.Dropped() || k == KindHost || k == KindContentLength || !EqualFoldBytes(s.Fields[i].Name, option) {
			continue
		}
		if k != KindOther {
			s.seen &^= 1 << k
			s.repeated &^= 1 << k
		}
		if s.seen>>KindNamed&1 != 0 {
			s.repeated |= 1 << KindNamed
		} else {
			s.seen |= 1 << KindNamed
		}
		s.Kinds[i] = KindNamed
	}
}

// single returns the value of kind k, which must not be repeated.
func (s *FieldSet) single(k FieldKind) []byte { return s.Fields[s.first[k]].Value }

// contentLength parses a Content-Length value: digits only (RFC 9110 section
// 8.6), at most 19, within int64. ok is false for anything else.
func contentLength(value []byte) (n int64, ok bool) {
	if len(value) == 0 || len(value) > 19 {
		return 0, false
	}
	var u uint64
	for _, c := range value {
		d := c - '0'
		if d > 9 {
			return 0, false
		}
		u = u*10 + uint64(d)
	}
	if u > 1<<63-1 {
		return 0, false
	}
	return int64(u), true
}
