// Package githttp is the HTTP face of git: the smart protocol with a token as
// the password of basic authentication. It checks the form of a request, asks
// who it is, and hands the rest to package git. It must never serve a file of a
// repository by its path, and never know what a push leads to.
package githttp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"landward/internal/landward"
	"landward/internal/source"
	"landward/internal/source/git"
)

// Git is what serves the two services; *git.Server does.
type Git interface {
	Receive(ctx context.Context, repo source.Repo, actor landward.Actor, c git.Session) (int, error)
	Upload(ctx context.Context, repo source.Repo, c git.Session) (int, error)
	Advertise(ctx context.Context, repo source.Repo, service git.Service, protocol string, out io.Writer) error
}

// Options are what the handler needs. Zero limits mean the default that the
// comment names.
type Options struct {
	// Authenticate finds who a token belongs to; the user name is what the
	// client sent, and need not mean anything.
	Authenticate func(ctx context.Context, user, password string) (landward.Actor, error)
	Intake       source.Intake
	Git          Git
	Log          *slog.Logger

	MaxBody int64         // bytes of a request after unpacking; 520 MiB
	Stall   time.Duration // for a client to send or take a piece; 60 s
}

// New returns a handler of /APP.git/info/refs, /APP.git/git-receive-pack and
// /APP.git/git-upload-pack. Mount it under a prefix with http.StripPrefix.
//
// A push whose client has hung up holds its handler until the Intake has
// answered.
func New(o Options) http.Handler {
	if o.MaxBody == 0 {
		o.MaxBody = 520 << 20
	}
	if o.Stall == 0 {
		o.Stall = time.Minute
	}
	return &handler{o}
}

type handler struct{ o Options }

// request is what a client asks for, checked.
type request struct {
	app       string
	service   git.Service
	advertise bool
	protocol  string
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	noCache(w.Header())
	req, err := parse(r)
	if err != nil {
		fail(w, err)
		return
	}
	actor, err := h.who(r)
	if err != nil {
		// The body is the same for every wrong or missing password.
		w.Header().Set("WWW-Authenticate", `Basic realm="Landward", charset="UTF-8"`)
		fail(w, err)
		return
	}
	log := h.o.Log.With("app", req.app, "actor", actor.Name, "service", string(req.service), "remote", r.RemoteAddr)
	repo, err := h.o.Intake.OpenRepo(r.Context(), actor, req.app, req.service.Writes())
	if err != nil {
		log.Info("http git refused", "error", err)
		fail(w, err)
		return
	}
	if req.advertise {
		err = h.advertise(w, r, req, repo)
	} else {
		started := time.Now()
		err = h.transfer(w, r, req, repo, actor)
		log.Info("http git", "error", err, "duration", time.Since(started))
		return
	}
	if err != nil {
		log.Error("advertise refs", "error", err)
		fail(w, err)
	}
}

// parse takes exactly the three requests of the smart protocol. A request names
// its service once; where it could name two, both must agree.
func parse(r *http.Request) (request, error) {
	notFound := landward.Errorf(landward.CodeNotFound, "there is no such page").
		WithHint("the remote's URL ends in /APP.git")
	app, rest, ok := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), ".git/")
	if !ok || landward.CheckAppName(app) != nil || r.URL.RawPath != "" {
		return request{}, notFound
	}
	req := request{app: app, protocol: r.Header.Get("Git-Protocol")}
	if rest == "info/refs" {
		query := r.URL.Query()
		if len(query) != 1 || len(query["service"]) != 1 {
			return request{}, landward.Errorf(landward.CodeForbidden, "only the smart protocol is served").
				WithHint("use a newer git client")
		}
		req.service, ok = git.ParseService(query.Get("service"))
		req.advertise = true
		if !ok || r.Method != http.MethodGet {
			return request{}, notFound
		}
		return req, nil
	}
	req.service, ok = git.ParseService(rest)
	if !ok || r.URL.RawQuery != "" || r.Method != http.MethodPost {
		return request{}, notFound
	}
	if got := r.Header.Get("Content-Type"); got != "application/x-"+string(req.service)+"-request" {
		return request{}, landward.Errorf(landward.CodeInvalid, "the content type does not fit the service")
	}
	return req, nil
}

func (h *handler) who(r *http.Request) (landward.Actor, error) {
	unknown := landward.Errorf(landward.CodeUnauthenticated, "who are you? Use a token as the password").
		WithHint("make one with `landward tokens create`")
	user, password, ok := r.BasicAuth()
	if !ok || password == "" {
		return landward.Actor{}, unknown
	}
	actor, err := h.o.Authenticate(r.Context(), user, password)
	switch landward.CodeOf(err) {
	case "":
		return actor, nil
	case landward.CodeUnauthenticated, landward.CodeNotFound, landward.CodeForbidden, landward.CodeInvalid:
		return landward.Actor{}, unknown.Wrap(err)
	}
	h.o.Log.Error("look up token", "error", err)
	return landward.Actor{}, err
}

// advertise answers with the refs, the first half of every transfer.
func (h *handler) advertise(w http.ResponseWriter, r *http.Request, req request, repo source.Repo) error {
	var body bytes.Buffer // small, and an error can still be told
	line := "# service=" + string(req.service) + "\n"
	if !(req.protocol == "version=2" && req.service == git.UploadPack) {
		fmt.Fprintf(&body, "%04x%s0000", len(line)+4, line)
	}
	if err := h.o.Git.Advertise(r.Context(), repo, req.service, req.protocol, &body); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/x-"+string(req.service)+"-advertisement")
	_, err := w.Write(body.Bytes())
	if err != nil {
		h.o.Log.Debug("client left", "error", err)
	}
	return nil
}

// transfer joins the request's body and git, and git and the answer.
func (h *handler) transfer(w http.ResponseWriter, r *http.Request, req request, repo source.Repo, actor landward.Actor) error {
	ctl := http.NewResponseController(w)
	in, err := newBody(r, ctl, h.o.MaxBody, h.o.Stall)
	if err != nil {
		fail(w, err)
		return err
	}
	// git may speak before it has read all; HTTP/2 can do so anyway.
	if err := ctl.EnableFullDuplex(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return fmt.Errorf("enable full duplex: %w", err)
	}
	defer in.drain()
	w.Header().Set("Content-Type", "application/x-"+string(req.service)+"-result")
	out := &answer{w: w, ctl: ctl, stall: h.o.Stall}
	s := git.Session{In: in, Out: out, Protocol: req.protocol, Stateless: true}
	var code int
	if req.service.Writes() {
		// Not the request's context: a client that hangs up only detaches.
		code, err = h.o.Git.Receive(context.WithoutCancel(r.Context()), repo, actor, s)
	} else {
		code, err = h.o.Git.Upload(r.Context(), repo, s)
	}
	switch {
	case in.refused() != nil:
		err = in.refused()
	case err == nil && code != 0:
		err = landward.Errorf(landward.CodeInvalid, "git could not read the request").Wrap(fmt.Errorf("exit code %d", code))
	}
	if err != nil && !out.started {
		fail(w, err)
	}
	return err
}

// noCache says what git's own server says.
func noCache(h http.Header) {
	h.Set("Cache-Control", "no-cache, max-age=0, must-revalidate")
	h.Set("Pragma", "no-cache")
	h.Set("Expires", "Fri, 01 Jan 1980 00:00:00 GMT")
	h.Set("X-Content-Type-Options", "nosniff")
}

// fail answers with an error as plain text, which git clients show.
func fail(w http.ResponseWriter, err error) {
	e := landward.AsError(err)
	status := map[landward.Code]int{
		landward.CodeInvalid:         http.StatusBadRequest,
		landward.CodeUnauthenticated: http.StatusUnauthorized,
		landward.CodeForbidden:       http.StatusForbidden,
		landward.CodeNotFound:        http.StatusNotFound,
		landward.CodeConflict:        http.StatusConflict,
		landward.CodeTooLarge:        http.StatusRequestEntityTooLarge,
		landward.CodeLimited:         http.StatusTooManyRequests,
		landward.CodeUnavailable:     http.StatusServiceUnavailable,
		landward.CodeTimeout:         http.StatusRequestTimeout,
	}[e.Code]
	if status == 0 {
		status = http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	for _, line := range e.Explain() {
		_, _ = fmt.Fprintln(w, landward.CleanLine(line)) // a client who is gone does not read it
	}
}
