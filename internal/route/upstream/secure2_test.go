package upstream_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"landward/internal/route/upstream"
)

// secureBridge is a bridge over TLS that asks for a name.
func secureBridge(t testing.TB, addr, name string) *upstream.Bridge {
	t.Helper()
	d := upstream.Dialer{Timeout: patience}
	b := d.H2(addr, name)
	t.Cleanup(func() {
		b.Close()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := b.Wait(ctx); err != nil {
			t.Errorf("the bridge does not come to rest: %v", err)
		}
	})
	return b
}

// TestHTTP2OverTLS: many requests over one connection, which names the host.
func TestHTTP2OverTLS(t *testing.T) {
	remotes := make(chan string, 100)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		remotes <- r.RemoteAddr
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, r.Proto, " ", r.TLS.ServerName, " ", r.TLS.NegotiatedProtocol, " ", r.Host, " ", n)
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	b := secureBridge(t, s.Listener.Addr().String(), "shop.test")
	for range 3 { // links beside each other
		l := dial(t, b)
		for range 3 {
			l.send(t, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\n\r\n"+strings.Repeat("x", 70000))
			if res, body := l.read(t, "POST"); res.StatusCode != 200 || body != "HTTP/2.0 shop.test h2 a 70000" {
				t.Fatalf("%d %q", res.StatusCode, body)
			}
		}
	}
	first := <-remotes
	for range 8 {
		if other := <-remotes; other != first {
			t.Error("more than one connection")
		}
	}
}

// TestSchemeOverTLS: the app is told that it speaks TLS (RFC 9113 section
// 8.3.1), and some check it.
func TestSchemeOverTLS(t *testing.T) {
	schemes := make(chan string, 1)
	addr := app(t, nil, func(c *tls.Conn) {
		_, _ = io.ReadFull(c, make([]byte, len(http2.ClientPreface)))
		f := http2.NewFramer(c, c)
		f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		_ = f.WriteSettings()
		for {
			got, err := f.ReadFrame()
			if err != nil {
				return
			}
			if h, ok := got.(*http2.MetaHeadersFrame); ok {
				schemes <- h.PseudoValue("scheme")
				_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: h.StreamID, BlockFragment: []byte{0x89}, EndHeaders: true, EndStream: true})
			}
		}
	})
	l := dial(t, secureBridge(t, addr, ""))
	l.send(t, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if res, _ := l.read(t, "GET"); res.StatusCode != 204 {
		t.Errorf("status %d", res.StatusCode)
	}
	if got := <-schemes; got != "https" {
		t.Errorf("scheme %q", got)
	}
	_ = l.Close()
}

// TestNoHTTP2OverTLS: an app that speaks something else over TLS, or no TLS, is
// one that cannot be reached.
func TestNoHTTP2OverTLS(t *testing.T) {
	for name, protocols := range map[string][]string{"no protocol": nil, "another one": {"http/1.1"}} {
		addr := app(t, func(c *tls.Config) { c.NextProtos = protocols }, func(c *tls.Conn) { _, _ = io.ReadFull(c, make([]byte, 1)) })
		if _, err := secureBridge(t, addr, "").Dial(t.Context()); err == nil {
			t.Errorf("%s: connected", name)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "220 mail.test ESMTP\r\n")
			_ = c.Close()
		}
	}()
	_, err = secureBridge(t, l.Addr().String(), "").Dial(t.Context())
	if err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no TLS: %v", err)
	}
	_ = l.Close()
	<-done
}
