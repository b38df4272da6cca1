package statusapi

import (
	"fmt"
	"html"
	"net/http"
	"strings"

	"github.com/sluice-gateway/sluice/control/model"
	"github.com/sluice-gateway/sluice/control/schema"
	"github.com/sluice-gateway/sluice/control/store"
)

// checked are the kinds whose upstreams may have health checks, in the order in which APISIX lists them.
var checked = []model.Kind{model.Routes, model.StreamRoutes, model.Services, model.Upstreams}

// checker is what is known about the health checks of one object. Nodes is empty until a check has run, as in APISIX until the
// upstream was used.
type checker struct {
	Name  string `json:"name"`
	Type  string `json:"type,omitempty"`
	Nodes []any  `json:"nodes"`
}

// checkerOf is the checker of an object; false when it has no checks.
func (a *API) checkerOf(o *store.Object) (checker, bool) {
	object := a.full(o)
	checks, ok := object["checks"].(map[string]any)
	if !ok {
		up, _ := object["upstream"].(map[string]any)
		if checks, ok = up["checks"].(map[string]any); !ok {
			return checker{}, false
		}
	}
	c := checker{Name: "/apisix" + o.Key.String(), Nodes: []any{}}
	for _, sort := range []string{"active", "passive"} {
		check, _ := checks[sort].(map[string]any)
		if c.Type, ok = check["type"].(string); ok {
			break
		}
	}
	return c, true
}

// full is the value of an object with the defaults of its schema, or as it is stored if it does not match it.
func (a *API) full(o *store.Object) map[string]any {
	doc, err := schema.Decode(o.Value)
	if err != nil {
		a.o.Logger.Error("stored object is not JSON", "key", o.Key.String(), "err", err)
		return nil
	}
	object, ok := doc.(map[string]any)
	if !ok {
		return nil
	}
	info, _ := model.Lookup(o.Key.Kind)
	s, ok := schema.Resource(info.Schema)
	if !ok {
		return object
	}
	// The schema only: what is stored was accepted once, and holds private keys that are encrypted.
	if v, err := s.Check(object); err == nil {
		if full, ok := v.(map[string]any); ok {
			return full
		}
	}
	return object
}

// healthchecks lists all checkers.
func (a *API) healthchecks(w http.ResponseWriter, r *http.Request) {
	list := []checker{}
	for _, kind := range checked {
		for _, o := range a.ctl.View().List(kind) {
			if c, ok := a.checkerOf(o); ok {
				list = append(list, c)
			}
		}
	}
	if wantsHTML(r) {
		answerHTML(w, list)
		return
	}
	answer(w, http.StatusOK, list)
}

// healthcheck shows one checker.
func (a *API) healthcheck(w http.ResponseWriter, r *http.Request) {
	kind, id := model.Kind(r.PathValue("kind")), r.PathValue("id")
	known := false
	for _, k := range checked {
		known = known || k == kind
	}
	switch {
	case id == "":
		notFound(w, "missing src id for src type %s", kind)
		return
	case !known:
		answer(w, http.StatusBadRequest, map[string]string{"error_msg": fmt.Sprintf("invalid src type %s", kind)})
		return
	}
	o := a.ctl.View().Get(model.Key{Kind: kind, ID: id})
	if o == nil {
		notFound(w, "%s[%s] not found", kind, id)
		return
	}
	c, ok := a.checkerOf(o)
	switch {
	case !ok:
		notFound(w, "no checker for %s[%s]", kind, id)
	case wantsHTML(r):
		answerHTML(w, []checker{c})
	default:
		answer(w, http.StatusOK, c)
	}
}

func wantsHTML(r *http.Request) bool {
	return strings.Contains(strings.Join(r.Header.Values("Accept"), ","), "text/html")
}

// answerHTML shows checkers as a table.
func answerHTML(w http.ResponseWriter, list []checker) {
	var b strings.Builder
	b.WriteString("<!doctype html>\n<title>APISIX upstream check status</title>\n<h1>APISIX upstream check status</h1>\n" +
		"<table border=\"1\">\n<tr><th>Upstream</th><th>Check type</th><th>Nodes</th></tr>\n")
	for _, c := range list {
		fmt.Fprintf(&b, "<tr><td>%s</td><td>%s</td><td>%d</td></tr>\n", html.EscapeString(c.Name), html.EscapeString(c.Type), len(c.Nodes))
	}
	b.WriteString("</table>\n")
	w.Header().Set("Content-Type", "text/html")
	_, _ = w.Write([]byte(b.String()))
}
