package adminapi

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sluice-gateway/sluice/control/compile"
	"github.com/sluice-gateway/sluice/control/model"
	"github.com/sluice-gateway/sluice/control/schema"
)

// pluginsEndpoint answers /plugins (apisix/admin/plugins.lua).
func (a *api) pluginsEndpoint(r *http.Request, rest []string) *reply {
	name := ""
	if len(rest) > 0 {
		name = rest[0]
	}
	if name == "reload" {
		if r.Method != http.MethodPut {
			return fail(http.StatusMethodNotAllowed, "please use PUT method to reload the plugins, %s method is not allowed.", r.Method)
		}
		return &reply{http.StatusOK, "done"}
	}
	if r.Method != http.MethodGet {
		return fail(http.StatusNotFound, "not found")
	}
	q := r.URL.Query()
	subsystem := q.Get("subsystem")
	if subsystem == "" {
		subsystem = "http"
	}
	if name == "list" {
		if subsystem != "http" && subsystem != "stream" {
			return &reply{http.StatusBadRequest, "invalid subsystem passed"}
		}
		names := []string{}
		for _, p := range a.plugins.All() {
			if in(p, subsystem) {
				names = append(names, p.Name)
			}
		}
		return &reply{http.StatusOK, names}
	}
	if subsystem != "http" && subsystem != "stream" {
		return fail(http.StatusBadRequest, "unsupported subsystem: %s", subsystem)
	}
	if q.Get("all") == "true" {
		all := map[string]any{}
		for _, p := range a.plugins.All() {
			if in(p, subsystem) {
				all[p.Name] = describe(p, subsystem)
			}
		}
		return &reply{http.StatusOK, all}
	}
	p, ok := a.plugins.Plugin(name)
	if !ok || !in(p, subsystem) {
		return fail(http.StatusNotFound, "plugin not found in subsystem %s", subsystem)
	}
	s := schemaIn(p, subsystem)
	switch q.Get("schema_type") {
	case "consumer":
		s = p.ConsumerSchema
	case "metadata":
		s = p.MetadataSchema
	}
	if s == nil {
		return fail(http.StatusBadRequest, "not found schema")
	}
	return &reply{http.StatusOK, json.RawMessage(s.Raw())}
}

func in(p *compile.PluginInfo, subsystem string) bool {
	if subsystem == "stream" {
		return p.Stream
	}
	return p.HTTP
}

// schemaIn is the schema of a plugin's configuration in routes or in stream routes.
func schemaIn(p *compile.PluginInfo, subsystem string) *schema.Schema {
	if subsystem == "stream" && p.StreamSchema != nil {
		return p.StreamSchema
	}
	return p.Schema
}

func describe(p *compile.PluginInfo, subsystem string) map[string]any {
	d := map[string]any{"priority": p.Priority, "version": json.Number("0.1")}
	var version json.Number
	if json.Unmarshal([]byte(p.Version), &version) == nil && version != "" {
		d["version"] = version
	}
	if p.Auth {
		d["type"] = "auth"
	}
	for name, s := range map[string]*schema.Schema{"schema": schemaIn(p, subsystem), "consumer_schema": p.ConsumerSchema, "metadata_schema": p.MetadataSchema} {
		if s != nil {
			d[name] = json.RawMessage(s.Raw())
		}
	}
	return d
}

// schemaEndpoint answers /schema/NAME, /schema/plugins/NAME and /schema/validate/KIND.
func (a *api) schemaEndpoint(r *http.Request, rest []string) *reply {
	switch {
	case len(rest) >= 2 && rest[0] == "plugins":
		return a.pluginsEndpoint(r, rest[1:])
	case len(rest) == 2 && rest[0] == "validate" && r.Method == http.MethodPost:
		return a.validateResource(r, rest[1])
	case r.Method != http.MethodGet || len(rest) == 0:
		return fail(http.StatusNotFound, "not found")
	}
	s, ok := schema.Resource(rest[0])
	if !ok {
		return fail(http.StatusBadRequest, "not found schema: %s", rest[0])
	}
	return &reply{http.StatusOK, json.RawMessage(s.Raw())}
}

// validateResource checks a document against the schema of a resource, and nothing else.
func (a *api) validateResource(r *http.Request, kind string) *reply {
	info, ok := model.Lookup(model.Kind(kind))
	if !ok {
		return fail(http.StatusNotFound, "Unsupported resource type: %s", kind)
	}
	doc, present, bad := a.body(r)
	if bad != nil {
		return bad
	}
	if !present {
		return fail(http.StatusBadRequest, "missing configurations")
	}
	s, ok := schema.Resource(info.Schema)
	if !ok {
		return &reply{status: http.StatusOK}
	}
	if err := s.Validate(doc); err != nil {
		return fail(http.StatusBadRequest, "%v", err)
	}
	return &reply{status: http.StatusOK}
}

// finding is one error of configs/validate.
type finding struct {
	ResourceType string `json:"resource_type"`
	ResourceID   string `json:"resource_id,omitempty"`
	Index        *int   `json:"index,omitempty"`
	Error        string `json:"error"`
}

// maxFindings bounds the answer of configs/validate.
const maxFindings = 1000

// validateConfigs checks a whole configuration document, in JSON or YAML, without looking at references (apisix/admin/config_validate.lua).
func (a *api) validateConfigs(r *http.Request) *reply {
	raw, bad := a.rawBody(r)
	if bad != nil {
		return bad
	}
	if len(raw) == 0 {
		return fail(http.StatusBadRequest, "invalid request body: empty request body")
	}
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if media == "application/yaml" {
		var v map[string]any
		if err := yaml.Unmarshal(raw, &v); err != nil || v == nil {
			return fail(http.StatusBadRequest, "invalid request body: invalid yaml request body")
		}
		var encodable bool
		if raw, encodable = tryEncode(v); !encodable {
			return fail(http.StatusBadRequest, "invalid request body: invalid yaml request body")
		}
	}
	doc, err := schema.Decode(raw)
	if err != nil {
		return fail(http.StatusBadRequest, "invalid request body: %v", err)
	}
	object, ok := doc.(map[string]any)
	if !ok {
		return fail(http.StatusBadRequest, "invalid request body: expected an object")
	}
	var found []finding
	for _, info := range model.Kinds() {
		if info.Parent != "" {
			continue
		}
		found = append(found, a.validateKind(object, info)...)
		if len(found) > maxFindings {
			found = found[:maxFindings]
			break
		}
	}
	if len(found) > 0 {
		return &reply{http.StatusBadRequest, map[string]any{"error_msg": "Configuration validation failed", "errors": found}}
	}
	return &reply{http.StatusOK, map[string]any{}}
}

func (a *api) validateKind(object map[string]any, info model.KindInfo) (found []finding) {
	name := string(info.Kind)
	version := name + "_conf_version"
	if v, has := object[version]; has && v != nil {
		if _, ok := v.(json.Number); !ok {
			found = append(found, finding{ResourceType: name, Error: fmt.Sprintf("%s must be a number, got %s", version, luaType(v))})
		}
	}
	items, _ := object[name].([]any)
	seen := map[string]bool{}
	for i, v := range items {
		at := i
		add := func(id, text string) {
			found = append(found, finding{name, id, &at, text})
		}
		it, ok := v.(map[string]any)
		if !ok {
			add("", "invalid configuration: wrong type: expected object, got "+luaType(v))
			continue
		}
		id, _ := textOf(it["id"])
		key, field := model.Key{Kind: info.Kind, ID: id}, "id"
		if info.Kind == model.Consumers {
			field = "username"
			if strings.Contains(id, "/credentials/") {
				key.Kind, field = model.Credentials, "credential id"
			} else if user, _ := it["username"].(string); id == "" || user != "" {
				id = user
				key.ID = user
			}
		}
		if info.Kind == model.Secrets && !strings.Contains(id, "/") {
			add(id, "invalid secret id: "+id)
			continue
		}
		if err := a.checker.CheckObject(key, credentialItem(key, it), nil, compile.CheckOptions{SkipReferences: true}); err != nil {
			add(id, err.Error())
		}
		if id != "" && seen[id] {
			add(id, fmt.Sprintf("found duplicate %s %s in %s", field, id, name))
		}
		seen[id] = true
		if len(found) > maxFindings {
			return found
		}
	}
	return found
}

// credentialItem is an item as CheckObject wants it: the id of a credential in a document holds its consumer.
func credentialItem(key model.Key, it map[string]any) map[string]any {
	if key.Kind != model.Credentials {
		return it
	}
	c := clone(it).(map[string]any)
	c["id"] = key.ID[strings.LastIndexByte(key.ID, '/')+1:]
	return c
}

func luaType(v any) string {
	switch v.(type) {
	case nil:
		return "userdata"
	case string:
		return "string"
	case bool:
		return "boolean"
	case json.Number:
		return "number"
	}
	return "table"
}
