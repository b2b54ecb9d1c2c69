package api

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"time"

	"landward/internal/auth"
	"landward/internal/landward"
)

// call is what is known about one request while it is answered.
type call struct {
	id         string
	address    netip.Addr // the caller's, for limits and the log
	actor      landward.Actor
	known      bool   // whether actor is somebody
	tokenHash  []byte // what the actor was known by; nil over the unix socket
	permission auth.Permission
	aboutApp   bool // the operation's path names an app
	appName    string
	app        landward.App
	err        error // what the caller was told, for the log
}

type callKey struct{}

// callOf returns the call that ctx belongs to.
func callOf(ctx context.Context) *call {
	if c, ok := ctx.Value(callKey{}).(*call); ok {
		return c
	}
	return &call{}
}

// ServeHTTP answers one request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := a.Now()
	c := &call{id: rand.Text(), address: address(r)}
	r = r.WithContext(context.WithValue(r.Context(), callKey{}, c))
	rec := &recorder{ResponseWriter: w}
	setHeaders(rec.Header(), c.id)
	defer func() { a.finish(rec, r, c, start, recover()) }()
	if err := a.cross.Check(r); err != nil {
		c.fail(rec, forbiddenOrigin(err))
		return
	}
	if !strings.HasPrefix(r.URL.Path, "/git/") { // git's own handler asks in its own way
		if err := a.authenticate(r, c); err != nil {
			c.fail(rec, err)
			return
		}
	}
	a.route(rec, r, c)
}

// route hands the request to its handler. An unknown path and a wrong method
// are problems like any other.
func (a *API) route(w *recorder, r *http.Request, c *call) {
	if _, pattern := a.mux.Handler(r); pattern != "" {
		a.mux.ServeHTTP(w, r)
		return
	}
	answer := &recorder{ResponseWriter: discard{header: http.Header{}}}
	a.mux.ServeHTTP(answer, r)
	err := landward.Errorf(landward.CodeNotFound, "there is nothing at %s", landward.Printable(r.URL.Path)).
		WithHint("/openapi.json describes what there is")
	p := c.problem(err)
	if answer.status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", answer.Header().Get("Allow"))
		p = c.problem(landward.Errorf(landward.CodeInvalid, "%s is not a method of %s", landward.Printable(r.Method), landward.Printable(r.URL.Path)).
			WithHint("use %s", answer.Header().Get("Allow")))
		p.wire.Status, p.wire.Title = http.StatusMethodNotAllowed, http.StatusText(http.StatusMethodNotAllowed)
	}
	p.write(w)
}

// finish ends a request: it turns a panic into a problem and writes the one
// log line that a request gets.
func (a *API) finish(w *recorder, r *http.Request, c *call, start time.Time, panicked any) {
	attrs := []slog.Attr{
		slog.String("request_id", c.id), slog.String("method", r.Method), slog.String("route", r.Pattern),
		slog.String("address", shownAddress(c.address)), slog.String("actor", c.actor.Name), slog.String("app", c.app.Name),
		slog.Duration("duration", a.Now().Sub(start)),
	}
	if err, ok := panicked.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(panicked)
	}
	if panicked != nil {
		c.err = fmt.Errorf("panic: %v", panicked)
		attrs = append(attrs, slog.String("stack", string(debug.Stack())))
		if w.status == 0 {
			c.fail(w, c.err)
		}
	}
	level := slog.LevelInfo
	if c.err != nil {
		attrs = append(attrs, slog.String("error", c.err.Error()))
		if landward.CodeOf(c.err) == landward.CodeInternal {
			level = slog.LevelError
		}
	}
	a.Log.LogAttrs(r.Context(), level, "request", append(attrs, slog.Int("status", w.status))...)
}

// setHeaders sets what every answer has.
func setHeaders(h http.Header, id string) {
	h.Set("X-Request-Id", id)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

func forbiddenOrigin(err error) error {
	return landward.Errorf(landward.CodeForbidden, "a page of another site sent this request").
		WithHint("call the API from a program, or from a page of its own host").Wrap(err)
}

// recorder remembers the status of an answer.
type recorder struct {
	http.ResponseWriter
	status int
}

// Unwrap lets http.ResponseController find the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader notes the status and passes it on.
func (w *recorder) WriteHeader(code int) {
	if w.status == 0 || w.status == http.StatusContinue {
		w.status = code
	}
	w.ResponseWriter.WriteHeader(code)
}

// Write passes p on.
func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}

// discard is an answer that nobody reads.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

// shownAddress is an address for the log; over a unix socket there is none.
func shownAddress(a netip.Addr) string {
	if !a.IsValid() {
		return "local"
	}
	return a.String()
}
