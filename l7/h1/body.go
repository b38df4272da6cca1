package h1

import "bytes"

// Body decodes a message body incrementally, whatever its framing. The zero
// value is a body without bytes; call Reset for every message.
type Body struct {
	framing   Framing
	state     chunkState
	done      bool
	digits    uint8 // of the chunk size being read
	remaining int64 // of the fixed length, or of the chunk
	ext       int   // chunk extension bytes of this message so far
	failed    error // what every further Next answers

	maxExt, maxTrailer, maxFields int

	trailerBuf []byte
	trailers   FieldSet
}

// chunkState is where a chunked body stands (RFC 9112 section 7.1).
type chunkState uint8

const (
	atSize       chunkState = iota // in the hex digits
	atSizeLF                       // LF of the size line
	atExtBWS                       // whitespace before ";"
	atExtStart                     // behind ";"
	atExtName                      // in an extension name
	atExtNameBWS                   // whitespace behind a name
	atExtValue0                    // behind "="
	atExtValue                     // in a token value
	atQuoted                       // in a quoted value
	atQuotedPair                   // behind "\" in a quoted value
	atQuotedEnd                    // behind a quoted value
	atData                         // in chunk data
	atDataCR                       // CR behind chunk data
	atDataLF                       // LF behind chunk data
	atLast                         // behind the last chunk's size line
	atEndLF                        // LF of the final empty line
	atTrailer                      // in a trailer section
)

// Reset starts a body of the given framing; length counts for BodyLength only
// and lim may be nil. It keeps the capacity of an earlier trailer section.
func (b *Body) Reset(f Framing, length int64, lim *Limits) {
	b.framing = f
	b.state, b.digits, b.remaining, b.ext, b.failed = atSize, 0, 0, 0, nil
	b.done = false
	if f == BodyLength {
		b.remaining = max(length, 0)
		b.done = b.remaining == 0
	}
	b.maxExt, b.maxTrailer, b.maxFields = lim.chunkExtBytes(), lim.trailerBytes(), lim.fields()
	b.trailerBuf = b.trailerBuf[:0]
	b.trailers.reset()
}

// Done reports whether the body has ended, its trailer section included.
func (b *Body) Done() bool { return b.done || b.framing == BodyNone }

// Framing returns the framing given to Reset.
func (b *Body) Framing() Framing { return b.framing }

// Remaining returns the bytes left of a BodyLength body, and -1 for any other
// framing.
func (b *Body) Remaining() int64 {
	if b.framing != BodyLength {
		return -1
	}
	return b.remaining
}

// Trailers returns the trailer fields once Done reports true. They are owned by
// the Body and valid until Reset. Forward only those that TrailerAllowed admits.
func (b *Body) Trailers() []Field {
	if !b.Done() {
		return nil
	}
	return b.trailers.Fields
}

// EOF tells the Body that the peer has closed. It ends a BodyUntilClose body
// and returns an *Error when the body was cut short, nil when it was complete.
func (b *Body) EOF() error {
	if b.framing == BodyUntilClose {
		b.done = true
	}
	if !b.Done() {
		return errBodyCut
	}
	return nil
}

// Next looks at in, the next bytes of the message, and returns data, a possibly
// empty run of body bytes inside in, and n, how many bytes of in are consumed,
// framing and data together. Call it again with in[n:] while bytes remain and
// Done is false; it consumes nothing once Done. Partial framing is consumed and
// remembered, so in never has to be kept beyond n.
//
// An error is an *Error with Status 400 or 431 (for a body of a response see
// Error.Upstream), comes with n = 0 and repeats on the next call; data returned
// before is good.
func (b *Body) Next(in []byte) (data []byte, n int, err error) {
	if b.Done() {
		return nil, 0, nil
	}
	switch b.framing {
	case BodyLength:
		n = len(in)
		if int64(n) >= b.remaining {
			n = int(b.remaining)
			b.done = true
		}
		b.remaining -= int64(n)
		return in[:n:n], n, nil
	case BodyUntilClose:
		return in, len(in), nil
	}
	return b.nextChunked(in)
}

// nextChunked is Next for BodyChunked. It returns one run of data together with
// all framing around it.
func (b *Body) nextChunked(in []byte) (data []byte, n int, err error) {
	if b.failed != nil {
		return nil, 0, b.failed
	}
	for n < len(in) && !b.done {
		switch b.state {
		case atData:
			if data != nil {
				return data, n, nil
			}
			m := len(in) - n
			if int64(m) >= b.remaining {
				m = int(b.remaining)
				b.state = atDataCR
			}
			b.remaining -= int64(m)
			data = in[n : n+m : n+m]
			n += m
		case atTrailer:
			m, err := b.trailer(in[n:])
			if err != nil {
				return b.refused(data, n, err)
			}
			n += m
		default:
			if err := b.framingByte(in[n]); err != nil {
				return b.refused(data, n, err)
			}
			if b.state == atTrailer {
				continue // the byte is the first of the trailer section
			}
			n++
		}
	}
	return data, n, nil
}

// refused hands out data that was decoded before the fault and leaves the fault
// for the next call, which meets the same byte in the same state.
func (b *Body) refused(data []byte, n int, err error) ([]byte, int, error) {
	if len(data) > 0 {
		return data, n, nil
	}
	b.failed = err
	return nil, 0, err
}

// framingByte advances the state by one byte outside data and trailers.
func (b *Body) framingByte(c byte) error {
	switch b.state {
	case atSize:
		if class[c]&classHex != 0 {
			if b.digits == 16 || b.remaining > (1<<63-1)>>4 {
				return errChunkSize
			}
			b.digits++
			b.remaining = b.remaining<<4 | int64(hexValue[c])
			return nil
		}
		if b.digits == 0 {
			return errChunkSize
		}
		switch c {
		case '\r':
			b.state = atSizeLF
			return nil
		case ';', ' ', '\t':
			return b.extensionByte(c)
		case '\n':
			return errBareLF
		}
		return errChunkSize
	case atSizeLF:
		if c != '\n' {
			return errBareCR
		}
		b.digits = 0
		b.state = atData
		if b.remaining == 0 {
			b.state = atLast
		}
	case atDataCR:
		if c != '\r' {
			return errChunkEnd
		}
		b.state = atDataLF
	case atDataLF:
		if c != '\n' {
			return errChunkEnd
		}
		b.state = atSize
	case atLast:
		b.state = atTrailer
		if c == '\r' {
			b.state = atEndLF
		}
	case atEndLF:
		if c != '\n' {
			return errBareCR
		}
		b.done = true
	default:
		return b.extensionByte(c)
	}
	return nil
}

// extensionByte advances the state by one byte of chunk extensions: BWS ";" BWS
// name [ BWS "=" BWS ( token / quoted-string ) ], RFC 9112 section 7.1.1. The
// extensions are checked and counted, not kept.
func (b *Body) extensionByte(c byte) error {
	next := b.state
	space := c == ' ' || c == '\t'
	token := class[c]&classToken != 0
	ok := true
	switch b.state {
	case atSize, atExtBWS, atExtValue, atQuotedEnd:
		switch {
		case b.state == atExtValue && token:
		case c == ';':
			next = atExtStart
		case space:
			next = atExtBWS
		case c == '\r' && b.state != atExtBWS:
			b.state = atSizeLF
			return nil
		default:
			ok = false
		}
	case atExtStart:
		if token {
			next = atExtName
		}
		ok = token || space
	case atExtName, atExtNameBWS:
		switch {
		case token && b.state == atExtName:
		case c == '=':
			next = atExtValue0
		case c == ';':
			next = atExtStart
		case space:
			next = atExtNameBWS
		case c == '\r' && b.state == atExtName:
			b.state = atSizeLF
			return nil
		default:
			ok = false
		}
	case atExtValue0:
		switch {
		case token:
			next = atExtValue
		case c == '"':
			next = atQuoted
		default:
			ok = space
		}
	case atQuoted, atQuotedPair:
		switch {
		case (c < 0x20 && c != '\t') || c == 0x7f:
			ok = false
		case b.state == atQuotedPair:
			next = atQuoted
		case c == '"':
			next = atQuotedEnd
		case c == '\\':
			next = atQuotedPair
		}
	}
	if !ok {
		if c == '\n' {
			return errBareLF
		}
		return errChunkExt
	}
	if b.ext >= b.maxExt {
		return errChunkExtLong
	}
	b.ext++
	b.state = next
	return nil
}

// trailer takes bytes of a trailer section that has at least one field line,
// line by line, and parses it when its empty line has come.
func (b *Body) trailer(in []byte) (n int, err error) {
	n = bytes.IndexByte(in, '\n') + 1
	line := n > 0
	if !line {
		n = len(in)
	}
	have := len(b.trailerBuf)
	if have+n > b.maxTrailer {
		return 0, errTrailerLong
	}
	b.trailerBuf = append(b.trailerBuf, in[:n]...)
	if !line {
		return n, nil
	}
	buf := b.trailerBuf
	last := len(buf) - 1
	if last < 1 || buf[last-1] != '\r' {
		b.trailerBuf = buf[:have]
		return 0, errBareLF
	}
	if last < 2 || buf[last-2] != '\n' {
		return n, nil
	}
	if _, err := b.trailers.parse(buf, 0, b.maxFields); err != nil {
		b.trailerBuf = buf[:have]
		return 0, err
	}
	b.done = true
	return n, nil
}
