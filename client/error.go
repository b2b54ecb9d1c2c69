package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
)

// Error is a problem that the server reports, as RFC 9457 problem details with
// Landward's own members. It is also what this package makes of an answer that
// is none, such as one from a proxy on the way.
type Error struct {
	Title  string `json:"title,omitempty" doc:"What kind of problem it is, for a person"`
	Status int    `json:"status,omitempty" doc:"The HTTP status"`
	Detail string `json:"detail,omitempty" doc:"What happened, one line"`
	// Code is the machine's word for what kind of problem it is.
	Code      string       `json:"code,omitempty" doc:"What kind of problem it is, for a machine" example:"not_found"`
	Cause     string       `json:"cause,omitempty" doc:"Why; may be several lines"`
	Hint      string       `json:"hint,omitempty" doc:"What to do next"`
	Field     string       `json:"field,omitempty" doc:"The field that it is about" example:"domains[0]"`
	Errors    []FieldError `json:"errors,omitempty" doc:"All fields that are wrong, where it is more than one"`
	RequestID string       `json:"request_id,omitempty" doc:"To find the request in the server's log"`

	err error // that the server could not be reached with
}

// FieldError is what is wrong with one field of a request.
type FieldError struct {
	Field   string `json:"field,omitempty" doc:"Where"`
	Message string `json:"message" doc:"What is wrong"`
}

// Codes of an Error that callers act on. The server may send others.
const (
	CodeInvalid         = "invalid"
	CodeUnauthenticated = "unauthenticated"
	CodeForbidden       = "forbidden"
	CodeNotFound        = "not_found"
	CodeConflict        = "conflict"
	CodeTooLarge        = "too_large"
	CodeLimited         = "rate_limited"
	CodeUnavailable     = "unavailable"
	CodeTimeout         = "timeout"
	CodeCancelled       = "cancelled"
	CodeFailed          = "failed"
	CodePolicy          = "policy"
	CodeInternal        = "internal"
)

// Error returns the first line of Explain.
func (e *Error) Error() string { return e.head() }

// Unwrap returns what the server could not be reached with, or nil.
func (e *Error) Unwrap() error { return e.err }

func (e *Error) head() string {
	head := e.Detail
	if head == "" {
		head = e.Title
	}
	if e.Field != "" {
		head = e.Field + ": " + head
	}
	return head
}

// Explain returns what a person reads, as lines: what happened, why, what to do.
func (e *Error) Explain() []string {
	lines := []string{e.head()}
	for _, f := range e.Errors {
		if f.Field != e.Field {
			lines = append(lines, f.Field+": "+f.Message)
		}
	}
	if e.Cause != "" {
		lines = append(lines, strings.Split(strings.TrimRight(e.Cause, "\n"), "\n")...)
	}
	if e.Hint != "" {
		lines = append(lines, e.Hint)
	}
	return lines
}

// CodeOf returns the code of the Error inside err, or "" where there is none.
func CodeOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// maxProblem is the most of an error answer that is read, in bytes.
const maxProblem = 1 << 20

// readError makes an Error of an answer that is not 2xx.
func readError(resp *http.Response) *Error {
	data, _ := io.ReadAll(io.LimitReader(resp.Body, maxProblem))
	e := &Error{}
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if (kind != "application/problem+json" && kind != "application/json") || json.Unmarshal(data, e) != nil || e.Code == "" {
		e = &Error{
			Title:  http.StatusText(resp.StatusCode),
			Code:   codeOfStatus(resp.StatusCode),
			Detail: fmt.Sprintf("the server answered %s, and not in Landward's words", resp.Status),
			Hint:   "check that the address is Landward's own and not an app's or a proxy's",
		}
	}
	e.Status = resp.StatusCode
	if e.RequestID == "" {
		e.RequestID = resp.Header.Get("X-Request-Id")
	}
	return e
}

func codeOfStatus(status int) string {
	switch {
	case status == http.StatusUnauthorized:
		return CodeUnauthenticated
	case status == http.StatusForbidden:
		return CodeForbidden
	case status == http.StatusNotFound:
		return CodeNotFound
	case status == http.StatusRequestEntityTooLarge:
		return CodeTooLarge
	case status == http.StatusTooManyRequests:
		return CodeLimited
	case status < http.StatusInternalServerError:
		return CodeInvalid
	}
	return CodeUnavailable
}

// unreachable makes an Error of a call that got no answer.
func unreachable(base string, err error) error {
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{Code: CodeTimeout, Detail: "the server did not answer in time: " + base, err: err}
	}
	return &Error{
		Code:   CodeUnavailable,
		Detail: "cannot reach the server at " + base,
		Cause:  err.Error(),
		Hint:   "is `landward serve` running, and the address right?",
		err:    err,
	}
}
