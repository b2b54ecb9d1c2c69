// Package cidr owns sets of IP networks: how one is written and whether an
// address is in one of them. It must never know what being in one is good for.
package cidr

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"landward/internal/landward"
)

// Parse reads an address or a network ("192.0.2.1", "10.0.0.0/8",
// "2001:db8::/32"; RFC 4632, RFC 4291). IPv4 written inside IPv6 is IPv4.
// CodeInvalid, without a field, on what is neither.
func Parse(s string) (netip.Prefix, *landward.Error) {
	bad := landward.Invalid("", "%q is not an address or a network", landward.Printable(s)).
		WithHint("write 192.0.2.1, 10.0.0.0/8 or 2001:db8::/32")
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, bad
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, bad
	}
	p, ok := unmapped(p)
	if !ok {
		return netip.Prefix{}, landward.Invalid("", "%q holds IPv4 and IPv6 addresses", landward.Printable(s)).
			WithHint("write two networks, such as 0.0.0.0/0 and ::/0")
	}
	if p.Masked() != p {
		return netip.Prefix{}, landward.Invalid("", "%s is not the first address of its network", p).
			WithHint("write %s for the network, or %s for the one address", p.Masked(), p.Addr())
	}
	return p, nil
}

// unmapped is p, as IPv4 where it is a network of IPv4 inside IPv6. ok is false
// for one that has both kinds.
func unmapped(p netip.Prefix) (_ netip.Prefix, ok bool) {
	if !p.Addr().Is4In6() {
		return p, p.IsValid()
	}
	if p.Bits() < 96 {
		return p, false
	}
	return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96), true
}

// Set is networks in the order of their addresses, none inside another.
type Set []netip.Prefix

// NewSet makes a Set. The host's bits of a network do not count; one that is
// none, or of both kinds of address, holds nobody.
func NewSet(list []netip.Prefix) Set {
	all := make(Set, 0, len(list))
	for _, p := range list {
		if p, ok := unmapped(p); ok {
			all = append(all, p.Masked())
		}
	}
	slices.SortFunc(all, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	out := all[:0]
	for _, p := range all {
		if n := len(out); n == 0 || !out[n-1].Contains(p.Addr()) {
			out = append(out, p)
		}
	}
	return slices.Clip(out)
}

// Has reports whether addr is in one of the networks: if so, in the last one
// that does not begin after it. IPv4 inside IPv6 is IPv4; a zone does not count.
func (s Set) Has(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	lo, hi := 0, len(s)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if addr.Less(s[mid].Addr()) {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo > 0 && s[lo-1].Contains(addr)
}

// Apart takes the addresses of some machines out of networks that were written
// with others in mind: 10.0.0.0/8 is an office, and not the apps of this host
// that have addresses in it, too. A network that lies among theirs means them, and
// 0.0.0.0/0 means all.
func Apart(list []netip.Prefix, theirs netip.Prefix) []netip.Prefix {
	if !theirs.IsValid() {
		return list
	}
	var out []netip.Prefix
	for _, p := range list {
		if p.Bits() == 0 || p.Bits() >= theirs.Bits() {
			out = append(out, p)
			continue
		}
		out = append(out, Without([]netip.Prefix{p}, theirs)...)
	}
	return out
}

// Without cuts a network out of others: what is left of each, in as few
// networks as can be.
func Without(list []netip.Prefix, hole netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range list {
		switch {
		case !p.Overlaps(hole):
			out = append(out, p)
		case p.Bits() < hole.Bits(): // it is wider, and has two halves
			low, high := halves(p)
			out = append(out, Without([]netip.Prefix{low, high}, hole)...)
		}
	}
	return out
}

func halves(p netip.Prefix) (low, high netip.Prefix) {
	bits := p.Bits() + 1
	b := p.Masked().Addr().AsSlice()
	b[(bits-1)/8] |= 0x80 >> ((bits - 1) % 8)
	upper, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(p.Masked().Addr(), bits), netip.PrefixFrom(upper, bits)
}
