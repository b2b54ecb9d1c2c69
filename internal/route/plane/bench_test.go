package plane_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"landward/internal/route/plane"
)

// quietApp answers every request with the same bytes and allocates nothing.
func quietApp(t testing.TB, answer string) string {
	t.Helper()
	out := []byte(answer)
	return script(t, func(c net.Conn, _ *bufio.Reader) {
		buf := make([]byte, 4096)
		n := 0
		for {
			m, err := c.Read(buf[n:])
			if err != nil {
				return
			}
			n += m
			if !bytes.HasSuffix(buf[:n], []byte("\r\n\r\n")) && !bytes.HasSuffix(buf[:n], []byte("body!")) {
				continue
			}
			n = 0
			if _, err := c.Write(out); err != nil {
				return
			}
		}
	})
}

// roundTrip returns what sends one request and reads its whole answer, without
// allocating.
func roundTrip(t testing.TB, r *rig, request string) func() {
	t.Helper()
	c := r.dial(t)
	out, in := []byte(request), make([]byte, 16<<10)
	if _, err := c.Write(out); err != nil {
		t.Fatal(err)
	}
	// The first answer tells how long they are: the request's id and the date
	// do not change that.
	size := 0
	for {
		n, err := c.Read(in[size:])
		if err != nil {
			t.Fatal(err)
		}
		if size += n; bytes.HasSuffix(in[:size], []byte("\r\n\r\n"+page)) || bytes.HasSuffix(in[:size], []byte("0\r\n\r\n")) {
			break
		}
	}
	return func() {
		if _, err := c.Write(out); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, in[:size]); err != nil {
			t.Fatal(err)
		}
	}
}

var page = strings.Repeat("x", 1024)

const browser = "GET /some/path?with=query HTTP/1.1\r\nHost: shop.test\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n" +
	"Accept: text/html,application/xhtml+xml\r\nAccept-Encoding: gzip, br\r\nAccept-Language: en\r\nCookie: session=0123456789\r\n" +
	"Connection: keep-alive\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n"

var shapes = []struct{ name, request, answer string }{
	{"get", browser, fmt.Sprintf("HTTP/1.1 200 OK\r\nDate: Sat\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%s", len(page), page)},
	{"chunked", browser, fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n%s\r\n0\r\n\r\n", page)},
	{"post", "POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 5\r\n\r\nbody!",
		fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(page), page)},
}

// TestAllocations holds that the usual request costs no allocation.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector a sync.Pool forgets on purpose")
	}
	for _, s := range shapes {
		t.Run(s.name, func(t *testing.T) {
			r := newRig(t, plane.Limits{}, app("shop", quietApp(t, s.answer)))
			r.sink.off.Store(true)
			one := roundTrip(t, r, s.request)
			if n := testing.AllocsPerRun(500, one); n >= 1 {
				t.Errorf("%v allocations a request", n)
			}
		})
	}
}

func BenchmarkRequest(b *testing.B) {
	for _, s := range shapes {
		b.Run(s.name, func(b *testing.B) {
			r := newRig(b, plane.Limits{}, app("shop", quietApp(b, s.answer)))
			r.sink.off.Store(true)
			one := roundTrip(b, r, s.request)
			b.ReportAllocs()
			for b.Loop() {
				one()
			}
		})
	}
}
