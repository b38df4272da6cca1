package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestForwardedFields tests which X-Forwarded-* the upstream gets, from peers that are trusted and others. The cases are from APISIX's tests, as far as they need no plugin that is missing here; what a
// case does not say is left at what the gateway itself puts there.
func TestForwardedFields(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, name := range []string{"Proto", "Host", "Port", "For"} {
			for _, v := range r.Header.Values("X-Forwarded-" + name) {
				fmt.Fprintf(w, "%s: %s\n", name, v)
			}
		}
	}))
	defer up.Close()

	dir := t.TempDir()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	trusting, err := runProcess(t, path, dir, strings.Replace(fmt.Sprintf(baseConfig, dir), "apisix:\n", "apisix:\n  trusted_addresses: [127.0.0.1]\n", 1))
	if err != nil {
		t.Fatal(err)
	}
	plain := startProcess(t, t.TempDir(), "")

	for _, tc := range []struct {
		from    string
		trusted bool
		headers string // of proxy-rewrite
		sent    string
		want    map[string]string // by name; a field that is absent here has the gateway's value, "" is none at all
	}{
		{"t/plugin/proxy-rewrite2.t TEST 2", true, "", "", map[string]string{"Proto": "http"}},
		{"t/plugin/proxy-rewrite2.t TEST 3", true, "", "X-Forwarded-Proto: https", map[string]string{"Proto": "https"}},
		{"t/plugin/proxy-rewrite2.t TEST 4", true, `{"X-Forwarded-Proto":"https"}`, "X-Forwarded-Proto: grpc", map[string]string{"Proto": "https"}},
		{"t/plugin/proxy-rewrite2.t TEST 6", true, "", "X-Forwarded-Proto: http\nX-Forwarded-Proto: grpc", map[string]string{"Proto": "http, grpc"}},
		{"t/plugin/proxy-rewrite2.t TEST 7", true, `{"X-Forwarded-Port":"10080"}`, "X-Forwarded-Port: 8080", map[string]string{"Port": "10080"}},
		{"t/plugin/proxy-rewrite2.t TEST 8", false, "", "X-Forwarded-Proto: http\nX-Forwarded-Proto: grpc", map[string]string{"Proto": "http"}},
		{"t/plugin/proxy-rewrite2.t TEST 9", false, `{"remove":["X-Forwarded-Host"]}`, "", map[string]string{"Host": ""}},
		{"t/plugin/proxy-rewrite2.t TEST 10", true, `{"remove":["X-Forwarded-Host"]}`, "X-Forwarded-Host: client.example.com", map[string]string{"Host": ""}},
		{"t/plugin/proxy-rewrite2.t TEST 11", true, `{"X-Forwarded-Host":"my-upstream.example.com"}`, "X-Forwarded-Host: client.example.com", map[string]string{"Host": "my-upstream.example.com"}},
		{"t/plugin/proxy-rewrite3.t TEST 13", false, `{"X-Forwarded-Host":"test.com"}`, "X-Forwarded-Host: apisix.ai", map[string]string{"Host": "test.com"}},
		{"t/plugin/proxy-rewrite3.t TEST 36", false, `{"X-Forwarded-For":"22.22.22.22"}`, "", map[string]string{"For": "22.22.22.22, 127.0.0.1"}},
		{"X-Forwarded-For of others, no trust configured", false, "", "X-Forwarded-For: 1.2.3.4", map[string]string{"For": "1.2.3.4, 127.0.0.1"}},
		{"all of a trusted peer", true, "", "X-Forwarded-For: 1.2.3.4\nX-Forwarded-Host: a.example\nX-Forwarded-Port: 1\nX-Forwarded-Proto: https",
			map[string]string{"For": "1.2.3.4, 127.0.0.1", "Host": "a.example", "Port": "1", "Proto": "https"}},
		{"all of another", false, "", "X-Forwarded-Host: a.example\nX-Forwarded-Port: 1\nX-Forwarded-Proto: https\nForwarded: for=1.2.3.4", nil},
	} {
		t.Run(tc.from, func(t *testing.T) {
			p := plain
			if tc.trusted {
				p = trusting
			}
			plugins := "{}"
			if tc.headers != "" {
				plugins = `{"proxy-rewrite":{"headers":` + tc.headers + `}}`
			}
			p.put("/routes/1", fmt.Sprintf(`{"uri":"/echo","plugins":%s,"upstream":{"type":"roundrobin","nodes":{"%s":1}}}`, plugins, strings.TrimPrefix(up.URL, "http://")))
			req, err := http.NewRequest("GET", "http://"+p.addrs["http"]+"/echo", nil)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(tc.sent) {
				name, v, _ := strings.Cut(strings.TrimSpace(line), ": ")
				req.Header.Add(name, v)
			}
			resp, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			for line := range strings.Lines(string(b)) {
				name, v, _ := strings.Cut(strings.TrimSpace(line), ": ")
				if old, ok := got[name]; ok {
					v = old + ", " + v
				}
				got[name] = v
			}
			port := p.addrs["http"][strings.LastIndexByte(p.addrs["http"], ':')+1:]
			want := map[string]string{"Proto": "http", "Host": p.addrs["http"], "Port": port, "For": "127.0.0.1"}
			for name, v := range tc.want {
				if want[name] = v; v == "" {
					delete(want, name)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}
