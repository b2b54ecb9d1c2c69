package guard

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"landward/internal/landward"
)

// Networks says which client addresses get in. A nil Networks lets in all.
type Networks struct {
	allow, deny prefixes
	all         bool // no allow list: all that is not denied
}

// prefixes are networks in the order of their addresses, none inside another.
type prefixes []netip.Prefix

// ParseNetworks compiles lists of addresses and networks ("192.0.2.1",
// "10.0.0.0/8", "2001:db8::/32"). Both empty give nil. An error names the entry
// as routes.auth.allow[n] or routes.auth.deny[n].
func ParseNetworks(allow, deny []string) (*Networks, error) {
	a, err := parsePrefixes("routes.auth.allow", allow)
	if err != nil {
		return nil, err
	}
	d, err := parsePrefixes("routes.auth.deny", deny)
	if err != nil {
		return nil, err
	}
	if len(allow) == 0 && len(deny) == 0 {
		return nil, nil
	}
	return &Networks{allow: a, deny: d, all: len(allow) == 0}, nil
}

// Admits reports whether addr gets in. Deny wins over allow. An address that is
// not known does not get in where there is any rule.
func (n *Networks) Admits(addr netip.Addr) bool {
	if n == nil {
		return true
	}
	if !addr.IsValid() {
		return false
	}
	addr = addr.Unmap().WithZone("")
	if n.deny.has(addr) {
		return false
	}
	return n.all || n.allow.has(addr)
}

// has reports whether addr is in one of the networks: if so, in the last one
// that does not begin after it.
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

func parsePrefixes(field string, list []string) (prefixes, error) {
	if len(list) > maxNetworks {
		return nil, tooMany(field, len(list), maxNetworks)
	}
	all := make(prefixes, 0, len(list))
	for i, s := range list {
		p, err := parseNetwork(s)
		if err != nil {
			err.Field = fmt.Sprintf("%s[%d]", field, i)
			return nil, err
		}
		all = append(all, p)
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
	return slices.Clip(out), nil
}

// parseNetwork reads an address or a network. IPv4 written inside IPv6 is IPv4.
func parseNetwork(s string) (netip.Prefix, *landward.Error) {
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
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return netip.Prefix{}, landward.Invalid("", "%q holds IPv4 and IPv6 addresses", landward.Printable(s)).
				WithHint("write two networks, such as 0.0.0.0/0 and ::/0")
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	if p.Masked() != p {
		return netip.Prefix{}, landward.Invalid("", "%s is not the first address of its network", p).
			WithHint("write %s for the network, or %s for the one address", p.Masked(), p.Addr())
	}
	return p, nil
}
