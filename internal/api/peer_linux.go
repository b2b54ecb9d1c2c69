package api

import (
	"net"
	"os"
	"syscall"
)

// trusted reports whether the other end of a unix socket is root or the user
// that this process runs as, by what the kernel says (SO_PEERCRED).
func trusted(c net.Conn) bool {
	unix, ok := c.(*net.UnixConn)
	if !ok {
		return false
	}
	raw, err := unix.SyscallConn()
	if err != nil {
		return false
	}
	var peer *syscall.Ucred
	var sockErr error
	err = raw.Control(func(fd uintptr) {
		peer, sockErr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err != nil || sockErr != nil {
		return false
	}
	return peer.Uid == 0 || int(peer.Uid) == os.Geteuid()
}
