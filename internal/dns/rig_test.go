package dns_test

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	lwdns "landward/internal/dns"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is for what must happen, and patience only: no test waits for it.
const patience = 20 * time.Second

// Addresses that tests ask from. Only insider, app and lan may resolve; app has
// a view; lan may see private addresses.
const (
	insider  = "127.0.0.2"
	app      = "127.0.0.3"
	lan      = "127.0.0.4"
	otherApp = "127.0.0.5"
	stranger = "127.0.0.9"
)

// clock is a time that stands still until it is moved.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Unix(1_700_000_000, 0)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s+"/32"))
	}
	return out
}

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func options() lwdns.Options {
	return lwdns.Options{
		Zone:         "paas.local",
		Addresses:    addrs("192.0.2.10", "2001:db8::10"),
		ForwardFor:   prefixes(insider, app, lan),
		AllowPrivate: prefixes(lan),
		Limits:       lwdns.Limits{StrangerRate: -1, ClientRate: -1},
	}
}

// start runs a server on a port of its own until the test ends.
func start(t testing.TB, o lwdns.Options) *lwdns.Server {
	t.Helper()
	s, err := lwdns.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	run(t, s)
	return s
}

func run(t testing.TB, s *lwdns.Server) {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			t.Error("Run did not return")
		}
	})
}

func question(name string, kind uint16) *dns.Msg {
	return new(dns.Msg).SetQuestion(dns.Fqdn(name), kind)
}

// dialFrom is a client with an address of its own.
func dialFrom(network, from string) *dns.Client {
	c := &dns.Client{Net: network, Timeout: patience, UDPSize: 4096}
	ip := net.ParseIP(from)
	if network == "tcp" {
		c.Dialer = &net.Dialer{LocalAddr: &net.TCPAddr{IP: ip}, Timeout: patience}
	} else {
		c.Dialer = &net.Dialer{LocalAddr: &net.UDPAddr{IP: ip}, Timeout: patience}
	}
	return c
}

func exchange(t testing.TB, s *lwdns.Server, network, from string, m *dns.Msg) *dns.Msg {
	t.Helper()
	r, _, err := dialFrom(network, from).Exchange(m, s.Addrs()[0].String())
	if err != nil {
		t.Fatalf("%v from %s: %v", m.Question, from, err)
	}
	return r
}

func ask(t testing.TB, s *lwdns.Server, from, name string, kind uint16) *dns.Msg {
	t.Helper()
	return exchange(t, s, "udp", from, question(name, kind))
}

// data returns the data of records, sorted, without owner and TTL.
func data(list []dns.RR) []string {
	out := []string{}
	for _, rr := range list {
		h := rr.Header().String()
		out = append(out, dns.TypeToString[rr.Header().Rrtype]+" "+strings.TrimPrefix(rr.String(), h))
	}
	slices.Sort(out)
	return out
}

func wantData(t testing.TB, r *dns.Msg, want ...string) {
	t.Helper()
	slices.Sort(want)
	if got := data(r.Answer); !slices.Equal(got, append([]string{}, want...)) {
		t.Errorf("%s: answer %q, want %q", r.Question[0].Name, got, want)
	}
}

func wantCode(t testing.TB, r *dns.Msg, code int) {
	t.Helper()
	if r.Rcode != code {
		t.Errorf("%v: %s, want %s", r.Question, dns.RcodeToString[r.Rcode], dns.RcodeToString[code])
	}
}

// reason returns the extended error of an answer, or -1.
func reason(r *dns.Msg) int {
	if opt := r.IsEdns0(); opt != nil {
		for _, o := range opt.Option {
			if e, ok := o.(*dns.EDNS0_EDE); ok {
				return int(e.InfoCode)
			}
		}
	}
	return -1
}
