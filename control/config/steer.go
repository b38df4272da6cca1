package config

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// Steer is one entry of sluice.l4.steer: what comes for a prefix and a range of ports goes to a listener that is bound elsewhere.
type Steer struct {
	Prefix netip.Prefix
	// UDP steers datagrams; otherwise TCP connections.
	UDP bool
	// Lo and Hi are the first and the last port.
	Lo, Hi uint16
	// To names the listener: "http" for the first of apisix.node_listen, or "http:PORT", "tcp:PORT", "udp:PORT" for the one with that port in apisix.node_listen or
	// apisix.stream_proxy.
	To string
}

var steerTarget = regexp.MustCompile(`^(http|(http|tcp|udp):[0-9]{1,5})$`)

// steer reads sluice.l4.steer.
func (p *parser) steer(s *section, dst *[]Steer) {
	items, ok := s.list("steer")
	if !ok {
		return
	}
	for i, it := range items {
		field := index(s.field("steer"), i)
		if it.kind != kindObject {
			s.wrong(it, field, "an object with prefix, ports and to")
			continue
		}
		item, e := p.section(field, it), Steer{Lo: 1, Hi: 65535}
		var prefix string
		item.text("prefix", &prefix)
		var err error
		if e.Prefix, err = netip.ParsePrefix(prefix); err != nil {
			p.fail(it.line, item.field("prefix"), "expected a prefix such as 198.51.100.0/24, got %s", quote(prefix))
		}
		if n := item.get("ports"); n != nil && !e.ports(n.text) {
			p.fail(n.line, item.field("ports"), "expected a port or a range of ports such as 8000-8999, got %s", quote(n.text))
		}
		item.text("to", &e.To)
		if !steerTarget.MatchString(e.To) {
			p.fail(it.line, item.field("to"), "expected http, http:PORT, tcp:PORT or udp:PORT, the port of a listener, got %s", quote(e.To))
		}
		e.UDP = strings.HasPrefix(e.To, "udp:")
		*dst = append(*dst, e)
	}
}

// ports reads "80" or "8000-8999".
func (e *Steer) ports(text string) bool {
	first, last, isRange := strings.Cut(text, "-")
	if !isRange {
		last = first
	}
	lo, err1 := strconv.ParseUint(first, 10, 16)
	hi, err2 := strconv.ParseUint(last, 10, 16)
	e.Lo, e.Hi = uint16(lo), uint16(hi)
	return err1 == nil && err2 == nil && 0 < lo && lo <= hi
}
