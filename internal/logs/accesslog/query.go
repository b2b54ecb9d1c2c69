package accesslog

import (
	"bytes"
	"net/netip"
	"strings"
	"time"

	"landward/internal/landward"
)

// MaxTail is how many lines Query.Tail may ask for: they are held in memory.
const MaxTail = 10_000

// Query says which lines are wanted. Its zero value is all that is there.
type Query struct {
	Since  time.Time // requests that began then or later
	Until  time.Time // requests that began before; not with Follow
	Tail   int       // only the last so many that match, at most MaxTail; 0: all
	Follow bool      // then go on with what is written, until the context ends
	Filter Filter
}

// Filter says what a line must be like. All that is given must fit.
type Filter struct {
	MinStatus int // 500: server errors only
	MaxStatus int // 0: no bound
	Method    string
	Host      string
	Path      string // its beginning
	Unit      string // "web.1", or "web" for all of that process
	Code      string
	ID        string
	IP        netip.Prefix
	Slower    time.Duration // took at least so long
	Grep      string        // somewhere in the line, in any case
}

func (q *Query) check() error {
	switch {
	case q.Tail < 0 || q.Tail > MaxTail:
		return landward.Invalid("tail", "it must be from 0 to %d", MaxTail)
	case q.Follow && !q.Until.IsZero():
		return landward.Invalid("until", "a log that is followed has no end")
	case !q.Until.IsZero() && !q.Until.After(q.Since):
		return landward.Invalid("until", "it must be later than since")
	}
	return nil
}

// matcher is a Query made ready for many lines.
type matcher struct {
	f            Filter
	since, until []byte // as the times of lines are written; nil: no bound
	grep         []byte // lower case
	parse        bool   // the filter asks for what only parsing tells
	lower        []byte
}

func newMatcher(q Query) *matcher {
	m := &matcher{f: q.Filter, grep: []byte(strings.ToLower(q.Filter.Grep))}
	if !q.Since.IsZero() {
		// Lines have whole milliseconds: the first that began at or after.
		since := q.Since.UTC().Add(time.Millisecond - 1).Truncate(time.Millisecond)
		m.since = since.AppendFormat(nil, timeForm)
	}
	if !q.Until.IsZero() {
		until := q.Until.UTC().Add(time.Millisecond - 1).Truncate(time.Millisecond)
		m.until = until.AppendFormat(nil, timeForm)
	}
	rest := q.Filter
	rest.Grep = ""
	m.parse = rest != Filter{}
	return m
}

// matches reports whether line is wanted. e is for its use.
func (m *matcher) matches(line []byte, e *Entry) bool {
	if !whole(line) {
		return false
	}
	at := timeOf(line)
	if m.since != nil && bytes.Compare(at, m.since) < 0 || m.until != nil && bytes.Compare(at, m.until) >= 0 {
		return false
	}
	if len(m.grep) > 0 {
		m.lower = append(m.lower[:0], line...)
		for i, c := range m.lower {
			if 'A' <= c && c <= 'Z' {
				m.lower[i] = c | 0x20
			}
		}
		if !bytes.Contains(m.lower, m.grep) {
			return false
		}
	}
	return !m.parse || Parse(line, e) == nil && m.f.fits(e)
}

func (f *Filter) fits(e *Entry) bool {
	process, _, _ := strings.Cut(e.Unit, ".")
	switch {
	case e.Status < f.MinStatus,
		f.MaxStatus > 0 && e.Status > f.MaxStatus,
		f.Method != "" && !strings.EqualFold(e.Method, f.Method),
		f.Host != "" && !strings.EqualFold(e.Host, f.Host),
		!strings.HasPrefix(e.Path, f.Path),
		f.Unit != "" && e.Unit != f.Unit && process != f.Unit,
		f.Code != "" && e.Code != f.Code,
		f.ID != "" && e.ID != f.ID,
		e.MS < float64(f.Slower)/float64(time.Millisecond):
		return false
	}
	if !f.IP.IsValid() {
		return true
	}
	ip, err := netip.ParseAddr(e.IP)
	return err == nil && f.IP.Contains(ip.Unmap())
}
