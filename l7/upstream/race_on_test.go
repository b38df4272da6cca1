//go:build race

package upstream

// raceEnabled tells tests that the race detector's own allocations would be counted.
const raceEnabled = true
