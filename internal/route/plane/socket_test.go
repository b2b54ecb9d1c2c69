package plane_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"landward/internal/route/plane"
)

// say sends bytes in a packet of their own.
func say(t testing.TB, c net.Conn, s string) {
	t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		t.Fatal(err)
	}
}

// hear reads one answer to a request of that method.
func hear(t testing.TB, br *bufio.Reader, method string) string {
	t.Helper()
	resp, err := http.ReadResponse(br, &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(resp.StatusCode, " ", string(b))
}

// On one connection, every kind of request may follow every other.
func TestOneConnectionAllKinds(t *testing.T) {
	addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		_, _ = fmt.Fprintf(w, "%s %s %d", r.Method, r.URL.Path, len(b))
	})
	r := newRig(t, plane.Limits{}, app("shop", addr))
	const host = " HTTP/1.1\r\nHost: shop.test\r\n"
	large := strings.Repeat("x", 100_000)
	type exchange struct {
		method string
		send   []string // a packet each
		want   []string
	}
	kinds := map[string]exchange{
		"plain":     {"GET", []string{"GET /a" + host + "\r\n"}, []string{"200 GET /a 0"}},
		"head":      {"HEAD", []string{"HEAD /a" + host + "\r\n"}, []string{"200 "}},
		"pieces":    {"GET", []string{"GET /b" + host, "\r\n"}, []string{"200 GET /b 0"}},
		"pipelined": {"GET", []string{"GET /c" + host + "\r\nGET /d" + host + "\r\n"}, []string{"200 GET /c 0", "200 GET /d 0"}},
		"one and a half": {"GET", []string{"GET /e" + host + "\r\nGET /f H", strings.TrimPrefix("GET /f"+host+"\r\n", "GET /f H")},
			[]string{"200 GET /e 0", "200 GET /f 0"}},
		"body":       {"POST", []string{"POST /g" + host + "Content-Length: 3\r\n\r\nabc"}, []string{"200 POST /g 3"}},
		"late body":  {"POST", []string{"POST /h" + host + "Content-Length: 3\r\n\r\n", "abc"}, []string{"200 POST /h 3"}},
		"large body": {"PUT", []string{"PUT /i" + host + "Content-Length: 100000\r\n\r\n" + large}, []string{"200 PUT /i 100000"}},
		"chunks":     {"POST", []string{"POST /j" + host + "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"}, []string{"200 POST /j 2"}},
		"body and more": {"POST", []string{"POST /k" + host + "Content-Length: 3\r\n\r\nabcPOST /l" + host + "Content-Length: 0\r\n\r\n"},
			[]string{"200 POST /k 3", "200 POST /l 0"}},
		"other host": {"GET", []string{"GET /" + strings.Replace(host, "shop", "nobody", 1) + "\r\n"}, nil},
	}
	talk := func(t *testing.T, c net.Conn, br *bufio.Reader, e exchange) {
		for _, s := range e.send {
			say(t, c, s)
		}
		if e.want == nil {
			if got := hear(t, br, e.method); !strings.HasPrefix(got, "4") {
				t.Errorf("got %q", got)
			}
		}
		for _, want := range e.want {
			if got := hear(t, br, e.method); got != want {
				t.Errorf("%q: got %q, want %q", e.send, got, want)
			}
		}
	}
	for first, a := range kinds {
		for second, b := range kinds {
			t.Run(first+", then "+second, func(t *testing.T) {
				c := r.dial(t)
				br := bufio.NewReader(c)
				talk(t, c, br, a)
				talk(t, c, br, b)
				say(t, c, "GET /last"+host+"Connection: close\r\n\r\n")
				if got := hear(t, br, "GET"); got != "200 GET /last 0" {
					t.Errorf("got %q", got)
				}
				if rest, err := io.ReadAll(br); err != nil || len(rest) > 0 {
					t.Errorf("after the last answer: %q, %v", rest, err)
				}
			})
		}
	}
}

// What a client sends while the answer to something else is still to come is not
// forgotten: nothing else would wake its connection.
func TestRequestBeforeAnswer(t *testing.T) {
	seen, answer := make(chan struct{}), make(chan struct{})
	addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
		seen <- struct{}{}
		<-answer
		_, _ = io.WriteString(w, r.URL.Path)
	})
	r := newRig(t, plane.Limits{ParkAfter: -1}, app("shop", addr))
	c := r.dial(t)
	br := bufio.NewReader(c)
	const requests = 20
	say(t, c, "GET /0 HTTP/1.1\r\nHost: shop.test\r\n\r\n")
	for i := range requests {
		<-seen
		if i+1 < requests {
			say(t, c, fmt.Sprintf("GET /%d HTTP/1.1\r\nHost: shop.test\r\n\r\n", i+1))
		}
		answer <- struct{}{}
		if got, want := hear(t, br, "GET"), fmt.Sprintf("200 /%d", i); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
}

// An app may answer, or hang up, before it has been asked in full.
func TestAnswerBeforeQuestion(t *testing.T) {
	const early = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nearly"
	addr := script(t, func(c net.Conn, br *bufio.Reader) {
		if _, err := br.ReadByte(); err == nil {
			_, _ = io.WriteString(c, early)
			_, _ = readHead(br)
		}
	})
	r := newRig(t, plane.Limits{}, app("shop", addr))
	c := r.dial(t)
	br := bufio.NewReader(c)
	long := strings.Repeat("x", 60_000)
	for range 50 {
		say(t, c, "GET / HTTP/1.1\r\nHost: shop.test\r\nX-Long: "+long+"\r\n\r\n")
		if got := hear(t, br, "GET"); got != "200 early" {
			t.Fatalf("got %q", got)
		}
	}
}
