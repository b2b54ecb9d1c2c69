package h2

import "time"

// goaway is how far leaving has come (RFC 9113 section 6.8): first the client
// is told that it is to open no more streams, and after the time in which those
// on their way have come, which one was the last.
type goaway struct {
	due   int64 // since when a connection is to be left that has only begun, 0: is not
	at    int64 // when the first was sent, 0: not yet
	final bool
}

// goawayGap is how long the final GOAWAY waits for the answer to our PING.
const goawayGap = int64(time.Second)

// leavingPing is what our PING says.
const leavingPing = "landward"

// wind begins to leave. A client that has not been greeted yet gets an answer
// first: a connection that is left before it was used is an error to most.
func (c *conn) wind(now int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.greeted {
		c.goaway.due = max(now, 1)
		return
	}
	c.windDown(now)
}

// windDown sends the first GOAWAY. The caller holds mu.
func (c *conn) windDown(now int64) {
	if c.goaway.at != 0 {
		return
	}
	c.goaway.due, c.goaway.at = 0, max(now, 1)
	c.putGoAway(maxWindow, codeNo, "")
	if c.ready(frameHead + len(leavingPing)) {
		c.out = append(appendFrame(c.out, len(leavingPing), framePing, 0, 0), leavingPing...)
	}
}

// windOn sends the next GOAWAY once its time has come. The caller holds mu.
func (c *conn) windOn(now int64) {
	if c.goaway.due != 0 && now-c.goaway.due >= goawayGap {
		c.windDown(now)
	}
	if c.goaway.at != 0 && now-c.goaway.at >= goawayGap {
		c.windUp()
	}
}

// windUp sends the final GOAWAY. The caller holds mu.
func (c *conn) windUp() {
	if c.goaway.at == 0 || c.goaway.final {
		return
	}
	c.goaway.final = true
	c.putGoAway(c.last, codeNo, "")
	c.drained()
}

// drained ends the reader where no stream is left and none will come. The
// caller holds mu.
func (c *conn) drained() {
	if !c.goaway.final || len(c.streams) > 0 {
		return
	}
	if c.stopping == reasonNone {
		c.stopping = reasonDrained
	}
	_ = c.raw.SetReadDeadline(past)
}
