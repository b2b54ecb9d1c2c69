package route

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"time"

	"landward/internal/landward"
)

// A table travels and lies on disk as lines of JSON: its head first, then each
// route. It is always whole; but a route that is the same has the same line, so
// that whoever has read the table before need not read that line again.

// head is the first line.
type head struct {
	Generation int64     `json:"generation"`
	MadeAt     time.Time `json:"made_at"`
	Routes     int       `json:"routes"` // lines that follow: a text that was cut short is none
}

// AppendHead appends the first line of the text of a table with n routes.
func AppendHead(b []byte, generation int64, madeAt time.Time, n int) []byte {
	return appendLine(b, head{generation, madeAt, n})
}

// AppendRoute appends a route's line.
func AppendRoute(b []byte, r *Route) []byte { return appendLine(b, r) }

func appendLine(b []byte, v any) []byte {
	line, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings, numbers, times and addresses always encode
	}
	return append(append(b, line...), '\n')
}

// Text returns the table's text.
func (t Table) Text() []byte {
	b := AppendHead(nil, t.Generation, t.MadeAt, len(t.Routes))
	for _, r := range t.Routes {
		b = AppendRoute(b, r)
	}
	return b
}

// Reader reads one text after the other. A line that the text before had too
// is not read again: its route is the same pointer. The zero value is ready to
// use, by one goroutine at a time.
type Reader struct {
	known map[string]*known // by line; those of the text before, at least
	last  []*known          // the lines of the text before
	texts uint64            // how many have been read
}

// known is a line that has been read.
type known struct {
	line  string
	route *Route
	text  uint64 // the number of the last one that had it
}

// Read returns the table that the text says, which is not checked beyond its
// form. Unknown keys are refused: they would be a newer control's wish that
// this edge does not understand. CodeInvalid on an error, which names the line.
func (d *Reader) Read(text []byte) (Table, error) {
	var h head
	first, rest, _ := bytes.Cut(text, []byte{'\n'})
	if err := decodeLine(first, &h); err != nil {
		return Table{}, unreadable(1, err)
	}
	if have := bytes.Count(rest, []byte{'\n'}); have != h.Routes {
		return Table{}, unreadable(1, fmt.Errorf("%d lines follow, not %d", have, h.Routes))
	}
	t := Table{Generation: h.Generation, MadeAt: h.MadeAt, Routes: make([]*Route, 0, h.Routes)}
	d.texts++
	lines := make([]*known, 0, h.Routes)
	for len(rest) > 0 {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte{'\n'})
		k, err := d.read(line, len(lines))
		if err != nil {
			return Table{}, unreadable(len(lines)+2, err)
		}
		k.text = d.texts
		lines = append(lines, k)
		t.Routes = append(t.Routes, k.route)
	}
	d.last = lines
	if len(d.known) > 2*len(lines) {
		maps.DeleteFunc(d.known, func(_ string, k *known) bool { return k.text != d.texts })
	}
	return t, nil
}

// read reads a line, unless it is known. Most are where they were before.
func (d *Reader) read(line []byte, i int) (*known, error) {
	if i < len(d.last) && d.last[i].line == string(line) {
		return d.last[i], nil
	}
	if k := d.known[string(line)]; k != nil {
		return k, nil
	}
	k := &known{line: string(line), route: new(Route)}
	if err := decodeLine(line, k.route); err != nil {
		return nil, err
	}
	if d.known == nil {
		d.known = make(map[string]*known)
	}
	d.known[k.line] = k
	return k, nil
}

// decodeLine reads one JSON value and nothing else.
func decodeLine(line []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more than one value")
	}
	return nil
}

func unreadable(line int, err error) error {
	return landward.Invalid("", "the route table cannot be read").
		WithCause(fmt.Sprintf("line %d: %s", line, strings.TrimPrefix(err.Error(), "json: "))).Wrap(err)
}
