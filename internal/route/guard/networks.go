package guard

import (
	"fmt"
	"net/netip"

	"landward/internal/route/cidr"
)

// Networks says which client addresses get in. A nil Networks lets in all.
type Networks struct {
	allow, deny cidr.Set
	all         bool // no allow list: all that is not denied
}

// ParseNetworks compiles lists of addresses and networks ("192.0.2.1",
// "10.0.0.0/8", "2001:db8::/32"). Both empty give nil. The installation's own
// apps, at the addresses apps, get in where a network of allow lies among theirs
// or is 0.0.0.0/0; invalid: they are clients like others. An error names the
// entry as routes.auth.allow[n] or routes.auth.deny[n].
func ParseNetworks(allow, deny []string, apps netip.Prefix) (*Networks, error) {
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
	return &Networks{allow: cidr.NewSet(cidr.Apart(a, apps)), deny: cidr.NewSet(d), all: len(allow) == 0}, nil
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
	if n.deny.Has(addr) {
		return false
	}
	return n.all || n.allow.Has(addr)
}

func parsePrefixes(field string, list []string) ([]netip.Prefix, error) {
	if len(list) > maxNetworks {
		return nil, tooMany(field, len(list), maxNetworks)
	}
	all := make([]netip.Prefix, 0, len(list))
	for i, s := range list {
		p, err := cidr.Parse(s)
		if err != nil {
			err.Field = fmt.Sprintf("%s[%d]", field, i)
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}
