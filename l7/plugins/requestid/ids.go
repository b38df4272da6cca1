package requestid

import (
	crand "crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// Identifiers are written into a slice of their own length. Those that the public expects to be unguessable (nanoid, the payload of ksuid) come from the
// system's generator, the others from math/rand's ChaCha8, which costs no system call.

const (
	uuidLen   = 36
	nanoidLen = 21
	ksuidLen  = 27
)

// putUUID4 writes a random UUID (RFC 9562 section 5.4).
func putUUID4(dst []byte) {
	var u [16]byte
	binary.BigEndian.PutUint64(u[:8], rand.Uint64())
	binary.BigEndian.PutUint64(u[8:], rand.Uint64())
	u[6] = u[6]&0x0f | 0x40
	u[8] = u[8]&0x3f | 0x80
	putUUID(dst, &u)
}

// clock7 makes UUIDs of version 7 ascend within the process: it holds the last millisecond and an 18-bit counter below it. When the counter
// overflows or the wall clock steps back, the counter carries into the time, which then runs ahead until the clock has caught up.
type clock7 struct{ last atomic.Uint64 }

const seqBits = 18

func (c *clock7) next(now time.Time) (ms, seq uint64) {
	for {
		last := c.last.Load()
		next := max(uint64(now.UnixMilli())<<seqBits, last+1)
		if c.last.CompareAndSwap(last, next) {
			return next >> seqBits, next & (1<<seqBits - 1)
		}
	}
}

// putUUID7 writes a UUID that sorts by time (RFC 9562 section 5.7): 48 bits of milliseconds, the counter in rand_a and the first six bits of rand_b as
// apisix/core/utils.lua generate_uuid_v7 has it, and 56 random bits.
func putUUID7(dst []byte, ms, seq uint64) {
	var u [16]byte
	binary.BigEndian.PutUint64(u[:8], ms<<16|0x7000|seq>>6)
	binary.BigEndian.PutUint64(u[8:], rand.Uint64())
	u[8] = 0x80 | byte(seq&0x3f)
	putUUID(dst, &u)
}

func putUUID(dst []byte, u *[16]byte) {
	hex.Encode(dst[0:8], u[0:4])
	hex.Encode(dst[9:13], u[4:6])
	hex.Encode(dst[14:18], u[6:8])
	hex.Encode(dst[19:23], u[8:10])
	hex.Encode(dst[24:36], u[10:16])
	dst[8], dst[13], dst[18], dst[23] = '-', '-', '-', '-'
}

const nanoidAlphabet = "-_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

// putNanoid writes a Nano ID of the standard length and alphabet: 64 characters, so six random bits are one character.
func putNanoid(dst []byte) {
	crand.Read(dst)
	for i, b := range dst {
		dst[i] = nanoidAlphabet[b&63]
	}
}

func putRangeID(dst []byte, set string) {
	for i := range dst {
		dst[i] = set[rand.IntN(len(set))]
	}
}

const (
	// ksuidEpoch is where the 32-bit seconds of a KSUID begin (segmentio/ksuid: 13 May 2014).
	ksuidEpoch = 1400000000
	base62     = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// putKSUID writes a KSUID: seconds and 128 random bits in base 62, so that it sorts by time. payload is scratch memory for the random bits.
func putKSUID(dst, payload []byte, now time.Time) {
	crand.Read(payload[:16])
	n := [5]uint32{uint32(now.Unix() - ksuidEpoch)}
	for i := range 4 {
		n[i+1] = binary.BigEndian.Uint32(payload[4*i:])
	}
	for i := len(dst) - 1; i >= 0; i-- {
		var rem uint64
		for j, d := range n {
			v := rem<<32 | uint64(d)
			n[j], rem = uint32(v/62), v%62
		}
		dst[i] = base62[rem]
	}
}
