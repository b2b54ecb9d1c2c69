package plane_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"landward/internal/route"
	"landward/internal/route/plane"
	"landward/internal/waittest"
)

// large is a body that the kernel moves, and more than fits into all buffers on
// its way.
var large = pattern(12 << 20)

// largeApp answers with as much of large as the path says, and takes uploads
// which must be the beginning of it.
func largeApp(t testing.TB) string {
	t.Helper()
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			b, err := io.ReadAll(r.Body)
			if err != nil || !bytes.Equal(b, large[:len(b)]) {
				w.WriteHeader(http.StatusTeapot)
			}
			_, _ = fmt.Fprint(w, len(b))
			return
		}
		n := len(large)
		_, _ = fmt.Sscanf(r.URL.Path, "/%d", &n)
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Length", fmt.Sprint(n))
		_, _ = w.Write(large[:n])
	})
}

// TestLargeBodies holds that large bodies come whole, both ways, around the
// length from which the kernel moves them, and that connections go on after
// them. More go at once than there are pipes.
func TestLargeBodies(t *testing.T) {
	r := newRig(t, plane.Limits{}, app("shop", largeApp(t)))
	c := r.client(t)
	sizes := []int{16 << 10, 32 << 10, 40 << 10, 48<<10 - 1, 48 << 10, 48<<10 + 1, 64 << 10, 160 << 10, 1<<20 + 7, len(large)}
	for _, n := range sizes {
		if status, b := get(t, c, fmt.Sprintf("http://shop.test/%d", n)); status != http.StatusOK || b != string(large[:n]) {
			t.Errorf("got %d and %d bytes of %d", status, len(b), n)
		}
		resp, err := c.Post("http://shop.test/", "application/octet-stream", bytes.NewReader(large[:n]))
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || string(b) != fmt.Sprint(n) {
			t.Errorf("upload of %d: %d %q, %v", n, resp.StatusCode, b, err)
		}
	}
	for i, e := range r.sink.all() {
		n := int64(sizes[i/2])
		if i%2 == 0 && (e.Out < n || e.Out > n+1000) || i%2 == 1 && e.In != n || e.Code != "" {
			t.Errorf("entry %d of %d bytes: in %d, out %d, %s", i, n, e.In, e.Out, e.Code)
		}
	}
	if n := r.Snapshot().Connections; n > 2 {
		t.Errorf("%d connections were needed", n)
	}
	var all sync.WaitGroup
	for range 80 {
		all.Go(func() {
			const n = 700 << 10
			if status, b := get(t, c, fmt.Sprintf("http://shop.test/%d", n)); status != http.StatusOK || b != string(large[:n]) {
				t.Errorf("of many: got %d and %d bytes", status, len(b))
			}
		})
	}
	all.Wait()
}

// TestUploadThenNext holds that what comes behind a large body is the next
// request.
func TestUploadThenNext(t *testing.T) {
	r := newRig(t, plane.Limits{}, app("shop", largeApp(t)))
	c := r.parkable(t)
	const n = 3 << 20
	go func() {
		_, _ = fmt.Fprintf(c.Conn, "POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: %d\r\n\r\n", n)
		_, _ = c.Write(large[:n])
		_, _ = io.WriteString(c.Conn, "GET /5 HTTP/1.1\r\nHost: shop.test\r\n\r\n")
	}()
	for _, want := range []string{fmt.Sprint(n), string(large[:5])} {
		resp, err := http.ReadResponse(c.br, nil)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(resp.Body); err != nil || string(b) != want {
			t.Errorf("got %q, %v, want %q", b, err, want)
		}
	}
}

// TestLargeTorn holds that a large body that is torn is seen to be, on whichever
// side, and that nothing of it gets into another.
func TestLargeTorn(t *testing.T) {
	torn := app("torn", script(t, func(c net.Conn, br *bufio.Reader) {
		_, _ = readHead(br)
		_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(large))
		_, _ = c.Write(large[:1<<20])
	}))
	deaf := app("deaf", script(t, func(c net.Conn, br *bufio.Reader) {
		_, _ = readHead(br)
		_, _ = io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
	}))
	torn.AppID, deaf.AppID = 8, 9
	r := newRig(t, plane.Limits{}, app("shop", largeApp(t)), torn, deaf)
	for i := range 10 {
		got := r.raw(t, "GET / HTTP/1.1\r\nHost: torn.test\r\n\r\n")
		if _, body, _ := strings.Cut(got, "\r\n\r\n"); len(body) > 1<<20 || !strings.HasPrefix(string(large), body) {
			t.Errorf("torn by the app: %d bytes, or others", len(body))
		}
		waittest.Eventually(t, "it is noted", func() bool {
			n := 0
			for _, e := range r.sink.all() {
				if e.Code == route.CodeReset {
					n++
				}
			}
			return n == i+1
		})

		c := r.dial(t) // goes away while the pipe is full
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n")
		if _, err := io.ReadFull(c, make([]byte, 100<<10)); err != nil {
			t.Fatal(err)
		}
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()

		up := r.dial(t) // goes away in the middle of its upload
		_, _ = fmt.Fprintf(up, "POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: %d\r\n\r\n", len(large))
		_, _ = up.Write(large[:1<<20])
		_ = up.Close()

		early := r.dial(t) // is refused in the middle of it
		_, _ = fmt.Fprintf(early, "POST / HTTP/1.1\r\nHost: deaf.test\r\nContent-Length: %d\r\n\r\n", len(large))
		go func() { _, _ = early.Write(large) }()
		if line, err := bufio.NewReader(early).ReadString('\n'); err != nil || !strings.Contains(line, " 413 ") {
			t.Errorf("refused upload got %q, %v", line, err)
		}
		_ = early.Close()

		const n = 1<<20 + 1
		if status, b := get(t, r.client(t), fmt.Sprintf("http://shop.test/%d", n)); status != http.StatusOK || b != string(large[:n]) {
			t.Fatalf("after it: %d and %d bytes", status, len(b))
		}
	}
}

// TestLargeSlow holds that a client which reads slowly gets all of a large body,
// and one that does not read at all is cut.
func TestLargeSlow(t *testing.T) {
	const limit = 800 * time.Millisecond
	r := newRig(t, plane.Limits{WriteTimeout: limit}, app("shop", largeApp(t)))
	c := r.dial(t)
	_ = c.(*net.TCPConn).SetReadBuffer(64 << 10)
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n")
	br := bufio.NewReader(c)
	if _, err := readHead(br); err != nil {
		t.Fatal(err)
	}
	// In all it takes several times the limit, but there is always some progress.
	tick := time.NewTicker(limit / 20)
	defer tick.Stop()
	var got bytes.Buffer
	for got.Len() < len(large) {
		if _, err := io.CopyN(&got, br, min(200<<10, int64(len(large)-got.Len()))); err != nil {
			t.Fatalf("after %d bytes: %v", got.Len(), err)
		}
		<-tick.C
	}
	if !bytes.Equal(got.Bytes(), large) {
		t.Error("other bytes")
	}
	if e := r.sink.last(t, 1); e.Code != "" || e.Total < 2*limit {
		t.Errorf("entry %+v", e)
	}
	stuck := r.dial(t)
	_, _ = io.WriteString(stuck, "GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n")
	if e := r.sink.last(t, 2); e.Code != route.CodeSlow {
		t.Errorf("entry %+v", e)
	}
	if _, err := io.Copy(io.Discard, stuck); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("the stuck client was told that its answer is whole: %v", err)
	}
}

// BenchmarkLarge reports the processor time of a body of 10 MiB, with that of
// the app and the client, which only move bytes.
func BenchmarkLarge(b *testing.B) {
	const n = 10 << 20
	head := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", n)
	addr := script(b, func(c net.Conn, _ *bufio.Reader) {
		br := bufio.NewReaderSize(c, 256<<10)
		for {
			line, err := readHead(br)
			if err != nil {
				return
			}
			if strings.HasPrefix(line, "POST") {
				_, _ = io.CopyN(io.Discard, br, n)
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				continue
			}
			_, _ = c.Write(head)
			_, _ = c.Write(large[:n])
		}
	})
	r := newRig(b, plane.Limits{}, app("shop", addr))
	r.sink.off.Store(true)
	for name, request := range map[string]string{
		"download": "GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n",
		"upload":   fmt.Sprintf("POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: %d\r\n\r\n", n),
	} {
		b.Run(name, func(b *testing.B) {
			c := r.dial(b)
			br := bufio.NewReaderSize(c, 256<<10)
			b.SetBytes(n)
			before := processorTime(b)
			for b.Loop() {
				_, _ = io.WriteString(c, request)
				if name == "upload" {
					_, _ = c.Write(large[:n])
				}
				resp, err := http.ReadResponse(br, nil)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, resp.Body); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64((processorTime(b)-before).Microseconds())/float64(b.N), "cpu-us/op")
		})
	}
}

func processorTime(t testing.TB) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
