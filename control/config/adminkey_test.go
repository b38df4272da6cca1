package config

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAdminKeys(t *testing.T) {
	viewer := AdminKey{Name: "v", Key: "viewer-key", Role: "viewer"}
	admin := AdminKey{Name: "a", Key: "admin-key", Role: "admin"}
	tests := []struct {
		name string
		file string
		env  []string
		want []AdminKey
		src  KeySource
	}{
		{"configured", "deployment: {admin: {admin_key: [{name: a, key: admin-key, role: admin}, {name: v, key: viewer-key, role: viewer}]}}", nil,
			[]AdminKey{admin, viewer}, KeySource{}},
		{"empty beside a configured one", "deployment: {admin: {admin_key: [{name: a, key: admin-key, role: admin}, {name: b, key: '', role: admin}]}}", nil,
			[]AdminKey{admin}, KeySource{}},
		{"only a viewer", "deployment: {admin: {admin_key: [{name: v, key: viewer-key, role: viewer}]}}", nil,
			[]AdminKey{viewer}, KeySource{}},
		{"environment", "deployment: {admin: {admin_key: [{name: a, key: admin-key, role: admin}, {name: v, key: viewer-key, role: viewer}]}}",
			[]string{"SLUICE_ADMIN_KEY", "from-env"},
			[]AdminKey{{Name: "admin", Key: "from-env", Role: "admin"}, viewer}, KeySource{Env: "SLUICE_ADMIN_KEY"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, _, err := Parse("config.yaml", []byte(tt.file), vars())
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			got, src, err := AdminKeys(c, dir, vars(tt.env...))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("keys (-want +got):\n%s", diff)
			}
			if src != tt.src {
				t.Errorf("source %+v, want %+v", src, tt.src)
			}
			if left, _ := os.ReadDir(dir); len(left) != 0 {
				t.Errorf("files were written: %v", left)
			}
		})
	}
}

func TestAdminKeyIsGeneratedOnce(t *testing.T) {
	for name, file := range map[string]string{
		"no section":        "",
		"empty list":        "deployment: {admin: {admin_key: []}}",
		"APISIX's own file": "deployment: {admin: {admin_key: [{name: admin, key: '', role: admin}]}}",
	} {
		t.Run(name, func(t *testing.T) {
			c, _, err := Parse("config.yaml", []byte(file), vars())
			if err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(t.TempDir(), "state", "sluice")
			first, src, err := AdminKeys(c, dir, vars())
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "admin_key")
			if want := (KeySource{File: path, Created: true}); src != want {
				t.Errorf("source %+v, want %+v", src, want)
			}
			if len(first) != 1 || first[0].Role != "admin" || !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(first[0].Key.Reveal()) {
				t.Fatalf("keys %+v", first)
			}
			info, err := os.Stat(path)
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("mode %v, err %v", info.Mode(), err)
			}
			if left, _ := os.ReadDir(dir); len(left) != 1 {
				t.Errorf("more than the key was left: %v", left)
			}
			again, src, err := AdminKeys(c, dir, vars())
			if err != nil || src.Created || !cmp.Equal(first, again) {
				t.Errorf("second start: same key %v, source %+v, err %v", cmp.Equal(first, again), src, err)
			}
		})
	}
}

func TestAdminKeyFileIsChecked(t *testing.T) {
	tests := []struct {
		name, content string
		mode          os.FileMode
		want          string
	}{
		{"readable by others", "0123456789abcdef0123456789abcdef\n", 0o644, "run chmod 600"},
		{"torn", "0123", 0o600, "remove it to get a new one"},
		{"empty", "", 0o600, "remove it to get a new one"},
		{"two lines", "0123456789abcdef\n0123456789abcdef\n", 0o600, "remove it to get a new one"},
		{"huge", strings.Repeat("a", 10_000), 0o600, "remove it to get a new one"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "admin_key")
			if err := os.WriteFile(path, []byte(tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, tt.mode); err != nil {
				t.Fatal(err)
			}
			_, _, err := AdminKeys(Default(), dir, vars())
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	t.Run("directory", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "admin_key"), 0o700); err != nil {
			t.Fatal(err)
		}
		if _, _, err := AdminKeys(Default(), dir, vars()); err == nil || !strings.Contains(err.Error(), "not a regular file") {
			t.Errorf("got %v", err)
		}
	})
}

func TestSecretNeverPrints(t *testing.T) {
	k := AdminKey{Name: "admin", Key: "hunter2", Role: "admin"}
	out, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	all := fmt.Sprintf("%v %+v %#v %s %q", k, k, k, k.Key, k.Key) + string(out)
	if strings.Contains(all, "hunter2") || !strings.Contains(all, "[redacted]") {
		t.Errorf("printed as %s", all)
	}
}

func TestDataDir(t *testing.T) {
	tests := []struct {
		name, configured string
		env              []string
		system           bool
		want             string
	}{
		{"configured", "/srv/x", []string{"HOME", "/home/a"}, true, "/srv/x"},
		{"root", "", []string{"HOME", "/root"}, true, "/var/lib/sluice"},
		{"XDG", "", []string{"HOME", "/home/a", "XDG_STATE_HOME", "/state"}, false, "/state/sluice"},
		{"relative XDG", "", []string{"HOME", "/home/a", "XDG_STATE_HOME", "state"}, false, "/home/a/.local/state/sluice"},
		{"home", "", []string{"HOME", "/home/a"}, false, "/home/a/.local/state/sluice"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := dataDir(tt.configured, vars(tt.env...), tt.system)
			if err != nil || got != tt.want {
				t.Errorf("got %q, %v; want %q", got, err, tt.want)
			}
		})
	}
	if _, err := dataDir("", vars(), false); err == nil || !strings.Contains(err.Error(), "SLUICE_DATA_DIR") {
		t.Errorf("nothing set: %v", err)
	}
	if !writable(filepath.Join(t.TempDir(), "a", "b")) {
		t.Error("a directory below a writable one is not writable")
	}
}

func TestAccessLogFile(t *testing.T) {
	for path, want := range map[string]string{
		"off": "", "-": "-", "/dev/stdout": "-", "/var/log/a.log": "/var/log/a.log", "logs/access.log": "/data/logs/access.log",
	} {
		if got := (AccessLog{Path: path}).File("/data"); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}
