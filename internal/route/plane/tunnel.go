package plane

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"landward/internal/route"
	"landward/internal/route/wire"
)

// tunnel is a connection that has switched protocols: bytes go both ways until
// one side ends. For WebSocket it follows the frames, so that it can say
// goodbye between two of them.
type tunnel struct {
	s         *session
	up        *link
	target    *target
	stats     *Stats
	entry     route.Entry
	started   int64
	answer    []byte // the 101 and what came with it
	early     []byte // what the client sent before it knew
	webSocket bool
	leaving   atomic.Bool
	torn      atomic.Bool // no time for goodbyes
	down      half        // from the target to the client
	upward    half        // from the client to the target
}

// half is one direction.
type half struct {
	t        *tunnel
	src, dst net.Conn
	guard    *deadline // of writing to dst
	mask     bool      // dst is a server
	frames   wire.Frames
	bytes    int64
}

const (
	tunnelBuffer = 4 << 10
	// A WebSocket's peers get this long to end the frame they are in, and as
	// long again to answer our close frame.
	goodbyeTime = time.Second
	// halfOpen is how long a WebSocket may go on in one direction only.
	halfOpen = 10 * time.Second
	// goingAway is the close code of RFC 6455 section 7.4.1.
	goingAway = 1001
)

// switchProtocols passes the 101 on and relays until the end. The exchange
// goes back to its pool before: a connection that lives for hours holds little.
func (x *exchange) switchProtocols(rest []byte) outcome {
	asked := x.req.Upgrade()
	if asked == nil || !bytes.EqualFold(asked, x.ans.Upgrade()) {
		return x.badAnswer()
	}
	x.headed = x.p.now()
	x.entry.Status = http.StatusSwitchingProtocols
	out := append(append(x.out[:0], "HTTP/1.1 "...), x.ans.Line...)
	out = appendKept(append(out, '\r', '\n'), x.ans.Fields())
	out = append(append(out, "Connection: Upgrade\r\nUpgrade: "...), x.ans.Upgrade()...)
	out = append(append(out, "\r\nX-Request-Id: "...), x.id[:]...)
	out = append(append(out, "\r\n\r\n"...), rest...)
	x.out = out
	x.s.busy.Store(stateOwn)
	x.stamp(x.headed)
	x.tunnel = newTunnel(x)
	x.tunnel.down.take(rest)
	x.s.tunnel.Store(x.tunnel)
	x.target, x.site, x.up = nil, nil, nil
	return settled
}

// newTunnel takes from the exchange what outlives it.
func newTunnel(x *exchange) *tunnel {
	e := x.entry
	e.Method, e.Path = bytes.Clone(e.Method), bytes.Clone(e.Path)
	e.Host, e.ID = bytes.Clone(e.Host), bytes.Clone(e.ID)
	t := &tunnel{s: x.s, up: x.up, target: x.target, stats: x.stats, entry: e, started: x.start,
		webSocket: x.req.WebSocket(), answer: bytes.Clone(x.out), early: bytes.Clone(x.s.in[x.headLen:x.s.w])}
	t.down = half{t: t, src: x.up.conn, dst: x.s.conn, guard: &x.s.cw}
	t.upward = half{t: t, src: x.s.conn, dst: x.up.conn, guard: &x.s.uw, mask: true}
	return t
}

// run relays both ways until the end, and writes the record.
func (t *tunnel) run() {
	s := t.s
	if s.p.closing.Load() {
		t.leave()
	}
	if t.down.send(t.answer) && t.upward.write(t.early) {
		t.answer, t.early = nil, nil
		var both sync.WaitGroup
		both.Go(t.upward.run)
		t.down.run()
		both.Wait()
	}
	s.tunnel.Store(nil)
	s.up.Store(nil)
	t.up.close()
	t.target.exit()
	e := &t.entry
	e.Total = time.Duration(s.p.now() - t.started)
	e.In, e.Out = t.upward.bytes, t.down.bytes
	if t.leaving.Load() {
		e.Code = route.CodeCut
	}
	t.stats.inflight.Add(-1)
	t.stats.last.Store(s.p.now())
	t.stats.count(e)
	s.p.access.Access(e)
}

// leave asks both peers to end: with a close frame where it is a WebSocket,
// else by ending the connection.
func (t *tunnel) leave() {
	if t.leaving.Swap(true) {
		return
	}
	_ = t.s.conn.SetReadDeadline(past)
	_ = t.up.conn.SetReadDeadline(past)
}

// cut ends it without a word.
func (t *tunnel) cut() {
	t.leaving.Store(true)
	t.torn.Store(true)
	for _, c := range []net.Conn{t.s.conn, t.up.conn} {
		_ = c.SetDeadline(past)
	}
}

// run relays one direction until it ends, then lets the other side know.
func (h *half) run() {
	buf := make([]byte, tunnelBuffer)
	for {
		n, err := h.src.Read(buf)
		if n > 0 && !h.write(buf[:n]) {
			break
		}
		if err == nil {
			continue
		}
		if h.t.leaving.Load() {
			h.goodbye(buf)
		} else if err == io.EOF { //nolint:errorlint // net.Conn returns it as it is
			h.endOfStream()
			return
		}
		break
	}
	// Broken, or said goodbye: the other direction has nothing to wait for but
	// its own goodbye.
	if !h.t.leaving.Load() {
		_ = h.src.SetDeadline(past)
		_ = h.dst.SetDeadline(past)
	}
}

// endOfStream passes the end of one direction on. A WebSocket has no half-open
// state worth keeping, other protocols may.
func (h *half) endOfStream() {
	if c, ok := h.dst.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
	if h.t.webSocket {
		_ = h.dst.SetReadDeadline(time.Now().Add(halfOpen))
	}
}

// write passes b on.
func (h *half) write(b []byte) bool {
	h.take(b)
	return len(b) == 0 || h.send(b)
}

// send is write for what is no part of the stream of frames.
func (h *half) send(b []byte) bool {
	s := h.t.s
	h.guard.arm(s.p.now() + int64(s.p.limits.WriteTimeout))
	n, err := h.dst.Write(b)
	h.bytes += int64(n)
	return h.guard.disarm() == 0 && err == nil
}

func (h *half) take(b []byte) {
	if h.t.webSocket {
		h.frames.Take(b)
	}
}

// goodbye ends a direction of a WebSocket: it lets the frame in progress end,
// says that we go away, and waits for the source to end its side.
func (h *half) goodbye(buf []byte) {
	if !h.t.webSocket || h.t.torn.Load() {
		return
	}
	_ = h.src.SetReadDeadline(time.Now().Add(goodbyeTime))
	for !h.frames.AtBorder() {
		n, err := h.src.Read(buf)
		n = h.frames.Border(buf[:n])
		if n > 0 && !h.write(buf[:n]) || err != nil && !h.frames.AtBorder() {
			return
		}
	}
	if !h.frames.Closed {
		_ = h.dst.SetWriteDeadline(time.Now().Add(goodbyeTime))
		if _, err := h.dst.Write(wire.AppendClose(nil, goingAway, "going away", h.mask)); err != nil {
			return
		}
	}
	_ = h.src.SetReadDeadline(time.Now().Add(goodbyeTime))
	for !h.frames.Closed {
		n, err := h.src.Read(buf)
		h.frames.Take(buf[:n])
		if err != nil {
			return
		}
	}
}
