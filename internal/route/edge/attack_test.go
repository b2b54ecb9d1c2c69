package edge_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"landward/internal/cert"
	"landward/internal/route"
	"landward/internal/route/edge"
	"landward/internal/route/plane"
	"landward/internal/waittest"
)

// besieged runs an edge as start does, with local certificates for .test, limits
// that are kept exactly, and what change changes.
func besieged(t *testing.T, change func(o *edge.Options)) *running {
	t.Helper()
	dir := t.TempDir()
	o := edge.Options{
		HTTPS: "127.0.0.1:0", Limits: plane.Limits{Tick: 5 * time.Millisecond},
		Certs: cert.Options{Dir: filepath.Join(dir, "certs"), Local: []string{"test"}},
	}
	if change != nil {
		change(&o)
	}
	return launch(t, dir, o)
}

// apply puts routes into use, in place of those before.
func (r *running) apply(t *testing.T, routes ...*route.Route) {
	t.Helper()
	st, err := r.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := r.PutTable(t.Context(), route.Table{Generation: st.Generation + 1, Routes: routes}); err != nil {
		t.Fatal(err)
	}
}

// shop is a route to one target.
func shop(addr netip.AddrPort, hosts ...string) *route.Route {
	if len(hosts) == 0 {
		hosts = []string{"shop.test"}
	}
	return &route.Route{App: "shop", AppID: 7, Release: 1, Hosts: hosts, State: route.StateUp,
		Targets: []route.Target{{Addr: addr, Unit: "web.1", ID: hosts[0] + addr.String()}}}
}

// dial connects to the edge: to HTTPS with that server name, to HTTP where it is
// empty.
func (r *running) dial(t *testing.T, server string) net.Conn {
	t.Helper()
	addr := r.Addr().String()
	if server != "" {
		addr = r.SecureAddr().String()
	}
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if server == "" {
		return c
	}
	s := tls.Client(c, &tls.Config{ServerName: server, RootCAs: r.localRoots(t), MinVersion: tls.VersionTLS12})
	if err := s.Handshake(); err != nil {
		t.Fatal(err)
	}
	return s
}

// sight is one request as an app has got it.
type sight struct {
	*http.Request
	body string
}

func (s sight) String() string { return s.Method + " " + s.RequestURI + " " + s.body }

// witness is an app that notes each request that it has got whole, and all that
// is not well formed. It answers with the method and the target.
type witness struct {
	addr netip.AddrPort

	mu    sync.Mutex
	conns int
	seen  []sight
	odd   []string
}

func newWitness(t *testing.T) *witness {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &witness{addr: netip.MustParseAddrPort(l.Addr().String())}
	var all sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			w.mu.Lock()
			w.conns++
			w.mu.Unlock()
			context.AfterFunc(ctx, func() { _ = c.Close() })
			all.Go(func() { w.watch(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		cancel()
		all.Wait()
	})
	return w
}

// watch answers the requests of a connection.
func (w *witness) watch(c net.Conn) {
	defer func() {
		_ = c.Close()
		w.mu.Lock()
		defer w.mu.Unlock()
		w.conns--
	}()
	var raw bytes.Buffer
	in := bufio.NewReader(io.TeeReader(c, &raw))
	for taken := 0; ; {
		req, err := http.ReadRequest(in)
		if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			w.note(sight{}, fmt.Sprintf("%v in %q", err, raw.Bytes()[taken:]))
			return
		}
		head, _, _ := bytes.Cut(raw.Bytes()[taken:], []byte("\r\n\r\n"))
		fault := malformed(string(head))
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return // it was broken off, as it should be
		}
		taken = raw.Len() - in.Buffered()
		w.note(sight{req, string(body)}, fault)
		text := req.Method + " " + req.RequestURI
		out := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(text))
		if req.Method != http.MethodHead {
			out += text
		}
		if _, err := io.WriteString(c, out); err != nil {
			return
		}
	}
}

func (w *witness) note(s sight, fault string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.Request != nil {
		w.seen = append(w.seen, s)
	}
	if fault != "" {
		w.odd = append(w.odd, fault)
	}
}

// malformed says what another parser than net/http's could stumble over in a
// head.
func malformed(head string) string {
	framings := 0
	for i, line := range strings.Split(head, "\r\n") {
		name, _, ok := strings.Cut(line, ":")
		lower := strings.ReplaceAll(strings.ToLower(name), "_", "-")
		switch {
		case strings.ContainsAny(line, "\r\n\x00"):
			return fmt.Sprintf("%q has half the end of a line", line)
		case i == 0:
			if strings.Count(line, " ") != 2 {
				return fmt.Sprintf("%q is no request line", line)
			}
			continue
		case !ok || name == "" || strings.ContainsAny(name, " \t"):
			return fmt.Sprintf("%q is no header line", line)
		case lower == "content-length" || lower == "transfer-encoding":
			framings++
		case lower == "connection" && !strings.HasSuffix(line, ": Upgrade"), lower == "te", lower == "keep-alive", lower == "proxy-connection":
			return fmt.Sprintf("%q is for the next hop only", line)
		}
	}
	if framings > 1 {
		return fmt.Sprintf("%q has two framings", head)
	}
	return ""
}

// all returns what was seen, once no connection is left: let go of the routes
// before.
func (w *witness) all(t *testing.T) []sight {
	t.Helper()
	waittest.Eventually(t, "the end of the app's connections", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.conns == 0
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, o := range w.odd {
		t.Errorf("the app got something malformed: %s", o)
	}
	return slices.Clone(w.seen)
}

// soFar are the requests that were seen until now.
func (w *witness) soFar() []sight {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.seen)
}

// count is how many requests were seen so far.
func (w *witness) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.seen)
}

// last is the newest request.
func (w *witness) last(t *testing.T) sight {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.seen) == 0 {
		t.Fatal("no request has reached the app")
	}
	return w.seen[len(w.seen)-1]
}

// hears reads the final answer to a request.
func hears(in *bufio.Reader, method string) (*http.Response, string, error) {
	for {
		resp, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			return nil, "", err
		}
		if resp.StatusCode >= 100 && resp.StatusCode < 200 && resp.StatusCode != http.StatusSwitchingProtocols {
			continue
		}
		body, err := io.ReadAll(resp.Body)
		return resp, string(body), err
	}
}

// says sends a request on a connection of its own and returns the answer.
func (r *running) says(t *testing.T, server, raw string) (*http.Response, string) {
	t.Helper()
	c := r.dial(t, server)
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(raw, " ")
	resp, body, err := hears(bufio.NewReader(c), method)
	if err != nil {
		t.Fatalf("answer to %q: %v", raw, err)
	}
	_ = c.Close()
	return resp, body
}
