package plugin

// Template is text with $name and ${name} references, compiled once. "\$" stands for a dollar sign.
type Template struct {
	parts []part
	// whole is set when the template is plain text.
	plain []byte
}

type part struct {
	text []byte
	v    Var
}

// CompileTemplate parses s. A "$" that no name follows is text.
func CompileTemplate(s string) *Template {
	t := &Template{}
	var text []byte
	for i := 0; i < len(s); {
		c := s[i]
		if c == '\\' && i+1 < len(s) && s[i+1] == '$' {
			text = append(text, '$')
			i += 2
			continue
		}
		if c != '$' {
			text = append(text, c)
			i++
			continue
		}
		name, n := reference(s[i+1:])
		if n == 0 {
			text = append(text, c)
			i++
			continue
		}
		if len(text) > 0 {
			t.parts = append(t.parts, part{text: text})
			text = nil
		}
		t.parts = append(t.parts, part{v: CompileVar(name)})
		i += 1 + n
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

// reference reads the name after "$" and returns it with the bytes it takes.
func reference(s string) (name string, n int) {
	if len(s) > 0 && s[0] == '{' {
		for i := 1; i < len(s); i++ {
			if s[i] == '}' {
				return s[1:i], i + 1
			}
			if !nameChar(s[i]) && s[i] != '.' && s[i] != '-' {
				return "", 0
			}
		}
		return "", 0
	}
	for n < len(s) && nameChar(s[n]) {
		n++
	}
	return s[:n], n
}

func nameChar(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// Plain tells whether the template has no references.
func (t *Template) Plain() bool { return t.plain != nil }

// Eval returns the text with the variables of ex in place; a variable without value is empty. resolved counts the references that had a value.
func (t *Template) Eval(ex *Exchange) (text []byte, resolved int) {
	if t.plain != nil {
		return t.plain, 0
	}
	if len(t.parts) == 1 {
		v, ok := t.parts[0].v(ex)
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
		if v, ok := p.v(ex); ok {
			text = append(text, v...)
			resolved++
		}
	}
	return text, resolved
}
