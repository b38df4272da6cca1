package route

import (
	"errors"
	"fmt"
	"strings"

	"github.com/sluice-gateway/sluice/l7/plugin"
	"github.com/sluice-gateway/sluice/l7/plugin/expr"
	"github.com/sluice-gateway/sluice/l7/plugin/ipset"
)

// compiled is a route with the entries that stand for it in the trees.
type compiled struct {
	def *Def
	// entries are in the tree for all hosts; hosts lists the host trees in the mode that has them.
	entries []*entry
	hosts   []hostPlace
}

// hostPlace is one host of a route.
type hostPlace struct {
	// key is the name without port, or the reversed suffix after "*"; pattern is the host in lower case without port.
	key, pattern string
	wildcard     bool
	// any is set when the route has the name without a port; otherwise the entries check ports, because the tree is over names.
	any     bool
	ports   []hostCondition
	entries []*entry
}

// entry is one URI of a route at its place in a path tree.
type entry struct {
	methods uint32
	// pattern is set when uri has parameters; rest is then the name of the only one, when that is all that follows the prefix.
	pattern bool
	keyLen  uint16
	rest    string
	uri     *uriPattern
	cond    *conditions
	def     *Def
	written string
}

// conditions are what a route asks for beyond path and method. A nil member always holds.
type conditions struct {
	addrs *ipset.Set
	hosts []hostCondition
	vars  *expr.Expr
}

// hostCondition is a host checked by comparing.
type hostCondition struct {
	pattern  string
	suffix   string
	wildcard bool
	port     bool
}

func compile(d *Def, mode Mode) (*compiled, error) {
	if len(d.URIs) == 0 {
		return nil, errors.New("field uri: it is missing")
	}
	if len(d.URIs)*max(1, len(d.Hosts)) > MaxPlaces {
		return nil, fmt.Errorf("field uris: %d URIs for %d hosts, at most %d in all are allowed", len(d.URIs), len(d.Hosts), MaxPlaces)
	}
	var methods uint32
	for _, m := range d.Methods {
		bit := methodBit(m)
		if bit == 0 {
			return nil, fmt.Errorf("field methods: %q is none of %s", m, strings.Join(methodNames[:], ", "))
		}
		methods |= bit
	}
	base := conditions{}
	if !d.Vars.Always() {
		base.vars = d.Vars
	}
	if len(d.RemoteAddrs) > 0 {
		set, err := ipset.New(d.RemoteAddrs)
		if err != nil {
			return nil, fmt.Errorf("field remote_addrs: %w", err)
		}
		base.addrs = set
	}
	hosts := make([]hostCondition, len(d.Hosts))
	for i, h := range d.Hosts {
		c, err := compileHost(h)
		if err != nil {
			return nil, fmt.Errorf("field hosts: %w", err)
		}
		hosts[i] = c
	}
	uris := make([]*uriPattern, len(d.URIs))
	for i, u := range d.URIs {
		if u == "" || len(u) > MaxURI {
			return nil, fmt.Errorf("field uris: URI %d is %d bytes long, want 1 to %d", i+1, len(u), MaxURI)
		}
		p, err := compileURI(u, mode == RadixtreeURIWithParameter)
		if err != nil {
			return nil, fmt.Errorf("field uris: %q: %w", u, err)
		}
		uris[i] = p
	}
	entries := func(cond conditions) []*entry {
		var shared *conditions
		if cond.addrs != nil || cond.hosts != nil || cond.vars != nil {
			shared = &cond
		}
		list := make([]*entry, len(uris))
		for i, u := range uris {
			e := &entry{methods: methods, pattern: len(u.names) > 0, keyLen: uint16(len(u.key)), uri: u, cond: shared, def: d, written: d.URIs[i]}
			if e.pattern && len(u.tokens) == 0 {
				e.rest = u.names[0]
			}
			list[i] = e
		}
		return list
	}
	c := &compiled{def: d}
	if len(hosts) == 0 || mode != RadixtreeHostURI {
		if len(hosts) > 0 {
			base.hosts = hosts
		}
		c.entries = entries(base)
		return c, nil
	}
	plain := entries(base)
	type place struct {
		key      string
		wildcard bool
	}
	at := make(map[place]int, len(hosts))
	for _, h := range hosts {
		name := h.suffix
		if h.port {
			name = name[:strings.LastIndexByte(name, ':')]
		}
		p := place{name, h.wildcard}
		if h.wildcard {
			p.key = reverse(name)
		}
		i, seen := at[p]
		if !seen {
			i = len(c.hosts)
			at[p] = i
			pattern := name
			if h.wildcard {
				pattern = "*" + name
			}
			c.hosts = append(c.hosts, hostPlace{key: p.key, wildcard: h.wildcard, pattern: pattern})
		}
		if c.hosts[i].any = c.hosts[i].any || !h.port; h.port {
			c.hosts[i].ports = append(c.hosts[i].ports, h)
		}
	}
	for i := range c.hosts {
		h := &c.hosts[i]
		if h.entries = plain; !h.any {
			cond := base
			cond.hosts = h.ports
			h.entries = entries(cond)
		}
	}
	return c, nil
}

func compileHost(h string) (hostCondition, error) {
	if h == "" || len(h) > MaxHost {
		return hostCondition{}, fmt.Errorf("host %q is %d bytes long, want 1 to %d", h, len(h), MaxHost)
	}
	c := hostCondition{pattern: lower(h)}
	c.suffix, c.wildcard = strings.CutPrefix(c.pattern, "*")
	if strings.Contains(c.suffix, "*") {
		return c, fmt.Errorf("host %q: a \"*\" is allowed in the first place only", h)
	}
	// An IPv6 address in brackets has colons of its own.
	c.port = strings.LastIndexByte(c.suffix, ':') > strings.LastIndexByte(c.suffix, ']')
	return c, nil
}

// lower maps ASCII letters only, as requests are read. Other bytes stay, so that the length does.
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

func reverse(s string) string {
	b := []byte(s)
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
	return string(b)
}

// holds checks the conditions; host is the pattern of the host that matched, if hosts are among them.
func (c *conditions) holds(ex *plugin.Exchange) (host string, ok bool) {
	if c.addrs != nil && !c.addrs.Contains(ex.Client.Addr()) {
		return "", false
	}
	if c.hosts != nil {
		i := 0
		for i < len(c.hosts) && !c.hosts[i].holds(ex) {
			i++
		}
		if i == len(c.hosts) {
			return "", false
		}
		host = c.hosts[i].pattern
	}
	return host, c.vars.Eval(ex)
}

func (h *hostCondition) holds(ex *plugin.Exchange) bool {
	host := ex.Request.Host
	if h.port {
		host = ex.Request.HostPort
	}
	if n := len(host) - len(h.suffix); n > 0 && h.wildcard {
		host = host[n:]
	}
	return plugin.EqualFold(host, h.suffix)
}

var methodNames = [...]string{"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "CONNECT", "TRACE", "PURGE",
	"PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "SEARCH", "REPORT"}

// methodBit is the place of a method in a set, 0 for one that no set can hold. The methods after PURGE are WebDAV's.
func methodBit(m string) uint32 {
	switch m {
	case "GET":
		return 1 << 0
	case "POST":
		return 1 << 1
	case "PUT":
		return 1 << 2
	case "DELETE":
		return 1 << 3
	case "PATCH":
		return 1 << 4
	case "HEAD":
		return 1 << 5
	case "OPTIONS":
		return 1 << 6
	}
	for i, n := range methodNames {
		if n == m {
			return 1 << i
		}
	}
	return 0
}
