package plane

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// spliceFrom is the length from which what is left of a body is moved by
	// the kernel: below, the way through our memory costs less than a pipe.
	spliceFrom = 32 << 10
	// pipeSize is what a pipe holds. A kernel that gives less is fine.
	pipeSize = 256 << 10
	// leastPipe is what one must hold to be worth it.
	leastPipe = 16 << 10
	// maxPipes bounds the pipes, each of which is two descriptors and up to
	// pipeSize of the kernel's memory. A body that finds none is copied.
	maxPipes = 64
)

// pipes are the pipes of a plane.
type pipes struct {
	mu     sync.Mutex
	spare  []*mover
	used   int
	closed bool
}

// between returns what moves the rest of a body from src to dst. It is nil where
// they are not plain TCP, where little is left, or where too many do so.
func (l *pipes) between(src, dst net.Conn, left int64) *mover {
	if left < spliceFrom {
		return nil
	}
	from, _ := src.(*net.TCPConn)
	to, _ := dst.(*net.TCPConn)
	if d, ok := dst.(interface{ PlainTCP() *net.TCPConn }); ok {
		to = d.PlainTCP()
	}
	if from == nil || to == nil {
		return nil
	}
	in, err := from.SyscallConn()
	if err != nil {
		return nil
	}
	out, err := to.SyscallConn()
	if err != nil {
		return nil
	}
	m := l.get()
	if m != nil {
		m.src, m.dst = in, out
	}
	return m
}

// get returns a mover with an empty pipe, or nil.
func (l *pipes) get() *mover {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.used >= maxPipes {
		return nil
	}
	var m *mover
	if n := len(l.spare); n > 0 {
		m = l.spare[n-1]
		l.spare = l.spare[:n-1]
	} else if m = newMover(); m == nil {
		return nil
	}
	l.used++
	return m
}

// put takes a mover back. A pipe that is not empty is never used again: the next
// body would begin with what is in it.
func (l *pipes) put(m *mover) {
	m.src, m.dst = nil, nil
	l.mu.Lock()
	defer l.mu.Unlock()
	l.used--
	if l.closed || m.held > 0 {
		m.close()
		return
	}
	l.spare = append(l.spare, m)
}

// close closes the pipes: those in use when they come back.
func (l *pipes) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.spare {
		m.close()
	}
	l.spare, l.closed = nil, true
}

// mover moves bytes from one TCP connection to another within the kernel
// (splice(2)): they are never copied to our memory.
type mover struct {
	r, w     int // the pipe's ends
	size     int // what fits into it
	held     int // what is in it
	src, dst syscall.RawConn
	in, out  func(fd uintptr) bool

	// Of the call in progress.
	most, n int
	err     error
}

// newMover returns nil where there is no pipe to be had.
func newMover() *mover {
	var fds [2]int
	if unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK) != nil {
		return nil
	}
	m := &mover{r: fds[0], w: fds[1]}
	size, err := unix.FcntlInt(uintptr(m.w), unix.F_SETPIPE_SZ, pipeSize) //nolint:gosec // a descriptor fits
	if err != nil {
		size, err = unix.FcntlInt(uintptr(m.w), unix.F_GETPIPE_SZ, 0) //nolint:gosec // likewise
	}
	if err != nil || size < leastPipe {
		m.close() // this user has too many pipes: what is left are tiny ones
		return nil
	}
	m.size = size
	m.in, m.out = m.fillOnce, m.drainOnce
	return m
}

func (m *mover) close() {
	_ = unix.Close(m.r)
	_ = unix.Close(m.w)
}

// fill takes up to most bytes from the source, as many as are there, and waits
// for the first. The pipe must be empty. The error is io.EOF where the source
// has ended.
func (m *mover) fill(most int64) (int, error) {
	m.most, m.n, m.err = int(min(most, int64(m.size))), 0, nil
	if err := m.src.Read(m.in); err != nil {
		return 0, err
	}
	if m.err == nil && m.n == 0 {
		m.err = io.EOF
	}
	m.held = m.n
	return m.n, m.err
}

func (m *mover) fillOnce(fd uintptr) bool {
	m.n, m.err = splice(int(fd), m.w, m.most) //nolint:gosec // a descriptor fits
	return !errors.Is(m.err, unix.EAGAIN)     // the pipe has room, so it is the source that has nothing
}

// drain writes some of what the pipe holds to the destination, as much as there
// is room for, and waits for the first.
func (m *mover) drain() (int, error) {
	m.n, m.err = 0, nil
	if err := m.dst.Write(m.out); err != nil {
		return m.n, err
	}
	return m.n, m.err
}

func (m *mover) drainOnce(fd uintptr) bool {
	for m.held > 0 {
		n, err := splice(m.r, int(fd), m.held) //nolint:gosec // a descriptor fits
		if errors.Is(err, unix.EAGAIN) {
			return m.n > 0
		}
		if err == nil && n == 0 {
			err = io.ErrNoProgress
		}
		if m.err = err; err != nil {
			return true
		}
		m.held -= n
		m.n += n
	}
	return true
}

func splice(from, to, most int) (int, error) {
	for {
		n, err := unix.Splice(from, nil, to, nil, most, unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
		if err != unix.EINTR { //nolint:errorlint // package unix returns it as it is
			return int(max(n, 0)), err
		}
	}
}

// relaySpliced relays what is left of an answer's body of known length. It
// reports whether all of it has come and gone.
func (x *exchange) relaySpliced(m *mover, left int64) bool {
	defer x.p.pipes.put(m)
	s := x.s
	for left > 0 {
		n, err := m.fill(left)
		if err != nil {
			return x.broke()
		}
		left -= int64(n)
		for m.held > 0 {
			if hit := s.cw.arm(x.p.now() + int64(x.p.limits.WriteTimeout)); hit != 0 {
				x.lost(hit)
				return false
			}
			n, err := m.drain()
			x.entry.Out += int64(n)
			if hit := s.cw.disarm(); hit != 0 || err != nil {
				x.lost(hit)
				return false
			}
		}
	}
	return true
}

// splice sends what is left of a body of known length.
func (u *upload) splice(m *mover, left int64) error {
	defer u.x.p.pipes.put(m)
	for left > 0 {
		n, err := u.take(func() (int, error) { return m.fill(left) })
		if err != nil {
			return err
		}
		left -= int64(n)
		u.in += int64(n)
		u.last.Store(left == 0)
		for m.held > 0 {
			if err := u.give(m.drain); err != nil {
				return err
			}
		}
	}
	return nil
}
