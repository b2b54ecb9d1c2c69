package h2_test

import (
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"landward/internal/route/h2"
	"landward/internal/waittest"
)

func connect(more ...string) []string {
	return append([]string{":method CONNECT", ":protocol websocket", ":scheme https", ":path /socket", ":authority shop.test",
		"sec-websocket-version 13"}, more...)
}

// TestWebSocket is RFC 8441: an extended CONNECT becomes an upgrade, the 101 a
// 200, and then the bytes go both ways until both have ended.
func TestWebSocket(t *testing.T) {
	r := newRig(t, h2.Limits{}, false)
	p := r.dial(t)
	allowed := uint32(0)
	p.until(false, func(f http2.Frame, _ map[uint32]*answer) bool {
		s, ok := f.(*http2.SettingsFrame)
		if ok && !s.IsAck() {
			allowed, _ = s.Value(http2.SettingEnableConnectProtocol)
		}
		return ok
	})
	if allowed != 1 {
		t.Error("extended CONNECT is not announced")
	}
	p.headers(1, false, connect("sec-websocket-key ignored", "x-more 1")...)
	all := p.until(false, func(_ http2.Frame, all map[uint32]*answer) bool { return all[1] != nil && len(all[1].heads) > 0 })
	head := all[1].heads[0]
	if head[0] != ":status 200" || all[1].ended {
		t.Fatalf("%+v", all[1])
	}
	for _, h := range head {
		if strings.HasPrefix(h, "upgrade") || strings.HasPrefix(h, "connection") || strings.HasPrefix(h, "sec-websocket-accept") {
			t.Errorf("%q is not for HTTP/2", h)
		}
	}
	for _, piece := range []string{"one", "two", strings.Repeat("x", 16000)} {
		p.write(raw(0, 0, 1, piece))
		got := ""
		for len(got) < len(piece) {
			all := p.until(true, func(_ http2.Frame, all map[uint32]*answer) bool { return all[1] != nil && all[1].body != "" })
			got += all[1].body
		}
		if got != piece {
			t.Fatalf("%d bytes back", len(got))
		}
	}
	p.write(raw(0, 1, 1, "end"))
	if a := p.ended(1); a.body != "end" || a.isReset {
		t.Errorf("%+v", a)
	}
	waittest.Eventually(t, "lane closed", func() bool { return r.app.Open.Load() == 0 })
}

// TestEarlyTunnel holds that what a client sends before it knows whether there
// is a tunnel is never taken for a request.
func TestEarlyTunnel(t *testing.T) {
	r := newRig(t, h2.Limits{}, false)
	smuggled := "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
	for path, want := range map[string]string{"/socket": "200", "/status?404": "404", "/status?204": "502", "/hello": "502",
		"/raw?HTTP/1.1%20101%20Switching%0d%0aConnection:%20Upgrade%0d%0aUpgrade:%20websocket%0d%0aSec-WebSocket-Accept:%20x%0d%0a%0d%0a": "502",
		"/raw?HTTP/1.1%20101%20Switching%0d%0aConnection:%20Upgrade%0d%0aUpgrade:%20other%0d%0a%0d%0a":                                    "502",
	} {
		p := r.dial(t)
		before := r.app.Requests.Load()
		fields := connect()
		fields[3] = ":path " + path
		p.headers(1, false, fields...)
		p.write(raw(0, 0, 1, smuggled))
		all := p.until(false, func(_ http2.Frame, all map[uint32]*answer) bool { return all[1] != nil && len(all[1].heads) > 0 })
		if got := all[1].status(); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
		p.write(raw(0, 1, 1, ""))
		p.get(3, "/hello")
		p.ended(3)
		if n := r.app.Requests.Load() - before; n != 2 {
			t.Errorf("%s: the app saw %d requests", path, n)
		}
		_ = p.c.Close()
	}
	waittest.Eventually(t, "lanes closed", func() bool { return r.app.Open.Load() == 0 })
}

// TestNot101 holds that nobody switches protocols who was not asked to.
func TestNot101(t *testing.T) {
	r := newRig(t, h2.Limits{}, false)
	p := r.dial(t)
	p.get(1, "/raw?HTTP/1.1%20101%20Switching%0d%0aConnection:%20Upgrade%0d%0aUpgrade:%20websocket%0d%0a%0d%0a")
	p.wantReset(1, http2.ErrCodeInternal)
}

// TestTunnelBreaks holds that each side learns of the other's end.
func TestTunnelBreaks(t *testing.T) {
	r := newRig(t, h2.Limits{}, false)
	p := r.dial(t)
	p.headers(1, false, connect()...)
	p.until(false, func(_ http2.Frame, all map[uint32]*answer) bool { return all[1] != nil && len(all[1].heads) > 0 })
	p.write(raw(3, 0, 1, "\x00\x00\x00\x08"))
	waittest.Eventually(t, "lane closed", func() bool { return r.app.Open.Load() == 0 })
}
