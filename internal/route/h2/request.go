package h2

import (
	"errors"
	"net/http"

	"golang.org/x/net/http2/hpack"

	"landward/internal/route/h2/lane"
	"landward/internal/route/wire"
)

// block is a header block that came in more than one frame.
type block struct {
	open   bool
	id     uint32
	end    bool // END_STREAM
	self   bool // the stream depends on itself
	frames int
	buf    []byte
}

// handleHeaders takes a HEADERS (RFC 9113 section 6.2).
func (c *conn) handleHeaders(f frame, p []byte) error {
	if f.id%2 == 0 {
		return protocolError("HEADERS on a stream that is not the client's")
	}
	p, ok := unpad(f, p)
	if !ok {
		return protocolError("malformed padding")
	}
	self := false
	if f.has(flagPriority) {
		if len(p) < 5 {
			return &fault{codeFrameSize, "HEADERS of a wrong size"}
		}
		self = dependsOn(p) == f.id
		p = p[5:]
	}
	if f.has(flagEndHeaders) {
		return c.takeBlock(f.id, p, f.has(flagEndStream), self)
	}
	b := &c.block
	b.open, b.id, b.end, b.self, b.frames = true, f.id, f.has(flagEndStream), self, 0
	b.buf = append(b.buf[:0], p...)
	c.blockAt.Store(max(c.s.clock.Load(), 1))
	return nil
}

// handleContinuation takes a CONTINUATION (RFC 9113 section 6.10). handle has
// seen that it continues a block, if there is one.
func (c *conn) handleContinuation(f frame, p []byte) error {
	b := &c.block
	if !b.open {
		return protocolError("CONTINUATION of nothing")
	}
	b.frames++
	if b.frames > maxContinuations || len(b.buf)+len(p) > c.limits.Header {
		return &fault{codeEnhanceCalm, "header block too long"}
	}
	b.buf = append(b.buf, p...)
	if !f.has(flagEndHeaders) {
		return nil
	}
	c.blockAt.Store(0)
	b.open = false
	err := c.takeBlock(b.id, b.buf, b.end, b.self)
	if cap(b.buf) > smallBuffer {
		b.buf = nil
	}
	return err
}

// field takes a decoded field.
func (c *conn) field(f hpack.HeaderField) {
	if c.trailing {
		c.head.Trailer(f.Name, f.Value)
	} else {
		c.head.Field(f.Name, f.Value)
	}
	if c.head.Full() {
		c.decoder.SetEmitEnabled(false)
	}
}

// decode decodes a block into head. It must be done for every block, wanted or
// not, for the decoder's table to stay in step.
func (c *conn) decode(p []byte, trailing bool) error {
	c.head.Reset()
	c.trailing = trailing
	c.decoder.SetEmitEnabled(true)
	if _, err := c.decoder.Write(p); err != nil {
		return &fault{codeCompression, "malformed header block"}
	}
	if err := c.decoder.Close(); err != nil {
		return &fault{codeCompression, "truncated header block"}
	}
	return nil
}

// takeBlock takes a whole header block: a request's head, or a trailer.
func (c *conn) takeBlock(id uint32, p []byte, end, self bool) error {
	if id <= c.top {
		return c.takeTrailer(id, p, end)
	}
	if err := c.decode(p, false); err != nil {
		return err
	}
	r, err := c.head.Finish(end)
	var refusal lane.Refusal
	c.mu.Lock()
	defer c.mu.Unlock()
	c.top = id
	if c.goaway.final {
		return nil // RFC 9113 section 6.8: it knows that we will not look
	}
	c.last = id
	if c.goaway.due != 0 {
		c.windDown(c.s.now())
	}
	switch {
	case len(c.streams) >= c.limits.Streams:
		return c.refuse(id, c.acked)
	case self:
		return c.breakOff(id, nil, codeProtocol)
	case errors.As(err, &refusal):
		c.s.o.Refused(int(refusal), c.raw.RemoteAddr())
		return c.answer(id, int(refusal), end)
	case err != nil:
		return c.breakOff(id, nil, codeProtocol)
	}
	return c.begin(id, &r, end)
}

// begin gives a request to a lane. The caller holds mu.
func (c *conn) begin(id uint32, r *lane.Request, end bool) error {
	for {
		l := c.lanes.Take()
		if l == nil {
			return c.refuse(id, true)
		}
		s := l.Far().(*stream)
		s.open(id, r.Length, end)
		if l.Begin(r, end) {
			c.news(s)
			return nil
		}
		delete(c.streams, id) // it has ended since it was idle
	}
}

// news notes that s's lane must be kicked. Only the reader calls it.
func (c *conn) news(s *stream) {
	if !s.dirty {
		s.dirty = true
		c.dirty = append(c.dirty, s)
	}
}

// refuse refuses a stream for which there is no room: nothing has been done,
// it may be tried again. The caller holds mu.
func (c *conn) refuse(id uint32, blame bool) error {
	c.remember(id)
	c.putReset(id, codeRefused)
	if !blame {
		return c.calm.heard()
	}
	return c.calm.broke()
}

// answer answers a request that no lane sees. The caller holds mu.
func (c *conn) answer(id uint32, status int, end bool) error {
	p := c.encoder.begin(status)
	if status == http.StatusMethodNotAllowed {
		p = c.encoder.field(p, &wire.Field{Name: []byte("allow"), Value: []byte("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")})
	}
	p = c.encoder.end(p)
	if c.ready(frameHead + len(p)) {
		c.out = append(appendFrame(c.out, len(p), frameHeaders, flagEndHeaders|flagEndStream, id), p...)
	}
	if !end {
		c.remember(id)
		c.putReset(id, codeNo)
	}
	return c.afterControl()
}

// takeTrailer takes a header block on a stream that has been opened before.
func (c *conn) takeTrailer(id uint32, p []byte, end bool) error {
	if err := c.decode(p, true); err != nil {
		return err
	}
	lines, err := c.head.FinishTrailer()
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.streams[id]
	switch {
	case s == nil && c.remembers(id):
		return c.calm.heard()
	case s == nil && c.opened[id/2%uint32(len(c.opened))] == id:
		return &fault{codeStreamClosed, "HEADERS on a closed stream"}
	case s == nil:
		return protocolError("stream identifier used again, or out of order")
	case s.remote:
		return c.breakOff(id, s, codeStreamClosed)
	case err != nil || !end || s.declared >= 0 && s.got != s.declared:
		return c.breakOff(id, s, codeProtocol)
	}
	c.endRequest(s, lines)
	return nil
}

// endRequest notes that the client has sent all. The caller holds mu.
func (c *conn) endRequest(s *stream, trailer []byte) {
	s.remote = true
	s.lane.Finish(trailer)
	if s.local {
		c.drop(s)
	}
	c.news(s)
}

// handleData takes a DATA (RFC 9113 section 6.1). All of it counts against the
// windows, padding included.
func (c *conn) handleData(f frame, p []byte) error {
	if f.id == 0 || c.isIdle(f.id) {
		return protocolError("DATA on an idle stream")
	}
	whole := len(p)
	p, ok := unpad(f, p)
	if !ok {
		return protocolError("malformed padding")
	}
	end := f.has(flagEndStream)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.recv -= int64(whole); c.recv < 0 {
		return &fault{codeFlowControl, "connection's window exceeded"}
	}
	s := c.streams[f.id]
	if why := s.objection(whole, len(p), end); why != codeNo {
		return c.rejectData(f.id, s, whole, why)
	}
	c.waste(whole - len(p))
	s.recv -= int64(whole)
	if pad := whole - len(p); pad > 0 && !end {
		s.recv += int64(pad)
		c.putWindow(s.id, pad)
	}
	s.got += int64(len(p))
	c.calm.moved(len(p))
	if len(p) > 0 && !s.lane.Feed(p) {
		c.waste(len(p))
	}
	c.news(s)
	if end {
		c.endRequest(s, nil)
	} else if len(p) == 0 {
		return c.calm.heard()
	}
	return nil
}

// objection says what is wrong with a DATA on s.
func (s *stream) objection(whole, body int, end bool) code {
	switch {
	case s == nil || s.remote:
		return codeStreamClosed
	case int64(whole) > s.recv:
		return codeFlowControl
	case s.declared >= 0 && (s.got+int64(body) > s.declared || end && s.got+int64(body) != s.declared):
		return codeProtocol
	}
	return codeNo
}

// rejectData refuses a DATA. The caller holds mu.
func (c *conn) rejectData(id uint32, s *stream, whole int, why code) error {
	c.waste(whole)
	if s == nil && c.remembers(id) {
		return c.calm.heard() // it was on its way
	}
	return c.breakOff(id, s, why)
}
