package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
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

// TestArticles runs what the articles print. Only the gateway's addresses are replaced.
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

	addresses := strings.NewReplacer("http://127.0.0.1:9180", "http://"+p.addrs["Admin API"], "http://127.0.0.1:9080", "http://"+p.addrs["http"])
	for _, tc := range []struct {
		file string
		want []string // the output has all of these
		not  string   // and not this
	}{
		{"server-header.sh", []string{"Server: APISIX/3.18.0"}, ""},
		{"route-v1.sh", []string{"HTTP/1.1 201 Created", `"key":"/apisix/routes/test-v1"`, `"nodes":{"api.aimlapi.com:443":1}`, `"pass_host":"node"`}, "retries"},
		{"route-v1.sh", []string{"HTTP/1.1 200 OK", `"create_time":`}, ""},
		{"route-v2.sh", []string{"HTTP/1.1 201 Created", `"key":"/apisix/routes/test-v2"`}, ""},
		// These have plugins that this build does not have.
		{"traffic-split.sh", []string{"HTTP/1.1 400 Bad Request", `{"error_msg":"unknown plugin [traffic-split]"}`}, ""},
		{"consumer-a.sh", []string{`{"error_msg":"invalid plugins configuration: unknown plugin [ai-consumer-rate-limiting]"}`}, ""},
		// This is no JSON: there is a comment behind a value.
		{"aimlapi.sh", []string{`"error_msg":"invalid request body: `, `found '#' (JSON has no comments)`, `line 10`, `"req_body":`}, ""},
	} {
		t.Run(tc.file, func(t *testing.T) {
			cmd := exec.Command("bash", "-c", addresses.Replace(article(t, tc.file)))
			cmd.Env = append(os.Environ(), "ADMIN_API_KEY="+p.key, "OPENAI_API_KEY=secret")
			out, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range tc.want {
				if !strings.Contains(string(out), w) {
					t.Errorf("the output lacks %q:\n%s", w, out)
				}
			}
			if tc.not != "" && strings.Contains(string(out), tc.not) {
				t.Errorf("the output has %q:\n%s", tc.not, out)
			}
		})
	}

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
}
