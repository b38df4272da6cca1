package main

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
)

// call runs one command line and returns what it printed.
func call(t *testing.T, vars map[string]string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = dispatch(t.Context(), &env{
		Args: args, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs,
		Getenv: func(k string) (string, bool) { v, ok := vars[k]; return v, ok },
	})
	return code, out.String(), errs.String()
}

func TestCommandLine(t *testing.T) {
	file := func(content string) string {
		path := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := file("apisix:\n  node_listen: 8080\n")
	warned := file("apisix:\n  node_listn: ${{P:=1}}\n")
	wrong := file("apisix:\n  node_listen: http\n  enable_admin: 1\n  zzzzzzzzzz: 1\n")
	control := file("deployment:\n  role: control_plane\n  role_control_plane:\n    config_provider: etcd\n")
	plugins := file("plugins: [echo, nope]\n")
	attr := file("plugin_attr:\n  prometheus:\n    metrics:\n      http_status:\n        extra_labels: 1\n")
	tests := []struct {
		name           string
		args           []string
		code           int
		stdout, stderr string // parts; empty means that nothing is printed
	}{
		{"nothing", nil, 2, "", "usage: sluice COMMAND"},
		{"--help", []string{"--help"}, 0, "usage: sluice COMMAND", ""},
		{"-h", []string{"-h"}, 0, "usage: sluice COMMAND", ""},
		{"help", []string{"help"}, 0, "exit codes:", ""},
		{"help of a command", []string{"help", "check"}, 0, "usage: sluice check", ""},
		{"help of nothing", []string{"help", "chekc"}, 2, "", `sluice: unknown command "chekc": did you mean check?`},
		{"command --help", []string{"check", "--help"}, 0, "usage: sluice check", ""},
		{"typo", []string{"verison"}, 2, "", `sluice: unknown command "verison": did you mean version?`},
		{"no such command", []string{"frobnicate"}, 2, "", `sluice: unknown command "frobnicate": see sluice --help`},
		{"no such flag", []string{"check", "--nope"}, 2, "", "sluice check: flag provided but not defined: -nope: see sluice help check"},
		{"argument", []string{"check", "config.yaml"}, 2, "", `sluice check: unexpected argument "config.yaml"`},
		{"version", []string{"version"}, 0, "contract: APISIX 3.18.0\ngo: go1.", ""},
		{"--version", []string{"--version"}, 0, "sluice ", ""},
		{"version with argument", []string{"version", "x"}, 2, "", "unexpected argument"},

		{"check defaults", []string{"check"}, 0, "built-in defaults: ok\n", ""},
		{"check good", []string{"check", "--config", good}, 0, good + ": ok\n", ""},
		{"check warned", []string{"check", "--config=" + warned}, 0, warned + ": ok, 1 warning\n",
			warned + ":2: apisix.node_listn: unknown key, ignored: did you mean node_listen? (warning)\n"},
		{"check wrong", []string{"check", "-config", wrong}, 1, "",
			wrong + ":4: apisix.zzzzzzzzzz: unknown key, ignored (warning)\n" +
				wrong + ":2: apisix.node_listen: expected a port, a list or an object, got a string\n" +
				wrong + ":3: apisix.enable_admin: expected true or false, got an integer\n"},
		{"check what run cannot do", []string{"check", "--config", control}, 1, "", control + ": deployment.role: control_plane is not available yet"},
		{"check plugins", []string{"check", "--config", plugins}, 0, plugins + ": ok, 1 warning\n",
			plugins + ": plugins: nope is none of this build's plugins, ignored (warning)\n"},
		{"check attributes", []string{"check", "--config", attr}, 1, "", "prometheus"},
		{"check missing", []string{"check", "--config", good + ".not"}, 1, "", "no such file or directory"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, stdout, stderr := call(t, nil, tt.args...)
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			for _, s := range []struct{ name, got, want string }{{"stdout", stdout, tt.stdout}, {"stderr", stderr, tt.stderr}} {
				if !strings.Contains(s.got, s.want) || s.want == "" && s.got != "" {
					t.Errorf("%s: got %q, want %q", s.name, s.got, s.want)
				}
			}
		})
	}
}

// TestEveryCommandIsDescribed keeps the help of each command whole.
func TestEveryCommandIsDescribed(t *testing.T) {
	for _, c := range commands() {
		if c.summary == "" || c.run == nil || !strings.HasPrefix(c.usage, "usage: sluice "+c.name) {
			t.Errorf("%s: summary %q, usage %q", c.name, c.summary, c.usage)
		}
		if !strings.Contains(help(), "\n  "+c.name+" ") {
			t.Errorf("%s is not in the help", c.name)
		}
	}
	for line := range strings.Lines(help()) {
		if len([]rune(line)) > 115 {
			t.Errorf("line of the help is too long: %s", line)
		}
	}
}

func TestVersionText(t *testing.T) {
	info := &debug.BuildInfo{
		Main:     debug.Module{Version: "v1.2.3"},
		Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "true"}},
	}
	if got := versionText(info); !strings.HasPrefix(got, "sluice v1.2.3\n") || !strings.Contains(got, "commit: abc (with uncommitted changes)\n") {
		t.Errorf("got %q", got)
	}
	if got := versionText(nil); !strings.HasPrefix(got, "sluice devel\n") || !strings.Contains(got, "commit: unknown\n") {
		t.Errorf("got %q", got)
	}
}
