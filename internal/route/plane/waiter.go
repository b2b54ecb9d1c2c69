package plane

import (
	"io"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// waiter waits for a connection's next byte without holding a buffer for it.
type waiter struct {
	raw syscall.RawConn
	try func(fd uintptr) bool
	s   *session
	n   int
	err error
}

// newWaiter returns nil where the descriptor cannot be had.
func newWaiter(tcp *net.TCPConn) *waiter {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	w := &waiter{raw: raw}
	w.try = w.readOnce
	return w
}

// read fills the session's empty buffer, which it borrows once there is
// something to read.
func (w *waiter) read(s *session) (int, error) {
	w.s = s
	if err := w.raw.Read(w.try); err != nil {
		return 0, err
	}
	return w.n, w.err
}

// readOnce reports false where there is nothing yet; then the runtime waits.
func (w *waiter) readOnce(fd uintptr) bool {
	w.s.borrow()
	for {
		n, err := unix.Read(int(fd), w.s.in) //nolint:gosec // a descriptor fits
		switch {
		case err == unix.EINTR: //nolint:errorlint // package unix returns it as it is
			continue
		case err == unix.EAGAIN: //nolint:errorlint // likewise
			w.s.release()
			return false
		case err != nil:
			w.n, w.err = 0, err
		case n == 0:
			w.n, w.err = 0, io.EOF
		default:
			w.n, w.err = n, nil
		}
		return true
	}
}
