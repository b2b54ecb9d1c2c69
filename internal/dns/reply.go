package dns

import (
	"encoding/binary"
	"strings"

	"github.com/miekg/dns"
)

// Extended errors (RFC 8914) that we send to those who speak EDNS.
const (
	noReason        = -1
	reasonStale     = 3
	reasonFiltered  = 17
	reasonForbidden = 18
	reasonNoReach   = 22
)

// reasonSize is the length of the option that holds one.
const reasonSize = 6

// fixedTTL is for what never changes, in seconds.
const fixedTTL = 3600

// reply is an answer that is being written. The name of the question stays as
// the client wrote it (draft-vixie-dnsext-dns0x20), and all owners point to it.
type reply struct {
	q          *query
	b          []byte
	bits       uint16
	code       int
	reason     int
	an, ns, ar uint16
}

// start begins an answer in out.
func (q *query) start(out []byte, bits uint16, code int) reply {
	r := reply{q: q, bits: bits, code: code, reason: noReason}
	r.b = append(out[:0], make([]byte, headerSize)...)
	if q.n > 0 {
		r.b = append(r.b, q.sent[:q.n]...)
		r.b = binary.BigEndian.AppendUint16(r.b, q.qtype)
		r.b = binary.BigEndian.AppendUint16(r.b, q.qclass)
	}
	return r
}

// owner writes the owner of a record: the ending of the question's name that
// is n bytes long.
func (r *reply) owner(n int) {
	if n <= 1 {
		r.b = append(r.b, 0)
		return
	}
	r.b = binary.BigEndian.AppendUint16(r.b, 0xC000|uint16(headerSize+r.q.n-n))
}

func (r *reply) head(kind uint16, ttl uint32, length int) {
	r.b = binary.BigEndian.AppendUint16(r.b, kind)
	r.b = binary.BigEndian.AppendUint16(r.b, dns.ClassINET)
	r.b = binary.BigEndian.AppendUint32(r.b, ttl)
	r.b = binary.BigEndian.AppendUint16(r.b, uint16(length))
}

// answer adds a record about the question's name.
func (r *reply) answer(kind uint16, ttl uint32, data []byte) {
	r.owner(r.q.n)
	r.head(kind, ttl, len(data))
	r.b = append(r.b, data...)
	r.an++
}

// name writes a name inside a record; the part of it that is zone, an ending
// of the question's name, is a pointer.
func (r *reply) name(name, zone string) {
	own, ok := strings.CutSuffix(name, zone)
	if !ok || !below([]byte(name), zone) {
		r.b = append(r.b, name...)
		return
	}
	r.b = append(r.b, own...)
	r.owner(len(zone))
}

// measured runs write and puts the length of what it wrote into the two bytes
// before it.
func (r *reply) measured(from int) {
	binary.BigEndian.PutUint16(r.b[from-2:], uint16(len(r.b)-from))
}

// hinfo answers ANY: one small record in place of everything (RFC 8482).
func (r *reply) hinfo() {
	r.answer(dns.TypeHINFO, fixedTTL, []byte("\x07RFC8482\x00"))
}

// soa is a zone's start of authority. Its apex is an ending of the name that
// is asked for.
type soa struct {
	apex, server, mailbox string
	serial                uint32
	ttl                   uint32 // of the record
	negative              uint32 // for how long others may remember what is not there
}

// write adds the record. As a part of a negative answer its own TTL is no
// longer than the negative one (RFC 2308 section 3).
func (s *soa) write(r *reply, negative bool) {
	ttl := s.ttl
	if negative {
		ttl = min(ttl, s.negative)
		r.ns++
	} else {
		r.an++
	}
	r.owner(len(s.apex))
	r.head(dns.TypeSOA, ttl, 0)
	from := len(r.b)
	r.name(s.server, s.apex)
	r.name(s.mailbox, s.apex)
	const refresh, retry, expire = 7200, 900, 1209600
	for _, v := range [...]uint32{s.serial, refresh, retry, expire, s.negative} {
		r.b = binary.BigEndian.AppendUint32(r.b, v)
	}
	r.measured(from)
}

// finish completes the answer. One that is longer than limit is replaced by a
// truncated one without records: half a set of addresses helps nobody, and TCP
// has the whole.
func (r *reply) finish(limit int) []byte {
	if r.an+r.ns+r.ar > 0 && len(r.b)+r.q.optSize() > limit {
		r.b = r.b[:headerSize+r.q.n+4]
		r.bits |= bitTC
		r.an, r.ns, r.ar = 0, 0, 0
	}
	if r.q.edns {
		r.option(r.reason >= 0 && len(r.b)+optSize+reasonSize <= limit)
	}
	b := r.b
	binary.BigEndian.PutUint16(b, r.q.id)
	binary.BigEndian.PutUint16(b[2:], bitQR|r.bits|r.q.bits&(0xF<<11|bitRD|bitCD)|uint16(r.code&0xF))
	if r.q.n > 0 {
		binary.BigEndian.PutUint16(b[4:], 1)
	}
	binary.BigEndian.PutUint16(b[6:], r.an)
	binary.BigEndian.PutUint16(b[8:], r.ns)
	binary.BigEndian.PutUint16(b[10:], r.ar)
	return b
}

// optSize is how long OPT has to be.
func (q *query) optSize() int {
	if q.edns {
		return optSize
	}
	return 0
}

// option adds OPT (RFC 6891): its class is our size, its TTL holds the upper
// bits of the code and the DO bit.
func (r *reply) option(reason bool) {
	ttl := uint32(r.code>>4) << 24
	if r.q.do {
		ttl |= 1 << 15
	}
	r.b = append(r.b, 0)
	r.b = binary.BigEndian.AppendUint16(r.b, dns.TypeOPT)
	r.b = binary.BigEndian.AppendUint16(r.b, ourUDP)
	r.b = binary.BigEndian.AppendUint32(r.b, ttl)
	if reason {
		r.b = binary.BigEndian.AppendUint16(r.b, reasonSize)
		r.b = binary.BigEndian.AppendUint16(r.b, dns.EDNS0EDE)
		r.b = binary.BigEndian.AppendUint16(r.b, 2)
		r.b = binary.BigEndian.AppendUint16(r.b, uint16(r.reason))
	} else {
		r.b = binary.BigEndian.AppendUint16(r.b, 0)
	}
	r.ar++
}
