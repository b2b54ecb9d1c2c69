package dnsprovider_test

import (
	"encoding/base64"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"landward/internal/cert/dnsprovider"
	"landward/internal/landward"
)

// nameServer has one zone and takes signed updates of it (RFC 2136, RFC 8945).
// It hands the zone to nobody.
type nameServer struct {
	t    *testing.T
	addr string
	zone string
	key  string

	mu      sync.Mutex
	records []dns.RR
	updates int // that changed something
}

func newNameServer(t *testing.T, lines ...string) *nameServer {
	t.Helper()
	n := &nameServer{t: t, zone: "example.com.", key: base64.StdEncoding.EncodeToString([]byte(secret))}
	for _, l := range append(lines, "example.com. 60 IN SOA ns. x. 1 60 60 60 60") {
		rr, err := dns.NewRR(l)
		if err != nil {
			t.Fatal(err)
		}
		n.records = append(n.records, rr)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n.addr = l.Addr().String()
	started, done := make(chan struct{}), make(chan error, 1)
	s := &dns.Server{
		Listener: l, Handler: n, TsigSecret: map[string]string{"k.": n.key}, NotifyStartedFunc: func() { close(started) },
		MsgAcceptFunc: func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept },
	}
	go func() { done <- s.ActivateAndServe() }()
	<-started
	t.Cleanup(func() {
		if err := errors.Join(s.Shutdown(), <-done); err != nil {
			t.Error(err)
		}
	})
	return n
}

func (n *nameServer) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	n.mu.Lock()
	defer n.mu.Unlock()
	m := new(dns.Msg).SetReply(q)
	name := strings.ToLower(q.Question[0].Name)
	switch {
	case q.IsTsig() == nil || w.TsigStatus() != nil:
		m.Rcode = dns.RcodeNotAuth
	case !dns.IsSubDomain(n.zone, name):
		m.Rcode = dns.RcodeRefused
	case q.Opcode == dns.OpcodeUpdate:
		m.Rcode = n.update(q)
	default:
		n.answer(m, name, q.Question[0].Qtype)
	}
	if q.IsTsig() != nil {
		m.SetTsig("k.", dns.HmacSHA256, 300, time.Now().Unix())
	}
	_ = w.WriteMsg(m)
}

func (n *nameServer) at(name string, kind uint16) (out []dns.RR) {
	for _, rr := range n.records {
		if h := rr.Header(); strings.EqualFold(h.Name, name) && (h.Rrtype == kind || kind == dns.TypeANY || h.Rrtype == dns.TypeCNAME) {
			out = append(out, rr)
		}
	}
	return out
}

// answer knows aliases, wildcards and what is delegated.
func (n *nameServer) answer(m *dns.Msg, name string, kind uint16) {
	for at := name; at != n.zone; _, at, _ = strings.Cut(at, ".") {
		for _, rr := range n.records {
			if rr.Header().Name == at && rr.Header().Rrtype == dns.TypeNS {
				m.Ns = append(m.Ns, rr)
				return // not our own word
			}
		}
	}
	m.Authoritative = true
	m.Answer = n.at(name, kind)
	_, parent, _ := strings.Cut(name, ".")
	if len(n.at(name, dns.TypeANY)) == 0 {
		for _, rr := range n.at("*."+parent, kind) {
			made := dns.Copy(rr)
			made.Header().Name = name
			m.Answer = append(m.Answer, made)
		}
	}
	if len(m.Answer) == 0 {
		m.Ns = n.at(n.zone, dns.TypeSOA)
	}
}

// update checks the conditions, then does what is asked.
func (n *nameServer) update(q *dns.Msg) int {
	for _, rr := range q.Answer {
		h := rr.Header()
		there := slices.ContainsFunc(n.records, func(r dns.RR) bool {
			return strings.EqualFold(r.Header().Name, h.Name) && r.Header().Rrtype == h.Rrtype
		})
		if h.Class == dns.ClassANY && !there {
			return dns.RcodeNXRrset
		}
	}
	for _, rr := range q.Ns {
		n.updates++
		if rr.Header().Class == dns.ClassINET {
			n.records = append(n.records, rr)
			continue
		}
		n.records = slices.DeleteFunc(n.records, func(r dns.RR) bool {
			gone := dns.Copy(rr)
			gone.Header().Class = dns.ClassINET
			return dns.IsDuplicate(r, gone)
		})
	}
	return dns.RcodeSuccess
}

// has is what the server has of a host.
func (n *nameServer) has(host string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []string
	for _, rr := range n.at(dns.Fqdn(host), dns.TypeANY) {
		f := strings.Fields(rr.String())
		out = append(out, strings.Join(f[1:], " "))
	}
	slices.Sort(out)
	return strings.Join(out, "; ")
}

func (n *nameServer) link(t *testing.T, more ...string) *dnsprovider.Records {
	t.Helper()
	settings := map[string]string{"SERVER": n.addr, "KEY_NAME": "k", "KEY": n.key}
	for i := 0; i+1 < len(more); i += 2 {
		settings[more[i]] = more[i+1]
	}
	r, err := dnsprovider.Link(dnsprovider.RFC2136, settings, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestUpdates(t *testing.T) {
	for name, tt := range map[string]struct {
		host    string
		zone    []string
		replace bool
		done    string
		left    string
	}{
		"nothing there":           {done: "created A shop.example.com 203.0.113.7", left: "300 IN A 203.0.113.7"},
		"the zone itself":         {host: "example.com", done: "created A example.com 203.0.113.7", left: "300 IN A 203.0.113.7; 60 IN SOA ns. x. 1 60 60 60 60"},
		"a wildcard":              {host: "*.example.com", done: "created A *.example.com 203.0.113.7", left: "300 IN A 203.0.113.7"},
		"right already":           {zone: []string{"shop.example.com. 60 IN A 203.0.113.7"}, done: "there A shop.example.com 203.0.113.7", left: "60 IN A 203.0.113.7"},
		"right by a wildcard":     {zone: []string{"*.example.com. 60 IN A 203.0.113.7"}, done: "there A shop.example.com 203.0.113.7"},
		"a wildcard elsewhere":    {zone: []string{"*.example.com. 60 IN A 192.0.2.9"}, done: "created A shop.example.com 203.0.113.7", left: "300 IN A 203.0.113.7"},
		"elsewhere":               {zone: []string{"shop.example.com. 60 IN A 192.0.2.9"}, done: "kept A shop.example.com 192.0.2.9 | error conflict", left: "60 IN A 192.0.2.9"},
		"an alias":                {zone: []string{"shop.example.com. 60 IN CNAME Old.example.net."}, done: "kept CNAME shop.example.com old.example.net | error conflict", left: "60 IN CNAME Old.example.net."},
		"delegated":               {zone: []string{"shop.example.com. 60 IN NS ns.example.net."}, done: "error not_found"},
		"another zone":            {host: "shop.example.org", done: "error not_found"},
		"replace an alias":        {replace: true, zone: []string{"shop.example.com. 60 IN CNAME old.example.net."}, done: "created A shop.example.com 203.0.113.7 | removed CNAME shop.example.com old.example.net", left: "300 IN A 203.0.113.7"},
		"replace both":            {replace: true, zone: []string{"shop.example.com. 60 IN A 192.0.2.9", "shop.example.com. 60 IN AAAA 2001:db8::9", "shop.example.com. 60 IN TXT x"}, done: "created A shop.example.com 203.0.113.7 | removed A shop.example.com 192.0.2.9; AAAA shop.example.com 2001:db8::9", left: `300 IN A 203.0.113.7; 60 IN TXT "x"`},
		"replace a wildcard only": {replace: true, zone: []string{"*.example.com. 60 IN A 192.0.2.9"}, done: "created A shop.example.com 203.0.113.7", left: "300 IN A 203.0.113.7"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tt.host == "" {
				tt.host = "shop.example.com"
			}
			n := newNameServer(t, tt.zone...)
			c := n.link(t).Make(t.Context(), tt.host, addrs("203.0.113.7"), tt.replace)
			if got := done(c); got != tt.done {
				t.Errorf("%s, want %s: %v", got, tt.done, c.Err)
			}
			if name != "delegated" && n.has(tt.host) != tt.left {
				t.Errorf("the server has %q, want %q", n.has(tt.host), tt.left)
			}
			if wild := "*.example.com. 60 IN A 192.0.2.9"; slices.Contains(tt.zone, wild) && n.has("*.example.com") != "60 IN A 192.0.2.9" {
				t.Errorf("the wildcard is %q", n.has("*.example.com"))
			}
		})
	}
}

func TestUpdatesAreTakenBack(t *testing.T) {
	n := newNameServer(t)
	r := n.link(t, "ZONE", "example.com")
	c := r.Make(t.Context(), "shop.example.com", addrs("203.0.113.7", "2001:db8:1::7"), false)
	if len(c.Created) != 2 || c.Zone != "example.com" {
		t.Fatalf("%+v", c)
	}
	if got := done(r.Remove(t.Context(), "shop.example.com", c.Created[:1])); got != "removed A shop.example.com 203.0.113.7 | kept AAAA shop.example.com 2001:db8:1::7" {
		t.Error(got)
	}
	if got := n.has("shop.example.com"); got != "300 IN AAAA 2001:db8:1::7" {
		t.Errorf("the server has %q", got)
	}
	if c := n.link(t, "zone", "example.org").Make(t.Context(), "www.example.com", addrs("203.0.113.7"), false); landward.CodeOf(errOf(c)) != landward.CodeNotFound {
		t.Errorf("outside of the named zone: %+v", c)
	}
}

func TestUpdatesWithAWrongKey(t *testing.T) {
	n := newNameServer(t)
	wrong := base64.StdEncoding.EncodeToString([]byte("something else"))
	c := n.link(t, "KEY", wrong).Make(t.Context(), "shop.example.com", addrs("203.0.113.7"), false)
	if landward.CodeOf(errOf(c)) != landward.CodeUnavailable || n.updates != 0 {
		t.Fatalf("%+v", c)
	}
	if text := strings.Join(c.Err.Explain(), " ") + c.Err.Error(); !strings.Contains(text, "rfc2136") || !strings.Contains(text, "--acme-settings") ||
		strings.Contains(text, wrong) || strings.Contains(text, n.key) {
		t.Errorf("it says %q", text)
	}
	gone := newNameServer(t)
	r := gone.link(t, "SERVER", "127.0.0.1:1")
	if c := r.Make(t.Context(), "shop.example.com", addrs("203.0.113.7"), false); landward.CodeOf(errOf(c)) != landward.CodeUnavailable {
		t.Errorf("a server that is down: %+v", c)
	}
}
