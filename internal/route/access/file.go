package access

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"landward/internal/logs/accesslog"
)

// file is one app's log.
type file struct {
	app int64
	dir string

	mu   sync.Mutex
	gone bool   // nothing may be added any more
	held []byte // whole lines, to be written
	sec  int64  // that stamp is for
	// stamp is the front of a line, good for one second.
	stamp [len("2006-01-02T15:04:05.")]byte

	// Only Run touches these.
	spare []byte
	used  time.Time // when there was last something to write
	bad   bool      // the last write failed

	disk  sync.Mutex // what is below, and the names in dir; taken before mu
	f     *os.File
	size  int64
	day   int64     // of the file's first line
	last  time.Time // when it was last rotated, to the second
	known bool      // last says what is on disk
	seen  time.Time // when we last looked whether the name is still our file
}

// lookEvery is how often the current file is looked for under its name.
const lookEvery = 5 * time.Second

// dayOf numbers the days of UTC.
func dayOf(t time.Time) int64 {
	const day = 24 * 60 * 60
	s := t.Unix()
	if s < 0 {
		s -= day - 1
	}
	return s / day
}

func (f *file) path() string { return filepath.Join(f.dir, accesslog.Current) }

// write appends whole lines, to a new file where the current one is full or of
// another day. lost is how many of them could not be written.
func (f *file) write(lines []byte, now time.Time, limit int64) (rotated bool, lost uint64, err error) {
	f.disk.Lock()
	defer f.disk.Unlock()
	wrote := 0
	if rotated, err = f.ready(now, int64(len(lines)), limit); err == nil {
		wrote, err = f.put(lines, now)
	}
	if err != nil {
		lost = uint64(bytes.Count(lines[wrote:], []byte("\n"))) //nolint:gosec // not negative
		err = errors.Join(err, f.release())                     // begin anew the next time
	}
	return rotated, lost, err
}

// ready makes f.f the file that n bytes may go to.
func (f *file) ready(now time.Time, n, limit int64) (rotated bool, err error) {
	if f.f != nil && now.Sub(f.seen) >= lookEvery && f.moved(now) {
		if err := f.release(); err != nil {
			return false, err
		}
	}
	if err := f.open(now); err != nil {
		return false, err
	}
	// Names have whole seconds, so files are rotated at most once in one.
	over := f.size+n > limit && now.Sub(f.last).Abs() >= time.Second
	if f.size == 0 || !over && f.day >= dayOf(now) {
		return false, nil
	}
	if err := f.rotate(now); err != nil {
		return false, err
	}
	return true, f.open(now)
}

// moved reports whether the file's name means another file now, or none:
// somebody has tidied up.
func (f *file) moved(now time.Time) bool {
	f.seen = now
	here, err := f.f.Stat()
	if err != nil {
		return true
	}
	there, err := os.Lstat(f.path())
	return err != nil || !os.SameFile(here, there)
}

// put appends lines and says how much of them stays: whole lines only.
func (f *file) put(lines []byte, now time.Time) (int, error) {
	if f.size == 0 {
		f.day = dayOf(now)
	}
	n, err := f.f.Write(lines)
	if err == nil {
		f.size += int64(n)
		return n, nil
	}
	// Half a line must not stay for readers to stumble over.
	kept := bytes.LastIndexByte(lines[:n], '\n') + 1
	f.size += int64(kept)
	if kept < n {
		err = errors.Join(err, f.f.Truncate(f.size))
	}
	return kept, fmt.Errorf("append to access log: %w", err)
}

// open opens the current file, unless it is open.
func (f *file) open(now time.Time) error {
	if f.f != nil {
		return nil
	}
	if err := os.MkdirAll(f.dir, 0o755); err != nil {
		return fmt.Errorf("make log folder: %w", err)
	}
	if !f.known {
		list, err := accesslog.Files(f.dir)
		if err != nil {
			return err
		}
		if len(list) > 0 {
			f.last = list[len(list)-1].At
		}
		f.known = true
	}
	o, err := os.OpenFile(f.path(), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o640)
	if err != nil {
		return fmt.Errorf("open access log: %w", err)
	}
	size, first, err := mend(o)
	if err != nil {
		return errors.Join(fmt.Errorf("look at access log: %w", err), o.Close())
	}
	f.f, f.size, f.seen = o, size, now
	// A request is logged when it ends, so that the first line of a file may
	// have begun days before the file: it is no older than the last rotation.
	f.day = max(f.day, dayOf(f.last))
	if !first.IsZero() {
		f.day = max(f.day, dayOf(first))
	}
	return nil
}

// mend takes off what a crash has left of a line at the end, and returns the
// file's size and the time in its first line.
func mend(o *os.File) (size int64, first time.Time, err error) {
	const back = 64 << 10 // more than a line can have
	st, err := o.Stat()
	if err != nil {
		return 0, first, err
	}
	size = st.Size()
	if size == 0 {
		return 0, first, nil
	}
	end := make([]byte, min(size, back))
	if _, err := o.ReadAt(end, size-int64(len(end))); err != nil && !errors.Is(err, io.EOF) {
		return 0, first, err
	}
	if torn := len(end) - 1 - bytes.LastIndexByte(end, '\n'); torn > 0 {
		size -= int64(torn)
		if err := o.Truncate(size); err != nil {
			return 0, first, err
		}
	}
	head := make([]byte, min(size, 64))
	if _, err := o.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return 0, first, err
	}
	first, _ = accesslog.Began(head)
	return size, first, nil
}

// rotate gives the current file the name that it keeps. Times in names only
// grow, whatever the clock does, so that readers have an order to go by.
func (f *file) rotate(now time.Time) error {
	at := now.UTC().Truncate(time.Second)
	if !at.After(f.last) {
		at = f.last.Add(time.Second)
	}
	err := f.release()
	if err == nil {
		err = os.Rename(f.path(), filepath.Join(f.dir, accesslog.Name(at)))
	}
	if err != nil {
		return fmt.Errorf("rotate access log: %w", err)
	}
	f.last = at
	return nil
}

// stale rotates a current file of another day that nothing is written to.
func (f *file) stale(now time.Time) error {
	f.disk.Lock()
	defer f.disk.Unlock()
	f.mu.Lock()
	gone := f.gone
	f.mu.Unlock()
	if gone {
		return nil // its folder is another's by now
	}
	if f.f == nil {
		st, err := os.Lstat(f.path())
		if errors.Is(err, fs.ErrNotExist) || err == nil && (st.Size() == 0 || !st.Mode().IsRegular()) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("look at access log: %w", err)
		}
	}
	was := f.f != nil
	if err := f.open(now); err != nil {
		return err
	}
	var err error
	if f.size > 0 && f.day < dayOf(now) {
		err = f.rotate(now)
	} else if !was {
		err = f.release()
	}
	return err
}

// release closes the current file.
func (f *file) release() error {
	if f.f == nil {
		return nil
	}
	err := f.f.Close()
	f.f = nil
	return err
}

// shut is release for who has no use for an error.
func (f *file) shut(log *slog.Logger) {
	f.disk.Lock()
	defer f.disk.Unlock()
	if err := f.release(); err != nil {
		log.Error("close access log", "path", f.path(), "err", err)
	}
}
