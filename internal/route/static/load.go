package static

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// loaded is what is known of a file after its first request.
type loaded struct {
	etag     string // quoted
	modified string // as in a header; "" for unknown
	body     []byte // all of it, or nil
}

// hashUpTo is the size up to which a file's tag is the hash of its bytes. The
// first request for a larger one would wait for that too long.
const hashUpTo = 4 << 20

// load returns what is known of e, and finds it out the first time.
func (s *Site) load(e *entry) (*loaded, error) {
	if l := e.loaded.Load(); l != nil {
		return l, nil
	}
	e.loading.Lock()
	defer e.loading.Unlock()
	if l := e.loaded.Load(); l != nil {
		return l, nil
	}
	l := &loaded{}
	if e.modified != 0 {
		l.modified = time.Unix(e.modified, 0).UTC().Format(http.TimeFormat)
	}
	var err error
	switch {
	case e.size <= s.limits.KeepFile:
		err = s.keep(e, l)
	case e.size <= hashUpTo:
		err = s.hash(e, l)
	default:
		l.etag = identityTag(e)
	}
	if err != nil {
		return nil, err
	}
	e.loaded.Store(l)
	return l, nil
}

// keep reads a small file, and keeps it where there is room.
func (s *Site) keep(e *entry, l *loaded) error {
	f, err := s.acquire(e)
	if err != nil {
		return err
	}
	defer s.release(f)
	body := make([]byte, e.size)
	if _, err := io.ReadFull(io.NewSectionReader(f.file, 0, e.size), body); err != nil {
		return fmt.Errorf("read file: %w", err)
	}
	sum := sha256.Sum256(body)
	l.etag = tag(sum[:])
	if s.kept.Add(e.size) > s.limits.Keep {
		s.kept.Add(-e.size)
		return nil
	}
	l.body = body
	return nil
}

// hash makes the tag of a file of middle size.
func (s *Site) hash(e *entry, l *loaded) error {
	f, err := s.acquire(e)
	if err != nil {
		return err
	}
	defer s.release(f)
	h := sha256.New()
	if _, err := io.CopyN(h, io.NewSectionReader(f.file, 0, e.size), e.size); err != nil {
		return fmt.Errorf("read file: %w", err)
	}
	l.etag = tag(h.Sum(nil))
	return nil
}

// identityTag makes the tag of a large file from what its file system knows: a
// number of its own, and the time of its last change, which cannot be set.
func identityTag(e *entry) string {
	b := make([]byte, 0, 64)
	for _, v := range []uint64{e.id.dev, e.id.ino, uint64(e.size), uint64(e.id.mtime), uint64(e.id.ctime)} { //nolint:gosec // bits
		b = binary.BigEndian.AppendUint64(b, v)
	}
	sum := sha256.Sum256(b)
	return tag(sum[:])
}

func tag(sum []byte) string { return `"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"` }

// openFile is a file that is open for any number of answers. They read at
// positions of their own. Opening and closing one costs about as much as
// sending 20 KiB of it.
type openFile struct {
	file *os.File
	fd   int
	e    *entry
	refs int  // guarded by Site.mu, as the rest
	gone bool // no longer in the list: closed with the last reference

	before, after *openFile
}

// fileList holds the open files, the one used last in front.
type fileList struct {
	first, last *openFile
	count       int
}

func (l *fileList) oldest() *openFile { return l.last }

func (l *fileList) push(f *openFile) {
	f.before, f.after = nil, l.first
	if l.first != nil {
		l.first.before = f
	} else {
		l.last = f
	}
	l.first = f
	l.count++
}

func (l *fileList) remove(f *openFile) {
	if f.before != nil {
		f.before.after = f.after
	} else {
		l.first = f.after
	}
	if f.after != nil {
		f.after.before = f.before
	} else {
		l.last = f.before
	}
	f.before, f.after = nil, nil
	l.count--
}

// acquire returns the open file of e. Give it back by release.
func (s *Site) acquire(e *entry) (*openFile, error) {
	s.mu.Lock()
	if f := e.open; f != nil {
		f.refs++
		if s.files.first != f {
			s.files.remove(f)
			s.files.push(f)
		}
		s.mu.Unlock()
		return f, nil
	}
	s.mu.Unlock()
	f, err := s.openEntry(e)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f.refs = 1
	if e.open != nil || s.closed { // somebody was faster: this one is used once
		f.gone = true
		return f, nil
	}
	e.open = f
	s.files.push(f)
	if s.files.count > s.limits.OpenFiles {
		s.evict(s.files.oldest())
	}
	return f, nil
}

// evict takes a file off the list. The caller holds mu.
func (s *Site) evict(f *openFile) {
	s.files.remove(f)
	f.e.open = nil
	f.gone = true
	if f.refs == 0 {
		_ = f.file.Close()
	}
}

// release gives a file back.
func (s *Site) release(f *openFile) {
	s.mu.Lock()
	f.refs--
	last := f.refs == 0 && f.gone
	s.mu.Unlock()
	if last {
		_ = f.file.Close()
	}
}

// openEntry opens the file of e, if it still is the one of the index. It does
// not wait, whatever the name stands for by now.
func (s *Site) openEntry(e *entry) (*openFile, error) {
	file, err := s.root.OpenFile(e.path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open file: %w", err)
	}
	fd := int(file.Fd()) //nolint:gosec // a descriptor fits
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("look at open file: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size != e.size || !e.id.same(identityOf(&st)) {
		_ = file.Close()
		return nil, fmt.Errorf("open file: %s is not what it was when the site was opened", e.path)
	}
	return &openFile{file: file, fd: fd, e: e}, nil
}
