package dns_test

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	lwdns "landward/internal/dns"

	"landward/internal/waittest"
)

// forwarding is options with upstreams and a short patience with them.
func forwarding(upstreams ...*fake) lwdns.Options {
	o := options()
	for _, u := range upstreams {
		o.Forward = append(o.Forward, u.addr())
	}
	return o
}

func TestForward(t *testing.T) {
	u := newFake(t, always(t, "owner. 60 IN A 203.0.113.1"))
	s := start(t, forwarding(u))
	r := exchange(t, s, "udp", insider, question("WWW.Example.com", dns.TypeA).SetEdns0(1232, false))
	wantCode(t, r, dns.RcodeSuccess)
	wantData(t, r, "A 203.0.113.1")
	if r.Authoritative || !r.RecursionAvailable || r.AuthenticatedData {
		t.Errorf("aa %v, ra %v, ad %v", r.Authoritative, r.RecursionAvailable, r.AuthenticatedData)
	}
	if r.Question[0].Name != "WWW.Example.com." || r.Answer[0].Header().Name != "WWW.Example.com." {
		t.Errorf("case of the client's letters is lost: %v", r)
	}
	exchange(t, s, "tcp", insider, question("www.example.com", dns.TypeA))
	if n := len(u.asked()); n != 1 {
		t.Errorf("upstream was asked %d times", n)
	}
	if st := s.Stats(); st.Forwarded != 1 || st.CacheHits != 1 || st.CacheEntries != 1 || st.CacheBytes == 0 {
		t.Errorf("%+v", st)
	}
}

func TestWhoMayForward(t *testing.T) {
	u := newFake(t, always(t, "owner. 60 IN A 203.0.113.1"))
	s := start(t, forwarding(u))
	ask(t, s, insider, "example.com", dns.TypeA) // in the cache now
	for _, network := range []string{"udp", "tcp"} {
		r := exchange(t, s, network, stranger, question("example.com", dns.TypeA))
		wantCode(t, r, dns.RcodeRefused)
		if r.RecursionAvailable || len(r.Answer) > 0 {
			t.Errorf("%v", r)
		}
	}
	m := question("example.com", dns.TypeA)
	m.RecursionDesired = false
	wantCode(t, exchange(t, s, "udp", insider, m), dns.RcodeRefused)
	if n := len(u.asked()); n != 1 {
		t.Errorf("upstream was asked %d times", n)
	}
}

func TestNotForwarded(t *testing.T) {
	u := newFake(t, always(t, "owner. 60 IN A 203.0.113.1"))
	s := start(t, forwarding(u))
	for _, name := range []string{"db", "x.internal", "x.paas.local", "printer.local", "x.localhost", "1.1.168.192.in-addr.arpa", "x.onion"} {
		ask(t, s, insider, name, dns.TypeA)
	}
	wantData(t, ask(t, s, insider, "example.com", dns.TypeANY), `HINFO "RFC8482" ""`)
	if got := u.asked(); len(got) != 0 {
		t.Errorf("upstream was asked for %v", got[0].Question)
	}
	ask(t, s, insider, "com", dns.TypeNS)
	if got := u.asked(); len(got) != 1 {
		t.Error("a top-level domain's name servers were not asked for")
	}
}

func TestWhatUpstreamsSee(t *testing.T) {
	u := newFake(t, always(t, "owner. 0 IN A 203.0.113.1"))
	s := start(t, forwarding(u))
	const name = "a-name-with-many-letters.example.com."
	for range 8 {
		m := question(name, dns.TypeA).SetEdns0(4096, true)
		m.IsEdns0().Option = append(m.IsEdns0().Option,
			&dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 24, Address: net.IPv4(127, 0, 0, 0)},
			&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0011223344556677"})
		m.CheckingDisabled = true
		exchange(t, s, "udp", insider, m)
	}
	all := u.asked()
	if len(all) != 8 {
		t.Fatalf("asked %d times, want 8: a TTL of 0 is not kept", len(all))
	}
	ids, ports, names := map[uint16]bool{}, map[int]bool{}, map[string]bool{}
	for _, q := range all {
		ids[q.Id], ports[q.port], names[q.Question[0].Name] = true, true, true
		opt := q.IsEdns0()
		if opt == nil || !opt.Do() || len(opt.Option) != 0 || opt.UDPSize() != 1232 || !q.CheckingDisabled || !q.RecursionDesired {
			t.Errorf("question %v", q)
		}
		if !strings.EqualFold(q.Question[0].Name, name) {
			t.Errorf("name %s", q.Question[0].Name)
		}
	}
	if len(ids) < 4 || len(ports) < 4 || len(names) < 4 {
		t.Errorf("%d numbers, %d ports, %d spellings in 8 questions", len(ids), len(ports), len(names))
	}
}

func TestSignatureWishesHaveAnswersOfTheirOwn(t *testing.T) {
	u := newFake(t, always(t, "owner. 60 IN A 203.0.113.1",
		"owner. 60 IN RRSIG A 8 2 60 20300101000000 20200101000000 1 example.com. AAAA"))
	s := start(t, forwarding(u))
	if r := ask(t, s, insider, "example.com", dns.TypeA); len(r.Answer) != 1 {
		t.Errorf("without DO: %v", r.Answer)
	}
	if r := exchange(t, s, "udp", insider, question("example.com", dns.TypeA).SetEdns0(4096, true)); len(r.Answer) != 2 {
		t.Errorf("with DO: %v", r.Answer)
	}
}

func TestTruncatedUpstream(t *testing.T) {
	var lines []string
	for i := range 100 {
		lines = append(lines, fmt.Sprintf("owner. 60 IN A 203.0.113.%d", i))
	}
	u := newFake(t, func(q asked) [][]byte {
		if !q.tcp {
			m := new(dns.Msg).SetReply(q.Msg)
			m.Truncated = true
			return [][]byte{packed(t, m)}
		}
		return reply(t, q, lines...)
	})
	s := start(t, forwarding(u))
	if r := ask(t, s, insider, "example.com", dns.TypeA); !r.Truncated || len(r.Answer) > 0 {
		t.Errorf("over UDP: tc %v, %d records", r.Truncated, len(r.Answer))
	}
	if r := exchange(t, s, "tcp", insider, question("example.com", dns.TypeA)); r.Truncated || len(r.Answer) != 100 {
		t.Errorf("over TCP: tc %v, %d records", r.Truncated, len(r.Answer))
	}
	if n := len(u.asked()); n != 2 {
		t.Errorf("upstream was asked %d times, want once over UDP and once over TCP", n)
	}
}

// TestOneFlight: many ask, one question goes out.
func TestOneFlight(t *testing.T) {
	release := make(chan struct{})
	u := newFake(t, func(q asked) [][]byte {
		<-release
		return reply(t, q, "owner. 60 IN A 203.0.113.1")
	})
	s := start(t, forwarding(u))
	const many = 20
	answers := make(chan *dns.Msg, many)
	for range many {
		go func() {
			r, _, err := dialFrom("udp", insider).Exchange(question("example.com", dns.TypeA), s.Addrs()[0].String())
			if err != nil {
				t.Error(err)
			}
			answers <- r
		}()
	}
	waittest.Eventually(t, "all questions are counted", func() bool { return s.Stats().Queries == many })
	close(release)
	for range many {
		if r := <-answers; r != nil {
			wantData(t, r, "A 203.0.113.1")
		}
	}
	// Twice where the upstream was slower than the first try's patience.
	if n := s.Stats().Forwarded; n != 1 {
		t.Errorf("%d flights", n)
	}
}

// TestOverload: beyond the limits there is an error at once, and what is local
// goes on.
func TestOverload(t *testing.T) {
	release := make(chan struct{})
	u := newFake(t, func(q asked) [][]byte {
		<-release
		return reply(t, q, "owner. 60 IN A 203.0.113.1")
	})
	o := forwarding(u)
	o.Limits.Forwards, o.Limits.ForwardsPerClient = 6, 4
	s := start(t, o)
	var wg sync.WaitGroup
	wait := func(from string, n int) {
		before := s.Stats().Forwarded
		for i := range n {
			wg.Go(func() {
				_, _, err := dialFrom("udp", from).Exchange(question(fmt.Sprintf("n%d.from-%s.example.com", i, from), dns.TypeA), s.Addrs()[0].String())
				if err != nil {
					t.Error(err)
				}
			})
		}
		waittest.Eventually(t, "all are forwarded", func() bool { return s.Stats().Forwarded == before+uint64(n) })
	}
	full := func(from string) {
		t.Helper()
		before := s.Stats().Forwarded
		wantCode(t, ask(t, s, from, "more.example.com", dns.TypeA), dns.RcodeServerFailure)
		if s.Stats().Forwarded != before {
			t.Errorf("%s: an upstream was asked beyond the limit", from)
		}
	}
	wait(insider, 4)
	full(insider)
	wait(app, 2)
	full(lan)
	wantData(t, ask(t, s, lan, "paas.local", dns.TypeA), "A 192.0.2.10")
	close(release)
	wg.Wait()
	waittest.Eventually(t, "the name is there", func() bool { return ask(t, s, lan, "later.example.com", dns.TypeA).Rcode == dns.RcodeSuccess })
}

// TestShutdownWhileWaiting: Run ends although an upstream never answers.
func TestShutdownWhileWaiting(t *testing.T) {
	u := newFake(t, silent)
	o := forwarding(u)
	o.Limits.UpstreamTimeout, o.Limits.ForwardTimeout, o.Limits.Drain = time.Hour, time.Hour, 10*time.Millisecond
	s := start(t, o)
	var conns []net.Conn
	for i, network := range []string{"udp", "tcp"} {
		conn, err := dialFrom(network, insider).Dial(s.Addrs()[i].String())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
		if err := conn.WriteMsg(question(fmt.Sprintf("n%d.example.com", i), dns.TypeA)); err != nil {
			t.Fatal(err)
		}
	}
	waittest.Eventually(t, "all are forwarded", func() bool { return s.Stats().Forwarded == 2 })
	t.Cleanup(func() {
		for _, c := range conns {
			c.Close()
		}
	})
}

// TestPipelining: over one connection a slow answer does not hold up others.
func TestPipelining(t *testing.T) {
	release := make(chan struct{})
	u := newFake(t, func(q asked) [][]byte {
		<-release
		return reply(t, q, "owner. 60 IN A 203.0.113.1")
	})
	s := start(t, forwarding(u))
	conn, err := dialFrom("tcp", insider).Dial(s.Addrs()[1].String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	slow, quick := question("slow.example.com", dns.TypeA), question("paas.local", dns.TypeA)
	for _, m := range []*dns.Msg{slow, quick} {
		if err := conn.WriteMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	var order []uint16
	for range 2 {
		r, err := conn.ReadMsg()
		if err != nil {
			t.Fatal(err)
		}
		if order = append(order, r.Id); len(order) == 1 {
			close(release)
		}
	}
	if !slices.Equal(order, []uint16{quick.Id, slow.Id}) {
		t.Errorf("order %v, want %d before %d", order, quick.Id, slow.Id)
	}
}
