package door

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"landward/internal/landward"
)

// maxTrusted bounds how many networks of proxies there are.
const maxTrusted = 10_000

// ParsePrefixes reads addresses and networks of proxies that are trusted. An
// error names the entry as field[n].
func ParsePrefixes(field string, list []string) ([]netip.Prefix, error) {
	if len(list) > maxTrusted {
		return nil, landward.Invalid(field, "%d entries are too many: the limit is %d", len(list), maxTrusted)
	}
	out := make([]netip.Prefix, 0, len(list))
	for i, s := range list {
		p, ok := parsePrefix(s)
		if !ok {
			return nil, landward.Invalid(fmt.Sprintf("%s[%d]", field, i), "%q is not an address or a network", landward.Printable(s)).
				WithHint("write 192.0.2.1, 10.0.0.0/8 or 2001:db8::/32, with the first address of the network")
		}
		out = append(out, p)
	}
	return out, nil
}

func parsePrefix(s string) (netip.Prefix, bool) {
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, false
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, false
	}
	p, ok := unmapped(p)
	return p, ok && p.Masked() == p
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

// prefixes are networks in the order of their addresses, none inside another.
type prefixes []netip.Prefix

func newPrefixes(list []netip.Prefix) prefixes {
	all := make(prefixes, 0, len(list))
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

// has reports whether addr, which is not IPv4 inside IPv6, is in one of the
// networks: if so, in the last one that does not begin after it.
func (p prefixes) has(addr netip.Addr) bool {
	lo, hi := 0, len(p)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if addr.Less(p[mid].Addr()) {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo > 0 && p[lo-1].Contains(addr)
}
