package userspace

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
)

func TestLocal(t *testing.T) {
	for _, tt := range []struct {
		errno syscall.Errno
		want  bool
	}{
		{syscall.EMFILE, true}, {syscall.EADDRNOTAVAIL, true}, {syscall.ECONNREFUSED, false}, {syscall.EHOSTUNREACH, false}, {syscall.ETIMEDOUT, false},
	} {
		// As net wraps it.
		err := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", tt.errno)}
		if got := local(err); got != tt.want {
			t.Errorf("%v: %v, want %v", tt.errno, got, tt.want)
		}
	}
}

// locked is a buffer that goroutines share.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// TestOutageIsLoggedOnce tests that many connections to nodes that are down leave one line, and are all counted.
func TestOutageIsLoggedOnce(t *testing.T) {
	log := &locked{}
	g := start(t, Options{Logger: slog.New(slog.NewTextHandler(log, nil))}, nil, to(refusing(t)))
	for range 20 {
		_, _ = io.ReadAll(g.dial())
	}
	eventually(t, "all are counted", func() bool { return g.stats.Refused(ReasonUpstream) == 20 })
	log.mu.Lock()
	defer log.mu.Unlock()
	if n := strings.Count(log.b.String(), "no node could be reached"); n != 1 {
		t.Errorf("%d lines in the log, want 1:\n%s", n, &log.b)
	}
}
