package config

import (
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var cmpPrefix = cmpopts.EquateComparable(netip.Prefix{})

func vars(kv ...string) func(string) (string, bool) {
	m := map[string]string{}
	for i := 0; i < len(kv); i += 2 {
		m[kv[i]] = kv[i+1]
	}
	return func(k string) (string, bool) { v, ok := m[k]; return v, ok }
}

// TestParseWholeFile compares the whole result for a file that sets every key.
func TestParseWholeFile(t *testing.T) {
	data, err := os.ReadFile("testdata/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	got, warnings, err := Parse("full.yaml", data, vars("ADMIN_KEY", "3e1f5a0c9b7d4f62"))
	if err != nil {
		t.Fatal(err)
	}
	if len(warnings) > 0 {
		t.Errorf("warnings: %v", warnings)
	}
	prefix := netip.MustParsePrefix
	want := &Config{
		APISIX: APISIX{
			ID: "edge-7",
			NodeListen: []Listen{
				{Addr{Port: 8080}}, {Addr{Port: 8081}}, {Addr{IP: "127.0.0.2", Port: 8082}},
			},
			SSL: SSL{
				Enable:             true,
				Listen:             []SSLListen{{Addr: Addr{Port: 8443}, HTTP3: true}, {Addr: Addr{IP: "::1", Port: 8444}}},
				Protocols:          []string{"TLSv1.2", "TLSv1.3"},
				Ciphers:            []string{"ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384"},
				SessionTickets:     true,
				TrustedCertificate: "/etc/ssl/ca.pem",
				FallbackSNI:        "my.default.domain",
			},
			EnableAdmin:             true,
			EnableControl:           true,
			Control:                 Addr{IP: "::1", Port: 9190},
			Status:                  &Addr{IP: "127.0.0.1", Port: 7086},
			ShowUpstreamStatus:      true,
			DeleteURITailSlash:      true,
			NormalizeURILikeServlet: true,
			MatchURIEncodedSlash:    true,
			MaxPostArgsSize:         1 << 20,
			ProxyProtocol:           ProxyProtocol{HTTPPort: 9181, HTTPSPort: 9182, TCP: true},
			ProxyCache: ProxyCache{TTL: 20 * time.Second, Zones: []CacheZone{
				{Name: "disk", MemorySize: 10 << 20, DiskSize: 2 << 30, DiskPath: "/var/cache/one", Levels: "1:2"},
				{Name: "memory", MemorySize: 512 << 10},
			}},
			Router:    Router{HTTP: RouterURIWithParameter, SSL: "radixtree_sni"},
			ProxyMode: "http&stream",
			StreamTCP: []StreamListen{
				{Addr: Addr{Port: 9100}, PortEnd: 9100, ProxyProtocol: true},
				{Addr: Addr{Port: 2000}, PortEnd: 2100, ProxyProtocol: true},
				{Addr: Addr{IP: "127.0.0.1", Port: 4000}, PortEnd: 4100, TLS: true, ProxyProtocolToUpstream: true},
			},
			StreamUDP: []StreamListen{
				{Addr: Addr{Port: 9200}, PortEnd: 9200},
				{Addr: Addr{IP: "::1", Port: 9201}, PortEnd: 9201},
			},
			DNSResolver:                []string{"1.1.1.1:53", "8.8.8.8:5353", "[::1]:53"},
			DNSResolverValid:           30 * time.Second,
			ResolverTimeout:            2 * time.Second,
			DataEncryption:             DataEncryption{Keyring: []Secret{"0123456789abcdef"}},
			TrustedAddresses:           []netip.Prefix{prefix("127.0.0.1/32"), prefix("172.18.0.0/16"), prefix("2001:db8::/32")},
			DisableUpstreamHealthcheck: true,
			SecretCache:                LRU{TTL: 10 * time.Second, Count: 20, NegTTL: 30 * time.Second, NegCount: 40},
			Tracing:                    true,
		},
		Deployment: Deployment{
			Role:           RoleTraditional,
			ConfigProvider: "yaml",
			Admin: Admin{
				KeyRequired: true,
				Keys: []AdminKey{
					{Name: "admin", Key: "3e1f5a0c9b7d4f62", Role: "admin"},
					{Name: "viewer", Key: "an-unguessable-viewer-key", Role: "viewer"},
				},
				AllowAdmin: []netip.Prefix{prefix("10.0.0.0/8"), prefix("::1/128")},
				Listen:     Addr{IP: "127.0.0.1", Port: 9280},
				HTTPS:      true,
				MTLS:       AdminMTLS{Cert: "/etc/sluice/admin.crt", Key: "/etc/sluice/admin.key", CA: "/etc/sluice/ca.crt"},
				Version:    "v2",
			},
			Etcd: Default().Deployment.Etcd,
		},
		Nginx: NginxConfig{
			RealIPHeader:    "X-Forwarded-For",
			RealIPRecursive: true,
			RealIPFrom:      []netip.Prefix{prefix("10.0.0.0/8")},
			Upstream:        Keepalive{Size: 32, Requests: 100, Idle: 30 * time.Second},
			StreamAccessLog: AccessLog{
				Path: "stream.log", Format: "$remote_addr", Escape: "none", BufferBytes: 16 << 10, FlushInterval: time.Second,
			},
			StreamRealIPFrom: []netip.Prefix{prefix("192.168.1.0/24")},
		},
		Plugins:       []string{"key-auth", "limit-count"},
		StreamPlugins: []string{},
		PluginAttr: map[string]any{
			"prometheus": map[string]any{
				"export_uri": "/metrics", "metric_prefix": "edge_", "enable_export_server": true,
				"export_addr":      map[string]any{"ip": "0.0.0.0", "port": 9191.0},
				"refresh_interval": 5.0, "default_buckets": []any{1.0, 2.5, 100.0},
				"metrics": map[string]any{"http_status": map[string]any{
					"expire": 600.0, "extra_labels": []any{
						map[string]any{"upstream_addr": "$upstream_addr"}, map[string]any{"status": "$upstream_status"},
					},
				}},
			},
			"redirect": map[string]any{"https_port": 8443.0},
		},
		Prometheus: Prometheus{
			ExportURI: "/metrics", MetricPrefix: "edge_", ExportServer: true,
			Listen: Addr{IP: "0.0.0.0", Port: 9191}, RefreshInterval: 5 * time.Second,
			Metrics: map[string]PrometheusMetric{"http_status": {
				Expire:      10 * time.Minute,
				ExtraLabels: []PrometheusLabel{{"upstream_addr", "$upstream_addr"}, {"status", "$upstream_status"}},
			}},
			Buckets: []float64{1, 2.5, 100},
		},
		Discovery:      map[string]any{"dns": map[string]any{"servers": []any{"127.0.0.1:8600"}}},
		GraphQLMaxSize: 2 << 20,
		Sluice: Sluice{
			DataDir: "/srv/sluice", ServerHeader: "edge", ShutdownTimeout: 45 * time.Second,
			Log: Log{Level: "debug", Format: "json"},
			AccessLog: AccessLog{
				Path: "/dev/stdout", Format: `{"status": "$status"}`, Escape: "default",
				BufferBytes: 64 << 10, FlushInterval: 500 * time.Millisecond,
			},
			L7: L7{Loops: 2, Limits: Limits{
				HeaderBytes: 64 << 10, HeaderFields: 200, TargetBytes: 16 << 10, ChunkExtBytes: 1 << 10, TrailerBytes: 2 << 10,
				BodyBytes: 1 << 30, BufferedBodyBytes: 2 << 20,
				HeaderTimeout: time.Second, BodyTimeout: 2 * time.Second, WriteTimeout: 3 * time.Second,
				IdleTimeout:       90*time.Second + 500*time.Millisecond,
				KeepaliveRequests: 9, MaxConnections: 10,
			}},
			L4: L4{MaxConnections: 12, UDPSessions: 13, HelloTimeout: 14 * time.Second, PinDir: "/sys/fs/bpf/edge", Steer: []Steer{
				{Prefix: prefix("198.51.100.0/24"), Lo: 1, Hi: 65535, To: "http"},
				{Prefix: prefix("2001:db8::/32"), Lo: 8000, Hi: 8999, To: "tcp:9100"},
				{Prefix: prefix("192.0.2.1/32"), UDP: true, Lo: 53, Hi: 53, To: "udp:9200"},
			}},
			Admin: AdminLimits{BodyBytes: 3 << 20},
		},
	}
	if diff := cmp.Diff(want, got, cmpPrefix); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
}

func TestParseNothingIsDefault(t *testing.T) {
	for name, file := range map[string]string{"empty": "", "comments": "# nothing\n", "null": "~\n", "null sections": "apisix:\nsluice:\n"} {
		t.Run(name, func(t *testing.T) {
			got, warnings, err := Parse("config.yaml", []byte(file), vars())
			if err != nil || len(warnings) > 0 {
				t.Fatalf("err %v, warnings %v", err, warnings)
			}
			if diff := cmp.Diff(Default(), got, cmpPrefix); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestParseValues covers the forms that one key takes and what the environment does.
func TestParseValues(t *testing.T) {
	type check func(c *Config) any
	listen := func(c *Config) any { return c.APISIX.NodeListen }
	dataDir := func(c *Config) any { return c.Sluice.DataDir }
	loops := func(c *Config) any { return c.Sluice.L7.Loops }
	idle := func(c *Config) any { return c.Sluice.L7.Limits.IdleTimeout }
	body := func(c *Config) any { return c.Sluice.L7.Limits.BodyBytes }
	allow := func(c *Config) any { return c.Deployment.Admin.AllowAdmin }
	keys := func(c *Config) any { return c.Deployment.Admin.Keys }
	version := func(c *Config) any { return c.Deployment.Admin.Version }
	logPath := func(c *Config) any { return c.Sluice.AccessLog.Path }
	tests := []struct {
		name  string
		file  string
		env   []string
		check check
		want  any
	}{
		{"node_listen number", "apisix: {node_listen: 8080}", nil, listen, []Listen{{Addr{Port: 8080}}}},
		{"node_listen object", "apisix: {node_listen: {ip: 127.0.0.1}}", nil, listen, []Listen{{Addr{IP: "127.0.0.1", Port: 9080}}}},
		{"node_listen port 0", "apisix: {node_listen: [0]}", nil, listen, []Listen{{Addr{Port: 0}}}},
		{"variable", "apisix:\n  node_listen: ${{PORT}}", []string{"PORT", "8088"}, listen, []Listen{{Addr{Port: 8088}}}},
		{"variable in quotes", `apisix: {node_listen: "${{ PORT }}"}`, []string{"PORT", "8088"}, listen, []Listen{{Addr{Port: 8088}}}},
		{"variable with default", "apisix:\n  node_listen: ${{PORT:=8089}}", nil, listen, []Listen{{Addr{Port: 8089}}}},
		{"variable over its default", "apisix:\n  node_listen: ${{PORT:=8089}}", []string{"PORT", "1"}, listen, []Listen{{Addr{Port: 1}}}},
		{"empty variable", "sluice: {data_dir: 'a${{X}}b'}", []string{"X", ""}, dataDir, "ab"},
		{"two variables", "sluice: {data_dir: '/${{A}}/${{B:=b}}'}", []string{"A", "a"}, dataDir, "/a/b"},
		{"digits stay text", "sluice: {data_dir: '${{A}}'}", []string{"A", "0042"}, dataDir, "0042"},
		{"variable in a key", "sluice: {'${{K}}': /x}", []string{"K", "data_dir"}, dataDir, "/x"},
		{"boolean variable", "apisix: {enable_admin: '${{A}}'}", []string{"A", "false"}, func(c *Config) any { return c.APISIX.EnableAdmin }, false},
		{"NGINX variables stay", "sluice: {access_log: {format: '$a ${b}'}}", nil, func(c *Config) any { return c.Sluice.AccessLog.Format }, "$a ${b}"},
		{"SLUICE_DATA_DIR overrides", "sluice: {data_dir: /a}", []string{"SLUICE_DATA_DIR", "/b"}, dataDir, "/b"},

		{"nginx_config sets", "nginx_config: {http: {keepalive_timeout: 5s}}", nil, idle, 5 * time.Second},
		{"sluice overrides nginx_config", "sluice: {l7: {limits: {idle_timeout: 6}}}\nnginx_config: {http: {keepalive_timeout: 5s}}", nil, idle, 6 * time.Second},
		{"duration in days", "sluice: {l7: {limits: {idle_timeout: 1d}}}", nil, idle, 24 * time.Hour},
		{"duration as digits", "sluice: {l7: {limits: {idle_timeout: '60'}}}", nil, idle, time.Minute},
		{"duration as fraction", "sluice: {l7: {limits: {idle_timeout: 0.25}}}", nil, idle, 250 * time.Millisecond},
		{"size in k", "nginx_config: {http: {client_max_body_size: 8K}}", nil, body, int64(8192)},
		{"size as number", "nginx_config: {http: {client_max_body_size: 100}}", nil, body, int64(100)},
		{"workers auto", "nginx_config: {worker_processes: auto}", nil, loops, 0},
		{"workers", "nginx_config: {worker_processes: 4}", nil, loops, 4},
		{"workers variable", "nginx_config: {worker_processes: 4}", []string{"APISIX_WORKER_PROCESSES", "3"}, loops, 3},
		{"development mode", "apisix: {enable_dev_mode: true}", nil, loops, 1},
		{"loops", "sluice: {l7: {loops: 5}}", []string{"APISIX_WORKER_PROCESSES", "3"}, loops, 5},

		{"server tokens off", "apisix: {enable_server_tokens: false}", nil, func(c *Config) any { return c.Sluice.ServerHeader }, "APISIX"},
		{"access log off", "sluice: {access_log: {path: off}}", nil, logPath, "off"},
		{"access log off in quotes", "sluice: {access_log: {path: 'off'}}", nil, logPath, "off"},
		{"access log off by boolean", "sluice: {access_log: {path: false}}", nil, logPath, "off"},
		{"access log disabled", "nginx_config: {http: {enable_access_log: false}}", nil, logPath, "off"},
		{"allow_admin null", "deployment: {admin: {allow_admin: }}", nil, allow, everybody()},
		{"allow_admin empty", "deployment: {admin: {allow_admin: []}}", nil, allow, []netip.Prefix{}},
		{"allow_admin all", "deployment: {admin: {allow_admin: [all]}}", nil, allow, everybody()},
		{"allow_admin at its place in APISIX 2", "apisix: {allow_admin: [10.0.0.1]}", nil, allow, []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")}},
		{"the new place wins", "apisix: {allow_admin: [10.0.0.1]}\ndeployment: {admin: {allow_admin: [10.0.0.2]}}", nil, allow, []netip.Prefix{netip.MustParsePrefix("10.0.0.2/32")}},
		{"admin_key at its place in APISIX 2", "apisix: {admin_key: [{name: a, key: kkkk, role: admin}]}", nil, keys, []AdminKey{{Name: "a", Key: "kkkk", Role: "admin"}}},
		{"a section admin at the top", "admin: {allow_admin: [127.0.0.0/24, 0.0.0.0/0]}", nil, allow, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/24"), netip.MustParsePrefix("0.0.0.0/0")}},
		// APISIX, t/admin/api.t TEST 4, 5 and 8.
		{"admin_api_version v2", "deployment: {admin: {admin_api_version: v2}}", nil, version, "v2"},
		{"admin_api_version v3", "deployment: {admin: {admin_api_version: v3}}", nil, version, "v3"},
		{"admin_api_version default", "deployment: {admin: {admin_api_version: default}}", nil, version, "v2"},
		{"key of digits", "deployment: {admin: {admin_key: [{key: 0123456789012345, role: admin}]}}", nil, keys, []AdminKey{{Key: "0123456789012345", Role: "admin"}}},
		{"keyring null", "apisix: {data_encryption: {keyring: }}", nil, func(c *Config) any { return len(c.APISIX.DataEncryption.Keyring) }, 0},
		{"plugins empty", "plugins: []", nil, func(c *Config) any { return c.Plugins }, []string{}},
		{"plugins null", "plugins:", nil, func(c *Config) any { return c.Plugins }, []string(nil)},
		{"control plane", "apisix: {enable_admin: false}\ndeployment: {role: control_plane, role_control_plane: {config_provider: etcd}}", nil, func(c *Config) any { return c.APISIX.EnableAdmin }, true},
		{"data plane", "deployment: {role: data_plane, role_data_plane: {config_provider: yaml}}", nil, func(c *Config) any {
			return []any{c.APISIX.EnableAdmin, c.Deployment.ConfigProvider}
		}, []any{false, "yaml"}},
		{"alias", "x: &p 8080\napisix: {node_listen: *p}", nil, listen, []Listen{{Addr{Port: 8080}}}},
		{"merge key", "x: &d {ip: 127.0.0.1, port: 1}\napisix: {node_listen: {<<: *d, port: 2}}", nil, listen, []Listen{{Addr{IP: "127.0.0.1", Port: 2}}}},
		{"null plugin_attr", "plugin_attr: {prometheus: , zipkin: {}}", nil, func(c *Config) any { return c.PluginAttr }, map[string]any{"zipkin": map[string]any{}}},
		{"same listener twice", "apisix: {node_listen: [8080, 8080]}", nil, func(c *Config) any { return len(c.APISIX.NodeListen) }, 1},
		{"one port on two addresses", "apisix: {node_listen: {ip: 127.0.0.2, port: 9090}}", nil, func(c *Config) any { return c.APISIX.Control.Port }, 9090},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, _, err := Parse("config.yaml", []byte(tt.file), vars(tt.env...))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, tt.check(c), cmpPrefix); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseErrors(t *testing.T) {
	tests := []struct {
		name string
		file string
		want []string // each error, whole
	}{
		{"node_listen type", "apisix:\n  node_listen: http", []string{"config.yaml:2: apisix.node_listen: expected a port, a list or an object, got a string"}},
		{"node_listen item", "apisix:\n  node_listen:\n    - 1\n    - true", []string{"config.yaml:4: apisix.node_listen[1]: expected a port or an object, got a boolean"}},
		{"port range", "apisix: {node_listen: 70000}", []string{"config.yaml:1: apisix.node_listen: expected an integer from 0 to 65535, got 70000"}},
		{"port type", "apisix: {control: {port: '9090'}}", []string{"config.yaml:1: apisix.control.port: expected an integer, got a string"}},
		{"address", "apisix: {control: {ip: localhost}}", []string{`config.yaml:1: apisix.control.ip: expected an IP address such as 127.0.0.1, got "localhost"`}},
		{"boolean", "apisix: {enable_admin: 1}", []string{"config.yaml:1: apisix.enable_admin: expected true or false, got an integer"}},
		{"quoted boolean", "apisix: {enable_admin: 'yes'}", []string{"config.yaml:1: apisix.enable_admin: expected true or false, got a string"}},
		{"section type", "apisix: 5", []string{"config.yaml:1: apisix: expected an object, got an integer"}},
		{"list type", "plugins: key-auth", []string{"config.yaml:1: plugins: expected a list, got a string"}},
		{"list item", "plugins: [key-auth, {a: 1}]", []string{"config.yaml:1: plugins[1]: expected a string, got an object"}},
		{"choice", "apisix: {router: {http: radixtree_hosturi}}", []string{
			`config.yaml:1: apisix.router.http: expected one of radixtree_uri, radixtree_host_uri, radixtree_uri_with_parameter, got "radixtree_hosturi": did you mean radixtree_host_uri?`}},
		{"choice type", "deployment: {role: [a]}", []string{"config.yaml:1: deployment.role: expected one of traditional, control_plane, data_plane, got a list"}},
		{"role without provider", "deployment:\n  role: data_plane", []string{"config.yaml:2: deployment.role_data_plane.config_provider: is required with deployment.role data_plane"}},
		{"size form", "sluice: {l7: {limits: {header_bytes: 32kb}}}", []string{`config.yaml:1: sluice.l7.limits.header_bytes: expected a size such as 4096, "32k", "1m" or "1g", got "32kb"`}},
		{"size overflow", "sluice: {access_log: {buffer_bytes: 9999999999999g}}", []string{`config.yaml:1: sluice.access_log.buffer_bytes: expected a size such as 4096, "32k", "1m" or "1g", got "9999999999999g"`}},
		{"size range", "sluice: {l7: {limits: {header_bytes: 10}}}", []string{
			"config.yaml:1: sluice.l7.limits.header_bytes: expected from 1024 to 16777216 bytes, got 10"}},
		{"size type", "sluice: {l7: {limits: {body_bytes: []}}}", []string{`config.yaml:1: sluice.l7.limits.body_bytes: expected a size such as 4096, "32k" or "1m", got a list`}},
		{"duration form", "sluice: {shutdown_timeout: soon}", []string{`config.yaml:1: sluice.shutdown_timeout: expected a time such as 10, "10s", "500ms" or "1m30s", got "soon"`}},
		{"duration range", "sluice: {shutdown_timeout: -1}", []string{"config.yaml:1: sluice.shutdown_timeout: expected from 0s to 24h0m0s, got -1 seconds"}},
		{"duration huge", "sluice: {shutdown_timeout: 1e300}", []string{"config.yaml:1: sluice.shutdown_timeout: expected from 0s to 24h0m0s, got 1e+300 seconds"}},
		{"duration string range", "sluice: {l7: {limits: {idle_timeout: 2d}}}", []string{"config.yaml:1: sluice.l7.limits.idle_timeout: expected from 0s to 24h0m0s, got 48h0m0s"}},
		{"target over head", "sluice: {l7: {limits: {target_bytes: 64k}}}", []string{"config.yaml:1: sluice.l7.limits.target_bytes: is 65536, more than header_bytes, which is 32768"}},
		{"server header", `sluice: {server_header: "a\r\nb: c"}`, []string{"config.yaml:1: sluice.server_header: expected visible characters and single blanks, at most 256"}},
		{"prefix", "apisix:\n  trusted_addresses:\n    - 10.0.0.0/8\n    - 10.0.0.0/33", []string{
			`config.yaml:4: apisix.trusted_addresses[1]: expected an IP address or a CIDR block such as 10.0.0.0/8, got "10.0.0.0/33"`}},
		{"protocols", "apisix: {ssl: {ssl_protocols: SSLv3}}", []string{
			`config.yaml:1: apisix.ssl.ssl_protocols: expected some of TLSv1, TLSv1.1, TLSv1.2, TLSv1.3 with blanks between them, got "SSLv3"`}},
		{"ssl listen", "apisix: {ssl: {listen: [9443]}}", []string{"config.yaml:1: apisix.ssl.listen[0]: expected an object with port, got an integer"}},
		{"keyring type", "apisix: {data_encryption: {keyring: [1234567890123456]}}", []string{
			"config.yaml:1: apisix.data_encryption.keyring[0]: expected a string, got an integer"}},
		{"keyring size", "apisix: {data_encryption: {keyring: [short]}}", []string{
			"config.yaml:1: apisix.data_encryption.keyring[0]: expected a key of 16 or 32 bytes, got 5 bytes"}},
		{"stream range", "apisix: {proxy_mode: stream, stream_proxy: {tcp: ['2100-2000'], udp: [true]}}", []string{
			`config.yaml:1: apisix.stream_proxy.tcp[0]: expected a port from 1 to 65535 or a range such as 2000-2100, got "2100-2000"`,
			"config.yaml:1: apisix.stream_proxy.udp[0]: expected a port or an address, got a boolean"}},
		{"stream address", "apisix: {proxy_mode: stream, stream_proxy: {tcp: [{tls: true}, {addr: 'host:1'}]}}", []string{
			"config.yaml:1: apisix.stream_proxy.tcp[0].addr: is required",
			`config.yaml:1: apisix.stream_proxy.tcp[1].addr: expected an IP address before the port, got "host:1"`}},
		{"resolver", "apisix: {dns_resolver: [dns.example]}", []string{`config.yaml:1: apisix.dns_resolver[0]: expected an IP address, with :port or without, got "dns.example"`}},
		{"cache zone", "apisix:\n  proxy_cache:\n    zones:\n      - name: a\n        disk_path: /x", []string{
			"config.yaml:4: apisix.proxy_cache.zones[0].memory_size: is required",
			"config.yaml:4: apisix.proxy_cache.zones[0].disk_size: is required",
			"config.yaml:4: apisix.proxy_cache.zones[0].cache_levels: is required"}},
		{"https admin", "deployment: {admin: {https_admin: true}}", []string{
			"config.yaml:1: deployment.admin.https_admin: needs admin_api_mtls.admin_ssl_cert and admin_api_mtls.admin_ssl_cert_key"}},
		{"steer", "sluice: {l4: {steer: [x]}}", []string{"config.yaml:1: sluice.l4.steer[0]: expected an object with prefix, ports and to, got a string"}},
		{"steer prefix", "sluice: {l4: {steer: [{prefix: 1.2.3.4, to: http}]}}", []string{
			`config.yaml:1: sluice.l4.steer[0].prefix: expected a prefix such as 198.51.100.0/24, got "1.2.3.4"`}},
		{"steer ports", "sluice: {l4: {steer: [{prefix: 1.2.3.0/24, ports: 9-8, to: http}, {prefix: 1.2.3.0/24, ports: 0, to: http}, {prefix: 1.2.3.0/24, ports: 1-65536, to: http}]}}", []string{
			`config.yaml:1: sluice.l4.steer[0].ports: expected a port or a range of ports such as 8000-8999, got "9-8"`,
			`config.yaml:1: sluice.l4.steer[1].ports: expected a port or a range of ports such as 8000-8999, got "0"`,
			`config.yaml:1: sluice.l4.steer[2].ports: expected a port or a range of ports such as 8000-8999, got "1-65536"`}},
		{"steer to", "sluice: {l4: {steer: [{prefix: 1.2.3.0/24, to: https}]}}", []string{
			`config.yaml:1: sluice.l4.steer[0].to: expected http, http:PORT, tcp:PORT or udp:PORT, the port of a listener, got "https"`}},
		{"admin key", "deployment: {admin: {admin_key: [abc]}}", []string{"config.yaml:1: deployment.admin.admin_key[0]: expected an object with name, key and role, got a string"}},
		{"admin key twice", "deployment: {admin: {admin_key: [{key: a, role: admin}, {key: a, role: viewer}]}}", []string{
			"config.yaml:1: deployment.admin.admin_key[1].key: is the same as that of an earlier entry"}},
		{"etcd host", "deployment: {etcd: {host: ['127.0.0.1:2379']}}", []string{"config.yaml:1: deployment.etcd.host[0]: expected an address that begins with http:// or https://"}},
		{"syslog access log", "nginx_config: {http: {access_log: 'syslog:server=127.0.0.1'}}", []string{
			"config.yaml:1: nginx_config.http.access_log: expected a path or off: logging to syslog is the syslog plugin's task"}},
		{"plugin_attr", "plugin_attr: {prometheus: 5}", []string{"config.yaml:1: plugin_attr.prometheus: expected an object, got an integer"}},
		{"export_uri", "plugin_attr: {prometheus: {export_uri: metrics}}", []string{`config.yaml:1: plugin_attr.prometheus.export_uri: expected a path that begins with /, got "metrics"`}},
		{"metric_prefix", "plugin_attr: {prometheus: {metric_prefix: 1a}}", []string{`config.yaml:1: plugin_attr.prometheus.metric_prefix: expected letters, digits and _, not beginning with a digit, got "1a"`}},
		{"buckets", "plugin_attr: {prometheus: {default_buckets: [5, 4, x]}}", []string{
			"config.yaml:1: plugin_attr.prometheus.default_buckets[1]: is not greater than the bound before it",
			"config.yaml:1: plugin_attr.prometheus.default_buckets[2]: expected a number, got a string"}},
		{"name of an extra label", "plugin_attr: {prometheus: {metrics: {bandwidth: {extra_labels: [{a-b: $uri}, {a: $uri}, {a: $host}, {__a: $uri}]}}}}", []string{
			`config.yaml:1: plugin_attr.prometheus.metrics.bandwidth.extra_labels[0]: expected a name of letters, digits and _, not beginning with a digit or __, got "a-b"`,
			`config.yaml:1: plugin_attr.prometheus.metrics.bandwidth.extra_labels[2]: has the name "a", as another label before it`,
			`config.yaml:1: plugin_attr.prometheus.metrics.bandwidth.extra_labels[3]: expected a name of letters, digits and _, not beginning with a digit or __, got "__a"`}},
		{"extra label", "plugin_attr: {prometheus: {metrics: {bandwidth: {extra_labels: [a]}}}}", []string{
			`config.yaml:1: plugin_attr.prometheus.metrics.bandwidth.extra_labels[0]: expected an object with one key such as "upstream_addr: $upstream_addr"`}},
		{"port conflict", "apisix:\n  node_listen: 9180", []string{"config.yaml:2: apisix.node_listen: port 9180 is already taken by deployment.admin.admin_listen"}},
		{"port conflict of two settings", "apisix:\n  status: {port: 9090}\n  control: {port: 9090}", []string{
			"config.yaml:3: apisix.control: port 9090 is already taken by apisix.status"}},
		{"unset variable", "apisix:\n  node_listen: ${{PORT}}", []string{
			"config.yaml:2: apisix.node_listen: environment variable PORT is not set: set it, or write ${{PORT:=default}}",
			"config.yaml:2: apisix.node_listen: expected a port, a list or an object, got a string"}},
		{"duplicate key", "apisix:\n  enable_admin: true\n  enable_admin: false", []string{
			"config.yaml:3: apisix.enable_admin: this key is already set on line 2"}},
		{"key that is a list", "? [a]\n: 1", []string{"config.yaml:1: a key must be a scalar, got a list"}},
		{"merge of a scalar", "x: &a 1\nsluice: {<<: *a}", []string{"config.yaml:2: sluice.<<: expected an object to merge, got an integer"}},
		{"root type", "- a", []string{"config.yaml:1: expected an object with keys such as apisix, deployment and sluice, got a list"}},
		{"second document", "apisix: {}\n---\nsluice: {}", []string{"config.yaml:2: a second YAML document starts here: put everything into one"}},
		{"syntax", "apisix:\n  a: [", []string{"config.yaml:2: not valid YAML: did not find expected node content"}},
		{"several, in the order of the file", "sluice: {data_dir: []}\napisix: {enable_admin: 1}", []string{
			"config.yaml:1: sluice.data_dir: expected a string, got a list",
			"config.yaml:2: apisix.enable_admin: expected true or false, got an integer"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, _, err := Parse("config.yaml", []byte(tt.file), vars())
			if err == nil {
				t.Fatal("no error")
			}
			if c != nil {
				t.Error("a configuration beside an error")
			}
			if diff := cmp.Diff(strings.Join(tt.want, "\n"), err.Error()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			var one *Error
			if !errors.As(err, &one) || one.File != "config.yaml" {
				t.Errorf("no *Error in %v", err)
			}
		})
	}
}

func TestParseWarnings(t *testing.T) {
	tests := []struct {
		name string
		file string
		want []string
	}{
		{"typo", "apisix:\n  node_listn: 8080", []string{"config.yaml:2: apisix.node_listn: unknown key, ignored: did you mean node_listen?"}},
		{"swapped letters", "sluice: {dtaa_dir: /x}", []string{"config.yaml:1: sluice.dtaa_dir: unknown key, ignored: did you mean data_dir?"}},
		{"top level", "apsix: {}", []string{"config.yaml:1: apsix: unknown key, ignored: did you mean apisix?"}},
		{"wrong section", "trusted_addresses: [10.0.0.1]", []string{"config.yaml:1: trusted_addresses: unknown key, ignored: it belongs under apisix.trusted_addresses"}},
		{"APISIX 2 key", "apisix: {allow_admin: [10.0.0.1]}", []string{
			"config.yaml:1: apisix.allow_admin: is read, but its place since APISIX 3.0 is deployment.admin.allow_admin"}},
		{"APISIX 2 key beside the new one", "apisix: {allow_admin: [10.0.0.1]}\ndeployment: {admin: {allow_admin: [10.0.0.2]}}", []string{
			"config.yaml:1: apisix.allow_admin: is ignored, because the file has deployment.admin.allow_admin too"}},
		{"nothing near", "apisix: {zzzzzzzzzzzz: 1}", []string{"config.yaml:1: apisix.zzzzzzzzzzzz: unknown key, ignored"}},
		{"in a list", "apisix: {node_listen: [{prot: 1}]}", []string{"config.yaml:1: apisix.node_listen[0].prot: unknown key, ignored: did you mean port?"}},
		{"unprintable key", `"a\x1b[2J": 1`, []string{`config.yaml:1: "a\x1b[2J": unknown key, ignored`}},
		{"http2 of one port", "apisix: {node_listen: [{port: 1, enable_http2: true}]}", []string{
			"config.yaml:1: apisix.node_listen[0].enable_http2: is not a setting of one port any more, ignored: set apisix.enable_http2"}},
		{"snippet", "nginx_config:\n  http_configuration_snippet: |\n    # a comment\n    gzip on;", []string{
			"config.yaml:2: nginx_config.http_configuration_snippet: has no meaning in Sluice: NGINX directives do not apply"}},
		{"empty snippet", "nginx_config:\n  http_configuration_snippet: |\n    # a comment\n", nil},
		{"underscores", "nginx_config: {http: {underscores_in_headers: 'on'}}", []string{
			"config.yaml:1: nginx_config.http.underscores_in_headers: header fields with an underscore in their name are always dropped: origins may take them for others"}},
		{"public key", "deployment: {admin: {admin_key: [{key: edd1c9f034335f136f87ad84b625c8f1, role: admin}]}}", []string{
			"config.yaml:1: deployment.admin.admin_key[0].key: is printed in APISIX's documentation and therefore public: replace it, for instance by ${{SLUICE_ADMIN_KEY}}"}},
		{"open Admin API", "deployment: {admin: {admin_key_required: false}}", []string{
			"config.yaml:1: deployment.admin.admin_key_required: the Admin API is open to every address of deployment.admin.allow_admin"}},
		{"empty viewer key", "deployment: {admin: {admin_key: [{key: '', role: viewer}, {key: '', role: admin}]}}", []string{
			"config.yaml:1: deployment.admin.admin_key[0].key: is empty: this viewer key is ignored"}},
		{"allow_admin null", "deployment: {admin: {allow_admin: }}", []string{
			"config.yaml:1: deployment.admin.allow_admin: is null, which lets every address use the Admin API"}},
		{"etcd", "deployment: {etcd: {host: ['http://127.0.0.1:2379']}}", []string{
			"config.yaml:1: deployment.etcd: is not contacted: resources are kept in the gateway's own store below sluice.data_dir"}},
		{"stream without mode", "apisix: {stream_proxy: {tcp: [9100]}}", []string{
			"config.yaml:1: apisix.stream_proxy: has no effect unless apisix.proxy_mode is stream or http&stream"}},
		{"plugins null", "plugins:", []string{"config.yaml:1: plugins: is null, so every built-in plugin is on: write [] for none"}},
		{"plugin twice", "plugins: [cors, cors]", []string{`config.yaml:1: plugins[1]: "cors" is listed twice`}},
		{"runner", "ext-plugin: {cmd: [a]}", []string{"config.yaml:1: ext-plugin: has no meaning in Sluice: plugin runners are not supported"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, warnings, err := Parse("config.yaml", []byte(tt.file), vars())
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, w := range warnings {
				got = append(got, w.String())
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseBounds(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c <= 'h'; c++ {
		prev := string(c - 1)
		bomb += string(c) + ": &" + string(c) + " [" + strings.TrimSuffix(strings.Repeat("*"+prev+",", 10), ",") + "]\n"
	}
	tests := []struct{ name, file, want string }{
		{"size", "# " + strings.Repeat("x", maxFileSize), "more than the limit of 1048576"},
		{"alias bomb", bomb, "holds more than 100000 values"},
		{"alias to itself", "plugin_attr: &a {x: *a}", "nested more than 64 deep"},
		{"depth", strings.Repeat("[", 100) + strings.Repeat("]", 100), "nested more than 64 deep"},
		{"many errors", "plugins: [" + strings.Repeat("1,", 500) + "]", "and 400 more errors"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := Parse("config.yaml", []byte(tt.file), vars())
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
		})
	}
	_, warnings, err := Parse("config.yaml", []byte(manyKeys(5000)), vars())
	if err != nil || len(warnings) != maxProblems {
		t.Errorf("5000 unknown keys: %d warnings, err %v", len(warnings), err)
	}
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("k" + strings.Repeat("x", i%40) + string(rune('a'+i%26)) + strings.Repeat("y", i/40) + ": 1\n")
	}
	return b.String()
}

func TestLoad(t *testing.T) {
	path := t.TempDir() + "/config.yaml"
	if _, _, err := Load(path, vars()); err == nil || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	if err := os.WriteFile(path, []byte("apisix: {node_listen: x}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Load(path, vars()); err == nil || !strings.HasPrefix(err.Error(), path+":1: ") {
		t.Errorf("wrong file: %v", err)
	}
	c, _, err := Load("", vars("SLUICE_DATA_DIR", "/x"))
	if err != nil || c.Sluice.DataDir != "/x" {
		t.Errorf("no file: %v, %v", c, err)
	}
}

func FuzzParse(f *testing.F) {
	full, err := os.ReadFile("testdata/full.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(full)
	for _, s := range []string{
		"", "a: &a [*a]", "apisix: {node_listen: ${{P:=1}}}", "x: &d {ip: 1}\napisix: {<<: [*d, *d], node_listen: [{<<: *d}]}",
		"sluice: {shutdown_timeout: 1e309, access_log: {buffer_bytes: 0x7fffffffffffffff}}", "? {a: b}\n: c", "!!binary aGk=: 2001-01-01",
		"deployment: {admin: {admin_key: [{key: 'x'}]}}", "apisix: {stream_proxy: {tcp: ['::1']}, ssl: {ssl_protocols: ''}}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, warnings, err := Parse("config.yaml", data, vars("P", "8080", "T", "true"))
		if (c == nil) == (err == nil) {
			t.Fatalf("config %v, error %v", c, err)
		}
		if err != nil && strings.TrimSpace(err.Error()) == "" {
			t.Fatal("an error without a message")
		}
		if len(warnings) > maxProblems {
			t.Fatalf("%d warnings", len(warnings))
		}
		if c == nil {
			return
		}
		for _, l := range c.APISIX.NodeListen {
			if l.Port < 0 || l.Port > 65535 {
				t.Fatalf("port %d", l.Port)
			}
		}
		if l := c.Sluice.L7.Limits; l.HeaderBytes <= 0 || l.HeaderTimeout <= 0 || l.HeaderFields <= 0 {
			t.Fatalf("limits %+v", l)
		}
	})
}
