package dns

import (
	"encoding/binary"

	"github.com/miekg/dns"
)

// The bits of a header's second word (RFC 1035 section 4.1.1, RFC 4035).
const (
	bitQR = 1 << 15
	bitAA = 1 << 10
	bitTC = 1 << 9
	bitRD = 1 << 8
	bitRA = 1 << 7
	bitCD = 1 << 4

	headerSize = 12
	optSize    = 11
	// minUDP is what every client takes; ourUDP is what passes everywhere
	// without fragments, and the most that we send or ask for.
	minUDP = 512
	ourUDP = 1232
	// maxQuery is the longest question that is read. The longest name takes
	// 271 bytes; the rest is room for EDNS options.
	maxQuery = 2048
	// maxExtra is how many additional records a question may carry: OPT, and
	// a signature that we do not read.
	maxExtra = 2
)

// query is a parsed question. It holds no part of the packet.
type query struct {
	id, bits      uint16
	qtype, qclass uint16
	n             int           // length of the name
	sent          [maxName]byte // the name as it came: its case is kept
	folded        [maxName]byte // the name in lower case
	size          int           // of the packet

	edns, do bool
	udpSize  uint16
}

func (q *query) name() []byte { return q.folded[:q.n] }

func (q *query) recursion() bool { return q.bits&bitRD != 0 }

// unusable says that a packet gets no answer at all.
const unusable = -1

// parse reads a packet. It returns dns.RcodeSuccess for a question that can be
// answered, another code for one that gets only this code, and unusable for
// what is no question. It is strict: a packet that two programs could read
// differently is unusable.
func (q *query) parse(b []byte) int {
	if len(b) < headerSize || len(b) > maxQuery {
		return unusable
	}
	q.id = binary.BigEndian.Uint16(b)
	q.bits = binary.BigEndian.Uint16(b[2:])
	q.size = len(b)
	q.n, q.qtype, q.qclass = 0, 0, 0
	q.edns, q.do, q.udpSize = false, false, 0
	if q.bits&bitQR != 0 {
		return unusable // an answer: to answer it could go on for ever
	}
	if q.bits>>11&0xF != dns.OpcodeQuery {
		return dns.RcodeNotImplemented
	}
	questions, extra := binary.BigEndian.Uint16(b[4:]), binary.BigEndian.Uint16(b[10:])
	if questions != 1 || binary.BigEndian.Uint32(b[6:]) != 0 || extra > maxExtra {
		return dns.RcodeFormatError // RFC 9619
	}
	at := q.parseName(b, headerSize)
	if at < 0 || len(b)-at < 4 {
		q.n = 0
		return unusable
	}
	q.qtype = binary.BigEndian.Uint16(b[at:])
	q.qclass = binary.BigEndian.Uint16(b[at+2:])
	return q.parseExtra(b, at+4, int(extra))
}

// parseName reads the question's name and returns where it ends, or -1. There
// is nothing before it that it could point to, so pointers are refused.
func (q *query) parseName(b []byte, at int) int {
	start := at
	for {
		if at >= len(b) || b[at] > maxLabel {
			return -1
		}
		length := int(b[at])
		at += length + 1
		if at > len(b) || at-start > maxName {
			return -1
		}
		if length == 0 {
			break
		}
	}
	q.n = copy(q.sent[:], b[start:at])
	copy(q.folded[:], b[start:at])
	lower(q.folded[:q.n])
	return at
}

// parseExtra reads the additional records, of which only OPT counts
// (RFC 6891). Its options are not looked at: none is used or passed on, ECS
// (RFC 7871) least of all.
func (q *query) parseExtra(b []byte, at, count int) int {
	code := dns.RcodeSuccess
	for range count {
		isRoot := at < len(b) && b[at] == 0
		if at = skipName(b, at); at < 0 || len(b)-at < 10 {
			return unusable
		}
		kind := binary.BigEndian.Uint16(b[at:])
		class := binary.BigEndian.Uint16(b[at+2:])
		ttl := binary.BigEndian.Uint32(b[at+4:])
		at += 10 + int(binary.BigEndian.Uint16(b[at+8:]))
		if at > len(b) {
			return unusable
		}
		if kind != dns.TypeOPT {
			continue
		}
		if q.edns || !isRoot {
			return dns.RcodeFormatError
		}
		q.edns = true
		q.udpSize = class
		q.do = ttl&(1<<15) != 0
		if ttl>>16&0xFF != 0 {
			code = dns.RcodeBadVers
		}
	}
	if at != len(b) {
		return unusable
	}
	return code
}

// skipName returns where the name at at ends, or -1. It follows no pointers.
func skipName(b []byte, at int) int {
	for at < len(b) {
		c := int(b[at])
		switch {
		case c == 0:
			return at + 1
		case c&0xC0 == 0xC0:
			if at+2 > len(b) {
				return -1
			}
			return at + 2
		case c > maxLabel:
			return -1
		}
		at += c + 1
	}
	return -1
}
