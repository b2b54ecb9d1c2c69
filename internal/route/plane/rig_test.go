package plane_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"landward/internal/landward"
	"landward/internal/route"
	"landward/internal/route/plane"
	"landward/internal/waittest"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// rig is a running plane with what it reported.
type rig struct {
	*plane.Plane
	addr string
	sink *sink
	stop func() // Shutdown at once, and wait
}

// newRig runs a plane with these routes on a port of its own.
func newRig(t testing.TB, l plane.Limits, routes ...route.Route) *rig {
	t.Helper()
	if l.Tick == 0 {
		l.Tick = 5 * time.Millisecond
	}
	s := &sink{}
	p := plane.New(plane.Options{Log: slog.New(slog.DiscardHandler), Access: s, Pages: pages{}, Limits: l})
	ln := listen(t)
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { _ = p.Run(ctx) })
	all.Go(func() {
		if err := p.Serve(ln, "http"); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	r := &rig{Plane: p, addr: ln.Addr().String(), sink: s}
	r.stop = sync.OnceFunc(func() {
		_ = ln.Close()
		now, stop := context.WithCancel(ctx)
		stop()
		p.Shutdown(now)
		cancel()
		all.Wait()
	})
	t.Cleanup(r.stop)
	r.apply(t, 1, routes...)
	return r
}

func (r *rig) apply(t testing.TB, generation int64, routes ...route.Route) {
	t.Helper()
	table := route.Table{Generation: generation}
	for i := range routes {
		table.Routes = append(table.Routes, &routes[i])
	}
	if err := r.Apply(table); err != nil {
		t.Fatal(err)
	}
}

// entry is a route.Entry that may be kept.
type entry struct {
	route.Entry
	Method, Path, Host, ID string
}

// sink keeps what was reported.
type sink struct {
	off  atomic.Bool // keeps nothing
	mu   sync.Mutex
	list []entry
}

// Access keeps an entry.
func (s *sink) Access(e *route.Entry) {
	if s.off.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, entry{*e, string(e.Method), string(e.Path), string(e.Host), string(e.ID)})
}

func (s *sink) all() []entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]entry(nil), s.list...)
}

// last waits for n entries and returns the newest.
func (s *sink) last(t testing.TB, n int) entry {
	t.Helper()
	var list []entry
	waittest.Eventually(t, fmt.Sprintf("%d entries", n), func() bool {
		list = s.all()
		return len(list) >= n
	})
	return list[len(list)-1]
}

// pages says a fault in one line.
type pages struct{}

// Append appends the fault.
func (pages) Append(dst []byte, f route.Fault, accept []byte) ([]byte, string) {
	if string(accept) == "panic" {
		panic("as asked")
	}
	return fmt.Appendf(dst, "%s|%s|%s|%s|%s", f.Code, f.State, f.App, f.Reason, accept), "text/plain"
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

// app is a route of one app with one target for each address.
func app(name string, addrs ...string) route.Route {
	r := route.Route{App: name, AppID: 7, Release: 1, Hosts: []string{name + ".test"}, State: route.StateUp,
		Headers: landward.Headers{Security: landward.SwitchOff}}
	for i, a := range addrs {
		r.Targets = append(r.Targets, route.Target{Addr: netip.MustParseAddrPort(a),
			Unit: fmt.Sprintf("web.%d", i+1), ID: fmt.Sprintf("%s-%s", name, a)})
	}
	return r
}

// serve runs an ordinary Go server as an app and returns its address.
func serve(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.Listener.Addr().String()
}

// script runs an app that speaks raw bytes: talk has each connection.
func script(t testing.TB, talk func(c net.Conn, r *bufio.Reader)) string {
	t.Helper()
	ln := listen(t)
	var all sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	all.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			all.Go(func() {
				defer func() { _ = c.Close() }()
				talk(c, bufio.NewReader(c))
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		mu.Lock()
		for _, c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return ln.Addr().String()
}

// readHead reads a head as it came.
func readHead(r *bufio.Reader) (string, error) {
	var b strings.Builder
	for {
		line, err := r.ReadString('\n')
		b.WriteString(line)
		if err != nil || line == "\r\n" {
			return b.String(), err
		}
	}
}

// canned answers every request on a connection with those bytes.
func canned(t testing.TB, answer string) string {
	t.Helper()
	return script(t, func(c net.Conn, r *bufio.Reader) {
		for {
			if _, err := readHead(r); err != nil {
				return
			}
			if _, err := io.WriteString(c, answer); err != nil {
				return
			}
		}
	})
}

func (r *rig) dial(t testing.TB) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c
}

// raw sends bytes and returns everything that comes back until the plane
// closes.
func (r *rig) raw(t testing.TB, send string) string {
	t.Helper()
	c := r.dial(t)
	if _, err := io.WriteString(c, send); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err != nil && !strings.Contains(err.Error(), "reset by peer") {
		t.Fatalf("read: %v after %q", err, b)
	}
	return string(b)
}

var changing = regexp.MustCompile(`(X-Request-Id: )[0-9a-f]{32}|(traceparent: )00-[0-9a-f]{32}-[0-9a-f]{16}-01|(Date: )[A-Z][^\r]*`)

// stable replaces what differs every time.
func stable(s string) string { return changing.ReplaceAllString(s, "$1$2$3*") }

// client is an ordinary client of an app's host.
func (r *rig) client(t testing.TB) *http.Client {
	t.Helper()
	tr := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", r.addr)
		},
		MaxIdleConnsPerHost: 64,
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience}
}

func get(t testing.TB, c *http.Client, url string) (int, string) {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// pattern is n bytes that differ from place to place.
func pattern(n int) []byte {
	return bytes.Repeat([]byte("0123456789abcdefghijklmnopqrstuvwxyz-"), n/37+1)[:n]
}
