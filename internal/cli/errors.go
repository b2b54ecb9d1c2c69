package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"landward/client"
)

// The exit codes. `landward help exit-codes` tells users the same.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitDenied      = 4
	exitUnavailable = 5
	exitInterrupted = 130
)

// problem is an error that began here, not on the server.
type problem struct {
	exit    int
	message string
	advice  string
	err     error // explained first, where there is one
}

func (p *problem) Error() string { return strings.Join(p.Explain(), ": ") }
func (p *problem) Unwrap() error { return p.err }

// Explain returns what a person reads, a line each.
func (p *problem) Explain() []string {
	var lines []string
	if p.err != nil {
		lines = explain(p.err)
	}
	for _, line := range []string{p.message, p.advice} {
		if line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// hint returns the problem with the advice set.
func (p *problem) hint(format string, args ...any) *problem {
	c := *p
	c.advice = fmt.Sprintf(format, args...)
	return &c
}

// failf is a thing that could not be done.
func failf(format string, args ...any) *problem {
	return &problem{exit: exitFailed, message: fmt.Sprintf(format, args...)}
}

// usagef is a command that was written wrongly.
func usagef(format string, args ...any) *problem {
	return &problem{exit: exitUsage, message: fmt.Sprintf(format, args...)}
}

// misused is an error of the settings or flags that the user chose.
func misused(err error) *problem { return &problem{exit: exitUsage, err: err} }

// exitStatus ends the program with a code and no message: everything was said.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// report tells the user what went wrong and returns the exit code.
func report(ctx context.Context, w io.Writer, err error) int {
	var status exitStatus
	if errors.As(err, &status) {
		return int(status)
	}
	if err == nil {
		return exitOK
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return exitInterrupted // the user knows: they pressed Ctrl-C
	}
	complain(w, explain(err)...)
	return exitCode(err)
}

// explain returns the lines that a person reads about err.
func explain(err error) []string {
	var e interface{ Explain() []string }
	if errors.As(err, &e) {
		return e.Explain()
	}
	return []string{err.Error()}
}

// complain prints lines in the style of a push: the first with a mark, the
// others below it.
func complain(w io.Writer, lines ...string) {
	for _, line := range lines {
		fmt.Fprintln(w, " !     "+clean(line))
	}
}

// exitCode maps an error to the program's exit code.
func exitCode(err error) int {
	var p *problem
	if errors.As(err, &p) {
		return p.exit
	}
	var e *client.Error
	if !errors.As(err, &e) {
		return exitFailed
	}
	switch e.Code {
	case client.CodeNotFound:
		return exitNotFound
	case client.CodeUnauthenticated, client.CodeForbidden:
		return exitDenied
	case client.CodeUnavailable:
		return exitUnavailable
	}
	return exitFailed
}
