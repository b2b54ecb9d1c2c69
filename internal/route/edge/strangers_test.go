package edge_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"landward/internal/route/edge"
	"landward/internal/route/plane"
	"landward/internal/waittest"
)

// authority is a certificate authority that counts who asks it, and gives
// nothing.
func authority(t *testing.T) (asked *atomic.Int64, change func(o *edge.Options)) {
	t.Helper()
	asked = new(atomic.Int64)
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		http.Error(w, "closed", http.StatusServiceUnavailable)
	}))
	t.Cleanup(s.Close)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return asked, func(o *edge.Options) {
		o.HTTP3 = true
		o.Certs.ACME.Directory, o.Certs.ACME.Roots = s.URL+"/directory", roots
		o.Certs.Wait = 50 * time.Millisecond
		o.Certs.Poll = 10 * time.Millisecond
	}
}

// TestUnknownHosts: a host that no app has gets a neutral page or a 421, never
// another app and never a certificate.
func TestUnknownHosts(t *testing.T) {
	asked, ca := authority(t)
	r := besieged(t, ca)
	w, other := newWitness(t), newWitness(t)
	second := shop(other.addr, "other.test")
	second.App, second.AppID = "other", 8
	r.apply(t, shop(w.addr), second)
	for _, host := range []string{"nobody.test", "nobody.example", "127.0.0.1", r.Addr().String(), "[::1]", "localhost", "shop", "test", "shop.test.example",
		"a.shop.test", "xn--nobody.test", "nobody.example:443"} {
		resp, body := r.says(t, "", "GET /a HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
		if resp.StatusCode != 404 || strings.Contains(body, "shop") && !strings.Contains(host, "shop") || strings.Contains(body, "other") {
			t.Errorf("%s over HTTP: %s %q", host, resp.Status, body)
		}
		resp, body = r.says(t, "shop.test", "GET /a HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
		if resp.StatusCode != 421 || strings.Contains(body, "GET") {
			t.Errorf("%s over HTTPS: %s %q", host, resp.Status, body)
		}
		// Without an app there is no handshake.
		name, _, err := net.SplitHostPort(host)
		if err != nil {
			name = host
		}
		for _, proto := range []string{"h2", "http/1.1"} {
			c, err := tls.Dial("tcp", r.SecureAddr().String(), &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: []string{proto}}) //nolint:gosec // any certificate would be one too many
			// The local authority signs for names below its domains, whoever has them.
			if err == nil && !strings.HasSuffix(name, ".test") && name != "test" {
				t.Errorf("%s: a handshake with a certificate for %v", name, c.ConnectionState().PeerCertificates[0].DNSNames)
			}
			if err == nil {
				_ = c.Close()
			}
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if c, err := quic.DialAddr(ctx, r.SecureAddr().String(), &tls.Config{ServerName: "nobody.example", InsecureSkipVerify: true, NextProtos: []string{"h3"}}, nil); err == nil { //nolint:gosec // see above
		_ = c.CloseWithError(0, "")
		t.Error("nobody.example: a handshake over QUIC")
	}
	if n := w.count() + other.count(); n > 0 {
		t.Errorf("an app has got %d requests for others", n)
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("the authority was asked %d times", n)
	}
	// It would be asked for a host that an app has.
	third := shop(w.addr, "shop.example")
	third.App, third.AppID = "third", 9
	third.Targets[0].ID = "third"
	r.apply(t, third)
	waittest.Eventually(t, "question to the authority", func() bool { return asked.Load() > 0 })
}

// TestMisdirected: a request for a host that the connection's certificate is not
// for gets a 421, over every protocol, and the right one is served. One for
// another host that it is for is served as that host's.
func TestMisdirected(t *testing.T) {
	r := besieged(t, withHTTP3)
	w, other := newWitness(t), newWitness(t)
	second := shop(other.addr, "other.test", "*.wild.test")
	second.App, second.AppID = "other", 8
	r.apply(t, shop(w.addr), second)
	own, roots := pair(t, "*.wild.test", 1)
	if _, err := r.PutPair(t.Context(), "*.wild.test", own); err != nil {
		t.Fatal(err)
	}
	r.each(t, "shop.test", func(t *testing.T, _ string, c *http.Client) {
		before, others := w.count(), other.count()
		for _, host := range []string{"shop.test", "SHOP.test", "shop.test:443"} {
			if status, body, err := send(t, c, http.MethodGet, host, "/a", nil, nil); err != nil || status != 200 || body != "GET /a" {
				t.Errorf("%s: %d %q, %v", host, status, body, err)
			}
		}
		for _, host := range []string{"other.test", "OTHER.test", "a.wild.test", "nobody.test", "127.0.0.1", "localhost"} {
			if status, body, err := send(t, c, http.MethodGet, host, "/a", nil, nil); err != nil || status != 421 {
				t.Errorf("%s: %d %q, %v", host, status, body, err)
			}
		}
		// The connection goes on.
		if status, _, err := send(t, c, http.MethodGet, "shop.test", "/b", nil, nil); err != nil || status != 200 {
			t.Errorf("afterwards: %d, %v", status, err)
		}
		if w.count() != before+4 || other.count() != others {
			t.Errorf("the apps saw %d and %d requests", w.count()-before, other.count()-others)
		}
	})
	c := r.browser(t, true, roots)
	if tr, ok := c.Transport.(*http.Transport); ok {
		tr.TLSClientConfig.ServerName = "a.wild.test"
	}
	for _, host := range []string{"a.wild.test", "b.wild.test"} {
		if status, _, err := send(t, c, http.MethodGet, host, "/c", nil, nil); err != nil || status != 200 {
			t.Errorf("%s by the certificate of its domain: %d, %v", host, status, err)
		}
	}
	if status, _, err := send(t, c, http.MethodGet, "a.b.wild.test", "/c", nil, nil); err != nil || status != 421 {
		t.Errorf("two labels below: %d, %v", status, err)
	}
}

// shredder sends what it is told in pieces: TLS records of a few bytes, in
// segments of one.
type shredder struct {
	net.Conn
	records int // of the first flight; 0: leave them as they are
	done    bool
}

// Write sends p.
func (s *shredder) Write(p []byte) (int, error) {
	out := p
	if !s.done && s.records > 0 {
		s.done = true
		head, body := p[:5], p[5:]
		if int(head[3])<<8|int(head[4]) != len(body) {
			return 0, errors.New("the first flight is more than one record")
		}
		out = nil
		for len(body) > 0 {
			n := min(s.records, len(body))
			out = append(append(out, head[0], head[1], head[2], 0, byte(n)), body[:n]...)
			body = body[n:]
		}
	}
	for i := range out {
		if _, err := s.Conn.Write(out[i : i+1]); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// TestFragmentedHello (Traefik CVE-2026-32305, 53622; Caddy CVE-2026-27586): a
// ClientHello in many pieces gets what it would get in one: its own host's
// certificate, or nothing.
func TestFragmentedHello(t *testing.T) {
	r := besieged(t, nil)
	w := newWitness(t)
	r.apply(t, shop(w.addr, "shop.example", "other.example"))
	pools := map[string]*x509.CertPool{}
	for i, host := range []string{"shop.example", "other.example"} {
		own, roots := pair(t, host, int64(i+1))
		if _, err := r.PutPair(t.Context(), host, own); err != nil {
			t.Fatal(err)
		}
		pools[host] = roots
	}
	for _, records := range []int{0, 1, 7, 100} {
		for _, proto := range []string{"h2", "http/1.1", "acme-tls/1"} {
			for _, host := range []string{"shop.example", "other.example", "nobody.example", ""} {
				t.Run(fmt.Sprintf("%d %s %s", records, proto, host), func(t *testing.T) {
					raw, err := net.Dial("tcp", r.SecureAddr().String())
					if err != nil {
						t.Fatal(err)
					}
					defer func() { _ = raw.Close() }()
					_ = raw.SetDeadline(time.Now().Add(patience))
					config := &tls.Config{ServerName: host, RootCAs: pools[host], NextProtos: []string{proto}, MinVersion: tls.VersionTLS12}
					if pools[host] == nil {
						config.InsecureSkipVerify = true //nolint:gosec // any certificate would be one too many
					}
					err = tls.Client(&shredder{Conn: raw, records: records}, config).Handshake()
					if want := pools[host] != nil && proto != "acme-tls/1"; want != (err == nil) {
						t.Errorf("handshake: %v, want one: %v", err, want)
					}
				})
			}
		}
	}
}

// TestBadPairChangesNothing: a certificate that cannot be used is refused, and
// the host keeps the one it has.
func TestBadPairChangesNothing(t *testing.T) {
	r := besieged(t, nil)
	w := newWitness(t)
	r.apply(t, shop(w.addr, "shop.example"))
	good, roots := pair(t, "shop.example", 1)
	if _, err := r.PutPair(t.Context(), "shop.example", good); err != nil {
		t.Fatal(err)
	}
	other, _ := pair(t, "other.example", 2)
	for name, p := range map[string]edge.Pair{
		"empty": {}, "no key": {Certificate: good.Certificate}, "no certificate": {Key: good.Key}, "not PEM": {Certificate: "x", Key: "y"},
		"another's key": {Certificate: good.Certificate, Key: other.Key}, "another host": other, "swapped": {Certificate: good.Key, Key: good.Certificate},
	} {
		if _, err := r.PutPair(t.Context(), "shop.example", p); err == nil {
			t.Errorf("%s: taken", name)
		}
		if resp, body := fetch(t, r.browser(t, true, roots), "https://shop.example/a"); resp.StatusCode != 200 || body != "GET /a" {
			t.Errorf("%s: %s %q", name, resp.Status, body)
		}
	}
}

// TestChallengesEndHere (Traefik CVE-2023-47124): a certificate authority's
// question is answered here, whether it is known or made up. No app hears of it.
func TestChallengesEndHere(t *testing.T) {
	asked, ca := authority(t)
	r := besieged(t, ca)
	w := newWitness(t)
	r.apply(t, shop(w.addr))
	for _, host := range []string{"shop.test", "SHOP.test.", "shop.test:80", "nobody.example"} {
		for _, line := range []string{"GET /.well-known/acme-challenge/made-up", "HEAD /.well-known/acme-challenge/made-up", "POST /.well-known/acme-challenge/x",
			"GET /.well-known/acme-challenge/a/../../../secret", "GET /.well-known/acme-challenge/%2e%2e/x", "GET /.well-known/acme-challenge/x?y",
			"GET http://" + host + "/.well-known/acme-challenge/made-up", "GET /.well-known/acme-challenge/" + strings.Repeat("a", 3000)} {
			resp, _ := r.says(t, "", line+" HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
			if resp.StatusCode != 404 {
				t.Errorf("%s of %s: %s", line, host, resp.Status)
			}
		}
	}
	if w.count() > 0 || asked.Load() > 0 {
		t.Errorf("the app saw %d requests, the authority %d", w.count(), asked.Load())
	}
	// The connection has no slow part: many at once are answered like one.
	c := r.dial(t, "")
	const many = 200
	go func() {
		_, _ = io.WriteString(c, strings.Repeat("GET /.well-known/acme-challenge/x HTTP/1.1\r\nHost: shop.test\r\n\r\n", many))
	}()
	in := bufio.NewReader(c)
	for range many {
		if resp, _, err := hears(in, http.MethodGet); err != nil || resp.StatusCode != 404 {
			t.Fatal(resp, err)
		}
	}
}

// TestConnect (Traefik CVE-2026-71324): no protocol opens a tunnel, and what is
// asked for next on a connection, or by others, is answered as ever.
func TestConnect(t *testing.T) {
	r := besieged(t, withHTTP3)
	w := newWitness(t)
	r.apply(t, shop(w.addr))
	for range 20 {
		for _, server := range []string{"", "shop.test"} {
			c := r.dial(t, server)
			_, _ = io.WriteString(c, "GET /first HTTP/1.1\r\nHost: shop.test\r\n\r\nCONNECT shop.test:80 HTTP/1.1\r\nHost: shop.test\r\n\r\n"+
				"GET /smuggled HTTP/1.1\r\nHost: shop.test\r\n\r\n")
			in := bufio.NewReader(c)
			if resp, body, err := hears(in, http.MethodGet); err != nil || body != "GET /first" {
				t.Fatal(resp, body, err)
			}
			if resp, _, err := hears(in, http.MethodGet); err != nil || resp.StatusCode != 405 || !resp.Close {
				t.Fatal(resp, err)
			}
			if b, err := io.ReadAll(in); err != nil || len(b) > 0 {
				t.Fatalf("%q, %v", b, err)
			}
		}
		if resp, body := r.says(t, "", "GET /next HTTP/1.1\r\nHost: shop.test\r\n\r\n"); body != "GET /next" {
			t.Fatal(resp.Status, body)
		}
	}
	r.each(t, "shop.test", func(t *testing.T, proto string, c *http.Client) {
		for range 5 {
			req, err := http.NewRequest(http.MethodConnect, "https://shop.test/", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := c.Do(req)
			if err == nil {
				_ = resp.Body.Close()
			}
			if err == nil && resp.StatusCode != 405 && resp.StatusCode != 501 || err != nil && proto == "HTTP/1.1" {
				t.Errorf("CONNECT: %v, %v", resp, err)
			}
			if status, body, err := send(t, c, http.MethodGet, "shop.test", "/next", nil, nil); err != nil || status != 200 || body != "GET /next" {
				t.Errorf("afterwards: %d %q, %v", status, body, err)
			}
		}
	})
	for _, s := range w.soFar() {
		if s.Method != http.MethodGet || s.RequestURI == "/smuggled" {
			t.Errorf("the app saw %q", s)
		}
	}
}

// TestTooManyConnections: who is over the limit is told so, and others who are
// there are served on.
func TestTooManyConnections(t *testing.T) {
	r := besieged(t, func(o *edge.Options) { o.Limits = plane.Limits{Tick: 5 * time.Millisecond, MaxConnsPerIP: 4} })
	w := newWitness(t)
	r.apply(t, shop(w.addr))
	first := r.dial(t, "")
	in := bufio.NewReader(first)
	ask := func() {
		t.Helper()
		if _, err := io.WriteString(first, "GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if resp, _, err := hears(in, http.MethodGet); err != nil || resp.StatusCode != 200 {
			t.Fatal(resp, err)
		}
	}
	ask()
	refused := false
	for range 10 {
		c := r.dial(t, "")
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		var b [64]byte
		n, _ := c.Read(b[:])
		refused = refused || bytes.HasPrefix(b[:n], []byte("HTTP/1.1 503 "))
		ask()
	}
	if !refused {
		t.Error("nobody was refused")
	}
}
