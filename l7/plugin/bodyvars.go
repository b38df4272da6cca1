package plugin

import (
	"encoding/json"
	"strconv"
	"strings"
)

type jsonBodyKey struct{}

// BodyJSON decodes a buffered JSON body once per exchange; nil when there is none or it is not JSON.
func (ex *Exchange) BodyJSON() any {
	if !ex.Request.BodyBuffered {
		return nil
	}
	if v := ex.Value(jsonBodyKey{}); v != nil {
		return v
	}
	var v any
	if json.Unmarshal(ex.Request.Body, &v) != nil {
		return nil
	}
	ex.SetValue(jsonBodyKey{}, v)
	return v
}

// postArgPath reads post_arg.a.b[0]: from an urlencoded body by its whole name, from a JSON body by path (apisix/core/ctx.lua).
func postArgPath(path string) Var {
	steps := strings.Split(strings.NewReplacer("[", ".", "]", "").Replace(path), ".")
	return func(ex *Exchange) ([]byte, bool) {
		for _, f := range ex.Form() {
			if string(f.Name) == path {
				return f.Value, true
			}
		}
		cur := ex.BodyJSON()
		for _, s := range steps {
			switch c := cur.(type) {
			case map[string]any:
				cur = c[s]
			case []any:
				i, err := strconv.Atoi(s)
				if err != nil || i < 0 || i >= len(c) {
					return nil, false
				}
				cur = c[i]
			default:
				return nil, false
			}
		}
		switch c := cur.(type) {
		case nil:
			return nil, false
		case string:
			return Bytes(c), true
		default:
			b, err := json.Marshal(c)
			return b, err == nil
		}
	}
}
