package model

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Node is one server of an upstream.
type Node struct {
	// Host is a name or an address; an IPv6 address may stand in brackets, as APISIX wants it in nodes.
	Host string `json:"host"`
	// Port is 1..65535, or 0 when none was given: then the scheme of the upstream decides.
	Port int `json:"port,omitempty"`
	// Weight is the share of requests; a node of weight 0 gets none.
	Weight int `json:"weight"`
	// Priority groups nodes; a lower group is used only when all nodes of higher ones have been tried.
	Priority int `json:"priority,omitempty"`
	// Metadata is carried along for plugins and dashboards.
	Metadata map[string]any `json:"metadata,omitempty"`
}

// Nodes are the servers of an upstream. On the wire they are an array of nodes or an object that maps
// "host:port" to a weight.
type Nodes []Node

// UnmarshalJSON accepts both forms. The array keeps its order; the object is sorted by host and port, for it
// has no order of its own.
func (n *Nodes) UnmarshalJSON(data []byte) error {
	data = bytes.TrimLeft(data, " \t\r\n")
	if len(data) > 0 && data[0] == '{' {
		var weights map[string]json.Number
		if err := json.Unmarshal(data, &weights); err != nil {
			return fmt.Errorf("decode nodes: %w", err)
		}
		nodes := make(Nodes, 0, len(weights))
		for addr, number := range weights {
			weight, err := intOf(number)
			if err != nil {
				return fmt.Errorf("decode weight of node %q: %w", clip(addr), err)
			}
			host, port := SplitAddr(addr)
			nodes = append(nodes, Node{Host: host, Port: port, Weight: weight})
		}
		slices.SortFunc(nodes, func(a, b Node) int {
			return cmp.Or(strings.Compare(a.Host, b.Host), cmp.Compare(a.Port, b.Port))
		})
		*n = nodes
		return nil
	}
	var nodes []Node
	if err := json.Unmarshal(data, &nodes); err != nil {
		return fmt.Errorf("decode nodes: %w", err)
	}
	*n = nodes
	return nil
}

// intOf reads an integer that may be written with a fraction or exponent of no effect, such as 1.0.
func intOf(n json.Number) (int, error) {
	if i, err := strconv.Atoi(n.String()); err == nil {
		return i, nil
	}
	f, err := n.Float64()
	if err != nil || f != float64(int(f)) {
		return 0, fmt.Errorf("%s is not an integer", clip(n.String()))
	}
	return int(f), nil
}

// SplitAddr splits the key of a nodes object into host and port, by the rules of APISIX's parse_addr
// (apisix/core/utils.lua): the brackets of an IPv6 address stay part of the host, a bare IPv6 address has no
// port, and what cannot be split is a host. The port is 0 when there is none; it is not checked for its range.
func SplitAddr(addr string) (host string, port int) {
	if strings.HasPrefix(addr, "[") {
		i := strings.LastIndexByte(addr, ':')
		if i <= 0 || addr[i-1] != ']' {
			return addr, 0
		}
		port, ok := portOf(addr[i+1:])
		if !ok {
			return addr[:i], 0
		}
		return addr[:i], port
	}
	if strings.Count(addr, ":") > 1 {
		return addr, 0
	}
	i := strings.IndexByte(addr, ':')
	if i < 0 {
		return addr, 0
	}
	port, ok := portOf(addr[i+1:])
	if !ok {
		return addr[:i], 0
	}
	return addr[:i], port
}

// portOf reads a port of digits only, so that no sign or space slips in.
func portOf(s string) (int, bool) {
	if s == "" || len(s) > 9 {
		return 0, false
	}
	n := 0
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}

// IsBareIPv6 says whether host is an IPv6 address without brackets, which APISIX refuses in the host field of
// a node because the port could not be told from it.
func IsBareIPv6(host string) bool {
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Is6()
}
