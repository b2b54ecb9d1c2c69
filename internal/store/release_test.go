package store_test

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"landward/internal/landward"
	"landward/internal/store"
)

func env(value string, domains ...string) *landward.Settings {
	return &landward.Settings{Env: []landward.Var{{Name: "V", Value: value}}, Domains: domains}
}

func (w *world) settings(t *testing.T, appID int64) landward.Settings {
	t.Helper()
	return must(w.App(t.Context(), appID)).Settings
}

func TestReleaseIsKeptWhole(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	app := w.app(t, "shop")
	d := w.deployment(t, app.ID, landward.StateQueued)
	want := landward.Release{
		AppID: app.ID, Version: 1,
		Services: []landward.Service{{
			Name: "app", Image: landward.Image{Ref: "r", ID: "sha256:1", Exposed: []int{80}, User: "1000", Size: 5},
			Processes: []landward.Process{{
				Name: "web", Command: landward.Command{Argv: []string{"a", "b"}}, Replicas: 2, Port: 80,
				Health: landward.Health{Path: "/up", Interval: time.Second}, StopTimeout: time.Minute,
				Resources: landward.Resources{Memory: 1, MilliCPU: 2, Pids: 3},
			}},
			Volumes: []landward.VolumeMount{{Name: "data", Path: "/data", ReadOnly: true}},
		}},
		ReleasePhase: landward.Command{Shell: "./migrate"},
		Cron:         []landward.Cron{{Name: "c", Schedule: "@daily", Command: landward.Command{Shell: "x"}, Overlap: landward.OverlapForbid}},
		Settings:     *env("1"),
		Source:       landward.Source{Kind: landward.SourceGit, Commit: "abc", Title: "t"},
		Actor:        ada, Description: "Deploy abc", CreatedAt: w.clock.Now(), Phase: landward.PhasePending,
	}
	deadline := w.clock.Now().Add(time.Minute)
	r, d, err := w.CreateRelease(ctx, store.NewRelease{
		AppID: app.ID, DeploymentID: d.ID, Services: want.Services, ReleasePhase: want.ReleasePhase, Cron: want.Cron,
		Settings: &want.Settings, Source: want.Source, Actor: want.Actor, Description: want.Description, Deadline: deadline,
	})
	check(t, err)
	for what, got := range map[string]landward.Release{"returned": r, "read": must(w.Release(ctx, app.ID, 1))} {
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s\n got %+v\nwant %+v", what, got, want)
		}
	}
	if d.State != landward.StateReleasing || d.Release != 1 || !d.Deadline.Equal(deadline) || d.StartedAt.IsZero() {
		t.Errorf("deployment %+v", d)
	}
	wantSettings(t, "of the app", w.settings(t, app.ID), want.Settings)

	check(t, w.SetPhase(ctx, app.ID, 1, landward.PhaseDone))
	if got := must(w.Release(ctx, app.ID, 1)); got.Phase != landward.PhaseDone {
		t.Errorf("phase %q", got.Phase)
	}
	wantCode(t, "phase of no release", w.SetPhase(ctx, app.ID, 9, landward.PhaseDone), landward.CodeNotFound)
	_, err = w.Release(ctx, app.ID, 9)
	wantCode(t, "no release", err, landward.CodeNotFound)

	if second, _ := w.released(t, app.ID, nil); second.Version != 2 || second.Phase != landward.PhaseDone {
		t.Errorf("one without a command: %+v", second)
	}
	all := must(w.Releases(ctx, app.ID, 0))
	if len(all) != 2 || all[0].Version != 2 {
		t.Errorf("all: %+v", all)
	}
}

func TestReleaseWithoutSettingsTakesTheApps(t *testing.T) {
	w := newWorld(t)
	app := w.app(t, "shop")
	must(w.UpdateSettings(t.Context(), app.ID, func(landward.Settings) (landward.Settings, error) { return *env("1"), nil }))
	r, _ := w.released(t, app.ID, nil)
	wantSettings(t, "of the release", r.Settings, *env("1"))
}

func TestCreateReleaseRefused(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	app, other := w.app(t, "shop"), w.app(t, "blog")
	w.live(t, other.ID, env("", "blog.example.com"))
	_, done := w.released(t, app.ID, nil)
	ended := w.deployment(t, app.ID, landward.StateBuilding)
	must(w.End(ctx, ended.ID, landward.StateCancelled, nil, ""))
	open, foreign := w.deployment(t, app.ID, landward.StateBuilding), w.deployment(t, other.ID, landward.StateBuilding)
	tests := map[string]struct {
		deployment int64
		settings   *landward.Settings
		want       landward.Code
	}{
		"it has a release":        {done.ID, env("x"), landward.CodeConflict},
		"it has ended":            {ended.ID, env("x"), landward.CodeConflict},
		"there is none":           {99, env("x"), landward.CodeNotFound},
		"it is another app's":     {foreign.ID, env("x"), landward.CodeInternal},
		"a domain is another's":   {open.ID, env("x", "blog.example.com"), landward.CodeConflict},
		"a domain is no host":     {open.ID, env("x", "BLOG"), landward.CodeInvalid},
		"a domain twice in a row": {open.ID, env("x", "a.example.com", "b..c"), landward.CodeInvalid},
	}
	for name, test := range tests {
		w.unchanged(t, name, test.want, func() error {
			_, _, err := w.CreateRelease(ctx, store.NewRelease{AppID: app.ID, DeploymentID: test.deployment, Settings: test.settings})
			return err
		})
	}
}

func TestOneReleaseIsUnderWay(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	app := w.app(t, "shop")
	_, first := w.released(t, app.ID, nil)
	_, second := w.released(t, app.ID, nil)
	must(w.Advance(ctx, second.ID, []landward.State{landward.StateReleasing}, landward.StateStarting, w.clock.Now()))
	building := w.deployment(t, app.ID, landward.StateBuilding)
	_, third := w.released(t, app.ID, nil)
	for id, by := range map[int64]int{first.ID: second.Number, second.ID: third.Number} {
		if d := must(w.Deployment(ctx, id)); d.State != landward.StateSuperseded || d.SupersededBy != by {
			t.Errorf("got %+v, want it superseded by #%d", d, by)
		}
	}
	if d := must(w.Deployment(ctx, building.ID)); d.State != landward.StateBuilding {
		t.Errorf("one that builds was disturbed: %+v", d)
	}
}

func TestCommit(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	app := w.app(t, "shop")
	_, d := w.released(t, app.ID, nil)
	warm := w.clock.Now().Add(10 * time.Second)
	got := must(w.Commit(ctx, d.ID, warm, ""))
	if got.Current != 1 || got.Previous != 0 || !got.WarmUntil.IsZero() {
		t.Errorf("the first: %+v", got)
	}
	_, d = w.released(t, app.ID, nil)
	got = must(w.Commit(ctx, d.ID, warm, "old ones did not stop"))
	if got.Current != 2 || got.Previous != 1 || !got.WarmUntil.Equal(warm) {
		t.Errorf("the second: %+v", got)
	}
	if d := must(w.Deployment(ctx, d.ID)); d.State != landward.StateLive || d.Warning == "" || d.FinishedAt.IsZero() {
		t.Errorf("its deployment: %+v", d)
	}
	w.unchanged(t, "twice", landward.CodeConflict, func() error {
		_, err := w.Commit(ctx, d.ID, warm, "")
		return err
	})
	building := w.deployment(t, app.ID, landward.StateBuilding)
	w.unchanged(t, "without a release", landward.CodeConflict, func() error {
		_, err := w.Commit(ctx, building.ID, warm, "")
		return err
	})
	w.unchanged(t, "of no deployment", landward.CodeNotFound, func() error {
		_, err := w.Commit(ctx, 99, warm, "")
		return err
	})
	check(t, w.EndWarm(ctx, app.ID, 1)) // not the current one: nothing happens
	if got := must(w.App(ctx, app.ID)); got.Previous != 1 {
		t.Errorf("the way back is gone: %+v", got)
	}
	check(t, w.EndWarm(ctx, app.ID, 2))
	if got := must(w.App(ctx, app.ID)); got.Previous != 0 || !got.WarmUntil.IsZero() || got.Current != 2 {
		t.Errorf("after the warm time: %+v", got)
	}
}

func TestRevert(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	app := w.app(t, "shop")
	f := &landward.Failure{Step: "live", Message: "it died"}
	w.live(t, app.ID, env("1"))
	w.unchanged(t, "from the first release", landward.CodeConflict, func() error {
		_, err := w.Revert(ctx, app.ID, 1, f)
		return err
	})
	w.live(t, app.ID, env("2"))
	w.unchanged(t, "from one that is not current", landward.CodeConflict, func() error {
		_, err := w.Revert(ctx, app.ID, 1, f)
		return err
	})
	w.unchanged(t, "without a reason", landward.CodeInternal, func() error {
		_, err := w.Revert(ctx, app.ID, 2, nil)
		return err
	})
	got := must(w.Revert(ctx, app.ID, 2, f))
	if got.Current != 1 || got.Previous != 0 || !got.WarmUntil.IsZero() {
		t.Errorf("app %+v", got)
	}
	wantSettings(t, "after it", got.Settings, *env("1"))
	if d := must(w.DeploymentByNumber(ctx, app.ID, 2)); d.State != landward.StateFailed || d.Failure == nil || d.Failure.Message != "it died" {
		t.Errorf("its deployment %+v", d)
	}
	if d := must(w.DeploymentByNumber(ctx, app.ID, 1)); d.State != landward.StateLive {
		t.Errorf("the deployment that serves again %+v", d)
	}
	w.unchanged(t, "twice", landward.CodeConflict, func() error {
		_, err := w.Revert(ctx, app.ID, 2, f)
		return err
	})
}

func TestSettingsFollowTheReleaseThatServes(t *testing.T) {
	fail := func(t *testing.T, w *world, d landward.Deployment) {
		t.Helper()
		must(w.End(t.Context(), d.ID, landward.StateFailed, &landward.Failure{Message: "x"}, ""))
	}
	t.Run("a failed release gives them back", func(t *testing.T) {
		w := newWorld(t)
		app := w.app(t, "shop")
		w.live(t, app.ID, env("1"))
		_, d := w.released(t, app.ID, env("2"))
		wantSettings(t, "while it starts", w.settings(t, app.ID), *env("2"))
		fail(t, w, d)
		wantSettings(t, "after it failed", w.settings(t, app.ID), *env("1"))
	})
	t.Run("a first release that fails leaves what was set", func(t *testing.T) {
		w := newWorld(t)
		app := w.app(t, "shop")
		_, d := w.released(t, app.ID, env("1"))
		fail(t, w, d)
		wantSettings(t, "after it failed", w.settings(t, app.ID), *env("1"))
	})
	t.Run("a failed build leaves them alone", func(t *testing.T) {
		w := newWorld(t)
		app := w.app(t, "shop")
		w.live(t, app.ID, env("1"))
		building := w.deployment(t, app.ID, landward.StateBuilding)
		w.released(t, app.ID, env("2"))
		fail(t, w, building)
		wantSettings(t, "after it failed", w.settings(t, app.ID), *env("2"))
	})
	t.Run("those of a newer release stay after a revert", func(t *testing.T) {
		w := newWorld(t)
		app := w.app(t, "shop")
		w.live(t, app.ID, env("1"))
		w.live(t, app.ID, env("2"))
		_, d := w.released(t, app.ID, env("3"))
		must(w.Revert(t.Context(), app.ID, 2, &landward.Failure{}))
		wantSettings(t, "while a newer one starts", w.settings(t, app.ID), *env("3"))
		fail(t, w, d)
		wantSettings(t, "after that failed too", w.settings(t, app.ID), *env("1"))
	})
}

func TestAHostIsFreeWhenNothingLeadsThroughItAnyMore(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	shop, blog := w.app(t, "shop"), w.app(t, "blog")
	const host = "www.example.com"
	taken := func(when string) {
		t.Helper()
		w.unchanged(t, when, landward.CodeConflict, func() error {
			_, err := w.UpdateSettings(ctx, blog.ID, func(s landward.Settings) (landward.Settings, error) {
				s.Domains = []string{host}
				return s, nil
			})
			return err
		})
	}
	w.live(t, shop.ID, env("", host))
	taken("while it serves")
	_, d := w.released(t, shop.ID, env(""))
	taken("while the release without it starts")
	must(w.End(ctx, d.ID, landward.StateFailed, &landward.Failure{}, ""))
	wantSettings(t, "after that failed", w.settings(t, shop.ID), *env("", host))
	w.live(t, shop.ID, env(""))
	taken("while there is a way back to it")
	check(t, w.EndWarm(ctx, shop.ID, 3))
	if got := w.domains(t); got != "" {
		t.Errorf("still claimed: %s", got)
	}
	w.live(t, blog.ID, env("", host))

	// Going back to a release whose host another app has now is refused whole.
	back := w.deployment(t, shop.ID, landward.StateBuilding)
	w.unchanged(t, "a rollback", landward.CodeConflict, func() error {
		r := must(w.Release(ctx, shop.ID, 1))
		_, _, err := w.CreateRelease(ctx, store.NewRelease{AppID: shop.ID, DeploymentID: back.ID, Settings: &r.Settings})
		return err
	})
}

func TestAClaimEndsWithTheReleaseThatBroughtIt(t *testing.T) {
	w := newWorld(t)
	app := w.app(t, "shop")
	w.live(t, app.ID, env(""))
	_, d := w.released(t, app.ID, env("", "new.example.com"))
	if got := w.domains(t); got != "1 new.example.com" {
		t.Errorf("claimed: %q", got)
	}
	must(w.End(t.Context(), d.ID, landward.StateCancelled, nil, ""))
	if got := w.domains(t); got != "" {
		t.Errorf("still claimed: %q", got)
	}
	w.released(t, app.ID, env("", "new.example.com"))
	w.released(t, app.ID, env("", "newer.example.com"))
	if got := w.domains(t); got != "1 newer.example.com" {
		t.Errorf("claimed after one took the other's place: %q", got)
	}
}

func TestVersionsThatStay(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	app := w.app(t, "shop")
	for range 4 {
		w.live(t, app.ID, nil) // v1 to v4
	}
	_, failed := w.released(t, app.ID, nil) // v5
	must(w.End(ctx, failed.ID, landward.StateFailed, &landward.Failure{}, ""))
	w.live(t, app.ID, nil) // v6
	must(w.Revert(ctx, app.ID, 6, &landward.Failure{}))
	w.released(t, app.ID, nil) // v7
	if live := must(w.LiveVersions(ctx, app.ID)); !slices.Equal(live, []int{4, 3, 2, 1}) {
		t.Errorf("live were %v", live)
	}
	for n, want := range map[int][]int{0: {4, 7}, 2: {2, 3, 4, 7}, 99: {1, 2, 3, 4, 7}} {
		if got := must(w.KeptVersions(ctx, app.ID, n)); !slices.Equal(got, want) {
			t.Errorf("kept with %d: %v, want %v", n, got, want)
		}
	}
}
