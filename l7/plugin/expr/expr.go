// Package expr compiles and evaluates the condition language of "vars" and "_meta.filter": lists of [variable, operator, value], joined by AND, OR, !AND and
// !OR (lua-resty-expr; docs: apisix router-radixtree and admin-api pages).
package expr

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/sluice-gateway/sluice/l7/plugin"
)

// Bounds of one expression.
const (
	// MaxSize is the length in bytes of the longest document.
	MaxSize = 1 << 20
	// MaxDepth is how deep lists may nest.
	MaxDepth = 32
	// MaxTerms is the number of comparisons in one expression.
	MaxTerms = 4096
)

// Expr is a compiled expression. It is immutable and safe for concurrent use.
type Expr struct {
	root      node
	needsBody bool
}

// node is a list joined by a logical operator, or a comparison.
type node struct {
	logic logic
	// negate reverses the outcome: !AND, !OR and the "!" of a comparison.
	negate bool
	sub    []node
	cmp    compare
}

type logic uint8

const (
	comparison logic = iota
	allOf
	anyOf
)

// Compile compiles the JSON array doc. Null and the empty array are always true. The error names the element by its position, "[2][1]", counted from 1.
func Compile(doc json.RawMessage) (*Expr, error) {
	if len(doc) > MaxSize {
		return nil, fmt.Errorf("read expression: %d bytes long, at most %d are allowed", len(doc), MaxSize)
	}
	if t := bytes.TrimSpace(doc); len(t) == 0 || string(t) == "null" {
		return &Expr{root: node{logic: allOf}}, nil
	}
	var v any
	if err := json.Unmarshal(doc, &v); err != nil {
		return nil, fmt.Errorf("read expression: %w", err)
	}
	list, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("read expression: want an array of conditions such as [[\"arg_a\",\"==\",\"b\"]], got %s", kind(v))
	}
	if len(list) == 0 {
		return &Expr{root: node{logic: allOf}}, nil
	}
	if m, ok := list[0].(map[string]any); ok && len(m) == 0 {
		list[0] = []any{} // Lua cannot tell them apart
	}
	if _, nested := list[0].([]any); !nested {
		if s, ok := list[0].(string); !ok || !isLogic(s) {
			return nil, errors.New("rule should be wrapped inside brackets: write [[\"arg_a\",\"==\",\"b\"]]")
		}
	}
	c := compiler{e: &Expr{}}
	root, err := c.list(list, "", 1)
	if err != nil {
		return nil, err
	}
	c.e.root = root
	return c.e, nil
}

// NeedsBody tells whether evaluating reads the request body.
func (e *Expr) NeedsBody() bool { return e != nil && e.needsBody }

// Always tells whether the expression is true for every exchange because it has no conditions.
func (e *Expr) Always() bool {
	return e == nil || e.root.logic == allOf && len(e.root.sub) == 0 && !e.root.negate
}

// Eval tells whether the expression holds for ex. A nil Expr holds always. Comparing strings and numbers does not allocate.
func (e *Expr) Eval(ex *plugin.Exchange) bool { return e == nil || e.root.eval(ex) }

func (n *node) eval(ex *plugin.Exchange) bool {
	switch n.logic {
	case comparison:
		return n.cmp.eval(ex) != n.negate
	case allOf:
		for i := range n.sub {
			if !n.sub[i].eval(ex) {
				return n.negate
			}
		}
		return !n.negate
	default:
		for i := range n.sub {
			if n.sub[i].eval(ex) {
				return !n.negate
			}
		}
		return n.negate
	}
}

type compiler struct {
	e     *Expr
	terms int
}

func isLogic(s string) bool {
	switch strings.ToUpper(s) {
	case "AND", "OR", "!AND", "!OR":
		return true
	}
	return false
}

// at names an element in messages.
func at(path string) string {
	if path == "" {
		return "the expression"
	}
	return "element " + path
}

func (c *compiler) list(l []any, path string, depth int) (node, error) {
	if depth > MaxDepth {
		return node{}, fmt.Errorf("%s is nested deeper than %d levels", at(path), MaxDepth)
	}
	if len(l) == 0 {
		return node{}, fmt.Errorf("rule too short: %s is empty", at(path))
	}
	n := node{logic: allOf}
	from := 0
	if s, ok := l[0].(string); ok {
		if !isLogic(s) {
			return c.comparison(l, path)
		}
		op := strings.ToUpper(s)
		n.negate = op[0] == '!'
		if strings.HasSuffix(op, "OR") {
			n.logic = anyOf
		}
		if len(l) < 3 {
			return node{}, fmt.Errorf("rule too short: %s joins with %q and needs at least two conditions after it", at(path), s)
		}
		from = 1
	} else if _, ok := l[0].([]any); !ok {
		return node{}, fmt.Errorf("invalid expression: %s begins with %s, want a variable name, a logical operator or a condition", at(path), kind(l[0]))
	}
	n.sub = make([]node, 0, len(l)-from)
	for i := from; i < len(l); i++ {
		p := fmt.Sprintf("%s[%d]", path, i+1)
		inner, ok := l[i].([]any)
		if !ok {
			return node{}, fmt.Errorf("invalid expression: %s is %s, want a condition such as [\"arg_a\",\"==\",\"b\"]", at(p), kind(l[i]))
		}
		sub, err := c.list(inner, p, depth+1)
		if err != nil {
			return node{}, err
		}
		n.sub = append(n.sub, sub)
	}
	return n, nil
}

// comparison compiles [var, op, value], [var, "!", op, value] and the old form [var, value], which lower-cases the value and means "==".
func (c *compiler) comparison(l []any, path string) (node, error) {
	if c.terms++; c.terms > MaxTerms {
		return node{}, fmt.Errorf("%s: more than %d conditions", at(path), MaxTerms)
	}
	n := node{}
	name := l[0].(string)
	if name == "" {
		return n, fmt.Errorf("invalid expression: %s has an empty variable name", at(path))
	}
	var op, val any
	switch len(l) {
	case 1:
		return n, fmt.Errorf("invalid expression: %s has no operator and no value", at(path))
	case 2:
		op = l[1]
	case 3:
		op, val = l[1], l[2]
	case 4:
		if s, ok := l[1].(string); !ok || s != "!" {
			return n, fmt.Errorf("bad 'not' expression: the second member of %s must be \"!\"", at(path))
		}
		n.negate = true
		op, val = l[2], l[3]
	default:
		return n, fmt.Errorf("invalid expression: %s has %d members, want [variable, operator, value] or [variable, \"!\", operator, value]", at(path), len(l))
	}
	text, ok := op.(string)
	if !ok && len(l) == 2 {
		if f, isNum := op.(float64); isNum {
			text, ok = formatNumber(f), true
		}
	}
	if !ok {
		return n, fmt.Errorf("invalid expression: the operator of %s is %s", at(path), kind(op))
	}
	lowered := strings.ToLower(text)
	if len(l) == 2 {
		if _, isOp := operators[lowered]; isOp {
			return n, fmt.Errorf("invalid expression: %s has no value after the operator %q", at(path), text)
		}
		lowered, val = "==", lowered
	}
	o, ok := operators[lowered]
	if !ok {
		return n, fmt.Errorf("invalid operator '%s' in %s; want one of == ~= > >= < <= ~~ ~* in has ipmatch", lowered, at(path))
	}
	cmp, err := compileCompare(name, o, val)
	if err != nil {
		return n, fmt.Errorf("%w in %s", err, at(path))
	}
	n.cmp = cmp
	if plugin.VarNeedsBody(name) {
		c.e.needsBody = true
	}
	return n, nil
}

// kind names a JSON value in messages.
func kind(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case float64:
		return "a number"
	case string:
		return "a string"
	case []any:
		return "an array"
	default:
		return "an object"
	}
}
