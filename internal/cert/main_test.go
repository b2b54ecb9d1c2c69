package cert_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"landward/internal/cert"
	"landward/internal/landward"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// clock is a clock that tests move.
type clock struct {
	mu    sync.Mutex
	shift time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.shift)
}

func (c *clock) set(shift time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shift = shift
}

// lines collects a log.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *lines) count(s string) int { return strings.Count(l.String(), s) }

func logTo(l *lines) *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// manager makes a Manager over dir, with a fast poll.
func manager(t testing.TB, o cert.Options) *cert.Manager {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.Poll == 0 {
		o.Poll = 10 * time.Millisecond
	}
	m, err := cert.New(o)
	check(t, err)
	return m
}

// run runs m until the test, or stop, ends it.
func run(t testing.TB, m *cert.Manager) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// statusOf is how one host stands.
func statusOf(m *cert.Manager, host string) cert.Status {
	for _, s := range m.Status() {
		if s.Host == host {
			return s
		}
	}
	return cert.Status{}
}

// testCA signs key pairs for tests.
type testCA struct {
	root *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

var serials struct {
	sync.Mutex
	n int64
}

func serial() *big.Int {
	serials.Lock()
	defer serials.Unlock()
	serials.n++
	return big.NewInt(serials.n)
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	return key
}

func newCA(t testing.TB, name string) *testCA {
	t.Helper()
	ca := &testCA{key: newKey(t)}
	tmpl := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:  x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(1000 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &ca.key.PublicKey, ca.key)
	check(t, err)
	ca.root, err = x509.ParseCertificate(der)
	check(t, err)
	ca.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return ca
}

func (ca *testCA) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(ca.root)
	return p
}

// issue makes a chain of leaf and root, and the leaf's key.
func (ca *testCA) issue(t testing.TB, change func(*x509.Certificate), names ...string) (chain, key []byte) {
	t.Helper()
	return ca.issueFor(t, newKey(t), change, names...)
}

func (ca *testCA) issueFor(t testing.TB, key crypto.Signer, change func(*x509.Certificate), names ...string) (chain, keyPEM []byte) {
	t.Helper()
	tmpl := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "a leaf"}, DNSNames: names,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(100 * time.Hour),
	}
	if change != nil {
		change(tmpl)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca.root, key.Public(), ca.key)
	check(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	check(t, err)
	chain = append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), ca.pem...)
	return chain, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

// shake does one handshake over memory and returns both ends' views.
func shake(t testing.TB, server *tls.Config, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	a, b := net.Pipe()
	deadline := time.Now().Add(2 * time.Minute)
	_ = a.SetDeadline(deadline) // pipes have deadlines
	_ = b.SetDeadline(deadline)
	done := make(chan error, 1)
	go func() {
		s := tls.Server(a, server)
		err := s.Handshake()
		if err == nil {
			_, err = s.Write([]byte("x")) // after the session tickets
		}
		done <- errors.Join(err, a.Close())
	}()
	c := tls.Client(b, client)
	err := c.Handshake()
	if err == nil {
		_, err = io.ReadFull(c, make([]byte, 1))
	}
	st := c.ConnectionState()
	_ = b.Close() // ends the server where it still waits
	<-done
	return st, err
}

// hello is a handshake for host, verified with roots.
func hello(t testing.TB, m *cert.Manager, host string, roots *x509.CertPool) (tls.ConnectionState, error) {
	t.Helper()
	return shake(t, m.TLSConfig(), &tls.Config{ServerName: host, RootCAs: roots})
}

// servedSerial is the serial number that host is served with, "" for none.
func servedSerial(t testing.TB, m *cert.Manager, host string) string {
	t.Helper()
	st, err := shake(t, m.TLSConfig(), &tls.Config{ServerName: host, InsecureSkipVerify: true})
	if err != nil {
		return ""
	}
	return st.PeerCertificates[0].SerialNumber.String()
}

func fieldOf(err error) string {
	var e *landward.Error
	if errors.As(err, &e) {
		return e.Field
	}
	return "no *landward.Error"
}
