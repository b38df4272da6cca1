package upstream

import "time"

// Event is what came of an attempt.
type Event uint8

// The events. Only ConnectError and ConnectTimeout make other requests avoid the node for a while: they say something about the node,
// whereas a reset or a slow answer may be one request's own doing, and a client must not be able to take nodes away from others.
const (
	// Success: a response head arrived, whatever its status.
	Success Event = iota
	// ConnectError: the connection was refused or unreachable.
	ConnectError
	// ConnectTimeout: no connection in time.
	ConnectTimeout
	// Timeout: connected, but sending or waiting for the head took too long.
	Timeout
	// Reset: connected, but the connection ended before a response head.
	Reset
)

// FailureMemory says how long a node is avoided after it failed: First after one failure, twice as long after each failure that follows, Max
// at most. When the time is over one request probes the node; success ends it. First 0 turns the memory off.
type FailureMemory struct {
	First, Max time.Duration
}

// period is how long to avoid a node after that many failures in a row, in nanoseconds.
func (m FailureMemory) period(fails int32) int64 {
	d := m.First
	for i := int32(1); i < fails && d < m.Max; i++ {
		d *= 2
	}
	return int64(min(d, m.Max))
}

// Report records what came of an attempt. rtt is the time from the start of the attempt to the response head (or to the timeout), now the
// time of plugin.Clock in nanoseconds.
func (u *Upstream) Report(n *Node, ev Event, rtt time.Duration, now int64) {
	switch ev {
	case ConnectError, ConnectTimeout:
		if u.set.memory.First > 0 {
			n.st.fail(now, u.set.memory)
		}
	case Success:
		n.st.succeed()
	}
	if u.kind == ewmaKind && (ev == Success || ev == Timeout) {
		n.st.ewma.observe(now, rtt)
	}
}

// failed tells whether the node is to be avoided.
func (s *state) failed(now int64) bool {
	t := s.until.Load()
	return t != 0 && now < t
}

func (s *state) succeed() {
	if s.until.Load() != 0 {
		s.fails.Store(0)
		s.until.Store(0)
	}
}

// fail records a failure. Failures of attempts that began before the node was known to be down arrive in a bunch and count once.
func (s *state) fail(now int64, m FailureMemory) {
	t := s.until.Load()
	if t != 0 && now < t {
		return
	}
	f := s.fails.Load() + 1
	if s.until.CompareAndSwap(t, now+m.period(f)) {
		s.fails.Store(f)
	}
}

// probe tells whether a request may use the node at level fresh. After a failure's time is over it lets one through and counts that as a
// failure in advance, so a probe that nobody reports on costs the node one more period and never blocks it for ever.
func (s *state) probe(now int64, m FailureMemory) bool {
	t := s.until.Load()
	if t == 0 {
		return true
	}
	if now < t {
		return false
	}
	f := s.fails.Load() + 1
	if !s.until.CompareAndSwap(t, now+m.period(f)) {
		return false
	}
	s.fails.Store(f)
	return true
}
