// Package responserewrite is the plugin response-rewrite: it changes status, fields and body of responses
// (apisix/plugins/response-rewrite.lua).
package responserewrite

import (
	"bytes"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"

	"github.com/sluice-gateway/sluice/l7/plugin"
	"github.com/sluice-gateway/sluice/l7/plugin/expr"
	"github.com/sluice-gateway/sluice/l7/plugin/regex"
)

const name = "response-rewrite"

//go:embed schema.json
var confSchema []byte

func init() {
	plugin.Register(plugin.Def{Name: name, Priority: 899, Version: "0.1", Schema: confSchema, New: newRewriter})
}

type conf struct {
	MaxBody    int             `json:"max_resp_body_size"`
	Headers    json.RawMessage `json:"headers"`
	Body       *string         `json:"body"`
	BodyBase64 bool            `json:"body_base64"`
	StatusCode int             `json:"status_code"`
	Vars       json.RawMessage `json:"vars"`
	Filters    []struct {
		Regex   string `json:"regex"`
		Scope   string `json:"scope"`
		Replace string `json:"replace"`
		Options string `json:"options"`
	} `json:"filters"`
}

type rewriter struct {
	conf    conf
	vars    *expr.Expr
	body    []byte
	filters []filter
	ops     []headerOp
	logger  *slog.Logger
}

type filter struct {
	pattern *regex.Regexp
	replace string
	global  bool
}

func newRewriter(raw []byte, env *plugin.Env) (plugin.Instance, error) {
	r := &rewriter{logger: env.Logger}
	if err := json.Unmarshal(raw, &r.conf); err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if r.conf.BodyBase64 {
		if r.conf.Body == nil || *r.conf.Body == "" {
			return nil, errors.New("invalid base64 content")
		}
		b, err := base64.StdEncoding.DecodeString(*r.conf.Body)
		if err != nil {
			return nil, errors.New("invalid base64 content")
		}
		r.body = b
	} else if r.conf.Body != nil {
		r.body = []byte(*r.conf.Body)
	}
	if r.conf.Vars != nil {
		e, err := expr.Compile(r.conf.Vars)
		if err != nil {
			return nil, fmt.Errorf("failed to validate the 'vars' expression: %w", err)
		}
		r.vars = e
	}
	for _, f := range r.conf.Filters {
		p, err := regex.Compile(f.Regex, f.Options)
		if err != nil {
			return nil, fmt.Errorf("regex %q validation failed: %w", f.Regex, err)
		}
		r.filters = append(r.filters, filter{p, f.Replace, f.Scope == "global"})
	}
	var err error
	r.ops, err = compileHeaders(r.conf.Headers)
	return r, err
}

// held is what an exchange keeps between the phases.
type held struct {
	encoding string
	buf      []byte
	over     bool
	sent     bool
}

var (
	_ plugin.HeaderFilterer = (*rewriter)(nil)
	_ plugin.BodyFilterer   = (*rewriter)(nil)
	_ plugin.BodyVarsReader = (*rewriter)(nil)
)

// ReadsBodyVars implements plugin.BodyVarsReader for the condition and the headers.
func (r *rewriter) ReadsBodyVars() bool {
	return r.vars != nil && r.vars.NeedsBody() || slices.ContainsFunc(r.ops, func(o headerOp) bool { return o.value != nil && o.value.NeedsBody() })
}

// HeaderFilter changes the head when the condition holds.
func (r *rewriter) HeaderFilter(ex *plugin.Exchange) error {
	if !r.vars.Eval(ex) {
		return nil
	}
	h := &held{}
	resp := &ex.Response
	h.encoding = strings.ToLower(string(resp.Header.Get("Content-Encoding")))
	if r.filters != nil && h.encoding != "" && h.encoding != "gzip" && h.encoding != "deflate" {
		// The body passes as it is, and so does its coding.
		r.logger.Warn("filters do not apply to an encoding that is not known", "route_id", ex.Route.ID, "encoding", h.encoding)
	} else {
		ex.SetValue(r, h)
		if r.filters != nil || r.body != nil {
			ex.BodyWillChange()
		}
	}
	if r.conf.StatusCode != 0 {
		resp.Status, resp.Reason = r.conf.StatusCode, nil
	}
	for i := range r.ops {
		r.ops[i].apply(ex)
	}
	return nil
}

// BodyFilter replaces the body, or collects it for the filters.
func (r *rewriter) BodyFilter(ex *plugin.Exchange, chunk []byte, last bool) ([]byte, error) {
	h, _ := ex.Value(r).(*held)
	if h == nil || r.filters == nil && r.body == nil {
		return chunk, nil
	}
	if r.body != nil {
		if h.sent {
			return nil, nil
		}
		h.sent = true
		return r.body, nil
	}
	if room := r.conf.MaxBody - len(h.buf); len(chunk) > room {
		chunk, h.over = chunk[:max(room, 0)], true
	}
	h.buf = append(h.buf, chunk...)
	if !last {
		return nil, nil
	}
	if h.over {
		r.logger.Warn("response body is larger than max_resp_body_size and was truncated", "route_id", ex.Route.ID)
	}
	return r.rewrite(ex, h), nil
}

func (r *rewriter) rewrite(ex *plugin.Exchange, h *held) []byte {
	body, err := decode(h.buf, h.encoding, r.conf.MaxBody)
	if err != nil {
		r.logger.Error("filters may not work as expected", "route_id", ex.Route.ID, "err", err)
		return h.buf
	}
	for i := range r.filters {
		f := &r.filters[i]
		var out []byte
		if f.global {
			out, _, err = f.pattern.Gsub(body, f.replace)
		} else {
			out, _, err = f.pattern.Sub(body, f.replace)
		}
		if err != nil {
			r.logger.Error("substitution failed", "route_id", ex.Route.ID, "err", err)
			continue
		}
		body = out
	}
	return body
}

// maxRatio bounds how much a compressed body may grow.
const maxRatio = 100

// decode undoes the content coding of a body, within bounds on its decoded size.
func decode(body []byte, encoding string, limit int) ([]byte, error) {
	var rd io.Reader
	switch encoding {
	case "":
		return body, nil
	case "gzip":
		g, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			return nil, fmt.Errorf("decode gzip: %w", err)
		}
		rd = g
	case "deflate":
		// The coding is zlib's format (RFC 9110 section 8.4.1.2), but some servers send what is in it alone.
		if z, err := zlib.NewReader(bytes.NewReader(body)); err == nil {
			rd = z
		} else {
			rd = flate.NewReader(bytes.NewReader(body))
		}
	default:
		return nil, fmt.Errorf("due to unsupported compression encoding type: %s", encoding)
	}
	bound := int64(min(limit, maxRatio*len(body)+4096))
	out, err := io.ReadAll(io.LimitReader(rd, bound+1))
	if err != nil {
		return nil, fmt.Errorf("decode %s: %w", encoding, err)
	}
	if int64(len(out)) > bound {
		return nil, fmt.Errorf("decode %s: the body is larger than %d bytes", encoding, bound)
	}
	return out, nil
}

// headerOp is one change of a response field.
type headerOp struct {
	kind  opKind
	name  string
	value *plugin.Template
}

type opKind uint8

const (
	opAdd opKind = iota
	opSet
	opRemove
)

func compileHeaders(raw json.RawMessage) ([]headerOp, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	var forms struct {
		Add    []string       `json:"add"`
		Set    map[string]any `json:"set"`
		Remove []string       `json:"remove"`
	}
	if json.Unmarshal(raw, &forms) != nil || forms.Add == nil && forms.Set == nil && forms.Remove == nil {
		forms.Add, forms.Remove, forms.Set = nil, nil, nil
		if err := json.Unmarshal(raw, &forms.Set); err != nil {
			return nil, fmt.Errorf("headers: %w", err)
		}
		if _, ok := forms.Set[""]; ok {
			return nil, errors.New("invalid field length in header")
		}
	}
	var ops []headerOp
	for _, line := range forms.Add {
		field, v, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("headers: add: %q has no colon", line)
		}
		ops = append(ops, headerOp{opAdd, strings.TrimSpace(field), plugin.CompileTemplate(strings.TrimSpace(v))})
	}
	for field, v := range forms.Set {
		text := ""
		switch v := v.(type) {
		case string:
			text = v
		case float64:
			text = strconv.FormatFloat(v, 'f', -1, 64)
		default:
			return nil, errors.New("invalid type as header value")
		}
		ops = append(ops, headerOp{opSet, field, plugin.CompileTemplate(text)})
	}
	for _, field := range forms.Remove {
		ops = append(ops, headerOp{kind: opRemove, name: field})
	}
	return ops, nil
}

func (o *headerOp) apply(ex *plugin.Exchange) {
	h := &ex.Response.Header
	if o.kind == opRemove {
		h.Del(o.name)
		return
	}
	v, _ := o.value.Eval(ex)
	if o.kind == opAdd {
		h.Add(o.name, v)
		return
	}
	if len(v) == 0 {
		// OpenResty sends no field for an empty value, so setting one to nothing removes it.
		h.Del(o.name)
		return
	}
	h.Set(o.name, v)
}
