package h1

import "errors"

// ErrIncomplete says that the buffer ends before the message head does: read
// more and call Parse again with the longer buffer. Compare with ==.
var ErrIncomplete = errors.New("parse head: incomplete")

// Error is a message that must not be served. For a request the caller answers
// Status and closes the connection; for a response it drops the upstream
// connection and answers Status to its own client when nothing was sent yet.
type Error struct {
	// Status is the HTTP status that names the fault: 400, 414, 431, 501 or
	// 505 for requests and message bodies, 502 for response heads.
	Status int
	// Reason is a constant phrase without bytes of the peer, fit for logs and
	// metric labels.
	Reason string

	upstream *Error // the same fault seen in a response head
}

// Error returns the reason with a prefix.
func (e *Error) Error() string { return "parse message: " + e.Reason }

// Upstream returns the same fault as one of an upstream: Status 502. It is for
// errors of a Body that belongs to a response.
func (e *Error) Upstream() *Error {
	if e.upstream == nil {
		return e
	}
	return e.upstream
}

func newError(status int, reason string) *Error {
	return &Error{Status: status, Reason: reason, upstream: &Error{Status: 502, Reason: reason}}
}

// The errors are built once so that refusing a message does not allocate.
var (
	errBareCR         = newError(400, "CR without LF")
	errBareLF         = newError(400, "LF without CR")
	errLeadingLines   = newError(400, "more than one empty line before the request line")
	errMethod         = newError(400, "malformed method")
	errMethodLong     = newError(501, "method longer than 32 bytes")
	errTarget         = newError(400, "forbidden byte in request target")
	errTargetLong     = newError(414, "request target too long")
	errTargetForm     = newError(400, "malformed request target")
	errScheme         = newError(400, "request target scheme is neither http nor https")
	errVersion        = newError(400, "malformed or unknown HTTP version")
	errVersionMajor   = newError(505, "HTTP version not supported")
	errStatusLine     = newError(502, "malformed status line")
	errHeadLong       = newError(431, "head too long")
	errFieldCount     = newError(431, "too many fields")
	errFieldName      = newError(400, "malformed field name")
	errFieldSpace     = newError(400, "whitespace before the colon of a field")
	errFieldFold      = newError(400, "folded field line")
	errFieldValue     = newError(400, "control byte in field value")
	errHostMissing    = newError(400, "no Host field")
	errHostRepeated   = newError(400, "more than one Host field")
	errHost           = newError(400, "malformed host")
	errConnection     = newError(400, "malformed Connection field")
	errConnectionLong = newError(400, "too many Connection options")
	errLengthAndTE    = newError(400, "both Content-Length and Transfer-Encoding")
	errLengthRepeated = newError(400, "more than one Content-Length")
	errLength         = newError(400, "malformed Content-Length")
	errTE             = newError(400, "transfer coding other than chunked")
	errTEVersion      = newError(400, "Transfer-Encoding in HTTP/1.0")
	errChunkSize      = newError(400, "malformed chunk size")
	errChunkExt       = newError(400, "malformed chunk extension")
	errChunkExtLong   = newError(400, "chunk extensions too long")
	errChunkEnd       = newError(400, "chunk data not followed by CR LF")
	errTrailerLong    = newError(431, "trailer section too long")
	errBodyCut        = newError(400, "message body cut short")
)
