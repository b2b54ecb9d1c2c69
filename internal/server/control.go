package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"landward/internal/api"
	"landward/internal/auth"
	"landward/internal/build"
	"landward/internal/build/detect"
	"landward/internal/config"
	"landward/internal/deploy"
	"landward/internal/engine"
	"landward/internal/landward"
	"landward/internal/logs"
	"landward/internal/pipeline"
	"landward/internal/reconcile"
	"landward/internal/route/edge"
	"landward/internal/route/guard"
	"landward/internal/secret"
	"landward/internal/source"
	"landward/internal/source/archive"
	"landward/internal/source/git"
	"landward/internal/source/githttp"
	"landward/internal/source/gitssh"
	"landward/internal/store"
)

// Parts are the neighbours of control: real ones reach other processes, a
// test's are in its own.
type Parts struct {
	Engine  engine.Engine
	Runner  engine.Runner
	Images  engine.Images
	Builder build.Builder
	Edge    *edge.Client
}

// Control is the part that holds the desired state.
type Control struct {
	cfg      config.Config
	log      *slog.Logger
	instance string
	held     *os.File

	store      *store.Store
	logs       *logs.Store
	deployer   *deploy.Deployer
	pipeline   *pipeline.Pipeline
	reconciler *reconcile.Reconciler
	git        *git.Server
	ssh        *gitssh.Server
	parts      Parts
	records    *hostRecords // nil: no DNS provider is linked

	local, public *http.Server // the command line's socket, and the edge's
	listeners     []net.Listener
	started       time.Time
}

// NewControl opens the state and the listeners of control and starts nothing.
func NewControl(ctx context.Context, cfg config.Config, parts Parts, log *slog.Logger) (c *Control, err error) {
	if err := makeDirs(cfg); err != nil {
		return nil, err
	}
	c = &Control{cfg: cfg, log: log, parts: parts, started: time.Now()}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	if c.held, err = lock(cfg, "control"); err != nil {
		return c, err
	}
	if c.instance, err = instance(cfg); err != nil {
		return c, err
	}
	box, err := openKeys(cfg)
	if err != nil {
		return c, err
	}
	if c.store, err = store.Open(ctx, cfg.DBPath(), box, time.Now); err != nil {
		return c, err
	}
	c.logs = logs.New(cfg.LogsDir(), cfg.LogBytes)
	c.wire()
	if err := c.listen(ctx); err != nil {
		return c, err
	}
	return c, c.bootstrap(ctx)
}

// openKeys opens the master keys. They are made with the database only: a new
// key beside an old database could open nothing in it.
func openKeys(cfg config.Config) (*secret.Box, error) {
	if _, err := os.Stat(cfg.DBPath()); err == nil {
		return secret.Load(cfg.KeysDir())
	}
	return secret.LoadOrCreate(cfg.KeysDir())
}

// Publish tells everybody who may care that something about the app changed.
func (c *Control) Publish(appID int64) {
	c.reconciler.Wake(appID)
	c.pipeline.Wake(appID)
}

// wire makes the parts in the order of the path.
func (c *Control) wire() {
	cfg := c.cfg
	c.records = linkRecords(cfg, c.store, c.log.With("component", "dns"))
	c.deployer = deploy.New(deploy.Options{
		Store: c.store, Logs: c.logs, Notify: c, Now: time.Now, Log: c.log.With("component", "deploy"),
		Domain: cfg.Domain, StartWithin: cfg.ReleaseTimeout + cfg.DeployTimeout, KeepReleases: cfg.KeepReleases,
	})
	c.reconciler = reconcile.New(reconcile.Options{
		Store: c.store, Engine: c.parts.Engine, Runner: c.parts.Runner, Images: c.parts.Images, Edge: edgeOf{c.parts.Edge},
		Logs: c.logs, Notify: c, Log: c.log.With("component", "reconcile"), Now: time.Now,
		APISocket: cfg.APISocket(), AppURL: c.url, Forget: c.forget,
		Defaults: reconcile.Defaults{
			Domain: cfg.Domain, Sites: cfg.SitesDir(), Warm: cfg.Warm, Names: appResolver(cfg).IsValid(),
			Resources: cfg.AppLimits(), StopTimeout: cfg.DrainLimit, Port: defaultPort,
			Health: landward.Health{Interval: time.Second, Timeout: 5 * time.Second, Grace: min(cfg.DeployTimeout, time.Minute)},
		},
		DiskBudget: cfg.DiskBudget,
		DrainLimit: cfg.DrainLimit, ReleaseTimeout: cfg.ReleaseTimeout, KeepReleases: cfg.KeepReleases,
	})
}

// unpackedPerPacked is how much larger than the upload limit a source may be
// once it is unpacked.
const unpackedPerPacked = 4

// defaultPort is what PORT is where neither app nor image says, as on Dokku.
const defaultPort = 5000

// url is where users reach a host of ours.
func (c *Control) url(host string) string {
	if port := c.cfg.PublicHTTPPort(); port != 80 {
		host = net.JoinHostPort(host, strconv.Itoa(port))
	}
	return "http://" + host
}

func (c *Control) forget(ctx context.Context, app landward.App) error {
	if c.records != nil {
		c.records.forget(ctx, app)
	}
	id := strconv.FormatInt(app.ID, 10)
	return errors.Join(os.RemoveAll(filepath.Join(c.cfg.ReposDir(), id+".git")), os.RemoveAll(filepath.Join(c.cfg.SitesDir(), id)))
}

// listen makes the faces and opens their sockets and ports.
func (c *Control) listen(ctx context.Context) error {
	cfg := c.cfg
	limits := archive.Limits{Packed: cfg.MaxUpload, Unpacked: unpackedPerPacked * cfg.MaxUpload}
	gitProgram, err := git.New("", git.Limits{Pack: cfg.MaxUpload})
	if err != nil {
		return err
	}
	c.pipeline = pipeline.New(pipeline.Options{
		Store: c.store, Deploy: c.deployer, Builder: c.parts.Builder, Images: c.parts.Images,
		Git: checkouts{gitProgram}, Logs: c.logs, Notify: c, Log: c.log.With("component", "pipeline"), Now: time.Now,
		OpenTree: func(f *os.File) (fs.FS, error) {
			info, err := f.Stat()
			if err != nil {
				return nil, err
			}
			return archive.FS(f, info.Size(), limits)
		},
		Detect: detect.Detect, CheckRouting: guard.Check, SitesDir: cfg.SitesDir(),
		Instance: c.instance, WorkDir: cfg.WorkDir(), ReposDir: cfg.ReposDir(), AtOnce: cfg.Builds,
		Limits:    buildLimits(cfg),
		MaxSource: limits.Unpacked,
	})
	if err := c.pipeline.Recover(ctx); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find own program: %w", err)
	}
	c.git = git.NewServer(git.ServerOptions{
		Git: gitProgram, Intake: c.pipeline, Socket: cfg.HookSocket(), HooksDir: filepath.Join(cfg.RunDir(), "hooks"),
		Executable: self, Log: c.log.With("component", "git"),
	})
	if err := c.git.Listen(); err != nil {
		return err
	}
	c.ssh = gitssh.New(gitssh.Options{
		Addr: cfg.SSH, HostKeyFile: filepath.Join(cfg.KeysDir(), "ssh_host_ed25519_key"),
		Authenticate: func(ctx context.Context, fingerprint string, _ []byte) (landward.Actor, error) {
			return c.store.ActorByKey(ctx, fingerprint)
		},
		Intake: c.pipeline, Git: c.git, Log: c.log.With("component", "ssh"),
	})
	if err := c.ssh.Listen(); err != nil {
		return err
	}
	return c.listenAPI(limits)
}

func (c *Control) listenAPI(limits archive.Limits) error {
	cfg := c.cfg
	limiter := auth.NewLimiter(time.Now)
	var records api.DNSRecords
	if c.records != nil {
		records = c.records
	}
	handler, err := api.New(api.Options{
		Store: c.store, Apps: c.deployer, Changes: c.deployer, Pipeline: c.pipeline,
		Unpack: func(dst io.Writer, src io.Reader) error { return archive.Tar(dst, src, limits) },
		Logs:   c.logs, Units: units{c.parts.Engine, c.parts.Runner}, Launcher: c.reconciler, Canaries: c.reconciler, Doctor: c,
		Limiter: limiter,
		Certs:   certificates{c.parts.Edge}, Domains: domainChecker{dnsAddresses(cfg)}, Records: records, Access: accessLogs(cfg.LogsDir()),
		Git: http.StripPrefix("/git", githttp.New(githttp.Options{
			Authenticate: c.passwordActor, Intake: c.pipeline, Git: c.git, Log: c.log.With("component", "githttp"),
		})),
		Domain: cfg.Domain, Host: cfg.Host, HTTPPort: cfg.PublicHTTPPort(), SSHPort: sshPort(c.ssh.Addr()),
		MaxUpload: cfg.MaxUpload, Version: Version(), Now: time.Now, Log: c.log.With("component", "api"),
	})
	if err != nil {
		return err
	}
	c.local = newHTTPServer(handler, api.LocalConn, c.log)
	c.public = newHTTPServer(handler, api.EdgeConn, c.log)
	for _, path := range []string{cfg.ControlSocket(), cfg.APISocket()} {
		l, err := listenUnix(path)
		if err != nil {
			return err
		}
		c.listeners = append(c.listeners, l)
	}
	return nil
}

func sshPort(a net.Addr) int {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.Port
	}
	return 22
}

func newHTTPServer(h http.Handler, connContext func(context.Context, net.Conn) context.Context, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: h, ConnContext: connContext, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// passwordActor finds out who a token that came as a password belongs to.
func (c *Control) passwordActor(ctx context.Context, _, password string) (landward.Actor, error) {
	return c.store.ActorByToken(ctx, auth.HashToken(password))
}

// Run serves until ctx ends. What takes in work stops first, the store is
// closed last.
func (c *Control) Run(ctx context.Context) error {
	defer func() {
		if err := c.close(); err != nil {
			c.log.Warn("close control", "error", err)
		}
	}()
	intake, ictx := errgroup.WithContext(ctx)
	intake.Go(func() error { return c.ssh.Run(ictx) })
	intake.Go(func() error { return c.git.Run(ictx) })
	for i, s := range []*http.Server{c.local, c.public} {
		intake.Go(func() error { return serveHTTP(ictx, s, c.listeners[i]) })
	}
	// Work outlives intake: a push that is being answered still needs it.
	wctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	work, wctx := errgroup.WithContext(wctx)
	work.Go(func() error { return c.pipeline.Run(wctx) })
	work.Go(func() error { return c.reconciler.Run(wctx) })
	work.Go(func() error { return c.followEdge(wctx) })
	alerts := expiry{certs: c.parts.Edge.Certs, store: c.store, now: time.Now, log: c.log.With("component", "cert")}
	work.Go(func() error { return alerts.run(wctx) })
	c.log.Info("control is up", "api", c.url("landward."+c.cfg.Domain), "ssh", c.ssh.Addr().String())
	err := intake.Wait()
	stop()
	return errors.Join(err, work.Wait())
}

// serveHTTP serves until ctx ends, which every request is told, then lets them
// finish for a while.
func serveHTTP(ctx context.Context, s *http.Server, l net.Listener) error {
	s.BaseContext = func(net.Listener) context.Context { return ctx }
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if s.Shutdown(ctx) != nil {
			_ = s.Close()
		}
	})
	err := s.Serve(l)
	if !stop() {
		<-stopped
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func (c *Control) close() error {
	var errs []error
	for _, l := range c.listeners {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if c.logs != nil {
		c.logs.Close()
	}
	if c.store != nil {
		errs = append(errs, c.store.Close())
	}
	if c.held != nil {
		errs = append(errs, c.held.Close())
	}
	return errors.Join(errs...)
}

// listenUnix opens a unix socket that only this user can reach.
func listenUnix(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove old socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("protect socket: %w", err), l.Close())
	}
	return l, nil
}

// units are an app's containers as the API knows them.
type units struct {
	engine engine.Engine
	runner engine.Runner
}

func (u units) List(ctx context.Context, appID int64) ([]landward.Unit, error) {
	boxes, err := u.engine.List(ctx, appID)
	out := make([]landward.Unit, len(boxes))
	for i, c := range boxes {
		out[i] = landward.Unit{
			ID: c.Unit, Process: c.Process, Index: c.Index, OneOff: c.Kind != engine.KindProcess, Release: c.Release,
			State: string(c.State), ExitCode: c.ExitCode, OOMKilled: c.OOMKilled, Restarts: c.Restarts,
			CreatedAt: c.CreatedAt, StartedAt: c.StartedAt,
		}
	}
	return out, err
}

func (u units) Exec(ctx context.Context, id string, argv []string, s landward.Streams) (int, error) {
	return u.runner.Exec(ctx, id, argv, s)
}

// checkouts reads commits for the pipeline.
type checkouts struct{ *git.Git }

func (g checkouts) Checkout(ctx context.Context, repo source.Repo, env []string, commit string) (pipeline.Checkout, error) {
	// Side by side: each is a few git processes, and the pusher waits.
	var info git.Commit
	var infoErr error
	var beside sync.WaitGroup
	beside.Go(func() { info, infoErr = g.CommitInfo(ctx, repo, env, commit) })
	tree, err := g.Tree(ctx, repo, env, commit)
	beside.Wait()
	if err == nil && infoErr != nil {
		err = errors.Join(infoErr, tree.Close())
	}
	if err != nil {
		return pipeline.Checkout{}, err
	}
	return pipeline.Checkout{Title: info.Title, Message: info.Message, Tree: tree, Notices: tree.Notices}, nil
}
