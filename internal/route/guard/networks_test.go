package guard_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"landward/internal/route/guard"
)

func TestNetworks(t *testing.T) {
	for name, tc := range map[string]struct {
		allow, deny string
		in, out     string
	}{
		"one address":        {allow: "192.0.2.7", in: "192.0.2.7 ::ffff:192.0.2.7", out: "192.0.2.6 192.0.2.8 ::192.0.2.7 2001:db8::1"},
		"one network":        {allow: "10.0.0.0/8", in: "10.0.0.0 10.255.255.255", out: "9.255.255.255 11.0.0.0"},
		"v6":                 {allow: "2001:db8::/32", in: "2001:db8:: 2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", out: "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff 2001:db9:: 10.0.0.1"},
		"mapped network":     {allow: "::ffff:10.0.0.0/104", in: "10.1.2.3 ::ffff:10.1.2.3", out: "11.0.0.0 ::10.1.2.3"},
		"mapped address":     {allow: "::ffff:10.0.0.1", in: "10.0.0.1", out: "10.0.0.2"},
		"deny alone":         {deny: "198.51.100.0/24", in: "198.51.99.255 198.51.101.0 ::1", out: "198.51.100.0 198.51.100.255 ::ffff:198.51.100.9"},
		"deny wins":          {allow: "10.0.0.0/8", deny: "10.1.0.0/16 10.9.9.9", in: "10.0.0.1 10.2.0.0 10.9.9.8", out: "10.1.0.0 10.1.255.255 10.9.9.9 8.8.8.8"},
		"all of v4":          {allow: "0.0.0.0/0", in: "0.0.0.0 255.255.255.255 ::ffff:1.2.3.4", out: ":: ::1"},
		"all of v6":          {allow: "::/0", in: ":: ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", out: "1.2.3.4 ::ffff:1.2.3.4"},
		"overlapping":        {allow: "10.0.0.0/8 10.0.0.0/16 10.2.0.0/16 10.255.0.0/16", in: "10.0.0.0 10.1.0.0 10.255.255.255", out: "11.0.0.0"},
		"side by side":       {allow: "10.0.1.0/24 10.0.0.0/24", in: "10.0.0.0 10.0.0.255 10.0.1.0 10.0.1.255", out: "9.255.255.255 10.0.2.0"},
		"zone does not help": {deny: "fe80::/10", in: "2001:db8::1", out: "fe80::1%eth0"},
	} {
		t.Run(name, func(t *testing.T) {
			n, err := guard.ParseNetworks(strings.Fields(tc.allow), strings.Fields(tc.deny), netip.Prefix{})
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range strings.Fields(tc.in) {
				if !n.Admits(netip.MustParseAddr(s)) {
					t.Errorf("%s does not get in", s)
				}
			}
			for _, s := range strings.Fields(tc.out) {
				if n.Admits(netip.MustParseAddr(s)) {
					t.Errorf("%s gets in", s)
				}
			}
			if n.Admits(netip.Addr{}) {
				t.Error("an address that is not known gets in")
			}
		})
	}
}

// TestAppsAreNotTheOffice holds that a rule for networks has the installation's
// own apps only where it names them.
func TestAppsAreNotTheOffice(t *testing.T) {
	apps := netip.MustParsePrefix("10.201.0.0/16")
	const app = "10.201.3.4"
	for allow, want := range map[string]bool{
		"10.0.0.0/8": false, "192.0.2.1": false, "10.201.0.0/16": true, "10.201.3.0/26": true, app: true, "10.0.0.0/8 10.201.3.4": true,
		"0.0.0.0/0": true, "": true,
	} {
		n, err := guard.ParseNetworks(strings.Fields(allow), []string{"198.51.100.1"}, apps)
		if err != nil {
			t.Fatal(err)
		}
		if got := n.Admits(netip.MustParseAddr(app)); got != want {
			t.Errorf("allow %q admits an app: %v, want %v", allow, got, want)
		}
	}
	if n, err := guard.ParseNetworks(nil, []string{"10.0.0.0/8"}, apps); err != nil || n.Admits(netip.MustParseAddr(app)) {
		t.Errorf("deny has no exception: %v", err)
	}
}

func TestNoNetworksAdmitAll(t *testing.T) {
	n, err := guard.ParseNetworks(nil, nil, netip.Prefix{})
	if n != nil || err != nil {
		t.Fatalf("no rules give %v, %v", n, err)
	}
	if !n.Admits(netip.MustParseAddr("192.0.2.1")) || !n.Admits(netip.Addr{}) {
		t.Error("without rules somebody is kept out")
	}
}

func TestNetworksRefuse(t *testing.T) {
	for _, s := range []string{
		"", " ", "10", "10.0.0", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/08", "010.0.0.1", "10.0.0.0/",
		"2001:db8::1/64", "fe80::1%eth0", "fe80::%eth0/10", "example.com", "10.0.0.1 ", "*", "::ffff:0.0.0.0/95",
		"10.0.0.1-10.0.0.9", "10.0.0.1\n", "::/129",
	} {
		_, err := guard.ParseNetworks([]string{"192.0.2.1", s}, nil, netip.Prefix{})
		if err == nil {
			t.Errorf("%q is accepted", s)
			continue
		}
		wantField(t, err, "routes.auth.allow[1]")
		_, err = guard.ParseNetworks(nil, []string{s}, netip.Prefix{})
		wantField(t, err, "routes.auth.deny[0]")
	}
	_, err := guard.ParseNetworks(make([]string, 10_001), nil, netip.Prefix{})
	wantField(t, err, "routes.auth.allow")
}

// FuzzNetworks compares with the obvious way to do it.
func FuzzNetworks(f *testing.F) {
	f.Add("10.0.0.0/8 2001:db8::/32", "10.0.0.1", []byte{10, 0, 0, 1})
	f.Add("::ffff:10.0.0.0/104", "", []byte{10, 0, 0, 1})
	f.Add("0.0.0.0/1 128.0.0.0/1", "255.255.255.255", []byte{255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, allow, deny string, raw []byte) {
		a, d := strings.Fields(allow), strings.Fields(deny)
		n, err := guard.ParseNetworks(a, d, netip.Prefix{})
		addr, ok := netip.AddrFromSlice(raw)
		if err != nil || !ok {
			return
		}
		has := func(list []string) bool {
			for _, s := range list {
				if !strings.Contains(s, "/") {
					if netip.MustParseAddr(s).Unmap() == addr.Unmap() {
						return true
					}
					continue
				}
				p := netip.MustParsePrefix(s)
				if p.Addr().Is4In6() {
					p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
				}
				if p.Contains(addr.Unmap()) {
					return true
				}
			}
			return false
		}
		want := !has(d) && (len(a) == 0 || has(a))
		if got := n.Admits(addr); got != want {
			t.Errorf("allow %q, deny %q: %s gets in: %v", allow, deny, addr, got)
		}
	})
}

func manyNetworks(tb testing.TB, count int) *guard.Networks {
	tb.Helper()
	list := make([]string, count)
	for i := range list {
		list[i] = fmt.Sprintf("%d.%d.%d.0/24", 1+i/50_000, i/200%250, i%200)
	}
	n, err := guard.ParseNetworks(list, []string{"192.0.2.1"}, netip.Prefix{})
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

func TestNetworksDoNotAllocate(t *testing.T) {
	n := manyNetworks(t, 1000)
	a, b := netip.MustParseAddr("1.2.3.4"), netip.MustParseAddr("2001:db8::1")
	noAllocs(t, "Admits", func() { n.Admits(a); n.Admits(b) })
}

func BenchmarkNetworks(b *testing.B) {
	n := manyNetworks(b, 10_000)
	a := netip.MustParseAddr("1.20.3.4")
	b.ReportAllocs()
	for b.Loop() {
		n.Admits(a)
	}
}
