// Package pipeline turns a source into a release candidate: it takes it in,
// plans, builds or pulls, and hands what came out to package deploy. Each
// step's result is stored before the next begins, so that a restart goes on at
// the step. It owns the queue of runs, one at a time for an app, and must
// never know how a container is started or where traffic goes.
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"landward/internal/build"
	"landward/internal/deploy"
	"landward/internal/failpoint"
	"landward/internal/landward"
	"landward/internal/logs"
	"landward/internal/source"
	"landward/internal/store"
)

// Images is what the pipeline asks of the engine.
type Images interface {
	Pull(ctx context.Context, ref string, out func(line string)) (landward.Image, error)
	// Image returns an image that the engine has already.
	Image(ctx context.Context, ref string) (landward.Image, error)
	Load(ctx context.Context, r io.Reader) (landward.Image, error)
}

// Git reads repositories. Commits that a push has not landed yet are seen
// through env.
type Git interface {
	// Create makes the bare repository at dir where there is none.
	Create(ctx context.Context, dir string) error
	// SetHead names the branch that a clone checks out.
	SetHead(ctx context.Context, repo source.Repo, branch string) error
	// Maintain packs the repository and removes what dead pushes left before now.
	Maintain(ctx context.Context, repo source.Repo, now time.Time) error
	// Checkout reads a commit.
	Checkout(ctx context.Context, repo source.Repo, env []string, commit string) (Checkout, error)
}

// Checkout is one commit, to be deployed.
type Checkout struct {
	Title   string        // first line of the message, cleaned
	Message string        // the whole message
	Tree    io.ReadCloser // a tar
	Notices []string      // what did not come with the push: submodules, LFS
}

// Options are what a Pipeline needs.
type Options struct {
	Store   *store.Store
	Deploy  *deploy.Deployer
	Builder build.Builder
	Images  Images
	Git     Git
	Logs    *logs.Store
	Notify  deploy.Notifier
	Log     *slog.Logger
	Now     func() time.Time

	// OpenTree views a tar as files, while it stays open; Detect makes a plan of
	// them.
	OpenTree func(tar *os.File) (fs.FS, error)
	Detect   func(tree fs.FS) (landward.Plan, error)
	// CheckRouting says what is wrong with what an app says about its traffic.
	CheckRouting func(landward.Routing) error

	Instance  string
	WorkDir   string // sources that wait for their build
	ReposDir  string
	SitesDir  string // files that the edge serves, a folder for each app's release
	AtOnce    int    // builds on this host
	Limits    build.Limits
	MaxSource int64 // bytes of a source as a tar
}

// Pipeline runs deployments up to their release.
type Pipeline struct {
	Options
	slots chan struct{}

	// submitting is held for reading between a deployment's row and its source's
	// name, and for writing to look for something to run: what is seen is whole.
	submitting sync.RWMutex

	mu   sync.Mutex
	runs map[int64]*run // app → its run
	ctx  context.Context
	done sync.WaitGroup
}

// New returns a Pipeline that does nothing yet.
func New(o Options) *Pipeline {
	return &Pipeline{Options: o, slots: make(chan struct{}, max(1, o.AtOnce)), runs: map[int64]*run{}}
}

// The lease's owner is the data folder's one control process: a lock on the
// folder keeps a second one out, so that a restarted one may go on at once.
const (
	leaseOwner = "control"
	leaseFor   = 30 * time.Second
	leaseEvery = 10 * time.Second
)

// Deadlines of the states that this package works through.
const (
	queuedFor   = 24 * time.Hour
	checkingFor = 5 * time.Minute
)

// Recover ends what an earlier process left half taken in. It comes before the
// first Submit and the first change, which look just like that while they last.
func (p *Pipeline) Recover(ctx context.Context) error {
	open, err := p.Store.OpenDeployments(ctx)
	if err != nil {
		return err
	}
	for _, d := range open {
		if d.State.Reconciling() && d.Release == 0 {
			p.abandon(ctx, d)
		}
	}
	return p.tidy(open)
}

// Run works on deployments until ctx ends, then waits for what it started.
func (p *Pipeline) Run(ctx context.Context) error {
	p.mu.Lock()
	p.ctx = ctx // from here on a Wake is heard; what came before is in the list
	p.mu.Unlock()
	open, err := p.Store.OpenDeployments(ctx)
	if err == nil {
		for _, d := range open {
			p.Wake(d.AppID)
		}
		p.maintain(ctx)
	}
	p.mu.Lock()
	p.ctx = nil
	p.mu.Unlock()
	p.done.Wait()
	return err
}

// maintainEvery is how often repositories are packed.
const maintainEvery = 24 * time.Hour

// maintain packs the repositories once a day until ctx ends.
func (p *Pipeline) maintain(ctx context.Context) {
	tick := time.NewTicker(maintainEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		apps, err := p.Store.Apps(ctx)
		for _, app := range apps {
			repo := source.Repo{AppID: app.ID, App: app.Name, Dir: p.repoDir(app.ID)}
			if err == nil {
				err = p.Git.Create(ctx, repo.Dir)
			}
			if err == nil {
				err = p.Git.Maintain(ctx, repo, p.Now())
			}
		}
		if err != nil && ctx.Err() == nil {
			p.Log.Warn("repositories not maintained", "error", err)
		}
	}
}

// abandon ends a change whose release a crash kept from being written.
func (p *Pipeline) abandon(ctx context.Context, d landward.Deployment) {
	e := landward.Errorf(landward.CodeFailed, "Landward was restarted before the change was written; nothing has changed").
		WithHint("ask for the change again")
	p.end(ctx, d, "releasing", e)
}

// tidy removes sources that no open deployment waits for.
func (p *Pipeline) tidy(open []landward.Deployment) error {
	if err := os.MkdirAll(p.WorkDir, 0o700); err != nil {
		return fmt.Errorf("make work folder: %w", err)
	}
	entries, err := os.ReadDir(p.WorkDir)
	if err != nil {
		return fmt.Errorf("read work folder: %w", err)
	}
	wanted := map[string]bool{}
	for _, d := range open {
		wanted[filepath.Base(p.sourceFile(d.ID))] = true
	}
	for _, e := range entries {
		if !wanted[e.Name()] {
			if err := os.RemoveAll(filepath.Join(p.WorkDir, e.Name())); err != nil {
				return fmt.Errorf("tidy work folder: %w", err)
			}
		}
	}
	return nil
}

func (p *Pipeline) sourceFile(id int64) string {
	return filepath.Join(p.WorkDir, strconv.FormatInt(id, 10)+".tar")
}

// Submission is a source that somebody wants live.
type Submission struct {
	AppID  int64
	Actor  landward.Actor
	Source landward.Source
	// Tree is a tar of the source, or a `docker save` stream for an image
	// archive; nil for an image by reference.
	Tree    io.Reader
	NoCache bool
}

// options is what a submission says beside its source.
type options struct {
	NoCache bool `json:"no_cache,omitempty"`
}

// Submit queues a deployment. When it returns, a crash does not lose it: its
// source and its row are on disk.
func (p *Pipeline) Submit(ctx context.Context, s Submission) (landward.Deployment, error) {
	file := ""
	if s.Tree != nil {
		var err error
		if file, err = p.keep(s.Tree); err != nil {
			return landward.Deployment{}, err
		}
		defer os.Remove(file) //nolint:errcheck // it has its own name by then, unless something failed
	}
	d, err := p.queue(ctx, s, file)
	if err != nil {
		return landward.Deployment{}, err
	}
	failpoint.Hit("pipeline.queued")
	p.Notify.Publish(s.AppID)
	p.Wake(s.AppID)
	return d, nil
}

// queue writes the deployment's row and gives its source the row's name.
func (p *Pipeline) queue(ctx context.Context, s Submission, file string) (landward.Deployment, error) {
	p.submitting.RLock()
	defer p.submitting.RUnlock()
	d, err := p.Store.CreateDeployment(ctx, store.NewDeployment{
		AppID: s.AppID, State: landward.StateQueued, Source: s.Source, Actor: s.Actor, Deadline: p.Now().Add(queuedFor),
	})
	if err != nil {
		return landward.Deployment{}, err
	}
	failpoint.Hit("pipeline.submitted")
	if s.NoCache {
		if err := p.Store.FinishStep(ctx, d.ID, "options", options{NoCache: true}); err != nil {
			return landward.Deployment{}, err
		}
	}
	if file != "" {
		if err := os.Rename(file, p.sourceFile(d.ID)); err != nil {
			return landward.Deployment{}, fmt.Errorf("keep source: %w", err)
		}
	}
	return d, nil
}

// keep writes a source to a file that survives a crash.
func (p *Pipeline) keep(r io.Reader) (string, error) {
	f, err := os.CreateTemp(p.WorkDir, "incoming-")
	if err != nil {
		return "", fmt.Errorf("keep source: %w", err)
	}
	n, err := io.Copy(f, io.LimitReader(r, p.MaxSource+1))
	if err == nil && n > p.MaxSource {
		err = landward.Errorf(landward.CodeTooLarge, "the source is larger than %d MiB", p.MaxSource>>20).
			WithHint("leave build products and data out with .gitignore or .landwardignore, or raise max-upload")
	}
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return "", fmt.Errorf("keep source: %w", err)
	}
	return f.Name(), nil
}

// Plan says what a deployment of the tree would do. It changes nothing.
func (p *Pipeline) Plan(_ context.Context, tree io.Reader) (landward.Plan, error) {
	name, err := p.keep(tree)
	if err != nil {
		return landward.Plan{}, err
	}
	defer os.Remove(name) //nolint:errcheck // the next start tidies up
	f, err := os.Open(name)
	if err != nil {
		return landward.Plan{}, fmt.Errorf("open source: %w", err)
	}
	return p.detect(f)
}

// detect makes the plan of a tree and closes its file.
func (p *Pipeline) detect(f *os.File) (landward.Plan, error) {
	defer f.Close() //nolint:errcheck // only read
	files, err := p.OpenTree(f)
	if err != nil {
		return landward.Plan{}, err
	}
	return p.Detect(files)
}

// run is the one that an app may have at a time.
type run struct {
	wake chan struct{}
}

var errEnded = errors.New("the deployment has ended")

// Wake looks whether the app has something to run, or whether what it runs was
// cancelled.
func (p *Pipeline) Wake(appID int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := p.runs[appID]; r != nil {
		select {
		case r.wake <- struct{}{}:
		default:
		}
		return
	}
	if p.ctx == nil {
		return
	}
	r := &run{wake: make(chan struct{}, 1)}
	p.runs[appID] = r
	ctx := p.ctx
	p.done.Add(1)
	go func() {
		defer p.done.Done()
		p.work(ctx, appID, r)
	}()
}

// work runs the app's deployments until there is none left.
func (p *Pipeline) work(ctx context.Context, appID int64, r *run) {
	for ctx.Err() == nil {
		d, err := p.next(ctx, appID)
		if err != nil {
			p.Log.Warn("queue not read", "app_id", appID, "error", err)
		}
		if err == nil && d.ID != 0 {
			p.one(ctx, d, r)
			continue
		}
		// A Wake between the look and here must not be lost.
		p.mu.Lock()
		select {
		case <-r.wake:
			p.mu.Unlock()
			continue
		default:
		}
		delete(p.runs, appID)
		p.mu.Unlock()
		return
	}
	p.mu.Lock()
	delete(p.runs, appID)
	p.mu.Unlock()
}

// next is the app's oldest deployment that is not the reconciler's. While the
// reconciler has one that a pipeline made, the next waits.
func (p *Pipeline) next(ctx context.Context, appID int64) (landward.Deployment, error) {
	p.submitting.Lock()
	defer p.submitting.Unlock()
	open, err := p.Store.OpenDeployments(ctx)
	if err != nil {
		return landward.Deployment{}, err
	}
	for _, d := range open {
		if d.AppID == appID && !d.State.Reconciling() {
			return d, nil
		}
	}
	return landward.Deployment{}, nil
}

// one carries a deployment as far as its release and waits for its end.
func (p *Pipeline) one(ctx context.Context, d landward.Deployment, r *run) {
	if ok, err := p.Store.Lease(ctx, d.ID, leaseOwner, p.Now().Add(leaseFor)); err != nil || !ok {
		p.Log.Warn("lease not taken", "deployment", d.ID, "error", err)
		return
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	beats := make(chan struct{})
	go func() {
		defer close(beats)
		p.heartbeat(ctx, d, r, cancel)
	}()
	released, err := p.advance(ctx, d)
	if err != nil {
		p.failed(ctx, d, err)
	}
	if rmErr := p.dropSource(ctx, d); rmErr != nil {
		p.Log.Warn("source not removed", "deployment", d.ID, "error", rmErr)
	}
	if released {
		<-ctx.Done() // the heartbeat sees the end
	}
	cancel(nil)
	<-beats
}

// dropSource removes the source unless the run is only interrupted.
func (p *Pipeline) dropSource(ctx context.Context, d landward.Deployment) error {
	if ctx.Err() != nil && !errors.Is(context.Cause(ctx), errEnded) {
		return nil
	}
	err := os.Remove(p.sourceFile(d.ID))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// heartbeat renews the lease and ends the run when the deployment has ended:
// cancelled by somebody, or live.
func (p *Pipeline) heartbeat(ctx context.Context, d landward.Deployment, r *run, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(leaseEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		case <-tick.C:
			if _, err := p.Store.Lease(ctx, d.ID, leaseOwner, p.Now().Add(leaseFor)); err != nil && ctx.Err() == nil {
				p.Log.Warn("lease not renewed", "deployment", d.ID, "error", err)
			}
		}
		now, err := p.Store.Deployment(ctx, d.ID)
		if landward.CodeOf(err) == landward.CodeNotFound || err == nil && now.State.Ended() {
			cancel(errEnded)
			return
		}
	}
}

// failed writes down why a run did not get to its release, unless it was only
// interrupted (the next start goes on) or ended by somebody else.
func (p *Pipeline) failed(ctx context.Context, d landward.Deployment, err error) {
	if ctx.Err() != nil {
		return
	}
	now, getErr := p.Store.Deployment(ctx, d.ID)
	if getErr == nil && now.State.Ended() {
		return
	}
	p.end(ctx, d, string(now.State), err)
}

func (p *Pipeline) end(ctx context.Context, d landward.Deployment, step string, err error) {
	e := landward.AsError(err)
	if e.Err != nil || e.Code == landward.CodeInternal {
		p.Log.Warn("deployment failed", "deployment", d.ID, "step", step, "error", err)
	}
	f := landward.FailureOf(step, err)
	out := p.Deploy.Output(d)
	out.Fail(f)
	if app, appErr := p.Store.App(ctx, d.AppID); appErr == nil && app.Current != 0 {
		out.Info("v%d keeps serving.", app.Current)
	}
	if _, endErr := p.Store.End(ctx, d.ID, landward.StateFailed, f, ""); endErr != nil {
		p.Log.Warn("deployment not ended", "deployment", d.ID, "error", endErr)
		return
	}
	out.End()
	evErr := p.Store.AddEvent(ctx, store.Event{At: p.Now(), AppID: d.AppID, Actor: d.Actor, Kind: "deploy.failed",
		Message: fmt.Sprintf("deployment #%d failed: %s", d.Number, f.Message)})
	if evErr != nil {
		p.Log.Warn("event lost", "error", evErr)
	}
	p.Notify.Publish(d.AppID)
}
