package dns_test

import (
	"bytes"
	"net"
	"net/netip"
	"testing"

	"github.com/miekg/dns"

	lwdns "landward/internal/dns"
)

// seeds are packets of all kinds.
func seeds(f *testing.F) {
	for _, m := range []*dns.Msg{
		question("paas.local", dns.TypeA),
		question("paas.local", dns.TypeNS).SetEdns0(4096, true),
		question("_acme-challenge.paas.local", dns.TypeTXT).SetEdns0(512, false),
		question("Shop.PAAS.local", dns.TypeANY),
		question("a.b.stars.paas.local", dns.TypeAAAA),
		question("example.com", dns.TypeHTTPS).SetEdns0(65535, false),
		question(".", dns.TypeNS),
		question("localhost", dns.TypeA),
		new(dns.Msg).SetAxfr("paas.local."),
		new(dns.Msg).SetNotify("paas.local."),
		new(dns.Msg).SetUpdate("paas.local."),
		new(dns.Msg).SetReply(question("paas.local", dns.TypeA)),
	} {
		b, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0xC0}, 40))
}

// FuzzPacket: no packet makes the server fall over, answer an answer, or send a
// stranger more than four times what came; and what it sends can be read.
func FuzzPacket(f *testing.F) {
	seeds(f)
	o := options()
	o.Issuers = []string{"letsencrypt.org"}
	for i := range byte(20) {
		o.Addresses = append(o.Addresses, addrs(net.IPv4(198, 51, 100, i+1).String())...)
	}
	s, err := lwdns.New(o)
	if err != nil {
		f.Fatal(err)
	}
	s.SetHosts([]string{"shop.paas.local", "*.stars.paas.local"})
	s.SetViews([]*lwdns.View{{Networks: prefixes(app), Names: map[string][]netip.Addr{"db.internal": addrs("10.0.0.1")}}})
	if _, err := s.Provider().AppendRecords(f.Context(), "paas.local", challenge("_acme-challenge", "text")); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, from := range []string{stranger, insider, app} {
			for _, udp := range []bool{true, false} {
				out := s.Handle(new(lwdns.Query), netip.MustParseAddr(from), udp, b, nil)
				if out == nil {
					continue
				}
				if udp && from == stranger && len(out) > 4*len(b) {
					t.Errorf("%d bytes for %d", len(out), len(b))
				}
				if udp && len(out) > 1232 {
					t.Errorf("%d bytes over UDP", len(out))
				}
				if b[2]&0x80 != 0 {
					t.Error("answered an answer")
				}
				var m dns.Msg
				if err := m.Unpack(out); err != nil {
					t.Fatalf("our own answer cannot be read: %v", err)
				}
				if !bytes.Equal(out[:2], b[:2]) || !m.Response {
					t.Error("not an answer to this")
				}
				name, _, _, _ := lwdns.Parse(b)
				if len(m.Question) > 0 && !bytes.Equal(out[12:12+len(name)], name) {
					t.Error("the question is not as it was sent")
				}
			}
		}
	})
}

// FuzzParse: what we can read, the library reads in the same way.
func FuzzParse(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		name, kind, class, code := lwdns.Parse(b)
		if code != dns.RcodeSuccess {
			return
		}
		var m dns.Msg
		if err := m.Unpack(b); err != nil {
			// OPT's options are not ours to read; all else must agree.
			m = dns.Msg{}
			if err := m.Unpack(append(append([]byte(nil), b[:10]...), append([]byte{0, 0}, b[12:]...)...)); err != nil {
				t.Fatalf("read, though %v", err)
			}
		}
		wire := make([]byte, 256)
		n, err := dns.PackDomainName(m.Question[0].Name, wire, 0, nil, false)
		if err != nil || !bytes.Equal(wire[:n], name) {
			t.Errorf("name %x, library %x (%v)", name, wire[:n], err)
		}
		if q := m.Question[0]; q.Qtype != kind || q.Qclass != class {
			t.Errorf("type %d class %d, library %d %d", kind, class, q.Qtype, q.Qclass)
		}
	})
}

// FuzzUpstream: no answer of an upstream makes us fall over or pass on what
// cannot be read, what was not asked for, or a private address.
func FuzzUpstream(f *testing.F) {
	const name = "www.example.com"
	asked := lwdns.Question(name)
	add := func(lines ...string) {
		m := new(dns.Msg)
		if err := m.Unpack(asked); err != nil {
			f.Fatal(err)
		}
		m.SetReply(m.Copy())
		m.Compress = true
		for _, l := range lines {
			rr, err := dns.NewRR(l)
			if err != nil {
				f.Fatal(err)
			}
			if rr.Header().Rrtype == dns.TypeSOA {
				m.Ns = append(m.Ns, rr)
			} else {
				m.Answer = append(m.Answer, rr)
			}
		}
		b, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	add()
	add("www.example.com. 60 IN A 10.0.0.1", "www.example.com. 60 IN A 203.0.113.1", "other.example. 60 IN A 203.0.113.2")
	add("www.example.com. 60 IN CNAME a.example.", "a.example. 5 IN A 203.0.113.1")
	add("www.example.com. 60 IN CNAME www.example.com.")
	add("example.com. 60 IN DNAME example.net.", "www.example.com. 60 IN CNAME www.example.net.")
	add("example.com. 60 IN SOA ns. m. 1 1 1 1 60")
	f.Fuzz(func(t *testing.T, raw []byte) {
		if !lwdns.Genuine(raw, asked) || raw[4] != 0 || raw[5] != 1 {
			return
		}
		out := lwdns.Refine(bytes.Clone(raw), name)
		if out == nil {
			return
		}
		var m dns.Msg
		if err := m.Unpack(out); err != nil {
			t.Fatalf("what we keep cannot be read: %v", err)
		}
		for _, rr := range m.Answer {
			switch v := rr.(type) {
			case *dns.A:
				if a, ok := netip.AddrFromSlice(v.A.To4()); !ok || lwdns.IsPrivate(a) {
					t.Errorf("passed on %v", v)
				}
			case *dns.CNAME:
			default:
				t.Errorf("not asked for: %v", rr)
			}
		}
	})
}

func TestIsPrivate(t *testing.T) {
	for _, a := range addrs("0.0.0.0", "0.1.2.3", "10.255.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1", "169.254.169.254", "172.16.0.1",
		"172.31.255.255", "192.0.0.1", "192.168.0.1", "198.18.0.1", "198.19.255.255", "224.0.0.1", "240.0.0.1", "255.255.255.255",
		"::", "::1", "::7f00:1", "::ffff:10.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b:1::10.0.0.1", "2002:0a00:0001::1", "fc00::1", "fdff::1",
		"fe80::1", "fec0::1", "ff02::1", "100::1") {
		if !lwdns.IsPrivate(a) {
			t.Errorf("%s passes as public", a)
		}
	}
	for _, a := range addrs("1.1.1.1", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1", "192.0.1.1", "198.17.0.1", "198.20.0.1",
		"223.255.255.255", "2600::1", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1", "2002:0101:0101::1") {
		if lwdns.IsPrivate(a) {
			t.Errorf("%s is held to be private", a)
		}
	}
}
