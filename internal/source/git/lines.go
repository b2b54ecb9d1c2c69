package git

import (
	"bytes"
	"fmt"
	"sync"
)

const (
	maxLine    = 8 << 10 // a longer line is cut in two
	maxWaiting = 1 << 20 // bytes that wait for a slow pusher
)

// lines stands between a deployment and whoever watches it. Writes never block:
// a pusher who stops reading loses lines and holds nothing up.
type lines struct {
	wake chan struct{} // one signal at most: there is something for next

	mu      sync.Mutex
	part    []byte // of a line whose end has not come
	waiting []string
	size    int
	lost    int
	closed  bool
	ok      bool
}

func newLines() *lines { return &lines{wake: make(chan struct{}, 1)} }

// Write takes any piece of text; whole lines go on at once.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return len(p), nil
	}
	rest := p
	for {
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			break
		}
		l.add(append(l.part, rest[:i]...))
		l.part, rest = l.part[:0], rest[i+1:]
	}
	l.part = append(l.part, rest...)
	for len(l.part) >= maxLine {
		l.add(l.part[:maxLine])
		l.part = append(l.part[:0], l.part[maxLine:]...)
	}
	return len(p), nil
}

// close ends the output with the verdict.
func (l *lines) close(ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.part) > 0 {
		l.add(l.part)
	}
	l.closed, l.ok = true, ok
	l.signal()
}

func (l *lines) add(line []byte) {
	for len(line) > maxLine {
		l.queue(line[:maxLine])
		line = line[maxLine:]
	}
	l.queue(line)
}

func (l *lines) queue(line []byte) {
	if l.size+len(line) > maxWaiting {
		l.lost++
		return
	}
	l.waiting = append(l.waiting, cleanLine(string(line)))
	l.size += len(line) + 1
	l.signal()
}

func (l *lines) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// next waits for lines. done says that these are the last; ok is the verdict.
func (l *lines) next() (batch []string, ok, done bool) {
	<-l.wake
	l.mu.Lock()
	defer l.mu.Unlock()
	batch = l.waiting
	if l.lost > 0 {
		batch = append(batch, fmt.Sprintf("       … %d lines left out: see `landward logs`", l.lost))
	}
	l.waiting, l.size, l.lost = nil, 0, 0
	return batch, l.ok, l.closed
}
