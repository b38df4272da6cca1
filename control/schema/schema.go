// Package schema validates configuration: the JSON Schemas of the Admin API's resources, and one wrapper that
// resources and plugins share to compile a schema, check a document and fill in its defaults.
//
// Schemas are draft-07 and are compiled by santhosh-tekuri/jsonschema, which checks them against the
// meta-schema and resolves references. Documents are then judged by a walk over the compiled schema that
// follows the rules of the Lua library of APISIX (api7/jsonschema 0.9), because its verdicts and its one-line
// messages are part of the contract that clients rely on, and differ from the specification:
//
//   - an empty object and an empty array are the same thing;
//   - a string that refers to a secret ($secret:// or $env://) passes wherever a string may stand;
//   - a default counts as present for the checks that come after it;
//   - the first failure found is the message; there is no list of failures.
//
// Where a document uses none of these, the verdict is that of the specification, which a test and a fuzz
// target hold against the validator of santhosh-tekuri/jsonschema.
package schema

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Schema is a compiled JSON Schema. It is immutable and safe for concurrent use.
type Schema struct {
	name string
	raw  []byte
	root *node
}

// noLoader refuses references that lead out of the document, so that a schema can never read a file or the network.
type noLoader struct{}

func (noLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("load %q: a schema may only refer to its own parts", url)
}

// Compile reads a JSON Schema. The name only serves messages. Keywords that draft-07 does not know, such as
// APISIX's encrypt_fields, are ignored; a "$schema" of a draft after 7 is ignored too, for the keywords are
// read as draft-07 whatever it says. The document is kept as it is for Raw.
func Compile(name string, doc []byte) (*Schema, error) {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(doc))
	if err != nil {
		return nil, fmt.Errorf("compile schema %s: %w", name, err)
	}
	root, err := compileValue(value)
	if err != nil {
		return nil, fmt.Errorf("compile schema %s: %w", name, err)
	}
	return &Schema{name: name, raw: bytes.Clone(doc), root: root}, nil
}

// compileValue compiles a decoded schema document (numbers as json.Number).
func compileValue(value any) (*node, error) {
	const url = "schema:///document.json"
	if object, ok := value.(map[string]any); ok {
		delete(object, "$schema")
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft7)
	compiler.UseLoader(noLoader{})
	compiler.UseRegexpEngine(compilePattern)
	if err := compiler.AddResource(url, value); err != nil {
		return nil, err
	}
	compiled, err := compiler.Compile(url)
	if err != nil {
		return nil, err
	}
	b := builder{document: value, nodes: make(map[*jsonschema.Schema]*node)}
	return b.build(compiled)
}

// Raw is the document the schema was compiled from. It must not be changed.
func (s *Schema) Raw() []byte { return s.raw }

// Name is the name given to Compile.
func (s *Schema) Name() string { return s.name }

// Validate checks a decoded JSON document: nil, bool, string, json.Number, float64, Go integers,
// []any and map[string]any. The error is the first failure in the words of APISIX's validator, such as
//
//	property "uri" validation failed: wrong type: expected string, got number
//
// Where several properties are wrong, the one whose name sorts first is reported. The document is not changed.
func (s *Schema) Validate(doc any) error {
	_, _, err := s.eval(doc)
	return err
}

// Check validates the document and returns a deep copy with its defaults filled in; see Validate and
// ApplyDefaults. On an error the copy is nil.
func (s *Schema) Check(doc any) (any, error) {
	out, _, err := s.eval(doc)
	if err != nil {
		return nil, err
	}
	return deepCopy(out), nil
}

// ApplyDefaults returns a deep copy of the document in which every absent property that has a default is set
// to it: recursively, in properties, items and additional properties, and in the branches of allOf, anyOf,
// oneOf, if, then, else and dependencies that the document matches. A default is put in as it is; it is not
// completed by further defaults inside it. Where the schema wants an object or an array and the document has the
// empty other one, the copy has the wanted one, and an integer written as 1.0 becomes 1, so that the
// copy decodes into Go structs. The document itself never changes. A document that does not validate is copied
// without any default.
func (s *Schema) ApplyDefaults(doc any) any {
	out, _, err := s.eval(doc)
	if err != nil {
		return deepCopy(doc)
	}
	return deepCopy(out)
}

func (s *Schema) eval(doc any) (out any, changed bool, err error) {
	var w walk
	return w.eval(s.root, doc)
}

var errTooDeep = errors.New("the document or the schema is nested too deeply")

// deepCopy copies objects and arrays; scalars are immutable.
func deepCopy(v any) any {
	switch v := v.(type) {
	case map[string]any:
		if v == nil {
			return v
		}
		out := make(map[string]any, len(v))
		for key, value := range v {
			out[key] = deepCopy(value)
		}
		return out
	case []any:
		if v == nil {
			return v
		}
		out := make([]any, len(v))
		for i, value := range v {
			out[i] = deepCopy(value)
		}
		return out
	default:
		return v
	}
}
