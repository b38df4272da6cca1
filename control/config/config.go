// Package config reads config.yaml, the static configuration: what is fixed at start and needs a restart to
// change. The file has the shape of APISIX 3.18's conf/config.yaml, so that an APISIX user's file works; the
// settings that are ours live under the key sluice.
//
// Parse reports every problem of a file at once, each with its line and its field. A wrong type or a value out
// of range is an error; a key that is not known, or that has no meaning in this gateway, is a Warning.
package config

import (
	"net"
	"net/netip"
	"strconv"
	"time"
)

// Config is the whole static configuration after defaults, environment variables and nginx_config were
// applied. Callers read it and never change it.
type Config struct {
	APISIX     APISIX
	Deployment Deployment
	Nginx      NginxConfig

	// Plugins names the HTTP plugins that are on. Nil means every plugin that is built in; an empty list that
	// is not nil means none.
	Plugins []string
	// StreamPlugins is the same for stream routes.
	StreamPlugins []string
	// PluginAttr is plugin_attr as written: plugin name to attributes, with the value types of encoding/json
	// (map[string]any, []any, string, float64, bool, nil). Defaults belong to the plugins.
	PluginAttr map[string]any
	// Prometheus is the typed reading of plugin_attr.prometheus.
	Prometheus Prometheus
	// Discovery holds the service discovery section as written, with the value types of PluginAttr.
	Discovery map[string]any

	// GraphQLMaxSize is graphql.max_size: the longest GraphQL document that is read, in bytes.
	GraphQLMaxSize int64

	Sluice Sluice
}

// APISIX is the section apisix.
type APISIX struct {
	// ID names this instance; empty means that one is generated and kept in the data directory.
	ID string

	// NodeListen are the plain HTTP listeners; defaults to port 9080.
	NodeListen []Listen
	// SSL holds the HTTPS listeners; defaults to port 9443.
	SSL SSL

	EnableAdmin       bool // serve the Admin API
	EnableControl     bool // serve the control API
	EnableDevMode     bool // one event loop: applied to Sluice.L7.Loops already
	EnableIPv6        bool // listeners without an IP listen on [::] too
	EnableHTTP2       bool // offer HTTP/2
	EnableServerToken bool // enable_server_tokens: name the version in the Server header

	// Control is where the control API listens; defaults to 127.0.0.1:9090.
	Control Addr
	// Status is where /status and /status/ready are served. Nil, the default, turns them off.
	Status *Addr

	// ShowUpstreamStatus is show_upstream_status_in_response_header: send X-APISIX-Upstream-Status with every
	// response instead of with 5xx only.
	ShowUpstreamStatus bool

	ProxyProtocol ProxyProtocol
	ProxyCache    ProxyCache
	Router        Router

	DeleteURITailSlash      bool // match /a/ as /a
	NormalizeURILikeServlet bool // normalise paths as the Java servlet specification does
	MatchURIEncodedSlash    bool // keep %2F encoded while matching routes
	// MaxPostArgsSize is max_post_args_readable_size in bytes (megabytes in the file): how much of a body is
	// read to match post_arg.* variables. 0 means no limit of its own.
	MaxPostArgsSize int64

	// ProxyMode says which planes are on.
	ProxyMode ProxyMode
	// StreamTCP and StreamUDP are the listeners of stream_proxy.
	StreamTCP, StreamUDP []StreamListen

	// DNSResolver lists name servers as "ip:port"; empty means those of /etc/resolv.conf.
	DNSResolver []string
	// DNSResolverValid overrides the TTL of DNS records; 0 keeps the TTL of each record.
	DNSResolverValid time.Duration
	// ResolverTimeout bounds one DNS query.
	ResolverTimeout time.Duration
	// EnableResolvSearch is enable_resolv_search_opt: use the search list of resolv.conf.
	EnableResolvSearch bool

	DataEncryption DataEncryption

	// TrustedAddresses are the peers whose X-Forwarded-* headers are believed. Empty means none.
	TrustedAddresses []netip.Prefix
	// DisableUpstreamHealthcheck turns off every health check.
	DisableUpstreamHealthcheck bool
	// SecretCache is lru.secret: how resolved $secret:// references are cached.
	SecretCache LRU
	// Tracing asks for spans of every phase.
	Tracing bool
}

// Addr is one address to listen on. An empty IP means every address.
type Addr struct {
	IP   string
	Port int
}

// String is the address in the form that net.Listen takes.
func (a Addr) String() string { return net.JoinHostPort(a.IP, strconv.Itoa(a.Port)) }

// Listen is one plain HTTP listener. An empty IP means every IPv4 address, and every IPv6 address too when
// apisix.enable_ipv6 is on.
type Listen struct {
	Addr
}

// SSL is the section apisix.ssl.
type SSL struct {
	Enable bool
	Listen []SSLListen
	// Protocols are the TLS versions offered, as "TLSv1.2"; oldest first.
	Protocols []string
	// Ciphers are OpenSSL names, in order of preference.
	Ciphers        []string
	SessionTickets bool
	// TrustedCertificate is the path of a PEM file of certificate authorities, or "system".
	TrustedCertificate string
	// FallbackSNI is the name assumed for clients that send none; empty refuses them.
	FallbackSNI string
}

// SSLListen is one HTTPS listener.
type SSLListen struct {
	Addr
	HTTP3 bool
}

// ProxyProtocol is the section apisix.proxy_protocol. A port of 0 is off.
type ProxyProtocol struct {
	HTTPPort      int
	HTTPSPort     int
	TCP           bool // enable_tcp_pp: the default of stream_proxy.tcp[].proxy_protocol
	TCPToUpstream bool // enable_tcp_pp_to_upstream: the default of stream_proxy.tcp[].proxy_protocol_to_upstream
}

// ProxyCache is the section apisix.proxy_cache.
type ProxyCache struct {
	TTL   time.Duration
	Zones []CacheZone
}

// CacheZone is one zone of the proxy-cache plugin. A zone without a DiskPath is kept in memory.
type CacheZone struct {
	Name       string
	MemorySize int64 // bytes
	DiskSize   int64 // bytes
	DiskPath   string
	Levels     string
}

// The route matchers that apisix.router.http accepts.
const (
	RouterURI              = "radixtree_uri"
	RouterHostURI          = "radixtree_host_uri"
	RouterURIWithParameter = "radixtree_uri_with_parameter"
)

// Router is the section apisix.router.
type Router struct {
	HTTP string // one of the Router constants
	SSL  string // always "radixtree_sni"
}

// ProxyMode is apisix.proxy_mode: "http", "stream" or "http&stream".
type ProxyMode string

// HTTP reports whether HTTP routes are served.
func (m ProxyMode) HTTP() bool { return m != "stream" }

// Stream reports whether stream routes are served; the Admin API refuses them otherwise.
func (m ProxyMode) Stream() bool { return m != "http" }

// StreamListen is one listener of stream_proxy: every port from Port to PortEnd.
type StreamListen struct {
	Addr
	PortEnd                 int // the same as Port unless a range was written
	TLS                     bool
	ProxyProtocol           bool
	ProxyProtocolToUpstream bool
}

// DataEncryption is the section apisix.data_encryption.
type DataEncryption struct {
	EnableEncryptFields bool
	// Keyring are AES-CBC keys of 16 or 32 bytes. The first one encrypts, all of them decrypt.
	Keyring []Secret
}

// LRU bounds one cache of secrets; times are how long a value, or the lack of one, is remembered.
type LRU struct {
	TTL      time.Duration
	Count    int
	NegTTL   time.Duration
	NegCount int
}

// The roles of deployment.role.
const (
	RoleTraditional  = "traditional"
	RoleControlPlane = "control_plane"
	RoleDataPlane    = "data_plane"
)

// Deployment is the section deployment.
type Deployment struct {
	// Role is one of the Role constants. A control plane always serves the Admin API, a data plane never.
	Role string
	// ConfigProvider is where resources come from according to the section of the role: "etcd", "yaml", "json"
	// or "xds". Sluice keeps them in its own store where APISIX needs an etcd.
	ConfigProvider string
	Admin          Admin
	Etcd           Etcd
}

// Admin is the section deployment.admin.
type Admin struct {
	// KeyRequired is admin_key_required; false opens the Admin API to everybody whom AllowAdmin lets through.
	KeyRequired bool
	// Keys are the configured keys, without those whose key is empty: see the function AdminKeys.
	Keys []AdminKey
	// GenerateKey says that no key with the role admin is configured and one is to be generated.
	GenerateKey bool
	EnableCORS  bool
	EnableUI    bool
	// AllowAdmin are the client addresses that may use the Admin API. Empty means nobody, as in APISIX; when
	// everybody may, it holds 0.0.0.0/0 and ::/0.
	AllowAdmin []netip.Prefix
	Listen     Addr // defaults to 0.0.0.0:9180
	HTTPS      bool
	MTLS       AdminMTLS
	Version    string // admin_api_version, the form of the answers: "v3" or "v2"
}

// AdminKey is one key of the Admin API.
type AdminKey struct {
	Name string
	Key  Secret
	Role string // "admin" or "viewer"
}

// AdminMTLS is the section deployment.admin.admin_api_mtls: paths of PEM files.
type AdminMTLS struct {
	Cert, Key, CA string
}

// Etcd is the section deployment.etcd.
type Etcd struct {
	// Configured says that the file has the section; the defaults alone do not ask for an etcd.
	Configured         bool
	Host               []string
	Prefix             string
	Timeout            time.Duration
	WatchTimeout       time.Duration
	ResyncDelay        time.Duration
	HealthCheckTimeout time.Duration
	StartupRetry       int
	User               string
	Password           Secret
	TLS                EtcdTLS
}

// EtcdTLS is the section deployment.etcd.tls.
type EtcdTLS struct {
	Cert, Key string // paths of PEM files
	Verify    bool
	SNI       string
}

// NginxConfig is what carries over from nginx_config and has no place under sluice. The rest of the section
// either sets the default of a key under sluice (see Parse) or is reported as having no meaning here.
type NginxConfig struct {
	// RealIPHeader, RealIPRecursive and RealIPFrom replace the client address of requests that come from one of
	// RealIPFrom by the address in RealIPHeader.
	RealIPHeader    string
	RealIPRecursive bool
	RealIPFrom      []netip.Prefix
	// UpstreamTLSServerName is proxy_ssl_server_name: send SNI to upstreams.
	UpstreamTLSServerName bool
	// Upstream bounds the keep-alive pools of upstreams that have no keepalive_pool.
	Upstream Keepalive
	// StreamAccessLog is the access log of stream routes; its path is "off" by default.
	StreamAccessLog AccessLog
	// StreamRealIPFrom are the peers whose PROXY protocol headers are believed on stream ports.
	StreamRealIPFrom []netip.Prefix
}

// Keepalive bounds a pool of idle upstream connections.
type Keepalive struct {
	Size     int // idle connections kept
	Requests int // requests on one connection
	Idle     time.Duration
}

// Prometheus is the typed reading of plugin_attr.prometheus.
type Prometheus struct {
	ExportURI    string
	MetricPrefix string
	// ExportServer says whether Listen serves ExportURI; otherwise only the public-api plugin exposes it.
	ExportServer bool
	Listen       Addr // defaults to 127.0.0.1:9091
	// RefreshInterval is accepted for compatibility; metrics are rendered when they are asked for.
	RefreshInterval time.Duration
	// Metrics are the settings by metric name: http_status, http_latency, bandwidth, upstream_status.
	Metrics map[string]PrometheusMetric
	// Buckets are the bounds of latency histograms in milliseconds; empty means the plugin's own.
	Buckets []float64
}

// PrometheusMetric is one entry of plugin_attr.prometheus.metrics.
type PrometheusMetric struct {
	// Expire removes a series that was not updated for that long; 0 keeps it.
	Expire time.Duration
	// ExtraLabels are appended to the labels of the metric, in order.
	ExtraLabels []PrometheusLabel
}

// PrometheusLabel is a label and the variable that fills it, as written: "$upstream_addr".
type PrometheusLabel struct {
	Name, Variable string
}

// Sluice is the section sluice: what APISIX has no key for.
type Sluice struct {
	// DataDir is sluice.data_dir, or the environment variable SLUICE_DATA_DIR. Empty means the default: see
	// the function DataDir.
	DataDir string
	// ServerHeader is the Server header of every response; defaults to APISIX/3.18.0, which clients of
	// APISIX gate on, or to APISIX when apisix.enable_server_tokens is false.
	ServerHeader string
	// ShutdownTimeout is how long open requests may take to finish after a signal to stop.
	ShutdownTimeout time.Duration
	Log             Log
	AccessLog       AccessLog
	L7              L7
	L4              L4
	Admin           AdminLimits
}

// Log is the section sluice.log: the gateway's own log on standard error.
type Log struct {
	Level  string // "debug", "info", "warn" or "error"
	Format string // "text" or "json"
}

// AccessLog is the section sluice.access_log.
type AccessLog struct {
	// Path is a file, "-" for standard output, or "off". A path that is not absolute is below the data
	// directory: see File.
	Path string
	// Format is a line of text with APISIX's variables, without the newline at its end.
	Format string
	// Escape says how variables are escaped: "default", "json" or "none".
	Escape string
	// BufferBytes is written at once, or after FlushInterval.
	BufferBytes   int64
	FlushInterval time.Duration
}

// L7 is the section sluice.l7.
type L7 struct {
	// Loops is the number of event loops; 0 means one per core.
	Loops  int
	Limits Limits
}

// Limits is the section sluice.l7.limits: the bounds on everything that clients and upstreams send. Sizes are
// bytes. Where 0 is allowed it means no limit; it says so.
type Limits struct {
	HeaderBytes   int64 // the whole head of a message
	HeaderFields  int   // header fields of a message
	TargetBytes   int64 // the request target
	ChunkExtBytes int64 // chunk extensions of one message in total
	TrailerBytes  int64 // the trailer section
	BodyBytes     int64 // a request body; 0 (the default) means no limit
	// BufferedBodyBytes is the most of one body that is held in memory for plugins or variables that ask for
	// the whole of it.
	BufferedBodyBytes int64

	HeaderTimeout time.Duration // from the first byte of a head to its last
	BodyTimeout   time.Duration // between two reads of a request body
	WriteTimeout  time.Duration // between two writes that make progress
	IdleTimeout   time.Duration // a client connection between requests; 0 closes after every response

	KeepaliveRequests int // requests on one client connection; 0 means no limit
	MaxConnections    int // client connections of the process; 0 derives it from the limit on open files
}

// L4 is the section sluice.l4: the bounds on connections of stream routes.
type L4 struct {
	MaxConnections int           // open TCP connections of the process
	UDPSessions    int           // sessions of one UDP listener; the quietest makes room for another
	HelloTimeout   time.Duration // a PROXY protocol header, a ClientHello or a TLS handshake
	// PinDir is where BPF programs and maps are pinned: a folder on a BPF file system.
	PinDir string
	// Steer hands prefixes and ranges of ports to listeners by sk_lookup.
	Steer []Steer
}

// AdminLimits is the section sluice.admin.
type AdminLimits struct {
	BodyBytes int64 // the body of an Admin API request
}

// Secret is a string that never prints. Its value is read with Reveal.
type Secret string

// Reveal is the secret itself.
func (s Secret) Reveal() string { return string(s) }

// String hides the secret from every kind of formatting.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "[redacted]"
}

// GoString hides the secret from %#v.
func (s Secret) GoString() string { return `"` + s.String() + `"` }

// MarshalText hides the secret from encoders such as encoding/json.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
