package edge

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// maxTable bounds a table's text: some hundred bytes a route.
const maxTable = 64 << 20

// replaceFile replaces a file as a whole: after a crash there is the old one or
// the new one.
func replaceFile(path string, b []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".routes-*")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(dir)
}

// syncDir makes a rename in dir survive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// listenPrivate listens on a unix socket that only its owner may open. It takes
// the place of one that a dead process has left.
func listenPrivate(path string) (net.Listener, error) {
	made := path + ".new"
	if err := removeSocket(made); err != nil {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: made, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen for control: %w", err)
	}
	l.SetUnlinkOnClose(false)
	// The name that others know appears only once the mode is right.
	info, statErr := os.Stat(made)
	if err := errors.Join(statErr, os.Chmod(made, 0o600), os.Rename(made, path)); err != nil {
		return nil, errors.Join(fmt.Errorf("listen for control: %w", err), l.Close(), removeSocket(made))
	}
	return peerListener{l, info}, nil
}

// stillAt reports whether the socket at path is the listener's.
func (l peerListener) stillAt(path string) bool {
	info, err := os.Stat(path)
	return err == nil && os.SameFile(info, l.info)
}

// removeOwnSocket removes the socket, unless an edge that has taken over has
// put its own in its place.
func (e *Edge) removeOwnSocket() error {
	l, ok := e.admin.(peerListener)
	if !ok || !l.stillAt(e.o.Socket) {
		return nil
	}
	return removeSocket(e.o.Socket)
}

func removeSocket(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove socket: %w", err)
	}
	return nil
}
