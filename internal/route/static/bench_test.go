package static_test

import (
	"io"
	"net"
	"testing"

	"landward/internal/route/static"
)

func benchSite(b *testing.B) *static.Site {
	return site(b, map[string]string{
		"index.html": noise(5000), "app.3f2a9c1b.js": noise(30_000), "app.3f2a9c1b.js.br": noise(9000),
		"big.bin": noise(1 << 20),
	})
}

func BenchmarkAnswer(b *testing.B) {
	s := benchSite(b)
	tag := ask(b, s, "GET", "/index.html").header.Get("ETag")
	for name, r := range map[string]*static.Request{
		"200 memory":  request("GET", "/"),
		"200 variant": request("GET", "/app.3f2a9c1b.js", "Accept-Encoding: gzip, deflate, br, zstd"),
		"200 file":    request("GET", "/big.bin"),
		"206 file":    request("GET", "/big.bin", "Range: bytes=1000-"),
		"206 parts":   request("GET", "/big.bin", "Range: bytes=0-1,5-9"),
		"304":         request("GET", "/", "If-None-Match: "+tag),
		"404":         request("GET", "/nothing/here.html"),
	} {
		b.Run(name, func(b *testing.B) {
			var a static.Answer
			defer a.Release()
			b.ReportAllocs()
			for b.Loop() {
				s.Answer(&a, r)
			}
		})
	}
}

// drained returns a connection whose other end takes everything.
func drained(b *testing.B) net.Conn {
	client, server := pair(b)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(io.Discard, struct{ io.Reader }{client})
	}()
	b.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return server
}

func BenchmarkSend(b *testing.B) {
	s := benchSite(b)
	head := []byte("HTTP/1.1 200 OK\r\n\r\n")
	for name, target := range map[string]string{"5K memory": "/", "30K": "/app.3f2a9c1b.js", "1M": "/big.bin"} {
		for _, way := range []string{"kernel", "copy"} {
			b.Run(name+" "+way, func(b *testing.B) {
				c := drained(b)
				if way == "copy" {
					c = struct{ net.Conn }{c}
				}
				r := request("GET", target)
				var a static.Answer
				defer a.Release()
				b.ReportAllocs()
				for b.Loop() {
					s.Answer(&a, r)
					for h := head; a.Left() > 0; h = nil {
						if _, err := a.Send(c, h, 1<<20); err != nil {
							b.Fatal(err)
						}
					}
				}
			})
		}
	}
}
