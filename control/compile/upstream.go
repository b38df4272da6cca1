package compile

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/sluice-gateway/sluice/control/model"
	"github.com/sluice-gateway/sluice/control/schema"
	"github.com/sluice-gateway/sluice/control/snapshot"
)

// Defaults of fields that have none in the schema, because APISIX takes them from its nginx configuration
// (apisix/cli/ngx_tpl.lua): seconds for connect, send and read, and the idle connections to upstreams.
const (
	defaultTimeout           = 60
	defaultKeepaliveSize     = 320
	defaultKeepaliveIdle     = 60
	defaultKeepaliveRequests = 1000
)

// schemePorts are the ports of nodes without one (apisix/upstream.lua, scheme_to_port).
var schemePorts = map[string]int{"http": 80, "https": 443, "grpc": 80, "grpcs": 443}

// chashKeySchemas check the key of a chash upstream, by its hash_on (apisix/upstream.lua, get_chash_key_schema).
var chashKeySchemas = sync.OnceValue(func() map[string]*schema.Schema {
	header := mustSchema("upstream key", `{"type":"string","pattern":"^[a-zA-Z0-9-_]+$"}`)
	return map[string]*schema.Schema{
		"vars": mustSchema("upstream key", `{"type":"string","pattern":"^((uri|server_name|server_addr|request_uri|remote_port`+
			`|remote_addr|query_string|host|hostname|mqtt_client_id)|arg_[0-9a-zA-z_-]+)$"}`),
		"header":            header,
		"cookie":            header,
		"vars_combinations": mustSchema("upstream key", `{"type":"string"}`),
	}
})

// upstreamUnit is an upstream after the first stage.
type upstreamUnit struct {
	// up is complete but for the certificate that certID names.
	up     *snapshot.Upstream
	certID string
}

// upstreamOut is an upstream after the second stage, in the form for each kind of route.
type upstreamOut struct {
	http *snapshot.Upstream
	// stream is http with the scheme that L4 understands, or nil where streamErr says why not.
	stream    *snapshot.Upstream
	streamErr string
}

// upstream checks an upstream, given as written (doc) and with defaults (full, m), in the order of
// check_upstream_conf in apisix/upstream.lua.
func (x *examination) upstream(doc, full map[string]any, m *model.Upstream) (*upstreamUnit, error) {
	if err := checkNodes(doc["nodes"]); err != nil {
		return nil, err
	}
	unit := &upstreamUnit{}
	if m.TLS != nil && m.TLS.ClientCertID != "" {
		unit.certID = string(m.TLS.ClientCertID)
		if err := x.refClientCert(unit.certID); err != nil {
			return nil, err
		}
	}
	if m.PassHost == "rewrite" && m.UpstreamHost == "" {
		return nil, errors.New("`upstream_host` can't be empty when `pass_host` is `rewrite`")
	}
	tls, err := x.upstreamTLS(m.TLS)
	if err != nil {
		return nil, err
	}
	if err := checkHash(m); err != nil {
		return nil, err
	}
	nodes, err := compileNodes(m)
	if err != nil {
		return nil, err
	}
	unit.up = &snapshot.Upstream{
		Resource:      resourceKey(x.key),
		ID:            x.key.ID,
		Name:          m.Name,
		Type:          m.Type,
		HashOn:        m.HashOn,
		Key:           m.Key,
		Nodes:         nodes,
		Retries:       m.Retries,
		RetryTimeout:  m.RetryTimeout,
		Timeout:       snapshot.Timeout{Connect: defaultTimeout, Send: defaultTimeout, Read: defaultTimeout},
		Scheme:        m.Scheme,
		PassHost:      m.PassHost,
		UpstreamHost:  m.UpstreamHost,
		KeepalivePool: snapshot.KeepalivePool{Size: defaultKeepaliveSize, IdleTimeout: defaultKeepaliveIdle, Requests: defaultKeepaliveRequests},
		TLS:           tls,
		ServiceName:   m.ServiceName,
		DiscoveryType: m.DiscoveryType,
	}
	if m.Timeout != nil {
		unit.up.Timeout = snapshot.Timeout(*m.Timeout)
	}
	if m.KeepalivePool != nil {
		unit.up.KeepalivePool = snapshot.KeepalivePool(*m.KeepalivePool)
	}
	if checks, ok := full["checks"]; ok {
		unit.up.Checks = canonical(checks)
	}
	if args, ok := full["discovery_args"]; ok {
		unit.up.DiscoveryArgs = canonical(args)
	}
	return unit, nil
}

func checkHash(m *model.Upstream) error {
	if m.Type != "chash" {
		return nil
	}
	if m.HashOn == "consumer" {
		return nil
	}
	if m.Key == "" {
		return errors.New("missing key")
	}
	s := chashKeySchemas()[m.HashOn]
	if s == nil {
		return fmt.Errorf("type is chash, err: invalid hash_on type %s", m.HashOn)
	}
	if err := s.Validate(m.Key); err != nil {
		return fmt.Errorf("invalid configuration: %w", err)
	}
	return nil
}

// checkNodes checks what the schema of nodes cannot say.
func checkNodes(nodes any) error {
	switch nodes := nodes.(type) {
	case []any:
		for _, item := range nodes {
			node, _ := item.(map[string]any)
			if host, _ := node["host"].(string); model.IsBareIPv6(host) {
				return errors.New("invalid configuration: IPv6 address must be enclosed with '[' and ']'")
			}
		}
	case map[string]any:
		for _, addr := range slices.Sorted(maps.Keys(nodes)) {
			if err := checkNodeAddr(addr); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkNodeAddr checks a key of the object form of nodes.
func checkNodeAddr(addr string) error {
	if addr == "" {
		return errors.New("invalid configuration: a node needs a host, not an empty string")
	}
	i := strings.LastIndexByte(addr, ':')
	if i < 0 || strings.HasSuffix(addr, "]") || model.IsBareIPv6(addr) {
		return nil
	}
	port, err := strconv.ParseUint(addr[i+1:], 10, 16)
	if err != nil || port == 0 {
		return fmt.Errorf("invalid port %.60s", addr[i+1:])
	}
	return nil
}

func compileNodes(m *model.Upstream) ([]snapshot.Node, error) {
	var nodes []snapshot.Node
	for _, n := range m.Nodes {
		node := snapshot.Node{Host: n.Host, Port: n.Port, ExplicitPort: n.Port != 0, Weight: n.Weight, Priority: n.Priority}
		if node.Port == 0 {
			node.Port = schemePorts[m.Scheme]
		}
		if node.Port == 0 {
			return nil, fmt.Errorf("invalid configuration: node %q has no port and the scheme %s has no default: write host:port",
				n.Host, m.Scheme)
		}
		if n.Metadata != nil {
			node.Metadata = canonical(n.Metadata)
		}
		nodes = append(nodes, node)
	}
	return nodes, nil
}

func (x *examination) upstreamTLS(m *model.UpstreamTLS) (*snapshot.UpstreamTLS, error) {
	if m == nil {
		return nil, nil
	}
	tls := &snapshot.UpstreamTLS{Verify: m.Verify}
	if m.ClientCert == "" {
		return tls, nil
	}
	key, err := x.privateKey(m.ClientKey)
	if err != nil {
		return nil, err
	}
	if err := checkPair(m.ClientCert, key); err != nil {
		return nil, err
	}
	tls.ClientCert, tls.ClientKey = m.ClientCert, key
	return tls, nil
}

// finish makes the forms of a linked upstream.
func (u *upstreamOut) finish() {
	if u.http.Scheme != "http" {
		u.stream = u.http
		return
	}
	// An upstream without a scheme is one for HTTP; under a stream route it is TCP (apisix/upstream.lua,
	// filter_upstream), which has no default port.
	for _, n := range u.http.Nodes {
		if !n.ExplicitPort {
			u.streamErr = fmt.Sprintf("node %q of upstream %s has no port, which a stream route needs: write host:port",
				n.Host, strings.TrimPrefix(u.http.Resource, "/"))
			return
		}
	}
	stream := *u.http
	stream.Scheme = "tcp"
	u.stream = &stream
}
