package h2_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"

	"landward/internal/route/h2"
	"landward/internal/route/h2/lane/lanetest"
	"landward/internal/waittest"
)

// both runs a test in clear text and over TLS.
func both(t *testing.T, test func(t *testing.T, r *rig, c *http.Client, url func(string) string)) {
	for name, secure := range map[string]bool{"h2c": false, "tls": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, h2.Limits{}, secure)
			test(t, r, r.client(t, secure), func(path string) string { return r.url(secure, path) })
		})
	}
}

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
	both(t, func(t *testing.T, r *rig, c *http.Client, url func(string) string) {
		for range 3 {
			resp, body := get(t, c, url("/hello?x=1"))
			if resp.ProtoMajor != 2 || resp.StatusCode != 200 || body != "hello, /hello?x=1" {
				t.Fatalf("%s %s: %q", resp.Proto, resp.Status, body)
			}
			if resp.Header.Get("X-App") != "lanetest" || resp.Header.Get("Keep-Alive") != "" || resp.ContentLength != int64(len(body)) {
				t.Fatalf("headers %v", resp.Header)
			}
		}
		// The client may be faster than the lane is idle again.
		if n := r.app.Conns.Load(); n > 2 {
			t.Errorf("%d lanes for requests that followed each other", n)
		}
	})
}

func TestParallel(t *testing.T) {
	both(t, func(t *testing.T, r *rig, c *http.Client, url func(string) string) {
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				for range 20 {
					if _, body := get(t, c, url("/chunks?5000")); body != string(lanetest.Pattern(5000)) {
						t.Errorf("%d bytes", len(body))
					}
				}
			})
		}
		all.Wait()
		if n := r.app.Conns.Load(); n > 200 {
			t.Errorf("%d lanes for 100 streams at once", n)
		}
	})
}

func TestStatuses(t *testing.T) {
	both(t, func(t *testing.T, _ *rig, c *http.Client, url func(string) string) {
		for _, s := range []struct {
			status int
			body   string
		}{{200, "body"}, {201, "body"}, {404, "body"}, {503, "body"}, {204, ""}, {304, ""}} {
			resp, body := get(t, c, url("/status?"+http.StatusText(0)+itoa(s.status)))
			if resp.StatusCode != s.status || body != s.body {
				t.Errorf("%d: %s %q", s.status, resp.Status, body)
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
	})
}

func itoa(n int) string {
	return string(rune('0'+n/100)) + string(rune('0'+n/10%10)) + string(rune('0'+n%10))
}

func TestHeadAsSent(t *testing.T) {
	r := newRig(t, h2.Limits{}, false)
	c := r.client(t, false)
	req, _ := http.NewRequest("GET", r.url(false, "/head?a=%20b"), nil)
	req.Host = "shop.test:8443"
	req.Header = http.Header{"X-One": {"1", "2"}, "Cookie": {"a=1; b=2", "c=3"}, "Te": {"trailers"}, "User-Agent": {"me"},
		"Accept-Encoding": {"br"}}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, _ := io.ReadAll(resp.Body)
	lines := strings.Split(strings.TrimSuffix(string(b), "\r\n\r\n"), "\r\n")
	if lines[0] != "GET /head?a=%20b HTTP/1.1" || lines[1] != "host: shop.test:8443" {
		t.Errorf("begins with %q", lines[:2])
	}
	for _, want := range []string{"x-one: 1", "x-one: 2", "cookie: a=1; b=2; c=3", "te: trailers", "user-agent: me"} {
		if !strings.Contains("\r\n"+string(b), "\r\n"+want+"\r\n") {
			t.Errorf("no %q in %q", want, b)
		}
	}
	if len(lines) != 8 {
		t.Errorf("more than was sent: %q", lines)
	}
}

func TestBodies(t *testing.T) {
	const large = 8 << 20
	both(t, func(t *testing.T, _ *rig, c *http.Client, url func(string) string) {
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
	})
}

func TestTrailers(t *testing.T) {
	both(t, func(t *testing.T, _ *rig, c *http.Client, url func(string) string) {
		req, _ := http.NewRequest("POST", url("/echo"), io.MultiReader(strings.NewReader("some")))
		req.Trailer = http.Header{"X-Sum": {"12"}, "Grpc-Status": {"0"}}
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		b, err := io.ReadAll(resp.Body)
		if err != nil || string(b) != "some" || resp.Trailer.Get("X-Sum") != "12" || resp.Trailer.Get("Grpc-Status") != "0" {
			t.Errorf("%q %v %v", b, resp.Trailer, err)
		}
	})
}

// TestFullDuplex sends each piece only after the one before has come back.
func TestFullDuplex(t *testing.T) {
	both(t, func(t *testing.T, _ *rig, c *http.Client, url func(string) string) {
		pr, pw := io.Pipe()
		resp, err := c.Post(url("/echo"), "x/y", pr)
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
	})
}

func TestEarlyHints(t *testing.T) {
	r := newRig(t, h2.Limits{}, false)
	hints := ""
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
			hints += itoa(code) + header.Get("Link")
			return nil
		},
	})
	req, _ := http.NewRequestWithContext(ctx, "GET", r.url(false, "/hints"), nil)
	resp, err := r.client(t, false).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if b, _ := io.ReadAll(resp.Body); string(b) != "hints" || hints != "103</style.css>" {
		t.Errorf("%q after %q", b, hints)
	}
}

// TestBroken holds that an answer that is broken off never looks whole.
func TestBroken(t *testing.T) {
	both(t, func(t *testing.T, _ *rig, c *http.Client, url func(string) string) {
		for _, path := range []string{"/break", "/cut", "/raw?HTTP/1.1%20200%20OK%0d%0a%0d%0atext", "/raw?", "/raw?rubbish%0a",
			"/raw?HTTP/1.1%20200%20OK%0d%0aTransfer-Encoding:%20chunked%0d%0a%0d%0a3%0d%0aabcdef%0d%0a"} {
			resp, err := c.Get(url(path))
			if err == nil {
				_, err = io.ReadAll(resp.Body)
				_ = resp.Body.Close()
			}
			var se http2.StreamError
			if !errors.As(err, &se) || se.Code != http2.ErrCodeInternal {
				t.Errorf("%s: %v", path, err)
			}
		}
		if _, body := get(t, c, url("/hello")); body != "hello, /hello" {
			t.Errorf("the connection is spoilt: %q", body)
		}
	})
}

// TestEarlyRefusal answers before the body has come.
func TestEarlyRefusal(t *testing.T) {
	both(t, func(t *testing.T, r *rig, c *http.Client, url func(string) string) {
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
	})
}

// TestClientGoes holds that the near side learns that nobody waits any more.
func TestClientGoes(t *testing.T) {
	both(t, func(t *testing.T, r *rig, c *http.Client, url func(string) string) {
		ctx, cancel := context.WithCancel(context.Background())
		req, _ := http.NewRequestWithContext(ctx, "GET", url("/wait"), nil)
		done := make(chan error)
		go func() {
			resp, err := c.Do(req)
			if err == nil {
				_ = resp.Body.Close()
			}
			done <- err
		}()
		waittest.Eventually(t, "request", func() bool { return r.app.Requests.Load() == 1 })
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		waittest.Eventually(t, "gone", func() bool { return r.app.Gone.Load() == 1 && r.app.Open.Load() == 0 })
	})
}

func TestShutdown(t *testing.T) {
	both(t, func(t *testing.T, r *rig, c *http.Client, url func(string) string) {
		pr, pw := io.Pipe()
		resp, err := c.Post(url("/echo"), "x/y", pr)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			r.Shutdown(context.Background())
		}()
		if _, err := io.WriteString(pw, "still served"); err != nil {
			t.Error(err)
		}
		_ = pw.Close()
		b, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || string(b) != "still served" {
			t.Errorf("%q %v", b, err)
		}
		<-done
		if n := r.app.Open.Load(); n != 0 {
			t.Errorf("%d lanes left", n)
		}
	})
}
