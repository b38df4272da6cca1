package expr

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/sluice-gateway/sluice/l7/plugin"
	"github.com/sluice-gateway/sluice/l7/plugin/ipset"
	"github.com/sluice-gateway/sluice/l7/plugin/regex"
)

type operator uint8

const (
	opEqual operator = iota
	opNotEqual
	opGreater
	opGreaterEqual
	opLess
	opLessEqual
	opMatch
	opMatchFold
	opIn
	opHas
	opIP
)

var operators = map[string]operator{
	"==": opEqual, "~=": opNotEqual, ">": opGreater, ">=": opGreaterEqual, "<": opLess, "<=": opLessEqual,
	"~~": opMatch, "~*": opMatchFold, "in": opIn, "has": opHas, "ipmatch": opIP,
}

// manyMembers is the length from which "in" looks strings up in a map.
const manyMembers = 8

type valueKind uint8

const (
	isNull valueKind = iota
	isString
	isNumber
	isBool
	isTable
)

// compare is one comparison. The types of both sides count, as in Lua: a variable is a string unless it comes from a JSON body.
type compare struct {
	op  operator
	v   plugin.Var
	any plugin.AnyVar

	right  valueKind
	str    string
	num    float64
	numOK  bool
	truth  bool
	list   []any
	strs   map[string]struct{}
	re     *regex.Regexp
	ranges *ipset.Set
}

func compileCompare(name string, op operator, val any) (compare, error) {
	c := compare{op: op}
	if v, ok := plugin.CompileAnyVar(name); ok {
		c.any = v
	} else {
		c.v = plugin.CompileVar(name)
	}
	switch r := val.(type) {
	case nil:
		c.right = isNull
	case string:
		c.right, c.str = isString, r
		c.num, c.numOK = parseNumber(plugin.Bytes(r))
	case float64:
		c.right, c.num, c.numOK = isNumber, r, true
	case bool:
		c.right, c.truth = isBool, r
	case []any:
		c.right, c.list = isTable, r
	default:
		c.right = isTable
	}
	switch op {
	case opMatch, opMatchFold:
		pattern := c.str
		if c.right == isNumber {
			pattern = formatNumber(c.num)
		} else if c.right != isString {
			return c, fmt.Errorf("invalid regular expression: got %s, want a string", kind(val))
		}
		opts := "jo"
		if op == opMatchFold {
			opts = "joi"
		}
		re, err := regex.Compile(pattern, opts)
		if err != nil {
			return c, err
		}
		c.re = re
	case opIn:
		c.index()
	case opIP:
		set, err := compileRanges(val)
		if err != nil {
			return c, err
		}
		c.ranges = set
	}
	return c, nil
}

func compileRanges(val any) (*ipset.Set, error) {
	list, ok := val.([]any)
	if !ok {
		list = []any{val}
	}
	if len(list) == 0 {
		return nil, errors.New("invalid ip address: the list is empty")
	}
	entries := make([]string, len(list))
	for i, e := range list {
		s, ok := e.(string)
		if !ok || s == "" {
			return nil, fmt.Errorf("invalid ip address: entry %d is %s", i+1, describe(e))
		}
		entries[i] = s
	}
	return ipset.New(entries)
}

func describe(v any) string {
	if v == "" {
		return "an empty string"
	}
	return kind(v)
}

// index prepares long lists of "in". A list of Lua ends at its first null.
func (c *compare) index() {
	for i, e := range c.list {
		if e == nil {
			c.list = c.list[:i]
			break
		}
	}
	if len(c.list) < manyMembers {
		return
	}
	c.strs = make(map[string]struct{}, len(c.list))
	for _, e := range c.list {
		if s, ok := e.(string); ok {
			c.strs[s] = struct{}{}
		}
	}
}

func (c *compare) eval(ex *plugin.Exchange) bool {
	if c.any == nil {
		b, ok := c.v(ex)
		if !ok {
			return c.missing()
		}
		return c.text(ex, b)
	}
	v, ok := c.any(ex)
	if !ok || v == nil {
		return c.missing()
	}
	switch l := v.(type) {
	case []byte:
		return c.text(ex, l)
	case string:
		return c.text(ex, plugin.Bytes(l))
	case float64:
		return c.number(ex, l)
	case bool:
		return c.boolean(l)
	default:
		return c.table(l)
	}
}

// missing compares a variable without value.
func (c *compare) missing() bool {
	switch c.op {
	case opEqual:
		return c.right == isNull
	case opNotEqual:
		return c.right != isNull
	}
	return false
}

func (c *compare) text(ex *plugin.Exchange, b []byte) bool {
	switch c.op {
	case opEqual, opNotEqual:
		var eq bool
		switch c.right {
		case isString:
			eq = string(b) == c.str
		case isNumber:
			n, ok := parseNumber(b)
			eq = ok && n == c.num
		}
		return eq == (c.op == opEqual)
	case opGreater, opGreaterEqual, opLess, opLessEqual:
		n, ok := parseNumber(b)
		return ok && c.order(n)
	case opMatch, opMatchFold:
		return c.re.Match(b)
	case opIn:
		if c.strs != nil {
			_, ok := c.strs[string(b)]
			return ok
		}
		for _, e := range c.list {
			if s, ok := e.(string); ok && s == string(b) {
				return true
			}
		}
		return false
	case opIP:
		a, ok := parseAddr(ex, b)
		return ok && c.ranges.Contains(a)
	}
	return false
}

// parseAddr reads an address without allocating; remote_addr is by far the most common one and is already parsed.
func parseAddr(ex *plugin.Exchange, b []byte) (netip.Addr, bool) {
	var tmp [64]byte
	if a := ex.Client.Addr().Unmap(); a.IsValid() && string(a.AppendTo(tmp[:0])) == string(b) {
		return a, true
	}
	if len(b) > len(tmp) {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(plugin.String(b))
	// The zone of an address keeps a reference to the text, which lives only as long as the exchange.
	return a.WithZone(""), err == nil
}

func (c *compare) order(n float64) bool {
	if !c.numOK {
		return false
	}
	switch c.op {
	case opGreater:
		return n > c.num
	case opGreaterEqual:
		return n >= c.num
	case opLess:
		return n < c.num
	default:
		return n <= c.num
	}
}

func (c *compare) number(ex *plugin.Exchange, n float64) bool {
	switch c.op {
	case opEqual, opNotEqual:
		return (c.right == isNumber && n == c.num) == (c.op == opEqual)
	case opGreater, opGreaterEqual, opLess, opLessEqual:
		return c.order(n)
	case opIn:
		return contains(c.list, n)
	case opMatch, opMatchFold:
		return c.text(ex, plugin.Bytes(formatNumber(n)))
	}
	return false
}

func (c *compare) boolean(b bool) bool {
	switch c.op {
	case opEqual, opNotEqual:
		if c.right == isNumber {
			return c.op == opNotEqual
		}
		return (c.right == isBool && b == c.truth) == (c.op == opEqual)
	case opIn:
		return contains(c.list, b)
	}
	return false
}

// table compares a list or an object: it equals nothing, and "has" looks for an element of a list.
func (c *compare) table(v any) bool {
	switch c.op {
	case opNotEqual:
		return true
	case opHas:
		switch c.right {
		case isString:
			return containsString(v, c.str)
		case isNumber:
			l, ok := v.([]any)
			return ok && contains(l, c.num)
		case isBool:
			l, ok := v.([]any)
			return ok && contains(l, c.truth)
		}
	}
	return false
}

func containsString(v any, s string) bool {
	switch l := v.(type) {
	case []any:
		return contains(l, s)
	case [][]byte:
		for _, e := range l {
			if string(e) == s {
				return true
			}
		}
	}
	return false
}

// contains looks for a string, number or boolean; lists and objects equal nothing, and comparing them as interfaces would panic.
func contains(l []any, want any) bool {
	for _, e := range l {
		switch e.(type) {
		case string, float64, bool:
			if e == want {
				return true
			}
		}
	}
	return false
}

// parseNumber is Lua's tonumber: decimal with fraction and exponent, or a hexadecimal integer, with white space around it.
func parseNumber(b []byte) (float64, bool) {
	for len(b) > 0 && space(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && space(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	if len(b) == 0 || len(b) > 64 {
		return 0, false
	}
	if n, ok := parseInt(b); ok {
		return n, true
	}
	if !numeric(b) {
		return 0, false
	}
	n, err := strconv.ParseFloat(plugin.String(b), 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, false
	}
	return n, true
}

func space(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

// parseInt reads what nearly every number in a request looks like.
func parseInt(b []byte) (float64, bool) {
	neg := b[0] == '-'
	if neg || b[0] == '+' {
		b = b[1:]
	}
	hex := len(b) > 2 && b[0] == '0' && b[1]|0x20 == 'x'
	if hex {
		b = b[2:]
	}
	if len(b) == 0 || len(b) > 15 || hex && len(b) > 13 {
		return 0, false
	}
	var n int64
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case hex && c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		if hex {
			n = n<<4 | int64(c)
		} else {
			n = n*10 + int64(c)
		}
	}
	if neg {
		n = -n
	}
	return float64(n), true
}

// numeric checks the syntax first: an error of strconv would be an allocation per request.
func numeric(b []byte) bool {
	i := 0
	if b[0] == '-' || b[0] == '+' {
		i++
	}
	digits := 0
	for i < len(b) && b[i] >= '0' && b[i] <= '9' {
		i, digits = i+1, digits+1
	}
	if i < len(b) && b[i] == '.' {
		for i++; i < len(b) && b[i] >= '0' && b[i] <= '9'; i++ {
			digits++
		}
	}
	if digits == 0 {
		return false
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		i++
		if i < len(b) && (b[i] == '-' || b[i] == '+') {
			i++
		}
		first := i
		for i < len(b) && b[i] >= '0' && b[i] <= '9' {
			i++
		}
		if i == first {
			return false
		}
	}
	return i == len(b)
}

// formatNumber writes a number as Lua's tostring does.
func formatNumber(f float64) string { return strconv.FormatFloat(f, 'g', 14, 64) }
