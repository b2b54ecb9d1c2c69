package plane_test

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"

	"landward/internal/route"
	"landward/internal/route/plane"
)

// TestWhatTheAppGets compares the bytes that reach the app.
func TestWhatTheAppGets(t *testing.T) {
	const fixed = "X-Forwarded-For: 127.0.0.1\r\nX-Real-IP: 127.0.0.1\r\nX-Forwarded-Proto: http\r\n" +
		"Forwarded: for=127.0.0.1;proto=http;host=\"%\"\r\nX-Forwarded-Host: %\r\n"
	ours := func(host, port string) string {
		return strings.ReplaceAll(fixed, "%", host) + "X-Forwarded-Port: " + port + "\r\nX-Request-Id: *\r\ntraceparent: *\r\n\r\n"
	}
	for name, tc := range map[string]struct{ send, want string }{
		"plain": {
			"GET /a?b HTTP/1.1\r\nHost: shop.test\r\nUser-Agent: x\r\nAccept: */*\r\n\r\n",
			"GET /a?b HTTP/1.1\r\nHost: shop.test\r\nUser-Agent: x\r\nAccept: */*\r\n" + ours("shop.test", "80"),
		},
		"host in other forms": {
			"GET / HTTP/1.1\r\nhOsT: SHOP.Test.:8080\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: SHOP.Test.:8080\r\n" + ours("SHOP.Test.:8080", "8080"),
		},
		"absolute": {
			"GET http://shop.test/a HTTP/1.1\r\nHost: shop.test\r\n\r\n",
			"GET /a HTTP/1.1\r\nHost: shop.test\r\n" + ours("shop.test", "80"),
		},
		"1.0": {
			"GET / HTTP/1.0\r\nHost: shop.test\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: shop.test\r\n" + ours("shop.test", "80"),
		},
		"claims are dropped": {
			"GET / HTTP/1.1\r\nX-Forwarded-For: 6.6.6.6\r\nHost: shop.test\r\nx_forwarded_for: 6.6.6.6\r\nX-REAL-IP: 6.6.6.6\r\n" +
				"Forwarded: for=6.6.6.6\r\nX-Request-Id: mine\r\ntraceparent: 00-0-0-01\r\nTRACESTATE: x\r\ntracestate: x\r\nX-Forwarded-Prefix: /admin\r\nproxy: evil\r\nCookie: a=b\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: shop.test\r\nCookie: a=b\r\n" + ours("shop.test", "80"),
		},
		"hop by hop, and our own cannot be named": {
			"GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: x-real-ip, X_FORWARDED_FOR, x-forwarded-proto, Secret, host, content-length\r\n" +
				"Keep-Alive: 5\r\nTE: trailers\r\nProxy-Connection: x\r\nsecret: x\r\nCookie: a=b\r\nUpgrade: h2c\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: shop.test\r\nCookie: a=b\r\n" + ours("shop.test", "80"),
		},
		"small body": {
			"POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 05\r\nX: y\r\n\r\nhello",
			"POST / HTTP/1.1\r\nHost: shop.test\r\nX: y\r\nContent-Length: 5\r\n" + ours("shop.test", "80") + "hello",
		},
		"empty body": {
			"POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 0\r\n\r\n",
			"POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 0\r\n" + ours("shop.test", "80"),
		},
		"chunked": {
			"POST / HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\n003;ext=\"a\"\r\nabc\r\n0\r\nX-Real-IP: 6.6.6.6\r\nChecksum: 1\r\n\r\n",
			"POST / HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n" + ours("shop.test", "80") +
				"3\r\nabc\r\n0\r\nChecksum: 1\r\n\r\n",
		},
		"path as it came": {
			"GET /a/%2e%2e//b;c%2Fd HTTP/1.1\r\nHost: shop.test\r\n\r\n",
			"GET /a/%2e%2e//b;c%2Fd HTTP/1.1\r\nHost: shop.test\r\n" + ours("shop.test", "80"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := make(chan string, 1)
			addr := script(t, func(c net.Conn, r *bufio.Reader) {
				head, err := readHead(r)
				if err != nil {
					return
				}
				body := ""
				if strings.Contains(head, "chunked") {
					for !strings.HasSuffix(body, "\r\n\r\n") {
						b, err := r.ReadByte()
						if err != nil {
							return
						}
						body += string(b)
					}
				} else if strings.Contains(head, "Length: 5") {
					b := make([]byte, 5)
					if _, err := io.ReadFull(r, b); err != nil {
						return
					}
					body = string(b)
				}
				got <- head + body
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			})
			r := newRig(t, plane.Limits{}, app("shop", addr))
			c := r.dial(t)
			if _, err := io.WriteString(c, tc.send); err != nil {
				t.Fatal(err)
			}
			head, err := readHead(bufio.NewReader(c))
			if err != nil || !strings.HasPrefix(head, "HTTP/1.1 200 OK\r\n") {
				t.Fatalf("answer %q, %v", head, err)
			}
			if s := stable(<-got); s != tc.want {
				t.Errorf("got\n%q\nwant\n%q", s, tc.want)
			}
		})
	}
}

// TestWhatTheClientGets compares the bytes that reach the client.
func TestWhatTheClientGets(t *testing.T) {
	const get = "GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n"
	const get10 = "GET / HTTP/1.0\r\nHost: shop.test\r\n\r\n"
	const tail = "Date: *\r\nX-Request-Id: *\r\nConnection: close\r\n\r\n"
	for name, tc := range map[string]struct{ send, answer, want string }{
		"length": {get, "HTTP/1.1 200 Fine\r\nContent-Length: 5\r\nServer: x\r\n\r\nhello",
			"HTTP/1.1 200 Fine\r\nServer: x\r\nContent-Length: 5\r\n" + tail + "hello"},
		"date kept": {get, "HTTP/1.1 200 OK\r\nDate: Sat\r\nContent-Length: 0\r\n\r\n",
			"HTTP/1.1 200 OK\r\nDate: *\r\nContent-Length: 0\r\nX-Request-Id: *\r\nConnection: close\r\n\r\n"},
		"hop by hop": {get, "HTTP/1.1 200 OK\r\nConnection: close, x-a\r\nKeep-Alive: 5\r\nX-A: b\r\nX-Request-Id: app\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 0\r\n\r\n",
			"HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 0\r\n" + tail},
		"chunked": {get, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n2;x\r\nhe\r\n3\r\nllo\r\n0\r\nA: b\r\n\r\n",
			"HTTP/1.1 200 OK\r\nTrailer: A\r\nTransfer-Encoding: chunked\r\n" + tail + "5\r\nhello\r\n0\r\nA: b\r\n\r\n"},
		"chunked to 1.0": {get10, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
			"HTTP/1.1 200 OK\r\n" + tail + "hello"},
		"until close": {get, "HTTP/1.0 200 OK\r\n\r\nhello",
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + tail + "5\r\nhello\r\n0\r\n\r\n"},
		"until close to 1.0": {get10, "HTTP/1.0 200 OK\r\n\r\nhello", "HTTP/1.1 200 OK\r\n" + tail + "hello"},
		"head": {"HEAD / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
			"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" + tail},
		"head with a body": {"HEAD / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
			"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" + tail},
		"no content": {get, "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", "HTTP/1.1 204 No Content\r\n" + tail},
		"unmodified": {get, "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: x\r\n\r\n",
			"HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 5\r\n" + tail},
		"early hints": {get, "HTTP/1.1 103 Early Hints\r\nLink: x\r\nConnection: y\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
			"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + tail},
		"early hints to 1.0": {get10, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
			"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + tail},
		"empty reason": {get, "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200\r\nContent-Length: 0\r\n" + tail},
	} {
		t.Run(name, func(t *testing.T) {
			addr := script(t, func(c net.Conn, r *bufio.Reader) {
				if _, err := readHead(r); err == nil {
					_, _ = io.WriteString(c, tc.answer)
				}
			})
			r := newRig(t, plane.Limits{}, app("shop", addr))
			if got := stable(r.raw(t, tc.send)); got != tc.want {
				t.Errorf("got\n%q\nwant\n%q", got, tc.want)
			}
		})
	}
}

// TestBadAnswers holds that what is not HTTP never reaches a client as if it
// were.
func TestBadAnswers(t *testing.T) {
	for name, tc := range map[string]struct {
		answer string
		status string // of what the client gets; "" for a broken connection
		code   route.Code
	}{
		"not HTTP":         {"SSH-2.0-x\r\n\r\n", "502", route.CodeBadAnswer},
		"both framings":    {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "502", route.CodeBadAnswer},
		"two lengths":      {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "502", route.CodeBadAnswer},
		"bare line feed":   {"HTTP/1.1 200 OK\nContent-Length: 1\n\na", "502", route.CodeBadAnswer},
		"bad chunk":        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "502", route.CodeBadAnswer},
		"unasked 101":      {"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "502", route.CodeBadAnswer},
		"half a head":      {"HTTP/1.1 200 OK\r\nContent-", "502", route.CodeReset},
		"endless head":     {"HTTP/1.1 200 OK\r\nA: " + strings.Repeat("b", 70000) + "\r\n\r\n", "502", route.CodeBadAnswer},
		"endless hints":    {strings.Repeat("HTTP/1.1 103 X\r\n\r\n", 40), "103", route.CodeBadAnswer},
		"too short":        {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", "200", route.CodeReset},
		"chunks cut off":   {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "200", route.CodeReset},
		"nothing":          {"", "502", route.CodeReset},
		"trailer is a lie": {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nGET / HTTP/1.1\r\n\r\n", "502", route.CodeBadAnswer},
	} {
		t.Run(name, func(t *testing.T) {
			addr := script(t, func(c net.Conn, r *bufio.Reader) {
				if _, err := readHead(r); err == nil {
					_, _ = io.WriteString(c, tc.answer)
				}
			})
			r := newRig(t, plane.Limits{}, app("shop", addr))
			got := r.raw(t, "GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n")
			if len(got) > 0 && got[9:12] != tc.status {
				t.Errorf("client got %q", got)
			}
			if strings.HasSuffix(got, "0\r\n\r\n") {
				t.Errorf("an answer that was cut off ends as if whole: %q", got)
			}
			if e := r.sink.last(t, 1); e.Code != tc.code {
				t.Errorf("code %q, want %q", e.Code, tc.code)
			}
		})
	}
}

// TestSurplusIsNobodys holds that bytes an app sends beyond its answer never
// become the answer to somebody else.
func TestSurplusIsNobodys(t *testing.T) {
	const poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
	for name, answer := range map[string]string{
		"with the answer": "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" + poison,
		"after no body":   "HTTP/1.1 204 No Content\r\n\r\n" + poison,
		"after chunks":    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" + poison,
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, plane.Limits{}, app("shop", canned(t, answer)))
			c := r.client(t)
			for range 5 {
				if _, body := get(t, c, "http://shop.test/"); strings.Contains(body, "poison") {
					t.Fatal("poisoned")
				}
			}
		})
	}
	t.Run("later", func(t *testing.T) {
		more := make(chan struct{})
		sent := make(chan struct{})
		addr := script(t, func(c net.Conn, r *bufio.Reader) {
			for {
				if _, err := readHead(r); err != nil {
					return
				}
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
				if _, open := <-more; open {
					_, _ = io.WriteString(c, poison)
					sent <- struct{}{}
				}
			}
		})
		r := newRig(t, plane.Limits{}, app("shop", addr))
		c := r.client(t)
		get(t, c, "http://shop.test/")
		more <- struct{}{}
		<-sent
		close(more)
		if _, body := get(t, c, "http://shop.test/"); body != "ok" {
			t.Fatalf("got %q", body)
		}
	})
}
