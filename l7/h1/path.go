package h1

import "bytes"

// PathOptions changes what NormalizePath admits.
type PathOptions struct {
	// EncodedSlash admits "%2F" (apisix.match_uri_encoded_slash). It stays
	// encoded, in upper case, and so does "%25", so that the two cannot be
	// confused; every other escape is decoded. A dot segment next to an encoded
	// slash is refused.
	EncodedSlash bool
	// Servlet strips ";" and what follows it from every segment, as servlet
	// containers do before they match (apisix.normalize_uri_like_servlet). A
	// dot segment with parameters, and an empty segment with parameters before
	// the last, are refused. The result is for matching: an upstream that reads
	// the parameters gets the path normalised without this option.
	Servlet bool
}

// The errors of NormalizePath.
var (
	errPathStart     = newError(400, "path does not begin with a slash")
	errPathEscape    = newError(400, "malformed percent-encoding in path")
	errPathControl   = newError(400, "control byte in path")
	errPathSlash     = newError(400, "encoded slash in path")
	errPathBackslash = newError(400, "backslash in path")
	errPathParam     = newError(400, "dot or empty path segment with parameters")
	errPathAbove     = newError(400, "path climbs above the root")
)

// NormalizePath returns the one form of a raw path that router, plugins and
// upstream see: percent-decoded once, runs of "/" merged, "." and ".." segments
// resolved (RFC 3986 section 5.2.4), whether they were encoded or not. A path
// that climbs above the root, a bad escape, a decoded control byte, a backslash
// and an encoded slash in any spelling, and a dot segment with ";" behind it
// are refused with an *Error of Status 400. Bytes from 0x80 on are decoded and
// not checked to be UTF-8.
//
// A path that needs no change is returned as raw itself. Otherwise the result
// overwrites dst from its start, growing it when its capacity is below
// len(raw); dst must not overlap raw.
func NormalizePath(dst, raw []byte, opt PathOptions) (norm []byte, err error) {
	if len(raw) == 0 || raw[0] != '/' {
		return nil, errPathStart
	}
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if class[c]&classPath == 0 {
			continue
		}
		if c == '/' && (i+1 == len(raw) || raw[i+1] != '/' && raw[i+1] != '.') {
			continue
		}
		norm, err = normalize(dst, raw, opt)
		if err == nil && bytes.Equal(norm, raw) {
			norm = raw // a name with a leading dot, or parameters
		}
		return norm, err
	}
	return raw, nil
}

// normalize is NormalizePath for a path that may need a change.
func normalize(dst, raw []byte, opt PathOptions) ([]byte, error) {
	if cap(dst) < len(raw) {
		dst = make([]byte, 0, len(raw))
	}
	out := append(dst[:0], '/')
	for i := 1; ; {
		start := len(out) // of the segment; out ends in "/"
		var err error
		out, i, err = appendSegment(out, raw, i, opt)
		if err != nil {
			return nil, err
		}
		last := i >= len(raw) // else raw[i] is the slash behind the segment
		seg := out[start:]
		switch {
		case len(seg) == 0, len(seg) == 1 && seg[0] == '.':
			out = out[:start]
		case len(seg) == 2 && seg[0] == '.' && seg[1] == '.':
			if start == 1 {
				return nil, errPathAbove
			}
			out = out[:1+bytes.LastIndexByte(out[:start-1], '/')]
		case !last:
			out = append(out, '/')
		}
		if last {
			return out, nil
		}
		i++
	}
}

// appendSegment decodes the segment of raw that begins at i onto out and
// returns the offset of its end, a "/" or the end of raw.
func appendSegment(out, raw []byte, i int, opt PathOptions) ([]byte, int, error) {
	start := len(out)
	part := start    // where the text behind the last encoded slash begins
	slashes := false // an encoded slash was kept
	params := -1     // where the first ";" is
	for ; i < len(raw) && raw[i] != '/'; i++ {
		c := raw[i]
		if c == '%' {
			if len(raw)-i < 3 || class[raw[i+1]]&classHex == 0 || class[raw[i+2]]&classHex == 0 {
				return nil, 0, errPathEscape
			}
			c = hexValue[raw[i+1]]<<4 | hexValue[raw[i+2]]
			i += 2
			switch {
			case c == '/' && !opt.EncodedSlash:
				return nil, 0, errPathSlash
			case c == '/':
				if dots(out[part:]) {
					return nil, 0, errPathSlash
				}
				out = append(out, "%2F"...)
				slashes, part = true, len(out)
				continue
			case c == '%' && opt.EncodedSlash:
				out = append(out, "%25"...)
				continue
			}
		}
		switch {
		case c == '\\':
			return nil, 0, errPathBackslash
		case c < 0x20 || c == 0x7f:
			return nil, 0, errPathControl
		case c == ';':
			if dots(out[part:]) {
				return nil, 0, errPathParam
			}
			if params < 0 {
				params = len(out)
			}
		}
		out = append(out, c)
	}
	if slashes && dots(out[part:]) {
		return nil, 0, errPathSlash
	}
	if params >= 0 && opt.Servlet {
		if params == start && i < len(raw) {
			return nil, 0, errPathParam
		}
		out = out[:params]
	}
	return out, i, nil
}

// dots reports whether a segment is "." or "..".
func dots(seg []byte) bool {
	return len(seg) == 1 && seg[0] == '.' || len(seg) == 2 && seg[0] == '.' && seg[1] == '.'
}

// AppendEscapedPath appends a path that NormalizePath returned without
// PathOptions.EncodedSlash, percent-encoded for a request target: every byte
// but "/" and those RFC 3986 section 3.3 calls pchar is escaped, "%" included.
func AppendEscapedPath(dst, norm []byte) []byte {
	return appendEscaped(dst, norm, false)
}

// AppendEscapedSlashPath is AppendEscapedPath for a path that NormalizePath
// returned with PathOptions.EncodedSlash: its "%2F" and "%25" are copied.
func AppendEscapedSlashPath(dst, norm []byte) []byte {
	return appendEscaped(dst, norm, true)
}

func appendEscaped(dst, norm []byte, keep bool) []byte {
	const digits = "0123456789ABCDEF"
	run := 0
	for i, c := range norm {
		if class[c]&classPchar != 0 || keep && c == '%' && keptEscape(norm[i:]) {
			continue
		}
		dst = append(dst, norm[run:i]...)
		dst = append(dst, '%', digits[c>>4], digits[c&15])
		run = i + 1
	}
	return append(dst, norm[run:]...)
}

// keptEscape reports whether b begins with an escape that
// PathOptions.EncodedSlash leaves in a path.
func keptEscape(b []byte) bool {
	return len(b) >= 3 && b[1] == '2' && (b[2] == 'F' || b[2] == '5')
}
