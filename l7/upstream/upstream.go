package upstream

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/control/snapshot"
	"github.com/sluice-gateway/sluice/l7/plugin"
)

// PassHost says which Host an upstream gets.
type PassHost uint8

// The values of pass_host.
const (
	HostPass    PassHost = iota // the client's
	HostNode                    // the node's, Node.HostFor
	HostRewrite                 // Upstream.Host
)

// Timeouts bound the steps of one attempt.
type Timeouts struct {
	Connect, Send, Read time.Duration
}

// Keepalive bounds the idle connections to the nodes of an upstream.
type Keepalive struct {
	// Size is the number of idle connections, Requests the most requests on one connection.
	Size, Requests int
	// IdleTimeout is how long a connection may be idle; 0 is for ever.
	IdleTimeout time.Duration
}

// Upstream is a compiled snapshot.Upstream. The exported fields are read-only.
type Upstream struct {
	// Conf is what it was compiled from.
	Conf *snapshot.Upstream
	// Scheme is http, https, grpc, grpcs, tcp, udp, tls or kafka; TLS tells whether that means TLS to the nodes.
	Scheme string
	TLS    bool
	// PassHost and Host say what goes upstream as Host; Host belongs to HostRewrite.
	PassHost PassHost
	Host     []byte
	// Timeouts are the upstream's own; a route may override them (TimeoutsOf).
	Timeouts Timeouts
	// RetryTimeout bounds the time in which another attempt may begin, counted from the first; 0 is no bound.
	RetryTimeout time.Duration
	Keepalive    Keepalive

	retries int // -1: number of nodes - 1
	kind    kind
	key     func(ex *plugin.Exchange) ([]byte, bool)
	counts  bool // in-flight attempts matter to the balancer
	set     *Set
	names   []*name // the resolver's entry of each configured node, nil for an address

	mu    sync.Mutex // one rebuild at a time
	table atomic.Pointer[table]
}

// kind is the balancer.
type kind uint8

const (
	roundRobinKind kind = iota
	chashKind
	ewmaKind
	leastConnKind
)

// The defaults of APISIX where a configuration says nothing (apisix/schema_def.lua, nginx_config.http.upstream of its config.yaml).
const (
	defaultTimeout           = 60 * time.Second
	defaultKeepaliveSize     = 320
	defaultKeepaliveRequests = 1000
	defaultKeepaliveIdle     = 60 * time.Second
)

// maxRetries bounds the attempts that follow a first one, whatever is configured: one request must not keep a loop busy.
const maxRetries = 64

// maxWeight bounds a node's weight so that sums of shares fit 64 bits. APISIX's own tests use weights of 4,000,000,000.
const maxWeight = 100_000_000_000

// TimeoutsOf converts a snapshot's timeouts; a step without a value gets base's. The error names the field.
func TimeoutsOf(t *snapshot.Timeout, base Timeouts) (Timeouts, error) {
	if t == nil {
		return base, nil
	}
	for _, f := range []struct {
		name string
		sec  float64
		to   *time.Duration
	}{{"timeout.connect", t.Connect, &base.Connect}, {"timeout.send", t.Send, &base.Send}, {"timeout.read", t.Read, &base.Read}} {
		d, err := seconds(f.name, f.sec)
		if err != nil {
			return Timeouts{}, err
		}
		if d > 0 {
			*f.to = d
		}
	}
	return base, nil
}

// seconds converts a configured number of seconds, which may be a fraction.
func seconds(field string, s float64) (time.Duration, error) {
	const most = float64(math.MaxInt64/int64(time.Second)) - 1
	if math.IsNaN(s) || s < 0 || s > most {
		return 0, fmt.Errorf("%s: %v is not a number of seconds from 0 to %.0f", field, s, most)
	}
	return time.Duration(s * float64(time.Second)), nil
}

// compile checks c and converts what does not depend on addresses.
func compile(c *snapshot.Upstream) (*Upstream, error) {
	u := &Upstream{Conf: c, Scheme: c.Scheme, Host: []byte(c.UpstreamHost), retries: -1,
		Timeouts:  Timeouts{defaultTimeout, defaultTimeout, defaultTimeout},
		Keepalive: Keepalive{Size: defaultKeepaliveSize, Requests: defaultKeepaliveRequests, IdleTimeout: defaultKeepaliveIdle}}
	switch c.Scheme {
	case "http", "grpc", "tcp", "udp", "kafka":
	case "https", "grpcs", "tls":
		u.TLS = true
	case "":
		u.Scheme = "http"
	default:
		return nil, fmt.Errorf("scheme: %q is none of http, https, grpc, grpcs, tcp, udp, tls, kafka", c.Scheme)
	}
	switch c.PassHost {
	case "", "pass":
	case "node":
		u.PassHost = HostNode
	case "rewrite":
		u.PassHost = HostRewrite
		if c.UpstreamHost == "" {
			return nil, fmt.Errorf("upstream_host: needed when pass_host is rewrite")
		}
	default:
		return nil, fmt.Errorf("pass_host: %q is none of pass, node, rewrite", c.PassHost)
	}
	var err error
	if u.Timeouts, err = TimeoutsOf(&c.Timeout, u.Timeouts); err != nil {
		return nil, err
	}
	if u.RetryTimeout, err = seconds("retry_timeout", c.RetryTimeout); err != nil {
		return nil, err
	}
	if c.Retries != nil && *c.Retries >= 0 {
		u.retries = min(*c.Retries, maxRetries)
	}
	if k := c.KeepalivePool; k.Size > 0 {
		u.Keepalive.Size = k.Size
		if u.Keepalive.IdleTimeout, err = seconds("keepalive_pool.idle_timeout", k.IdleTimeout); err != nil {
			return nil, err
		}
		if k.Requests > 0 {
			u.Keepalive.Requests = k.Requests
		}
	}
	if err := u.compileType(c); err != nil {
		return nil, err
	}
	for i := range c.Nodes {
		if err := checkNode(&c.Nodes[i]); err != nil {
			return nil, fmt.Errorf("nodes[%d].%w", i, err)
		}
	}
	return u, nil
}

func (u *Upstream) compileType(c *snapshot.Upstream) error {
	switch c.Type {
	case "", "roundrobin":
		u.kind = roundRobinKind
	case "chash":
		u.kind = chashKind
		var err error
		u.key, err = compileKey(c.HashOn, c.Key)
		return err
	case "ewma":
		u.kind, u.counts = ewmaKind, true
	case "least_conn":
		u.kind, u.counts = leastConnKind, true
	default:
		return fmt.Errorf("type: %q is none of roundrobin, chash, ewma, least_conn", c.Type)
	}
	return nil
}

func checkNode(n *snapshot.Node) error {
	if n.Port < 1 || n.Port > 65535 {
		return fmt.Errorf("port: %d is not from 1 to 65535", n.Port)
	}
	if n.Weight < 0 || n.Weight > maxWeight {
		return fmt.Errorf("weight: %d is not from 0 to %d", n.Weight, maxWeight)
	}
	if _, ok := literal(n.Host); ok {
		return nil
	}
	if n.Host == "" || len(n.Host) > 253 || strings.ContainsAny(n.Host, "[]:/ \t\r\n\x00") {
		return fmt.Errorf("host: %q is neither an IP address nor a domain name", n.Host)
	}
	return nil
}

// literal parses a host that is an address, IPv6 with or without brackets.
func literal(host string) (netip.Addr, bool) {
	if in, ok := strings.CutPrefix(host, "["); ok {
		if in, ok = strings.CutSuffix(in, "]"); !ok {
			return netip.Addr{}, false
		}
		a, err := netip.ParseAddr(in)
		return a, err == nil && a.Is6()
	}
	a, err := netip.ParseAddr(host)
	return a, err == nil
}

// Retries is how many attempts may follow the first one: as configured, or one less than there are nodes now.
func (u *Upstream) Retries() int {
	if u.retries >= 0 {
		return u.retries
	}
	return min(max(0, len(u.table.Load().nodes)-1), maxRetries)
}

// Nodes are the nodes that can be picked now, in order of configuration. The slice is read-only.
func (u *Upstream) Nodes() []*Node { return slices.Clip(u.table.Load().nodes) }

// NeedsKey tells whether Pick wants Pick.Key, the result of HashKey.
func (u *Upstream) NeedsKey() bool { return u.key != nil }

// HashKey is what a chash upstream hashes for an exchange, nil for other types. What has no value falls back to the client's address
// (apisix/balancer/chash.lua fetch_chash_hash_key).
func (u *Upstream) HashKey(ex *plugin.Exchange) []byte {
	if u.key == nil {
		return nil
	}
	if v, ok := u.key(ex); ok {
		return v
	}
	return ex.Client.Addr().Unmap().AppendTo(ex.Alloc(48)[:0])
}

// compileKey compiles hash_on and key.
func compileKey(on, key string) (func(ex *plugin.Exchange) ([]byte, bool), error) {
	if key == "" && on != "consumer" {
		return nil, fmt.Errorf("key: needed when type is chash, unless hash_on is consumer")
	}
	switch on {
	case "", "vars":
		return plugin.CompileVar(key), nil
	case "header":
		return plugin.CompileVar("http_" + key), nil
	case "cookie":
		return plugin.CompileVar("cookie_" + key), nil
	case "consumer":
		return plugin.CompileVar("consumer_name"), nil
	case "vars_combinations":
		t := plugin.CompileTemplate(key)
		return func(ex *plugin.Exchange) ([]byte, bool) {
			v, resolved := t.Eval(ex)
			return v, resolved > 0
		}, nil
	}
	return nil, fmt.Errorf("hash_on: %q is none of vars, header, cookie, consumer, vars_combinations", on)
}
