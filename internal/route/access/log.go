// Package access keeps the access logs: one file of JSON lines an app, bounded
// in size, that others may read and follow. It must never hold up a request:
// what the disk cannot take in time is counted and dropped.
package access

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"landward/internal/route"
)

// Options are what a Log is made of.
type Options struct {
	Dir     string // <dir>/<app id>/router.log is written
	Log     *slog.Logger
	MaxSize int64         // bytes of a file before it becomes router.log.1 [8 MiB]
	MaxHeld int           // bytes held in memory for one app [1 MiB]
	Every   time.Duration // how often lines are written out [200 ms]
}

// Log writes entries to files. Entries come in by Access, and Run writes them.
type Log struct {
	o       Options
	dropped atomic.Uint64

	mu    sync.RWMutex
	files map[int64]*file
}

// file is one app's log.
type file struct {
	path string
	used time.Time // when it was last written

	mu   sync.Mutex
	held []byte // whole lines, to be written
	sec  int64  // that stamp is for
	// stamp is the front of a line, good for one second.
	stamp [len("2006-01-02T15:04:05.")]byte

	// Only Run touches these.
	spare []byte
	f     *os.File
	size  int64
}

// idleFile is how long a file that nobody writes to stays open.
const idleFile = time.Minute

// New makes a Log. It starts nothing and touches no file.
func New(o Options) *Log {
	if o.MaxSize == 0 {
		o.MaxSize = 8 << 20
	}
	if o.MaxHeld == 0 {
		o.MaxHeld = 1 << 20
	}
	if o.Every == 0 {
		o.Every = 200 * time.Millisecond
	}
	return &Log{o: o, files: make(map[int64]*file)}
}

// Dropped is how many entries there was no room for.
func (l *Log) Dropped() uint64 { return l.dropped.Load() }

// Access takes an entry. It does not block on a disk.
func (l *Log) Access(e *route.Entry) {
	f := l.file(e.AppID)
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.held) >= l.o.MaxHeld {
		l.dropped.Add(1)
		return
	}
	f.held = f.append(f.held, e)
}

func (l *Log) file(app int64) *file {
	l.mu.RLock()
	f := l.files[app]
	l.mu.RUnlock()
	if f != nil {
		return f
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if f = l.files[app]; f == nil {
		f = &file{path: filepath.Join(l.o.Dir, strconv.FormatInt(app, 10), "router.log"), sec: -1}
		l.files[app] = f
	}
	return f
}

// Run writes the lines out until ctx ends, then what is left.
func (l *Log) Run(ctx context.Context) error {
	tick := time.NewTicker(l.o.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			l.flush(time.Now())
			return l.close()
		case now := <-tick.C:
			l.flush(now)
		}
	}
}

// flush writes what is held.
func (l *Log) flush(now time.Time) {
	l.mu.RLock()
	list := make([]*file, 0, len(l.files))
	for _, f := range l.files {
		list = append(list, f)
	}
	l.mu.RUnlock()
	for _, f := range list {
		f.mu.Lock()
		lines := f.held
		f.held = f.spare[:0]
		f.mu.Unlock()
		f.spare = lines
		if len(lines) == 0 {
			if f.f != nil && now.Sub(f.used) > idleFile {
				f.shut(l.o.Log)
				f.spare = nil
			}
			continue
		}
		f.used = now
		if err := f.write(lines, l.o.MaxSize); err != nil {
			l.dropped.Add(uint64(bytes.Count(lines, []byte("\n"))))
			l.o.Log.Error("write access log", "path", f.path, "err", err)
			f.shut(l.o.Log)
		}
	}
}

func (l *Log) close() error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, f := range l.files {
		f.shut(l.o.Log)
	}
	return nil
}

func (f *file) shut(log *slog.Logger) {
	if f.f == nil {
		return
	}
	if err := f.f.Close(); err != nil {
		log.Error("close access log", "path", f.path, "err", err)
	}
	f.f = nil
}

// write appends whole lines. A full file becomes router.log.1, in place of the
// one before.
func (f *file) write(lines []byte, limit int64) error {
	if f.f == nil {
		if err := f.open(); err != nil {
			return err
		}
	}
	if f.size > 0 && f.size+int64(len(lines)) > limit {
		err := errors.Join(f.f.Close(), os.Rename(f.path, f.path+".1"))
		f.f = nil
		if err != nil {
			return fmt.Errorf("rotate: %w", err)
		}
		if err := f.open(); err != nil {
			return err
		}
	}
	n, err := f.f.Write(lines)
	f.size += int64(n)
	if err != nil && n > 0 {
		// Half a line must not stay for readers to stumble over.
		err = errors.Join(err, f.f.Truncate(f.size-int64(n)))
	}
	return err
}

func (f *file) open() error {
	if err := os.MkdirAll(filepath.Dir(f.path), 0o755); err != nil {
		return fmt.Errorf("make log folder: %w", err)
	}
	o, err := os.OpenFile(f.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return fmt.Errorf("open access log: %w", err)
	}
	st, err := o.Stat()
	if err != nil {
		return errors.Join(fmt.Errorf("look at access log: %w", err), o.Close())
	}
	f.f, f.size = o, st.Size()
	return nil
}
