// Package accesslog owns what an access log looks like on disk: the names of
// its files, the keys of a line, and how both are read, followed and turned
// into other formats. It must never write a log, nor know of connections,
// routes or who asks.
package accesslog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Current is the name of the file that lines are appended to. It is renamed
// when it is full or its day (UTC) is over, and another takes its place.
const Current = "router.log"

// The parts of a rotated file's name.
const (
	front  = "router-"
	stamp  = "20060102T150405Z"
	plain  = ".log"
	packed = ".log.gz"
)

// Name is the name of the file that was rotated at the given time. Times are
// whole seconds in UTC, so that names sort as the lines in them.
func Name(at time.Time) string { return front + at.UTC().Format(stamp) + plain }

// PackedName is the name that the same file has once it is compressed.
func PackedName(at time.Time) string { return front + at.UTC().Format(stamp) + packed }

// File is a rotated file. It is there plain, or compressed, or for a moment as
// both.
type File struct {
	At     time.Time // the second in which it was rotated: no line in it is from a later one
	Plain  bool
	Packed bool
	Size   int64 // bytes on disk, of all that is there
}

// Files lists the rotated files of a folder, the oldest first. A folder that
// does not exist has none. A file that is being compressed is listed, in
// whichever form; one that is being removed may be listed too.
func Files(dir string) ([]File, error) {
	// While a folder is read, a file in it may change its form, and neither
	// name be seen: the new one stands where we have been already. But then
	// the new one was there before the old one went, and is seen the next time.
	byTime := make(map[time.Time]*File)
	for range 2 {
		if err := list(dir, byTime); err != nil {
			return nil, err
		}
	}
	out := make([]File, 0, len(byTime))
	for _, f := range byTime {
		out = append(out, *f)
	}
	slices.SortFunc(out, func(a, b File) int { return a.At.Compare(b.At) })
	return out, nil
}

// list adds what it sees to files.
func list(dir string, files map[time.Time]*File) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list access logs: %w", err)
	}
	for _, e := range entries {
		at, isPacked, ok := parseName(e.Name())
		if !ok || !e.Type().IsRegular() {
			continue
		}
		f := files[at]
		if f == nil {
			f = &File{At: at}
			files[at] = f
		}
		seen := &f.Plain
		if isPacked {
			seen = &f.Packed
		}
		if info, err := e.Info(); err == nil && !*seen {
			f.Size += info.Size()
		}
		*seen = true
	}
	return nil
}

// parseName is the reverse of Name and PackedName.
func parseName(name string) (at time.Time, isPacked, ok bool) {
	rest, ok := strings.CutPrefix(name, front)
	if !ok {
		return at, false, false
	}
	rest, isPacked = strings.CutSuffix(rest, packed)
	if !isPacked {
		if rest, ok = strings.CutSuffix(rest, plain); !ok {
			return at, false, false
		}
	}
	at, err := time.Parse(stamp, rest)
	return at, isPacked, err == nil && at.Format(stamp) == rest
}

// open opens a rotated file in whichever form it is there: it may have been
// compressed since it was listed. One that is gone is nil.
func open(dir string, f File) (file *os.File, isPacked bool, err error) {
	try := []bool{f.Packed, !f.Packed}
	for _, isPacked = range try {
		name := Name(f.At)
		if isPacked {
			name = PackedName(f.At)
		}
		file, err = os.Open(filepath.Join(dir, name))
		if !errors.Is(err, fs.ErrNotExist) {
			return file, isPacked, err
		}
	}
	return nil, false, nil
}
