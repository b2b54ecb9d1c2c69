package e2e

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
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"landward/client"
	"landward/test/harness"
)

// ownPair writes a key pair for a host, signed by nobody but itself.
func ownPair(t *testing.T, dir, host string) (cert, key string, roots *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for name, data := range map[string][]byte{cert: certPEM, key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	roots = x509.NewCertPool()
	roots.AppendCertsFromPEM(certPEM)
	return cert, key, roots
}

// browser follows no redirects and finds every host at the server under test.
func browser(t *testing.T, s *harness.Server, roots *x509.CertPool) *http.Client {
	t.Helper()
	tr := &http.Transport{
		ForceAttemptHTTP2: true,
		TLSClientConfig:   &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			to := s.HTTPS
			if strings.HasSuffix(addr, ":80") {
				to = s.HTTP
			}
			return new(net.Dialer).DialContext(ctx, "tcp", to)
		},
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func page(c *http.Client, url string) (*http.Response, string, error) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
	if err != nil {
		return nil, "", err
	}
	req.Header.Set("Accept", "text/html")
	req.Header.Set("X-Forwarded-For", "6.6.6.6")
	req.Header.Set("X_Real_IP", "6.6.6.6")
	resp, err := c.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	b, err := io.ReadAll(resp.Body)
	return resp, string(b), err
}

// TestHeadersExample is the TLS front as a whole: an own key pair, plain HTTP
// sent to HTTPS, an app that speaks HTTPS only, forwarded headers, own error
// pages, and an access log that outlives the edge.
func TestHeadersExample(t *testing.T) {
	s := start(t)
	repo := s.NewRepo("headers")
	copyExample(t, repo, "headers")
	want(t, repo.Push(), "Go app detected: go.mod", "=====> Deployed")
	cert, key, roots := ownPair(t, t.TempDir(), "headers.localhost")
	want(t, s.CLI("certs", "add", "headers.localhost", "--cert", cert, "--key", key, "-a", "headers"), "headers.localhost")
	want(t, s.CLI("certs", "-a", "headers"), "headers.localhost", "own")
	c := browser(t, s, roots)
	s.Eventually("plain HTTP is sent to HTTPS", func() error {
		resp, _, err := page(c, "http://headers.localhost/a?b=c")
		if err == nil && (resp.StatusCode != http.StatusPermanentRedirect || !strings.HasSuffix(resp.Header.Get("Location"), "/a?b=c")) {
			err = fmt.Errorf("%d to %q", resp.StatusCode, resp.Header.Get("Location"))
		}
		return err
	})
	var got struct {
		TLS     bool                `json:"tls"`
		Headers map[string][]string `json:"headers"`
	}
	resp, body, err := page(c, "https://headers.localhost/a")
	if err != nil || json.Unmarshal([]byte(body), &got) != nil {
		t.Fatalf("%v %q", err, body)
	}
	h := http.Header(got.Headers)
	if resp.Proto != "HTTP/2.0" || !got.TLS || h.Get("X-Forwarded-Proto") != "https" || h.Get("X-Forwarded-For") != "127.0.0.1" ||
		h.Get("X-Real-Ip") != "127.0.0.1" || h.Get("X_real_ip") != "" || h.Get("Traceparent") == "" {
		t.Errorf("%s, the app was told: %+v", resp.Proto, got)
	}
	if resp.Header.Get("X-Served-By") != "landward" || resp.Header.Get("X-Frame-Options") != "DENY" {
		t.Errorf("the client was told: %v", resp.Header)
	}
	if resp, body, err := page(c, "https://headers.localhost/broken"); err != nil || resp.StatusCode != 500 || !strings.Contains(body, "Our mistake") {
		t.Errorf("%v %q", err, body)
	}
	logged := func(paths ...string) {
		t.Helper()
		s.Eventually("the access log", func() error {
			out := s.CLI("access-log", "-a", "headers")
			for _, path := range paths {
				if !strings.Contains(out, path) {
					return fmt.Errorf("no %s in\n%s", path, out)
				}
			}
			return nil
		})
	}
	logged("/a", "/broken") // what a process that is killed has not written yet is lost
	// The edge starts anew: certificate, routes and log are still there.
	s.Kill("edge")
	s.Eventually("the edge serves again", func() error {
		resp, _, err := page(browser(t, s, roots), "https://headers.localhost/after")
		if err == nil && resp.StatusCode != http.StatusOK {
			err = errors.New(resp.Status)
		}
		return err
	})
	logged("/a", "/broken", "/after")
}

// TestSleepingApp sleeps for real and is woken by a request.
func TestSleepingApp(t *testing.T) {
	s := start(t)
	repo := s.NewRepo("sleepy")
	repo.Write("landward.yaml", "routes: {idle: {sleep_after: 2s}}\n")
	repo.Testapp("one", "")
	repo.Push()
	s.WantGet("sleepy", "/", "one")
	s.Eventually("its container waits to be started", func() error {
		units, err := s.Client.Units(context.Background(), "sleepy")
		if err == nil && (len(units) != 1 || units[0].State != client.UnitAsleep) {
			err = fmt.Errorf("units: %+v", units)
		}
		return err
	})
	if code, body := s.Get("sleepy", "/"); code != http.StatusOK || body != "one" {
		t.Errorf("woken: %d %q", code, body)
	}
}
