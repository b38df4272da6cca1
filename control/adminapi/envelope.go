package adminapi

import (
	"encoding/json"
	"net/http"

	"github.com/sluice-gateway/sluice/control/model"
	"github.com/sluice-gateway/sluice/control/store"
)

// v2 is the older form of the answers, with an action and a node, as etcd's API of that version had it. It neither
// filters nor pages (apisix/admin/v3_adapter.lua).
const v2 = "v2"

// The actions of form v2 (apisix/core/etcd.lua).
const (
	actionSet    = "set"
	actionCreate = "create"
	actionSwap   = "compareAndSwap"
)

// item is an object in an answer. Its indexes are the revisions of its creation and of its last change, left out in
// answers to writes.
type item struct {
	Key           string    `json:"key"`
	Value         any       `json:"value"`
	CreatedIndex  store.Rev `json:"createdIndex,omitempty"`
	ModifiedIndex store.Rev `json:"modifiedIndex,omitempty"`
}

// one is the answer that shows an object.
func (a *api) one(it item) *reply {
	if a.o.Version == v2 {
		return &reply{http.StatusOK, map[string]any{"action": "get", "node": it}}
	}
	return &reply{http.StatusOK, it}
}

// many is the answer that shows objects; total counts those before paging.
func (a *api) many(t target, items []item, total int) *reply {
	if a.o.Version == v2 {
		return &reply{http.StatusOK, map[string]any{"action": "get", "node": map[string]any{"key": t.directory(), "dir": true, "nodes": items}}}
	}
	return &reply{http.StatusOK, map[string]any{"total": total, "list": items}}
}

// written is the answer to a change that left an object behind.
func (a *api) written(status int, action string, key model.Key, value json.RawMessage) *reply {
	it := item{Key: shown(key), Value: value}
	if a.o.Version == v2 {
		return &reply{status, map[string]any{"action": action, "node": it}}
	}
	return &reply{status, it}
}

// deleted is the answer to a deletion.
func (a *api) deleted(key model.Key) *reply {
	body := map[string]any{"key": shown(key), "deleted": "1"}
	if a.o.Version == v2 {
		body["action"], body["node"] = "delete", map[string]any{}
	}
	return &reply{http.StatusOK, body}
}

// shown is a key as the API shows it.
func shown(key model.Key) string {
	if info, ok := model.Lookup(key.Kind); ok && info.Parent != "" {
		return "/apisix/" + string(info.Parent) + "/" + key.ID
	}
	return "/apisix" + key.String()
}

// directory is the key of the place that a list shows.
func (t target) directory() string {
	if t.parent != "" {
		return "/apisix/" + string(t.info.Parent) + "/" + t.parent + "/" + string(t.info.Kind)
	}
	return "/apisix/" + string(t.info.Kind)
}
