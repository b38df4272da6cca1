package plugin

// AppendEscaped appends path percent-encoded for a request target or a Location: every byte but "/" and those that RFC 3986 section 3.3 calls pchar. "%" is encoded
// too, for path is a decoded one.
func AppendEscaped(dst, path []byte) []byte {
	for _, c := range path {
		if pathChar[c] {
			dst = append(dst, c)
			continue
		}
		dst = append(dst, '%', upperHex[c>>4], upperHex[c&15])
	}
	return dst
}

// AppendQuery appends a query that is encoded already; bytes that may not stand in a request target are percent-encoded.
func AppendQuery(dst, query []byte) []byte {
	for _, c := range query {
		if c <= ' ' || c >= 0x7f || c == '#' {
			dst = append(dst, '%', upperHex[c>>4], upperHex[c&15])
			continue
		}
		dst = append(dst, c)
	}
	return dst
}

const upperHex = "0123456789ABCDEF"

var pathChar = func() (t [256]bool) {
	for c := '0'; c <= '9'; c++ {
		t[c] = true
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c], t[c-32] = true, true
	}
	for _, c := range "-._~!$&'()*+,;=:@/" {
		t[c] = true
	}
	return t
}()
