package landward

import (
	"errors"
	"fmt"
	"strings"
)

// Code says what kind of thing went wrong. The API maps it to an HTTP status,
// the CLI to an exit code.
type Code string

// The codes. Each has one HTTP status in package api.
const (
	CodeInvalid         Code = "invalid"         // the request itself is wrong; Field says where
	CodeUnauthenticated Code = "unauthenticated" // we do not know who is asking
	CodeForbidden       Code = "forbidden"       // we know, and they may not
	CodeNotFound        Code = "not_found"       // there is no such thing, or none the actor may see
	CodeConflict        Code = "conflict"        // it clashes with something that exists
	CodeTooLarge        Code = "too_large"       // over a size limit
	CodeLimited         Code = "rate_limited"    // too many at once; try later
	CodeUnavailable     Code = "unavailable"     // a part of Landward or the host is not answering
	CodeTimeout         Code = "timeout"         // a deadline passed
	CodeCancelled       Code = "cancelled"       // somebody asked for it to stop
	CodeFailed          Code = "failed"          // the user's own build or app failed
	CodePolicy          Code = "policy"          // the container policy refuses it
	CodeInternal        Code = "internal"        // our fault
)

// Error is an error that a person may read. Everything but Err is safe to show
// to whoever asked: no secrets, no server paths.
type Error struct {
	Code    Code   // what kind
	Message string // what happened, one line
	Cause   string // why; may be several lines, such as the app's last words
	Hint    string // what to do next
	Field   string // what was wrong: a JSON field ("domains[0]") or "file:line"
	Err     error  // for the log only
}

// Error returns the message, with the field that it is about and the inner
// error where there is one. Use Explain for what a person sees.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Field != "" {
		b.WriteString(e.Field + ": ")
	}
	b.WriteString(e.Message)
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

// Unwrap returns the inner error.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error without cause or hint.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Invalid makes an Error about one field of a request or one line of a file.
func Invalid(field, format string, args ...any) *Error {
	return &Error{Code: CodeInvalid, Field: field, Message: fmt.Sprintf(format, args...)}
}

// WithHint returns a copy of e with the hint set.
func (e *Error) WithHint(format string, args ...any) *Error {
	c := *e
	c.Hint = fmt.Sprintf(format, args...)
	return &c
}

// WithCause returns a copy of e with the cause set.
func (e *Error) WithCause(cause string) *Error {
	c := *e
	c.Cause = cause
	return &c
}

// Wrap returns a copy of e that carries err for the log.
func (e *Error) Wrap(err error) *Error {
	c := *e
	c.Err = err
	return &c
}

// AsError finds the Error inside err. An error without one becomes
// CodeInternal with a message that gives nothing away.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{
		Code:    CodeInternal,
		Message: "something went wrong inside Landward",
		Hint:    "the server's log has the details; `landward doctor` checks the usual suspects",
		Err:     err,
	}
}

// CodeOf returns err's code: CodeInternal where it has none, "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	return AsError(err).Code
}

// Explain returns what a person reads, as lines: what happened, why, what to do.
// Push output, CLI and API all show exactly these.
func (e *Error) Explain() []string {
	head := e.Message
	if e.Field != "" {
		head = e.Field + ": " + head
	}
	lines := []string{head}
	if e.Cause != "" {
		lines = append(lines, strings.Split(strings.TrimRight(e.Cause, "\n"), "\n")...)
	}
	if e.Hint != "" {
		lines = append(lines, e.Hint)
	}
	return lines
}
