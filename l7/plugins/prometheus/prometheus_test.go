package prometheus

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	client "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sluice-gateway/sluice/l7/plugin"
	"github.com/sluice-gateway/sluice/l7/plugin/plugintest"
)

func exchange() *plugin.Exchange {
	ex := plugintest.Request("GET", "/hello")
	fill(ex)
	return ex
}

func fill(ex *plugin.Exchange) {
	ex.Route = plugin.RouteInfo{ID: "1", Name: "hello", ServiceID: "2", ServiceName: "svc", MatchedURI: "/hello", MatchedHost: "foo.com"}
	ex.Response.Status, ex.Source = 200, plugin.SourceUpstream
	ex.Upstream.Addr = netip.MustParseAddrPort("127.0.0.1:1980")
	ex.Upstream.Attempts = append(ex.Upstream.Attempts[:0], plugin.Attempt{Started: 0, Ended: int64(3 * time.Millisecond)})
	ex.Now, ex.BytesIn, ex.BytesOut = ex.Start+int64(4*time.Millisecond), 100, 200
}

func shared(t *testing.T, env *plugin.Env) *Metrics {
	t.Helper()
	return env.Shared(name, func() any { t.Fatal("nothing was counted"); return nil }).(*Metrics)
}

// TestNamesAndLabels holds names, labels and their order against apisix/plugins/prometheus/exporter.lua of APISIX 3.18.
func TestNamesAndLabels(t *testing.T) {
	env := plugintest.Env()
	in := plugintest.NewEnv(t, name, `{}`, env).(plugin.Logger)
	ex := exchange()
	in.Log(ex)
	in.Log(ex)
	m := shared(t, env)
	want := `
# HELP apisix_http_status HTTP status codes per service in APISIX
# TYPE apisix_http_status counter
apisix_http_status{code="200",consumer="",llm_model="",matched_host="foo.com",matched_uri="/hello",node="127.0.0.1",request_llm_model="",request_type="traditional_http",response_source="upstream",route="1",service="2"} 2
# HELP apisix_bandwidth Total bandwidth in bytes consumed per service in APISIX
# TYPE apisix_bandwidth counter
apisix_bandwidth{consumer="",llm_model="",node="127.0.0.1",request_llm_model="",request_type="traditional_http",route="1",service="2",type="egress"} 400
apisix_bandwidth{consumer="",llm_model="",node="127.0.0.1",request_llm_model="",request_type="traditional_http",route="1",service="2",type="ingress"} 200
`
	if err := testutil.CollectAndCompare(m, strings.NewReader(want), "apisix_http_status", "apisix_bandwidth"); err != nil {
		t.Error(err)
	}
	if n := testutil.CollectAndCount(m, "apisix_http_latency"); n != 3 {
		t.Errorf("%d latency series, want request, upstream and apisix", n)
	}
}

func TestPreferNameMetadataAndAttr(t *testing.T) {
	env := plugintest.Env()
	env.Metadata = []byte(`{"disabled_labels":{"http_status":["node","matched_uri"]}}`)
	env.Attr = []byte(`{"metric_prefix":"gw_","metrics":{"http_status":{"extra_labels":[{"user":"$arg_user"}]}}}`)
	in := plugintest.NewEnv(t, name, `{"prefer_name":true}`, env).(plugin.Logger)
	ex := plugintest.Request("GET", "/hello?user=jack")
	fill(ex)
	in.Log(ex)
	want := `
# HELP gw_http_status HTTP status codes per service in APISIX
# TYPE gw_http_status counter
gw_http_status{code="200",consumer="",llm_model="",matched_host="foo.com",matched_uri="",node="",request_llm_model="",request_type="traditional_http",response_source="upstream",route="hello",service="svc",user="jack"} 1
`
	if err := testutil.CollectAndCompare(shared(t, env), strings.NewReader(want), "gw_http_status"); err != nil {
		t.Error(err)
	}
}

// TestBandwidthHasItsOwnLabels tests extra_labels and disabled_labels of bandwidth, which are not those of http_latency.
func TestBandwidthHasItsOwnLabels(t *testing.T) {
	env := plugintest.Env()
	env.Metadata = []byte(`{"disabled_labels":{"bandwidth":["node"]}}`)
	env.Attr = []byte(`{"metrics":{"bandwidth":{"extra_labels":[{"user":"$arg_user"}]}}}`)
	in := plugintest.NewEnv(t, name, `{}`, env).(plugin.Logger)
	ex := plugintest.Request("GET", "/hello?user=jack")
	fill(ex)
	ex.BytesIn, ex.BytesOut = 70, 900
	in.Log(ex)
	want := `
# HELP apisix_bandwidth Total bandwidth in bytes consumed per service in APISIX
# TYPE apisix_bandwidth counter
apisix_bandwidth{consumer="",llm_model="",node="",request_llm_model="",request_type="traditional_http",route="1",service="2",type="egress",user="jack"} 900
apisix_bandwidth{consumer="",llm_model="",node="",request_llm_model="",request_type="traditional_http",route="1",service="2",type="ingress",user="jack"} 70
`
	if err := testutil.CollectAndCompare(shared(t, env), strings.NewReader(want), "apisix_bandwidth"); err != nil {
		t.Error(err)
	}
}

// TestExpire tests plugin_attr.prometheus.metrics.NAME.expire: a series goes when it has not changed for that many seconds, also when nobody has read it before (APISIX,
// t/plugin/prometheus-metric-expire.t TEST 1).
func TestExpire(t *testing.T) {
	env := plugintest.Env()
	env.Attr = []byte(`{"metrics":{"http_status":{"expire":60}}}`)
	in := plugintest.NewEnv(t, name, `{}`, env).(plugin.Logger)
	m := shared(t, env)
	now := int64(1000 * time.Second)
	m.now = func() int64 { return now }
	log := func(status int) {
		ex := exchange()
		ex.Response.Status, ex.Now = status, now
		in.Log(ex)
	}
	log(500)
	now += int64(60 * time.Second)
	log(200)
	log(404)
	for _, step := range []struct {
		name   string
		after  time.Duration
		status int // of a request before the scrape, 0 for none
		want   int
	}{
		{"both are new, one was never read in its time", 0, 0, 2},
		{"not long enough", 59 * time.Second, 200, 2},
		{"one changed since", time.Second, 0, 1},
		{"the other too", 60 * time.Second, 0, 0},
		{"it comes back", 0, 200, 1},
	} {
		now += int64(step.after)
		if step.status != 0 {
			log(step.status)
		}
		if n := testutil.CollectAndCount(m, "apisix_http_status"); n != step.want {
			t.Errorf("%s: %d series, want %d", step.name, n, step.want)
		}
	}
	if n := testutil.CollectAndCount(m, "apisix_http_latency"); n == 0 {
		t.Error("http_latency has no expire, but its series are gone")
	}
}

func TestSeriesAreBounded(t *testing.T) {
	tab := newTable(100, 0, statusKey.own, func() *count { return new(count) })
	for i := range 1000 {
		tab.get(statusKey{route: fmt.Sprint(i)}, 0).add(1)
	}
	total := tab.spill.n.Load()
	tab.each(0, func(_ statusKey, c *count) { total += c.n.Load() })
	if tab.size.Load() != 100 || total != 1000 || tab.overflow.Load() != 900 {
		t.Errorf("%d series, %d counted, %d over", tab.size.Load(), total, tab.overflow.Load())
	}
}

func TestConcurrentCounts(t *testing.T) {
	env := plugintest.Env()
	in := plugintest.NewEnv(t, name, `{}`, env).(plugin.Logger)
	var wg sync.WaitGroup
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			ex := exchange()
			for i := range 500 {
				ex.Response.Status = 200 + i%50
				in.Log(ex)
			}
		}()
	}
	wg.Wait()
	var total uint64
	shared(t, env).statuses.each(0, func(_ statusKey, c *count) { total += c.n.Load() })
	if total != 4000 {
		t.Errorf("%d of 4000 requests were counted", total)
	}
	if err := client.NewPedanticRegistry().Register(shared(t, env)); err != nil {
		t.Error(err)
	}
}

func TestLogDoesNotAllocate(t *testing.T) {
	for name, attr := range map[string]string{
		"plain":        `{}`,
		"extra labels": `{"metrics":{"http_status":{"extra_labels":[{"user":"$arg_user"},{"agent":"$http_user_agent"}]},"http_latency":{"extra_labels":[{"user":"$arg_user"}]},"bandwidth":{"extra_labels":[{"user":"$arg_user"}]}}}`,
		"expire":       `{"metrics":{"http_status":{"expire":1},"http_latency":{"expire":1},"bandwidth":{"expire":1}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			env := plugintest.Env()
			env.Attr = []byte(attr)
			in := plugintest.NewEnv(t, "prometheus", `{}`, env).(plugin.Logger)
			ex := plugintest.Request("GET", "/hello?user=jack")
			fill(ex)
			in.Log(ex)
			// Scratch memory comes in blocks that later exchanges use again: what counts is less than one per request.
			if n := testing.AllocsPerRun(1000, func() { in.Log(ex) }); n >= 1 && !raceEnabled {
				t.Errorf("%v allocations per request", n)
			}
		})
	}
}

// TestExtraLabelsAreKept tests that a series keeps its labels when the memory of its first request is used for others, and that a value of a client does not reach other labels.
func TestExtraLabelsAreKept(t *testing.T) {
	env := plugintest.Env()
	env.Attr = []byte(`{"metrics":{"http_status":{"extra_labels":[{"user":"$arg_user"},{"method":"$request_method"}]}}}`)
	in := plugintest.NewEnv(t, name, `{}`, env).(plugin.Logger)
	for _, user := range []string{"jack", "jill", "ja\x00ck", strings.Repeat("x", 1000)} {
		ex := plugintest.Request("GET", "/hello")
		ex.Request.Query, ex.Request.HasQuery = []byte("user="+user), true
		fill(ex)
		in.Log(ex)
		clear(ex.Request.Query)
		ex.Reset()
		clear(ex.Alloc(512))
	}
	label := `apisix_http_status{code="200",consumer="",llm_model="",matched_host="foo.com",matched_uri="/hello",method="GET",node="127.0.0.1",request_llm_model="",request_type="traditional_http",response_source="upstream",route="1",service="2",user="%s"} 1` + "\n"
	want := "# HELP apisix_http_status HTTP status codes per service in APISIX\n# TYPE apisix_http_status counter\n"
	for _, user := range []string{"ja", "jack", "jill", strings.Repeat("x", maxExtraValue)} {
		want += fmt.Sprintf(label, user)
	}
	if err := testutil.CollectAndCompare(shared(t, env), strings.NewReader(want), "apisix_http_status"); err != nil {
		t.Error(err)
	}
}

// TestMetadata tests which labels may be disabled: APISIX, t/plugin/prometheus-label-filter.t.
func TestMetadata(t *testing.T) {
	var schema struct {
		Properties struct {
			Labels struct {
				Properties map[string]struct{ Items struct{ Enum []string } }
			} `json:"disabled_labels"`
		}
	}
	if err := json.Unmarshal(metadataSchema, &schema); err != nil {
		t.Fatal(err)
	}
	metrics := schema.Properties.Labels.Properties
	var names []string
	for name, m := range metrics {
		names = append(names, name)
		for _, structural := range []string{"code", "type", "layer"} {
			if slices.Contains(m.Items.Enum, structural) {
				t.Errorf("%s: %s may be disabled, which would merge what differs (TEST 6)", name, structural)
			}
		}
		if !slices.Contains(m.Items.Enum, "node") {
			t.Errorf("%s: node may not be disabled", name)
		}
	}
	slices.Sort(names)
	want := []string{"ai_cache_bypasses_total", "ai_cache_embedding_latency", "ai_cache_hits_total", "ai_cache_misses_total", "bandwidth", "http_latency", "http_status", "llm_active_connections",
		"llm_completion_tokens", "llm_completion_tokens_dist", "llm_latency", "llm_prompt_tokens", "llm_prompt_tokens_dist"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestRefusedAttributes(t *testing.T) {
	for _, tc := range []struct{ name, attr, want string }{
		{"own label", `{"metrics":{"http_status":{"extra_labels":[{"route":"$uri"}]}}}`, `http_status.extra_labels[0]: the metric has a label "route" of its own`},
		{"bucket label", `{"metrics":{"http_latency":{"extra_labels":[{"le":"$uri"}]}}}`, `http_latency.extra_labels[0]: the metric has a label "le" of its own`},
		{"twice", `{"metrics":{"bandwidth":{"extra_labels":[{"a":"$uri"},{"a":"$host"}]}}}`, `bandwidth.extra_labels[1]: the label "a" is there twice`},
		{"hyphen", `{"metrics":{"bandwidth":{"extra_labels":[{"a-b":"$uri"}]}}}`, `"a-b" is no name of a label`},
		{"reserved", `{"metrics":{"bandwidth":{"extra_labels":[{"__a":"$uri"}]}}}`, `"__a" is no name of a label`},
		{"digit", `{"metrics":{"bandwidth":{"extra_labels":[{"1a":"$uri"}]}}}`, `"1a" is no name of a label`},
		{"too many", `{"metrics":{"bandwidth":{"extra_labels":[` + strings.Join(manyLabels(17), ",") + `]}}}`, "is one more than the 16 labels"},
		{"prefix", `{"metric_prefix":"9 "}`, "plugin_attr.prometheus.metric_prefix"},
		{"no prefix", `{"metric_prefix":""}`, "plugin_attr.prometheus.metric_prefix"},
		{"buckets out of order", `{"default_buckets":[2,1]}`, "ascending"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			env := plugintest.Env()
			env.Attr = []byte(tc.attr)
			if _, err := plugintest.Try(name, `{}`, env); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func manyLabels(n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf(`{"l%d":"$uri"}`, i))
	}
	return out
}

// TestManyBuckets tests that the plugin takes as many bounds as config.yaml may have.
func TestManyBuckets(t *testing.T) {
	var bounds []string
	for i := range maxBuckets {
		bounds = append(bounds, fmt.Sprint(i+1))
	}
	env := plugintest.Env()
	env.Attr = []byte(`{"default_buckets":[` + strings.Join(bounds, ",") + `]}`)
	in := plugintest.NewEnv(t, name, `{}`, env).(plugin.Logger)
	in.Log(exchange())
	if n := testutil.CollectAndCount(shared(t, env), "apisix_http_latency"); n != 3 {
		t.Errorf("%d series, want 3", n)
	}
}

func BenchmarkLog(b *testing.B) {
	in := plugintest.New(b, name, `{}`).(plugin.Logger)
	ex := exchange()
	b.ReportAllocs()
	for b.Loop() {
		in.Log(ex)
	}
}
