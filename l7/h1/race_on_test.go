//go:build race

package h1

// raceEnabled turns off the allocation assertions, which the race detector's
// own allocations would fail.
const raceEnabled = true
