package upstream

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const sec = int64(time.Second)

// firsts counts who gets n requests at a time.
func firsts(t *testing.T, u *Upstream, now int64, n int) map[string]int {
	t.Helper()
	got := map[string]int{}
	for range n {
		node, err := u.Pick(&Pick{Now: now})
		if err != nil {
			t.Fatal(err)
		}
		got[letter(node)]++
	}
	return got
}

func TestFailureMemory(t *testing.T) {
	s := newSet(t, Options{})
	u := get(t, s, letters("roundrobin", 1, 1))
	a := u.Nodes()[0]
	step := func(name string, now int64, want map[string]int) {
		t.Helper()
		if d := cmp.Diff(want, firsts(t, u, now, 10)); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
	step("at first", 1*sec, map[string]int{"a": 5, "b": 5})
	for range 20 {
		u.Report(a, ConnectError, 0, 1*sec) // a bunch counts once
	}
	step("just failed", 1*sec+1, map[string]int{"b": 10})
	step("one probe after 1 s", 2*sec, map[string]int{"a": 1, "b": 9})
	u.Report(a, ConnectTimeout, 0, 2*sec+1)
	step("the probe failed: 2 s", 4*sec-1, map[string]int{"b": 10})
	step("one probe after 2 s", 4*sec, map[string]int{"a": 1, "b": 9})
	step("no report: 4 s", 8*sec-1, map[string]int{"b": 10})
	step("next probe", 8*sec, map[string]int{"a": 1, "b": 9})
	step("8 s", 16*sec, map[string]int{"a": 1, "b": 9})
	step("10 s at most", 26*sec, map[string]int{"a": 1, "b": 9})
	step("and again", 36*sec, map[string]int{"a": 1, "b": 9})
	u.Report(a, Success, 1, 36*sec+1)
	step("success ends it", 36*sec+2, map[string]int{"a": 5, "b": 5})
	u.Report(a, ConnectError, 0, 40*sec)
	step("the next failure is a first one", 41*sec, map[string]int{"a": 1, "b": 9})
}

func TestFailureMemoryNeverExcludesAll(t *testing.T) {
	for _, typ := range types {
		t.Run(typ, func(t *testing.T) {
			s := newSet(t, Options{})
			u := get(t, s, letters(typ, 1, 1, 1))
			for _, n := range u.Nodes() {
				u.Report(n, ConnectError, 0, sec)
			}
			p := Pick{Now: sec + 1}
			if got, _ := attempts(u, &p); len(got) != 3 {
				t.Errorf("attempts %v, want all three nodes", got)
			}
		})
	}
}

func TestFailureMemoryPrefersLowerPriority(t *testing.T) {
	s := newSet(t, Options{})
	u := get(t, s, conf("roundrobin", "10.0.0.1:1=1@1", "10.0.0.1:2=1@0"))
	u.Report(u.Nodes()[0], ConnectError, 0, sec)
	if got, _ := attempts(u, &Pick{Now: sec + 1}); !cmp.Equal(got, []int{2, 1}) {
		t.Errorf("attempts %v, want 2 and then 1", got)
	}
}

func TestEventsThatAreNotRemembered(t *testing.T) {
	tests := []struct {
		name string
		opts Options
		ev   Event
	}{
		{"reset", Options{}, Reset},
		{"slow answer", Options{}, Timeout},
		{"turned off", Options{Memory: FailureMemory{First: -1}}, ConnectError},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSet(t, tt.opts)
			u := get(t, s, letters("roundrobin", 1, 1))
			for range 5 {
				u.Report(u.Nodes()[0], tt.ev, time.Second, sec)
			}
			if d := cmp.Diff(map[string]int{"a": 5, "b": 5}, firsts(t, u, sec, 10)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}
