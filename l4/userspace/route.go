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

// table finds routes. It is immutable.
type table struct {
	plain []*route // without sni, in order of creation
	exact map[string][]*route
	// wild is by what follows "*"; unlike a certificate such a route takes every name below its domain (apisix/stream/router/ip_port.lua).
	wild map[string][]*route
	all  []*route
}

func newTable(routes []*route) *table {
	t := &table{all: routes, exact: map[string][]*route{}, wild: map[string][]*route{}}
	for _, r := range routes {
		name := strings.ToLower(r.def.SNI)
		switch suffix, wild := strings.CutPrefix(name, "*"); {
		case name == "":
			t.plain = append(t.plain, r)
		case wild:
			t.wild[suffix] = append(t.wild[suffix], r)
		default:
			t.exact[name] = append(t.exact[name], r)
		}
	}
	return t
}

// wantsSNI tells whether the server name matters to connections to the address.
func (t *table) wantsSNI(server netip.AddrPort) bool {
	for _, r := range t.all {
		if r.def.SNI != "" && (r.def.ServerPort == 0 || r.def.ServerPort == int(server.Port())) {
			return true
		}
	}
	return false
}

// match finds the route of a connection, or nil.
func (t *table) match(client, server netip.AddrPort, sni string) *route {
	first := func(list []*route) *route {
		for _, r := range list {
			if r.matches(client, server) {
				return r
			}
		}
		return nil
	}
	if sni != "" {
		sni = strings.ToLower(strings.TrimSuffix(sni, "."))
		if r := first(t.exact[sni]); r != nil {
			return r
		}
		for i := range len(sni) {
			if i > 0 && sni[i] != '.' {
				continue
			}
			if r := first(t.wild[sni[i:]]); r != nil {
				return r
			}
		}
	}
	return first(t.plain)
}

// errNoUpstream is what a connection gets that matches a route without upstream.
var errNoUpstream = errors.New("the stream route has no upstream")
