package ipset

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
)

// randomList makes n ranges of mixed lengths, half of them of each family.
func randomList(n int) []string {
	r := rand.New(rand.NewPCG(1, 2))
	list := make([]string, n)
	for i := range list {
		if i%2 == 0 {
			list[i] = netip.PrefixFrom(randomAddr4(r), 22+r.IntN(11)).Masked().String()
		} else {
			var b [16]byte
			binary.BigEndian.PutUint64(b[:], r.Uint64())
			list[i] = netip.PrefixFrom(netip.AddrFrom16(b), 24+r.IntN(41)).Masked().String()
		}
	}
	return list
}

func randomAddr4(r *rand.Rand) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], r.Uint32())
	return netip.AddrFrom4(b)
}

func BenchmarkContains(b *testing.B) {
	for _, n := range []int{10, 1000, 100000} {
		s, err := New(randomList(min(n, MaxEntries)))
		if err != nil {
			b.Fatal(err)
		}
		r := rand.New(rand.NewPCG(3, 4))
		addrs := make([]netip.Addr, 1024)
		for i := range addrs {
			addrs[i] = randomAddr4(r)
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			i, hits := 0, 0
			for b.Loop() {
				if s.Contains(addrs[i&1023]) {
					hits++
				}
				i++
			}
		})
	}
}

func BenchmarkNew(b *testing.B) {
	list := randomList(min(100000, MaxEntries))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := New(list); err != nil {
			b.Fatal(err)
		}
	}
}
