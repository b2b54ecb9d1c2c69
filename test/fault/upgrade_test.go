package fault

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/miekg/dns"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"landward/internal/waittest"
	"landward/test/harness"
)

// upgrades is how many edges take each other's place.
const upgrades = 20

// user is somebody who asks the same thing again and again.
type user struct {
	name  string
	every time.Duration
	ask   func(ctx context.Context) error

	asked, failed atomic.Int64
}

// run asks until ctx ends; what has been asked is waited for.
func (u *user) run(ctx context.Context, t *testing.T) {
	tick := time.NewTicker(u.every)
	defer tick.Stop()
	for ctx.Err() == nil {
		limit, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		u.asked.Add(1)
		if err := u.ask(limit); err != nil && u.failed.Add(1) <= 5 {
			t.Errorf("%s: %v", u.name, err)
		}
		cancel()
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// browser makes clients of one protocol.
type browser struct {
	s     *harness.Server
	proto string // "HTTP/1.1", "HTTPS/1.1", "HTTP/2.0", "HTTP/3.0"
}

func (b browser) client() *http.Client {
	secure := &tls.Config{InsecureSkipVerify: true} //nolint:gosec // the local authority's
	if b.proto == "HTTP/3.0" {
		return &http.Client{Transport: &http3.Transport{TLSClientConfig: secure,
			Dial: func(ctx context.Context, _ string, c *tls.Config, q *quic.Config) (*quic.Conn, error) {
				return quic.DialAddr(ctx, b.s.HTTPS, c, q)
			}}}
	}
	to := b.s.HTTPS
	if b.proto == "HTTP/1.1" {
		to = b.s.HTTP
	}
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig: secure, ForceAttemptHTTP2: b.proto == "HTTP/2.0",
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", to)
		},
	}}
}

func (b browser) url(path string) string {
	if b.proto == "HTTP/1.1" {
		return "http://up.localhost" + path
	}
	return "https://up.localhost" + path
}

// wants says what an answer must be.
func (b browser) check(resp *http.Response, want string) error {
	defer resp.Body.Close() //nolint:errcheck // read to its end
	text, err := io.ReadAll(resp.Body)
	proto := strings.Replace(b.proto, "HTTPS", "HTTP", 1)
	if err != nil || resp.StatusCode != http.StatusOK || resp.Proto != proto || want != "" && strings.TrimSpace(string(text)) != want {
		return fmt.Errorf("%s %s: %.80q %v", resp.Proto, resp.Status, text, err)
	}
	return nil
}

func leave(c *http.Client) {
	if tr, ok := c.Transport.(*http3.Transport); ok {
		_ = tr.Close()
		return
	}
	c.CloseIdleConnections()
}

// get asks for a page, on the same connection or on a new one each time.
func (b browser) get(fresh bool) *user {
	name, every, c := b.proto, 3*time.Millisecond, b.client()
	if fresh {
		name, every = name+", new connections", 15*time.Millisecond
	}
	return &user{name: name, every: every, ask: func(ctx context.Context) error {
		c := c
		if fresh {
			c = b.client()
			defer leave(c)
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.url("/"), nil)
		if err != nil {
			return err
		}
		resp, err := c.Do(req)
		if err != nil {
			return err
		}
		return b.check(resp, "v1")
	}}
}

// post sends something, on a new connection each time: on an old one a client
// of HTTP/1.1 cannot know whether a request that is not answered was seen.
func (b browser) post() *user {
	body := bytes.Repeat([]byte("x"), 20_000)
	return &user{name: b.proto + ", uploads", every: 15 * time.Millisecond, ask: func(ctx context.Context) error {
		c := b.client()
		defer leave(c)
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.url("/upload"), bytes.NewReader(body))
		if err != nil {
			return err
		}
		resp, err := c.Do(req)
		if err != nil {
			return err
		}
		return b.check(resp, "20000")
	}}
}

// resolver asks for the app's address.
func resolver(network, addr string) *user {
	c := &dns.Client{Net: network, Timeout: 20 * time.Second}
	return &user{name: "DNS over " + network, every: 5 * time.Millisecond, ask: func(ctx context.Context) error {
		r, _, err := c.ExchangeContext(ctx, new(dns.Msg).SetQuestion("up.localhost.", dns.TypeA), addr)
		if err == nil && (r.Rcode != dns.RcodeSuccess || len(r.Answer) == 0) {
			err = fmt.Errorf("%s, %d records", dns.RcodeToString[r.Rcode], len(r.Answer))
		}
		return err
	}}
}

// freeAddr is an address that is free with UDP and TCP.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(waittest.Loopback(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.ListenPacket("udp", l.Addr().String())
	if err := errors.Join(err, l.Close()); err != nil {
		t.Skip("no port is free with UDP and TCP: ", err)
	}
	_ = c.Close()
	return l.Addr().String()
}

func deployed(t *testing.T, flags ...string) *harness.Server {
	t.Helper()
	s := harness.Start(t, programs, flags...)
	repo := s.NewRepo("up")
	repo.Testapp("v1", "")
	repo.Push()
	s.WantGet("up", "/", "v1")
	return s
}

// roll puts a new edge into the place of the one that serves, and returns when
// it does. Old ones may still be ending their work.
func roll(t *testing.T, s *harness.Server) {
	t.Helper()
	const sign = `msg="process replaced"`
	n := strings.Count(s.Log(), sign)
	s.Roll()
	waittest.Succeeds(t, "a new edge", func() error {
		if strings.Count(s.Log(), sign) == n {
			return errors.New("none serves")
		}
		return nil
	})
}

// eachAsks waits until every user has asked a few times.
func eachAsks(t *testing.T, users []*user) {
	t.Helper()
	before := make([]int64, len(users))
	for i, u := range users {
		before[i] = u.asked.Load()
	}
	waittest.Succeeds(t, "all users ask", func() error {
		for i, u := range users {
			if u.asked.Load() < before[i]+3 {
				return fmt.Errorf("%s does not", u.name)
			}
		}
		return nil
	})
}

// TestEdgeUpgrade: edges take each other's place under load, whatever the
// clients speak, and nothing that is asked fails; nor does it while control and
// engine are gone.
func TestEdgeUpgrade(t *testing.T) {
	at := freeAddr(t)
	s := deployed(t, "--dns", at, "--dns-addresses", "192.0.2.1")
	users := []*user{resolver("udp", at), resolver("tcp", at)}
	for _, proto := range []string{"HTTP/1.1", "HTTPS/1.1", "HTTP/2.0", "HTTP/3.0"} {
		b := browser{s, proto}
		users = append(users, b.get(false), b.get(true), b.post())
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var all sync.WaitGroup
	for _, u := range users {
		all.Go(func() { u.run(ctx, t) })
	}
	begun := time.Now()
	for i := range upgrades {
		eachAsks(t, users)
		if i == upgrades-2 {
			s.Kill("control")
			s.Kill("engine")
		}
		roll(t, s)
	}
	took := time.Since(begun)
	stop()
	all.Wait()
	total, failed := int64(0), int64(0)
	for _, u := range users {
		t.Logf("%-30s %6d requests, %d failed", u.name, u.asked.Load(), u.failed.Load())
		total, failed = total+u.asked.Load(), failed+u.failed.Load()
	}
	t.Logf("%d requests in %d upgrades and %s, %d failed", total, upgrades, took.Round(time.Millisecond), failed)
	waittest.Succeeds(t, "old edges end", func() error {
		if left := s.Pids("edge"); len(left) != 1 {
			return fmt.Errorf("edges: %v", left)
		}
		return nil
	})
}

// TestEdgeUpgradeInProgress: uploads that have begun finish where they are, on
// connections that the old edge keeps, and WebSockets are told to go away.
func TestEdgeUpgradeInProgress(t *testing.T) {
	s := deployed(t)
	const half = 100_000
	type upload struct {
		browser
		pipe *io.PipeWriter
		done chan error
	}
	var uploads []upload
	for _, proto := range []string{"HTTP/1.1", "HTTPS/1.1", "HTTP/2.0", "HTTP/3.0"} {
		pr, pw := io.Pipe()
		u := upload{browser{s, proto}, pw, make(chan error, 1)}
		c := u.client()
		t.Cleanup(func() { leave(c) })
		go func() {
			resp, err := c.Post(u.url("/upload"), "x/y", pr)
			if err == nil {
				err = u.check(resp, fmt.Sprint(2*half))
			}
			u.done <- err
		}()
		if _, err := pw.Write(make([]byte, half)); err != nil {
			t.Fatalf("%s: %v", proto, err)
		}
		uploads = append(uploads, u)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	socket, _, err := websocket.Dial(ctx, "ws://"+s.HTTP+"/ws", &websocket.DialOptions{Host: "up.localhost"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.CloseNow() //nolint:errcheck // closed by then
	if err := socket.Write(ctx, websocket.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, b, err := socket.Read(ctx); err != nil || string(b) != "hello" {
		t.Fatalf("%q %v", b, err)
	}

	roll(t, s)
	if _, _, err := socket.Read(ctx); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("the WebSocket ends with %v", err)
	}
	roll(t, s)
	if n := len(s.Pids("edge")); n < 2 {
		t.Fatalf("%d edges: nobody waits for uploads", n)
	}
	for _, u := range uploads {
		if _, err := u.pipe.Write(make([]byte, half)); err != nil {
			t.Errorf("%s: %v", u.proto, err)
		}
		_ = u.pipe.Close()
		if err := <-u.done; err != nil {
			t.Errorf("%s: %v", u.proto, err)
		}
	}
	waittest.Succeeds(t, "old edges end", func() error {
		if left := s.Pids("edge"); len(left) != 1 {
			return fmt.Errorf("edges: %v", left)
		}
		return nil
	})
}
