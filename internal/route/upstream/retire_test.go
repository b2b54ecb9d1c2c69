package upstream_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"

	"landward/internal/waittest"
)

// TestManyStreams holds that the app's limit of streams is kept, by more
// connections.
func TestManyStreams(t *testing.T) {
	var conns, now, most atomic.Int32
	hold := make(chan struct{})
	_, b := h2c(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		most.Store(max(most.Load(), now.Add(1)))
		<-hold
		now.Add(-1)
	}), func(s *http.Server) {
		s.HTTP2.MaxConcurrentStreams = 2
		s.ConnState = func(_ net.Conn, st http.ConnState) {
			if st == http.StateNew {
				conns.Add(1)
			}
		}
	})
	first := dial(t, b)
	first.send(t, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	waittest.Eventually(t, "the first is served, and the app has said what it takes", func() bool { return now.Load() == 1 })
	lines := []*line{first}
	for range 9 {
		l := dial(t, b)
		l.send(t, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		lines = append(lines, l)
	}
	waittest.Eventually(t, "all are served at once", func() bool { return now.Load() == 10 })
	close(hold)
	for _, l := range lines {
		if res, _ := l.read(t, "GET"); res.StatusCode != 200 {
			t.Errorf("got %d", res.StatusCode)
		}
	}
	if n := conns.Load(); n != 5 {
		t.Errorf("%d connections", n)
	}
}

// TestClose holds that a retired bridge takes nothing new, closes what is idle
// and lets the rest end.
func TestClose(t *testing.T) {
	hold := make(chan struct{})
	_, b := h2c(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-hold
		}
		_, _ = io.WriteString(w, "done")
	}), nil)
	idle, fresh, slow := dial(t, b), dial(t, b), dial(t, b)
	idle.send(t, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	idle.read(t, "GET")
	waittest.Eventually(t, "it rests", idle.Idle)
	slow.send(t, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
	b.Close()
	b.Close()
	if _, err := b.Dial(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
	// It may still have been busy with the end of its answer.
	waittest.Eventually(t, "the idle one is closed", func() bool { return !idle.Idle() })
	fresh.send(t, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if res, body := fresh.read(t, "GET"); res.StatusCode != 200 || body != "done" || fresh.Idle() {
		t.Errorf("got %d %q, idle %v", res.StatusCode, body, fresh.Idle())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if b.Wait(ctx) == nil {
		t.Error("at rest, with a request in progress")
	}
	close(hold)
	if _, body := slow.read(t, "GET"); body != "done" {
		t.Errorf("got %q", body)
	}
	if err := b.Wait(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestSlowClient holds that an answer which nobody takes does not fill memory,
// nor hold up another on the same connection.
func TestSlowClient(t *testing.T) {
	var sent atomic.Int64
	_, b := h2c(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/big" {
			_, _ = io.WriteString(w, "small")
			return
		}
		buf := make([]byte, 16<<10)
		for range 64 << 10 {
			if _, err := w.Write(buf); err != nil {
				return
			}
			sent.Add(int64(len(buf)))
		}
	}), nil)
	slow, quick := dial(t, b), dial(t, b)
	slow.send(t, "GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
	waittest.Eventually(t, "it has begun", func() bool { return sent.Load() > 0 })
	for range 50 {
		quick.send(t, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if _, body := quick.read(t, "GET"); body != "small" {
			t.Fatal(body)
		}
	}
	if n := sent.Load(); n > 1<<20 {
		t.Errorf("%d bytes were taken for a client that reads nothing", n)
	}
}

func BenchmarkBridge(b *testing.B) {
	_, br := h2c(b, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }), nil)
	c, err := br.Dial(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	l := &line{c, bufio.NewReader(c)}
	b.ReportAllocs()
	for b.Loop() {
		l.send(b, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		l.read(b, "GET")
	}
}
