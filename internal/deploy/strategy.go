package deploy

import (
	"context"
	"fmt"

	"landward/internal/landward"
)

// Promote has a canary take over now, whatever its steps and its measurements
// say. Doing it again changes nothing. CodeConflict: the deployment has ended,
// is not that far yet, or goes live without a canary.
func (d *Deployer) Promote(ctx context.Context, actor landward.Actor, appID int64, number int) (landward.Deployment, error) {
	dep, rel, err := d.canary(ctx, appID, number)
	if err != nil {
		return landward.Deployment{}, err
	}
	done, err := d.Store.Step(ctx, dep.ID, landward.StepPromoted, nil)
	if err != nil || done {
		return dep, err
	}
	app, err := d.Store.App(ctx, appID)
	if err != nil {
		return landward.Deployment{}, err
	}
	if err := d.Store.FinishStep(ctx, dep.ID, landward.StepPromoted, actor); err != nil {
		return landward.Deployment{}, err
	}
	d.Output(dep).Step("Canary %s: promoted by %s", rel.V(), actor.Name)
	d.event(ctx, app, actor, "deploy.promote", fmt.Sprintf("promoted the canary %s of deployment #%d", rel.V(), number))
	d.Notify.Publish(appID)
	return dep, nil
}

// canary returns a deployment that has, or is about to have, a canary.
func (d *Deployer) canary(ctx context.Context, appID int64, number int) (landward.Deployment, landward.Release, error) {
	dep, err := d.Store.DeploymentByNumber(ctx, appID, number)
	switch {
	case err != nil:
		return dep, landward.Release{}, err
	case dep.State.Ended():
		return dep, landward.Release{}, landward.Errorf(landward.CodeConflict, "deployment #%d has ended: %s", number, dep.State)
	case !dep.State.Reconciling() || dep.Release == 0:
		return dep, landward.Release{}, landward.Errorf(landward.CodeConflict, "deployment #%d is %s: it has no canary yet", number, dep.State).
			WithHint("`landward deploys output %d -f` shows when it has", number)
	}
	rel, err := d.Store.Release(ctx, appID, dep.Release)
	if err == nil && rel.Routing.Strategy.Kind != landward.StrategyCanary {
		err = landward.Errorf(landward.CodeConflict, "deployment #%d has no canary: it is live as soon as it is healthy", number)
	}
	return dep, rel, err
}

// Retire lets the release go that served before the current one and is kept
// running for a quick way back. Going back to it still works while its image is
// kept, but has to start it. CodeConflict: that release is not kept running.
func (d *Deployer) Retire(ctx context.Context, actor landward.Actor, appID int64, version int) (landward.Release, error) {
	rel, err := d.Store.Release(ctx, appID, version)
	if err != nil {
		return rel, err
	}
	app, err := d.Store.App(ctx, appID)
	switch {
	case err != nil:
		return rel, err
	case app.Current == version:
		return rel, landward.Errorf(landward.CodeConflict, "v%d is the release that serves", version).
			WithHint("`landward ps stop` takes its units away; `landward rollback` goes back to another release")
	case app.Previous != version:
		return rel, landward.Errorf(landward.CodeConflict, "v%d is not kept running", version).
			WithHint("`landward releases` marks the one that is with a +")
	}
	if err := d.Store.EndWarm(ctx, appID, app.Current); err != nil {
		return rel, err
	}
	d.event(ctx, app, actor, "release.retire", fmt.Sprintf("let v%d go, which was kept running beside v%d", version, app.Current))
	d.Notify.Publish(appID)
	return rel, nil
}
