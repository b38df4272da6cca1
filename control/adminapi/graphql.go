package adminapi

import (
	"net/http"

	"github.com/sluice-gateway/sluice/control/compile"
	"github.com/sluice-gateway/sluice/control/model"
)

// bind applies what holds for GraphQL cost decorations only: their service_id is that of the path, and a service has one
// decoration for a field_path (apisix/admin/graphql_cost_decorations.lua).
func (c *change) bind(view compile.View, object map[string]any) *reply {
	if c.info.Kind != model.GraphQLCostDecorations {
		return nil
	}
	if v, has := object["service_id"]; has {
		if id, ok := textOf(v); !ok || id != c.parent {
			return fail(http.StatusBadRequest, "wrong service_id, it is taken from the path")
		}
	}
	if bad := c.parentThere(view); bad != nil {
		return bad
	}
	object["service_id"] = c.parent
	return nil
}

// undecorated refuses a field_path that another decoration of the service has.
func (c *change) undecorated(view compile.View, key model.Key, object map[string]any) *reply {
	field, ok := object["field_path"].(string)
	if c.info.Kind != model.GraphQLCostDecorations || !ok {
		return nil
	}
	for _, o := range view.List(c.info.Kind) {
		if o.Key == key || !c.owns(o.Key) {
			continue
		}
		theirs := decodeObject(o.Value)
		if theirs["field_path"] == field {
			id, _ := textOf(theirs["id"])
			return fail(http.StatusBadRequest, "field_path %s is already decorated on this service by [%s]", field, id)
		}
	}
	return nil
}
