package fake

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"time"

	"landward/internal/engine"
)

// output is what a container has said.
type output struct {
	now func() time.Time

	mu    sync.Mutex
	lines []engine.LogLine
	over  bool
	more  chan struct{} // closed and replaced when something is added
}

func newOutput(now func() time.Time) *output {
	return &output{now: now, more: make(chan struct{})}
}

func (o *output) add(stderr bool, text string) {
	text = strings.TrimRight(text, "\r\n")
	text = text[strings.LastIndexByte(text, '\r')+1:]
	o.mu.Lock()
	defer o.mu.Unlock()
	for {
		part := text[:min(len(text), 16<<10)]
		o.lines = append(o.lines, engine.LogLine{At: o.now(), Stderr: stderr, Text: strings.ToValidUTF8(part, "\uFFFD")})
		if text = text[len(part):]; text == "" {
			break
		}
	}
	o.wake()
}

// begin makes those wait who follow.
func (o *output) begin() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.over = false
}

// end lets those go who follow.
func (o *output) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.over = true
	o.wake()
}

func (o *output) wake() {
	close(o.more)
	o.more = make(chan struct{})
}

// from returns the lines from number n on, whether they are the last, and what
// is closed when there are more.
func (o *output) from(n int) (lines []engine.LogLine, over bool, more <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.lines[min(n, len(o.lines)):], o.over, o.more
}

func (o *output) writer(stderr bool) *lineWriter { return &lineWriter{o: o, stderr: stderr} }

// lineWriter cuts what is written into lines.
type lineWriter struct {
	o      *output
	stderr bool

	mu     sync.Mutex
	rest   []byte
	closed bool
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return len(p), nil
	}
	w.rest = append(w.rest, p...)
	for {
		line, rest, ok := bytes.Cut(w.rest, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		w.o.add(w.stderr, string(line))
		w.rest = rest
	}
}

// close adds a last line without an end. What is written later is lost.
func (w *lineWriter) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.rest) > 0 {
		w.o.add(w.stderr, string(w.rest))
	}
	w.rest, w.closed = nil, true
}

// Logs implements engine.Engine.
func (e *Engine) Logs(ctx context.Context, id string, o engine.LogOptions, fn func(engine.LogLine) error) error {
	if err := e.fail(ctx, "Logs"); err != nil {
		return err
	}
	e.mu.Lock()
	c := e.containers[id]
	e.mu.Unlock()
	if c == nil {
		return notFound(id)
	}
	seen := 0
	if lines, _, _ := c.out.from(0); o.Tail > 0 {
		seen = max(0, len(lines)-o.Tail)
	}
	for {
		lines, over, more := c.out.from(seen)
		for _, l := range lines {
			if l.At.Before(o.Since) {
				continue
			}
			if err := fn(l); err != nil {
				return err
			}
		}
		seen += len(lines)
		if !o.Follow || over && len(lines) == 0 {
			return nil
		}
		if over {
			continue
		}
		select {
		case <-more:
		case <-ctx.Done():
			return cancelled(ctx)
		}
	}
}
