// Package h2 is a door for HTTP/2 (RFC 9113): it takes a client's connection,
// leads each stream through a lane to who serves HTTP/1.1, and the answer back.
// It owns frames, header compression, stream states, flow control and what a
// client may cost. It must never know hosts, routes, targets, pages or logs of
// requests: all that is behind Hand, the same for every protocol.
package h2

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Limits bound every connection. Zero values mean the defaults in brackets.
type Limits struct {
	Streams       int           // of a client at once [250]
	Header        int           // decoded bytes of a request's head or trailer, 32 more for each field [64 KiB]
	StreamWindow  int           // bytes of a request's body that wait to be read [256 KiB]
	ConnWindow    int           // the same for all of a connection's streams [1 MiB]
	Resets        int           // streams broken off at once before the client is told to calm down [200]
	Noise         int           // frames that carry nothing, at once, likewise [2000]
	HeaderTimeout time.Duration // for the preface, and for a head in several frames [10 s]
	IdleTimeout   time.Duration // without a stream [75 s]
	WriteTimeout  time.Duration // for one write of at most 128 KiB [60 s]
	LaneIdle      time.Duration // how long an unused lane is kept [10 s]
}

func or[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

func (l Limits) withDefaults() Limits {
	or(&l.Streams, 250)
	or(&l.Header, 64<<10)
	or(&l.StreamWindow, 256<<10)
	or(&l.ConnWindow, 1<<20)
	or(&l.Resets, 200)
	or(&l.Noise, 2000)
	or(&l.HeaderTimeout, 10*time.Second)
	or(&l.IdleTimeout, 75*time.Second)
	or(&l.WriteTimeout, time.Minute)
	or(&l.LaneIdle, 10*time.Second)
	l.StreamWindow = min(l.StreamWindow, maxWindow)
	l.ConnWindow = min(max(l.ConnWindow, defaultWindow), maxWindow) // RFC 9113 section 6.9.2: it cannot begin lower
	return l
}

// Options are what a Server is made of. Log and Hand are required.
type Options struct {
	Log    *slog.Logger
	Limits Limits
	// Hand serves one HTTP/1.1 connection until it ends. Each carries one
	// request at a time. They have the client's addresses, a method
	// Proto() string ("HTTP/2.0"), and a method Gone() bool that tells when
	// the client has given the request up; reads and writes fail then too.
	Hand func(c net.Conn)
	// Refused hears of each request that is answered here, without a Hand. It
	// must not wait for anything. nil: nobody.
	Refused func(status int, client net.Addr)
	Now     func() time.Time // [time.Now]
}

// tick is how exactly limits in time are kept.
const tick = time.Second

// Server serves HTTP/2 connections. It is safe for concurrent use.
type Server struct {
	o     Options
	epoch time.Time
	clock atomic.Int64 // nanoseconds since the epoch at the last tick

	mu      sync.Mutex
	conns   map[*conn]struct{}
	timer   *time.Timer // runs while there are connections
	closing bool
	over    bool          // Shutdown's time has come to its end
	empty   chan struct{} // closed while there are no connections
}

// New makes a Server. It starts nothing.
func New(o Options) *Server {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Refused == nil {
		o.Refused = func(int, net.Addr) {}
	}
	o.Limits = o.Limits.withDefaults()
	empty := make(chan struct{})
	close(empty)
	return &Server{o: o, epoch: o.Now(), conns: make(map[*conn]struct{}), empty: empty}
}

// ServeConn serves one connection and closes it: one on which TLS has agreed on
// "h2", or one in clear text that begins with the client's preface, which must
// still be there to read. It returns when all that it has started has ended.
func (s *Server) ServeConn(raw net.Conn) {
	c := newConn(s, raw)
	if !s.enter(c) {
		_ = raw.Close()
		return
	}
	defer s.leave(c)
	c.serve()
}

func (s *Server) now() int64 { return int64(s.o.Now().Sub(s.epoch)) }

func (s *Server) enter(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return false
	}
	now := s.now()
	if len(s.conns) == 0 {
		s.clock.Store(now)
		s.timer = time.AfterFunc(tick, s.tick)
		s.empty = make(chan struct{})
	}
	c.start, c.quiet = now, now
	if s.closing {
		c.goaway.due = max(now, 1) // nobody else has it yet
	}
	s.conns[c] = struct{}{}
	return true
}

func (s *Server) leave(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if len(s.conns) > 0 {
		return
	}
	s.timer.Stop()
	close(s.empty)
}

// tick looks after the limits in time of every connection.
func (s *Server) tick() {
	now := s.now()
	s.clock.Store(now)
	for _, c := range s.all() {
		c.tick(now)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.conns) > 0 {
		s.timer.Reset(tick)
	}
}

func (s *Server) all() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		list = append(list, c)
	}
	return list
}

// Shutdown tells all clients to go elsewhere (RFC 9113 section 6.8), lets the
// streams in progress finish until ctx ends, then cuts them. It returns once no
// connection is left. Those that come later, out of handshakes that had begun,
// get one answer; who may still hand such over calls Shutdown again after the
// last one. Once ctx has ended they are closed at once.
func (s *Server) Shutdown(ctx context.Context) {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	now := s.now()
	for _, c := range s.all() {
		c.wind(now)
	}
	select {
	case <-s.emptied():
	case <-ctx.Done():
	}
	if ctx.Err() == nil {
		return
	}
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	for _, c := range s.all() {
		c.kill()
	}
	<-s.emptied()
}

// emptied is closed when no connection is left of those that there are now.
func (s *Server) emptied() chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.empty
}
