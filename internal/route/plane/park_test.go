package plane_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"landward/internal/route/plane"
	"landward/internal/waittest"
)

// soon parks a connection as soon as it is idle.
const soon = time.Millisecond

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// parkRig is a rig with one app that answers "ok".
func parkRig(t testing.TB, l plane.Limits) *rig {
	t.Helper()
	if l.ParkAfter == 0 {
		l.ParkAfter = soon
	}
	return newRig(t, l, app("shop", quietApp(t, okAnswer)))
}

// parkable is a client's connection with what it reads.
type parkable struct {
	net.Conn
	br *bufio.Reader
}

func (r *rig) parkable(t testing.TB) *parkable {
	t.Helper()
	c := r.dial(t)
	return &parkable{c, bufio.NewReader(c)}
}

// answer reads one answer, which must be the app's.
func (c *parkable) answer(t testing.TB) {
	t.Helper()
	resp, err := http.ReadResponse(c.br, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || string(b) != "ok" {
		t.Fatalf("got %d %q, %v", resp.StatusCode, b, err)
	}
}

func (c *parkable) say(t testing.TB, s string) {
	t.Helper()
	say(t, c.Conn, s)
}

// park has one answer on the connection and waits until n are parked.
func (c *parkable) park(t testing.TB, r *rig, n int) {
	t.Helper()
	c.say(t, hello)
	c.answer(t)
	r.awaitParked(t, n)
}

func (r *rig) awaitParked(t testing.TB, n int) {
	t.Helper()
	waittest.Eventually(t, "connections are parked", func() bool { return r.Snapshot().Parked == n })
}

// ended fails unless the connection has been closed, without another byte.
func (c *parkable) ended(t testing.TB) {
	t.Helper()
	if b, err := c.br.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %q, %v from a connection that should be closed", b, err)
	}
}

// TestParkedAnswers holds that a parked connection is none the worse for it:
// whole requests, several at once, and one in pieces.
func TestParkedAnswers(t *testing.T) {
	r := parkRig(t, plane.Limits{ParkAfter: -1})
	awake := r.parkable(t)
	awake.say(t, hello)
	awake.answer(t)
	for name, send := range map[string]struct {
		pieces  []string
		answers int
	}{
		"one":            {[]string{hello}, 1},
		"pipelined":      {[]string{hello + hello + hello}, 3},
		"in pieces":      {[]string{"GET / HT", "TP/1.1\r\nHost: shop.test\r", "\n\r\n"}, 1},
		"one and a half": {[]string{hello + hello[:20], hello[20:]}, 2},
		"with a body":    {[]string{"POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 5\r\n\r\n", "body!"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := parkRig(t, plane.Limits{})
			c := r.parkable(t)
			c.park(t, r, 1)
			if n := r.Snapshot().Connections; n != 1 {
				t.Errorf("%d connections", n)
			}
			for i, piece := range send.pieces {
				c.say(t, piece)
				if i == 0 {
					waittest.Eventually(t, "it is taken up", func() bool { return r.Snapshot().Parked == 0 || len(send.pieces) == 1 })
				}
			}
			for range send.answers {
				c.answer(t)
			}
			if e := r.sink.last(t, 1+send.answers); e.Status != http.StatusOK || e.IP.String() != "127.0.0.1" {
				t.Errorf("entry %+v", e)
			}
		})
	}
	if n := r.Snapshot().Parked; n != 0 {
		t.Errorf("%d are parked where nothing is to be", n)
	}
}

// TestLivelyStaysAwake holds that a client that comes back at once is parked
// once and not again.
func TestLivelyStaysAwake(t *testing.T) {
	r := parkRig(t, plane.Limits{ParkAfter: time.Second})
	lively, other := r.parkable(t), r.parkable(t)
	lively.park(t, r, 1)
	lively.say(t, hello)
	lively.answer(t)
	other.park(t, r, 1) // as long as the lively one has waited, but that one's patience is longer
	other.say(t, hello)
	waittest.Eventually(t, "the other one was it", func() bool { return r.Snapshot().Parked == 0 })
}

// TestParkedEnds holds how parked connections end: by the idle timeout, by
// their client, and that they are counted out.
func TestParkedEnds(t *testing.T) {
	gone := func(t *testing.T, r *rig) {
		t.Helper()
		waittest.Eventually(t, "it is counted out", func() bool { s := r.Snapshot(); return s.Connections == 0 && s.Parked == 0 })
	}
	t.Run("idle for too long", func(t *testing.T) {
		r := parkRig(t, plane.Limits{IdleTimeout: 300 * time.Millisecond})
		c := r.parkable(t)
		c.park(t, r, 1)
		c.ended(t)
		gone(t, r)
	})
	t.Run("closed", func(t *testing.T) {
		r := parkRig(t, plane.Limits{})
		c := r.parkable(t)
		c.park(t, r, 1)
		_ = c.Close()
		gone(t, r)
	})
	t.Run("half closed", func(t *testing.T) {
		r := parkRig(t, plane.Limits{})
		c := r.parkable(t)
		c.park(t, r, 1)
		_ = c.Conn.(*net.TCPConn).CloseWrite()
		c.ended(t)
		gone(t, r)
	})
	t.Run("request, then half closed", func(t *testing.T) {
		r := parkRig(t, plane.Limits{})
		c := r.parkable(t)
		c.park(t, r, 1)
		c.say(t, hello)
		_ = c.Conn.(*net.TCPConn).CloseWrite()
		c.answer(t)
		c.ended(t)
		gone(t, r)
	})
	t.Run("reset", func(t *testing.T) {
		r := parkRig(t, plane.Limits{})
		c := r.parkable(t)
		c.park(t, r, 1)
		_ = c.Conn.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
		gone(t, r)
	})
}

// TestParkedCount holds that the limits count parked connections, and that they
// make room in a crowd.
func TestParkedCount(t *testing.T) {
	r := parkRig(t, plane.Limits{MaxConnsPerIP: 2})
	a, b := r.parkable(t), r.parkable(t)
	a.park(t, r, 1)
	b.park(t, r, 2)
	if got := r.raw(t, hello); !strings.HasPrefix(got, "HTTP/1.1 503 ") {
		t.Errorf("the third got %q", got)
	}
	_ = a.Close()
	waittest.Eventually(t, "one is gone", func() bool { return r.Snapshot().Connections == 1 })
	r.parkable(t).park(t, r, 2)

	full := parkRig(t, plane.Limits{MaxConns: 4, IdleTimeout: time.Hour})
	idle := full.parkable(t)
	idle.park(t, full, 1)
	for range 3 {
		full.parkable(t).say(t, "GET / HTTP/1.1\r\nHo")
	}
	idle.ended(t)
	waittest.Eventually(t, "it made room", func() bool { return full.Snapshot().Connections == 3 })
}

// TestCrowdSparesRequests holds that in a crowd a client that has begun its
// second request is not taken for an idle one.
func TestCrowdSparesRequests(t *testing.T) {
	r := parkRig(t, plane.Limits{MaxConns: 1, IdleTimeout: time.Hour, ParkAfter: -1})
	c := r.parkable(t)
	c.say(t, hello)
	c.answer(t)
	c.say(t, "GET / HT")
	// The sweeper comes by many times meanwhile.
	waittest.Eventually(t, "ten ticks", func() func() bool {
		n := 0
		return func() bool { n++; return n > 25 }
	}())
	c.say(t, "TP/1.1\r\nHost: shop.test\r\n\r\n")
	c.answer(t)
}

// TestWrappedIsNotParked holds that only what the kernel can watch by itself is
// parked.
func TestWrappedIsNotParked(t *testing.T) {
	r := parkRig(t, plane.Limits{})
	ln := wrapping{listen(t)}
	served := make(chan error, 1)
	go func() { served <- r.Serve(ln, "http") }()
	wrapped := &parkable{Conn: dialTo(t, ln.Addr().String())}
	wrapped.br = bufio.NewReader(wrapped.Conn)
	wrapped.say(t, hello)
	wrapped.answer(t)
	r.parkable(t).park(t, r, 1) // it had the same time
	if s := r.Snapshot(); s.Parked != 1 || s.Connections != 2 {
		t.Errorf("%d of %d are parked", s.Parked, s.Connections)
	}
	wrapped.say(t, hello)
	wrapped.answer(t)
	_ = ln.Close()
	r.stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
	wrapped.ended(t)
}

// wrapping is a listener of connections that are no plain TCP to the eye.
type wrapping struct{ net.Listener }

func (w wrapping) Accept() (net.Conn, error) {
	c, err := w.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return struct{ net.Conn }{c}, nil
}

func dialTo(t testing.TB, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestShutdownOfParked holds that a shutdown closes them at once and forgets
// none.
func TestShutdownOfParked(t *testing.T) {
	r := parkRig(t, plane.Limits{})
	var list []*parkable
	for i := range 20 {
		c := r.parkable(t)
		c.park(t, r, i+1)
		list = append(list, c)
	}
	r.Shutdown(context.Background())
	if s := r.Snapshot(); s.Connections != 0 || s.Parked != 0 {
		t.Errorf("%d connections, %d parked after the shutdown", s.Connections, s.Parked)
	}
	for _, c := range list {
		c.ended(t)
	}
}

// TestRunEnds holds that parked connections go on when nobody keeps the limits
// any more, and are parked again when somebody does.
func TestRunEnds(t *testing.T) {
	p := plane.New(plane.Options{Log: slog.New(slog.DiscardHandler), Access: &sink{}, Pages: pages{},
		Limits: plane.Limits{Tick: 5 * time.Millisecond, ParkAfter: soon}})
	ln := listen(t)
	var all sync.WaitGroup
	all.Go(func() { _ = p.Serve(ln, "http") })
	r := &rig{Plane: p, addr: ln.Addr().String()}
	r.apply(t, 1, app("shop", quietApp(t, okAnswer)))
	c := r.parkable(t)
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		var run sync.WaitGroup
		run.Go(func() { _ = p.Run(ctx) })
		c.park(t, r, 1)
		cancel()
		run.Wait()
		if s := r.Snapshot(); s.Parked != 0 || s.Connections != 1 {
			t.Errorf("%d of %d are parked", s.Parked, s.Connections)
		}
		c.say(t, hello)
		c.answer(t)
	}
	_ = ln.Close()
	p.Shutdown(t.Context())
	all.Wait()
	c.ended(t)
}

// TestThousandsParked holds that thousands are parked, need no goroutine, and
// all answer when they are asked at once.
func TestThousandsParked(t *testing.T) {
	n := 2000
	if raceEnabled {
		n = 1000
	}
	before := runtime.NumGoroutine()
	r := parkRig(t, plane.Limits{})
	c := newCrowd(t, r, n)
	r.awaitParked(t, n)
	// The app's side of the pooled connections has goroutines, too.
	if now := runtime.NumGoroutine(); now > before+n/2 {
		t.Errorf("%d goroutines", now)
	}
	for round := range 3 {
		for i := range n {
			c.ask(t, i)
		}
		for i := range n {
			c.hear(t, i)
		}
		if s := r.Snapshot(); s.Connections != n {
			t.Errorf("round %d: %d connections", round, s.Connections)
		}
	}
	r.Shutdown(t.Context())
	if s := r.Snapshot(); s.Connections != 0 || s.Parked != 0 {
		t.Errorf("%d connections, %d parked after the shutdown", s.Connections, s.Parked)
	}
}

// TestParkRaces has requests arrive just as connections are parked, time out
// and are shut down. A client sees its answer or a closed connection, never
// half of one, and nothing is left.
func TestParkRaces(t *testing.T) {
	const clients = 60
	for range 4 {
		r := parkRig(t, plane.Limits{Tick: time.Millisecond, IdleTimeout: 20 * time.Millisecond})
		ln := listen(t)
		served := make(chan error, 1)
		go func() { served <- r.Serve(ln, "http") }()
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		answers := make(chan struct{}, clients)
		for range clients {
			all.Go(func() {
				for ctx.Err() == nil {
					if !visit(ctx, t, ln.Addr().String(), answers) {
						return
					}
				}
			})
		}
		for range 2000 {
			<-answers
		}
		_ = ln.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
		r.Shutdown(context.Background())
		if s := r.Snapshot(); s.Connections != 0 || s.Parked != 0 {
			t.Errorf("%d connections, %d parked are left", s.Connections, s.Parked)
		}
		cancel()
		all.Wait()
		r.stop()
	}
}

// visit is a client that asks now and then until its connection is closed. It
// reports whether the plane may take another.
func visit(ctx context.Context, t *testing.T, addr string, answers chan<- struct{}) bool {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return false
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(patience))
	br := bufio.NewReader(c)
	for {
		if _, err := io.WriteString(c, hello); err != nil {
			return true
		}
		if _, err := br.Peek(1); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("a request was never answered, nor its connection closed")
			}
			return true
		}
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Errorf("half an answer: %v", err)
			return false
		}
		if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "ok" {
			t.Errorf("half an answer: %q, %v", b, err)
			return false
		}
		select {
		case answers <- struct{}{}:
		default:
		}
		select {
		case <-time.After(rand.N(30 * time.Millisecond)): //nolint:gosec // any will do
		case <-ctx.Done():
			return false
		}
	}
}
