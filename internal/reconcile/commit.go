package reconcile

import (
	"context"
	"fmt"
	"strings"

	"landward/internal/engine"
	"landward/internal/failpoint"
	"landward/internal/landward"
	"landward/internal/store"
)

// commit is the point of no return: first the edge sends traffic to the new
// release, then the store says that it is current. A crash between the two is
// mended by the next plan, which goes by the store and comes here again.
func (w *worker) commit(ctx context.Context, op Commit) error {
	c := op.Candidate
	out := w.out(c.Deployment)
	if err := w.r.routes.set(ctx, w.appID, op.Share); err != nil {
		return err // the edge is away; the deadline decides
	}
	failpoint.Hit("reconcile.routed")
	app, err := w.r.Store.Commit(ctx, c.Deployment.ID, w.r.Now().Add(w.r.warmFor(c.Release)), "")
	if err != nil {
		return err // cancelled at the last moment: the next plan takes the route back
	}
	failpoint.Hit("reconcile.committed")
	out.Done("Deployed %s %s", app.Name, c.Release.V())
	for _, host := range op.Share.hosts() {
		if strings.HasPrefix(host, "*.") {
			continue // not an address that anybody could open
		}
		out.Info("%s", w.r.AppURL(host))
	}
	out.End()
	w.event(ctx, c.Deployment, "deploy.live", fmt.Sprintf("%s is live: %s", c.Release.V(), c.Release.Description))
	w.say("landward", "%s is live: %s", c.Release.V(), c.Release.Description)
	w.r.Notify.Publish(w.appID)
	return nil
}

// failed finds out why the candidate cannot go live and ends its deployment.
func (w *worker) failed(ctx context.Context, op Fail) error {
	c := op.Candidate
	if op.Unit == "" {
		e := landward.Errorf(landward.CodeTimeout, "the release was not live by its deadline (it was %s)", c.Deployment.State).
			WithHint("`landward doctor` checks the host; `landward deploys output %d` shows how far it came", c.Deployment.Number)
		return w.fail(ctx, c, string(c.Deployment.State), e)
	}
	for _, u := range Units(w.last.App, c.Release, w.r.Defaults) {
		if u.ID != op.Unit {
			continue
		}
		box, err := w.r.Engine.Inspect(ctx, u.ID)
		if err != nil {
			return err
		}
		p, svc, _ := c.Release.Process(u.Process)
		rule := healthRule(p.Health, w.r.Defaults.Health)
		return w.fail(ctx, c, "starting", w.explain(ctx, u, box, ProbeResult{}, Port(c.Release, svc, p, w.r.Defaults), rule))
	}
	return fmt.Errorf("fail: no unit %s", op.Unit)
}

// fail ends the candidate's deployment and says why. What serves is untouched;
// the next plan retires the candidate's own containers.
func (w *worker) fail(ctx context.Context, c Candidate, step string, e *landward.Error) error {
	f := landward.FailureOf(step, e)
	if e.Err != nil {
		w.log.Warn("deployment failed", "deployment", c.Deployment.ID, "error", e.Err)
	}
	out := w.out(c.Deployment)
	out.Fail(f)
	if w.last.Current != nil {
		out.Info("%s keeps serving.", w.last.Current.V())
	}
	if _, err := w.r.Store.End(ctx, c.Deployment.ID, landward.StateFailed, f, ""); err != nil {
		return err
	}
	out.End()
	w.event(ctx, c.Deployment, "deploy.failed", fmt.Sprintf("deployment #%d failed: %s", c.Deployment.Number, f.Message))
	w.r.Notify.Publish(w.appID)
	return nil
}

// revert goes back to the release before, whose units still run, because the
// current one's died soon after it went live.
func (w *worker) revert(ctx context.Context, op Revert) error {
	cur, prev := *w.last.Current, *w.last.Previous
	box, err := w.r.Engine.Inspect(ctx, op.Unit)
	if err != nil {
		return err
	}
	u := engine.Unit{ID: op.Unit, Process: box.Process, Index: box.Index}
	if p, _, ok := cur.Process(box.Process); ok {
		u.Resources = w.r.Defaults.Resources.Merge(p.Resources)
	}
	box.State = engine.Exited // it may wait for its next start
	e := w.explain(ctx, u, box, ProbeResult{}, 0, landward.Health{})
	e.Message = fmt.Sprintf("%s soon after %s went live; %s serves again", e.Message, cur.V(), prev.V())
	f := landward.FailureOf("live", e)
	if _, err := w.r.Store.Revert(ctx, w.appID, cur.Version, f); err != nil {
		return err
	}
	w.say("landward", "%s", f.Message)
	for _, d := range w.deploymentsOf(ctx, cur.Version) {
		w.out(d).Fail(f)
		w.event(ctx, d, "deploy.reverted", f.Message)
	}
	w.r.Notify.Publish(w.appID)
	return nil
}

func (w *worker) deploymentsOf(ctx context.Context, version int) []landward.Deployment {
	list, err := w.r.Store.Deployments(ctx, w.appID, 20)
	if err != nil {
		w.log.Warn("deployments not read", "error", err)
	}
	var out []landward.Deployment
	for _, d := range list {
		if d.Release == version {
			out = append(out, d)
		}
	}
	return out
}

func (w *worker) event(ctx context.Context, d landward.Deployment, kind, message string) {
	err := w.r.Store.AddEvent(ctx, store.Event{
		At: w.r.Now(), AppID: w.appID, App: w.last.App.Name, Actor: d.Actor, Kind: kind, Message: message,
		Data: map[string]string{"deployment": fmt.Sprint(d.Number)},
	})
	if err != nil {
		w.log.Warn("event lost", "kind", kind, "error", err)
	}
}
