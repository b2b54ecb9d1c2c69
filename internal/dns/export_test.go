package dns

import (
	"net/netip"
	"time"

	"github.com/miekg/dns"
)

type nobody struct{}

func (nobody) keep() peer  { return nobody{} }
func (nobody) send([]byte) {}

// Query is room for a question.
type Query = query

// Handle handles a packet without a socket.
func (s *Server) Handle(q *Query, addr netip.Addr, udp bool, packet, out []byte) []byte {
	b, what := s.handle(nobody{}, q, addr, udp, packet, out)
	if what != answered {
		return nil
	}
	return b
}

// Parse reads a packet as a question: its name in wire form, as it was sent.
func Parse(b []byte) (name []byte, kind, class uint16, code int) {
	var q query
	code = q.parse(b)
	return q.sent[:q.n], q.qtype, q.qclass, code
}

// Unusable is Parse's code for what is no question.
const Unusable = unusable

// Refine makes what the cache keeps of an upstream's answer to an address
// question, and packs it again for a client that may not see private addresses.
func Refine(raw []byte, name string) []byte {
	w, _ := wireName(name)
	f := &flight{q: query{n: len(w), qtype: dns.TypeA, qclass: dns.ClassINET}}
	copy(f.q.sent[:], w)
	copy(f.q.folded[:], w)
	limits := Limits{}.withDefaults()
	now := time.Unix(1, 0)
	e, err := refine(raw, f, &limits, now)
	if err != nil {
		return nil
	}
	r := f.q.start(nil, bitRA, 0)
	e.write(&r, false, false, now)
	return r.finish(dns.MaxMsgSize)
}

// Question is where an upstream's answer must repeat the question.
func Question(name string) []byte {
	w, _ := wireName(name)
	f := &flight{sent: w, q: query{qtype: dns.TypeA}}
	return f.packet(false)
}

// Genuine says whether raw answers packet.
func Genuine(raw, packet []byte) bool { return genuine(raw, packet) == yes }
