package dns_test

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"

	lwdns "landward/internal/dns"
)

func TestAuthoritativeAnswers(t *testing.T) {
	o := options()
	o.Issuers = []string{"letsencrypt.org"}
	s := start(t, o)
	s.SetHosts([]string{"shop.paas.local", "API.deep.paas.local.", "*.stars.paas.local", "elsewhere.example.com", "bad name.paas.local"})

	const v4, v6 = "A 192.0.2.10", "AAAA 2001:db8::10"
	for _, tt := range []struct {
		name   string
		kind   uint16
		code   int
		answer []string
	}{
		{"paas.local", dns.TypeA, 0, []string{v4}},
		{"paas.local", dns.TypeAAAA, 0, []string{v6}},
		{"ns.paas.local", dns.TypeA, 0, []string{v4}},
		{"shop.paas.local", dns.TypeA, 0, []string{v4}},
		{"sHoP.PaAs.LoCaL", dns.TypeAAAA, 0, []string{v6}},
		{"api.deep.paas.local", dns.TypeA, 0, []string{v4}},
		{"deep.paas.local", dns.TypeA, 0, nil}, // exists, because something below does
		{"shop.paas.local", dns.TypeMX, 0, nil},
		{"shop.paas.local", dns.TypeHTTPS, 0, nil},
		{"shop.paas.local", dns.TypeNS, 0, nil},
		{"shop.paas.local", dns.TypeSOA, 0, nil},
		{"shop.paas.local", dns.TypeCNAME, 0, nil},
		{"shop.paas.local", dns.TypeTXT, 0, nil},
		{"shop.paas.local", dns.TypeANY, 0, []string{`HINFO "RFC8482" ""`}},
		{"paas.local", dns.TypeANY, 0, []string{`HINFO "RFC8482" ""`}},
		{"paas.local", dns.TypeNS, 0, []string{"NS ns.paas.local."}},
		{"paas.local", dns.TypeCAA, 0, []string{`CAA 0 issue "letsencrypt.org"`}},
		{"paas.local", dns.TypeDS, 0, nil},
		{"nothing.paas.local", dns.TypeA, dns.RcodeNameError, nil},
		{"below.shop.paas.local", dns.TypeA, dns.RcodeNameError, nil},
		{"nothing.paas.local", dns.TypeANY, dns.RcodeNameError, nil},
		{"one.stars.paas.local", dns.TypeA, 0, []string{v4}},
		{"two.one.stars.paas.local", dns.TypeA, 0, []string{v4}}, // RFC 4592: any depth
		{"stars.paas.local", dns.TypeA, 0, nil},
		{"*.stars.paas.local", dns.TypeA, 0, []string{v4}},
		{"localhost", dns.TypeA, 0, []string{"A 127.0.0.1"}},
		{"app.localhost", dns.TypeAAAA, 0, []string{"AAAA ::1"}},
		{"localhost", dns.TypeMX, 0, nil},
	} {
		t.Run(fmt.Sprintf("%s %s", tt.name, dns.TypeToString[tt.kind]), func(t *testing.T) {
			for _, network := range []string{"udp", "tcp"} {
				r := exchange(t, s, network, stranger, question(tt.name, tt.kind))
				wantCode(t, r, tt.code)
				wantData(t, r, tt.answer...)
				if !r.Authoritative || r.RecursionAvailable {
					t.Errorf("aa %v, ra %v; want the authority, and no resolver", r.Authoritative, r.RecursionAvailable)
				}
				if r.Question[0].Name != dns.Fqdn(tt.name) {
					t.Errorf("asked for %s, answered %s: the case is lost", tt.name, r.Question[0].Name)
				}
				for _, rr := range r.Answer {
					if rr.Header().Name != dns.Fqdn(tt.name) {
						t.Errorf("owner %s", rr.Header().Name)
					}
				}
				if len(tt.answer) == 0 {
					wantSOA(t, r)
				}
			}
		})
	}
}

// wantSOA checks the SOA of a negative answer.
func wantSOA(t *testing.T, r *dns.Msg) {
	t.Helper()
	if len(r.Ns) != 1 {
		t.Fatalf("authority %v, want a SOA", r.Ns)
	}
	soa, ok := r.Ns[0].(*dns.SOA)
	if !ok || soa.Hdr.Ttl == 0 || soa.Hdr.Ttl > soa.Minttl || !dns.IsSubDomain(soa.Hdr.Name, r.Question[0].Name) {
		t.Errorf("authority %v", r.Ns[0])
	}
}

func TestApex(t *testing.T) {
	s := start(t, options())
	serial := func() uint32 {
		r := ask(t, s, stranger, "PAAS.local", dns.TypeSOA)
		if len(r.Answer) != 1 {
			t.Fatalf("answer %v", r.Answer)
		}
		soa, ok := r.Answer[0].(*dns.SOA)
		if !ok || !strings.EqualFold(soa.Ns, "ns.paas.local.") || !strings.EqualFold(soa.Mbox, "hostmaster.paas.local.") || soa.Minttl != 15 {
			t.Fatalf("SOA %v", r.Answer[0])
		}
		return soa.Serial
	}
	before := serial()
	s.SetHosts([]string{"new.paas.local"})
	if after := serial(); after != before+1 {
		t.Errorf("serial %d after %d", after, before)
	}
	r := ask(t, s, stranger, "paas.local", dns.TypeNS)
	if got := data(r.Extra); len(got) != 2 || got[0] != "A 192.0.2.10" || got[1] != "AAAA 2001:db8::10" {
		t.Errorf("glue %q", got)
	}
}

func TestWildcard(t *testing.T) {
	o := options()
	o.Wildcard = true
	s := start(t, o)
	if _, err := s.Provider().AppendRecords(t.Context(), "paas.local.", challenge("_acme-challenge.shop", "proof")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"any.paas.local", "a.b.c.paas.local", "shop.paas.local"} {
		wantData(t, ask(t, s, stranger, name, dns.TypeA), "A 192.0.2.10")
	}
	r := ask(t, s, stranger, "any.paas.local", dns.TypeTXT)
	wantCode(t, r, dns.RcodeSuccess)
	wantSOA(t, r)
}

func TestForeignNamesAreRefused(t *testing.T) {
	s := start(t, options()) // without upstreams
	for _, from := range []string{stranger, insider} {
		for _, name := range []string{"example.com", ".", "com", "xpaas.local.example", "local.example", "notpaas.local.com"} {
			r := ask(t, s, from, name, dns.TypeNS)
			wantCode(t, r, dns.RcodeRefused)
			if r.Authoritative || r.RecursionAvailable {
				t.Errorf("%s: aa or ra", name)
			}
		}
	}
	for _, name := range []string{"db", "db.internal", "10.in-addr.arpa", "xpaas.local", "a.test"} {
		wantCode(t, ask(t, s, stranger, name, dns.TypeA), dns.RcodeRefused)
	}
	for _, name := range []string{"db", "db.internal", "1.0.0.10.in-addr.arpa", "xpaas.local", "a.test", "x.onion"} {
		r := ask(t, s, insider, name, dns.TypeA)
		wantCode(t, r, dns.RcodeNameError)
	}
	r := ask(t, s, insider, "internal", dns.TypeNS) // the top of a special zone exists
	wantCode(t, r, dns.RcodeSuccess)
	wantSOA(t, r)
	if got := s.Stats().Refused; got == 0 {
		t.Error("refusals are not counted")
	}
}

// TestZoneBeforeSpecial: an installation may live on localhost or on a name
// below one that is special.
func TestZoneBeforeSpecial(t *testing.T) {
	o := options()
	o.Zone = "localhost"
	s := start(t, o)
	s.SetHosts([]string{"shop.localhost"})
	wantData(t, ask(t, s, stranger, "shop.localhost", dns.TypeA), "A 192.0.2.10")
	wantCode(t, ask(t, s, stranger, "other.localhost", dns.TypeA), dns.RcodeNameError)
}

func TestRefusedKinds(t *testing.T) {
	s := start(t, options())
	for _, kind := range []uint16{dns.TypeAXFR, dns.TypeIXFR, dns.TypeMAILB, dns.TypeTKEY, dns.TypeTSIG, dns.TypeOPT, dns.TypeNone, 200} {
		m := question("paas.local", kind)
		wantCode(t, exchange(t, s, "tcp", insider, m), dns.RcodeRefused)
	}
	for _, class := range []uint16{dns.ClassCHAOS, dns.ClassHESIOD, dns.ClassANY, dns.ClassNONE, 0} {
		m := question("version.bind", dns.TypeTXT)
		m.Question[0].Qclass = class
		wantCode(t, exchange(t, s, "udp", insider, m), dns.RcodeRefused)
	}
	for _, op := range []int{dns.OpcodeIQuery, dns.OpcodeStatus, dns.OpcodeNotify, dns.OpcodeUpdate, 6} {
		m := question("paas.local", dns.TypeSOA)
		m.Opcode = op
		r := exchangeRaw(t, s, m)
		if r.Rcode != dns.RcodeNotImplemented || r.Opcode != op || len(r.Question) != 0 {
			t.Errorf("opcode %d: %v", op, r)
		}
	}
}

// exchangeRaw does without the checks of a client.
func exchangeRaw(t testing.TB, s *lwdns.Server, m *dns.Msg) *dns.Msg {
	t.Helper()
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	r := new(dns.Msg)
	if err := r.Unpack(sendRaw(t, s, b)); err != nil {
		t.Fatal(err)
	}
	if r.Id != m.Id || !r.Response {
		t.Fatalf("not the answer: %v", r)
	}
	return r
}

// sendRaw sends a message over TCP and returns the answer, or nil when the
// connection is closed without one.
func sendRaw(t testing.TB, s *lwdns.Server, b []byte) []byte {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addrs()[1].String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	co := &dns.Conn{Conn: conn}
	if _, err := co.Write(b); err != nil {
		t.Fatal(err)
	}
	out := make([]byte, 65535)
	n, err := co.Read(out)
	if err != nil {
		return nil
	}
	return out[:n]
}

func TestEDNS(t *testing.T) {
	s := start(t, options())
	t.Run("none asked, none given", func(t *testing.T) {
		if r := ask(t, s, stranger, "paas.local", dns.TypeA); r.IsEdns0() != nil {
			t.Error("OPT in an answer to a question without")
		}
	})
	t.Run("DO is copied", func(t *testing.T) {
		r := exchange(t, s, "udp", stranger, question("paas.local", dns.TypeA).SetEdns0(4096, true))
		opt := r.IsEdns0()
		if opt == nil || !opt.Do() || opt.UDPSize() != 1232 {
			t.Errorf("OPT %v", opt)
		}
	})
	t.Run("unknown version", func(t *testing.T) {
		m := question("paas.local", dns.TypeA).SetEdns0(4096, false)
		m.IsEdns0().SetVersion(1)
		r := exchange(t, s, "udp", stranger, m)
		wantCode(t, r, dns.RcodeBadVers)
		if len(r.Answer) > 0 || r.IsEdns0().Version() != 0 {
			t.Errorf("%v", r)
		}
	})
	t.Run("two of them", func(t *testing.T) {
		m := question("paas.local", dns.TypeA).SetEdns0(4096, false).SetEdns0(4096, false)
		if r := exchangeRaw(t, s, m); r.Rcode != dns.RcodeFormatError {
			t.Errorf("%v", r)
		}
	})
	t.Run("extended error", func(t *testing.T) {
		r := exchange(t, s, "udp", stranger, question("example.com", dns.TypeA).SetEdns0(1232, false))
		if reason(r) != int(dns.ExtendedErrorCodeProhibited) {
			t.Errorf("reason %d", reason(r))
		}
	})
}

func TestTruncation(t *testing.T) {
	o := options()
	for i := range 40 {
		o.Addresses = append(o.Addresses, addrs(fmt.Sprintf("198.51.100.%d", i+1))...)
	}
	s := start(t, o)
	r := ask(t, s, insider, "paas.local", dns.TypeA)
	if !r.Truncated || len(r.Answer) != 0 {
		t.Errorf("more than 512 bytes without EDNS: tc %v, %d records", r.Truncated, len(r.Answer))
	}
	r = exchange(t, s, "udp", insider, question("paas.local", dns.TypeA).SetEdns0(4096, false))
	if r.Truncated || len(r.Answer) != 41 {
		t.Errorf("with EDNS: tc %v, %d records", r.Truncated, len(r.Answer))
	}
	r = exchange(t, s, "udp", stranger, question("paas.local", dns.TypeA).SetEdns0(4096, false))
	if !r.Truncated || len(r.Answer) != 0 || r.IsEdns0() == nil {
		t.Errorf("a stranger got many times what it sent: %v", r)
	}
	r = exchange(t, s, "tcp", stranger, question("paas.local", dns.TypeA))
	if r.Truncated || len(r.Answer) != 41 {
		t.Errorf("over TCP: tc %v, %d records", r.Truncated, len(r.Answer))
	}
}

func TestMalformedPacketsAreDropped(t *testing.T) {
	s := start(t, options())
	good, _ := question("paas.local", dns.TypeA).Pack()
	change := func(f func(b []byte) []byte) []byte { return f(append([]byte(nil), good...)) }
	for name, b := range map[string][]byte{
		"short":               good[:11],
		"an answer":           change(func(b []byte) []byte { b[2] |= 0x80; return b }),
		"no type":             good[:len(good)-4],
		"half a class":        good[:len(good)-1],
		"more after it":       append(append([]byte(nil), good...), 0),
		"name without an end": change(func(b []byte) []byte { b[12] = 63; return b }),
		"pointer":             change(func(b []byte) []byte { b[12] = 0xC0; return b }),
		"reserved label":      change(func(b []byte) []byte { b[12] = 0x80; return b }),
		"lost OPT":            change(func(b []byte) []byte { b[11] = 1; return b }),
	} {
		if got := sendRaw(t, s, b); got != nil {
			t.Errorf("%s: answered %x", name, got)
		}
	}
	for name, b := range map[string][]byte{
		"no question":    change(func(b []byte) []byte { b[5] = 0; return b[:12] }),
		"two questions":  change(func(b []byte) []byte { b[5] = 2; return append(b, b[12:]...) }),
		"with an answer": change(func(b []byte) []byte { b[7] = 1; return b }),
	} {
		got := sendRaw(t, s, b)
		if len(got) != 12 || got[3]&0xF != dns.RcodeFormatError {
			t.Errorf("%s: %x, want FORMERR and nothing else", name, got)
		}
	}
	if st := s.Stats(); st.Dropped != 8 {
		t.Errorf("%d dropped, want 8 (the short one does not get that far over TCP)", st.Dropped)
	}
	wantData(t, ask(t, s, stranger, "paas.local", dns.TypeA), "A 192.0.2.10")
}

func TestOptions(t *testing.T) {
	for name, change := range map[string]func(*lwdns.Options){
		"no zone":           func(o *lwdns.Options) { o.Zone = "" },
		"bad zone":          func(o *lwdns.Options) { o.Zone = "a..b" },
		"star zone":         func(o *lwdns.Options) { o.Zone = "*.example.com" },
		"long zone":         func(o *lwdns.Options) { o.Zone = strings.Repeat("abcdefg.", 31) + "com" },
		"no address":        func(o *lwdns.Options) { o.Addresses = nil },
		"unspecified":       func(o *lwdns.Options) { o.Addresses = addrs("0.0.0.0") },
		"bad name server":   func(o *lwdns.Options) { o.NameServer = "ns 1" },
		"upstream by name":  func(o *lwdns.Options) { o.Forward = []string{"dns.example.com:53"} },
		"upstream port 0":   func(o *lwdns.Options) { o.Forward = []string{"1.1.1.1:0"} },
		"upstream anywhere": func(o *lwdns.Options) { o.Forward = []string{"0.0.0.0:53"} },
		"open resolver":     func(o *lwdns.Options) { o.ForwardFor = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")} },
		"open over IPv6":    func(o *lwdns.Options) { o.ForwardFor = []netip.Prefix{netip.MustParsePrefix("2000::/3")} },
		"short TTL":         func(o *lwdns.Options) { o.TTL = 1 },
	} {
		o := options()
		change(&o)
		if _, err := lwdns.New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestListen(t *testing.T) {
	s := start(t, options())
	for _, addr := range []string{"", "53", "localhost:0", "127.0.0.1", "127.0.0.1:99999", s.Addrs()[0].String()} {
		other, err := lwdns.New(options())
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Listen(addr); err == nil {
			t.Errorf("%q: listens", addr)
			_ = other.Close()
		}
	}
	if err := func() error { o, _ := lwdns.New(options()); return o.Run(t.Context()) }(); err == nil {
		t.Error("runs without listening")
	}
}

// TestAnyAddress: bound to all addresses, an answer comes from the one that was
// asked, or clients do not take it.
func TestAnyAddress(t *testing.T) {
	s, err := lwdns.New(options())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(":0"); err != nil {
		t.Fatal(err)
	}
	run(t, s)
	_, port, _ := net.SplitHostPort(s.Addrs()[0].String())
	hosts := []string{"127.0.0.1", "127.0.0.77"}
	if len(s.Addrs()) > 2 {
		hosts = append(hosts, "::1")
	}
	for _, host := range hosts {
		c := &dns.Client{Timeout: patience}
		r, _, err := c.Exchange(question("paas.local", dns.TypeA), net.JoinHostPort(host, port))
		if err != nil {
			t.Fatalf("asked at %s: %v", host, err)
		}
		wantData(t, r, "A 192.0.2.10")
	}
}
