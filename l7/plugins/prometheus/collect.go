package prometheus

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	client "github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-gateway/sluice/l7/plugin"
)

// maxSeries bounds the series of each metric; what comes after is counted without labels and reported by sluice_metric_overflow_total.
const maxSeries = 20_000

// defaultBuckets are APISIX's, in milliseconds.
var defaultBuckets = []float64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 30000, 60000}

// attributes are what plugin_attr.prometheus says about metrics.
type attributes struct {
	MetricPrefix   string    `json:"metric_prefix"`
	DefaultBuckets []float64 `json:"default_buckets"`
	Metrics        map[string]struct {
		ExtraLabels []map[string]string `json:"extra_labels"`
		Buckets     []float64           `json:"buckets"`
		Expire      float64             `json:"expire"` // seconds
	} `json:"metrics"`
}

// expire is how long a series of a metric stays without a change, 0 for ever.
func (a *attributes) expire(metric string) time.Duration {
	const most = 10 * 365 * 24 * 3600 // seconds
	return time.Duration(min(max(a.Metrics[metric].Expire, 0), most) * float64(time.Second))
}

var metricName = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*$`)

func parseAttr(raw json.RawMessage) (attributes, error) {
	a := attributes{MetricPrefix: "apisix_"}
	if raw != nil {
		if err := json.Unmarshal(raw, &a); err != nil {
			return a, fmt.Errorf("read plugin_attr.prometheus: %w", err)
		}
	}
	if !metricName.MatchString(a.MetricPrefix) {
		return a, fmt.Errorf("plugin_attr.prometheus.metric_prefix: %.64q is no beginning of a metric's name", a.MetricPrefix)
	}
	if b := a.Metrics["http_latency"].Buckets; len(b) > 0 {
		a.DefaultBuckets = b
	}
	if len(a.DefaultBuckets) == 0 {
		a.DefaultBuckets = defaultBuckets
	}
	if len(a.DefaultBuckets) > maxBuckets || !slices.IsSorted(a.DefaultBuckets) {
		return a, fmt.Errorf("plugin_attr.prometheus.default_buckets: want at most %d bounds in ascending order", maxBuckets)
	}
	for _, metric := range slices.Sorted(maps.Keys(a.Metrics)) {
		if err := checkLabels(metric, a.Metrics[metric].ExtraLabels); err != nil {
			return a, err
		}
	}
	return a, nil
}

// The labels of each metric.
var (
	statusLabels = []string{"code", "route", "matched_uri", "matched_host", "service", "consumer", "node", "request_type", "request_llm_model", "llm_model", "response_source"}
	timingLabels = []string{"type", "route", "service", "consumer", "node", "request_type", "request_llm_model", "llm_model"}
	ownLabels    = map[string][]string{"http_status": statusLabels, "http_latency": append([]string{"le"}, timingLabels...), "bandwidth": timingLabels}
)

// maxExtraLabels bounds the extra labels of a metric.
const maxExtraLabels = 16

// checkLabels refuses extra labels with which the metrics could not be read at all.
func checkLabels(metric string, list []map[string]string) error {
	own, ok := ownLabels[metric]
	if !ok {
		return nil // of a metric that another plugin counts
	}
	var seen []string
	for i, m := range list {
		for label := range m {
			where := fmt.Sprintf("plugin_attr.prometheus.metrics.%s.extra_labels[%d]", metric, i)
			switch {
			case !labelName(label):
				return fmt.Errorf("%s: %q is no name of a label: want letters, digits and _, not beginning with a digit or __", where, label)
			case slices.Contains(own, label):
				return fmt.Errorf("%s: the metric has a label %q of its own", where, label)
			case slices.Contains(seen, label):
				return fmt.Errorf("%s: the label %q is there twice", where, label)
			case len(seen) == maxExtraLabels:
				return fmt.Errorf("%s: is one more than the %d labels that are allowed", where, maxExtraLabels)
			}
			seen = append(seen, label)
		}
	}
	return nil
}

// labelName tells whether s may be the name of a label; those that begin with __ are Prometheus's own.
func labelName(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != "" && !strings.HasPrefix(s, "__")
}

// extra is a label that plugin_attr adds.
type extra struct {
	label string
	v     plugin.Var
}

func extras(list []map[string]string) (out []extra) {
	for _, m := range list {
		for label, ref := range m {
			out = append(out, extra{label, plugin.CompileVar(strings.TrimPrefix(ref, "$"))})
		}
	}
	return out
}

// Metrics is what all instances count into. It implements the Collector of client_golang.
type Metrics struct {
	statuses                      *table[statusKey, count]
	timings                       *table[timingKey, timing]
	traffics                      *table[timingKey, traffic]
	streams                       *table[string, count] // connections by stream route
	bounds                        []int64               // nanoseconds
	uppers                        []float64
	statusExtra, timingExtra      []extra
	trafficExtra                  []extra
	status, latency, band, spills *client.Desc
	stream                        *client.Desc
	collecting                    sync.Mutex
	now                           func() int64
}

var _ client.Collector = (*Metrics)(nil)

func newMetrics(a attributes) *Metrics {
	newCount := func() *count { return new(count) }
	m := &Metrics{uppers: a.DefaultBuckets, now: plugin.Clock,
		statuses:     newTable(maxSeries, a.expire("http_status"), statusKey.own, newCount),
		statusExtra:  extras(a.Metrics["http_status"].ExtraLabels),
		timings:      newTable(maxSeries, a.expire("http_latency"), timingKey.own, func() *timing { return newTiming(len(a.DefaultBuckets)) }),
		timingExtra:  extras(a.Metrics["http_latency"].ExtraLabels),
		streams:      newTable(maxSeries, 0, strings.Clone, newCount),
		traffics:     newTable(maxSeries, a.expire("bandwidth"), timingKey.own, func() *traffic { return new(traffic) }),
		trafficExtra: extras(a.Metrics["bandwidth"].ExtraLabels)}
	for _, ms := range a.DefaultBuckets {
		m.bounds = append(m.bounds, int64(ms*float64(time.Millisecond)))
	}
	names := func(labels []string, list []extra) []string {
		labels = slices.Clone(labels)
		for _, x := range list {
			labels = append(labels, x.label)
		}
		return labels
	}
	p := a.MetricPrefix
	m.status = client.NewDesc(p+"http_status", "HTTP status codes per service in APISIX", names(statusLabels, m.statusExtra), nil)
	m.latency = client.NewDesc(p+"http_latency", "HTTP request latency in milliseconds per service in APISIX", names(timingLabels, m.timingExtra), nil)
	m.band = client.NewDesc(p+"bandwidth", "Total bandwidth in bytes consumed per service in APISIX", names(timingLabels, m.trafficExtra), nil)
	m.stream = client.NewDesc(p+"stream_connection_total", "Total number of connections handled per stream route in APISIX", []string{"route"}, nil)
	m.spills = client.NewDesc("sluice_metric_overflow_total", "Requests counted without labels because a metric has too many series.", []string{"metric"}, nil)
	return m
}

// Describe implements client_golang's Collector.
func (m *Metrics) Describe(ch chan<- *client.Desc) {
	for _, d := range []*client.Desc{m.status, m.latency, m.band, m.stream, m.spills} {
		ch <- d
	}
}

// Collect implements client_golang's Collector.
func (m *Metrics) Collect(ch chan<- client.Metric) {
	m.collecting.Lock()
	defer m.collecting.Unlock()
	now := m.now()
	statuses := func(k statusKey, c *count) { m.collectStatus(ch, k, c) }
	timings := func(k timingKey, t *timing) { m.collectTiming(ch, k, t) }
	traffics := func(k timingKey, t *traffic) { m.collectTraffic(ch, k, t) }
	m.statuses.each(now, statuses)
	m.timings.each(now, timings)
	m.traffics.each(now, traffics)
	m.streams.each(now, func(route string, c *count) {
		ch <- client.MustNewConstMetric(m.stream, client.CounterValue, float64(c.n.Load()), valid([]string{route})...)
	})
	for name, n := range map[string]uint64{"http_status": m.statuses.overflow.Load(), "http_latency": m.timings.overflow.Load(), "bandwidth": m.traffics.overflow.Load(),
		"stream_connection_total": m.streams.overflow.Load()} {
		ch <- client.MustNewConstMetric(m.spills, client.CounterValue, float64(n), name)
	}
	if m.statuses.overflow.Load() > 0 {
		statuses(statusKey{noSource: true}, m.statuses.spill)
	}
	if m.timings.overflow.Load() > 0 {
		timings(timingKey{}, m.timings.spill)
	}
	if m.traffics.overflow.Load() > 0 {
		traffics(timingKey{}, m.traffics.spill)
	}
}

func (m *Metrics) collectStatus(ch chan<- client.Metric, k statusKey, c *count) {
	source := ""
	if !k.noSource {
		source = k.source.String()
	}
	labels := append([]string{strconv.Itoa(k.code), k.route, k.uri, k.host, k.service, k.consumer, addrText(k.node), "traditional_http", "", "", source},
		splitExtra(k.extra, m.statusExtra)...)
	ch <- client.MustNewConstMetric(m.status, client.CounterValue, float64(c.n.Load()), valid(labels)...)
}

// labels are the labels of http_latency and bandwidth.
func (k *timingKey) labels(kind string, list []extra) []string {
	return valid(append([]string{kind, k.route, k.service, k.consumer, addrText(k.node), "traditional_http", "", ""}, splitExtra(k.extra, list)...))
}

func (m *Metrics) collectTiming(ch chan<- client.Metric, k timingKey, t *timing) {
	for _, h := range []struct {
		kind string
		h    *histogram
	}{{"request", &t.request}, {"upstream", &t.upstream}, {"apisix", &t.gateway}} {
		buckets := make(map[float64]uint64, len(m.uppers))
		var total uint64
		for i, upper := range m.uppers {
			total += h.h.buckets[i].Load()
			buckets[upper] = total
		}
		total += h.h.buckets[len(m.uppers)].Load()
		if total == 0 {
			continue
		}
		ch <- client.MustNewConstHistogram(m.latency, total, float64(h.h.sum.Load())/float64(time.Millisecond), buckets, k.labels(h.kind, m.timingExtra)...)
	}
}

func (m *Metrics) collectTraffic(ch chan<- client.Metric, k timingKey, t *traffic) {
	ch <- client.MustNewConstMetric(m.band, client.CounterValue, float64(t.ingress.Load()), k.labels("ingress", m.trafficExtra)...)
	ch <- client.MustNewConstMetric(m.band, client.CounterValue, float64(t.egress.Load()), k.labels("egress", m.trafficExtra)...)
}

func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func splitExtra(s string, list []extra) []string {
	if len(list) == 0 {
		return nil
	}
	parts := strings.SplitN(s, "\x00", len(list))
	for len(parts) < len(list) {
		parts = append(parts, "")
	}
	return parts
}

// valid makes label values UTF-8, which the exposition format wants.
func valid(labels []string) []string {
	for i, l := range labels {
		labels[i] = strings.ToValidUTF8(l, "\uFFFD")
	}
	return labels
}
