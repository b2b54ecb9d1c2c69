package dns

import (
	"strings"
	"time"

	"github.com/miekg/dns"

	"landward/internal/landward"
)

// zone is everything that we are the authority for. It does not change once
// made.
type zone struct {
	soa      soa
	wildcard bool // Options.Wildcard
	stars    bool // some name is "*.…"
	ttl      uint32
	edge     *addresses
	names    map[string]*node // all that exist, those above others included
	caa      [][]byte
	glue     bool // the name server's own name is in the zone
}

// node is one name that exists.
type node struct {
	host bool
	txt  []text
}

// text is a TXT record of a challenge.
type text struct {
	value string
	data  []byte // as it is sent
	ttl   time.Duration
	until time.Time // when it is forgotten
}

// newZone makes the parts of a zone that stay the same.
func newZone(o Options) (*zone, error) {
	apex, ok := wireName(o.Zone)
	if !ok || apex[1] == '*' {
		return nil, landward.Invalid("domain", "%q is not a domain that DNS can serve", o.Zone)
	}
	server, ok := wireName(o.NameServer)
	if !ok || server[1] == '*' {
		return nil, landward.Invalid("", "%q is not the name of a name server", o.NameServer)
	}
	mailbox := "\x0ahostmaster" + apex
	if len(mailbox) > maxName {
		return nil, landward.Invalid("domain", "%q is too long a domain", o.Zone)
	}
	z := &zone{
		soa: soa{
			apex: apex, server: server, mailbox: mailbox,
			serial: uint32(o.Now().Unix()), ttl: fixedTTL, negative: uint32(o.NegativeTTL / time.Second),
		},
		wildcard: o.Wildcard,
		ttl:      uint32(o.TTL / time.Second),
		edge:     newAddresses(o.Addresses),
		glue:     below([]byte(server), apex),
	}
	for _, issuer := range o.Issuers {
		z.caa = append(z.caa, []byte("\x00\x05issue"+issuer))
	}
	return z, nil
}

// with returns the zone with other hosts and challenges, and the next serial
// (RFC 1982 arithmetic is the wrap-around of uint32).
func (z *zone) with(hosts []string, texts map[string][]text) *zone {
	next := *z
	next.soa.serial++
	next.stars = false
	next.names = make(map[string]*node, len(hosts)+len(texts)+2)
	next.node(z.soa.apex).host = true
	if z.glue {
		next.node(z.soa.server).host = true
	}
	for _, host := range hosts {
		next.node(host).host = true
		next.stars = next.stars || strings.HasPrefix(host, "\x01*")
	}
	for name, list := range texts {
		next.node(name).txt = list
		next.stars = next.stars || strings.HasPrefix(name, "\x01*")
	}
	return &next
}

// node returns the node of a name below the apex, making it and the empty ones
// above it where they are missing.
func (z *zone) node(name string) *node {
	if n := z.names[name]; n != nil {
		return n
	}
	n := &node{}
	z.names[name] = n
	if len(name) > len(z.soa.apex) {
		z.node(parent(name))
	}
	return n
}

// find says what a name of the zone has; ok is false where it does not exist.
func (z *zone) find(name []byte) (host bool, txt []text, ok bool) {
	n := z.names[string(name)]
	switch {
	case z.wildcard && n == nil:
		return true, nil, true
	case n != nil:
		return n.host || z.wildcard, n.txt, true
	case !z.stars:
		return false, nil, false
	}
	// The nearest name above that exists decides (RFC 4592 section 3.3.1).
	up := name
	for z.names[string(up)] == nil {
		up = up[int(up[0])+1:]
	}
	if len(up)+2 > maxName {
		return false, nil, false
	}
	var star [maxName]byte
	k := copy(star[:], "\x01*")
	k += copy(star[k:], up)
	n = z.names[string(star[:k])]
	if n == nil {
		return false, nil, false
	}
	return n.host, n.txt, true
}

// answer answers a question about a name of the zone.
func (z *zone) answer(r *reply, now time.Time) {
	r.bits |= bitAA
	host, txt, ok := z.find(r.q.name())
	if !ok {
		r.code = dns.RcodeNameError
		z.soa.write(r, true)
		return
	}
	before := r.an
	apex := r.q.n == len(z.soa.apex)
	switch kind := r.q.qtype; {
	case kind == dns.TypeANY:
		r.hinfo()
	case kind == dns.TypeSOA && apex:
		z.soa.write(r, false)
	case kind == dns.TypeNS && apex:
		z.nameServer(r)
	case kind == dns.TypeCAA && apex:
		for _, data := range z.caa {
			r.answer(dns.TypeCAA, fixedTTL, data)
		}
	case kind == dns.TypeTXT:
		for i := range txt {
			if now.Before(txt[i].until) {
				r.answer(dns.TypeTXT, uint32(txt[i].ttl/time.Second), txt[i].data)
			}
		}
	case host:
		z.edge.answer(r, z.ttl)
	}
	if r.an == before {
		z.soa.write(r, true)
	}
}

// nameServer adds the NS record and, where its name is ours, its addresses.
func (z *zone) nameServer(r *reply) {
	r.owner(r.q.n)
	r.head(dns.TypeNS, fixedTTL, 0)
	from := len(r.b)
	r.name(z.soa.server, z.soa.apex)
	r.measured(from)
	r.an++
	if !z.glue {
		return
	}
	for _, set := range [...]struct {
		kind uint16
		list [][]byte
	}{{dns.TypeA, z.edge.four}, {dns.TypeAAAA, z.edge.six}} {
		for _, data := range set.list {
			r.name(z.soa.server, z.soa.apex)
			r.head(set.kind, z.ttl, len(data))
			r.b = append(r.b, data...)
			r.ar++
		}
	}
}

// textData cuts a text into the strings of a TXT record (RFC 1035 section
// 3.3.14).
func textData(s string) []byte {
	if s == "" {
		return []byte{0}
	}
	var b []byte
	for len(s) > 0 {
		n := min(len(s), 255)
		b = append(b, byte(n))
		b = append(b, s[:n]...)
		s = s[n:]
	}
	return b
}

// inZone returns the wire names of those written hosts that are in the zone.
func (z *zone) inZone(hosts []string) []string {
	out := make([]string, 0, len(hosts))
	for _, h := range hosts {
		if w, ok := wireName(h); ok && below([]byte(w), z.soa.apex) {
			out = append(out, w)
		}
	}
	return out
}
