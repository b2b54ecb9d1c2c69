package edge_test

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	lwdns "landward/internal/dns"
	"landward/internal/route"
	"landward/internal/route/edge"
	"landward/internal/waittest"
)

// startNamed runs an edge in dir that answers DNS at addr. Clients of it are on
// addresses of 127/8, as apps are on their networks.
func startNamed(t *testing.T, dir, addr string) *running {
	t.Helper()
	return launch(t, dir, edge.Options{
		DNSAddr: addr, DNS: lwdns.Options{Zone: "paas.test", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.7")}},
	})
}

// seen asks for a name from an address and returns what came: addresses, or
// the code.
func seen(from netip.Addr, server, name string) string {
	c := &dns.Client{Timeout: time.Second}
	c.Dialer = &net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), Timeout: time.Second}
	m, _, err := c.Exchange(new(dns.Msg).SetQuestion(name+".", dns.TypeA), server)
	if err != nil {
		return err.Error()
	}
	var out []string
	for _, rr := range m.Answer {
		if a, ok := rr.(*dns.A); ok {
			out = append(out, a.A.String())
		}
	}
	if len(out) == 0 {
		return dns.RcodeToString[m.Rcode]
	}
	slices.Sort(out)
	return strings.Join(out, ",")
}

// wantSeen asks until a name leads where it should, or fails.
func wantSeen(t *testing.T, from netip.Addr, server, name, want string) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for {
		got := seen(from, server, name)
		if got == want {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("%s asks for %s: %s, want %s", from, name, got, want)
		case <-tick.C:
		}
	}
}

// netApp is an app in a network whose db is at addrs.
func netApp(id int64, network string, addrs ...string) *route.Route {
	name := fmt.Sprintf("app%d", id)
	r := &route.Route{App: name, AppID: id, Hosts: []string{name + ".paas.test"}, State: route.StateEmpty,
		Networks: []netip.Prefix{netip.MustParsePrefix(network)}}
	var list []netip.Addr
	for _, a := range addrs {
		list = append(list, netip.MustParseAddr(a))
	}
	r.Names = map[string][]netip.Addr{"db": list, "db.internal": list, "db." + name + ".internal": list}
	return r
}

// TestViews: each app's network sees the app's own names, and goes on doing so
// when the edge starts anew, with nobody there to tell it.
func TestViews(t *testing.T) {
	dir, server := t.TempDir(), net.JoinHostPort(waittest.Loopback(), "5353")
	r := startNamed(t, dir, server)
	one, two, lan := netip.MustParseAddr("127.0.1.9"), netip.MustParseAddr("127.0.2.9"), netip.MustParseAddr("127.0.9.9")
	put := func(r *running, generation int64, routes ...*route.Route) {
		t.Helper()
		if err := r.PutTable(t.Context(), route.Table{Generation: generation, MadeAt: time.Unix(5, 0).UTC(), Routes: routes}); err != nil {
			t.Fatal(err)
		}
	}
	put(r, 1, netApp(1, "127.0.1.0/24", "127.0.1.5"), netApp(2, "127.0.2.0/24", "127.0.2.5"))
	wantSeen(t, one, server, "db", "127.0.1.5") // the server may not have begun yet
	check := func(step string, want map[netip.Addr]map[string]string) {
		t.Helper()
		for from, names := range want {
			for name, addr := range names {
				if got := seen(from, server, name); got != addr {
					t.Errorf("%s: %s asks for %s: %s, want %s", step, from, name, got, addr)
				}
			}
		}
	}
	apart := map[netip.Addr]map[string]string{
		one: {"db": "127.0.1.5", "db.internal": "127.0.1.5", "db.app1.internal": "127.0.1.5", "db.app2.internal": "NXDOMAIN", "app2.paas.test": "192.0.2.7"},
		two: {"db": "127.0.2.5", "db.app1.internal": "NXDOMAIN", "nothing": "NXDOMAIN"},
		lan: {"db": "REFUSED", "db.internal": "REFUSED", "app1.paas.test": "192.0.2.7"},
	}
	check("at first", apart)
	put(r, 2, netApp(1, "127.0.1.0/24", "127.0.1.6", "127.0.1.7"), netApp(2, "127.0.2.0/24", "127.0.2.5"))
	check("another container serves", map[netip.Addr]map[string]string{one: {"db": "127.0.1.6,127.0.1.7"}, two: {"db": "127.0.2.5"}})
	put(r, 3, netApp(2, "127.0.2.0/24", "127.0.2.5"), netApp(1, "127.0.1.0/24", "127.0.1.5"))
	check("in another order", apart)
	put(r, 4, netApp(1, "127.0.1.0/24", "127.0.1.5"), netApp(2, "127.0.2.0/24", "127.0.2.5"), netApp(3, "127.0.2.0/25", "127.0.2.6"))
	check("two apps claim a network", map[netip.Addr]map[string]string{one: {"db": "127.0.1.5"}, two: {"db": "REFUSED"}})
	put(r, 5, netApp(1, "127.0.1.0/24", "127.0.1.5"), netApp(2, "127.0.2.0/24", "127.0.2.5"))
	check("and no longer", apart)

	r.stop()
	r = startNamed(t, dir, server)
	wantSeen(t, one, server, "db", "127.0.1.5")
	check("after a start with the table on disk", apart)
	put(r, 6)
	check("without apps", map[netip.Addr]map[string]string{one: {"db": "REFUSED"}})
}

// BenchmarkViews puts tables of a thousand apps into use, one of which changes
// its names, or only its release.
func BenchmarkViews(b *testing.B) {
	for _, what := range []string{"names change", "names stay", "no names"} {
		b.Run(what, func(b *testing.B) {
			dir := b.TempDir()
			e, err := edge.New(edge.Options{HTTP: "127.0.0.1:0", RoutesFile: filepath.Join(dir, "routes.jsonl"), Socket: filepath.Join(dir, "edge.sock"),
				LogDir: filepath.Join(dir, "logs"), Log: slog.New(slog.DiscardHandler), DNSAddr: "127.0.0.1:0",
				DNS: lwdns.Options{Zone: "paas.test", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.7")}}})
			if err != nil {
				b.Fatal(err)
			}
			var list []*route.Route
			for i := range int64(1000) {
				subnet := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 201, byte(i >> 2), byte(i<<6) & 0xC0}), 26)
				r := netApp(i, subnet.String(), subnet.Addr().Next().Next().String())
				for _, process := range []string{"web", "worker"} {
					r.Names[process], r.Names[process+".internal"], r.Names[process+"."+r.App+".internal"] = r.Names["db"], r.Names["db"], r.Names["db"]
				}
				if what == "no names" {
					r.Names, r.Networks = nil, nil
				}
				list = append(list, r)
			}
			generation := int64(0)
			texts := [][]byte{}
			for turn := range 2 {
				r := *list[500]
				if r.Release = turn; what == "names change" {
					r.Names = map[string][]netip.Addr{"db": r.Names["db"][:turn]}
				}
				list[500] = &r
				var text []byte
				for _, r := range list {
					text = route.AppendRoute(text, r)
				}
				texts = append(texts, text)
			}
			b.ReportAllocs()
			for b.Loop() {
				generation++
				if err := edge.Use(e, append(route.AppendHead(nil, generation, time.Unix(5, 0), len(list)), texts[generation%2]...)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
