package h2_test

import (
	"context"
	"crypto/sha1" //nolint:gosec // RFC 6455 section 1.3
	"encoding/base64"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"landward/internal/route"
	"landward/internal/route/h2"
	"landward/internal/route/plane"
	"landward/internal/waittest"
)

// ledger keeps what the plane reports.
type ledger struct {
	mu   sync.Mutex
	list []string
}

func (l *ledger) Access(e *route.Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, strings.Join([]string{e.Proto, string(e.Method), string(e.Path), e.IP.String(), string(e.Code)}, " "))
}

func (l *ledger) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.list) == 0 {
		return ""
	}
	return l.list[len(l.list)-1]
}

// pages says a fault in one word.
type pages struct{}

func (pages) Append(dst []byte, f route.Fault, _ []byte) ([]byte, string) {
	return append(dst, f.Code...), "text/plain"
}

// behindPlane is a rig whose lanes a plane serves, with one app.
func behindPlane(t testing.TB, app http.HandlerFunc) (*rig, *ledger) {
	t.Helper()
	back := httptest.NewServer(app)
	t.Cleanup(func() {
		back.CloseClientConnections()
		back.Close()
	})
	l := &ledger{}
	p := plane.New(plane.Options{Log: slog.New(slog.DiscardHandler), Access: l, Pages: pages{}, Limits: plane.Limits{Tick: 5 * time.Millisecond}})
	if err := p.Apply(route.Table{Generation: 1, Routes: []*route.Route{{App: "shop", AppID: 7, Release: 1, Hosts: []string{"shop.test"},
		State: route.StateUp, Targets: []route.Target{{Addr: netip.MustParseAddrPort(back.Listener.Addr().String()), Unit: "web.1", ID: "x"}}}}}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { _ = p.Run(ctx) })
	r := newRigFor(t, h2.Limits{}, false, func(c net.Conn) { p.ServeConn(c, "https") })
	t.Cleanup(func() {
		r.stop()
		now, stop := context.WithCancel(ctx)
		stop()
		p.Shutdown(now)
		cancel()
		all.Wait()
	})
	return r, l
}

func shopApp(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/echo":
		_ = http.NewResponseController(w).EnableFullDuplex()
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.Copy(w, r.Body)
		w.Header().Set("X-Sum", "1")
	case "/wait":
		<-r.Context().Done()
	case "/socket":
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // see above
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: "+
			base64.StdEncoding.EncodeToString(sum[:])+"\r\n\r\n")
		_, _ = io.Copy(c, rw)
	default:
		_, _ = io.WriteString(w, r.Method+" "+r.Header.Get("X-Forwarded-For")+" "+r.Header.Get("X-Forwarded-Proto")+" "+r.Header.Get("Cookie"))
	}
}

// TestBehindPlane leads the usual things through the real data plane.
func TestBehindPlane(t *testing.T) {
	r, log := behindPlane(t, shopApp)
	c := r.client(t, false)
	do := func(method, path string, body io.Reader) (*http.Response, string) {
		t.Helper()
		req, _ := http.NewRequest(method, r.url(false, path), body)
		req.Host = "shop.test"
		req.Header.Set("X-Forwarded-For", "6.6.6.6")
		req.Header.Set("Cookie", "a=1; b=2")
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(b)
	}
	for range 20 {
		resp, body := do("GET", "/x", nil)
		if body != "GET 127.0.0.1 https a=1; b=2" || resp.ProtoMajor != 2 || resp.Header.Get("X-Request-Id") == "" {
			t.Fatalf("%q %v", body, resp.Header)
		}
	}
	waittest.Eventually(t, "record", func() bool { return log.last() == "HTTP/2.0 GET /x 127.0.0.1 " })
	for _, size := range []int{0, 10, 100_000, 3 << 20} {
		resp, body := do("POST", "/echo", io.MultiReader(strings.NewReader(strings.Repeat("x", size))))
		if len(body) != size || resp.Trailer.Get("X-Sum") != "1" {
			t.Errorf("%d bytes of %d, trailer %v", len(body), size, resp.Trailer)
		}
		if _, body := do("POST", "/echo", strings.NewReader(strings.Repeat("x", size))); len(body) != size {
			t.Errorf("%d bytes of %d", len(body), size)
		}
	}
	req, _ := http.NewRequest("GET", r.url(false, "/"), nil)
	req.Host = "nobody.test"
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != 404 {
		t.Error(resp.Status)
	}
}

// TestClientGoesBehindPlane holds that the app learns that nobody waits.
func TestClientGoesBehindPlane(t *testing.T) {
	begun, gone := make(chan struct{}), make(chan struct{})
	r, log := behindPlane(t, func(w http.ResponseWriter, req *http.Request) {
		close(begun)
		<-req.Context().Done()
		close(gone)
	})
	p := r.dial(t)
	p.get(1, "/wait")
	<-begun
	p.write(raw(3, 0, 1, u32(8)))
	<-gone
	waittest.Eventually(t, "record", func() bool { return log.last() == "HTTP/2.0 GET /wait 127.0.0.1 client_gone" })
}

// TestWebSocketBehindPlane takes a WebSocket through the plane, which follows
// its frames.
func TestWebSocketBehindPlane(t *testing.T) {
	r, _ := behindPlane(t, shopApp)
	p := r.dial(t)
	p.headers(1, false, connect()...)
	frame := "\x82\x85\x00\x00\x00\x00hello"
	p.write(raw(0, 0, 1, frame))
	all := p.until(false, func(_ http2.Frame, all map[uint32]*answer) bool {
		return all[1] != nil && (all[1].body != "" || all[1].ended)
	})
	if a := all[1]; a.status() != "200" || a.body != frame {
		t.Fatalf("%+v", a)
	}
	p.write(raw(0, 1, 1, ""))
	p.ended(1)
}
