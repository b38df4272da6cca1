package schema

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-gateway/sluice/control/model"
)

// The keys of chash, by hash_on (apisix/schema_def.lua). The second range of the arguments is APISIX's and
// takes in a few signs more than letters.
const (
	hashVarsPattern = `^((uri|server_name|server_addr|request_uri|remote_port|remote_addr|query_string|host|hostname` +
		`|mqtt_client_id)|arg_[0-9a-zA-z_-]+)$`
	hashHeaderPattern = `^[a-zA-Z0-9-_]+$`
)

var hashKeys = map[string]*Schema{
	"vars":              mustCompile("chash key", `{"type":"string","pattern":`+strconv.Quote(hashVarsPattern)+`}`),
	"header":            mustCompile("chash key", `{"type":"string","pattern":`+strconv.Quote(hashHeaderPattern)+`}`),
	"cookie":            mustCompile("chash key", `{"type":"string","pattern":`+strconv.Quote(hashHeaderPattern)+`}`),
	"vars_combinations": mustCompile("chash key", `{"type":"string"}`),
}

// mustCompile compiles a schema that is part of the program.
func mustCompile(name, doc string) *Schema {
	s, err := Compile(name, []byte(doc))
	if err != nil {
		panic(err)
	}
	return s
}

// checkNodeHosts refuses IPv6 addresses without brackets in the array form of nodes.
func checkNodeHosts(upstream map[string]any) error {
	nodes, _ := upstream["nodes"].([]any)
	for _, item := range nodes {
		node, _ := item.(map[string]any)
		if host, ok := node["host"].(string); ok && model.IsBareIPv6(host) {
			return errors.New("invalid configuration: IPv6 address must be enclosed with '[' and ']'")
		}
	}
	return nil
}

// checkUpstream is check_upstream_conf of apisix/upstream.lua without the look-up of tls.client_cert_id.
func checkUpstream(upstream map[string]any) error {
	if err := checkNodeHosts(upstream); err != nil {
		return err
	}
	if nodes, ok := upstream["nodes"].(map[string]any); ok {
		addrs := make([]string, 0, len(nodes))
		for addr := range nodes {
			addrs = append(addrs, addr)
		}
		slices.Sort(addrs)
		for _, addr := range addrs {
			if err := checkNodeAddr(addr); err != nil {
				return err
			}
		}
	}
	if upstream["pass_host"] == "rewrite" {
		if host, _ := upstream["upstream_host"].(string); host == "" {
			return errors.New("`upstream_host` can't be empty when `pass_host` is `rewrite`")
		}
	}
	if tls, ok := upstream["tls"].(map[string]any); ok {
		if cert, ok := tls["client_cert"].(string); ok && !isSecretRef(cert) && !isSecretRef(tls["client_key"]) {
			key, _ := tls["client_key"].(string)
			if err := checkKeyPair(cert, key); err != nil {
				return err
			}
		}
	}
	if upstream["type"] != "chash" {
		return nil
	}
	return checkHash(upstream)
}

// checkNodeAddr checks a key of the object form of nodes.
func checkNodeAddr(addr string) error {
	if addr == "" {
		return errors.New("invalid configuration: a node needs a host, not an empty string")
	}
	if model.IsBareIPv6(addr) {
		return nil
	}
	i := strings.LastIndexByte(addr, ':')
	if i < 0 || strings.HasSuffix(addr, "]") {
		return nil
	}
	port, err := strconv.Atoi(addr[i+1:])
	if err != nil || port < 1 || port > 65535 || addr[i+1] == '+' {
		return fmt.Errorf("invalid port %s", clip(addr[i+1:]))
	}
	return nil
}

// checkHash wants a key that fits hash_on.
func checkHash(upstream map[string]any) error {
	hashOn, ok := upstream["hash_on"].(string)
	if !ok {
		hashOn = "vars"
	}
	if hashOn == "consumer" {
		return nil
	}
	key, ok := upstream["key"]
	if !ok {
		return errors.New("missing key")
	}
	s, ok := hashKeys[hashOn]
	if !ok {
		return fmt.Errorf("type is chash, err: invalid hash_on type %s", clip(hashOn))
	}
	if err := s.Validate(key); err != nil {
		return fmt.Errorf("invalid configuration: %w", err)
	}
	return nil
}
