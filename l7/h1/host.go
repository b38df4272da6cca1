package h1

import "bytes"

// maxHostBytes bounds host and port; a DNS name has at most 253 bytes.
const maxHostBytes = 255 + len(":65535")

// hostPort checks an authority without userinfo (RFC 9110 section 7.2): a
// registered name or IPv4 address of letters, digits, "-", "_", "." and "~"
// without empty labels (one trailing dot is fine), or an IPv6 address in
// brackets; then optionally ":" and a port of up to 5 digits, at most 65535. It
// returns the port's digits. The percent-encoding and sub-delims that RFC 3986
// allows in names are refused: no resolver takes them and parsers disagree.
func hostPort(host []byte) (port []byte, ok bool) {
	if len(host) == 0 || len(host) > maxHostBytes {
		return nil, false
	}
	i := 0
	if host[0] == '[' {
		i = bytes.IndexByte(host, ']')
		if i < 0 || !ipv6(host[1:i]) {
			return nil, false
		}
		i++
	} else {
		dot := true // an empty label would begin here
		for ; i < len(host); i++ {
			c := host[i]
			if class[c]&classHost == 0 {
				break
			}
			if c == '.' && dot {
				return nil, false
			}
			dot = c == '.'
		}
		if i == 0 {
			return nil, false
		}
	}
	if i == len(host) {
		return nil, true
	}
	if host[i] != ':' {
		return nil, false
	}
	port = host[i+1:]
	if len(port) > 5 {
		return nil, false
	}
	n := 0
	for _, c := range port {
		if c < '0' || c > '9' {
			return nil, false
		}
		n = n*10 + int(c-'0')
	}
	return port, n <= 65535
}

// ipv6 reports whether b is an IPv6 address (RFC 3986 section 3.2.2), without
// a zone.
func ipv6(b []byte) bool {
	groups, digits, double := 0, 0, false
	for i := 0; i < len(b); i++ {
		c := b[i]
		switch {
		case class[c]&classHex != 0:
			if digits++; digits > 4 {
				return false
			}
		case c == ':':
			if i+1 < len(b) && b[i+1] == ':' {
				if double {
					return false
				}
				double = true
				if digits > 0 {
					groups++
				}
				i++
			} else {
				if digits == 0 {
					return false
				}
				groups++
				if i+1 == len(b) {
					return false
				}
			}
			digits = 0
		case c == '.':
			// The last 32 bits as an IPv4 address.
			if digits == 0 || !ipv4(b[i-digits:]) {
				return false
			}
			groups += 2
			return groups == 8 && !double || groups < 8 && double
		default:
			return false
		}
	}
	if digits > 0 {
		groups++
	}
	return groups == 8 && !double || groups < 8 && double
}

// ipv4 reports whether b is a dotted quad (RFC 3986 section 3.2.2).
func ipv4(b []byte) bool {
	octets, digits, n := 1, 0, 0
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9':
			if digits > 0 && n == 0 {
				return false // leading zero
			}
			digits++
			if n = n*10 + int(c-'0'); n > 255 {
				return false
			}
		case c == '.' && digits > 0:
			octets, digits, n = octets+1, 0, 0
		default:
			return false
		}
	}
	return octets == 4 && digits > 0
}
