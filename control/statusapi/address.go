package statusapi

import (
	"net/netip"
	"strings"
)

// isAddress tells whether a node's host is an IP address and not a name.
func isAddress(host string) bool {
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil
}
