package schema

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// node is one subschema, laid out for the walk: properties in order, bounds as numbers, messages' parts at hand.
type node struct {
	// constant is set for the schemas true and false.
	constant *bool
	ref      *node

	types    []string
	typeMask typeMask

	properties   []property
	propertySet  map[string]bool
	required     []string // those that are not among properties
	dependencies []dependency
	patterns     []patternProperty
	// additional is nil when anything may be added; forbidden when nothing may.
	additional    *node
	forbidden     bool
	minProperties *int
	maxProperties *int
	propertyNames *node
	objectChecks  bool

	tuple           []*node
	items           *node
	additionalItems *node
	noMoreItems     bool
	minItems        *int
	maxItems        *int
	uniqueItems     bool
	contains        *node

	minLength *int
	maxLength *int
	pattern   jsonschema.Regexp
	format    *format

	bounds     []bound
	multipleOf *big.Rat

	enum     []any
	hasConst bool
	constVal any

	allOf, anyOf, oneOf []*node
	anyOfRequired       string // `["a"] or ["b"]`, from the branches that have required
	ifNode, then, els   *node
	not                 *node
}

type property struct {
	name       string
	node       *node
	required   bool
	hasDefault bool
	def        any
	dependency *dependency
}

type dependency struct {
	name     string
	required []string
	node     *node
}

type patternProperty struct {
	re   jsonschema.Regexp
	node *node
}

// bound is one of minimum, maximum and their exclusive forms.
type bound struct {
	limit *big.Rat
	f     float64
	// i is the limit as an integer, when exact is set.
	i     int64
	exact bool
	// fails says for the sign of value-limit (-1, 0, 1) whether the value is refused.
	fails [3]bool
	text  string // "at least 10"
}

type typeMask uint8

const (
	typeNull typeMask = 1 << iota
	typeBoolean
	typeNumber
	typeInteger
	typeString
	typeArray
	typeObject
)

var typeByName = map[string]typeMask{
	"null": typeNull, "boolean": typeBoolean, "number": typeNumber, "integer": typeInteger,
	"string": typeString, "array": typeArray, "object": typeObject,
}

// builder turns compiled schemas into nodes, each once, so that recursive references end.
type builder struct {
	document any
	nodes    map[*jsonschema.Schema]*node
}

func (b *builder) build(s *jsonschema.Schema) (*node, error) {
	if s == nil {
		return nil, nil
	}
	if n, ok := b.nodes[s]; ok {
		return n, nil
	}
	n := &node{}
	b.nodes[s] = n
	if s.Bool != nil {
		n.constant = s.Bool
		return n, nil
	}
	var err error
	if s.Ref != nil {
		n.ref, err = b.build(s.Ref)
		return n, err
	}
	if s.Types != nil {
		n.types = b.typeNames(s)
		for _, name := range n.types {
			n.typeMask |= typeByName[name]
		}
	}
	if err := b.buildObject(n, s); err != nil {
		return nil, err
	}
	if err := b.buildArray(n, s); err != nil {
		return nil, err
	}
	n.minLength, n.maxLength, n.pattern = s.MinLength, s.MaxLength, s.Pattern
	n.addBound(s.Minimum, [3]bool{true, false, false}, "at least")
	n.addBound(s.ExclusiveMinimum, [3]bool{true, true, false}, "greater than")
	n.addBound(s.Maximum, [3]bool{false, false, true}, "at most")
	n.addBound(s.ExclusiveMaximum, [3]bool{false, true, true}, "smaller than")
	n.multipleOf = s.MultipleOf
	if s.Enum != nil {
		n.enum = s.Enum.Values
	}
	if s.Const != nil {
		n.hasConst, n.constVal = true, *s.Const
	}
	if f, ok := b.raw(s)["format"].(string); ok {
		n.format = formats[f]
	}
	return n, b.buildCompound(n, s)
}

func (b *builder) buildObject(n *node, s *jsonschema.Schema) error {
	var err error
	n.minProperties, n.maxProperties = s.MinProperties, s.MaxProperties
	required := make(map[string]bool, len(s.Required))
	for _, name := range s.Required {
		required[name] = true
	}
	dependencies := make(map[string]*dependency, len(s.Dependencies))
	for _, name := range slices.Sorted(maps.Keys(s.Dependencies)) {
		d := dependency{name: name}
		switch v := s.Dependencies[name].(type) {
		case []string:
			d.required = v
		case *jsonschema.Schema:
			if d.node, err = b.build(v); err != nil {
				return err
			}
		}
		if _, ok := s.Properties[name]; ok {
			dependencies[name] = &d
		} else {
			n.dependencies = append(n.dependencies, d)
		}
	}
	n.propertySet = make(map[string]bool, len(s.Properties))
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		sub := s.Properties[name]
		p := property{name: name, required: required[name], dependency: dependencies[name]}
		if p.node, err = b.build(sub); err != nil {
			return err
		}
		if sub.Default != nil && *sub.Default != nil {
			p.hasDefault, p.def = true, *sub.Default
		}
		n.properties = append(n.properties, p)
		n.propertySet[name] = true
		delete(required, name)
	}
	for _, name := range s.Required {
		if required[name] {
			n.required = append(n.required, name)
		}
	}
	for re, sub := range s.PatternProperties {
		p := patternProperty{re: re}
		if p.node, err = b.build(sub); err != nil {
			return err
		}
		n.patterns = append(n.patterns, p)
	}
	slices.SortFunc(n.patterns, func(a, b patternProperty) int { return strings.Compare(a.re.String(), b.re.String()) })
	switch v := s.AdditionalProperties.(type) {
	case bool:
		n.forbidden = !v
	case *jsonschema.Schema:
		if n.additional, err = b.build(v); err != nil {
			return err
		}
	}
	if n.propertyNames, err = b.build(s.PropertyNames); err != nil {
		return err
	}
	n.objectChecks = len(n.properties) > 0 || len(n.required) > 0 || len(n.dependencies) > 0 || len(n.patterns) > 0 ||
		n.forbidden || n.additional != nil || n.minProperties != nil || n.maxProperties != nil || n.propertyNames != nil
	return nil
}

func (b *builder) buildArray(n *node, s *jsonschema.Schema) error {
	var err error
	n.minItems, n.maxItems, n.uniqueItems = s.MinItems, s.MaxItems, s.UniqueItems
	switch v := s.Items.(type) {
	case *jsonschema.Schema:
		n.items, err = b.build(v)
	case []*jsonschema.Schema:
		n.tuple, err = b.buildAll(v)
	}
	if err != nil {
		return err
	}
	switch v := s.AdditionalItems.(type) {
	case bool:
		n.noMoreItems = !v
	case *jsonschema.Schema:
		if n.additionalItems, err = b.build(v); err != nil {
			return err
		}
	}
	n.contains, err = b.build(s.Contains)
	return err
}

func (b *builder) buildCompound(n *node, s *jsonschema.Schema) error {
	var err error
	if n.allOf, err = b.buildAll(s.AllOf); err != nil {
		return err
	}
	if n.anyOf, err = b.buildAll(s.AnyOf); err != nil {
		return err
	}
	if n.oneOf, err = b.buildAll(s.OneOf); err != nil {
		return err
	}
	var lists []string
	for _, sub := range s.AnyOf {
		if len(sub.Required) > 0 {
			list, err := json.Marshal(sub.Required)
			if err != nil {
				return fmt.Errorf("encode required: %w", err)
			}
			lists = append(lists, string(list))
		}
	}
	n.anyOfRequired = strings.Join(lists, " or ")
	if n.ifNode, err = b.build(s.If); err != nil {
		return err
	}
	if n.then, err = b.build(s.Then); err != nil {
		return err
	}
	if n.els, err = b.build(s.Else); err != nil {
		return err
	}
	n.not, err = b.build(s.Not)
	return err
}

func (b *builder) buildAll(list []*jsonschema.Schema) ([]*node, error) {
	var nodes []*node
	for _, s := range list {
		n, err := b.build(s)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

func (n *node) addBound(limit *big.Rat, fails [3]bool, words string) {
	if limit == nil {
		return
	}
	f, _ := limit.Float64()
	bd := bound{limit: limit, f: f, fails: fails, text: words + " " + luaNumber(f)}
	if limit.IsInt() && limit.Num().IsInt64() {
		bd.i, bd.exact = limit.Num().Int64(), true
	}
	n.bounds = append(n.bounds, bd)
}

// typeNames are the names of the `type` keyword in the order of the document, which the message repeats and
// the compiled form has lost.
func (b *builder) typeNames(s *jsonschema.Schema) []string {
	switch v := b.raw(s)["type"].(type) {
	case string:
		return []string{v}
	case []any:
		var names []string
		for _, name := range v {
			if text, ok := name.(string); ok {
				names = append(names, text)
			}
		}
		return names
	}
	return s.Types.ToStrings()
}

// raw is the part of the document that a subschema was compiled from, found by the JSON pointer in its location.
// It is nil for a subschema of a meta-schema, to which a $ref may lead.
func (b *builder) raw(s *jsonschema.Schema) map[string]any {
	location, fragment, ok := strings.Cut(s.Location, "#")
	if !ok || !strings.HasPrefix(location, "schema:///") {
		return nil
	}
	value := b.document
	for _, token := range strings.Split(fragment, "/")[1:] {
		token, err := url.PathUnescape(token)
		if err != nil {
			return nil
		}
		token = strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
		switch v := value.(type) {
		case map[string]any:
			value = v[token]
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(v) {
				return nil
			}
			value = v[i]
		default:
			return nil
		}
	}
	object, _ := value.(map[string]any)
	return object
}
