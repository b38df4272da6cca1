package compile

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/control/crypt"
	"github.com/sluice-gateway/sluice/control/model"
	"github.com/sluice-gateway/sluice/control/snapshot"
	"github.com/sluice-gateway/sluice/control/store"
)

// shop is a state with every kind of reference.
func shop(tb testing.TB, routes int) *world {
	w := newWorld(tb)
	w.put("/upstreams/u", `{"type":"roundrobin","nodes":{"127.0.0.1:80":1}}`)
	w.put("/services/s", `{"upstream_id":"u","plugins":{"echo":{"a":1}}}`)
	w.put("/services/t", `{"upstream_id":"u","plugins":{"echo":{"a":1}}}`)
	w.put("/plugin_configs/p", `{"plugins":{"limit":{"count":1}}}`)
	for i := range routes {
		w.put(fmt.Sprintf("/routes/%d", i), routeDoc(i, ""))
	}
	return w
}

func routeDoc(i int, extra string) string {
	service, config := "s", ""
	if i%2 == 1 {
		service, config = "t", `,"plugin_config_id":"p"`
	}
	return fmt.Sprintf(`{"uri":"/%d","service_id":%q%s,"plugins":{"logger":{"n":%d}}%s}`, i, service, config, i, extra)
}

// moved are the ids of the routes whose pointers differ.
func moved(tb testing.TB, a, b *snapshot.Snapshot) []string {
	tb.Helper()
	before := make(map[*snapshot.Route]bool)
	for _, r := range a.Routes {
		before[r] = true
	}
	var ids []string
	for _, r := range b.Routes {
		if !before[r] {
			ids = append(ids, r.ID)
		}
	}
	return ids
}

func TestPointersMoveWithTheirConfiguration(t *testing.T) {
	odd := []string{"1", "3", "5", "7", "9"}
	even := []string{"0", "2", "4", "6", "8"}
	all := []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}
	for _, tt := range []struct {
		name, key, value string
		want             []string
	}{
		{"route", "/routes/5", routeDoc(5, `,"priority":3`), []string{"5"}},
		{"route without a difference", "/routes/5", routeDoc(5, ""), nil},
		{"description", "/routes/5", routeDoc(5, `,"desc":"x","update_time":7`), nil},
		{"new route", "/routes/new", routeDoc(0, ""), []string{"new"}},
		{"deleted route", "/routes/5", "", nil},
		{"service", "/services/t", `{"upstream_id":"u","plugins":{"echo":{"a":2}}}`, odd},
		{"description of a service", "/services/t", `{"desc":"x","upstream_id":"u","plugins":{"echo":{"a":1}}}`, nil},
		{"hidden plugin of a service", "/services/s", `{"upstream_id":"u","plugins":{"echo":{"a":1},"logger":{"n":99}}}`, nil},
		{"plugin config", "/plugin_configs/p", `{"plugins":{"limit":{"count":2}}}`, odd},
		{"upstream", "/upstreams/u", `{"type":"roundrobin","nodes":{"127.0.0.1:81":1}}`, all},
		{"description of an upstream", "/upstreams/u", `{"desc":"x","type":"roundrobin","nodes":{"127.0.0.1:80":1}}`, nil},
		{"unrelated", "/global_rules/1", `{"plugins":{"echo":{}}}`, nil},
		{"own upstream of a service", "/services/s", `{"upstream":{"type":"roundrobin","nodes":{"127.0.0.1:80":1}},"plugins":{"echo":{"a":1}}}`, even},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := testCompiler(t, nil, nil)
			w := shop(t, 10)
			before := c.Compile(nil, w.objects)
			w.put(tt.key, tt.value)
			after := c.Compile(before, w.objects)
			if diff := cmp.Diff(tt.want, moved(t, before.Snapshot, after.Snapshot)); diff != "" {
				t.Errorf("moved routes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPartsKeepTheirPointers(t *testing.T) {
	c := testCompiler(t, nil, nil)
	w := newWorld(t)
	doc := `{"uri":"/%s","upstream":{"type":"roundrobin","nodes":{"127.0.0.1:80":1}},"plugins":{"echo":{},"limit":{"count":%d}}}`
	w.put("/routes/1", fmt.Sprintf(doc, "a", 1))
	before := c.Compile(nil, w.objects)
	w.put("/routes/1", fmt.Sprintf(doc, "b", 2))
	after := c.Compile(before, w.objects)
	a, b := before.Snapshot.Routes[0], after.Snapshot.Routes[0]
	if a.Upstream != b.Upstream {
		t.Error("the upstream moved although it is the same")
	}
	if a.Plugins[0] != b.Plugins[0] || a.Plugins[1] == b.Plugins[1] {
		t.Error("want the same echo and another limit")
	}
	if a.URIs[0] != "/a" {
		t.Errorf("the old snapshot changed: %v", a.URIs)
	}
}

func TestUntouchedKindsKeepTheirSlices(t *testing.T) {
	c := testCompiler(t, nil, nil)
	w := shop(t, 3)
	before := c.Compile(nil, w.objects)
	w.put("/consumers/jack", `{"username":"jack"}`)
	after := c.Compile(before, w.objects)
	if &before.Snapshot.Routes[0] != &after.Snapshot.Routes[0] {
		t.Error("the slice of routes was built anew")
	}
	if reflect.ValueOf(before.Snapshot.Upstreams).Pointer() != reflect.ValueOf(after.Snapshot.Upstreams).Pointer() {
		t.Error("the map of upstreams was built anew")
	}
}

func TestLastGoodVersionStays(t *testing.T) {
	c := testCompiler(t, nil, nil)
	w := shop(t, 2)
	good := c.Compile(nil, w.objects)
	w.put("/routes/0", `{"uri":"/new","service_id":"s","plugins":{"nope":{}}}`)
	w.put("/services/t", `{"upstream_id":"u","plugins":{"limit":{"count":13}}}`)
	r := c.Compile(good, w.objects)
	if got := moved(t, good.Snapshot, r.Snapshot); got != nil {
		t.Errorf("routes moved: %v", got)
	}
	want := []snapshot.Problem{
		{Key: "/routes/0", Err: "unknown plugin [nope]"},
		{Key: "/services/t", Err: "failed to check the configuration of plugin limit err: 13 is unlucky"},
	}
	if diff := cmp.Diff(want, r.Snapshot.Problems); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	t.Run("an edit elsewhere keeps it", func(t *testing.T) {
		w.put("/upstreams/u", `{"type":"roundrobin","nodes":{"127.0.0.1:81":1}}`)
		r := c.Compile(r, w.objects)
		if len(r.Snapshot.Routes) != 2 || r.Snapshot.Routes[0].URIs[0] != "/0" || r.Snapshot.Routes[0].Upstream.Nodes[0].Port != 81 {
			t.Errorf("routes: %+v", r.Snapshot.Routes)
		}
	})
	t.Run("not across a delete", func(t *testing.T) {
		w.put("/routes/0", "")
		r := c.Compile(r, w.objects)
		w.put("/routes/0", `{"uri":"/new","plugins":{"nope":{}}}`)
		if r = c.Compile(r, w.objects); len(r.Snapshot.Routes) != 1 {
			t.Errorf("routes: %+v", r.Snapshot.Routes)
		}
	})
}

// TestIncrementalEqualsFull makes random edits, dangling references included, and compares each outcome with a compilation
// from nothing.
func TestIncrementalEqualsFull(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rnd := mathrand.New(mathrand.NewPCG(seed, 1))
			c := testCompiler(t, map[string]string{"E": "e"}, nil)
			w := newWorld(t)
			r := c.Compile(nil, w.objects)
			for range 150 {
				for range 1 + rnd.IntN(3) {
					randomEdit(w, rnd)
				}
				r = c.Compile(r, w.objects)
				full := c.Compile(nil, w.objects)
				if !reflect.DeepEqual(r.Snapshot, full.Snapshot) {
					t.Fatalf("incremental differs from full (-full +incremental):\n%s", cmp.Diff(full.Snapshot, r.Snapshot))
				}
			}
		})
	}
}

func randomEdit(w *world, rnd *mathrand.Rand) {
	pick := func(list ...string) string { return list[rnd.IntN(len(list))] }
	id := func() string { return pick("1", "2", "3") }
	optional := func(format string, args ...any) string {
		if rnd.IntN(2) == 0 {
			return ""
		}
		return fmt.Sprintf(format, args...)
	}
	plugins := func() string {
		return optional(`,"plugins":{"limit":{"count":%d,"_meta":{"disable":%t}},"echo":{"a":"$env://%s"}}`,
			1+rnd.IntN(2), rnd.IntN(3) == 0, pick("E", "F"))
	}
	upstream := func() string {
		return fmt.Sprintf(`"type":"roundrobin","nodes":{"127.0.0.1%s":%d}`, pick("", ":1", ":2"), rnd.IntN(2))
	}
	reference := func() string {
		return optional(`,"upstream":{%s}`, upstream()) + optional(`,"upstream_id":%q`, id()) + optional(`,"desc":%q`, id())
	}
	var key, value string
	switch rnd.IntN(9) {
	case 0:
		key, value = "/upstreams/"+id(), fmt.Sprintf(`{%s%s}`, upstream(), optional(`,"scheme":%q`, pick("http", "https")))
	case 1:
		key, value = "/services/"+id(), fmt.Sprintf(`{"name":%q%s%s}`, id(), reference(), plugins())
	case 2:
		key, value = "/plugin_configs/"+id(), fmt.Sprintf(`{"plugins":{"limit":{"count":%d}}}`, 1+rnd.IntN(3))
	case 3:
		key, value = "/consumer_groups/"+id(), fmt.Sprintf(`{"plugins":{"limit":{"count":%d}}}`, 1+rnd.IntN(3))
	case 4:
		name := id()
		key = "/consumers/" + name
		value = fmt.Sprintf(`{"username":%q%s%s}`, name, optional(`,"group_id":%q`, id()), plugins())
	case 5:
		key, value = "/credentials/"+id()+"/credentials/"+id(), fmt.Sprintf(`{"plugins":{"door":{"key":%q}}}`, pick("a", "b", "$env://E", "$env://F"))
	case 6:
		key, value = "/global_rules/"+id(), fmt.Sprintf(`{"plugins":{%q:{"count":1}}}`, pick("limit", "echo"))
	case 7:
		key, value = "/stream_routes/"+id(), fmt.Sprintf(`{"server_port":%s%s%s}`, id(), reference(), optional(`,"service_id":%q`, id()))
	default:
		key = "/routes/" + id()
		value = fmt.Sprintf(`{"uri":"/%s"%s%s%s,"service_id":%q%s}`, id(), reference(), plugins(),
			optional(`,"plugin_config_id":%q`, id()), id(), optional(`,"status":%d`, rnd.IntN(2)))
	}
	if rnd.IntN(4) == 0 {
		value = ""
	}
	w.put(key, value)
}

func TestSettle(t *testing.T) {
	c := testCompiler(t, nil, nil)
	w := shop(t, 2)
	before := c.Compile(nil, w.objects)
	assumed := w.objects.Rev() + 1
	base := w.objects
	w.put("/routes/new", routeDoc(0, ""))
	r := c.Compile(before, w.objects)
	stored := *w.objects.Get(model.Key{Kind: model.Routes, ID: "new"})
	stored.Create, stored.Mod = assumed+10, assumed+10
	if !r.Settle(assumed, assumed+10, []*store.Object{&stored}) {
		t.Fatal("Settle refused")
	}
	objects := base.With(assumed+10, map[model.Key]*store.Object{stored.Key: &stored})
	full := c.Compile(nil, objects)
	if diff := cmp.Diff(full.Snapshot, r.Snapshot); diff != "" {
		t.Errorf("settled differs from full (-full +settled):\n%s", diff)
	}
	again := c.Compile(r, objects)
	if got := moved(t, r.Snapshot, again.Snapshot); got != nil {
		t.Errorf("routes moved after Settle: %v", got)
	}
}

func TestDecryption(t *testing.T) {
	keyring, err := crypt.NewKeyring([]string{"edd1c9f0985e76a2"})
	if err != nil {
		t.Fatal(err)
	}
	c := testCompiler(t, nil, keyring)
	w := newWorld(t)
	w.put("/routes/1", fmt.Sprintf(`{"uri":"/","plugins":{"limit":{"count":1,"secret":%q,"nested":{"token":"plain"}}}}`, keyring.Encrypt("s3")))
	w.put("/consumers/jack", fmt.Sprintf(`{"username":"jack","plugins":{"door":{"key":%q}}}`, keyring.Encrypt("jack-key")))
	cert, key := pair(t)
	w.put("/ssls/1", fmt.Sprintf(`{"type":"client","cert":%s,"key":%s}`, quote(cert), quote(keyring.EncryptKey(key))))
	w.put("/upstreams/1", `{"type":"roundrobin","scheme":"https","nodes":{"127.0.0.1":1},"tls":{"client_cert_id":"1"}}`)
	s := c.Compile(nil, w.objects).Snapshot
	if s.Problems != nil {
		t.Fatalf("problems: %v", s.Problems)
	}
	if got, want := string(s.Routes[0].Plugins[0].Conf), `{"count":1,"nested":{"token":"plain"},"secret":"s3","window":60}`; got != want {
		t.Errorf("conf %s, want %s", got, want)
	}
	if got, want := string(s.Consumers[0].Auth[0].Conf), `{"key":"jack-key","note":"-"}`; got != want {
		t.Errorf("auth %s, want %s", got, want)
	}
	want := &snapshot.UpstreamTLS{ClientCert: cert, ClientKey: key}
	if diff := cmp.Diff(want, s.Upstreams["1"].TLS); diff != "" {
		t.Errorf("tls (-want +got):\n%s", diff)
	}
	t.Run("duplicates are found behind encryption", func(t *testing.T) {
		err := c.CheckObject(model.Key{Kind: model.Consumers, ID: "rose"},
			decode(t, `{"username":"rose","plugins":{"door":{"key":"jack-key"}}}`), w.objects, CheckOptions{})
		if err == nil || err.Error() != "duplicate key of plugin door found with consumer: jack" {
			t.Errorf("err = %v", err)
		}
	})
}

func TestSSL(t *testing.T) {
	cert, key := pair(t)
	cert2, key2 := pair(t)
	env := map[string]string{"CERT": cert, "KEY": key}
	for _, tt := range []struct {
		name, value string
		want        []snapshot.KeyPair
		problem     string
	}{
		{"one", fmt.Sprintf(`{"sni":"a.test","cert":%s,"key":%s}`, quote(cert), quote(key)), []snapshot.KeyPair{{Cert: cert, Key: key}}, ""},
		{"two", fmt.Sprintf(`{"snis":["a.test"],"cert":%s,"key":%s,"certs":[%s],"keys":[%s]}`, quote(cert), quote(key), quote(cert2), quote(key2)),
			[]snapshot.KeyPair{{Cert: cert, Key: key}, {Cert: cert2, Key: key2}}, ""},
		{"environment", `{"sni":"a.test","cert":"$env://CERT","key":"$ENV://KEY"}`, []snapshot.KeyPair{{Cert: cert, Key: key}}, ""},
		{"environment without it", `{"sni":"a.test","cert":"$env://CERT","key":"$env://NONE"}`, nil,
			"key: reference $env://NONE stays as it is: the environment variable is not set; the certificate is not served"},
		{"off", fmt.Sprintf(`{"status":0,"sni":"a.test","cert":%s,"key":%s}`, quote(cert), quote(key)), nil, ""},
		{"other key", fmt.Sprintf(`{"sni":"a.test","cert":%s,"key":%s}`, quote(cert), quote(key2)), nil,
			"failed to parse key: tls: private key does not match public key"},
		{"uneven", fmt.Sprintf(`{"sni":"a.test","cert":%s,"key":%s,"certs":[%s],"keys":[]}`, quote(cert), quote(key), quote(cert2)), nil,
			"mismatched number of certs and keys"},
		{"t/admin/ssl2.t, key", fmt.Sprintf(`{"sni":"a.test","cert":%s,"key":%s}`, quote(cert), quote(padded("x"))), nil,
			"failed to parse key: PEM_read_bio_PrivateKey() failed"},
		{"t/admin/ssl2.t, certs", fmt.Sprintf(`{"sni":"a.test","cert":%s,"key":%s,"certs":[%s],"keys":[%s]}`, quote(cert), quote(key), quote(padded("x")), quote(key)), nil,
			"failed to handle cert-key pair[1]: failed to parse cert: PEM_read_bio_X509_AUX() failed"},
		{"client authority", fmt.Sprintf(`{"sni":"a.test","cert":%s,"key":%s,"client":{"ca":%s}}`, quote(cert), quote(key), quote(padded("x"))), nil,
			"failed to validate client_cert: failed to parse cert: PEM_read_bio_X509_AUX() failed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.put("/ssls/1", tt.value)
			s := testCompiler(t, env, nil).Compile(nil, w.objects).Snapshot
			var got []snapshot.KeyPair
			for _, ssl := range s.SSLs {
				got = append(got, ssl.Pairs...)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("pairs (-want +got):\n%s", diff)
			}
			var problem string
			if len(s.Problems) > 0 {
				problem = s.Problems[0].Err
			}
			if problem != tt.problem {
				t.Errorf("problem %q, want %q", problem, tt.problem)
			}
		})
	}
}

// pair makes a certificate and its key.
func pair(tb testing.TB) (cert, key string) {
	tb.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"a.test"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		tb.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		tb.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}))
}

func quote(s string) string {
	data, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// BenchmarkCompileOneRoute compiles an edit of one route among 10,000.
func BenchmarkCompileOneRoute(b *testing.B) {
	c := testCompiler(b, nil, nil)
	w := shop(b, 10_000)
	r := c.Compile(nil, w.objects)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		w.put("/routes/5000", routeDoc(5000, fmt.Sprintf(`,"priority":%d`, i)))
		r = c.Compile(r, w.objects)
	}
}

// BenchmarkCompileService compiles an edit of a service that 5,000 routes share.
func BenchmarkCompileService(b *testing.B) {
	c := testCompiler(b, nil, nil)
	w := shop(b, 10_000)
	r := c.Compile(nil, w.objects)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		w.put("/services/s", fmt.Sprintf(`{"upstream_id":"u","plugins":{"echo":{"a":%d}}}`, i))
		r = c.Compile(r, w.objects)
	}
}

// BenchmarkCompileAll compiles 10,000 routes from nothing.
func BenchmarkCompileAll(b *testing.B) {
	c := testCompiler(b, nil, nil)
	w := shop(b, 10_000)
	b.ReportAllocs()
	for b.Loop() {
		c.Compile(nil, w.objects)
	}
}
