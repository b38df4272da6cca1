package adminapi

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/control/compile"
	"github.com/sluice-gateway/sluice/control/crypt"
	"github.com/sluice-gateway/sluice/control/model"
	"github.com/sluice-gateway/sluice/control/reconcile"
	"github.com/sluice-gateway/sluice/control/schema"
	"github.com/sluice-gateway/sluice/control/snapshot"
	"github.com/sluice-gateway/sluice/control/store"
)

const (
	adminKey  = "admin-key-of-the-tests"
	viewerKey = "viewer-key-of-the-tests"
)

// pluginSet is a compile.Plugins of a few plugins with the shapes of the real ones.
type pluginSet []*compile.PluginInfo

func (s pluginSet) Plugin(name string) (*compile.PluginInfo, bool) {
	for _, p := range s {
		if p.Name == name {
			return p, true
		}
	}
	return nil, false
}

func (s pluginSet) All() []*compile.PluginInfo {
	return slices.SortedFunc(slices.Values(s), func(a, b *compile.PluginInfo) int { return b.Priority - a.Priority })
}

func mustSchema(name, doc string) *schema.Schema {
	s, err := schema.Compile(name, []byte(doc))
	if err != nil {
		panic(err)
	}
	return s
}

func stringField(name string) func(json.RawMessage) (string, error) {
	return func(conf json.RawMessage) (string, error) {
		var m map[string]any
		err := json.Unmarshal(conf, &m)
		s, _ := m[name].(string)
		return s, err
	}
}

var testPlugins = pluginSet{
	{Name: "key-auth", Version: "0.1", Priority: 2500, Auth: true, HTTP: true, ConsumerKeyField: "key", ConsumerKey: stringField("key"),
		Schema:         mustSchema("key-auth", `{"type":"object","properties":{"header":{"type":"string","default":"apikey"},"query":{"type":"string","default":"apikey"},"hide_credentials":{"type":"boolean","default":false}}}`),
		ConsumerSchema: mustSchema("key-auth", `{"type":"object","properties":{"key":{"type":"string"}},"required":["key"],"encrypt_fields":["key"]}`)},
	{Name: "basic-auth", Version: "0.1", Priority: 2520, Auth: true, HTTP: true, ConsumerKeyField: "username", ConsumerKey: stringField("username"),
		Schema:         mustSchema("basic-auth", `{"type":"object","properties":{"hide_credentials":{"type":"boolean","default":false}}}`),
		ConsumerSchema: mustSchema("basic-auth", `{"type":"object","properties":{"username":{"type":"string"},"password":{"type":"string"}},"required":["username","password"],"encrypt_fields":["password"]}`)},
	{Name: "limit-count", Version: "0.4", Priority: 1002, HTTP: true,
		Schema: mustSchema("limit-count", `{"type":"object","properties":{"count":{"type":"integer","exclusiveMinimum":0},"time_window":{"type":"integer","exclusiveMinimum":0},
			"rejected_code":{"type":"integer","minimum":200,"maximum":599,"default":503},"redis_password":{"type":"string","minLength":0},"rules":{"type":"array"},"group":{"type":"string"}},
			"required":["count","time_window"],"encrypt_fields":["redis_password"]}`),
		MetadataSchema: mustSchema("limit-count", `{"type":"object","properties":{"limit_header":{"type":"string","default":"X-RateLimit-Limit"},"token":{"type":"string"}},"encrypt_fields":["token"]}`),
		Check: func(_ compile.SchemaKind, conf json.RawMessage) error {
			if bytes.Contains(conf, []byte(`"unlucky"`)) {
				return errors.New("group conf mismatched")
			}
			return nil
		}},
	{Name: "proxy-rewrite", Version: "0.1", Priority: 1008, HTTP: true, Schema: mustSchema("proxy-rewrite", `{"type":"object","properties":{"uri":{"type":"string"}}}`)},
	{Name: "cors", Version: "0.1", Priority: 4000, HTTP: true, Schema: mustSchema("cors", `{"type":"object","properties":{"allow_origins":{"type":"string","default":"*"}}}`)},
	{Name: "traffic-split", Version: "0.1", Priority: 966, HTTP: true, Schema: mustSchema("traffic-split", `{"type":"object","properties":{"rules":{"type":"array"}}}`)},
	{Name: "grpc-transcode", Version: "0.1", Priority: 506, HTTP: true, Schema: mustSchema("grpc-transcode", `{"type":"object","properties":{"proto_id":{}},"required":["proto_id"]}`)},
	{Name: "prometheus", Version: "0.2", Priority: 500, HTTP: true, Stream: true, Schema: mustSchema("prometheus", `{"type":"object","properties":{"prefer_name":{"type":"boolean","default":false}}}`)},
	{Name: "mqtt-proxy", Version: "0.1", Priority: 1000, Stream: true, Schema: mustSchema("mqtt-proxy", `{"type":"object","properties":{"protocol_name":{"type":"string"}},"required":["protocol_name"]}`)},
}

// nowhere is a plane that takes every snapshot.
type nowhere struct{}

func (nowhere) Name() string { return "nowhere" }
func (nowhere) Prepare(context.Context, *snapshot.Snapshot) (reconcile.Prepared, error) {
	return nowhere{}, nil
}
func (nowhere) Commit() {}
func (nowhere) Abort()  {}

// fixture is an API on a started controller.
type fixture struct {
	tb    testing.TB
	api   http.Handler
	ctl   *reconcile.Controller
	store store.Store
	logs  *logBuffer
}

// logBuffer keeps everything that is logged.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func testKeyring(tb testing.TB) *crypt.Keyring {
	k, err := crypt.NewKeyring([]string{"qeddd145sfvddff3"})
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

// newFixture makes an API on a memory store.
func newFixture(tb testing.TB, change ...func(*Options)) *fixture {
	return newFixtureOn(tb, store.NewMemory(), change...)
}

func newFixtureOn(tb testing.TB, st store.Store, change ...func(*Options)) *fixture {
	tb.Helper()
	f := &fixture{tb: tb, store: st, logs: &logBuffer{}}
	logger := slog.New(slog.NewTextHandler(f.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	o := Options{
		Keys:         []Key{{"admin", adminKey, "admin"}, {"viewer", viewerKey, "viewer"}},
		KeyRequired:  true,
		CORS:         true,
		ServerHeader: "APISIX/3.18.0",
		Keyring:      testKeyring(tb),
		NextID:       st.NextID,
		Logger:       logger,
	}
	for _, c := range change {
		c(&o)
	}
	compiler := compile.New(compile.Options{Plugins: testPlugins, Keyring: o.Keyring, Logger: logger})
	f.ctl = reconcile.New(st, compiler, logger, nowhere{})
	tb.Cleanup(func() {
		if err := errors.Join(f.ctl.Close(), st.Close()); err != nil {
			tb.Error(err)
		}
	})
	if err := f.ctl.Start(context.Background()); err != nil {
		tb.Fatal(err)
	}
	f.api = New(f.ctl, compiler, testPlugins, o)
	return f
}

// send makes a request below /apisix/admin as the admin.
func (f *fixture) send(method, path, body string, set ...func(*http.Request)) (int, string) {
	w := f.record(method, path, body, append([]func(*http.Request){func(r *http.Request) { r.Header.Set("X-API-KEY", adminKey) }}, set...)...)
	return w.Code, strings.TrimSpace(w.Body.String())
}

// record makes a request without a key.
func (f *fixture) record(method, path, body string, set ...func(*http.Request)) *httptest.ResponseRecorder {
	f.tb.Helper()
	u, err := url.Parse("/apisix/admin" + path)
	if err != nil {
		f.tb.Fatal(err)
	}
	r := httptest.NewRequest(method, "/", strings.NewReader(body))
	r.URL, r.RequestURI = u, u.RequestURI()
	for _, s := range set {
		s(r)
	}
	w := httptest.NewRecorder()
	f.api.ServeHTTP(w, r)
	return w
}

// must makes a request that has to succeed and returns the answer.
func (f *fixture) must(method, path, body string, set ...func(*http.Request)) string {
	f.tb.Helper()
	status, answer := f.send(method, path, body, set...)
	if status >= 300 {
		f.tb.Fatalf("%s %s %s: %d %s", method, path, body, status, answer)
	}
	return answer
}

// value is the value of an object as GET shows it.
func (f *fixture) value(path string) map[string]any {
	f.tb.Helper()
	var it struct{ Value map[string]any }
	decodeInto(f.tb, f.must("GET", path, ""), &it)
	return it.Value
}

func decodeInto(tb testing.TB, text string, v any) {
	tb.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		tb.Fatalf("%s: %v", text, err)
	}
	if _, err := d.Token(); err != io.EOF {
		tb.Fatalf("%s: more than one document", text)
	}
}

func decode(tb testing.TB, text string) (v any) {
	tb.Helper()
	decodeInto(tb, text, &v)
	return v
}

// expect compares an answer with what is wanted: JSON by value, where "<n>" stands for any number and "<id>" for an id
// that POST made, and anything else as text. Wanting "" is wanting no body.
func expect(t *testing.T, status int, body string, wantStatus int, want string) {
	t.Helper()
	if status != wantStatus {
		t.Fatalf("status %d %s, want %d %s", status, body, wantStatus, want)
	}
	if !strings.HasPrefix(want, "{") && !strings.HasPrefix(want, "[") {
		if body != want {
			t.Errorf("%q, want %q", body, want)
		}
		return
	}
	wild := cmp.FilterValues(func(a, b any) bool { return isWild(a) || isWild(b) }, cmp.Comparer(func(a, b any) bool { return fits(a, b) || fits(b, a) }))
	if diff := cmp.Diff(decode(t, want), decode(t, body), wild); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func isWild(v any) bool { return v == "<n>" || v == "<id>" || v == "/apisix/routes/<id>" }

// fits tells whether v is what the placeholder stands for.
func fits(placeholder, v any) bool {
	switch placeholder {
	case "<n>":
		_, ok := v.(json.Number)
		return ok
	case "<id>", "/apisix/routes/<id>":
		s, ok := v.(string)
		prefix, _, _ := strings.Cut(placeholder.(string), "<id>")
		return ok && strings.HasPrefix(s, prefix) && len(s) == len(prefix)+20 && strings.Trim(s[len(prefix):], "0123456789") == ""
	}
	return false
}

// pair makes a certificate for a name and its private key, both PEM.
var pair = sync.OnceValues(func() (cert, key string) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test.com"}, DNSNames: []string{"test.com"},
		NotBefore: time.Unix(1e9, 0), NotAfter: time.Unix(1<<32, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		panic(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}))
})

// sslBody is a certificate as a client sends it.
func sslBody() string {
	cert, key := pair()
	b, err := json.Marshal(map[string]string{"cert": cert, "key": key, "sni": "test.com"})
	if err != nil {
		panic(err)
	}
	return string(b)
}

func route(extra string) string {
	return fmt.Sprintf(`{"uri":"/a","upstream":{"type":"roundrobin","nodes":{"127.0.0.1:1980":1}}%s}`, extra)
}

// stored is an object as the store has it.
func (f *fixture) stored(kind model.Kind, id string) string {
	f.tb.Helper()
	o, err := f.store.Get(context.Background(), model.Key{Kind: kind, ID: id})
	if err != nil {
		f.tb.Fatal(err)
	}
	return string(o.Value)
}

func fakeClock(seconds *int64) func() time.Time {
	return func() time.Time { return time.Unix(*seconds, 0) }
}
