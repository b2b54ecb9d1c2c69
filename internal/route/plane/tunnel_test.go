package plane_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"landward/internal/route/plane"
	"landward/internal/waittest"
)

// echo is an app that returns what a WebSocket sends.
func echo(t *testing.T, ended chan<- error) string {
	t.Helper()
	return serve(t, func(w http.ResponseWriter, q *http.Request) {
		c, err := websocket.Accept(w, q, nil)
		if err != nil {
			t.Errorf("app: %v", err)
			return
		}
		defer func() { _ = c.CloseNow() }()
		c.SetReadLimit(-1)
		for {
			kind, b, err := c.Read(context.Background())
			if err != nil {
				ended <- err
				return
			}
			if err := c.Write(context.Background(), kind, b); err != nil {
				ended <- err
				return
			}
		}
	})
}

func (r *rig) webSocket(t *testing.T) *websocket.Conn {
	t.Helper()
	c, _, err := websocket.Dial(t.Context(), "ws://shop.test/", &websocket.DialOptions{HTTPClient: r.client(t)})
	if err != nil {
		t.Fatal(err)
	}
	c.SetReadLimit(-1)
	t.Cleanup(func() { _ = c.CloseNow() })
	return c
}

func sayAndHear(t *testing.T, c *websocket.Conn, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		t.Fatal(err)
	}
	if _, b, err := c.Read(ctx); err != nil || string(b) != text {
		t.Fatalf("heard %d bytes, %v", len(b), err)
	}
}

func TestWebSocket(t *testing.T) {
	ended := make(chan error, 1)
	r := newRig(t, plane.Limits{}, app("shop", echo(t, ended)))
	c := r.webSocket(t)
	for _, n := range []int{0, 1, 125, 126, 70000, 1 << 20} {
		sayAndHear(t, c, strings.Repeat("x", n))
	}
	if n := r.Snapshot().Targets[0].InFlight; n != 1 {
		t.Errorf("%d in flight", n)
	}
	if err := c.Close(websocket.StatusNormalClosure, "bye"); err != nil {
		t.Error(err)
	}
	if got := websocket.CloseStatus(<-ended); got != websocket.StatusNormalClosure {
		t.Errorf("app heard %v", got)
	}
	e := r.sink.last(t, 1)
	if e.Status != 101 || e.Code != "" || e.In < 1<<20 || e.Out < 1<<20 || e.Path != "/" || e.Host != "shop.test" {
		t.Errorf("entry %+v", e)
	}
	waittest.Eventually(t, "none in flight", func() bool { return r.Snapshot().Targets[0].InFlight == 0 })
}

// TestOtherUpgrade holds that any protocol may be switched to, with bytes sent
// before the answer, and half-closing.
func TestOtherUpgrade(t *testing.T) {
	addr := script(t, func(c net.Conn, br *bufio.Reader) {
		head, err := readHead(br)
		if err != nil || !strings.Contains(head, "Connection: Upgrade\r\nUpgrade: raw\r\n") {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: RAW\r\n\r\nhi;")
		b, _ := io.ReadAll(br)
		_, _ = io.WriteString(c, strings.ToUpper(string(b)))
	})
	r := newRig(t, plane.Limits{}, app("shop", addr))
	c := r.dial(t)
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\nearly ")
	br := bufio.NewReader(c)
	if head, err := readHead(br); err != nil || !strings.HasPrefix(head, "HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: RAW\r\n") {
		t.Fatalf("%q %v", head, err)
	}
	_, _ = io.WriteString(c, "late")
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(br); err != nil || string(b) != "hi;EARLY LATE" {
		t.Fatalf("%q %v", b, err)
	}
}

// TestUpgradeRefused holds that an app may answer an upgrade like any request.
func TestUpgradeRefused(t *testing.T) {
	addr := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	r := newRig(t, plane.Limits{}, app("shop", addr))
	got := r.raw(t, "GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"+
		"GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n")
	if strings.Count(got, "HTTP/1.1 403 ") != 2 {
		t.Fatalf("%q", got)
	}
}

// TestGoodbyeBetweenFrames holds that our close frame never lands inside a
// frame of the app's.
func TestGoodbyeBetweenFrames(t *testing.T) {
	half := make(chan struct{})
	rest := make(chan struct{})
	addr := script(t, func(c net.Conn, br *bufio.Reader) {
		if _, err := readHead(br); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x0ahello")
		close(half)
		<-rest
		_, _ = io.WriteString(c, "world\x81\x03now")
		_, _ = io.Copy(io.Discard, br)
	})
	r := newRig(t, plane.Limits{}, app("shop", addr))
	c := r.dial(t)
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	br := bufio.NewReader(c)
	if _, err := readHead(br); err != nil {
		t.Fatal(err)
	}
	<-half
	frame := make([]byte, 7)
	if _, err := io.ReadFull(br, frame); err != nil {
		t.Fatal(err)
	}
	r.apply(t, 2)
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Drain(context.Background(), []string{app("shop", addr).Targets[0].ID}, 0)
	}()
	close(rest)
	b, _ := io.ReadAll(br)
	got := string(b)
	if !strings.HasPrefix(got, "world") || !strings.Contains(got, "\x88\x0c\x03\xe9going away") ||
		strings.TrimPrefix(strings.TrimPrefix(got, "world"), "\x81\x03now") != "\x88\x0c\x03\xe9going away" {
		t.Errorf("got %q", got)
	}
	<-done
}
