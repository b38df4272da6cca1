package adminapi

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// ids are the ids of a list, and its total.
func (f *fixture) ids(path string) (ids []string, total int) {
	f.tb.Helper()
	var l struct {
		Total int
		List  []struct {
			Value struct{ ID string }
		}
	}
	answer := f.must("GET", path, "")
	decodeInto(f.tb, answer, &l)
	if !strings.Contains(answer, `"list":[`) {
		f.tb.Errorf("the list is no array: %s", answer)
	}
	ids = []string{}
	for _, it := range l.List {
		ids = append(ids, it.Value.ID)
	}
	return ids, l.Total
}

// TestPaging goes through pages (t/admin/filter.t tests 1 to 5 and 16).
func TestPaging(t *testing.T) {
	f := newFixture(t)
	var all []string
	for i := range 23 {
		id := fmt.Sprint(100 - i) // so that the order of creation is not that of the ids
		all = append(all, id)
		f.must("PUT", "/routes/"+id, route(""))
	}
	f.must("PUT", "/routes/100", route(`,"desc":"an update changes no order"`))
	for _, tc := range []struct {
		name, query string
		want        []string
	}{
		{"no paging", "", all},
		{"page only", "?page=1", all},
		{"page_size only", "?page_size=10", all},
		{"first", "?page=1&page_size=10", all[:10]},
		{"second", "?page=2&page_size=10", all[10:20]},
		{"last", "?page=3&page_size=10", all[20:]},
		{"behind the last", "?page=4&page_size=10", []string{}},
		{"far behind", "?page=9223372036854775807&page_size=500", []string{}},
		{"zero is the first", "?page=0&page_size=10", all[:10]},
		{"negative is the first", "?page=-1&page_size=10", all[:10]},
		{"largest size", "?page=1&page_size=500", all},
		{"not a number", "?page=x&page_size=10", all},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, total := f.ids("/routes" + tc.query)
			if diff := cmp.Diff(tc.want, got); diff != "" || total != 23 {
				t.Errorf("total %d, (-want +got)\n%s", total, diff)
			}
		})
	}
	for _, size := range []string{"9", "501", "0", "-1"} {
		status, body := f.send("GET", "/routes?page=1&page_size="+size, "")
		expect(t, status, body, 400, "page_size must be between 10 and 500")
	}
}

// TestFilters filters (t/admin/filter.t tests 6 to 19).
func TestFilters(t *testing.T) {
	f := newFixture(t)
	f.must("PUT", "/services/s1", `{"name":"svc"}`)
	f.must("PUT", "/upstreams/2", upObject)
	f.must("PUT", "/routes/1", `{"uri":"/hello","name":"one","labels":{"17":"v1"},"service_id":"s1"}`)
	f.must("PUT", "/routes/2", `{"uris":["/world","/hello2"],"name":"two","labels":{"17":"v2","18":"x"},"upstream_id":2}`)
	f.must("PUT", "/routes/3", `{"uri":"/other","service_id":"s1","upstream_id":"2"}`)
	for _, tc := range []struct {
		name, query string
		want        []string
	}{
		{"name", "name=one", []string{"1"}},
		{"name is a pattern", "name=%5E(one%7Ctwo)$", []string{"1", "2"}},
		{"name of nobody", "name=xyz", []string{}},
		{"label", "label=17", []string{"1", "2"}},
		{"another label", "label=18", []string{"2"}},
		{"a label's value is no label", "label=v1", []string{}},
		{"uri", "uri=hello", []string{"1", "2"}},
		{"uri of one", "uri=world", []string{"2"}},
		{"uri and label", "uri=hello&label=18", []string{"2"}},
		{"name and uri", "name=one&uri=world", []string{}},
		{"service", "filter=" + url.QueryEscape("service_id=s1"), []string{"1", "3"}},
		{"upstream by number or text", "filter=" + url.QueryEscape("upstream_id=2"), []string{"2", "3"}},
		{"both", "filter=" + url.QueryEscape("service_id=s1&upstream_id=2"), []string{"3"}},
		{"the last value counts", "filter=" + url.QueryEscape("service_id=x&service_id=s1"), []string{"1", "3"}},
		{"a field that cannot be filtered by", "filter=" + url.QueryEscape("uri=/hello"), []string{"1", "2", "3"}},
		{"nothing matches", "filter=" + url.QueryEscape("service_id=nope"), []string{}},
		{"filter and page", "label=17&page=1&page_size=10", []string{"1", "2"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, total := f.ids("/routes?" + tc.query)
			if diff := cmp.Diff(tc.want, got); diff != "" || total != len(tc.want) {
				t.Errorf("total %d, (-want +got)\n%s", total, diff)
			}
		})
	}
	for _, query := range []string{"name=(", "uri=%5B", "name=" + strings.Repeat("a", 1025), "filter=%25zz"} {
		if status, body := f.send("GET", "/routes?"+query, ""); status != 400 || !strings.Contains(body, "error_msg") {
			t.Errorf("%.40s: %d %s", query, status, body)
		}
	}
}

// TestIndexes looks at createdIndex and modifiedIndex, which grow over all kinds together.
func TestIndexes(t *testing.T) {
	f := newFixture(t)
	index := func(path string) (created, modified int64) {
		var it struct{ CreatedIndex, ModifiedIndex int64 }
		decodeInto(t, f.must("GET", path, ""), &it)
		return it.CreatedIndex, it.ModifiedIndex
	}
	var seen []int64
	for _, path := range []string{"/routes/1", "/routes/2"} {
		f.must("PUT", path, route(""))
		c, m := index(path)
		if c != m {
			t.Errorf("%s was created at %d and changed at %d", path, c, m)
		}
		seen = append(seen, c)
	}
	f.must("PUT", "/consumers", `{"username":"jack"}`)
	c, _ := index("/consumers/jack")
	seen = append(seen, c)
	f.must("PUT", "/routes/1", route(""))
	c, m := index("/routes/1")
	if c != seen[0] {
		t.Errorf("an update changed createdIndex from %d to %d", seen[0], c)
	}
	seen = append(seen, m)
	if !slices.IsSorted(seen) || len(slices.Compact(slices.Clone(seen))) != len(seen) {
		t.Errorf("indexes do not grow: %v", seen)
	}
}

// TestV2 shows the older form of the answers, with which APISIX's "default" version is meant (apisix/admin/v3_adapter.lua,
// apisix/core/etcd.lua).
func TestV2(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.Version = v2 })
	node := `"node":{"key":"/apisix/routes/1","value":{"id":"1",` + stamps + `,"uri":"/a",` + up + `}}`
	for _, s := range []step{
		{"GET", "/routes", "", 200, `{"action":"get","node":{"key":"/apisix/routes","dir":true,"nodes":[]}}`},
		{"PUT", "/routes/1", route(``), 201, `{"action":"set",` + node + `}`},
		{"PUT", "/routes/1", route(``), 200, `{"action":"set",` + node + `}`},
		{"GET", "/routes/1", "", 200, `{"action":"get","node":{"key":"/apisix/routes/1",` + indexes + `,"value":{"id":"1",` + stamps + `,"uri":"/a",` + up + `}}}`},
		{"GET", "/routes?page=1&page_size=1&name=x", "", 200, `{"action":"get","node":{"key":"/apisix/routes","dir":true,"nodes":[{"key":"/apisix/routes/1",` + indexes + `,"value":{"id":"1",` + stamps + `,"uri":"/a",` + up + `}}]}}`},
		{"PATCH", "/routes/1", `{"desc":"d"}`, 200, `{"action":"compareAndSwap","node":{"key":"/apisix/routes/1","value":{"id":"1",` + stamps + `,"uri":"/a","desc":"d",` + up + `}}}`},
		{"DELETE", "/routes/1", "", 200, `{"action":"delete","deleted":"1","key":"/apisix/routes/1","node":{}}`},
		{"GET", "/routes/1", "", 404, keyGone},
		{"POST", "/routes", `{"uri":"/a"}`, 400, "*"},
		put("/consumers", `{"username":"jack"}`),
		put("/consumers/jack/credentials/c", `{"plugins":{"key-auth":{"key":"k"}}}`),
		{"GET", "/consumers/jack/credentials", "", 200,
			`{"action":"get","node":{"key":"/apisix/consumers/jack/credentials","dir":true,"nodes":[{"key":"/apisix/consumers/jack/credentials/c",` + indexes + `,"value":{"id":"c",` + stamps + `,"plugins":{"key-auth":{"key":"k"}}}}]}}`},
	} {
		status, body := f.send(s.method, s.path, s.body)
		if s.want == "*" {
			if status != s.status {
				t.Errorf("%s %s: %d %s", s.method, s.path, status, body)
			}
			continue
		}
		t.Run(s.method+" "+s.path, func(t *testing.T) { expect(t, status, body, s.status, s.want) })
	}
	w := f.record("GET", "/routes", "", header("X-API-KEY", adminKey))
	if got := w.Header().Get("X-API-VERSION"); got != "v2" {
		t.Errorf("X-API-VERSION is %q", got)
	}
	status, body := f.send("POST", "/routes", route(``))
	var posted struct{ Action string }
	if decodeInto(t, body, &posted); status != 201 || posted.Action != "create" || !json.Valid([]byte(body)) {
		t.Errorf("POST: %d %s", status, body)
	}
}
