package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// articleConfig is the configuration of the article about splitting traffic, completed by where this test listens. The article has the Admin API's settings where
// APISIX 2 had them.
func articleConfig(t *testing.T, dir string) string {
	t.Helper()
	return article(t, "admin-key.yaml") + `
  node_listen: [{ip: 127.0.0.1, port: 0}]
  enable_control: false
deployment:
  admin:
    admin_listen: {ip: 127.0.0.1, port: 0}
plugin_attr:
  prometheus:
    export_addr: {ip: 127.0.0.1, port: 0}
` + article(t, "allow-admin.yaml") + `
sluice:
  data_dir: ` + dir + "\n"
}

func article(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "articles", file))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestArticles runs what the articles print.
func TestArticles(t *testing.T) {
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p, err := runProcess(t, path, dir, articleConfig(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	p.key = "YOUR_ADMIN_KEY_HERE"
	for _, notice := range []string{
		"apisix.admin_key: is read, but its place since APISIX 3.0 is deployment.admin.admin_key",
		"apisix.admin_key_required: is read, but its place since APISIX 3.0 is deployment.admin.admin_key_required",
		"admin.allow_admin: is read, but its place since APISIX 3.0 is deployment.admin.allow_admin",
	} {
		if !strings.Contains(p.log(), notice) {
			t.Errorf("the log lacks %q:\n%s", notice, p.log())
		}
	}

	// These are the only things in print that are replaced: addresses that are the gateway's, and what print has cut off.
	addresses := strings.NewReplacer("http://127.0.0.1:9180", "http://"+p.addrs["Admin API"], "http://127.0.0.1:9080", "http://"+p.addrs["http"])
	cutOff := map[string]string{"ai-proxy-multi.sh": "    }\n  }'", "ai-rate-limiting.sh": "  }'"}
	run := func(t *testing.T, file string) string {
		t.Helper()
		cmd := exec.Command("bash", "-c", addresses.Replace(article(t, file)+cutOff[file]))
		cmd.Env = append(os.Environ(), "ADMIN_API_KEY="+p.key, "OPENAI_API_KEY=secret")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}

	for _, tc := range []struct {
		file string
		want []string // the output has all of these
		not  string   // and not this
	}{
		{"server-header.sh", []string{"Server: APISIX/3.18.0"}, ""},
		{"route-v1.sh", []string{"HTTP/1.1 201 Created", `"key":"/apisix/routes/test-v1"`, `"nodes":{"api.aimlapi.com:443":1}`, `"pass_host":"node"`}, "retries"},
		{"route-v1.sh", []string{"HTTP/1.1 200 OK", `"create_time":`}, ""},
		{"route-v2.sh", []string{"HTTP/1.1 201 Created", `"key":"/apisix/routes/test-v2"`}, ""},
		// This is no JSON: there is a comment behind a value.
		{"aimlapi.sh", []string{`"error_msg":"invalid request body: `, `found '#' (JSON has no comments)`, `line 10`, `"req_body":`}, ""},
	} {
		t.Run(tc.file, func(t *testing.T) {
			out := run(t, tc.file)
			for _, w := range tc.want {
				if !strings.Contains(out, w) {
					t.Errorf("the output lacks %q:\n%s", w, out)
				}
			}
			if tc.not != "" && strings.Contains(out, tc.not) {
				t.Errorf("the output has %q:\n%s", tc.not, out)
			}
		})
	}

	// These have a plugin that this build does not have. The refusal names the first one, in the order of the alphabet, and nothing is stored. A plugin that arrives moves its
	// commands to the table above.
	for _, tc := range []struct{ file, refusal, path string }{
		{"traffic-split.sh", "unknown plugin [traffic-split]", "/routes/aimlapi-split"},
		{"ai-proxy-multi.sh", "unknown plugin [ai-proxy-multi]", "/routes/ai-proxy-multi-route"},
		{"ai-rate-limiting.sh", "unknown plugin [ai-proxy-multi]", "/routes/ai-proxy-multi-route"},
		{"consumer-a.sh", "invalid plugins configuration: unknown plugin [ai-consumer-rate-limiting]", "/consumers/consumer_a"},
	} {
		t.Run(tc.file, func(t *testing.T) {
			if out := run(t, tc.file); !strings.Contains(out, `{"error_msg":"`+tc.refusal+`"}`) {
				t.Errorf("the output lacks %q:\n%s", tc.refusal, out)
			}
			if status, body := p.admin("GET", tc.path, ""); status != 404 {
				t.Errorf("GET %s: %d %s", tc.path, status, body)
			}
		})
	}

	// Requests to the routes that were refused just now: nothing else has these paths.
	t.Run("requests", func(t *testing.T) {
		if out := run(t, "chat.sh"); !strings.Contains(out, "< HTTP/1.1 404 Not Found") || !strings.Contains(out, `{"error_msg":"404 Route Not Found"}`) {
			t.Errorf("chat.sh:\n%s", out)
		}
		if out := run(t, "anything.sh"); !strings.Contains(out, `{"error_msg":"404 Route Not Found"}`) {
			t.Errorf("anything.sh:\n%s", out)
		}
		before := served(t, p)
		run(t, "load.sh")
		if after := served(t, p); after-before != 100 {
			t.Errorf("load.sh made %d requests, want 100", after-before)
		}
	})

	t.Run("read back", func(t *testing.T) {
		_, body := p.admin("GET", "/routes/test-v1", "")
		var got struct{ Value map[string]json.RawMessage }
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatal(err)
		}
		if want := `{"nodes":{"api.aimlapi.com:443":1},"pass_host":"node","scheme":"https","type":"roundrobin"}`; sorted(string(got.Value["upstream"])) != want {
			t.Errorf("upstream %s\nwant     %s", got.Value["upstream"], want)
		}
	})
	t.Run("the route is served", func(t *testing.T) {
		if status, body, _ := p.get("http", "/test/v1"); status == 404 {
			t.Errorf("%d %s", status, body)
		}
	})

	t.Run("mcp-route.json", func(t *testing.T) { mcpRoute(t, p) })
}

// served is how many requests the gateway has had, by its metrics.
func served(t *testing.T, p *process) int {
	t.Helper()
	_, text, _ := p.get("metrics", "/apisix/prometheus/metrics")
	m := regexp.MustCompile(`(?m)^apisix_http_requests_total (\S+)$`).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no apisix_http_requests_total:\n%s", text)
	}
	n, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return int(n)
}

// mcpRoute puts the route that the article about APISIX-MCP describes and looks whether its plugins do what they say. Only the node is replaced.
func mcpRoute(t *testing.T, p *process) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Method, " ", r.URL) }))
	defer up.Close()
	p.put("/routes/httpbin", strings.Replace(article(t, "mcp-route.json"), "httpbin.org:443", strings.TrimPrefix(up.URL, "http://"), 1))
	status, body, h := p.get("http", "/api/get", "Origin", "http://example.com")
	got := map[string]string{"status": strconv.Itoa(status), "body": body}
	want := map[string]string{"status": "200", "body": "GET /api/get", "Access-Control-Allow-Origin": "*", "Access-Control-Allow-Methods": "*", "Access-Control-Allow-Headers": "*",
		"Access-Control-Expose-Headers": "X-Custom-Header", "Access-Control-Max-Age": "3600", "Access-Control-Allow-Credentials": "",
		"X-RateLimit-Limit": "100", "X-RateLimit-Remaining": "99"}
	for name := range want {
		if name != "status" && name != "body" {
			got[name] = h.Get(name)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	for n := 98; n >= 0; n-- {
		if status, _, h := p.get("http", "/api/get"); status != 200 || h.Get("X-RateLimit-Remaining") != strconv.Itoa(n) {
			t.Fatalf("%d with %s remaining, want 200 with %d", status, h.Get("X-RateLimit-Remaining"), n)
		}
	}
	if status, _, _ := p.get("http", "/api/get"); status != 429 {
		t.Errorf("request 101: %d, want 429", status)
	}
	if status, _, _ := p.get("http", "/apix"); status != 404 {
		t.Errorf("a path outside of the route: %d, want 404", status)
	}
}
