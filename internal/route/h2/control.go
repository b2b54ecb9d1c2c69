package h2

import "encoding/binary"

// greet sends our preface (RFC 9113 section 3.4).
func (c *conn) greet() {
	l := c.limits
	var p []byte
	p = appendSetting(p, setStreams, l.Streams)
	p = appendSetting(p, setWindow, l.StreamWindow)
	p = appendSetting(p, setHeaderList, l.Header)
	p = appendSetting(p, setConnect, 1)
	p = appendSetting(p, setNoPriorities, 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.greeted = true
	if c.ready(frameHead + len(p)) {
		c.out = append(appendFrame(c.out, len(p), frameSettings, 0, 0), p...)
	}
	if n := l.ConnWindow - defaultWindow; n > 0 {
		c.putWindow(0, n)
	}
}

// handleSettings takes the client's settings (RFC 9113 section 6.5).
func (c *conn) handleSettings(f frame, p []byte) error {
	switch {
	case f.id != 0:
		return protocolError("SETTINGS on a stream")
	case f.has(flagAck) && len(p) > 0, len(p)%6 != 0:
		return &fault{codeFrameSize, "SETTINGS of a wrong size"}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.has(flagAck) {
		c.acknowledged()
		return c.calm.heard()
	}
	window := c.initial
	for ; len(p) > 0; p = p[6:] {
		v := binary.BigEndian.Uint32(p[2:])
		switch binary.BigEndian.Uint16(p) {
		case setTableSize:
			c.encoder.limit(v)
		case setPush, setConnect:
			if v > 1 {
				return protocolError("setting neither 0 nor 1")
			}
		case setWindow:
			if v > maxWindow {
				return &fault{codeFlowControl, "initial window too large"}
			}
			window = int64(v)
		case setFrameSize:
			if v < frameSize || v > 1<<24-1 {
				return protocolError("frame size out of range")
			}
		}
	}
	if err := c.reopen(window); err != nil {
		return err
	}
	if c.ready(frameHead) {
		c.out = appendFrame(c.out, 0, frameSettings, flagAck, 0)
	}
	return c.afterControl()
}

// acknowledged notes that the client knows our settings: from now on it has no
// more than our window on a stream. The caller holds mu.
func (c *conn) acknowledged() {
	if c.acked {
		return
	}
	c.acked = true
	if surplus := int64(defaultWindow - c.limits.StreamWindow); surplus > 0 {
		for _, s := range c.streams {
			s.recv -= surplus
		}
	}
}

// reopen changes the window of all streams (RFC 9113 section 6.9.2). The caller
// holds mu.
func (c *conn) reopen(window int64) error {
	change := window - c.initial
	if change == 0 {
		return nil
	}
	c.initial = window
	for _, s := range c.streams {
		s.send += change
		if s.send > maxWindow {
			return &fault{codeFlowControl, "window of a stream too large"}
		}
		if s.send > 0 {
			s.cond.Signal()
		}
	}
	return nil
}

// afterControl takes what a frame that made us answer costs. The caller holds
// mu.
func (c *conn) afterControl() error {
	if c.control > maxControl {
		return &fault{codeEnhanceCalm, "frames sent without reading"}
	}
	return c.calm.heard()
}

// handlePing answers a PING (RFC 9113 section 6.7).
func (c *conn) handlePing(f frame, p []byte) error {
	switch {
	case f.id != 0:
		return protocolError("PING on a stream")
	case len(p) != 8:
		return &fault{codeFrameSize, "PING of a wrong size"}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.has(flagAck) {
		if string(p) == leavingPing {
			c.windUp()
		}
		return c.calm.heard()
	}
	if c.ready(frameHead + 8) {
		c.out = append(appendFrame(c.out, 8, framePing, flagAck, 0), p...)
	}
	return c.afterControl()
}

// handleGoAway notes that the client opens no more streams (RFC 9113 section
// 6.8). It still gets its answers.
func (c *conn) handleGoAway(f frame, p []byte) error {
	switch {
	case f.id != 0:
		return protocolError("GOAWAY on a stream")
	case len(p) < 8:
		return &fault{codeFrameSize, "GOAWAY of a wrong size"}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.goaway.final {
		c.goaway.at = max(c.s.clock.Load(), 1)
		c.windUp()
	}
	return c.calm.heard()
}

// handlePriority ignores a PRIORITY, but for its form (RFC 9113 section 6.3).
func (c *conn) handlePriority(f frame, p []byte) error {
	switch {
	case f.id == 0:
		return protocolError("PRIORITY without a stream")
	case len(p) != 5:
		return &fault{codeFrameSize, "PRIORITY of a wrong size"}
	case dependsOn(p) == f.id:
		return protocolError("stream depends on itself")
	}
	return c.noise()
}

// dependsOn is the stream on which a priority says to depend.
func dependsOn(p []byte) uint32 { return binary.BigEndian.Uint32(p) & (1<<31 - 1) }

// handleReset takes a RST_STREAM (RFC 9113 section 6.4): the lane is cut, so
// that nothing more is done for the stream.
func (c *conn) handleReset(f frame, p []byte) error {
	switch {
	case len(p) != 4:
		return &fault{codeFrameSize, "RST_STREAM of a wrong size"}
	case f.id == 0 || c.isIdle(f.id):
		return protocolError("RST_STREAM on an idle stream")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.streams[f.id]
	if s == nil {
		return c.calm.heard()
	}
	s.reset = true
	s.cond.Signal()
	c.waste(s.lane.Cut())
	c.drop(s)
	if s.local {
		return c.calm.heard() // it only did not send all of its request
	}
	return c.calm.broke()
}

// isIdle reports whether a stream has never been open. Ours, the even ones,
// never are. Only the reader opens streams, so it needs no lock.
func (c *conn) isIdle(id uint32) bool { return id%2 == 0 || id > c.top }

// handleWindow takes a WINDOW_UPDATE (RFC 9113 section 6.9).
func (c *conn) handleWindow(f frame, p []byte) error {
	if len(p) != 4 {
		return &fault{codeFrameSize, "WINDOW_UPDATE of a wrong size"}
	}
	n := int64(dependsOn(p))
	if f.id == 0 {
		return c.widen(n)
	}
	if c.isIdle(f.id) {
		return protocolError("WINDOW_UPDATE on an idle stream")
	}
	c.mu.Lock()
	s := c.streams[f.id]
	why := codeNo
	switch {
	case s == nil: // closed since
	case n == 0:
		why = codeProtocol
	case s.send+n > maxWindow:
		why = codeFlowControl
	default:
		s.send += n
		if s.send > 0 {
			s.cond.Signal()
		}
	}
	err := c.calm.heard()
	c.mu.Unlock()
	if err == nil && why != codeNo {
		return c.streamError(f.id, why)
	}
	return err
}

// widen adds to the connection's window.
func (c *conn) widen(n int64) error {
	if n == 0 {
		return protocolError("WINDOW_UPDATE of nothing")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.send += n; c.send > maxWindow {
		return &fault{codeFlowControl, "window too large"}
	}
	c.admit(outLimit / frameSize)
	return c.calm.heard()
}
