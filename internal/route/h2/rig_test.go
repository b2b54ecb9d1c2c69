package h2_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"landward/internal/route/h2"
	"landward/internal/route/h2/lane/lanetest"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a running server with an app behind it.
type rig struct {
	*h2.Server
	app  *lanetest.App
	addr string
	stop func()
}

// newRig serves h2 in clear text, or over TLS.
func newRig(t testing.TB, l h2.Limits, secure bool) *rig {
	app := &lanetest.App{}
	r := newRigFor(t, l, secure, app.Hand)
	r.app = app
	return r
}

func newRigFor(t testing.TB, l h2.Limits, secure bool, hand func(net.Conn)) *rig {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{addr: ln.Addr().String()}
	r.Server = h2.New(h2.Options{Log: slog.New(slog.DiscardHandler), Limits: l, Hand: hand})
	var config *tls.Config
	if secure {
		config = &tls.Config{Certificates: []tls.Certificate{certificate(t)}, NextProtos: []string{"h2"}}
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				if config != nil {
					tc := tls.Server(c, config)
					if tc.Handshake() != nil {
						_ = c.Close()
						return
					}
					c = tc
				}
				r.ServeConn(c)
			})
		}
	})
	r.stop = sync.OnceFunc(func() {
		_ = ln.Close()
		if r.app != nil {
			r.app.Release()
		}
		now, cancel := context.WithCancel(context.Background())
		cancel()
		r.Shutdown(now)
		all.Wait()
	})
	t.Cleanup(r.stop)
	return r
}

var makeCertificate = sync.OnceValues(func() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"shop.test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
})

func certificate(t testing.TB) tls.Certificate {
	t.Helper()
	c, err := makeCertificate()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// client is an ordinary HTTP/2 client.
func (r *rig) client(t testing.TB, secure bool) *http.Client {
	t.Helper()
	tr := &http.Transport{Protocols: new(http.Protocols), DisableCompression: true,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // a test's own server
	tr.Protocols.SetHTTP2(secure)
	tr.Protocols.SetUnencryptedHTTP2(!secure)
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience}
}

func (r *rig) url(secure bool, path string) string {
	if secure {
		return "https://" + r.addr + path
	}
	return "http://" + r.addr + path
}
