package h3_test

import (
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/quic-go/quic-go"

	"landward/internal/route/h3"
)

// quicConfig is what a client uses that does without net/http.
func (r *rig) quicConfig() *tls.Config {
	c := r.config.Clone()
	c.NextProtos, c.ServerName = []string{"h3"}, "shop.test"
	return c
}

// tickets is a session cache that tells when there is one.
type tickets struct {
	tls.ClientSessionCache
	put chan struct{}
}

func newTickets() *tickets {
	return &tickets{ClientSessionCache: tls.NewLRUClientSessionCache(10), put: make(chan struct{}, 10)}
}

func (c *tickets) Put(key string, s *tls.ClientSessionState) {
	c.ClientSessionCache.Put(key, s)
	select {
	case c.put <- struct{}{}:
	default:
	}
}

// early dials without waiting for the handshake.
func early(t *testing.T, addr string, config *tls.Config) *quic.Conn {
	t.Helper()
	conn, err := quic.DialAddrEarly(t.Context(), addr, config, &quic.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.CloseWithError(0, "") })
	return conn
}

// TestNoEarlyData: tickets offer no early data, and what a client sends in one
// all the same is thrown away: it can be sent again by anybody (RFC 8470).
func TestNoEarlyData(t *testing.T) {
	r := newRig(t, h3.Limits{})
	config := r.quicConfig()
	cache := newTickets()
	config.ClientSessionCache = cache
	conn := early(t, r.addr, config)
	<-cache.put
	if s, ok := cache.Get("shop.test"); !ok {
		t.Error("no session")
	} else if _, state, err := s.ResumptionState(); err != nil || state.EarlyData {
		t.Errorf("the ticket offers early data (%v)", err)
	}
	_ = conn.CloseWithError(0, "")

	// A server with the same keys gives a ticket that does.
	twin := r.tls.Clone()
	twin.NextProtos = []string{"h3"}
	twin.SetSessionTicketKeys([][32]byte{{1}})
	ln, err := quic.ListenAddrEarly("127.0.0.1:0", twin, &quic.Config{Allow0RTT: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	config.ClientSessionCache = newTickets()
	cache = config.ClientSessionCache.(*tickets)
	conn = early(t, ln.Addr().String(), config)
	<-cache.put
	_ = conn.CloseWithError(0, "")
	conn = early(t, ln.Addr().String(), config)
	if <-conn.HandshakeComplete(); !conn.ConnectionState().Used0RTT {
		t.Fatal("the test's own server takes no early data")
	}
	<-cache.put
	_ = conn.CloseWithError(0, "")

	conn = early(t, r.addr, config)
	str, err := conn.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	// HEADERS with :method POST, :scheme https, :path / and :authority "a".
	if _, err := str.Write([]byte{1, 9, 0, 0, 0xD4, 0xD7, 0xC1, 0x50, 1, 'a', 0}); err != nil {
		t.Fatal(err)
	}
	_ = str.Close()
	<-conn.HandshakeComplete()
	if s := conn.ConnectionState(); s.Used0RTT || !s.TLS.DidResume {
		t.Errorf("early data taken: %v, resumed: %v", s.Used0RTT, s.TLS.DidResume)
	}
	// The client learns that it must ask again.
	if _, err := io.ReadAll(str); err == nil {
		t.Error("a request in early data is answered")
	}
	if n := r.app.Requests.Load(); n != 0 {
		t.Errorf("the app got %d requests", n)
	}
}

// TestEarlyDataTold: what a front proxy says about early data reaches the app,
// and that the app wants it again reaches the client (RFC 8470 section 5).
func TestEarlyDataTold(t *testing.T) {
	r := newRig(t, h3.Limits{})
	c := r.client(t)
	req, _ := http.NewRequest(http.MethodGet, url("/head"), nil)
	req.Header.Set("Early-Data", "1")
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if !strings.Contains(string(b), "\r\nearly-data: 1\r\n") {
		t.Errorf("the app is not told: %q", b)
	}
	if resp, _ := get(t, c, url("/status?425")); resp.StatusCode != http.StatusTooEarly {
		t.Error(resp.Status)
	}
}
