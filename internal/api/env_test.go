package api_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"landward/client"
	"landward/internal/api"
	"landward/internal/auth"
	"landward/internal/deploy"
	"landward/internal/landward"
	"landward/internal/logs"
	"landward/internal/pipeline"
	"landward/internal/store"
	"landward/internal/store/storetest"
)

// The callers that the tests know. All but the first two may do something.
const (
	anonymous = "anonymous"
	expired   = "expired"  // a token that was valid once
	foreign   = "foreign"  // a token with the owner's role on another app
	viewer    = "viewer"   // a user with that role on shop; likewise the next two
	deployer  = "deployer" //
	owner     = "owner"    //
	machine   = "machine"  // a token with the deployer's role on shop
	admin     = "admin"    // a user
	local     = "local"    // root, over the unix socket
)

var callers = []string{anonymous, expired, foreign, viewer, deployer, owner, machine, admin, local}

const bootstrapToken = "lwboot_the-one-time-token-of-this-test"

// env is an API on real parts, but for those that need Docker.
type env struct {
	t        testing.TB
	clock    *storetest.Clock
	store    *store.Store
	deployer *deploy.Deployer
	logs     *logs.Store
	pipeline *fakePipeline
	units    *fakeUnits
	canaries *fakeCanaries
	doctor   *fakeDoctor
	certs    *fakeCerts
	access   *fakeAccess
	limiter  *auth.Limiter
	log      *lockedBuffer // what the API logged
	options  api.Options
	api      *api.API
	server   *httptest.Server
	socket   string
	tokens   map[string]string // by caller
}

// newEnv returns an API with users, tokens, and the app shop with two releases.
func newEnv(t testing.TB, change ...func(*api.Options)) *env {
	t.Helper()
	e := &env{t: t, tokens: map[string]string{}, log: &lockedBuffer{}}
	e.store, e.clock = storetest.NewWithClock(t)
	e.limiter = auth.NewLimiter(e.clock.Now)
	e.logs = logs.New(t.TempDir(), 1<<20)
	t.Cleanup(e.logs.Close)
	log := slog.New(slog.NewJSONHandler(e.log, nil))
	e.deployer = deploy.New(deploy.Options{
		Store: e.store, Logs: e.logs, Notify: quiet{}, Now: e.clock.Now, Log: log, Domain: "example.test", StartWithin: time.Minute,
	})
	e.pipeline = &fakePipeline{store: e.store, now: e.clock.Now}
	e.units = &fakeUnits{entered: make(chan struct{}, 16)}
	e.canaries = &fakeCanaries{}
	e.doctor = &fakeDoctor{}
	e.certs = &fakeCerts{pairs: map[string]string{}}
	e.access = &fakeAccess{}
	e.options = api.Options{
		Store: e.store, Apps: e.deployer, Changes: e.deployer, Pipeline: e.pipeline,
		Unpack: func(dst io.Writer, src io.Reader) error { _, err := io.Copy(dst, src); return err },
		Logs:   e.logs, Units: e.units, Launcher: e.units, Canaries: e.canaries, Doctor: e.doctor, Limiter: e.limiter,
		Git:   http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }),
		Certs: e.certs, Domains: fakeDNS{}, Access: e.access,
		Domain: "example.test", Host: "git.example.test", HTTPPort: 8080, SSHPort: 2222, MaxUpload: 1 << 20,
		Version: client.Version{Version: "0.0.0-test"}, Now: e.clock.Now, Log: log,
	}
	for _, c := range change {
		c(&e.options)
	}
	var err error
	if e.api, err = api.New(e.options); err != nil {
		t.Fatalf("make API: %v", err)
	}
	e.listen()
	e.seed()
	return e
}

// listen serves over TCP and over a unix socket for root.
func (e *env) listen() {
	e.server = httptest.NewServer(e.api)
	e.t.Cleanup(e.server.Close)
	e.socket = filepath.Join(e.t.TempDir(), "s")
	l, err := net.Listen("unix", e.socket)
	if err != nil {
		e.t.Fatalf("listen: %v", err)
	}
	s := &http.Server{Handler: e.api, ConnContext: api.LocalConn, ReadHeaderTimeout: time.Minute}
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Serve(l) })
	e.t.Cleanup(func() { _ = s.Close(); wg.Wait() })
}

// seed makes the callers and the app.
func (e *env) seed() {
	ctx := e.t.Context()
	shop := must(e.store.CreateApp(ctx, "shop", landward.System))(e.t)
	other := must(e.store.CreateApp(ctx, "other", landward.System))(e.t)
	for _, name := range []string{viewer, deployer, owner, admin} {
		u := must(e.store.CreateUser(ctx, name, name == admin))(e.t)
		if name != admin {
			check(e.t, e.store.SetAppRole(ctx, shop.ID, u.ID, landward.Role(name)))
		}
		e.addToken(name, store.Token{UserID: u.ID})
	}
	e.addToken(foreign, store.Token{AppID: other.ID, Role: landward.RoleOwner})
	e.addToken(machine, store.Token{AppID: shop.ID, Role: landward.RoleDeployer})
	u := must(e.store.UserByName(ctx, admin))(e.t)
	e.addToken(expired, store.Token{UserID: u.ID, ExpiresAt: e.clock.Now().Add(-time.Second)})
	sum := sha256.Sum256([]byte(bootstrapToken))
	check(e.t, e.store.SetFact(ctx, store.BootstrapFact, hex.EncodeToString(sum[:])))
	for range 2 {
		e.release(shop.ID)
	}
}

func (e *env) addToken(caller string, t store.Token) {
	secret := auth.NewToken()
	t.Name, t.Prefix = caller, secret.Prefix
	must(e.store.AddToken(e.t.Context(), t, secret.Hash))(e.t)
	e.tokens[caller] = secret.Text
}

// release makes a release with the app's settings of now, and makes it live.
func (e *env) release(appID int64) landward.Release {
	e.t.Helper()
	ctx := e.t.Context()
	src := landward.Source{Kind: landward.SourceGit, Ref: "refs/heads/main", Commit: strings.Repeat("a", 40), Title: "first"}
	d := must(e.store.CreateDeployment(ctx, store.NewDeployment{AppID: appID, State: landward.StateQueued, Source: src, Actor: landward.System}))(e.t)
	r, _, err := e.store.CreateRelease(ctx, store.NewRelease{
		AppID: appID, DeploymentID: d.ID, Source: src, Actor: landward.System, Description: "Deploy aaaaaaa",
		Services: []landward.Service{{
			Name: landward.DefaultService, Image: landward.Image{ID: "sha256:" + strings.Repeat("b", 64), Ref: "shop"},
			Processes: []landward.Process{{Name: "web", Replicas: 1}, {Name: "worker", Replicas: 1, Command: landward.Command{Argv: []string{"./work"}}}},
		}},
		Cron: []landward.Cron{{Name: "tidy", Schedule: "@daily", Command: landward.Command{Argv: []string{"./tidy"}}, Overlap: landward.OverlapForbid}},
	})
	check(e.t, err)
	must(e.store.Commit(ctx, d.ID, e.clock.Now(), ""))(e.t)
	return r
}

// client returns a caller's client.
func (e *env) client(caller string) *client.Client {
	if caller == local {
		return client.NewUnix(e.socket)
	}
	return must(client.New(e.server.URL, e.tokens[caller], client.Options{}))(e.t)
}

// request sends a request as a caller and returns the answer, read whole.
func (e *env) request(caller, method, path, body string) response {
	e.t.Helper()
	base, transport := e.server.URL, e.server.Client().Transport
	if caller == local {
		base, transport = "http://landward.localhost", &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, "unix", e.socket)
			},
		}
	}
	req, err := http.NewRequestWithContext(e.t.Context(), method, base+path, strings.NewReader(body))
	check(e.t, err)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if token := e.tokens[caller]; token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return e.do(transport, req)
}

func (e *env) do(transport http.RoundTripper, req *http.Request) response {
	e.t.Helper()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		e.t.Fatalf("%s %s: %v", req.Method, req.URL.Path, err)
	}
	defer resp.Body.Close() //nolint:errcheck // it was only read
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		e.t.Fatalf("%s %s: %v", req.Method, req.URL.Path, err)
	}
	return response{status: resp.StatusCode, header: resp.Header, body: string(data)}
}

type response struct {
	status int
	header http.Header
	body   string
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		check(t, err)
		return v
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

type quiet struct{}

func (quiet) Publish(int64) {}

// lockedBuffer is a buffer for many writers.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// fakePipeline queues what it is given and keeps what it read.
type fakePipeline struct {
	store *store.Store
	now   func() time.Time

	mu    sync.Mutex
	trees []string
	err   error
}

func (p *fakePipeline) read(tree io.Reader) error {
	if tree == nil {
		return nil
	}
	data, err := io.ReadAll(tree)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trees = append(p.trees, string(data))
	return p.err
}

func (p *fakePipeline) Submit(ctx context.Context, s pipeline.Submission) (landward.Deployment, error) {
	if err := p.read(s.Tree); err != nil {
		return landward.Deployment{}, err
	}
	return p.store.CreateDeployment(ctx, store.NewDeployment{
		AppID: s.AppID, State: landward.StateQueued, Source: s.Source, Actor: s.Actor, Deadline: p.now().Add(time.Hour),
	})
}

func (p *fakePipeline) Plan(_ context.Context, tree io.Reader) (landward.Plan, error) {
	err := p.read(tree)
	return landward.Plan{
		Builder: "go", Why: "go.mod",
		Services: []landward.ServicePlan{{
			Name: "app", Build: &landward.BuildPlan{Generated: "FROM scratch\n"},
			Processes: []landward.Process{{Name: "web", Replicas: 1, Health: landward.Health{Path: "/up", Interval: time.Second}}},
		}},
	}, err
}

// fakeUnits has three units of every app and runs commands that are Go code.
type fakeUnits struct {
	entered chan struct{} // a command began
	web     string        // what the web unit is doing; "": it runs

	mu      sync.Mutex
	started [][]string
}

func (u *fakeUnits) List(context.Context, int64) ([]landward.Unit, error) {
	at := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	unit := func(process, state string) landward.Unit {
		return landward.Unit{
			ID: process + "-1", Process: process, Index: 1, Release: 2,
			State: state, CreatedAt: at, StartedAt: at,
		}
	}
	return []landward.Unit{unit("worker", "exited"), unit("web", cmp.Or(u.web, landward.UnitRunning)), unit("clock", landward.UnitRunning)}, nil
}

func (u *fakeUnits) Exec(ctx context.Context, id string, argv []string, s landward.Streams) (int, error) {
	return u.run(ctx, append([]string{id}, argv...), s)
}

func (u *fakeUnits) Launch(ctx context.Context, _ landward.Actor, _ int64, argv []string, s landward.Streams) (int, error) {
	return u.run(ctx, append([]string{"new"}, argv...), s)
}

func (u *fakeUnits) run(ctx context.Context, argv []string, s landward.Streams) (int, error) {
	u.mu.Lock()
	u.started = append(u.started, argv)
	u.mu.Unlock()
	select {
	case u.entered <- struct{}{}:
	default:
	}
	switch argv[1] {
	case "cat":
		if _, err := io.Copy(s.Stdout, s.Stdin); err != nil {
			return 0, err
		}
		return 3, nil
	case "both":
		_, _ = io.WriteString(s.Stdout, argv[0]+" out")
		_, _ = io.WriteString(s.Stderr, "err")
		return 0, nil
	case "size":
		size := <-s.Resize
		_, _ = s.Stdout.Write([]byte{byte(size.Width), byte(size.Height)})
		return 0, nil
	case "big":
		_, err := s.Stdout.Write(bytes.Repeat([]byte("x"), 1<<20))
		return 0, err
	case "wait":
		<-ctx.Done()
		return 0, ctx.Err()
	}
	return 0, landward.Errorf(landward.CodeFailed, "no such program").WithCause("exec: not found").WithHint("is it in the image?")
}

type fakeDoctor struct{ err error }

func (d *fakeDoctor) Status(context.Context) (client.Status, error) {
	return client.Status{Version: "0.0.0-test", Instance: "test", Domain: "example.test"}, d.err
}

func (d *fakeDoctor) Diagnose(context.Context) ([]client.Check, error) {
	return []client.Check{{Name: "docker", State: "ok", Message: "answers"}, {Name: "disk", State: "fail", Message: "full", Hint: "free some"}}, d.err
}

var errSecret = errors.New("password=hunter2 in /srv/secret/path")

// remake serves e.options, which a test has changed, over TCP.
func (e *env) remake() {
	e.t.Helper()
	e.server.Close()
	e.api = must(api.New(e.options))(e.t)
	e.server = httptest.NewServer(e.api)
	e.t.Cleanup(e.server.Close)
}

// clientError finds the client's error in err.
func clientError(t testing.TB, err error) *client.Error {
	t.Helper()
	var e *client.Error
	if !errors.As(err, &e) {
		t.Fatalf("%v is no client.Error", err)
	}
	return e
}

// impatient reads the first bytes of a tree only, then fails.
type impatient struct{ *fakePipeline }

func (p impatient) Submit(_ context.Context, s pipeline.Submission) (landward.Deployment, error) {
	_, _ = io.ReadFull(s.Tree, make([]byte, 10))
	return landward.Deployment{}, p.err
}
