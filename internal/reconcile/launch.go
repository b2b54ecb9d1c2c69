package reconcile

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"landward/internal/engine"
	"landward/internal/landward"
)

// Launch runs a command in a container of its own, with the image and the
// settings of the app's current release, and returns its exit code. When ctx
// ends, so does the container.
func (r *Reconciler) Launch(ctx context.Context, actor landward.Actor, appID int64, argv []string, s engine.Streams) (int, error) {
	app, err := r.Store.App(ctx, appID)
	if err != nil {
		return 0, err
	}
	if app.Current == 0 {
		return 0, landward.Errorf(landward.CodeConflict, "%s has no release to run a command in", app.Name).
			WithHint("deploy it first: `landward help getting-started`")
	}
	rel, err := r.Store.Release(ctx, appID, app.Current)
	if err != nil {
		return 0, err
	}
	if len(rel.Services) == 0 {
		return 0, landward.Errorf(landward.CodeConflict, "%s is a static site: there is no image to run a command in", app.Name)
	}
	u := OneOff(app, rel, landward.Command{Argv: argv}, r.Defaults)
	u.Command = argv // as typed: what the user's own shell left is meant literally
	u.Process, u.Kind, u.TTY = "run", engine.KindRun, s.TTY
	u.ID = runUnit(appID)
	r.Log.Info("one-off command", "app", app.Name, "actor", actor.Name, "unit", u.ID)
	exit, err := r.Runner.Run(ctx, u, s)
	if err != nil && ctx.Err() == nil {
		// The engine may have died under it: nobody else would remove it.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		if rmErr := r.Engine.Remove(ctx, u.ID, 0); rmErr != nil {
			r.Log.Warn("one-off container not removed", "unit", u.ID, "error", rmErr)
		}
	}
	return exit, err
}

// runUnit names a one-off run's container.
func runUnit(appID int64) string {
	return fmt.Sprintf("a%d-run-%s", appID, strings.ToLower(rand.Text())[:10])
}

// removeOrphans removes the one-off containers of a process that is no more:
// whoever waited for them hung up with it.
func (r *Reconciler) removeOrphans(ctx context.Context, boxes []engine.Container) error {
	for _, c := range boxes {
		if c.Kind != engine.KindRun {
			continue
		}
		if err := r.Engine.Remove(ctx, c.Unit, 0); err != nil {
			return err
		}
	}
	return nil
}
