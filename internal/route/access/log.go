// Package access keeps the access logs: JSON lines in files by app, rotated by
// size and by day, compressed, and removed when they are old or too many, so
// that others may read and follow them (package accesslog says how they look).
// It must never hold up a request: what the disk cannot take in time is counted
// and dropped.
package access

import (
	"context"
	"log/slog"
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
	MaxSize int64         // bytes of a file before it is rotated [8 MiB]; at most half of KeepBytes
	Keep    time.Duration // a rotated file is removed when it is older [14 days]
	// KeepBytes bounds what one app's files take on disk [64 MiB]: the oldest
	// go first. While much is written it can be exceeded by what comes in
	// within a second or two.
	KeepBytes int64
	MaxHeld   int              // bytes held in memory for one app [4 MiB]
	Every     time.Duration    // how often lines are written out [200 ms]
	Now       func() time.Time // [time.Now]
}

func (o Options) withDefaults() Options {
	if o.Keep == 0 {
		o.Keep = 14 * 24 * time.Hour
	}
	if o.KeepBytes == 0 {
		o.KeepBytes = 64 << 20
	}
	if o.MaxSize == 0 {
		o.MaxSize = 8 << 20
	}
	o.MaxSize = max(min(o.MaxSize, o.KeepBytes/2), 1)
	if o.MaxHeld == 0 {
		o.MaxHeld = 4 << 20
	}
	if o.Every == 0 {
		o.Every = 200 * time.Millisecond
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Log writes entries to files. Entries come in by Access, and Run writes them.
// It is safe for concurrent use; only one Log may write to a folder.
type Log struct {
	o       Options
	dropped atomic.Uint64
	full    chan struct{} // there is much to write: do not wait for the tick
	keeper  keeper

	mu    sync.RWMutex
	files map[int64]*file

	trouble trouble // only Run touches it
}

// How long a file that nobody writes to stays open, and in memory at all.
const (
	idleFile = time.Minute
	idleApp  = time.Hour
)

// New makes a Log. It starts nothing and touches no file.
func New(o Options) *Log {
	o = o.withDefaults()
	l := &Log{o: o, files: make(map[int64]*file), full: make(chan struct{}, 1)}
	l.keeper = keeper{l: l, wake: make(chan struct{}, 1), due: make(map[int64]bool)}
	return l
}

// Dropped is how many entries there was no room for.
func (l *Log) Dropped() uint64 { return l.dropped.Load() }

// Access takes an entry. It does not block on a disk.
func (l *Log) Access(e *route.Entry) {
	for {
		f := l.file(e.AppID)
		f.mu.Lock()
		if f.gone { // taken out of the map since we looked
			f.mu.Unlock()
			continue
		}
		if len(f.held) >= l.o.MaxHeld {
			f.mu.Unlock()
			l.dropped.Add(1)
			return
		}
		before := len(f.held)
		f.held = f.append(f.held, e)
		half := l.o.MaxHeld / 2
		crossed := before < half && len(f.held) >= half
		f.mu.Unlock()
		if crossed {
			select {
			case l.full <- struct{}{}:
			default:
			}
		}
		return
	}
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
		f = &file{app: app, dir: filepath.Join(l.o.Dir, strconv.FormatInt(app, 10)), sec: -1, used: l.o.Now()}
		l.files[app] = f
	}
	return f
}

// Run writes the lines out until ctx ends, then what is left. A file that is
// being compressed then is left for the next start.
func (l *Log) Run(ctx context.Context) error {
	var keeping sync.WaitGroup
	keeping.Go(func() { l.keeper.run(ctx) })
	defer keeping.Wait()
	tick := time.NewTicker(l.o.Every)
	defer tick.Stop()
	day := dayOf(l.o.Now())
	for {
		select {
		case <-ctx.Done():
			l.flush(l.o.Now())
			l.close()
			return nil
		case <-l.full:
		case <-tick.C:
		}
		now := l.o.Now()
		l.flush(now)
		if today := dayOf(now); today != day {
			day = today
			l.keeper.all()
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
			l.rest(f, now)
			continue
		}
		f.used = now
		rotated, lost, err := f.write(lines, now, l.o.MaxSize)
		if rotated {
			l.keeper.app(f.app)
		}
		l.dropped.Add(lost)
		l.trouble.note(l.o.Log, f, now, lost, err)
	}
}

// rest gives back what a file holds that nobody writes to.
func (l *Log) rest(f *file, now time.Time) {
	idle := now.Sub(f.used)
	if idle > idleFile {
		f.shut(l.o.Log)
		f.spare = nil
	}
	// Where the keeper is at work on the file, it is forgotten the next time:
	// two of us for one folder would be in each other's way.
	if idle <= idleApp || !f.disk.TryLock() {
		return
	}
	defer f.disk.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.held) == 0 {
		f.gone = true
		delete(l.files, f.app)
		l.trouble.forget(f)
	}
}

func (l *Log) close() {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, f := range l.files {
		f.shut(l.o.Log)
	}
}

// trouble is a disk that does not take what it is given. It is said once, and
// then once a minute: there may be thousands of files, on that very disk.
type trouble struct {
	files       int // that could not be written the last time
	since, said time.Time
	lost        uint64
}

const sayEvery = time.Minute

func (t *trouble) note(log *slog.Logger, f *file, now time.Time, lost uint64, err error) {
	if err == nil {
		if t.forget(f) && t.files == 0 {
			log.Info("access logs are written again", "lost", t.lost, "after", now.Sub(t.since))
			*t = trouble{}
		}
		return
	}
	if t.lost += lost; !f.bad {
		f.bad = true
		t.files++
	}
	if t.since.IsZero() {
		t.since = now
	}
	if t.said.IsZero() || now.Sub(t.said) >= sayEvery {
		t.said = now
		log.Error("write access log", "path", f.path(), "err", err, "lost", t.lost)
	}
}

// forget says that f is in no trouble any more, and reports whether it was.
func (t *trouble) forget(f *file) bool {
	was := f.bad
	if was {
		f.bad = false
		t.files--
	}
	return was
}
