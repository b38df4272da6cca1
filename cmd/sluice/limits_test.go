package main

import "testing"

func TestConnectionsPerLoop(t *testing.T) {
	for _, tt := range []struct {
		name              string
		configured, loops int
		files             uint64
		want              int
	}{
		{"configured", 1000, 4, 64, 250},
		{"rounded up", 1001, 4, 64, 251},
		{"fewer than loops", 1, 4, 64, 1},
		{"derived", 0, 2, 1024, 192},
		{"derived from much", 0, 4, 65536, 8160},
		{"derived from little", 0, 2, 64, 8},
		{"derived from nothing", 0, 2, 0, 1},
		{"no limit", 0, 8, 1<<64 - 1, 1 << 17},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := connectionsPerLoop(tt.configured, tt.loops, tt.files); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}
