package upstream

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/sluice-gateway/sluice/control/snapshot"
	"github.com/sluice-gateway/sluice/l7/plugin"
)

// Options configure a Set. The zero value of a field means its default.
type Options struct {
	// Loops is the number of event loops; default 1.
	Loops int
	// Resolver says how names become addresses.
	Resolver ResolverOptions
	// FirstWait bounds the time that Get waits for the first addresses of an upstream's names, and all calls of Get together within ten times
	// that time, so that a configuration with many names loads when DNS is down. Default 300 ms; negative turns waiting off.
	FirstWait time.Duration
	// Memory says how long a node that refused a connection is avoided; default 1 s doubling to 10 s. First negative turns it off.
	Memory FailureMemory
	// Logger defaults to slog.Default.
	Logger *slog.Logger
	// Clock is monotonic time in nanoseconds; default plugin.Clock.
	Clock func() int64
}

// Set owns the compiled upstreams of a plane, what their nodes remember, and the resolver.
type Set struct {
	loops     int
	memory    FailureMemory
	firstWait time.Duration
	clock     func() int64
	registry  *registry
	resolver  *Resolver

	mu        sync.Mutex
	compiled  map[*snapshot.Upstream]*Upstream
	waited    time.Duration // spent waiting in Get since waitedAt
	waitStart int64
	closed    bool
}

// NewSet starts an empty set. Close ends it.
func NewSet(o Options) *Set {
	s := &Set{loops: max(1, o.Loops), memory: o.Memory, firstWait: o.FirstWait, clock: o.Clock, registry: newRegistry(),
		compiled: map[*snapshot.Upstream]*Upstream{}}
	if s.memory.First == 0 {
		s.memory = FailureMemory{First: time.Second, Max: 10 * time.Second}
	}
	s.memory.First = max(0, s.memory.First)
	s.memory.Max = max(s.memory.First, s.memory.Max)
	if s.firstWait == 0 {
		s.firstWait = 300 * time.Millisecond
	}
	if s.clock == nil {
		s.clock = plugin.Clock
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	s.resolver = NewResolver(o.Resolver, o.Logger)
	return s
}

// Close stops the resolver and waits for it. Upstreams stay usable with the addresses that they have.
func (s *Set) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.resolver.Close()
}

// Get returns the compiled form of c, compiling it when it is new. The same pointer gives the same Upstream until Retain drops it. The error
// names the field. When names have to be resolved Get waits a short time for them (Options.FirstWait); it is no error when they do not
// get an address: Pick says ErrNoNodes until they do.
func (s *Set) Get(c *snapshot.Upstream) (*Upstream, error) {
	s.mu.Lock()
	u := s.compiled[c]
	s.mu.Unlock()
	if u != nil {
		return u, nil
	}
	u, err := compile(c)
	if err != nil {
		return nil, fmt.Errorf("compile upstream %s: %w", c.Resource, err)
	}
	u.set = s
	u.subscribe()

	s.mu.Lock()
	if other := s.compiled[c]; other != nil || s.closed {
		s.mu.Unlock()
		u.unsubscribe()
		if other == nil {
			return u, nil
		}
		return other, nil
	}
	s.compiled[c] = u
	s.mu.Unlock()
	s.await(u)
	return u, nil
}

// await waits for the first outcome of u's names within what is left of the budget.
func (s *Set) await(u *Upstream) {
	s.mu.Lock()
	now := s.clock()
	if s.waitStart == 0 || time.Duration(now-s.waitStart) > 10*s.firstWait {
		s.waited, s.waitStart = 0, now
	}
	left := s.firstWait - s.waited
	s.mu.Unlock()
	if left <= 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), left)
	defer cancel()
	u.settle(ctx)
	s.mu.Lock()
	s.waited += time.Duration(s.clock() - now)
	s.mu.Unlock()
}

// Settle waits until every name has had its first outcome, good or bad, or ctx ends. A gateway that starts calls it once after it got all
// upstreams and before it listens.
func (s *Set) Settle(ctx context.Context) {
	s.mu.Lock()
	all := make([]*Upstream, 0, len(s.compiled))
	for _, u := range s.compiled {
		all = append(all, u)
	}
	s.mu.Unlock()
	for _, u := range all {
		u.settle(ctx)
	}
}

// Retain drops every upstream that live does not name. An engine calls it after it switched to a new snapshot, so that what both
// snapshots need is never compiled twice and no state is lost in between. Requests that still hold a dropped Upstream go on; its names are just not
// resolved again.
func (s *Set) Retain(live func(*snapshot.Upstream) bool) {
	var gone []*Upstream
	s.mu.Lock()
	for c, u := range s.compiled {
		if !live(c) {
			delete(s.compiled, c)
			gone = append(gone, u)
		}
	}
	s.mu.Unlock()
	for _, u := range gone {
		u.unsubscribe()
	}
}

// settle waits for the first outcome of u's names.
func (u *Upstream) settle(ctx context.Context) {
	for _, n := range u.names {
		if n == nil {
			continue
		}
		select {
		case <-n.first:
		case <-ctx.Done():
			return
		}
	}
}

// subscribe has u's names resolved and makes its first table. The lock keeps out the resolver, which may have an answer, and call rebuild,
// before all names are there.
func (u *Upstream) subscribe() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.names = make([]*name, len(u.Conf.Nodes))
	for i := range u.Conf.Nodes {
		if _, ok := literal(u.Conf.Nodes[i].Host); !ok {
			u.names[i] = u.set.resolver.subscribe(u.Conf.Nodes[i].Host, u)
		}
	}
	u.table.Store(u.buildTable(u.table.Load()))
}

func (u *Upstream) unsubscribe() {
	for _, n := range u.names {
		if n != nil {
			u.set.resolver.unsubscribe(n, u)
		}
	}
}

// rebuild makes and stores the table for the present addresses.
func (u *Upstream) rebuild() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.table.Store(u.buildTable(u.table.Load()))
}
