package dns_test

import (
	"net/netip"
	"testing"

	"github.com/miekg/dns"

	lwdns "landward/internal/dns"
)

func TestViews(t *testing.T) {
	s := start(t, options())
	s.SetHosts([]string{"shop.paas.local"})
	s.SetViews([]*lwdns.View{
		{Networks: prefixes(app), Names: map[string][]netip.Addr{
			"db":                addrs("10.0.1.5"),
			"db.internal":       addrs("10.0.1.5", "fd00::5"),
			"Web.Shop.Internal": addrs("10.0.1.6", "10.0.1.7"),
			"shop.paas.local":   addrs("10.0.1.6"),
			"not a name":        addrs("10.0.1.9"),
		}},
		{Networks: prefixes(otherApp), Names: map[string][]netip.Addr{"db": addrs("10.0.2.5")}},
		{Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Names: map[string][]netip.Addr{"wide": addrs("10.0.9.9")}},
	})
	for _, tt := range []struct {
		from, name string
		kind       uint16
		code       int
		answer     []string
	}{
		{app, "db", dns.TypeA, 0, []string{"A 10.0.1.5"}},
		{app, "DB", dns.TypeA, 0, []string{"A 10.0.1.5"}},
		{app, "db", dns.TypeAAAA, 0, nil},
		{app, "db", dns.TypeANY, 0, []string{`HINFO "RFC8482" ""`}},
		{app, "db.internal", dns.TypeAAAA, 0, []string{"AAAA fd00::5"}},
		{app, "web.shop.internal", dns.TypeA, 0, []string{"A 10.0.1.6", "A 10.0.1.7"}},
		{app, "shop.internal", dns.TypeA, 0, nil}, // exists: something is below it
		{app, "other.internal", dns.TypeA, dns.RcodeNameError, nil},
		{app, "shop.paas.local", dns.TypeA, 0, []string{"A 10.0.1.6"}},
		{app, "wide", dns.TypeA, dns.RcodeNameError, nil}, // the nearest view only
		{otherApp, "db", dns.TypeA, 0, []string{"A 10.0.2.5"}},
		{otherApp, "db.internal", dns.TypeA, dns.RcodeNameError, nil},
		{otherApp, "web.shop.internal", dns.TypeA, dns.RcodeNameError, nil},
		{otherApp, "shop.paas.local", dns.TypeA, 0, []string{"A 192.0.2.10"}},
		{insider, "wide", dns.TypeA, 0, []string{"A 10.0.9.9"}},
		{insider, "db", dns.TypeA, dns.RcodeNameError, nil},
		{insider, "db.internal", dns.TypeA, dns.RcodeNameError, nil},
	} {
		for _, network := range []string{"udp", "tcp"} {
			r := exchange(t, s, network, tt.from, question(tt.name, tt.kind))
			wantCode(t, r, tt.code)
			wantData(t, r, tt.answer...)
			if tt.code == 0 && len(tt.answer) == 0 {
				wantSOA(t, r)
			}
		}
	}
	s.SetViews(nil)
	wantCode(t, ask(t, s, app, "db", dns.TypeA), dns.RcodeNameError)
}

// TestViewsMayAsk: who has a view may resolve, wherever its network is, and
// sees nothing of the inside by that.
func TestViewsMayAsk(t *testing.T) {
	s := start(t, forwarding(newFake(t, always(t, "owner. 60 IN A 93.184.216.34", "owner. 60 IN A 10.0.0.1"))))
	for _, from := range []string{stranger, lan} {
		s.SetViews([]*lwdns.View{{Networks: prefixes(from), Names: map[string][]netip.Addr{"db": addrs("10.0.1.5")}}})
		wantData(t, ask(t, s, from, "www.example.com", dns.TypeA), "A 93.184.216.34")
		wantData(t, ask(t, s, from, "db", dns.TypeA), "A 10.0.1.5")
	}
	s.SetViews(nil)
	wantCode(t, ask(t, s, stranger, "www.example.com", dns.TypeA), dns.RcodeRefused)
	wantData(t, ask(t, s, lan, "www.example.com", dns.TypeA), "A 10.0.0.1", "A 93.184.216.34")
}

// TestViewsAnswerForBareNames: in a view, names without a dot are ours. An
// answer that did not say so would send Docker's resolver to the next server.
func TestViewsAnswerForBareNames(t *testing.T) {
	s := start(t, options())
	s.SetViews([]*lwdns.View{{Networks: prefixes(app), Names: map[string][]netip.Addr{"db": addrs("10.0.1.5"), "idle": nil}}})
	for _, tt := range []struct {
		from, name string
		code       int
		ours       bool
	}{
		{app, "db", dns.RcodeSuccess, true},
		{app, "idle", dns.RcodeSuccess, true},
		{app, "nothing", dns.RcodeNameError, true},
		{app, "nothing.internal", dns.RcodeNameError, true},
		{insider, "nothing", dns.RcodeNameError, false},
	} {
		r := ask(t, s, tt.from, tt.name, dns.TypeA)
		wantCode(t, r, tt.code)
		if r.Authoritative != tt.ours {
			t.Errorf("%s asks for %s: authoritative %v", tt.from, tt.name, r.Authoritative)
		}
	}
}

// TestViewsThatStay: a view that was there before is the same, one in its place
// is not.
func TestViewsThatStay(t *testing.T) {
	s := start(t, options())
	stays := &lwdns.View{Networks: prefixes(app), Names: map[string][]netip.Addr{"db": addrs("10.0.1.5")}}
	for _, addr := range []string{"10.0.2.5", "10.0.2.6"} {
		s.SetViews([]*lwdns.View{stays, {Networks: prefixes(otherApp), Names: map[string][]netip.Addr{"db": addrs(addr)}}})
		wantData(t, ask(t, s, app, "db", dns.TypeA), "A 10.0.1.5")
		wantData(t, ask(t, s, otherApp, "db", dns.TypeA), "A "+addr)
	}
}

// TestViewsTakeTurns: each replica comes first at times.
func TestViewsTakeTurns(t *testing.T) {
	s := start(t, options())
	s.SetViews([]*lwdns.View{{Networks: prefixes(app), Names: map[string][]netip.Addr{"web": addrs("10.0.0.1", "10.0.0.2")}}})
	first := map[string]bool{}
	for id := range uint16(2) {
		m := question("web", dns.TypeA)
		m.Id = id
		r := exchange(t, s, "udp", app, m)
		if len(r.Answer) != 2 {
			t.Fatalf("%v", r)
		}
		first[r.Answer[0].(*dns.A).A.String()] = true
	}
	if len(first) != 2 {
		t.Errorf("always first: %v", first)
	}
}
