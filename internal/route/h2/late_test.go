package h2_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"

	"golang.org/x/net/http2"

	"landward/internal/route/h2"
	"landward/internal/route/h2/lane/lanetest"
)

// TestLate: a connection whose handshake ends when the server has begun to leave
// is answered, and then told to go elsewhere. One that asks nothing is told so
// after a while.
func TestLate(t *testing.T) {
	for _, asks := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			app := &lanetest.App{}
			s := h2.New(h2.Options{Log: slog.New(slog.DiscardHandler), Hand: app.Hand})
			s.Shutdown(t.Context())
			client, server := net.Pipe()
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				s.ServeConn(server)
			}()
			p := newPeer(t, client)
			out := make(chan string, 10) // a pipe has no room of its own
			go func() {
				for text := range out {
					_, _ = io.WriteString(client, text)
				}
			}()
			out <- http2.ClientPreface + raw(4, 0, 0, "")
			synctest.Wait() // it is on its way before the peer acknowledges the server's settings
			left := 0
			if asks {
				out <- raw(1, 5, 1, string(p.block(ask("GET", "/hello")...)))
			}
			all := p.until(false, func(f http2.Frame, all map[uint32]*answer) bool {
				if g, ok := f.(*http2.GoAwayFrame); ok && g.ErrCode == http2.ErrCodeNo {
					left++
				}
				return left == 2 && (!asks || all[1] != nil && all[1].ended)
			})
			if asks && all[1].body != "hello, /hello" {
				t.Errorf("%+v", all[1])
			}
			close(out)
			_ = client.Close()
			<-ended
		})
	}
}

// TestTooLate: after the time that Shutdown had nobody is served.
func TestTooLate(t *testing.T) {
	s := h2.New(h2.Options{Log: slog.New(slog.DiscardHandler), Hand: func(c net.Conn) { _ = c.Close() }})
	over, cancel := context.WithCancel(t.Context())
	cancel()
	s.Shutdown(over)
	client, server := net.Pipe()
	served := make(chan struct{})
	go func() {
		defer close(served)
		s.ServeConn(server)
	}()
	if b, err := io.ReadAll(client); len(b) > 0 || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	<-served
}
