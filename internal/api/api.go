// Package api is the public face of control: HTTP with JSON, streams and
// WebSockets, described by an OpenAPI document that is made from the code. It
// owns who may call what, and how an error looks from outside. Handlers are
// thin: they check, write a wish through a verb, and show what the store says.
// It must never know how a wish comes true, and never reach a container but to
// list an app's or to attach a command that somebody waits for.
package api

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"landward/client"
	"landward/internal/auth"
	"landward/internal/deploy"
	"landward/internal/landward"
	"landward/internal/logs"
	"landward/internal/store"
)

// Apps are the verbs on an app as a whole. *deploy.Deployer has them.
type Apps interface {
	CreateApp(ctx context.Context, actor landward.Actor, name string) (landward.App, error)
	DeleteApp(ctx context.Context, actor landward.Actor, appID int64) error
	SetStopped(ctx context.Context, actor landward.Actor, appID int64, stopped bool) error
	Maintenance(ctx context.Context, actor landward.Actor, appID int64, on bool, message string) (landward.Traffic, error)
	// Pause holds a request for at most limit; 0: as long as the edge does.
	Pause(ctx context.Context, actor landward.Actor, appID int64, limit time.Duration) (landward.Traffic, error)
	Resume(ctx context.Context, actor landward.Actor, appID int64) (landward.Traffic, error)
}

// Changes are the verbs that make a release of code that is there already.
// *deploy.Deployer has them.
type Changes interface {
	// Configure returns a deployment without ID where the app has no release
	// yet or the change changes nothing.
	Configure(ctx context.Context, actor landward.Actor, appID int64, c deploy.Change) (landward.Deployment, error)
	Rollback(ctx context.Context, actor landward.Actor, appID int64, version int) (landward.Deployment, error)
	Cancel(ctx context.Context, actor landward.Actor, appID int64, number int) (landward.Deployment, error)
	Promote(ctx context.Context, actor landward.Actor, appID int64, number int) (landward.Deployment, error)
	Retire(ctx context.Context, actor landward.Actor, appID int64, version int) (landward.Release, error)
}

// Canaries say how an app's canary stands, nil where it has none.
type Canaries interface {
	Canary(ctx context.Context, appID int64) (*landward.CanaryStatus, error)
}

// LogReader gives back what was written. An error from fn ends a read and is
// returned. *logs.Store has it.
type LogReader interface {
	App(ctx context.Context, appID int64, q logs.Query, fn func(logs.Line) error) error
	Deploy(ctx context.Context, appID, deployment int64, q logs.Query, fn func(logs.Line) error) error
}

// Units are an app's containers, and commands inside them.
type Units interface {
	List(ctx context.Context, appID int64) ([]landward.Unit, error)
	Exec(ctx context.Context, id string, argv []string, s landward.Streams) (exit int, err error)
}

// Launcher runs a command in a container of its own, with the image and the
// settings of the app's current release. When ctx ends, so does the container.
type Launcher interface {
	Launch(ctx context.Context, actor landward.Actor, appID int64, argv []string, s landward.Streams) (exit int, err error)
}

// Doctor says how the installation is.
type Doctor interface {
	// Status is cheap: what is known already.
	Status(ctx context.Context) (client.Status, error)
	// Diagnose looks at everything anew, within ctx.
	Diagnose(ctx context.Context) ([]client.Check, error)
}

// Options are what an API needs. All are required but Git, Certs, Domains,
// Records and Access: what needs one that is missing says that it is not there,
// and without Records the DNS is left to others.
type Options struct {
	Store    *store.Store
	Apps     Apps
	Changes  Changes
	Pipeline Submitter
	// Unpack turns an uploaded tar, tar.gz or zip into a clean uncompressed
	// tar, refusing what leads out of it and what is too large.
	Unpack   func(dst io.Writer, src io.Reader) error
	Logs     LogReader
	Units    Units
	Launcher Launcher
	Canaries Canaries
	Doctor   Doctor
	Limiter  *auth.Limiter // of wrong tokens, shared with the other ways in
	Git      http.Handler  // git over HTTP, mounted at /git/; it checks its callers itself
	Certs    Certificates
	Domains  DomainChecker
	Records  DNSRecords
	Access   AccessLogs

	Domain    string // apps answer at NAME.Domain, the API at landward.Domain
	Host      string // what users reach the server by over SSH
	HTTPPort  int    // as users see it
	SSHPort   int    // as users see it
	MaxUpload int64  // bytes of an uploaded archive
	Version   client.Version
	Now       func() time.Time
	Log       *slog.Logger
}

// API serves the public API. It is safe for concurrent use.
type API struct {
	Options
	mux    *http.ServeMux
	huma   huma.API
	routes []Route
	errs   []error // of registration
	cross  *http.CrossOriginProtection
}

// Route is one route of the API as it was declared.
type Route struct {
	Method, Path string
	Permission   string
}

// New returns the API. A route that declares no permission is an error: such a
// program must not start.
func New(o Options) (*API, error) {
	a := &API{Options: o, mux: http.NewServeMux(), cross: http.NewCrossOriginProtection()}
	if err := a.check(); err != nil {
		return nil, err
	}
	a.huma = humago.New(a.mux, a.config())
	a.huma.UseMiddleware(a.authorize)
	a.registerServer()
	a.registerApps()
	a.registerConfig()
	a.registerReleases()
	a.registerDeploys()
	a.registerUploads()
	a.registerProcesses()
	a.registerTraffic()
	a.registerDomains()
	a.registerCertificates()
	a.registerLogs()
	a.registerAccessLog()
	a.registerAttach()
	a.registerUsers()
	a.registerKeys()
	a.registerTokens()
	a.registerBootstrap()
	a.registerDocument()
	if a.Git != nil {
		a.page("", "/git/", auth.Public, a.Git.ServeHTTP)
	}
	return a, a.err()
}

// err returns what is wrong with the routes.
func (a *API) err() error { return errors.Join(a.errs...) }

func (a *API) check() error {
	switch {
	case a.Store == nil, a.Apps == nil, a.Changes == nil, a.Pipeline == nil, a.Unpack == nil, a.Logs == nil,
		a.Units == nil, a.Launcher == nil, a.Canaries == nil, a.Doctor == nil, a.Limiter == nil, a.Now == nil, a.Log == nil:
		return errors.New("api lacks a part that it needs")
	case a.Domain == "", a.Host == "", a.HTTPPort <= 0, a.SSHPort <= 0, a.MaxUpload <= 0:
		return errors.New("api lacks a setting that it needs")
	}
	return nil
}

// Routes returns every route, in the order of their registration.
func (a *API) Routes() []Route { return a.routes }
