package plane_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"landward/internal/route"
	"landward/internal/route/plane"
	"landward/internal/waittest"
)

// TestDrainFinishes holds that requests on a retired target end in peace while
// new ones go to the new target on the same connections.
func TestDrainFinishes(t *testing.T) {
	release, begun := make(chan struct{}), make(chan struct{})
	old := serve(t, func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/slow" {
			_ = http.NewResponseController(w).Flush()
			close(begun)
			<-release
		}
		_, _ = io.WriteString(w, "old")
	})
	young := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "new") })
	before, after := app("shop", old), app("shop", young)
	ids := []string{before.Targets[0].ID}
	r := newRig(t, plane.Limits{}, before)
	c := r.client(t)
	get(t, c, "http://shop.test/")
	body := make(chan string, 1)
	go func() {
		_, b := get(t, c, "http://shop.test/slow")
		body <- b
	}()
	<-begun

	if rep := r.Drain(t.Context(), ids, time.Hour); len(rep.Serving) != 1 || rep.InFlight != 0 {
		t.Errorf("drain of a target that serves: %+v", rep)
	}
	r.apply(t, 2, after)
	reports := make(chan route.DrainReport, 1)
	go func() { reports <- r.Drain(context.Background(), ids, time.Hour) }()
	for range 5 {
		if _, b := get(t, c, "http://shop.test/"); b != "new" {
			t.Fatalf("got %q after the swap", b)
		}
	}
	select {
	case rep := <-reports:
		t.Fatalf("drained with a request in progress: %+v", rep)
	default:
	}
	close(release)
	if b := <-body; b != "old" {
		t.Errorf("slow request got %q", b)
	}
	if rep := <-reports; rep.InFlight != 1 || rep.Finished != 1 || rep.Cut != 0 || rep.Closed != 0 || rep.Serving != nil {
		t.Errorf("report %+v", rep)
	}
	waittest.Eventually(t, "the old target is forgotten", func() bool { return len(r.Snapshot().Targets) == 1 })
}

// TestDrainLimit holds what happens at the limit: WebSockets hear 1001 on both
// ends, requests are cut.
func TestDrainLimit(t *testing.T) {
	ended := make(chan error, 1)
	begun := make(chan struct{}, 2)
	ws := echo(t, ended)
	old := serve(t, func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/stream" {
			_, _ = io.WriteString(w, "part")
			_ = http.NewResponseController(w).Flush()
		}
		begun <- struct{}{}
		<-q.Context().Done()
	})
	first := app("shop", ws)
	second := app("other", old)
	second.AppID = 8
	r := newRig(t, plane.Limits{}, first, second)
	c := r.webSocket(t)
	sayAndHear(t, c, "hello")

	silent, streamed := make(chan string, 1), make(chan error, 1)
	go func() { silent <- r.raw(t, "GET / HTTP/1.1\r\nHost: other.test\r\n\r\n") }()
	go func() {
		resp, err := r.client(t).Get("http://other.test/stream")
		if err != nil {
			streamed <- err
			return
		}
		defer func() { _ = resp.Body.Close() }()
		_, err = io.ReadAll(resp.Body)
		streamed <- err
	}()
	<-begun
	<-begun
	waittest.Eventually(t, "three in flight", func() bool {
		n := int64(0)
		for _, g := range r.Snapshot().Targets {
			n += g.InFlight
		}
		return n == 3
	})
	r.apply(t, 2)
	ids := []string{first.Targets[0].ID, second.Targets[0].ID, "unknown"}
	closed := make(chan error, 1)
	go func() {
		_, _, err := c.Read(context.Background())
		closed <- err
	}()
	rep := r.Drain(t.Context(), ids, 30*time.Millisecond)
	if rep.InFlight != 3 || rep.Closed != 1 || rep.Cut != 2 || rep.Finished != 0 {
		t.Errorf("report %+v", rep)
	}
	if err := <-closed; websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("client heard %v", err)
	}
	if err := <-ended; websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("app heard %v", err)
	}
	if got := <-silent; !strings.HasPrefix(got, "HTTP/1.1 503 ") || !strings.Contains(got, "cut||other||") {
		t.Errorf("a request without an answer got %q", got)
	}
	if err := <-streamed; err == nil {
		t.Error("half an answer looks whole")
	}
}

// TestSwapsUnderLoad swaps the table again and again while clients use one
// target after the other, and counts failures: there are none.
func TestSwapsUnderLoad(t *testing.T) {
	const swaps = 20
	var hits atomic.Int64
	backend := func() string {
		return serve(t, func(w http.ResponseWriter, q *http.Request) {
			if q.URL.Path == "/ws" {
				c, err := websocket.Accept(w, q, nil)
				if err != nil {
					return
				}
				_, b, err := c.Read(q.Context())
				if err == nil {
					_ = c.Write(q.Context(), websocket.MessageText, b)
				}
				_ = c.Close(websocket.StatusNormalClosure, "")
				return
			}
			n, err := io.Copy(io.Discard, q.Body)
			if err != nil || n != q.ContentLength {
				w.WriteHeader(http.StatusTeapot)
			}
			hits.Add(1)
			_, _ = io.WriteString(w, "ok")
		})
	}
	r := newRig(t, plane.Limits{}, app("shop", backend()))
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	var done [3]atomic.Int64
	load := func(i int, one func(c *http.Client) error) {
		clients.Go(func() {
			c := r.client(t)
			for ctx.Err() == nil {
				if err := one(c); err != nil {
					t.Errorf("client %d: %v", i, err)
					return
				}
				done[i].Add(1)
			}
		})
	}
	request := func(c *http.Client, method string, size int) error {
		req, err := http.NewRequest(method, "http://shop.test/", strings.NewReader(strings.Repeat("x", size)))
		if err != nil {
			return err
		}
		resp, err := c.Do(req)
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		b, err := io.ReadAll(resp.Body)
		if err == nil && (resp.StatusCode != 200 || string(b) != "ok") {
			err = errors.New(resp.Status + " " + string(b))
		}
		return err
	}
	for range 4 {
		load(0, func(c *http.Client) error { return request(c, http.MethodGet, 0) })
	}
	load(1, func(c *http.Client) error { return request(c, http.MethodPost, 300000) })
	load(1, func(c *http.Client) error { return request(c, http.MethodPost, 10) })
	load(2, func(c *http.Client) error {
		ws, _, err := websocket.Dial(context.Background(), "ws://shop.test/ws", &websocket.DialOptions{HTTPClient: c})
		if err != nil {
			return err
		}
		defer func() { _ = ws.CloseNow() }()
		if err := ws.Write(context.Background(), websocket.MessageText, []byte("x")); err != nil {
			return err
		}
		_, _, err = ws.Read(context.Background())
		return err
	})
	old := *r.Table().Routes[0]
	for i := range swaps {
		mark := hits.Load()
		waittest.Eventually(t, "load between swaps", func() bool { return t.Failed() || hits.Load() > mark+20 })
		next := app("shop", backend())
		r.apply(t, int64(i+2), next)
		rep := r.Drain(t.Context(), []string{old.Targets[0].ID}, patience)
		if rep.Cut+rep.Closed > 0 {
			t.Errorf("swap %d: %+v", i, rep)
		}
		old = next
	}
	cancel()
	clients.Wait()
	for i := range done {
		if done[i].Load() == 0 {
			t.Errorf("client %d did nothing", i)
		}
	}
	for _, e := range r.sink.all() {
		if e.Code != "" || e.Status != 200 && e.Status != 101 {
			t.Errorf("entry %+v", e)
		}
	}
}

// TestShutdown holds that requests in progress finish, idle clients are closed
// and WebSockets told.
func TestShutdown(t *testing.T) {
	ended := make(chan error, 1)
	release, begun := make(chan struct{}), make(chan struct{})
	slow := app("slow", serve(t, func(w http.ResponseWriter, _ *http.Request) {
		close(begun)
		<-release
		_, _ = io.WriteString(w, "done")
	}))
	slow.AppID = 8
	r := newRig(t, plane.Limits{}, app("shop", echo(t, ended)), slow)
	ws := r.webSocket(t)
	sayAndHear(t, ws, "x")
	idle := r.dial(t)
	_, _ = io.WriteString(idle, "GET / HTTP/1.1\r\nHost: nobody.test\r\n\r\n")
	br := bufio.NewReader(idle)
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	answer := make(chan string, 1)
	go func() { answer <- r.raw(t, "GET / HTTP/1.1\r\nHost: slow.test\r\n\r\n") }()
	<-begun
	heard := make(chan error, 1)
	go func() {
		_, _, err := ws.Read(context.Background())
		heard <- err
	}()

	over := make(chan struct{})
	go func() {
		defer close(over)
		r.Shutdown(context.Background())
	}()
	if err := <-heard; websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("client heard %v", err)
	}
	if _, err := br.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("idle client got %v", err)
	}
	select {
	case <-over:
		t.Error("over with a request in progress")
	default:
	}
	close(release)
	if got := <-answer; !strings.HasPrefix(got, "HTTP/1.1 200 ") || !strings.HasSuffix(got, "done") || !strings.Contains(got, "Connection: close") {
		t.Errorf("request in progress got %q", got)
	}
	<-over
}

// TestShutdownCuts holds that a shutdown ends in time whatever clients do.
func TestShutdownCuts(t *testing.T) {
	begun := make(chan struct{}, 8)
	addr := serve(t, func(_ http.ResponseWriter, q *http.Request) {
		begun <- struct{}{}
		_, _ = io.Copy(io.Discard, q.Body)
		<-q.Context().Done()
	})
	r := newRig(t, plane.Limits{}, app("shop", addr))
	for _, s := range []string{
		"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 10\r\n\r\nx",
		"POST / HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n",
	} {
		_, _ = io.WriteString(r.dial(t), s)
		<-begun
	}
	_, _ = io.WriteString(r.dial(t), "GET / HTTP/1.1\r\nHo")
	r.dial(t)
	waittest.Eventually(t, "five connections", func() bool { return r.Snapshot().Connections == 5 })
	r.stop()
	waittest.Eventually(t, "no connection is left", func() bool { return r.Snapshot().Connections == 0 })
}

// TestNothingLeaks holds that after all kinds of endings no goroutine and no
// descriptor is left.
func TestNothingLeaks(t *testing.T) {
	files := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	_ = listen(t).Close() // the first use of the network opens descriptors for good
	routines, open := runtime.NumGoroutine(), files()
	t.Run("traffic", func(t *testing.T) {
		ended := make(chan error, 100)
		drop := script(t, func(_ net.Conn, br *bufio.Reader) { _, _ = readHead(br) })
		sink := app("sink", serve(t, func(_ http.ResponseWriter, q *http.Request) { _, _ = io.Copy(io.Discard, q.Body) }))
		dropping := app("drop", drop)
		sink.AppID, dropping.AppID = 8, 9
		r := newRig(t, plane.Limits{ReadTimeout: 50 * time.Millisecond}, app("shop", echo(t, ended)), sink, dropping)
		for i := range 20 {
			for _, s := range []string{
				"GET / HTTP/1.1\r\nHost: sink.test\r\n\r\n",
				"POST / HTTP/1.1\r\nHost: sink.test\r\nContent-Length: 100000\r\n\r\nx",
				"POST / HTTP/1.1\r\nHost: drop.test\r\nContent-Length: 100000\r\n\r\nx",
				"POST / HTTP/1.1\r\nHost: sink.test\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
				"GET / HTTP/1.1\r\nHost: nobody.test\r\n\r\n",
				"nonsense\r\n\r\n",
				"GET / HT",
			} {
				c := r.dial(t)
				_, _ = io.WriteString(c, s)
				if i%2 == 0 {
					_ = c.Close()
				}
			}
			c := r.webSocket(t)
			sayAndHear(t, c, "x")
			if i%2 == 0 {
				_ = c.CloseNow()
			}
		}
	})
	defer func() {
		if t.Failed() {
			_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
		}
	}()
	waittest.Eventually(t, "as many goroutines and descriptors as before", func() bool {
		return runtime.NumGoroutine() <= routines && files() <= open
	})
}

// TestNewcomerIsAnswered: who has just connected when the plane shuts down gets
// an answer to the request that was on its way.
func TestNewcomerIsAnswered(t *testing.T) {
	r := newRig(t, plane.Limits{}, app("shop", serve(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "yes") })))
	c := r.dial(t)
	waittest.Eventually(t, "a connection", func() bool { return r.Snapshot().Connections == 1 })
	down := make(chan struct{})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	go func() {
		defer close(down)
		r.Shutdown(ctx)
	}()
	// Enough for the shutdown to have looked at all connections.
	<-time.After(50 * time.Millisecond)
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err != nil || !strings.Contains(string(b), "200 OK") || !strings.Contains(string(b), "Connection: close") {
		t.Errorf("%q, %v", b, err)
	}
	<-down
}
