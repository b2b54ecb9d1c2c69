package edge_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"landward/internal/landward"
	"landward/internal/route"
)

// socketApp is an app with a WebSocket that returns what it gets. It tells of
// how each ended.
func socketApp(t *testing.T, proto landward.Protocol) (*route.Route, <-chan error) {
	t.Helper()
	ended := make(chan error, 100)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/socket" {
			http.Error(w, "not a socket", http.StatusTeapot)
			return
		}
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"second"}, CompressionMode: websocket.CompressionContextTakeover})
		if err != nil {
			return
		}
		defer func() { _ = c.CloseNow() }()
		c.SetReadLimit(-1)
		for {
			kind, b, err := c.Read(context.Background())
			if err == nil {
				err = c.Write(context.Background(), kind, b)
			}
			if err != nil {
				ended <- err
				return
			}
		}
	}))
	switch proto {
	case landward.ProtocolHTTPS:
		s.StartTLS()
	case landward.ProtocolH2C:
		s.Config.Protocols = new(http.Protocols)
		s.Config.Protocols.SetUnencryptedHTTP2(true)
		s.Start()
	default:
		s.Start()
	}
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	addr := s.Listener.Addr().String()
	return &route.Route{App: "ws", AppID: 4, Hosts: []string{"ws.localhost"}, State: route.StateUp, Protocol: proto,
		Targets: []route.Target{{Addr: netip.MustParseAddrPort(addr), Unit: "web.1", ID: addr}}}, ended
}

// eachSocketApp runs a test with an app over TLS, and one without.
func eachSocketApp(t *testing.T, test func(t *testing.T, r *running, ended <-chan error)) {
	for _, proto := range []landward.Protocol{landward.ProtocolHTTP, landward.ProtocolHTTPS} {
		t.Run(string(proto), func(t *testing.T) {
			r := start(t, t.TempDir())
			rt, ended := socketApp(t, proto)
			r.put(t, 1, rt)
			test(t, r, ended)
		})
	}
}

// TestWebSocket: over HTTP/1.1, as a client library speaks it.
func TestWebSocket(t *testing.T) {
	eachSocketApp(t, func(t *testing.T, r *running, ended <-chan error) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		c, resp, err := websocket.Dial(ctx, "wss://ws.localhost/socket", &websocket.DialOptions{
			HTTPClient: r.browser(t, false, r.localRoots(t)), Subprotocols: []string{"first", "second"}, CompressionMode: websocket.CompressionContextTakeover,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.CloseNow() }()
		if c.Subprotocol() != "second" || resp.Header.Get("Sec-WebSocket-Extensions") == "" {
			t.Errorf("subprotocol %q, %v", c.Subprotocol(), resp.Header)
		}
		c.SetReadLimit(-1)
		for _, n := range []int{0, 1, 125, 126, 1 << 16, 1 << 20} {
			for _, kind := range []websocket.MessageType{websocket.MessageText, websocket.MessageBinary} {
				in := bytes.Repeat([]byte("message "), n/8+1)[:n]
				if err := c.Write(ctx, kind, in); err != nil {
					t.Fatal(err)
				}
				if k, out, err := c.Read(ctx); err != nil || k != kind || !bytes.Equal(in, out) {
					t.Fatalf("%d bytes: %d came back, %v", n, len(out), err)
				}
			}
		}
		reading := c.CloseRead(ctx)
		for range 3 {
			if err := c.Ping(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Close(websocket.StatusCode(4321), "bye"); err != nil {
			t.Error(err)
		}
		if got := websocket.CloseStatus(<-ended); got != 4321 {
			t.Errorf("the app heard %d", got)
		}
		<-reading.Done()
		// What is no socket is an answer.
		_, resp, err = websocket.Dial(ctx, "wss://ws.localhost/other", &websocket.DialOptions{HTTPClient: r.browser(t, false, r.localRoots(t))})
		if err == nil || resp == nil || resp.StatusCode != http.StatusTeapot {
			t.Errorf("%v, %v", resp, err)
		}
	})
}

// TestWebSocketHTTP2: RFC 8441, by hand, beside ordinary requests on the same
// connection.
func TestWebSocketHTTP2(t *testing.T) {
	eachSocketApp(t, func(t *testing.T, r *running, ended <-chan error) {
		p := r.dial2(t)
		if !p.connects {
			t.Fatal("extended CONNECT is not announced")
		}
		ws := p.ask(t, ":method", "CONNECT", ":protocol", "websocket", ":scheme", "https", ":path", "/socket",
			":authority", "ws.localhost", "sec-websocket-version", "13", "sec-websocket-protocol", "first, second", "origin", "https://ws.localhost")
		head := p.head(t, ws.id)
		if head[":status"] != "200" || head["sec-websocket-protocol"] != "second" || head["sec-websocket-accept"] != "" || head["upgrade"] != "" {
			t.Fatalf("%v", head)
		}
		socketTalk(t, ws, func() {
			p.ask(t, ":method", "GET", ":scheme", "https", ":path", "/other", ":authority", "ws.localhost")
			if head := p.head(t, p.last); head[":status"] != "418" {
				t.Errorf("beside it: %v", head)
			}
			for i := range 10 { // pings of the connection are no business of the socket's
				if err := p.WritePing(false, [8]byte{byte(i)}); err != nil {
					t.Fatal(err)
				}
			}
		})
		if got := websocket.CloseStatus(<-ended); got != 4321 {
			t.Errorf("the app heard %d", got)
		}
		if p.pongs != 10 {
			t.Errorf("%d pings were answered", p.pongs)
		}
		// No socket there: the app's own answer.
		p.ask(t, ":method", "CONNECT", ":protocol", "websocket", ":scheme", "https", ":path", "/other", ":authority", "ws.localhost",
			"sec-websocket-version", "13")
		if head := p.head(t, p.last); head[":status"] != "418" {
			t.Errorf("what is no socket: %v", head)
		}
		p.ask(t, ":method", "CONNECT", ":protocol", "else", ":scheme", "https", ":path", "/socket", ":authority", "ws.localhost")
		if head := p.head(t, p.last); head[":status"] != "501" {
			t.Errorf("another protocol: %v", head)
		}
	})
}

// TestWebSocketHTTP3: RFC 9220.
func TestWebSocketHTTP3(t *testing.T) {
	eachSocketApp(t, func(t *testing.T, r *running, ended <-chan error) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		conn, err := quic.DialAddr(ctx, r.SecureAddr().String(), &tls.Config{RootCAs: r.localRoots(t), ServerName: "ws.localhost",
			NextProtos: []string{http3.NextProtoH3}, MinVersion: tls.VersionTLS13}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.CloseWithError(0, "") }()
		c := (&http3.Transport{}).NewClientConn(conn)
		select {
		case <-c.ReceivedSettings():
		case <-ctx.Done():
			t.Fatal("no settings")
		}
		if !c.Settings().EnableExtendedConnect {
			t.Fatal("extended CONNECT is not announced")
		}
		ask := func(protocol, path string) (*http3.RequestStream, *http.Response) {
			t.Helper()
			s, err := c.OpenRequestStream(ctx)
			if err != nil {
				t.Fatal(err)
			}
			_ = s.SetDeadline(time.Now().Add(patience))
			err = s.SendRequestHeader(&http.Request{Method: http.MethodConnect, Proto: protocol, Host: "ws.localhost",
				URL:    &url.URL{Scheme: "https", Host: "ws.localhost", Path: path},
				Header: http.Header{"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Protocol": {"second"}}})
			if err != nil {
				t.Fatal(err)
			}
			resp, err := s.ReadResponse()
			if err != nil {
				t.Fatal(err)
			}
			return s, resp
		}
		s, resp := ask("websocket", "/socket")
		if resp.StatusCode != 200 || resp.Header.Get("Sec-WebSocket-Protocol") != "second" || resp.Header.Get("Sec-WebSocket-Accept") != "" {
			t.Fatalf("%+v", resp)
		}
		socketTalk(t, s, func() {})
		if got := websocket.CloseStatus(<-ended); got != 4321 {
			t.Errorf("the app heard %d", got)
		}
		for _, no := range []struct {
			protocol, path string
			want           int
		}{{"websocket", "/other", http.StatusTeapot}, {"webtransport", "/socket", http.StatusNotImplemented}} {
			if _, resp := ask(no.protocol, no.path); resp.StatusCode != no.want {
				t.Errorf("%v: %d", no, resp.StatusCode)
			}
		}
	})
}

// TestWebSocketNotThere: an app that speaks HTTP/2 only cannot be asked for a
// WebSocket, and the client is told so.
func TestWebSocketNotThere(t *testing.T) {
	r := start(t, t.TempDir())
	rt, _ := socketApp(t, landward.ProtocolH2C)
	r.put(t, 1, rt)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, resp, err := websocket.Dial(ctx, "wss://ws.localhost/socket", &websocket.DialOptions{HTTPClient: r.browser(t, false, r.localRoots(t))})
	if err == nil || resp == nil || resp.StatusCode != http.StatusNotImplemented {
		t.Errorf("%+v, %v", resp, err)
	}
	p := r.dial2(t)
	p.ask(t, ":method", "CONNECT", ":protocol", "websocket", ":scheme", "https", ":path", "/socket", ":authority", "ws.localhost",
		"sec-websocket-version", "13")
	if head := p.head(t, p.last); head[":status"] != "501" {
		t.Errorf("over HTTP/2: %v", head)
	}
}

// socketTalk speaks WebSocket (RFC 6455 section 5) by hand over a tunnel, up to
// the closing handshake and the tunnel's end.
func socketTalk(t *testing.T, c io.ReadWriteCloser, between func()) {
	t.Helper()
	say := func(first byte, payload []byte) {
		t.Helper()
		if _, err := c.Write(socketFrame(first, payload)); err != nil {
			t.Fatal(err)
		}
	}
	hear := func(first byte, payload []byte) {
		t.Helper()
		f, got, err := readSocketFrame(c)
		if err != nil || f != first || !bytes.Equal(got, payload) {
			t.Fatalf("frame %#x of %d bytes, %v; want %#x of %d", f, len(got), err, first, len(payload))
		}
	}
	for _, n := range []int{0, 1, 125, 126, 70_000, 1 << 20} {
		payload := []byte(strings.Repeat("x", n))
		say(0x82, payload)
		hear(0x82, payload)
		between()
		between = func() {}
	}
	say(0x89, []byte("ping"))
	hear(0x8a, []byte("ping"))
	say(0x01, []byte("in two")) // a message in two frames comes back as one
	say(0x80, []byte(" frames"))
	hear(0x81, []byte("in two frames"))
	bye := append(binary.BigEndian.AppendUint16(nil, 4321), "bye"...)
	say(0x88, bye)
	hear(0x88, bye)
	if n, err := io.Copy(io.Discard, c); n > 0 || err != nil {
		t.Errorf("after the end: %d bytes, %v", n, err)
	}
	_ = c.Close() // HTTP/3 has told us that it wants no more
}

// socketFrame makes a masked frame, as clients must.
func socketFrame(first byte, payload []byte) []byte {
	out := []byte{first}
	switch n := len(payload); {
	case n < 126:
		out = append(out, 0x80|byte(n))
	case n < 1<<16:
		out = binary.BigEndian.AppendUint16(append(out, 0x80|126), uint16(n))
	default:
		out = binary.BigEndian.AppendUint64(append(out, 0x80|127), uint64(n))
	}
	mask := [4]byte{1, 2, 3, 4}
	out = append(out, mask[:]...)
	for i, b := range payload {
		out = append(out, b^mask[i%4])
	}
	return out
}

// readSocketFrame reads a frame of a server.
func readSocketFrame(r io.Reader) (first byte, payload []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := uint64(head[1])
	wide := make([]byte, map[byte]int{126: 2, 127: 8}[head[1]])
	if _, err := io.ReadFull(r, wide); err != nil {
		return 0, nil, err
	}
	if len(wide) > 0 {
		n = binary.BigEndian.Uint64(append(make([]byte, 8-len(wide)), wide...))
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(r, payload)
	return head[0], payload, err
}

// peer2 is an HTTP/2 client that sends what a test wants.
type peer2 struct {
	*http2.Framer
	enc      *hpack.Encoder
	block    bytes.Buffer
	dec      *hpack.Decoder
	last     uint32           // the newest stream
	initial  int64            // what may be sent on a new stream
	room     map[uint32]int64 // and still on each; 0: on the connection
	connects bool             // the server lets us send extended CONNECT
	pongs    int
	heads    map[uint32]map[string]string
	data     map[uint32]*bytes.Buffer
	ended    map[uint32]error // io.EOF, or the reset
}

// dial2 connects with TLS and HTTP/2, and exchanges settings.
func (r *running) dial2(t *testing.T) *peer2 {
	t.Helper()
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", r.SecureAddr().String(),
		&tls.Config{RootCAs: r.localRoots(t), ServerName: "ws.localhost", NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	p := &peer2{Framer: http2.NewFramer(c, c), dec: hpack.NewDecoder(4096, nil), heads: map[uint32]map[string]string{},
		data: map[uint32]*bytes.Buffer{}, ended: map[uint32]error{}, room: map[uint32]int64{0: 65535}}
	p.enc = hpack.NewEncoder(&p.block)
	_, err = io.WriteString(c, http2.ClientPreface)
	err = errors.Join(err, p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 4 << 20}), p.WriteWindowUpdate(0, 64<<20))
	for settled := false; err == nil && !settled; {
		settled, err = p.step()
	}
	if err != nil {
		t.Fatal(err)
	}
	p.last-- // the first is 1
	return p
}

// step takes one frame. It reports whether that was the server's settings.
func (p *peer2) step() (settled bool, err error) {
	f, err := p.ReadFrame()
	if err != nil {
		return false, err
	}
	id := f.Header().StreamID
	end := false
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if f.IsAck() {
			return false, nil
		}
		v, _ := f.Value(http2.SettingEnableConnectProtocol)
		p.connects = v == 1
		window, _ := f.Value(http2.SettingInitialWindowSize)
		p.initial = int64(window)
		return true, p.WriteSettingsAck()
	case *http2.HeadersFrame:
		list, err := p.dec.DecodeFull(f.HeaderBlockFragment())
		if err != nil {
			return false, err
		}
		p.heads[id] = map[string]string{}
		for _, h := range list {
			p.heads[id][h.Name] = h.Value
		}
		end = f.StreamEnded()
	case *http2.DataFrame:
		p.data[id].Write(f.Data())
		end = f.StreamEnded()
		if n := uint32(len(f.Data())); n > 0 && !end {
			return false, p.WriteWindowUpdate(id, n)
		}
	case *http2.RSTStreamFrame:
		if p.ended[id] == nil {
			p.ended[id] = fmt.Errorf("reset: %s", f.ErrCode)
		}
	case *http2.WindowUpdateFrame:
		p.room[id] += int64(f.Increment)
	case *http2.PingFrame:
		if f.IsAck() {
			p.pongs++
		}
	case *http2.GoAwayFrame:
		return false, fmt.Errorf("GOAWAY %s %q", f.ErrCode, f.DebugData())
	}
	if end {
		p.ended[id] = io.EOF
	}
	return false, nil
}

// ask opens a stream with those fields, and leaves our side open for CONNECT.
func (p *peer2) ask(t *testing.T, fields ...string) *tunnel2 {
	t.Helper()
	p.block.Reset()
	for i := 0; i < len(fields); i += 2 {
		if err := p.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}); err != nil {
			t.Fatal(err)
		}
	}
	p.last += 2
	p.data[p.last] = new(bytes.Buffer)
	p.room[p.last] = p.initial
	err := p.WriteHeaders(http2.HeadersFrameParam{StreamID: p.last, BlockFragment: p.block.Bytes(), EndHeaders: true, EndStream: fields[1] != "CONNECT"})
	if err != nil {
		t.Fatal(err)
	}
	return &tunnel2{p, p.last}
}

// head waits for the head of an answer.
func (p *peer2) head(t *testing.T, id uint32) map[string]string {
	t.Helper()
	for p.heads[id] == nil && p.ended[id] == nil {
		if _, err := p.step(); err != nil {
			t.Fatal(err)
		}
	}
	return p.heads[id]
}

// tunnel2 is a stream whose DATA is a tunnel's.
type tunnel2 struct {
	p  *peer2
	id uint32
}

// Read reads what came.
func (s *tunnel2) Read(b []byte) (int, error) {
	for {
		if s.p.data[s.id].Len() > 0 {
			return s.p.data[s.id].Read(b)
		}
		if err := s.p.ended[s.id]; err != nil {
			return 0, err
		}
		if _, err := s.p.step(); err != nil {
			return 0, err
		}
	}
}

// Write sends b in frames, as the windows allow.
func (s *tunnel2) Write(b []byte) (int, error) {
	room := s.p.room
	for rest := b; len(rest) > 0; {
		n := min(int64(len(rest)), 16<<10, room[0], room[s.id])
		if n <= 0 {
			if _, err := s.p.step(); err != nil {
				return 0, err
			}
			continue
		}
		if err := s.p.WriteData(s.id, false, rest[:n]); err != nil {
			return 0, err
		}
		room[0], room[s.id], rest = room[0]-n, room[s.id]-n, rest[n:]
	}
	return len(b), nil
}

// Close ends our side.
func (s *tunnel2) Close() error { return s.p.WriteData(s.id, true, nil) }
