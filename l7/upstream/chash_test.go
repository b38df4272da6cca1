package upstream

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The mappings are those that APISIX's own tests expect: t/node/chash-balance.t and t/node/chash-hashon.t.
func TestChashAgreesWithAPISIX(t *testing.T) {
	two := []string{"127.0.0.1:1980=1", "127.0.0.1:1981=1"}
	three := append(two[:2:2], "127.0.0.1:1982=1")
	tests := []struct {
		name  string
		nodes []string
		key   string
		want  int
	}{
		{"chash-balance TEST 2", two, "127.0.0.1", 1980},
		{"chash-balance TEST 4", three, "127.0.0.1", 1982},
		{"chash-balance TEST 6", []string{"127.0.0.1:1980=1", "127.0.0.1:1981=0", "127.0.0.1:1982=0"}, "127.0.0.1", 1980},
		{"chash-hashon TEST 3", two, "jack", 1981},
		{"chash-hashon TEST 4", two, "tom", 1980},
		{"chash-hashon TEST 14", two, "custom-one-custom-two", 1980},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSet(t, Options{})
			n, err := get(t, s, conf("chash", tt.nodes...)).Pick(&Pick{Key: []byte(tt.key)})
			if err != nil || n.Port != tt.want {
				t.Errorf("node %v, %v, want port %d", n, err, tt.want)
			}
		})
	}
	t.Run("chash-hashon TEST 12", func(t *testing.T) {
		s := newSet(t, Options{})
		u := get(t, s, conf("chash", two...))
		seen := map[int]int{}
		for i := 1; i <= 6; i++ {
			n, err := u.Pick(&Pick{Key: fmt.Append(nil, "chash_val_", i)})
			if err != nil {
				t.Fatal(err)
			}
			seen[n.Port]++
		}
		if d := cmp.Diff(map[int]int{1980: 3, 1981: 3}, seen); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	})
}

func TestChashMovesOnlyWhatItMust(t *testing.T) {
	s := newSet(t, Options{})
	all := get(t, s, letters("chash", 1, 1, 1, 1))
	less := get(t, s, letters("chash", 1, 1, 0, 1))
	moved := 0
	for i := range 2000 {
		key := fmt.Append(nil, i)
		a, err := all.Pick(&Pick{Key: key})
		if err != nil {
			t.Fatal(err)
		}
		b, err := less.Pick(&Pick{Key: key})
		if err != nil {
			t.Fatal(err)
		}
		if letter(a) == "c" {
			moved++
			// A retry goes where the key goes when the node is gone.
			p := Pick{Key: key}
			all.Pick(&p)
			if n, err := all.Pick(&p); err != nil || n.ID != b.ID {
				t.Errorf("key %d: retry goes to %v (%v), the key without the node to %v", i, n.HostPort, err, b.HostPort)
			}
		} else if a.ID != b.ID {
			t.Errorf("key %d moved from %s to %s", i, letter(a), letter(b))
		}
	}
	if moved < 300 || moved > 700 {
		t.Errorf("%d of 2000 keys moved, want about a quarter", moved)
	}
}

func TestChashRingIsBounded(t *testing.T) {
	s := newSet(t, Options{})
	u := get(t, s, conf("chash", "10.0.0.1:1=1000000007", "10.0.0.1:2=4000000000", "10.0.0.1:3=1"))
	r := u.table.Load().groups[0].(*ring)
	if len(r.points) > maxPoints+3 {
		t.Errorf("%d points", len(r.points))
	}
	seen := map[int]int{}
	for i := range 5000 {
		n, err := u.Pick(&Pick{Key: fmt.Append(nil, i)})
		if err != nil {
			t.Fatal(err)
		}
		seen[n.Port]++
	}
	if seen[2] < 3*seen[1] || seen[2] > 5*seen[1] {
		t.Errorf("picked %v, want 1 to 4", seen)
	}
}
