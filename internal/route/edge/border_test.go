package edge_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"landward/internal/landward"
	"landward/internal/route/wire"
	"landward/internal/route/wire/wiretest"
)

// TestBorders sends the corpus of requests to a running edge: what is refused
// gets its status and ends the connection, and the app sees well-formed requests
// only, those that it should and none more.
func TestBorders(t *testing.T) {
	r := besieged(t, nil)
	for _, server := range []string{"", "shop.test"} {
		for _, c := range wiretest.Requests() {
			t.Run(strings.TrimSpace("TLS "[:4*min(len(server), 1)]+c.Name), func(t *testing.T) {
				w := newWitness(t)
				r.apply(t, shop(w.addr))
				checkBorders(t, r.dial(t, server), c, server != "")
				r.apply(t)
				var seen []string
				for _, s := range w.all(t) {
					seen = append(seen, s.String())
				}
				want := c.Seen
				if c.Err == nil && c.Status == 0 && !c.Ends {
					want = append(want[:len(want):len(want)], "GET /after ")
				}
				if fmt.Sprintf("%q", seen) != fmt.Sprintf("%q", want) {
					t.Errorf("the app saw %q, want %q", seen, want)
				}
			})
		}
	}
}

// checkBorders sends a request of the corpus and reads what comes back.
func checkBorders(t *testing.T, conn net.Conn, c wiretest.Request, secure bool) {
	t.Helper()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = io.WriteString(conn, c.Raw) // the edge may have closed by then
	}()
	defer func() { <-sent }()
	in := bufio.NewReader(conn)
	for _, s := range c.Seen {
		word := strings.SplitN(s, " ", 3)
		resp, body, err := hears(in, word[0])
		if err != nil {
			t.Fatalf("answer to %q: %v", s, err)
		}
		want := word[0] + " " + word[1]
		if word[0] == http.MethodHead {
			want = ""
		}
		if resp.StatusCode != 200 || body != want {
			t.Errorf("answer to %q: %d %q", s, resp.StatusCode, body)
		}
	}
	status := c.Status
	var refusal *wire.Error
	switch {
	case errors.As(c.Err, &refusal):
		status = refusal.Status
	case c.Err != nil: // it is not whole: nobody answers a client that goes
		<-sent
		if half, ok := conn.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
			t.Fatal("no end of the request")
		}
	case status == 404 && secure:
		status = http.StatusMisdirectedRequest // the certificate is for no host that is not there
	}
	if status != 0 {
		resp, _, err := hears(in, http.MethodGet)
		if err != nil {
			t.Fatalf("refusal: %v", err)
		}
		if resp.StatusCode != status || !resp.Close {
			t.Errorf("refused with %d, closing %v, want %d", resp.StatusCode, resp.Close, status)
		}
	}
	if c.Err != nil || c.Ends {
		if b, err := io.ReadAll(in); err != nil || len(b) > 0 {
			t.Errorf("behind it came %q, %v, want the end", b, err)
		}
		return
	}
	<-sent
	if _, err := io.WriteString(conn, "GET /after HTTP/1.1\r\nHost: shop.test\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if resp, body, err := hears(in, http.MethodGet); err != nil || resp.StatusCode != 200 || body != "GET /after" {
		t.Errorf("afterwards: %v %q, %v", resp, body, err)
	}
	_ = conn.Close()
}

// liar is an app whose first connection answers with bytes of a corpus. All
// other connections answer as they should.
type liar struct {
	addr netip.AddrPort

	mu    sync.Mutex
	raw   string
	close bool
	late  *late // what else it sends; nil: nothing
}

// late is something that an app sends when it is told to.
type late struct {
	raw        string
	begin, out chan struct{}
}

func newLiar(t *testing.T, secure bool) *liar {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if secure {
		s := httptest.NewUnstartedServer(nil)
		s.StartTLS()
		l = tls.NewListener(l, &tls.Config{Certificates: s.TLS.Certificates, MinVersion: tls.VersionTLS12})
		s.Close()
	}
	a := &liar{addr: netip.MustParseAddrPort(l.Addr().String())}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			context.AfterFunc(ctx, func() { _ = c.Close() })
			all.Go(func() { a.answer(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		cancel()
		all.Wait()
	})
	return a
}

func (a *liar) answer(c net.Conn) {
	defer func() { _ = c.Close() }()
	in := bufio.NewReader(c)
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, req.Body)
		out := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(req.RequestURI), req.RequestURI)
		ends := false
		var more *late
		if req.RequestURI == "/lie" {
			a.mu.Lock()
			out, ends, more = a.raw, a.close, a.late
			a.mu.Unlock()
		}
		if _, err := io.WriteString(c, out); err != nil || ends {
			return
		}
		if more != nil {
			<-more.begin
			_, _ = io.WriteString(c, more.raw)
			close(more.out)
		}
	}
}

// TestAnswerBorders lets an app send the corpus of answers. What is no answer
// is a 502 or is cut off, and whoever asks next, on the same connection or
// another, gets his own answer and nobody else's.
func TestAnswerBorders(t *testing.T) {
	for _, proto := range []landward.Protocol{landward.ProtocolHTTP, landward.ProtocolHTTPS} {
		t.Run(string(proto), func(t *testing.T) { checkAnswers(t, proto) })
	}
}

func checkAnswers(t *testing.T, proto landward.Protocol) {
	r := besieged(t, nil)
	a := newLiar(t, proto == landward.ProtocolHTTPS)
	lies := shop(a.addr)
	lies.Protocol = proto
	r.apply(t, lies)
	var all []wiretest.Answer
	for _, c := range wiretest.Answers() {
		all = append(all, c)
		if c.Surplus {
			c.Name += ", when it was thought to be over"
			all = append(all, c)
		}
	}
	for _, c := range all {
		t.Run(c.Name, func(t *testing.T) {
			a.mu.Lock()
			a.raw, a.close, a.late = c.Raw, c.Closes, nil
			var more *late
			if strings.HasSuffix(c.Name, "over") {
				more = &late{wiretest.Forged, make(chan struct{}), make(chan struct{})}
				a.raw, a.late = strings.TrimSuffix(c.Raw, wiretest.Forged), more
			}
			a.mu.Unlock()
			if c.Method == "" {
				c.Method = http.MethodGet
			}
			conn := r.dial(t, "")
			in := bufio.NewReader(conn)
			ask := func(method, path string) (*http.Response, string, error) {
				if _, err := io.WriteString(conn, method+" "+path+" HTTP/1.1\r\nHost: shop.test\r\n\r\n"); err != nil {
					t.Fatal(err)
				}
				return hears(in, method)
			}
			resp, body, err := ask(c.Method, "/lie")
			switch {
			case c.Broken:
				if err == nil {
					t.Errorf("%d %q, want a broken answer", resp.StatusCode, body)
				}
				return
			case err != nil:
				t.Fatal(err)
			case c.Err != nil || c.Status == http.StatusSwitchingProtocols:
				if resp.StatusCode != http.StatusBadGateway || strings.Contains(body, "hello") {
					t.Errorf("%d %q, want 502", resp.StatusCode, body)
				}
			case resp.StatusCode != c.Status || body != c.Body:
				t.Errorf("%d %q, want %d %q", resp.StatusCode, body, c.Status, c.Body)
			}
			if more != nil {
				close(more.begin)
				<-more.out
			}
			for i := range 3 {
				path := fmt.Sprintf("/honest/%d", i)
				if resp, body, err := ask(http.MethodGet, path); err != nil || resp.StatusCode != 200 || body != path {
					t.Fatalf("the next one got %v %q, %v", resp, body, err)
				}
				if resp, body := r.says(t, "", "GET "+path+" HTTP/1.1\r\nHost: shop.test\r\n\r\n"); resp.StatusCode != 200 || body != path {
					t.Fatalf("somebody else got %d %q", resp.StatusCode, body)
				}
			}
			_ = conn.Close()
		})
	}
}
