package model

import "encoding/json"

// Meta are the fields that all resources share.
type Meta struct {
	ID     ID                `json:"id,omitempty"`
	Name   string            `json:"name,omitempty"`
	Desc   string            `json:"desc,omitempty"`
	Labels map[string]string `json:"labels,omitempty"`
	// CreateTime and UpdateTime are Unix seconds.
	CreateTime int64 `json:"create_time,omitempty"`
	UpdateTime int64 `json:"update_time,omitempty"`
}

// Plugins maps the name of a plugin to its configuration as it was written.
type Plugins map[string]json.RawMessage

// Timeout are the time limits towards an upstream, in seconds, possibly fractional.
type Timeout struct {
	Connect float64 `json:"connect"`
	Send    float64 `json:"send"`
	Read    float64 `json:"read"`
}

// Route sends requests that match it to an upstream, through plugins.
type Route struct {
	Meta
	URI             string          `json:"uri,omitempty"`
	URIs            []string        `json:"uris,omitempty"`
	Host            string          `json:"host,omitempty"`
	Hosts           []string        `json:"hosts,omitempty"`
	RemoteAddr      string          `json:"remote_addr,omitempty"`
	RemoteAddrs     []string        `json:"remote_addrs,omitempty"`
	Methods         []string        `json:"methods,omitempty"`
	Vars            json.RawMessage `json:"vars,omitempty"`
	FilterFunc      string          `json:"filter_func,omitempty"`
	Priority        int             `json:"priority,omitempty"`
	Plugins         Plugins         `json:"plugins,omitempty"`
	Script          string          `json:"script,omitempty"`
	ScriptID        ID              `json:"script_id,omitempty"`
	PluginConfigID  ID              `json:"plugin_config_id,omitempty"`
	ServiceID       ID              `json:"service_id,omitempty"`
	Upstream        *Upstream       `json:"upstream,omitempty"`
	UpstreamID      ID              `json:"upstream_id,omitempty"`
	Timeout         *Timeout        `json:"timeout,omitempty"`
	EnableWebsocket *bool           `json:"enable_websocket,omitempty"`
	// Status is 1 for a route in use and 0 for one switched off; nil means 1.
	Status *int `json:"status,omitempty"`
}

// Service is what several routes share.
type Service struct {
	Meta
	Plugins         Plugins   `json:"plugins,omitempty"`
	Upstream        *Upstream `json:"upstream,omitempty"`
	UpstreamID      ID        `json:"upstream_id,omitempty"`
	Script          string    `json:"script,omitempty"`
	EnableWebsocket *bool     `json:"enable_websocket,omitempty"`
	Hosts           []string  `json:"hosts,omitempty"`
}

// Upstream is a set of servers and how to choose and speak to one of them.
type Upstream struct {
	Meta
	Nodes         Nodes          `json:"nodes,omitempty"`
	ServiceName   string         `json:"service_name,omitempty"`
	DiscoveryType string         `json:"discovery_type,omitempty"`
	DiscoveryArgs *DiscoveryArgs `json:"discovery_args,omitempty"`
	// Type is the balancer: roundrobin, chash, ewma, least_conn.
	Type string `json:"type,omitempty"`
	// HashOn and Key say what chash hashes.
	HashOn string `json:"hash_on,omitempty"`
	Key    string `json:"key,omitempty"`
	// Retries is the number of further attempts; nil means one for each other node.
	Retries *int `json:"retries,omitempty"`
	// RetryTimeout limits all attempts together, in seconds; 0 is no limit.
	RetryTimeout  float64        `json:"retry_timeout,omitempty"`
	Timeout       *Timeout       `json:"timeout,omitempty"`
	Scheme        string         `json:"scheme,omitempty"`
	PassHost      string         `json:"pass_host,omitempty"`
	UpstreamHost  string         `json:"upstream_host,omitempty"`
	KeepalivePool *KeepalivePool `json:"keepalive_pool,omitempty"`
	TLS           *UpstreamTLS   `json:"tls,omitempty"`
	Checks        *Checks        `json:"checks,omitempty"`
}

// DiscoveryArgs narrow a service discovery look-up.
type DiscoveryArgs struct {
	NamespaceID string `json:"namespace_id,omitempty"`
	GroupName   string `json:"group_name,omitempty"`
}

// KeepalivePool bounds the idle connections kept to an upstream.
type KeepalivePool struct {
	Size int `json:"size,omitempty"`
	// IdleTimeout is in seconds.
	IdleTimeout float64 `json:"idle_timeout,omitempty"`
	// Requests is how many requests one connection may serve.
	Requests int `json:"requests,omitempty"`
}

// UpstreamTLS is the client side of TLS towards an upstream. ClientKey is PEM, or encrypted as stored.
type UpstreamTLS struct {
	ClientCertID ID     `json:"client_cert_id,omitempty"`
	ClientCert   string `json:"client_cert,omitempty"`
	ClientKey    string `json:"client_key,omitempty"`
	Verify       bool   `json:"verify,omitempty"`
}

// Checks are the health checks of an upstream.
type Checks struct {
	Active  *ActiveCheck  `json:"active,omitempty"`
	Passive *PassiveCheck `json:"passive,omitempty"`
}

// ActiveCheck probes nodes.
type ActiveCheck struct {
	Type string `json:"type,omitempty"`
	// Timeout of one probe, in seconds.
	Timeout                float64          `json:"timeout,omitempty"`
	Concurrency            int              `json:"concurrency,omitempty"`
	Host                   string           `json:"host,omitempty"`
	Port                   int              `json:"port,omitempty"`
	HTTPMethod             string           `json:"http_method,omitempty"`
	HTTPPath               string           `json:"http_path,omitempty"`
	HTTPReqBody            string           `json:"http_req_body,omitempty"`
	HTTPSVerifyCertificate *bool            `json:"https_verify_certificate,omitempty"`
	ReqHeaders             []string         `json:"req_headers,omitempty"`
	Healthy                *ActiveHealthy   `json:"healthy,omitempty"`
	Unhealthy              *ActiveUnhealthy `json:"unhealthy,omitempty"`
}

// ActiveHealthy says when a probed node counts as healthy again. Interval is in seconds.
type ActiveHealthy struct {
	Interval     int   `json:"interval,omitempty"`
	HTTPStatuses []int `json:"http_statuses,omitempty"`
	Successes    int   `json:"successes,omitempty"`
}

// ActiveUnhealthy says when a probed node counts as unhealthy. Interval is in seconds.
type ActiveUnhealthy struct {
	Interval     int   `json:"interval,omitempty"`
	HTTPStatuses []int `json:"http_statuses,omitempty"`
	HTTPFailures int   `json:"http_failures,omitempty"`
	TCPFailures  int   `json:"tcp_failures,omitempty"`
	Timeouts     int   `json:"timeouts,omitempty"`
}

// PassiveCheck judges nodes by the answers they give to real requests. A count of 0 switches its rule off.
type PassiveCheck struct {
	Type      string            `json:"type,omitempty"`
	Healthy   *PassiveHealthy   `json:"healthy,omitempty"`
	Unhealthy *PassiveUnhealthy `json:"unhealthy,omitempty"`
}

// PassiveHealthy says which answers make a node healthy again.
type PassiveHealthy struct {
	HTTPStatuses []int `json:"http_statuses,omitempty"`
	Successes    int   `json:"successes"`
}

// PassiveUnhealthy says which answers make a node unhealthy.
type PassiveUnhealthy struct {
	HTTPStatuses []int `json:"http_statuses,omitempty"`
	HTTPFailures int   `json:"http_failures"`
	TCPFailures  int   `json:"tcp_failures"`
	Timeouts     int   `json:"timeouts"`
}

// Consumer is a client of the gateway, named by Username.
type Consumer struct {
	Meta
	Username string  `json:"username"`
	GroupID  ID      `json:"group_id,omitempty"`
	Plugins  Plugins `json:"plugins,omitempty"`
}

// Credential is one way for a consumer to prove who it is; Plugins holds one auth plugin.
type Credential struct {
	Meta
	Plugins Plugins `json:"plugins,omitempty"`
}

// ConsumerGroup is the plugins that several consumers share.
type ConsumerGroup struct {
	Meta
	Plugins Plugins `json:"plugins,omitempty"`
}

// PluginConfig is a set of plugins that routes refer to.
type PluginConfig struct {
	Meta
	Plugins Plugins `json:"plugins,omitempty"`
}

// GlobalRule is plugins that run for every request.
type GlobalRule struct {
	Meta
	Plugins Plugins `json:"plugins,omitempty"`
}

// PluginMetadata is the gateway-wide configuration of one plugin. ID is the name of the plugin; the other
// fields are the plugin's own, so Raw keeps the whole object.
type PluginMetadata struct {
	ID  ID
	Raw json.RawMessage
}

// UnmarshalJSON keeps the object and takes the id from it.
func (m *PluginMetadata) UnmarshalJSON(data []byte) error {
	var meta struct {
		ID ID `json:"id"`
	}
	if err := json.Unmarshal(data, &meta); err != nil {
		return err
	}
	m.ID, m.Raw = meta.ID, append(json.RawMessage(nil), data...)
	return nil
}

// SSL is a certificate for server names (type "server") or for the gateway itself as a client (type "client").
// Key and Keys are PEM, or encrypted as stored, or references to secrets.
type SSL struct {
	Meta
	Type         string     `json:"type,omitempty"`
	Cert         string     `json:"cert,omitempty"`
	Key          string     `json:"key,omitempty"`
	Certs        []string   `json:"certs,omitempty"`
	Keys         []string   `json:"keys,omitempty"`
	SNI          string     `json:"sni,omitempty"`
	SNIs         []string   `json:"snis,omitempty"`
	Client       *SSLClient `json:"client,omitempty"`
	Status       *int       `json:"status,omitempty"`
	SSLProtocols []string   `json:"ssl_protocols,omitempty"`
}

// SSLClient asks clients for a certificate.
type SSLClient struct {
	CA               string   `json:"ca"`
	Depth            int      `json:"depth"`
	SkipMTLSURIRegex []string `json:"skip_mtls_uri_regex,omitempty"`
}

// Proto is a protobuf definition for grpc-transcode: text, or a base64 descriptor set.
type Proto struct {
	Meta
	Content string `json:"content"`
}

// Secret is the configuration of a secret manager. ID is "{manager}/{id}"; the fields of each manager are in
// Vault, AWS or GCP, of which the one named by the id is set.
type Secret struct {
	Meta
	VaultSecret
	AWSSecret
	GCPSecret
}

// VaultSecret are the fields of a HashiCorp Vault manager.
type VaultSecret struct {
	URI       string `json:"uri,omitempty"`
	Prefix    string `json:"prefix,omitempty"`
	Token     string `json:"token,omitempty"`
	Namespace string `json:"namespace,omitempty"`
}

// AWSSecret are the fields of an AWS Secrets Manager.
type AWSSecret struct {
	AccessKeyID     string `json:"access_key_id,omitempty"`
	SecretAccessKey string `json:"secret_access_key,omitempty"`
	SessionToken    string `json:"session_token,omitempty"`
	Region          string `json:"region,omitempty"`
	EndpointURL     string `json:"endpoint_url,omitempty"`
}

// GCPSecret are the fields of a Google Cloud Secret Manager.
type GCPSecret struct {
	AuthConfig *GCPAuth `json:"auth_config,omitempty"`
	AuthFile   string   `json:"auth_file,omitempty"`
	SSLVerify  *bool    `json:"ssl_verify,omitempty"`
}

// GCPAuth is a Google service account.
type GCPAuth struct {
	ClientEmail string   `json:"client_email"`
	PrivateKey  string   `json:"private_key"`
	ProjectID   string   `json:"project_id"`
	TokenURI    string   `json:"token_uri,omitempty"`
	Scope       []string `json:"scope,omitempty"`
	EntriesURI  string   `json:"entries_uri,omitempty"`
}

// StreamRoute sends TCP or UDP connections that match it to an upstream.
type StreamRoute struct {
	Meta
	RemoteAddr string          `json:"remote_addr,omitempty"`
	ServerAddr string          `json:"server_addr,omitempty"`
	ServerPort int             `json:"server_port,omitempty"`
	SNI        string          `json:"sni,omitempty"`
	Upstream   *Upstream       `json:"upstream,omitempty"`
	UpstreamID ID              `json:"upstream_id,omitempty"`
	ServiceID  ID              `json:"service_id,omitempty"`
	Plugins    Plugins         `json:"plugins,omitempty"`
	Protocol   *StreamProtocol `json:"protocol,omitempty"`
}

// StreamProtocol names the protocol spoken inside a stream route.
type StreamProtocol struct {
	Name       string           `json:"name"`
	SuperiorID ID               `json:"superior_id,omitempty"`
	Conf       json.RawMessage  `json:"conf,omitempty"`
	Logger     []ProtocolLogger `json:"logger,omitempty"`
}

// ProtocolLogger is a logger of a stream protocol.
type ProtocolLogger struct {
	Name   string          `json:"name,omitempty"`
	Filter json.RawMessage `json:"filter,omitempty"`
	Conf   json.RawMessage `json:"conf,omitempty"`
}

// GraphQLCostDecoration is the cost of one position in the GraphQL schema of a service.
type GraphQLCostDecoration struct {
	Meta
	ServiceID    ID       `json:"service_id,omitempty"`
	FieldPath    string   `json:"field_path"`
	AddValue     float64  `json:"add_value"`
	AddArguments []string `json:"add_arguments,omitempty"`
	MulValue     float64  `json:"mul_value"`
	MulArguments []string `json:"mul_arguments,omitempty"`
}
