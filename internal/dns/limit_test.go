package dns_test

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	lwdns "landward/internal/dns"

	"landward/internal/waittest"
)

// burst sends n questions over UDP from an address and returns how many answers
// were whole and how many truncated.
func burst(t *testing.T, s *lwdns.Server, from string, n int) (whole, truncated int) {
	t.Helper()
	before := s.Stats()
	conn, err := dialFrom("udp", from).Dial(s.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range n {
		if err := conn.WriteMsg(question("shop.paas.local", dns.TypeA)); err != nil {
			t.Fatal(err)
		}
	}
	waittest.Eventually(t, "all questions are counted", func() bool { return s.Stats().Queries == before.Queries+uint64(n) })
	end := s.Stats()
	slips := (int(end.RateLimited-before.RateLimited) + 1) / 2
	want := n - int(end.RateLimited-before.RateLimited)
	for whole < want || truncated < slips-1 {
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		r, err := conn.ReadMsg()
		if err != nil {
			t.Fatalf("%d whole and %d truncated answers: %v", whole, truncated, err)
		}
		if r.Truncated {
			truncated++
		} else {
			whole++
		}
	}
	return whole, truncated
}

func TestRateOfStrangers(t *testing.T) {
	c := newClock()
	o := options()
	o.Now = c.now
	o.Limits.StrangerRate, o.Limits.ClientRate = 5, 1000
	s := start(t, o)
	s.SetHosts([]string{"shop.paas.local"})
	whole, truncated := burst(t, s, stranger, 50)
	if whole != 10 || truncated < 18 || truncated > 21 {
		t.Errorf("%d whole and %d truncated answers, want 10 and 20: twice the rate, then every second one", whole, truncated)
	}
	if st := s.Stats(); st.RateLimited != 40 {
		t.Errorf("%+v", st)
	}
	if whole, _ := burst(t, s, "127.0.0.10", 5); whole != 0 {
		t.Errorf("%d answers to a neighbour of the same network", whole)
	}
	if whole, _ := burst(t, s, "127.0.77.1", 5); whole != 5 {
		t.Errorf("%d answers to another network", whole)
	}
	if whole, _ := burst(t, s, insider, 50); whole != 50 {
		t.Errorf("%d answers to one of ours", whole)
	}
	// Over TCP nobody lies about where they are.
	wantData(t, exchange(t, s, "tcp", stranger, question("shop.paas.local", dns.TypeA)), "A 192.0.2.10")
	c.move(time.Second)
	if whole, _ := burst(t, s, stranger, 6); whole != 5 {
		t.Errorf("%d answers a second later, want 5", whole)
	}
	c.move(-time.Hour)
	if whole, _ := burst(t, s, stranger, 6); whole == 0 {
		t.Error("a clock that is set back shuts everybody out")
	}
}

func TestRateOfClients(t *testing.T) {
	c := newClock()
	o := options()
	o.Now = c.now
	o.Limits.ClientRate = 5
	s := start(t, o)
	s.SetHosts([]string{"shop.paas.local"})
	if whole, _ := burst(t, s, insider, 30); whole != 10 {
		t.Errorf("%d answers, want 10", whole)
	}
	wantCode(t, exchange(t, s, "tcp", insider, question("shop.paas.local", dns.TypeA)), dns.RcodeRefused)
	if whole, _ := burst(t, s, app, 5); whole != 5 {
		t.Errorf("%d answers to another client", whole)
	}
}

// TestAmplification: whatever a stranger asks over UDP, the answer is at most
// four times as long, also when it is refused or slowed down.
func TestAmplification(t *testing.T) {
	o := options()
	for i := range byte(30) {
		o.Addresses = append(o.Addresses, addrs(net.IPv4(198, 51, 100, i+1).String())...)
	}
	s := start(t, o)
	s.SetHosts([]string{"shop.paas.local"})
	if _, err := s.Provider().AppendRecords(t.Context(), "paas.local", challenge("@", string(make([]byte, 1000)), "b", "c")); err != nil {
		t.Fatal(err)
	}
	conn, err := dialFrom("udp", stranger).Dial(s.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"paas.local", "shop.paas.local", "no.paas.local", "example.com", ".", "localhost", "x.internal"} {
		for kind := range dns.TypeToString {
			for _, edns := range []bool{false, true} {
				m := question(name, kind)
				if edns {
					m.SetEdns0(4096, true)
				}
				b, err := m.Pack()
				if err != nil {
					t.Fatal(err)
				}
				if _, err := conn.Write(b); err != nil {
					t.Fatal(err)
				}
				out := make([]byte, 65535)
				n, err := conn.Read(out)
				if err != nil {
					t.Fatalf("%s %s: %v", name, dns.TypeToString[kind], err)
				}
				if n > 4*len(b) {
					t.Errorf("%s %s: %d bytes for %d", name, dns.TypeToString[kind], n, len(b))
				}
			}
		}
	}
}

// TestConnections: one client cannot take all places, strangers leave some, and
// who says nothing has to go.
func TestConnections(t *testing.T) {
	o := options()
	o.Limits.Conns, o.Limits.ConnsPerClient = 8, 4
	s := start(t, o)
	var mu sync.Mutex
	var open []*dns.Conn
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	// try opens a connection and says whether it is served.
	try := func(from string) bool {
		conn, err := dialFrom("tcp", from).Dial(s.Addrs()[1].String())
		if err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		open = append(open, conn)
		mu.Unlock()
		if err := conn.WriteMsg(question("paas.local", dns.TypeA)); err != nil {
			return false
		}
		_, err = conn.ReadMsg()
		return err == nil
	}
	count := func(from string, n int) (ok int) {
		for range n {
			if try(from) {
				ok++
			}
		}
		return ok
	}
	if n := count(stranger, 6); n != 4 {
		t.Errorf("one client has %d connections, want 4", n)
	}
	if n := count("127.0.0.10", 4); n != 2 {
		t.Errorf("strangers have %d more connections, want 2", n)
	}
	if n := count(insider, 4); n != 2 {
		t.Errorf("ours have %d connections, want the 2 that are left", n)
	}
	for _, c := range open {
		c.Close()
	}
	waittest.Eventually(t, "the client is let in again", func() bool { return try(lan) })
}

func TestSilentConnectionsAreClosed(t *testing.T) {
	o := options()
	o.Limits.ConnTimeout = 30 * time.Millisecond
	s := start(t, o)
	for name, first := range map[string][]byte{"nothing": nil, "half a length": {0}, "half a message": {0, 50, 1, 2, 3}} {
		conn, err := net.Dial("tcp", s.Addrs()[1].String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(first); err != nil {
			t.Fatal(err)
		}
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Errorf("%s: answered", name)
		} else if ne, ok := err.(net.Error); ok && ne.Timeout() {
			t.Errorf("%s: not closed", name)
		}
		conn.Close()
	}
	// A question a time keeps it only for so long.
	o.Limits.ConnTimeout, o.Limits.ConnLifetime = patience, 50*time.Millisecond
	s = start(t, o)
	conn, err := dialFrom("tcp", insider).Dial(s.Addrs()[1].String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	waittest.Eventually(t, "the connection is closed", func() bool {
		if conn.WriteMsg(question("paas.local", dns.TypeA)) != nil {
			return true
		}
		_, err := conn.ReadMsg()
		return err != nil
	})
}
