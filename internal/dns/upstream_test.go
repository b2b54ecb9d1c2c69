package dns_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	lwdns "landward/internal/dns"
)

// TestForgedAnswers: packets that are not the answer change nothing, and after
// a few of them the question goes where nobody can interfere.
func TestForgedAnswers(t *testing.T) {
	const evil, good = "owner. 60 IN A 198.51.100.66", "owner. 60 IN A 203.0.113.1"
	forge := func(q asked, change func(m *dns.Msg)) []byte {
		m := new(dns.Msg).SetReply(q.Msg)
		m.Answer = rrs(t, q, evil)
		change(m)
		return packed(t, m)
	}
	for name, change := range map[string]func(m *dns.Msg){
		"wrong number":   func(m *dns.Msg) { m.Id++ },
		"wrong name":     func(m *dns.Msg) { m.Question[0].Name = "example.org." },
		"longer name":    func(m *dns.Msg) { m.Question[0].Name = "x." + m.Question[0].Name },
		"wrong type":     func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAAAA },
		"wrong class":    func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS },
		"no question":    func(m *dns.Msg) { m.Question = nil },
		"two questions":  func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) },
		"not an answer":  func(m *dns.Msg) { m.Response = false },
		"another opcode": func(m *dns.Msg) { m.Opcode = dns.OpcodeStatus },
		"letters' case": func(m *dns.Msg) {
			m.Question[0].Name = strings.ToLower(m.Question[0].Name)
		},
	} {
		for _, flood := range []int{1, 3, 50} {
			t.Run(fmt.Sprintf("%s, %d", name, flood), func(t *testing.T) {
				u := newFake(t, func(q asked) [][]byte {
					if q.tcp {
						return reply(t, q, good)
					}
					var out [][]byte
					for range flood {
						out = append(out, forge(q, change))
					}
					return append(out, reply(t, q, good)...)
				})
				s := start(t, forwarding(u))
				wantData(t, ask(t, s, insider, "bank-with-a-long-name.example.com", dns.TypeA), "A 203.0.113.1")
				wantData(t, ask(t, s, insider, "bank-with-a-long-name.example.com", dns.TypeA), "A 203.0.113.1")
				if s.Stats().Forged == 0 {
					t.Error("forgeries are not counted")
				}
			})
		}
	}
}

// TestBailiwick: an answer about one name says nothing about others.
func TestBailiwick(t *testing.T) {
	u := newFake(t, func(q asked) [][]byte {
		m := new(dns.Msg).SetReply(q.Msg)
		m.Answer = rrs(t, q,
			"owner. 60 IN CNAME target.example.net.",
			"bank.example. 60 IN A 198.51.100.66",
			"target.example.net. 60 IN A 203.0.113.1",
			"target.example.net. 60 IN TXT \"unasked\"",
			"owner. 60 IN CNAME second.example.net.",
			"second.example.net. 60 IN A 198.51.100.66",
			"target.example.net. 60 CH A \\# 4 01020304",
		)
		m.Ns = rrs(t, q, "example.com. 60 IN NS ns.evil.example.", "com. 60 IN SOA evil.example. e.evil.example. 1 1 1 1 60", "target.example.net. 60 IN DS 1 8 2 00")
		m.Extra = rrs(t, q, "ns.evil.example. 60 IN A 198.51.100.66")
		return [][]byte{packed(t, m)}
	})
	s := start(t, forwarding(u))
	r := exchange(t, s, "udp", insider, question("www.example.com", dns.TypeA).SetEdns0(4096, false))
	wantData(t, r, "CNAME target.example.net.", "A 203.0.113.1")
	if len(r.Ns) != 0 || len(r.Extra) != 1 {
		t.Errorf("authority %v, additional %v", r.Ns, r.Extra)
	}
}

func TestAliasLoops(t *testing.T) {
	u := newFake(t, always(t, "owner. 60 IN CNAME b.example.", "b.example. 60 IN CNAME c.example.", "c.example. 60 IN CNAME b.example."))
	s := start(t, forwarding(u))
	if r := ask(t, s, insider, "www.example.com", dns.TypeA); len(r.Answer) != 0 {
		t.Errorf("%v", r)
	}
}

func TestFailover(t *testing.T) {
	for name, bad := range map[string]func(testing.TB) func(asked) [][]byte{
		"SERVFAIL": func(t testing.TB) func(asked) [][]byte { return rcode(t, dns.RcodeServerFailure) },
		"REFUSED":  func(t testing.TB) func(asked) [][]byte { return rcode(t, dns.RcodeRefused) },
		"silent":   func(testing.TB) func(asked) [][]byte { return silent },
		"garbage": func(testing.TB) func(asked) [][]byte {
			return func(q asked) [][]byte {
				b, _ := new(dns.Msg).SetReply(q.Msg).Pack()
				b[7] = 9 // answers that are not there
				return [][]byte{append(b, 0xC0)}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			first := newFake(t, bad(t))
			second := newFake(t, always(t, "owner. 60 IN A 203.0.113.1"))
			o := forwarding(first, second)
			o.Limits.UpstreamTimeout = 300 * time.Millisecond
			s := start(t, o)
			wantData(t, ask(t, s, insider, "example.com", dns.TypeA), "A 203.0.113.1")
			if s.Stats().Upstream == 0 {
				t.Error("the failed try is not counted")
			}
		})
	}
}

// TestHealth: an upstream that does not answer is asked last, and first again
// when its rest is over.
func TestHealth(t *testing.T) {
	var mu sync.Mutex
	dead := true
	first := newFake(t, func(q asked) [][]byte {
		mu.Lock()
		defer mu.Unlock()
		if dead {
			return nil
		}
		return reply(t, q, "owner. 60 IN A 203.0.113.1")
	})
	second := newFake(t, always(t, "owner. 60 IN A 203.0.113.2"))
	c := newClock()
	o := forwarding(first, second)
	o.Limits.UpstreamTimeout = 300 * time.Millisecond
	o.Now = c.now
	s := start(t, o)
	for i := range 6 {
		wantData(t, ask(t, s, insider, fmt.Sprintf("n%d.example.com", i), dns.TypeA), "A 203.0.113.2")
	}
	if n := len(first.asked()); n != 2 {
		t.Errorf("the dead upstream was asked %d times, want 2", n)
	}
	mu.Lock()
	dead = false
	mu.Unlock()
	c.move(time.Minute)
	wantData(t, ask(t, s, insider, "again.example.com", dns.TypeA), "A 203.0.113.1")
	wantData(t, ask(t, s, insider, "again2.example.com", dns.TypeA), "A 203.0.113.1")
}

func TestAllUpstreamsDead(t *testing.T) {
	u := newFake(t, silent)
	o := forwarding(u)
	o.Limits.UpstreamTimeout = 20 * time.Millisecond
	c := newClock()
	o.Now = c.now
	s := start(t, o)
	r := exchange(t, s, "udp", insider, question("example.com", dns.TypeA).SetEdns0(1232, false))
	wantCode(t, r, dns.RcodeServerFailure)
	if reason(r) != int(dns.ExtendedErrorCodeNoReachableAuthority) {
		t.Errorf("reason %d", reason(r))
	}
	n := len(u.asked())
	wantCode(t, ask(t, s, insider, "example.com", dns.TypeA), dns.RcodeServerFailure)
	if len(u.asked()) != n {
		t.Error("a failure is not remembered (RFC 9520)")
	}
	c.move(2 * time.Second)
	ask(t, s, insider, "example.com", dns.TypeA)
	if len(u.asked()) == n {
		t.Error("a failure is remembered for too long")
	}
}

func TestWithoutEDNS(t *testing.T) {
	for name, refuse := range map[string]func(q asked) []byte{
		"with the question": func(q asked) []byte { return packed(t, new(dns.Msg).SetRcode(q.Msg, dns.RcodeFormatError)) },
		"header only": func(q asked) []byte {
			m := new(dns.Msg).SetRcode(q.Msg, dns.RcodeNotImplemented)
			m.Question = nil
			return packed(t, m)
		},
	} {
		t.Run(name, func(t *testing.T) {
			u := newFake(t, func(q asked) [][]byte {
				if q.IsEdns0() != nil {
					return [][]byte{refuse(q)}
				}
				return reply(t, q, "owner. 60 IN A 203.0.113.1")
			})
			s := start(t, forwarding(u))
			wantData(t, ask(t, s, insider, "example.com", dns.TypeA), "A 203.0.113.1")
		})
	}
}

func TestLoop(t *testing.T) {
	o := options()
	s, err := lwdns.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	at := s.Addrs()[0].String()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	o.Forward = []string{at}
	if s, err = lwdns.New(o); err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(at); err == nil {
		_ = s.Close()
		t.Error("forwards to itself")
	}
}

// TestLoopByWayOfAnother: an upstream that asks us what we ask it.
func TestLoopByWayOfAnother(t *testing.T) {
	var s *lwdns.Server
	ready := make(chan struct{})
	mirror := newFake(t, func(q asked) [][]byte {
		<-ready
		m := q.Msg.Copy()
		r, _, err := dialFrom("udp", insider).Exchange(m, s.Addrs()[0].String())
		if err != nil {
			return nil
		}
		return [][]byte{packed(t, r)}
	})
	honest := newFake(t, always(t, "owner. 60 IN A 203.0.113.1"))
	s = start(t, forwarding(mirror, honest))
	close(ready)
	for i := range 5 {
		wantData(t, ask(t, s, app, fmt.Sprintf("n%d.quite-a-long-name.example.com", i), dns.TypeA), "A 203.0.113.1")
	}
	if n := len(mirror.asked()); n != 1 {
		t.Errorf("the loop was gone round %d times, want once", n)
	}
}

func TestRebinding(t *testing.T) {
	u := newFake(t, func(q asked) [][]byte {
		switch q.Question[0].Qtype {
		case dns.TypeAAAA:
			return reply(t, q, "owner. 60 IN AAAA fd00::1", "owner. 60 IN AAAA ::ffff:10.0.0.1", "owner. 60 IN AAAA 64:ff9b::a00:1",
				"owner. 60 IN AAAA fe80::1", "owner. 60 IN AAAA ::1", "owner. 60 IN AAAA 2002:a00:1::", "owner. 60 IN AAAA 2600::1")
		case dns.TypeHTTPS:
			return reply(t, q, "owner. 60 IN HTTPS 1 . ipv4hint=10.0.0.1", "owner. 60 IN HTTPS 2 . alpn=h2")
		}
		if strings.HasPrefix(strings.ToLower(q.Question[0].Name), "mixed") {
			return reply(t, q, "owner. 60 IN A 10.0.0.1", "owner. 60 IN A 203.0.113.1", "owner. 60 IN A 169.254.169.254")
		}
		return reply(t, q, "owner. 60 IN A 127.0.0.1")
	})
	s := start(t, forwarding(u))
	for range 2 { // from the upstream, then from the cache
		wantData(t, ask(t, s, app, "mixed.example.com", dns.TypeA), "A 203.0.113.1")
		wantData(t, ask(t, s, app, "rebind.example.com", dns.TypeAAAA), "AAAA 2600::1")
		wantData(t, ask(t, s, app, "rebind.example.com", dns.TypeHTTPS), `HTTPS 2 . alpn="h2"`)
		r := exchange(t, s, "udp", app, question("inside.example.com", dns.TypeA).SetEdns0(1232, false))
		wantCode(t, r, dns.RcodeSuccess)
		wantData(t, r)
		if reason(r) != int(dns.ExtendedErrorCodeFiltered) {
			t.Errorf("reason %d", reason(r))
		}
		wantData(t, ask(t, s, lan, "inside.example.com", dns.TypeA), "A 127.0.0.1")
		if n := len(ask(t, s, lan, "rebind.example.com", dns.TypeAAAA).Answer); n != 7 {
			t.Errorf("who may see them got %d of 7", n)
		}
	}
	if s.Stats().Filtered == 0 {
		t.Error("not counted")
	}
}
