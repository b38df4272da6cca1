package main

import (
	"math"
	"runtime"
	"syscall"

	"github.com/sluice-gateway/sluice/control/config"
)

// Open files that connections must leave for the rest of the process: listeners, the Admin API, the store, logs, name resolution.
const (
	reservedFiles     = 256
	maxConnectionsDef = 1 << 20 // when the limit on open files is higher than any use of it
)

// connectionsPerLoop divides sluice.l7.limits.max_connections among the loops. 0 derives it from the limit on open files: each client connection may need another one
// to an upstream, and half of a small limit stays for the rest.
func connectionsPerLoop(configured, loops int, files uint64) int {
	if loops <= 0 {
		loops = runtime.NumCPU()
	}
	total := uint64(configured)
	if configured == 0 {
		total = min((files-min(files/2, reservedFiles))/2, maxConnectionsDef)
	}
	return max(int((total+uint64(loops)-1)/uint64(loops)), 1)
}

// openFiles is the limit on open files. The Go runtime has raised it to the hard limit.
func openFiles() uint64 {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return 1024
	}
	return l.Cur
}

// keepaliveRequests is the most requests on one connection in the words of the loop, to which 0 is its default.
func keepaliveRequests(l config.Limits) uint64 {
	switch {
	case l.IdleTimeout == 0: // no connection stays open without a request
		return 1
	case l.KeepaliveRequests == 0:
		return math.MaxUint64
	}
	return uint64(l.KeepaliveRequests)
}
