// Package proxyrewrite is the plugin proxy-rewrite: it changes URI, method, host and fields of the request that goes to the upstream
// (apisix/plugins/proxy-rewrite.lua).
package proxyrewrite

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-gateway/sluice/l7/plugin"
	"github.com/sluice-gateway/sluice/l7/plugin/regex"
)

const name = "proxy-rewrite"

//go:embed schema.json
var confSchema []byte

func init() {
	plugin.Register(plugin.Def{Name: name, Priority: 1008, Version: "0.1", Schema: confSchema, New: newRewriter})
}

type conf struct {
	URI      string          `json:"uri"`
	Method   string          `json:"method"`
	RegexURI []string        `json:"regex_uri"`
	Host     string          `json:"host"`
	Headers  json.RawMessage `json:"headers"`
	RealURI  bool            `json:"use_real_request_uri_unsafe"`
}

type rewriter struct {
	conf   conf
	method []byte
	host   []byte
	uri    *uriTemplate
	pairs  []pair
	ops    []headerOp
}

// pair is one pattern of regex_uri and what replaces it.
type pair struct {
	pattern *regex.Regexp
	to      string
}

func newRewriter(raw []byte, _ *plugin.Env) (plugin.Instance, error) {
	r := &rewriter{}
	if err := json.Unmarshal(raw, &r.conf); err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if len(r.conf.RegexURI)%2 != 0 {
		//lint:ignore ST1005 APISIX's text
		return nil, errors.New("The length of regex_uri should be an even number")
	}
	for i := 0; i < len(r.conf.RegexURI); i += 2 {
		p, err := regex.Compile(r.conf.RegexURI[i], "jo")
		if err != nil {
			return nil, fmt.Errorf("invalid regex_uri(%s, %s): %w", r.conf.RegexURI[i], r.conf.RegexURI[i+1], err)
		}
		if err := regex.CheckTemplate(r.conf.RegexURI[i+1]); err != nil {
			return nil, fmt.Errorf("invalid regex_uri(%s, %s): %w", r.conf.RegexURI[i], r.conf.RegexURI[i+1], err)
		}
		r.pairs = append(r.pairs, pair{p, r.conf.RegexURI[i+1]})
	}
	if r.conf.Method != "" {
		r.method = []byte(r.conf.Method)
	}
	if r.conf.Host != "" {
		r.host = []byte(r.conf.Host)
	}
	if r.conf.URI != "" {
		r.uri = compileURI(r.conf.URI)
	}
	var err error
	r.ops, err = compileHeaders(r.conf.Headers)
	return r, err
}

var (
	_ plugin.Rewriter       = (*rewriter)(nil)
	_ plugin.BodyVarsReader = (*rewriter)(nil)
)

// ReadsBodyVars implements plugin.BodyVarsReader for uri and headers.
func (r *rewriter) ReadsBodyVars() bool {
	if r.uri != nil && slices.ContainsFunc(r.uri.parts, func(p uriPart) bool { return p.v != nil && p.v.NeedsBody() }) {
		return true
	}
	return slices.ContainsFunc(r.ops, func(o headerOp) bool {
		return slices.ContainsFunc(o.values, func(v value) bool { return v.template.NeedsBody() })
	})
}

// Rewrite changes the request.
func (r *rewriter) Rewrite(ex *plugin.Exchange) (*plugin.Reply, error) {
	if r.host != nil {
		ex.Request.UpstreamHost = r.host
	}
	var captures [][]byte
	switch {
	case r.uri != nil:
		r.toURI(ex)
	case len(r.pairs) > 0:
		var err error
		if captures, err = r.toMatch(ex); err != nil {
			return nil, err
		}
	case r.conf.RealURI:
		ex.Request.UpstreamTarget = ex.Request.Target
	}
	if r.method != nil {
		ex.Request.Method = r.method
	}
	for i := range r.ops {
		r.ops[i].apply(ex, captures)
	}
	return nil, nil
}

// toURI sets the configured URI. The client's query is appended.
func (r *rewriter) toURI(ex *plugin.Exchange) {
	b := r.uri.append(ex.Alloc(len(r.conf.URI) + 256)[:0], ex)
	query := ex.Request.Query
	if r.conf.RealURI {
		query = nil
		if i := bytes.IndexByte(ex.Request.Target, '?'); i >= 0 {
			query = ex.Request.Target[i+1:]
		}
	}
	ex.Request.UpstreamTarget = withQuery(b, query)
}

func withQuery(b, query []byte) []byte {
	if len(query) == 0 {
		return b
	}
	sep := byte('?')
	if bytes.IndexByte(b, '?') >= 0 {
		sep = '&'
	}
	return plugin.AppendQuery(append(b, sep), query)
}

// toMatch replaces by the first pattern that matches; without a match the URI stays.
func (r *rewriter) toMatch(ex *plugin.Exchange) ([][]byte, error) {
	path := ex.Request.Path
	if r.conf.RealURI {
		path = ex.Request.Target
	}
	// A "?" that the client had encoded is part of the path, unlike one that the replacement brings in.
	plain := bytes.IndexByte(path, '?') < 0
	for i := range r.pairs {
		p := &r.pairs[i]
		captures, err := p.pattern.FindSubmatch(path)
		if err != nil {
			return nil, fmt.Errorf("match the uri (%s): %w", p.pattern, err)
		}
		if captures == nil {
			continue
		}
		to, _, err := p.pattern.Sub(path, p.to)
		if err != nil {
			return nil, fmt.Errorf("substitute the uri (%s) with %s: %w", p.pattern, p.to, err)
		}
		if r.conf.RealURI {
			ex.Request.UpstreamTarget = plugin.AppendQuery(nil, to)
			return captures, nil
		}
		at := -1
		if plain {
			at = bytes.IndexByte(to, '?')
		}
		var b []byte
		if at >= 0 {
			b = plugin.AppendQuery(append(plugin.AppendEscaped(nil, to[:at]), '?'), to[at+1:])
		} else {
			b = plugin.AppendEscaped(nil, to)
		}
		if len(b) == 0 || b[0] != '/' {
			b = append([]byte("/"), b...)
		}
		ex.Request.UpstreamTarget = withQuery(b, ex.Request.Query)
		return captures, nil
	}
	if r.conf.RealURI {
		ex.Request.UpstreamTarget = ex.Request.Target
	}
	return nil, nil
}

// uriTemplate is a URI with variables. The text keeps its "?", "=" and "&"; what variables bring in is encoded, in the path and in the query.
type uriTemplate struct {
	parts []uriPart
}

type uriPart struct {
	text  []byte
	v     *plugin.Template
	query bool
}

func compileURI(s string) *uriTemplate {
	t := &uriTemplate{}
	query := false
	for len(s) > 0 {
		i := strings.IndexByte(s, '$')
		if i < 0 {
			i = len(s)
		}
		if i > 0 {
			text := s[:i]
			s = s[i:]
			t.text(text, &query)
			continue
		}
		n := 1
		if len(s) > 1 && s[1] == '{' {
			if end := strings.IndexByte(s, '}'); end > 0 {
				n = end + 1
			}
		} else {
			for n < len(s) && (s[n] == '_' || s[n] >= '0' && s[n] <= '9' || s[n] >= 'a' && s[n] <= 'z' || s[n] >= 'A' && s[n] <= 'Z') {
				n++
			}
		}
		if n == 1 {
			t.text("$", &query)
		} else {
			t.parts = append(t.parts, uriPart{v: plugin.CompileTemplate(s[:n]), query: query})
		}
		s = s[n:]
	}
	return t
}

func (t *uriTemplate) text(s string, query *bool) {
	if i := strings.IndexByte(s, '?'); i >= 0 && !*query {
		t.parts = append(t.parts, uriPart{text: append(escapeKeeping(s[:i]), plugin.AppendQuery(nil, []byte(s[i:]))...)})
		*query = true
		return
	}
	if *query {
		t.parts = append(t.parts, uriPart{text: plugin.AppendQuery(nil, []byte(s))})
		return
	}
	t.parts = append(t.parts, uriPart{text: escapeKeeping(s)})
}

// escapeKeeping encodes what the operator wrote as a path but leaves escapes that are there.
func escapeKeeping(s string) []byte {
	var b []byte
	for i := 0; i < len(s); i++ {
		if s[i] == '%' {
			b = append(b, '%')
			continue
		}
		b = plugin.AppendEscaped(b, []byte{s[i]})
	}
	return b
}

func (t *uriTemplate) append(b []byte, ex *plugin.Exchange) []byte {
	for i := range t.parts {
		p := &t.parts[i]
		if p.v == nil {
			b = append(b, p.text...)
			continue
		}
		v, _ := p.v.Eval(ex)
		if p.query {
			b = plugin.AppendQuery(b, v)
		} else {
			b = plugin.AppendEscaped(b, v)
		}
	}
	return b
}

// headerOp is one change of a request field.
type headerOp struct {
	kind   opKind
	name   string
	values []value
}

type opKind uint8

const (
	opAdd opKind = iota
	opSet
	opRemove
)

// value is a template in which "$1" and "${1}" are captures of regex_uri when that has matched. What a capture brings in is text, also when it looks like a variable.
type value struct {
	template *plugin.Template
	parts    []valuePart // nil without captures
}

// valuePart is a capture, or a template where t is set.
type valuePart struct {
	capture int
	t       *plugin.Template
}

var captureRef = regexp.MustCompile(`\$\{?(\d+)\}?`)

func compileValue(text string) value {
	v := value{template: plugin.CompileTemplate(text)}
	pos := 0
	for _, m := range captureRef.FindAllStringSubmatchIndex(text, -1) {
		n, err := strconv.Atoi(text[m[2]:m[3]])
		if err != nil {
			n = math.MaxInt // too large a number is a group that does not exist
		}
		if m[0] > pos {
			v.parts = append(v.parts, valuePart{t: plugin.CompileTemplate(text[pos:m[0]])})
		}
		v.parts = append(v.parts, valuePart{capture: n})
		pos = m[1]
	}
	if v.parts != nil && pos < len(text) {
		v.parts = append(v.parts, valuePart{t: plugin.CompileTemplate(text[pos:])})
	}
	return v
}

// compileHeaders reads both forms of headers: {add, set, remove}, and names with values, which are set.
func compileHeaders(raw json.RawMessage) ([]headerOp, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	var forms struct {
		Add    map[string]json.RawMessage `json:"add"`
		Set    map[string]json.RawMessage `json:"set"`
		Remove []string                   `json:"remove"`
	}
	if json.Unmarshal(raw, &forms) != nil || forms.Add == nil && forms.Set == nil && forms.Remove == nil {
		forms.Add, forms.Remove = nil, nil
		if err := json.Unmarshal(raw, &forms.Set); err != nil {
			return nil, fmt.Errorf("headers: %w", err)
		}
		for field := range forms.Set {
			if !plugin.ValidName(field) {
				return nil, errors.New("invalid field character in header")
			}
		}
	}
	var ops []headerOp
	for _, part := range []struct {
		kind   opKind
		fields map[string]json.RawMessage
	}{{opAdd, forms.Add}, {opSet, forms.Set}} {
		for field, v := range part.fields {
			values, err := compileValues(v)
			if err != nil {
				return nil, fmt.Errorf("headers: %s: %w", field, err)
			}
			ops = append(ops, headerOp{part.kind, field, values})
		}
	}
	for _, field := range forms.Remove {
		ops = append(ops, headerOp{kind: opRemove, name: field})
	}
	return ops, nil
}

func compileValues(raw json.RawMessage) ([]value, error) {
	var list []any
	if json.Unmarshal(raw, &list) != nil {
		var one any
		if err := json.Unmarshal(raw, &one); err != nil {
			return nil, err
		}
		list = []any{one}
	}
	var out []value
	for _, v := range list {
		text := ""
		switch v := v.(type) {
		case string:
			text = v
		case float64:
			text = strconv.FormatFloat(v, 'f', -1, 64)
		}
		if strings.ContainsAny(text, "\r\n\x00") {
			return nil, errors.New("invalid value character in header")
		}
		out = append(out, compileValue(text))
	}
	return out, nil
}

func (v *value) eval(ex *plugin.Exchange, captures [][]byte) []byte {
	if v.parts == nil || captures == nil {
		b, _ := v.template.Eval(ex)
		return b
	}
	var b []byte
	for _, p := range v.parts {
		switch {
		case p.t != nil:
			text, _ := p.t.Eval(ex)
			b = append(b, text...)
		case p.capture < len(captures):
			b = append(b, captures[p.capture]...)
		}
	}
	return b
}

func (o *headerOp) apply(ex *plugin.Exchange, captures [][]byte) {
	h := &ex.Request.Header
	if o.kind == opRemove {
		h.Del(o.name)
		return
	}
	set := o.kind == opSet
	for i := range o.values {
		switch v := o.values[i].eval(ex, captures); {
		case len(v) == 0:
			// OpenResty sends no field for an empty value, so setting one to nothing removes it.
			if set {
				h.Del(o.name)
			}
		case set:
			h.Set(o.name, v)
		default:
			h.Add(o.name, v)
		}
		set = false
	}
	if plugin.EqualFold(plugin.Bytes(o.name), "host") && o.kind == opSet {
		ex.Request.UpstreamHost = h.Get("Host")
	}
}
