package steer

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/sluice-gateway/sluice/bpf"
)

// Proto is a transport protocol by its number.
type Proto uint8

// The protocols that can be steered.
const (
	TCP Proto = 6
	UDP Proto = 17
)

// String is the protocol's name.
func (p Proto) String() string {
	if p == UDP {
		return "udp"
	}
	return "tcp"
}

// Rule sends what comes for a prefix and a range of ports to a group of sockets. Of several rules that match, the one with the longest prefix counts, and of those with the
// same prefix the one with the narrowest range.
type Rule struct {
	Proto  Proto
	Prefix netip.Prefix
	// Lo and Hi are the first and the last port.
	Lo, Hi uint16
	// Group is the name that SetSocket knows the socket by.
	Group string
}

// String is the rule as errors and status show it.
func (r Rule) String() string {
	if r.Lo == r.Hi {
		return fmt.Sprintf("%s %s port %d to %s", r.Proto, r.Prefix, r.Lo, r.Group)
	}
	return fmt.Sprintf("%s %s ports %d-%d to %s", r.Proto, r.Prefix, r.Lo, r.Hi, r.Group)
}

// maxRanges is how many ranges one prefix may have, those of shorter prefixes around it included (STEER_RANGES).
const maxRanges = len(bpf.SteerSteerRule{}.Ranges)

// headBits are the bits of a key before the address.
const headBits = 32

// Check tells what is wrong with rules as they are written, before anything is asked of the kernel.
func Check(rules []Rule) error {
	_, err := entries(rules, func(string) (uint32, error) { return 0, nil })
	return err
}

// entries are the contents of the trie. The program takes the longest prefix only, so each one also has the ranges of the shorter ones around it, after its own.
func entries(rules []Rule, group func(name string) (uint32, error)) (map[bpf.SteerSteerKey]bpf.SteerSteerRule, error) {
	for i, r := range rules {
		switch {
		case r.Proto != TCP && r.Proto != UDP:
			return nil, fmt.Errorf("rule %d: protocol %d is neither TCP nor UDP", i, r.Proto)
		case !r.Prefix.IsValid():
			return nil, fmt.Errorf("rule %d: it has no prefix", i)
		case r.Lo == 0 || r.Lo > r.Hi:
			return nil, fmt.Errorf("rule %s: the first port is not from 1 to the last one", r)
		case r.Group == "" || len(r.Group) > len(bpf.SteerSteerName{}.Text):
			return nil, fmt.Errorf("rule %s: the name of the group does not have 1 to %d bytes", r, len(bpf.SteerSteerName{}.Text))
		}
	}
	out := make(map[bpf.SteerSteerKey]bpf.SteerSteerRule, len(rules))
	for _, r := range rules {
		key := keyOf(r)
		if _, done := out[key]; done {
			continue
		}
		around := covering(rules, r)
		if len(around) > maxRanges {
			return nil, fmt.Errorf("%s %s: %d ranges of ports apply to it, those of the prefixes around it included; at most %d can", r.Proto, r.Prefix, len(around), maxRanges)
		}
		var value bpf.SteerSteerRule
		for i, a := range around {
			id, err := group(a.Group)
			if err != nil {
				return nil, err
			}
			value.Ranges[i].Lo, value.Ranges[i].Hi, value.Ranges[i].Group = a.Lo, a.Hi, id
		}
		value.Count = uint32(len(around))
		out[key] = value
	}
	return out, nil
}

// covering are the rules that apply to the prefix of r, in the order in which they count. The later of two rules for the same prefix and range counts.
func covering(rules []Rule, r Rule) []Rule {
	var list []Rule
	for _, o := range rules {
		if o.Proto != r.Proto || o.Prefix.Bits() > r.Prefix.Bits() || !o.Prefix.Contains(r.Prefix.Addr()) {
			continue
		}
		list = slices.DeleteFunc(list, func(l Rule) bool { return l.Prefix.Masked() == o.Prefix.Masked() && l.Lo == o.Lo && l.Hi == o.Hi })
		list = append(list, o)
	}
	slices.SortStableFunc(list, func(a, b Rule) int {
		return cmp.Or(cmp.Compare(b.Prefix.Bits(), a.Prefix.Bits()), cmp.Compare(a.Hi-a.Lo, b.Hi-b.Lo), cmp.Compare(a.Lo, b.Lo))
	})
	return list
}

func keyOf(r Rule) bpf.SteerSteerKey {
	addr, bits := r.Prefix.Masked().Addr(), r.Prefix.Bits()
	if addr.Is4() {
		bits += 96
	}
	return bpf.SteerSteerKey{Prefixlen: headBits + uint32(bits), Protocol: uint8(r.Proto), Addr: addr.As16()}
}
