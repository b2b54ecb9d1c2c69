package docker

import (
	"bufio"
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"

	"landward/internal/engine"
)

// maxLine is where lines are cut, in bytes.
const maxLine = 16 << 10

// Logs implements engine.Engine.
func (d *Docker) Logs(ctx context.Context, id string, o engine.LogOptions, fn func(engine.LogLine) error) error {
	c, err := d.find(ctx, id)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ask := client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Timestamps: true, Follow: o.Follow}
	if !o.Since.IsZero() {
		ask.Since = o.Since.Format(time.RFC3339Nano)
	}
	if o.Tail > 0 {
		ask.Tail = strconv.Itoa(o.Tail)
	}
	stream, err := d.api.ContainerLogs(ctx, c.ID, ask)
	if err != nil {
		return explain("read logs", err)
	}
	defer stream.Close()
	if c.Config.Tty {
		err = ttyLogs(stream, fn)
	} else {
		_, err = stdcopy.StdCopy(lineWriter{fn: fn}, lineWriter{fn: fn, stderr: true}, stream)
	}
	var stopped *callbackError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &stopped):
		return stopped.err
	case ctx.Err() != nil:
		err = ctx.Err()
	}
	return explain("read logs", err)
}

// callbackError is what the reader of the lines said.
type callbackError struct{ err error }

func (e *callbackError) Error() string { return e.err.Error() }

// lineWriter makes a line of each frame: Docker writes one for every message,
// with its time in front. A message without a newline at its end is a piece of
// a line above 16 KiB; each piece has a time of its own, so that the pieces
// cannot be told from lines once they are joined.
type lineWriter struct {
	fn     func(engine.LogLine) error
	stderr bool
}

func (w lineWriter) Write(frame []byte) (int, error) {
	if err := emit(string(frame), w.stderr, w.fn); err != nil {
		return 0, err
	}
	return len(frame), nil
}

// ttyLogs reads the output of a terminal, which has no frames.
func ttyLogs(stream io.Reader, fn func(engine.LogLine) error) error {
	r := bufio.NewReaderSize(stream, maxLine)
	for {
		line, err := r.ReadSlice('\n')
		if len(line) > 0 {
			if err := emit(string(line), false, fn); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

func emit(message string, stderr bool, fn func(engine.LogLine) error) error {
	line := parseLine(message)
	line.Stderr = stderr
	if err := fn(line); err != nil {
		return &callbackError{err}
	}
	return nil
}

// parseLine reads one message: a time, a space, the text. Of a line that was
// written over (a progress bar) the last state stays.
func parseLine(message string) engine.LogLine {
	var line engine.LogLine
	text := message
	if stamp, rest, ok := strings.Cut(message, " "); ok {
		if at, err := time.Parse(time.RFC3339Nano, stamp); err == nil {
			line.At, text = at, rest
		}
	}
	text = strings.TrimRight(text, "\r\n")
	text = text[strings.LastIndexByte(text, '\r')+1:]
	if len(text) > maxLine {
		text = text[:maxLine]
	}
	line.Text = strings.ToValidUTF8(text, "\uFFFD")
	if len(line.Text) > maxLine {
		line.Text = strings.ToValidUTF8(line.Text[:maxLine], "")
	}
	return line
}
