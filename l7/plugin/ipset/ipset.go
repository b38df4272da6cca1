// Package ipset answers whether an address is in a list of addresses and CIDR ranges. A list of 100,000 ranges costs about twice as much to ask as one of 1,000.
package ipset

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
)

// MaxEntries bounds the length of one list.
const MaxEntries = 1 << 20

// Set is a compiled list. It is immutable and safe for concurrent use.
type Set struct {
	v4 ranges[uint32]
	v6 ranges[addr6]
}

// addr6 is an IPv6 address that compares as a number.
type addr6 struct{ hi, lo uint64 }

// ranges holds disjoint ranges in ascending order, both ends included. First and last addresses are apart so that a search touches
// as little memory as possible.
type ranges[A any] struct{ first, last []A }

type span[A any] struct{ first, last A }

// New compiles a list whose entries are IPv4 or IPv6 addresses or CIDR ranges; bits beyond the length of a range are ignored, as
// lua-resty-ipmatcher does. The error names the entry.
func New(list []string) (*Set, error) {
	if len(list) > MaxEntries {
		return nil, fmt.Errorf("read address list: %d entries, at most %d are allowed", len(list), MaxEntries)
	}
	var v4 []span[uint32]
	var v6 []span[addr6]
	for i, e := range list {
		p, err := parse(e)
		if err != nil {
			return nil, fmt.Errorf("invalid ip address: %s (entry %d; want an address such as 10.0.0.1 or a range such as 10.0.0.0/8)", e, i+1)
		}
		if p.Addr().Is4() {
			first := number4(p.Addr())
			v4 = append(v4, span[uint32]{first, first | uint32(1<<(32-p.Bits())-1)})
		} else {
			first := number6(p.Addr())
			last := first
			if n := p.Bits(); n < 64 {
				last.hi |= 1<<(64-n) - 1
				last.lo = ^uint64(0)
			} else {
				last.lo |= 1<<(128-n) - 1
			}
			v6 = append(v6, span[addr6]{first, last})
		}
	}
	return &Set{v4: merge(v4, cmp.Compare[uint32]), v6: merge(v6, compare6)}, nil
}

// merge sorts spans and joins those that overlap.
func merge[A any](list []span[A], compare func(a, b A) int) (r ranges[A]) {
	if len(list) == 0 {
		return r
	}
	slices.SortFunc(list, func(a, b span[A]) int { return compare(a.first, b.first) })
	n := 0
	for _, s := range list[1:] {
		if compare(s.first, list[n].last) > 0 {
			n++
			list[n] = s
		} else if compare(s.last, list[n].last) > 0 {
			list[n].last = s.last
		}
	}
	r.first, r.last = make([]A, n+1), make([]A, n+1)
	for i, s := range list[:n+1] {
		r.first[i], r.last[i] = s.first, s.last
	}
	return r
}

func parse(e string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(e); err == nil {
		a = a.WithZone("").Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(e)
	if err != nil {
		return p, err
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}

func number4(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

func number6(a netip.Addr) addr6 {
	b := a.As16()
	return addr6{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

func compare6(a, b addr6) int {
	if a.hi != b.hi {
		return cmp.Compare(a.hi, b.hi)
	}
	return cmp.Compare(a.lo, b.lo)
}

// Contains tells whether a is in the list. An IPv4 address written as IPv6 counts as IPv4. The zero address is in no list. It does not allocate.
func (s *Set) Contains(a netip.Addr) bool {
	switch {
	case !a.IsValid():
		return false
	case a.Is4() || a.Is4In6():
		return contains4(&s.v4, number4(a))
	default:
		return contains6(&s.v6, number6(a))
	}
}

// contains4 looks at the last range that begins at or before a. The loop halves without a branch that depends on the data.
func contains4(r *ranges[uint32], a uint32) bool {
	i, n := 0, len(r.first)
	for n > 1 {
		half := n / 2
		if r.first[i+half] <= a {
			i += half
		}
		n -= half
	}
	return n > 0 && r.first[i] <= a && a <= r.last[i]
}

func contains6(r *ranges[addr6], a addr6) bool {
	i, n := 0, len(r.first)
	for n > 1 {
		half := n / 2
		if compare6(r.first[i+half], a) <= 0 {
			i += half
		}
		n -= half
	}
	return n > 0 && compare6(r.first[i], a) <= 0 && compare6(a, r.last[i]) <= 0
}
