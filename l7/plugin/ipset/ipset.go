// Package ipset answers whether an address is in a list of addresses and CIDR ranges, in time that does not grow with the list.
package ipset

import (
	"fmt"
	"net/netip"
	"sort"
)

// MaxEntries bounds the length of one list.
const MaxEntries = 65536

// Set is a compiled list. It is immutable and safe for concurrent use.
type Set struct {
	v4, v6 family
}

// family holds the ranges of one address family: a table of masked prefixes and the lengths that occur, shortest first because wide ranges
// decide most lookups.
type family struct {
	bits   []int
	ranges map[netip.Prefix]struct{}
}

// New compiles a list whose entries are IPv4 or IPv6 addresses or CIDR ranges; bits beyond the length of a range are ignored, as
// lua-resty-ipmatcher does. The error names the entry.
func New(list []string) (*Set, error) {
	if len(list) > MaxEntries {
		return nil, fmt.Errorf("read address list: %d entries, at most %d are allowed", len(list), MaxEntries)
	}
	s := &Set{}
	for i, e := range list {
		p, err := parse(e)
		if err != nil {
			return nil, fmt.Errorf("invalid ip address: %s (entry %d; want an address such as 10.0.0.1 or a range such as 10.0.0.0/8)", e, i+1)
		}
		if p.Addr().Is4() {
			s.v4.add(p)
		} else {
			s.v6.add(p)
		}
	}
	return s, nil
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

func (f *family) add(p netip.Prefix) {
	if f.ranges == nil {
		f.ranges = make(map[netip.Prefix]struct{})
	}
	f.ranges[p] = struct{}{}
	i := sort.SearchInts(f.bits, p.Bits())
	if i < len(f.bits) && f.bits[i] == p.Bits() {
		return
	}
	f.bits = append(f.bits, 0)
	copy(f.bits[i+1:], f.bits[i:])
	f.bits[i] = p.Bits()
}

// Contains tells whether a is in the list. An IPv4 address written as IPv6 counts as IPv4. The zero address is in no list. It does not allocate.
func (s *Set) Contains(a netip.Addr) bool {
	if !a.IsValid() {
		return false
	}
	a = a.WithZone("").Unmap()
	f := &s.v6
	if a.Is4() {
		f = &s.v4
	}
	for _, b := range f.bits {
		p, err := a.Prefix(b)
		if err != nil {
			return false
		}
		if _, ok := f.ranges[p]; ok {
			return true
		}
	}
	return false
}
