package plane

import (
	"math"
	"sync/atomic"
	"time"
)

// deadline is the deadline of one side of one connection. The goroutine that is
// about to block arms it; the sweeper looks at all guards a few times a second
// and wakes whoever is too late by a deadline in the past. So an operation
// costs two atomic stores instead of two timers.
//
// It holds 0 (nobody blocks), a time after which it fires, or a reason.
type deadline struct{ at atomic.Int64 }

// Values of a guard that are not times.
const (
	deadlineOff int64 = 0
	forever     int64 = math.MaxInt64     // may be cut, never times out
	afterUpload int64 = math.MaxInt64 - 1 // as forever; the end of the upload sets the time
	hitTimeout  int64 = -1
	hitGone     int64 = -2 // the client went away
	hitCut      int64 = -3 // at the drain limit
	hitUpload   int64 = -4 // the upload failed
	hitStop     int64 = -5 // the upload is no longer wanted
	hitPark     int64 = -6 // idle for long enough to do without a goroutine
)

const (
	// goneAfter is when we begin to look whether the client still waits.
	goneAfter = int64(time.Second)
	// idleInCrowd is how long a client may be idle when there are many.
	idleInCrowd = int64(2 * time.Second)
	// slowInCrowd is for how long a client may then send less of a body than
	// slowRate bytes a second, and slowWrite what part of WriteTimeout a write
	// may take.
	slowInCrowd = int64(5 * time.Second)
	slowRate    = 240
	slowWrite   = 4
)

// arm sets the deadline and returns 0, or the reason for which the guard has
// fired before.
func (g *deadline) arm(at int64) int64 {
	if v := g.at.Swap(at); v < 0 {
		g.at.Store(v)
		return v
	}
	return 0
}

// disarm ends the wait and returns 0, or the reason for which the guard fired:
// then the connection is spoilt even if the operation went well.
func (g *deadline) disarm() int64 {
	if v := g.at.Swap(deadlineOff); v < 0 {
		g.at.Store(v)
		return v
	}
	return 0
}

// clear forgets a reason.
func (g *deadline) clear() { g.at.Store(deadlineOff) }

// expire fires the guard if its time has come.
func (g *deadline) expire(now int64) bool {
	v := g.at.Load()
	return v > 0 && v <= now && g.at.CompareAndSwap(v, hitTimeout)
}

// hit fires the guard for that reason if somebody blocks on it.
func (g *deadline) hit(reason int64) bool {
	for {
		v := g.at.Load()
		if v <= 0 {
			return false
		}
		if g.at.CompareAndSwap(v, reason) {
			return true
		}
	}
}

// past is a deadline that wakes whoever blocks.
var past = time.Unix(1, 0)

// sweep fires what is due.
func (p *Plane) sweep(now int64) {
	crowded := p.doors.crowded()
	p.swept = p.appendAll(p.swept[:0])
	for _, s := range p.swept {
		s.sweep(now, crowded)
	}
	clear(p.swept)
	if crowded {
		p.lot.evict(now - idleInCrowd)
	} else {
		p.lot.evict(now - int64(p.limits.IdleTimeout))
	}
	p.swap.Lock()
	defer p.swap.Unlock()
	for key, t := range p.targets {
		t.expire(now)
		if t.retired.Load() && t.inflight.Load() == 0 {
			delete(p.targets, key)
		}
	}
}

// sweep fires this session's guards. The upstream is read before a guard is
// fired: whoever sees a fired guard never gives that upstream back, so a late
// wake-up cannot hit another request.
func (s *session) sweep(now int64, crowded bool) {
	up := s.up.Load()
	if s.cr.expire(now) {
		_ = s.conn.SetReadDeadline(past)
	}
	if s.cw.expire(now) {
		_ = s.conn.SetWriteDeadline(past)
	}
	s.sweepIdle(now, crowded)
	if crowded {
		s.sweepSlow(now)
	}
	busy := s.busy.Load()
	if up == nil {
		return
	}
	if s.ur.expire(now) {
		_ = up.conn.SetReadDeadline(past)
	}
	if s.uw.expire(now) {
		_ = up.conn.SetWriteDeadline(past)
	}
	if busy > 0 && now-busy > goneAfter && s.gone() && s.ur.hit(hitGone) {
		_ = up.conn.SetReadDeadline(past)
	}
}

// sweepIdle closes a client's connection that is idle when there are many, and
// parks one that has been so for a while.
func (s *session) sweepIdle(now int64, crowded bool) {
	at := s.cr.at.Load()
	// In this order: a state that is idle now has armed the guard as such, or
	// the value below has changed.
	if at <= 0 || s.busy.Load() != stateIdle {
		return
	}
	switch idle := now - at + int64(s.p.limits.IdleTimeout); {
	case crowded && idle > idleInCrowd:
		if s.cr.at.CompareAndSwap(at, hitTimeout) {
			_ = s.conn.SetReadDeadline(past)
		}
	case s.parkable() && idle > s.patience():
		s.nudge.Lock()
		defer s.nudge.Unlock()
		if s.cr.at.CompareAndSwap(at, hitPark) {
			_ = s.conn.SetReadDeadline(past)
		}
	}
}

// sweepSlow ends the request of a client that makes next to no use of its
// connection, when others need one. While there is room, it may take its time: a
// body that comes in drops can be an honest stream.
func (s *session) sweepSlow(now int64) {
	if s.body.slow(now) && s.cr.hit(hitTimeout) {
		_ = s.conn.SetReadDeadline(past)
	}
	limit := int64(s.p.limits.WriteTimeout)
	at := s.cw.at.Load()
	if at > 0 && now > at-limit+limit/slowWrite && s.cw.at.CompareAndSwap(at, hitTimeout) {
		_ = s.conn.SetWriteDeadline(past)
	}
}

// pace is how fast a client sends a body.
type pace struct {
	since atomic.Int64 // when it began, as now() tells; 0: there is no body to come
	bytes atomic.Int64 // that have come since
}

// begin counts from now on.
func (p *pace) begin(now int64) {
	p.bytes.Store(0)
	p.since.Store(now)
}

func (p *pace) end() { p.since.Store(0) }

// slow reports whether the client has had time, and was slower than slowRate.
func (p *pace) slow(now int64) bool {
	since := p.since.Load()
	if since == 0 || now-since < slowInCrowd {
		return false
	}
	return p.bytes.Load() < slowRate*((now-since)/int64(time.Second))
}
