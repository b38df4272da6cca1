package upstream

import (
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"weak"
)

// Node is one resolved server of an upstream. It is immutable but for the state that it shares with the nodes of the same identity in
// other compiled configurations.
type Node struct {
	// ID identifies resource, configured host:port and address in this process; it stays the same across configuration changes and DNS answers
	// as long as somebody uses the node. It is never 0.
	ID uint64
	// Addr is where to connect.
	Addr netip.AddrPort
	// Host and Port are as configured; Host is a name or an address, IPv6 in brackets.
	Host string
	Port int
	// HostPort is "host:port" as configured, for logs and metrics.
	HostPort string
	// Weight is the configured weight, at least 1; a name's weight is shared by its addresses inside the balancer. Priority orders groups.
	Weight, Priority int

	hostOnly, hostPort []byte
	share              int64 // weight in the balancer's unit
	index              int   // position in table.nodes
	st                 *state
}

// HostFor is the Host that pass_host "node" sends under a scheme: the host alone when the port is the scheme's default, and host:port
// otherwise (apisix/balancer.lua parse_server_for_upstream_host).
func (n *Node) HostFor(scheme string) []byte {
	if p := defaultPort(scheme); p != 0 && p == n.Port {
		return n.hostOnly
	}
	return n.hostPort
}

// InFlight is the number of attempts between Pick and Release. Only upstreams of type ewma and least_conn count.
func (n *Node) InFlight() int64 { return n.st.inflight.Load() }

// Healthy tells the verdict of the health checks, true when there are none.
func (n *Node) Healthy() bool { return !n.st.unhealthy.Load() }

// SetHealthy records the verdict of the health checks; Pick honours it at once.
func (n *Node) SetHealthy(ok bool) { n.st.unhealthy.Store(!ok) }

// ResponseTime is the moving average that type ewma keeps, decayed to now; 0 when it is not known.
func (n *Node) ResponseTime(now int64) time.Duration { return time.Duration(n.st.ewma.at(now)) }

// defaultPort is the port that a scheme stands for, 0 for none (apisix/upstream.lua scheme_to_port).
func defaultPort(scheme string) int {
	switch scheme {
	case "http", "grpc":
		return 80
	case "https", "grpcs":
		return 443
	}
	return 0
}

// state is what outlives a compiled configuration. All loops share it.
type state struct {
	id        uint64
	inflight  atomic.Int64
	ewma      average
	until     atomic.Int64 // failed: not before this time; 0 when it did not fail
	fails     atomic.Int32 // failures in a row
	unhealthy atomic.Bool
}

// identity is what a state belongs to.
type identity struct {
	resource, hostPort string
	addr               netip.AddrPort
}

// registry finds the state of an identity as long as a node uses it. It holds states weakly: a compiled configuration or a request in
// flight keeps its nodes' states alive, and what nobody can reach any more cannot be reported on either.
type registry struct {
	mu     sync.Mutex
	states map[identity]weak.Pointer[state]
	nextID uint64
	purge  int // size at which dead entries are taken out
}

func newRegistry() *registry {
	return &registry{states: map[identity]weak.Pointer[state]{}, purge: 64}
}

func (r *registry) get(id identity) *state {
	r.mu.Lock()
	defer r.mu.Unlock()
	if st := r.states[id].Value(); st != nil {
		return st
	}
	if len(r.states) >= r.purge {
		for k, p := range r.states {
			if p.Value() == nil {
				delete(r.states, k)
			}
		}
		r.purge = max(64, 2*len(r.states))
	}
	r.nextID++
	st := &state{id: r.nextID}
	r.states[id] = weak.Make(st)
	return st
}

// newNode fills a node of the configured host and port at an address; its state is set by the caller.
func newNode(host string, port, weight, priority int, addr netip.AddrPort) *Node {
	n := &Node{Addr: addr, Host: host, Port: port, HostPort: host + ":" + strconv.Itoa(port),
		Weight: weight, Priority: priority, hostOnly: []byte(host)}
	n.hostPort = []byte(n.HostPort)
	return n
}

// bracketed puts an IPv6 address in brackets, as it must stand before a port and in Host (RFC 3986 section 3.2.2).
func bracketed(host string) string {
	if strings.Contains(host, ":") && !strings.HasPrefix(host, "[") {
		return "[" + host + "]"
	}
	return host
}
