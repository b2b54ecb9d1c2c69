package logs

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"landward/internal/logs/accesslog"
)

// Query chooses lines.
type Query struct {
	Follow  bool
	Since   time.Time // zero: from the oldest kept
	Tail    int       // the last n that match; 0: all
	Process string    // "web" or "web.1"; empty: all
	Grep    string    // part of the text, case ignored
	Router  bool      // the edge's lines too
	// Done says that nobody will write any more, though the log has no end: its
	// writer died. A follow ends soon after it first says so. Nil: the end of
	// the log or of ctx ends it.
	Done func() bool
}

// followEvery is how often a followed file is looked at when nobody in this
// process writes it (the edge writes the router's log).
const followEvery = 250 * time.Millisecond

// linger is for how many looks a follow goes on after Done: whoever writes the
// last lines does so when it is done.
const linger = 4

// App gives the app's lines to fn, oldest first. An error from fn ends it and is
// returned.
func (s *Store) App(ctx context.Context, appID int64, q Query, fn func(Line) error) error {
	names := []string{appLog(appID)}
	if q.Router {
		names = append(names, routerLog(appID))
	}
	return s.read(ctx, names, q, fn)
}

// Deploy gives a deployment's lines to fn.
func (s *Store) Deploy(ctx context.Context, appID, deployment int64, q Query, fn func(Line) error) error {
	return s.read(ctx, []string{deployLog(appID, deployment)}, q, fn)
}

// LastSeen returns for each unit the time of its last line that was kept.
func (s *Store) LastSeen(appID int64) (map[string]time.Time, error) {
	seen := map[string]time.Time{}
	err := s.App(context.Background(), appID, Query{}, func(l Line) error {
		if l.Unit != "" && l.At.After(seen[l.Unit]) {
			seen[l.Unit] = l.At
		}
		return nil
	})
	return seen, err
}

func (s *Store) read(ctx context.Context, names []string, q Query, fn func(Line) error) error {
	var lines []Line
	ended := false
	tails := make([]*tail, len(names))
	for i, name := range names {
		t := &tail{path: filepath.Join(s.dir, name)}
		tails[i] = t
		defer t.close()
		err := t.history(ctx, q, func(l Line) {
			ended = ended || l.Kind == kindEnd
			if q.matches(l) {
				lines = append(lines, l)
				// Twice the tail is enough to sort in and keeps memory bounded.
				if q.Tail > 0 && len(lines) > 2*q.Tail+1024 {
					lines = slices.Delete(lines, 0, len(lines)-q.Tail)
				}
			}
		})
		if err != nil {
			return err
		}
	}
	slices.SortStableFunc(lines, func(a, b Line) int { return a.At.Compare(b.At) })
	if q.Tail > 0 && len(lines) > q.Tail {
		lines = lines[len(lines)-q.Tail:]
	}
	for _, l := range lines {
		if err := fn(l); err != nil {
			return err
		}
	}
	if !q.Follow || ended {
		return nil
	}
	return s.follow(ctx, names, tails, q, fn)
}

func (s *Store) follow(ctx context.Context, names []string, tails []*tail, q Query, fn func(Line) error) error {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	left := linger
	for left > 0 {
		// The channel is taken before reading: a write in between wakes us.
		grown := s.grown(names[0])
		if q.Done != nil && q.Done() {
			left--
		}
		ended := false
		var fnErr error
		for _, t := range tails {
			err := t.more(func(l Line) {
				ended = ended || l.Kind == kindEnd
				if fnErr == nil && q.matches(l) {
					fnErr = fn(l)
				}
			})
			if fnErr != nil {
				return fnErr
			}
			if err != nil {
				return err
			}
		}
		if ended {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-grown:
		case <-tick.C:
		}
	}
	return nil
}

func (q Query) matches(l Line) bool {
	if l.Kind == kindEnd || l.At.Before(q.Since) {
		return false
	}
	if q.Process != "" {
		process, _, _ := strings.Cut(l.Source, ".")
		if l.Source != q.Process && process != q.Process {
			return false
		}
	}
	return q.Grep == "" || strings.Contains(strings.ToLower(l.Text), strings.ToLower(q.Grep))
}

// tail reads one log: first both its files, then what is appended, through a
// rotation too.
type tail struct {
	path string
	f    *os.File
	rest []byte // a line whose end has not come yet
	buf  []byte
}

// history gives what was written before now.
func (t *tail) history(ctx context.Context, q Query, fn func(Line)) error {
	if filepath.Base(t.path) == accesslog.Current {
		return t.requests(ctx, q, fn)
	}
	old, err := os.Open(t.path + ".1")
	if err == nil {
		err = scan(old, fn)
		_ = old.Close()
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read log: %w", err)
	}
	return t.more(fn)
}

// requests gives what the edge has written, through all its files. A follow
// goes on at what is the end before that.
func (t *tail) requests(ctx context.Context, q Query, fn func(Line)) error {
	if q.Follow {
		f, err := os.Open(t.path)
		if err == nil {
			_, err = f.Seek(0, io.SeekEnd)
			t.f = f
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("read log: %w", err)
		}
	}
	// Another filter may take lines out of the tail: then all are looked at.
	wanted := accesslog.Query{Since: q.Since}
	if q.Grep == "" && q.Process == "" && q.Tail <= accesslog.MaxTail {
		wanted.Tail = q.Tail
	}
	err := accesslog.Read(ctx, filepath.Dir(t.path), wanted, func(raw []byte, _ *accesslog.Entry) error {
		if l, ok := parse(raw); ok {
			fn(l)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	return nil
}

// more reads from where the last call ended to the end of the file.
func (t *tail) more(fn func(Line)) error {
	for {
		if t.f == nil {
			f, err := os.Open(t.path)
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("read log: %w", err)
			}
			t.f = f
		}
		if err := t.drain(fn); err != nil {
			return err
		}
		if !t.rotated() {
			return nil
		}
		// The name is another file now. The old one may have grown between
		// the last read and its renaming.
		if err := t.drain(fn); err != nil {
			return err
		}
		t.close()
	}
}

func (t *tail) drain(fn func(Line)) error {
	if t.buf == nil {
		t.buf = make([]byte, 64<<10)
	}
	for {
		n, err := t.f.Read(t.buf)
		t.rest = append(t.rest, t.buf[:n]...)
		for {
			i := bytes.IndexByte(t.rest, '\n')
			if i < 0 {
				break
			}
			if l, ok := parse(t.rest[:i]); ok {
				fn(l)
			}
			t.rest = t.rest[i+1:]
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read log: %w", err)
		}
	}
}

func (t *tail) rotated() bool {
	here, err1 := t.f.Stat()
	there, err2 := os.Stat(t.path)
	return err1 == nil && err2 == nil && !os.SameFile(here, there)
}

func (t *tail) close() {
	if t.f != nil {
		_ = t.f.Close()
		t.f, t.rest = nil, nil
	}
}

func scan(r io.Reader, fn func(Line)) error {
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 64<<10), 1<<20)
	for sc.Scan() {
		if l, ok := parse(sc.Bytes()); ok {
			fn(l)
		}
	}
	return sc.Err()
}

// parse reads a line of ours or one of the edge's access log. A line that is
// neither (a crash may cut one off) is passed over.
func parse(b []byte) (Line, bool) {
	if len(b) == 0 {
		return Line{}, false
	}
	var l Line
	if !bytes.Contains(b, []byte(`"method"`)) {
		err := json.Unmarshal(b, &l)
		return l, err == nil && l.Kind != ""
	}
	// A line of ours may hold the word too, inside its text.
	if err := json.Unmarshal(b, &l); err == nil && l.Kind != "" {
		return l, true
	}
	var a access
	if err := json.Unmarshal(b, &a); err != nil || a.Method == "" {
		return Line{}, false
	}
	return a.line(), true
}

// access are the fields of an access log entry that a router line shows.
type access struct {
	At      time.Time `json:"at"`
	Method  string    `json:"method"`
	Path    string    `json:"path"`
	Host    string    `json:"host"`
	Status  int       `json:"status"`
	Unit    string    `json:"unit"`
	Out     int64     `json:"out"`
	Connect float64   `json:"connect_ms"`
	Service float64   `json:"service_ms"`
	IP      string    `json:"ip"`
	Reason  string    `json:"code"`
	ID      string    `json:"id"`
}

// line writes the entry the way Heroku's router does, which users' tools read.
func (a access) line() Line {
	var b strings.Builder
	level := "info"
	if a.Status >= 500 {
		level = "error"
	}
	fmt.Fprintf(&b, "at=%s", level)
	if a.Reason != "" {
		fmt.Fprintf(&b, " code=%s", a.Reason)
	}
	fmt.Fprintf(&b, " method=%s path=%q host=%s request_id=%s fwd=%q", a.Method, a.Path, a.Host, a.ID, a.IP)
	if a.Unit != "" {
		fmt.Fprintf(&b, " unit=%s", a.Unit)
	}
	fmt.Fprintf(&b, " connect=%.0fms service=%.0fms status=%d bytes=%d", a.Connect, a.Service, a.Status, a.Out)
	return Line{At: a.At, Kind: KindRouter, Source: "router", Text: b.String()}
}
