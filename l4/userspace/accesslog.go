package userspace

import (
	"net/netip"
	"strconv"
	"time"

	"github.com/sluice-gateway/sluice/l7/plugin"
)

// What $status says about a connection or session (nginx's ngx_stream_core_module). A plugin's refusal has the plugin's status.
const (
	statusOK         = 200
	statusFault      = 500 // a plugin failed
	statusBadGateway = 502 // no node could be reached
)

// observed tells whether something looks at the connections of a route, so that they need an exchange.
func (p *Plane) observed(r *route) bool {
	return len(r.units) > 0 || p.o.AccessLog != nil || r.up != nil && r.up.NeedsKey()
}

// exchange is what plugins, variables and the access log see of a connection. protocol is TCP or UDP.
func (p *Plane) exchange(r *route, protocol string, from, server, peer netip.AddrPort) *plugin.Exchange {
	now := time.Now()
	ex := &plugin.Exchange{Client: from, Peer: peer, Server: server, Route: r.info, WallStart: now}
	ex.Start = plugin.ClockAt(now)
	ex.Now = ex.Start
	ex.Response.Status = statusOK
	if r.up != nil {
		ex.Upstream.Scheme = r.up.Scheme
	}
	ex.SetVar("protocol", []byte(protocol))
	return ex
}

// attempt notes that a node was tried.
func attempt(ex *plugin.Exchange, node string, addr netip.AddrPort, started int64, ok bool) {
	a := plugin.Attempt{Addr: addr, Started: started, Ended: plugin.Clock()}
	if ok {
		a.Connected, a.Ended = a.Ended, 0 // finish knows when it ends
	}
	ex.Upstream.Node, ex.Upstream.Addr = node, addr
	ex.Upstream.Attempts = append(ex.Upstream.Attempts, a)
}

// finish runs the plugins' log phase and writes the access log. in is what the client has sent, out what it has got.
func (p *Plane) finish(r *route, ex *plugin.Exchange, in, out int64) {
	ex.Now = plugin.Clock()
	ex.BytesIn, ex.BytesOut = in, out
	ex.Upstream.BytesOut, ex.Upstream.BytesIn = in, out
	if n := len(ex.Upstream.Attempts); n > 0 && ex.Upstream.Attempts[n-1].Ended == 0 {
		ex.Upstream.Attempts[n-1].Ended = ex.Now
	}
	p.logPhase(r, ex)
	if p.o.AccessLog == nil {
		return
	}
	ex.SetVar("bytes_received", strconv.AppendInt(nil, in, 10))
	ex.SetVar("session_time", appendSeconds(nil, ex.Now-ex.Start))
	var spans []byte
	for i, a := range ex.Upstream.Attempts {
		if i > 0 {
			spans = append(spans, ", "...)
		}
		spans = appendSeconds(spans, a.Ended-a.Started)
	}
	if spans != nil {
		ex.SetVar("upstream_session_time", spans)
	}
	p.o.AccessLog(ex)
}

// appendSeconds writes nanoseconds as seconds with three decimals, as nginx does.
func appendSeconds(b []byte, ns int64) []byte {
	return strconv.AppendFloat(b, float64(max(ns, 0)/int64(time.Millisecond))/1000, 'f', 3, 64)
}
