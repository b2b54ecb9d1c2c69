package cert_test

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"landward/internal/cert"
	"landward/internal/waittest"
)

func TestStaple(t *testing.T) {
	ca, stranger := newCA(t, "ca"), newCA(t, "a stranger")
	var (
		c      = &clock{}
		status atomic.Int64
		asked  atomic.Int64
		signer atomic.Pointer[testCA]
	)
	signer.Store(ca)
	responder := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<16))
		if err != nil {
			return
		}
		q, err := ocsp.ParseRequest(body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		by := signer.Load()
		out, err := ocsp.CreateResponse(by.root, by.root, ocsp.Response{
			Status: int(status.Load()), SerialNumber: q.SerialNumber, IssuerHash: crypto.SHA1,
			ThisUpdate: c.now().Add(-time.Minute), NextUpdate: c.now().Add(10 * time.Hour), RevokedAt: c.now().Add(-time.Hour),
		}, by.key)
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(out)
	}))
	defer responder.Close()
	m := manager(t, cert.Options{Now: c.now})
	chain, key := ca.issue(t, func(c *x509.Certificate) { c.OCSPServer = []string{responder.URL} }, "a.example.com")
	_, err := m.PutPair("a.example.com", chain, key)
	check(t, err)
	stapled := func() []byte {
		t.Helper()
		st, err := shake(t, m.TLSConfig(), &tls.Config{ServerName: "a.example.com", RootCAs: ca.pool()})
		check(t, err)
		return st.OCSPResponse
	}
	if stapled() != nil {
		t.Error("a staple from nowhere")
	}
	// An answer that its issuer did not sign is none.
	signer.Store(stranger)
	m.Staple(t.Context())
	if stapled() != nil {
		t.Error("a stranger's answer is stapled")
	}
	signer.Store(ca)
	m.Staple(t.Context())
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times: a failure must wait", n)
	}
	c.set(10 * time.Minute)
	m.Staple(t.Context())
	raw := stapled()
	if raw == nil {
		t.Fatal("no staple")
	}
	m.Staple(t.Context())
	if n := asked.Load(); n != 2 {
		t.Errorf("asked %d times: a fresh answer is asked for again", n)
	}
	c.set(6 * time.Hour) // beyond half of its life
	status.Store(ocsp.Revoked)
	if n := m.Staple(t.Context()); n != 1 {
		t.Errorf("%d revoked", n)
	}
	if stapled() != nil {
		t.Error("a staple that says revoked")
	}
	if st := statusOf(m, "a.example.com"); !st.Revoked || st.LastError == "" {
		t.Errorf("status %+v", st)
	}
}

func TestOCSPIsNeverAskedInside(t *testing.T) {
	for addr, want := range map[string]bool{
		"93.184.215.14:80": true, "[2606:2800::1]:443": true,
		"127.0.0.1:80": false, "10.1.2.3:80": false, "192.168.0.1:80": false, "172.16.0.1:80": false,
		"169.254.169.254:80": false, "100.64.0.1:80": false, "0.0.0.0:80": false, "224.0.0.1:80": false,
		"[::1]:80": false, "[fe80::1]:80": false, "[fd00::1]:80": false, "[::ffff:127.0.0.1]:80": false,
		"93.184.215.14:22": false,
	} {
		if err := cert.PublicOnly(addr); (err == nil) != want {
			t.Errorf("%s: %v", addr, err)
		}
	}
	reached := make(chan struct{}, 1)
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached <- struct{}{} }))
	defer inside.Close()
	ca := newCA(t, "ca")
	log := &lines{}
	m := manager(t, cert.Options{Log: logTo(log)})
	chain, key := ca.issue(t, func(c *x509.Certificate) { c.OCSPServer = []string{inside.URL} }, "a.example.com")
	_, err := m.PutPair("a.example.com", chain, key)
	check(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	waittest.Eventually(t, "it is refused", func() bool { return log.count("not a public address") > 0 })
	cancel()
	check(t, <-done)
	select {
	case <-reached:
		t.Error("it was asked")
	default:
	}
}
