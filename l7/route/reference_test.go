package route

import (
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strings"

	"github.com/sluice-gateway/sluice/l7/plugin"
	"github.com/sluice-gateway/sluice/l7/plugin/ipset"
)

// reference is the slow and obvious matcher: every candidate of every route, sorted by the rules of lua-resty-radixtree 2.9.2 as APISIX calls it,
// the first that holds wins.
type reference struct {
	mode Mode
	defs []*Def
}

// candidate is one host (or none) and one URI of a route that the request's host and path match.
type candidate struct {
	def                *Def
	host, uri, key     string
	hostRank, hostSize int
	exact              bool
	params             map[string]string
}

var splitWild = regexp.MustCompile(`^[:*]`)

func (r *reference) match(ex *plugin.Exchange, path string) (*candidate, bool) {
	var all []*candidate
	for _, d := range r.defs {
		for _, h := range r.hosts(d, ex) {
			for _, u := range d.URIs {
				if c := r.uri(d, u, path); c != nil {
					c.host, c.hostRank, c.hostSize = h.host, h.hostRank, h.hostSize
					all = append(all, c)
				}
			}
		}
	}
	sort.SliceStable(all, func(i, j int) bool {
		a, b := all[i], all[j]
		switch {
		case a.hostRank != b.hostRank:
			return a.hostRank < b.hostRank
		case a.hostSize != b.hostSize:
			return a.hostSize > b.hostSize
		case a.exact != b.exact:
			return a.exact
		case len(a.key) != len(b.key):
			return len(a.key) > len(b.key)
		case a.def.Priority != b.def.Priority:
			return a.def.Priority > b.def.Priority
		case len(a.uri) != len(b.uri):
			return len(a.uri) > len(b.uri)
		case a.def.Created != b.def.Created:
			return a.def.Created < b.def.Created
		case a.def.ID != b.def.ID:
			return a.def.ID < b.def.ID
		}
		return a.uri < b.uri
	})
	if len(all) == 0 {
		return nil, false
	}
	return all[0], true
}

// hosts returns the ways in which the other conditions of d hold for ex: one candidate for each host in radixtree_host_uri, and at most one elsewhere.
func (r *reference) hosts(d *Def, ex *plugin.Exchange) (list []candidate) {
	if len(d.Methods) > 0 && !slices.Contains(d.Methods, string(ex.Request.Method)) {
		return nil
	}
	if len(d.RemoteAddrs) > 0 {
		set, err := ipset.New(d.RemoteAddrs)
		if err != nil || !set.Contains(ex.Client.Addr()) {
			return nil
		}
	}
	if !d.Vars.Eval(ex) {
		return nil
	}
	if len(d.Hosts) == 0 {
		return []candidate{{hostRank: 2}}
	}
	for _, h := range d.Hosts {
		low := strings.ToLower(h)
		suffix, wildcard := strings.CutPrefix(low, "*")
		host := string(ex.Request.Host)
		if strings.Contains(suffix, ":") {
			host = strings.ToLower(string(ex.Request.HostPort))
		}
		if wildcard && !strings.HasSuffix(host, suffix) || !wildcard && host != suffix {
			continue
		}
		c := candidate{host: low, hostSize: len(strings.Split(suffix, ":")[0])}
		if wildcard {
			c.hostRank = 1
		}
		if r.mode != RadixtreeHostURI {
			c.hostRank, c.hostSize = 2, 0
			return []candidate{c}
		}
		list = append(list, c)
	}
	return list
}

func (r *reference) uri(d *Def, uri, path string) *candidate {
	c := &candidate{def: d, uri: uri, params: map[string]string{}}
	wild := "*"
	if r.mode == RadixtreeURIWithParameter {
		wild = "*:"
	}
	cut := strings.IndexAny(uri, wild)
	if cut < 0 {
		c.key, c.exact = uri, true
		if path != uri {
			return nil
		}
		return c
	}
	c.key = uri[:cut]
	if !strings.HasPrefix(path, c.key) {
		return nil
	}
	// The fixed part of the URI up to the segment that ends it is literal, whatever it looks like.
	start := strings.LastIndexByte(c.key, '/') + 1
	var names []string
	var pat strings.Builder
	fixed, slash := strings.CutSuffix(uri[start:], "/?")
	if slash && start+len(fixed) < cut {
		fixed, slash = uri[start:], false
	}
	for i, seg := range strings.Split(fixed, "/") {
		if i > 0 {
			pat.WriteString("/")
		}
		switch {
		case strings.HasPrefix(seg, ":"):
			names = append(names, seg[1:])
			pat.WriteString("([^/]+)")
		case seg == "*":
			names = append(names, ":ext")
			pat.WriteString("((?s:.*))")
		case splitWild.MatchString(seg):
			names = append(names, seg[1:])
			pat.WriteString("((?s:.*))")
		default:
			pat.WriteString(regexp.QuoteMeta(seg))
		}
	}
	if len(names) == 0 {
		return c
	}
	if slash {
		pat.WriteString("/?")
	}
	m := regexp.MustCompile(`\A` + widen(pat.String()) + `\z`).FindStringSubmatch(widen(path[start:]))
	if m == nil {
		return nil
	}
	for i, n := range names {
		c.params[n] = narrow(m[i+1])
	}
	return c
}

// widen makes every byte a code point, because regexp takes UTF-8 only; narrow is its inverse.
func widen(s string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteRune(rune(s[i]))
	}
	return b.String()
}

func narrow(s string) string {
	var b strings.Builder
	for _, r := range s {
		b.WriteByte(byte(r))
	}
	return b.String()
}

func (c *candidate) String() string {
	return fmt.Sprintf("route %s uri %s host %s", c.def.ID, c.uri, c.host)
}
