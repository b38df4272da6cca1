package schema

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

//go:embed resources/*.json
var resourceFiles embed.FS

// commonFile holds the parts that several resources share; it is no resource itself.
const commonFile = "common"

// resources compiles the embedded schemas once. They are part of the program, so one that does not compile is a
// fault of the program.
var resources = sync.OnceValue(func() map[string]*Schema {
	schemas, err := compileResources()
	if err != nil {
		panic(err)
	}
	return schemas
})

// Resource is the schema of a resource by its singular name: route, service, upstream, consumer, credential,
// consumer_group, plugin_config, global_rule, ssl, proto, stream_route, graphql_cost_decoration, and plugins (the list of
// plugins). These are the names that GET /apisix/admin/schema/{name} knows. The facts are those of
// apisix/schema_def.lua of APISIX 3.18.
func Resource(singular string) (*Schema, bool) {
	if strings.HasPrefix(singular, secretPrefix) {
		return nil, false
	}
	s, ok := resources()[singular]
	return s, ok
}

const secretPrefix = "secret_"

// Secret is the schema of a secret manager's configuration: vault, aws or gcp (apisix/secret/*.lua).
func Secret(manager string) (*Schema, bool) {
	s, ok := resources()[secretPrefix+manager]
	return s, ok
}

func compileResources() (map[string]*Schema, error) {
	names, err := fs.Glob(resourceFiles, "resources/*.json")
	if err != nil {
		return nil, fmt.Errorf("list resource schemas: %w", err)
	}
	documents := make(map[string]any, len(names))
	for _, path := range names {
		data, err := resourceFiles.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read schema %s: %w", path, err)
		}
		document, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
		if err != nil {
			return nil, fmt.Errorf("read schema %s: %w", path, err)
		}
		documents[strings.TrimSuffix(strings.TrimPrefix(path, "resources/"), ".json")] = document
	}
	schemas := make(map[string]*Schema, len(documents))
	for name, document := range documents {
		if name == commonFile {
			continue
		}
		whole, err := inline(document, documents, 0)
		if err != nil {
			return nil, fmt.Errorf("compile schema %s: %w", name, err)
		}
		raw, err := json.Marshal(whole)
		if err != nil {
			return nil, fmt.Errorf("compile schema %s: %w", name, err)
		}
		root, err := compileValue(whole)
		if err != nil {
			return nil, fmt.Errorf("compile schema %s: %w", name, err)
		}
		schemas[name] = &Schema{name: name, raw: raw, root: root}
	}
	return schemas, nil
}

// inline replaces {"$ref": "common#x"} by the part x of the common file and {"$ref": "upstream"} by that
// resource, so that every schema stands alone when a client asks for it.
func inline(v any, documents map[string]any, depth int) (any, error) {
	if depth > 64 {
		return nil, fmt.Errorf("references form a cycle")
	}
	switch v := v.(type) {
	case map[string]any:
		if ref, ok := v["$ref"].(string); ok {
			file, part, _ := strings.Cut(ref, "#")
			target, ok := documents[file]
			if ok && part != "" {
				object, _ := target.(map[string]any)
				target, ok = object[part]
			}
			if !ok {
				return nil, fmt.Errorf("reference %q leads nowhere", ref)
			}
			return inline(target, documents, depth+1)
		}
		out := make(map[string]any, len(v))
		for key, value := range v {
			next, err := inline(value, documents, depth+1)
			if err != nil {
				return nil, err
			}
			out[key] = next
		}
		return out, nil
	case []any:
		out := make([]any, len(v))
		for i, value := range v {
			next, err := inline(value, documents, depth+1)
			if err != nil {
				return nil, err
			}
			out[i] = next
		}
		return out, nil
	}
	return v, nil
}
