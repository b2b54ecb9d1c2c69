package server_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"landward/internal/config"
	"landward/internal/route"
	"landward/internal/route/edge"
	"landward/internal/server"
)

// authority is a CA that validates names at an edge of the test's.
type authority struct {
	t           *testing.T
	program     string
	dir         string
	host        string // an address of the loopback network that nobody else uses
	api, manage string
	names       string // DNS server
	roots       *x509.CertPool
}

// newAuthority chooses the CA's addresses and makes the pair of its API, whose
// root is written to dir/root.pem.
func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir(), program: "../../bin/tools/pebble"}
	if p := os.Getenv("LANDWARD_TEST_PEBBLE"); p != "" {
		a.program = p
	}
	if _, err := os.Stat(a.program); err != nil {
		const missing = "no pebble: `scripts/setup test` installs it, or say where it is with LANDWARD_TEST_PEBBLE"
		if os.Getenv("CI") != "" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	// The CA opens its ports by number, and the edge is started twice on the
	// same. On an address of their own no other process takes them in between.
	a.host = fmt.Sprintf("127.%d.%d.%d", 2+mathrand.IntN(250), mathrand.IntN(256), 1+mathrand.IntN(254))
	for _, at := range []*string{&a.api, &a.manage} {
		l, err := net.Listen("tcp", a.host+":0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() //nolint:errcheck // only its number was wanted
		*at = l.Addr().String()
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "the CA's API"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IPAddresses: []net.IP{net.ParseIP(a.host)},
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, leaf, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	err = errors.Join(os.WriteFile(filepath.Join(a.dir, "root.pem"), root, 0o600),
		os.WriteFile(filepath.Join(a.dir, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	a.roots = x509.NewCertPool()
	a.roots.AppendCertsFromPEM(root)
	a.serveNames()
	return a
}

// serveNames starts a DNS server by which all names are the CA's address, where
// the edge is, too.
func (a *authority) serveNames() {
	l, err := net.Listen("tcp", a.host+":0") // the CA asks by TCP
	if err != nil {
		a.t.Fatal(err)
	}
	a.names = l.Addr().String()
	started, done := make(chan struct{}), make(chan error, 1)
	s := &dns.Server{Listener: l, NotifyStartedFunc: func() { close(started) }, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.ParseIP(a.host)}}
		}
		_ = w.WriteMsg(m)
	})}
	go func() { done <- s.ActivateAndServe() }()
	<-started
	a.t.Cleanup(func() {
		if err := errors.Join(s.Shutdown(), <-done); err != nil {
			a.t.Error(err)
		}
	})
}

// run starts the CA. It validates at the edge's ports.
func (a *authority) run(plain, secure net.Addr) {
	a.t.Helper()
	settings, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": a.api, "managementListenAddress": a.manage, "keyAlgorithm": "ecdsa",
		"certificate": filepath.Join(a.dir, "root.pem"), "privateKey": filepath.Join(a.dir, "key.pem"),
		"httpPort": plain.(*net.TCPAddr).Port, "tlsPort": secure.(*net.TCPAddr).Port,
		"profiles": map[string]any{"default": map[string]any{"description": "90 days", "validityPeriod": 90 * 24 * 3600}},
	}})
	if err == nil {
		err = os.WriteFile(filepath.Join(a.dir, "config.json"), settings, 0o600)
	}
	if err != nil {
		a.t.Fatal(err)
	}
	cmd := exec.Command(a.program, "-config", filepath.Join(a.dir, "config.json"), "-dnsserver", a.names)
	cmd.Env = []string{"PEBBLE_VA_NOSLEEP=1", "PEBBLE_AUTHZREUSE=0"}
	if err := cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: a.roots}, DisableKeepAlives: true}}
	await(a.t, "the CA answers", func() bool {
		resp, err := c.Get("https://" + a.api + "/dir")
		return err == nil && resp.Body.Close() == nil
	})
}

// await waits for what must become true.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("in vain: %s", what)
		}
	}
}

// lonelyEdge runs an edge of a data folder, until stop.
func lonelyEdge(t *testing.T, cfg config.Config, shift *atomic.Int64) (e *edge.Edge, stop func()) {
	t.Helper()
	o, err := server.EdgeOptions(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	o.Grace = time.Second
	o.Certs.Now = func() time.Time { return time.Now().Add(time.Duration(shift.Load())) }
	o.Certs.Poll = 10 * time.Millisecond
	if e, err = edge.New(o); err != nil {
		t.Fatal(err)
	}
	if err := e.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the edge: %v", err)
		}
	})
	t.Cleanup(stop)
	return e, stop
}

// visit gets a page over HTTPS. It returns the certificate's serial number and
// the page.
func visit(e *edge.Edge, host string) (serial, page string) {
	at := e.SecureAddr().String()
	c := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", at)
		},
	}}
	resp, err := c.Get("https://" + host + "/")
	if err != nil {
		return "", ""
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	body, _ := io.ReadAll(resp.Body)
	return resp.TLS.PeerCertificates[0].SerialNumber.String(), string(body)
}

// TestAnEdgeAloneRenews has an edge that was told of an app once. Then control
// and engine are gone for good, and the edge is started anew: it serves on with
// what is on its disk, and renews the certificate when it is time.
func TestAnEdgeAloneRenews(t *testing.T) {
	a := newAuthority(t)
	data, err := os.MkdirTemp("", "lw-") // short: sockets have short names
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(data) })
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "shop") }))
	defer app.Close()
	cfg := config.Default()
	cfg.Data, cfg.Domain, cfg.HTTP, cfg.HTTPS, cfg.HTTP3 = data, "apps.example.org", a.host+":0", a.host+":0", false
	cfg.ACMEDirectory, cfg.ACMERoots = "https://"+a.api+"/dir", filepath.Join(a.dir, "root.pem")
	if err := os.MkdirAll(cfg.RunDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	var shift atomic.Int64
	const host = "shop.example.com"

	e, stop := lonelyEdge(t, cfg, &shift)
	a.run(e.Addr(), e.SecureAddr())
	control := edge.NewClient(cfg.EdgeSocket())
	table := route.Table{Generation: 1, Routes: []*route.Route{{
		App: "shop", AppID: 1, Hosts: []string{host}, State: route.StateUp,
		Targets: []route.Target{{Addr: netip.MustParseAddrPort(app.Listener.Addr().String()), Unit: "web.1", ID: "1"}},
	}}}
	if err := control.PutTable(t.Context(), table.Text()); err != nil {
		t.Fatal(err)
	}
	control.Close()
	var first string
	await(t, "the first certificate", func() bool {
		var page string
		first, page = visit(e, host)
		return first != "" && page == "shop"
	})
	cfg.HTTP, cfg.HTTPS = e.Addr().String(), e.SecureAddr().String() // where the CA looks
	stop()

	e, _ = lonelyEdge(t, cfg, &shift)
	await(t, "the certificate is served after a restart", func() bool {
		serial, page := visit(e, host)
		if serial != "" && serial != first {
			t.Fatal("another one was ordered")
		}
		return serial == first && page == "shop"
	})
	shift.Store(int64(60*24*time.Hour + time.Minute))
	await(t, "the next certificate", func() bool {
		serial, page := visit(e, host)
		if page != "shop" {
			t.Fatalf("the app answers %q", page)
		}
		return serial != first
	})
}
