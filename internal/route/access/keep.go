package access

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"

	"landward/internal/logs/accesslog"
)

// keeper looks after rotated files: it compresses them and removes those that
// are too old or too many. There is one goroutine of it, which takes its time.
type keeper struct {
	l    *Log
	wake chan struct{}
	said time.Time // when it last said that something is wrong

	mu    sync.Mutex
	due   map[int64]bool // apps to look at
	sweep bool           // all of them
}

const (
	sweepEvery = time.Hour
	// A file is compressed in pieces, with a pause after each that is a
	// multiple of the time it took. (A thread of low priority would do worse:
	// a garbage collection of the whole process may have to wait for it.)
	piece    = 64 << 10
	pauseFor = 4
	maxPause = 100 * time.Millisecond
	// On lines like these the higher levels take two to three times as long
	// for less than a tenth of the size.
	level = gzip.BestSpeed
	// oldName is what the rotated file was called in early versions.
	oldName = accesslog.Current + ".1"
	// How the name of a file that is not whole yet begins and ends.
	tempFront = ".router-"
	tempEnd   = ".tmp"
)

// app asks for a look at one app's files.
func (k *keeper) app(app int64) {
	k.mu.Lock()
	k.due[app] = true
	k.mu.Unlock()
	k.nudge()
}

// all asks for a look at everything.
func (k *keeper) all() {
	k.mu.Lock()
	k.sweep = true
	k.mu.Unlock()
	k.nudge()
}

func (k *keeper) nudge() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// run looks when it is asked to, once in a while, and at the start: what was
// left undone the last time is found on disk.
func (k *keeper) run(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	k.all()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			k.all()
		case <-k.wake:
			for _, app := range k.take() {
				if ctx.Err() != nil {
					return
				}
				if err := k.tidy(ctx, app); err != nil && ctx.Err() == nil {
					k.say(err)
				}
			}
		}
	}
}

func (k *keeper) say(err error) {
	now := k.l.o.Now()
	if k.said.IsZero() || now.Sub(k.said) >= sayEvery {
		k.said = now
		k.l.o.Log.Error("keep access logs", "err", err)
	}
}

// take returns the apps that are due.
func (k *keeper) take() []int64 {
	k.mu.Lock()
	sweep, due := k.sweep, k.due
	k.sweep, k.due = false, make(map[int64]bool)
	k.mu.Unlock()
	if sweep {
		entries, err := os.ReadDir(k.l.o.Dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			k.say(fmt.Errorf("list log folders: %w", err))
		}
		for _, e := range entries {
			app, err := strconv.ParseInt(e.Name(), 10, 64)
			if err == nil && e.IsDir() && strconv.FormatInt(app, 10) == e.Name() {
				due[app] = true
			}
		}
	}
	list := make([]int64, 0, len(due))
	for app := range due {
		list = append(list, app)
	}
	return list
}

// tidy brings one app's folder in order.
func (k *keeper) tidy(ctx context.Context, app int64) error {
	f := k.l.file(app)
	now := k.l.o.Now()
	if err := f.stale(now); err != nil {
		return err
	}
	if err := k.clear(f.dir); err != nil {
		return err
	}
	// Room is made before anything is compressed, which takes some itself.
	list, err := k.limit(f.dir, now)
	if err != nil {
		return err
	}
	packed := false
	for _, old := range list {
		if old.Packed {
			continue
		}
		if err := pack(ctx, f.dir, old.At); err != nil {
			return fmt.Errorf("compress access log of app %d: %w", app, err)
		}
		packed = true
	}
	if packed {
		_, err = k.limit(f.dir, now)
	}
	return err
}

// clear removes what an interrupted run has left: files that are not whole, and
// plain ones whose compressed form is there.
func (k *keeper) clear(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list access logs: %w", err)
	}
	for _, e := range entries {
		switch name := e.Name(); {
		case strings.HasPrefix(name, tempFront) && strings.HasSuffix(name, tempEnd):
			err = remove(dir, name)
		case name == oldName:
			err = adopt(dir, e)
		}
		if err != nil {
			return err
		}
	}
	list, err := accesslog.Files(dir)
	if err != nil {
		return err
	}
	for _, f := range list {
		if f.Packed && f.Plain {
			if err := remove(dir, accesslog.Name(f.At)); err != nil {
				return err
			}
		}
	}
	return nil
}

// adopt gives a file of an early version the name that it would have today.
func adopt(dir string, e fs.DirEntry) error {
	st, err := e.Info()
	if err != nil || !st.Mode().IsRegular() {
		return nil // gone, or not ours
	}
	to := filepath.Join(dir, accesslog.Name(st.ModTime()))
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := os.Rename(filepath.Join(dir, oldName), to); err != nil {
		return fmt.Errorf("rename old access log: %w", err)
	}
	return nil
}

// limit removes what is too old, then the oldest of what is too much, and
// returns what stays. Room is left for the current file.
func (k *keeper) limit(dir string, now time.Time) ([]accesslog.File, error) {
	list, err := accesslog.Files(dir)
	if err != nil {
		return nil, err
	}
	var total int64
	for _, f := range list {
		total += f.Size
	}
	room := k.l.o.KeepBytes - k.l.o.MaxSize
	for len(list) > 0 && (total > room || now.Sub(list[0].At) > k.l.o.Keep) {
		f := list[0]
		if f.Plain {
			err = remove(dir, accesslog.Name(f.At))
		}
		if f.Packed {
			err = errors.Join(err, remove(dir, accesslog.PackedName(f.At)))
		}
		if err != nil {
			return nil, err
		}
		total -= f.Size
		list = list[1:]
	}
	return list, nil
}

func remove(dir, name string) error {
	if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove access log: %w", err)
	}
	return nil
}

// pack puts the compressed form of a rotated file in its place. Whatever
// happens, one of the two is there, whole.
func pack(ctx context.Context, dir string, at time.Time) (err error) {
	in, err := os.Open(filepath.Join(dir, accesslog.Name(at)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the app and its logs are gone
	}
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // only read from
	temp := filepath.Join(dir, "."+accesslog.PackedName(at)+tempEnd)
	out, err := os.OpenFile(temp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp) // else it is found the next time
		}
	}()
	err = squeeze(ctx, out, in)
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp, filepath.Join(dir, accesslog.PackedName(at))); err != nil {
		return err
	}
	if err := syncFolder(dir); err != nil {
		return err
	}
	return remove(dir, accesslog.Name(at))
}

func squeeze(ctx context.Context, out io.Writer, in io.Reader) error {
	z, err := gzip.NewWriterLevel(out, level)
	if err != nil {
		return err
	}
	buf := make([]byte, piece)
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-pause.C:
		}
		began := time.Now()
		n, readErr := in.Read(buf)
		if _, err := z.Write(buf[:n]); err != nil {
			return err
		}
		switch {
		case errors.Is(readErr, io.EOF):
			return z.Close()
		case readErr != nil:
			return readErr
		}
		pause.Reset(min(pauseFor*time.Since(began), maxPause))
	}
}

// syncFolder makes a new name last.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
