package main

import (
	"net/http"
	"os"
	"time"

	client "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/sluice-gateway/sluice/control/model"
)

// counters are the gateway's own numbers, for "sluice status" and the metrics.
type counters struct {
	Accepted      uint64 `json:"connections_accepted"`
	Connections   int64  `json:"connections"`
	Busy          int64  `json:"connections_busy"`
	UpstreamConns int64  `json:"upstream_connections"`
	Requests      uint64 `json:"requests"`
	Malformed     uint64 `json:"requests_malformed"`
	Aborted       uint64 `json:"requests_aborted"`
	Cut           uint64 `json:"responses_cut"`
	PluginPanics  uint64 `json:"plugin_panics"`
	PluginFaults  uint64 `json:"plugin_faults"`
	LogDropped    uint64 `json:"access_log_lines_dropped"`
}

func (g *gateway) read() counters {
	t := g.plane.Totals()
	c := counters{Accepted: t.Accepted, Connections: t.Conns, Busy: t.Busy, UpstreamConns: t.UpstreamConns, Requests: t.Requests,
		Malformed: t.Malformed, Aborted: t.Aborted, Cut: t.Cut, PluginPanics: g.plane.Panics(), PluginFaults: g.plane.Faults()}
	if g.access != nil {
		c.LogDropped = g.access.Dropped()
	}
	if g.streamAccess != nil {
		c.LogDropped += g.streamAccess.Dropped()
	}
	return c
}

// counters is read for the status API.
func (g *gateway) counters() any { return g.read() }

// metricsHandler serves the metrics in the text format of Prometheus at the configured path.
func (g *gateway) metricsHandler() http.Handler {
	reg := client.NewRegistry()
	reg.MustRegister(&gatewayCollector{g, newAPISIXDescs(g.conf.Prometheus.MetricPrefix)}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	reg.MustRegister(&sharedCollector{g})
	if g.streams != nil {
		reg.MustRegister(&streamCollector{g.streams})
	}
	if g.steer != nil {
		reg.MustRegister(&steerCollector{g.steer})
	}
	m := http.NewServeMux()
	m.Handle("GET "+g.conf.Prometheus.ExportURI, promhttp.HandlerFor(reg, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 30 * time.Second}))
	return m
}

// sharedCollector collects what plugins keep in shared objects. It describes nothing beforehand: such objects come with the configuration.
type sharedCollector struct{ g *gateway }

func (*sharedCollector) Describe(chan<- *client.Desc) {}

func (c *sharedCollector) Collect(ch chan<- client.Metric) {
	for _, v := range c.g.plane.Shared() {
		if col, ok := v.(client.Collector); ok {
			col.Collect(ch)
		}
	}
}

// gatewayCollector collects the gateway's own numbers, under APISIX's names where it has them.
type gatewayCollector struct {
	g *gateway
	apisixDescs
}

// apisixDescs are the metrics that APISIX has too: apisix/plugins/prometheus/exporter.lua, under the prefix of plugin_attr.prometheus.metric_prefix. Its shared_dict_* are not among
// them, since there are no shared dictionaries.
type apisixDescs struct{ connections, requests, reachable, indexes, node, errors *client.Desc }

func newAPISIXDescs(prefix string) apisixDescs {
	return apisixDescs{
		connections: desc(prefix+"nginx_http_current_connections", "Number of HTTP connections", "state"),
		requests:    desc(prefix+"http_requests_total", "The total number of client requests since APISIX started"),
		reachable:   desc(prefix+"etcd_reachable", "Whether the store works: 0 is unreachable"),
		indexes:     desc(prefix+"etcd_modify_indexes", "Modify index for APISIX keys", "key"),
		node:        desc(prefix+"node_info", "Info of APISIX node", "hostname", "version"),
		errors:      desc(prefix+"nginx_metric_errors_total", "Number of errors of the metrics library"),
	}
}

func desc(name, help string, labels ...string) *client.Desc {
	return client.NewDesc(name, help, labels, nil)
}

var (
	descRevision   = desc("sluice_config_revision", "Revision of the configuration", "of")
	descProblems   = desc("sluice_config_problems", "Objects that are not served as they are stored")
	descCommits    = desc("sluice_config_commits_total", "Configurations that were put to use")
	descRefused    = desc("sluice_config_refused_total", "Configuration updates that were refused")
	descDegraded   = desc("sluice_degraded", "1 when what is served is not what is stored")
	descMalformed  = desc("sluice_http_malformed_total", "Requests that were refused because they break the rules of HTTP or a limit")
	descAborted    = desc("sluice_http_aborted_total", "Requests whose client went away")
	descCut        = desc("sluice_http_cut_total", "Responses that could not be completed")
	descPanics     = desc("sluice_plugin_panics_total", "Panics of plugins")
	descFaults     = desc("sluice_plugin_faults_total", "Errors of plugins")
	descUpstreams  = desc("sluice_upstream_connections", "Open connections to upstreams")
	descLogDropped = desc("sluice_access_log_dropped_total", "Lines of the access log that were lost")
)

// Describe implements client_golang's Collector.
func (c *gatewayCollector) Describe(ch chan<- *client.Desc) {
	for _, d := range []*client.Desc{c.connections, c.requests, c.reachable, c.indexes, c.node, c.errors, descRevision, descProblems,
		descCommits, descRefused, descDegraded, descMalformed, descAborted, descCut, descPanics, descFaults, descUpstreams, descLogDropped} {
		ch <- d
	}
}

// Collect implements client_golang's Collector.
func (c *gatewayCollector) Collect(ch chan<- client.Metric) {
	send := func(d *client.Desc, t client.ValueType, v float64, labels ...string) {
		ch <- client.MustNewConstMetric(d, t, v, labels...)
	}
	n, st := c.g.read(), c.g.ctl.Status()
	for state, v := range map[string]float64{"active": float64(n.Connections), "reading": 0, "writing": float64(n.Busy),
		"waiting": float64(n.Connections - n.Busy), "accepted": float64(n.Accepted), "handled": float64(n.Accepted)} {
		send(c.connections, client.GaugeValue, v, state)
	}
	send(c.requests, client.GaugeValue, float64(n.Requests))
	reachable := 1.0
	if st.StoreError != "" {
		reachable = 0
	}
	send(c.reachable, client.GaugeValue, reachable)
	view := c.g.ctl.View()
	highest := int64(0)
	for _, k := range model.Kinds() {
		top := int64(0)
		for _, o := range view.List(k.Kind) {
			top = max(top, int64(o.Mod))
		}
		highest = max(highest, top)
		send(c.indexes, client.GaugeValue, float64(top), string(k.Kind))
	}
	send(c.indexes, client.GaugeValue, float64(highest), "max_modify_index")
	send(c.indexes, client.GaugeValue, float64(st.Rev), "x_etcd_index")
	send(c.indexes, client.GaugeValue, float64(st.Served), "prev_index")
	host, _ := os.Hostname()
	send(c.node, client.GaugeValue, 1, host, contractVersion)
	send(c.errors, client.CounterValue, 0)
	send(descRevision, client.GaugeValue, float64(st.Rev), "stored")
	send(descRevision, client.GaugeValue, float64(st.Served), "served")
	send(descProblems, client.GaugeValue, float64(len(st.Problems)))
	send(descCommits, client.CounterValue, float64(st.Commits))
	send(descRefused, client.CounterValue, float64(st.Refused))
	degraded := 0.0
	if st.Degraded {
		degraded = 1
	}
	send(descDegraded, client.GaugeValue, degraded)
	for d, v := range map[*client.Desc]uint64{descMalformed: n.Malformed, descAborted: n.Aborted, descCut: n.Cut, descPanics: n.PluginPanics,
		descFaults: n.PluginFaults, descLogDropped: n.LogDropped} {
		send(d, client.CounterValue, float64(v))
	}
	send(descUpstreams, client.GaugeValue, float64(n.UpstreamConns))
}
