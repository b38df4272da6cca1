package route

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-gateway/sluice/l7/plugin"
)

// maxParams bounds the path parameters of one URI.
const maxParams = 32

// extName is the name under which the part that a nameless "*" matches is kept (lua-resty-radixtree).
const extName = ":ext"

type tokenKind uint8

const (
	literal tokenKind = iota
	// segment is ":name": at least one byte, none of them "/".
	segment
	// rest is "*name": any bytes, also none.
	rest
)

type token struct {
	kind tokenKind
	text string
	// param is the index of the name that the matched bytes get.
	param int
}

// uriPattern is a URI of a route: a text that matches itself, or a prefix with an optional pattern for what follows.
type uriPattern struct {
	// key is what the tree holds: the whole text, or what precedes the first wildcard.
	key   string
	exact bool
	// start is where in the path the tokens begin; names are the parameters. No tokens and no names: the prefix alone decides. One name and no
	// tokens: everything after the prefix is that parameter.
	start  int
	tokens []token
	names  []string
	// slash is set when the pattern ends with "/?": one more slash at the end of the path does not count.
	slash bool
}

// compileURI reads a URI as lua-resty-radixtree does. Without params a ":" is an ordinary byte up to the first "*". A "*" or ":" inside a
// segment ends the prefix, and unless a later segment begins with one, nothing after it matters: "/a*b" is "/a*". That library turns the part with
// parameters into a regular expression without quoting the fixed segments; here they are literal, except for a final "/?" (its t/parameter.t, test 13).
func compileURI(uri string, params bool) (*uriPattern, error) {
	chars := "*"
	if params {
		chars = "*:"
	}
	cut := strings.IndexAny(uri, chars)
	if cut < 0 {
		return &uriPattern{key: uri, exact: true}, nil
	}
	p := &uriPattern{key: uri[:cut]}
	p.start = strings.LastIndexByte(p.key, '/') + 1
	pattern := uri[p.start:]
	if t, ok := strings.CutSuffix(pattern, "/?"); ok && p.start+len(t) >= cut {
		pattern, p.slash = t, true
	}
	for i, seg := range strings.Split(pattern, "/") {
		if i > 0 {
			p.literal("/")
		}
		switch {
		case seg == "":
		case seg[0] == ':':
			p.param(segment, seg[1:])
		case seg[0] == '*':
			name := seg[1:]
			if name == "" {
				name = extName
			}
			p.param(rest, name)
		default:
			p.literal(seg)
		}
	}
	if len(p.names) > maxParams {
		return nil, fmt.Errorf("%d path parameters, at most %d are allowed", len(p.names), maxParams)
	}
	// Of two parameters with one name the last counts, as in a Lua table, and Exchange.Param finds the first.
	slices.Reverse(p.names)
	for i := range p.tokens {
		p.tokens[i].param = len(p.names) - 1 - p.tokens[i].param
	}
	switch {
	case len(p.names) == 0:
		p.tokens = nil
	case len(p.tokens) == 1 && p.tokens[0].kind == rest:
		p.tokens = nil
	}
	return p, nil
}

func (p *uriPattern) literal(s string) {
	if n := len(p.tokens); n > 0 && p.tokens[n-1].kind == literal {
		p.tokens[n-1].text += s
		return
	}
	p.tokens = append(p.tokens, token{kind: literal, text: s})
}

func (p *uriPattern) param(kind tokenKind, name string) {
	p.tokens = append(p.tokens, token{kind: kind, param: len(p.names)})
	p.names = append(p.names, name)
}

// match checks a path that begins with the key against the tokens and keeps the parameters in ex.
func (p *uriPattern) match(ex *plugin.Exchange, path []byte) bool {
	path = path[p.start:]
	var found [maxParams]plugin.Param
	for i, n := range p.names {
		found[i].Name = n
	}
	params := found[:len(p.names)]
	if !p.walk(path, params) {
		n := len(path) - 1
		if !p.slash || n < 0 || path[n] != '/' || !p.walk(path[:n], params) {
			return false
		}
	}
	ex.SetParams(params)
	return true
}

// walk matches from the front up to the first "*" and the remainder from the back, where each "*" but the first takes as little as it can:
// that is the outcome of PCRE's greedy match, without its backtracking.
func (p *uriPattern) walk(path []byte, params []plugin.Param) bool {
	tokens := p.tokens
	for len(tokens) > 0 && tokens[0].kind != rest {
		t := &tokens[0]
		if t.kind == literal {
			if len(path) < len(t.text) || string(path[:len(t.text)]) != t.text {
				return false
			}
			path = path[len(t.text):]
		} else {
			n := bytes.IndexByte(path, '/')
			if n < 0 {
				n = len(path)
			}
			if n == 0 {
				return false
			}
			params[t.param].Value = path[:n:n]
			path = path[n:]
		}
		tokens = tokens[1:]
	}
	if len(tokens) == 0 {
		return len(path) == 0
	}
	// star is the last "*" passed on the way to the front and at where it begins now; it ends at end.
	star, at, end := -1, 0, 0
	ti, pi := len(tokens)-1, len(path)
	for {
		ok := false
		switch t := &tokens[ti]; t.kind {
		case rest:
			if ti == 0 {
				params[t.param].Value = path[:pi:pi]
				return true
			}
			star, at, end = ti, pi, pi
			params[t.param].Value = path[at:end:end]
			ok = true
		case segment:
			if j := bytes.LastIndexByte(path[:pi], '/') + 1; j < pi {
				params[t.param].Value = path[j:pi:pi]
				pi, ok = j, true
			}
		case literal:
			if j := pi - len(t.text); j >= 0 && string(path[j:pi]) == t.text {
				pi, ok = j, true
			}
		}
		if ok {
			ti--
			continue
		}
		if star < 0 || at == 0 {
			return false
		}
		at--
		params[tokens[star].param].Value = path[at:end:end]
		ti, pi = star-1, at
	}
}
