package main

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
)

func TestAnswerHead(t *testing.T) {
	for _, c := range []struct {
		head   string
		status int
		length int64
		last   bool
	}{
		{"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n", 200, 12, false},
		{"HTTP/1.1 404 Not Found\r\ncontent-length:0\r\nCONNECTION: Close\r\n", 404, 0, true},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", 200, -1, false},
		{"HTTP/1.0 200 OK\r\n", 0, -1, true},
		{"nonsense", 0, -1, true},
	} {
		status, length, last := answerHead([]byte(c.head))
		if status != c.status || length != c.length || last != c.last {
			t.Errorf("%q: %d %d %t", c.head, status, length, last)
		}
	}
}

// server starts a net/http server and returns its address.
func testServer(t *testing.T, h http.HandlerFunc) netip.AddrPort {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return netip.MustParseAddrPort(s.Listener.Addr().String())
}

func testLoad(t *testing.T, s loadSettings) sample {
	t.Helper()
	s.pid = os.Getpid()
	got, err := runLoad(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestClosedLoop holds that each request is counted once, whether the server
// keeps the connection or closes it.
func TestClosedLoop(t *testing.T) {
	for _, closes := range []bool{false, true} {
		var served atomic.Int64
		addr := testServer(t, func(w http.ResponseWriter, r *http.Request) {
			served.Add(1)
			if r.Host != "h.test" || r.URL.Path != "/p" {
				t.Errorf("asked for %s%s", r.Host, r.URL.Path)
			}
			if closes {
				w.Header().Set("Connection", "close")
			}
			w.Header().Set("Content-Length", "100000")
			_, _ = w.Write(make([]byte, 100000))
		})
		got := testLoad(t, loadSettings{addr: addr, host: "h.test", path: "/p", length: 100000, conns: 4, window: 200 * time.Millisecond})
		// At the end of the window one a connection is under way.
		if n := served.Load(); got.Requests == 0 || got.Requests > n || n-got.Requests > 4 || got.Wrong != 0 {
			t.Errorf("closes %t: %d served, %+v", closes, n, got)
		}
	}
}

func TestWrongAnswersAreCounted(t *testing.T) {
	addr := testServer(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "3")
		_, _ = w.Write([]byte("no!"))
	})
	got := testLoad(t, loadSettings{addr: addr, host: "h.test", path: "/", length: 4, conns: 1, window: 100 * time.Millisecond})
	if got.Requests != 0 || got.Wrong == 0 || got.Trouble != "status 200, length 3" {
		t.Errorf("%+v", got)
	}
}

func TestHostsTakeTurns(t *testing.T) {
	var seen [3]atomic.Int64
	addr := testServer(t, func(w http.ResponseWriter, r *http.Request) {
		i, err := strconv.Atoi(r.Host)
		if err != nil {
			t.Error(err)
			return
		}
		seen[i].Add(1)
	})
	testLoad(t, loadSettings{addr: addr, host: "%d", hosts: 3, path: "/", conns: 1, window: 100 * time.Millisecond})
	for i := range seen {
		if n := seen[i].Load(); n == 0 || n < seen[0].Load()-1 {
			t.Errorf("host %d was asked %d times", i, n)
		}
	}
}

// TestOpenLoop holds that the rate is kept, and that a server that stalls once
// is charged for all that became due meanwhile, not for the requests it had.
func TestOpenLoop(t *testing.T) {
	const stall = 200 * time.Millisecond
	var n atomic.Int64
	addr := testServer(t, func(http.ResponseWriter, *http.Request) {
		if n.Add(1) == 50 {
			time.Sleep(stall)
		}
	})
	got := testLoad(t, loadSettings{addr: addr, host: "h.test", path: "/", conns: 1, rate: 500, window: time.Second})
	if got.Requests < 350 || got.Requests > 650 || got.Wrong != 0 {
		t.Errorf("at 500/s for a second: %+v", got)
	}
	// A fifth of the requests were due while the one connection was stalled. A
	// load that waits for answers would have seen one slow request in 400.
	if got.P99 < stall/2 {
		t.Errorf("p99 is %s after a stall of %s", got.P99, stall)
	}
}

// TestBackend holds that the backend serves what the servers are checked for.
func TestBackend(t *testing.T) {
	addr, err := freeAddr()
	if err != nil {
		t.Fatal(err)
	}
	b, err := newBackend(addr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.run(ctx) }()
	for path := range bodySizes {
		if err := fetch(t.Context(), "http", addr, path); err != nil {
			t.Error(err)
		}
	}
	if fetch(t.Context(), "http", addr, "/else") == nil {
		t.Error("there is something at /else")
	}
	h := &holder{addr: addr, webSocket: true, open: make(map[int32]*held)}
	if h.poll, err = newPoller(); err != nil {
		t.Fatal(err)
	}
	defer h.poll.close()
	if err := h.batch(0, 3); err != nil || len(h.open) != 3 {
		t.Errorf("%d WebSockets, %v", len(h.open), err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := h.count(); err != nil || len(h.open) != 0 {
		t.Errorf("%d WebSockets to a backend that has gone, %v", len(h.open), err)
	}
}

func TestEchoFrames(t *testing.T) {
	two := append(bytes.Clone(greeting), greeting...)
	for cut := range len(two) + 1 {
		out, rest, ok := echoFrames(nil, two[:cut])
		want := cut / len(greeting)
		if !ok || !bytes.Equal(out, bytes.Repeat(echo, want)) || len(rest) != cut-want*len(greeting) {
			t.Errorf("of %d bytes: %q and %d left, %t", cut, out, len(rest), ok)
		}
	}
	if _, _, ok := echoFrames(nil, []byte{0x81, 5, 1, 2, 3, 4, 5}); ok {
		t.Error("a client's frame without a mask is taken")
	}
}
