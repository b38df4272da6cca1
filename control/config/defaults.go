package config

import (
	"net/netip"
	"time"
)

// The format of the access log when none is configured (APISIX, apisix/cli/config.lua).
const (
	defaultAccessLogFormat = `$remote_addr - $remote_user [$time_local] $http_host "$request" $status $body_bytes_sent ` +
		`$request_time "$http_referer" "$http_user_agent" $upstream_addr $upstream_status $upstream_response_time ` +
		`"$upstream_scheme://$upstream_host$upstream_uri" "$apisix_request_id"`
	defaultStreamLogFormat = `$remote_addr [$time_local] $protocol $status $bytes_sent $bytes_received $session_time`
)

const (
	kib = int64(1) << 10
	mib = int64(1) << 20
	gib = int64(1) << 30
)

// Default is the configuration of a gateway that was started without a file. The values are APISIX 3.18's
// (apisix/cli/config.lua) except where Sluice promises a tighter bound: the timeouts of clients and the size of
// a request head. Each call returns a value of its own.
func Default() *Config {
	return &Config{
		APISIX: APISIX{
			NodeListen: []Listen{{Addr{Port: 9080}}},
			SSL: SSL{
				Enable:    true,
				Listen:    []SSLListen{{Addr: Addr{Port: 9443}}},
				Protocols: []string{"TLSv1.2", "TLSv1.3"},
				Ciphers: []string{
					"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256",
					"ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
					"ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305",
					"DHE-RSA-AES128-GCM-SHA256", "DHE-RSA-AES256-GCM-SHA384",
				},
				TrustedCertificate: "system",
			},
			EnableAdmin:       true,
			EnableControl:     true,
			EnableIPv6:        true,
			EnableHTTP2:       true,
			EnableServerToken: true,
			Control:           Addr{IP: "127.0.0.1", Port: 9090},
			ProxyCache: ProxyCache{
				TTL: 10 * time.Second,
				Zones: []CacheZone{
					{Name: "disk_cache_one", MemorySize: 50 * mib, DiskSize: gib, DiskPath: "/tmp/disk_cache_one", Levels: "1:2"},
					{Name: "memory_cache", MemorySize: 50 * mib},
				},
			},
			Router:             Router{HTTP: RouterHostURI, SSL: "radixtree_sni"},
			MaxPostArgsSize:    64 * mib,
			ProxyMode:          "http",
			ResolverTimeout:    5 * time.Second,
			EnableResolvSearch: true,
			DataEncryption: DataEncryption{
				EnableEncryptFields: true,
				Keyring:             []Secret{"qeddd145sfvddff3", "edd1c9f0985e76a2"},
			},
			SecretCache: LRU{TTL: 300 * time.Second, Count: 512, NegTTL: 60 * time.Second, NegCount: 512},
		},
		Deployment: Deployment{
			Role:           RoleTraditional,
			ConfigProvider: "etcd",
			Admin: Admin{
				KeyRequired: true,
				GenerateKey: true,
				EnableCORS:  true,
				EnableUI:    true,
				AllowAdmin:  []netip.Prefix{netip.MustParsePrefix("127.0.0.0/24")},
				Listen:      Addr{IP: "0.0.0.0", Port: 9180},
				Version:     "v3",
			},
			Etcd: Etcd{
				Host:               []string{"http://127.0.0.1:2379"},
				Prefix:             "/apisix",
				Timeout:            30 * time.Second,
				WatchTimeout:       50 * time.Second,
				ResyncDelay:        5 * time.Second,
				HealthCheckTimeout: 10 * time.Second,
				StartupRetry:       2,
				TLS:                EtcdTLS{Verify: true},
			},
		},
		Nginx: NginxConfig{
			RealIPHeader:          "X-Real-IP",
			RealIPFrom:            []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
			UpstreamTLSServerName: true,
			Upstream:              Keepalive{Size: 320, Requests: 1000, Idle: 60 * time.Second},
			StreamAccessLog: AccessLog{
				Path: "off", Format: defaultStreamLogFormat, Escape: "default",
				BufferBytes: 16 * kib, FlushInterval: time.Second,
			},
		},
		Prometheus: Prometheus{
			ExportURI:       "/apisix/prometheus/metrics",
			MetricPrefix:    "apisix_",
			ExportServer:    true,
			Listen:          Addr{IP: "127.0.0.1", Port: 9091},
			RefreshInterval: 15 * time.Second,
		},
		GraphQLMaxSize: mib,
		Sluice: Sluice{
			ServerHeader:    "APISIX/3.18.0",
			ShutdownTimeout: 240 * time.Second,
			Log:             Log{Level: "info", Format: "text"},
			AccessLog: AccessLog{
				Path: "logs/access.log", Format: defaultAccessLogFormat, Escape: "default",
				BufferBytes: 16 * kib, FlushInterval: time.Second,
			},
			L4: L4{MaxConnections: 65536, UDPSessions: 16384, HelloTimeout: 10 * time.Second, PinDir: "/sys/fs/bpf/sluice"},
			L7: L7{Limits: Limits{
				HeaderBytes:       32 * kib,
				HeaderFields:      100,
				TargetBytes:       8 * kib,
				ChunkExtBytes:     16 * kib,
				TrailerBytes:      8 * kib,
				BufferedBodyBytes: mib,
				HeaderTimeout:     10 * time.Second,
				BodyTimeout:       30 * time.Second,
				WriteTimeout:      30 * time.Second,
				IdleTimeout:       75 * time.Second,
				KeepaliveRequests: 1000,
			}},
			Admin: AdminLimits{BodyBytes: mib + mib/2},
		},
	}
}
