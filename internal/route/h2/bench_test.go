package h2_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"

	"golang.org/x/net/http2/hpack"

	"landward/internal/route/h2"
)

// burst sends many requests at once and reads all answers, without decoding
// more than it must.
type burst struct {
	c      net.Conn
	frames []byte // n HEADERS of the same request
	each   int    // bytes of one
	n      int
	next   uint32
	buf    []byte
}

func newBurst(b testing.TB, c net.Conn, n int) *burst {
	b.Helper()
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	enc.SetMaxDynamicTableSize(0)
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":path", "/hello"}, {":authority", "shop.test"},
		{"user-agent", "Mozilla/5.0 (X11; Linux x86_64)"}, {"accept-encoding", "gzip, deflate"}, {"cookie", "session=0123456789"}} {
		if err := enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
			b.Fatal(err)
		}
	}
	x := &burst{c: c, n: n, next: 1, each: 9 + block.Len(), buf: make([]byte, 64<<10)}
	for range n {
		x.frames = append(x.frames, 0, byte(block.Len()>>8), byte(block.Len()), 1, 5, 0, 0, 0, 0)
		x.frames = append(x.frames, block.Bytes()...)
	}
	// The preface, SETTINGS, and a window that lasts.
	hello := []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00" +
		"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x7f\x00\x00\x00")
	if _, err := c.Write(hello); err != nil {
		b.Fatal(err)
	}
	return x
}

// round sends n requests and reads n answers.
func (x *burst) round(b testing.TB) {
	for i := range x.n {
		binary.BigEndian.PutUint32(x.frames[i*x.each+5:], x.next)
		x.next += 2
	}
	if _, err := x.c.Write(x.frames); err != nil {
		b.Fatal(err)
	}
	have := 0
	for ended := 0; ended < x.n; {
		m, err := x.c.Read(x.buf[have:])
		if err != nil {
			b.Fatal(err)
		}
		have += m
		at := 0
		for have-at >= 9 {
			size := 9 + int(x.buf[at])<<16 + int(x.buf[at+1])<<8 + int(x.buf[at+2])
			if have-at < size {
				break
			}
			switch kind := x.buf[at+3]; {
			case kind == 3 || kind == 7:
				b.Fatalf("%q", x.buf[at:at+size])
			case kind <= 1 && x.buf[at+4]&1 != 0:
				ended++
			}
			at += size
		}
		have = copy(x.buf, x.buf[at:have])
	}
}

// quietApp answers every request with the same bytes and allocates nothing.
func quietApp(c net.Conn) {
	defer func() { _ = c.Close() }()
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: Sat, 01 Jan 2000 00:00:00 GMT\r\n" +
		"X-Request-Id: 0123456789abcdef0123456789abcdef\r\nContent-Length: 13\r\n\r\nhello, world\n")
	buf := make([]byte, 4096)
	for n := 0; ; {
		m, err := c.Read(buf[n:])
		if err != nil {
			return
		}
		if n += m; !bytes.HasSuffix(buf[:n], []byte("\r\n\r\n")) {
			continue
		}
		n = 0
		if _, err := c.Write(answer); err != nil {
			return
		}
	}
}

// reference serves the same with net/http, without any proxying.
func reference(b testing.TB) string {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := &http.Server{Protocols: new(http.Protocols), ReadHeaderTimeout: patience,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("X-Request-Id", "0123456789abcdef0123456789abcdef")
			_, _ = io.WriteString(w, "hello, world\n")
		})}
	s.Protocols.SetUnencryptedHTTP2(true)
	var served sync.WaitGroup
	served.Go(func() { _ = s.Serve(ln) })
	b.Cleanup(func() {
		_ = s.Close()
		served.Wait()
	})
	return ln.Addr().String()
}

// BenchmarkGets is 100 small GETs at once on one connection, per op.
func BenchmarkGets(b *testing.B) {
	const n = 100
	for _, server := range []struct {
		name string
		addr func() string
	}{
		{"landward", func() string { return newRigFor(b, h2.Limits{}, false, quietApp).addr }},
		{"nethttp", func() string { return reference(b) }},
	} {
		b.Run(server.name, func(b *testing.B) {
			c, err := net.Dial("tcp", server.addr())
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			x := newBurst(b, c, n)
			x.round(b)
			b.ReportAllocs()
			for b.Loop() {
				x.round(b)
			}
		})
	}
}
