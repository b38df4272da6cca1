package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxDecodeDepth is how deeply objects and arrays may be nested in a document that Decode accepts.
const MaxDecodeDepth = 64

// Decode reads one JSON document (RFC 8259) into nil, bool, string, json.Number, []any and map[string]any.
// Numbers keep their digits. Refused are: nesting beyond MaxDecodeDepth, an object with the same key
// twice (two readers could disagree which one counts), text that is not UTF-8, half surrogate pairs,
// and anything after the document. A string may hold control characters as they are, all but NUL, because cjson
// reads them and APISIX's documentation sends certificates that way, with their line breaks in the string
// (docs/en/latest/certificate.md). The error is meant to follow "invalid request body: ".
func Decode(body []byte) (any, error) {
	d := decoder{data: body}
	d.space()
	value, err := d.value(0)
	if err != nil {
		return nil, err
	}
	d.space()
	if d.pos < len(d.data) {
		return nil, d.unexpected("the end")
	}
	return value, nil
}

type decoder struct {
	data []byte
	pos  int
}

// failAt names a place as the 1-based byte position, as cjson does.
func (d *decoder) failAt(pos int, format string, args ...any) error {
	where := fmt.Sprintf("character %d", pos+1)
	if line := bytes.Count(d.data[:min(pos, len(d.data))], []byte("\n")); line > 0 {
		where += fmt.Sprintf(", line %d", line+1)
	}
	return fmt.Errorf("%s at %s", fmt.Sprintf(format, args...), where)
}

func (d *decoder) unexpected(want string) error {
	if d.pos >= len(d.data) {
		return d.failAt(d.pos, "expected %s but found the end", want)
	}
	r, size := utf8.DecodeRune(d.data[d.pos:])
	if r == utf8.RuneError && size == 1 {
		return d.failAt(d.pos, "expected %s but found the byte 0x%02x", want, d.data[d.pos])
	}
	if r == '#' || r == '/' {
		return d.failAt(d.pos, "expected %s but found %q (JSON has no comments)", want, r)
	}
	return d.failAt(d.pos, "expected %s but found %q", want, r)
}

func (d *decoder) space() {
	for d.pos < len(d.data) {
		switch d.data[d.pos] {
		case ' ', '\t', '\r', '\n':
			d.pos++
		default:
			return
		}
	}
}

func (d *decoder) peek() byte {
	if d.pos < len(d.data) {
		return d.data[d.pos]
	}
	return 0
}

func (d *decoder) value(depth int) (any, error) {
	switch c := d.peek(); {
	case c == '{':
		return d.object(depth + 1)
	case c == '[':
		return d.array(depth + 1)
	case c == '"':
		return d.str()
	case c == 't':
		return true, d.word("true")
	case c == 'f':
		return false, d.word("false")
	case c == 'n':
		return nil, d.word("null")
	case c == '-' || (c >= '0' && c <= '9'):
		return d.number()
	}
	return nil, d.unexpected("a value")
}

func (d *decoder) word(word string) error {
	for i := 0; i < len(word); i++ {
		if d.peek() != word[i] {
			return d.unexpected(strconv.Quote(word))
		}
		d.pos++
	}
	return nil
}

func (d *decoder) object(depth int) (any, error) {
	if depth > MaxDecodeDepth {
		return nil, d.failAt(d.pos, "nested deeper than %d levels", MaxDecodeDepth)
	}
	d.pos++
	object := make(map[string]any)
	d.space()
	if d.peek() == '}' {
		d.pos++
		return object, nil
	}
	for {
		start := d.pos
		if d.peek() != '"' {
			return nil, d.unexpected("an object key")
		}
		key, err := d.str()
		if err != nil {
			return nil, err
		}
		if _, ok := object[key]; ok {
			return nil, d.failAt(start, "duplicate key %q", clip(key))
		}
		d.space()
		if d.peek() != ':' {
			return nil, d.unexpected("a colon")
		}
		d.pos++
		d.space()
		value, err := d.value(depth)
		if err != nil {
			return nil, err
		}
		object[key] = value
		d.space()
		switch d.peek() {
		case ',':
			d.pos++
			d.space()
		case '}':
			d.pos++
			return object, nil
		default:
			return nil, d.unexpected("a comma or the end of the object")
		}
	}
}

func (d *decoder) array(depth int) (any, error) {
	if depth > MaxDecodeDepth {
		return nil, d.failAt(d.pos, "nested deeper than %d levels", MaxDecodeDepth)
	}
	d.pos++
	items := []any{}
	d.space()
	if d.peek() == ']' {
		d.pos++
		return items, nil
	}
	for {
		value, err := d.value(depth)
		if err != nil {
			return nil, err
		}
		items = append(items, value)
		d.space()
		switch d.peek() {
		case ',':
			d.pos++
			d.space()
		case ']':
			d.pos++
			return items, nil
		default:
			return nil, d.unexpected("a comma or the end of the array")
		}
	}
}

// number follows the grammar of RFC 8259 section 6.
func (d *decoder) number() (any, error) {
	start := d.pos
	if d.peek() == '-' {
		d.pos++
	}
	if d.peek() == '0' {
		d.pos++
	} else if !d.digits() {
		return nil, d.unexpected("a digit")
	}
	if d.peek() == '.' {
		d.pos++
		if !d.digits() {
			return nil, d.unexpected("a digit")
		}
	}
	if c := d.peek(); c == 'e' || c == 'E' {
		d.pos++
		if c := d.peek(); c == '+' || c == '-' {
			d.pos++
		}
		if !d.digits() {
			return nil, d.unexpected("a digit")
		}
	}
	return json.Number(d.data[start:d.pos]), nil
}

func (d *decoder) digits() bool {
	start := d.pos
	for c := d.peek(); c >= '0' && c <= '9'; c = d.peek() {
		d.pos++
	}
	return d.pos > start
}

func (d *decoder) str() (string, error) {
	start := d.pos
	d.pos++
	for d.pos < len(d.data) {
		switch c := d.data[d.pos]; {
		case c == '"':
			s := d.data[start+1 : d.pos]
			if !utf8.Valid(s) {
				return "", d.failAt(start, "invalid UTF-8 in the string")
			}
			d.pos++
			return string(s), nil
		case c == '\\':
			return d.escaped(start)
		case c == 0:
			return "", d.failAt(d.pos, "found NUL in a string")
		}
		d.pos++
	}
	return "", d.failAt(d.pos, "expected the end of the string that starts at character %d but found the end", start+1)
}

// escaped reads on from the first backslash of a string.
func (d *decoder) escaped(start int) (string, error) {
	out := append([]byte(nil), d.data[start+1:d.pos]...)
	for d.pos < len(d.data) {
		c := d.data[d.pos]
		switch {
		case c == '"':
			if !utf8.Valid(out) {
				return "", d.failAt(start, "invalid UTF-8 in the string")
			}
			d.pos++
			return string(out), nil
		case c == 0:
			return "", d.failAt(d.pos, "found NUL in a string")
		case c != '\\':
			out = append(out, c)
			d.pos++
			continue
		}
		d.pos++
		switch e := d.peek(); e {
		case '"', '\\', '/':
			out = append(out, e)
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, err := d.unicode()
			if err != nil {
				return "", err
			}
			out = utf8.AppendRune(out, r)
			continue
		default:
			return "", d.failAt(d.pos-1, "invalid escape in a string")
		}
		d.pos++
	}
	return "", d.failAt(d.pos, "expected the end of the string that starts at character %d but found the end", start+1)
}

// unicode reads the rest of \uXXXX, at the u, and the second half when it is a surrogate pair.
func (d *decoder) unicode() (rune, error) {
	start := d.pos - 1
	r, ok := d.hex4()
	if !ok {
		return 0, d.failAt(start, "invalid unicode escape in a string")
	}
	if !utf16.IsSurrogate(r) {
		return r, nil
	}
	if d.peek() == '\\' && d.pos+1 < len(d.data) && d.data[d.pos+1] == 'u' {
		d.pos++
		low, ok := d.hex4()
		if pair := utf16.DecodeRune(r, low); ok && pair != utf8.RuneError {
			return pair, nil
		}
	}
	return 0, d.failAt(start, "half a surrogate pair in a string")
}

func (d *decoder) hex4() (rune, bool) {
	if d.pos+5 > len(d.data) {
		return 0, false
	}
	var r rune
	for _, c := range d.data[d.pos+1 : d.pos+5] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	d.pos += 5
	return r, true
}

// clip keeps what goes into a message short.
func clip(s string) string {
	const limit = 64
	if len(s) > limit {
		return s[:limit] + "..."
	}
	return s
}
