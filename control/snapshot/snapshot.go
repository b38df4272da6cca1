// Package snapshot is the compiled, immutable form of the whole configuration: what compile produces and what the planes read.
//
// Everything in a snapshot is resolved: references between resources are pointers, plugin configurations are merged in APISIX's order, defaults are
// filled, $env:// references are replaced, disabled objects are left out. Two snapshots share every part that did not change: an object is the
// same pointer exactly when it is the same configuration, so a plane finds out what an edit touched by comparing pointers, and what it
// built from a pointer stays good as long as that pointer is in the newest snapshot. Nobody writes to a published snapshot.
package snapshot

import "encoding/json"

// Snapshot is one version of the configuration.
type Snapshot struct {
	// Rev is the store revision that this snapshot reflects.
	Rev int64
	// Routes are the enabled routes in order of creation.
	Routes []*Route
	// Consumers are the consumers in order of creation.
	Consumers []*Consumer
	// GlobalRules are the plugins of all global rules, already merged into one set; a plugin that two rules have is left out (apisix/plugin.lua
	// merge_global_rules).
	GlobalRules []*Plugin
	// PluginMetadata holds plugin_metadata by plugin name, defaults filled.
	PluginMetadata map[string]*Metadata
	// Upstreams holds upstream resources by id; routes and plugins point into it or to inline ones.
	Upstreams map[string]*Upstream
	// SSLs are the enabled certificates, StreamRoutes the L4 routes, Protos the protobuf definitions by id.
	SSLs         []*SSL
	StreamRoutes []*StreamRoute
	Protos       map[string]*Proto
	// Problems lists the objects that are left out or served in an older version because they do not compile.
	Problems []Problem
}

// Problem says why an object is not in a snapshot.
type Problem struct {
	// Key is the store key ("/routes/1"), Err what is wrong with it, naming the field.
	Key, Err string
}

// Route is an HTTP route with everything it refers to.
type Route struct {
	ID, Name string
	Labels   map[string]string
	// Created orders routes that are otherwise equal: lower is older.
	Created  int64
	Priority int
	// URIs has at least one pattern. Hosts are the route's, or its service's when it has none. Patterns are as written.
	URIs, Hosts, Methods, RemoteAddrs []string
	// Vars is the condition expression as written, nil for none.
	Vars json.RawMessage
	// Plugins are the effective plugins: route over plugin_config over service, whole plugins at a time.
	Plugins []*Plugin
	// ServiceID and ServiceName identify the service, if any.
	ServiceID, ServiceName string
	// Upstream is the effective upstream (the route's own before the service's) or nil.
	Upstream *Upstream
	// Timeout overrides the upstream's, nil for none.
	Timeout         *Timeout
	EnableWebsocket bool
}

// Plugin is one plugin configuration at its place.
type Plugin struct {
	Name string
	// Conf is the configuration in canonical JSON (sorted keys), defaults filled, references resolved, _meta and disable taken out.
	Conf json.RawMessage
	// Resource is the store key of the object that holds it ("/routes/1").
	Resource string
	// Priority overrides the plugin's own when set (_meta.priority).
	Priority *int
	// Filter is the _meta.filter expression or nil.
	Filter json.RawMessage
	// ErrorResponse is _meta.error_response, a JSON string or object, or nil.
	ErrorResponse json.RawMessage
}

// Metadata is the plugin_metadata of one plugin.
type Metadata struct {
	Conf json.RawMessage
}

// Consumer is a consumer with its credentials and its group's plugins.
type Consumer struct {
	Username, GroupID string
	Labels            map[string]string
	// Auth are the ways to authenticate as this consumer: from the consumer's own plugins and from its credentials.
	Auth []Auth
	// Plugins are the effective other plugins: the consumer's over its group's.
	Plugins []*Plugin
	// Disabled names plugins that the consumer or its group has switched off: they hide the route's.
	Disabled []string
}

// Auth is one auth plugin configuration of a consumer.
type Auth struct {
	Plugin string
	// CredentialID is empty when the plugin stands in the consumer itself.
	CredentialID string
	Conf         json.RawMessage
}

// Timeout holds timeouts in seconds.
type Timeout struct {
	Connect, Send, Read float64
}

// Upstream is a set of nodes and how to use them.
type Upstream struct {
	// Resource is the store key of the object that defines it: "/upstreams/1", "/routes/1" or "/services/1".
	Resource string
	ID, Name string
	// Type is roundrobin, chash, ewma or least_conn; HashOn and Key matter for chash.
	Type, HashOn, Key string
	// Nodes are the configured nodes, domain names unresolved. Service discovery leaves it empty.
	Nodes []Node
	// Retries is nil for "number of nodes - 1". RetryTimeout is in seconds, 0 for none.
	Retries      *int
	RetryTimeout float64
	Timeout      Timeout
	// Scheme is http, https, grpc, grpcs, tcp, udp, tls or kafka.
	Scheme string
	// PassHost is pass, node or rewrite; UpstreamHost belongs to rewrite.
	PassHost, UpstreamHost string
	KeepalivePool          KeepalivePool
	TLS                    *UpstreamTLS
	// Checks are the health checks as configured with defaults, nil for none.
	Checks json.RawMessage
	// ServiceName, DiscoveryType and DiscoveryArgs are set for discovered nodes.
	ServiceName, DiscoveryType string
	DiscoveryArgs              json.RawMessage
}

// Node is one server of an upstream.
type Node struct {
	Host string
	// Port is never 0 for a configured node: the scheme's default is filled in.
	Port int
	// ExplicitPort tells that the port was written (matters for pass_host node).
	ExplicitPort bool
	Weight       int
	// Priority groups nodes: lower groups are used when all above were tried.
	Priority int
	Metadata json.RawMessage
}

// KeepalivePool bounds idle connections to an upstream's nodes.
type KeepalivePool struct {
	// Size is the number of idle connections, IdleTimeout in seconds, Requests the most requests per connection.
	Size        int
	IdleTimeout float64
	Requests    int
}

// UpstreamTLS is how to speak TLS to an upstream. Key is secret.
type UpstreamTLS struct {
	ClientCert, ClientKey string
	Verify                bool
}

// SSL is a server certificate entry with its pairs.
type SSL struct {
	ID       string
	Type     string
	SNIs     []string
	Pairs    []KeyPair
	ClientCA string
	Depth    int
	SkipURIs []string
	// Protocols lists the TLS versions, empty for the defaults.
	Protocols []string
}

// KeyPair is a certificate chain and its private key in PEM. Key is secret.
type KeyPair struct {
	Cert, Key string
}

// StreamRoute is an L4 route.
type StreamRoute struct {
	ID, Name               string
	ServerAddr             string
	ServerPort             int
	RemoteAddr, SNI        string
	Labels                 map[string]string
	Plugins                []*Plugin
	ServiceID, ServiceName string
	Upstream               *Upstream
	// Protocol is the xRPC part as written or nil.
	Protocol json.RawMessage
}

// Proto is a protobuf definition.
type Proto struct {
	ID, Content string
}
