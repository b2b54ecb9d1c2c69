package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
)

// ask reads one line that the user types.
func (f *factory) ask(ctx context.Context, prompt string) (string, error) {
	fmt.Fprint(f.Stderr, prompt)
	line, err := await(ctx, func() (string, error) {
		return bufio.NewReader(io.LimitReader(f.Stdin, 4096)).ReadString('\n')
	}, func() {})
	if err != nil && line == "" {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", failf("no answer came")
	}
	return strings.TrimSpace(line), nil
}

// await returns what read does, unless ctx ends first: then it calls restore
// and leaves the read, which nothing can interrupt, to end with the process.
func await(ctx context.Context, read func() (string, error), restore func()) (string, error) {
	type result struct {
		line string
		err  error
	}
	done := make(chan result, 1)
	go func() {
		line, err := read()
		done <- result{line, err}
	}()
	select {
	case r := <-done:
		return r.line, r.err
	case <-ctx.Done():
		restore()
		return "", ctx.Err()
	}
}
