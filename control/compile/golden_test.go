package compile

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/control/store"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestGolden compiles testdata/golden/*.in.json and compares the snapshots with *.out.json. An input is a list of objects
// in the order of their creation.
func TestGolden(t *testing.T) {
	paths, err := filepath.Glob("testdata/golden/*.in.json")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".in.json")
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var in struct {
				Env     map[string]string
				Objects []struct {
					Key   string
					Value json.RawMessage
				}
			}
			if err := json.Unmarshal(data, &in); err != nil {
				t.Fatal(err)
			}
			var objects []store.Object
			for i, o := range in.Objects {
				rev := store.Rev(i + 1)
				objects = append(objects, store.Object{Key: keyOf(t, o.Key), Value: o.Value, Create: rev, Mod: rev})
			}
			r := testCompiler(t, in.Env, nil).Compile(nil, NewObjects(store.Rev(len(objects)), objects))
			got, err := json.MarshalIndent(r.Snapshot, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, '\n')
			golden := strings.TrimSuffix(path, ".in.json") + ".out.json"
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("snapshot (-want +got), go test -update accepts it:\n%s", diff)
			}
		})
	}
}
