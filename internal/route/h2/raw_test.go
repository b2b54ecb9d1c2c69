package h2_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"landward/internal/route/h2"
)

// peer is a client that sends whatever frames a test wants.
type peer struct {
	t   testing.TB
	c   net.Conn
	fr  *http2.Framer
	enc *hpack.Encoder
	buf bytes.Buffer
	dec *hpack.Decoder
}

// dial connects and says the preface with these settings.
func (r *rig) dial(t testing.TB, settings ...http2.Setting) *peer {
	t.Helper()
	p := r.plug(t)
	p.write(http2.ClientPreface)
	p.must(p.fr.WriteSettings(settings...))
	return p
}

// plug connects and says nothing.
func (r *rig) plug(t testing.TB) *peer {
	t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return newPeer(t, c)
}

func newPeer(t testing.TB, c net.Conn) *peer {
	p := &peer{t: t, c: c, fr: http2.NewFramer(c, c)}
	p.fr.AllowIllegalWrites = true
	p.enc = hpack.NewEncoder(&p.buf)
	p.dec = hpack.NewDecoder(4096, nil)
	return p
}

func (p *peer) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// write writes raw bytes.
func (p *peer) write(s string) {
	p.t.Helper()
	_, err := io.WriteString(p.c, s)
	p.must(err)
}

// block encodes fields: "name value" each.
func (p *peer) block(fields ...string) []byte {
	p.t.Helper()
	p.buf.Reset()
	for _, f := range fields {
		cut := strings.IndexByte(f[1:], ' ') + 1
		name, value := f[:cut], f[cut+1:]
		p.must(p.enc.WriteField(hpack.HeaderField{Name: name, Value: value}))
	}
	return bytes.Clone(p.buf.Bytes())
}

// ask is the head of a request with more fields.
func ask(method, path string, more ...string) []string {
	return append([]string{":method " + method, ":scheme http", ":path " + path, ":authority shop.test"}, more...)
}

// headers sends a head.
func (p *peer) headers(id uint32, end bool, fields ...string) {
	p.t.Helper()
	p.must(p.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: p.block(fields...), EndStream: end, EndHeaders: true}))
}

func (p *peer) get(id uint32, path string) {
	p.t.Helper()
	p.headers(id, true, ask("GET", path)...)
}

// answer is what came on a stream.
type answer struct {
	heads   [][]string // "name value"
	body    string
	ended   bool
	reset   http2.ErrCode
	isReset bool
}

func (a *answer) status() string {
	if len(a.heads) == 0 {
		return ""
	}
	return strings.TrimPrefix(a.heads[len(a.heads)-1][0], ":status ")
}

// until reads frames until done says so, acknowledging SETTINGS and PING. It
// keeps the windows open where refill says so.
func (p *peer) until(refill bool, done func(f http2.Frame, all map[uint32]*answer) bool) map[uint32]*answer {
	p.t.Helper()
	all := map[uint32]*answer{}
	of := func(id uint32) *answer {
		if all[id] == nil {
			all[id] = &answer{}
		}
		return all[id]
	}
	for {
		f, err := p.fr.ReadFrame()
		if err != nil {
			p.t.Fatalf("read frame: %v, so far %+v", err, all)
		}
		a := of(f.Header().StreamID)
		switch f := f.(type) {
		case *http2.HeadersFrame:
			fields, err := p.dec.DecodeFull(f.HeaderBlockFragment())
			p.must(err)
			var list []string
			for _, h := range fields {
				list = append(list, h.Name+" "+h.Value)
			}
			a.heads = append(a.heads, list)
			a.ended = f.StreamEnded()
		case *http2.DataFrame:
			a.body += string(f.Data())
			a.ended = f.StreamEnded()
			if n := uint32(len(f.Data())); refill && n > 0 {
				p.must(p.fr.WriteWindowUpdate(0, n))
				if !a.ended {
					p.must(p.fr.WriteWindowUpdate(f.StreamID, n))
				}
			}
		case *http2.RSTStreamFrame:
			a.reset, a.isReset = f.ErrCode, true
		case *http2.GoAwayFrame:
			p.t.Logf("GOAWAY %v %q", f.ErrCode, f.DebugData())
		case *http2.SettingsFrame:
			if !f.IsAck() {
				p.must(p.fr.WriteSettingsAck())
			}
		}
		if done(f, all) {
			return all
		}
	}
}

// ended waits until a stream has ended, or has been reset.
func (p *peer) ended(id uint32) *answer {
	p.t.Helper()
	all := p.until(true, func(_ http2.Frame, all map[uint32]*answer) bool {
		return all[id] != nil && (all[id].ended || all[id].isReset)
	})
	return all[id]
}

// wantReset waits for RST_STREAM.
func (p *peer) wantReset(id uint32, code http2.ErrCode) {
	p.t.Helper()
	all := p.until(true, func(f http2.Frame, all map[uint32]*answer) bool {
		if g, ok := f.(*http2.GoAwayFrame); ok {
			p.t.Fatalf("GOAWAY %v %q", g.ErrCode, g.DebugData())
		}
		return all[id] != nil && all[id].isReset
	})
	if all[id].reset != code {
		p.t.Errorf("stream reset with %v, want %v", all[id].reset, code)
	}
}

// wantGoAway waits for GOAWAY with that code and for the end.
func (p *peer) wantGoAway(code http2.ErrCode) {
	p.t.Helper()
	var got *http2.GoAwayFrame
	for {
		f, err := p.fr.ReadFrame()
		if err != nil {
			if !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "reset by peer") {
				p.t.Fatalf("read: %v", err)
			}
			break
		}
		if g, ok := f.(*http2.GoAwayFrame); ok {
			if g.ErrCode != code {
				p.t.Errorf("GOAWAY %v %q, want %v", g.ErrCode, g.DebugData(), code)
			}
			got = g
		}
	}
	if got == nil {
		p.t.Errorf("no GOAWAY before the end, want %v", code)
	}
}

// raw is a frame whose length is what its payload has.
func raw(kind, flags byte, id uint32, payload string) string {
	n := len(payload)
	return string([]byte{byte(n >> 16), byte(n >> 8), byte(n), kind, flags, byte(id >> 24), byte(id >> 16), byte(id >> 8), byte(id)}) + payload
}

// TestConnectionErrors holds that what is no HTTP/2 ends the connection, with
// the code that the RFC names.
func TestConnectionErrors(t *testing.T) {
	r := newRig(t, h2.Limits{}, false)
	tests := []struct {
		name string
		code http2.ErrCode
		send func(p *peer)
	}{
		{"frame too large", http2.ErrCodeFrameSize, func(p *peer) { p.write("\x00\x40\x01\x00\x00\x00\x00\x00\x01") }},
		{"data on stream 0", http2.ErrCodeProtocol, func(p *peer) { p.write(raw(0, 0, 0, "x")) }},
		{"data on an idle stream", http2.ErrCodeProtocol, func(p *peer) { p.write(raw(0, 0, 1, "x")) }},
		{"data on an even stream", http2.ErrCodeProtocol, func(p *peer) { p.write(raw(0, 0, 2, "x")) }},
		{"padding as long as the frame", http2.ErrCodeProtocol, func(p *peer) {
			p.headers(1, false, ask("POST", "/wait")...)
			p.write(raw(0, 8, 1, "\x04abc"))
		}},
		{"padding without a length", http2.ErrCodeProtocol, func(p *peer) { p.write(raw(1, 8|4, 1, "")) }},
		{"headers on stream 0", http2.ErrCodeProtocol, func(p *peer) { p.headers(0, true, ask("GET", "/")...) }},
		{"headers on an even stream", http2.ErrCodeProtocol, func(p *peer) { p.headers(2, true, ask("GET", "/")...) }},
		{"headers too short for a priority", http2.ErrCodeFrameSize, func(p *peer) { p.write(raw(1, 0x24, 1, "abc")) }},
		{"stream identifier going down", http2.ErrCodeProtocol, func(p *peer) {
			p.get(5, "/hello")
			p.get(3, "/hello")
		}},
		{"headers on a closed stream", http2.ErrCodeStreamClosed, func(p *peer) {
			p.get(1, "/hello")
			p.ended(1)
			p.get(1, "/hello")
		}},
		{"malformed header block", http2.ErrCodeCompression, func(p *peer) { p.write(raw(1, 5, 1, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")) }},
		{"truncated header block", http2.ErrCodeCompression, func(p *peer) { p.write(raw(1, 5, 1, "\x00\x05ab")) }},
		{"index 0", http2.ErrCodeCompression, func(p *peer) { p.write(raw(1, 5, 1, "\x80")) }},
		{"table larger than allowed", http2.ErrCodeCompression, func(p *peer) { p.write(raw(1, 5, 1, "\x3f\xe2\x1f\x82")) }},
		{"continuation of nothing", http2.ErrCodeProtocol, func(p *peer) { p.write(raw(9, 4, 1, "x")) }},
		{"header block interrupted", http2.ErrCodeProtocol, func(p *peer) {
			p.write(raw(1, 1, 1, "\x82") + raw(6, 0, 0, "12345678"))
		}},
		{"header block interrupted by an unknown frame", http2.ErrCodeProtocol, func(p *peer) {
			p.write(raw(1, 1, 1, "\x82") + raw(200, 0, 1, ""))
		}},
		{"header block continued on another stream", http2.ErrCodeProtocol, func(p *peer) {
			p.write(raw(1, 1, 1, "\x82") + raw(9, 4, 3, "\x84"))
		}},
		{"settings on a stream", http2.ErrCodeProtocol, func(p *peer) { p.write(raw(4, 0, 1, "")) }},
		{"settings ack with settings", http2.ErrCodeFrameSize, func(p *peer) { p.write(raw(4, 1, 0, "\x00\x03\x00\x00\x00\x01")) }},
		{"settings of a wrong size", http2.ErrCodeFrameSize, func(p *peer) { p.write(raw(4, 0, 0, "12345")) }},
		{"enable push 2", http2.ErrCodeProtocol, func(p *peer) { p.write(raw(4, 0, 0, "\x00\x02\x00\x00\x00\x02")) }},
		{"window setting too large", http2.ErrCodeFlowControl, func(p *peer) { p.write(raw(4, 0, 0, "\x00\x04\x80\x00\x00\x00")) }},
		{"frame size setting too small", http2.ErrCodeProtocol, func(p *peer) { p.write(raw(4, 0, 0, "\x00\x05\x00\x00\x3f\xff")) }},
		{"push promise", http2.ErrCodeProtocol, func(p *peer) { p.write(raw(5, 4, 1, "\x00\x00\x00\x02")) }},
		{"ping on a stream", http2.ErrCodeProtocol, func(p *peer) { p.write(raw(6, 0, 1, "12345678")) }},
		{"ping of a wrong size", http2.ErrCodeFrameSize, func(p *peer) { p.write(raw(6, 0, 0, "1234567")) }},
		{"goaway on a stream", http2.ErrCodeProtocol, func(p *peer) { p.write(raw(7, 0, 1, "12345678")) }},
		{"goaway of a wrong size", http2.ErrCodeFrameSize, func(p *peer) { p.write(raw(7, 0, 0, "1234567")) }},
		{"reset of an idle stream", http2.ErrCodeProtocol, func(p *peer) { p.write(raw(3, 0, 7, "\x00\x00\x00\x08")) }},
		{"reset of a wrong size", http2.ErrCodeFrameSize, func(p *peer) { p.write(raw(3, 0, 7, "\x00\x00\x08")) }},
		{"window update of nothing", http2.ErrCodeProtocol, func(p *peer) { p.write(raw(8, 0, 0, "\x00\x00\x00\x00")) }},
		{"window update on an idle stream", http2.ErrCodeProtocol, func(p *peer) { p.write(raw(8, 0, 9, "\x00\x00\x00\x01")) }},
		{"window update of a wrong size", http2.ErrCodeFrameSize, func(p *peer) { p.write(raw(8, 0, 0, "\x00\x00\x01")) }},
		{"window too large", http2.ErrCodeFlowControl, func(p *peer) { p.write(raw(8, 0, 0, "\x7f\xff\xff\xff")) }},
		{"priority on stream 0", http2.ErrCodeProtocol, func(p *peer) { p.write(raw(2, 0, 0, "\x00\x00\x00\x01\x00")) }},
		{"priority on itself", http2.ErrCodeProtocol, func(p *peer) { p.write(raw(2, 0, 3, "\x00\x00\x00\x03\x00")) }},
		{"priority of a wrong size", http2.ErrCodeFrameSize, func(p *peer) { p.write(raw(2, 0, 3, "\x00\x00\x00\x03")) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := r.dial(t)
			tt.send(p)
			p.wantGoAway(tt.code)
		})
	}
}

func TestPreface(t *testing.T) {
	r := newRig(t, h2.Limits{}, false)
	for name, send := range map[string]string{
		"HTTP/1.1":        "GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n",
		"almost":          "PRI * HTTP/2.0\r\n\r\nSM\r\n\rx",
		"no SETTINGS":     http2.ClientPreface + raw(6, 0, 0, "12345678"),
		"SETTINGS ack":    http2.ClientPreface + raw(4, 1, 0, ""),
		"request at once": http2.ClientPreface + raw(1, 5, 1, "\x82"),
	} {
		t.Run(name, func(t *testing.T) {
			p := r.plug(t)
			p.write(send)
			p.wantGoAway(http2.ErrCodeProtocol)
		})
	}
}

// TestStreamErrors holds that a malformed request is no more than the end of
// its stream: the connection serves on.
func TestStreamErrors(t *testing.T) {
	r := newRig(t, h2.Limits{}, false)
	get := func(more ...string) []string { return ask("GET", "/hello", more...) }
	without := func(prefix string) []string {
		return slices.DeleteFunc(get(), func(f string) bool { return strings.HasPrefix(f, prefix) })
	}
	tests := []struct {
		name   string
		fields []string
	}{
		{"no :method", without(":method")},
		{"no :path", without(":path")},
		{"no :scheme", without(":scheme")},
		{"empty :path", ask("GET", "")},
		{"relative :path", ask("GET", "hello")},
		{"absolute :path", ask("GET", "http://shop.test/hello")},
		{"* for GET", ask("GET", "*")},
		{"space in :path", ask("GET", "/a b")},
		{"CRLF in :path", ask("GET", "/ HTTP/1.1\r\nx: y")},
		{"LF in :path", ask("GET", "/\nx")},
		{"NUL in :path", ask("GET", "/\x00")},
		{"DEL in :path", ask("GET", "/\x7f")},
		{"space in :method", ask("GET /other", "/")},
		{"CRLF in :method", ask("GET\r\n", "/")},
		{"other :scheme", append(without(":scheme"), ":scheme ftp")},
		{"CRLF in :authority", append(without(":authority"), ":authority a\r\nx: y")},
		{"space in :authority", append(without(":authority"), ":authority a b")},
		{":method twice", get(":method GET")},
		{":path twice", get(":path /other")},
		{":authority twice", get(":authority other.test")},
		{":protocol without CONNECT", get(":protocol websocket")},
		{"unknown pseudo-header", get(":status 200")},
		{"pseudo-header after a header", []string{":method GET", ":scheme http", "a b", ":path /hello"}},
		{"capital in a name", get("X-Large 1")},
		{"space in a name", []string{":method GET", ":scheme http", ":path /", "a\x20b 1"}},
		{"colon in a name", get("a:b 1")},
		{"CRLF in a name", get("a\r\nb 1")},
		{"empty name", get("\x00 1")},
		{"CRLF in a value", get("a b\r\nc: d")},
		{"CR in a value", get("a b\rc")},
		{"LF in a value", get("a b\nc")},
		{"NUL in a value", get("a b\x00c")},
		{"control in a value", get("a b\x01c")},
		{"value begins with a space", get("a  b")},
		{"value ends with a tab", get("a b\t")},
		{"connection", get("connection close")},
		{"keep-alive", get("keep-alive timeout=5")},
		{"proxy-connection", get("proxy-connection close")},
		{"transfer-encoding", get("transfer-encoding chunked")},
		{"upgrade", get("upgrade websocket")},
		{"te", get("te gzip")},
		{"host differs", get("host other.test")},
		{"host twice", get("host shop.test", "host shop.test")},
		{"content-length twice", get("content-length 0", "content-length 0")},
		{"content-length signed", get("content-length +1")},
		{"content-length list", get("content-length 0, 0")},
		{"content-length without a body", get("content-length 5")},
		{"CONNECT with a path", ask("CONNECT", "/hello")},
		{"extended CONNECT without a path", []string{":method CONNECT", ":protocol websocket", ":scheme http", ":authority shop.test"}},
		{"extended CONNECT without an authority", []string{":method CONNECT", ":protocol websocket", ":scheme http", ":path /"}},
	}
	p := r.dial(t)
	id := uint32(1)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p.t = t
			if tt.name == "space in a name" || tt.name == "empty name" {
				name := map[string]string{"space in a name": "a b", "empty name": ""}[tt.name]
				p.buf.Reset()
				b := p.block(get()...)
				p.buf.Reset()
				p.must(p.enc.WriteField(hpack.HeaderField{Name: name, Value: "1"}))
				b = append(b, p.buf.Bytes()...)
				p.must(p.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: b, EndStream: true, EndHeaders: true}))
			} else {
				p.headers(id, true, tt.fields...)
			}
			p.wantReset(id, http2.ErrCodeProtocol)
			id += 2
		})
	}
	p.t = t
	p.get(id, "/hello")
	if a := p.ended(id); a.body != "hello, /hello" {
		t.Errorf("afterwards: %+v", a)
	}
	if n := r.app.Requests.Load(); n != 1 {
		t.Errorf("the app saw %d requests", n)
	}
}
