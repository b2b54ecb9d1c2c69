package plane_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"landward/internal/route"
	"landward/internal/route/plane"
)

// TestKeepAlive holds that both sides keep their connections.
func TestKeepAlive(t *testing.T) {
	var conns atomic.Int64
	addr := script(t, func(c net.Conn, r *bufio.Reader) {
		conns.Add(1)
		for {
			if _, err := readHead(r); err != nil {
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	r := newRig(t, plane.Limits{}, app("shop", addr))
	c := r.dial(t)
	br := bufio.NewReader(c)
	for i := range 20 {
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
		if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "ok" {
			t.Fatalf("request %d: %q %v", i, b, err)
		}
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections to the app", n)
	}
}

// TestPipelining holds that requests sent at once are answered in order, with
// bodies of each kind between them.
func TestPipelining(t *testing.T) {
	addr := serve(t, func(w http.ResponseWriter, q *http.Request) {
		b, _ := io.ReadAll(q.Body)
		body := fmt.Sprintf("%s:%s;", q.URL.Path, b)
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		_, _ = io.WriteString(w, body)
	})
	r := newRig(t, plane.Limits{}, app("shop", addr))
	big := strings.Repeat("y", 20000)
	got := r.raw(t, "GET /1 HTTP/1.1\r\nHost: shop.test\r\n\r\n"+
		"POST /2 HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 3\r\n\r\nabc"+
		"POST /3 HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ndef\r\n0\r\n\r\n"+
		"POST /4 HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 20000\r\n\r\n"+big+
		"GET /5 HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n")
	at := 0
	for _, want := range []string{"/1:;", "/2:abc;", "/3:def;", "/4:" + big + ";", "/5:;"} {
		i := strings.Index(got[at:], want)
		if i < 0 {
			t.Fatalf("no %.10q after byte %d of %.400q", want, at, got)
		}
		at += i
	}
}

// TestBodies sends large bodies both ways, with a length and chunked, and
// compares every byte.
func TestBodies(t *testing.T) {
	addr := serve(t, func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Query().Has("length") {
			w.Header().Set("Content-Length", q.Header.Get("X-Size"))
		}
		if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
			t.Error(err)
		}
		n, err := io.Copy(w, q.Body)
		if err != nil {
			t.Errorf("app copied %d: %v", n, err)
		}
	})
	r := newRig(t, plane.Limits{}, app("shop", addr))
	c := r.client(t)
	for _, size := range []int{0, 1, 4095, 4096, 16 << 10, 16<<10 + 1, 64 << 10, 1 << 20, 20 << 20} {
		for _, send := range []string{"length", "chunked"} {
			for _, back := range []string{"length", "chunked"} {
				t.Run(fmt.Sprintf("%d/%s/%s", size, send, back), func(t *testing.T) {
					body := pattern(size)
					var src io.Reader = bytes.NewReader(body)
					if send == "chunked" {
						src = struct{ io.Reader }{src}
					}
					req, err := http.NewRequest(http.MethodPut, "http://shop.test/?"+back, src)
					if err != nil {
						t.Fatal(err)
					}
					req.Header.Set("X-Size", fmt.Sprint(size))
					resp, err := c.Do(req)
					if err != nil {
						t.Fatal(err)
					}
					defer func() { _ = resp.Body.Close() }()
					h := sha256.New()
					n, err := io.Copy(h, resp.Body)
					want := sha256.Sum256(body)
					if err != nil || int(n) != size || !bytes.Equal(h.Sum(nil), want[:]) {
						t.Fatalf("%d bytes came back of %d, %v", n, size, err)
					}
				})
			}
		}
	}
}

// TestStreams holds that what the app flushes is with the client at once.
func TestStreams(t *testing.T) {
	next := make(chan string)
	addr := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for s := range next {
			_, _ = fmt.Fprintf(w, "data: %s\n\n", s)
			_ = http.NewResponseController(w).Flush()
		}
	})
	r := newRig(t, plane.Limits{AnswerWithin: patience}, app("shop", addr))
	go func() { next <- "0" }()
	resp, err := r.client(t).Get("http://shop.test/")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	br := bufio.NewReader(resp.Body)
	for i := range 10 {
		line, err := br.ReadString('\n')
		if err != nil || line != fmt.Sprintf("data: %d\n", i) {
			t.Fatalf("event %d: %q %v", i, line, err)
		}
		_, _ = br.ReadString('\n')
		if i < 9 {
			next <- fmt.Sprint(i + 1)
		}
	}
	close(next)
	if b, err := io.ReadAll(br); err != nil || len(b) > 0 {
		t.Fatalf("end: %q %v", b, err)
	}
}

// TestDuplex holds that an app may answer while it reads, a line for a line.
func TestDuplex(t *testing.T) {
	addr := serve(t, func(w http.ResponseWriter, q *http.Request) {
		rc := http.NewResponseController(w)
		_ = rc.EnableFullDuplex()
		s := bufio.NewScanner(q.Body)
		for s.Scan() {
			_, _ = fmt.Fprintf(w, "got %s\n", s.Text())
			_ = rc.Flush()
		}
	})
	r := newRig(t, plane.Limits{}, app("shop", addr))
	pr, pw := io.Pipe()
	req, err := http.NewRequest(http.MethodPost, "http://shop.test/", pr)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.WriteString(pw, "0\n") }()
	resp, err := r.client(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	br := bufio.NewReader(resp.Body)
	for i := range 5 {
		line, err := br.ReadString('\n')
		if err != nil || line != fmt.Sprintf("got %d\n", i) {
			t.Fatalf("line %d: %q %v", i, line, err)
		}
		if _, err := fmt.Fprintf(pw, "%d\n", i+1); err != nil {
			t.Fatal(err)
		}
	}
	_ = pw.Close()
	if rest, err := io.ReadAll(br); err != nil || string(rest) != "got 5\n" {
		t.Fatalf("end: %q %v", rest, err)
	}
}

func TestContinue(t *testing.T) {
	const ask = "POST / HTTP/1.1\r\nHost: shop.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\nConnection: close\r\n\r\n"
	t.Run("from the app", func(t *testing.T) {
		addr := serve(t, func(w http.ResponseWriter, q *http.Request) {
			b, _ := io.ReadAll(q.Body)
			_, _ = w.Write(b)
		})
		r := newRig(t, plane.Limits{}, app("shop", addr))
		c := r.dial(t)
		br := bufio.NewReader(c)
		_, _ = io.WriteString(c, ask)
		if head, err := readHead(br); err != nil || head != "HTTP/1.1 100 Continue\r\n\r\n" {
			t.Fatalf("%q %v", head, err)
		}
		_, _ = io.WriteString(c, "hello")
		rest, err := io.ReadAll(br)
		if err != nil || !strings.HasPrefix(string(rest), "HTTP/1.1 200 OK\r\n") || !strings.HasSuffix(string(rest), "\r\n\r\nhello") {
			t.Fatalf("%q %v", rest, err)
		}
	})
	t.Run("refused by the app", func(t *testing.T) {
		addr := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusRequestEntityTooLarge) })
		r := newRig(t, plane.Limits{}, app("shop", addr))
		if got := r.raw(t, ask); !strings.HasPrefix(got, "HTTP/1.1 413 ") {
			t.Fatalf("%q", got)
		}
	})
	t.Run("unknown to the app", func(t *testing.T) {
		addr := script(t, func(c net.Conn, br *bufio.Reader) {
			_, _ = readHead(br)
			b := make([]byte, 5)
			if _, err := io.ReadFull(br, b); err == nil {
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			}
		})
		r := newRig(t, plane.Limits{}, app("shop", addr))
		c := r.dial(t)
		br := bufio.NewReader(c)
		_, _ = io.WriteString(c, ask)
		if head, err := readHead(br); err != nil || head != "HTTP/1.1 100 Continue\r\n\r\n" {
			t.Fatalf("%q %v", head, err)
		}
		_, _ = io.WriteString(c, "hello")
		if head, err := readHead(br); err != nil || !strings.HasPrefix(head, "HTTP/1.1 200 OK\r\n") {
			t.Fatalf("%q %v", head, err)
		}
	})
	t.Run("to an unknown host", func(t *testing.T) {
		r := newRig(t, plane.Limits{})
		if got := r.raw(t, ask); !strings.HasPrefix(got, "HTTP/1.1 404 ") {
			t.Fatalf("%q", got)
		}
	})
}

// TestEarlyAnswer holds that an app may refuse a large body without reading it
// and the client gets to know.
func TestEarlyAnswer(t *testing.T) {
	addr := script(t, func(c net.Conn, br *bufio.Reader) {
		_, _ = readHead(br)
		_, _ = io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno!")
	})
	r := newRig(t, plane.Limits{}, app("shop", addr))
	for range 10 {
		resp, err := r.client(t).Post("http://shop.test/", "text/plain", bytes.NewReader(make([]byte, 8<<20)))
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != 413 || string(b) != "no!" {
			t.Fatalf("%d %q %v", resp.StatusCode, b, err)
		}
	}
}

// TestAbandonedUpload holds that an upload that ends early leaves nothing
// behind and the app is told.
func TestAbandonedUpload(t *testing.T) {
	failed := make(chan error, 1)
	begun := make(chan struct{})
	addr := serve(t, func(_ http.ResponseWriter, q *http.Request) {
		close(begun)
		_, err := io.Copy(io.Discard, q.Body)
		failed <- err
	})
	r := newRig(t, plane.Limits{}, app("shop", addr))
	c := r.dial(t)
	_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 100\r\n\r\nhello")
	<-begun
	_ = c.Close()
	select {
	case err := <-failed:
		if err == nil {
			t.Error("the app took half a body for a whole one")
		}
	case <-time.After(patience):
		t.Fatal("the app was never told")
	}
	if e := r.sink.last(t, 1); e.Code != route.CodeClientGone || e.In != 5 {
		t.Errorf("entry %+v", e)
	}
}

// TestSocket holds that a route may lead to a unix socket.
func TestSocket(t *testing.T) {
	path := t.TempDir() + "/api.sock"
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		_, _ = fmt.Fprintf(w, "%s %s", q.Host, q.Header.Get("X-Forwarded-For"))
	})}
	done := make(chan error, 1)
	go func() { done <- s.Serve(ln) }()
	t.Cleanup(func() {
		_ = s.Shutdown(context.Background())
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	api := route.Route{App: "landward", Hosts: []string{"landward.test"}, State: route.StateUp, Socket: path}
	r := newRig(t, plane.Limits{}, api)
	if status, body := get(t, r.client(t), "http://landward.test/"); status != 200 || body != "landward.test 127.0.0.1" {
		t.Fatalf("%d %q", status, body)
	}
}

// TestEntry holds what is reported of a request.
func TestEntry(t *testing.T) {
	addr := serve(t, func(w http.ResponseWriter, q *http.Request) {
		_, _ = io.Copy(io.Discard, q.Body)
		w.WriteHeader(http.StatusCreated)
	})
	r := newRig(t, plane.Limits{}, app("shop", addr))
	resp, err := r.client(t).Post("http://SHOP.test:80/a/b?token=secret", "text/plain", strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	e := r.sink.last(t, 1)
	if e.AppID != 7 || e.Unit != "web.1" || e.Method != "POST" || e.Path != "/a/b" || e.Host != "shop.test" ||
		e.Status != 201 || e.Code != "" || e.In != 5 || e.Out < 50 || e.IP.String() != "127.0.0.1" || e.Minor != 1 ||
		e.ID != resp.Header.Get("X-Request-Id") || e.Total <= 0 || e.Connect <= 0 || e.Service <= 0 ||
		e.Total < e.Connect+e.Service || time.Since(e.At).Abs() > time.Minute {
		t.Errorf("entry %+v", e)
	}
	s := r.Snapshot()
	var text strings.Builder
	if err := s.WriteMetrics(&text); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text.String(), `landward_edge_requests_total{app="shop",class="2xx"} 1`+"\n") ||
		!strings.Contains(text.String(), `landward_edge_request_seconds_count{app="shop"} 1`+"\n") {
		t.Errorf("metrics:\n%s", text.String())
	}
}
