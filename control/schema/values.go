package schema

import (
	"encoding/json"
	"maps"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
)

// luaType is the name that Lua's type() gives to a decoded JSON value; a null is a userdata there.
func luaType(v any) string {
	switch v.(type) {
	case nil:
		return "userdata"
	case bool:
		return "boolean"
	case string:
		return "string"
	case map[string]any, []any:
		return "table"
	}
	if isNumber(v) {
		return "number"
	}
	return "userdata"
}

// luaNumber writes a number as Lua's tostring does, with 14 significant digits.
func luaNumber(f float64) string { return strconv.FormatFloat(f, 'g', 14, 64) }

// luaQuote writes a string as %q does in LuaJIT: in double quotes, with backslashes before quotes,
// backslashes and newlines, and control characters by their decimal code.
func luaQuote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '"' || c == '\\' || c == '\n':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < 0x20 || c == 0x7f:
			b.WriteByte('\\')
			if c >= 100 || (i+1 < len(s) && s[i+1] >= '0' && s[i+1] <= '9') {
				b.WriteString(strings.Repeat("0", 3-len(strconv.Itoa(int(c)))))
			}
			b.WriteString(strconv.Itoa(int(c)))
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// quoted is a string that messages show in double quotes but otherwise as it is: the Lua library builds these
// messages as Lua source, which takes the escapes of %q away again.
type quoted string

func (q quoted) String() string { return `"` + string(q) + `"` }

// isSecretRef says whether v is a reference to a secret or an environment variable (apisix/secret.lua).
func isSecretRef(v any) bool {
	s, ok := v.(string)
	if !ok || s == "" || s[0] != '$' {
		return false
	}
	const env = "$ENV://"
	return strings.HasPrefix(s, "$secret://") || (len(s) >= len(env) && strings.EqualFold(s[:len(env)], env))
}

// asObject is v as an object; an empty array is an empty object.
func asObject(v any) (map[string]any, bool) {
	switch v := v.(type) {
	case map[string]any:
		return v, true
	case []any:
		return nil, len(v) == 0
	}
	return nil, false
}

// asArray is v as an array; an empty object is an empty array.
func asArray(v any) ([]any, bool) {
	switch v := v.(type) {
	case []any:
		return v, true
	case map[string]any:
		return nil, len(v) == 0
	}
	return nil, false
}

// coerce gives an accepted value the form that the schema names: an empty object or array the wanted one of the
// two, and an integer such as 1.0 its plain form. It reports whether it did.
func coerce(mask typeMask, v any) (any, bool) {
	switch v := v.(type) {
	case []any:
		if len(v) == 0 && mask&(typeObject|typeArray) == typeObject {
			return map[string]any{}, true
		}
	case map[string]any:
		if len(v) == 0 && mask&(typeObject|typeArray) == typeArray {
			return []any{}, true
		}
	case json.Number:
		if mask&(typeInteger|typeNumber) == typeInteger && strings.ContainsAny(string(v), ".eE") {
			if r, ok := ratOf(v); ok && r.IsInt() && r.Num().IsInt64() {
				return json.Number(r.Num().String()), true
			}
		}
	}
	return v, false
}

// hasType says whether v is of one of the types.
func hasType(mask typeMask, v any) bool {
	switch v := v.(type) {
	case nil:
		return mask&typeNull != 0
	case bool:
		return mask&typeBoolean != 0
	case string:
		return mask&typeString != 0
	case []any:
		return mask&typeArray != 0 || (len(v) == 0 && mask&typeObject != 0)
	case map[string]any:
		return mask&typeObject != 0 || (len(v) == 0 && mask&typeArray != 0)
	}
	if !isNumber(v) {
		return false
	}
	return mask&typeNumber != 0 || (mask&typeInteger != 0 && isInteger(v))
}

func isNumber(v any) bool {
	switch v.(type) {
	case json.Number, float64, float32, int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64:
		return true
	}
	return false
}

// int64Of is v as an int64 if it is written as one.
func int64Of(v any) (int64, bool) {
	switch v := v.(type) {
	case json.Number:
		i, err := strconv.ParseInt(string(v), 10, 64)
		return i, err == nil
	case int:
		return int64(v), true
	case int64:
		return v, true
	case int32:
		return int64(v), true
	case int16:
		return int64(v), true
	case int8:
		return int64(v), true
	case uint8:
		return int64(v), true
	case uint16:
		return int64(v), true
	case uint32:
		return int64(v), true
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return int64(v), true
		}
	}
	return 0, false
}

// float64Of is v as the nearest float64, which may be an infinity.
func float64Of(v any) float64 {
	switch v := v.(type) {
	case json.Number:
		f, err := strconv.ParseFloat(string(v), 64)
		if err != nil && !math.IsInf(f, 0) {
			return math.NaN()
		}
		return f
	case float64:
		return v
	case float32:
		return float64(v)
	case uint:
		return float64(v)
	case uint64:
		return float64(v)
	}
	i, _ := int64Of(v)
	return float64(i)
}

// maxExponent bounds the exponents for which exact arithmetic is done; 1e1000000 would cost megabytes.
const maxExponent = 400

// ratOf is the exact value, unless its exponent is beyond reason.
func ratOf(v any) (*big.Rat, bool) {
	switch v := v.(type) {
	case json.Number:
		s := string(v)
		if len(s) > 1000 {
			return nil, false
		}
		if i := strings.IndexAny(s, "eE"); i >= 0 {
			exponent, err := strconv.Atoi(s[i+1:])
			if err != nil || exponent > maxExponent || exponent < -maxExponent {
				return nil, false
			}
		}
		return new(big.Rat).SetString(s)
	case uint64:
		return new(big.Rat).SetInt(new(big.Int).SetUint64(v)), true
	case uint:
		return new(big.Rat).SetInt(new(big.Int).SetUint64(uint64(v))), true
	}
	if i, ok := int64Of(v); ok {
		return new(big.Rat).SetInt64(i), true
	}
	r := new(big.Rat).SetFloat64(float64Of(v))
	return r, r != nil
}

func isInteger(v any) bool {
	if _, ok := int64Of(v); ok {
		return true
	}
	if r, ok := ratOf(v); ok {
		return r.IsInt()
	}
	f := float64Of(v)
	return f == math.Trunc(f) && !math.IsInf(f, 0)
}

// evalNumber checks bounds and multiples, exactly for integers and for decimals of reasonable size.
func (w *walk) evalNumber(n *node, v any) error {
	i, isInt := int64Of(v)
	for k := range n.bounds {
		b := &n.bounds[k]
		sign := 0
		switch {
		case isInt && b.exact:
			if i < b.i {
				sign = -1
			} else if i > b.i {
				sign = 1
			}
		default:
			f := float64Of(v)
			if f < b.f {
				sign = -1
			} else if f > b.f {
				sign = 1
			} else if r, ok := ratOf(v); ok {
				sign = r.Cmp(b.limit)
			}
		}
		if b.fails[sign+1] {
			return w.fail("expected %s to be %s", luaNumber(float64Of(v)), b.text)
		}
	}
	if n.multipleOf != nil && n.multipleOf.Sign() > 0 {
		r, ok := ratOf(v)
		if !ok || !new(big.Rat).Quo(r, n.multipleOf).IsInt() {
			of, _ := n.multipleOf.Float64()
			return w.fail("expected %s to be a multiple of %s", luaNumber(float64Of(v)), luaNumber(of))
		}
	}
	return nil
}

func anyEqual(values []any, v any) bool {
	for _, value := range values {
		if equal(value, v) {
			return true
		}
	}
	return false
}

// equal compares JSON values: numbers by value, and an empty object equals an empty array.
func equal(a, b any) bool {
	switch a := a.(type) {
	case nil:
		return b == nil
	case bool:
		b, ok := b.(bool)
		return ok && a == b
	case string:
		b, ok := b.(string)
		return ok && a == b
	case []any:
		other, ok := asArray(b)
		return ok && slices.EqualFunc(a, other, equal)
	case map[string]any:
		other, ok := asObject(b)
		return ok && maps.EqualFunc(a, other, equal)
	}
	if !isNumber(a) || !isNumber(b) {
		return false
	}
	x, xInt := int64Of(a)
	y, yInt := int64Of(b)
	if xInt && yInt {
		return x == y
	}
	r, rok := ratOf(a)
	s, sok := ratOf(b)
	if rok && sok {
		return r.Cmp(s) == 0
	}
	return float64Of(a) == float64Of(b)
}

// scalarKey is a key under which equal scalars meet.
func scalarKey(v any) (any, bool) {
	switch v.(type) {
	case nil, bool, string:
		return v, true
	case map[string]any, []any:
		return nil, false
	}
	if i, ok := int64Of(v); ok {
		return i, true
	}
	if r, ok := ratOf(v); ok {
		if r.IsInt() && r.Num().IsInt64() {
			return r.Num().Int64(), true
		}
		// A type of its own, so that the text of a number never meets a string.
		return numberText(r.RatString()), true
	}
	return float64Of(v), true
}

type numberText string

// canonical appends a text that is the same for equal values and different for others.
func canonical(b []byte, v any) []byte {
	if key, ok := scalarKey(v); ok {
		switch key := key.(type) {
		case nil:
			return append(b, "null"...)
		case bool:
			return strconv.AppendBool(b, key)
		case string:
			return strconv.AppendQuote(b, key)
		case int64:
			return strconv.AppendInt(b, key, 10)
		case numberText:
			return append(b, key...)
		case float64:
			return strconv.AppendFloat(b, key, 'g', -1, 64)
		}
	}
	if items, ok := v.([]any); ok && len(items) > 0 {
		b = append(b, '[')
		for _, item := range items {
			b = append(canonical(b, item), ',')
		}
		return append(b, ']')
	}
	object, _ := v.(map[string]any)
	b = append(b, '{')
	for _, key := range slices.Sorted(maps.Keys(object)) {
		b = append(strconv.AppendQuote(b, key), ':')
		b = append(canonical(b, object[key]), ',')
	}
	return append(b, '}')
}
