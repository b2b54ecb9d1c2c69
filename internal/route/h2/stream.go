package h2

import (
	"errors"
	"os"
	"slices"
	"sync"

	"landward/internal/route/h2/lane"
	"landward/internal/route/wire"
)

// errReset means that there is nobody to answer any more.
var errReset = errors.New("stream reset")

// stream is the far side of a lane: one HTTP/2 stream after another. The
// connection's mutex guards it.
type stream struct {
	c    *conn
	lane *lane.Lane
	cond sync.Cond // of who writes the answer

	id       uint32
	local    bool // we have ended our side
	remote   bool // the client has ended its side
	reset    bool
	declared int64 // content-length; -1: none
	got      int64 // bytes of body so far
	send     int64 // what the client lets us send
	recv     int64 // what we let the client send
	queued   bool  // in the connection's waiters
	dirty    bool  // the reader's: in the connection's dirty
}

// newStream makes the far side of a new lane.
func (c *conn) newStream(l *lane.Lane) lane.Far {
	s := &stream{c: c, lane: l}
	s.cond.L = &c.mu
	return s
}

// open makes s the stream id. The caller holds mu.
func (s *stream) open(id uint32, declared int64, end bool) {
	c := s.c
	s.id, s.local, s.remote, s.reset = id, false, end, false
	s.declared, s.got = declared, 0
	s.send, s.recv = c.initial, int64(c.limits.StreamWindow)
	if !c.acked {
		s.recv = max(s.recv, defaultWindow)
	}
	c.streams[id] = s
	c.opened[id/2%uint32(len(c.opened))] = id
}

// drop takes the stream out of the connection. The caller holds mu.
func (c *conn) drop(s *stream) {
	if c.streams[s.id] != s {
		return
	}
	delete(c.streams, s.id)
	if len(c.streams) == 0 {
		c.quiet = c.s.clock.Load()
		c.drained()
	}
}

// finish ends our side of the stream. The caller holds mu.
func (s *stream) finish() {
	s.local = true
	s.c.calm.answered()
	if s.remote {
		s.c.drop(s)
	}
}

// Head passes on an answer's head.
func (s *stream) Head(status int, a *wire.Answer, end bool) error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.admit(1)
	if _, err := s.grant(0); err != nil {
		return err
	}
	block := c.encoder.begin(status)
	if a != nil {
		fields := a.Fields()
		for i := range fields {
			if lane.Kept(a, &fields[i]) {
				block = c.encoder.field(block, &fields[i])
			}
		}
	}
	s.putBlock(c.encoder.end(block), end)
	return nil
}

// Trailer ends the answer with a trailer.
func (s *stream) Trailer(lines []byte) error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.admit(1)
	if _, err := s.grant(0); err != nil {
		return err
	}
	block := c.encoder.resume()
	for len(lines) > 0 {
		var f wire.Field
		f, lines = cutLine(lines)
		block = c.encoder.field(block, &f)
	}
	s.putBlock(c.encoder.end(block), true)
	return nil
}

// putBlock appends a header block as HEADERS and, where it is too large for
// one frame, CONTINUATION. The caller holds mu.
func (s *stream) putBlock(block []byte, end bool) {
	c := s.c
	c.room(len(block) + frameHead)
	kind, flags := uint8(frameHeaders), uint8(0)
	if end {
		flags = flagEndStream
	}
	for {
		n := min(len(block), frameSize)
		if n == len(block) {
			flags |= flagEndHeaders
		}
		c.out = append(appendFrame(c.out, n, kind, flags, s.id), block[:n]...)
		if block = block[n:]; len(block) == 0 {
			break
		}
		kind, flags = frameContinuation, 0
	}
	if end {
		s.finish()
	}
	c.rouse()
}

// Data passes on a piece of the answer's body as the client's windows allow.
func (s *stream) Data(p []byte, end bool) error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.admit(1)
	for {
		n, err := s.grant(len(p))
		if err != nil {
			return err
		}
		var flags uint8
		last := end && n == len(p)
		if last {
			flags = flagEndStream
		}
		c.room(n + frameHead)
		c.out = append(appendFrame(c.out, n, frameData, flags, s.id), p[:n]...)
		s.send -= int64(n)
		c.send -= int64(n)
		c.calm.moved(n)
		if n == len(p) {
			c.calm.sent()
		}
		p = p[n:]
		if last {
			s.finish()
		}
		c.rouse()
		if len(p) == 0 {
			return nil
		}
	}
}

// grant waits until there is room for a frame, and for want bytes of body a
// window, and returns how many fit. The caller holds mu.
func (s *stream) grant(want int) (int, error) {
	c := s.c
	defer c.unqueue(s)
	for {
		switch {
		case s.reset || s.local || c.dead || c.shut:
			return 0, errReset
		case s.lane.WriteExpired():
			return 0, os.ErrDeadlineExceeded
		}
		window := c.send > 0 && s.send > 0 || want == 0
		if window && len(c.out) < outLimit {
			if want == 0 {
				return 0, nil
			}
			return int(min(int64(want), c.send, s.send, frameSize)), nil
		}
		if want == 0 || s.send > 0 {
			if !s.queued {
				s.queued = true
				c.waiters = append(c.waiters, s)
			}
		} else {
			c.admit(1) // it is not for us
		}
		s.cond.Wait()
	}
}

// unqueue takes s out of those that wait. The caller holds mu.
func (c *conn) unqueue(s *stream) {
	if !s.queued {
		return
	}
	s.queued = false
	c.waiters = slices.DeleteFunc(c.waiters, func(w *stream) bool { return w == s })
}

// Flush has nothing to do: the writer does not wait for more.
func (s *stream) Flush() error { return nil }

// Wake makes a blocked call look at the deadline.
func (s *stream) Wake() {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.cond.Broadcast()
}

// Taken gives the client leave to send more.
func (s *stream) Taken(n int, due bool) {
	c := s.c
	total := c.taken.Add(int64(n))
	if !due && total < int64(c.limits.ConnWindow/4) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.replenish()
	if due && !s.remote && c.streams[s.id] == s {
		if n := s.lane.Credit(); n > 0 {
			s.recv += int64(n)
			c.putWindow(s.id, n)
		}
	}
}

// replenish tells the client what may be sent again on the connection, once it
// is enough to be worth it. The caller holds mu.
func (c *conn) replenish() {
	n := c.taken.Load()
	if n < int64(c.limits.ConnWindow/4) || c.shut || c.dead {
		return
	}
	c.taken.Add(-n)
	c.recv += n
	c.putWindow(0, int(n))
}

// waste gives back n bytes of the connection's window that nobody will read.
// The caller holds mu.
func (c *conn) waste(n int) {
	c.taken.Add(int64(n))
	c.replenish()
}

// Ended breaks the stream off where the lane has ended before the answer, or
// before the client has sent all of its request.
func (s *stream) Ended(untouched bool, discarded int) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waste(discarded)
	if c.streams[s.id] != s || s.reset {
		return
	}
	switch {
	case s.local:
		c.abort(s, codeNo) // RFC 9113 section 8.1: the rest is not wanted
	case s.lane.Tunnel():
		c.out = appendFrame(c.out, 0, frameData, flagEndStream, s.id)
		s.local = true
		if s.remote {
			c.rouse()
			c.drop(s)
			return
		}
		c.abort(s, codeNo)
	case untouched:
		c.abort(s, codeRefused)
	default:
		c.abort(s, codeInternal)
	}
}

// abort ends the stream with RST_STREAM. The caller holds mu, and sees to the
// lane.
func (c *conn) abort(s *stream, why code) {
	s.reset = true
	s.cond.Signal()
	if !s.remote {
		c.remember(s.id)
	}
	c.putReset(s.id, why)
	c.drop(s)
}

// remember notes that the client may still send on a stream that we have ended.
// The caller holds mu.
func (c *conn) remember(id uint32) {
	c.ended[id/2%uint32(len(c.ended))] = id
}

// remembers reports whether what comes on a stream that is closed was on its
// way when we ended it, or when we said that we look at no more. The caller
// holds mu.
func (c *conn) remembers(id uint32) bool {
	return c.ended[id/2%uint32(len(c.ended))] == id || c.goaway.final && id > c.last
}

// streamError ends a stream for the client's mistake (RFC 9113 section 5.4.2).
// Such a stream costs as much as one that the client resets itself.
func (c *conn) streamError(id uint32, why code) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.breakOff(id, c.streams[id], why)
}

// breakOff is streamError for who holds mu. s is nil where the stream is not
// open.
func (c *conn) breakOff(id uint32, s *stream, why code) error {
	if s != nil {
		c.abort(s, why)
		c.waste(s.lane.Cut())
	} else {
		c.remember(id)
		c.putReset(id, why)
	}
	return c.calm.broke()
}
