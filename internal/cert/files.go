package cert

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// maxFile bounds every file that is read: a chain of ten certificates is far
// smaller.
const maxFile = 256 << 10

// folder is a folder of small files that only we read.
type folder string

func (f folder) path(name string) string { return filepath.Join(string(f), name) }

// Read returns a file. The error is os.ErrNotExist for what is not there.
func (f folder) Read(name string) ([]byte, error) { return readFile(f.path(name), maxFile) }

// Write replaces a file: after a crash it is the old one or the new one.
func (f folder) Write(name string, data []byte) error { return writeFile(f.path(name), data) }

// makeDir makes a folder that only we can enter, and makes one that is there so.
func makeDir(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	if st.Mode().Perm()&0o077 != 0 {
		return os.Chmod(path, 0o700)
	}
	return nil
}

// tempPattern names files that are being written. One that stays behind after
// a crash is never read, and is removed with the next look at its folder.
const tempPattern = ".tmp-*"

func writeFile(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), tempPattern) // 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %s: %w", filepath.Base(path), err)
			_ = os.Remove(f.Name()) // the first error says it
		}
	}()
	if _, err = f.Write(data); err != nil {
		return errors.Join(err, f.Close())
	}
	if err = f.Sync(); err != nil {
		return errors.Join(err, f.Close())
	}
	if err = f.Close(); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes renames in a folder survive a loss of power.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// readFile reads a regular file of at most limit bytes. It does not wait on
// what is not one.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", filepath.Base(path))
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", filepath.Base(path), limit)
	}
	return data, nil
}

// sweep removes what a crash left behind in a folder that only we write.
func sweep(dir string) {
	left, err := filepath.Glob(filepath.Join(dir, tempPattern))
	if err != nil {
		return
	}
	for _, path := range left {
		_ = os.Remove(path) // it is not in the way
	}
}

// mark tells one state of a file from another. The change time cannot be set
// back, as copying with times would do with the modification time.
type mark struct {
	dev, ino     uint64
	size         int64
	mtime, ctime syscall.Timespec
}

// markOf looks at a file; ok is false where there is none.
func markOf(path string) (m mark, ok bool, err error) {
	st, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return mark{}, false, nil
	}
	if err != nil {
		return mark{}, false, err
	}
	s, is := st.Sys().(*syscall.Stat_t)
	if !is {
		return mark{}, false, errors.New("no inode")
	}
	return mark{dev: uint64(s.Dev), ino: s.Ino, size: s.Size, mtime: s.Mtim, ctime: s.Ctim}, true, nil
}

// tryLock takes a file's lock; false where another process has it.
func tryLock(f *os.File) (bool, error) {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}

// writeNew writes a file that is not there yet, whole or not at all. The error
// is os.ErrExist where another process was faster.
func writeNew(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), tempPattern)
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // it has two names, or is of no use
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}
