package h2

import (
	"runtime"
	"sync"
)

const (
	// outLimit is how much may wait to be written before answers wait too.
	outLimit = 64 << 10
	// outBuffer is the size of the buffers that the writer uses for much.
	outBuffer = outLimit + 2*frameSize
	// smallOut is how large a buffer a connection without a stream keeps.
	smallOut = 4 << 10
	// maxControl bounds the frames that answer a client's own: a client that
	// sends without reading is cut off.
	maxControl = 4096
)

var outBuffers = sync.Pool{New: func() any { b := make([]byte, 0, outBuffer); return &b }}

// ready prepares for a frame of n bytes that no stream has asked for, and wakes
// the writer. It reports false where nothing can be written any more. The
// caller holds mu and appends the frame to out.
func (c *conn) ready(n int) bool {
	if c.shut || c.dead {
		return false
	}
	c.room(n)
	c.control++
	c.rouse()
	return true
}

func (c *conn) putReset(id uint32, why code) {
	if c.ready(frameHead + 4) {
		c.out = appendReset(c.out, id, why)
	}
}

func (c *conn) putWindow(id uint32, n int) {
	if c.ready(frameHead + 4) {
		c.out = appendWindow(c.out, id, n)
	}
}

func (c *conn) putGoAway(last uint32, why code, reason string) {
	if c.ready(frameHead + 8 + len(reason)) {
		c.out = appendGoAway(c.out, last, why, reason)
	}
}

// room makes sure that n bytes fit without one append after another growing
// the buffer. The caller holds mu.
func (c *conn) room(n int) {
	if len(c.out)+n <= cap(c.out) {
		return
	}
	if cap(c.out) < outBuffer && len(c.out)+n > smallOut {
		b := outBuffers.Get().(*[]byte)
		c.out = append((*b)[:0], c.out...)
	}
}

// rouse wakes the writer. The caller holds mu.
func (c *conn) rouse() {
	if c.sleeping {
		c.sleeping = false
		c.wake.Signal()
	}
}

// writeLoop writes what has been put into out, as much at once as there is.
func (c *conn) writeLoop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if len(c.out) == 0 && !c.shut {
			c.tidy()
			c.sleeping = true
			for c.sleeping && !c.shut {
				c.wake.Wait()
			}
			if !c.shut {
				// Whoever is about to answer does so first: one write, one
				// TLS record and one system call for all of them.
				c.mu.Unlock()
				runtime.Gosched()
				c.mu.Lock()
			}
		}
		if len(c.out) == 0 {
			if c.shut {
				return
			}
			continue
		}
		if !c.flush() {
			return
		}
	}
}

// flush writes out once. The caller holds mu, which is released meanwhile. It
// reports whether the connection is still good.
func (c *conn) flush() bool {
	buf := c.out
	c.out, c.spare = c.spare[:0], nil
	c.control = 0
	c.admit(outLimit / frameSize)
	c.mu.Unlock()
	c.writeAt.Store(max(c.s.clock.Load(), 1))
	_, err := c.raw.Write(buf)
	c.writeAt.Store(0)
	c.mu.Lock()
	c.spare = buf[:0]
	if err == nil {
		return true
	}
	c.dead = true
	for _, s := range c.streams {
		s.cond.Signal()
	}
	_ = c.raw.SetReadDeadline(past) // the reader ends the rest
	return false
}

// tidy gives large buffers back while there is nothing to write. The caller
// holds mu.
func (c *conn) tidy() {
	if len(c.streams) > 0 {
		return
	}
	for _, b := range []*[]byte{&c.out, &c.spare} {
		if cap(*b) == outBuffer {
			old := (*b)[:0]
			outBuffers.Put(&old)
		}
		if cap(*b) > smallOut {
			*b = nil
		}
	}
}

// admit lets the first n of the streams that wait for room try again, if there
// is any. Each lets another one in when it is through. The caller holds mu.
func (c *conn) admit(n int) {
	for ; n > 0 && len(c.waiters) > 0 && c.send > 0 && len(c.out) < outLimit; n-- {
		s := c.waiters[0]
		c.waiters[0] = nil
		c.waiters = c.waiters[1:]
		s.queued = false
		s.cond.Signal()
	}
}
