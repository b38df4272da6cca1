package ipset

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
)

func TestContains(t *testing.T) {
	list := []string{"127.0.0.1", "192.168.3.7/24", "10.0.0.0/8", "::1", "fe80::/32", "::ffff:172.16.0.0/108"}
	s, err := New(list)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		addr string
		want bool
	}{
		{"127.0.0.1", true}, {"127.0.0.2", false}, {"192.168.3.255", true}, {"192.168.4.1", false},
		{"10.255.255.255", true}, {"11.0.0.0", false}, {"::1", true}, {"::2", false}, {"fe80:0:1::1", true},
		{"fe81::1", false}, {"::ffff:10.1.1.1", true}, {"fe80::1%eth0", true}, {"172.20.1.1", true}, {"172.32.0.1", false},
	} {
		t.Run(c.addr, func(t *testing.T) {
			if got := s.Contains(netip.MustParseAddr(c.addr)); got != c.want {
				t.Fatalf("got %v, want %v", got, c.want)
			}
		})
	}
	if s.Contains(netip.Addr{}) {
		t.Fatal("the zero address is in the list")
	}
}

func TestEverything(t *testing.T) {
	s, err := New([]string{"0.0.0.0/0"})
	if err != nil {
		t.Fatal(err)
	}
	if !s.Contains(netip.MustParseAddr("8.8.8.8")) || s.Contains(netip.MustParseAddr("::1")) {
		t.Fatal("0.0.0.0/0 is every IPv4 address and no IPv6 address")
	}
}

func TestErrors(t *testing.T) {
	for _, e := range []string{"", "1.2.3", "1.2.3.4/33", "1.2.3.4/x", "host", "::/129", "1.2.3.4/-1"} {
		t.Run(e, func(t *testing.T) {
			_, err := New([]string{"10.0.0.1", e})
			if err == nil || !strings.Contains(err.Error(), "entry 2") {
				t.Fatalf("got %v, want an error that names entry 2", err)
			}
		})
	}
	if _, err := New(make([]string, MaxEntries+1)); err == nil {
		t.Fatal("an overlong list was accepted")
	}
}

func TestNoAllocation(t *testing.T) {
	var list []string
	for i := range 10000 {
		list = append(list, fmt.Sprintf("10.%d.%d.0/24", i/256, i%256))
	}
	s, err := New(list)
	if err != nil {
		t.Fatal(err)
	}
	a := netip.MustParseAddr("10.3.200.1")
	if n := testing.AllocsPerRun(100, func() { s.Contains(a) }); n != 0 {
		t.Fatalf("%v allocations per lookup", n)
	}
}

func FuzzNew(f *testing.F) {
	for _, s := range []string{"10.0.0.1", "10.0.0.0/8", "::1", "fe80::/10", "fe80::1%lo", "::ffff:1.2.3.4/100", "x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, e string) {
		s, err := New([]string{e})
		if err != nil {
			return
		}
		p, err := parse(e)
		if err != nil || !s.Contains(p.Addr()) {
			t.Fatalf("%q does not contain its own first address", e)
		}
	})
}

// TestAgainstPrefixes compares every answer with netip's for lists whose ranges overlap, touch and nest.
func TestAgainstPrefixes(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for round := range 200 {
		var list []string
		var prefixes []netip.Prefix
		for range 1 + r.IntN(20) {
			// Few distinct bits make ranges meet.
			var p netip.Prefix
			if r.IntN(2) == 0 {
				p = netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(r.IntN(2) * 255), 0, byte(r.IntN(4)), byte(r.IntN(8) * 32)}), r.IntN(33))
			} else {
				p = netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0x20, 7: byte(r.IntN(4)), 8: byte(r.IntN(4) * 64), 15: byte(r.IntN(4))}), r.IntN(129))
			}
			list = append(list, p.String())
			prefixes = append(prefixes, p)
		}
		s, err := New(list)
		if err != nil {
			t.Fatal(err)
		}
		for range 200 {
			a := netip.AddrFrom4([4]byte{byte(r.IntN(2) * 255), 0, byte(r.IntN(5)), byte(r.IntN(256))})
			if r.IntN(2) == 0 {
				a = netip.AddrFrom16([16]byte{0: 0x20, 7: byte(r.IntN(5)), 8: byte(r.IntN(256)), 15: byte(r.IntN(5))})
			}
			want := false
			for _, p := range prefixes {
				want = want || p.Contains(a)
			}
			if got := s.Contains(a); got != want {
				t.Fatalf("round %d: %v in %v: got %v, want %v", round, a, list, got, want)
			}
		}
	}
}
