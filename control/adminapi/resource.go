package adminapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-gateway/sluice/control/compile"
	"github.com/sluice-gateway/sluice/control/model"
	"github.com/sluice-gateway/sluice/control/schema"
	"github.com/sluice-gateway/sluice/control/store"
)

// target is what the path of a request names.
type target struct {
	info    model.KindInfo
	parent  string // the consumer of credentials
	manager string // the manager of secrets
	id, sub string
}

// key is the store key of the object with that id.
func (t target) key(id string) model.Key {
	switch {
	case t.parent != "":
		id = t.parent + "/" + string(t.info.Kind) + "/" + id
	case t.manager != "":
		id = t.manager + "/" + id
	}
	return model.Key{Kind: t.info.Kind, ID: id}
}

// owns tells whether a key lies below the parent that the path names, or there is none.
func (t target) owns(key model.Key) bool {
	return t.parent == "" || strings.HasPrefix(key.ID, t.parent+"/")
}

// change is a write request.
type change struct {
	target
	body    any
	present bool
	ttl     time.Duration
	match   string // If-Match: the modifiedIndex that the object must have
}

// encode writes v as JSON without escaping HTML, so that values read back as they were sent.
func encode(v any) []byte {
	b, ok := tryEncode(v)
	if !ok {
		return []byte(`{"error_msg":"the answer cannot be encoded"}`)
	}
	return b
}

// tryEncode is encode for values that do not come from JSON and may have no form in it.
func tryEncode(v any) ([]byte, bool) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, false
	}
	return bytes.TrimRight(b.Bytes(), "\n"), true
}

// decodeObject reads a stored value.
func decodeObject(value json.RawMessage) map[string]any {
	doc, err := schema.Decode(value)
	if err != nil {
		return map[string]any{}
	}
	object, ok := doc.(map[string]any)
	if !ok {
		return map[string]any{}
	}
	return object
}

// textOf is an id as a string, whether it was written as a string or a number.
func textOf(v any) (string, bool) {
	if id, ok := v.(string); ok {
		return id, true
	}
	if ids := model.IDs(v, nil); len(ids) == 1 {
		return ids[0], true
	}
	return "", false
}

// identify applies the id rules of apisix/admin/resource.lua check_conf and returns the id of the object.
func (c *change) identify(object map[string]any, need bool) (string, *reply) {
	info := c.info
	id := c.id
	if info.Kind == model.Secrets {
		id = c.manager + "/" + c.id
	}
	switch {
	case info.Kind == model.Consumers:
		name, _ := object["username"].(string)
		return name, nil
	case info.Kind == model.PluginMetadatas:
		if id == "" {
			return "", fail(http.StatusBadRequest, "missing plugin name")
		}
		return id, nil
	}
	own, has := object["id"]
	if id == "" && has {
		if text, ok := textOf(own); ok {
			id = text
		}
	}
	if need && id == "" {
		return "", fail(http.StatusBadRequest, "missing %s id", info.Singular)
	}
	if !need && (id != "" || has) {
		return "", fail(http.StatusBadRequest, "wrong %s id, do not need it", info.Singular)
	}
	if need && has {
		if text, ok := textOf(own); !ok || text != id {
			return "", fail(http.StatusBadRequest, "wrong %s id", info.Singular)
		}
	}
	if need {
		object["id"] = id
	}
	return id, nil
}

// forbidden refuses timestamps in a body (check_forbidden_properties).
func forbidden(object map[string]any) *reply {
	for _, place := range []struct {
		name string
		in   any
	}{{"", object}, {"upstream.", object["upstream"]}, {"plugins.", object["plugins"]}} {
		m, ok := place.in.(map[string]any)
		if !ok {
			continue
		}
		for _, f := range []string{"create_time", "update_time"} {
			if v, has := m[f]; has && v != false {
				return fail(http.StatusBadRequest, "the property is forbidden:  %s%s", place.name, f)
			}
		}
	}
	return nil
}

// object is the body as an object of its own for one attempt: an update may run more than once.
func (c *change) object() (map[string]any, *reply) {
	if !c.present || c.body == nil {
		return nil, fail(http.StatusBadRequest, "missing configurations")
	}
	switch b := c.body.(type) {
	case map[string]any:
		return clone(b).(map[string]any), nil
	case []any:
		if len(b) == 0 {
			return map[string]any{}, nil
		}
		return nil, fail(http.StatusBadRequest, "invalid configuration: wrong type: expected object, got table")
	case string:
		return nil, fail(http.StatusBadRequest, "invalid configuration: wrong type: expected object, got string")
	case json.Number:
		return nil, fail(http.StatusBadRequest, "invalid configuration: wrong type: expected object, got number")
	}
	return nil, fail(http.StatusBadRequest, "invalid configuration: wrong type: expected object, got boolean")
}

// clone copies a decoded JSON document.
func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := make(map[string]any, len(v))
		for k, e := range v {
			m[k] = clone(e)
		}
		return m
	case []any:
		l := make([]any, len(v))
		for i, e := range v {
			l[i] = clone(e)
		}
		return l
	}
	return v
}

// matches applies If-Match.
func (c *change) matches(prev *store.Object) *reply {
	if c.match == "" || c.match == "*" && prev != nil {
		return nil
	}
	want := strings.Trim(c.match, `"`)
	if prev == nil || strconv.FormatInt(int64(prev.Mod), 10) != want {
		return fail(http.StatusPreconditionFailed, "the resource is not at modifiedIndex %s", want)
	}
	return nil
}

// outcome is what an attempt of an update came to.
type outcome struct {
	key     model.Key
	value   json.RawMessage
	created bool
}

// put writes an object under its id.
func (a *api) put(ctx context.Context, c change) *reply {
	if c.info.Kind == model.Secrets && c.id == "" {
		return fail(http.StatusBadRequest, "missing secret id")
	}
	var out outcome
	bad := a.update(ctx, func(view compile.View) ([]store.Op, error) {
		object, bad := c.object()
		if bad != nil {
			return nil, bad
		}
		if bad := c.bind(view, object); bad != nil {
			return nil, bad
		}
		id, bad := c.identify(object, true)
		if bad != nil {
			return nil, bad
		}
		if bad := forbidden(object); bad != nil {
			return nil, bad
		}
		key := c.key(id)
		if c.info.Kind == model.Secrets {
			key = model.Key{Kind: model.Secrets, ID: id}
		}
		if err := a.check(key, object, view); err != nil {
			return nil, err
		}
		if c.info.Kind == model.Consumers && c.id != "" && c.id != id {
			return nil, fail(http.StatusBadRequest, "wrong username")
		}
		if bad := c.parentThere(view); bad != nil {
			return nil, bad
		}
		if bad := c.undecorated(view, key, object); bad != nil {
			return nil, bad
		}
		prev := view.Get(key)
		if bad := c.matches(prev); bad != nil {
			return nil, bad
		}
		if c.info.Timestamps {
			a.stamp(object, prev)
		} else {
			object["id"] = id
		}
		out = outcome{key: key, value: a.seal.sealed(key.Kind, object), created: prev == nil}
		return []store.Op{{Key: key, Value: out.value, TTL: c.ttl}}, nil
	})
	if bad != nil {
		return bad
	}
	status := http.StatusOK
	if out.created {
		status = http.StatusCreated
	}
	return a.written(status, actionSet, out.key, out.value)
}

// check judges an object as the store will have it.
func (a *api) check(key model.Key, object map[string]any, view compile.View) error {
	if err := a.checker.CheckObject(key, object, view, compile.CheckOptions{}); err != nil {
		return fail(http.StatusBadRequest, "%v", err)
	}
	return nil
}

func (c *change) parentThere(view compile.View) *reply {
	if c.parent == "" || view.Get(model.Key{Kind: c.info.Parent, ID: c.parent}) != nil {
		return nil
	}
	return fail(http.StatusNotFound, "%s", c.info.ParentMissing)
}

// stamp sets create_time and update_time, in seconds; the first stays from the object that was there (utils.inject_conf_with_prev_conf).
func (a *api) stamp(object map[string]any, prev *store.Object) {
	now := json.Number(strconv.FormatInt(a.o.Now().Unix(), 10))
	object["create_time"], object["update_time"] = now, now
	if prev == nil {
		return
	}
	if was, ok := decodeObject(prev.Value)["create_time"]; ok {
		object["create_time"] = was
	}
}

// restamp sets the timestamps of a patched object: a PATCH may give both, and update_time is now when it does not
// (utils.inject_timestamp).
func (a *api) restamp(object map[string]any, given bool) {
	now := json.Number(strconv.FormatInt(a.o.Now().Unix(), 10))
	if object["create_time"] == nil {
		object["create_time"] = now
	}
	if !given || object["update_time"] == nil {
		object["update_time"] = now
	}
}

// post writes an object under an id that the store makes.
func (a *api) post(ctx context.Context, c change) *reply {
	made := ""
	var out outcome
	bad := a.update(ctx, func(view compile.View) ([]store.Op, error) {
		object, bad := c.object()
		if bad != nil {
			return nil, bad
		}
		if bad := c.bind(view, object); bad != nil {
			return nil, bad
		}
		if _, bad := c.identify(object, false); bad != nil {
			return nil, bad
		}
		if bad := forbidden(object); bad != nil {
			return nil, bad
		}
		if made == "" {
			id, err := a.o.NextID(ctx)
			if err != nil {
				return nil, fmt.Errorf("make an id: %w", err)
			}
			made = id
		}
		object["id"] = made
		key := c.key(made)
		if err := a.check(key, object, view); err != nil {
			return nil, err
		}
		if bad := c.undecorated(view, key, object); bad != nil {
			return nil, bad
		}
		a.stamp(object, nil)
		out = outcome{key: key, value: a.seal.sealed(key.Kind, object)}
		return []store.Op{{Key: key, Value: out.value, TTL: c.ttl, IfAbsent: true}}, nil
	})
	if bad != nil {
		return bad
	}
	return a.written(http.StatusCreated, actionCreate, out.key, out.value)
}

// patch merges the body into the object, or puts it at a place below it.
func (a *api) patch(ctx context.Context, c change) *reply {
	switch {
	case c.info.Kind == model.Secrets && c.id == "":
		return fail(http.StatusBadRequest, "no secret id")
	case c.id == "":
		return fail(http.StatusBadRequest, "missing %s id", c.info.Singular)
	case !c.present:
		return fail(http.StatusBadRequest, "missing new configuration")
	}
	sub := strings.Trim(c.sub, "/")
	if c.parent != "" {
		// A decoration has no places below it.
		sub = ""
	}
	part, isObject := c.body.(map[string]any)
	if sub == "" && !isObject {
		return fail(http.StatusBadRequest, "invalid configuration")
	}
	if _, has := part["service_id"]; has && c.info.Kind == model.GraphQLCostDecorations {
		return fail(http.StatusBadRequest, "service_id can not be patched")
	}
	var out outcome
	bad := a.update(ctx, func(view compile.View) ([]store.Op, error) {
		key := c.key(c.id)
		prev := view.Get(key)
		if prev == nil {
			return nil, keyNotFound
		}
		if bad := c.matches(prev); bad != nil {
			return nil, bad
		}
		object := decodeObject(prev.Value)
		a.seal.open(key.Kind, object)
		if sub == "" {
			merge(object, part)
		} else if bad := patchAt(object, sub, c.body); bad != nil {
			return nil, bad
		}
		a.restamp(object, sub == "" && part["update_time"] != nil)
		if _, bad := c.identify(object, true); bad != nil {
			return nil, bad
		}
		if bad := c.undecorated(view, key, object); bad != nil {
			return nil, bad
		}
		if err := a.check(key, object, view); err != nil {
			return nil, err
		}
		out = outcome{key: key, value: a.seal.sealed(key.Kind, object)}
		return []store.Op{{Key: key, Value: out.value, TTL: c.ttl}}, nil
	})
	if bad != nil {
		return bad
	}
	return a.written(http.StatusOK, actionSwap, out.key, out.value)
}

// merge changes object as apisix/core/table.lua merge does: objects are merged, null removes, everything else replaces.
func merge(object, part map[string]any) {
	for k, v := range part {
		switch v := v.(type) {
		case nil:
			delete(object, k)
		case map[string]any:
			if old, ok := object[k].(map[string]any); ok {
				merge(old, v)
				continue
			}
			fresh := map[string]any{}
			merge(fresh, v)
			object[k] = fresh
		default:
			object[k] = clone(v)
		}
	}
}

// patchAt replaces what is at a path below the object, making it when it is absent.
func patchAt(object map[string]any, path string, v any) *reply {
	steps := strings.Split(path, "/")
	at := object
	for i, s := range steps[:len(steps)-1] {
		next, has := at[s]
		if !has || next == nil {
			next = map[string]any{}
			at[s] = next
		}
		m, ok := next.(map[string]any)
		if !ok {
			return fail(http.StatusBadRequest, "invalid sub-path: /%s", strings.Join(steps[:i+1], "/"))
		}
		at = m
	}
	last := steps[len(steps)-1]
	if v == nil {
		delete(at, last)
		return nil
	}
	at[last] = clone(v)
	return nil
}

// delete removes an object, unless another one refers to it.
func (a *api) delete(ctx context.Context, c change, force bool) *reply {
	if c.id == "" {
		return fail(http.StatusBadRequest, "missing %s id", c.info.Singular)
	}
	key := c.key(c.id)
	bad := a.update(ctx, func(view compile.View) ([]store.Op, error) {
		if !force {
			if bad := inUse(view, c.info, c.id); bad != nil {
				return nil, bad
			}
		}
		prev := view.Get(key)
		if prev == nil {
			return nil, keyNotFound
		}
		if bad := c.matches(prev); bad != nil {
			return nil, bad
		}
		ops := []store.Op{{Key: key}}
		for _, child := range model.Kinds() {
			if child.Parent != c.info.Kind {
				continue
			}
			for _, o := range view.List(child.Kind) {
				if strings.HasPrefix(o.Key.ID, c.id+"/") {
					ops = append(ops, store.Op{Key: o.Key})
				}
			}
		}
		return ops, nil
	})
	if bad != nil {
		return bad
	}
	return a.deleted(key)
}

// inUse refuses to delete what other objects refer to.
func inUse(view compile.View, info model.KindInfo, id string) *reply {
	for _, use := range info.ReferencedBy {
		for _, o := range view.List(use.Kind) {
			// Most objects do not even contain the id.
			if !bytes.Contains(o.Value, []byte(id)) {
				continue
			}
			for _, ref := range model.IDs(decodeObject(o.Value), use.Path) {
				if ref == id {
					return fail(http.StatusBadRequest, "%s", use.InUse(o.Key.ID))
				}
			}
		}
	}
	return nil
}
