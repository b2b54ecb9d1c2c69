package plane

import (
	"io"
	"net"
	"syscall"

	"golang.org/x/sys/unix"

	"landward/internal/route/sockio"
)

// socket reads from and writes to a plain connection. It does so as the
// connection itself would, and waits as it would, deadlines included; but what
// does not wait is not announced to the scheduler, and a request can be served,
// or an answer be had, within one wait.
//
// One goroutine may read while another writes.
type socket struct {
	raw     syscall.RawConn
	in, out transfer
	waits   reader

	askOnce func(fd uintptr) bool
	asked   func() // of the call of ask in progress; nil once that has begun
	checks  bool   // likewise
	ahead   bool   // in is what the next read finds

	// held is the descriptor while a step of a wait does more than to read: it
	// stays open meanwhile. 0: there is none.
	held uintptr
}

// reader is who waits for something to read without a buffer.
type reader interface {
	borrow() []byte
	release()
	// take is called when n bytes have come, within the wait. Where it returns
	// true it has dealt with them, and the wait goes on as if it had just begun;
	// else they are what the read returns. It must not read from the connection.
	take(n int) bool
}

// transfer is one direction of a socket.
type transfer struct {
	once func(fd uintptr) bool
	b    []byte // of the call in progress
	n    int
	err  error
}

// newSocket returns nil where conn is no plain connection. waits may be nil where
// every read brings a buffer.
func newSocket(conn net.Conn, waits reader) *socket {
	switch conn.(type) {
	case *net.TCPConn, *net.UnixConn:
	default:
		return nil
	}
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return nil
	}
	s := &socket{raw: raw, waits: waits}
	s.in.once, s.out.once, s.askOnce = s.readOnce, s.writeOnce, s.askOrRead
	return s
}

// read is net.Conn's Read. Without b, who waits gives a buffer as soon as there
// is something to read, and not before.
func (s *socket) read(b []byte) (int, error) {
	if s.ahead {
		s.ahead = false
		return s.in.n, s.in.err
	}
	s.in.b = b
	err := s.raw.Read(s.in.once)
	s.in.b = nil
	if err != nil {
		return 0, err
	}
	return s.in.n, s.in.err
}

// readOnce reports false where there is nothing yet; then the runtime waits.
func (s *socket) readOnce(fd uintptr) bool {
	b, lent := s.in.b, s.in.b == nil
	if lent {
		b = s.waits.borrow()
	}
	n, err := sockio.Receive(fd, b)
	switch {
	case err == unix.EAGAIN:
		if lent {
			s.waits.release()
		}
		return false
	case err != 0:
		s.in.n, s.in.err = 0, err
	case n == 0:
		s.in.n, s.in.err = 0, io.EOF
	default:
		s.in.n, s.in.err = n, nil
		if !lent {
			return true
		}
		// What comes from now on ends the next wait: nothing is lost by not
		// looking for it first.
		s.held = fd
		taken := s.waits.take(n)
		s.held = 0
		return !taken
	}
	return true
}

// write is net.Conn's Write.
func (s *socket) write(b []byte) (int, error) {
	s.out.b, s.out.n, s.out.err = b, 0, nil
	var err error
	if s.held == 0 || !s.writeOnce(s.held) {
		err = s.raw.Write(s.out.once)
	}
	s.out.b = nil
	if err == nil {
		err = s.out.err
	}
	return s.out.n, err
}

// writeOnce reports false where there is no room; then the runtime waits.
func (s *socket) writeOnce(fd uintptr) bool {
	for s.out.n < len(s.out.b) {
		n, err := sockio.Send(fd, s.out.b[s.out.n:])
		if err == unix.EAGAIN {
			return false
		}
		if err != 0 {
			s.out.err = err
			return true
		}
		s.out.n += n
	}
	return true
}

// ask writes b, calls asked, waits until there is something to read, an answer or
// the end, and reads it into the buffer answer: the next read must be into that
// one, and finds it there. n and the error are those of the write. Where check is
// set, a peer that has spoken already is not asked, and the error is errSpoken.
// Nobody may read meanwhile.
func (s *socket) ask(b, answer []byte, check bool, asked func()) (n int, err error) {
	s.out.b, s.out.n, s.out.err, s.in.b = b, 0, nil, answer
	s.checks, s.asked = check, asked
	err = s.raw.Read(s.askOnce)
	if s.asked == nil { // it has begun
		err = s.out.err
	}
	s.out.b, s.in.b, s.asked = nil, nil, nil
	return s.out.n, err
}

// askOrRead asks, and reads once something has come. The runtime forgets what
// came before it is called the first time, and nothing after: an answer that
// comes during the write ends the wait.
func (s *socket) askOrRead(fd uintptr) bool {
	asked := s.asked
	if asked == nil {
		s.ahead = s.readOnce(fd)
		return s.ahead
	}
	s.asked = nil
	if s.checks && !sockio.Silent(fd) {
		s.out.err = errSpoken
		return true
	}
	s.held = fd
	s.out.n, s.out.err = s.write(s.out.b)
	s.held = 0
	asked()
	return s.out.err != nil
}

// quiet reports whether the peer is there and has said nothing that has not been
// read.
func (s *socket) quiet() (quiet bool) {
	err := s.raw.Control(func(fd uintptr) { quiet = sockio.Silent(fd) })
	return err == nil && quiet
}

// hungUp reports whether the peer of a connection has closed its side, whatever
// it has said before.
func hungUp(conn syscall.Conn) (end bool) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	err = raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}} //nolint:gosec // a descriptor fits
		n, err := unix.Poll(fds, 0)
		end = n > 0 || err != nil && err != unix.EINTR //nolint:errorlint // package unix returns it as it is
	})
	return end || err != nil
}
