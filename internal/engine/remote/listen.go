package remote

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Listen listens on a unix socket at path with mode 0600, in place of one that
// nobody listens on any more. It accepts connections only from processes of
// our own user and of root, and hangs up on others.
func Listen(path string) (net.Listener, error) {
	if err := clearStale(path); err != nil {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen for engine calls: %w", err)
	}
	// Who connects before this is checked like everybody.
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close() //nolint:errcheck // the first error says it all
		return nil, fmt.Errorf("protect engine socket: %w", err)
	}
	return &listener{UnixListener: l, allowed: allowedUser}, nil
}

// clearStale removes the socket of a process that has died.
func clearStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at engine socket: %w", err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("listen for engine calls: %s is not a socket", path)
	}
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		c.Close()
		return fmt.Errorf("listen for engine calls: %w", syscall.EADDRINUSE)
	} else if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("try engine socket: %w", err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("remove stale engine socket: %w", err)
	}
	return nil
}

type listener struct {
	*net.UnixListener
	allowed func(uid uint32) bool
}

func allowedUser(uid uint32) bool { return uid == 0 || uid == uint32(os.Geteuid()) }

// Accept waits for a connection from somebody who is allowed.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if uid, err := peer(c); err == nil && l.allowed(uid) {
			return c, nil
		}
		c.Close() //nolint:errcheck // a stranger hears nothing
	}
}

// peer returns the user of the process at the other end.
func peer(c *net.UnixConn) (uid uint32, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return 0, err
	}
	if credErr != nil {
		return 0, credErr
	}
	return cred.Uid, nil
}
