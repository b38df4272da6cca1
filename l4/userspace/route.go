package userspace

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"

	"github.com/sluice-gateway/sluice/control/snapshot"
	"github.com/sluice-gateway/sluice/l7/plugin"
	"github.com/sluice-gateway/sluice/l7/upstream"
)

// route is a compiled stream route. It lives as long as a table or a connection uses it.
type route struct {
	def    *snapshot.StreamRoute
	info   plugin.RouteInfo
	remote netip.Prefix // invalid for every client
	server netip.Prefix // invalid for every address
	up     *upstream.Upstream
	tls    *tls.Config // to the nodes, nil for plain TCP
	units  []*unit     // by descending priority
	stats  *RouteStats
	refs   atomic.Int64
	warned atomic.Int64 // plugin.Clock of the newest warning
}

// newRoute compiles what does not depend on plugins. The error names the field.
func newRoute(def *snapshot.StreamRoute, up *upstream.Upstream) (*route, error) {
	r := &route{def: def, up: up, info: plugin.RouteInfo{ID: def.ID, Name: def.Name, ServiceID: def.ServiceID, ServiceName: def.ServiceName}}
	var err error
	if r.remote, err = prefix("remote_addr", def.RemoteAddr); err != nil {
		return nil, err
	}
	if r.server, err = prefix("server_addr", def.ServerAddr); err != nil {
		return nil, err
	}
	if up != nil && up.TLS {
		if r.tls, err = upstreamTLS(up.Conf.TLS); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func prefix(field, s string) (netip.Prefix, error) {
	if s == "" {
		return netip.Prefix{}, nil
	}
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%s: %q is neither an address nor a range of addresses", field, s)
	}
	a = a.Unmap()
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// upstreamTLS is how to talk TLS to nodes. As with APISIX the certificate is verified only when tls.verify says so.
func upstreamTLS(c *snapshot.UpstreamTLS) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(64)}
	if c == nil {
		return conf, nil
	}
	if c.Verify {
		roots, err := x509.SystemCertPool()
		if err != nil {
			return nil, fmt.Errorf("tls.verify: read the system's certificate authorities: %w", err)
		}
		conf.InsecureSkipVerify, conf.RootCAs = false, roots
	}
	if c.ClientCert != "" {
		cert, err := tls.X509KeyPair([]byte(c.ClientCert), []byte(c.ClientKey))
		if err != nil {
			return nil, fmt.Errorf("tls.client_cert: %w", err)
		}
		conf.Certificates = []tls.Certificate{cert}
	}
	return conf, nil
}

// matches holds the conditions on addresses against a connection.
func (r *route) matches(client, server netip.AddrPort) bool {
	return (!r.remote.IsValid() || r.remote.Contains(client.Addr().Unmap())) &&
		(!r.server.IsValid() || r.server.Contains(server.Addr().Unmap())) &&
		(r.def.ServerPort == 0 || r.def.ServerPort == int(server.Port()))
}

// table finds routes. It is immutable. How many ports there are does not matter to a match; the routes of one port are tried one after the other.
type table struct {
	// plain are the routes without sni.
	plain ports
	exact map[string]*ports
	// wild is by what follows "*"; unlike a certificate such a route takes every name below its domain (apisix/stream/router/ip_port.lua).
	wild map[string]*ports
	// names are the ports of routes with sni, with 0 for every port.
	names map[int]bool
}

// ports are routes by server_port, with 0 for those without, each list in order of creation.
type ports map[int][]placed

// placed is a route and its place in the order of creation.
type placed struct {
	*route
	at int
}

func newTable(routes []*route) *table {
	t := &table{plain: ports{}, exact: map[string]*ports{}, wild: map[string]*ports{}, names: map[int]bool{}}
	for at, r := range routes {
		name := strings.ToLower(r.def.SNI)
		to := &t.plain
		if name != "" {
			t.names[r.def.ServerPort] = true
			kind, key := t.exact, name
			if suffix, wild := strings.CutPrefix(name, "*"); wild {
				kind, key = t.wild, suffix
			}
			if to = kind[key]; to == nil {
				to = &ports{}
				kind[key] = to
			}
		}
		(*to)[r.def.ServerPort] = append((*to)[r.def.ServerPort], placed{r, at})
	}
	return t
}

// first finds the oldest route that takes a connection.
func (p ports) first(client, server netip.AddrPort) *route {
	some, every := p[int(server.Port())], p[0]
	if server.Port() == 0 {
		some = nil
	}
	for len(some)+len(every) > 0 {
		from := &every
		if len(every) == 0 || len(some) > 0 && some[0].at < every[0].at {
			from = &some
		}
		if r := (*from)[0].route; r.matches(client, server) {
			return r
		}
		*from = (*from)[1:]
	}
	return nil
}

// wantsSNI tells whether the server name matters to connections to the address.
func (t *table) wantsSNI(server netip.AddrPort) bool {
	return t.names[0] || t.names[int(server.Port())]
}

// match finds the route of a connection, or nil.
func (t *table) match(client, server netip.AddrPort, sni string) *route {
	if sni != "" {
		sni = strings.ToLower(strings.TrimSuffix(sni, "."))
		if p := t.exact[sni]; p != nil {
			if r := p.first(client, server); r != nil {
				return r
			}
		}
		for i := range len(sni) {
			if i > 0 && sni[i] != '.' {
				continue
			}
			if p := t.wild[sni[i:]]; p != nil {
				if r := p.first(client, server); r != nil {
					return r
				}
			}
		}
	}
	return t.plain.first(client, server)
}

// errNoUpstream is what a connection gets that matches a route without upstream.
var errNoUpstream = errors.New("the stream route has no upstream")
