package compile

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sluice-gateway/sluice/control/schema"
)

// Prefixes of references. The one for the environment is recognised in any case, the one for secret managers only like
// this (apisix/secret.lua, is_secret_ref).
const (
	envPrefix    = "$env://"
	secretPrefix = "$secret://"
)

func isEnvRef(s string) bool {
	return len(s) >= len(envPrefix) && s[0] == '$' && strings.EqualFold(s[:len(envPrefix)], envPrefix)
}

// isRef says whether a string is a reference of either kind.
func isRef(s string) bool { return isEnvRef(s) || strings.HasPrefix(s, secretPrefix) }

// resolver replaces references and notes those that stay.
type resolver struct {
	env func(string) (string, bool)
	// unresolved has a line for each reference that stays as it is.
	unresolved []string
}

// value resolves the strings in a decoded document, in place where it can; field leads to it, for messages. The
// names of an object's fields are not looked at.
func (r *resolver) value(v any, field string) any {
	switch v := v.(type) {
	case string:
		return r.text(v, field)
	case []any:
		for i, item := range v {
			v[i] = r.value(item, fmt.Sprintf("%s[%d]", field, i))
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			v[name] = r.value(v[name], strings.TrimPrefix(field+"."+name, "."))
		}
	}
	return v
}

// text resolves one string. What does not resolve stays, as in APISIX (apisix/secret.lua, retrieve_refs). With a path
// behind the name of the variable, the variable is a JSON object of which one field is meant, and the outcome
// can be any JSON value (apisix/core/env.lua, fetch_by_uri).
func (r *resolver) text(s, field string) any {
	if !isRef(s) {
		return s
	}
	if !isEnvRef(s) {
		r.note(field, s, "secret managers are not consulted")
		return s
	}
	name, path, inside := strings.Cut(s[len(envPrefix):], "/")
	text, ok := "", false
	if r.env != nil {
		text, ok = r.env(name)
	}
	switch {
	case !ok:
		r.note(field, s, "the environment variable is not set")
		return s
	case !inside || path == "":
		return text
	}
	doc, err := schema.Decode([]byte(text))
	if err != nil {
		r.note(field, s, "the environment variable is not JSON")
		return s
	}
	object, _ := doc.(map[string]any)
	value := object[path]
	if value == nil {
		r.note(field, s, "the JSON in the environment variable has no such field")
		return s
	}
	return value
}

// str resolves a field that has to be a string; anything else stays unresolved.
func (r *resolver) str(s, field string) string {
	resolved, ok := r.text(s, field).(string)
	if !ok {
		r.note(field, s, "the value is not a string")
		return s
	}
	return resolved
}

func (r *resolver) note(field, ref, why string) {
	r.unresolved = append(r.unresolved, fmt.Sprintf("%s: reference %s stays as it is: %s", field, ref, why))
}
