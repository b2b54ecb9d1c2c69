package door_test

import (
	"net/netip"
	"strings"
	"testing"

	"landward/internal/route/door"
)

// lines makes the values of header lines from one text with "|" between.
func lines(s string) (out [][]byte) {
	if s == "" {
		return nil
	}
	for part := range strings.SplitSeq(s, "|") {
		out = append(out, []byte(part))
	}
	return out
}

func TestTrustXForwarded(t *testing.T) {
	trust := door.NewTrust(networks(t, "10.0.0.0/8 2001:db8:1::/48"), door.FromXForwarded)
	for name, tc := range map[string]struct {
		peer, claim, proto string
		client, scheme     string
	}{
		"one hop":             {"10.0.0.1", "192.0.2.7", "https", "192.0.2.7", "https"},
		"no claim":            {"10.0.0.1", "", "", "10.0.0.1", "http"},
		"scheme alone":        {"10.0.0.1", "", "https", "10.0.0.1", "https"},
		"not trusted":         {"192.0.2.1", "192.0.2.7", "https", "192.0.2.1", "http"},
		"mapped peer":         {"::ffff:10.0.0.1", "192.0.2.7", "", "192.0.2.7", "http"},
		"two hops":            {"10.0.0.1", "192.0.2.7, 10.0.0.2", "", "192.0.2.7", "http"},
		"two lines":           {"10.0.0.1", "192.0.2.7|10.0.0.2", "", "192.0.2.7", "http"},
		"forged":              {"10.0.0.1", "1.2.3.4, 192.0.2.7", "", "192.0.2.7", "http"},
		"forged, two hops":    {"10.0.0.1", "1.2.3.4, 192.0.2.7, 10.0.0.2", "", "192.0.2.7", "http"},
		"forged as trusted":   {"10.0.0.1", "10.9.9.9, 192.0.2.7", "", "192.0.2.7", "http"},
		"forged line":         {"10.0.0.1", "1.2.3.4|192.0.2.7", "", "192.0.2.7", "http"},
		"nonsense first":      {"10.0.0.1", "nonsense, \", 192.0.2.7", "", "192.0.2.7", "http"},
		"open quote first":    {"10.0.0.1", "\"1.2.3.4, 192.0.2.7", "", "192.0.2.7", "http"},
		"long nonsense first": {"10.0.0.1", strings.Repeat("x", 60_000) + ", 192.0.2.7", "", "192.0.2.7", "http"},
		"many first":          {"10.0.0.1", strings.Repeat("10.0.0.9,", 6000) + "192.0.2.7", "", "192.0.2.7", "http"},
		"many hops":           {"10.0.0.1", "192.0.2.7" + strings.Repeat(",10.0.0.9", 31), "", "192.0.2.7", "http"},
		"too many hops":       {"10.0.0.1", "192.0.2.7" + strings.Repeat(",10.0.0.9", 32), "", "10.0.0.1", "http"},
		"too many commas":     {"10.0.0.1", "192.0.2.7" + strings.Repeat(",", 5000), "", "10.0.0.1", "http"},
		"too long":            {"10.0.0.1", strings.Repeat("1", 5000), "", "10.0.0.1", "http"},
		"empty members":       {"10.0.0.1", ",, 192.0.2.7 ,\t,|,", "", "192.0.2.7", "http"},
		"all trusted":         {"10.0.0.1", "10.0.0.3, 10.0.0.2", "", "10.0.0.3", "http"},
		"nonsense":            {"10.0.0.1", "nonsense", "https", "10.0.0.1", "http"},
		"nonsense at the end": {"10.0.0.1", "192.0.2.7, nonsense", "", "10.0.0.1", "http"},
		"nonsense by a hop":   {"10.0.0.1", "nonsense, 10.0.0.2", "", "10.0.0.1", "http"},
		"unknown":             {"10.0.0.1", "unknown", "", "10.0.0.1", "http"},
		"hidden":              {"10.0.0.1", "_hidden", "", "10.0.0.1", "http"},
		"with port":           {"10.0.0.1", "192.0.2.7:51234", "", "192.0.2.7", "http"},
		"bad port":            {"10.0.0.1", "192.0.2.7:x", "", "10.0.0.1", "http"},
		"v6":                  {"10.0.0.1", "2001:db8::7", "", "2001:db8::7", "http"},
		"v6 in brackets":      {"10.0.0.1", "[2001:db8::7]", "", "2001:db8::7", "http"},
		"v6 with port":        {"10.0.0.1", "[2001:db8::7]:443", "", "2001:db8::7", "http"},
		"v6 peer":             {"2001:db8:1::1", "2001:db8::7, 2001:db8:1::2", "", "2001:db8::7", "http"},
		"v6 with zone":        {"10.0.0.1", "fe80::1%eth0", "", "10.0.0.1", "http"},
		"v6 half a bracket":   {"10.0.0.1", "[2001:db8::7", "", "10.0.0.1", "http"},
		"v6 after bracket":    {"10.0.0.1", "[2001:db8::7]x", "", "10.0.0.1", "http"},
		"mapped":              {"10.0.0.1", "::ffff:192.0.2.7", "", "192.0.2.7", "http"},
		"mapped hop":          {"10.0.0.1", "192.0.2.7, ::ffff:10.0.0.2", "", "192.0.2.7", "http"},
		"octal":               {"10.0.0.1", "192.0.2.07", "", "10.0.0.1", "http"},
		"scheme of two":       {"10.0.0.1", "192.0.2.7, 10.0.0.2", "https, http", "192.0.2.7", "https"},
		"scheme passed on":    {"10.0.0.1", "192.0.2.7, 10.0.0.2", "https", "192.0.2.7", "https"},
		"scheme forged":       {"10.0.0.1", "192.0.2.7", "https, http", "192.0.2.7", "http"},
		"scheme, two lines":   {"10.0.0.1", "192.0.2.7", "https|http", "192.0.2.7", "http"},
		"scheme of sockets":   {"10.0.0.1", "192.0.2.7", "WSS", "192.0.2.7", "https"},
		"scheme of nothing":   {"10.0.0.1", "192.0.2.7", "gopher", "192.0.2.7", "http"},
	} {
		t.Run(name, func(t *testing.T) {
			check(t, trust, tc.peer, tc.client, tc.scheme, door.Claims{
				For: lines(tc.claim), Proto: lines(tc.proto), Forwarded: lines("for=6.6.6.6;proto=https"),
			})
		})
	}
}

func check(t *testing.T, trust *door.Trust, peer, client, scheme string, c door.Claims) {
	t.Helper()
	got, by := trust.Client(netip.MustParseAddr(peer), "http", c)
	if got != netip.MustParseAddr(client) || by != scheme {
		t.Errorf("the client is %s by %s, want %s by %s", got, by, client, scheme)
	}
}

func TestTrustForwarded(t *testing.T) {
	trust := door.NewTrust(networks(t, "10.0.0.0/8"), door.FromForwarded)
	for name, tc := range map[string]struct {
		peer, claim    string
		client, scheme string
	}{
		"one hop":            {"10.0.0.1", "for=192.0.2.7;proto=https;by=10.0.0.1", "192.0.2.7", "https"},
		"case and space":     {"10.0.0.1", " FOR = 192.0.2.7 ; Proto=HTTPS ", "192.0.2.7", "https"},
		"not trusted":        {"192.0.2.1", "for=192.0.2.7", "192.0.2.1", "http"},
		"no claim":           {"10.0.0.1", "", "10.0.0.1", "http"},
		"quoted":             {"10.0.0.1", `for="192.0.2.7:443";host="a;b=c"`, "192.0.2.7", "http"},
		"comma in quotes":    {"10.0.0.1", `for="192.0.2.7";host="a,b"`, "10.0.0.1", "http"},
		"v6":                 {"10.0.0.1", `proto=https;for="[2001:db8::7]:4711"`, "2001:db8::7", "https"},
		"v6 in capitals":     {"10.0.0.1", `For="[2001:DB8:CAFE::17]"`, "2001:db8:cafe::17", "http"},
		"hidden port":        {"10.0.0.1", `for="192.0.2.7:_x"`, "192.0.2.7", "http"},
		"two hops":           {"10.0.0.1", "for=192.0.2.7;proto=https, for=10.0.0.2;proto=http", "192.0.2.7", "https"},
		"two lines":          {"10.0.0.1", "for=192.0.2.7;proto=https|for=10.0.0.2", "192.0.2.7", "https"},
		"no scheme of it":    {"10.0.0.1", "for=192.0.2.7, for=10.0.0.2;proto=https", "192.0.2.7", "http"},
		"forged":             {"10.0.0.1", "for=1.2.3.4;proto=https, for=192.0.2.7", "192.0.2.7", "http"},
		"forged, open quote": {"10.0.0.1", `for="1.2.3.4, for=192.0.2.7`, "192.0.2.7", "http"},
		"forged, in quotes":  {"10.0.0.1", `for=1.2.3.4;x=", for=192.0.2.7;x="`, "10.0.0.1", "http"},
		"forged, half each":  {"10.0.0.1", `for=1.2.3.4;x=", for=192.0.2.7;host=x"`, "192.0.2.7", "http"},
		"long first":         {"10.0.0.1", strings.Repeat("for=1.2.3.4,", 5000) + "for=192.0.2.7", "192.0.2.7", "http"},
		"unknown":            {"10.0.0.1", "for=unknown", "10.0.0.1", "http"},
		"hidden":             {"10.0.0.1", `for="_gazonk"`, "10.0.0.1", "http"},
		"unknown by a hop":   {"10.0.0.1", "for=unknown, for=10.0.0.2", "10.0.0.1", "http"},
		"without for":        {"10.0.0.1", "proto=https", "10.0.0.1", "http"},
		"empty for":          {"10.0.0.1", "for=", "10.0.0.1", "http"},
		"two for":            {"10.0.0.1", "for=192.0.2.7;for=192.0.2.8", "10.0.0.1", "http"},
		"two schemes":        {"10.0.0.1", "for=192.0.2.7;proto=http;proto=https", "10.0.0.1", "http"},
		"no pair":            {"10.0.0.1", "192.0.2.7", "10.0.0.1", "http"},
		"no name":            {"10.0.0.1", "=192.0.2.7", "10.0.0.1", "http"},
		"quoted pair":        {"10.0.0.1", `for="192.0.2\.7"`, "10.0.0.1", "http"},
		"after the quote":    {"10.0.0.1", `for="192.0.2.7"x`, "10.0.0.1", "http"},
		"semicolons":         {"10.0.0.1", "for=192.0.2.7;", "192.0.2.7", "http"},
		"two semicolons":     {"10.0.0.1", ";for=192.0.2.7; ;proto=https;", "192.0.2.7", "https"},
		"no pair between":    {"10.0.0.1", "for=192.0.2.7;x;proto=https", "10.0.0.1", "http"},
		"v6 with zone":       {"10.0.0.1", `for="[fe80::1%eth0]"`, "10.0.0.1", "http"},
	} {
		t.Run(name, func(t *testing.T) {
			check(t, trust, tc.peer, tc.client, tc.scheme, door.Claims{
				Forwarded: lines(tc.claim), For: lines("6.6.6.6"), Proto: lines("https"),
			})
		})
	}
}

func TestTrustNobody(t *testing.T) {
	check(t, nil, "10.0.0.1", "10.0.0.1", "http", door.Claims{For: lines("192.0.2.7"), Proto: lines("https")})
	trust := door.NewTrust(networks(t, "10.0.0.0/8"), 0)
	if got, _ := trust.Client(netip.Addr{}, "http", door.Claims{For: lines("192.0.2.7")}); got.IsValid() {
		t.Errorf("nobody is %s", got)
	}
}

// FuzzTrust says that what comes before a trusted proxy's own entry changes
// nothing, whatever it is.
func FuzzTrust(f *testing.F) {
	f.Add("1.2.3.4")
	f.Add(`for="1.2.3.4`)
	f.Add(`for="[::1]";proto=https, for=10.0.0.1`)
	f.Add(`,,"\",`)
	f.Add("10.0.0.2, 10.0.0.3")
	trusted := networks(f, "10.0.0.0/8")
	x, fw := door.NewTrust(trusted, door.FromXForwarded), door.NewTrust(trusted, door.FromForwarded)
	peer, client := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("192.0.2.7")
	f.Fuzz(func(t *testing.T, forged string) {
		for _, tail := range []string{"192.0.2.7", "192.0.2.7, 10.0.0.2", "192.0.2.7|10.0.0.2, 10.0.0.3"} {
			for _, between := range []string{",", "|", ", "} {
				c := door.Claims{For: lines(forged + between + tail)}
				if got, _ := x.Client(peer, "http", c); got != client {
					t.Fatalf("X-Forwarded-For %q gives %s", c.For, got)
				}
			}
		}
		for _, tail := range []string{"for=192.0.2.7", `For="192.0.2.7:80";host="a;b"`, `for=192.0.2.7|for=10.0.0.2`} {
			for _, between := range []string{",", "|", ", "} {
				c := door.Claims{Forwarded: lines(forged + between + tail)}
				if got, by := fw.Client(peer, "http", c); got != client || by != "http" {
					t.Fatalf("Forwarded %q gives %s by %s", c.Forwarded, got, by)
				}
			}
		}
		// Alone it must do no harm either: an address or the peer.
		for _, trust := range []*door.Trust{x, fw} {
			if got, by := trust.Client(peer, "http", door.Claims{For: lines(forged), Forwarded: lines(forged), Proto: lines(forged)}); !got.IsValid() ||
				got.Is4In6() || got.Zone() != "" || by != "http" && by != "https" {
				t.Fatalf("%q gives %s by %q", forged, got, by)
			}
		}
	})
}

// FuzzAddresses compares the parser of addresses with the library's.
func FuzzAddresses(f *testing.F) {
	for _, s := range strings.Fields("1.2.3.4 :: ::1 1:: 1::2 1:2:3:4:5:6:7:8 ::ffff:1.2.3.4 1:2:3:4:5:6:1.2.3.4 1:2:3:4:5:6:7:: ::2:3:4:5:6:7:8 01.2.3.4 " +
		"256.1.1.1 1.2.3 1.2.3.4.5 1:2:3:4:5:6:7:8:9 1::2::3 ::: 12345:: 1:2:3:4:5:6:7:1.2.3.4 ::1.2.3.4:5 : 1: :1 1:2:3:4:5:6:7::8 ::1.2.3 fe80::1%x 1:2:3:4:5:6:7") {
		f.Add(s)
	}
	trust := door.NewTrust(networks(f, "10.0.0.1"), door.FromXForwarded)
	peer := netip.MustParseAddr("10.0.0.1")
	f.Fuzz(func(t *testing.T, s string) {
		if strings.ContainsAny(s, ",|%[]\" \t") || len(s) > 1000 || strings.Count(s, ":") == 1 {
			return // parts of a list, zones and ports
		}
		want, err := netip.ParseAddr(s)
		if err != nil {
			want = peer
		}
		if got, _ := trust.Client(peer, "http", door.Claims{For: [][]byte{[]byte(s)}}); got != want.Unmap() {
			t.Fatalf("%q is %s, and net/netip says %s, %v", s, got, want, err)
		}
	})
}

func TestTrustDoesNotAllocate(t *testing.T) {
	trusted := networks(t, "10.0.0.0/8")
	x, fw := door.NewTrust(trusted, door.FromXForwarded), door.NewTrust(trusted, door.FromForwarded)
	peer := netip.MustParseAddr("10.0.0.1")
	c := door.Claims{For: lines("1.2.3.4, 2001:db8::7, 10.0.0.3|10.0.0.2"), Proto: lines("https"),
		Forwarded: lines(`for="[2001:db8::7]:80";proto=https, for=10.0.0.2`)}
	if n := testing.AllocsPerRun(100, func() { x.Client(peer, "http", c); fw.Client(peer, "http", c) }); n > 0 {
		t.Errorf("Client allocates %v times", n)
	}
}

func BenchmarkTrust(b *testing.B) {
	trusted := networks(b, "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 2001:db8:1::/48")
	peer := netip.MustParseAddr("10.0.0.1")
	c := door.Claims{For: lines("192.0.2.7, 10.0.0.2"), Proto: lines("https"), Forwarded: lines("for=192.0.2.7;proto=https, for=10.0.0.2")}
	for name, source := range map[string]door.Source{"x-forwarded": door.FromXForwarded, "forwarded": door.FromForwarded} {
		b.Run(name, func(b *testing.B) {
			trust := door.NewTrust(trusted, source)
			b.ReportAllocs()
			for b.Loop() {
				trust.Client(peer, "http", c)
			}
		})
	}
}
