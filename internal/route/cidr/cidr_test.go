package cidr_test

import (
	"fmt"
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

func TestWithout(t *testing.T) {
	for _, tt := range []struct{ list, hole, want string }{
		{"10.0.0.0/8", "192.168.0.0/16", "[10.0.0.0/8]"},
		{"10.0.0.0/8", "10.0.0.0/8", "[]"},
		{"10.1.0.0/16", "10.0.0.0/8", "[]"},
		{"10.0.0.0/8", "10.201.0.0/10", "[10.0.0.0/9 10.128.0.0/10]"},
		{"10.0.0.0/8", "10.201.0.0/16", "[10.0.0.0/9 10.128.0.0/10 10.192.0.0/13 10.200.0.0/16 10.202.0.0/15 10.204.0.0/14 10.208.0.0/12 10.224.0.0/11]"},
		{"fd00::/8", "fd00::/9", "[fd80::/9]"},
	} {
		got := fmt.Sprint(cidr.Without([]netip.Prefix{netip.MustParsePrefix(tt.list)}, netip.MustParsePrefix(tt.hole)))
		if got != tt.want {
			t.Errorf("%s without %s: %s, want %s", tt.list, tt.hole, got, tt.want)
		}
	}
}

func TestApart(t *testing.T) {
	for _, tt := range []struct{ list, theirs, want string }{
		{"10.0.0.0/8", "10.128.0.0/9", "[10.0.0.0/9]"},
		{"10.0.0.0/8 192.0.2.1/32", "10.128.0.0/9", "[10.0.0.0/9 192.0.2.1/32]"},
		{"10.128.0.0/9", "10.128.0.0/9", "[10.128.0.0/9]"},
		{"10.129.0.0/16 10.128.0.7/32", "10.128.0.0/9", "[10.129.0.0/16 10.128.0.7/32]"},
		{"0.0.0.0/0 ::/0", "10.128.0.0/9", "[0.0.0.0/0 ::/0]"},
		{"2001:db8::/8", "10.128.0.0/9", "[2001:db8::/8]"},
		{"10.0.0.0/8", "", "[10.0.0.0/8]"},
	} {
		var list []netip.Prefix
		for s := range strings.FieldsSeq(tt.list) {
			list = append(list, netip.MustParsePrefix(s))
		}
		var theirs netip.Prefix
		if tt.theirs != "" {
			theirs = netip.MustParsePrefix(tt.theirs)
		}
		if got := fmt.Sprint(cidr.Apart(list, theirs)); got != tt.want {
			t.Errorf("%s apart from %s: %s, want %s", tt.list, tt.theirs, got, tt.want)
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
