package dns_test

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// asked is what an upstream of a test was asked.
type asked struct {
	*dns.Msg
	tcp  bool
	port int
}

// fake is an upstream whose answers a test makes up: any number of packets to
// one question.
type fake struct {
	t      testing.TB
	udp    *net.UDPConn
	tcp    *net.TCPListener
	answer func(asked) [][]byte
	wg     sync.WaitGroup

	mu  sync.Mutex
	all []asked
}

func newFake(t testing.TB, answer func(asked) [][]byte) *fake {
	t.Helper()
	f := &fake{t: t, answer: answer}
	for range 20 {
		udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		tcp, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: udp.LocalAddr().(*net.UDPAddr).Port})
		if err != nil {
			udp.Close()
			continue
		}
		f.udp, f.tcp = udp, tcp
		break
	}
	if f.udp == nil {
		t.Fatal("no port is free")
	}
	f.wg.Go(f.serveUDP)
	f.wg.Go(f.serveTCP)
	t.Cleanup(f.close)
	return f
}

func (f *fake) close() {
	f.udp.Close()
	f.tcp.Close()
	f.wg.Wait()
}

func (f *fake) addr() string { return f.udp.LocalAddr().String() }

func (f *fake) serveUDP() {
	b := make([]byte, 65535)
	for {
		n, from, err := f.udp.ReadFromUDP(b)
		if err != nil {
			return
		}
		m := new(dns.Msg)
		if m.Unpack(b[:n]) != nil {
			f.t.Error("the upstream cannot read the question")
			continue
		}
		q := asked{m, false, from.Port}
		f.note(q)
		f.wg.Go(func() {
			for _, out := range f.answer(q) {
				f.udp.WriteToUDP(out, from)
			}
		})
	}
}

func (f *fake) serveTCP() {
	for {
		conn, err := f.tcp.Accept()
		if err != nil {
			return
		}
		f.wg.Go(func() {
			defer conn.Close()
			var head [2]byte
			if _, err := io.ReadFull(conn, head[:]); err != nil {
				return
			}
			b := make([]byte, binary.BigEndian.Uint16(head[:]))
			if _, err := io.ReadFull(conn, b); err != nil {
				return
			}
			m := new(dns.Msg)
			if m.Unpack(b) != nil {
				f.t.Error("the upstream cannot read the question")
				return
			}
			q := asked{m, true, 0}
			f.note(q)
			for _, out := range f.answer(q) {
				conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...))
			}
		})
	}
}

func (f *fake) note(q asked) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, q)
}

func (f *fake) asked() []asked {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]asked(nil), f.all...)
}

// rrs reads records; OWNER stands for the question's name as it was sent.
func rrs(t testing.TB, q asked, lines ...string) []dns.RR {
	var out []dns.RR
	for _, l := range lines {
		rr, err := dns.NewRR(l)
		if err != nil {
			t.Errorf("%q: %v", l, err)
			continue
		}
		if rr.Header().Name == "owner." {
			rr.Header().Name = q.Question[0].Name
		}
		out = append(out, rr)
	}
	return out
}

func packed(t testing.TB, m *dns.Msg) []byte {
	b, err := m.Pack()
	if err != nil {
		t.Error(err)
	}
	return b
}

// reply is an honest answer with records ("owner. 60 IN A 192.0.2.1").
func reply(t testing.TB, q asked, lines ...string) [][]byte {
	m := new(dns.Msg).SetReply(q.Msg)
	m.RecursionAvailable = true
	m.Compress = true
	m.Answer = rrs(t, q, lines...)
	return [][]byte{packed(t, m)}
}

// always answers every question with the same records.
func always(t testing.TB, lines ...string) func(asked) [][]byte {
	return func(q asked) [][]byte { return reply(t, q, lines...) }
}

// rcode answers with nothing but a code.
func rcode(t testing.TB, code int) func(asked) [][]byte {
	return func(q asked) [][]byte { return [][]byte{packed(t, new(dns.Msg).SetRcode(q.Msg, code))} }
}

// silent never answers.
func silent(asked) [][]byte { return nil }
