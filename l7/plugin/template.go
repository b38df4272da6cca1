package plugin

import "strings"

// Template is text with references to variables, compiled once (apisix/core/utils.lua resolve_var). A reference is $name, where the name goes on
// over letters, digits, "_" and ".", or ${name}, or ${name ?? default}: the default stands for a variable without value. A "$" after a
// backslash is text, and so is the backslash.
type Template struct {
	parts     []part
	needsBody bool
	// plain is the text when there are no references, else nil.
	plain []byte
}

type part struct {
	text []byte
	v    Var
	// or is the default of the reference, nil when it has none.
	or []byte
}

// CompileTemplate parses s. A "$" that no name follows is text.
func CompileTemplate(s string) *Template {
	t := &Template{}
	var text []byte
	for i := 0; i < len(s); {
		if s[i] == '$' && (i == 0 || s[i-1] != '\\') {
			if p, name, n := reference(s[i+1:]); n > 0 {
				t.needsBody = t.needsBody || VarNeedsBody(name)
				if len(text) > 0 {
					t.parts = append(t.parts, part{text: text})
					text = nil
				}
				t.parts = append(t.parts, p)
				i += 1 + n
				continue
			}
		}
		text = append(text, s[i])
		i++
	}
	if len(t.parts) == 0 {
		t.plain = append([]byte{}, text...)
		return t
	}
	if len(text) > 0 {
		t.parts = append(t.parts, part{text: text})
	}
	return t
}

// reference reads what follows "$" and returns the variable's name and how many bytes the reference takes, 0 when it is none.
func reference(s string) (p part, name string, n int) {
	if len(s) > 0 && s[0] == '{' {
		end := strings.IndexByte(s, '}')
		if end < 0 || strings.TrimSpace(s[1:end]) == "" {
			return p, "", 0
		}
		name, or, has := strings.Cut(strings.TrimSpace(s[1:end]), "??")
		if has {
			or, _, _ = strings.Cut(or, "??")
			p.or = append([]byte{}, strings.TrimSpace(or)...)
		}
		name = strings.TrimSpace(name)
		p.v = CompileVar(name)
		return p, name, end + 1
	}
	for n < len(s) && nameChar(s[n]) {
		n++
	}
	if n > 0 {
		p.v = CompileVar(s[:n])
	}
	return p, s[:n], n
}

func nameChar(c byte) bool {
	return c == '_' || c == '.' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func (p *part) eval(ex *Exchange) ([]byte, bool) {
	if v, ok := p.v(ex); ok {
		return v, true
	}
	return p.or, p.or != nil
}

// NeedsBody tells whether evaluating reads the request body.
func (t *Template) NeedsBody() bool { return t.needsBody }

// Plain tells whether the template has no references.
func (t *Template) Plain() bool { return t.plain != nil }

// Eval returns the text with the variables of ex in place; a variable without value and
// without default is empty. resolved counts the references that had either.
func (t *Template) Eval(ex *Exchange) (text []byte, resolved int) {
	if t.plain != nil {
		return t.plain, 0
	}
	if len(t.parts) == 1 {
		v, ok := t.parts[0].eval(ex)
		if !ok {
			return emptyValue, 0
		}
		return v, 1
	}
	text = ex.Alloc(256)[:0]
	for i := range t.parts {
		p := &t.parts[i]
		if p.v == nil {
			text = append(text, p.text...)
			continue
		}
		if v, ok := p.eval(ex); ok {
			text = append(text, v...)
			resolved++
		}
	}
	return text, resolved
}
