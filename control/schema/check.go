package schema

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/sluice-gateway/sluice/control/model"
)

// ValidateResource does for one object what APISIX does before it accepts it, in APISIX's order: the checks
// that come before the schema, the schema, and the checks after it. It returns a deep copy of the object with its
// defaults filled in. The error is the whole error_msg of the Admin API, with "invalid configuration: " where
// APISIX writes it. Not done here, for they need more than the object: ids and timestamps, plugins,
// references to other objects, and `vars`. Kinds whose schema depends on the object (plugin_metadata, secrets)
// are not known here; use the plugin's schema and Secret.
func ValidateResource(kind model.Kind, doc map[string]any) (map[string]any, error) {
	info, ok := model.Lookup(kind)
	if !ok || info.Schema == "" {
		return nil, fmt.Errorf("unsupported resource type: %s", clip(string(kind)))
	}
	s, ok := Resource(info.Schema)
	if !ok {
		return nil, fmt.Errorf("not found schema: %s", info.Schema)
	}
	if err := checkBefore(kind, doc); err != nil {
		return nil, err
	}
	out, err := s.Check(doc)
	if err != nil {
		return nil, fmt.Errorf("invalid configuration: %w", err)
	}
	full, ok := out.(map[string]any)
	if !ok {
		return nil, errors.New("invalid configuration: wrong type: expected object")
	}
	return full, CheckResource(kind, full)
}

// CheckResource does the checks of APISIX that a schema cannot express (apisix/admin/*.lua, apisix/upstream.lua,
// apisix/ssl.lua). The object must have passed its schema; defaults may be absent. The error is the whole
// error_msg: the caller adds no "invalid configuration: " to it, for APISIX writes that prefix in some of these
// messages only, and then it is part of the error. Private keys must be in PEM form or references to secrets, so
// stored ones are decrypted first.
func CheckResource(kind model.Kind, doc map[string]any) error {
	if err := checkBefore(kind, doc); err != nil {
		return err
	}
	switch kind {
	case model.Routes, model.Services:
		if upstream, ok := doc["upstream"].(map[string]any); ok {
			if err := checkUpstream(upstream); err != nil {
				return err
			}
		}
		return checkNoLua(doc)
	case model.Upstreams:
		return checkUpstream(doc)
	case model.SSLs:
		return checkSSL(doc)
	case model.StreamRoutes:
		for _, field := range []string{"remote_addr", "server_addr"} {
			if addr, ok := doc[field].(string); ok && !isAddress(addr) {
				return fmt.Errorf("invalid %s: %s", field, clip(addr))
			}
		}
	}
	return nil
}

// checkBefore does the checks whose messages come before those of the schema.
func checkBefore(kind model.Kind, doc map[string]any) error {
	switch kind {
	case model.Routes:
		if has(doc, "host") && has(doc, "hosts") {
			return errors.New("only one of host or hosts is allowed")
		}
		if has(doc, "remote_addr") && has(doc, "remote_addrs") {
			return errors.New("only one of remote_addr or remote_addrs is allowed")
		}
	case model.Upstreams:
		return checkNodeHosts(doc)
	}
	return nil
}

func has(doc map[string]any, field string) bool {
	_, ok := doc[field]
	return ok
}

// checkNoLua refuses what only a Lua interpreter could run, with the beginnings of APISIX's messages.
func checkNoLua(doc map[string]any) error {
	if has(doc, "filter_func") {
		return errors.New("failed to load 'filter_func' string: this gateway runs no Lua, express the condition in 'vars'")
	}
	if has(doc, "script") {
		return errors.New("failed to load 'script' string: this gateway runs no Lua, use 'plugins'")
	}
	return nil
}

// isAddress says whether s is an IP address or a CIDR block.
func isAddress(s string) bool {
	if isSecretRef(s) {
		return true
	}
	if strings.Contains(s, "/") {
		_, err := netip.ParsePrefix(s)
		return err == nil
	}
	addr, err := netip.ParseAddr(s)
	return err == nil && addr.Zone() == ""
}
