package adminapi

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/control/model"
)

const hidden = "hunter2-is-the-secret"

// TestAtRest looks at what is encrypted in the store and in answers to writes, and in the clear in answers to reads (contract, section 2,
// envelopes; control/crypt has the cipher).
func TestAtRest(t *testing.T) {
	_, pemKey := pair()
	cert, _ := pair()
	quoted := func(s string) string { return string(encode(s)) }
	for _, tc := range []struct {
		name, path, id string
		kind           model.Kind
		setup          [2]string
		body           string
		at             []string // of the secret in the value
		secret         string
		onGet          string // "clear", "sealed" or "gone"
	}{
		{"plugin of a route", "/routes/1", "1", model.Routes, [2]string{}, route(`,"plugins":{"limit-count":{"count":1,"time_window":1,"redis_password":"` + hidden + `"}}`),
			[]string{"plugins", "limit-count", "redis_password"}, hidden, "clear"},
		{"plugin of a plugin config", "/plugin_configs/1", "1", model.PluginConfigs, [2]string{}, `{"plugins":{"limit-count":{"count":1,"time_window":1,"redis_password":"` + hidden + `"}}}`,
			[]string{"plugins", "limit-count", "redis_password"}, hidden, "clear"},
		{"plugin of a consumer", "/consumers/jack", "jack", model.Consumers, [2]string{}, `{"username":"jack","plugins":{"key-auth":{"key":"` + hidden + `"}}}`,
			[]string{"plugins", "key-auth", "key"}, hidden, "clear"},
		{"plugin of a credential", "/consumers/jack/credentials/c", "jack/credentials/c", model.Credentials, [2]string{"/consumers/jack", `{"username":"jack"}`},
			`{"plugins":{"basic-auth":{"username":"u","password":"` + hidden + `"}}}`, []string{"plugins", "basic-auth", "password"}, hidden, "clear"},
		{"plugin of a consumer by its other schema", "/consumers/jack", "jack", model.Consumers, [2]string{},
			`{"username":"jack","plugins":{"limit-count":{"count":1,"time_window":1,"redis_password":"` + hidden + `"}}}`, []string{"plugins", "limit-count", "redis_password"}, hidden, "clear"},
		{"plugin metadata", "/plugin_metadata/limit-count", "limit-count", model.PluginMetadatas, [2]string{}, `{"token":"` + hidden + `"}`, []string{"token"}, hidden, "clear"},
		{"key of a certificate", "/ssls/1", "1", model.SSLs, [2]string{}, sslBody(), []string{"key"}, pemKey, "gone"},
		{"further key of a certificate", "/ssls/1", "1", model.SSLs, [2]string{},
			`{"sni":"test.com","cert":` + quoted(cert) + `,"key":` + quoted(pemKey) + `,"certs":[` + quoted(cert) + `],"keys":[` + quoted(pemKey) + `]}`, []string{"keys", "0"}, pemKey, "gone"},
		{"client key of an upstream", "/upstreams/1", "1", model.Upstreams, [2]string{},
			`{"type":"roundrobin","nodes":{"127.0.0.1:1":1},"tls":{"client_cert":` + quoted(cert) + `,"client_key":` + quoted(pemKey) + `}}`, []string{"tls", "client_key"}, pemKey, "sealed"},
		{"client key of a route's upstream", "/routes/1", "1", model.Routes, [2]string{},
			`{"uri":"/a","upstream":{"type":"roundrobin","nodes":{"127.0.0.1:1":1},"tls":{"client_cert":` + quoted(cert) + `,"client_key":` + quoted(pemKey) + `}}}`,
			[]string{"upstream", "tls", "client_key"}, pemKey, "sealed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFixture(t)
			if tc.setup[0] != "" {
				f.must("PUT", tc.setup[0], tc.setup[1])
			}
			sealed := ""
			check := func(step, answer string) {
				t.Helper()
				var it struct{ Value any }
				decodeInto(t, answer, &it)
				inStore := at(decode(t, f.stored(tc.kind, tc.id)), tc.at)
				if inStore == "" || strings.Contains(inStore, tc.secret) {
					t.Errorf("%s: the store has %q", step, inStore)
				}
				if got := at(it.Value, tc.at); got != inStore {
					t.Errorf("%s answers %q, the store has %q", step, got, inStore)
				}
				if sealed != "" && inStore != sealed {
					t.Errorf("%s: the store has %q, had %q", step, inStore, sealed)
				}
				sealed = inStore
				want := map[string]string{"clear": tc.secret, "sealed": inStore, "gone": ""}[tc.onGet]
				if got := at(f.value(tc.path), tc.at); got != want {
					t.Errorf("after %s, GET shows %q, want %q", step, got, want)
				}
				list := tc.path[:strings.LastIndexByte(tc.path, '/')]
				if shown := f.must("GET", list, ""); strings.Contains(shown, string(encode(tc.secret))) != (tc.onGet == "clear") {
					t.Errorf("after %s, the list shows %s", step, shown)
				}
			}
			check("PUT", f.must("PUT", tc.path, tc.body))
			info, _ := model.Lookup(tc.kind)
			if info.Allows("PATCH") {
				check("PATCH", f.must("PATCH", tc.path, `{"labels":{"a":"b"}}`))
				check("a second PATCH", f.must("PATCH", tc.path, `{"labels":{"a":"c"}}`))
			}
			if strings.Contains(f.logs.String(), tc.secret) || strings.Contains(f.logs.String(), hidden) {
				t.Errorf("a secret is in the log: %s", f.logs)
			}
		})
	}
}

// at is the string at a path of names and indexes, or "".
func at(v any, path []string) string {
	for _, name := range path {
		switch c := v.(type) {
		case map[string]any:
			v = c[name]
		case []any:
			if len(c) == 0 {
				return ""
			}
			v = c[0]
		default:
			return ""
		}
	}
	s, _ := v.(string)
	return s
}

// TestNoKeyring stores in the clear, and still shows no private key.
func TestNoKeyring(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.Keyring = nil })
	f.must("PUT", "/consumers", `{"username":"jack","plugins":{"key-auth":{"key":"plain"}}}`)
	if !strings.Contains(f.stored(model.Consumers, "jack"), `"key":"plain"`) {
		t.Error("the key is encrypted without a keyring")
	}
	f.must("PUT", "/ssls/1", sslBody())
	if strings.Contains(f.must("GET", "/ssls/1", "")+f.must("GET", "/ssls", ""), "PRIVATE KEY") {
		t.Error("a private key is shown")
	}
}

// TestSecretsInErrors sends secrets in requests that are refused: neither answers, except for the echo of a body that is not JSON, nor
// logs have them.
func TestSecretsInErrors(t *testing.T) {
	_, pemKey := pair()
	f := newFixture(t)
	conf := `{"limit-count":{"count":0,"time_window":1,"redis_password":"` + hidden + `"}}`
	for _, s := range []step{
		{"PUT", "/routes/1", route(`,"plugins":` + conf), 400, ""},
		{"PUT", "/consumers", `{"username":"$","plugins":{"key-auth":{"key":"` + hidden + `"}}}`, 400, ""},
		{"PUT", "/consumers/x", `{"username":"jack","plugins":{"key-auth":{"key":"` + hidden + `"}}}`, 400, ""},
		{"PUT", "/ssls/1", `{"sni":"a","cert":"` + strings.Repeat("c", 200) + `","key":` + string(encode(pemKey)) + `}`, 400, ""},
		{"PUT", "/plugin_metadata/nope", `{"token":"` + hidden + `"}`, 400, ""},
		{"PUT", "/secrets/vault/1", `{"token":"` + hidden + `","bogus":1}`, 400, ""},
		{"POST", "/configs/validate", `{"routes":[` + route(`,"id":"1","plugins":`+conf) + `]}`, 400, ""},
		{"PUT", "/consumers/nobody/credentials/1", `{"plugins":{"key-auth":{"key":"` + hidden + `"}}}`, 404, ""},
	} {
		t.Run(s.method+" "+s.path, func(t *testing.T) {
			status, body := f.send(s.method, s.path, s.body)
			if status != s.status {
				t.Fatalf("%d %s", status, body)
			}
			if strings.Contains(body, hidden) || strings.Contains(body, "PRIVATE KEY") {
				t.Errorf("a secret is in the answer: %s", body)
			}
		})
	}
	for _, path := range []string{"/routes/1?api_key=" + adminKey, "/routes?api_key=" + hidden} {
		f.record("PUT", path, route(""))
	}
	f.record("PUT", "/routes/1", `{"broken":"`+hidden, header("X-API-KEY", adminKey))
	for _, secret := range []string{hidden, adminKey, viewerKey, "PRIVATE KEY"} {
		if strings.Contains(f.logs.String(), secret) {
			t.Errorf("%s is in the log: %s", secret, f.logs)
		}
	}
	if !strings.Contains(f.logs.String(), "resource changed") {
		t.Error("changes are not logged")
	}
	if got := fmt.Sprintf("%v %+v %#v", Options{Keys: []Key{{"admin", adminKey, "admin"}}}, Key{Key: adminKey}, Key{Key: adminKey}); strings.Contains(got, adminKey) {
		t.Errorf("a key prints as %s", got)
	}
	if b, _ := json.Marshal(Key{Key: adminKey}); strings.Contains(string(b), adminKey) {
		t.Errorf("a key encodes as %s", b)
	}
}
