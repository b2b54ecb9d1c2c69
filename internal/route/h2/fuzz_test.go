package h2_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"

	"landward/internal/route/h2"
	"landward/internal/route/wire"
)

// strict reads requests as the plane does and counts them. It fails where a
// head is not what the door may write.
type strict struct {
	t        *testing.T
	requests atomic.Int64
}

// refusals are the ones that the door leaves to who serves the lane.
var refusals = []error{wire.ErrTarget, wire.ErrHost, wire.ErrMethod, wire.ErrFieldCount, wire.ErrExpect, wire.ErrRequestLine}

func (s *strict) hand(c net.Conn) {
	defer func() { _ = c.Close() }()
	var buf []byte
	fill := func() bool {
		b := make([]byte, 512)
		n, err := c.Read(b)
		buf = append(buf, b[:n]...)
		return err == nil
	}
	for {
		end, err := wire.HeadEnd(buf, 0)
		if err != nil {
			s.t.Errorf("%v in %q", err, buf)
			return
		}
		if end == 0 {
			if !fill() {
				return
			}
			continue
		}
		s.requests.Add(1)
		var req wire.Request
		if err := req.Parse(buf[:end]); err != nil {
			for _, e := range refusals {
				if errors.Is(err, e) {
					return
				}
			}
			s.t.Errorf("%v in %q", err, buf[:end])
			return
		}
		upgrade := req.WebSocket()
		left, chunked := req.Length(), req.Chunked()
		var chunks wire.Chunks
		for buf = buf[end:]; chunked && !chunks.Done() || !chunked && int64(len(buf)) < left; {
			if chunked {
				_, n, err := chunks.Next(buf)
				if err != nil {
					s.t.Errorf("%v in %q", err, buf)
					return
				}
				if buf = buf[n:]; n > 0 {
					continue
				}
			}
			if !fill() {
				return
			}
		}
		if !chunked {
			buf = buf[left:]
		}
		if len(buf) > 0 {
			s.t.Errorf("%q after a request", buf)
			return
		}
		if upgrade {
			_, _ = io.WriteString(c, "HTTP/1.1 404 None\r\nContent-Length: 0\r\n\r\n")
		} else if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"); err != nil {
			return
		}
	}
}

// FuzzConn holds that no frames make a lane carry anything but the requests
// that were opened, each within its borders, and that nothing is left behind.
func FuzzConn(f *testing.F) {
	seed := func(send func(p *peer)) {
		a, b := net.Pipe()
		got := make(chan []byte)
		go func() {
			all, _ := io.ReadAll(b)
			got <- all
		}()
		send(newPeer(f, a))
		_ = a.Close()
		f.Add(<-got)
	}
	seed(func(p *peer) { p.get(1, "/hello"); p.get(3, "/other") })
	seed(func(p *peer) {
		p.headers(1, false, ask("POST", "/count", "content-length 4")...)
		p.write(raw(0, 1, 1, "body"))
	})
	seed(func(p *peer) {
		p.headers(1, false, ask("POST", "/count")...)
		p.write(raw(0, 8, 1, "\x02GET / HTTP/1.1\r\n\r\n\x00\x00") + raw(0, 0, 1, ""))
		p.headers(1, true, "x-sum 1")
	})
	seed(func(p *peer) {
		p.headers(1, false, connect("cookie a", "cookie b")...)
		p.write(raw(0, 1, 1, "GET / HTTP/1.1\r\nHost: x\r\n\r\n") + raw(3, 0, 1, u32(8)))
	})
	seed(func(p *peer) {
		p.write(raw(4, 0, 0, "\x00\x04\x00\x00\x00\x01") + raw(1, 1, 1, "\x82\x84") + raw(9, 4, 1, "\x86\x41\x01a") +
			raw(8, 0, 0, u32(9)) + raw(7, 0, 0, u32(0)+u32(0)))
	})
	f.Fuzz(func(t *testing.T, frames []byte) {
		s := &strict{t: t}
		server := h2.New(h2.Options{Log: slog.New(slog.DiscardHandler), Hand: s.hand})
		a, b := net.Pipe()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			server.ServeConn(b)
		}()
		go func() { _, _ = io.Copy(io.Discard, a) }()
		_, _ = io.WriteString(a, http2.ClientPreface+raw(4, 0, 0, ""))
		_, _ = a.Write(frames)
		_ = a.Close()
		<-ended
		if most := int64(bytes.Count(frames, []byte{1})); s.requests.Load() > most {
			t.Errorf("%d requests of %d frames", s.requests.Load(), most)
		}
	})
}
