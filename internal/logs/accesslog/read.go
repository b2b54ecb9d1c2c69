package accesslog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/klauspost/compress/gzip"
)

const (
	block   = 64 << 10 // read at once
	maxLine = 64 << 10 // longer ones are none of ours, and passed over

	// followEvery is how often a followed file is looked at.
	followEvery = 200 * time.Millisecond
)

// Read calls fn with the lines in dir, one app's folder, that q asks for, in
// the order in which they were written: that in which requests ended. raw has
// no newline, and it and e are only good during the call. A folder that does
// not exist is an empty log.
//
// Read ends with fn's first error. Where q says Follow it ends when ctx does,
// with its error; it sees each line once, over rotations too, as long as files
// are not removed for their age or size before it has come to them. A file that
// is damaged is read as far as it goes, and said at the end.
func Read(ctx context.Context, dir string, q Query, fn func(raw []byte, e *Entry) error) error {
	if err := q.check(); err != nil {
		return err
	}
	r := &reading{ctx: ctx, dir: dir, m: newMatcher(q), fn: fn, buf: make([]byte, block)}
	defer r.close()
	old, err := r.begin()
	if err != nil {
		return err
	}
	if !q.Since.IsZero() {
		// Its lines may be newer than its name by a part of a second.
		for len(old) > 0 && !old[0].At.Add(time.Second).After(q.Since) {
			old = old[1:]
		}
	}
	if q.Tail > 0 {
		err = r.tail(old, q.Tail)
	} else if err = r.files(old, r.give); err == nil {
		err = r.more(r.give)
	}
	if err == nil && q.Follow {
		err = r.follow()
	}
	if len(r.damage) > 0 {
		err = errors.Join(append(r.damage, err)...)
	}
	return err
}

// reading is one call of Read.
type reading struct {
	ctx context.Context
	dir string
	m   *matcher
	fn  func(raw []byte, e *Entry) error

	f    *os.File  // the current file, or what was it when we opened it
	off  int64     // of f, how much was read
	cut  splitter  // of f
	last time.Time // when the newest of the rotated files that we know was rotated

	buf    []byte
	entry  Entry
	damage []error
}

func (r *reading) close() {
	if r.f != nil {
		_ = r.f.Close() // only read from
		r.f = nil
	}
}

// give hands a line to fn if it is wanted.
func (r *reading) give(line []byte) error {
	if !r.m.matches(line, &r.entry) {
		return nil
	}
	if !r.m.parse && Parse(line, &r.entry) != nil {
		return nil
	}
	return r.fn(line, &r.entry)
}

// begin opens the current file and lists those that were rotated before it.
// Files may be rotated meanwhile: what is still current after the listing has
// all that is listed before it, and nothing in between.
func (r *reading) begin() ([]File, error) {
	path := filepath.Join(r.dir, Current)
	for {
		if err := r.ctx.Err(); err != nil {
			return nil, err
		}
		r.close()
		f, err := os.Open(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read access log: %w", err)
		}
		if err == nil {
			r.f = f
		}
		r.off, r.cut = 0, splitter{}
		list, err := Files(r.dir)
		if err != nil {
			return nil, err
		}
		if r.f != nil && r.renamed() {
			continue
		}
		if n := len(list); n > 0 && list[n-1].At.After(r.last) {
			r.last = list[n-1].At
		}
		return list, nil
	}
}

// renamed reports whether the file that we read is the current one no more.
func (r *reading) renamed() bool {
	here, err := r.f.Stat()
	if err != nil {
		return true
	}
	there, err := os.Stat(filepath.Join(r.dir, Current))
	return err != nil || !os.SameFile(here, there)
}

// files reads rotated files from their beginning to their end.
func (r *reading) files(list []File, line func([]byte) error) error {
	for _, f := range list {
		if err := r.file(f, line); err != nil {
			return err
		}
	}
	return nil
}

func (r *reading) file(f File, line func([]byte) error) error {
	file, isPacked, err := open(r.dir, f)
	if err != nil {
		return fmt.Errorf("read access log: %w", err)
	}
	if file == nil {
		return nil // removed since it was listed
	}
	defer func() { _ = file.Close() }() // only read from
	var cut splitter
	var in io.Reader = file
	if isPacked {
		z, err := gzip.NewReader(file)
		if err != nil {
			r.damaged(file, err)
			return nil
		}
		in = z
	}
	for {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		n, readErr := in.Read(r.buf)
		if err := cut.split(r.buf[:n], line); err != nil {
			return err
		}
		switch {
		case errors.Is(readErr, io.EOF):
			return nil
		case readErr != nil:
			r.damaged(file, readErr)
			return nil
		}
	}
}

func (r *reading) damaged(f *os.File, err error) {
	const enough = 10
	if len(r.damage) < enough {
		r.damage = append(r.damage, fmt.Errorf("read access log %s: %w", filepath.Base(f.Name()), err))
	}
}

// more reads what is new, from where the last call ended, through rotations.
func (r *reading) more(line func([]byte) error) error {
	for {
		had := r.f != nil
		if had {
			if err := r.drain(line); err != nil {
				return err
			}
			if !r.renamed() {
				return nil
			}
			// It may have grown between the last read and its renaming.
			if err := r.drain(line); err != nil {
				return err
			}
		}
		last := r.last
		list, err := r.begin()
		if err != nil {
			return err
		}
		for len(list) > 0 && !list[0].At.After(last) {
			list = list[1:]
		}
		if had && len(list) > 0 {
			list = list[1:] // the one that we were reading
		}
		if err := r.files(list, line); err != nil {
			return err
		}
		if r.f == nil {
			return nil
		}
	}
}

// drain reads the open file to its end.
func (r *reading) drain(line func([]byte) error) error {
	if st, err := r.f.Stat(); err == nil && st.Size() < r.off {
		// A write that the disk had no room for was taken back.
		r.off, r.cut = st.Size(), splitter{}
	}
	for {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		n, readErr := r.f.ReadAt(r.buf, r.off)
		r.off += int64(n)
		if err := r.cut.split(r.buf[:n], line); err != nil {
			return err
		}
		switch {
		case errors.Is(readErr, io.EOF):
			return nil
		case readErr != nil:
			return fmt.Errorf("read access log: %w", readErr)
		}
	}
}

func (r *reading) follow() error {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		select {
		case <-r.ctx.Done():
			return r.ctx.Err()
		case <-tick.C:
		}
		if err := r.more(r.give); err != nil {
			return err
		}
	}
}

// tail gives the last n lines that are wanted. It begins with the newest file
// and opens no more of them than it must.
func (r *reading) tail(old []File, n int) error {
	newest := newRing(n)
	keep := func(ring *ring) func([]byte) error {
		return func(line []byte) error {
			if r.m.matches(line, &r.entry) {
				ring.add(line)
			}
			return nil
		}
	}
	if err := r.more(keep(newest)); err != nil {
		return err
	}
	rings := []*ring{newest}
	left := n - newest.len()
	for i := len(old) - 1; i >= 0 && left > 0; i-- {
		ring := newRing(left)
		if err := r.file(old[i], keep(ring)); err != nil {
			return err
		}
		left -= ring.len()
		rings = append(rings, ring)
	}
	for i := len(rings) - 1; i >= 0; i-- {
		if err := rings[i].each(func(line []byte) error {
			if Parse(line, &r.entry) != nil {
				return nil
			}
			return r.fn(line, &r.entry)
		}); err != nil {
			return err
		}
	}
	return nil
}

// ring holds the last lines that were added.
type ring struct {
	lines [][]byte
	next  int // place of the oldest, once it is full
	size  int
}

func newRing(size int) *ring { return &ring{size: size} }

func (g *ring) len() int { return len(g.lines) }

func (g *ring) add(line []byte) {
	if len(g.lines) < g.size {
		g.lines = append(g.lines, bytes.Clone(line))
		return
	}
	g.lines[g.next] = append(g.lines[g.next][:0], line...)
	g.next = (g.next + 1) % g.size
}

func (g *ring) each(fn func([]byte) error) error {
	for i := range g.lines {
		if err := fn(g.lines[(g.next+i)%len(g.lines)]); err != nil {
			return err
		}
	}
	return nil
}

// splitter cuts a stream into lines. What has no end yet is held back, within
// limits.
type splitter struct {
	rest []byte
	skip bool // we are in a line that is too long
}

func (s *splitter) split(p []byte, line func([]byte) error) error {
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			if s.skip = s.skip || len(s.rest)+len(p) > maxLine; s.skip {
				s.rest = s.rest[:0]
			} else {
				s.rest = append(s.rest, p...)
			}
			return nil
		}
		part := p[:i]
		p = p[i+1:]
		if s.skip {
			s.skip = false
			continue
		}
		if len(s.rest) > 0 {
			s.rest = append(s.rest, part...)
			part = s.rest
		}
		s.rest = s.rest[:0]
		if err := line(part); err != nil {
			return err
		}
	}
	return nil
}
