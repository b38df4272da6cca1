package plugin

import "unsafe"

// Field is one header field line. It is an alias of an unnamed type, identical to the codec's, so that the codec and this
// contract share field slices without importing each other.
type Field = struct{ Name, Value []byte }

// Header is a list of header fields in wire order. Names compare without regard to ASCII case. The slices alias message
// buffers or the exchange's scratch memory; nobody edits them in place.
type Header struct {
	fields []Field
	gen    uint32
}

// Reset makes h hold fields; h takes the slice over.
func (h *Header) Reset(fields []Field) { h.fields = fields; h.gen++ }

// Fields returns the fields in order. The slice is valid until the next edit.
func (h *Header) Fields() []Field { return h.fields }

// Len is the number of field lines.
func (h *Header) Len() int { return len(h.fields) }

// Generation changes with every edit; a cache of something derived from the header compares it.
func (h *Header) Generation() uint32 { return h.gen }

// Get returns the value of the first field with that name, or nil when there is none. An empty value is not nil.
func (h *Header) Get(name string) []byte {
	for i := range h.fields {
		f := &h.fields[i]
		if len(f.Name) == len(name) && foldEqual(f.Name, name) {
			if f.Value == nil {
				return emptyValue
			}
			return f.Value
		}
	}
	return nil
}

// Has tells whether a field with that name exists.
func (h *Header) Has(name string) bool { return h.Get(name) != nil }

// Set replaces every field of that name by one with the given value, which must outlive the exchange or come from it. A name that
// is not a token is ignored; control bytes in the value (CR and LF among them) become spaces, so no value can end
// the line it stands in (RFC 9110 5.5).
func (h *Header) Set(name string, value []byte) {
	if !ValidName(name) {
		return
	}
	value = cleanValue(value)
	h.gen++
	for i := range h.fields {
		if len(h.fields[i].Name) == len(name) && foldEqual(h.fields[i].Name, name) {
			h.fields[i].Value = value
			h.delFrom(i+1, name)
			return
		}
	}
	h.fields = append(h.fields, Field{Name: Bytes(name), Value: value})
}

// SetString is Set with a string value.
func (h *Header) SetString(name, value string) { h.Set(name, Bytes(value)) }

// Add appends a field, keeping others of the same name. It cleans like Set.
func (h *Header) Add(name string, value []byte) {
	if !ValidName(name) {
		return
	}
	h.gen++
	h.fields = append(h.fields, Field{Name: Bytes(name), Value: cleanValue(value)})
}

// Del removes every field of that name and tells whether there was one.
func (h *Header) Del(name string) bool { return h.delFrom(0, name) }

// Keep removes every field for which keep is false, in place.
func (h *Header) Keep(keep func(f *Field) bool) {
	n := 0
	for i := range h.fields {
		if keep(&h.fields[i]) {
			h.fields[n] = h.fields[i]
			n++
		}
	}
	if n != len(h.fields) {
		h.gen++
		h.fields = h.fields[:n]
	}
}

func (h *Header) delFrom(from int, name string) bool {
	n := from
	for i := from; i < len(h.fields); i++ {
		f := &h.fields[i]
		if len(f.Name) == len(name) && foldEqual(f.Name, name) {
			continue
		}
		if n != i {
			h.fields[n] = *f
		}
		n++
	}
	if n == len(h.fields) {
		return false
	}
	h.fields = h.fields[:n]
	h.gen++
	return true
}

var emptyValue = []byte{}

func cleanValue(v []byte) []byte {
	if v == nil {
		return emptyValue
	}
	for i, c := range v {
		if (c < 0x20 && c != '\t') || c == 0x7f {
			w := append([]byte(nil), v...)
			for j := i; j < len(w); j++ {
				if (w[j] < 0x20 && w[j] != '\t') || w[j] == 0x7f {
					w[j] = ' '
				}
			}
			return w
		}
	}
	return v
}

// ValidName tells whether name is a field name (a token, RFC 9110 5.1).
func ValidName(name string) bool {
	if name == "" {
		return false
	}
	for i := 0; i < len(name); i++ {
		if !tokenChar[name[i]] {
			return false
		}
	}
	return true
}

var tokenChar = func() (t [256]bool) {
	for c := '0'; c <= '9'; c++ {
		t[c] = true
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c], t[c-32] = true, true
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		t[c] = true
	}
	return t
}()

var lower = func() (t [256]byte) {
	for i := range t {
		t[i] = byte(i)
	}
	for c := 'A'; c <= 'Z'; c++ {
		t[c] = byte(c) + 32
	}
	return t
}()

// foldEqual compares names of equal length without regard to ASCII case.
func foldEqual(a []byte, b string) bool {
	for i := 0; i < len(a); i++ {
		if a[i] != b[i] && lower[a[i]] != lower[b[i]] {
			return false
		}
	}
	return true
}

// EqualFold compares without regard to ASCII case.
func EqualFold(a []byte, b string) bool { return len(a) == len(b) && foldEqual(a, b) }

// Bytes views s as a byte slice without a copy. The result must never be written to.
func Bytes(s string) []byte {
	if s == "" {
		return emptyValue
	}
	return unsafe.Slice(unsafe.StringData(s), len(s))
}

// String views b as a string without a copy. It is valid as long as b is unchanged, which for bytes of an exchange means until it ends.
func String(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	return unsafe.String(&b[0], len(b))
}
