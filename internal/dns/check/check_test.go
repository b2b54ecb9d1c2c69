package check_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	edge "landward/internal/dns"
	"landward/internal/dns/check"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a Resolver with records. Zones are at their servers; the recursive
// resolver has them all, unless old says otherwise.
type world struct {
	t       *testing.T
	records map[string][]string // server's address, "" for all → records
	old     []string            // what the recursive resolver has in their place
	code    map[string]int      // "name TYPE" → code of the recursive resolver
	bogus   string              // below this name signatures are broken
	dead    map[string]bool     // servers; "recursive" too
}

const (
	one = "198.51.100.1"
	two = "198.51.100.2"
)

// common is a domain with two name servers.
var common = []string{
	"com. 60 IN NS a.gtld.example.",
	"example.com. 60 IN NS ns1.host.example.",
	"example.com. 60 IN NS ns2.host.example.",
	"ns1.host.example. 60 IN A " + one,
	"ns2.host.example. 60 IN A " + two,
}

func (w *world) Exchange(_ context.Context, m *dns.Msg, server netip.Addr) (*dns.Msg, error) {
	q := m.Question[0]
	name := strings.TrimSuffix(q.Name, ".")
	r := new(dns.Msg).SetReply(m)
	list := slices.Concat(w.records[""], w.records[one])
	switch {
	case server.IsValid():
		if m.RecursionDesired {
			w.t.Error("recursion asked of a name server")
		}
		if w.dead[server.String()] {
			return nil, errors.New("timed out")
		}
		r.Authoritative = true
		list = slices.Concat(w.records[""], w.records[server.String()])
	case w.dead["recursive"]:
		return nil, errors.New("timed out")
	case w.code[name+" "+dns.TypeToString[q.Qtype]] != 0:
		r.Rcode = w.code[name+" "+dns.TypeToString[q.Qtype]]
		return r, nil
	case w.bogus != "" && dns.IsSubDomain(dns.Fqdn(w.bogus), q.Name) && !m.CheckingDisabled:
		r.Rcode = dns.RcodeServerFailure
		return r, nil
	case w.old != nil && q.Qtype != dns.TypeNS:
		list = slices.Concat(common, w.old)
	}
	w.answer(r, list)
	return r, nil
}

func (w *world) answer(r *dns.Msg, list []string) {
	at, exists := r.Question[0].Name, false
	for _, line := range list {
		rr, err := dns.NewRR(line)
		if err != nil {
			w.t.Fatal(err)
		}
		h := rr.Header()
		if !strings.EqualFold(h.Name, at) {
			continue
		}
		exists = true
		if h.Rrtype == r.Question[0].Qtype {
			r.Answer = append(r.Answer, rr)
		}
		if cname, ok := rr.(*dns.CNAME); ok {
			r.Answer = append(r.Answer, rr)
			at = cname.Target
		}
	}
	if !exists {
		r.Rcode = dns.RcodeNameError
	}
}

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func TestCheck(t *testing.T) {
	v4 := []string{"203.0.113.7"}
	both := []string{"203.0.113.7", "2001:db8:1::7"}
	for name, tt := range map[string]struct {
		host    string
		want    []string
		zone    []string            // on all servers
		server  map[string][]string // on one
		change  func(w *world)
		ok      bool
		kinds   []check.Kind
		records []string
		instead []string
	}{
		"right": {host: "shop.example.com", zone: []string{"shop.example.com. 60 IN A 203.0.113.7"}, ok: true},
		"right, one of two addresses": {host: "shop.example.com", want: both,
			zone: []string{"shop.example.com. 60 IN A 203.0.113.7"}, ok: true},
		"right, by an alias": {host: "shop.example.com", ok: true,
			zone: []string{"shop.example.com. 60 IN CNAME edge.example.net.", "edge.example.net. 60 IN A 203.0.113.7"}},
		"nothing there": {host: "shop.example.com", want: both, kinds: []check.Kind{check.Missing},
			records: []string{"A record: name shop, value 203.0.113.7, TTL 300", "AAAA record: name shop, value 2001:db8:1::7, TTL 300"},
			instead: []string{"CNAME record: name shop, value edge.example.net., TTL 300"}},
		"nothing at the apex": {host: "Example.COM.", kinds: []check.Kind{check.Missing},
			records: []string{"A record: name @, value 203.0.113.7, TTL 300"}},
		"nothing for a wildcard": {host: "*.apps.example.com", kinds: []check.Kind{check.Missing},
			records: []string{"A record: name *.apps, value 203.0.113.7, TTL 300"},
			instead: []string{"CNAME record: name *.apps, value edge.example.net., TTL 300"}},
		"elsewhere": {host: "shop.example.com", zone: []string{"shop.example.com. 60 IN A 192.0.2.9"},
			kinds: []check.Kind{check.WrongAddress},
			records: []string{"remove the A record: name shop, value 192.0.2.9",
				"A record: name shop, value 203.0.113.7, TTL 300"}},
		"here and elsewhere": {host: "shop.example.com", kinds: []check.Kind{check.WrongAddress},
			zone:    []string{"shop.example.com. 60 IN A 192.0.2.9", "shop.example.com. 60 IN A 203.0.113.7"},
			records: []string{"remove the A record: name shop, value 192.0.2.9"}},
		"stale AAAA": {host: "shop.example.com", kinds: []check.Kind{check.StaleAAAA},
			zone:    []string{"shop.example.com. 60 IN A 203.0.113.7", "shop.example.com. 60 IN AAAA 2001:db8::9"},
			records: []string{"remove the AAAA record: name shop, value 2001:db8::9"}},
		"stale AAAA, and we have one": {host: "shop.example.com", want: both, kinds: []check.Kind{check.StaleAAAA},
			zone: []string{"shop.example.com. 60 IN A 203.0.113.7", "shop.example.com. 60 IN AAAA 2001:db8::9"},
			records: []string{"remove the AAAA record: name shop, value 2001:db8::9",
				"AAAA record: name shop, value 2001:db8:1::7, TTL 300"}},
		"alias of something else": {host: "shop.example.com", kinds: []check.Kind{check.WrongAlias},
			zone: []string{"shop.example.com. 60 IN CNAME old.example.net.", "old.example.net. 60 IN A 192.0.2.9"},
			records: []string{"remove the CNAME record: name shop, value old.example.net",
				"A record: name shop, value 203.0.113.7, TTL 300"},
			instead: []string{"CNAME record: name shop, value edge.example.net., TTL 300"}},
		"alias of nothing": {host: "shop.example.com", kinds: []check.Kind{check.WrongAlias},
			zone: []string{"shop.example.com. 60 IN CNAME gone.example.net."},
			records: []string{"remove the CNAME record: name shop, value gone.example.net",
				"A record: name shop, value 203.0.113.7, TTL 300"},
			instead: []string{"CNAME record: name shop, value edge.example.net., TTL 300"}},
		"Cloudflare": {host: "shop.example.com", ok: true, kinds: []check.Kind{check.Proxied},
			zone: []string{"shop.example.com. 60 IN A 104.16.1.2", "shop.example.com. 60 IN AAAA 2606:4700::1"}},
		"CAA forbids": {host: "shop.example.com", kinds: []check.Kind{check.Forbidden},
			zone:    []string{"shop.example.com. 60 IN A 203.0.113.7", `example.com. 60 IN CAA 0 issue "other.example"`},
			records: []string{`CAA record: name @, value 0 issue "letsencrypt.org", TTL 300`}},
		"CAA allows": {host: "shop.example.com", ok: true,
			zone: []string{"shop.example.com. 60 IN A 203.0.113.7", `example.com. 60 IN CAA 0 issue "LetsEncrypt.org; accounturi=x"`,
				`com. 60 IN CAA 0 issue ";"`}},
		"CAA nearer decides": {host: "shop.example.com", kinds: []check.Kind{check.Forbidden},
			zone: []string{"shop.example.com. 60 IN A 203.0.113.7", `example.com. 60 IN CAA 0 issue "letsencrypt.org"`,
				`shop.example.com. 60 IN CAA 0 issue ";"`},
			records: []string{`CAA record: name shop, value 0 issue "letsencrypt.org", TTL 300`}},
		"CAA for wildcards": {host: "*.example.com", kinds: []check.Kind{check.Forbidden},
			zone: []string{"landward-check.example.com. 60 IN A 203.0.113.7", `example.com. 60 IN CAA 0 issue "letsencrypt.org"`,
				`example.com. 60 IN CAA 0 issuewild "other.example"`},
			records: []string{`CAA record: name @, value 0 issuewild "letsencrypt.org", TTL 300`}},
		"CAA only reports": {host: "shop.example.com", ok: true,
			zone: []string{"shop.example.com. 60 IN A 203.0.113.7", `example.com. 60 IN CAA 0 iodef "mailto:a@example.com"`}},
		"CAA nobody knows": {host: "shop.example.com", kinds: []check.Kind{check.Forbidden},
			zone:    []string{"shop.example.com. 60 IN A 203.0.113.7", `example.com. 60 IN CAA 128 strange "x"`},
			records: []string{`CAA record: name @, value 0 issue "letsencrypt.org", TTL 300`}},
		"CAA fails": {host: "shop.example.com", kinds: []check.Kind{check.Forbidden},
			zone:   []string{"shop.example.com. 60 IN A 203.0.113.7"},
			change: func(w *world) { w.code = map[string]int{"shop.example.com CAA": dns.RcodeServerFailure} }},
		"not registered": {host: "shop.nobody.com", kinds: []check.Kind{check.NotRegistered}},
		"no such top":    {host: "shop.example.zz", kinds: []check.Kind{check.NotRegistered}},
		"one server silent": {host: "shop.example.com", ok: true, kinds: []check.Kind{check.SilentServers},
			zone:   []string{"shop.example.com. 60 IN A 203.0.113.7"},
			change: func(w *world) { w.dead = map[string]bool{two: true} }},
		"all servers silent": {host: "shop.example.com", kinds: []check.Kind{check.SilentServers},
			zone:   []string{"shop.example.com. 60 IN A 203.0.113.7"},
			change: func(w *world) { w.dead = map[string]bool{one: true, two: true} }},
		"delegation broken": {host: "shop.broken.com", kinds: []check.Kind{check.SilentServers},
			change: func(w *world) {
				w.code = map[string]int{"broken.com NS": dns.RcodeServerFailure, "shop.broken.com NS": dns.RcodeServerFailure}
			}},
		"servers disagree": {host: "shop.example.com", kinds: []check.Kind{check.Disagree, check.WrongAddress},
			server:  map[string][]string{one: {"shop.example.com. 60 IN A 203.0.113.7"}, two: {"shop.example.com. 60 IN A 192.0.2.9"}},
			records: []string{"remove the A record: name shop, value 192.0.2.9"}},
		"not yet everywhere": {host: "shop.example.com", ok: true, kinds: []check.Kind{check.NotPropagated},
			zone:   []string{"shop.example.com. 60 IN A 203.0.113.7"},
			change: func(w *world) { w.old = []string{"shop.example.com. 1800 IN A 192.0.2.9"} }},
		"signatures broken": {host: "shop.example.com", kinds: []check.Kind{check.BadSignature},
			zone:   []string{"shop.example.com. 60 IN A 203.0.113.7"},
			change: func(w *world) { w.bogus = "example.com" }},
		"no resolver": {host: "shop.example.com", kinds: []check.Kind{check.NoResolver},
			change: func(w *world) { w.dead = map[string]bool{"recursive": true} }},
		"an address": {host: "203.0.113.7", kinds: []check.Kind{check.BadName}},
		"no name":    {host: "sh op.example.com", kinds: []check.Kind{check.BadName}},
		"one label":  {host: "shop", kinds: []check.Kind{check.BadName}},
		"other letters": {host: "bücher.example.com", kinds: []check.Kind{check.Missing},
			records: []string{"A record: name xn--bcher-kva, value 203.0.113.7, TTL 300"},
			instead: []string{"CNAME record: name xn--bcher-kva, value edge.example.net., TTL 300"}},
		"servers inside": {host: "shop.inside.com", kinds: []check.Kind{check.SilentServers},
			zone: []string{"inside.com. 60 IN NS ns.inside.com.", "ns.inside.com. 60 IN A 10.0.0.1", "shop.inside.com. 60 IN A 203.0.113.7"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{t: t, records: map[string][]string{"": slices.Concat(common, tt.zone)}}
			for at, list := range tt.server {
				w.records[at] = list
			}
			if tt.change != nil {
				tt.change(w)
			}
			if tt.want == nil {
				tt.want = v4
			}
			c := &check.Checker{Resolver: w, Target: "edge.example.net"}
			r := c.Check(t.Context(), tt.host, addrs(tt.want...))
			if r.OK != tt.ok {
				t.Errorf("ok %v, want %v: %q", r.OK, tt.ok, r.Lines())
			}
			var kinds []check.Kind
			for _, p := range r.Problems {
				kinds = append(kinds, p.Kind)
			}
			if !slices.Equal(kinds, tt.kinds) {
				t.Errorf("problems %v, want %v: %q", kinds, tt.kinds, r.Lines())
			}
			same(t, "records", r.Records, tt.records)
			same(t, "instead", r.Instead, tt.instead)
			if len(r.Lines()) == 0 {
				t.Error("nothing for people to read")
			}
		})
	}
}

func same(t *testing.T, what string, got []check.Record, want []string) {
	t.Helper()
	var text []string
	for _, r := range got {
		text = append(text, r.String())
	}
	if !slices.Equal(text, want) {
		t.Errorf("%s %q, want %q", what, text, want)
	}
}

func TestWait(t *testing.T) {
	w := &world{t: t, records: map[string][]string{"": slices.Concat(common, []string{"shop.example.com. 60 IN A 203.0.113.7"})},
		old: []string{"shop.example.com. 1800 IN A 192.0.2.9"}}
	r := (&check.Checker{Resolver: w}).Check(t.Context(), "shop.example.com", addrs("203.0.113.7"))
	if len(r.Problems) != 1 || r.Problems[0].Wait != 30*time.Minute || r.Problems[0].Blocks {
		t.Errorf("%+v", r.Problems)
	}
	if r.Zone != "example.com" || r.Apex || len(r.Servers) != 2 {
		t.Errorf("%+v", r)
	}
}

// TestClient asks over real sockets: a resolver that knows where the zone is,
// and the zone at a server of our own.
func TestClient(t *testing.T) {
	server, err := edge.New(edge.Options{Zone: "paas.example", Addresses: addrs("203.0.113.7")})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	server.SetHosts([]string{"shop.paas.example"})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	at := server.Addrs()[0].(*net.UDPAddr).AddrPort()

	c := &check.Client{Recursive: []netip.AddrPort{at}, Port: at.Port()}
	m := new(dns.Msg).SetQuestion("shop.paas.example.", dns.TypeA)
	for _, server := range []netip.Addr{{}, at.Addr()} {
		r, err := c.Exchange(t.Context(), m, server)
		if err != nil || len(r.Answer) != 1 {
			t.Errorf("%v, %v", r, err)
		}
	}
	if _, err := (&check.Client{}).Exchange(t.Context(), m, netip.Addr{}); err == nil {
		t.Error("an answer from no resolver")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Exchange(ended, m, at.Addr()); err == nil {
		t.Error("asked after the end")
	}
}
