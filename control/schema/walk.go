package schema

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxDepth bounds the recursion over document and schema. Decode allows documents of depth 64, and a schema puts
// a few levels of its own on each; the rest is room for recursive references.
const maxDepth = 512

// errQuiet stands for any failure while a branch is only tried out.
var errQuiet = errors.New("no match")

// walk judges one document. Objects and arrays of the document are never written to: eval returns a changed
// shallow copy where it fills something in, and the caller puts the copy into a copy of its own.
type walk struct {
	depth int
	// quiet counts the branches under trial; their failures are not worded.
	quiet int
}

// fail words a failure. The arguments are not formatted while a branch is tried out.
func (w *walk) fail(format string, args ...any) error {
	if w.quiet > 0 {
		return errQuiet
	}
	return fmt.Errorf(format, args...)
}

// wrap puts what failed before the reason it failed for.
func (w *walk) wrap(err error, format string, args ...any) error {
	if w.quiet > 0 || errors.Is(err, errTooDeep) {
		return err
	}
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), err)
}

// eval checks v against n and returns v with defaults filled in, and whether that is another value than v.
// The order of the checks is that of the Lua library, for it decides which failure is reported.
func (w *walk) eval(n *node, v any) (out any, changed bool, err error) {
	if w.depth >= maxDepth {
		return nil, false, errTooDeep
	}
	w.depth++
	defer func() { w.depth-- }()

	if n.ref != nil {
		return w.eval(n.ref, v)
	}
	if n.constant != nil {
		if !*n.constant {
			return nil, false, w.fail("expect false always")
		}
		return v, false, nil
	}
	if isSecretRef(v) && (len(n.types) == 0 || (len(n.types) == 1 && n.typeMask == typeString)) {
		return v, false, nil
	}
	out = v
	if n.typeMask != 0 {
		if out, changed = coerce(n.typeMask, v); !changed && !hasType(n.typeMask, v) {
			if len(n.types) == 1 {
				return nil, false, w.fail("wrong type: expected %s, got %s", n.types[0], luaType(v))
			}
			return nil, false, w.fail("wrong type: expected one of %s, got %s", strings.Join(n.types, ", "), luaType(v))
		}
	}
	step := func(next any, different bool, err error) error {
		if different {
			out, changed = next, true
		}
		return err
	}
	if n.objectChecks {
		if object, ok := asObject(out); ok {
			if err := step(w.evalObject(n, object, out)); err != nil {
				return nil, false, err
			}
		}
	}
	if items, ok := asArray(out); ok {
		if err := step(w.evalArray(n, items, out)); err != nil {
			return nil, false, err
		}
	}
	if s, ok := out.(string); ok {
		if err := w.evalString(n, s); err != nil {
			return nil, false, err
		}
	}
	if (len(n.bounds) > 0 || n.multipleOf != nil) && isNumber(out) {
		if err := w.evalNumber(n, out); err != nil {
			return nil, false, err
		}
	}
	if n.enum != nil && !anyEqual(n.enum, out) {
		return nil, false, w.fail("matches none of the enum values")
	}
	if err := step(w.evalCompound(n, out)); err != nil {
		return nil, false, err
	}
	if s, ok := out.(string); ok && n.format != nil && !n.format.match(s) {
		return nil, false, w.fail("expect valid %s format but got: %s", n.format.name, s)
	}
	if n.hasConst && !equal(n.constVal, out) {
		return nil, false, w.fail("failed to check const value")
	}
	if n.contains != nil {
		if err := w.evalContains(n, out); err != nil {
			return nil, false, err
		}
	}
	return out, changed, nil
}

// try checks v against n without wording a failure. Defaults of a branch that fails are dropped.
func (w *walk) try(n *node, v any) (out any, changed bool, err error) {
	w.quiet++
	out, changed, err = w.eval(n, v)
	w.quiet--
	return out, changed, err
}

func (w *walk) evalString(n *node, s string) error {
	if n.minLength != nil || n.maxLength != nil {
		length := utf8.RuneCountInString(s)
		if n.minLength != nil && length < *n.minLength {
			return w.fail("string too short, expected at least %d, got %d", *n.minLength, length)
		}
		if n.maxLength != nil && length > *n.maxLength {
			return w.fail("string too long, expected at most %d, got %d", *n.maxLength, length)
		}
	}
	if n.pattern != nil && !n.pattern.MatchString(s) {
		if w.quiet > 0 {
			return errQuiet
		}
		return w.fail("failed to match pattern %s with %s", luaQuote(n.pattern.String()), luaQuote(s))
	}
	return nil
}

func (w *walk) evalCompound(n *node, v any) (out any, changed bool, err error) {
	out = v
	for i, sub := range n.allOf {
		next, different, err := w.eval(sub, out)
		if err != nil {
			return nil, false, w.wrap(err, "allOf %d failed", i+1)
		}
		if different {
			out, changed = next, true
		}
	}
	if n.anyOf != nil {
		next, different, ok, err := w.anyOf(n.anyOf, out)
		if err != nil {
			return nil, false, err
		}
		if !ok {
			if n.anyOfRequired == "" {
				return nil, false, w.fail("object matches none of the required")
			}
			return nil, false, w.fail("object matches none of the required: %s", n.anyOfRequired)
		}
		if different {
			out, changed = next, true
		}
	}
	if n.oneOf != nil {
		matched := 0
		for i, sub := range n.oneOf {
			next, different, err := w.try(sub, out)
			if errors.Is(err, errTooDeep) {
				return nil, false, err
			}
			if err != nil {
				continue
			}
			if matched > 0 {
				return nil, false, w.fail("value should match only one schema, but matches both schemas %d and %d", matched, i+1)
			}
			matched = i + 1
			if different {
				out, changed = next, true
			}
		}
		if matched == 0 {
			return nil, false, w.fail("value should match only one schema, but matches none")
		}
	}
	if n.ifNode != nil {
		next, different, err := w.evalIf(n, out)
		if err != nil {
			return nil, false, err
		}
		if different {
			out, changed = next, true
		}
	}
	if n.not != nil {
		_, _, err := w.try(n.not, out)
		if errors.Is(err, errTooDeep) {
			return nil, false, err
		}
		if err == nil {
			return nil, false, w.fail("value wasn't supposed to match schema")
		}
	}
	return out, changed, nil
}

// anyOf takes the first branch that matches.
func (w *walk) anyOf(branches []*node, v any) (out any, changed, ok bool, err error) {
	for _, sub := range branches {
		next, different, err := w.try(sub, v)
		if err == nil {
			return next, different, true, nil
		}
		if errors.Is(err, errTooDeep) {
			return nil, false, false, err
		}
	}
	return nil, false, false, nil
}

func (w *walk) evalIf(n *node, v any) (out any, changed bool, err error) {
	out, changed, err = w.try(n.ifNode, v)
	if errors.Is(err, errTooDeep) {
		return nil, false, err
	}
	branch, message := n.then, "then clause did not match"
	if err != nil {
		out, changed = v, false
		branch, message = n.els, "else clause did not match"
	}
	if branch == nil {
		return out, changed, nil
	}
	next, different, err := w.try(branch, out)
	if errors.Is(err, errTooDeep) {
		return nil, false, err
	}
	if err != nil {
		return nil, false, w.fail("%s", message)
	}
	return next, changed || different, nil
}
