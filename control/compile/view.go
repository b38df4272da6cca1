package compile

import (
	"github.com/sluice-gateway/sluice/control/model"
	"github.com/sluice-gateway/sluice/control/store"
)

// View is a consistent state of all stored objects. What it returns is shared and must not be changed.
type View interface {
	// Get returns the object, or nil if there is none.
	Get(key model.Key) *store.Object
	// List returns the objects of a kind sorted by Create, then by ID.
	List(kind model.Kind) []*store.Object
	// Rev is the revision of the state.
	Rev() store.Rev
}

// resourceKey is a key as APISIX writes it in its store: objects with an owner stand below it
// ("/consumers/jack/credentials/c1").
func resourceKey(key model.Key) string {
	if info, ok := model.Lookup(key.Kind); ok && info.Parent != "" {
		return model.Key{Kind: info.Parent, ID: key.ID}.String()
	}
	return key.String()
}
