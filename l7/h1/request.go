package h1

import (
	"bytes"
	"encoding/binary"
)

// Framing says how the end of a message body is found (RFC 9112 section 6.3).
type Framing uint8

// The framings.
const (
	BodyNone       Framing = iota // no body
	BodyLength                    // Content-Length
	BodyChunked                   // Transfer-Encoding: chunked
	BodyUntilClose                // until the peer closes; responses only
)

// String returns the framing's name for logs.
func (f Framing) String() string {
	switch f {
	case BodyNone:
		return "none"
	case BodyLength:
		return "length"
	case BodyChunked:
		return "chunked"
	case BodyUntilClose:
		return "until-close"
	}
	return "invalid"
}

// TargetForm is the form of a request target (RFC 9112 section 3.2).
type TargetForm uint8

// The target forms.
const (
	FormOrigin    TargetForm = iota // "/path?query"
	FormAbsolute                    // "http://host/path?query"
	FormAuthority                   // "host:port", CONNECT only
	FormAsterisk                    // "*", OPTIONS only
)

// Request is a parsed request head. All slices alias the parsed buffer, which
// the parser never writes to, except Path of an absolute-form target without
// path, which aliases the Request.
type Request struct {
	Method []byte
	// Target is the request target as sent. Path, Query and Host are split
	// out of it.
	Target []byte
	Form   TargetForm
	// Scheme is "http" or "https" in the sender's case for FormAbsolute, else
	// nil.
	Scheme []byte
	// Path is the raw path, not yet decoded or normalised (see
	// NormalizePath). It begins with "/", or is "*" for FormAsterisk, or nil
	// for FormAuthority.
	Path []byte
	// Query is the raw query without "?"; HasQuery tells "/a?" from "/a".
	Query    []byte
	HasQuery bool
	// Host is the effective host, validated, port included, case as sent: the
	// authority of an absolute-form or authority-form target (RFC 9112
	// section 3.2.2), else the Host field; nil if HTTP/1.0 sends neither.
	Host []byte
	// Minor is the version, HTTP/1.Minor, 0 or 1.
	Minor int

	FieldSet

	// Body is BodyNone, BodyLength (also for Content-Length: 0) or
	// BodyChunked.
	Body Framing
	// Length is the body length in bytes for BodyLength, else 0.
	Length int64
	// KeepAlive says that the client wants the connection to stay open: the
	// outcome of version and Connection fields.
	KeepAlive bool
	// ExpectContinue says that an HTTP/1.1 client with a body waits for 100
	// (RFC 9110 section 10.1.1).
	ExpectContinue bool
	// Upgrade is the value of the Upgrade field when an HTTP/1.1 request has
	// exactly one and Connection lists it, else nil.
	Upgrade []byte
	// HeadLen is the number of bytes of the buffer that the head takes, a
	// tolerated empty line before it included.
	HeadLen int

	scanned int // bytes seen by earlier calls that returned ErrIncomplete
	wake    int // buffer length at which parsing is tried again in any case
	slash   [1]byte
}

// Reset forgets the parsed head, also a partial one, and keeps capacity.
func (r *Request) Reset() {
	fields := r.FieldSet
	fields.reset()
	*r = Request{FieldSet: fields}
}

// Parse parses a head at the start of buf; lim may be nil. It returns nil,
// ErrIncomplete when more bytes are needed, or an *Error with Status 400, 414,
// 431, 501 or 505, which the caller answers before it closes the connection.
//
// After ErrIncomplete call it again with the same bytes and more behind them;
// the buffer may have moved. It remembers how far it has looked, so that a head
// that comes byte by byte costs time linear in its length. After any other
// outcome the next call starts a new head; Reset does so at any time.
//
// A CONNECT request with an authority-form target parses, as FormAuthority; a
// caller that does not tunnel answers 405 and closes. CONNECT with any other
// form is refused with 400.
func (r *Request) Parse(buf []byte, lim *Limits) error {
	if r.scanned != 0 && !headMayEnd(buf, &r.scanned, r.wake, lim) {
		return ErrIncomplete
	}
	err := r.parse(buf, lim)
	r.scanned, r.wake = 0, 0
	if err == ErrIncomplete {
		r.scanned, r.wake = len(buf), nextWake(len(buf))
		// A target without end is refused once it must be too long.
		if n := maxMethodBytes + lim.targetBytes() + 4; len(buf) < n {
			r.wake = min(r.wake, n)
		}
	}
	return err
}

// nextWake returns the buffer length at which an incomplete head of n bytes is
// parsed again even though its end is not in sight. Doubling keeps the total
// linear while errors in a slow head are still found early.
func nextWake(n int) int { return max(2*n, 64) }

// headMayEnd reports whether a head of which *scanned bytes were seen before
// is worth parsing again: an empty line or a bare LF has come, or the buffer has
// reached wake or the head limit. It advances *scanned.
func headMayEnd(buf []byte, scanned *int, wake int, lim *Limits) bool {
	if len(buf) < *scanned || len(buf) >= wake || len(buf) > lim.headBytes() {
		return true
	}
	for i := *scanned; ; i++ {
		j := bytes.IndexByte(buf[i:], '\n')
		if j < 0 {
			*scanned = len(buf)
			return false
		}
		i += j
		if i < 2 || buf[i-1] != '\r' || buf[i-2] == '\n' {
			return true
		}
	}
}

// "HTTP/1.1" and CR LF as little-endian loads see them.
const (
	http11 = 'H' | 'T'<<8 | 'T'<<16 | 'P'<<24 | '/'<<32 | '1'<<40 | '.'<<48 | '1'<<56
	crlf   = '\r' | '\n'<<8
)

func (r *Request) parse(buf []byte, lim *Limits) error {
	limit := lim.headBytes()
	long := len(buf) > limit
	if long {
		buf = buf[:limit]
	}
	p, err := r.parseLine(buf, lim.targetBytes())
	if err == nil {
		p, err = r.FieldSet.parse(buf, p, lim.fields())
	}
	if err != nil {
		if err == ErrIncomplete && long {
			return errHeadLong
		}
		return err
	}
	r.HeadLen = p
	return r.finish()
}

// parseLine reads the request line and returns the offset behind it.
func (r *Request) parseLine(buf []byte, maxTarget int) (int, error) {
	p := 0
	if len(buf) > 0 && buf[0] == '\r' {
		if len(buf) < 2 {
			return 0, ErrIncomplete
		}
		if buf[1] != '\n' {
			return 0, errBareCR
		}
		p = 2
	}

	start := p
	for p < len(buf) && class[buf[p]]&classToken != 0 {
		p++
	}
	if p-start > maxMethodBytes {
		return 0, errMethodLong
	}
	if p >= len(buf) {
		return 0, ErrIncomplete
	}
	if buf[p] != ' ' || p == start {
		switch {
		case buf[p] == '\n':
			return 0, errBareLF
		case buf[p] == '\r' && p == 2 && start == 2:
			return 0, errLeadingLines
		}
		return 0, errMethod
	}
	r.Method = buf[start:p:p]

	p++
	start = p
	for p < len(buf) && class[buf[p]]&classTarget != 0 {
		p++
	}
	if p-start > maxTarget {
		return 0, errTargetLong
	}
	if p >= len(buf) {
		return 0, ErrIncomplete
	}
	if buf[p] != ' ' {
		return 0, errTarget
	}
	if p == start {
		return 0, errTargetForm
	}
	target := buf[start:p:p]
	r.Target = target

	p++
	if len(buf)-p >= 10 && binary.LittleEndian.Uint64(buf[p:]) == http11 && binary.LittleEndian.Uint16(buf[p+8:]) == crlf {
		r.Minor = 1
		p += 10
	} else {
		minor, err := parseVersion(buf[p:])
		if err != nil {
			return 0, err
		}
		r.Minor = minor
		p += 10
	}

	r.Scheme, r.Host = nil, nil
	if target[0] == '/' {
		if string(r.Method) == "CONNECT" {
			return 0, errTargetForm
		}
		r.Form = FormOrigin
		return p, r.splitPath(target)
	}
	return p, r.splitTarget()
}

// parseVersion reads "HTTP/1.0" or "HTTP/1.1" and CR LF, 10 bytes.
func parseVersion(b []byte) (minor int, err error) {
	const prefix = "HTTP/"
	for i := 0; i < len(prefix); i++ {
		if i >= len(b) {
			return 0, ErrIncomplete
		}
		if b[i] != prefix[i] {
			return 0, errVersion
		}
	}
	for i := 5; i < 8; i++ {
		if i >= len(b) {
			return 0, ErrIncomplete
		}
		if i == 6 {
			if b[i] != '.' {
				return 0, errVersion
			}
		} else if b[i] < '0' || b[i] > '9' {
			return 0, errVersion
		}
	}
	if b[5] > '1' {
		return 0, errVersionMajor
	}
	if b[5] != '1' || b[7] > '1' {
		return 0, errVersion
	}
	for i, want := range [2]byte{'\r', '\n'} {
		if 8+i >= len(b) {
			return 0, ErrIncomplete
		}
		if b[8+i] != want {
			if b[8+i] == '\n' {
				return 0, errBareLF
			}
			return 0, errVersion
		}
	}
	return int(b[7] - '0'), nil
}

// splitPath sets Path and Query from the part of the target that begins with
// the path.
func (r *Request) splitPath(rest []byte) error {
	r.Query, r.HasQuery = nil, false
	path := rest
	if i := bytes.IndexByte(rest, '?'); i >= 0 {
		path, r.Query, r.HasQuery = rest[:i:i], rest[i+1:], true
	}
	if bytes.IndexByte(path, '\\') >= 0 {
		return errTarget
	}
	r.Path = path
	return nil
}

// splitTarget handles the target forms other than origin-form (RFC 9112
// sections 3.2.2 to 3.2.4). It sets Host when the target has an authority.
func (r *Request) splitTarget() error {
	r.Path, r.Query, r.HasQuery = nil, nil, false
	if len(r.Target) == 1 && r.Target[0] == '*' {
		if string(r.Method) != "OPTIONS" {
			return errTargetForm
		}
		r.Form, r.Path = FormAsterisk, r.Target
		return nil
	}
	if string(r.Method) == "CONNECT" {
		port, ok := hostPort(r.Target)
		if !ok || len(port) == 0 {
			return errTargetForm
		}
		r.Form, r.Host = FormAuthority, r.Target
		return nil
	}
	i := bytes.IndexByte(r.Target, ':')
	if i < 0 || len(r.Target) < i+3 || r.Target[i+1] != '/' || r.Target[i+2] != '/' {
		return errTargetForm
	}
	scheme := r.Target[:i:i]
	if !EqualFold(scheme, "http") && !EqualFold(scheme, "https") {
		return errScheme
	}
	authority := r.Target[i+3:]
	rest := authority[len(authority):]
	if j := bytes.IndexAny(authority, "/?"); j >= 0 {
		authority, rest = authority[:j:j], authority[j:]
	}
	if _, ok := hostPort(authority); !ok {
		return errHost
	}
	if err := r.splitPath(rest); err != nil {
		return err
	}
	r.Form, r.Scheme, r.Host = FormAbsolute, scheme, authority
	if len(r.Path) == 0 {
		if string(r.Method) == "OPTIONS" && !r.HasQuery {
			// RFC 9112 section 3.2.4: the last proxy sends "*" for it.
			r.slash[0] = '*'
		} else {
			r.slash[0] = '/'
		}
		r.Path = r.slash[:]
	}
	return nil
}

// finish applies the rules that span fields: Host, Connection, body framing.
func (r *Request) finish() error {
	s := &r.FieldSet
	switch {
	case s.Repeated(KindHost):
		return errHostRepeated
	case s.Has(KindHost):
		host := s.single(KindHost)
		if _, ok := hostPort(host); !ok {
			return errHost
		}
		if r.Host == nil { // the target has no authority
			r.Host = host
		}
	case r.Minor == 1:
		return errHostMissing
	}

	r.Body, r.Length = BodyNone, 0
	if s.Has(KindTransferEncoding) {
		switch {
		case s.Has(KindContentLength):
			return errLengthAndTE
		case r.Minor == 0:
			return errTEVersion
		case s.Repeated(KindTransferEncoding) || !EqualFold(s.single(KindTransferEncoding), "chunked"):
			return errTE
		}
		r.Body = BodyChunked
	} else if s.Has(KindContentLength) {
		if s.Repeated(KindContentLength) {
			return errLengthRepeated
		}
		n, ok := contentLength(s.single(KindContentLength))
		if !ok {
			return errLength
		}
		r.Body, r.Length = BodyLength, n
	}

	closes, keeps, upgrades, err := s.connection()
	if err != nil {
		return err
	}
	r.KeepAlive = !closes && (keeps || r.Minor == 1)
	r.Upgrade = nil
	if upgrades && r.Minor == 1 && s.Has(KindUpgrade) && !s.Repeated(KindUpgrade) {
		r.Upgrade = s.single(KindUpgrade)
	}
	r.ExpectContinue = r.Minor == 1 && (r.Body == BodyChunked || r.Length > 0) &&
		s.Has(KindExpect) && EqualFold(s.single(KindExpect), "100-continue")
	return nil
}
