package loop

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/sluice-gateway/sluice/l7/engine"
)

// Group is a set of loops that serve the same listeners.
type Group struct {
	loops  []*Loop
	seq    atomic.Uint64
	cancel context.CancelFunc
	wg     sync.WaitGroup
	mu     sync.Mutex
	errs   []error
	closed bool
}

// NewGroup makes n loops (0 for one per CPU that the process may use). They serve once Start was called. It raises GOMAXPROCS to n + 1 if it is lower: a loop holds its
// processor while it waits for events.
func NewGroup(n int, conf Config, e *engine.Engine) (*Group, error) {
	if n <= 0 {
		n = runtime.NumCPU()
	}
	if runtime.GOMAXPROCS(0) < n+1 {
		runtime.GOMAXPROCS(n + 1)
	}
	g := &Group{}
	for i := 0; i < n; i++ {
		io, err := newEpollIO()
		if err != nil {
			for _, l := range g.loops {
				l.io.destroy()
			}
			return nil, err
		}
		g.loops = append(g.loops, newLoop(i, conf, e, conf.around(io), &g.seq))
	}
	return g, nil
}

// Loops is the number of loops.
func (g *Group) Loops() int { return len(g.loops) }

// Listen gives loop i the i-th of files, which must be as many non-blocking TCP listeners of one address, made with SO_REUSEPORT. The group takes the files over. It is called before Start.
func (g *Group) Listen(files []*os.File) error {
	if len(files) != len(g.loops) {
		return fmt.Errorf("listen: %d sockets for %d loops", len(files), len(g.loops))
	}
	for i, f := range files {
		fd := int(f.Fd())
		// Fd may have put the descriptor into blocking mode; a loop that blocks in accept serves nobody.
		if err := unix.SetNonblock(fd, true); err != nil {
			return fmt.Errorf("listen: %w", err)
		}
		if err := g.loops[i].addListener(f, fd); err != nil {
			return err
		}
	}
	return nil
}

// Start runs the loops.
func (g *Group) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	g.cancel = cancel
	for _, l := range g.loops {
		g.wg.Add(1)
		go func() {
			defer g.wg.Done()
			if err := l.run(ctx); err != nil {
				g.mu.Lock()
				g.errs = append(g.errs, err)
				g.mu.Unlock()
			}
		}()
	}
}

// Shutdown stops accepting, lets requests finish until ctx ends, then cuts what is left. It returns ctx's error when something had to be cut. Only the first call does
// anything.
func (g *Group) Shutdown(ctx context.Context) error {
	if g.closed {
		return nil
	}
	g.closed = true
	if g.cancel == nil { // never started
		for _, l := range g.loops {
			l.closeAll()
		}
		return nil
	}
	for _, l := range g.loops {
		l.post(post{call: l.drain})
	}
	done := make(chan struct{})
	go func() { g.wg.Wait(); close(done) }()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	g.cancel()
	<-done
	g.mu.Lock()
	defer g.mu.Unlock()
	return errors.Join(append(g.errs, err)...)
}

// Totals is the sum of the loops' counters.
type Totals struct {
	Accepted, Requests, Malformed, Aborted, Cut uint64
	Conns, Busy, UpstreamConns                  int64
}

// Totals reads the counters; it may be called from any goroutine.
func (g *Group) Totals() (t Totals) {
	for _, l := range g.loops {
		s := &l.Stats
		t.Accepted += s.Accepted.Load()
		t.Requests += s.Requests.Load()
		t.Malformed += s.Malformed.Load()
		t.Aborted += s.Aborted.Load()
		t.Cut += s.Cut.Load()
		t.Conns += s.Conns.Load()
		t.Busy += s.Busy.Load()
		t.UpstreamConns += s.UpstreamConns.Load()
	}
	return t
}
