// Package logs keeps lines of text in bounded files and gives them back: the
// output of apps, the router's lines about them, and what a deployment told
// its pusher. It owns rotation, following and filtering, and must never know
// what a line means or where it came from.
package logs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// Kind tells whose line it is.
type Kind string

// The kinds of line.
const (
	KindApp    Kind = "app"    // a process's output
	KindRouter Kind = "router" // one request, as the edge saw it
	KindSystem Kind = "system" // Landward about the app: "web.1 exited with 1"
	KindDeploy Kind = "deploy" // a deployment's own lines
	kindEnd    Kind = "end"    // nothing follows; readers never see it
)

// Line is one line of a log.
type Line struct {
	At     time.Time `json:"at"`
	Kind   Kind      `json:"kind"`
	Source string    `json:"source"`         // "web.1", "release", "router"
	Unit   string    `json:"unit,omitempty"` // identity of the container it came from
	Stderr bool      `json:"stderr,omitempty"`
	Text   string    `json:"text"`
}

// Store is a folder of logs, one sub-folder an app. It is safe for concurrent
// use; only one process may write a given file.
type Store struct {
	dir   string
	bytes int64 // bound of one log, both its files together

	mu    sync.Mutex
	files map[string]*file
}

// New returns the store in dir. Each log is kept to maxBytes: when its file has
// half of that it becomes the old one, and the one before is gone.
func New(dir string, maxBytes int64) *Store {
	return &Store{dir: dir, bytes: maxBytes, files: map[string]*file{}}
}

// appLog and deployLog name files below the store's folder; the edge writes
// router.log beside the first.
func appLog(appID int64) string    { return filepath.Join(strconv.FormatInt(appID, 10), "app.log") }
func routerLog(appID int64) string { return filepath.Join(strconv.FormatInt(appID, 10), "router.log") }
func deployLog(appID, deployment int64) string {
	return filepath.Join(strconv.FormatInt(appID, 10), fmt.Sprintf("deploy-%d.log", deployment))
}

// AppendApp adds lines to the app's log.
func (s *Store) AppendApp(appID int64, lines ...Line) error { return s.append(appLog(appID), lines) }

// AppendDeploy adds lines to a deployment's log.
func (s *Store) AppendDeploy(appID, deployment int64, lines ...Line) error {
	return s.append(deployLog(appID, deployment), lines)
}

// Remove deletes everything kept for an app.
func (s *Store) Remove(appID int64) error {
	prefix := strconv.FormatInt(appID, 10)
	s.mu.Lock()
	for name, f := range s.files {
		if filepath.Dir(name) == prefix {
			f.close()
			delete(s.files, name)
		}
	}
	s.mu.Unlock()
	if err := os.RemoveAll(filepath.Join(s.dir, prefix)); err != nil {
		return fmt.Errorf("remove logs: %w", err)
	}
	return nil
}

// RemoveDeploy deletes one deployment's log.
func (s *Store) RemoveDeploy(appID, deployment int64) error {
	name := deployLog(appID, deployment)
	s.mu.Lock()
	if f := s.files[name]; f != nil {
		f.close()
		delete(s.files, name)
	}
	s.mu.Unlock()
	for _, suffix := range []string{"", ".1"} {
		err := os.Remove(filepath.Join(s.dir, name+suffix))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove log: %w", err)
		}
	}
	return nil
}

// Close closes the open files.
func (s *Store) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, f := range s.files {
		f.close()
		delete(s.files, name)
	}
}

func (s *Store) append(name string, lines []Line) error {
	var buf bytes.Buffer
	for _, l := range lines {
		b, err := json.Marshal(l)
		if err != nil {
			return fmt.Errorf("encode log line: %w", err)
		}
		buf.Write(b)
		buf.WriteByte('\n')
	}
	f, err := s.file(name)
	if err != nil {
		return err
	}
	return f.write(buf.Bytes(), s.bytes/2)
}

func (s *Store) file(name string) (*file, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.files[name]; f != nil {
		return f, nil
	}
	f := &file{path: filepath.Join(s.dir, name), grown: make(chan struct{})}
	s.files[name] = f
	return f, nil
}

// grown returns a channel that is closed at the next write to name in this
// process.
func (s *Store) grown(name string) <-chan struct{} {
	f, err := s.file(name)
	if err != nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.grown
}

// file is one log that this process appends to. Its descriptor is opened at the
// first write and closed by rotation, so that a quiet log costs nothing.
type file struct {
	path  string
	mu    sync.Mutex
	f     *os.File
	size  int64
	grown chan struct{}
}

func (f *file) write(p []byte, limit int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.open(); err != nil {
		return err
	}
	if f.size > 0 && f.size+int64(len(p)) > limit {
		if err := os.Rename(f.path, f.path+".1"); err != nil {
			return fmt.Errorf("rotate log: %w", err)
		}
		_ = f.f.Close()
		f.f = nil
		if err := f.open(); err != nil {
			return err
		}
	}
	n, err := f.f.Write(p)
	f.size += int64(n)
	close(f.grown)
	f.grown = make(chan struct{})
	if err != nil {
		return fmt.Errorf("write log: %w", err)
	}
	return nil
}

func (f *file) open() error {
	if f.f != nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(f.path), 0o750); err != nil {
		return fmt.Errorf("make log folder: %w", err)
	}
	fd, err := os.OpenFile(f.path, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o640)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	size, err := mend(fd)
	if err != nil {
		_ = fd.Close()
		return fmt.Errorf("open log: %w", err)
	}
	f.f, f.size = fd, size
	return nil
}

// mend ends a last line that a crash cut off, so that the next one is whole.
func mend(fd *os.File) (size int64, err error) {
	info, err := fd.Stat()
	if err != nil || info.Size() == 0 {
		return 0, err
	}
	last := make([]byte, 1)
	if _, err := fd.ReadAt(last, info.Size()-1); err != nil {
		return 0, err
	}
	if last[0] == '\n' {
		return info.Size(), nil
	}
	n, err := fd.Write([]byte{'\n'})
	return info.Size() + int64(n), err
}

func (f *file) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.f != nil {
		_ = f.f.Close()
		f.f = nil
	}
}
