package engine

import (
	"bytes"
	"net/netip"

	"github.com/sluice-gateway/sluice/l7/plugin"
)

// RealIP says when a field of the request names the client's address: nginx's real_ip_header, set_real_ip_from and real_ip_recursive, which
// APISIX sets to X-Real-IP from 127.0.0.1.
type RealIP struct {
	Header    string
	From      []netip.Prefix
	Recursive bool
}

func (r *RealIP) trusts(ip netip.Addr) bool {
	ip = ip.Unmap()
	for _, p := range r.From {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// apply replaces the client's address when the peer may name it. Of a list, which may be spread over several field lines, the last address counts, or, recursively, the last one that is not trusted itself. What does
// not parse is passed over.
func (r *RealIP) apply(ex *plugin.Exchange) {
	if len(r.From) == 0 || !r.trusts(ex.Peer.Addr()) {
		return
	}
	fields := ex.Request.Header.Fields()
	for i := len(fields) - 1; i >= 0; i-- {
		if plugin.EqualFold(fields[i].Name, r.Header) && !r.walk(ex, fields[i].Value) {
			return
		}
	}
}

// walk takes the addresses of one field line from the last to the first; it is false when the client is known.
func (r *RealIP) walk(ex *plugin.Exchange, v []byte) (on bool) {
	for len(v) > 0 {
		last := v
		if i := bytes.LastIndexByte(v, ','); i >= 0 {
			last, v = v[i+1:], v[:i]
		} else {
			v = nil
		}
		addr, ok := parseClient(bytes.TrimSpace(last))
		if !ok {
			return false
		}
		ex.Client = addr
		if !r.Recursive || !r.trusts(addr.Addr()) {
			return false
		}
	}
	return true
}

// maxAddr bounds the text of an address with port.
const maxAddr = 64

// parseClient reads an address, with or without port.
func parseClient(b []byte) (netip.AddrPort, bool) {
	if len(b) == 0 || len(b) > maxAddr {
		return netip.AddrPort{}, false
	}
	s := plugin.String(b)
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port()), true
	}
	if s[0] == '[' && s[len(s)-1] == ']' {
		s = s[1 : len(s)-1]
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(a.Unmap().WithZone(""), 0), true
}
