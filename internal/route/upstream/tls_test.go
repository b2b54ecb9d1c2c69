package upstream_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"landward/internal/route/upstream"
	"landward/internal/waittest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// app is a TLS server by hand: serve gets each connection after its handshake.
func app(t *testing.T, change func(*tls.Config), serve func(*tls.Conn)) string {
	t.Helper()
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	config := &tls.Config{Certificates: s.TLS.Certificates, NextProtos: []string{"h2", "http/1.1"}}
	s.Close()
	if change != nil {
		change(config)
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
			conn := tls.Server(c, config)
			if conn.Handshake() == nil {
				serve(conn)
			}
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr().String()
}

// exchange sends one request and reads its answer.
func exchange(t *testing.T, c net.Conn, target string) string {
	t.Helper()
	if _, err := io.WriteString(c, "GET "+target+" HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestIdle holds that a connection can be used again after an answer, whatever
// TLS itself has sent, and cannot once the app has closed or has said more.
func TestIdle(t *testing.T) {
	for name, version := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			more := make(chan string)
			var sni, protocol string
			addr := app(t, func(c *tls.Config) { c.MaxVersion = version }, func(c *tls.Conn) {
				state := c.ConnectionState()
				sni, protocol = state.ServerName, state.NegotiatedProtocol
				r := bufio.NewReader(c)
				for range 3 {
					if _, err := http.ReadRequest(r); err != nil {
						t.Error(err)
						return
					}
					_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
				}
				if m := <-more; m != "" {
					_, _ = io.WriteString(c, m)
					<-more
				}
			})
			var d upstream.Dialer
			for _, surplus := range []string{"", "HTTP/1.1 408 Too late\r\n\r\n"} {
				c, err := d.HTTPS(t.Context(), addr, "shop.test")
				if err != nil {
					t.Fatal(err)
				}
				for range 3 {
					if got := exchange(t, c, "/"); got != "ok" {
						t.Fatal(got)
					}
					for range 3 {
						if !c.Idle() {
							t.Fatal("not idle after a whole answer")
						}
					}
				}
				more <- surplus
				waittest.Eventually(t, "the app's end is noticed", func() bool { return !c.Idle() })
				_ = c.Close()
				if surplus != "" {
					more <- ""
				}
			}
			if sni != "shop.test" || protocol != "http/1.1" {
				t.Errorf("SNI %q, protocol %q", sni, protocol)
			}
		})
	}
}

// TestIdleLooksWithoutWaiting holds that a look neither waits nor spoils a
// record that has come in part.
func TestIdleLooksWithoutWaiting(t *testing.T) {
	send, sent, rest := make(chan struct{}), make(chan struct{}), make(chan struct{})
	addr := app(t, nil, func(c *tls.Conn) {
		var buf [1]byte
		_, _ = io.ReadFull(c, buf[:])
		_, _ = io.WriteString(c, "1")
		<-send
		// A record's header alone, past TLS.
		_, _ = c.NetConn().Write([]byte{23, 3, 3})
		close(sent)
		<-rest
	})
	var d upstream.Dialer
	c, err := d.HTTPS(t.Context(), addr, "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var buf [1]byte
	_, _ = io.WriteString(c, "x")
	if _, err := io.ReadFull(c, buf[:]); err != nil {
		t.Fatal(err)
	}
	close(send)
	<-sent
	for range 5 {
		c.Idle()
	}
	_ = c.SetReadDeadline(time.Unix(1, 0))
	if _, err := c.Read(buf[:]); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	close(rest)
}

func TestHTTPSFails(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := upstream.Dialer{Timeout: 30 * time.Millisecond}
	if _, err := d.HTTPS(t.Context(), l.Addr().String(), "a"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a server that says nothing: %v", err)
	}
	_ = l.Close()
	if _, err := d.HTTPS(t.Context(), l.Addr().String(), "a"); err == nil {
		t.Error("nobody is there")
	}
}

// TestCloseDoesNotWait holds that closing does not wait for a peer that reads
// nothing.
func TestCloseDoesNotWait(t *testing.T) {
	hold := make(chan struct{})
	addr := app(t, nil, func(*tls.Conn) { <-hold })
	var d upstream.Dialer
	c, err := d.HTTPS(t.Context(), addr, "a")
	if err != nil {
		t.Fatal(err)
	}
	wrote := make(chan error)
	go func() {
		_ = c.SetWriteDeadline(time.Now().Add(30 * time.Millisecond))
		_, err := c.Write(make([]byte, 64<<20))
		wrote <- err
	}()
	if err := <-wrote; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
	_ = c.Close()
	close(hold)
}
