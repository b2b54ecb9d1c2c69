package dns_test

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"landward/internal/waittest"
)

func TestCacheHonoursTTLs(t *testing.T) {
	u := newFake(t, always(t, "owner. 100 IN CNAME target.example.", "target.example. 300 IN A 203.0.113.1"))
	c := newClock()
	o := forwarding(u)
	o.Now = c.now
	s := start(t, o)
	ttls := func() (out []uint32) {
		for _, rr := range ask(t, s, insider, "example.com", dns.TypeA).Answer {
			out = append(out, rr.Header().Ttl)
		}
		return out
	}
	for _, tt := range []struct {
		move time.Duration
		want []uint32
		n    int
	}{
		{0, []uint32{100, 300}, 1},
		{40 * time.Second, []uint32{60, 260}, 1},
		{59 * time.Second, []uint32{1, 201}, 1},
		{time.Second, []uint32{100, 300}, 2}, // over: asked again
	} {
		c.move(tt.move)
		if got := ttls(); !slices.Equal(got, tt.want) {
			t.Errorf("TTLs %d, want %d", got, tt.want)
		}
		if n := len(u.asked()); n != tt.n {
			t.Errorf("asked %d times, want %d", n, tt.n)
		}
	}
}

func TestLongTTLsAreCut(t *testing.T) {
	u := newFake(t, func(q asked) [][]byte {
		if q.Question[0].Qtype == dns.TypeAAAA { // nonsense is 0 (RFC 2181)
			return reply(t, q, "owner. 4294967295 IN AAAA 2600::1")
		}
		return reply(t, q, "owner. 2000000 IN A 203.0.113.1")
	})
	o := forwarding(u)
	o.Limits.MaxTTL = time.Hour
	s := start(t, o)
	for kind, want := range map[uint16]uint32{dns.TypeA: 3600, dns.TypeAAAA: 0} {
		r := ask(t, s, insider, "example.com", kind)
		if len(r.Answer) != 1 || r.Answer[0].Header().Ttl != want {
			t.Errorf("%v, want TTL %d", r.Answer, want)
		}
	}
}

func TestNegativeCache(t *testing.T) {
	for name, tt := range map[string]struct {
		code     int
		soa      string
		for1, n1 int // after for1 seconds: asked n1 times
		n2       int // a second later
	}{
		"NXDOMAIN":         {dns.RcodeNameError, "example.com. 600 IN SOA ns. m. 1 1 1 1 30", 29, 1, 2},
		"NODATA":           {dns.RcodeSuccess, "example.com. 20 IN SOA ns. m. 1 1 1 1 600", 19, 1, 2},
		"cut":              {dns.RcodeNameError, "example.com. 86400 IN SOA ns. m. 1 1 1 1 86400", 299, 1, 2},
		"without SOA":      {dns.RcodeNameError, "", 0, 2, 3},
		"SOA of elsewhere": {dns.RcodeNameError, "example.org. 600 IN SOA ns. m. 1 1 1 1 600", 0, 2, 3},
	} {
		t.Run(name, func(t *testing.T) {
			u := newFake(t, func(q asked) [][]byte {
				m := new(dns.Msg).SetRcode(q.Msg, tt.code)
				if tt.soa != "" {
					m.Ns = rrs(t, q, tt.soa)
				}
				return [][]byte{packed(t, m)}
			})
			c := newClock()
			o := forwarding(u)
			o.Now = c.now
			s := start(t, o)
			get := func(n int) {
				t.Helper()
				wantCode(t, ask(t, s, insider, "no.example.com", dns.TypeA), tt.code)
				if got := len(u.asked()); got != n {
					t.Errorf("asked %d times, want %d", got, n)
				}
			}
			get(1)
			c.move(time.Duration(tt.for1) * time.Second)
			get(tt.n1)
			c.move(time.Second)
			get(tt.n2)
		})
	}
}

func TestServeStale(t *testing.T) {
	var dead atomic.Bool
	u := newFake(t, func(q asked) [][]byte {
		if dead.Load() {
			return rcode(t, dns.RcodeServerFailure)(q)
		}
		return reply(t, q, "owner. 60 IN A 203.0.113.1")
	})
	c := newClock()
	o := forwarding(u)
	o.Now = c.now
	s := start(t, o)
	get := func() *dns.Msg {
		t.Helper()
		return exchange(t, s, "udp", insider, question("example.com", dns.TypeA).SetEdns0(1232, false))
	}
	get()
	dead.Store(true)
	c.move(time.Hour)
	for range 3 {
		r := get()
		wantData(t, r, "A 203.0.113.1")
		if r.Answer[0].Header().Ttl != 30 || reason(r) != int(dns.ExtendedErrorCodeStaleAnswer) {
			t.Errorf("TTL %d, reason %d", r.Answer[0].Header().Ttl, reason(r))
		}
	}
	if n := len(u.asked()); n != 3 { // the first, and two rounds
		t.Errorf("asked %d times: a dead upstream is not left alone", n)
	}
	c.move(31 * time.Second)
	dead.Store(false)
	if r := get(); r.Answer[0].Header().Ttl != 60 {
		t.Errorf("TTL %d: the fresh answer was to be had", r.Answer[0].Header().Ttl)
	}
	dead.Store(true)
	c.move(25 * time.Hour)
	wantCode(t, get(), dns.RcodeServerFailure)
}

// TestStaleWhileSlow: who asks does not wait for a slow upstream when there is
// a stale answer.
func TestStaleWhileSlow(t *testing.T) {
	release := make(chan struct{})
	var slow atomic.Bool
	u := newFake(t, func(q asked) [][]byte {
		if slow.Load() {
			<-release
		}
		return reply(t, q, "owner. 60 IN A 203.0.113.1")
	})
	c := newClock()
	o := forwarding(u)
	o.Now = c.now
	o.Limits.StaleAfter = 10 * time.Millisecond
	o.Limits.Forwards = 1
	o.Limits.UpstreamTimeout, o.Limits.ForwardTimeout = patience, patience
	s := start(t, o)
	ask(t, s, insider, "example.com", dns.TypeA)
	slow.Store(true)
	c.move(time.Minute)
	if r := ask(t, s, insider, "example.com", dns.TypeA); len(r.Answer) != 1 || r.Answer[0].Header().Ttl != 30 {
		t.Errorf("%v", r)
	}
	// What nobody waits for any more still counts.
	wantCode(t, ask(t, s, insider, "another.example.com", dns.TypeA), dns.RcodeServerFailure)
	if n := s.Stats().Forwarded; n != 2 {
		t.Errorf("%d flights, want 2", n)
	}
	close(release) // what was begun is finished, and kept
	waittest.Eventually(t, "the name is asked for anew", func() bool { return ask(t, s, insider, "example.com", dns.TypeA).Answer[0].Header().Ttl == 60 })
}

func TestCacheIsBounded(t *testing.T) {
	u := newFake(t, func(q asked) [][]byte {
		if strings.HasPrefix(strings.ToLower(q.Question[0].Name), "big") {
			return reply(t, q, `owner. 60 IN TXT "`+strings.Repeat("x", 250)+`" "`+strings.Repeat("y", 250)+`"`)
		}
		return reply(t, q, "owner. 60 IN A 203.0.113.1")
	})
	o := forwarding(u)
	o.Limits.CacheEntries, o.Limits.CacheBytes = 10, 8000
	s := start(t, o)
	for i := range 30 {
		ask(t, s, insider, fmt.Sprintf("n%d.example.com", i), dns.TypeA)
	}
	if st := s.Stats(); st.CacheEntries != 10 {
		t.Errorf("%d entries", st.CacheEntries)
	}
	for i := range 30 {
		exchange(t, s, "tcp", insider, question(fmt.Sprintf("big%d.example.com", i), dns.TypeTXT))
		if st := s.Stats(); st.CacheBytes > 8000 || st.CacheEntries == 0 {
			t.Errorf("%+v", st)
		}
	}
	// What is used stays: the newest is there, and one that is asked for again
	// and again outlives newer ones.
	o.Limits.CacheBytes = 0
	s = start(t, o)
	before := len(u.asked())
	for i := range 20 {
		ask(t, s, insider, "kept.example.com", dns.TypeA)
		ask(t, s, insider, fmt.Sprintf("other%d.example.com", i), dns.TypeA)
	}
	if n := len(u.asked()) - before; n != 21 {
		t.Errorf("asked %d times, want 21", n)
	}
}
