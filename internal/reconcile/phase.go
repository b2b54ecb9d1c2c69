package reconcile

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"landward/internal/engine"
	"landward/internal/failpoint"
	"landward/internal/landward"
)

// runPhase runs the release command to its end. Its container's name comes
// from the release, so that a restart of ours in the middle finds it and waits
// on, and never runs it twice.
func (w *worker) runPhase(ctx context.Context, c Candidate) error {
	u := PhaseUnit(w.last.App, c.Release, w.r.Defaults)
	out := w.out(c.Deployment)
	box, err := w.r.Engine.Inspect(ctx, u.ID)
	switch {
	case landward.CodeOf(err) == landward.CodeNotFound:
		out.Step("Running release command: %s", shown(c.Release.ReleasePhase))
		if box, err = w.r.Engine.Apply(ctx, u); err != nil {
			if landward.CodeOf(err) == landward.CodeUnavailable {
				return err
			}
			return w.endPhase(ctx, c, u, landward.AsError(err))
		}
	case err != nil:
		return err
	case box.State == engine.Created:
		if box, err = w.r.Engine.Apply(ctx, u); err != nil {
			return err
		}
	}
	w.r.output.follow([]engine.Container{box})
	if err := w.watchPhase(ctx, c, u, box); err != nil {
		return err
	}
	box, err = w.r.Engine.Inspect(ctx, u.ID)
	if err != nil {
		return err
	}
	switch {
	case box.State != engine.Exited && w.r.Now().Sub(box.StartedAt) >= w.r.ReleaseTimeout:
		return w.endPhase(ctx, c, u, landward.Errorf(landward.CodeTimeout, "the release command ran longer than %s", w.r.ReleaseTimeout).
			WithCause(w.words(ctx, u.ID)).WithHint("make it shorter, or do the long part in a worker"))
	case box.State != engine.Exited:
		return nil // the wish has changed; look again
	case box.OOMKilled || box.ExitCode != 0:
		e := w.explain(ctx, u, box, ProbeResult{}, 0, landward.Health{})
		e.Message = strings.Replace(e.Message, "release.1", "the release command", 1)
		return w.endPhase(ctx, c, u, e)
	}
	return w.endPhase(ctx, c, u, nil)
}

// watchPhase shows the command's output until it ends, its time is up or the
// deployment has ended otherwise.
func (w *worker) watchPhase(ctx context.Context, c Candidate, u engine.Unit, box engine.Container) error {
	left := w.r.ReleaseTimeout - w.r.Now().Sub(box.StartedAt)
	ctx, cancel := context.WithTimeout(ctx, max(left, time.Millisecond))
	defer cancel()
	out := w.out(c.Deployment)
	ended := make(chan error, 1)
	go func() {
		ended <- w.r.Engine.Logs(ctx, u.ID, engine.LogOptions{Follow: true}, func(l engine.LogLine) error {
			out.Info("%s", l.Text)
			return nil
		})
	}()
	for {
		select {
		case err := <-ended:
			if errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
				return nil
			}
			return err
		case <-w.wake:
			d, err := w.r.Store.Deployment(ctx, c.Deployment.ID)
			if err != nil || d.State.Ended() {
				cancel()
				<-ended //nolint:errcheck // it ends because it was told to
				return err
			}
		}
	}
}

// endPhase writes down how the command ended; e is nil when it went well.
func (w *worker) endPhase(ctx context.Context, c Candidate, u engine.Unit, e *landward.Error) error {
	failpoint.Hit("reconcile.phase")
	phase := landward.PhaseDone
	if e != nil {
		phase = landward.PhaseFailed
	}
	if err := w.r.Store.SetPhase(ctx, w.appID, c.Release.Version, phase); err != nil {
		return err
	}
	if e != nil {
		if err := w.fail(ctx, c, "releasing", e); err != nil {
			return err
		}
	}
	w.r.output.wait(ctx, u.ID)
	if err := w.r.Engine.Remove(ctx, u.ID, 0); err != nil {
		return fmt.Errorf("remove release container: %w", err)
	}
	return nil
}

// shown is a command as its writer knows it.
func shown(c landward.Command) string {
	if c.Shell != "" {
		return c.Shell
	}
	return strings.Join(c.Argv, " ")
}
