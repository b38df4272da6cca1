package iprestriction

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/l7/plugin/plugintest"
)

func TestAccess(t *testing.T) {
	const (
		white   = `{"whitelist":["127.0.0.0/24","113.74.26.106"]}`
		black   = `{"blacklist":["127.0.0.0/24","113.74.26.106"]}`
		black6  = `{"blacklist":["::1","fe80::/32"]}`
		refused = `{"message":"Your IP address is not allowed"}`
		own     = `{"message":"Do you want to do something bad?"}`
	)
	withMessage := func(conf string) string {
		return strings.TrimSuffix(conf, "}") + `,"message":"Do you want to do something bad?"}`
	}
	for _, c := range []struct {
		name, conf, client string
		status             int
		body               string
	}{
		{"t/plugin/ip-restriction.t TEST 8: ip cidr in the whitelist", white, "127.0.0.1", 200, ""},
		{"t/plugin/ip-restriction.t TEST 9: ip in the whitelist", white, "113.74.26.106", 200, ""},
		{"t/plugin/ip-restriction.t TEST 10: ip not in the whitelist", white, "114.114.114.114", 403, refused},
		{"t/plugin/ip-restriction.t TEST 11: IPv6 not in the whitelist", white, "2001:db8::2", 403, refused},
		{"t/plugin/ip-restriction.t TEST 13: ip cidr in the blacklist", black, "127.0.0.1", 403, refused},
		{"t/plugin/ip-restriction.t TEST 14: ip in the blacklist", black, "113.74.26.106", 403, refused},
		{"t/plugin/ip-restriction.t TEST 15: ip not in the blacklist", black, "114.114.114.114", 200, ""},
		{"t/plugin/ip-restriction.t TEST 16: IPv6 not in the blacklist", black, "2001:db8::2", 200, ""},
		{"t/plugin/ip-restriction.t TEST 21: IPv4, IPv6 blacklist", black6, "127.0.0.1", 200, ""},
		{"t/plugin/ip-restriction.t TEST 22: IPv6 in the blacklist", black6, "::1", 403, refused},
		{"t/plugin/ip-restriction.t TEST 23: IPv6 in the blacklist", black6, "fe80::1:1", 403, refused},
		{"t/plugin/ip-restriction.t TEST 27: user-defined message, ip cidr", withMessage(black), "127.0.0.1", 403, own},
		{"t/plugin/ip-restriction.t TEST 28: user-defined message, ip", withMessage(black), "113.74.26.106", 403, own},
		{"t/plugin/ip-restriction.t TEST 30: user-defined message, not in the whitelist", withMessage(white), "114.114.114.114", 403, own},
		{"t/plugin/ip-restriction.t TEST 34: ip not in the whitelist expect 404", `{"whitelist":["127.0.0.0/24"],"response_code":404}`, "114.114.114.114", 404, refused},

		{"IPv4 written as IPv6", white, "::ffff:127.0.0.9", 200, ""},
		{"no address, whitelist", white, "", 403, refused},
		{"no address, blacklist", black, "", 200, ""},
		{"a message with markup", `{"blacklist":["0.0.0.0/0"],"message":"<b>&"}`, "1.2.3.4", 403, `{"message":"<b>&"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			ex := plugintest.Request("GET", "/hello")
			ex.Client = netip.AddrPort{}
			if c.client != "" {
				ex.Client = netip.AddrPortFrom(netip.MustParseAddr(c.client), 1000)
			}
			r := plugintest.Run(ex, plugintest.Upstream{}, plugintest.New(t, name, c.conf))
			if body := strings.TrimSuffix(r.Body, "\n"); r.Status != c.status || body != c.body {
				t.Fatalf("got %d %s, want %d %s", r.Status, body, c.status, c.body)
			}
		})
	}
}

func TestConfiguration(t *testing.T) {
	for _, c := range []struct {
		name, conf string
		ok         bool
	}{
		{"t/plugin/ip-restriction.t TEST 1: sanity", `{"whitelist":["10.255.254.0/24","192.168.0.0/16"]}`, true},
		{"t/plugin/ip-restriction.t TEST 2: wrong CIDR v4 format", `{"whitelist":["10.255.256.0/24","192.168.0.0/16"]}`, false},
		{"t/plugin/ip-restriction.t TEST 3: wrong CIDR v4 format", `{"whitelist":["10.255.254.0/38","192.168.0.0/16"]}`, false},
		{"t/plugin/ip-restriction.t TEST 4: empty conf", `{}`, false},
		{"t/plugin/ip-restriction.t TEST 5: empty CIDRs", `{"blacklist":[]}`, false},
		{"t/plugin/ip-restriction.t TEST 6: mutual exclusive", `{"whitelist":["172.17.40.0/24"],"blacklist":["10.255.0.0/16"]}`, false},
		{"t/plugin/ip-restriction.t TEST 19: sanity(IPv6)", `{"whitelist":["::1","fe80::/32","2001:DB8:0:23:8:800:200C:417A"]}`, true},
		{"t/plugin/ip-restriction.t TEST 24: wrong IPv6 length", `{"whitelist":["::1/129"]}`, false},
		{"t/plugin/ip-restriction.t TEST 24: wrong IPv6 format", `{"whitelist":["::ffgg"]}`, false},
		{"t/plugin/ip-restriction.t TEST 31: message too short", `{"whitelist":["1.1.1.1"],"message":""}`, false},
		{"t/plugin/ip-restriction.t TEST 32: message too long", `{"whitelist":["1.1.1.1"],"message":"` + strings.Repeat("-1Aa#", 205) + `"}`, false},
		{"t/plugin/ip-restriction.t TEST 35: wrong response code", `{"whitelist":["1.1.1.1"],"response_code":409}`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := plugintest.Try(name, c.conf, nil); (err == nil) != c.ok {
				t.Fatalf("got %v", err)
			}
		})
	}
}

// What the patterns of the schema cannot tell is refused in APISIX's words (apisix/plugins/ip-restriction/init.lua check_schema).
func TestInvalidAddress(t *testing.T) {
	for _, addr := range []string{"::1/129", "1:2:3:4:5:6:7:8:9/64", "host"} {
		t.Run(addr, func(t *testing.T) {
			_, err := newRestriction([]byte(`{"whitelist":["`+addr+`"],"response_code":403}`), nil)
			if err == nil || !strings.HasPrefix(err.Error(), "invalid ip address: "+addr) {
				t.Fatalf("got %v", err)
			}
		})
	}
}

func manyRanges(n int) []byte {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("%d.%d.%d.0/25", 1+i>>16, i>>8&255, i&255)
	}
	doc, _ := json.Marshal(map[string]any{"blacklist": list, "response_code": 403, "message": "no"})
	return doc
}

func TestManyRanges(t *testing.T) {
	inst, err := newRestriction(manyRanges(100_000), nil)
	if err != nil {
		t.Fatal(err)
	}
	r := inst.(*restriction)
	ex := plugintest.Request("GET", "/")
	for addr, refused := range map[string]bool{"1.0.0.127": true, "1.0.0.128": false, "1.200.7.1": true, "2.134.159.5": true, "2.134.160.0": false, "9.9.9.9": false} {
		ex.Client = netip.AddrPortFrom(netip.MustParseAddr(addr), 1)
		if reply, _ := r.Access(ex); (reply != nil) != refused {
			t.Errorf("%s: got %v", addr, reply)
		}
	}
	if n := testing.AllocsPerRun(100, func() {
		if _, err := r.Access(ex); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func BenchmarkAccess(b *testing.B) {
	for _, n := range []int{10, 100_000} {
		inst, err := newRestriction(manyRanges(n), nil)
		if err != nil {
			b.Fatal(err)
		}
		r := inst.(*restriction)
		ex := plugintest.Request("GET", "/")
		ex.Client = netip.MustParseAddrPort("1.1.1.200:1")
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				if reply, _ := r.Access(ex); reply != nil {
					b.Fatal(reply.Status)
				}
			}
		})
	}
}
