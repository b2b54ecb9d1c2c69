package plane

import (
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A goroutine that waits for an idle client costs its stack, and the session's
// state beside it: several times the connection itself. So after a moment it
// ends, and the connection is parked: the kernel watches it, and a new goroutine
// takes it up when there is something to read.

const (
	// manyAwake is how many sessions there are when idle ones are looked for
	// sooner than every tick, and parkSoon is how soon.
	manyAwake = 256
	parkSoon  = 50 * time.Millisecond
	// A client that comes back while it has been idle for less than livelyWithin
	// times ParkAfter is left its goroutine for livelyAfter times as long from
	// then on: parking costs more than it saves.
	livelyWithin = 20
	livelyAfter  = 40
)

// lot holds the parked connections.
type lot struct {
	p *Plane

	mu    sync.Mutex
	epoll *os.File // nil: nobody waits, so nothing can be parked
	fd    int      // of epoll
	spots []spot
	free  []int32 // those of spots that hold nothing
	puts  uint64  // how often something was parked
}

// spot is all that is left of a parked session.
type spot struct {
	conn   *net.TCPConn // nil: free
	since  int64        // when it became idle
	fd     int32
	turn   uint32 // tells a late event from one of this connection
	lively bool
}

// start lets connections be parked until the function that it returns is
// called. That one gives those that are parked their goroutines back.
func (l *lot) start() (stop func()) {
	none := func() {}
	if l.p.limits.ParkAfter < 0 {
		return none
	}
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err == nil {
		// The runtime waits for the descriptor as for any other, so that no
		// thread is held.
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		l.p.log.Warn("idle connections keep their goroutines", "err", err)
		return none
	}
	file := os.NewFile(uintptr(fd), "parked connections")
	raw, err := file.SyscallConn()
	if err == nil {
		err = file.SetReadDeadline(time.Time{}) // fails where the runtime cannot wait for it
	}
	if err != nil {
		l.p.log.Warn("idle connections keep their goroutines", "err", errors.Join(err, file.Close()))
		return none
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epoll, l.fd = file, fd
	var waiting sync.WaitGroup
	waiting.Go(func() { l.wait(raw) })
	return func() {
		l.close()
		waiting.Wait()
	}
}

// close gives all parked connections their goroutines back.
func (l *lot) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.spots {
		if l.spots[i].conn != nil {
			go l.resume(i).serve()
		}
	}
	if err := l.epoll.Close(); err != nil {
		l.p.log.Error("close epoll descriptor", "err", err)
	}
	l.epoll, l.spots, l.free = nil, nil, nil
}

// wait resumes connections as they get something to read, until the lot is
// closed.
func (l *lot) wait(raw syscall.RawConn) {
	events := make([]unix.EpollEvent, 256)
	n := 0
	look := func(fd uintptr) bool {
		for {
			var err error
			n, err = unix.EpollWait(int(fd), events, 0) //nolint:gosec // a descriptor fits
			if err != unix.EINTR {                      //nolint:errorlint // package unix returns it as it is
				return n != 0
			}
		}
	}
	for raw.Read(look) == nil {
		if n < 0 {
			return // the descriptor is none: never
		}
		for _, e := range events[:n] {
			if s := l.ready(int(e.Fd), uint32(e.Pad)); s != nil { //nolint:gosec // as it was put in
				go s.serve()
			}
		}
	}
}

// ready returns the session of a connection that can be read from, nil where
// it is not there any more.
func (l *lot) ready(i int, turn uint32) *session {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i >= len(l.spots) || l.spots[i].conn == nil || l.spots[i].turn != turn {
		return nil
	}
	return l.resume(i)
}

// resume makes a parked connection a session again. It is among the plane's
// before it leaves the lot: a shutdown finds it in one of the two. The caller
// holds mu.
func (l *lot) resume(i int) *session {
	t := l.take(i)
	_ = unix.EpollCtl(l.fd, unix.EPOLL_CTL_DEL, int(t.fd), nil) // it is there
	s := newSession(l.p, t.conn, "http")
	s.counted, s.served = true, true
	s.busy.Store(stateIdle)
	s.lively = t.lively || l.p.now()-t.since < livelyWithin*int64(l.p.limits.ParkAfter)
	l.p.enlist(s)
	return s
}

// take empties a spot. The caller holds mu.
func (l *lot) take(i int) spot {
	t := l.spots[i]
	l.spots[i] = spot{turn: t.turn + 1}
	l.free = append(l.free, int32(i)) //nolint:gosec // as many as descriptors
	return t
}

// put parks a connection. It reports false where that cannot be: the plane
// shuts down, or nobody waits.
func (l *lot) put(t spot) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.epoll == nil || l.p.closing.Load() {
		return false
	}
	if len(l.free) == 0 {
		l.spots = append(l.spots, spot{})
		l.free = append(l.free, int32(len(l.spots)-1)) //nolint:gosec // as many as descriptors
	}
	last := len(l.free) - 1
	i := l.free[last]
	t.turn = l.spots[i].turn
	// What has come since the last look makes an event at once.
	err := unix.EpollCtl(l.fd, unix.EPOLL_CTL_ADD, int(t.fd), &unix.EpollEvent{
		Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLONESHOT, Fd: i, Pad: int32(t.turn)}) //nolint:gosec // read back the same way
	if err != nil {
		return false // out of memory, or of what the kernel lets one user watch
	}
	l.free = l.free[:last]
	l.spots[i] = t
	l.puts++
	return true
}

// evict closes the connections that have been idle since before then. That they
// are closed takes them from the kernel's list.
func (l *lot) evict(before int64) {
	var late []*net.TCPConn
	l.mu.Lock()
	for i := range l.spots {
		if t := &l.spots[i]; t.conn != nil && t.since < before {
			late = append(late, l.take(i).conn)
		}
	}
	l.mu.Unlock()
	for _, conn := range late {
		_ = conn.Close()
		l.p.dismiss(clientOf(conn))
	}
}

// count is how many connections are parked.
func (l *lot) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.spots) - len(l.free)
}

// parked is how often a connection has been parked.
func (l *lot) parked() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.puts
}

// parkable reports whether the kernel can watch the session's connection: plain
// HTTP whose connection has nothing in between, and nobody waiting for its end.
func (s *session) parkable() bool {
	return s.counted && s.sock != nil && s.tcp != nil && s.scheme == "http" && !s.stays.Load()
}

// patience is how long the session may be idle before it is parked.
func (s *session) patience() int64 {
	d := s.p.limits.ParkAfter
	switch {
	case d < 0:
		return forever
	case s.lively:
		d *= livelyAfter
	}
	return int64(d)
}

// park gives the connection away, and reports whether it did.
func (s *session) park() bool {
	t := spot{conn: s.tcp, since: s.began, lively: s.lively, fd: -1}
	if s.sock.raw.Control(func(fd uintptr) { t.fd = int32(fd) }) != nil { //nolint:gosec // a descriptor fits
		return false
	}
	s.busy.Store(stateOwn) // who still finds the session leaves its connection alone
	s.parked = s.p.lot.put(t)
	if !s.parked {
		s.stays.Store(true) // being asked again would begin its idle time anew
		s.busy.Store(stateIdle)
	}
	return s.parked
}

// rouse forgets that the session was asked to park, once who asked has done all.
func (s *session) rouse() {
	s.nudge.Lock()
	defer s.nudge.Unlock()
	s.cr.clear()
	_ = s.conn.SetReadDeadline(time.Time{})
}

// thin parks what has been idle for long enough, before the next tick.
func (p *Plane) thin(now int64) {
	p.swept = p.appendAll(p.swept[:0])
	for _, s := range p.swept {
		s.sweepIdle(now, false)
	}
	clear(p.swept)
}
