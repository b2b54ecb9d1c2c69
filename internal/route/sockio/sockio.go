// Package sockio owns the system calls on connected sockets that never wait. The
// scheduler is not told of them: of one that takes some twenty microseconds, as a
// write to a neighbour on the same host does, it would take the processor away and
// give it to another thread. It must never know what the bytes mean, nor wait for
// more of them: that is the caller's and the runtime's (syscall.RawConn).
package sockio

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Receive reads what there is, up to len(b) bytes; b must not be empty. No byte
// and no error: the peer has closed its side. EAGAIN: there is nothing yet.
// See recvfrom(2).
func Receive(fd uintptr, b []byte) (int, syscall.Errno) {
	return call(unix.SYS_RECVFROM, fd, b, unix.MSG_DONTWAIT)
}

// Silent reports whether the peer is there and has said nothing that has not been
// received. It takes nothing.
func Silent(fd uintptr) bool {
	var one [1]byte
	_, err := call(unix.SYS_RECVFROM, fd, one[:], unix.MSG_DONTWAIT|unix.MSG_PEEK)
	return err == unix.EAGAIN
}

// Send writes as much of b as there is room for; b must not be empty. EAGAIN:
// there is none. See sendto(2).
func Send(fd uintptr, b []byte) (int, syscall.Errno) {
	return call(unix.SYS_SENDTO, fd, b, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
}

// SendMore is Send where others follow at once, so that the kernel need not make a
// packet of these alone.
func SendMore(fd uintptr, b []byte) (int, syscall.Errno) {
	return call(unix.SYS_SENDTO, fd, b, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL|unix.MSG_MORE)
}

// call makes a call, again where a signal has come between.
func call(which, fd uintptr, b []byte, flags uintptr) (int, syscall.Errno) {
	for {
		n, _, err := unix.RawSyscall6(which, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), flags, 0, 0) //nolint:gosec // the buffer lives until the call has returned
		if err != unix.EINTR {
			return int(n), err //nolint:gosec // no more than len(b); where there is an error, nobody looks
		}
	}
}
