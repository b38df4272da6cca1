package plugin

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"mime/multipart"
	"strconv"
	"strings"
)

// Bounds of reading a body by path.
const (
	maxBodyResults = 1024
	maxBodyVisits  = 100_000
	maxPathSteps   = 64
)

type jsonBodyKey struct{}

type multipartBodyKey struct{}

// notJSON remembers that a body did not parse.
type notJSON struct{}

// hasBody tells whether the request body can be read, and notes that somebody wanted to.
func (ex *Exchange) hasBody() bool {
	if !ex.Request.BodyBuffered {
		ex.BodyMissed = true
	}
	return ex.Request.BodyBuffered
}

// BodyJSON decodes a buffered JSON body once per exchange; nil when there is none or it is not JSON.
func (ex *Exchange) BodyJSON() any {
	if !ex.hasBody() {
		return nil
	}
	v := ex.Value(jsonBodyKey{})
	if v == nil {
		if json.Unmarshal(ex.Request.Body, &v) != nil {
			v = notJSON{}
		}
		ex.SetValue(jsonBodyKey{}, v)
	}
	if _, bad := v.(notJSON); bad {
		return nil
	}
	return v
}

// bodyTable is the body as APISIX sees it behind post_arg.: a JSON document, a form or the parts of a multipart form, by Content-Type
// (apisix/core/request.lua get_request_body_table).
func (ex *Exchange) bodyTable() any {
	ct := ex.Request.Header.Get("Content-Type")
	switch {
	case bytes.Contains(ct, Bytes("application/json")):
		return ex.BodyJSON()
	case bytes.Contains(ct, Bytes("multipart/form-data")):
		return ex.multipartForm(string(ct))
	}
	form := ex.Form()
	if len(form) == 0 {
		return nil
	}
	return formTable(form)
}

// formTable makes a repeated name a list and a name without "=" true, as ngx.req.get_post_args does.
func formTable(form []Field) map[string]any {
	m := make(map[string]any, len(form))
	for _, f := range form {
		var v any = true
		if f.Value != nil {
			v = string(f.Value)
		}
		switch old := m[string(f.Name)].(type) {
		case nil:
			m[string(f.Name)] = v
		case []any:
			m[string(f.Name)] = append(old, v)
		default:
			m[string(f.Name)] = []any{old, v}
		}
	}
	return m
}

// multipartForm reads the parts of a buffered multipart form by name, once per exchange.
func (ex *Exchange) multipartForm(contentType string) any {
	if !ex.hasBody() {
		return nil
	}
	if v := ex.Value(multipartBodyKey{}); v != nil {
		return v
	}
	m := map[string]any{}
	ex.SetValue(multipartBodyKey{}, m)
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil || params["boundary"] == "" {
		return m
	}
	r := multipart.NewReader(bytes.NewReader(ex.Request.Body), params["boundary"])
	for range maxArgs {
		p, err := r.NextRawPart()
		if err != nil {
			return m
		}
		v, err := io.ReadAll(p)
		if err != nil {
			return m
		}
		if name := p.FormName(); name != "" {
			m[name] = string(v)
		}
	}
	return m
}

// step is one step of a path: a member name, an index, every element ([*]), or any depth below (..).
type step struct {
	name  string
	index int
	kind  stepKind
}

type stepKind uint8

const (
	stepName stepKind = iota
	stepIndex
	stepAll
	stepDeep
)

// bodyPath is the part of a variable name after "post_arg.". A path with brackets or ".." is a JSONPath whose value is the list of what it finds.
type bodyPath struct {
	steps []step
	list  bool
}

func compileBodyPath(path string) bodyPath {
	p := bodyPath{list: strings.Contains(path, "[") || strings.Contains(path, "..")}
	if !p.list {
		for s := range strings.SplitSeq(path, ".") {
			p.steps = append(p.steps, step{name: s})
		}
	} else {
		p.steps = jsonPath(path)
	}
	if len(p.steps) > maxPathSteps {
		p.steps = p.steps[:maxPathSteps]
	}
	return p
}

func jsonPath(path string) (steps []step) {
	for path != "" {
		switch {
		case strings.HasPrefix(path, ".."):
			steps, path = append(steps, step{kind: stepDeep}), path[2:]
		case path[0] == '.':
			path = path[1:]
		case path[0] == '[':
			end := strings.IndexByte(path, ']')
			if end < 0 {
				end = len(path)
			}
			inner := strings.TrimSpace(path[1:end])
			path = path[min(end+1, len(path)):]
			if n, err := strconv.Atoi(inner); err == nil {
				steps = append(steps, step{kind: stepIndex, index: n})
			} else if inner == "*" {
				steps = append(steps, step{kind: stepAll})
			} else {
				steps = append(steps, step{name: strings.Trim(inner, `"'`)})
			}
		default:
			end := strings.IndexAny(path, ".[")
			if end < 0 {
				end = len(path)
			}
			if path[:end] == "*" {
				steps = append(steps, step{kind: stepAll})
			} else {
				steps = append(steps, step{name: path[:end]})
			}
			path = path[end:]
		}
	}
	return steps
}

// search collects what the steps find in a document, in document order for lists.
type search struct {
	found  []any
	visits int
}

func (s *search) walk(v any, steps []step) {
	if s.visits++; s.visits > maxBodyVisits || len(s.found) >= maxBodyResults {
		return
	}
	if len(steps) == 0 {
		if v != nil {
			s.found = append(s.found, v)
		}
		return
	}
	st, rest := steps[0], steps[1:]
	switch v := v.(type) {
	case map[string]any:
		switch st.kind {
		case stepName:
			if c, ok := v[st.name]; ok {
				s.walk(c, rest)
			}
		case stepAll:
			for _, c := range v {
				s.walk(c, rest)
			}
		case stepDeep:
			s.walk(v, rest)
			for _, c := range v {
				s.walk(c, steps)
			}
		}
	case []any:
		switch st.kind {
		case stepIndex:
			i := st.index
			if i < 0 {
				i += len(v)
			}
			if i >= 0 && i < len(v) {
				s.walk(v[i], rest)
			}
		case stepAll:
			for _, c := range v {
				s.walk(c, rest)
			}
		case stepDeep:
			s.walk(v, rest)
			for _, c := range v {
				s.walk(c, steps)
			}
		}
	}
}

// postArgAny reads post_arg.a.b and post_arg.a[*].b with the type that the body gives the value (apisix/core/ctx.lua).
func postArgAny(path string) AnyVar {
	p := compileBodyPath(path)
	return func(ex *Exchange) (any, bool) {
		s := search{}
		s.walk(ex.bodyTable(), p.steps)
		if len(s.found) == 0 {
			return nil, false
		}
		if p.list {
			return s.found, true
		}
		return s.found[0], true
	}
}

// postArgPath is postArgAny as text: a value that is not text reads as JSON.
func postArgPath(path string) Var {
	get := postArgAny(path)
	return func(ex *Exchange) ([]byte, bool) {
		v, ok := get(ex)
		if !ok {
			return nil, false
		}
		if s, isText := v.(string); isText {
			return Bytes(s), true
		}
		b, err := json.Marshal(v)
		return b, err == nil
	}
}
