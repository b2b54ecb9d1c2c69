package plane_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"landward/internal/route"
	"landward/internal/route/plane"
	"landward/internal/waittest"
)

// TestRetries says which requests are sent again after the app closed the
// connection, and which are not.
func TestRetries(t *testing.T) {
	for name, tc := range map[string]struct {
		method, body string
		used         bool // the connection had carried a request before
		requests     int  // that the app sees
		status       int
	}{
		"GET on a used connection":            {"GET", "", true, 2, 200},
		"DELETE on a used connection":         {"DELETE", "", true, 2, 200},
		"POST on a used connection":           {"POST", "", true, 1, 502},
		"PUT with a body on a used one":       {"PUT", "x", true, 1, 502},
		"GET on a new connection, one target": {"GET", "", false, 1, 502},
		"POST on a new connection":            {"POST", "", false, 1, 502},
	} {
		t.Run(name, func(t *testing.T) {
			var seen atomic.Int64
			addr := script(t, func(c net.Conn, r *bufio.Reader) {
				for {
					head, err := readHead(r)
					if err != nil {
						return
					}
					if strings.Contains(head, " /first ") {
						_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
						continue
					}
					if seen.Add(1) == 1 {
						return // without an answer
					}
					_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				}
			})
			r := newRig(t, plane.Limits{}, app("shop", addr))
			c := r.client(t)
			if tc.used {
				get(t, c, "http://shop.test/first")
			}
			req, err := http.NewRequest(tc.method, "http://shop.test/second", strings.NewReader(tc.body))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := c.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != tc.status || int(seen.Load()) != tc.requests {
				t.Errorf("status %d after %d requests", resp.StatusCode, seen.Load())
			}
		})
	}
}

// TestClosedIdle holds that connections which the app closes while they are
// idle cost nobody a request, whatever its method.
func TestClosedIdle(t *testing.T) {
	closed := make(chan struct{})
	addr := script(t, func(c net.Conn, r *bufio.Reader) {
		if _, err := readHead(r); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		_ = c.Close()
		closed <- struct{}{}
	})
	r := newRig(t, plane.Limits{}, app("shop", addr))
	c := r.client(t)
	for i := range 20 {
		resp, err := c.Post("http://shop.test/", "text/plain", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Fatalf("request %d: status %d", i, resp.StatusCode)
		}
		<-closed
	}
}

// TestKeepAliveTimeout holds that the app's own word on how long it keeps a
// connection is heeded.
func TestKeepAliveTimeout(t *testing.T) {
	var conns atomic.Int64
	addr := script(t, func(c net.Conn, r *bufio.Reader) {
		conns.Add(1)
		for {
			if _, err := readHead(r); err != nil {
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 0\r\n\r\n")
		}
	})
	r := newRig(t, plane.Limits{}, app("shop", addr))
	c := r.client(t)
	get(t, c, "http://shop.test/")
	get(t, c, "http://shop.test/")
	if n := conns.Load(); n != 2 {
		t.Errorf("%d connections, want a new one for the second request", n)
	}
}

// TestDeadTarget holds that requests go to the targets that answer.
func TestDeadTarget(t *testing.T) {
	gone := listen(t)
	dead := gone.Addr().String()
	_ = gone.Close()
	alive := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "alive") })
	r := newRig(t, plane.Limits{}, app("shop", dead, alive))
	c := r.client(t)
	for i := range 20 {
		resp, err := c.Post("http://shop.test/", "text/plain", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if string(b) != "alive" {
			t.Fatalf("request %d: %d %q", i, resp.StatusCode, b)
		}
	}
	answering, suspects := r.Probe(t.Context(), time.Second)
	if answering != 1 || suspects != 1 {
		t.Errorf("probe: %d answer, %d do not", answering, suspects)
	}
}

// TestSilentTarget holds that a harmless request that a target dropped is
// given to another.
func TestSilentTarget(t *testing.T) {
	drops := script(t, func(_ net.Conn, r *bufio.Reader) { _, _ = readHead(r) })
	alive := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "alive") })
	r := newRig(t, plane.Limits{}, app("shop", drops, alive))
	c := r.client(t)
	for i := range 10 {
		if status, body := get(t, c, "http://shop.test/"); body != "alive" {
			t.Fatalf("request %d: %d %q", i, status, body)
		}
	}
}

// TestBalance holds that the target with the fewest requests in progress gets
// the next one, and that they take turns where they are equal.
func TestBalance(t *testing.T) {
	hold := make(chan struct{})
	held := make(chan struct{})
	var mu sync.Mutex
	counts := map[string]int{}
	backend := func(name string) string {
		return serve(t, func(w http.ResponseWriter, q *http.Request) {
			if q.URL.Path == "/hold" {
				held <- struct{}{}
				<-hold
				return
			}
			mu.Lock()
			counts[name]++
			mu.Unlock()
			w.Header().Set("X-Name", name)
		})
	}
	r := newRig(t, plane.Limits{}, app("shop", backend("a"), backend("b"), backend("c")))
	c := r.client(t)
	for range 30 {
		get(t, c, "http://shop.test/")
	}
	for name, n := range counts {
		if n != 10 {
			t.Errorf("%s got %d of 30", name, n)
		}
	}
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			if resp, err := c.Get("http://shop.test/hold"); err == nil {
				_ = resp.Body.Close()
			}
		})
		<-held
	}
	clear(counts)
	for range 10 {
		get(t, c, "http://shop.test/")
	}
	if len(counts) != 1 {
		t.Errorf("two of three are busy, yet %v got requests", counts)
	}
	close(hold)
	all.Wait()
}

// TestIdleExpires holds that unused connections to an app are closed.
func TestIdleExpires(t *testing.T) {
	addr := serve(t, func(http.ResponseWriter, *http.Request) {})
	r := newRig(t, plane.Limits{UpstreamIdle: 20 * time.Millisecond}, app("shop", addr))
	get(t, r.client(t), "http://shop.test/")
	waittest.Eventually(t, "no idle connection", func() bool { return r.Snapshot().Targets[0].Idle == 0 })
}

// TestHosts holds that every form of a host leads to its app and no other.
func TestHosts(t *testing.T) {
	name := func(s string) string {
		return serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, s) })
	}
	a, b := app("shop", name("a")), app("xn--caf-dma", name("b"))
	b.AppID = 8
	r := newRig(t, plane.Limits{}, a, b)
	for host, want := range map[string]string{
		"shop.test": "a", "SHOP.TEST": "a", "shop.test.": "a", "shop.test:8080": "a", "Shop.Test.:1": "a",
		"xn--caf-dma.test": "b", "XN--CAF-DMA.test": "b",
		"shop.tes": "", "a.shop.test": "", "test": "", "shop-test": "", "shop.test.test": "",
	} {
		got := r.raw(t, fmt.Sprintf("GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", host))
		_, body, _ := strings.Cut(got, "\r\n\r\n")
		if want == "" {
			want = "unknown_host||||"
		}
		if body != want {
			t.Errorf("%s: got %q, want %q", host, body, want)
		}
	}
	if e := r.sink.last(t, 1); e.Minor != 1 {
		t.Errorf("entry %+v", e)
	}
	var _ route.Table = r.Table()
}
