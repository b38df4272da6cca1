package plugin

import (
	"encoding/json"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"
)

const graphqlRootFields = "graphql_root_fields"

// Bounds of a GraphQL document: the size is APISIX's default of graphql.max_size, the number of tokens keeps the memory of the parser small. The parser
// itself bounds how deep a document nests.
const (
	maxGraphQL       = 1 << 20
	maxGraphQLTokens = 100_000
)

type graphqlKey struct{}

// graphqlInfo is what the graphql_ variables tell (apisix/core/ctx.lua get_parsed_graphql).
type graphqlInfo struct {
	// name is empty for an anonymous operation.
	name, operation string
	rootFields      [][]byte
}

// noGraphQL remembers that a request is not a GraphQL request.
var noGraphQL = &graphqlInfo{}

// graphql parses the request once per exchange; nil when it carries no GraphQL document. Of several operations the first one counts.
func (ex *Exchange) graphql() *graphqlInfo {
	g, ok := ex.Value(graphqlKey{}).(*graphqlInfo)
	if !ok {
		if g = parseGraphQL(ex.graphqlDocument()); g == nil {
			if string(ex.Request.Method) == "POST" && !ex.Request.BodyBuffered {
				return nil // it may be there later
			}
			g = noGraphQL
		}
		ex.SetValue(graphqlKey{}, g)
	}
	if g == noGraphQL {
		return nil
	}
	return g
}

// graphqlDocument is the argument "query" of a GET request, or the body of a POST request, where a JSON body holds it in the member "query".
func (ex *Exchange) graphqlDocument() string {
	switch string(ex.Request.Method) {
	case "GET":
		q, _ := ex.Arg("query")
		return string(q)
	case "POST":
		if !ex.hasBody() || len(ex.Request.Body) > maxGraphQL {
			return ""
		}
		if !hasMediaType(ex.Request.Header.Get("Content-Type"), "application/json") {
			return string(ex.Request.Body)
		}
		var body struct {
			Query string `json:"query"`
		}
		if json.Unmarshal(ex.Request.Body, &body) != nil {
			return ""
		}
		return body.Query
	}
	return ""
}

func parseGraphQL(text string) *graphqlInfo {
	if text == "" || len(text) > maxGraphQL {
		return nil
	}
	doc, err := parser.ParseQueryWithTokenLimit(&ast.Source{Input: text}, maxGraphQLTokens)
	if err != nil || len(doc.Operations) == 0 {
		return nil
	}
	op := doc.Operations[0]
	g := &graphqlInfo{name: op.Name, operation: string(op.Operation)}
	g.addFields(doc, op.SelectionSet, map[string]bool{})
	return g
}

// addFields lists the fields of the top level, those that fragments bring in among them: a condition on a field must not be avoidable
// by a way of writing.
func (g *graphqlInfo) addFields(doc *ast.QueryDocument, set ast.SelectionSet, seen map[string]bool) {
	for _, s := range set {
		switch s := s.(type) {
		case *ast.Field:
			g.rootFields = append(g.rootFields, []byte(s.Name))
		case *ast.InlineFragment:
			g.addFields(doc, s.SelectionSet, seen)
		case *ast.FragmentSpread:
			if f := doc.Fragments.ForName(s.Name); f != nil && !seen[s.Name] {
				seen[s.Name] = true
				g.addFields(doc, f.SelectionSet, seen)
			}
		}
	}
}

// hasMediaType tells whether a Content-Type names that type, parameters aside.
func hasMediaType(contentType []byte, want string) bool {
	if len(contentType) < len(want) || !EqualFold(contentType[:len(want)], want) {
		return false
	}
	return len(contentType) == len(want) || contentType[len(want)] == ';' || contentType[len(want)] == ' '
}

func graphqlText(get func(g *graphqlInfo) string) Var {
	return func(ex *Exchange) ([]byte, bool) {
		g := ex.graphql()
		if g == nil {
			return nil, false
		}
		return Bytes(get(g)), true
	}
}

// graphqlVar compiles the variables graphql_name, graphql_operation and graphql_root_fields; the last one reads as a comma-separated list where a
// text is wanted.
func graphqlVar(rest string) Var {
	switch rest {
	case "name":
		return graphqlText(func(g *graphqlInfo) string { return g.name })
	case "operation":
		return graphqlText(func(g *graphqlInfo) string { return g.operation })
	case "root_fields":
		return func(ex *Exchange) ([]byte, bool) {
			g := ex.graphql()
			if g == nil {
				return nil, false
			}
			var b []byte
			for i, f := range g.rootFields {
				if i > 0 {
					b = append(b, ',')
				}
				b = append(b, f...)
			}
			return b, true
		}
	}
	return func(*Exchange) ([]byte, bool) { return nil, false }
}
