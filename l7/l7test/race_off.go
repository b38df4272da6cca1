//go:build !race

package l7test

// Race tells that the race detector is on, which allocates.
const Race = false
