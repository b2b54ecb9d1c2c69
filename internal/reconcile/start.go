package reconcile

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"landward/internal/engine"
	"landward/internal/failpoint"
	"landward/internal/landward"
)

// startAtOnce is how many containers of one app are started at a time.
const startAtOnce = 4

// start makes the units run. Those on probation are the candidate's: what is
// wrong with them ends its deployment.
func (w *worker) start(ctx context.Context, op Start) error {
	cand := w.last.Candidate
	if op.Probation {
		if err := w.beginStarting(ctx, *cand); err != nil {
			return err
		}
		w.out(cand.Deployment).Step("Starting %s", names(op.Units))
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(startAtOnce)
	var mu sync.Mutex
	for _, u := range op.Units {
		w.unretire(u.ID)
		if op.Probation {
			u.Restart = engine.RestartNever
			if w.boxes[u.ID].Restart == engine.RestartAlways {
				u.Restart = engine.RestartAlways // it serves already and is taken over
			}
		}
		group.Go(func() error {
			box, err := w.r.Engine.Apply(gctx, u)
			if err == nil {
				mu.Lock()
				w.boxes[box.Unit] = box
				mu.Unlock()
				w.r.output.follow([]engine.Container{box})
				failpoint.Hit("reconcile.started")
			}
			return err
		})
	}
	err := group.Wait()
	if err == nil || !op.Probation || ctx.Err() != nil {
		return err
	}
	if landward.CodeOf(err) == landward.CodeUnavailable {
		return err // the engine is away; the deadline decides
	}
	return w.fail(ctx, *cand, "starting", landward.AsError(err))
}

// adopt tells Docker, beside everything else, to restart the units from now on:
// a way back that is asked for this instant does not wait for it.
func (w *worker) adopt(ctx context.Context, units []engine.Unit) {
	for _, u := range units {
		w.mu.Lock()
		w.adopting[u.ID] = true
		w.mu.Unlock()
		w.r.group.Go(func() error {
			_, err := w.r.Engine.Apply(ctx, u)
			if err == nil {
				// Nobody needs to look for that: it would be in the way of the next wish.
				w.mu.Lock()
				w.adopted = append(w.adopted, u.ID)
				w.mu.Unlock()
				return nil
			}
			if ctx.Err() == nil {
				w.log.Warn("unit not adopted", "unit", u.ID, "error", err)
				pause(ctx, time.Second) // it is planned again
			}
			w.mu.Lock()
			delete(w.adopting, u.ID)
			w.mu.Unlock()
			w.stir()
			return nil
		})
	}
}

// beginStarting moves the deployment from releasing to starting, once.
func (w *worker) beginStarting(ctx context.Context, c Candidate) error {
	if c.Deployment.State == landward.StateStarting {
		return nil
	}
	grace := w.r.Defaults.Health.Grace
	for _, svc := range c.Release.Effective() {
		for _, p := range svc.Processes {
			grace = max(grace, p.Health.Grace)
		}
	}
	// Twice the grace: containers need time to be made before they can be healthy.
	deadline := w.r.Now().Add(2*grace + time.Minute)
	if n := len(w.last.canarySteps()); n > 0 {
		deadline = deadline.Add(time.Duration(n) * (stepFor(c.Release.Routing.Strategy) + time.Minute))
	}
	_, err := w.r.Store.Advance(ctx, c.Deployment.ID, []landward.State{landward.StateReleasing}, landward.StateStarting, deadline)
	return err
}

// atRest lets go of what the current release has no use for any more.
func (w *worker) atRest(ctx context.Context) {
	rel := w.last.Current
	if rel == nil || w.last.Previous != nil || w.last.Candidate != nil || w.collected == rel.Version {
		return
	}
	w.collected = rel.Version
	app := w.last.App
	w.r.group.Go(func() error { w.r.collect(ctx, app); return nil })
}

// keepImages tags the current release's images, so that they stay as long as it
// does; until then they have the name that their build or upload gave them.
// Nothing waits for it.
func (w *worker) keepImages(ctx context.Context, rel *landward.Release) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if rel == nil || w.kept == rel.Version || w.keeping {
		return
	}
	w.keeping = true
	app := w.last.App.Name
	w.r.group.Go(func() error {
		var err error
		for _, svc := range rel.Services {
			if err = w.r.Images.Keep(ctx, svc.Image.ID, w.appID, app, rel.Version, svc.Name); err != nil {
				break
			}
		}
		if err != nil && ctx.Err() == nil {
			w.log.Warn("images not tagged", "version", rel.Version, "error", err)
			pause(ctx, lastRetry)
		}
		w.mu.Lock()
		w.keeping = false
		if err == nil {
			w.kept = rel.Version
		}
		w.mu.Unlock()
		w.poke() // another may be current by now
		return nil
	})
}

// retire drains the units and removes them, beside everything else: the app's
// next deployment does not wait for the last one's slowest request.
func (w *worker) retire(ctx context.Context, boxes []engine.Container) {
	asleep := w.last.asleep(w.r.Defaults)
	for _, c := range boxes {
		drain, cancel := context.WithCancel(ctx)
		gone := make(chan struct{})
		w.mu.Lock()
		w.retiring[c.Unit], w.gone[c.Unit] = cancel, gone
		w.mu.Unlock()
		w.r.group.Go(func() error {
			defer func() {
				cancel()
				w.mu.Lock()
				delete(w.retiring, c.Unit)
				delete(w.gone, c.Unit)
				w.mu.Unlock()
				close(gone)
				w.stir()
			}()
			if err := w.retireOne(ctx, drain, c, asleep[c.Unit]); err != nil && ctx.Err() == nil {
				w.log.Warn("unit not retired", "unit", c.Unit, "error", err)
				pause(ctx, time.Second) // it is planned again
			}
			return nil
		})
	}
}

// retireOne drains the unit while drain lasts, and then removes it. From then
// on there is no way back: who wants the unit again waits for its end. What the
// unit of an app that falls asleep had of memory is noted.
func (w *worker) retireOne(ctx, drain context.Context, c engine.Container, asleep bool) error {
	if c.Kind == engine.KindProcess && c.State == engine.Running {
		if err := w.r.Edge.Drain(drain, []string{c.Unit}, w.r.DrainLimit); err != nil {
			w.log.Warn("unit not drained", "unit", c.Unit, "error", err)
		}
	}
	if drain.Err() != nil {
		return nil // wanted again
	}
	failpoint.Hit("reconcile.retiring")
	var had int64
	if asleep {
		// Where it cannot be asked, the figure is missing: nothing else.
		box, err := w.r.Engine.Inspect(ctx, c.Unit)
		if err != nil {
			w.log.Debug("memory not read", "unit", c.Unit, "error", err)
		}
		had = box.Memory
	}
	if err := w.r.Engine.Remove(ctx, c.Unit, w.stopTimeout(c)); err != nil {
		return err
	}
	if had > 0 {
		if err := w.returned(ctx, had); err != nil {
			return err
		}
	}
	w.r.output.wait(ctx, c.Unit)
	return w.r.Store.SetFact(ctx, portFact(c.Unit), "")
}

// returned notes memory that an app that sleeps does not use any more.
func (w *worker) returned(ctx context.Context, bytes int64) error {
	_, err := w.r.Store.UpdateTraffic(ctx, w.appID, func(t landward.Traffic) landward.Traffic {
		if t.Asleep {
			t.Returned += bytes
		}
		return t
	})
	return err
}

// stopTimeout is what the container's own process asks for.
func (w *worker) stopTimeout(c engine.Container) time.Duration {
	for _, rel := range []*landward.Release{w.last.Current, w.last.Previous} {
		if rel == nil {
			continue
		}
		if p, _, ok := rel.Process(c.Process); ok && p.StopTimeout > 0 {
			return p.StopTimeout
		}
	}
	return w.r.Defaults.StopTimeout
}

// unretire stops a retirement of a unit that is wanted again and waits for its end.
func (w *worker) unretire(id string) {
	w.mu.Lock()
	cancel, gone := w.retiring[id], w.gone[id]
	w.mu.Unlock()
	if cancel == nil {
		return
	}
	cancel()
	<-gone
}

// removeApp takes away all that a deleted app had, the row last: a crash in
// between starts over.
func (w *worker) removeApp(ctx context.Context) error {
	if err := w.r.routes.remove(ctx, w.appID); err != nil {
		return err
	}
	if err := w.r.Engine.RemoveApp(ctx, w.appID, true); err != nil {
		return err
	}
	if _, err := w.r.Images.Collect(ctx, w.appID, nil); err != nil {
		return err
	}
	if err := w.r.Forget(ctx, w.last.App); err != nil {
		return err
	}
	if err := w.r.Logs.Remove(w.appID); err != nil {
		return err
	}
	return w.r.Store.DropApp(ctx, w.appID)
}
