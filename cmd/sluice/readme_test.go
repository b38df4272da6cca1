package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// shellBlock finds the examples of a page.
var shellBlock = regexp.MustCompile("(?ms)^```sh(?:ell)?\n(.*?)^```")

// curlFunction makes an Admin API call that is refused fail the script.
const curlFunction = `
curl() {
	local out code
	out=$(mktemp)
	code=$(command curl -s -o "$out" -w '%{http_code}' "$@") || { echo "curl failed: $*"; exit 1; }
	case "$*" in
	*"$admin_addr"*) case $code in 2??) ;; *) echo "$code for: $*"; cat "$out"; exit 1 ;; esac ;;
	esac
	case "$*" in *-w*) printf '%s\n' "$code" ;; *) cat "$out" ;; esac
	rm -f "$out"
}
`

// runExamples runs every example of a page against a gateway, with its ports in place of the documented ones, and returns what they print.
func runExamples(t *testing.T, p *process, page, origin string) string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	blocks := shellBlock.FindAllStringSubmatch(string(text), -1)
	if len(blocks) == 0 {
		t.Fatalf("%s has no examples", page)
	}
	var script strings.Builder
	for _, b := range blocks {
		script.WriteString(b[1] + "\n")
	}
	body := strings.NewReplacer("127.0.0.1:9180", p.addrs["Admin API"], "127.0.0.1:9080", p.addrs["http"], "127.0.0.1:9091", p.addrs["metrics"],
		"127.0.0.1:9090", p.addrs["control API"], "127.0.0.1:1980", origin, "admin_key=$(cat .cache/demo/admin_key)", ":", "bin/sluice status", ":").Replace(script.String())
	cmd := exec.Command("bash", "-c", curlFunction+body)
	cmd.Env = append(os.Environ(), "admin_key="+p.key, "admin_addr="+p.addrs["Admin API"])
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, p.log())
	}
	return string(out)
}

// TestPluginExamples runs the examples of every plugin's README.
func TestPluginExamples(t *testing.T) {
	pages, err := filepath.Glob("../../l7/plugins/*/README.md")
	if err != nil || len(pages) == 0 {
		t.Fatal(pages, err)
	}
	p, node := startProcess(t, t.TempDir(), ""), origin(t)
	for _, page := range pages {
		t.Run(filepath.Base(filepath.Dir(page)), func(t *testing.T) {
			runExamples(t, p, page, node)
		})
	}
}

// TestReadmeQuickstart runs the commands of the README and looks at what they show.
func TestReadmeQuickstart(t *testing.T) {
	p := startProcess(t, t.TempDir(), "")
	out := runExamples(t, p, "../../README.md", origin(t))
	for _, want := range []string{`"uri":"/limited/*"`, "200\n200\n429\n", `apisix_http_status{code="429"`} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
}
