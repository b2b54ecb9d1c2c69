package dns

import (
	"net/netip"

	"github.com/miekg/dns"
)

// peer is where an answer goes that is not ready yet.
type peer interface {
	// keep returns a peer that outlives the packet that is being handled. Its
	// send is called exactly once.
	keep() peer
	// send sends an answer, or, with nil, gives up.
	send(b []byte)
}

// client is who asks.
type client struct {
	addr netip.Addr
	udp  bool
	view *view
	// forward: may use us as a resolver, as all who have a view. private: may
	// see private addresses in answers of upstreams, which they may not.
	forward, private bool
}

// known says whether somebody is on one of our own networks.
func (c *client) known() bool { return c.forward }

func (s *Server) client(addr netip.Addr, udp bool) client {
	addr = addr.Unmap().WithZone("")
	v := s.views.Load().find(addr)
	return client{
		addr: addr, udp: udp, view: v,
		forward: v != nil || contains(s.o.ForwardFor, addr),
		private: v == nil && contains(s.o.AllowPrivate, addr),
	}
}

func contains(list []netip.Prefix, addr netip.Addr) bool {
	for _, p := range list {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// outcome is what became of a packet.
type outcome int

const (
	answered outcome = iota // there is an answer to send now
	later                   // p gets it
	dropped                 // there will be none
)

// handle handles one packet from addr. An answer that is there at once is
// written into out. q is room for the question, which nothing keeps: it is
// large, and handed in so that it is not made anew for each packet.
func (s *Server) handle(p peer, q *query, addr netip.Addr, udp bool, packet, out []byte) ([]byte, outcome) {
	s.count.queries.Add(1)
	code := q.parse(packet)
	if code == unusable {
		s.count.dropped.Add(1)
		return nil, dropped
	}
	c := s.client(addr, udp)
	if !s.allowed(&c) {
		return s.limited(&c, q, out)
	}
	if code != dns.RcodeSuccess {
		r := q.start(out, 0, code)
		return r.finish(s.limit(&c, q)), answered
	}
	if refusedKind(q) {
		return s.refuse(&c, q, out), answered
	}
	r := q.start(out, s.available(&c), dns.RcodeSuccess)
	if s.local(&c, &r) {
		s.count.answered.Add(1)
		return r.finish(s.limit(&c, q)), answered
	}
	if r.bits&bitRA == 0 || !q.recursion() {
		return s.refuse(&c, q, out), answered
	}
	return s.forward(p, &c, q, out)
}

// refusedKind tells questions that nobody gets an answer to: other classes than
// IN (CHAOS names versions), zone transfers, and types that are none.
func refusedKind(q *query) bool {
	if q.qclass != dns.ClassINET {
		return true
	}
	// RFC 6895 section 3.1: 128 to 255 are for questions only.
	return q.qtype == 0 || q.qtype == dns.TypeOPT || q.qtype >= 128 && q.qtype < 256 && q.qtype != dns.TypeANY
}

// available is the RA bit, for those who may have it.
func (s *Server) available(c *client) uint16 {
	if c.forward && s.upstream.any() {
		return bitRA
	}
	return 0
}

// local answers what can be answered without an upstream.
func (s *Server) local(c *client, r *reply) bool {
	name := r.q.name()
	if c.view != nil && c.view.answer(r, s.private) {
		return true
	}
	if z := s.zone.Load(); below(name, z.soa.apex) {
		z.answer(r, s.o.Now())
		return true
	}
	special := s.private.find(name)
	switch {
	case special != nil && (c.known() || special.apex == s.private.localhost):
		s.private.answer(r, special)
		return true
	case !c.known():
		return false
	case plain(r.q):
		// NXDOMAIN of the root, without its SOA, which is not ours to give:
		// nobody remembers it, so a service's name works once it is there.
		r.code = dns.RcodeNameError
		if c.view != nil {
			// In an app's network such names are ours to give. Docker's resolver
			// asks the host's own next, unless it hears so.
			r.bits |= bitAA
		}
		return true
	case r.q.qtype == dns.TypeANY && r.bits&bitRA != 0:
		r.hinfo()
		return true
	}
	return false
}

func (s *Server) refuse(c *client, q *query, out []byte) []byte {
	s.count.refused.Add(1)
	r := q.start(out, s.available(c), dns.RcodeRefused)
	r.reason = reasonForbidden
	return r.finish(s.limit(c, q))
}

func (s *Server) fail(c *client, q *query, out []byte) []byte {
	s.count.errors.Add(1)
	r := q.start(out, bitRA, dns.RcodeServerFailure)
	r.reason = reasonNoReach
	return r.finish(s.limit(c, q))
}

// limit is how long an answer may be, in bytes.
func (s *Server) limit(c *client, q *query) int {
	if !c.udp {
		return dns.MaxMsgSize
	}
	most := minUDP
	if q.edns {
		most = min(max(int(q.udpSize), minUDP), ourUDP)
	}
	if !c.known() {
		// The sender's address may be forged, and a victim's.
		most = min(most, s.o.Limits.Amplify*q.size)
	}
	return most
}

// allowed counts a question against the rate of who asks.
func (s *Server) allowed(c *client) bool {
	now := s.o.Now()
	if c.udp && !c.known() {
		return s.strangers.allow(c.addr, network(c.addr), now)
	}
	return s.clients.allow(c.addr, c.addr.BitLen(), now)
}

// limited deals with a question over the rate. Over UDP most get nothing, and
// one in a few a truncated answer, which is no longer than the question.
func (s *Server) limited(c *client, q *query, out []byte) ([]byte, outcome) {
	s.count.limited.Add(1)
	if !c.udp {
		r := q.start(out, 0, dns.RcodeRefused)
		return r.finish(dns.MaxMsgSize), answered
	}
	slip := s.o.Limits.Slip
	if q.n == 0 || slip < 0 || int(s.slipped.Add(1))%slip != 0 {
		return nil, dropped
	}
	r := q.start(out, bitTC, dns.RcodeSuccess)
	return r.finish(s.limit(c, q)), answered
}
