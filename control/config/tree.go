package config

import (
	"bytes"
	"errors"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Bounds on a file. A few lines of aliases can stand for billions of values, so what counts is the number of
// values after aliases were followed.
const (
	maxFileSize = 1 << 20
	maxNodes    = 100_000
	maxDepth    = 64
)

type kind int

const (
	kindNull kind = iota
	kindBool
	kindInt
	kindFloat
	kindString
	kindList
	kindObject
)

// describe is the kind as error messages name it.
func (k kind) describe() string {
	return [...]string{"null", "a boolean", "an integer", "a number", "a string", "a list", "an object"}[k]
}

// node is one value of the file with aliases followed, merge keys applied and environment variables replaced.
type node struct {
	kind  kind
	line  int
	text  string // a scalar as written, or as the environment has it
	plain bool   // a scalar without quotes
	env   bool   // text came from the environment: its kind is a guess
	b     bool
	i     int64
	f     float64
	items []*node
	keys  []entry
}

// entry is one key of an object.
type entry struct {
	key  string
	line int
	val  *node
}

// tree turns the bytes of a file into nodes. It returns nil for a file without a value, and after errors that
// leave nothing to look at.
type tree struct {
	*problems
	env    func(string) (string, bool)
	nodes  int
	gaveUp bool
}

var yamlErrorLine = regexp.MustCompile(`^yaml: line (\d+): `)

func (t *tree) parse(data []byte) *node {
	if len(data) > maxFileSize {
		t.fail(0, "", "the file has %d bytes, more than the limit of %d", len(data), maxFileSize)
		return nil
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if !errors.Is(err, io.EOF) {
			t.syntax(err)
		}
		return nil
	}
	var second yaml.Node
	switch err := dec.Decode(&second); {
	case err == nil:
		t.fail(second.Line, "", "a second YAML document starts here: put everything into one")
		return nil
	case !errors.Is(err, io.EOF):
		t.syntax(err)
		return nil
	}
	if len(doc.Content) != 1 {
		return nil
	}
	root := t.build(doc.Content[0], "", 0)
	if root == nil || root.kind == kindNull {
		return nil
	}
	if root.kind != kindObject {
		t.fail(root.line, "", "expected an object with keys such as apisix, deployment and sluice, got %s", root.kind.describe())
		return nil
	}
	return root
}

func (t *tree) syntax(err error) {
	msg, line := err.Error(), 0
	if m := yamlErrorLine.FindStringSubmatch(msg); m != nil {
		line, _ = strconv.Atoi(m[1])
		msg = msg[len(m[0]):]
	}
	t.fail(line, "", "not valid YAML: %s", strings.TrimPrefix(msg, "yaml: "))
}

// build converts n. After the first breach of a bound it returns nil for everything.
func (t *tree) build(n *yaml.Node, path string, depth int) *node {
	if t.gaveUp {
		return nil
	}
	if t.nodes++; t.nodes > maxNodes {
		t.fail(n.Line, path, "the file holds more than %d values once its aliases are followed", maxNodes)
		t.gaveUp = true
		return nil
	}
	if depth > maxDepth {
		t.fail(n.Line, path, "values are nested more than %d deep", maxDepth)
		t.gaveUp = true
		return nil
	}
	switch n.Kind {
	case yaml.AliasNode:
		return t.build(n.Alias, path, depth+1)
	case yaml.SequenceNode:
		out := &node{kind: kindList, line: n.Line}
		for i, c := range n.Content {
			if item := t.build(c, index(path, i), depth+1); item != nil {
				out.items = append(out.items, item)
			}
		}
		return out
	case yaml.MappingNode:
		return t.object(n, path, depth)
	default:
		return t.scalar(n, path)
	}
}

func (t *tree) object(n *yaml.Node, path string, depth int) *node {
	out := &node{kind: kindObject, line: n.Line}
	at := make(map[string]int, len(n.Content)/2) // key to its line
	var merges []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Kind == yaml.AliasNode {
			k = k.Alias
		}
		if k.Kind != yaml.ScalarNode {
			t.fail(n.Content[i].Line, path, "a key must be a scalar, got %s", yamlKind(k).describe())
			continue
		}
		if k.ShortTag() == "!!merge" {
			merges = append(merges, v)
			continue
		}
		key, _, missing := expand(k.Value, t.env)
		t.unset(k.Line, join(path, k.Value), missing)
		field := join(path, key)
		if line, dup := at[key]; dup {
			t.fail(k.Line, field, "this key is already set on line %d", line)
			continue
		}
		at[key] = k.Line
		if val := t.build(v, field, depth+1); val != nil {
			out.keys = append(out.keys, entry{key, n.Content[i].Line, val})
		}
	}
	for _, m := range merges {
		t.merge(out, at, m, path, depth)
	}
	return out
}

// merge applies "<<: *defaults": keys that the object has itself win, then the earlier of several sources does.
func (t *tree) merge(out *node, at map[string]int, source *yaml.Node, path string, depth int) {
	src := t.build(source, path, depth+1)
	if src == nil {
		return
	}
	sources := []*node{src}
	if src.kind == kindList {
		sources = src.items
	}
	for _, s := range sources {
		if s.kind != kindObject {
			t.fail(source.Line, join(path, "<<"), "expected an object to merge, got %s", s.kind.describe())
			continue
		}
		for _, e := range s.keys {
			if _, dup := at[e.key]; !dup {
				at[e.key] = e.line
				out.keys = append(out.keys, e)
			}
		}
	}
}

func (t *tree) scalar(n *yaml.Node, path string) *node {
	out := &node{kind: kindString, line: n.Line, text: n.Value, plain: n.Style == 0}
	text, used, missing := expand(n.Value, t.env)
	t.unset(n.Line, path, missing)
	if used {
		out.text, out.env = text, true
		out.guess()
		return out
	}
	switch n.ShortTag() {
	case "!!null":
		out.kind = kindNull
	case "!!bool":
		if n.Decode(&out.b) == nil {
			out.kind = kindBool
		}
	case "!!int":
		if n.Decode(&out.i) == nil {
			out.kind, out.f = kindInt, float64(out.i)
			break
		}
		fallthrough // an integer that does not fit 64 bits
	case "!!float":
		if n.Decode(&out.f) == nil && !math.IsNaN(out.f) && !math.IsInf(out.f, 0) {
			out.kind = kindFloat
		}
	}
	return out
}

// guess types a value that came from the environment: APISIX takes numbers, true and false for what they look
// like, even inside quotes. Readers of strings go back to the text.
func (n *node) guess() {
	s := strings.TrimSpace(n.text)
	if i, err := strconv.ParseInt(s, 10, 64); err == nil {
		n.kind, n.i, n.f = kindInt, i, float64(i)
		return
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil && !math.IsNaN(f) && !math.IsInf(f, 0) {
		n.kind, n.f = kindFloat, f
		return
	}
	if s == "true" || s == "false" {
		n.kind, n.b = kindBool, s == "true"
	}
}

func (t *tree) unset(line int, field string, missing []string) {
	for _, name := range missing {
		t.fail(line, field, "environment variable %s is not set: set it, or write ${{%s:=default}}", name, name)
	}
}

// json is the value with the types of encoding/json.
func (n *node) json() any {
	switch n.kind {
	case kindBool:
		return n.b
	case kindInt, kindFloat:
		return n.f
	case kindString:
		return n.text
	case kindList:
		list := make([]any, 0, len(n.items))
		for _, it := range n.items {
			list = append(list, it.json())
		}
		return list
	case kindObject:
		obj := make(map[string]any, len(n.keys))
		for _, e := range n.keys {
			obj[e.key] = e.val.json()
		}
		return obj
	}
	return nil
}

func yamlKind(n *yaml.Node) kind {
	switch n.Kind {
	case yaml.SequenceNode:
		return kindList
	case yaml.MappingNode:
		return kindObject
	}
	return kindString
}

// join appends a key to a path. Keys that would garble a message are quoted and cut.
func join(path, key string) string {
	if len(key) > 64 {
		key = key[:61] + "..."
	}
	if q := strconv.QuoteToGraphic(key); q[1:len(q)-1] != key || key == "" {
		key = q
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }
