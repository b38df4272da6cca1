package schema

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/control/model"
)

var checkedKinds = []model.Kind{model.Routes, model.Services, model.Upstreams, model.Consumers, model.Credentials, model.ConsumerGroups,
	model.PluginConfigs, model.GlobalRules, model.SSLs, model.Protos, model.StreamRoutes, model.GraphQLCostDecorations}

// keyPair makes a self-signed certificate and its key, both PEM.
func keyPair(t testing.TB) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test.com"},
		NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"test.com"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
}

// object builds a document from JSON with the named texts put in for "@name".
func object(t testing.TB, doc string, texts map[string]string) map[string]any {
	t.Helper()
	for name, text := range texts {
		quoted, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		doc = strings.ReplaceAll(doc, `"@`+name+`"`, string(quoted))
	}
	v, ok := decode(t, doc).(map[string]any)
	if !ok {
		t.Fatalf("%s is no object", doc)
	}
	return v
}

func TestValidateResource(t *testing.T) {
	cert, key := keyPair(t)
	_, otherKey := keyPair(t)
	texts := map[string]string{
		"cert": cert, "key": key, "other": otherKey, "client": strings.Repeat("x", 130),
		"badcert": "-----BEGIN CERTIFICATE-----\n" + strings.Repeat("x", 130),
		"badkey":  "-----BEGIN PRIVATE KEY-----\n" + strings.Repeat("x", 130),
	}
	const vars = `"^((uri|server_name|server_addr|request_uri|remote_port|remote_addr|query_string|host|hostname|mqtt_client_id)|arg_[0-9a-zA-z_-]+)$"`
	tests := []struct {
		source string
		kind   model.Kind
		doc    string
		want   string
	}{
		{"a whole route", model.Routes, tenFields, ""},
		{"schema errors have the prefix", model.Routes, `{"uri":1}`,
			`invalid configuration: property "uri" validation failed: wrong type: expected string, got number`},
		{"apisix/admin/routes.lua, hosts", model.Routes, `{"uri":1,"host":"a","hosts":["b"]}`, `only one of host or hosts is allowed`},
		{"apisix/admin/routes.lua, remote_addrs", model.Routes, `{"uri":1,"remote_addr":"::1","remote_addrs":["::1"]}`,
			`only one of remote_addr or remote_addrs is allowed`},
		{"t/admin/routes3.t TEST 18", model.Routes, `{"uri":"/x","plugins":{},"filter_func":"function(vars) "}`,
			`failed to load 'filter_func' string: this gateway runs no Lua, express the condition in 'vars'`},
		{"script", model.Services, `{"script":"local _M = {} return _M"}`,
			`failed to load 'script' string: this gateway runs no Lua, use 'plugins'`},
		{"t/admin/upstream.t TEST 23", model.Upstreams, `{"nodes":[{"host":"::1","port":1980,"weight":1}]}`,
			`invalid configuration: IPv6 address must be enclosed with '[' and ']'`},
		{"IPv6 in brackets", model.Upstreams, `{"nodes":[{"host":"[::1]","port":1980,"weight":1}]}`, ""},
		{"IPv6 in a route's upstream", model.Routes, `{"uri":"/x","upstream":{"nodes":[{"host":"::1","port":1980,"weight":1}]}}`,
			`invalid configuration: IPv6 address must be enclosed with '[' and ']'`},
		{"port 0", model.Upstreams, `{"nodes":{"127.0.0.1:0":1}}`, `invalid port 0`},
		{"port 65536", model.Upstreams, `{"nodes":{"[::1]:65536":1}}`, `invalid port 65536`},
		{"port of letters", model.Upstreams, `{"nodes":{"a:http":1}}`, `invalid port http`},
		{"port with a sign", model.Upstreams, `{"nodes":{"a:+80":1}}`, `invalid port +80`},
		{"no port", model.Upstreams, `{"nodes":{"a":1,"[::1]":1,"::1":1}}`, ""},
		{"node without a host", model.Upstreams, `{"nodes":{"":1}}`, `invalid configuration: a node needs a host, not an empty string`},
		{"t/node/upstream.t, rewrite", model.Upstreams, `{"nodes":{"a:1":1},"pass_host":"rewrite"}`,
			"`upstream_host` can't be empty when `pass_host` is `rewrite`"},
		{"rewrite with host", model.Upstreams, `{"nodes":{"a:1":1},"pass_host":"rewrite","upstream_host":"b"}`, ""},
		{"t/admin/upstream.t TEST 16", model.Upstreams, `{"nodes":{"a:1":1},"type":"chash"}`, `missing key`},
		{"chash by consumer", model.Upstreams, `{"nodes":{"a:1":1},"type":"chash","hash_on":"consumer"}`, ""},
		{"chash by combination", model.Upstreams, `{"nodes":{"a:1":1},"type":"chash","hash_on":"vars_combinations","key":"$uri$host"}`, ""},
		{"chash by argument", model.Upstreams, `{"nodes":{"a:1":1},"type":"chash","key":"arg_device-id"}`, ""},
		{"t/admin/upstream3.t TEST 13", model.Upstreams, `{"nodes":{"a:1":1},"type":"chash","key":"not_support"}`,
			`invalid configuration: failed to match pattern ` + vars + ` with "not_support"`},
		{"t/admin/upstream3.t TEST 20", model.Upstreams, `{"nodes":{"a:1":1},"type":"chash","hash_on":"header","key":"$#^@"}`,
			`invalid configuration: failed to match pattern "^[a-zA-Z0-9-_]+$" with "$#^@"`},
		{"t/admin/upstream3.t TEST 22", model.Upstreams, `{"nodes":{"a:1":1},"type":"chash","hash_on":"cookie","key":"$#^@abc"}`,
			`invalid configuration: failed to match pattern "^[a-zA-Z0-9-_]+$" with "$#^@abc"`},
		{"client certificate", model.Upstreams, `{"nodes":{"a:1":1},"tls":{"client_cert":"@cert","client_key":"@key"}}`, ""},
		{"client certificate by reference", model.Upstreams, `{"nodes":{"a:1":1},"tls":{"client_cert":"$env://C","client_key":"$env://K"}}`, ""},
		{"broken client certificate", model.Upstreams, `{"nodes":{"a:1":1},"tls":{"client_cert":"@badcert","client_key":"@key"}}`,
			`failed to parse cert: PEM_read_bio_X509_AUX() failed`},
		{"certificate", model.SSLs, `{"sni":"test.com","cert":"@cert","key":"@key"}`, ""},
		{"client type", model.SSLs, `{"type":"client","cert":"@cert","key":"@key","certs":["@cert"]}`, ""},
		{"references", model.SSLs, `{"sni":"test.com","cert":"$secret://vault/1/a/cert","key":"$env://KEY"}`, ""},
		{"t/admin/ssl2.t, cert", model.SSLs, `{"sni":"test.com","cert":"@badcert","key":"@key"}`,
			`failed to parse cert: PEM_read_bio_X509_AUX() failed`},
		{"t/admin/ssl2.t, key", model.SSLs, `{"sni":"test.com","cert":"@cert","key":"@badkey"}`,
			`failed to parse key: PEM_read_bio_PrivateKey() failed`},
		{"foreign key", model.SSLs, `{"sni":"test.com","cert":"@cert","key":"@other"}`,
			`failed to parse key: tls: private key does not match public key`},
		{"apisix/ssl.lua, numbers", model.SSLs, `{"sni":"test.com","cert":"@cert","key":"@key","certs":["@cert"]}`,
			`mismatched number of certs and keys`},
		{"t/admin/ssl2.t, certs", model.SSLs, `{"sni":"test.com","cert":"@cert","key":"@key","certs":["@badcert"],"keys":["@key"]}`,
			`failed to handle cert-key pair[1]: failed to parse cert: PEM_read_bio_X509_AUX() failed`},
		{"t/admin/ssl2.t, keys", model.SSLs, `{"sni":"test.com","cert":"@cert","key":"@key","certs":["@cert","@cert"],"keys":["@key","@badkey"]}`,
			`failed to handle cert-key pair[2]: failed to parse key: PEM_read_bio_PrivateKey() failed`},
		{"client authority", model.SSLs, `{"sni":"test.com","cert":"@cert","key":"@key","client":{"ca":"@client"}}`,
			`failed to validate client_cert: failed to parse cert: PEM_read_bio_X509_AUX() failed`},
		{"stream route", model.StreamRoutes, `{"remote_addr":"10.0.0.0/8","server_addr":"::1","upstream_id":1}`, ""},
		{"stream route, prefix too long", model.StreamRoutes, `{"remote_addr":"::1/200","upstream_id":1}`, `invalid remote_addr: ::1/200`},
		{"consumer", model.Consumers, `{"username":"jack","plugins":{}}`, ""},
		{"consumer name", model.Consumers, `{"username":"j a"}`,
			`invalid configuration: property "username" validation failed: failed to match pattern "^[a-zA-Z0-9_\\-]+$" with "j a"`},
		{"credential id", model.Credentials, `{"id":"jack/credentials/c1","plugins":{}}`, ""},
		{"graphql field path", model.GraphQLCostDecorations, `{"field_path":"Query..x"}`,
			`invalid configuration: property "field_path" validation failed: failed to match pattern "^[A-Za-z_][A-Za-z0-9_]*(\\.[A-Za-z_][A-Za-z0-9_]*)*$" with "Query..x"`},
	}
	for _, tt := range tests {
		t.Run(tt.source, func(t *testing.T) {
			doc := object(t, tt.doc, texts)
			full, err := ValidateResource(tt.kind, doc)
			expectError(t, err, tt.want)
			if err == nil && full == nil {
				t.Error("no document")
			}
			if err != nil && strings.Contains(err.Error(), strings.Split(key, "\n")[1]) {
				t.Error("the message shows a key")
			}
		})
	}
	for _, kind := range []model.Kind{"nope", model.Secrets, model.PluginMetadatas} {
		if _, err := ValidateResource(kind, map[string]any{}); err == nil {
			t.Errorf("ValidateResource(%s) knows the kind", kind)
		}
	}
}

func TestEveryKindHasItsSchema(t *testing.T) {
	for _, info := range model.Kinds() {
		if info.Schema != "" {
			resource(t, info.Schema)
		}
	}
}

// TestDefaultedDocumentsDecode: what validates decodes into the wire structs, whatever form it came in.
func TestDefaultedDocumentsDecode(t *testing.T) {
	full, err := ValidateResource(model.Routes, object(t,
		`{"id":7,"uri":"/x","plugins":[],"priority":1.0,"upstream":{"nodes":{"b:2":1,"a:1":2.0},"checks":{"active":{"healthy":{}}}}}`, nil))
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(full)
	if err != nil {
		t.Fatal(err)
	}
	var route model.Route
	if err := json.Unmarshal(data, &route); err != nil {
		t.Fatal(err)
	}
	if route.ID != "7" || route.Priority != 1 || *route.Status != 1 || route.Upstream.Type != "roundrobin" ||
		len(route.Upstream.Nodes) != 2 || route.Upstream.Nodes[0].Host != "a" || route.Upstream.Nodes[0].Weight != 2 ||
		route.Upstream.Checks.Active.Healthy.Successes != 2 {
		t.Errorf("decoded %s", data)
	}
}
