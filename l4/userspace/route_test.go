package userspace

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/sluice-gateway/sluice/control/snapshot"
)

// routesOf compiles routes whose ids are their places.
func routesOf(t testing.TB, defs ...snapshot.StreamRoute) []*route {
	t.Helper()
	var out []*route
	for i := range defs {
		defs[i].ID = fmt.Sprint(i)
		r, err := newRoute(&defs[i], nil)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

// TestMatchOrder holds the order of apisix/stream/router/ip_port.lua: by server name, then the others in order of creation, whether they name a port or not.
func TestMatchOrder(t *testing.T) {
	table := newTable(routesOf(t,
		snapshot.StreamRoute{ServerPort: 1, RemoteAddr: "10.0.0.0/8"}, // 0
		snapshot.StreamRoute{RemoteAddr: "10.1.0.0/16"},               // 1
		snapshot.StreamRoute{ServerPort: 1},                           // 2
		snapshot.StreamRoute{ServerPort: 2},                           // 3
		snapshot.StreamRoute{ServerAddr: "192.0.2.9"},                 // 4
		snapshot.StreamRoute{ServerPort: 2, RemoteAddr: "10.1.0.0/16"},
		snapshot.StreamRoute{SNI: "*.a.test", ServerPort: 3},        // 6
		snapshot.StreamRoute{SNI: "x.a.test", ServerPort: 3},        // 7
		snapshot.StreamRoute{SNI: "*.test", RemoteAddr: "10.9.9.9"}, // 8
	))
	for _, tt := range []struct {
		client, server, sni, want string
	}{
		{"10.1.2.3:5", "192.0.2.1:1", "", "0"},
		{"11.1.2.3:5", "192.0.2.1:1", "", "2"},
		{"10.1.2.3:5", "192.0.2.1:2", "", "1"},
		{"10.2.2.3:5", "192.0.2.1:2", "", "3"},
		{"10.2.2.3:5", "192.0.2.9:2", "", "3"},
		{"10.2.2.3:5", "192.0.2.9:7", "", "4"},
		{"10.2.2.3:5", "192.0.2.1:7", "", ""},
		{"[::ffff:10.1.2.3]:5", "[::ffff:192.0.2.1]:1", "", "0"},
		{"[2001:db8::1]:5", "[2001:db8::2]:1", "", "2"},
		{"10.2.2.3:5", "192.0.2.1:3", "x.a.test", "7"},
		{"10.2.2.3:5", "192.0.2.1:3", "X.A.Test.", "7"},
		{"10.2.2.3:5", "192.0.2.1:3", "y.z.a.test", "6"},
		{"10.9.9.9:5", "192.0.2.1:3", "a.test", "8"},
		{"10.9.9.9:5", "192.0.2.1:1", "x.a.test", "8"}, // the routes of the name are for another port
		{"10.2.2.3:5", "192.0.2.1:1", "x.a.test", "0"},
	} {
		t.Run(fmt.Sprintf("%s to %s %s", tt.client, tt.server, tt.sni), func(t *testing.T) {
			got := ""
			if r := table.match(netip.MustParseAddrPort(tt.client), netip.MustParseAddrPort(tt.server), tt.sni); r != nil {
				got = r.def.ID
			}
			if got != tt.want {
				t.Errorf("route %q, want %q", got, tt.want)
			}
		})
	}
	for port, want := range map[uint16]bool{1: true, 3: true} { // *.test is for every port
		if got := table.wantsSNI(netip.AddrPortFrom(netip.IPv4Unspecified(), port)); got != want {
			t.Errorf("port %d: the server name matters: %v, want %v", port, got, want)
		}
	}
	table = newTable(routesOf(t, snapshot.StreamRoute{SNI: "a.test", ServerPort: 3}, snapshot.StreamRoute{ServerPort: 1}))
	for port, want := range map[uint16]bool{1: false, 3: true} {
		if got := table.wantsSNI(netip.AddrPortFrom(netip.IPv4Unspecified(), port)); got != want {
			t.Errorf("port %d alone: the server name matters: %v, want %v", port, got, want)
		}
	}
}

// BenchmarkMatch finds the last of many routes, which have a port each.
func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var defs []snapshot.StreamRoute
			for i := range n {
				defs = append(defs, snapshot.StreamRoute{ServerPort: 1 + i, RemoteAddr: "10.0.0.0/8"})
			}
			table := newTable(routesOf(b, defs...))
			client, server := netip.MustParseAddrPort("10.1.2.3:5"), netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(n))
			b.ReportAllocs()
			for b.Loop() {
				if table.wantsSNI(server) || table.match(client, server, "") == nil {
					b.Fatal("no match")
				}
			}
		})
	}
}
