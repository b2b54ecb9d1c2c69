package edge_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"landward/internal/route/edge"
	"landward/internal/route/plane"
	"landward/internal/waittest"
)

// soon is every limit in time of the edge that slow clients meet.
const soon = 400 * time.Millisecond

// impatient makes an edge wait for nothing.
func impatient(o *edge.Options) {
	o.HTTP3 = true
	o.Handshake = soon
	o.Limits = plane.Limits{HeaderTimeout: soon, IdleTimeout: soon, ReadTimeout: soon, WriteTimeout: soon, MaxBody: 1 << 20, Header: 16 << 10,
		Tick: 5 * time.Millisecond}
}

// slowApp is an app for slow clients. It tells when it writes an answer that
// nobody takes, and when that has ended.
type slowApp struct {
	addr         netip.AddrPort
	began, ended chan string
}

func newSlowApp(t *testing.T) *slowApp {
	t.Helper()
	a := &slowApp{began: make(chan string, 100), ended: make(chan string, 100)}
	flood := bytes.Repeat([]byte("x"), 64<<10)
	a.addr = backend(t, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		out := io.Writer(w)
		switch {
		case strings.HasPrefix(r.URL.Path, "/endless"):
			_ = rc.EnableFullDuplex()
		case strings.HasPrefix(r.URL.Path, "/socket"):
			c, _, err := rc.Hijack()
			if err != nil {
				return
			}
			defer func() { _ = c.Close() }()
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			out = c
		default:
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(w, "hello")
			return
		}
		a.began <- r.URL.Path
		for {
			if _, err := out.Write(flood); err != nil {
				break
			}
		}
		a.ended <- r.URL.Path
	})
	return a
}

// trickle sends text, and then more again and again, a byte at a time, until it
// cannot or the test ends.
func trickle(t *testing.T, c io.Writer, text, more string) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	var all sync.WaitGroup
	ctx, stop := context.WithCancel(context.Background())
	all.Go(func() {
		defer tick.Stop()
		for i := 0; ; i++ {
			b := text
			at := i
			if at >= len(text) && more != "" {
				b, at = more, (at-len(text))%len(more)
			}
			if at < len(b) {
				if _, err := c.Write([]byte{b[at]}); err != nil {
					return
				}
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
	t.Cleanup(func() {
		stop()
		all.Wait()
	})
}

// floods waits until the app has begun to write what nobody reads, and until it
// has had enough.
func (a *slowApp) floods(t *testing.T) {
	t.Helper()
	select {
	case <-a.began:
	case <-time.After(patience):
		t.Fatal("the app was never asked")
	}
	select {
	case <-a.ended:
	case <-time.After(patience):
		t.Fatal("the app still writes")
	}
}

// untilEnd reads until the other side ends the connection. That it does so by
// itself, before the test loses its patience, is what is tested.
func untilEnd(t *testing.T, c net.Conn) string {
	t.Helper()
	b, err := io.ReadAll(c)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the connection goes on, after %q", b)
	}
	return string(b)
}

func write(t *testing.T, c io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

// answered reads one answer.
func answered(t *testing.T, c net.Conn, status int) {
	t.Helper()
	resp, _, err := hears(bufio.NewReader(c), http.MethodGet)
	if err != nil || resp.StatusCode != status {
		t.Fatalf("%v, %v, want %d", resp, err, status)
	}
}

// half holds back all that is written after the first flight.
type half struct {
	net.Conn
	sent bool
}

// Write sends the first piece only.
func (h *half) Write(p []byte) (int, error) {
	if h.sent {
		return len(p), nil
	}
	h.sent = true
	return h.Conn.Write(p)
}

const ask = "GET /a HTTP/1.1\r\nHost: shop.test\r\n"

// slowHTTP are the ways to be slow that do not depend on what is below HTTP/1.1,
// with what the client is told before the end.
var slowHTTP = []struct {
	name, told string
	do         func(t *testing.T, c net.Conn)
}{
	{"says nothing", "", func(*testing.T, net.Conn) {}},
	{"half a request line", "HTTP/1.1 408 ", func(t *testing.T, c net.Conn) { write(t, c, "GE") }},
	{"half a head", "HTTP/1.1 408 ", func(t *testing.T, c net.Conn) { write(t, c, ask) }},
	{"a head byte by byte", "HTTP/1.1 408 ", func(t *testing.T, c net.Conn) { trickle(t, c, ask, "X: y\r\n") }},
	{"a request line byte by byte", "HTTP/1.1 408 ", func(t *testing.T, c net.Conn) { trickle(t, c, "GET /", "a") }},
	{"idle after an answer", "", func(t *testing.T, c net.Conn) { write(t, c, ask+"\r\n"); answered(t, c, 200) }},
	{"half a second head", "HTTP/1.1 408 ", func(t *testing.T, c net.Conn) { write(t, c, ask+"\r\n"); answered(t, c, 200); write(t, c, ask) }},
	{"a second head byte by byte", "HTTP/1.1 408 ", func(t *testing.T, c net.Conn) {
		write(t, c, ask+"\r\n")
		answered(t, c, 200)
		trickle(t, c, ask, "X: y\r\n")
	}},
	{"no body", "HTTP/1.1 408 ", func(t *testing.T, c net.Conn) { write(t, c, "POST"+ask[3:]+"Content-Length: 9\r\n\r\n") }},
	{"half a body", "HTTP/1.1 408 ", func(t *testing.T, c net.Conn) { write(t, c, "POST"+ask[3:]+"Content-Length: 99999\r\n\r\nhello") }},
	{"no chunk", "HTTP/1.1 408 ", func(t *testing.T, c net.Conn) { write(t, c, "POST"+ask[3:]+"Transfer-Encoding: chunked\r\n\r\n") }},
	{"half a chunk", "HTTP/1.1 408 ", func(t *testing.T, c net.Conn) {
		write(t, c, "POST"+ask[3:]+"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n9\r\nhel")
	}},
	{"half a trailer", "HTTP/1.1 408 ", func(t *testing.T, c net.Conn) {
		write(t, c, "POST"+ask[3:]+"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: ")
	}},
	{"a body that was to be waited for", "HTTP/1.1 408 ", func(t *testing.T, c net.Conn) {
		write(t, c, "POST"+ask[3:]+"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n")
	}},
	{"stays after a refusal", "HTTP/1.1 400 ", func(t *testing.T, c net.Conn) {
		write(t, c, "GET / HTTP/1.1\r\nHost : shop.test\r\n\r\n")
		trickle(t, c, "", "x")
	}},
}

// TestSlowClients: a client that is slow, in whatever it does, is not waited for
// without end, holds nothing when it has gone, and keeps nobody from being
// served.
func TestSlowClients(t *testing.T) {
	r := besieged(t, impatient)
	a := newSlowApp(t)
	r.apply(t, shop(a.addr))
	before := settled(t, r)
	// All at once: those that are begun first are slow while the others begin.
	type pending struct {
		name, told string
		exact      bool
		c          net.Conn
	}
	var all []pending
	for _, server := range []string{"", "shop.test"} {
		for _, tc := range slowHTTP {
			c := r.fast(t, server)
			tc.do(t, c)
			all = append(all, pending{"TLS "[:4*min(len(server), 1)] + tc.name, tc.told, true, c})
		}
	}
	strict := &tls.Config{ServerName: "shop.test", RootCAs: r.localRoots(t), MaxVersion: tls.VersionTLS12}
	for name, begin := range map[string]func(c net.Conn){
		"no ClientHello":            func(net.Conn) {},
		"half a ClientHello":        func(c net.Conn) { write(t, c, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03") },
		"ClientHello by the byte":   func(c net.Conn) { trickle(t, c, "\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03", "\x00") },
		"empty records by the byte": func(c net.Conn) { trickle(t, c, "", "\x16\x03\x01\x00\x01\x01") },
		"no Finished": func(c net.Conn) {
			// The client is through its handshake when it has sent what is held back.
			if err := tls.Client(&half{Conn: c}, &tls.Config{ServerName: "shop.test", RootCAs: strict.RootCAs}).Handshake(); err != nil {
				t.Error(err)
			}
		},
		"no ClientKeyExchange": func(c net.Conn) {
			go func() { _ = tls.Client(&half{Conn: c}, strict).Handshake() }()
		},
	} {
		c, err := net.Dial("tcp", r.SecureAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(patience))
		begin(c)
		if name != "no ClientKeyExchange" { // that one is read by its client
			all = append(all, pending{name, "", false, c})
		}
	}
	r.serves(t)
	for _, p := range all {
		t.Run(p.name, func(t *testing.T) {
			if got := untilEnd(t, p.c); p.exact && p.told == "" && got != "" || !strings.Contains(got, p.told) {
				t.Errorf("told %q before the end, want %q", got, p.told)
			}
		})
	}
	released(t, r, before)
}

// fast is dial for a client whose handshake must not be what is slow: where the
// machine was busy it tries again.
func (r *running) fast(t *testing.T, server string) net.Conn {
	t.Helper()
	if server == "" {
		return r.dial(t, "")
	}
	config := &tls.Config{ServerName: server, RootCAs: r.localRoots(t), MinVersion: tls.VersionTLS12}
	for end := time.Now().Add(patience); ; {
		c, err := tls.Dial("tcp", r.SecureAddr().String(), config)
		if err == nil {
			t.Cleanup(func() { _ = c.Close() })
			_ = c.SetDeadline(time.Now().Add(patience))
			return c
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// serves checks that others are served.
func (r *running) serves(t *testing.T) {
	t.Helper()
	var last error
	for end := time.Now().Add(patience); time.Now().Before(end); {
		c, err := net.Dial("tcp", r.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		_, _ = io.WriteString(c, ask+"Connection: close\r\n\r\n")
		resp, body, err := hears(bufio.NewReader(c), http.MethodGet)
		_ = c.Close()
		if err == nil && resp.StatusCode == 200 && body == "hello" {
			return
		}
		last = err
	}
	t.Fatalf("nobody else is served: %v", last)
}

// settled is how many goroutines there are once an edge has nothing to do.
func settled(t *testing.T, r *running) int {
	t.Helper()
	r.serves(t)
	r.Close() // the admin connection
	waittest.Eventually(t, "end of all connections", func() bool { return r.connections(t) == 0 })
	return runtime.NumGoroutine()
}

func (r *running) connections(t *testing.T) int64 {
	t.Helper()
	st, err := r.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return int64(st.Connections)
}

// released waits until an edge holds no more than before.
func released(t *testing.T, r *running, before int) {
	t.Helper()
	waittest.Eventually(t, "end of the slow clients' connections", func() bool { return r.connections(t) == 0 })
	r.Close()
	const connectionsOfTheTest = 2 // to the app, and the app's own
	waittest.Eventually(t, "end of the slow clients' goroutines", func() bool { return runtime.NumGoroutine() <= before+connectionsOfTheTest })
}

// TestSlowReaders: an answer that nobody takes ends, and its app is told.
func TestSlowReaders(t *testing.T) {
	r := besieged(t, impatient)
	a := newSlowApp(t)
	r.apply(t, shop(a.addr))
	before := settled(t, r)
	upgrade := "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
	for _, server := range []string{"", "shop.test"} {
		for name, head := range map[string]string{
			"answer":    "GET /endless HTTP/1.1\r\nHost: shop.test\r\n\r\n",
			"uploading": "POST /endless HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 100000\r\n\r\nhello",
			"WebSocket": "GET /socket HTTP/1.1\r\nHost: shop.test\r\n" + upgrade + "\r\n",
		} {
			t.Run("TLS "[:4*min(len(server), 1)]+name, func(t *testing.T) {
				c := r.fast(t, server)
				write(t, c, head)
				r.serves(t)
				a.floods(t)
				waittest.Eventually(t, "end of the connection", func() bool { return r.connections(t) == 0 })
				if b, err := io.ReadAll(c); err == nil && strings.HasSuffix(string(b), "0\r\n\r\n") {
					t.Errorf("%d bytes that look whole", len(b))
				}
			})
		}
	}
	t.Run("many answers", func(t *testing.T) {
		c := r.fast(t, "")
		_ = c.SetWriteDeadline(time.Now().Add(patience))
		// It ends while it sends: its answers fill all that is in between.
		for {
			if _, err := io.WriteString(c, strings.Repeat(ask+"\r\n", 1000)); err != nil {
				if errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatal("the connection goes on")
				}
				return
			}
		}
	})
	released(t, r, before)
}

// TestSlowProxies: who begins with the PROXY protocol must say so at once, too.
func TestSlowProxies(t *testing.T) {
	r := besieged(t, func(o *edge.Options) {
		impatient(o)
		o.Trusted, o.ProxyProtocol = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, true
	})
	a := newSlowApp(t)
	r.apply(t, shop(a.addr))
	const proxy = "PROXY TCP4 192.0.2.7 192.0.2.8 5000 80\r\n"
	ends := map[string]net.Conn{}
	for scheme, listener := range map[string]net.Addr{"http": r.Addr(), "https": r.SecureAddr()} {
		for name, do := range map[string]func(c net.Conn){
			"nothing":              func(net.Conn) {},
			"half a header":        func(c net.Conn) { write(t, c, proxy[:20]) },
			"a header by the byte": func(c net.Conn) { trickle(t, c, "PROXY TCP4 ", "") },
			"half of version 2":    func(c net.Conn) { write(t, c, "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\x01\x02") },
			"a large version 2":    func(c net.Conn) { trickle(t, c, "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x0f\x00", "\x00") },
			"a header alone":       func(c net.Conn) { write(t, c, proxy) },
			"a header and half":    func(c net.Conn) { write(t, c, proxy); trickle(t, c, "\x16\x03\x01\x10\x00", "\x00") },
		} {
			c, err := net.Dial("tcp", listener.String())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close() })
			_ = c.SetDeadline(time.Now().Add(patience))
			do(c)
			ends[scheme+" "+name] = c
		}
	}
	c, err := net.Dial("tcp", r.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	write(t, c, proxy+ask+"\r\n")
	answered(t, c, 200)
	for name, c := range ends {
		t.Run(name, func(t *testing.T) { untilEnd(t, c) })
	}
}

// TestSlowControl: nor is control waited for, though it is one of us: what it
// leaves half done must not stay for ever.
func TestSlowControl(t *testing.T) {
	r := besieged(t, impatient)
	a := newSlowApp(t)
	r.apply(t, shop(a.addr))
	put := "PUT /v1/table HTTP/1.1\r\nHost: edge\r\n"
	ends := map[string]net.Conn{}
	for name, do := range map[string]func(t *testing.T, c net.Conn){
		"says nothing":        func(*testing.T, net.Conn) {},
		"half a head":         func(t *testing.T, c net.Conn) { write(t, c, put) },
		"a head byte by byte": func(t *testing.T, c net.Conn) { trickle(t, c, put, "X: y\r\n") },
		"no body":             func(t *testing.T, c net.Conn) { write(t, c, put+"Content-Length: 100\r\n\r\n") },
		"half a body":         func(t *testing.T, c net.Conn) { write(t, c, put+"Content-Length: 100\r\n\r\n{") },
		"half a chunk":        func(t *testing.T, c net.Conn) { write(t, c, put+"Transfer-Encoding: chunked\r\n\r\n5\r\n{") },
		"half a drain": func(t *testing.T, c net.Conn) {
			write(t, c, "POST /v1/drain HTTP/1.1\r\nHost: edge\r\nContent-Length: 100\r\n\r\n{")
		},
		"half a pair": func(t *testing.T, c net.Conn) {
			write(t, c, "PUT /v1/certs/a.test HTTP/1.1\r\nHost: edge\r\nContent-Length: 100\r\n\r\n{")
		},
		"idle after an answer": func(t *testing.T, c net.Conn) { write(t, c, "GET /v1/status HTTP/1.1\r\nHost: edge\r\n\r\n") },
		"half a second head":   func(t *testing.T, c net.Conn) { write(t, c, "GET /v1/root HTTP/1.1\r\nHost: edge\r\n\r\nGET /") },
		"a head without end": func(t *testing.T, c net.Conn) {
			go func() { _, _ = c.Write(bytes.Repeat([]byte("X: y\r\n"), 1<<20)) }()
		},
		"a body nobody asks for": func(t *testing.T, c net.Conn) {
			write(t, c, "GET /v1/root HTTP/1.1\r\nHost: edge\r\nContent-Length: 9\r\n\r\n{")
		},
	} {
		c, err := net.Dial("unix", filepath.Join(r.dir, "edge.sock"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(patience))
		do(t, c)
		ends[name] = c
	}
	if _, err := r.Status(t.Context()); err != nil {
		t.Errorf("nobody else is served: %v", err)
	}
	for name, c := range ends {
		t.Run(name, func(t *testing.T) { untilEnd(t, c) })
	}
	t.Run("answers not read", func(t *testing.T) {
		c, err := net.Dial("unix", filepath.Join(r.dir, "edge.sock"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetWriteDeadline(time.Now().Add(patience))
		for {
			if _, err := io.WriteString(c, strings.Repeat("GET /metrics HTTP/1.1\r\nHost: edge\r\n\r\n", 1000)); err != nil {
				if errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatal("the connection goes on")
				}
				return
			}
		}
	})
}
