package edge_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"landward/internal/cert"
	"landward/internal/landward"
	"landward/internal/route"
	"landward/internal/route/edge"
)

// browser is a client that trusts the edge's local authority, with HTTP/2 or
// without.
func (r *running) browser(t *testing.T, h2 bool, roots *x509.CertPool) *http.Client {
	t.Helper()
	tr := &http.Transport{
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			_, port, _ := net.SplitHostPort(addr)
			to := r.SecureAddr().String()
			if port == "80" {
				to = r.Addr().String()
			}
			return new(net.Dialer).DialContext(ctx, "tcp", to)
		},
		TLSClientConfig:   &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2: h2,
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func (r *running) localRoots(t *testing.T) *x509.CertPool {
	t.Helper()
	root, err := r.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(root)) {
		t.Fatalf("no root in %q", root)
	}
	return pool
}

func fetch(t *testing.T, c *http.Client, url string) (*http.Response, string) {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

// echo is an app that says what it was told.
func echo(t *testing.T) route.Target {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %s %s", r.Method, r.URL.Path, r.Header.Get("X-Forwarded-Proto"), r.Header.Get("X-Forwarded-Port"))
	}))
	t.Cleanup(s.Close)
	return route.Target{Addr: netip.MustParseAddrPort(s.Listener.Addr().String()), Unit: "web.1", ID: s.Listener.Addr().String()}
}

func TestTLS(t *testing.T) {
	r := start(t, t.TempDir())
	if err := r.PutTable(t.Context(), route.Table{Generation: 1, Routes: []*route.Route{{
		App: "shop", AppID: 7, Hosts: []string{"shop.localhost", "shop.example"}, State: route.StateUp, Targets: []route.Target{echo(t)},
	}}}); err != nil {
		t.Fatal(err)
	}
	roots := r.localRoots(t)
	for h2, proto := range map[bool]string{false: "HTTP/1.1", true: "HTTP/2.0"} {
		resp, body := fetch(t, r.browser(t, h2, roots), "https://shop.localhost/a")
		if resp.Proto != proto || body != "GET /a https 443" {
			t.Errorf("%s: %q", resp.Proto, body)
		}
		if resp.Header.Get("X-Content-Type-Options") != "nosniff" || resp.Header.Get("Strict-Transport-Security") != "" {
			t.Errorf("a local host's headers: %v", resp.Header)
		}
	}
	// A host of the local authority works without HTTPS, too: nobody is made to
	// trust it first.
	if resp, body := fetch(t, r.browser(t, false, roots), "http://shop.localhost/a"); resp.StatusCode != 200 || body != "GET /a http 80" {
		t.Errorf("plain: %d %q", resp.StatusCode, body)
	}
	// A host without a certificate gets no other's.
	if resp, err := r.browser(t, true, roots).Get("https://shop.example/"); err == nil {
		_ = resp.Body.Close()
		t.Error("a handshake without a certificate succeeded")
	}
}

// pair makes a self-signed key pair for a host.
func pair(t *testing.T, host string, serial int64) (edge.Pair, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(48 * time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	var c, k bytes.Buffer
	_ = pem.Encode(&c, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	_ = pem.Encode(&k, &pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(c.Bytes())
	return edge.Pair{Certificate: c.String(), Key: k.String()}, pool
}

// TestOwnPair: a key pair is used at once, survives a restart, and from then on
// plain HTTP is sent to HTTPS.
func TestOwnPair(t *testing.T) {
	dir := t.TempDir()
	r := start(t, dir)
	target := echo(t)
	table := route.Table{Generation: 1, Routes: []*route.Route{{
		App: "shop", AppID: 7, Hosts: []string{"shop.example"}, State: route.StateUp, Targets: []route.Target{target},
	}}}
	if err := r.PutTable(t.Context(), table); err != nil {
		t.Fatal(err)
	}
	if resp, _ := fetch(t, r.browser(t, false, nil), "http://shop.example/a?b"); resp.StatusCode != 200 {
		t.Errorf("before the certificate: %d", resp.StatusCode)
	}
	wrong, _ := pair(t, "other.example", 1)
	if _, err := r.PutPair(t.Context(), "shop.example", wrong); landward.CodeOf(err) != landward.CodeInvalid {
		t.Errorf("a certificate for another host: %v", err)
	}
	own, roots := pair(t, "shop.example", 2)
	if st, err := r.PutPair(t.Context(), "shop.example", own); err != nil || st.Source != cert.SourceOwn {
		t.Fatalf("%+v, %v", st, err)
	}
	check := func(r *running) {
		t.Helper()
		resp, body := fetch(t, r.browser(t, true, roots), "https://shop.example/a")
		if body != "GET /a https 443" || resp.Header.Get("Strict-Transport-Security") == "" {
			t.Errorf("%q %v", body, resp.Header)
		}
		resp, _ = fetch(t, r.browser(t, false, nil), "http://shop.example/a?b")
		if resp.StatusCode != http.StatusPermanentRedirect {
			t.Errorf("plain: %d", resp.StatusCode)
		}
	}
	check(r)
	r.stop()
	r = start(t, dir)
	check(r) // without control: the table and the pair are on disk
	next, roots2 := pair(t, "shop.example", 3)
	if _, err := r.PutPair(t.Context(), "shop.example", next); err != nil {
		t.Fatal(err)
	}
	roots = roots2
	check(r)
	list, err := r.Certs(t.Context())
	if err != nil || len(list) != 1 || list[0].App != "shop" {
		t.Errorf("%+v, %v", list, err)
	}
	if err := r.RemovePair(t.Context(), "shop.example"); err != nil {
		t.Fatal(err)
	}
	if resp, err := r.browser(t, true, roots).Get("https://shop.example/"); err == nil {
		_ = resp.Body.Close()
		t.Error("a removed pair serves on")
	}
}

// TestWake: control hears of a request for an app that sleeps.
func TestWake(t *testing.T) {
	r := start(t, t.TempDir())
	asleep := route.Route{App: "shop", AppID: 7, Hosts: []string{"shop.localhost"}, State: route.StateAsleep}
	if err := r.PutTable(t.Context(), route.Table{Generation: 1, Routes: []*route.Route{&asleep}}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ready, events := make(chan struct{}), make(chan edge.Event, 100)
	ended := make(chan error, 1)
	go func() { ended <- r.Events(ctx, func() { close(ready) }, func(e edge.Event) { events <- e }) }()
	<-ready
	answer := make(chan string, 1)
	go func() {
		_, body := fetch(t, r.browser(t, false, nil), "http://shop.localhost/x")
		answer <- body
	}()
	if e := <-events; e.Kind != edge.EventWake || e.AppID != 7 {
		t.Errorf("event %+v", e)
	}
	awake := asleep
	awake.State, awake.Targets = route.StateUp, []route.Target{echo(t)}
	if err := r.PutTable(t.Context(), route.Table{Generation: 2, Routes: []*route.Route{&awake}}); err != nil {
		t.Fatal(err)
	}
	if got := <-answer; got != "GET /x http 80" {
		t.Errorf("answer %q", got)
	}
	cancel()
	if err := <-ended; err == nil {
		t.Error("events ended well")
	}
}

// TestHTTP3: the same is served over QUIC, and other answers tell of it.
func TestHTTP3(t *testing.T) {
	r := start(t, t.TempDir())
	if err := r.PutTable(t.Context(), route.Table{Generation: 1, Routes: []*route.Route{{
		App: "shop", AppID: 7, Hosts: []string{"shop.localhost"}, State: route.StateUp, Targets: []route.Target{echo(t)},
	}}}); err != nil {
		t.Fatal(err)
	}
	roots := r.localRoots(t)
	tr := &http3.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "shop.localhost"},
		Dial: func(ctx context.Context, _ string, c *tls.Config, q *quic.Config) (*quic.Conn, error) {
			return quic.DialAddr(ctx, r.SecureAddr().String(), c, q)
		}}
	t.Cleanup(func() { _ = tr.Close() })
	resp, body := fetch(t, &http.Client{Transport: tr, Timeout: patience}, "https://shop.localhost/a")
	if resp.Proto != "HTTP/3.0" || body != "GET /a https 443" || resp.Header.Get("Alt-Svc") != "" {
		t.Errorf("%s %q %v", resp.Proto, body, resp.Header)
	}
	second := r.browser(t, true, roots)
	if resp, _ := fetch(t, second, "https://shop.localhost/a"); resp.Header.Get("Alt-Svc") == "" {
		t.Errorf("HTTP/2 does not tell of HTTP/3: %v", resp.Header)
	}
	// What a door answers itself is in the log like everything else.
	for _, c := range []http.RoundTripper{second.Transport, tr} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodConnect, "https://shop.localhost", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.RoundTrip(req)
		if err != nil || resp.StatusCode != http.StatusMethodNotAllowed {
			t.Fatalf("CONNECT: %v, %v", resp, err)
		}
		_ = resp.Body.Close()
	}
	second.CloseIdleConnections()
	_ = tr.Close()
	r.stop()
	lines, err := os.ReadFile(filepath.Join(r.dir, "logs", "0", "router.log"))
	for _, proto := range []string{"HTTP/2.0", "HTTP/3.0"} {
		if err != nil || !strings.Contains(string(lines), `"proto":"`+proto+`"`) || !strings.Contains(string(lines), `"status":405`) {
			t.Errorf("%s: %v, the log is %s", proto, err, lines)
		}
	}
}
