package h1

import (
	"encoding/binary"
	"math/bits"
)

// Classes of a byte; a byte may be in several.
const (
	classToken  uint8 = 1 << iota // tchar, RFC 9110 section 5.6.2
	classTarget                   // allowed raw in a request target
	classHost                     // allowed in a registered name or IPv4 address
	classPchar                    // pchar or "/", RFC 3986 section 3.3
	classPath                     // needs a closer look in NormalizePath
	classUnder                    // "_"
	classHex                      // hexadecimal digit
	classIPv6                     // allowed inside the brackets of an IPv6 literal
)

// class maps a byte to its classes, lower to its ASCII lower case and hexValue
// a hexadecimal digit to its value.
var (
	class    = buildClasses()
	lower    = buildLower()
	hexValue = buildHexValues()
)

func buildClasses() (t [256]uint8) {
	set := func(bits uint8, chars string) {
		for i := 0; i < len(chars); i++ {
			t[chars[i]] |= bits
		}
	}
	const (
		alpha      = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
		digit      = "0123456789"
		hex        = digit + "abcdefABCDEF"
		unreserved = alpha + digit + "-._~"
		subDelims  = "!$&'()*+,;="
	)
	set(classToken, alpha+digit+"!#$%&'*+-.^_`|~")
	set(classHost, unreserved)
	set(classPchar, unreserved+subDelims+":@/")
	set(classUnder, "_")
	set(classHex, hex)
	set(classIPv6, hex+":.")
	for c := 0; c < 256; c++ {
		if c > 0x20 && c < 0x7f && c != '#' {
			t[c] |= classTarget
		}
		if c < 0x20 || c == 0x7f {
			t[c] |= classPath
		}
	}
	set(classPath, "/%\\;")
	return t
}

func buildLower() (t [256]byte) {
	for c := range t {
		t[c] = byte(c)
		if c >= 'A' && c <= 'Z' {
			t[c] += 'a' - 'A'
		}
	}
	return t
}

func buildHexValues() (t [256]byte) {
	for c := byte('0'); c <= '9'; c++ {
		t[c] = c - '0'
	}
	for c := byte('a'); c <= 'f'; c++ {
		t[c] = c - 'a' + 10
		t[c-'a'+'A'] = c - 'a' + 10
	}
	return t
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// controlAt returns the index of the first control byte (below 0x20, HTAB
// included, or 0x7f) of b at or after i, or len(b).
func controlAt(b []byte, i int) int {
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		// Bytes below 0x20, and bytes equal to 0x7f. A borrow can mark a byte
		// wrongly only above one that is marked rightly, so the lowest mark
		// of either mask is exact.
		d := x ^ (ones * 0x7f)
		if m := ((x - ones*0x20) & ^x & highs) | ((d - ones) & ^d & highs); m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c < 0x20 || c == 0x7f {
			return i
		}
	}
	return i
}

// EqualFold reports whether a is lowerCase in any ASCII case. The second
// argument must be in lower case.
func EqualFold(a []byte, lowerCase string) bool {
	if len(a) != len(lowerCase) {
		return false
	}
	for i := 0; i < len(a); i++ {
		if lower[a[i]] != lowerCase[i] {
			return false
		}
	}
	return true
}

// EqualFoldBytes reports whether a and b are the same in any ASCII case.
func EqualFoldBytes(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if lower[a[i]] != lower[b[i]] {
			return false
		}
	}
	return true
}

// ValidFieldName reports whether name is a token (RFC 9110 section 5.1), which
// AppendField requires.
func ValidFieldName(name []byte) bool {
	for _, c := range name {
		if class[c]&classToken == 0 {
			return false
		}
	}
	return len(name) > 0
}

// ValidFieldValue reports whether value can be sent as a field value: no
// control byte but HTAB. Values that do not come from a parsed head (plugins,
// configuration) must pass it before AppendField.
func ValidFieldValue(value []byte) bool {
	for i := controlAt(value, 0); i < len(value); i = controlAt(value, i+1) {
		if value[i] != '\t' {
			return false
		}
	}
	return true
}

// trimOWS cuts spaces and tabs off both ends.
func trimOWS(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}
