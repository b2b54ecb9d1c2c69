package dns

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// maxChain is how many aliases an answer may lead through.
const maxChain = 16

var (
	errShape = errors.New("answer cannot be read")
	errEmpty = errors.New("answer says nothing about the question")
)

// refine makes an entry of an upstream's answer. What does not belong to the
// question's own chain of aliases is left out, whoever sent it: an answer about
// one name says nothing about others.
func refine(raw []byte, f *flight, l *Limits, now time.Time) (*entry, error) {
	// Names in the answer point to the question; so they get its lower case,
	// and not the random one that we sent.
	copy(raw[headerSize:], f.q.name())
	var m dns.Msg
	if err := m.Unpack(raw); err != nil || len(m.Question) != 1 {
		return nil, errShape
	}
	if m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return nil, errEmpty // BADVERS and its like, whose upper bits are in OPT
	}
	answer, last := chain(&m, f.q.qtype, f.q.do)
	authority, negative := proofs(&m, last, f.q.do)
	found := slices.ContainsFunc(answer, func(rr dns.RR) bool { return rr.Header().Rrtype == f.q.qtype })
	if found {
		negative = 0
	}
	e := &entry{code: m.Rcode, stored: now}
	e.ttl = lifetime(answer, authority, found, negative, l)
	out := dns.Msg{Question: m.Question, Answer: answer, Ns: authority, Compress: true}
	var err error
	if e.whole, err = pack(&out, f.q.n); err != nil {
		return nil, err
	}
	public := slices.DeleteFunc(slices.Clone(answer), revealsPrivate)
	if e.filtered = len(public) < len(answer); e.filtered {
		out.Answer = public
		if e.public, err = pack(&out, f.q.n); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// chain returns the records that answer the question, in the order of the
// chain, and the name that it ends at.
func chain(m *dns.Msg, kind uint16, signed bool) (out []dns.RR, last string) {
	last = strings.ToLower(m.Question[0].Name)
	for range maxChain {
		direct := pick(m.Answer, last, kind, signed)
		if len(direct) > 0 {
			return append(out, direct...), last
		}
		alias := pick(m.Answer, last, dns.TypeCNAME, signed)
		i := slices.IndexFunc(alias, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeCNAME })
		if i < 0 {
			return out, last
		}
		// A DNAME above explains the alias to those who check signatures.
		for up := last; signed && up != "."; up = up[next(up):] {
			out = append(out, pick(m.Answer, up, dns.TypeDNAME, true)...)
		}
		out = append(out, alias...)
		cname, _ := alias[i].(*dns.CNAME)
		last = strings.ToLower(cname.Target)
	}
	return nil, last // a loop, or the work of somebody who likes long ones
}

// next returns where the parent of a written name begins; of the last label,
// where its dot is.
func next(name string) int {
	i, end := dns.NextLabel(name, 0)
	if end {
		return len(name) - 1
	}
	return i
}

// pick returns the records of a name and type and, where they are wanted, their
// signatures. There is only one CNAME.
func pick(list []dns.RR, name string, kind uint16, signed bool) []dns.RR {
	var out []dns.RR
	for _, rr := range list {
		h := rr.Header()
		if h.Class != dns.ClassINET || !strings.EqualFold(h.Name, name) {
			continue
		}
		sig, isSig := rr.(*dns.RRSIG)
		switch {
		case h.Rrtype == kind:
			if kind == dns.TypeCNAME && slices.ContainsFunc(out, func(rr dns.RR) bool { return rr.Header().Rrtype == kind }) {
				continue
			}
		case signed && isSig && sig.TypeCovered == kind:
		default:
			continue
		}
		h.Name = name
		out = append(out, rr)
	}
	return out
}

// proofs returns what of the authority section says that there is no more: the
// SOA of a zone that last is in and, where signatures are wanted, the records
// that prove it. negative is the negative TTL (RFC 2308 section 5), in seconds.
func proofs(m *dns.Msg, last string, signed bool) (out []dns.RR, negative uint32) {
	for _, rr := range m.Ns {
		h := rr.Header()
		if h.Class != dns.ClassINET {
			continue
		}
		switch v := rr.(type) {
		case *dns.SOA:
			if negative > 0 || !dns.IsSubDomain(h.Name, last) {
				continue
			}
			negative = min(h.Ttl, v.Minttl)
			h.Ttl = negative
		case *dns.NSEC, *dns.NSEC3:
			if !signed {
				continue
			}
		case *dns.RRSIG:
			proof := v.TypeCovered == dns.TypeNSEC || v.TypeCovered == dns.TypeNSEC3 || v.TypeCovered == dns.TypeSOA
			if !signed || !proof {
				continue
			}
		default:
			continue
		}
		out = append(out, rr)
	}
	return out, negative
}

// lifetime returns for how long an entry is fresh, and cuts the TTLs that are
// too long.
func lifetime(answer, authority []dns.RR, found bool, negative uint32, l *Limits) time.Duration {
	most := uint32(l.MaxTTL / time.Second)
	if !found {
		// Without a SOA nobody said for how long (RFC 2308 section 5).
		most = min(uint32(l.MaxNegativeTTL/time.Second), negative)
	}
	ttl := most
	for _, list := range [...][]dns.RR{answer, authority} {
		for _, rr := range list {
			h := rr.Header()
			if h.Ttl > 1<<31-1 {
				h.Ttl = 0 // RFC 2181 section 8
			}
			h.Ttl = min(h.Ttl, max(most, 1))
			ttl = min(ttl, h.Ttl)
		}
	}
	return time.Duration(ttl) * time.Second
}

// revealsPrivate says whether a record points to a private address.
func revealsPrivate(rr dns.RR) bool {
	var params []dns.SVCBKeyValue
	switch v := rr.(type) {
	case *dns.A:
		return pointsInside(v.A)
	case *dns.AAAA:
		return pointsInside(v.AAAA)
	case *dns.SVCB:
		params = v.Value
	case *dns.HTTPS:
		params = v.Value
	}
	for _, p := range params {
		switch hint := p.(type) {
		case *dns.SVCBIPv4Hint:
			if slices.ContainsFunc(hint.Hint, pointsInside) {
				return true
			}
		case *dns.SVCBIPv6Hint:
			if slices.ContainsFunc(hint.Hint, pointsInside) {
				return true
			}
		}
	}
	return false
}

func pointsInside[T ~[]byte](ip T) bool {
	addr, ok := netip.AddrFromSlice(ip)
	return !ok || IsPrivate(addr)
}

// pack makes a message of a packed answer, whose question's name is n bytes
// long.
func pack(m *dns.Msg, n int) (message, error) {
	b, err := m.Pack()
	if err != nil {
		return message{}, err
	}
	start := headerSize + n + 4
	out := message{
		an: uint16(len(m.Answer)), ns: uint16(len(m.Ns)),
	}
	at := start
	for range int(out.an) + int(out.ns) {
		if at = skipName(b, at); at < 0 || len(b)-at < 10 {
			return message{}, errShape
		}
		out.ttls = append(out.ttls, at+4)
		at += 10 + int(binary.BigEndian.Uint16(b[at+8:]))
	}
	if at != len(b) {
		return message{}, errShape
	}
	out.body = b[start:]
	return out, nil
}
