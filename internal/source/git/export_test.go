package git

import "io"

// NewLines is a pusher's output with its far end.
func NewLines() (w io.Writer, next func() ([]string, bool, bool), end func(bool)) {
	l := newLines()
	return l, l.next, l.close
}
