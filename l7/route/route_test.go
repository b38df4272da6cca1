package route

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
)

// lookupCase is one request and what must come of it: the ID of the route, empty for none, and path parameters as "name=value".
type lookupCase struct {
	name, request string
	want          string
	params        string
}

// run looks up "METHOD http://host[:port]/path from ADDRESS"; method and address may be left out.
func (c *lookupCase) run(t *testing.T, table *Table) {
	t.Helper()
	ex := newRequest()
	s := c.request
	if m, rest, ok := strings.Cut(s, " http"); ok {
		ex.Request.Method, s = []byte(m), "http"+rest
	}
	if rest, addr, ok := strings.Cut(s, " from "); ok {
		s, ex.Client = rest, netip.AddrPortFrom(netip.MustParseAddr(addr), 1)
	}
	s = strings.TrimPrefix(s, "http://")
	i := strings.IndexByte(s, '/')
	authority := s[:i]
	path, query, _ := strings.Cut(s[i:], "?")
	host := authority
	if j := strings.LastIndexByte(host, ':'); j > strings.LastIndexByte(host, ']') {
		host = host[:j]
	}
	ex.Request.HostPort, ex.Request.Host = []byte(authority), []byte(strings.ToLower(host))
	ex.Request.Path, ex.Request.Query = []byte(path), []byte(query)
	got := ""
	if d, ok := table.Match(ex); ok {
		got = d.ID
	}
	if got != c.want {
		t.Fatalf("%s: got route %q (%s %s), want %q", c.request, got, ex.Route.MatchedHost, ex.Route.MatchedURI, c.want)
	}
	for _, p := range strings.Fields(c.params) {
		name, want, _ := strings.Cut(p, "=")
		if v, ok := ex.Param(name); !ok || string(v) != want {
			t.Fatalf("%s: parameter %s is %q (%v), want %q", c.request, name, v, ok, want)
		}
	}
}

func TestMatch(t *testing.T) {
	for _, g := range []struct {
		// from is the test or page of APISIX or lua-resty-radixtree.
		from  string
		mode  Mode
		defs  []*Def
		cases []lookupCase
	}{
		{"t/router/radixtree-host-uri.t", RadixtreeHostURI, []*Def{
			{ID: "host", URIs: []string{"/hello"}, Hosts: []string{"foo.com"}},
			{ID: "wild", URIs: []string{"/hello", "/server_port"}, Hosts: []string{"*.Foo.com"}},
			{ID: "any", URIs: []string{"/hello*"}},
		}, []lookupCase{
			{"exact host", "http://foo.com/hello", "host", ""},
			{"the port of the request does not count", "http://foo.com:9080/hello", "host", ""},
			{"wildcard", "http://www.foo.com/hello", "wild", ""},
			{"case does not count", "http://WWW.FOO.com/server_port", "wild", ""},
			{"path of another host", "http://foo.com/hello1", "any", ""},
			{"no host of any route", "http://bar.com/hello", "any", ""},
			{"nothing", "http://bar.com/server_port", "", ""},
			{"wildcard wants a label", "http://foo.com/server_port", "", ""},
		}},
		{"t/router/radixtree-host-uri-priority.t", RadixtreeHostURI, []*Def{
			{ID: "low", URIs: []string{"/*"}, Hosts: []string{"test.com"}, Priority: 1},
			{ID: "high", URIs: []string{"/*"}, Hosts: []string{"*"}, Priority: 9},
			{ID: "short", URIs: []string{"/*"}, Hosts: []string{"*.com"}},
		}, []lookupCase{
			{"an exact host comes before priority", "http://test.com/a", "low", ""},
			{"a longer wildcard comes before priority", "http://x.com/a", "short", ""},
			{"any host", "http://x.org/a", "high", ""},
		}},
		{"t/router/radixtree-uri-priority.t", RadixtreeURI, []*Def{
			{ID: "1", URIs: []string{"/server_port"}, Priority: 1},
			{ID: "2", URIs: []string{"/server_port"}, Priority: 2, Methods: []string{"GET"}},
			{ID: "3", URIs: []string{"/server*"}, Priority: 99},
		}, []lookupCase{
			{"higher priority", "http://a/server_port", "2", ""},
			{"its method does not match", "POST http://a/server_port", "1", ""},
			{"a whole path comes before a prefix", "http://a/server_port", "2", ""},
			{"prefix", "http://a/server_x", "3", ""},
		}},
		{"t/router/radixtree-uri-host.t", RadixtreeURI, []*Def{
			{ID: "port", URIs: []string{"/hello"}, Hosts: []string{"foo.com:9080"}},
			{ID: "host", URIs: []string{"/hello"}, Hosts: []string{"bar.com", "*.foo.com"}, Created: 1},
			{ID: "prefix", URIs: []string{"/*"}, Hosts: []string{"foo.com"}},
		}, []lookupCase{
			{"host with port", "http://foo.com:9080/hello", "port", ""},
			{"another port falls through to the prefix", "http://foo.com:9081/hello", "prefix", ""},
			{"second host", "http://a.foo.com/hello", "host", ""},
			{"no host", "http://x.com/hello", "", ""},
		}},
		{"docs/en/latest/router-radixtree.md", RadixtreeURI, []*Def{
			{ID: "full", URIs: []string{"/blog/foo"}},
			{ID: "deep", URIs: []string{"/blog/foo/*"}},
			{ID: "shallow", URIs: []string{"/blog/bar*"}},
		}, []lookupCase{
			{"full", "http://a/blog/foo", "full", ""},
			{"below", "http://a/blog/foo/x/y", "deep", ":ext=x/y"},
			{"the slash itself", "http://a/blog/foo/", "deep", ":ext="},
			{"prefix inside a segment", "http://a/blog/bar", "shallow", ""},
			{"prefix inside a segment, more", "http://a/blog/barely", "shallow", ""},
			{"case counts", "http://a/Blog/foo", "", ""},
		}},
		{"docs/en/latest/router-radixtree.md, match priority", RadixtreeURI, []*Def{
			{ID: "1", URIs: []string{"/foo/*"}},
			{ID: "2", URIs: []string{"/foo/bar/*"}, Methods: []string{"PUT"}},
		}, []lookupCase{
			{"longest prefix", "PUT http://a/foo/bar/x", "2", ""},
			{"conditions fail, the shorter one is next", "GET http://a/foo/bar/x", "1", ""},
		}},
		{"t/router/radixtree-uri-with-parameter.t", RadixtreeURIWithParameter, []*Def{
			{ID: "1", URIs: []string{"/json/:name"}},
			{ID: "2", URIs: []string{"/json/:name/foo"}},
			{ID: "3", URIs: []string{"/user/:user/*action"}},
			{ID: "4", URIs: []string{"/json/fixed"}},
		}, []lookupCase{
			{"parameter", "http://a/json/bbb", "1", "name=bbb"},
			{"parameter and more", "http://a/json/bbb/foo", "2", "name=bbb"},
			{"not the rest", "http://a/json/bbb/bar", "", ""},
			{"empty parameter", "http://a/json/", "", ""},
			{"rest", "http://a/user/john/send/x", "3", "user=john action=send/x"},
			{"empty rest", "http://a/user/john/", "3", "user=john action="},
			{"fixed before parameter", "http://a/json/fixed", "4", ""},
		}},
		{"lua-resty-radixtree t/parameter.t 10, 12, 13", RadixtreeURIWithParameter, []*Def{
			{ID: "file", URIs: []string{"/file/:filename"}},
			{ID: "slash", URIs: []string{"/name/:name/"}},
			{ID: "either", URIs: []string{"/n/:id/nodes/?"}},
			{ID: "tail", URIs: []string{"/api/:v/test/*sub"}},
			{ID: "project", URIs: []string{"/api/:v/test/projects/:p"}},
		}, []lookupCase{
			{"special characters", "http://a/file/t!e*s't,(file)", "file", "filename=t!e*s't,(file)"},
			{"trailing slash", "http://a/name/json/", "slash", "name=json"},
			{"no trailing slash", "http://a/name/json", "", ""},
			{"optional slash", "http://a/n/1/nodes/", "either", "id=1"},
			{"no optional slash", "http://a/n/1/nodes", "either", "id=1"},
			{"longer URI first", "http://a/api/v4/test/projects/x", "project", "v=v4 p=x"},
			{"shorter URI", "http://a/api/v4/test/api", "tail", "v=v4 sub=api"},
		}},
		{"lua-resty-radixtree t/parameter.t 9", RadixtreeHostURI, []*Def{{ID: "1", URIs: []string{"/name/:name/id/:id"}}}, []lookupCase{
			{"a colon is a byte", "http://a/name/:name/id/:id", "1", ""},
			{"no parameter", "http://a/name/json/id/1", "", ""},
		}},
		{"lua-resty-radixtree t/remote.t", RadixtreeURI, []*Def{
			{ID: "v4", URIs: []string{"/bb*"}, RemoteAddrs: []string{"127.0.0.1", "192.168.0.0/16"}},
			{ID: "v6", URIs: []string{"/bb*"}, RemoteAddrs: []string{"::1", "fe80::/32"}, Created: 1},
		}, []lookupCase{
			{"address", "http://a/bb from 127.0.0.1", "v4", ""},
			{"range", "http://a/bb from 192.168.3.1", "v4", ""},
			{"IPv6 range", "http://a/bb from fe80::1", "v6", ""},
			{"no range", "http://a/bb from 127.0.0.2", "", ""},
		}},
		{"t/router/radixtree-uri-vars.t", RadixtreeURI, []*Def{
			{ID: "vars", URIs: []string{"/hello"}, Vars: mustExpr(t, `[["arg_k","==","v"]]`)},
			{ID: "rest", URIs: []string{"/*"}},
		}, []lookupCase{
			{"hit", "http://a/hello?k=v", "vars", ""},
			{"miss", "http://a/hello?k=not_hit", "rest", ""},
		}},
		{"t/router/radixtree-method.t", RadixtreeURI, []*Def{{ID: "1", URIs: []string{"/hello"}, Methods: []string{"CONNECT", "TRACE", "PURGE"}}}, []lookupCase{
			{"one of them", "TRACE http://a/hello", "1", ""},
			{"another method", "GET http://a/hello", "", ""},
			{"unknown method", "FOO http://a/hello", "", ""},
		}},
		{"lua-resty-radixtree sort_route", RadixtreeURI, []*Def{
			{ID: "young", URIs: []string{"/a"}, Created: 2}, {ID: "old", URIs: []string{"/a"}, Created: 1},
			{ID: "b", URIs: []string{"/b"}}, {ID: "a", URIs: []string{"/b"}},
		}, []lookupCase{
			{"the older route wins", "http://a/a", "old", ""},
			{"the id decides at last", "http://a/b", "a", ""},
		}},
	} {
		t.Run(g.from, func(t *testing.T) {
			table := mustTable(t, g.mode, g.defs)
			for _, c := range g.cases {
				t.Run(c.name, func(t *testing.T) { c.run(t, table) })
			}
		})
	}
}

func TestManyNestedPrefixes(t *testing.T) {
	var defs []*Def
	long := ""
	for i := range 300 {
		long += "/a"
		defs = append(defs, &Def{ID: fmt.Sprint(i), URIs: []string{long + "/*", long + "*"}, Methods: []string{"POST"}})
	}
	defs = append(defs, &Def{ID: "root", URIs: []string{"/*"}})
	table := mustTable(t, RadixtreeHostURI, defs)
	(&lookupCase{request: "http://x" + long + "/a", want: "root"}).run(t, table)
	(&lookupCase{request: "POST http://x" + long + "/a", want: "299"}).run(t, table)
	(&lookupCase{request: "POST http://x" + long[:200] + "x", want: "99"}).run(t, table)
}

func TestMatchPath(t *testing.T) {
	table := mustTable(t, RadixtreeURIWithParameter, []*Def{{ID: "1", URIs: []string{"/a/:x"}}})
	ex := newRequest()
	ex.Request.Path = []byte("/a/b/c")
	if _, ok := table.Match(ex); ok {
		t.Fatal("the decoded path matches")
	}
	if _, ok := table.MatchPath(ex, []byte("/a/b%2Fc")); !ok {
		t.Fatal("the path with an encoded slash does not match")
	}
	if v, _ := ex.Param("x"); string(v) != "b%2Fc" {
		t.Fatalf("parameter x is %q", v)
	}
}

func TestErrors(t *testing.T) {
	base := mustTable(t, RadixtreeURIWithParameter, []*Def{{ID: "there", URIs: []string{"/"}}})
	for _, c := range []struct {
		name        string
		add, remove *Def
		want        string
	}{
		{"no URI", &Def{ID: "r"}, nil, `add route "r": field uri: it is missing`},
		{"empty URI", &Def{ID: "r", URIs: []string{"/", ""}}, nil, `add route "r": field uris: URI 2 is 0 bytes long`},
		{"long URI", &Def{ID: "r", URIs: []string{strings.Repeat("a", MaxURI+1)}}, nil, `field uris: URI 1 is 4097 bytes long`},
		{"many parameters", &Def{ID: "r", URIs: []string{strings.Repeat("/:a", maxParams+1)}}, nil, "33 path parameters, at most 32"},
		{"unknown method", &Def{ID: "r", URIs: []string{"/"}, Methods: []string{"get"}}, nil, `field methods: "get" is none of GET, POST`},
		{"bad address", &Def{ID: "r", URIs: []string{"/"}, RemoteAddrs: []string{"1.2.3"}}, nil, "field remote_addrs: invalid ip address: 1.2.3"},
		{"empty host", &Def{ID: "r", URIs: []string{"/"}, Hosts: []string{""}}, nil, "field hosts: host \"\""},
		{"star inside", &Def{ID: "r", URIs: []string{"/"}, Hosts: []string{"a.*"}}, nil, `field hosts: host "a.*"`},
		{"too many places", &Def{ID: "r", URIs: make([]string, 200), Hosts: make([]string, 200)}, nil, "200 URIs for 200 hosts"},
		{"id taken", &Def{ID: "there", URIs: []string{"/"}}, nil, `add route "there": field id`},
		{"not there", nil, &Def{ID: "r"}, `remove route "r": it is not in the table`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var add, remove []*Def
			if c.add != nil {
				add = []*Def{{ID: "good", URIs: []string{"/good"}}, c.add}
			}
			if c.remove != nil {
				remove = []*Def{c.remove}
			}
			if _, err := base.With(add, remove); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want an error with %q", err, c.want)
			}
			(&lookupCase{request: "http://a/good", want: ""}).run(t, base)
			(&lookupCase{request: "http://a/", want: "there"}).run(t, base)
		})
	}
}

func TestParseMode(t *testing.T) {
	got := map[string]Mode{}
	for _, s := range []string{"", "radixtree_uri", "radixtree_host_uri", "radixtree_uri_with_parameter"} {
		m, err := ParseMode(s)
		if err != nil {
			t.Fatal(err)
		}
		got[s] = m
	}
	want := map[string]Mode{"": RadixtreeHostURI, "radixtree_uri": RadixtreeURI, "radixtree_host_uri": RadixtreeHostURI, "radixtree_uri_with_parameter": RadixtreeURIWithParameter}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatal(d)
	}
	if _, err := ParseMode("r3"); err == nil {
		t.Fatal("r3 was accepted")
	}
}

func TestNeedsBody(t *testing.T) {
	d := &Def{ID: "1", URIs: []string{"/"}, Vars: mustExpr(t, `[["post_arg_a","==","1"]]`)}
	with := mustTable(t, RadixtreeURI, []*Def{d})
	without, err := with.With(nil, []*Def{d})
	if err != nil {
		t.Fatal(err)
	}
	if !with.NeedsBody() || without.NeedsBody() {
		t.Fatal("NeedsBody is wrong")
	}
	if got, ok := with.Get("1"); !ok || got != d {
		t.Fatal("Get does not find the route")
	}
	if _, ok := without.Get("1"); ok {
		t.Fatal("Get finds a removed route")
	}
}

// TestMatchDoesNotAllocate covers every way through a lookup, with 10 and with 100,000 routes.
func TestMatchDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, n := range []int{10, 100000} {
		defs := manyRoutes(n, min(n, 1000))
		defs = append(defs,
			&Def{ID: "param", URIs: []string{"/user/:id/*rest"}},
			&Def{ID: "odd", URIs: []string{"/img*"}},
			&Def{ID: "wild", URIs: []string{"/w/*"}, Hosts: []string{"*.wild.com", "*odd.com"}},
			&Def{ID: "cond", URIs: []string{"/c"}, RemoteAddrs: []string{"10.0.0.0/8"}, Vars: mustExpr(t, `[["arg_a","==",1]]`), Methods: []string{"GET"}},
		)
		table := mustTable(t, RadixtreeHostURI, defs)
		params := mustTable(t, RadixtreeURIWithParameter, defs)
		for _, r := range []struct{ host, path, want string }{
			{"app0.example.com", "/api/v1/service0/items", "0"},
			{"app1.example.com", "/api/v1/service1/items/42", "1"},
			{"x", "/user/1/a/b", "param"}, {"x", "/img7", "odd"}, {"a.b.wild.com", "/w/1", "wild"}, {"myodd.com", "/w/1", "wild"}, {"x", "/c", "cond"}, {"x", "/none", ""},
		} {
			t.Run(fmt.Sprintf("%d routes, %s", n, r.want), func(t *testing.T) {
				ex := newRequest()
				ex.Request.Host, ex.Request.Path, ex.Request.Query = []byte(r.host), []byte(r.path), []byte("a=1")
				tb := table
				if r.want == "param" {
					tb = params
				}
				d, _ := tb.Match(ex)
				if got := d; got != nil && got.ID != r.want || got == nil && r.want != "" {
					t.Fatalf("got %+v, want %q", got, r.want)
				}
				if n := testing.AllocsPerRun(100, func() { tb.Match(ex) }); n != 0 {
					t.Fatalf("%v allocations per lookup", n)
				}
			})
		}
	}
}

// TestLayout keeps what a lookup reads small: a leaf and a scope are two cache lines each, a chunk is one.
func TestLayout(t *testing.T) {
	if unsafe.Sizeof(uintptr(0)) != 8 {
		t.Skip("sizes are those of 64-bit machines")
	}
	if l, s, c := unsafe.Sizeof(leaf{}), unsafe.Sizeof(scope{}), unsafe.Sizeof(chunk[leaf]{}); l != 128 || s != 128 || c != 64 {
		t.Fatalf("a leaf is %d bytes, a scope %d, want 128; a chunk is %d, want 64", l, s, c)
	}
}

// TestWithCopiesLittle checks that an edit of one route in 10,000 copies a small part of the table.
func TestWithCopiesLittle(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	defs := manyRoutes(10000, 0)
	table := mustTable(t, RadixtreeHostURI, defs)
	one := []*Def{defs[5000]}
	if n := testing.AllocsPerRun(20, func() {
		if _, err := table.With(one, one); err != nil {
			t.Fatal(err)
		}
	}); n > 200 {
		t.Fatalf("%v allocations for one route", n)
	}
}

// TestLongKeys looks up paths and hosts that do not fit into leaves and scopes, next to those that just do.
func TestLongKeys(t *testing.T) {
	var defs []*Def
	var cases []lookupCase
	for _, n := range []int{1, 2, textSize - 1, textSize, textSize + 1, textSize + 2, 300, MaxURI - 3} {
		for _, end := range []string{"a", "b"} {
			path, host := "/"+strings.Repeat("p", n-1)+end, strings.Repeat("h", min(n, 240))+end+".com"
			for _, d := range []*Def{
				{URIs: []string{path}}, {URIs: []string{path + "/*"}},
				{URIs: []string{path}, Hosts: []string{host}}, {URIs: []string{path}, Hosts: []string{"*." + host}},
			} {
				d.ID = fmt.Sprint(len(defs))
				u := strings.TrimSuffix(d.URIs[0], "*")
				defs = append(defs, d)
				h := "none"
				if len(d.Hosts) > 0 {
					h = strings.Replace(d.Hosts[0], "*", "x", 1)
				}
				longer := ""
				if u != path {
					longer = d.ID
				}
				name := fmt.Sprintf("%d, %s, %.9s", n, end, h)
				cases = append(cases, lookupCase{name: name, request: "http://" + h + u, want: d.ID},
					lookupCase{name: name + ", longer path", request: "http://" + h + u + "c", want: longer})
			}
		}
	}
	table := mustTable(t, RadixtreeHostURI, defs)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.run(t, table) })
	}
}

// TestManyRoutes finds every route of large tables, which are made in steps and taken apart again.
func TestManyRoutes(t *testing.T) {
	for _, hosts := range []int{0, 1, 1500} {
		t.Run(fmt.Sprintf("hosts=%d", hosts), func(t *testing.T) {
			const step, steps = 1500, 4
			defs := manyRoutes(step*steps, hosts)
			reqs := manyRequests(defs, len(defs))
			ex := newRequest()
			check := func(table *Table, from, to int) {
				t.Helper()
				found := 0
				for _, r := range reqs {
					ex.Request.Host, ex.Request.Path = r.host, r.path
					if d, ok := table.Match(ex); ok {
						found++
						path := strings.TrimSuffix(d.URIs[0], "*")
						if i := d.Value.(int); i < from || i >= to || !strings.HasPrefix(string(r.path), path) || string(r.host) != strings.Join(d.Hosts, "") {
							t.Fatalf("%s%s: got route %s of %d to %d", r.host, r.path, d.ID, from, to)
						}
					}
				}
				if found != to-from {
					t.Fatalf("found %d routes, want %d to %d", found, from, to)
				}
			}
			tables := []*Table{New(RadixtreeHostURI)}
			add := func(add, remove []*Def) {
				t.Helper()
				next, err := tables[len(tables)-1].With(add, remove)
				if err != nil {
					t.Fatal(err)
				}
				tables = append(tables, next)
			}
			for i := range steps {
				add(defs[i*step:(i+1)*step], nil)
			}
			for i := range steps {
				add(nil, defs[i*step:(i+1)*step])
			}
			for i, table := range tables {
				check(table, max(0, i-steps)*step, min(i, steps)*step)
			}
		})
	}
}
