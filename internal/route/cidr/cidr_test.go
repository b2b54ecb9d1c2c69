package cidr_test

import (
	"net/netip"
	"strings"
	"testing"

	"landward/internal/landward"
	"landward/internal/route/cidr"
)

func TestParse(t *testing.T) {
	for s, want := range map[string]string{
		"192.0.2.1": "192.0.2.1/32", "10.0.0.0/8": "10.0.0.0/8", "2001:db8::/32": "2001:db8::/32", "::1": "::1/128",
		"::ffff:192.0.2.1": "192.0.2.1/32", "::ffff:198.51.100.0/120": "198.51.100.0/24", "0.0.0.0/0": "0.0.0.0/0", "::/0": "::/0",
	} {
		if got, err := cidr.Parse(s); err != nil || got.String() != want {
			t.Errorf("%s is read as %v, %v", s, got, err)
		}
	}
	for s, hint := range map[string]string{
		"": "write 192.0.2.1", "10": "write 192.0.2.1", "10.0.0.0/33": "write 192.0.2.1", "fe80::1%eth0": "write 192.0.2.1",
		"x": "write 192.0.2.1", "10.0.0.1 ": "write 192.0.2.1",
		"10.0.0.1/8": "write 10.0.0.0/8 for the network, or 10.0.0.1", "2001:db8::1/64": "write 2001:db8::/64",
		"::ffff:0.0.0.0/95": "write two networks",
	} {
		_, err := cidr.Parse(s)
		if err == nil || err.Code != landward.CodeInvalid || !strings.HasPrefix(err.Hint, hint) {
			t.Errorf("%q gives %v", s, err)
		}
	}
}

// FuzzSet compares a set with asking each network.
func FuzzSet(f *testing.F) {
	f.Add("10.0.0.0/8 10.1.0.0/16 192.0.2.1 2001:db8::/32", "10.1.2.3")
	f.Add("0.0.0.0/0", "::1")
	f.Add("::/0 ::ffff:10.0.0.0/104", "::ffff:10.0.0.1")
	f.Fuzz(func(t *testing.T, list, one string) {
		addr, err := netip.ParseAddr(one)
		if err != nil {
			return
		}
		var all []netip.Prefix
		for _, s := range strings.Fields(list) {
			if p, err := cidr.Parse(s); err == nil {
				all = append(all, p)
			}
		}
		want := false
		for _, p := range all {
			want = want || p.Contains(addr.Unmap().WithZone(""))
		}
		if got := cidr.NewSet(all).Has(addr); got != want {
			t.Errorf("%s in %v: %v", addr, all, got)
		}
	})
}
