package main

import (
	"encoding/json"
	"fmt"
	"net"

	client "github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-gateway/sluice/control/config"
	"github.com/sluice-gateway/sluice/l4/userspace"
	"github.com/sluice-gateway/sluice/l7/accesslog"
	"github.com/sluice-gateway/sluice/l7/certs"
	"github.com/sluice-gateway/sluice/l7/listen"
	"github.com/sluice-gateway/sluice/l7/plugin"
)

// startStreams makes the plane of stream routes. What its plugins share with those of HTTP routes is kept by the HTTP plane.
func (g *gateway) startStreams(attr map[string]json.RawMessage) error {
	c := g.conf
	lo, hi, err := certs.Versions(c.APISIX.SSL.Protocols)
	if err != nil {
		return fmt.Errorf("apisix.ssl: %w", err)
	}
	var log func(*plugin.Exchange)
	if path := c.Nginx.StreamAccessLog.File(g.dataDir); path != "" {
		a := c.Nginx.StreamAccessLog
		if g.streamAccess, err = accesslog.New(accesslog.Options{Path: path, Format: a.Format, Escape: a.Escape, BufferBytes: int(a.BufferBytes),
			FlushInterval: a.FlushInterval, Logger: g.logger}); err != nil {
			return fmt.Errorf("nginx_config.stream: %w", err)
		}
		log = func(ex *plugin.Exchange) { g.streamAccess.Write(0, ex) }
	}
	l := c.Sluice.L4
	g.streams = userspace.New(userspace.Options{
		Upstream: g.upstreamOptions(), PluginAttr: attr, Shared: g.plane.SharedObject,
		TLS:        certs.Options{MinVersion: lo, MaxVersion: hi, FallbackSNI: c.APISIX.SSL.FallbackSNI, NoTickets: !c.APISIX.SSL.SessionTickets},
		TrustProxy: c.Nginx.StreamRealIPFrom, MaxConns: l.MaxConnections, MaxSessions: l.UDPSessions, HelloTimeout: l.HelloTimeout, Logger: g.traffic,
		AccessLog: log,
	})
	return nil
}

// listenStreams opens the ports of stream_proxy.
func (g *gateway) listenStreams() error {
	for _, s := range g.conf.APISIX.StreamTCP {
		for port := s.Port; port <= s.PortEnd; port++ {
			ln, err := listen.TCP(g.streamAddr(s, port))
			if err != nil {
				return fmt.Errorf("apisix.stream_proxy.tcp: %w", err)
			}
			g.streams.ListenTCP(userspace.TCPListener{TCPListener: ln.(*net.TCPListener), TLS: s.TLS, ProxyProtocol: s.ProxyProtocol, ProxyProtocolOut: s.ProxyProtocolToUpstream})
			g.sockets.add("tcp", port, ln.(*net.TCPListener))
			g.logger.Info("listening", "what", "stream tcp", "addr", ln.Addr().String())
		}
	}
	for _, s := range g.conf.APISIX.StreamUDP {
		for port := s.Port; port <= s.PortEnd; port++ {
			c, err := listen.UDP(g.streamAddr(s, port))
			if err != nil {
				return fmt.Errorf("apisix.stream_proxy.udp: %w", err)
			}
			g.streams.ListenUDP(c)
			g.sockets.add("udp", port, c)
			g.logger.Info("listening", "what", "stream udp", "addr", c.LocalAddr().String())
		}
	}
	return nil
}

func (g *gateway) streamAddr(s config.StreamListen, port int) string {
	a := config.Addr{IP: s.IP, Port: port}
	if a.IP == "" && !g.conf.APISIX.EnableIPv6 {
		a.IP = "0.0.0.0"
	}
	return a.String()
}

// streamCollector collects the numbers of stream routes.
type streamCollector struct{ p *userspace.Plane }

var (
	descStreamAccepted = desc("sluice_stream_accepted_total", "TCP connections that stream listeners took")
	descStreamActive   = desc("sluice_stream_connections", "Open connections and sessions of stream listeners", "protocol")
	descStreamSessions = desc("sluice_stream_udp_sessions_total", "UDP sessions that began")
	descStreamEvicted  = desc("sluice_stream_udp_evicted_total", "UDP sessions that ended early to make room for another")
	descStreamRefused  = desc("sluice_stream_refused_total", "Connections and datagrams that were not proxied", "reason")
	descStreamRoute    = desc("sluice_stream_route_connections_total", "Connections and UDP sessions by stream route", "route")
	descStreamRouteNow = desc("sluice_stream_route_connections", "Open connections and UDP sessions by stream route", "route")
	descStreamPanics   = desc("sluice_stream_plugin_panics_total", "Panics of plugins in stream routes")
	descStreamBytes    = desc("sluice_stream_route_bytes_total", "Bytes of ended connections by stream route; in is from clients", "route", "direction")
)

// Describe implements client_golang's Collector.
func (*streamCollector) Describe(ch chan<- *client.Desc) {
	for _, d := range []*client.Desc{descStreamAccepted, descStreamActive, descStreamSessions, descStreamEvicted, descStreamRefused, descStreamRoute, descStreamRouteNow, descStreamPanics, descStreamBytes} {
		ch <- d
	}
}

// Collect implements client_golang's Collector.
func (c *streamCollector) Collect(ch chan<- client.Metric) {
	send := func(d *client.Desc, t client.ValueType, v float64, labels ...string) {
		ch <- client.MustNewConstMetric(d, t, v, labels...)
	}
	s := c.p.Stats()
	send(descStreamAccepted, client.CounterValue, float64(s.Accepted.Load()))
	send(descStreamActive, client.GaugeValue, float64(s.Active.Load()), "tcp")
	send(descStreamActive, client.GaugeValue, float64(s.Sessions.Load()), "udp")
	send(descStreamSessions, client.CounterValue, float64(s.SessionsTotal.Load()))
	send(descStreamEvicted, client.CounterValue, float64(s.Evicted.Load()))
	send(descStreamPanics, client.CounterValue, float64(s.PluginPanics.Load()))
	for _, r := range userspace.Reasons() {
		send(descStreamRefused, client.CounterValue, float64(s.Refused(r)), r.String())
	}
	c.p.EachRoute(func(id string, r *userspace.RouteStats) {
		send(descStreamRoute, client.CounterValue, float64(r.Total.Load()), id)
		send(descStreamRouteNow, client.GaugeValue, float64(r.Active.Load()), id)
		send(descStreamBytes, client.CounterValue, float64(r.BytesIn.Load()), id, "in")
		send(descStreamBytes, client.CounterValue, float64(r.BytesOut.Load()), id, "out")
	})
}
