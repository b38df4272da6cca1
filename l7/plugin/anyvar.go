package plugin

import "strings"

// AnyVar reads a variable whose value is not just text. The value is a []byte or string, a float64, a bool, a list ([]any, or [][]byte) or a
// map[string]any; lists and maps are shared and must not be changed. ok is false when the variable has no value.
type AnyVar func(ex *Exchange) (val any, ok bool)

// CompileAnyVar resolves the variables that APISIX gives a type of their own: post_arg.x, which is what the JSON body says, and graphql_root_fields, which is a list.
// ok is false for every other name; those are text (CompileVar).
func CompileAnyVar(name string) (v AnyVar, ok bool) {
	if name == graphqlRootFields {
		return func(ex *Exchange) (any, bool) {
			g := ex.graphql()
			if g == nil {
				return nil, false
			}
			return g.rootFields, true
		}, true
	}
	if path, found := strings.CutPrefix(name, "post_arg."); found && path != "" {
		return postArgAny(path), true
	}
	return nil, false
}

// ListVar reads a variable that has many values.
type ListVar func(ex *Exchange) (vals [][]byte, ok bool)

// CompileListVar resolves a variable that is a list of texts; known is false for every other name. The only one is graphql_root_fields.
func CompileListVar(name string) (v ListVar, known bool) {
	if name != graphqlRootFields {
		return nil, false
	}
	return func(ex *Exchange) ([][]byte, bool) {
		g := ex.graphql()
		if g == nil {
			return nil, false
		}
		return g.rootFields, true
	}, true
}
