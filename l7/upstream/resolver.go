package upstream

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// ResolverOptions say how names become addresses. The zero value of a field means its default.
type ResolverOptions struct {
	// Servers are name servers as "ip:port" (apisix.dns_resolver); empty means those of ResolvConf.
	Servers []string
	// Valid overrides the TTL of every record (apisix.dns_resolver_valid).
	Valid time.Duration
	// Timeout bounds one query to one server (apisix.resolver_timeout); default 5 s.
	Timeout time.Duration
	// IPv6 allows AAAA records (apisix.enable_ipv6).
	IPv6 bool
	// Search uses the search list and ndots of ResolvConf (apisix.enable_resolv_search_opt).
	Search bool
	// MinTTL and MaxTTL bound how long an answer is used; default 1 s and 1 h.
	MinTTL, MaxTTL time.Duration
	// HostsFile and ResolvConf default to /etc/hosts and /etc/resolv.conf.
	HostsFile, ResolvConf string
}

const (
	// maxLookups is how many names are looked up at the same time.
	maxLookups = 32
	// maxAddrs is how many addresses of one name are used, the lowest ones.
	maxAddrs = 64
	// maxRetryDelay bounds the time between attempts to resolve a name that fails; the first is MinTTL.
	maxRetryDelay = 30 * time.Second
)

// Resolver keeps the addresses of names up to date: it looks a name up again shortly before its answer expires and keeps the last good answer when
// that fails. Names are looked up in the hosts file first, then in DNS. A name's addresses are all its A records; AAAA records count only
// when there is no A record, as in APISIX (apisix/core/resolver.lua, apisix/core/utils.lua dns_parse). Unlike APISIX, which takes one record
// at random at each lookup, all addresses become nodes and share the weight of the configured node: load then spreads evenly at once,
// retries reach the other addresses, and a dead address is avoided.
type Resolver struct {
	opts   ResolverOptions
	log    *slog.Logger
	dns    *dnsClient
	hosts  *hostsFile
	ctx    context.Context
	cancel context.CancelFunc
	slots  chan struct{}
	wg     sync.WaitGroup

	mu     sync.Mutex
	names  map[string]*name
	closed bool
}

// name is what the resolver knows about a domain name.
type name struct {
	host  string
	first chan struct{} // closed at the first outcome

	r        *Resolver
	addrs    []netip.Addr // immutable; under r.mu
	failures int
	settled  bool
	subs     map[*Upstream]int
	timer    *time.Timer
}

// NewResolver returns a resolver without names. Close ends it.
func NewResolver(o ResolverOptions, log *slog.Logger) *Resolver {
	if o.Timeout <= 0 {
		o.Timeout = 5 * time.Second
	}
	if o.MinTTL <= 0 {
		o.MinTTL = time.Second
	}
	if o.MaxTTL <= 0 {
		o.MaxTTL = time.Hour
	}
	if o.HostsFile == "" {
		o.HostsFile = "/etc/hosts"
	}
	if o.ResolvConf == "" {
		o.ResolvConf = "/etc/resolv.conf"
	}
	r := &Resolver{opts: o, log: log, dns: newDNSClient(o), hosts: &hostsFile{path: o.HostsFile},
		slots: make(chan struct{}, maxLookups), names: map[string]*name{}}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// Close stops lookups and waits for those under way.
func (r *Resolver) Close() {
	r.mu.Lock()
	r.closed = true
	for _, n := range r.names {
		if n.timer != nil {
			n.timer.Stop()
		}
	}
	r.mu.Unlock()
	r.cancel()
	r.wg.Wait()
}

// subscribe makes u's table follow the addresses of a name.
func (r *Resolver) subscribe(host string, u *Upstream) *name {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.names[host]
	if n == nil {
		n = &name{host: host, first: make(chan struct{}), r: r, subs: map[*Upstream]int{}}
		r.names[host] = n
		r.start(n)
	}
	n.subs[u]++
	return n
}

// unsubscribe undoes one subscribe. A name that nobody follows is forgotten.
func (r *Resolver) unsubscribe(n *name, u *Upstream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n.subs[u]--; n.subs[u] <= 0 {
		delete(n.subs, u)
	}
	if len(n.subs) > 0 {
		return
	}
	if n.timer != nil {
		n.timer.Stop()
	}
	if r.names[n.host] == n {
		delete(r.names, n.host)
	}
}

// addresses are the name's addresses now, nil when it has none yet.
func (n *name) addresses() []netip.Addr {
	n.r.mu.Lock()
	defer n.r.mu.Unlock()
	return n.addrs
}

// start begins a lookup; r.mu is held.
func (r *Resolver) start(n *name) {
	if r.closed {
		return
	}
	r.wg.Go(func() {
		select {
		case r.slots <- struct{}{}:
			defer func() { <-r.slots }()
		case <-r.ctx.Done():
			return
		}
		addrs, ttl, err := r.Lookup(r.ctx, n.host)
		if r.ctx.Err() == nil {
			r.settle(n, addrs, ttl, err)
		}
	})
}

// settle records the outcome of a lookup and plans the next.
func (r *Resolver) settle(n *name, addrs []netip.Addr, ttl time.Duration, err error) {
	r.mu.Lock()
	changed, wasDown, first := false, n.failures > 0, !n.settled
	n.settled = true
	next := ttl - ttl/10
	if err != nil {
		next = min(r.opts.MinTTL<<min(n.failures, 16), maxRetryDelay)
		n.failures++
	} else {
		n.failures = 0
		changed = !slices.Equal(addrs, n.addrs)
		n.addrs = addrs
	}
	kept := len(n.addrs)
	var subs []*Upstream
	if changed {
		for u := range n.subs {
			subs = append(subs, u)
		}
	}
	if !r.closed && len(n.subs) > 0 {
		n.timer = time.AfterFunc(next, func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.names[n.host] == n {
				r.start(n)
			}
		})
	}
	r.mu.Unlock()

	for _, u := range subs {
		u.rebuild()
	}
	switch {
	case err != nil && !wasDown:
		r.log.Warn("upstream host cannot be resolved, last addresses are kept", "host", n.host, "addresses", kept, "err", err)
	case err == nil && wasDown:
		r.log.Info("upstream host resolves again", "host", n.host, "addresses", kept)
	}
	if first {
		close(n.first) // after the tables were rebuilt, which is what waiters want to see
	}
}

// Lookup resolves a host once. The addresses are sorted and without repeats, at least one when err is nil; ttl is how long they may be
// used, within the configured bounds.
func (r *Resolver) Lookup(ctx context.Context, host string) (addrs []netip.Addr, ttl time.Duration, err error) {
	if addrs := r.hosts.lookup(host, r.opts.IPv6); len(addrs) > 0 {
		return tidy(addrs), max(hostsTTL, r.opts.MinTTL), nil
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		// RFC 6761 section 6.3: never asked of DNS.
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}, r.opts.MaxTTL, nil
	}
	addrs, ttl, err = r.dns.lookup(ctx, host)
	if err != nil {
		return nil, 0, err
	}
	if r.opts.Valid > 0 {
		return tidy(addrs), r.opts.Valid, nil
	}
	return tidy(addrs), min(max(ttl, r.opts.MinTTL), r.opts.MaxTTL), nil
}

// tidy sorts, takes out repeats and bounds the number.
func tidy(addrs []netip.Addr) []netip.Addr {
	addrs = slices.Clone(addrs)
	slices.SortFunc(addrs, netip.Addr.Compare)
	addrs = slices.Compact(addrs)
	return slices.Clip(addrs[:min(len(addrs), maxAddrs)])
}
