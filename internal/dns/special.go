package dns

import (
	"strconv"

	"github.com/miekg/dns"
)

// special knows the names that mean something on this machine or network
// only. They are never sent to an upstream: it could not know them, and would
// learn what is asked for.
type special struct {
	zones     map[string]*soa
	localhost string
}

func newSpecial() *special {
	s := &special{zones: make(map[string]*soa)}
	add := func(name string) string {
		w, _ := wireName(name)
		s.zones[w] = localSOA(w)
		return w
	}
	s.localhost = add("localhost") // RFC 6761 section 6.3
	for _, name := range []string{
		"invalid", "test", // RFC 6761
		"local", // RFC 6762: multicast DNS has it
		"onion", // RFC 7686
		"home.arpa", "alt", "internal",
		// Reverse zones of addresses that are nobody's or everybody's
		// (RFC 6303, RFC 7793).
		"0.in-addr.arpa", "10.in-addr.arpa", "127.in-addr.arpa", "168.192.in-addr.arpa",
		"254.169.in-addr.arpa", "2.0.192.in-addr.arpa", "100.51.198.in-addr.arpa",
		"113.0.203.in-addr.arpa", "255.255.255.255.in-addr.arpa",
		"d.f.ip6.arpa", "8.e.f.ip6.arpa", "9.e.f.ip6.arpa", "a.e.f.ip6.arpa", "b.e.f.ip6.arpa",
		"8.b.d.0.1.0.0.2.ip6.arpa",
		"0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa",
		"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa",
	} {
		add(name)
	}
	for i := 16; i < 32; i++ {
		add(strconv.Itoa(i) + ".172.in-addr.arpa")
	}
	for i := 64; i < 128; i++ {
		add(strconv.Itoa(i) + ".100.in-addr.arpa")
	}
	return s
}

// localSOA is the start of authority of a zone that exists here only.
func localSOA(apex string) *soa {
	return &soa{apex: apex, server: apex, mailbox: "\x06nobody\x07invalid\x00", serial: 1, ttl: fixedTTL, negative: 15}
}

// find returns the special zone that a name is in, or nil.
func (s *special) find(name []byte) *soa {
	for i := 0; name[i] != 0; i += int(name[i]) + 1 {
		if zone, ok := s.zones[string(name[i:])]; ok {
			return zone
		}
	}
	return nil
}

// answer answers for a special zone. Only localhost has anything in it.
func (s *special) answer(r *reply, zone *soa) {
	r.bits |= bitAA
	q := r.q
	switch {
	case zone.apex != s.localhost:
		if q.n > len(zone.apex) {
			r.code = dns.RcodeNameError
		}
	case q.qtype == dns.TypeANY:
		r.hinfo()
		return
	case q.qtype == dns.TypeA:
		r.answer(dns.TypeA, fixedTTL, []byte{127, 0, 0, 1})
		return
	case q.qtype == dns.TypeAAAA:
		r.answer(dns.TypeAAAA, fixedTTL, []byte{15: 1})
		return
	}
	zone.write(r, true)
}

// plain says whether a question is for the address of a name of one label.
// Those are names of a search list; on the internet they are only top-level
// domains, which have no addresses to visit.
func plain(q *query) bool {
	if q.qtype != dns.TypeA && q.qtype != dns.TypeAAAA {
		return false
	}
	return q.n > 1 && int(q.folded[0])+2 == q.n
}
