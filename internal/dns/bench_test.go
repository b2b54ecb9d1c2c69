package dns_test

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"

	lwdns "landward/internal/dns"
)

// BenchmarkHandle is the work for one packet, without the sockets.
func BenchmarkHandle(b *testing.B) {
	u := newFake(b, always(b, "owner. 3600 IN CNAME target.example.", "target.example. 3600 IN A 203.0.113.1"))
	s := start(b, forwarding(u))
	var hosts []string
	for i := range 1000 {
		hosts = append(hosts, fmt.Sprintf("app%d.paas.local", i))
	}
	s.SetHosts(hosts)
	var views []*lwdns.View
	for i := range 200 {
		views = append(views, &lwdns.View{
			Networks: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 201, byte(i), 0}), 26)},
			Names:    map[string][]netip.Addr{"db": addrs("10.201.0.5"), "db.internal": addrs("10.201.0.5")},
		})
	}
	s.SetViews(views)
	ask(b, s, insider, "cached.example.com", dns.TypeA)
	for name, q := range map[string]struct {
		from string
		m    *dns.Msg
	}{
		"zone":     {"203.0.113.9", question("app7.paas.local", dns.TypeA).SetEdns0(1232, false)},
		"nxdomain": {"203.0.113.9", question("nothing.paas.local", dns.TypeA)},
		"view":     {"10.201.7.9", question("db", dns.TypeA)},
		"cache":    {insider, question("cached.example.com", dns.TypeA)},
		"refused":  {"203.0.113.9", question("example.com", dns.TypeA)},
	} {
		b.Run(name, func(b *testing.B) {
			packet, err := q.m.Pack()
			if err != nil {
				b.Fatal(err)
			}
			from := netip.MustParseAddr(q.from)
			out := make([]byte, 0, 4096)
			var room lwdns.Query
			b.ReportAllocs()
			for b.Loop() {
				if s.Handle(&room, from, true, packet, out) == nil {
					b.Fatal("no answer")
				}
			}
		})
	}
}

// BenchmarkUDP is a whole exchange with one client.
func BenchmarkUDP(b *testing.B) {
	s := start(b, options())
	conn, err := net.Dial("udp", s.Addrs()[0].String())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	packet, err := question("paas.local", dns.TypeA).Pack()
	if err != nil {
		b.Fatal(err)
	}
	out := make([]byte, 512)
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := conn.Write(packet); err != nil {
			b.Fatal(err)
		}
		if _, err := conn.Read(out); err != nil {
			b.Fatal(err)
		}
	}
}
