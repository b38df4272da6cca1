package main

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestRenderedConfigurations(t *testing.T) {
	const dir = "/run/bench"
	var resources strings.Builder
	for _, r := range sluiceResources(setup{routes: 1, chain: true}, 9001) {
		resources.WriteString(r.path + " " + r.body + "\n")
	}
	for _, tc := range []struct{ name, got string }{
		{"nginx-plain.conf", nginxConfig(setup{routes: 1}, dir, 8001, 9001, true)},
		{"nginx-stream-routes.conf", nginxConfig(setup{routes: 2, stream: true}, dir, 8001, 9001, false)},
		{"nginx-tuned.conf", nginxConfig(setup{routes: 1, tuned: true}, dir, 8001, 9001, false)},
		{"haproxy-plain.cfg", haproxyConfig(setup{routes: 1}, dir+"/map", 8001, 9001)},
		{"haproxy-stream-routes.cfg", haproxyConfig(setup{routes: 2, stream: true}, dir+"/map", 8001, 9001)},
		{"haproxy-tuned.cfg", haproxyConfig(setup{routes: 1, tuned: true}, dir+"/map", 8001, 9001)},
		{"haproxy.map", haproxyMap(2)},
		{"sluice.yaml", sluiceConfig(dir, sluicePorts{proxy: 1, admin: 2, control: 3, status: 4, metrics: 5})},
		{"sluice-chain.txt", resources.String()},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join("testdata", tc.name)
			if *update {
				if err := os.WriteFile(path, []byte(tc.got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), tc.got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.name, diff)
			}
		})
	}
}

func TestSluiceConfigIsYAML(t *testing.T) {
	var doc struct {
		Sluice struct {
			DataDir string `yaml:"data_dir"`
			L7      struct{ Loops int }
		}
		Deployment struct {
			Admin struct {
				AdminListen struct{ Port int } `yaml:"admin_listen"`
			}
		}
	}
	if err := yaml.Unmarshal([]byte(sluiceConfig("/run/bench", sluicePorts{admin: 9180})), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Sluice.L7.Loops != 1 || doc.Sluice.DataDir != "/run/bench/sluice-data" || doc.Deployment.Admin.AdminListen.Port != 9180 {
		t.Errorf("configuration reads back as %+v", doc)
	}
}

func TestSluiceRoutesMatchTheOthers(t *testing.T) {
	resources := sluiceResources(setup{routes: routeCount}, 9001)
	uris := map[string]bool{}
	for _, r := range resources {
		var body struct {
			URI string `json:"uri"`
		}
		if err := json.Unmarshal([]byte(r.body), &body); err != nil {
			t.Fatal(err)
		}
		if body.URI != "" {
			uris[body.URI] = true
		}
	}
	if len(uris) != routeCount || resources[0].path != "upstreams/origin" {
		t.Fatalf("%d distinct routes, first object %s", len(uris), resources[0].path)
	}
	for line := range strings.Lines(haproxyMap(routeCount)) {
		prefix, _, _ := strings.Cut(line, " ")
		if !uris[prefix+"*"] {
			t.Errorf("haproxy has the prefix %s, sluice not", prefix)
		}
	}
}

func TestCasesAreConsistent(t *testing.T) {
	for _, c := range cases() {
		t.Run(c.name, func(t *testing.T) {
			labels := map[string]bool{}
			for _, e := range c.entries {
				if labels[e.label] {
					t.Errorf("two rows are called %s", e.label)
				}
				labels[e.label] = true
				if e.setup.chain && !c.work.apiKey {
					t.Errorf("%s checks a key that is not sent", e.label)
				}
			}
			for _, want := range kindNames() {
				if !labels[want] {
					t.Errorf("no row for %s", want)
				}
			}
			for _, g := range c.gates {
				if !labels[g.label] || !labels[g.base] {
					t.Errorf("threshold on %s / %s, but there is no such row", g.label, g.base)
				}
			}
			if (c.work.routes > 1) != strings.Contains(c.work.target, "%d") {
				t.Errorf("target %s for %d routes", c.work.target, c.work.routes)
			}
		})
	}
}
