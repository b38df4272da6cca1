package loop

import "math/bits"

// buf is a pooled byte buffer: b[r:w] is unread.
type buf struct {
	b    []byte
	r, w int
}

func (b *buf) unread() []byte { return b.b[b.r:b.w] }
func (b *buf) free() []byte   { return b.b[b.w:] }
func (b *buf) empty() bool    { return b.r == b.w }

// Buffers come in sizes of 4 KiB times a power of two; each loop keeps a few free ones of each.
const (
	minBufShift = 12
	bufClasses  = 6 // up to 128 KiB
	maxFree     = 256
)

// buffers is a loop's pool.
type buffers struct {
	free [bufClasses][]*buf
}

func bufClass(n int) int {
	if n <= 1<<minBufShift {
		return 0
	}
	return bits.Len(uint(n-1)) - minBufShift
}

// get returns an empty buffer of at least n bytes.
func (p *buffers) get(n int) *buf {
	c := bufClass(n)
	if c >= bufClasses {
		return &buf{b: make([]byte, n)}
	}
	if l := p.free[c]; len(l) > 0 {
		b := l[len(l)-1]
		p.free[c] = l[:len(l)-1]
		b.r, b.w = 0, 0
		return b
	}
	return &buf{b: make([]byte, 1<<(minBufShift+c))}
}

// put gives a buffer back. It accepts nil.
func (p *buffers) put(b *buf) {
	if b == nil {
		return
	}
	c := bufClass(len(b.b))
	if c >= bufClasses || len(p.free[c]) >= maxFree>>c {
		return
	}
	p.free[c] = append(p.free[c], b)
}

// pending holds bytes that a socket did not take yet.
type pending struct {
	buf *buf
}

func (p *pending) any() bool { return p.buf != nil }

// add appends what was not written.
func (p *pending) add(pool *buffers, parts ...[]byte) {
	n := 0
	for _, q := range parts {
		n += len(q)
	}
	if n == 0 {
		return
	}
	if p.buf == nil {
		p.buf = pool.get(n)
	} else if len(p.buf.free()) < n {
		old := p.buf
		p.buf = pool.get(old.w - old.r + n)
		p.buf.w = copy(p.buf.b, old.unread())
		pool.put(old)
	}
	for _, q := range parts {
		p.buf.w += copy(p.buf.b[p.buf.w:], q)
	}
}

// drop forgets everything.
func (p *pending) drop(pool *buffers) {
	pool.put(p.buf)
	p.buf = nil
}
