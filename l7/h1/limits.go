package h1

// The defaults of Limits.
const (
	DefaultHeadBytes     = 32 << 10
	DefaultFields        = 100
	DefaultTargetBytes   = 8 << 10
	DefaultChunkExtBytes = 16 << 10
	DefaultTrailerBytes  = 8 << 10
)

// maxMethodBytes bounds the method token. The longest registered method has 17
// bytes; RFC 9112 section 3 asks for 501 beyond what a server knows.
const maxMethodBytes = 32

// maxConnectionOptions bounds the options in all Connection fields of a head,
// so that matching them against the field names stays cheap.
const maxConnectionOptions = 32

// maxFields bounds Limits.Fields, because FieldSet keeps 16-bit indices.
const maxFields = 1<<16 - 1

// Limits bounds what a peer may send. A zero or negative field, and a nil
// *Limits, mean the default.
type Limits struct {
	// HeadBytes bounds request or status line and fields together, the empty
	// lines included. Default 32 KiB.
	HeadBytes int
	// Fields bounds the number of field lines of a head, and of a trailer
	// section. Default 100, at most 65535.
	Fields int
	// TargetBytes bounds the request target. Default 8 KiB.
	TargetBytes int
	// ChunkExtBytes bounds all chunk extensions of one message together,
	// delimiters included. Default 16 KiB.
	ChunkExtBytes int
	// TrailerBytes bounds the trailer section, its final empty line included.
	// Default 8 KiB.
	TrailerBytes int
}

// DefaultLimits returns the limits that zero fields stand for.
func DefaultLimits() Limits {
	return Limits{
		HeadBytes:     DefaultHeadBytes,
		Fields:        DefaultFields,
		TargetBytes:   DefaultTargetBytes,
		ChunkExtBytes: DefaultChunkExtBytes,
		TrailerBytes:  DefaultTrailerBytes,
	}
}

func orDefault(n, def int) int {
	if n <= 0 {
		return def
	}
	return n
}

func (l *Limits) headBytes() int {
	if l == nil {
		return DefaultHeadBytes
	}
	return orDefault(l.HeadBytes, DefaultHeadBytes)
}

func (l *Limits) fields() int {
	if l == nil {
		return DefaultFields
	}
	return min(orDefault(l.Fields, DefaultFields), maxFields)
}

func (l *Limits) targetBytes() int {
	if l == nil {
		return DefaultTargetBytes
	}
	return orDefault(l.TargetBytes, DefaultTargetBytes)
}

func (l *Limits) chunkExtBytes() int {
	if l == nil {
		return DefaultChunkExtBytes
	}
	return orDefault(l.ChunkExtBytes, DefaultChunkExtBytes)
}

func (l *Limits) trailerBytes() int {
	if l == nil {
		return DefaultTrailerBytes
	}
	return orDefault(l.TrailerBytes, DefaultTrailerBytes)
}
