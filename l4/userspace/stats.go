package userspace

import (
	"sync"
	"sync/atomic"
)

// Reason says why a connection or datagram was not proxied.
type Reason uint8

// The reasons.
const (
	ReasonRoute         Reason = iota // no stream route matches
	ReasonPlugin                      // a plugin refused it
	ReasonProxyProtocol               // no valid PROXY protocol header
	ReasonTLS                         // the handshake failed, or no ClientHello could be read
	ReasonLimit                       // too many connections
	ReasonUpstream                    // no node could be reached
	reasons
)

var reasonNames = [reasons]string{"route", "plugin", "proxy_protocol", "tls", "limit", "upstream"}

// String is the label of metrics.
func (r Reason) String() string { return reasonNames[r] }

// Reasons lists every reason.
func Reasons() []Reason {
	all := make([]Reason, reasons)
	for i := range all {
		all[i] = Reason(i)
	}
	return all
}

// Stats are the counters of a Plane.
type Stats struct {
	// Accepted counts connections, Active those that are open, Sessions the UDP sessions that are open.
	Accepted         atomic.Uint64
	Active, Sessions atomic.Int64
	// SessionsTotal counts UDP sessions, Evicted those that ended early to make room for another.
	SessionsTotal, Evicted atomic.Uint64
	PluginPanics           atomic.Uint64
	refused                [reasons]atomic.Uint64
}

// Refused counts connections and sessions that were not proxied for a reason.
func (s *Stats) Refused(r Reason) uint64 { return s.refused[r].Load() }

// RouteStats are the counters of one stream route. They survive edits of the route.
type RouteStats struct {
	// Total counts connections and UDP sessions, Active those that are open.
	Total  atomic.Uint64
	Active atomic.Int64
	// BytesIn and BytesOut are what clients sent and got, added when a connection ends.
	BytesIn, BytesOut atomic.Uint64
}

// routeStats finds the counters of a route by id.
type routeStats struct {
	mu  sync.Mutex
	all map[string]*RouteStats
}

func (s *routeStats) of(id string) *RouteStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[string]*RouteStats{}
	}
	if s.all[id] == nil {
		s.all[id] = &RouteStats{}
	}
	return s.all[id]
}

// retain forgets the counters of routes that are gone and have no connections.
func (s *routeStats) retain(live map[string]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, r := range s.all {
		if !live[id] && r.Active.Load() == 0 {
			delete(s.all, id)
		}
	}
}

func (s *routeStats) each(f func(id string, r *RouteStats)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, r := range s.all {
		f(id, r)
	}
}
