package api_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"landward/client"
	"landward/internal/landward"
	"landward/internal/store"
)

// fakeCanaries has the canary that it is given.
type fakeCanaries struct {
	status *landward.CanaryStatus
	err    error
}

func (f *fakeCanaries) Canary(context.Context, int64) (*landward.CanaryStatus, error) {
	return f.status, f.err
}

// starting makes a release that is about to go live by a strategy.
func (e *env) starting(kind landward.StrategyKind) landward.Deployment {
	e.t.Helper()
	ctx := e.t.Context()
	app := must(e.store.AppByName(ctx, "shop"))(e.t)
	later := e.clock.Now().Add(time.Hour)
	d := must(e.store.CreateDeployment(ctx, store.NewDeployment{AppID: app.ID, State: landward.StateReleasing, Actor: landward.System, Deadline: later}))(e.t)
	_, _, err := e.store.CreateRelease(ctx, store.NewRelease{
		AppID: app.ID, DeploymentID: d.ID, Actor: landward.System, Description: "Deploy ccccccc", Deadline: later,
		Routing: landward.Routing{Strategy: landward.Strategy{Kind: kind}},
	})
	check(e.t, err)
	return must(e.store.Advance(ctx, d.ID, []landward.State{landward.StateReleasing}, landward.StateStarting, later))(e.t)
}

func TestCanaryIsShown(t *testing.T) {
	e := newEnv(t)
	ctx := t.Context()
	c := e.client(viewer)
	d := e.starting(landward.StrategyCanary)
	e.canaries.status = &landward.CanaryStatus{
		Deployment: d.Number, Release: 3, Beside: 2, Percent: 25, Step: 2, Steps: 3, NextAt: e.clock.Now().Add(time.Minute),
		Canary: &landward.Answers{Count: 1204, Errors: 1, P95: 40 * time.Millisecond}, Stable: &landward.Answers{Count: 3600, P95: 38 * time.Millisecond},
	}
	right := func(where string, got *client.Canary) {
		t.Helper()
		if got == nil || got.Release != 3 || got.Beside != 2 || got.Percent != 25 || got.Step != 2 || got.Steps != 3 || got.NextAt.IsZero() ||
			got.Canary.Count != 1204 || got.Canary.Errors != 1 || got.Canary.P95 != client.Duration(40*time.Millisecond) || got.Stable.Count != 3600 {
			t.Errorf("%s: %+v", where, got)
		}
	}
	right("the app", must(c.App(ctx, "shop"))(t).Canary)
	right("the deployment", must(c.Deployment(ctx, "shop", d.Number))(t).Canary)
	list := must(c.Deployments(ctx, "shop", 0))(t)
	right("the list", list[0].Canary)
	if list[1].Canary != nil {
		t.Errorf("another deployment has it too: %+v", list[1].Canary)
	}
	// What is not known does not hide the rest.
	e.canaries.status.Canary, e.canaries.status.Stable = nil, nil
	if got := must(c.App(ctx, "shop"))(t).Canary; got == nil || got.Percent != 25 || got.Canary != nil {
		t.Errorf("not measured: %+v", got)
	}
	e.canaries.err = errors.New("disk on fire")
	if got := must(c.App(ctx, "shop"))(t); got.Canary != nil {
		t.Errorf("not known: %+v", got.Canary)
	}
}

func TestPromote(t *testing.T) {
	e := newEnv(t)
	ctx := t.Context()
	d := e.starting(landward.StrategyCanary)
	for _, caller := range []string{viewer, foreign} {
		if _, err := e.client(caller).PromoteDeployment(ctx, "shop", d.Number); client.CodeOf(err) != client.CodeForbidden && client.CodeOf(err) != client.CodeNotFound {
			t.Errorf("%s: %v", caller, err)
		}
	}
	if done := must(e.store.Step(ctx, d.ID, landward.StepPromoted, nil))(t); done {
		t.Error("somebody who may not has promoted it")
	}
	c := e.client(deployer)
	for range 2 { // the second time changes nothing
		if got := must(c.PromoteDeployment(ctx, "shop", d.Number))(t); got.Number != d.Number {
			t.Errorf("got deployment %+v", got)
		}
	}
	if done := must(e.store.Step(ctx, d.ID, landward.StepPromoted, nil))(t); !done {
		t.Error("it is not promoted")
	}
	if ev := must(c.Events(ctx, client.EventQuery{App: "shop"}))(t); ev[0].Kind != "deploy.promote" || ev[1].Kind == "deploy.promote" {
		t.Errorf("the events are %+v", ev[:2])
	}
	var lines []string
	must(c.DeployOutput(ctx, "shop", d.Number, false, func(l client.LogLine) error { lines = append(lines, l.Text); return nil }))(t)
	if !slices.Equal(lines, []string{"-----> Canary v3: promoted by deployer"}) {
		t.Errorf("the output is %q", lines)
	}
	must(c.CancelDeployment(ctx, "shop", d.Number))(t)
	other := e.starting(landward.StrategyBlueGreen)
	for number, want := range map[int]string{d.Number: "has ended: cancelled", 1: "has ended: live", other.Number: "has no canary"} {
		if p := clientError(t, second(c.PromoteDeployment(ctx, "shop", number))); p.Code != client.CodeConflict || !strings.Contains(p.Detail, want) {
			t.Errorf("deployment %d: %q", number, p.Explain())
		}
	}
	if _, err := c.PromoteDeployment(ctx, "shop", 99); client.CodeOf(err) != client.CodeNotFound {
		t.Errorf("no deployment: %v", err)
	}
}

func TestRetire(t *testing.T) {
	e := newEnv(t)
	ctx := t.Context()
	c := e.client(deployer)
	app := must(c.App(ctx, "shop"))(t)
	if app.Warm != 1 || app.WarmUntil.IsZero() {
		t.Fatalf("the app stands as %+v", app)
	}
	if r := must(c.Release(ctx, "shop", 1))(t); r.WarmUntil.IsZero() || r.Current {
		t.Errorf("v1 is %+v", r)
	}
	if r := must(c.Release(ctx, "shop", 2))(t); !r.WarmUntil.IsZero() {
		t.Errorf("v2 is %+v", r)
	}
	if _, err := e.client(viewer).RetireRelease(ctx, "shop", 1); client.CodeOf(err) != client.CodeForbidden {
		t.Errorf("a viewer: %v", err)
	}
	if p := clientError(t, second(c.RetireRelease(ctx, "shop", 2))); p.Code != client.CodeConflict || !strings.Contains(p.Detail, "that serves") {
		t.Errorf("the one that serves: %q", p.Explain())
	}
	if r := must(c.RetireRelease(ctx, "shop", 1))(t); r.Version != 1 || !r.WarmUntil.IsZero() {
		t.Errorf("retired: %+v", r)
	}
	if app = must(c.App(ctx, "shop"))(t); app.Warm != 0 || !app.WarmUntil.IsZero() || app.Release != 2 {
		t.Errorf("the app stands as %+v", app)
	}
	if p := clientError(t, second(c.RetireRelease(ctx, "shop", 1))); p.Code != client.CodeConflict || !strings.Contains(p.Detail, "not kept running") {
		t.Errorf("twice: %q", p.Explain())
	}
	if _, err := c.RetireRelease(ctx, "shop", 9); client.CodeOf(err) != client.CodeNotFound {
		t.Errorf("no release: %v", err)
	}
	if ev := must(c.Events(ctx, client.EventQuery{App: "shop", Limit: 1}))(t); ev[0].Kind != "release.retire" {
		t.Errorf("the event is %+v", ev)
	}
}

func TestPauseLimit(t *testing.T) {
	e := newEnv(t)
	ctx := t.Context()
	c := e.client(owner)
	check(t, c.Pause(ctx, "shop", 30*time.Second))
	if app := must(c.App(ctx, "shop"))(t); !app.Paused || app.MaxPause != client.Duration(30*time.Second) {
		t.Errorf("the app stands as %+v", app)
	}
	check(t, c.Pause(ctx, "shop", 0))
	if app := must(c.App(ctx, "shop"))(t); !app.Paused || app.MaxPause != 0 {
		t.Errorf("the app stands as %+v", app)
	}
	check(t, c.Pause(ctx, "shop", time.Second))
	check(t, c.Resume(ctx, "shop"))
	if app := must(c.App(ctx, "shop"))(t); app.Paused || app.MaxPause != 0 {
		t.Errorf("the app stands as %+v", app)
	}
	for _, d := range []time.Duration{time.Millisecond, -time.Second, 11 * time.Minute} {
		if err := c.Pause(ctx, "shop", d); clientError(t, err).Field != "max_pause" {
			t.Errorf("%s: %v", d, err)
		}
	}
	if got := e.request(owner, http.MethodPost, "/api/v1/apps/shop/pause", `{"max_pause":5}`); got.status != http.StatusUnprocessableEntity {
		t.Errorf("a number: %d %s", got.status, got.body)
	}
}

func TestSleepIsShown(t *testing.T) {
	e := newEnv(t)
	ctx := t.Context()
	app := must(e.store.AppByName(ctx, "shop"))(t)
	sleep := func(on bool) {
		must(e.store.UpdateTraffic(ctx, app.ID, func(tr landward.Traffic) landward.Traffic {
			tr.Asleep, tr.Returned = on, 12<<20
			return tr
		}))(t)
	}
	sleep(true)
	e.units.web = landward.UnitCreated
	c := e.client(viewer)
	if app := must(c.App(ctx, "shop"))(t); !app.Asleep || app.Returned != 12<<20 {
		t.Errorf("the app stands as %+v", app)
	}
	if u := must(c.Units(ctx, "shop"))(t); u[0].State != client.UnitAsleep || u[1].State != "running" {
		t.Errorf("the units are %+v", u)
	}
	sleep(false)
	if u := must(c.Units(ctx, "shop"))(t); u[0].State != landward.UnitCreated {
		t.Errorf("awake, the units are %+v", u)
	}
}

// second is the error of a call.
func second[T any](_ T, err error) error { return err }
