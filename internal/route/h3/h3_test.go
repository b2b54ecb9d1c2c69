package h3_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"go.uber.org/goleak"

	"landward/internal/route/h2/lane/lanetest"
	"landward/internal/route/h3"
	"landward/internal/waittest"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type rig struct {
	*h3.Server
	app    *lanetest.App
	addr   string
	config *tls.Config // a client's
	tls    *tls.Config // the server's
	stop   func()
}

func newRig(t testing.TB, l h3.Limits) *rig {
	app := &lanetest.App{}
	r := newRigFor(t, l, app.Hand)
	r.app = app
	return r
}

func newRigFor(t testing.TB, l h3.Limits, hand func(net.Conn)) *rig {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return newRigOn(t, h3.Options{Limits: l, Hand: hand}, conn)
}

// newRigOn serves on a socket that is the caller's.
func newRigOn(t testing.TB, o h3.Options, conn net.PacketConn) *rig {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"shop.test"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{addr: conn.LocalAddr().String(), config: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // a test's own server
		tls: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}} //nolint:gosec // QUIC asks for 1.3
	r.tls.SetSessionTicketKeys([][32]byte{{1}})
	o.TLS, o.Log = r.tls, slog.New(slog.DiscardHandler)
	r.Server = h3.New(o)
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := r.Serve(conn); err != nil {
			t.Errorf("serve: %v", err)
		}
	}()
	r.stop = sync.OnceFunc(func() {
		if r.app != nil {
			r.app.Release()
		}
		now, cancel := context.WithCancel(context.Background())
		cancel()
		r.Shutdown(now)
		<-served
	})
	t.Cleanup(r.stop)
	return r
}

// client is an ordinary HTTP/3 client.
func (r *rig) client(t testing.TB) *http.Client {
	t.Helper()
	tr := &http3.Transport{TLSClientConfig: r.config, DisableCompression: true,
		Dial: func(ctx context.Context, _ string, c *tls.Config, q *quic.Config) (*quic.Conn, error) {
			return quic.DialAddr(ctx, r.addr, c, q)
		}}
	t.Cleanup(func() { _ = tr.Close() })
	return &http.Client{Transport: tr, Timeout: patience}
}

func url(path string) string { return "https://shop.test" + path }

func get(t testing.TB, c *http.Client, url string) (*http.Response, string) {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("read body: %v after %d bytes", err, len(b))
	}
	return resp, string(b)
}

func TestGet(t *testing.T) {
	r := newRig(t, h3.Limits{})
	c := r.client(t)
	for range 5 {
		resp, body := get(t, c, url("/hello?x=1"))
		if resp.ProtoMajor != 3 || resp.StatusCode != 200 || body != "hello, /hello?x=1" {
			t.Fatalf("%s %s: %q", resp.Proto, resp.Status, body)
		}
		if resp.Header.Get("X-App") != "lanetest" || resp.Header.Get("Keep-Alive") != "" || resp.ContentLength != int64(len(body)) {
			t.Fatalf("headers %v", resp.Header)
		}
	}
	if n := r.app.Conns.Load(); n > 2 {
		t.Errorf("%d lanes for requests that followed each other", n)
	}
}

func TestParallel(t *testing.T) {
	r := newRig(t, h3.Limits{})
	c := r.client(t)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			for range 10 {
				if _, body := get(t, c, url("/chunks?5000")); body != string(lanetest.Pattern(5000)) {
					t.Errorf("%d bytes", len(body))
				}
			}
		})
	}
	all.Wait()
}

func TestStatuses(t *testing.T) {
	r := newRig(t, h3.Limits{})
	c := r.client(t)
	for status, body := range map[string]string{"200": "body", "404": "body", "503": "body", "204": "", "304": ""} {
		if resp, got := get(t, c, url("/status?"+status)); resp.Status[:3] != status || got != body {
			t.Errorf("%s: %s %q", status, resp.Status, got)
		}
	}
	resp, err := c.Head(url("/hello"))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.ContentLength != 13 {
		t.Errorf("HEAD: length %d", resp.ContentLength)
	}
}

func TestHeadAsSent(t *testing.T) {
	r := newRig(t, h3.Limits{})
	req, _ := http.NewRequest("GET", url("/head?a=%20b"), nil)
	req.Host = "shop.test:8443"
	req.Header = http.Header{"X-One": {"1", "2"}, "Cookie": {"a=1; b=2", "c=3"}, "User-Agent": {"me"}}
	resp, err := r.client(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, _ := io.ReadAll(resp.Body)
	lines := strings.Split(strings.TrimSuffix(string(b), "\r\n\r\n"), "\r\n")
	if lines[0] != "GET /head?a=%20b HTTP/1.1" || lines[1] != "host: shop.test:8443" || len(lines) != 6 {
		t.Errorf("%q", lines)
	}
	for _, want := range []string{"x-one: 1", "x-one: 2", "cookie: a=1; b=2; c=3", "user-agent: me"} {
		if !strings.Contains("\r\n"+string(b), "\r\n"+want+"\r\n") {
			t.Errorf("no %q in %q", want, b)
		}
	}
}

func TestBodies(t *testing.T) {
	const large = 8 << 20
	r := newRig(t, h3.Limits{})
	c := r.client(t)
	for _, size := range []int{0, 1, 1000, 70_000, large} {
		want := lanetest.Pattern(size)
		for name, body := range map[string]io.Reader{
			"length": bytes.NewReader(want), "chunked": io.MultiReader(bytes.NewReader(want)),
		} {
			resp, err := c.Post(url("/echo"), "x/y", body)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s %d: %d bytes back, %v", name, size, len(got), err)
			}
		}
	}
	if _, body := get(t, c, url("/bytes?8388608")); body != string(lanetest.Pattern(large)) {
		t.Errorf("%d bytes", len(body))
	}
}

func TestTrailers(t *testing.T) {
	r := newRig(t, h3.Limits{})
	req, _ := http.NewRequest("POST", url("/echo"), io.MultiReader(strings.NewReader("some")))
	req.Trailer = http.Header{"X-Sum": {"12"}, "Grpc-Status": {"0"}}
	resp, err := r.client(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil || string(b) != "some" || resp.Trailer.Get("X-Sum") != "12" || resp.Trailer.Get("Grpc-Status") != "0" {
		t.Errorf("%q %v %v", b, resp.Trailer, err)
	}
}

// TestFullDuplex sends each piece only after the one before has come back.
func TestFullDuplex(t *testing.T) {
	r := newRig(t, h3.Limits{})
	pr, pw := io.Pipe()
	resp, err := r.client(t).Post(url("/echo"), "x/y", pr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	for _, piece := range []string{"one", "two", strings.Repeat("three", 10000)} {
		if _, err := io.WriteString(pw, piece); err != nil {
			t.Fatal(err)
		}
		back := make([]byte, len(piece))
		if _, err := io.ReadFull(resp.Body, back); err != nil || string(back) != piece {
			t.Fatalf("%q, %v", back, err)
		}
	}
	_ = pw.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || len(b) > 0 {
		t.Errorf("%q, %v", b, err)
	}
}

func TestEarlyHints(t *testing.T) {
	r := newRig(t, h3.Limits{})
	hints := ""
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
			hints += http.StatusText(code) + header.Get("Link")
			return nil
		},
	})
	req, _ := http.NewRequestWithContext(ctx, "GET", url("/hints"), nil)
	resp, err := r.client(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if b, _ := io.ReadAll(resp.Body); string(b) != "hints" || hints != "Early Hints</style.css>" || resp.Header.Get("Link") != "" {
		t.Errorf("%q after %q, %v", b, hints, resp.Header)
	}
}

// TestBroken holds that an answer that is broken off never looks whole.
func TestBroken(t *testing.T) {
	r := newRig(t, h3.Limits{})
	c := r.client(t)
	for _, path := range []string{"/break", "/cut", "/raw?HTTP/1.1%20200%20OK%0d%0a%0d%0atext", "/raw?", "/raw?rubbish%0a"} {
		resp, err := c.Get(url(path))
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			_ = resp.Body.Close()
		}
		var he *http3.Error
		if !errors.As(err, &he) || he.ErrorCode != http3.ErrCodeInternalError {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, body := get(t, c, url("/hello")); body != "hello, /hello" {
		t.Errorf("the connection is spoilt: %q", body)
	}
}

func TestEarlyRefusal(t *testing.T) {
	r := newRig(t, h3.Limits{})
	c := r.client(t)
	pr, pw := io.Pipe()
	defer func() { _ = pw.Close() }()
	resp, err := c.Post(url("/refuse"), "x/y", pr)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if resp.StatusCode != 413 || string(b) != "no\n" || err != nil {
		t.Errorf("%s %q %v", resp.Status, b, err)
	}
	waittest.Eventually(t, "lane closed", func() bool { return r.app.Open.Load() == 0 })
	if _, body := get(t, c, url("/hello")); body != "hello, /hello" {
		t.Errorf("the connection is spoilt: %q", body)
	}
}

// TestClientGoes holds that the near side learns that nobody waits any more,
// whether it waits, writes or reads.
func TestClientGoes(t *testing.T) {
	r := newRig(t, h3.Limits{})
	c := r.client(t)
	for i, path := range []string{"/wait", "/bytes?1000000000", "/count"} {
		ctx, cancel := context.WithCancel(context.Background())
		var body io.Reader
		if path == "/count" {
			pr, pw := io.Pipe()
			defer func() { _ = pw.Close() }()
			body = pr
		}
		req, _ := http.NewRequestWithContext(ctx, "POST", url(path), body)
		done := make(chan struct{})
		go func() {
			defer close(done)
			resp, err := c.Do(req)
			if err == nil {
				<-ctx.Done()
				_ = resp.Body.Close()
			}
		}()
		waittest.Eventually(t, "request", func() bool { return r.app.Requests.Load() == int64(i+1) })
		cancel()
		<-done
		waittest.Eventually(t, "gone: "+path, func() bool { return r.app.Open.Load() == 0 })
	}
}
