package limit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"strconv"

	"github.com/sluice-gateway/sluice/l7/plugin"
)

// Key makes counter keys: the resource that holds the configuration, the checksum of that configuration, and the value that requests are told apart by. So a
// counter survives edits of other fields and even delete and re-create under the same id, and a changed configuration starts afresh.
type Key struct {
	prefix []byte
	value  func(ex *plugin.Exchange) ([]byte, bool)

	needsBody bool
}

// NewKey compiles a key. keyType is var, var_combination or constant; group, when not empty, replaces resource and checksum.
func NewKey(keyType, key, group, resource string, conf []byte) (*Key, error) {
	k := &Key{}
	if group != "" {
		k.prefix = []byte(group + ":")
	} else {
		canon, err := canonical(conf)
		if err != nil {
			return nil, err
		}
		k.prefix = []byte(resource + ":" + strconv.FormatUint(uint64(crc32.ChecksumIEEE(canon)), 10) + ":")
	}
	switch keyType {
	case "", "var":
		k.value, k.needsBody = plugin.CompileVar(key), plugin.VarNeedsBody(key)
	case "var_combination":
		t := plugin.CompileTemplate(key)
		k.needsBody = t.NeedsBody()
		k.value = func(ex *plugin.Exchange) ([]byte, bool) {
			v, n := t.Eval(ex)
			return v, n > 0
		}
	case "constant":
		k.value = func(*plugin.Exchange) ([]byte, bool) { return plugin.Bytes(key), true }
	default:
		return nil, fmt.Errorf("key_type: %q is none of var, var_combination, constant", keyType)
	}
	return k, nil
}

// NeedsBody tells whether the key reads the request body.
func (k *Key) NeedsBody() bool { return k.needsBody }

// canonical is conf without insignificant space and with its names in order: writing the same down differently starts no new counter.
func canonical(conf []byte) ([]byte, error) {
	var v any
	if err := json.Unmarshal(conf, &v); err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return json.Marshal(v)
}

var remoteAddr = plugin.CompileVar("remote_addr")

// Of returns the counter key of an exchange in its scratch memory. Without a value, or with an empty one, the client's address counts instead.
func (k *Key) Of(ex *plugin.Exchange) []byte {
	v, ok := k.value(ex)
	if !ok || len(v) == 0 {
		v, _ = remoteAddr(ex)
	}
	b := ex.Alloc(len(k.prefix) + len(v))
	copy(b[copy(b, k.prefix):], v)
	return b
}

// OfResolved is Of for rules, which do not apply to requests that lack the variables of their key.
func (k *Key) OfResolved(ex *plugin.Exchange) ([]byte, bool) {
	v, ok := k.value(ex)
	if !ok {
		return nil, false
	}
	b := ex.Alloc(len(k.prefix) + len(v))
	copy(b[copy(b, k.prefix):], v)
	return b, true
}

// Number is a positive integer that is written down, or that a template like "$http_x_limit" gives for each request.
type Number struct {
	fixed    int64
	template *plugin.Template
	zero     bool
}

// maxSafe is the largest integer that APISIX takes, 2^53-1.
const maxSafe = 1<<53 - 1

// ParseNumber reads a JSON number or string; zero says whether 0 is allowed.
func ParseNumber(raw []byte, zero bool) (Number, error) {
	if len(raw) > 0 && raw[0] == '"' {
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return Number{}, fmt.Errorf("read %.64s: %w", raw, err)
		}
		return Number{template: plugin.CompileTemplate(s), zero: zero}, nil
	}
	n, err := parse(string(raw), zero)
	if err != nil {
		return Number{}, err
	}
	return Number{fixed: n, zero: zero}, nil
}

// NeedsBody tells whether the number reads the request body.
func (n *Number) NeedsBody() bool { return n.template != nil && n.template.NeedsBody() }

// Of is the value for an exchange; a template that gives no usable number is an error.
func (n *Number) Of(ex *plugin.Exchange) (int64, error) {
	if n.template == nil {
		return n.fixed, nil
	}
	v, _ := n.template.Eval(ex)
	return parse(plugin.String(bytes.TrimSpace(v)), n.zero)
}

// parse reads an integer in any decimal notation, such as "10", "10.0" or "1e1". The messages are APISIX's (limit-conn/init.lua resolve_var).
func parse(s string, zero bool) (int64, error) {
	i, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		f, err := strconv.ParseFloat(s, 64)
		switch {
		case errors.Is(err, strconv.ErrRange) || f > maxSafe:
			return 0, fmt.Errorf("resolved value exceeds safe integer range (2^53-1), got: %.64s", s)
		case err != nil || f != f:
			return 0, fmt.Errorf("resolved value is not a number: %.64q", s)
		case f != math.Trunc(f):
			return 0, fmt.Errorf("resolved value must be an integer, got: %.64s", s)
		}
		i = int64(max(f, -maxSafe))
	}
	switch {
	case i < 0 && zero:
		return 0, fmt.Errorf("resolved value must be a non-negative number, got: %d", i)
	case i < 0 || i == 0 && !zero:
		return 0, fmt.Errorf("resolved value must be a positive number, got: %d", i)
	case i > maxSafe:
		return 0, fmt.Errorf("resolved value exceeds safe integer range (2^53-1), got: %d", i)
	}
	return i, nil
}
