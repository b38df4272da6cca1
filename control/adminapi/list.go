package adminapi

import (
	"net/http"
	"net/url"
	"regexp"
	"strconv"

	"github.com/sluice-gateway/sluice/control/model"
	"github.com/sluice-gateway/sluice/control/store"
)

// read is an object as GET shows it: decrypted, without the keys of certificates. What needs neither is sent as it is stored.
func (a *api) read(o *store.Object) item {
	it := item{Key: shown(o.Key), Value: o.Value, CreatedIndex: o.Create, ModifiedIndex: o.Mod}
	switch {
	case o.Key.Kind == model.SSLs:
		object := decodeObject(o.Value)
		delete(object, "key")
		delete(object, "keys")
		it.Value = object
	case a.seal.concerns(o.Key.Kind, o.Value):
		object := decodeObject(o.Value)
		a.seal.open(o.Key.Kind, object)
		it.Value = object
	}
	return it
}

func (a *api) get(t target) *reply {
	o := a.ctl.View().Get(t.key(t.id))
	if o == nil {
		return keyNotFound
	}
	return a.one(a.read(o))
}

// list answers all objects of a kind, filtered and paged (apisix/admin/v3_adapter.lua).
func (a *api) list(r *http.Request, t target) *reply {
	q := r.URL.Query()
	var keep func(map[string]any) bool
	if a.o.Version != v2 {
		var bad *reply
		if keep, bad = filters(q, t.info); bad != nil {
			return bad
		}
	}
	found := false
	var objects []*store.Object
	for _, o := range a.ctl.View().List(t.info.Kind) {
		if !t.owns(o.Key) {
			continue
		}
		found = true
		if keep != nil && !keep(decodeObject(o.Value)) {
			continue
		}
		objects = append(objects, o)
	}
	if t.parent != "" && !found {
		// These have no directory of their own in APISIX's store, and none is there without objects (apisix/core/etcd.lua).
		return keyNotFound
	}
	total := len(objects)
	page, pageErr := strconv.Atoi(q.Get("page"))
	size, sizeErr := strconv.Atoi(q.Get("page_size"))
	if pageErr == nil && sizeErr == nil && a.o.Version != v2 {
		if size < 10 || size > 500 {
			return &reply{http.StatusBadRequest, "page_size must be between 10 and 500"}
		}
		page = max(page, 1)
		from := min((page-1)*size, total)
		if page > total/size+1 {
			from = total
		}
		objects = objects[from:min(from+size, total)]
	}
	list := make([]item, 0, len(objects))
	for _, o := range objects {
		list = append(list, a.read(o))
	}
	return a.many(t, list, total)
}

// maxPattern bounds the patterns of ?name= and ?uri=.
const maxPattern = 1024

// filters compiles ?name=, ?label=, ?uri= and ?filter=; nil keeps everything.
func filters(q url.Values, info model.KindInfo) (func(map[string]any) bool, *reply) {
	var tests []func(map[string]any) bool
	pattern := func(arg string) (*regexp.Regexp, *reply) {
		if len(arg) > maxPattern {
			return nil, fail(http.StatusBadRequest, "the pattern is longer than %d bytes", maxPattern)
		}
		re, err := regexp.Compile(arg)
		if err != nil {
			return nil, fail(http.StatusBadRequest, "invalid pattern %s: %v", arg, err)
		}
		return re, nil
	}
	if q.Has("name") {
		re, bad := pattern(q.Get("name"))
		if bad != nil {
			return nil, bad
		}
		tests = append(tests, func(o map[string]any) bool {
			name, ok := o["name"].(string)
			return ok && re.MatchString(name)
		})
	}
	if q.Has("label") {
		label := q.Get("label")
		tests = append(tests, func(o map[string]any) bool {
			labels, _ := o["labels"].(map[string]any)
			_, ok := labels[label]
			return ok
		})
	}
	if q.Has("uri") {
		re, bad := pattern(q.Get("uri"))
		if bad != nil {
			return nil, bad
		}
		tests = append(tests, func(o map[string]any) bool {
			if uri, ok := o["uri"].(string); ok && re.MatchString(uri) {
				return true
			}
			uris, _ := o["uris"].([]any)
			for _, u := range uris {
				if s, ok := u.(string); ok && re.MatchString(s) {
					return true
				}
			}
			return false
		})
	}
	if q.Has("filter") {
		fields, err := url.ParseQuery(q.Get("filter"))
		if err != nil {
			return nil, fail(http.StatusBadRequest, "invalid argument filter: %v", err)
		}
		for _, name := range info.Filters {
			values := fields[name]
			if len(values) == 0 {
				continue
			}
			want := values[len(values)-1]
			tests = append(tests, func(o map[string]any) bool {
				got, ok := textOf(o[name])
				return ok && got == want
			})
		}
	}
	if len(tests) == 0 {
		return nil, nil
	}
	return func(o map[string]any) bool {
		for _, t := range tests {
			if !t(o) {
				return false
			}
		}
		return true
	}, nil
}
