// Package prometheus is the plugin prometheus: it counts requests under the names and labels of APISIX 3.18
// (apisix/plugins/prometheus/exporter.lua). The gateway's metrics server exports what it counts.
package prometheus

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/netip"

	"github.com/sluice-gateway/sluice/l7/plugin"
)

const name = "prometheus"

//go:embed schema.json
var confSchema []byte

//go:embed metadata_schema.json
var metadataSchema []byte

func init() {
	plugin.Register(plugin.Def{Name: name, Priority: 500, Stream: true, Version: "0.2", PreferRoute: true, Schema: confSchema, MetadataSchema: metadataSchema, New: newCounter})
}

// conf is the plugin's configuration, metadata its plugin_metadata.
type conf struct {
	PreferName bool `json:"prefer_name"`
}

type metadata struct {
	DisabledLabels map[string][]string `json:"disabled_labels"`
}

// counter is an instance: it adds finished exchanges to the metrics that all instances share.
type counter struct {
	conf             conf
	metrics          *Metrics
	status, timing   disabled
	traffic          disabled
	statusX, timingX []extra
	trafficX         []extra
}

// disabled says which labels stay empty.
type disabled struct {
	route, uri, host, service, consumer, node, source bool
}

func disabledOf(names []string) (d disabled) {
	for _, n := range names {
		switch n {
		case "route":
			d.route = true
		case "matched_uri":
			d.uri = true
		case "matched_host":
			d.host = true
		case "service":
			d.service = true
		case "consumer":
			d.consumer = true
		case "node":
			d.node = true
		case "response_source":
			d.source = true
		}
	}
	return d
}

func newCounter(raw []byte, env *plugin.Env) (plugin.Instance, error) {
	c := &counter{}
	if err := json.Unmarshal(raw, &c.conf); err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	var md metadata
	if env.Metadata != nil {
		if err := json.Unmarshal(env.Metadata, &md); err != nil {
			return nil, fmt.Errorf("read metadata: %w", err)
		}
	}
	attr, err := parseAttr(env.Attr)
	if err != nil {
		return nil, err
	}
	c.metrics = env.Shared(name, func() any { return newMetrics(attr) }).(*Metrics)
	c.status, c.timing = disabledOf(md.DisabledLabels["http_status"]), disabledOf(md.DisabledLabels["http_latency"])
	c.traffic = disabledOf(md.DisabledLabels["bandwidth"])
	c.statusX, c.timingX, c.trafficX = c.metrics.statusExtra, c.metrics.timingExtra, c.metrics.trafficExtra
	return c, nil
}

var (
	_ plugin.Logger       = (*counter)(nil)
	_ plugin.StreamLogger = (*counter)(nil)
)

// StreamLog counts a connection of a stream route.
func (c *counter) StreamLog(ex *plugin.Exchange) {
	route := ex.Route.ID
	if c.conf.PreferName && ex.Route.Name != "" {
		route = ex.Route.Name
	}
	c.metrics.streams.get(route, ex.Now).add(1)
}

// Log counts the exchange.
func (c *counter) Log(ex *plugin.Exchange) {
	route, service := ex.Route.ID, ex.Route.ServiceID
	if c.conf.PreferName {
		if ex.Route.Name != "" {
			route = ex.Route.Name
		}
		if ex.Route.ServiceName != "" {
			service = ex.Route.ServiceName
		}
	}
	consumer := ""
	if ex.Consumer != nil {
		consumer = ex.Consumer.Username
	}
	var node netip.Addr
	if ex.Upstream.Addr.IsValid() {
		node = ex.Upstream.Addr.Addr().Unmap()
	}
	sk := statusKey{code: ex.Response.Status, route: route, uri: ex.Route.MatchedURI, host: ex.Route.MatchedHost, service: service,
		consumer: consumer, node: node, source: ex.Source, extra: joinExtra(ex, c.statusX)}
	c.status.apply(&sk)
	c.metrics.statuses.get(sk, ex.Now).add(1)

	tk := timingKey{route: route, service: service, consumer: consumer, node: node, extra: joinExtra(ex, c.timingX)}
	c.timing.applyTiming(&tk)
	t := c.metrics.timings.get(tk, ex.Now)
	total := max(ex.Now-ex.Start, 0)
	var upstream int64
	for i := range ex.Upstream.Attempts {
		if a := &ex.Upstream.Attempts[i]; a.Ended > a.Started {
			upstream += a.Ended - a.Started
		}
	}
	t.request.observe(c.metrics.bounds, total)
	if len(ex.Upstream.Attempts) > 0 {
		t.upstream.observe(c.metrics.bounds, upstream)
	}
	t.gateway.observe(c.metrics.bounds, max(total-upstream, 0))

	bk := timingKey{route: route, service: service, consumer: consumer, node: node, extra: joinExtra(ex, c.trafficX)}
	c.traffic.applyTiming(&bk)
	b := c.metrics.traffics.get(bk, ex.Now)
	b.ingress.Add(uint64(ex.BytesIn))
	b.egress.Add(uint64(ex.BytesOut))
}

func (d disabled) apply(k *statusKey) {
	if d == (disabled{}) {
		return
	}
	blank := func(off bool, s *string) {
		if off {
			*s = ""
		}
	}
	blank(d.route, &k.route)
	blank(d.uri, &k.uri)
	blank(d.host, &k.host)
	blank(d.service, &k.service)
	blank(d.consumer, &k.consumer)
	if d.node {
		k.node = netip.Addr{}
	}
	k.noSource = d.source
	if d.source {
		k.source = plugin.SourceNone
	}
}

func (d disabled) applyTiming(k *timingKey) {
	if d.route {
		k.route = ""
	}
	if d.service {
		k.service = ""
	}
	if d.consumer {
		k.consumer = ""
	}
	if d.node {
		k.node = netip.Addr{}
	}
}

// joinExtra reads the configured extra labels into scratch memory.
func joinExtra(ex *plugin.Exchange, list []extra) string {
	if len(list) == 0 {
		return ""
	}
	b := ex.Alloc(len(list) * (maxExtraValue + 1))[:0]
	for i := range list {
		if i > 0 {
			b = append(b, 0)
		}
		v, _ := list[i].v(ex)
		v = v[:min(len(v), maxExtraValue)]
		if cut := bytes.IndexByte(v, 0); cut >= 0 {
			v = v[:cut] // it would move the values behind it to other labels
		}
		b = append(b, v...)
	}
	return plugin.String(b)
}

// maxExtraValue bounds the value of an extra label, which a client may control.
const maxExtraValue = 128
