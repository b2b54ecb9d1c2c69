package script_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"landward/client"
)

const (
	adminToken = "lw_admin"
	guestToken = "lw_guest"
)

// fakeNow is the server's time; the command line's is a minute later.
var fakeNow = time.Date(2026, 8, 22, 10, 0, 0, 0, time.UTC)

// fake is a server that keeps apps in memory and deploys nothing.
type fake struct {
	mux http.ServeMux

	mu       sync.Mutex
	requests []string
	changed  chan struct{} // closed and made anew with each request
	apps     map[string]*fakeApp
	keys     []client.Key
	tokens   []client.Token
	users    []client.User
}

type fakeApp struct {
	client.App
	vars      []client.Var
	releases  []client.Release
	deploys   []client.Deployment
	output    map[int][]string
	resources map[string]client.Resources
	health    map[string]client.Health
	hangs     bool // the next deployment does not end until it is cancelled
	cancelled chan struct{}
	flaky     bool // the first read of an output breaks in the middle
}

func newFake() *fake {
	f := &fake{apps: map[string]*fakeApp{}, changed: make(chan struct{})}
	f.users = []client.User{{Name: "ann", Admin: true, CreatedAt: fakeNow}}
	f.routes()
	return f
}

// ServeHTTP notes each request, and lets nobody in without a token.
func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := ""
	if r.Header.Get("Content-Type") == "application/json" {
		data, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		body = string(data)
		r.Body = io.NopCloser(bytes.NewReader(data))
	}
	f.mu.Lock()
	f.requests = append(f.requests, strings.TrimSpace(r.Method+" "+strings.TrimPrefix(r.URL.RequestURI(), "/api/v1")+" "+body))
	close(f.changed)
	f.changed = make(chan struct{})
	f.mu.Unlock()
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	public := strings.HasSuffix(r.URL.Path, "/version") || strings.HasSuffix(r.URL.Path, "/bootstrap")
	switch {
	case !public && token != adminToken && token != guestToken:
		fail(w, http.StatusUnauthorized, client.Error{Code: client.CodeUnauthenticated, Detail: "you are not logged in", Hint: "landward login"})
	case token == guestToken && r.Method != http.MethodGet:
		fail(w, http.StatusForbidden, client.Error{Code: client.CodeForbidden, Detail: "you may not do that"})
	default:
		f.mux.ServeHTTP(w, r)
	}
}

func (f *fake) asked() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.requests)
}

// waitFor waits until a request has the text.
func (f *fake) waitFor(text string, limit time.Duration) bool {
	deadline := time.After(limit)
	for {
		f.mu.Lock()
		found := strings.Contains(strings.Join(f.requests, "\n"), text)
		changed := f.changed
		f.mu.Unlock()
		if found {
			return true
		}
		select {
		case <-changed:
		case <-deadline:
			return false
		}
	}
}

func fail(w http.ResponseWriter, status int, e client.Error) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(e)
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// read decodes a request's body, or refuses it.
func read[T any](w http.ResponseWriter, r *http.Request) (v T, ok bool) {
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil {
		fail(w, http.StatusUnprocessableEntity, client.Error{Code: client.CodeInvalid, Detail: "the body cannot be read: " + err.Error()})
		return v, false
	}
	return v, true
}

// onApp finds the app of a route, under the lock.
func (f *fake) onApp(h func(w http.ResponseWriter, r *http.Request, a *fakeApp)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		a := f.apps[r.PathValue("app")]
		if a == nil {
			f.mu.Unlock()
			fail(w, http.StatusNotFound, client.Error{Code: client.CodeNotFound,
				Detail: fmt.Sprintf("there is no app %q", r.PathValue("app")), Hint: "`landward apps` lists them"})
			return
		}
		defer f.mu.Unlock()
		h(w, r, a)
	}
}

// change makes a deployment that carries a change of settings out, once the
// app has a release.
func (a *fakeApp) change(what string) client.Changed {
	if a.Release == 0 {
		return client.Changed{}
	}
	d := a.deploy(client.Source{Kind: "change"}, what, nil)
	return client.Changed{Deployment: &d}
}

// deploy makes a deployment: of a tree that has a file called "broken", one
// that fails; a file "hang" makes one that runs until it is cancelled.
func (a *fakeApp) deploy(source client.Source, what string, files []string) client.Deployment {
	n := len(a.deploys) + 1
	d := client.Deployment{App: a.Name, Number: n, State: "queued", Source: source, CreatedAt: fakeNow, StartedAt: fakeNow,
		Actor: client.Actor{Kind: "user", Name: "ann"}}
	lines := []string{"-----> " + what}
	end := d
	end.Ended, end.FinishedAt = true, fakeNow.Add(1500*time.Millisecond)
	if slices.Contains(files, "broken") {
		end.State = "failed"
		end.Failure = &client.Failure{Step: "building", Code: client.CodeFailed, Message: "the build failed: exit code 2",
			Cause: "main.go:3: syntax \x1b[31merror", Hint: "mend it and push again"}
		lines = append(lines, " !     the build failed: exit code 2", " !     main.go:3: syntax \x1b[31merror", " !     mend it and push again")
	} else {
		a.Release++
		a.State = client.AppDeployed
		end.State, end.Release = "live", a.Release
		a.releases = append([]client.Release{{Version: a.Release, Description: what, Current: true, Source: source, Actor: d.Actor,
			Phase: "done", CreatedAt: fakeNow, Services: a.services()}}, a.releases...)
		for i := range a.releases[1:] {
			a.releases[1+i].Current = false
		}
		lines = append(lines, fmt.Sprintf("=====> Deployed %s v%d", a.Name, a.Release), "       "+a.URLs[0])
	}
	a.hangs = slices.Contains(files, "hang")
	a.flaky = slices.Contains(files, "flaky")
	a.cancelled = make(chan struct{})
	a.output[n] = lines
	a.deploys = append([]client.Deployment{end}, a.deploys...)
	return d
}

func (a *fakeApp) services() []client.Service {
	web := client.Process{Name: "web", Replicas: max(1, a.Scale["web"]), Port: 5000}
	if r, ok := a.resources["web"]; ok {
		web.Resources = &r
	}
	if h, ok := a.health["web"]; ok {
		web.Health = &h
	}
	return []client.Service{{Name: "app", Image: client.Image{Ref: "landward/" + a.Name, ID: "sha256:1", Size: 12 << 20}, Processes: []client.Process{web}}}
}

// files lists the names in a tar archive, which may be packed with gzip.
func files(r io.Reader) ([]string, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	var src io.Reader = bytes.NewReader(data)
	if bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
		if src, err = gzip.NewReader(src); err != nil {
			return nil, err
		}
	}
	var names []string
	for t := tar.NewReader(src); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return names, nil
		}
		if err != nil {
			return nil, err
		}
		names = append(names, strings.TrimPrefix(h.Name, "./"))
	}
}

func number(r *http.Request, name string) int {
	n, _ := strconv.Atoi(r.PathValue(name))
	return n
}
