package edge_test

import (
	"crypto/ecdh"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
	"time"
)

// scanner asks a TLS server what it takes by greetings made by hand: no client
// library offers what is no longer safe.
type scanner struct {
	t    testing.TB
	addr string
	host string
}

// Numbers of the protocols, of the extensions of RFC 8446 section 4.2 and
// others, and of alerts (section 6).
const (
	versionSSL2 = 0x0002
	versionSSL3 = 0x0300

	extName       = 0
	extGroups     = 10
	extPoints     = 11
	extSignatures = 13
	extALPN       = 16
	extMaster     = 23
	extTicket     = 35
	extVersions   = 43
	extShares     = 51
	extHeartbeat  = 15
	extRenegotiat = 0xff01

	alertHandshake    = 40
	alertVersion      = 70
	alertFallback     = 86
	alertUnknownName  = 112
	alertNoProtocol   = 120
	fallbackSCSV      = 0x5600 // RFC 7507
	renegotiationSCSV = 0x00ff // RFC 5746
)

// greeting is what a client offers.
type greeting struct {
	version  uint16
	suites   []uint16
	groups   []uint16
	compress []byte
	alpn     []string
	share    bool // a key for X25519; else the server has to ask for one
}

// met is what a server answers.
type met struct {
	alert   int // instead of an answer; -1: none
	version uint16
	suite   uint16
	group   uint16
	comp    byte
	ext     map[uint16][]byte
}

// ordinary is a greeting with what clients of today know.
func ordinary(version uint16) greeting {
	return greeting{version: version, groups: []uint16{uint16(tls.X25519), uint16(tls.CurveP256)}, compress: []byte{0}, share: true,
		suites: []uint16{tls.TLS_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}}
}

// sized appends what put appends, with its length before it in n bytes.
func sized(b []byte, n int, put func([]byte) []byte) []byte {
	at := len(b)
	b = put(append(b, make([]byte, n)...))
	for i, size := n-1, len(b)-at-n; i >= 0; i, size = i-1, size>>8 {
		b[at+i] = byte(size)
	}
	return b
}

func numbers(list []uint16) func([]byte) []byte {
	return func(b []byte) []byte {
		for _, n := range list {
			b = binary.BigEndian.AppendUint16(b, n)
		}
		return b
	}
}

func literally(s string) func([]byte) []byte { return func(b []byte) []byte { return append(b, s...) } }

// hello is the greeting as a record.
func (g greeting) hello(t testing.TB, host string) []byte {
	t.Helper()
	var random [64]byte
	_, _ = rand.Read(random[:])
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	legacy := min(g.version, tls.VersionTLS12)
	ext := func(b []byte, kind uint16, put func([]byte) []byte) []byte {
		return sized(binary.BigEndian.AppendUint16(b, kind), 2, put)
	}
	body := func(b []byte) []byte {
		b = append(binary.BigEndian.AppendUint16(b, legacy), random[:32]...)
		b = sized(b, 1, literally(string(random[32:])))
		b = sized(b, 2, numbers(g.suites))
		b = sized(b, 1, literally(string(g.compress)))
		return sized(b, 2, func(b []byte) []byte {
			b = ext(b, extName, func(b []byte) []byte {
				return sized(b, 2, func(b []byte) []byte { return sized(append(b, 0), 2, literally(host)) })
			})
			b = ext(b, extGroups, func(b []byte) []byte { return sized(b, 2, numbers(g.groups)) })
			b = ext(b, extPoints, literally("\x01\x00"))
			b = ext(b, extSignatures, func(b []byte) []byte {
				return sized(b, 2, numbers([]uint16{0x0403, 0x0503, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0203, 0x0201}))
			})
			b = ext(b, extMaster, literally(""))
			b = ext(b, extTicket, literally(""))
			b = ext(b, extHeartbeat, literally("\x01"))
			b = ext(b, extRenegotiat, literally("\x00"))
			if len(g.alpn) > 0 {
				b = ext(b, extALPN, func(b []byte) []byte {
					return sized(b, 2, func(b []byte) []byte {
						for _, p := range g.alpn {
							b = sized(b, 1, literally(p))
						}
						return b
					})
				})
			}
			if g.version >= tls.VersionTLS13 {
				b = ext(b, extVersions, func(b []byte) []byte { return sized(b, 1, numbers([]uint16{g.version})) })
				b = ext(b, extShares, func(b []byte) []byte {
					return sized(b, 2, func(b []byte) []byte {
						if !g.share {
							return b
						}
						return sized(binary.BigEndian.AppendUint16(b, uint16(tls.X25519)), 2, literally(string(key.PublicKey().Bytes())))
					})
				})
			}
			return b
		})
	}
	record := []byte{22, 3, byte(min(legacy&0xff, 1))}
	return sized(record, 2, func(b []byte) []byte { return sized(append(b, 1), 3, body) })
}

// meet sends a greeting and reads the answer, as far as it is in clear text.
func (s scanner) meet(g greeting) met {
	s.t.Helper()
	conn := s.dial()
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write(g.hello(s.t, s.host)); err != nil {
		s.t.Fatal(err)
	}
	m := met{alert: -1}
	var flight []byte
	for {
		head := make([]byte, 5)
		if _, err := io.ReadFull(conn, head); err != nil {
			s.t.Fatalf("%#x: the server ended without a word: %v", g.version, err)
		}
		body := make([]byte, binary.BigEndian.Uint16(head[3:]))
		if _, err := io.ReadFull(conn, body); err != nil {
			s.t.Fatal(err)
		}
		switch {
		case head[0] == 21:
			m.alert = int(body[1])
			return m
		case head[0] != 22:
			s.t.Fatalf("a record of type %d", head[0])
		}
		flight = append(flight, body...)
		done, err := m.read(flight)
		if err != nil {
			s.t.Fatal(err)
		}
		if done {
			return m
		}
	}
}

func (s scanner) dial() net.Conn {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		s.t.Fatal(err)
	}
	return conn
}

var errServerHello = errors.New("malformed ServerHello")

// read takes messages of a server apart. It reports whether there were enough.
func (m *met) read(flight []byte) (done bool, err error) {
	for len(flight) >= 4 {
		size := int(flight[1])<<16 | int(flight[2])<<8 | int(flight[3])
		if len(flight) < 4+size {
			return false, nil
		}
		kind, body := flight[0], flight[4:4+size]
		flight = flight[4+size:]
		switch kind {
		case 2:
			if err := m.readHello(body); err != nil {
				return false, err
			}
			if m.version >= tls.VersionTLS13 {
				return true, nil // what follows is encrypted
			}
		case 12: // ServerKeyExchange (RFC 8422 section 5.4)
			if len(body) > 3 && body[0] == 3 {
				m.group = binary.BigEndian.Uint16(body[1:])
			}
		case 14: // ServerHelloDone
			return true, nil
		}
	}
	return false, nil
}

func (m *met) readHello(b []byte) error {
	if len(b) < 38 || len(b) < 38+int(b[34]) {
		return errServerHello
	}
	m.version = binary.BigEndian.Uint16(b)
	b = b[35+int(b[34]):]
	m.suite, m.comp = binary.BigEndian.Uint16(b), b[2]
	m.ext = map[uint16][]byte{}
	if b = b[3:]; len(b) < 2 {
		return nil
	}
	for b = b[2:]; len(b) >= 4; {
		kind, size := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
		if len(b) < 4+size {
			return errServerHello
		}
		m.ext[kind], b = b[4:4+size], b[4+size:]
	}
	if v := m.ext[extVersions]; len(v) == 2 {
		m.version = binary.BigEndian.Uint16(v)
	}
	if k := m.ext[extShares]; len(k) >= 2 {
		m.group = binary.BigEndian.Uint16(k)
	}
	return nil
}

// all asks for every number, then once more for what was found, so that the
// result is in the server's order.
func all(ask func(offer []uint16) (chosen uint16, ok bool)) []uint16 {
	return among(among(every(), ask), ask)
}

// among asks again and again, without what the server has chosen, until it
// chooses nothing. The numbers go out in greetings of a few thousand.
func among(offered []uint16, ask func(offer []uint16) (chosen uint16, ok bool)) []uint16 {
	var found []uint16
	for part := range slices.Chunk(offered, 4000) {
		part = slices.Clone(part)
		for {
			n, ok := ask(part)
			if !ok {
				break
			}
			found = append(found, n)
			part = slices.DeleteFunc(part, func(m uint16) bool { return m == n })
		}
	}
	return found
}

// every is all numbers that can stand for a cipher suite or a group.
func every() []uint16 {
	list := make([]uint16, 0, 1<<16)
	for n := range 1 << 16 {
		if n != fallbackSCSV && n != renegotiationSCSV {
			list = append(list, uint16(n))
		}
	}
	return list
}

// suites are the cipher suites of a version of the protocol.
func (s scanner) suites(version uint16) []uint16 {
	s.t.Helper()
	return all(func(offer []uint16) (uint16, bool) {
		g := ordinary(version)
		g.suites = offer
		m := s.meet(g)
		return m.suite, m.alert < 0 && m.version == version
	})
}

// groups are the groups for the key exchange of a version.
func (s scanner) groups(version uint16) []uint16 {
	s.t.Helper()
	return all(func(offer []uint16) (uint16, bool) {
		g := ordinary(version)
		g.groups, g.share = offer, false
		m := s.meet(g)
		return m.group, m.alert < 0 && m.version == version
	})
}

// speaks reports whether the server agrees on a version, whatever else it is
// offered.
func (s scanner) speaks(version uint16) bool {
	s.t.Helper()
	if version == versionSSL2 {
		return s.speaksSSL2()
	}
	for part := range slices.Chunk(every(), 4000) {
		g := ordinary(version)
		g.suites = part
		m := s.meet(g)
		if m.alert < 0 && m.version == version {
			return true
		}
		if m.alert >= 0 && m.alert != alertVersion && m.alert != alertHandshake {
			s.t.Errorf("%s is refused with alert %d", tls.VersionName(version), m.alert)
		}
	}
	return false
}

// speaksSSL2 sends a greeting of SSL 2, which had a form of its own.
func (s scanner) speaksSSL2() bool {
	s.t.Helper()
	conn := s.dial()
	defer func() { _ = conn.Close() }()
	suites := "\x01\x00\x80\x02\x00\x80\x03\x00\x80\x04\x00\x80\x05\x00\x80\x06\x00\x40\x07\x00\xc0"
	body := fmt.Sprintf("\x01\x00\x02\x00%c\x00\x00\x00\x10%s0123456789abcdef", len(suites), suites)
	if _, err := conn.Write(append([]byte{0x80, byte(len(body))}, body...)); err != nil {
		s.t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if errors.Is(err, net.ErrClosed) {
		s.t.Fatal(err)
	}
	return len(answer) > 2 && answer[0]&0x80 != 0 && answer[2] == 4
}

// names are what Go calls cipher suites, in order and each once.
func names(suites []uint16) []string {
	var list []string
	for _, n := range suites {
		list = append(list, tls.CipherSuiteName(n))
	}
	slices.Sort(list)
	return slices.Compact(list)
}
