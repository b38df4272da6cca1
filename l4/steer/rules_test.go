package steer

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func rule(proto Proto, prefix string, lo, hi uint16, group string) Rule {
	return Rule{proto, netip.MustParsePrefix(prefix), lo, hi, group}
}

// lookup is what the program does with the entries: the longest prefix, then the first range.
func lookup(t *testing.T, rules []Rule, proto Proto, addr string, port uint16) string {
	t.Helper()
	var names []string
	all, err := entries(rules, func(name string) (uint32, error) {
		names = append(names, name)
		return uint32(len(names) - 1), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	a := netip.MustParseAddr(addr)
	for bits := 128; bits >= 0; bits-- {
		p, err := netip.AddrFrom16(a.As16()).Prefix(bits)
		if err != nil {
			t.Fatal(err)
		}
		k := keyOf(Rule{Proto: proto, Prefix: p})
		v, ok := all[k]
		if !ok {
			continue
		}
		for i := range v.Count {
			if r := v.Ranges[i]; port >= r.Lo && port <= r.Hi {
				return names[r.Group]
			}
		}
		return ""
	}
	return ""
}

func TestEntries(t *testing.T) {
	rules := []Rule{
		rule(TCP, "198.51.0.0/16", 1, 65535, "wide"),
		rule(TCP, "198.51.0.0/16", 8000, 8999, "range"),
		rule(TCP, "198.51.0.0/16", 8080, 8080, "port"),
		rule(TCP, "198.51.100.0/24", 443, 443, "tls"),
		rule(TCP, "198.51.100.7/32", 1, 1024, "host"),
		rule(UDP, "198.51.0.0/16", 53, 53, "dns"),
		rule(TCP, "2001:db8::/32", 80, 80, "six"),
		rule(TCP, "192.0.2.0/24", 1, 10, "old"),
		rule(TCP, "192.0.2.77/24", 1, 10, "new"),
	}
	for _, tt := range []struct {
		proto Proto
		addr  string
		port  uint16
		want  string
	}{
		{TCP, "198.51.1.1", 1, "wide"}, {TCP, "198.51.1.1", 65535, "wide"}, {TCP, "198.51.1.1", 8080, "port"}, {TCP, "198.51.1.1", 8081, "range"},
		{TCP, "198.51.100.1", 443, "tls"}, {TCP, "198.51.100.1", 444, "wide"}, {TCP, "198.51.100.1", 8500, "range"},
		{TCP, "198.51.100.7", 443, "host"}, {TCP, "198.51.100.7", 2000, "wide"},
		{UDP, "198.51.1.1", 53, "dns"}, {UDP, "198.51.1.1", 54, ""}, {TCP, "198.52.0.1", 80, ""},
		{TCP, "2001:db8:1::1", 80, "six"}, {TCP, "2001:db8:1::1", 81, ""}, {TCP, "192.0.2.1", 5, "new"},
	} {
		t.Run(fmt.Sprint(tt.proto, tt.addr, tt.port), func(t *testing.T) {
			if d := cmp.Diff(tt.want, lookup(t, rules, tt.proto, tt.addr, tt.port)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	many := make([]Rule, 0, maxRanges+1)
	for i := range maxRanges + 1 {
		many = append(many, rule(TCP, "10.0.0.0/8", uint16(i+1), uint16(i+1), "g"))
	}
	for _, tt := range []struct {
		name  string
		rules []Rule
		want  string
	}{
		{"good", []Rule{rule(TCP, "10.0.0.0/8", 1, 65535, "g")}, ""},
		{"as many ranges as fit", many[:maxRanges], ""},
		{"too many", many, "tcp 10.0.0.0/8: 17 ranges of ports apply to it"},
		{"too many around it", append(many[:maxRanges:maxRanges], rule(TCP, "10.1.0.0/16", 100, 100, "g")), "tcp 10.1.0.0/16: 17 ranges"},
		{"protocol", []Rule{rule(1, "10.0.0.0/8", 1, 2, "g")}, "protocol 1 is neither TCP nor UDP"},
		{"no prefix", []Rule{{Proto: TCP, Lo: 1, Hi: 2, Group: "g"}}, "no prefix"},
		{"port 0", []Rule{rule(TCP, "10.0.0.0/8", 0, 2, "g")}, "first port"},
		{"backwards", []Rule{rule(TCP, "10.0.0.0/8", 3, 2, "g")}, "first port"},
		{"no group", []Rule{rule(TCP, "10.0.0.0/8", 1, 2, "")}, "name of the group"},
		{"long group", []Rule{rule(TCP, "10.0.0.0/8", 1, 2, strings.Repeat("x", 65))}, "name of the group"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := Check(tt.rules)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
