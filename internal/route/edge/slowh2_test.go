package edge_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"landward/internal/waittest"
)

// framer is a client of HTTP/2 that sends what a test wants.
type framer struct {
	*http2.Framer
	t   *testing.T
	c   net.Conn
	buf bytes.Buffer
	enc *hpack.Encoder
	dec *hpack.Decoder
}

// h2 connects and agrees on HTTP/2, and says nothing more.
func (r *running) h2(t *testing.T) *framer {
	t.Helper()
	config := &tls.Config{ServerName: "shop.test", RootCAs: r.localRoots(t), NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12}
	for end := time.Now().Add(patience); ; {
		c, err := tls.Dial("tcp", r.SecureAddr().String(), config)
		if err == nil {
			t.Cleanup(func() { _ = c.Close() })
			_ = c.SetDeadline(time.Now().Add(patience))
			f := &framer{Framer: http2.NewFramer(c, c), t: t, c: c, dec: hpack.NewDecoder(4096, nil)}
			f.AllowIllegalWrites = true
			f.enc = hpack.NewEncoder(&f.buf)
			return f
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// must says what came before it failed.
func (f *framer) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// hello sends the preface with these settings.
func (f *framer) hello(settings ...http2.Setting) {
	f.t.Helper()
	write(f.t, f.c, http2.ClientPreface)
	f.must(f.WriteSettings(settings...))
}

// head encodes a request's head.
func (f *framer) head(method, path string, more ...string) []byte {
	f.t.Helper()
	f.buf.Reset()
	fields := append([]string{":method", method, ":scheme", "https", ":authority", "shop.test", ":path", path}, more...)
	for i := 0; i < len(fields); i += 2 {
		f.must(f.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}))
	}
	return bytes.Clone(f.buf.Bytes())
}

// request sends a request's head.
func (f *framer) request(id uint32, end bool, method, path string, more ...string) {
	f.t.Helper()
	f.must(f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: f.head(method, path, more...), EndStream: end, EndHeaders: true}))
}

// heard is what the edge has sent.
type heard struct {
	status map[uint32]string // of each stream
	over   map[uint32]bool   // streams that have ended, or were reset
	away   bool              // it has sent GOAWAY
	ended  bool              // it has ended the connection
}

// until reads frames until ok, or the end of the connection. It answers none:
// what a test sends byte by byte must not be mixed with anything.
func (f *framer) until(ok func(h *heard) bool) *heard {
	f.t.Helper()
	h := &heard{status: map[uint32]string{}, over: map[uint32]bool{}}
	for !ok(h) {
		fr, err := f.ReadFrame()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			f.t.Fatalf("the connection goes on, after %+v", h)
		}
		if err != nil {
			h.ended = true
			return h
		}
		switch fr := fr.(type) {
		case *http2.HeadersFrame:
			fields, err := f.dec.DecodeFull(fr.HeaderBlockFragment())
			f.must(err)
			for _, field := range fields {
				if field.Name == ":status" {
					h.status[fr.StreamID] = field.Value
				}
			}
			h.over[fr.StreamID] = fr.StreamEnded()
		case *http2.DataFrame:
			h.over[fr.StreamID] = fr.StreamEnded()
		case *http2.RSTStreamFrame:
			h.over[fr.StreamID] = true
		case *http2.GoAwayFrame:
			h.away = true
		}
	}
	return h
}

func (f *framer) untilEnd() *heard {
	f.t.Helper()
	return f.until(func(*heard) bool { return false })
}

// TestSlowHTTP2: likewise in every phase of HTTP/2.
func TestSlowHTTP2(t *testing.T) {
	r := besieged(t, impatient)
	a := newSlowApp(t)
	r.apply(t, shop(a.addr))
	before := settled(t, r)
	ends := map[string]*framer{}
	for name, do := range map[string]func(t *testing.T, f *framer){
		"no preface":          func(*testing.T, *framer) {},
		"half a preface":      func(t *testing.T, f *framer) { write(t, f.c, http2.ClientPreface[:10]) },
		"preface by the byte": func(t *testing.T, f *framer) { trickle(t, f.c, http2.ClientPreface, "") },
		"no SETTINGS":         func(t *testing.T, f *framer) { write(t, f.c, http2.ClientPreface) },
		"half of SETTINGS":    func(t *testing.T, f *framer) { write(t, f.c, http2.ClientPreface+"\x00\x00\x06\x04\x00") },
		"no request":          func(_ *testing.T, f *framer) { f.hello() },
		"half a frame":        func(t *testing.T, f *framer) { f.hello(); write(t, f.c, "\x00\x01\x00\x01\x05\x00\x00\x00\x01\x82") },
		"a frame by the byte": func(t *testing.T, f *framer) {
			f.hello()
			trickle(t, f.c, "\x00\x40\x00\x01\x05\x00\x00\x00\x01", "\x82")
		},
		"half a header block": func(_ *testing.T, f *framer) {
			f.hello()
			f.must(f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: f.head("GET", "/a")[:5], EndStream: true}))
		},
		"a header block without end": func(t *testing.T, f *framer) {
			f.hello()
			f.must(f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: f.head("GET", "/a")[:5], EndStream: true}))
			trickle(t, f.c, "", "\x00\x00\x00\x09\x00\x00\x00\x00\x01")
		},
		"idle after an answer": func(_ *testing.T, f *framer) { f.hello(); f.request(1, true, "GET", "/a") },
		"PING alone": func(t *testing.T, f *framer) {
			f.hello()
			trickle(t, f.c, "", "\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678")
		},
		"no body":             func(_ *testing.T, f *framer) { f.hello(); f.request(1, false, "POST", "/a") },
		"no body of a length": func(_ *testing.T, f *framer) { f.hello(); f.request(1, false, "POST", "/a", "content-length", "9") },
		"half a body": func(_ *testing.T, f *framer) {
			f.hello()
			f.request(1, false, "POST", "/a", "content-length", "9")
			f.must(f.WriteData(1, false, []byte("hell")))
		},
		"a body of nothing": func(t *testing.T, f *framer) {
			f.hello()
			f.request(1, false, "POST", "/a")
			trickle(t, f.c, "", "\x00\x00\x00\x00\x00\x00\x00\x00\x01")
		},
		"a window that stays shut": func(_ *testing.T, f *framer) {
			f.hello(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
			f.request(1, true, "GET", "/endless/window")
		},
		"a window that opens by a byte": func(_ *testing.T, f *framer) {
			f.hello(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
			f.request(1, true, "GET", "/endless/byte")
		},
		"a window of the connection that stays shut": func(_ *testing.T, f *framer) {
			f.hello(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30})
			f.request(1, true, "GET", "/endless/conn")
		},
	} {
		f := r.h2(t)
		do(t, f)
		ends[name] = f
	}
	r.serves(t)
	for name, f := range ends {
		t.Run(name, func(t *testing.T) {
			h := f.untilEnd()
			if strings.Contains(name, "body") && h.status[1] != "408" {
				t.Errorf("%+v, want 408", h)
			}
			if strings.Contains(name, "window") && !h.over[1] {
				t.Errorf("%+v, want the stream's end", h)
			}
		})
	}
	for range 3 { // those with windows
		a.floods(t)
	}
	t.Run("reads nothing", func(t *testing.T) {
		f := r.h2(t)
		f.hello(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30})
		f.must(f.WriteWindowUpdate(0, 1<<30))
		f.request(1, true, "GET", "/endless/read")
		a.floods(t)
		waittest.Eventually(t, "end of the connection", func() bool { return r.connections(t) == 0 })
	})
	released(t, r, before)
}

// TestSlowHTTP3: likewise over QUIC, as far as a client can be slow there.
func TestSlowHTTP3(t *testing.T) {
	r := besieged(t, impatient)
	a := newSlowApp(t)
	r.apply(t, shop(a.addr))
	roots := r.localRoots(t)
	before := settled(t, r)
	// The connection itself is kept alive: nothing ends because of silence.
	dial := func(t *testing.T) *quic.Conn {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		for {
			c, err := quic.DialAddr(ctx, r.SecureAddr().String(), &tls.Config{ServerName: "shop.test", RootCAs: roots, NextProtos: []string{http3.NextProtoH3}},
				&quic.Config{KeepAlivePeriod: soon / 4, MaxIdleTimeout: patience})
			if err == nil {
				t.Cleanup(func() { _ = c.CloseWithError(0, "") })
				return c
			}
			if ctx.Err() != nil {
				t.Fatal(err)
			}
		}
	}
	request := func(t *testing.T, c *quic.Conn, method, path string, body io.Reader) (*http.Response, error) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "https://shop.test"+path, body)
		if err != nil {
			t.Fatal(err)
		}
		return (&http3.Transport{}).NewClientConn(c).RoundTrip(req)
	}
	ends := func(t *testing.T, c *quic.Conn) {
		t.Helper()
		select {
		case <-c.Context().Done():
		case <-time.After(patience):
			t.Fatal("the connection goes on")
		}
	}
	for name, do := range map[string]func(t *testing.T, c *quic.Conn){
		"no request": ends,
		"half a head": func(t *testing.T, c *quic.Conn) {
			s, err := c.OpenStreamSync(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			write(t, s, "\x01\x40")
			ends(t, c)
		},
		"a head by the byte": func(t *testing.T, c *quic.Conn) {
			s, err := c.OpenStreamSync(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			trickle(t, s, "\x01\x7f\xff", "\x00")
			ends(t, c)
		},
		"half a control stream": func(t *testing.T, c *quic.Conn) {
			s, err := c.OpenUniStreamSync(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			write(t, s, "\x00\x04\x40")
			ends(t, c)
		},
		"idle after an answer": func(t *testing.T, c *quic.Conn) {
			resp, err := request(t, c, http.MethodGet, "/a", nil)
			if err != nil || resp.StatusCode != 200 {
				t.Fatal(resp, err)
			}
			_ = resp.Body.Close()
			ends(t, c)
		},
		"no body": func(t *testing.T, c *quic.Conn) {
			body, stop := io.Pipe()
			defer func() { _ = stop.Close() }()
			resp, err := request(t, c, http.MethodPost, "/a", body)
			if err == nil {
				_ = resp.Body.Close()
			}
			if err == nil && resp.StatusCode != 408 {
				t.Errorf("%s, want 408", resp.Status)
			}
		},
		"a body that is not read": func(t *testing.T, c *quic.Conn) {
			resp, err := request(t, c, http.MethodGet, "/endless/h3", nil)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			a.floods(t)
			if _, err := io.Copy(io.Discard, resp.Body); err == nil {
				t.Error("the answer looks whole")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t)
			do(t, c)
			r.serves(t)
		})
	}
	released(t, r, before)
}
