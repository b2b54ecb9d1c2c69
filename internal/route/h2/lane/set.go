package lane

import (
	"net"
	"sync"
	"time"
)

// Options are what a Set is made of. All but Server are required.
type Options struct {
	Hand   func(net.Conn)  // serves one HTTP/1.1 connection until it ends
	Far    func(*Lane) Far // makes the far side of a new lane
	Proto  string          // "HTTP/2.0", "HTTP/3.0"
	Local  net.Addr
	Remote net.Addr
	Server string // the name that the client's handshake asked for; empty: none
	Max    int    // lanes at once
	Credit int    // bytes of body read that are worth telling the client
}

// Set is the lanes of one client's connection. An exchange that ends well
// leaves its lane for the next one, newest first.
type Set struct {
	o Options

	mu     sync.Mutex
	idle   []*Lane
	live   map[*Lane]struct{}
	closed bool
	all    sync.WaitGroup
}

// NewSet makes an empty set. It starts nothing.
func NewSet(o Options) *Set {
	return &Set{o: o, live: make(map[*Lane]struct{})}
}

// Take returns an idle lane or a new one, or nil where there are too many or
// the set is closed. Begin may still find that it has ended.
func (s *Set) Take() *Lane {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.idle); n > 0 {
		l := s.idle[n-1]
		s.idle[n-1] = nil
		s.idle = s.idle[:n-1]
		l.since = time.Time{}
		return l
	}
	if s.closed || len(s.live) >= s.o.Max {
		return nil
	}
	l := &Lane{set: s}
	l.readable.L = &l.mu
	l.far = s.o.Far(l)
	s.live[l] = struct{}{}
	return l
}

// start serves the near side of l.
func (s *Set) start(l *Lane) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		_ = l.Close() // tells the far side that nobody has seen the request
		return
	}
	s.all.Add(1)
	s.mu.Unlock()
	go func() {
		defer s.all.Done()
		defer func() { _ = l.Close() }() // it may be closed already
		s.o.Hand(l)
	}()
}

// put keeps l for another exchange. It reports false where it is not wanted.
// The caller holds the lane's mutex.
func (s *Set) put(l *Lane) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.idle = append(s.idle, l)
	return true
}

// forget drops a lane that has ended.
func (s *Set) forget(l *Lane) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.live, l)
	for i, other := range s.idle {
		if other == l {
			s.idle = append(s.idle[:i], s.idle[i+1:]...)
			return
		}
	}
}

// Trim ends the lanes that have not been used since the call before the last
// one with another now, so that a burst does not hold its lanes for long.
func (s *Set) Trim(now time.Time, keep time.Duration) {
	var old []*Lane
	s.mu.Lock()
	for _, l := range s.idle {
		switch {
		case l.since.IsZero():
			l.since = now
		case now.Sub(l.since) >= keep:
			old = append(old, l)
		}
	}
	s.mu.Unlock()
	for _, l := range old {
		l.retire()
	}
}

// Close cuts all lanes and waits until their near sides have ended.
func (s *Set) Close() {
	s.mu.Lock()
	s.closed = true
	list := make([]*Lane, 0, len(s.live))
	for l := range s.live {
		list = append(list, l)
	}
	s.idle = nil
	s.mu.Unlock()
	for _, l := range list {
		l.Cut()
	}
	s.all.Wait()
}
