package accesslog

import (
	"fmt"

	"github.com/sluice-gateway/sluice/l7/plugin"
)

// format is a compiled log format: pieces of text and variables in turns.
type format struct {
	pieces []piece
	escape escape
}

type piece struct {
	text []byte
	v    plugin.Var
}

type escape uint8

const (
	escapeDefault escape = iota
	escapeJSON
	escapeNone
)

// compileFormat reads a format. "$$" is not special; a "$" that no name follows is text.
func compileFormat(s, esc string) (*format, error) {
	f := &format{}
	switch esc {
	case "", "default":
	case "json":
		f.escape = escapeJSON
	case "none":
		f.escape = escapeNone
	default:
		return nil, fmt.Errorf("access log: escape %q is none of default, json, none", esc)
	}
	var text []byte
	for i := 0; i < len(s); {
		name, n := variable(s[i:])
		if n == 0 {
			text = append(text, s[i])
			i++
			continue
		}
		if len(text) > 0 {
			f.pieces = append(f.pieces, piece{text: text})
			text = nil
		}
		f.pieces = append(f.pieces, piece{v: plugin.CompileVar(name)})
		i += n
	}
	if len(text) > 0 {
		f.pieces = append(f.pieces, piece{text: text})
	}
	return f, nil
}

// variable reads "$name" or "${name}" at the start of s and returns how much of s it takes.
func variable(s string) (name string, n int) {
	if len(s) < 2 || s[0] != '$' {
		return "", 0
	}
	i, closing := 1, false
	if s[1] == '{' {
		i, closing = 2, true
	}
	from := i
	for i < len(s) && (s[i] == '_' || s[i] >= '0' && s[i] <= '9' || s[i] >= 'a' && s[i] <= 'z' || s[i] >= 'A' && s[i] <= 'Z') {
		i++
	}
	name = s[from:i]
	if name == "" || closing && (i == len(s) || s[i] != '}') {
		return "", 0
	}
	if closing {
		i++
	}
	return name, i
}

func (f *format) append(b []byte, ex *plugin.Exchange) []byte {
	for i := range f.pieces {
		p := &f.pieces[i]
		if p.v == nil {
			b = append(b, p.text...)
			continue
		}
		v, ok := p.v(ex)
		switch {
		case f.escape == escapeJSON:
			b = appendJSON(b, v)
		case f.escape == escapeNone:
			b = append(b, v...)
		case !ok:
			b = append(b, '-')
		default:
			b = appendDefault(b, v)
		}
	}
	return b
}

const upperHex = "0123456789ABCDEF"

// appendDefault escapes quotes, backslashes and what is not printable ASCII as \xXX (ngx_http_log_escape).
func appendDefault(b, v []byte) []byte {
	for _, c := range v {
		if c == '"' || c == '\\' || c < 0x20 || c > 0x7e {
			b = append(b, '\\', 'x', upperHex[c>>4], upperHex[c&15])
			continue
		}
		b = append(b, c)
	}
	return b
}

// appendJSON escapes what may not stand in a JSON string (ngx_escape_json).
func appendJSON(b, v []byte) []byte {
	for _, c := range v {
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, '\\', 'n')
		case c == '\r':
			b = append(b, '\\', 'r')
		case c == '\t':
			b = append(b, '\\', 't')
		case c == '\b':
			b = append(b, '\\', 'b')
		case c == '\f':
			b = append(b, '\\', 'f')
		case c < 0x20:
			b = append(b, '\\', 'u', '0', '0', upperHex[c>>4], upperHex[c&15])
		default:
			b = append(b, c)
		}
	}
	return b
}
