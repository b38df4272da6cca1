package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-gateway/sluice/control/model"
	"github.com/sluice-gateway/sluice/control/store"
)

// version of the format, in the head of the file.
const version = 1

// payload is one decoded record; exactly one field is set.
type payload struct {
	head   *head
	object *store.Change
	txn    *store.Record
}

// head is the first record of a file.
type head struct {
	rev     store.Rev
	objects int
}

func appendHead(dst []byte, h head) []byte {
	dst = append(dst, `{"store":"sluice","version":`...)
	dst = strconv.AppendInt(dst, version, 10)
	dst = append(dst, `,"rev":`...)
	dst = strconv.AppendInt(dst, int64(h.rev), 10)
	dst = append(dst, `,"objects":`...)
	dst = strconv.AppendInt(dst, int64(h.objects), 10)
	return append(dst, '}')
}

func appendObject(dst []byte, c store.Change) []byte {
	dst = append(dst, `{"mod":`...)
	dst = strconv.AppendInt(dst, int64(c.Object.Mod), 10)
	dst = append(dst, ',')
	return append(appendPut(dst, c), '}')
}

func appendTxn(dst []byte, rec store.Record) []byte {
	dst = append(dst, `{"rev":`...)
	dst = strconv.AppendInt(dst, int64(rec.Rev), 10)
	dst = append(dst, `,"ops":[`...)
	for i, c := range rec.Changes {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '{')
		if c.Object != nil {
			dst = appendPut(dst, c)
		} else {
			dst = append(dst, `"delete":`...)
			dst = appendKey(dst, c.Key)
		}
		dst = append(dst, '}')
	}
	return append(dst, ']', '}')
}

// appendPut appends the fields of a put without the braces.
func appendPut(dst []byte, c store.Change) []byte {
	dst = append(dst, `"put":`...)
	dst = appendKey(dst, c.Key)
	dst = append(dst, `,"create":`...)
	dst = strconv.AppendInt(dst, int64(c.Object.Create), 10)
	if !c.Expires.IsZero() {
		dst = append(dst, `,"expires":`...)
		dst = strconv.AppendInt(dst, c.Expires.UnixMilli(), 10)
	}
	dst = append(dst, `,"size":`...)
	dst = strconv.AppendInt(dst, int64(len(c.Object.Value)), 10)
	dst = append(dst, `,"value":`...)
	return append(dst, c.Object.Value...)
}

// appendKey appends a key as a JSON string. Keys have no control characters (store.ValidKey).
func appendKey(dst []byte, k model.Key) []byte {
	dst = append(dst, '"')
	for _, c := range []byte(k.String()) {
		if c == '"' || c == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, c)
	}
	return append(dst, '"')
}

// parser reads the payload of a record whose checksum holds. It accepts what the append functions write and nothing
// else; the first failure sticks.
type parser struct {
	rest []byte
	err  error
}

// decode returns what a payload says. Values are parts of data.
func decode(data []byte) (payload, error) {
	p := parser{rest: data}
	var out payload
	switch {
	case p.try(`{"store":"sluice","version":`):
		if v := p.number(); p.err == nil && v != version {
			return payload{}, fmt.Errorf("format version is %d, this program reads %d", v, version)
		}
		p.want(`,"rev":`)
		h := head{rev: store.Rev(p.number())}
		p.want(`,"objects":`)
		h.objects = int(p.number())
		out.head = &h
	case p.try(`{"mod":`):
		mod := store.Rev(p.number())
		p.want(`,"put":`)
		c := p.put()
		c.Object.Mod = mod
		if p.err == nil && c.Object.Create > mod {
			p.fail("create after mod")
		}
		out.object = &c
	case p.try(`{"rev":`):
		out.txn = p.txn()
	default:
		p.fail("unknown form")
	}
	p.want("}")
	if p.err == nil && len(p.rest) > 0 {
		p.fail("bytes after the end")
	}
	if p.err != nil {
		return payload{}, fmt.Errorf("record is not understood %d bytes into its payload: %w", len(data)-len(p.rest), p.err)
	}
	return out, nil
}

func (p *parser) txn() *store.Record {
	rec := &store.Record{Rev: store.Rev(p.number())}
	p.want(`,"ops":[`)
	for p.err == nil {
		if p.try(`{"delete":`) {
			rec.Changes = append(rec.Changes, store.Change{Key: p.key()})
		} else {
			p.want(`{"put":`)
			c := p.put()
			c.Object.Mod = rec.Rev
			if p.err == nil && c.Object.Create > rec.Rev {
				p.fail("create after rev")
			}
			rec.Changes = append(rec.Changes, c)
		}
		p.want("}")
		if !p.try(",") {
			break
		}
	}
	p.want("]")
	return rec
}

// put reads the fields of a put after its name.
func (p *parser) put() store.Change {
	c := store.Change{Key: p.key(), Object: &store.Object{}}
	c.Object.Key = c.Key
	p.want(`,"create":`)
	c.Object.Create = store.Rev(p.number())
	if p.try(`,"expires":`) {
		c.Expires = time.UnixMilli(p.number())
	}
	p.want(`,"size":`)
	size := p.number()
	p.want(`,"value":`)
	if p.err == nil && size > int64(len(p.rest)) {
		p.fail("value is shorter than its size")
	}
	if p.err == nil {
		// The capacity ends with the value, so that nobody's append writes into the neighbour.
		c.Object.Value = json.RawMessage(p.rest[:size:size])
		p.rest = p.rest[size:]
	}
	return c
}

// key reads a JSON string as appendKey writes it.
func (p *parser) key() model.Key {
	p.want(`"/`)
	var text []byte
	for p.err == nil {
		i := bytes.IndexAny(p.rest, `"\`)
		if i < 0 || i+1 == len(p.rest) && p.rest[i] == '\\' {
			p.fail("key has no end")
			break
		}
		text = append(text, p.rest[:i]...)
		quote := p.rest[i] == '"'
		p.rest = p.rest[i+1:]
		if quote {
			break
		}
		if c := p.rest[0]; c != '"' && c != '\\' {
			p.fail("key has an unknown escape")
			break
		}
		text = append(text, p.rest[0])
		p.rest = p.rest[1:]
	}
	kind, id, _ := strings.Cut(string(text), "/")
	k := model.Key{Kind: model.Kind(kind), ID: id}
	if err := store.ValidKey(k); p.err == nil && err != nil {
		p.err = err
	}
	return k
}

// number reads a decimal number without sign or leading zeros.
func (p *parser) number() int64 {
	if p.err != nil {
		return 0
	}
	n := 0
	for n < len(p.rest) && '0' <= p.rest[n] && p.rest[n] <= '9' {
		n++
	}
	v, err := strconv.ParseInt(string(p.rest[:n]), 10, 64)
	if err != nil || n > 1 && p.rest[0] == '0' || v == math.MaxInt64 {
		p.fail("not a number")
		return 0
	}
	p.rest = p.rest[n:]
	return v
}

func (p *parser) try(text string) bool {
	if p.err != nil || len(p.rest) < len(text) || string(p.rest[:len(text)]) != text {
		return false
	}
	p.rest = p.rest[len(text):]
	return true
}

func (p *parser) want(text string) {
	if p.err == nil && !p.try(text) {
		p.fail("missing " + text)
	}
}

func (p *parser) fail(why string) {
	if p.err == nil {
		p.err = errors.New(why)
	}
}
