// Package requestid is the plugin request-id: it gives every request an identifier that client, upstream and logs see alike.
package requestid

import (
	_ "embed" // the schema
	"encoding/json"
	"fmt"

	"github.com/sluice-gateway/sluice/l7/plugin"
)

const name = "request-id"

//go:embed schema.json
var schema []byte

func init() {
	plugin.Register(plugin.Def{Name: name, Priority: 12015, Version: "0.1", Schema: schema, New: newTagger})
}

// maxLength bounds an identifier of range_id; it travels in a header field of every request.
const maxLength = 1024

type tagger struct {
	header     string
	make       func(ex *plugin.Exchange) []byte
	inResponse bool
	// keep names the variable that carries the identifier to the header filter, kept reads it. It has the header's name in it because a global rule and
	// a route may both have the plugin.
	keep string
	kept plugin.Var
}

var (
	_ plugin.Rewriter       = (*tagger)(nil)
	_ plugin.HeaderFilterer = (*tagger)(nil)
)

func newTagger(doc []byte, env *plugin.Env) (plugin.Instance, error) {
	var conf struct {
		HeaderName        string `json:"header_name"`
		IncludeInResponse bool   `json:"include_in_response"`
		Algorithm         string `json:"algorithm"`
		RangeID           struct {
			Length  int    `json:"length"`
			CharSet string `json:"char_set"`
		} `json:"range_id"`
	}
	if err := json.Unmarshal(doc, &conf); err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if conf.RangeID.Length > maxLength {
		return nil, fmt.Errorf("property \"range_id\" validation failed: property \"length\" validation failed: expected %d to be at most %d", conf.RangeID.Length, maxLength)
	}
	t := &tagger{header: conf.HeaderName, inResponse: conf.IncludeInResponse, keep: "request-id-" + conf.HeaderName}
	t.kept = plugin.CompileVar(t.keep)
	switch conf.Algorithm {
	case "uuidv7":
		clock := env.Shared("request-id uuidv7", func() any { return new(clock7) }).(*clock7)
		t.make = func(ex *plugin.Exchange) []byte {
			id := ex.Alloc(uuidLen)
			ms, seq := clock.next(ex.WallStart)
			putUUID7(id, ms, seq)
			return id
		}
	case "nanoid":
		t.make = func(ex *plugin.Exchange) []byte {
			id := ex.Alloc(nanoidLen)
			putNanoid(id)
			return id
		}
	case "range_id":
		n, set := conf.RangeID.Length, conf.RangeID.CharSet
		t.make = func(ex *plugin.Exchange) []byte {
			id := ex.Alloc(n)
			putRangeID(id, set)
			return id
		}
	case "ksuid":
		t.make = func(ex *plugin.Exchange) []byte {
			id := ex.Alloc(ksuidLen)
			putKSUID(id, ex.Alloc(16), ex.WallStart)
			return id
		}
	default:
		t.make = func(ex *plugin.Exchange) []byte {
			id := ex.Alloc(uuidLen)
			putUUID4(id)
			return id
		}
	}
	return t, nil
}

// Rewrite keeps the identifier that the client sent, or makes one and sends it on.
func (t *tagger) Rewrite(ex *plugin.Exchange) (*plugin.Reply, error) {
	id := ex.Request.Header.Get(t.header)
	if len(id) == 0 {
		id = t.make(ex)
		ex.Request.Header.Set(t.header, id)
	}
	if t.inResponse {
		ex.SetVar(t.keep, id)
	}
	ex.SetVar("apisix_request_id", id)
	ex.SetVar("request_id", id)
	return nil, nil
}

// HeaderFilter adds the identifier to the response, unless the upstream sent one of its own.
func (t *tagger) HeaderFilter(ex *plugin.Exchange) error {
	if !t.inResponse || len(ex.Response.Header.Get(t.header)) > 0 {
		return nil
	}
	if id, ok := t.kept(ex); ok {
		ex.Response.Header.Set(t.header, id)
	}
	return nil
}
