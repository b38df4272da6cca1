package config

import (
	"slices"
	"strings"
	"time"
)

// plugins reads the sections beside apisix, deployment, nginx_config and sluice.
func (p *parser) plugins(s *section, c *Config) {
	p.pluginList(s, "plugins", &c.Plugins)
	p.pluginList(s, "stream_plugins", &c.StreamPlugins)

	attr := s.object("plugin_attr")
	attr.open = true
	if attr.has() {
		c.PluginAttr = make(map[string]any, len(attr.node.keys))
		for _, e := range attr.node.keys {
			switch e.val.kind {
			case kindObject:
				c.PluginAttr[e.key] = e.val.json()
			case kindNull:
			default:
				attr.wrong(e.val, attr.field(e.key), "an object")
			}
		}
	}
	p.prometheus(attr.objectOnce("prometheus"), &c.Prometheus)

	d := s.object("discovery")
	d.accept("dns", "consul", "consul_kv", "nacos", "eureka", "kubernetes", "tars")
	if d.has() {
		c.Discovery = d.node.json().(map[string]any)
	}
	s.object("graphql").size("max_size", &c.GraphQLMaxSize, 1, gib)

	s.ignore("plugin runners are not supported", "ext-plugin")
	s.ignore("Wasm plugins are not supported", "wasm")
	s.ignore("xRPC is not supported", "xrpc")
	s.ignore("memory is not divided into zones", "http")
	s.ignore("the section deployment.etcd took its place", "etcd")
}

// pluginList reads a list of names. Null is the same as leaving the key out, which is not what APISIX makes of
// it, so it is said.
func (p *parser) pluginList(s *section, key string, dst *[]string) {
	if n := s.lookup(key); n != nil && n.kind == kindNull {
		p.warn(n.line, s.field(key), "is null, so every built-in plugin is on: write [] for none")
		return
	}
	s.texts(key, dst)
	seen := make(map[string]bool, len(*dst))
	for i, name := range *dst {
		if seen[name] {
			p.warn(s.get(key).line, index(s.field(key), i), "%s is listed twice", quote(name))
		}
		seen[name] = true
	}
}

// objectOnce opens an object whose type was checked already.
func (s *section) objectOnce(key string) *section {
	n := s.get(key)
	if n != nil && n.kind != kindObject {
		n = nil
	}
	return s.p.section(s.field(key), n)
}

// metricNames are the metrics that take settings (APISIX, apisix/plugins/prometheus/exporter.lua).
var metricNames = []string{
	"http_status", "http_latency", "bandwidth", "upstream_status", "llm_latency", "llm_prompt_tokens",
	"llm_completion_tokens", "llm_active_connections", "llm_prompt_tokens_dist", "llm_completion_tokens_dist",
	"ai_cache_hits_total", "ai_cache_misses_total", "ai_cache_bypasses_total", "ai_cache_embedding_latency",
}

func (p *parser) prometheus(s *section, m *Prometheus) {
	s.text("export_uri", &m.ExportURI)
	if n := s.get("export_uri"); n != nil && n.kind == kindString && (m.ExportURI == "" || m.ExportURI[0] != '/') {
		p.fail(n.line, s.field("export_uri"), "expected a path that begins with /, got %s", quote(m.ExportURI))
	}
	s.text("metric_prefix", &m.MetricPrefix)
	if n := s.get("metric_prefix"); n != nil && n.kind == kindString && !metricPrefix(m.MetricPrefix) {
		p.fail(n.line, s.field("metric_prefix"), "expected letters, digits and _, not beginning with a digit, got %s", quote(m.MetricPrefix))
	}
	s.bool("enable_export_server", &m.ExportServer)
	s.addr("export_addr", &m.Listen)
	s.duration("refresh_interval", &m.RefreshInterval, 0, time.Hour)
	s.buckets("default_buckets", &m.Buckets)
	var llm []float64 // the AI plugins read theirs from PluginAttr
	for _, key := range []string{
		"llm_latency_buckets", "llm_prompt_tokens_buckets", "llm_completion_tokens_buckets", "ai_cache_embedding_latency_buckets",
	} {
		s.buckets(key, &llm)
	}

	metrics := s.object("metrics")
	for _, name := range metricNames {
		one := metrics.object(name)
		var set PrometheusMetric
		one.duration("expire", &set.Expire, 0, maxDuration)
		one.labels("extra_labels", &set.ExtraLabels)
		if one.has() {
			if m.Metrics == nil {
				m.Metrics = map[string]PrometheusMetric{}
			}
			m.Metrics[name] = set
		}
	}
}

// metricPrefix follows the Prometheus data model: names match [a-zA-Z_:][a-zA-Z0-9_:]*.
func metricPrefix(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c == ':'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return len(s) <= 128
}

// buckets reads the upper bounds of a histogram.
func (s *section) buckets(key string, dst *[]float64) {
	items, ok := s.list(key)
	if !ok {
		return
	}
	var out []float64
	for i, it := range items {
		field := index(s.field(key), i)
		switch {
		case it.kind != kindInt && it.kind != kindFloat:
			s.wrong(it, field, "a number")
		case len(out) > 0 && it.f <= out[len(out)-1]:
			s.p.fail(it.line, field, "is not greater than the bound before it")
		default:
			out = append(out, it.f)
		}
	}
	if len(items) > 200 {
		s.p.fail(items[0].line, s.field(key), "has %d bounds, more than 200", len(items))
	}
	*dst = out
}

// labels reads a list of objects with one key each: "- upstream_addr: $upstream_addr".
func (s *section) labels(key string, dst *[]PrometheusLabel) {
	items, _ := s.list(key)
	for i, it := range items {
		field := index(s.field(key), i)
		if it.kind != kindObject || len(it.keys) != 1 {
			s.p.fail(it.line, field, `expected an object with one key such as "upstream_addr: $upstream_addr"`)
			continue
		}
		e := it.keys[0]
		v, ok := e.val.asText()
		if !ok {
			s.wrong(e.val, join(field, e.key), "a string")
			continue
		}
		switch {
		case !labelName(e.key):
			s.p.fail(it.line, field, "expected a name of letters, digits and _, not beginning with a digit or __, got %s", quote(e.key))
		case slices.ContainsFunc(*dst, func(l PrometheusLabel) bool { return l.Name == e.key }):
			s.p.fail(it.line, field, "has the name %s, as another label before it", quote(e.key))
		}
		*dst = append(*dst, PrometheusLabel{Name: e.key, Variable: v})
	}
}

// labelName follows the Prometheus data model: labels match [a-zA-Z_][a-zA-Z0-9_]*, and those that begin with __ are Prometheus's own.
func labelName(s string) bool {
	return s != "" && metricPrefix(s) && !strings.Contains(s, ":") && !strings.HasPrefix(s, "__")
}
