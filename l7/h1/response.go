package h1

import "encoding/binary"

// Response is a parsed response head of an upstream. All slices alias the
// parsed buffer, which the parser never writes to.
type Response struct {
	// Minor is the version, HTTP/1.Minor, 0 or 1.
	Minor int
	// Status is the status code, 100 to 999. A caller that gets 1xx other
	// than 101 forwards or drops that head and parses the next one.
	Status int
	// Reason is the reason phrase, possibly empty.
	Reason []byte

	FieldSet

	// Body is BodyNone, BodyLength, BodyChunked or BodyUntilClose (RFC 9112
	// section 6.3).
	Body Framing
	// Length is the value of Content-Length, or -1 without it. It is set also
	// when Body is BodyNone (HEAD, 304), where it describes a body that is not
	// sent.
	Length int64
	// KeepAlive says that the connection may carry another request once the
	// body has been read. It is false after 101 and for BodyUntilClose.
	KeepAlive bool
	// Upgrade is the value of the Upgrade field of a 101 response whose
	// Connection lists upgrade, else nil.
	Upgrade []byte
	// HeadLen is the number of bytes of the buffer that the head takes.
	HeadLen int

	scanned int
	wake    int
}

// Reset forgets the parsed head, also a partial one, and keeps capacity.
func (r *Response) Reset() {
	fields := r.FieldSet
	fields.reset()
	*r = Response{FieldSet: fields}
}

// Parse parses a response head at the start of buf; lim may be nil. method is
// the method of the request as sent upstream. It returns nil, ErrIncomplete, or
// an *Error with Status 502; it resumes as Request.Parse does.
func (r *Response) Parse(buf []byte, method []byte, lim *Limits) error {
	if r.scanned != 0 && !headMayEnd(buf, &r.scanned, r.wake, lim) {
		return ErrIncomplete
	}
	err := r.parse(buf, method, lim)
	r.scanned, r.wake = 0, 0
	if err == nil {
		return nil
	}
	if err == ErrIncomplete {
		r.scanned, r.wake = len(buf), nextWake(len(buf))
		return err
	}
	return err.(*Error).Upstream()
}

func (r *Response) parse(buf, method []byte, lim *Limits) error {
	limit := lim.headBytes()
	long := len(buf) > limit
	if long {
		buf = buf[:limit]
	}
	p, err := r.parseLine(buf)
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
	return r.finish(method)
}

// parseLine reads the status line (RFC 9112 section 4) and returns the offset
// behind it. The space before an empty reason may be missing, as it is from
// several servers.
func (r *Response) parseLine(buf []byte) (int, error) {
	if len(buf) >= 8 && binary.LittleEndian.Uint64(buf) == http11 {
		r.Minor = 1
	} else {
		const http10 = "HTTP/1.0"
		for i := 0; i < len(http10); i++ {
			if i >= len(buf) {
				return 0, ErrIncomplete
			}
			if buf[i] != http10[i] && (i != 7 || buf[i] != '1') {
				return 0, errStatusLine
			}
		}
		r.Minor = int(buf[7] - '0')
	}
	status := 0
	for i := 8; i < 12; i++ {
		if i >= len(buf) {
			return 0, ErrIncomplete
		}
		c := buf[i]
		switch {
		case i == 8:
			if c != ' ' {
				return 0, errStatusLine
			}
		case c < '0' || c > '9' || i == 9 && c == '0':
			return 0, errStatusLine
		default:
			status = status*10 + int(c-'0')
		}
	}
	r.Status = status
	p := 12
	if p >= len(buf) {
		return 0, ErrIncomplete
	}
	start := p
	if buf[p] == ' ' {
		p++
		start = p
		for p = controlAt(buf, p); p < len(buf) && buf[p] == '\t'; p = controlAt(buf, p+1) {
		}
	}
	if p >= len(buf) {
		return 0, ErrIncomplete
	}
	if buf[p] != '\r' {
		if buf[p] == '\n' {
			return 0, errBareLF
		}
		return 0, errStatusLine
	}
	if p+1 >= len(buf) {
		return 0, ErrIncomplete
	}
	if buf[p+1] != '\n' {
		return 0, errBareCR
	}
	r.Reason = buf[start:p:p]
	return p + 2, nil
}

// finish applies the rules that span fields: body framing and Connection.
func (r *Response) finish(method []byte) error {
	s := &r.FieldSet
	r.Length = -1
	chunked := s.Has(KindTransferEncoding)
	if s.Has(KindContentLength) {
		if chunked {
			return errLengthAndTE
		}
		n, ok := contentLength(s.single(KindContentLength))
		if !ok {
			return errLength
		}
		if s.Repeated(KindContentLength) {
			// RFC 9112 section 6.3: equal values may be taken as one.
			for i, k := range s.Kinds {
				if k != KindContentLength {
					continue
				}
				if m, ok := contentLength(s.Fields[i].Value); !ok || m != n {
					return errLengthRepeated
				}
			}
		}
		r.Length = n
	}
	if chunked {
		switch {
		case r.Minor == 0:
			return errTEVersion
		case s.Repeated(KindTransferEncoding) || !EqualFold(s.single(KindTransferEncoding), "chunked"):
			return errTE
		}
	}

	closes, keeps, upgrades, err := s.connection()
	if err != nil {
		return err
	}
	r.KeepAlive = !closes && (keeps || r.Minor == 1)
	r.Upgrade = nil

	switch {
	case r.Status == 101:
		r.Body, r.KeepAlive = BodyNone, false
		if upgrades && s.Has(KindUpgrade) && !s.Repeated(KindUpgrade) {
			r.Upgrade = s.single(KindUpgrade)
		}
	case r.Status < 200 || r.Status == 204:
		r.Body = BodyNone
		if chunked || r.Length > 0 {
			// RFC 9110 section 8.6 forbids it; whether a body follows
			// is anyone's guess, so nothing is read after it.
			r.KeepAlive = false
		}
	case r.Status == 304 || string(method) == "HEAD":
		r.Body = BodyNone
	case string(method) == "CONNECT" && r.Status < 300:
		r.Body, r.KeepAlive = BodyNone, false
	case chunked:
		r.Body = BodyChunked
	case r.Length >= 0:
		r.Body = BodyLength
	default:
		r.Body, r.KeepAlive = BodyUntilClose, false
	}
	return nil
}
