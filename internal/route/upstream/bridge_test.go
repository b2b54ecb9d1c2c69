package upstream_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"landward/internal/route/upstream"
	"landward/internal/waittest"
)

// h2c serves h over HTTP/2 without TLS and returns its address and a bridge to it.
func h2c(t testing.TB, h http.Handler, change func(*http.Server)) (string, *upstream.Bridge) {
	t.Helper()
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	s := &http.Server{Handler: h, Protocols: &p, HTTP2: &http.HTTP2Config{}, DisableGeneralOptionsHandler: true}
	if change != nil {
		change(s)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l)
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-done
	})
	return l.Addr().String(), bridge(t, l.Addr().String())
}

func bridge(t testing.TB, addr string) *upstream.Bridge {
	t.Helper()
	d := upstream.Dialer{Timeout: patience}
	b := d.H2C(addr)
	t.Cleanup(func() {
		b.Close()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := b.Wait(ctx); err != nil {
			t.Errorf("the bridge does not come to rest: %v", err)
		}
	})
	return b
}

// line is a connection as the plane has it.
type line struct {
	upstream.Conn
	r *bufio.Reader
}

func dial(t testing.TB, b *upstream.Bridge) *line {
	t.Helper()
	c, err := b.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return &line{c, bufio.NewReader(c)}
}

func (l *line) send(t testing.TB, raw string) {
	t.Helper()
	if _, err := io.WriteString(l, raw); err != nil {
		t.Fatal(err)
	}
}

// read reads an answer to a request with that method, with its body.
func (l *line) read(t testing.TB, method string) (*http.Response, string) {
	t.Helper()
	res, err := http.ReadResponse(l.r, &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("body %q: %v", b, err)
	}
	return res, string(b)
}

// echo tells what has arrived.
func echo(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	var names []string
	for name := range r.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	fmt.Fprintf(w, "%s %s %s %s %v %q trailer=%v", r.Proto, r.Method, r.Host, r.RequestURI, names, b, r.Trailer)
}

func TestRequests(t *testing.T) {
	_, b := h2c(t, http.HandlerFunc(echo), nil)
	l := dial(t, b)
	for _, tc := range []struct{ raw, want string }{
		{"GET /a?b=c HTTP/1.1\r\nHost: shop.test\r\n\r\n",
			`HTTP/2.0 GET shop.test /a?b=c [] "" trailer=map[]`},
		{"GET /%41/../x//y;z?%zz&q=[{ HTTP/1.1\r\nHost: Shop.Test:81\r\nX-A: 1\r\nX-A: 2\r\nUser-Agent: me\r\n\r\n",
			`HTTP/2.0 GET Shop.Test:81 /%41/../x//y;z?%zz&q=[{ [User-Agent X-A] "" trailer=map[]`},
		{"GET //evil.test/x HTTP/1.1\r\nHost: a\r\n\r\n", `HTTP/2.0 GET a //evil.test/x [] "" trailer=map[]`},
		{"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", `HTTP/2.0 OPTIONS a * [] "" trailer=map[]`},
		{"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
			`HTTP/2.0 POST a /p [Content-Length] "hello" trailer=map[]`},
		{"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
			`HTTP/2.0 POST a /p [Content-Length] "" trailer=map[]`},
		{"PUT /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
			`HTTP/2.0 PUT a /p [] "abcde" trailer=map[]`},
		{"PUT /p HTTP/1.1\r\nHost: a\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: 7\r\n\r\n",
			`HTTP/2.0 PUT a /p [] "a" trailer=map[X-Sum:[7]]`},
		{"GET / HTTP/1.1\r\nHost: a\r\nTE: trailers, deflate\r\nConnection: keep-alive\r\nKeep-Alive: 3\r\nHTTP2-Settings: x\r\nProxy-Connection: y\r\n\r\n",
			`HTTP/2.0 GET a / [Te] "" trailer=map[]`},
		{"GET / HTTP/1.1\r\nHost: a\r\nTE: deflate\r\nCookie: a=b; c=d\r\n\r\n",
			`HTTP/2.0 GET a / [Cookie] "" trailer=map[]`},
		{"GET / HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\n\r\n",
			`HTTP/2.0 GET a / [Content-Type Te] "" trailer=map[]`},
	} {
		l.send(t, tc.raw)
		res, body := l.read(t, "GET")
		if res.StatusCode != 200 || body != tc.want {
			t.Errorf("%q: got %d\n%s\nwant\n%s", tc.raw, res.StatusCode, body, tc.want)
		}
		if !l.Idle() {
			t.Fatal("not idle after a whole answer")
		}
	}
}

func TestAnswers(t *testing.T) {
	_, b := h2c(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-A", "1")
		h["Date"] = nil
		switch r.URL.Path {
		case "/length":
			h.Set("Content-Length", "3")
			_, _ = io.WriteString(w, "abc")
		case "/empty":
			h.Set("Content-Length", "0")
		case "/stream":
			for _, s := range []string{"a", "b"} {
				_, _ = io.WriteString(w, s)
				_ = http.NewResponseController(w).Flush()
			}
		case "/204":
			w.WriteHeader(204)
		case "/304":
			h.Set("ETag", `"x"`)
			w.WriteHeader(304)
		case "/trailers":
			h.Set("Trailer", "X-Sum")
			_, _ = io.WriteString(w, "body")
			h.Set("X-Sum", "7")
			h.Set(http.TrailerPrefix+"X-More", "8")
		case "/hints":
			h.Set("Link", "</a.css>")
			w.WriteHeader(103)
			h.Del("Link")
			_, _ = io.WriteString(w, "after")
		}
	}), nil)
	l := dial(t, b)
	for _, tc := range []struct{ method, path, want string }{
		{"GET", "/length", "200 abc 3 [] X-A=1 map[]"},
		{"HEAD", "/length", "200  3 [] X-A=1 map[]"},
		{"GET", "/empty", "200  0 [] X-A=1 map[]"},
		{"GET", "/stream", "200 ab -1 [chunked] X-A=1 map[]"},
		{"GET", "/204", "204  0 [] X-A=1 map[]"},
		{"GET", "/304", "304  0 [] X-A=1 map[]"},
		{"GET", "/trailers", "200 body -1 [chunked] X-A=1 map[X-More:[8] X-Sum:[7]]"},
	} {
		l.send(t, tc.method+" "+tc.path+" HTTP/1.1\r\nHost: a\r\n\r\n")
		res, body := l.read(t, tc.method)
		got := fmt.Sprintf("%d %s %d %v X-A=%s %v", res.StatusCode, body, res.ContentLength, res.TransferEncoding, res.Header.Get("X-A"), res.Trailer)
		if got != tc.want {
			t.Errorf("%s %s: got %s, want %s", tc.method, tc.path, got, tc.want)
		}
	}
	l.send(t, "GET /hints HTTP/1.1\r\nHost: a\r\n\r\n")
	if res, _ := l.read(t, "GET"); res.StatusCode != 103 || res.Header.Get("Link") != "</a.css>" {
		t.Errorf("got %+v", res)
	}
	if res, body := l.read(t, "GET"); res.StatusCode != 200 || body != "after" || res.Header.Get("Link") != "" {
		t.Errorf("got %+v", res)
	}
}

// TestCutOff holds that an answer which the app breaks off never ends well.
func TestCutOff(t *testing.T) {
	_, b := h2c(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/length" {
			w.Header().Set("Content-Length", "100")
		}
		if r.URL.Path != "/early" {
			_, _ = io.WriteString(w, "some")
			_ = http.NewResponseController(w).Flush()
		}
		panic(http.ErrAbortHandler)
	}), nil)
	for _, path := range []string{"/length", "/chunked"} {
		l := dial(t, b)
		l.send(t, "GET "+path+" HTTP/1.1\r\nHost: a\r\n\r\n")
		res, err := http.ReadResponse(l.r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(res.Body); !errors.Is(err, io.ErrUnexpectedEOF) || string(got) != "some" {
			t.Errorf("%s: got %q, %v", path, got, err)
		}
		waittest.Eventually(t, "the link ends", func() bool { return !l.Idle() })
	}
	l := dial(t, b)
	l.send(t, "GET /early HTTP/1.1\r\nHost: a\r\n\r\n")
	if got, err := io.ReadAll(l.r); len(got) != 0 || err != nil {
		t.Errorf("before the head: got %q, %v", got, err)
	}
}

// TestServerDies holds the same for an app that dies.
func TestServerDies(t *testing.T) {
	var server *http.Server
	_, b := h2c(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "some")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}), func(s *http.Server) { server = s })
	l := dial(t, b)
	l.send(t, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	res, err := http.ReadResponse(l.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(res.Body, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	_ = server.Close()
	if _, err := io.ReadAll(res.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
	waittest.Eventually(t, "nobody is there any more", func() bool {
		c, err := b.Dial(t.Context())
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
}

// TestCancel holds that closing the connection resets the stream, before and
// after the answer has begun, and while a body is sent.
func TestCancel(t *testing.T) {
	started, ended := make(chan string), make(chan struct{})
	_, b := h2c(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/begun" {
			_, _ = io.WriteString(w, "some")
			_ = http.NewResponseController(w).Flush()
		}
		if r.URL.Path == "/upload" {
			_, _ = io.ReadFull(r.Body, make([]byte, 3))
		}
		started <- r.URL.Path
		<-r.Context().Done()
		ended <- struct{}{}
	}), nil)
	for path, head := range map[string]string{
		"/waiting": "", "/begun": "", "/upload": "Transfer-Encoding: chunked\r\n",
	} {
		l := dial(t, b)
		l.send(t, "POST "+path+" HTTP/1.1\r\nHost: a\r\n"+head+"\r\n")
		if head != "" {
			l.send(t, "3\r\nabc\r\n")
		}
		if got := <-started; got != path {
			t.Errorf("got %s", got)
		}
		_ = l.Close()
		<-ended
	}
}

// TestDeadlines holds that the plane can wake itself while it waits for an
// answer, and go on waiting.
func TestDeadlines(t *testing.T) {
	answer := make(chan struct{})
	_, b := h2c(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		<-answer
		_, _ = io.WriteString(w, "done")
	}), nil)
	l := dial(t, b)
	l.send(t, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	woken := make(chan error)
	go func() {
		_, err := l.Read(make([]byte, 1))
		woken <- err
	}()
	_ = l.SetReadDeadline(time.Unix(1, 0))
	if err := <-woken; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	_ = l.SetReadDeadline(time.Time{})
	close(answer)
	if _, body := l.read(t, "GET"); body != "done" {
		t.Errorf("got %q", body)
	}
}

// TestEarlyAnswer holds that an answer which comes before the body has been
// read arrives whole, and that its link is not used again.
func TestEarlyAnswer(t *testing.T) {
	_, b := h2c(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(413)
		_, _ = io.WriteString(w, "too much")
	}), nil)
	l := dial(t, b)
	l.send(t, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
	if res, body := l.read(t, "POST"); res.StatusCode != 413 || body != "too much" {
		t.Errorf("got %d %q", res.StatusCode, body)
	}
	if l.Idle() {
		t.Error("idle, with a body to come")
	}
	waittest.Eventually(t, "writing fails", func() bool {
		_, err := l.Write(make([]byte, 1000))
		return err != nil
	})
}

// TestFullDuplex holds that both sides can talk in turns.
func TestFullDuplex(t *testing.T) {
	_, b := h2c(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		_ = c.Flush()
		buf := make([]byte, 100)
		for {
			n, err := r.Body.Read(buf)
			_, _ = w.Write(buf[:n])
			_ = c.Flush()
			if err != nil {
				return
			}
		}
	}), nil)
	l := dial(t, b)
	l.send(t, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
	res, err := http.ReadResponse(l.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		l.send(t, fmt.Sprintf("2\r\n%02d\r\n", i))
		var buf [2]byte
		if _, err := io.ReadFull(res.Body, buf[:]); err != nil || string(buf[:]) != fmt.Sprintf("%02d", i) {
			t.Fatalf("got %q, %v", buf, err)
		}
	}
	l.send(t, "0\r\n\r\n")
	if rest, err := io.ReadAll(res.Body); len(rest) > 0 || err != nil {
		t.Errorf("got %q, %v", rest, err)
	}
	if !l.Idle() {
		t.Error("not idle")
	}
}

func TestRefusals(t *testing.T) {
	_, b := h2c(t, http.HandlerFunc(echo), nil)
	for raw, want := range map[string]int{
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n": 501,
		"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n":                                    501,
		"nonsense\r\n\r\n": 400,
		"GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 300<<10) + "\r\n\r\n": 431,
	} {
		l := dial(t, b)
		go func() { _, _ = io.WriteString(l, raw) }()
		res, _ := l.read(t, "GET")
		if res.StatusCode != want || !res.Close {
			t.Errorf("%.40q: got %d", raw, res.StatusCode)
		}
		if l.Idle() {
			t.Errorf("%.40q: idle", raw)
		}
		if _, err := l.r.ReadByte(); !errors.Is(err, io.EOF) {
			t.Errorf("%.40q: got %v", raw, err)
		}
	}
	l := dial(t, b)
	l.send(t, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	if res, _ := l.read(t, "GET"); res.StatusCode != 200 || l.Idle() {
		t.Errorf("got %d, idle %v", res.StatusCode, l.Idle())
	}
}

func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	if _, err := bridge(t, l.Addr().String()).Dial(t.Context()); err == nil {
		t.Error("nobody is there")
	}
}

// TestOtherProtocol holds that an app which does not speak HTTP/2 counts as one
// that cannot be reached.
func TestOtherProtocol(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	s := &http.Server{Handler: http.HandlerFunc(echo)}
	wg.Go(func() { _ = s.Serve(l) })
	t.Cleanup(func() {
		_ = s.Close()
		wg.Wait()
	})
	if _, err := bridge(t, l.Addr().String()).Dial(t.Context()); err == nil {
		t.Error("connected")
	}
}

// TestSilent holds that one that accepts and says nothing is not waited for.
func TestSilent(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	d := upstream.Dialer{Timeout: 30 * time.Millisecond}
	b := d.H2C(l.Addr().String())
	defer b.Close()
	if _, err := b.Dial(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}
