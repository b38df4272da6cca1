package journal

import (
	"bytes"
	"encoding/hex"
	"hash/crc32"
)

// frameHead is the length of "R <length> <crc> ".
const frameHead = 2 + 8 + 1 + 8 + 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendRecord frames the payload that fill appends.
func appendRecord(dst []byte, fill func([]byte) []byte) []byte {
	start := len(dst)
	dst = append(dst, "R 00000000 00000000 "...)
	dst = fill(dst)
	payload := dst[start+frameHead:]
	putHex(dst[start+2:], uint32(len(payload)))
	putHex(dst[start+11:], crc32.Checksum(payload, castagnoli))
	return append(dst, '\n')
}

// putHex writes eight lower-case digits.
func putHex(dst []byte, v uint32) {
	hex.Encode(dst[:8], []byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}

// getHex reads what putHex writes and nothing else.
func getHex(src []byte) (uint32, bool) {
	var v uint32
	for _, c := range src[:8] {
		switch {
		case '0' <= c && c <= '9':
			v = v<<4 | uint32(c-'0')
		case 'a' <= c && c <= 'f':
			v = v<<4 | uint32(c-'a'+10)
		default:
			return 0, false
		}
	}
	return v, true
}

// readRecord returns the payload of the intact record at the beginning of data and the length of the whole record.
func readRecord(data []byte) (payload []byte, size int, ok bool) {
	if len(data) < frameHead+1 || data[0] != 'R' || data[1] != ' ' || data[10] != ' ' || data[19] != ' ' {
		return nil, 0, false
	}
	length, ok1 := getHex(data[2:])
	sum, ok2 := getHex(data[11:])
	if !ok1 || !ok2 || uint64(length) > uint64(len(data)-frameHead-1) {
		return nil, 0, false
	}
	end := frameHead + int(length)
	if data[end] != '\n' {
		return nil, 0, false
	}
	payload = data[frameHead:end]
	if crc32.Checksum(payload, castagnoli) != sum {
		return nil, 0, false
	}
	return payload, end + 1, true
}

// span is a part of a file, from Offset up to but without End.
type span struct{ Offset, End int }

// split cuts data into payloads of intact records and the spans between them. Both are in order; offsets has the
// offset of each payload's record.
func split(data []byte) (payloads [][]byte, offsets []int, bad []span) {
	for at := 0; at < len(data); {
		payload, size, ok := readRecord(data[at:])
		if ok {
			payloads = append(payloads, payload)
			offsets = append(offsets, at)
			at += size
			continue
		}
		next := resync(data, at+1)
		bad = append(bad, span{at, next})
		at = next
	}
	return payloads, offsets, bad
}

// resync finds the first intact record from offset at on, or the end of data. Damage may have eaten the line
// break before a record, so any "R " is tried.
func resync(data []byte, at int) int {
	for {
		i := bytes.Index(data[at:], []byte("R "))
		if i < 0 {
			return len(data)
		}
		at += i
		if _, _, ok := readRecord(data[at:]); ok {
			return at
		}
		at++
	}
}

// countRecords estimates how many records a damaged part held: the lines in it that begin like one, at least one.
func countRecords(data []byte) int {
	n := bytes.Count(data, []byte("\nR "))
	if bytes.HasPrefix(data, []byte("R ")) {
		n++
	}
	return max(n, 1)
}
