package door_test

import (
	"net/netip"
	"strings"
	"testing"

	"landward/internal/route/door"
)

func TestTrusts(t *testing.T) {
	trust := door.NewTrust(networks(t, "10.0.0.0/8 10.1.0.0/16 10.1.2.3 192.0.2.1 2001:db8::/32 2001:db8:1::/48 ::ffff:198.51.100.0/120"), 0)
	for _, s := range strings.Fields("10.0.0.0 10.1.2.3 10.1.2.4 10.255.255.255 192.0.2.1 ::ffff:192.0.2.1 2001:db8:: 2001:db8:1::1 2001:db8:ffff::1 198.51.100.9") {
		if !trust.Trusts(netip.MustParseAddr(s)) {
			t.Errorf("%s is not trusted", s)
		}
	}
	for _, s := range strings.Fields("9.255.255.255 11.0.0.0 192.0.2.0 192.0.2.2 2001:db7:ffff::1 2001:db9:: ::1 ::10.0.0.1 198.51.101.0 fe80::1%eth0") {
		if trust.Trusts(netip.MustParseAddr(s)) {
			t.Errorf("%s is trusted", s)
		}
	}
	if trust.Trusts(netip.Addr{}) {
		t.Error("nobody is trusted")
	}
	none := door.NewTrust(nil, 0)
	if none != nil || none.Trusts(netip.MustParseAddr("10.0.0.1")) {
		t.Error("without networks somebody is trusted")
	}
	// Prefixes made by hand: the host's bits do not count, and a network that is
	// none trusts nobody.
	byHand := door.NewTrust([]netip.Prefix{netip.MustParsePrefix("10.1.2.3/8"), {}, netip.PrefixFrom(netip.MustParseAddr("::ffff:0:0"), 80)}, 0)
	if !byHand.Trusts(netip.MustParseAddr("10.9.9.9")) || byHand.Trusts(netip.MustParseAddr("192.0.2.1")) || byHand.Trusts(netip.MustParseAddr("::1")) {
		t.Error("prefixes made by hand are read wrongly")
	}
}
