package reconcile

import (
	"context"
	"fmt"
	"slices"
	"time"

	"landward/internal/engine"
	"landward/internal/landward"
	"landward/internal/route"
)

// Trial is how far a candidate's canary has come. It is kept with the
// deployment, so that a restart goes on at the step.
type Trial struct {
	Step  int       `json:"step"`
	Since time.Time `json:"since"` // when the step began; zero before the first
	// Promoted is set where somebody has asked to have no further steps.
	Promoted bool `json:"-"`
}

// The operations of a canary.
type (
	// StepCanary begins a canary's next step.
	StepCanary struct {
		Candidate Candidate
		Trial     Trial
		Percent   int
		Counts    *route.Trial // so far; nil where nothing was counted
	}
	// AbortCanary ends the candidate's deployment, because the edge measured
	// that it does worse than it may.
	AbortCanary struct {
		Candidate Candidate
		Why       string
		Hint      string
	}
)

func (StepCanary) op()  {}
func (AbortCanary) op() {}

const (
	canaryStep = "canary" // the deployment's step that keeps the Trial
	stepTime   = time.Minute
	maxErrors  = 0.05
	// judgeFrom is how many answers a canary must have given to be judged.
	judgeFrom = 20
	// judgeEvery is how often a canary is looked at.
	judgeEvery = time.Second
)

// canarySteps are the percentages below 100 that the candidate goes through;
// none where it has no canary, or nothing serves beside it.
func (d Desired) canarySteps() []int {
	c := d.Candidate
	if c == nil || d.Current == nil || d.App.Stopped || c.Release.Routing.Strategy.Kind != landward.StrategyCanary {
		return nil
	}
	steps := c.Release.Routing.Strategy.Steps
	if len(steps) == 0 {
		return []int{10, 50}
	}
	if steps[len(steps)-1] == 100 {
		steps = steps[:len(steps)-1]
	}
	return steps
}

// stepFor is how long each step lasts.
func stepFor(s landward.Strategy) time.Duration {
	if s.StepTime > 0 {
		return s.StepTime
	}
	return stepTime
}

// canary returns the next step of a candidate that is healthy; ok is false once
// it has gone through all.
func (d Desired) canary(o Observed) (ops []Op, ok bool) {
	steps := d.canarySteps()
	c := d.Candidate
	if len(steps) == 0 || c.Trial != nil && c.Trial.Promoted {
		return nil, false
	}
	if c.Trial == nil {
		return []Op{StepCanary{Candidate: *c, Trial: Trial{Since: o.Now}, Percent: steps[0]}}, true
	}
	if why, hint := judge(c.Release.Routing.Strategy, o.Canary); why != "" {
		return []Op{AbortCanary{Candidate: *c, Why: why, Hint: hint}}, true
	}
	if o.Now.Sub(c.Trial.Since) < stepFor(c.Release.Routing.Strategy) {
		return nil, true
	}
	next := c.Trial.Step + 1
	if next >= len(steps) {
		return nil, false
	}
	return []Op{StepCanary{Candidate: *c, Trial: Trial{Step: next, Since: o.Now}, Percent: steps[next], Counts: o.Canary}}, true
}

// judge says what is wrong with a canary, "" while nothing is.
func judge(s landward.Strategy, got *route.Trial) (why, hint string) {
	if got == nil || got.Canary.Answers < judgeFrom {
		return "", ""
	}
	limit := s.MaxErrors
	if limit == 0 {
		limit = maxErrors
	}
	share := float64(got.Canary.Errors) / float64(got.Canary.Answers)
	stable := 0.0
	if got.Stable.Answers > 0 {
		stable = float64(got.Stable.Errors) / float64(got.Stable.Answers)
	}
	// Where the other version fails as well, the canary is not to blame.
	if share > limit && share > stable {
		return fmt.Sprintf("the canary answered %d of %d requests with an error (%.1f%%, at most %.1f%% are allowed; the version that serves: %.1f%%)",
			got.Canary.Errors, got.Canary.Answers, 100*share, 100*limit, 100*stable), "`landward logs` has what it said; raise abort_on.errors if this is usual"
	}
	if s.MaxP95 > 0 && got.Canary.P95 > s.MaxP95 {
		return fmt.Sprintf("the canary's slowest twentieth of answers took longer than %s (95th percentile %s)", s.MaxP95, got.Canary.P95),
			"raise abort_on.p95 if this is usual"
	}
	return "", ""
}

// runs reports whether one of so many steps is under way.
func (t *Trial) runs(steps int) bool { return t != nil && !t.Since.IsZero() && t.Step < steps }

// withCanary sends a part of the share's requests to the candidate, while its
// canary runs.
func (d Desired) withCanary(s Share, o Observed, def Defaults) Share {
	steps := d.canarySteps()
	if len(steps) == 0 || !d.Candidate.Trial.runs(len(steps)) {
		return s
	}
	rel := d.Candidate.Release
	for i := range s {
		process := landward.WebProcess
		if i > 0 {
			process = d.Current.Routing.Paths[i-1].Process
		}
		if s[i].State != route.StateUp || s[i].Static != nil {
			continue
		}
		c := route.Canary{Release: rel.Version, Percent: steps[d.Candidate.Trial.Step], Cookie: rel.Routing.Strategy.Cookie}
		for _, u := range Units(d.App, rel, def) {
			box, ok := o.container(u.ID)
			if u.Process == process && ok && box.State == engine.Running && box.Addr.IsValid() && !serves(s[i], u.ID) {
				c.Targets = append(c.Targets, targetOf(u, box, rel, o, def))
			}
		}
		if len(c.Targets) > 0 {
			s[i].Canary = &c
		}
	}
	return s
}

// serves reports whether a unit is among a route's own targets: a release that
// changes nothing about a process has the same.
func serves(r route.Route, unit string) bool {
	return slices.ContainsFunc(r.Targets, func(t route.Target) bool { return t.ID == unit })
}

// stepCanary begins a step: from the next look on the route has its share.
func (w *worker) stepCanary(ctx context.Context, op StepCanary) error {
	if err := w.r.Store.FinishStep(ctx, op.Candidate.Deployment.ID, canaryStep, op.Trial); err != nil {
		return err
	}
	out := w.out(op.Candidate.Deployment)
	if op.Counts != nil {
		out.Info("%s so far: %s; the version beside it: %s", op.Candidate.Release.V(), told(op.Counts.Canary), told(op.Counts.Stable))
	}
	out.Step("Canary %s: %d%% of the requests for %s", op.Candidate.Release.V(), op.Percent,
		stepFor(op.Candidate.Release.Routing.Strategy))
	return nil
}

// told says counts in a line.
func told(c route.Counts) string {
	if c.Answers == 0 {
		return "no answers"
	}
	return fmt.Sprintf("%d answers, %.1f%% errors, p95 %s", c.Answers, 100*float64(c.Errors)/float64(c.Answers), c.P95)
}

func (w *worker) abortCanary(ctx context.Context, op AbortCanary) error {
	return w.fail(ctx, op.Candidate, "canary", landward.Errorf(landward.CodeFailed, "%s", op.Why).WithHint("%s", op.Hint))
}

// trialOf reads how far a deployment's canary has come, nil where it has none.
func (r *Reconciler) trialOf(ctx context.Context, deploymentID int64) (*Trial, error) {
	var t Trial
	begun, err := r.Store.Step(ctx, deploymentID, canaryStep, &t)
	if err != nil {
		return nil, err
	}
	t.Promoted, err = r.Store.Step(ctx, deploymentID, landward.StepPromoted, nil)
	if err != nil || !begun && !t.Promoted {
		return nil, err
	}
	return &t, nil
}

// Canary says how the app's canary stands, nil where it has none.
func (r *Reconciler) Canary(ctx context.Context, appID int64) (*landward.CanaryStatus, error) {
	c, err := r.candidate(ctx, appID)
	if err != nil || c == nil || c.Trial == nil {
		return nil, err
	}
	d, err := r.desired(ctx, appID)
	if err != nil {
		return nil, err
	}
	steps := d.canarySteps()
	if len(steps) == 0 || !d.Candidate.Trial.runs(len(steps)) {
		return nil, nil
	}
	t := d.Candidate.Trial
	out := &landward.CanaryStatus{
		Deployment: d.Candidate.Deployment.Number, Release: d.Candidate.Release.Version, Beside: d.Current.Version,
		Percent: steps[t.Step], Step: t.Step + 1, Steps: len(steps),
		NextAt: t.Since.Add(stepFor(d.Candidate.Release.Routing.Strategy)),
	}
	counts, err := r.Edge.Trial(ctx, appID)
	if err != nil || counts == nil {
		r.Log.Debug("canary not measured", "app_id", appID, "error", err)
		return out, nil
	}
	answers := func(c route.Counts) *landward.Answers {
		return &landward.Answers{Count: c.Answers, Errors: c.Errors, P95: c.P95}
	}
	out.Canary, out.Stable = answers(counts.Canary), answers(counts.Stable)
	return out, nil
}

// measured is what the edge has counted while the app's canary runs.
func (w *worker) measured(ctx context.Context, d Desired) *route.Trial {
	if d.Candidate == nil || d.Candidate.Trial == nil {
		return nil
	}
	t, err := w.r.Edge.Trial(ctx, w.appID)
	if err != nil {
		w.log.Warn("canary not measured", "error", err)
		return nil
	}
	return t
}
