package engine

import (
	"net/netip"
	"testing"

	"github.com/sluice-gateway/sluice/l7/plugin"
)

func TestRealIP(t *testing.T) {
	local := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("10.0.0.0/8")}
	for _, tc := range []struct {
		name, peer, value string
		recursive         bool
		want              string
	}{
		{"trusted peer", "127.0.0.1:5", "1.2.3.4", false, "1.2.3.4:0"},
		{"with a port", "127.0.0.1:5", "1.2.3.4:80", false, "1.2.3.4:80"},
		{"IPv6", "127.0.0.1:5", "[2001:db8::1]", false, "[2001:db8::1]:0"},
		{"other peer", "9.9.9.9:5", "1.2.3.4", false, "9.9.9.9:5"},
		{"no field", "127.0.0.1:5", "", false, "127.0.0.1:5"},
		{"not an address", "127.0.0.1:5", "unknown", false, "127.0.0.1:5"},
		{"the last of a list", "127.0.0.1:5", "1.2.3.4, 10.0.0.1", false, "10.0.0.1:0"},
		{"recursive", "127.0.0.1:5", "6.6.6.6, 1.2.3.4, 10.0.0.1", true, "1.2.3.4:0"},
		{"recursive, all trusted", "127.0.0.1:5", "10.0.0.2,10.0.0.1", true, "10.0.0.2:0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ex := &plugin.Exchange{Peer: netip.MustParseAddrPort(tc.peer)}
			ex.Client = ex.Peer
			if tc.value != "" {
				ex.Request.Header.SetString("X-Real-IP", tc.value)
			}
			r := RealIP{Header: "X-Real-IP", From: local, Recursive: tc.recursive}
			r.apply(ex)
			if got := ex.Client.String(); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}
