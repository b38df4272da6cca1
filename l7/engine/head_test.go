package engine

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/control/snapshot"
	"github.com/sluice-gateway/sluice/l7/plugin"
)

var everybody = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}

// TestRequestHead holds the head that goes to the node against what the client sent.
func TestRequestHead(t *testing.T) {
	// What every request gets, for a client that says a.example.
	added := func(lines ...string) []string {
		return append([]string{"Host: a.example", "X-Real-IP: 192.0.2.7", "X-Forwarded-For: 192.0.2.7"}, append(lines, "X-Forwarded-Proto: http", "X-Forwarded-Host: a.example", "X-Forwarded-Port: 9080")...)
	}
	for _, tc := range []struct {
		name string
		conf Config
		sent []string
		edit func(x *Exchange)
		want []string
	}{
		{"plain", Config{}, []string{"GET /hello?a=1 HTTP/1.1", "Host: a.example", "Accept: */*"}, nil, append([]string{"GET /hello?a=1 HTTP/1.1"}, added("Accept: */*")...)},
		{"order and repetition stay", Config{}, []string{"GET /hello HTTP/1.1", "B: 1", "Host: a.example", "A: 2", "b: 3"}, nil, append([]string{"GET /hello HTTP/1.1"}, added("B: 1", "A: 2", "b: 3")...)},
		{"an empty query stays", Config{}, []string{"GET /hello? HTTP/1.1", "Host: a.example"}, nil, append([]string{"GET /hello? HTTP/1.1"}, added()...)},
		{"path in its one form", Config{}, []string{"GET //hello/./x/../%7Ey%20z HTTP/1.1", "Host: a.example"}, nil, append([]string{"GET /hello/~y%20z HTTP/1.1"}, added()...)},
		{"query as it came", Config{}, []string{"GET /hello?a=%7e&b=/../ HTTP/1.1", "Host: a.example"}, nil, append([]string{"GET /hello?a=%7e&b=/../ HTTP/1.1"}, added()...)},
		{"HTTP/1.0 becomes 1.1", Config{}, []string{"GET /hello HTTP/1.0", "Host: a.example"}, nil, append([]string{"GET /hello HTTP/1.1"}, added()...)},
		{"HTTP/1.0 without Host", Config{}, []string{"GET /hello HTTP/1.0"}, nil,
			[]string{"GET /hello HTTP/1.1", "Host: 10.0.0.1", "X-Real-IP: 192.0.2.7", "X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: http", "X-Forwarded-Host: ", "X-Forwarded-Port: 9080"}},
		{"absolute form", Config{}, []string{"GET http://b.example/hello HTTP/1.1", "Host: b.example"}, nil,
			[]string{"GET /hello HTTP/1.1", "Host: b.example", "X-Real-IP: 192.0.2.7", "X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: http", "X-Forwarded-Host: b.example", "X-Forwarded-Port: 9080"}},
		{"port of the Host field", Config{}, []string{"GET /hello HTTP/1.1", "Host: A.example:8080"}, nil,
			[]string{"GET /hello HTTP/1.1", "Host: A.example:8080", "X-Real-IP: 192.0.2.7", "X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: http", "X-Forwarded-Host: A.example:8080", "X-Forwarded-Port: 8080"}},
		{"port of an IPv6 host", Config{}, []string{"GET /hello HTTP/1.1", "Host: [2001:db8::1]"}, nil,
			[]string{"GET /hello HTTP/1.1", "Host: [2001:db8::1]", "X-Real-IP: 192.0.2.7", "X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: http", "X-Forwarded-Host: [2001:db8::1]", "X-Forwarded-Port: 9080"}},

		// RFC 9110 section 7.6.1.
		{"hop-by-hop fields", Config{}, []string{"GET /hello HTTP/1.1", "Host: a.example", "Connection: close, X-Mine", "X-Mine: 1", "Keep-Alive: timeout=5", "Proxy-Connection: keep-alive", "TE: trailers", "Upgrade: h2c", "Trailer: X-T", "Other: 1"}, nil,
			append([]string{"GET /hello HTTP/1.1"}, added("Other: 1")...)},
		{"names with an underscore", Config{}, []string{"GET /hello HTTP/1.1", "Host: a.example", "X_Forwarded_For: 1.2.3.4", "Content_Length: 4"}, nil, append([]string{"GET /hello HTTP/1.1"}, added()...)},
		{"Expect is the driver's", Config{}, []string{"POST /hello HTTP/1.1", "Host: a.example", "Content-Length: 3", "Expect: 100-continue"}, nil, append(append([]string{"POST /hello HTTP/1.1"}, added()...), "Content-Length: 3")},
		{"what a plugin puts in place of hop-by-hop fields", Config{}, []string{"GET /hello HTTP/1.1", "Host: a.example"}, func(x *Exchange) {
			for _, name := range []string{"Connection", "Transfer-Encoding", "Content-Length", "Upgrade", "Keep-Alive"} {
				x.Request.Header.SetString(name, "1")
			}
			x.Request.Header.Del("Content-Length")
		}, append([]string{"GET /hello HTTP/1.1"}, added()...)},

		{"length", Config{}, []string{"POST /hello HTTP/1.1", "Host: a.example", "Content-Length: 3"}, nil, append(append([]string{"POST /hello HTTP/1.1"}, added()...), "Content-Length: 3")},
		{"length 0 is said again", Config{}, []string{"POST /hello HTTP/1.1", "Host: a.example", "Content-Length: 0"}, nil, append(append([]string{"POST /hello HTTP/1.1"}, added()...), "Content-Length: 0")},
		{"chunked", Config{}, []string{"POST /hello HTTP/1.1", "Host: a.example", "Transfer-Encoding: chunked"}, nil, append(append([]string{"POST /hello HTTP/1.1"}, added()...), "Transfer-Encoding: chunked")},
		{"a buffered body has a length", Config{}, []string{"POST /hello HTTP/1.1", "Host: a.example", "Transfer-Encoding: chunked"}, func(x *Exchange) { x.Request.ContentLength = 5 },
			append(append([]string{"POST /hello HTTP/1.1"}, added()...), "Content-Length: 5")},

		{"X-Forwarded-For is appended to", Config{}, []string{"GET /hello HTTP/1.1", "Host: a.example", "X-Forwarded-For: 1.1.1.1", "X-Forwarded-For: 2.2.2.2"}, nil,
			[]string{"GET /hello HTTP/1.1", "Host: a.example", "X-Real-IP: 192.0.2.7", "X-Forwarded-For: 1.1.1.1, 2.2.2.2, 192.0.2.7", "X-Forwarded-Proto: http", "X-Forwarded-Host: a.example", "X-Forwarded-Port: 9080"}},
		{"of others the rest is replaced", Config{}, []string{"GET /hello HTTP/1.1", "Host: a.example", "X-Forwarded-Proto: https", "x-forwarded-host: evil", "X-Forwarded-Port: 1", "X-Real-IP: 1.1.1.1", "Forwarded: for=1.1.1.1"}, nil,
			append([]string{"GET /hello HTTP/1.1"}, added()...)},
		{"a trusted peer's stay", Config{TrustedAddresses: everybody}, []string{"GET /hello HTTP/1.1", "Host: a.example", "X-Forwarded-For: 1.1.1.1", "X-Forwarded-Proto: https", "X-Forwarded-Host: b.example", "X-Forwarded-Port: 444", "Forwarded: for=1.1.1.1"}, nil,
			[]string{"GET /hello HTTP/1.1", "Host: a.example", "X-Real-IP: 192.0.2.7", "X-Forwarded-For: 1.1.1.1, 192.0.2.7", "X-Forwarded-Proto: https", "X-Forwarded-Host: b.example", "X-Forwarded-Port: 444", "Forwarded: for=1.1.1.1"}},
		{"what a trusted peer does not say is said", Config{TrustedAddresses: everybody}, []string{"GET /hello HTTP/1.1", "Host: a.example", "X-Forwarded-Proto: https"}, nil,
			[]string{"GET /hello HTTP/1.1", "Host: a.example", "X-Real-IP: 192.0.2.7", "X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https", "X-Forwarded-Host: a.example", "X-Forwarded-Port: 9080"}},
		{"others lose X-Forwarded-For where somebody is trusted", Config{TrustedAddresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}, []string{"GET /hello HTTP/1.1", "Host: a.example", "X-Forwarded-For: 1.1.1.1", "X-Forwarded-Proto: https"}, nil,
			append([]string{"GET /hello HTTP/1.1"}, added()...)},
		{"the client's address by X-Real-IP", Config{RealIP: RealIP{Header: "X-Real-IP", From: everybody}}, []string{"GET /hello HTTP/1.1", "Host: a.example", "X-Real-IP: 1.1.1.1"}, nil,
			[]string{"GET /hello HTTP/1.1", "Host: a.example", "X-Real-IP: 1.1.1.1", "X-Forwarded-For: 1.1.1.1", "X-Forwarded-Proto: http", "X-Forwarded-Host: a.example", "X-Forwarded-Port: 9080"}},

		{"a plugin's target", Config{}, []string{"GET /hello?a=1 HTTP/1.1", "Host: a.example"}, func(x *Exchange) { x.Request.UpstreamTarget = []byte("/other?b=2") }, append([]string{"GET /other?b=2 HTTP/1.1"}, added()...)},
		{"a plugin's path is escaped", Config{}, []string{"GET /hello HTTP/1.1", "Host: a.example"}, func(x *Exchange) { x.Request.Path = []byte("/a b\r\nX: y?") }, append([]string{"GET /a%20b%0D%0AX:%20y%3F HTTP/1.1"}, added()...)},
		{"a plugin's method", Config{}, []string{"GET /hello HTTP/1.1", "Host: a.example"}, func(x *Exchange) { x.Request.Method = []byte("DELETE") }, append([]string{"DELETE /hello HTTP/1.1"}, added()...)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			x := begin(t, site{conf: tc.conf}.engine(t), message(tc.sent...))
			if v := x.Step(); v != Proxy {
				t.Fatalf("%v %d", v, x.Response.Status)
			}
			if tc.edit != nil {
				tc.edit(x)
			}
			got := strings.Split(strings.TrimSuffix(string(x.AppendRequestHead(nil)), "\r\n\r\n"), "\r\n")
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// TestUpstreamHost tests pass_host against what a plugin and the client say.
func TestUpstreamHost(t *testing.T) {
	for _, tc := range []struct {
		name     string
		passHost string
		rewrite  string
		scheme   string
		node     string
		plugin   string
		want     string
	}{
		{"pass", "pass", "", "", "10.0.0.1:80", "", "a.example"},
		{"pass is the default", "", "", "", "10.0.0.1:80", "", "a.example"},
		{"a plugin's", "pass", "", "", "10.0.0.1:80", "p.example", "p.example"},
		{"node", "node", "", "", "10.0.0.1:80", "", "10.0.0.1"},
		{"node with another port", "node", "", "", "10.0.0.1:8080", "", "10.0.0.1:8080"},
		{"node stands above a plugin", "node", "", "", "10.0.0.1:80", "p.example", "10.0.0.1"},
		{"IPv6 node", "node", "", "", "[2001:db8::1]:8080", "", "[2001:db8::1]:8080"},
		{"rewrite", "rewrite", "r.example", "", "10.0.0.1:80", "", "r.example"},
		{"rewrite stands above a plugin", "rewrite", "r.example", "", "10.0.0.1:80", "p.example", "r.example"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := site{upstream: &snapshot.Upstream{Type: "roundrobin", Scheme: tc.scheme, Nodes: nodes(tc.node), PassHost: tc.passHost, UpstreamHost: tc.rewrite}}
			x := begin(t, s.engine(t), get)
			if v := x.Step(); v != Proxy {
				t.Fatal(v)
			}
			if tc.plugin != "" {
				x.Request.UpstreamHost = []byte(tc.plugin)
			}
			if got := string(x.UpstreamHost()); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

// TestHost tests $host.
func TestHost(t *testing.T) {
	for in, want := range map[string]string{"a.example": "a.example", "A.Example": "a.example", "a.example:8080": "a.example", "a.example.": "a.example", "a.example.:80": "a.example",
		"[2001:DB8::1]": "[2001:db8::1]", "[2001:db8::1]:80": "[2001:db8::1]", "": "", ".": "."} {
		if got := string(hostOnly(&plugin.Exchange{}, []byte(in))); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// TestResponseHead holds the head that goes to the client against what the node sent.
func TestResponseHead(t *testing.T) {
	const date = "Fri, 27 Nov 2026 00:00:00 GMT"
	for _, tc := range []struct {
		name    string
		request string // line; "" is GET with HTTP/1.1
		sent    []string
		edit    func(x *Exchange)
		close   bool // the client's connection ends
		want    []string
		framing Framing
	}{
		{"length", "", []string{"HTTP/1.1 200 OK", "Content-Length: 5", "A: 1"}, nil, false, []string{"HTTP/1.1 200 OK", "A: 1", "Server: APISIX/3.18.0", "Date: " + date, "Content-Length: 5"}, Framing{}},
		{"length 0", "", []string{"HTTP/1.1 200 OK", "Content-Length: 0"}, nil, false, []string{"HTTP/1.1 200 OK", "Server: APISIX/3.18.0", "Date: " + date, "Content-Length: 0"}, Framing{None: true}},
		{"chunked", "", []string{"HTTP/1.1 200 OK", "Transfer-Encoding: chunked"}, nil, false, []string{"HTTP/1.1 200 OK", "Server: APISIX/3.18.0", "Date: " + date, "Transfer-Encoding: chunked"}, Framing{Chunked: true}},
		{"until the end", "", []string{"HTTP/1.1 200 OK"}, nil, false, []string{"HTTP/1.1 200 OK", "Server: APISIX/3.18.0", "Date: " + date, "Transfer-Encoding: chunked"}, Framing{Chunked: true}},
		{"chunked for HTTP/1.0", "GET /hello HTTP/1.0", []string{"HTTP/1.1 200 OK", "Transfer-Encoding: chunked"}, nil, true,
			[]string{"HTTP/1.1 200 OK", "Server: APISIX/3.18.0", "Date: " + date, "Connection: close"}, Framing{Close: true}},
		{"HTTP/1.0 that stays", "GET /hello HTTP/1.0", []string{"HTTP/1.1 200 OK", "Content-Length: 5"}, nil, false,
			[]string{"HTTP/1.1 200 OK", "Server: APISIX/3.18.0", "Date: " + date, "Content-Length: 5", "Connection: keep-alive"}, Framing{}},
		{"the last one", "", []string{"HTTP/1.1 200 OK", "Content-Length: 5"}, nil, true, []string{"HTTP/1.1 200 OK", "Server: APISIX/3.18.0", "Date: " + date, "Content-Length: 5", "Connection: close"}, Framing{}},
		{"HEAD keeps the length", "HEAD /hello HTTP/1.1", []string{"HTTP/1.1 200 OK", "Content-Length: 5"}, nil, false, []string{"HTTP/1.1 200 OK", "Server: APISIX/3.18.0", "Date: " + date, "Content-Length: 5"}, Framing{None: true}},
		{"204 has none", "", []string{"HTTP/1.1 204 No Content"}, nil, false, []string{"HTTP/1.1 204 No Content", "Server: APISIX/3.18.0", "Date: " + date}, Framing{None: true}},
		{"304 keeps the length", "", []string{"HTTP/1.1 304 Not Modified", "Content-Length: 5", "ETag: x"}, nil, false, []string{"HTTP/1.1 304 Not Modified", "ETag: x", "Server: APISIX/3.18.0", "Date: " + date, "Content-Length: 5"}, Framing{None: true}},
		{"Server and Date", "", []string{"HTTP/1.1 200 OK", "Server: mine", "Date: then", "Content-Length: 5"}, nil, false, []string{"HTTP/1.1 200 OK", "Date: then", "Server: APISIX/3.18.0", "Content-Length: 5"}, Framing{}},
		{"hop-by-hop fields", "", []string{"HTTP/1.1 200 OK", "Connection: X-Mine, close", "X-Mine: 1", "Keep-Alive: timeout=5", "Upgrade: h2c", "Proxy-Connection: x", "Content-Length: 5"}, nil, false,
			[]string{"HTTP/1.1 200 OK", "Server: APISIX/3.18.0", "Date: " + date, "Content-Length: 5"}, Framing{}},
		{"names with an underscore reach clients", "", []string{"HTTP/1.1 200 OK", "X_A: 1", "Content-Length: 5"}, nil, false, []string{"HTTP/1.1 200 OK", "X_A: 1", "Server: APISIX/3.18.0", "Date: " + date, "Content-Length: 5"}, Framing{}},
		{"the node's reason", "", []string{"HTTP/1.1 299 Fine With Me", "Content-Length: 0"}, nil, false, []string{"HTTP/1.1 299 Fine With Me", "Server: APISIX/3.18.0", "Date: " + date, "Content-Length: 0"}, Framing{None: true}},
		{"a failure is shown", "", []string{"HTTP/1.1 503 Service Unavailable", "Content-Length: 0"}, nil, false,
			[]string{"HTTP/1.1 503 Service Unavailable", "Server: APISIX/3.18.0", "X-APISIX-Upstream-Status: 503", "Date: " + date, "Content-Length: 0"}, Framing{None: true}},
		{"fields of request phases replace the node's", "", []string{"HTTP/1.1 200 OK", "X-Id: up", "Content-Length: 5"}, func(x *Exchange) { x.Response.Early.SetString("x-id", "early") }, false,
			[]string{"HTTP/1.1 200 OK", "X-Id: early", "Server: APISIX/3.18.0", "Date: " + date, "Content-Length: 5"}, Framing{}},
		{"a plugin has made HEAD of GET: no body comes", "", []string{"HTTP/1.1 200 OK", "Content-Length: 5"}, func(x *Exchange) { x.Request.Method = []byte("HEAD") }, false,
			[]string{"HTTP/1.1 200 OK", "Server: APISIX/3.18.0", "Date: " + date, "Content-Length: 0"}, Framing{None: true}},
		{"a plugin has made GET of HEAD: the client still wants no body", "HEAD /hello HTTP/1.1", []string{"HTTP/1.1 200 OK", "Content-Length: 5"}, func(x *Exchange) { x.Request.Method = []byte("GET") }, false,
			[]string{"HTTP/1.1 200 OK", "Server: APISIX/3.18.0", "Date: " + date, "Content-Length: 5"}, Framing{None: true}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			line := tc.request
			if line == "" {
				line = "GET /hello HTTP/1.1"
			}
			x := begin(t, site{conf: Config{ServerHeader: "APISIX/3.18.0"}}.engine(t), message(line, "Host: a.example"))
			if v := x.Step(); v != Proxy {
				t.Fatal(v)
			}
			if tc.edit != nil {
				tc.edit(x)
			}
			answer(t, x, string(x.Request.Method), message(tc.sent...))
			minor := 1
			if strings.HasSuffix(line, "1.0") {
				minor = 0
			}
			f := x.ResponseFraming(minor)
			if diff := cmp.Diff(tc.framing, f); diff != "" {
				t.Errorf("framing: -want +got\n%s", diff)
			}
			got := strings.Split(strings.TrimSuffix(string(x.AppendResponseHead(nil, []byte(date), f, !tc.close, minor)), "\r\n\r\n"), "\r\n")
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// TestPathOptions tests what apisix.delete_uri_tail_slash, normalize_uri_like_servlet and match_uri_encoded_slash make of a path, for routes and for the node.
func TestPathOptions(t *testing.T) {
	for _, tc := range []struct {
		name     string
		conf     Config
		target   string
		path, up string
		status   int // of a refusal
	}{
		{"plain", Config{}, "/hello/a/", "/hello/a/", "/hello/a/", 0},
		{"tail slash", Config{DeleteURITailSlash: true}, "/hello/a/", "/hello/a", "/hello/a", 0},
		{"one tail slash", Config{DeleteURITailSlash: true}, "/hello/a", "/hello/a", "/hello/a", 0},
		{"servlet: matched without parameters, sent with them", Config{NormalizeURILikeServlet: true}, "/hello;v=1/a;b=2?q=1", "/hello/a", "/hello;v=1/a;b=2?q=1", 0},
		{"servlet: a dot segment with parameters", Config{NormalizeURILikeServlet: true}, "/hello/..;/a", "", "", 400},
		{"encoded slash", Config{}, "/hello/a%2Fb", "", "", 400},
		{"encoded slash is admitted", Config{MatchURIEncodedSlash: true}, "/hello/a%2fb", "/hello/a%2Fb", "/hello/a%2Fb", 0},
		{"asterisk", Config{}, "*", "", "", 404},
	} {
		t.Run(tc.name, func(t *testing.T) {
			method := "GET"
			if tc.target == "*" {
				method = "OPTIONS"
			}
			x := begin(t, site{conf: tc.conf}.engine(t), message(method+" "+tc.target+" HTTP/1.1", "Host: a.example"))
			v := x.Step()
			if tc.status != 0 {
				if v != Answer || x.Response.Status != tc.status {
					t.Errorf("%v %d, want %d", v, x.Response.Status, tc.status)
				}
				return
			}
			if v != Proxy {
				t.Fatalf("%v %d", v, x.Response.Status)
			}
			line, _, _ := strings.Cut(string(x.AppendRequestHead(nil)), "\r\n")
			if string(x.Request.Path) != tc.path || line != "GET "+tc.up+" HTTP/1.1" {
				t.Errorf("path %s, line %s; want %s and %s", x.Request.Path, line, tc.path, tc.up)
			}
		})
	}
}

// TestMalformed tests the answer to what is no request: no plugin sees it.
func TestMalformed(t *testing.T) {
	tr := &trace{}
	logged := 0
	e := site{conf: Config{ServerHeader: "S", AccessLog: func(int, *plugin.Exchange) { logged++ }}, global: []*Unit{unit(t, "g", 1, &probe{name: "g", tr: tr})}}.engine(t)
	x := &Exchange{}
	x.BeginMalformed(e, 431)
	if v := x.Step(); v != Answer || x.Response.Status != 431 || !strings.Contains(string(x.ReplyBody()), "431 Request Header Or Cookie Too Large") {
		t.Errorf("%v %d %s", v, x.Response.Status, x.ReplyBody())
	}
	x.FilterHead()
	x.End()
	if len(tr.steps) > 0 || logged != 1 || string(x.Response.Header.Get("Server")) != "S" {
		t.Errorf("plugins %v, %d lines, fields %q", tr.steps, logged, x.Response.Header.Fields())
	}
}

// TestReuse tests that nothing of an exchange is left in the next one.
func TestReuse(t *testing.T) {
	e := site{}.engine(t)
	x := begin(t, e, message("POST /hello?a=1 HTTP/1.1", "Host: a.example", "Content-Length: 3", "X-Old: 1"))
	x.Step()
	x.Request.UpstreamHost, x.Request.UpstreamTarget = []byte("old"), []byte("/old")
	x.NextNode(502, false, true)
	x.FilterHead()
	x.End()
	x.Reset()
	again(t, e, x, get)
	if v := x.Step(); v != Proxy || x.Answering() {
		t.Fatalf("%v", v)
	}
	want := message("GET /hello HTTP/1.1", "Host: a.example", "X-Real-IP: 192.0.2.7", "X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: http", "X-Forwarded-Host: a.example", "X-Forwarded-Port: 9080")
	if diff := cmp.Diff(want, string(x.AppendRequestHead(nil))); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if x.Response.Status != 0 || len(x.Upstream.Attempts) != 0 || x.Source != plugin.SourceNone {
		t.Errorf("left over: %d, %v, %v", x.Response.Status, x.Upstream.Attempts, x.Source)
	}
}

// TestAnswerHead tests the heads of the gateway's own answers.
func TestAnswerHead(t *testing.T) {
	for _, tc := range []struct {
		name  string
		reply *plugin.Reply
		want  []string
	}{
		{"text", &plugin.Reply{Status: 200, Body: []byte("hello")}, []string{"HTTP/1.1 200 OK", "Content-Type: text/plain; charset=utf-8", "Date: now", "Content-Length: 5"}},
		{"page", &plugin.Reply{Status: 403}, []string{"HTTP/1.1 403 Forbidden", "Content-Type: text/html; charset=utf-8", "Date: now", "Content-Length: 150"}},
		{"type of its own", &plugin.Reply{Status: 200, Body: []byte("{}"), ContentType: "application/json"}, []string{"HTTP/1.1 200 OK", "Content-Type: application/json", "Date: now", "Content-Length: 2"}},
		{"field of its own", &plugin.Reply{Status: 200, Body: []byte("{}"), Header: []plugin.Field{{Name: []byte("content-type"), Value: []byte("a/b")}}}, []string{"HTTP/1.1 200 OK", "content-type: a/b", "Date: now", "Content-Length: 2"}},
		{"nothing", &plugin.Reply{Status: 200}, []string{"HTTP/1.1 200 OK", "Date: now", "Content-Length: 0"}},
		// RFC 9110 section 8.6.
		{"204 has no length", &plugin.Reply{Status: 204}, []string{"HTTP/1.1 204 No Content", "Date: now"}},
		{"304 has no length of nothing", &plugin.Reply{Status: 304}, []string{"HTTP/1.1 304 Not Modified", "Date: now"}},
		{"a field with a line break", &plugin.Reply{Status: 200, Header: []plugin.Field{{Name: []byte("A"), Value: []byte("x\r\nB: y")}}}, []string{"HTTP/1.1 200 OK", "A: x  B: y", "Date: now", "Content-Length: 0"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			do := map[string]func(*plugin.Exchange) (*plugin.Reply, error){"access": reply(tc.reply)}
			x := begin(t, site{units: []*Unit{unit(t, "a", 1, &probe{name: "a", tr: &trace{}, do: do})}}.engine(t), get)
			if v := x.Step(); v != Answer {
				t.Fatal(v)
			}
			x.FilterHead()
			got := strings.Split(strings.TrimSuffix(string(x.AppendResponseHead(nil, []byte("now"), x.ResponseFraming(1), true, 1)), "\r\n\r\n"), "\r\n")
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}
