package h2_test

import (
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"

	"landward/internal/route/h2"
	"landward/internal/route/h2/lane/lanetest"
	"landward/internal/waittest"
)

// TestFloods holds that a client that only costs is told to calm down.
func TestFloods(t *testing.T) {
	limits := h2.Limits{Resets: 50, Noise: 300, Streams: 20}
	tests := []struct {
		name string
		each func(p *peer, i int) string
	}{
		{"ping", func(*peer, int) string { return raw(6, 0, 0, "12345678") }},
		{"ping ack", func(*peer, int) string { return raw(6, 1, 0, "12345678") }},
		{"settings", func(*peer, int) string { return raw(4, 0, 0, "") }},
		{"settings ack", func(*peer, int) string { return raw(4, 1, 0, "") }},
		{"priority", func(*peer, int) string { return raw(2, 0, 5, "\x00\x00\x00\x00\x00") }},
		{"unknown", func(*peer, int) string { return raw(99, 0, 0, "") }},
		{"window update", func(*peer, int) string { return raw(8, 0, 0, "\x00\x00\x00\x01") }},
		{"empty data", func(p *peer, i int) string {
			if i == 0 {
				p.headers(1, false, ask("POST", "/count")...)
			}
			return raw(0, 0, 1, "")
		}},
		{"padding only", func(p *peer, i int) string {
			if i == 0 {
				p.headers(1, false, ask("POST", "/count")...)
			}
			return raw(0, 8, 1, "\x02\x00\x00")
		}},
		{"rapid reset", func(p *peer, i int) string {
			p.get(uint32(2*i+1), "/wait")
			return raw(3, 0, uint32(2*i+1), "\x00\x00\x00\x08")
		}},
		{"made to reset", func(p *peer, i int) string {
			p.get(uint32(2*i+1), "/wait")
			return raw(8, 0, uint32(2*i+1), "\x00\x00\x00\x00")
		}},
		{"malformed requests", func(p *peer, i int) string {
			p.get(uint32(2*i+1), "nonsense")
			return ""
		}},
		{"reset of closed streams", func(p *peer, i int) string {
			if i == 0 {
				p.get(1, "/hello")
			}
			return raw(3, 0, 1, "\x00\x00\x00\x08")
		}},
		{"continuations", func(p *peer, i int) string {
			if i == 0 {
				return raw(1, 0, 1, "\x82")
			}
			return raw(9, 0, 1, "")
		}},
		{"too many streams", func(p *peer, i int) string {
			p.get(uint32(2*i+1), "/wait")
			return ""
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, limits, false)
			p := r.dial(t)
			p.until(false, func(f http2.Frame, _ map[uint32]*answer) bool {
				s, ok := f.(*http2.SettingsFrame)
				return ok && s.IsAck()
			})
			done := make(chan struct{})
			go func() {
				defer close(done)
				// The end may come as a reset: what is left to send is not read.
				q := *p
				q.t = quiet{t}
				for i := range 1000 {
					if _, err := io.WriteString(p.c, tt.each(&q, i)); err != nil {
						return
					}
				}
			}()
			p.wantGoAway(http2.ErrCodeEnhanceYourCalm)
			_ = p.c.Close()
			<-done
			r.stop()
			if n := r.app.Conns.Load(); n > 200 {
				t.Errorf("the app saw %d lanes", n)
			}
		})
	}
}

// quiet is a testing.TB for a goroutine that may fail: its end is the test's
// business.
type quiet struct{ testing.TB }

func (quiet) Helper()               {}
func (quiet) Fatal(...any)          {}
func (quiet) Fatalf(string, ...any) {}

// TestHeaderBlockBounded holds that a header block may not grow for ever.
func TestHeaderBlockBounded(t *testing.T) {
	r := newRig(t, h2.Limits{Header: 32 << 10}, false)
	p := r.dial(t)
	p.write(raw(1, 0, 1, "\x82"))
	for range 3 {
		p.write(raw(9, 0, 1, strings.Repeat("\x82", 15<<10)))
	}
	p.wantGoAway(http2.ErrCodeEnhanceYourCalm)
}

// TestBomb holds that a small block that means a large head costs little
// and is answered with 431.
func TestBomb(t *testing.T) {
	r := newRig(t, h2.Limits{}, false)
	p := r.dial(t)
	block := p.block(ask("GET", "/", "x-bomb "+strings.Repeat("y", 3900))...)
	block = append(block, strings.Repeat("\xbe", 12000)...) // the newest entry, again and again
	p.must(p.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndStream: true, EndHeaders: true}))
	if a := p.ended(1); a.status() != "431" {
		t.Errorf("%+v", a)
	}
	p.get(3, "/hello")
	if a := p.ended(3); a.body != "hello, /hello" {
		t.Errorf("afterwards: %+v", a)
	}
}

// TestStreamsBounded holds that there is no more at once than we said.
func TestStreamsBounded(t *testing.T) {
	r := newRig(t, h2.Limits{Streams: 3}, false)
	p := r.dial(t)
	announced := uint32(0)
	p.until(false, func(f http2.Frame, _ map[uint32]*answer) bool {
		s, ok := f.(*http2.SettingsFrame)
		if ok && !s.IsAck() {
			announced, _ = s.Value(http2.SettingMaxConcurrentStreams)
		}
		return ok
	})
	if announced != 3 {
		t.Errorf("announced %d streams", announced)
	}
	for i := range 4 {
		p.headers(uint32(2*i+1), false, ask("POST", "/echo")...)
	}
	p.wantReset(7, http2.ErrCodeRefusedStream)
	p.write(raw(0, 1, 1, ""))
	p.ended(1)
	p.get(9, "/hello")
	if a := p.ended(9); a.body != "hello, /hello" {
		t.Errorf("%+v", a)
	}
}

// bubble serves one connection in a test's own time.
func bubble(t *testing.T, l h2.Limits) (p *peer, app *lanetest.App, ended chan struct{}, s *h2.Server) {
	t.Helper()
	app = &lanetest.App{}
	s = h2.New(h2.Options{Log: slog.New(slog.DiscardHandler), Limits: l, Hand: app.Hand})
	client, server := net.Pipe()
	ended = make(chan struct{})
	go func() {
		defer close(ended)
		s.ServeConn(server)
	}()
	return newPeer(t, client), app, ended, s
}

// drain reads what comes until the end and returns the last GOAWAY.
func drain(c net.Conn) chan *http2.GoAwayFrame {
	out := make(chan *http2.GoAwayFrame, 1)
	go func() {
		fr := http2.NewFramer(nil, c)
		var last *http2.GoAwayFrame
		for {
			f, err := fr.ReadFrame()
			if err != nil {
				out <- last
				return
			}
			if g, ok := f.(*http2.GoAwayFrame); ok {
				last = g
			}
		}
	}()
	return out
}

func TestSlowClients(t *testing.T) {
	for _, tt := range []struct {
		name   string
		send   string
		within time.Duration
		code   http2.ErrCode
	}{
		{"silent", "", 12 * time.Second, http2.ErrCodeEnhanceYourCalm},
		{"half a preface", "PRI * HTTP", 12 * time.Second, http2.ErrCodeEnhanceYourCalm},
		{"no settings", http2.ClientPreface, 12 * time.Second, http2.ErrCodeEnhanceYourCalm},
		{"half a head", http2.ClientPreface + raw(4, 0, 0, "") + raw(1, 1, 1, "\x82"), 12 * time.Second, http2.ErrCodeEnhanceYourCalm},
		{"idle", http2.ClientPreface + raw(4, 0, 0, ""), 77 * time.Second, http2.ErrCodeNo},
		{"half a frame", http2.ClientPreface + raw(4, 0, 0, "") + "\x00\x00", 77 * time.Second, http2.ErrCodeNo},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, _, ended, _ := bubble(t, h2.Limits{})
				goAway := drain(p.c)
				if tt.send != "" {
					p.write(tt.send)
				}
				begun := time.Now()
				<-ended
				if took := time.Since(begun); took > tt.within || took < tt.within-5*time.Second {
					t.Errorf("ended after %v", took)
				}
				if g := <-goAway; g == nil || g.ErrCode != tt.code {
					t.Errorf("GOAWAY %v, want %v", g, tt.code)
				}
			})
		})
	}
}

// TestClientThatDoesNotRead is cut off, however many windows it opens.
func TestClientThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, app, ended, _ := bubble(t, h2.Limits{})
		begun := time.Now()
		p.write(http2.ClientPreface + raw(4, 0, 0, "\x00\x04\x7f\xff\xff\xff"))
		p.get(1, "/bytes?100000000")
		<-ended
		if took := time.Since(begun); took > 65*time.Second || took < 55*time.Second {
			t.Errorf("ended after %v", took)
		}
		if app.Open.Load() != 0 {
			t.Error("a lane is left")
		}
	})
}

// TestLanesAreGivenBack holds that a burst does not hold its lanes for long.
func TestLanesAreGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, app, ended, _ := bubble(t, h2.Limits{})
		goAway := drain(p.c)
		p.write(http2.ClientPreface + raw(4, 0, 0, ""))
		for i := range 20 {
			p.get(uint32(2*i+1), "/hello")
		}
		synctest.Wait()
		if n := app.Open.Load(); n == 0 {
			t.Error("no lane is kept")
		}
		<-time.After(15 * time.Second)
		synctest.Wait()
		if n := app.Open.Load(); n != 0 {
			t.Errorf("%d lanes kept", n)
		}
		_ = p.c.Close()
		<-ended
		<-goAway
	})
}

// TestGoAway holds that leaving is told twice, that what was on its way is
// served, and that what comes after is not.
func TestGoAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, app, ended, s := bubble(t, h2.Limits{})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		next := func() (http2.Frame, uint32) {
			for {
				f, err := p.fr.ReadFrame()
				p.must(err)
				if g, ok := f.(*http2.GoAwayFrame); ok {
					return f, g.LastStreamID
				}
				if f.Header().Type == http2.FramePing || f.Header().Type == http2.FrameRSTStream {
					return f, 0
				}
				if d, ok := f.(*http2.DataFrame); ok && d.StreamEnded() {
					return f, 0
				}
			}
		}
		p.write(http2.ClientPreface)
		if _, err := p.fr.ReadFrame(); err != nil { // it is there
			t.Fatal(err)
		}
		go s.Shutdown(ctx)
		go func() { _, _ = io.WriteString(p.c, raw(4, 0, 0, "")) }()
		if _, last := next(); last != 1<<31-1 {
			t.Errorf("first GOAWAY says %d", last)
		}
		ping, _ := next()
		if ping.Header().Type != http2.FramePing {
			t.Fatalf("%v", ping)
		}
		p.headers(1, false, ask("POST", "/count")...) // on its way
		begun := time.Now()
		p.must(p.fr.WritePing(true, ping.(*http2.PingFrame).Data))
		if _, last := next(); last != 1 || time.Since(begun) > 0 {
			t.Errorf("second GOAWAY says %d", last)
		}
		p.get(3, "/hello") // comes after
		p.write(raw(0, 1, 1, "xyz"))
		if f, _ := next(); f.Header().StreamID != 1 || string(f.(*http2.DataFrame).Data()) != "3" {
			t.Errorf("%v", f)
		}
		<-ended
		if n := app.Requests.Load(); n != 1 {
			t.Errorf("%d requests were served", n)
		}
		_ = p.c.Close()
	})
}

// TestShutdownCuts holds that the end of the time is the end.
func TestShutdownCuts(t *testing.T) {
	r := newRig(t, h2.Limits{}, false)
	p := r.dial(t)
	p.get(1, "/wait")
	waittest.Eventually(t, "request", func() bool { return r.app.Requests.Load() == 1 })
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	r.Shutdown(ctx)
	if r.app.Open.Load() != 0 {
		t.Error("a lane is left")
	}
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if b, _ := io.ReadAll(c); len(b) > 0 {
		t.Errorf("served after shutdown: %x", b)
	}
}

// u32 is a number in four bytes.
func u32(n int) string { return string(binary.BigEndian.AppendUint32(nil, uint32(n))) }
