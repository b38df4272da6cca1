package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// exposition is what a scrape says: types by name of the metric, and samples.
type exposition struct {
	types   map[string]string
	samples []sample
}

type sample struct {
	name   string
	labels map[string]string
	value  float64
}

var (
	sampleLine = regexp.MustCompile(`^(\w+)(?:\{(.*)\})? (\S+)$`)
	labelPair  = regexp.MustCompile(`(\w+)="((?:[^"\\]|\\.)*)"`)
)

func scrape(t *testing.T, p *process, uri string) *exposition {
	t.Helper()
	status, text, _ := p.get("metrics", uri)
	if status != 200 {
		t.Fatalf("%d %s", status, text)
	}
	e := &exposition{types: map[string]string{}}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, kind, _ := strings.Cut(rest, " ")
			e.types[name] = kind
		}
		if strings.HasPrefix(line, "#") {
			continue
		}
		m := sampleLine.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("%q is no sample", line)
		}
		v, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			t.Fatal(err)
		}
		s := sample{m[1], map[string]string{}, v}
		for _, l := range labelPair.FindAllStringSubmatch(m[2], -1) {
			s.labels[l[1]] = l[2]
		}
		e.samples = append(e.samples, s)
	}
	return e
}

// shape is the type of a metric and the names of its labels.
func (e *exposition) shape(name string) string {
	var labels []string
	for _, s := range e.samples {
		if s.name != name && s.name != name+"_bucket" {
			continue
		}
		for l := range s.labels {
			if !slices.Contains(labels, l) {
				labels = append(labels, l)
			}
		}
	}
	slices.Sort(labels)
	return e.types[name] + " " + strings.Join(labels, ",")
}

// values are the samples of a name by one of their labels.
func (e *exposition) values(name, label string) map[string]float64 {
	out := map[string]float64{}
	for _, s := range e.samples {
		if s.name == name {
			out[s.labels[label]] = s.value
		}
	}
	return out
}

// TestMetrics holds names, types and labels against docs/en/latest/plugins/prometheus.md and apisix/plugins/prometheus/exporter.lua of APISIX 3.18, as far as there is what they count, under a prefix
// that is configured.
func TestMetrics(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "hello") }))
	defer up.Close()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p, err := runProcess(t, path, dir, strings.Replace(fmt.Sprintf(baseConfig, dir), "  prometheus:\n", `  prometheus:
    metric_prefix: gw_
    export_uri: /m
    metrics: {http_status: {extra_labels: [{user: $arg_user}]}}
`, 1))
	if err != nil {
		t.Fatal(err)
	}
	p.put("/routes/1", fmt.Sprintf(`{"uri":"/hello","plugins":{"prometheus":{}},"upstream":{"type":"roundrobin","nodes":{"%s":1}}}`, strings.TrimPrefix(up.URL, "http://")))
	for range 3 {
		if status, body, _ := p.get("http", "/hello?user=jack"); status != 200 {
			t.Fatalf("%d %s", status, body)
		}
	}
	e := scrape(t, p, "/m")
	// A request is counted after its answer.
	for end := time.Now().Add(10 * time.Second); e.values("gw_http_status", "user")["jack"] < 3 && time.Now().Before(end); e = scrape(t, p, "/m") {
		time.Sleep(10 * time.Millisecond)
	}

	common := "consumer,llm_model,node,request_llm_model,request_type,route,service,type"
	want := map[string]string{
		"gw_http_status":                    "counter code,consumer,llm_model,matched_host,matched_uri,node,request_llm_model,request_type,response_source,route,service,user",
		"gw_http_latency":                   "histogram " + strings.Replace(common, "llm_model,", "le,llm_model,", 1),
		"gw_bandwidth":                      "counter " + common,
		"gw_http_requests_total":            "gauge ",
		"gw_nginx_http_current_connections": "gauge state",
		"gw_nginx_metric_errors_total":      "counter ",
		"gw_node_info":                      "gauge hostname,version",
		"gw_etcd_reachable":                 "gauge ",
		"gw_etcd_modify_indexes":            "gauge key",
	}
	got := map[string]string{}
	for name := range e.types {
		if strings.HasPrefix(name, "gw_") {
			got[name] = e.shape(name)
		}
		if strings.HasPrefix(name, "apisix_") {
			t.Errorf("%s does not have the prefix", name)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	for _, tc := range []struct {
		name, label string
		want        map[string]float64
	}{
		{"gw_http_status", "user", map[string]float64{"jack": 3}},
		{"gw_http_status", "response_source", map[string]float64{"upstream": 3}},
		{"gw_http_latency_count", "type", map[string]float64{"request": 3, "upstream": 3, "apisix": 3}},
		{"gw_http_requests_total", "", map[string]float64{"": 3}},
		{"gw_etcd_reachable", "", map[string]float64{"": 1}},
		{"gw_node_info", "version", map[string]float64{contractVersion: 1}},
	} {
		if diff := cmp.Diff(tc.want, e.values(tc.name, tc.label)); diff != "" {
			t.Errorf("%s by %s: -want +got\n%s", tc.name, tc.label, diff)
		}
	}
	keys := func(name, label string) (out []string) {
		for k := range e.values(name, label) {
			out = append(out, k)
		}
		slices.Sort(out)
		return out
	}
	if diff := cmp.Diff([]string{"accepted", "active", "handled", "reading", "waiting", "writing"}, keys("gw_nginx_http_current_connections", "state")); diff != "" {
		t.Errorf("states: -want +got\n%s", diff)
	}
	if diff := cmp.Diff([]string{"+Inf", "1", "10", "100", "1000", "10000", "2", "20", "200", "2000", "30000", "5", "50", "500", "5000", "60000"}, keys("gw_http_latency_bucket", "le")); diff != "" {
		t.Errorf("buckets: -want +got\n%s", diff)
	}
	indexes := e.values("gw_etcd_modify_indexes", "key")
	for _, key := range []string{"consumers", "global_rules", "max_modify_index", "prev_index", "protos", "routes", "services", "ssls", "stream_routes", "upstreams", "x_etcd_index"} {
		if _, ok := indexes[key]; !ok {
			t.Errorf("etcd_modify_indexes lacks %s", key)
		}
	}
	if r := indexes["routes"]; r == 0 || r != indexes["max_modify_index"] || r > indexes["x_etcd_index"] {
		t.Errorf("etcd_modify_indexes: %v", indexes)
	}
}
