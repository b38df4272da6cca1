package main

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// took makes a sample of one request that cost the given microseconds.
func took(us float64) sample {
	return sample{units: 1, seconds: 1, cpu: cpuTime{total: time.Duration(us * 1e3)}}
}

func TestSummarize(t *testing.T) {
	nan := math.NaN()
	for _, tc := range []struct {
		name string
		in   []float64
		want spread
	}{
		{"none", nil, spread{nan, nan, nan, 0}},
		{"one", []float64{2}, spread{2, 2, 2, 1}},
		{"odd", []float64{3, 1, 2}, spread{2, 1, 3, 3}},
		{"even takes the middle of the two", []float64{4, 1, 2, 3}, spread{2.5, 1, 4, 4}},
		{"failed rounds do not count", []float64{nan, 5, nan, 7, 6}, spread{6, 5, 7, 3}},
		{"only failed rounds", []float64{nan, nan}, spread{nan, nan, nan, 0}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, summarize(tc.in), cmp.AllowUnexported(spread{}), cmpopts.EquateNaNs()); diff != "" {
				t.Errorf("summarize (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRatiosPairRounds(t *testing.T) {
	bad := sample{err: errors.New("status 502")}
	nan := math.NaN()
	for _, tc := range []struct {
		name string
		a, b []sample
		want []float64
	}{
		{"per round, not of medians", []sample{took(10), took(30)}, []sample{took(20), took(20)}, []float64{0.5, 1.5}},
		{"a failed round is left out on either side", []sample{bad, took(10), took(10)}, []sample{took(10), bad, took(5)}, []float64{nan, nan, 2}},
		{"missing base", []sample{took(10)}, nil, []float64{}},
		{"a base that cost nothing", []sample{took(10)}, []sample{took(0)}, []float64{nan}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := ratios(tc.a, tc.b, sample.cpuPerUnit)
			if diff := cmp.Diff(tc.want, got, cmpopts.EquateNaNs(), cmpopts.EquateApprox(0, 1e-9)); diff != "" {
				t.Errorf("ratios (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOrderIsFair(t *testing.T) {
	const n = 4
	first := map[int]int{}
	for round := range 2 * n {
		got := order(round, n)
		seen := map[int]bool{}
		for _, i := range got {
			seen[i] = true
		}
		if len(seen) != n {
			t.Fatalf("round %d runs %v, not every contender once", round, got)
		}
		first[got[0]]++
	}
	for i := range n {
		if first[i] == 0 {
			t.Errorf("contender %d never runs first in %d rounds", i, 2*n)
		}
	}
}

func TestSampleShares(t *testing.T) {
	s := sample{
		units: 1000, seconds: 2, others: 500 * time.Millisecond,
		cpu: cpuTime{total: time.Second, user: 250 * time.Millisecond, system: 750 * time.Millisecond},
	}
	got := []float64{s.cpuPerUnit(), s.coreUse(), s.otherUse(), s.rate(), s.userShare()}
	if diff := cmp.Diff([]float64{1000, 0.5, 0.25, 500, 0.25}, got); diff != "" {
		t.Errorf("shares (-want +got):\n%s", diff)
	}
}
