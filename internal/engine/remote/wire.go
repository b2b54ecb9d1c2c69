// Package remote is the engine contract over a unix socket: Handler serves an
// engine, Client is one. It owns the wire between the two: HTTP with JSON,
// streams as newline-delimited JSON, attached commands as frames on an
// upgraded connection. It must never know which engine is behind it, and it
// trusts neither end: unknown fields are refused, sizes are capped.
package remote

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"landward/internal/build"
	"landward/internal/engine"
	"landward/internal/landward"
)

// maxRequest bounds a request's JSON, in bytes: a unit with its variables and
// secret files is the largest.
const maxRequest = 8 << 20

// The requests. Each has the fields of its method.
type (
	idRequest struct {
		ID string `json:"id"`
	}
	removeRequest struct {
		ID    string        `json:"id"`
		Grace time.Duration `json:"grace"`
	}
	appRequest struct {
		AppID   int64 `json:"app_id"`
		Volumes bool  `json:"volumes,omitempty"`
	}
	logsRequest struct {
		ID     string    `json:"id"`
		Follow bool      `json:"follow,omitempty"`
		Since  time.Time `json:"since,omitzero"`
		Tail   int       `json:"tail,omitempty"`
	}
	refRequest struct {
		Ref string `json:"ref"`
	}
	keepRequest struct {
		ID      string `json:"id"`
		AppID   int64  `json:"app_id"`
		App     string `json:"app"`
		Version int    `json:"version"`
		Service string `json:"service"`
	}
	collectRequest struct {
		AppID int64 `json:"app_id"`
		Keep  []int `json:"keep"`
	}
	// attachRequest is Run's where Unit is set, and Exec's otherwise.
	attachRequest struct {
		Unit  *engine.Unit `json:"unit,omitempty"`
		ID    string       `json:"id,omitempty"`
		Argv  []string     `json:"argv,omitempty"`
		Stdin bool         `json:"stdin,omitempty"`
		TTY   bool         `json:"tty,omitempty"`
	}
	none struct{}
)

// The answers that are not a noun of the contract.
type (
	listAnswer struct {
		Containers []engine.Container `json:"containers"`
	}
	collectAnswer struct {
		Freed int64 `json:"freed"`
	}
	// item is one line of a stream. The last one has End, or an Error. One with
	// nothing in it only shows that the other side is there.
	item[T any] struct {
		Item  *T         `json:"item,omitempty"`
		End   bool       `json:"end,omitempty"`
		Error *wireError `json:"error,omitempty"`
		// Image is what a pull or a build has made, in its last item.
		Image *landward.Image `json:"image,omitempty"`
	}
	exitAnswer struct {
		Exit  int        `json:"exit"`
		Error *wireError `json:"error,omitempty"`
	}
)

type (
	eventItem = item[engine.Event]
	logItem   = item[engine.LogLine]
	textItem  = item[string]
	buildItem = item[build.Line]
)

// wireError is a landward.Error without what is for the log only.
type wireError struct {
	Code    landward.Code `json:"code"`
	Message string        `json:"message"`
	Cause   string        `json:"cause,omitempty"`
	Hint    string        `json:"hint,omitempty"`
	Field   string        `json:"field,omitempty"`
}

func toWire(err error) *wireError {
	e := landward.AsError(err)
	return &wireError{Code: e.Code, Message: e.Message, Cause: e.Cause, Hint: e.Hint, Field: e.Field}
}

func (w *wireError) err() error {
	return &landward.Error{Code: w.Code, Message: w.Message, Cause: w.Cause, Hint: w.Hint, Field: w.Field}
}

// decode reads exactly one JSON value without fields that v does not have.
func decode(r io.Reader, v any) error {
	dec := json.NewDecoder(r)
	dec.DisallowUnknownFields()
	err := dec.Decode(v)
	if err == nil {
		if _, more := dec.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("there is more than one value")
		}
	}
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &tooLarge):
		return landward.Errorf(landward.CodeTooLarge, "the request is larger than %d bytes", tooLarge.Limit)
	}
	return landward.Errorf(landward.CodeInvalid, "the engine does not understand the request").WithCause(err.Error()).
		WithHint("control and engine must be the same version")
}

// lost says that the connection ended before the answer did.
func lost(err error) error {
	return landward.Errorf(landward.CodeUnavailable, "the engine process is not answering").
		WithHint("it is started again by itself; `landward doctor` says what is wrong").Wrap(fmt.Errorf("call engine: %w", err))
}
