package main

import (
	"math"
	"slices"
)

// spread is the median and the range of a set of values.
type spread struct {
	median, low, high float64
	n                 int
}

// summarize returns the spread of the values that are numbers; n is 0 when there are none.
func summarize(values []float64) spread {
	sorted := make([]float64, 0, len(values))
	for _, v := range values {
		if !math.IsNaN(v) {
			sorted = append(sorted, v)
		}
	}
	if len(sorted) == 0 {
		return spread{median: math.NaN(), low: math.NaN(), high: math.NaN()}
	}
	slices.Sort(sorted)
	n := len(sorted)
	median := sorted[n/2]
	if n%2 == 0 {
		median = (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return spread{median: median, low: sorted[0], high: sorted[n-1], n: n}
}

// ratios divides a by b round by round. A round in which either of them failed or is missing gives NaN, so a
// ratio never compares two different rounds.
func ratios(a, b []sample, value func(sample) float64) []float64 {
	out := make([]float64, min(len(a), len(b)))
	for i := range out {
		out[i] = math.NaN()
		if a[i].err != nil || b[i].err != nil {
			continue
		}
		if d := value(b[i]); d > 0 {
			out[i] = value(a[i]) / d
		}
	}
	return out
}

// column takes one value of every round that succeeded.
func column(samples []sample, value func(sample) float64) []float64 {
	var out []float64
	for _, s := range samples {
		if s.err == nil {
			out = append(out, value(s))
		}
	}
	return out
}

// order returns the order of the contenders in a round: it starts one further in every round and runs backwards
// in every second one, so that no contender always runs first, last, or after the same neighbour.
func order(round, n int) []int {
	out := make([]int, n)
	for i := range out {
		step := i
		if round%2 == 1 {
			step = n - i
		}
		out[i] = (round + step) % n
	}
	return out
}
