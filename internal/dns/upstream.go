package dns

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// upstreams are the resolvers that we ask, in the order of preference.
type upstreams struct {
	list []*upstream
	log  *slog.Logger
}

// upstream is one of them and how it does. After a few tries without any answer
// it is asked last, for longer each time, until it answers again.
type upstream struct {
	addr netip.AddrPort

	mu    sync.Mutex
	fails int // in a row
	until time.Time
	loop  time.Time // until when it is held to ask us what we ask it
}

const (
	failsToRest = 2
	firstRest   = 5 * time.Second
	longestRest = time.Minute
)

func newUpstreams(addrs []netip.AddrPort, log *slog.Logger) *upstreams {
	us := &upstreams{log: log}
	for _, a := range addrs {
		us.list = append(us.list, &upstream{addr: a})
	}
	return us
}

func (us *upstreams) any() bool { return len(us.list) > 0 }

// order returns all upstreams: those that are fit, then those that rest.
func (us *upstreams) order(now time.Time) []*upstream {
	out := make([]*upstream, 0, len(us.list))
	var resting []*upstream
	for _, u := range us.list {
		if u.fit(now) {
			out = append(out, u)
		} else {
			resting = append(resting, u)
		}
	}
	return append(out, resting...)
}

// fit says whether u is to be asked before those that rest. When its rest is
// over, the first to ask finds out for all others.
func (u *upstream) fit(now time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if now.Before(u.until) || now.Before(u.loop) {
		return false
	}
	if u.fails >= failsToRest {
		u.until = now.Add(firstRest)
	}
	return true
}

// good notes an answer, and reports whether u had been resting.
func (u *upstream) good() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	rested := u.fails >= failsToRest
	u.fails, u.until = 0, time.Time{}
	return rested
}

// bad notes a try without an answer, and reports whether a rest begins.
func (u *upstream) bad(now time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.fails++
	if u.fails < failsToRest {
		return false
	}
	u.until = now.Add(min(firstRest<<min(u.fails-failsToRest, 8), longestRest))
	return u.fails == failsToRest
}

// loops notes that what u was asked came back to us. It may well answer, if
// only with our own errors, so that it answers says nothing for it.
func (u *upstream) loops(now time.Time, log *slog.Logger) {
	u.mu.Lock()
	first := !now.Before(u.loop)
	u.loop = now.Add(longestRest)
	u.mu.Unlock()
	if first {
		log.Warn("an upstream resolver asks us what we ask it: name another with --dns-forward", keyUpstream, u.addr)
	}
}

// judge counts how a try went. An upstream that answered with an error is well
// itself.
func (s *Server) judge(u *upstream, err error) {
	if err == nil || errors.Is(err, errAnswer) {
		if u.good() {
			s.o.Log.Info("upstream resolver answers again", keyUpstream, u.addr)
		}
	} else if u.bad(s.o.Now()) {
		s.o.Log.Warn("upstream resolver does not answer", keyUpstream, u.addr, keyError, err)
	}
	if err != nil {
		s.count.upstreamFailures.Add(1)
	}
}

var (
	// errAnswer: the upstream answered, and it is of no use.
	errAnswer = errors.New("upstream cannot answer")
	// errOverTCP: the answer is to be had over TCP.
	errOverTCP = errors.New("answer over TCP wanted")
	errForeign = errors.New("not the answer to what was asked")
)

// ask asks one upstream: over UDP, over TCP where the answer is too long for it
// or somebody interferes, and without EDNS where it does not know that.
func (s *Server) ask(ctx context.Context, u *upstream, f *flight, timeout time.Duration) (*entry, error) {
	for _, edns := range [...]bool{true, false} {
		raw, err := s.exchange(ctx, u, f, edns, timeout)
		if err != nil {
			return nil, err
		}
		switch code := int(raw[3] & 0xF); code {
		case dns.RcodeSuccess, dns.RcodeNameError:
			e, err := refine(raw, f, &s.o.Limits, s.o.Now())
			if err != nil {
				return nil, fmt.Errorf("%w: %w", errAnswer, err)
			}
			return e, nil
		case dns.RcodeFormatError, dns.RcodeNotImplemented:
			if edns {
				continue
			}
			return nil, fmt.Errorf("%w: %s", errAnswer, dns.RcodeToString[code])
		default:
			return nil, fmt.Errorf("%w: %s", errAnswer, dns.RcodeToString[code])
		}
	}
	return nil, errAnswer
}

func (s *Server) exchange(ctx context.Context, u *upstream, f *flight, edns bool, timeout time.Duration) ([]byte, error) {
	raw, err := s.overUDP(ctx, u, f, edns, timeout)
	if errors.Is(err, errOverTCP) {
		return s.overTCP(ctx, u, f, edns, timeout)
	}
	return raw, err
}

// upConn is a socket for one question. It ends with the server.
type upConn struct {
	net.Conn
	unhook func() bool
}

func (c upConn) close() {
	c.unhook()
	_ = c.Close()
}

// dial opens a socket of its own for one question, so that its port is as hard
// to guess as the question's number (RFC 5452).
func (s *Server) dial(ctx context.Context, network string, u *upstream, timeout time.Duration) (upConn, error) {
	short, stop := context.WithTimeout(ctx, timeout)
	defer stop()
	var d net.Dialer
	conn, err := d.DialContext(short, network, u.addr.String())
	if err != nil {
		return upConn{}, fmt.Errorf("reach upstream: %w", err)
	}
	end, _ := short.Deadline()
	if err := conn.SetDeadline(end); err != nil {
		_ = conn.Close()
		return upConn{}, fmt.Errorf("set deadline: %w", err)
	}
	return upConn{conn, context.AfterFunc(ctx, func() { _ = conn.Close() })}, nil
}

// forgeries is how many packets that are not the answer are looked at before
// the question goes over TCP, where nobody can put an answer in.
const forgeries = 4

func (s *Server) overUDP(ctx context.Context, u *upstream, f *flight, edns bool, timeout time.Duration) ([]byte, error) {
	conn, err := s.dial(ctx, "udp", u, timeout)
	if err != nil {
		return nil, err
	}
	defer conn.close()
	packet := f.packet(edns)
	if _, err := conn.Write(packet); err != nil {
		return nil, fmt.Errorf("ask: %w", err)
	}
	buf := make([]byte, 4096)
	for range forgeries {
		n, err := conn.Read(buf)
		if err != nil {
			return nil, fmt.Errorf("read answer: %w", err)
		}
		switch genuine(buf[:n], packet) {
		case yes:
			if binary.BigEndian.Uint16(buf[2:])&bitTC != 0 {
				return nil, errOverTCP
			}
			return buf[:n], nil
		case otherCase:
			s.count.forged.Add(1)
			return nil, errOverTCP
		case no:
			s.count.forged.Add(1)
		}
	}
	return nil, errOverTCP
}

func (s *Server) overTCP(ctx context.Context, u *upstream, f *flight, edns bool, timeout time.Duration) ([]byte, error) {
	conn, err := s.dial(ctx, "tcp", u, timeout)
	if err != nil {
		return nil, err
	}
	defer conn.close()
	packet := f.packet(edns)
	framed := append(binary.BigEndian.AppendUint16(nil, uint16(len(packet))), packet...)
	if _, err := conn.Write(framed); err != nil {
		return nil, fmt.Errorf("ask over TCP: %w", err)
	}
	raw, err := readMessage(conn, make([]byte, dns.MaxMsgSize))
	if err != nil {
		return nil, fmt.Errorf("read answer over TCP: %w", err)
	}
	if genuine(raw, packet) == no {
		return nil, errForeign
	}
	return bytes.Clone(raw), nil
}

// packet makes the question that upstreams get: the client's name, type and
// wish for signatures, and nothing else that a client sent.
func (f *flight) packet(edns bool) []byte {
	b := make([]byte, headerSize, headerSize+len(f.sent)+4+optSize)
	_, _ = rand.Read(b[:2]) // never fails
	binary.BigEndian.PutUint16(b[2:], bitRD|f.q.bits&bitCD)
	binary.BigEndian.PutUint16(b[4:], 1)
	b = append(b, f.sent...)
	b = binary.BigEndian.AppendUint16(b, f.q.qtype)
	b = binary.BigEndian.AppendUint16(b, dns.ClassINET)
	if !edns {
		return b
	}
	b[11] = 1
	b = append(b, 0)
	b = binary.BigEndian.AppendUint16(b, dns.TypeOPT)
	b = binary.BigEndian.AppendUint16(b, ourUDP)
	ttl := uint32(0)
	if f.q.do {
		ttl = 1 << 15
	}
	b = binary.BigEndian.AppendUint32(b, ttl)
	return binary.BigEndian.AppendUint16(b, 0)
}

type verdict int

const (
	no verdict = iota
	yes
	otherCase // all is right but for the case of letters
)

// genuine says whether raw answers the question in packet: the same number and
// the same question, to the letter (RFC 5452 section 9).
func genuine(raw, packet []byte) verdict {
	if len(raw) < headerSize || raw[0] != packet[0] || raw[1] != packet[1] {
		return no
	}
	bits := binary.BigEndian.Uint16(raw[2:])
	if bits&bitQR == 0 || bits>>11&0xF != dns.OpcodeQuery {
		return no
	}
	code := int(bits & 0xF)
	if binary.BigEndian.Uint16(raw[4:]) == 0 && (code == dns.RcodeFormatError || code == dns.RcodeNotImplemented) {
		return yes // it understood nothing, the question neither
	}
	end := skipName(packet, headerSize) + 4
	if binary.BigEndian.Uint16(raw[4:]) != 1 || len(raw) < end {
		return no
	}
	got, want := raw[headerSize:end], packet[headerSize:end]
	if bytes.Equal(got, want) {
		return yes
	}
	n := len(want) - 4
	folded, wanted := bytes.Clone(got[:n]), bytes.Clone(want[:n])
	lower(folded)
	lower(wanted)
	if bytes.Equal(folded, wanted) && bytes.Equal(got[n:], want[n:]) {
		return otherCase
	}
	return no
}
