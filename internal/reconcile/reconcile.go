// Package reconcile makes wishes true: it compares what the store says about
// an app with the containers that run and the routes that the edge has, and
// does the next thing, again and again until there is none. It owns the order
// of a deployment's last half: release command, start, health, the swap of the
// route (the commit point), drain, retire. It must never know who wished or
// how an image was made.
package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"landward/internal/engine"
	"landward/internal/landward"
	"landward/internal/logs"
	"landward/internal/store"
)

// Options are what a Reconciler needs.
type Options struct {
	Store  *store.Store
	Engine engine.Engine
	Runner engine.Runner
	Images engine.Images
	Edge   Edge
	Logs   *logs.Store
	Notify Notifier
	Log    *slog.Logger
	Now    func() time.Time

	APISocket string // where the system's own host is served
	AppURL    func(host string) string
	// Forget removes what other packages keep of a deleted app (its repository).
	Forget func(ctx context.Context, app landward.App) error

	Defaults       Defaults
	DrainLimit     time.Duration // what a request may still take on a unit that is retired
	ReleaseTimeout time.Duration // of a release command
	KeepReleases   int           // releases beside the current one whose images stay
	DiskBudget     int64         // bytes for images of all apps, where keeping fewer releases helps; 0: none
}

// Notifier is told that something about an app has changed.
type Notifier interface {
	Publish(appID int64)
}

// Reconciler runs one worker per app.
type Reconciler struct {
	Options
	routes *routes
	output *collector
	cron   *scheduler
	// watching says that the engine tells what happens to containers.
	watching atomic.Bool

	mu      sync.Mutex
	workers map[int64]*worker
	group   *errgroup.Group
	ctx     context.Context // of the running group; nil while Run is not running
}

// New returns a Reconciler that does nothing yet.
func New(o Options) *Reconciler {
	r := &Reconciler{Options: o, workers: map[int64]*worker{}}
	r.routes = newRoutes(o.Edge, o.Defaults.Domain, o.APISocket, o.Now, o.Log)
	r.output = newCollector(o.Engine, o.Logs, o.Now, o.Log)
	r.cron = &scheduler{r: r}
	return r
}

// How often the world is looked at though nothing has happened, and how long
// to wait after the engine's event stream broke.
const (
	resyncEvery = 2 * time.Minute
	watchRetry  = time.Second
)

// Run reconciles until ctx ends, then waits for what it started.
func (r *Reconciler) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	r.mu.Lock()
	r.group, r.ctx = group, ctx
	r.mu.Unlock()
	group.Go(func() error { return r.start(ctx) })
	group.Go(func() error { return r.watch(ctx) })
	group.Go(func() error { return r.output.run(ctx) })
	group.Go(func() error { return r.cron.run(ctx) })
	err := group.Wait()
	r.mu.Lock()
	r.group, r.ctx = nil, nil
	r.mu.Unlock()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// start sends the edge a table that is whole before any worker may change a
// part of it, then starts the workers. While the engine cannot be asked the
// edge keeps the table that it has.
func (r *Reconciler) start(ctx context.Context) error {
	for {
		err := r.firstTable(ctx)
		if err == nil {
			break
		}
		r.Log.Warn("no first route table yet", "error", err)
		if !pause(ctx, watchRetry) {
			return ctx.Err()
		}
	}
	r.wakeAll(ctx)
	return r.routes.run(ctx)
}

func (r *Reconciler) firstTable(ctx context.Context) error {
	apps, err := r.Store.Apps(ctx)
	if err != nil {
		return err
	}
	containers, err := r.Engine.List(ctx, 0)
	if err != nil {
		return err
	}
	if err := r.removeOrphans(ctx, containers); err != nil {
		return err
	}
	byApp := map[int64][]engine.Container{}
	for _, c := range containers {
		byApp[c.AppID] = append(byApp[c.AppID], c)
	}
	for _, app := range apps {
		d, err := r.desired(ctx, app.ID)
		if err != nil {
			return err
		}
		ports, err := r.ports(ctx, byApp[app.ID])
		if err != nil {
			return err
		}
		o := Observed{Now: r.Now(), Containers: byApp[app.ID], Ports: ports}
		r.routes.put(app.ID, shareOf(d, d.Current, o, r.Defaults))
	}
	return r.routes.ready(ctx)
}

// Wake makes the app's worker look again at what is wished.
func (r *Reconciler) Wake(appID int64) { r.tell(appID, (*worker).poke) }

func (r *Reconciler) tell(appID int64, how func(*worker)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx == nil || !r.routes.isReady() {
		return
	}
	w := r.workers[appID]
	if w == nil {
		w = newWorker(r, appID)
		r.workers[appID] = w
		ctx := r.ctx
		r.group.Go(func() error { w.run(ctx); return nil })
	}
	how(w)
}

func (r *Reconciler) drop(appID int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.workers, appID)
}

func (r *Reconciler) wakeAll(ctx context.Context) {
	for _, list := range []func(context.Context) ([]landward.App, error){r.Store.Apps, r.Store.DeletedApps} {
		apps, err := list(ctx)
		if err != nil {
			r.Log.Warn("apps not listed", "error", err)
			continue
		}
		for _, app := range apps {
			r.tell(app.ID, (*worker).stir)
		}
	}
}

// watch turns the engine's events into wake-ups. When the stream breaks, events
// may be lost, so everything is looked at.
func (r *Reconciler) watch(ctx context.Context) error {
	resync := time.NewTicker(resyncEvery)
	defer resync.Stop()
	for ctx.Err() == nil {
		events, err := r.Engine.Watch(ctx)
		if err != nil {
			r.Log.Warn("engine events not watched", "error", err)
			if !pause(ctx, watchRetry) {
				break
			}
			continue
		}
		r.wakeAll(ctx) // before anybody trusts what was seen earlier
		r.watching.Store(true)
		for open := true; open; {
			select {
			case e, ok := <-events:
				if open = ok; ok {
					r.tell(e.AppID, (*worker).stir)
				}
			case <-resync.C:
				r.wakeAll(ctx)
			}
		}
		r.watching.Store(false)
	}
	return ctx.Err()
}

// desired reads what the store says about an app.
func (r *Reconciler) desired(ctx context.Context, appID int64) (Desired, error) {
	app, err := r.Store.App(ctx, appID)
	if landward.CodeOf(err) == landward.CodeNotFound {
		return r.deleted(ctx, appID, err)
	}
	if err != nil {
		return Desired{}, err
	}
	d := Desired{App: app, WentLive: app.WarmUntil}
	for _, v := range []struct {
		version int
		into    **landward.Release
	}{{app.Current, &d.Current}, {app.Previous, &d.Previous}} {
		if v.version == 0 {
			continue
		}
		rel, err := r.Store.Release(ctx, appID, v.version)
		if err != nil {
			return Desired{}, err
		}
		*v.into = &rel
	}
	if d.Current != nil {
		d.WentLive = app.WarmUntil.Add(-r.warmFor(*d.Current))
	}
	d.Candidate, err = r.candidate(ctx, appID)
	return d, err
}

func (r *Reconciler) deleted(ctx context.Context, appID int64, notFound error) (Desired, error) {
	gone, err := r.Store.DeletedApps(ctx)
	if err != nil {
		return Desired{}, err
	}
	for _, app := range gone {
		if app.ID == appID {
			return Desired{App: app, Deleted: true}, nil
		}
	}
	return Desired{}, notFound
}

func (r *Reconciler) candidate(ctx context.Context, appID int64) (*Candidate, error) {
	open, err := r.Store.OpenDeployments(ctx)
	if err != nil {
		return nil, err
	}
	for _, dep := range open {
		if dep.AppID != appID || !dep.State.Reconciling() {
			continue
		}
		if dep.Release == 0 {
			continue // its release is being written this instant
		}
		rel, err := r.Store.Release(ctx, appID, dep.Release)
		if err != nil {
			return nil, err
		}
		trial, err := r.trialOf(ctx, dep.ID)
		return &Candidate{Deployment: dep, Release: rel, Trial: trial}, err
	}
	return nil, nil
}

// warmFor is how long the release before rel stays warm. A blue-green one waits
// for its owner, but not for ever.
func (r *Reconciler) warmFor(rel landward.Release) time.Duration {
	if rel.Routing.Strategy.Kind == landward.StrategyBlueGreen {
		return max(r.Defaults.Warm, blueGreenWarm)
	}
	return r.Defaults.Warm
}

// blueGreenWarm is how long the other half of a blue-green pair stays.
const blueGreenWarm = 24 * time.Hour

// portFact names the fact that keeps where a unit was found listening.
func portFact(unit string) string { return "port:" + unit }

// ports reads where units were found listening that listen elsewhere than expected.
func (r *Reconciler) ports(ctx context.Context, containers []engine.Container) (map[string]int, error) {
	ports := map[string]int{}
	for _, c := range containers {
		text, err := r.Store.Fact(ctx, portFact(c.Unit))
		if err != nil {
			return nil, err
		}
		if text == "" {
			continue
		}
		var port int
		if _, err := fmt.Sscanf(text, "%d", &port); err != nil {
			return nil, fmt.Errorf("read port of %s: %w", c.Unit, err)
		}
		ports[c.Unit] = port
	}
	return ports, nil
}

// pause waits for d or the end of ctx and reports whether it was d.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
