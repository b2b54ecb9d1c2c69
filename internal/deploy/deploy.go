// Package deploy is the verbs on desired state: release, configure, roll back,
// scale, cancel, delete. A verb writes a wish into the store and says that
// there is one; it never touches a container or a route. It must never know
// how a wish comes true.
package deploy

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"landward/internal/landward"
	"landward/internal/logs"
	"landward/internal/store"
)

// Notifier is told that an app has a new wish or that one has ended.
type Notifier interface {
	Publish(appID int64)
}

// Options are what a Deployer needs.
type Options struct {
	Store  *store.Store
	Logs   *logs.Store
	Notify Notifier
	Now    func() time.Time
	Log    *slog.Logger
	Domain string // apps answer at NAME.Domain
	// StartWithin bounds a release from its writing to its end, release
	// command included.
	StartWithin time.Duration
	// KeepReleases is how many releases beside the current one keep their images.
	KeepReleases int
}

// Deployer writes wishes. It is safe for concurrent use.
type Deployer struct {
	Options
	// mu makes a change of settings one read and one write: two users who set
	// two variables at once get both.
	mu sync.Mutex
}

// New returns a Deployer.
func New(o Options) *Deployer { return &Deployer{Options: o} }

// CreateApp makes an app with nothing in it.
func (d *Deployer) CreateApp(ctx context.Context, actor landward.Actor, name string) (landward.App, error) {
	if err := landward.CheckAppName(name); err != nil {
		return landward.App{}, err
	}
	app, err := d.Store.CreateApp(ctx, name, actor)
	if err != nil {
		return landward.App{}, err
	}
	d.Notify.Publish(app.ID)
	return app, nil
}

// DeleteApp takes the app out of everybody's sight at once; its containers,
// network, volumes and images are removed by the reconciler.
func (d *Deployer) DeleteApp(ctx context.Context, actor landward.Actor, appID int64) error {
	app, err := d.Store.App(ctx, appID)
	if err != nil {
		return err
	}
	if err := d.Store.MarkAppDeleted(ctx, appID); err != nil {
		return err
	}
	d.event(ctx, app, actor, "app.delete", "deleted "+app.Name)
	d.Notify.Publish(appID)
	return nil
}

// Candidate is what a pipeline has found out about a release to be.
type Candidate struct {
	Services     []landward.Service
	ReleasePhase landward.Command
	Cron         []landward.Cron
	Routing      landward.Routing
	Assets       string
}

// Release writes the deployment's release with the app's settings of this
// moment and wishes it current.
func (d *Deployer) Release(ctx context.Context, dep landward.Deployment, c Candidate) (landward.Release, error) {
	rel, _, err := d.Store.CreateRelease(ctx, store.NewRelease{
		AppID: dep.AppID, DeploymentID: dep.ID,
		Services: c.Services, ReleasePhase: c.ReleasePhase, Cron: c.Cron, Routing: c.Routing, Assets: c.Assets,
		Source: dep.Source, Actor: dep.Actor,
		Description: "Deploy " + dep.Source.Short(),
		Deadline:    d.Now().Add(d.StartWithin),
	})
	if err != nil {
		return landward.Release{}, err
	}
	d.Notify.Publish(dep.AppID)
	return rel, nil
}

// Rollback makes an earlier release current again: a new release with the old
// one's images, processes and settings. Version 0 is the release before the current one.
func (d *Deployer) Rollback(ctx context.Context, actor landward.Actor, appID int64, version int) (landward.Deployment, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	app, err := d.Store.App(ctx, appID)
	if err != nil {
		return landward.Deployment{}, err
	}
	if version == 0 {
		if version, err = d.before(ctx, app); err != nil {
			return landward.Deployment{}, err
		}
	}
	if version == app.Current {
		return landward.Deployment{}, landward.Errorf(landward.CodeConflict, "v%d is already current", version).
			WithHint("`landward releases` lists the others")
	}
	old, err := d.Store.Release(ctx, appID, version)
	if err != nil {
		return landward.Deployment{}, err
	}
	if old.Phase == landward.PhaseFailed {
		return landward.Deployment{}, landward.Errorf(landward.CodeConflict, "the release command of v%d failed; it never was live", version).
			WithHint("`landward releases` shows which were")
	}
	if err := d.checkKept(ctx, appID, old); err != nil {
		return landward.Deployment{}, err
	}
	settings := old.Settings.Clone()
	return d.change(ctx, actor, app, old, &settings, fmt.Sprintf("Roll back to v%d", version))
}

// checkKept refuses a release whose images were let go of.
func (d *Deployer) checkKept(ctx context.Context, appID int64, old landward.Release) error {
	versions, err := d.Store.KeptVersions(ctx, appID, d.KeepReleases)
	if err != nil {
		return err
	}
	kept := map[string]bool{}
	for _, v := range versions {
		rel, err := d.Store.Release(ctx, appID, v)
		if err != nil {
			return err
		}
		for _, s := range rel.Services {
			kept[s.Image.ID] = true
		}
	}
	for _, s := range old.Services {
		if !kept[s.Image.ID] {
			return landward.Errorf(landward.CodeConflict, "the image of %s is not kept any more", old.V()).
				WithHint("the newest %d releases that were live keep theirs (keep-releases); push its commit again: %s", d.KeepReleases, old.Source.Short())
		}
	}
	return nil
}

// before finds the newest release older than the current one that has been live.
func (d *Deployer) before(ctx context.Context, app landward.App) (int, error) {
	none := landward.Errorf(landward.CodeConflict, "there is no earlier release to go back to").
		WithHint("`landward releases` lists what there is")
	if app.Current == 0 {
		return 0, none
	}
	live, err := d.Store.LiveVersions(ctx, app.ID)
	if err != nil {
		return 0, err
	}
	for _, v := range live {
		if v < app.Current {
			return v, nil
		}
	}
	return 0, none
}

// change writes a release that runs base's images with the given settings.
func (d *Deployer) change(ctx context.Context, actor landward.Actor, app landward.App, base landward.Release,
	settings *landward.Settings, why string,
) (landward.Deployment, error) {
	source := base.Source
	source.Kind = landward.SourceChange
	now := d.Now()
	dep, err := d.Store.CreateDeployment(ctx, store.NewDeployment{
		AppID: app.ID, State: landward.StateReleasing, Source: source, Actor: actor,
		Deadline: now.Add(d.StartWithin),
	})
	if err != nil {
		return landward.Deployment{}, err
	}
	rel, dep, err := d.Store.CreateRelease(ctx, store.NewRelease{
		AppID: app.ID, DeploymentID: dep.ID,
		Services: base.Services, Cron: base.Cron, // no release command: it ran with these images before
		Routing: base.Routing, Assets: base.Assets,
		Settings: settings, Source: source, Actor: actor, Description: why,
		Deadline: now.Add(d.StartWithin),
	})
	if err != nil {
		_, endErr := d.Store.End(ctx, dep.ID, landward.StateFailed, landward.FailureOf("releasing", err), "")
		if endErr != nil {
			d.Log.Warn("deployment not ended", "deployment", dep.ID, "error", endErr)
		}
		return landward.Deployment{}, err
	}
	d.Output(dep).Step("%s: release %s", why, rel.V())
	d.Notify.Publish(app.ID) // who goes back is in a hurry; the audit's line comes after
	d.event(ctx, app, actor, "release.create", why)
	return dep, nil
}

// Cancel ends a deployment that has not ended: its build is killed, its new
// containers go away, what serves stays.
func (d *Deployer) Cancel(ctx context.Context, actor landward.Actor, appID int64, number int) (landward.Deployment, error) {
	dep, err := d.Store.DeploymentByNumber(ctx, appID, number)
	if err != nil {
		return landward.Deployment{}, err
	}
	dep, err = d.Store.End(ctx, dep.ID, landward.StateCancelled, nil, "")
	if err != nil {
		return landward.Deployment{}, err
	}
	out := d.Output(dep)
	out.Warn("Deployment #%d cancelled by %s", dep.Number, actor.Name)
	out.End()
	if app, err := d.Store.App(ctx, appID); err == nil {
		d.event(ctx, app, actor, "deploy.cancel", fmt.Sprintf("cancelled deployment #%d", number))
	}
	d.Notify.Publish(appID)
	return dep, nil
}

// SetStopped stops an app, or starts it again. A stopped app keeps its
// releases and its data and answers with a page that says so.
func (d *Deployer) SetStopped(ctx context.Context, actor landward.Actor, appID int64, stopped bool) error {
	app, err := d.Store.App(ctx, appID)
	if err != nil {
		return err
	}
	if app.Stopped == stopped {
		return nil
	}
	if err := d.Store.SetStopped(ctx, appID, stopped); err != nil {
		return err
	}
	kind := "app.start"
	if stopped {
		kind = "app.stop"
	}
	d.event(ctx, app, actor, kind, kind[len("app."):]+" "+app.Name)
	d.Notify.Publish(appID)
	return nil
}

// Output returns the writer of the deployment's log.
func (d *Deployer) Output(dep landward.Deployment) *logs.Output {
	return d.Logs.Output(dep.AppID, dep.ID, d.Now, d.Log)
}

// event records what somebody did. A full disk must not undo a thing that
// already happened, so a failure is logged only.
func (d *Deployer) event(ctx context.Context, app landward.App, actor landward.Actor, kind, message string) {
	err := d.Store.AddEvent(ctx, store.Event{At: d.Now(), AppID: app.ID, App: app.Name, Actor: actor, Kind: kind, Message: message})
	if err != nil {
		d.Log.Warn("event lost", "kind", kind, "error", err)
	}
}
