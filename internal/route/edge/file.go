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

// staged is a file on disk that is to take another's place as a whole: after a
// crash there is the old one or the new one.
type staged struct {
	made, path string
	err        error
}

// stage writes what is to be in the file at path, beside it.
func stage(path string, b []byte) staged {
	f, err := os.CreateTemp(filepath.Dir(path), ".routes-*")
	if err != nil {
		return staged{err: err}
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return staged{made: f.Name(), path: path, err: errors.Join(err, f.Close())}
}

// replace gives the file its name.
func (s staged) replace() error {
	if s.err == nil {
		s.err = os.Rename(s.made, s.path)
	}
	if s.err != nil {
		return errors.Join(s.err, s.discard())
	}
	return syncDir(filepath.Dir(s.path))
}

// discard removes the file.
func (s staged) discard() error {
	if s.made == "" {
		return nil
	}
	return os.Remove(s.made)
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
