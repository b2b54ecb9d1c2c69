package store_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"landward/internal/landward"
	"landward/internal/store"
)

func TestCreateApp(t *testing.T) {
	w := newWorld(t)
	app := w.app(t, "shop")
	want := landward.App{ID: app.ID, EnvironmentID: 1, Name: "shop", CreatedAt: w.clock.Now(), UpdatedAt: w.clock.Now()}
	if app.ID == 0 || app.Name != want.Name || app.EnvironmentID != 1 || app.Current != 0 || !app.CreatedAt.Equal(want.CreatedAt) {
		t.Errorf("got %+v, want %+v", app, want)
	}
	byID := must(w.App(t.Context(), app.ID))
	byName := must(w.AppByName(t.Context(), "shop"))
	if byID.Name != "shop" || byName.ID != app.ID {
		t.Errorf("by id %+v, by name %+v", byID, byName)
	}
	events := must(w.Events(t.Context(), app.ID, 0, 0))
	if len(events) != 1 || events[0].Kind != "app.create" || events[0].App != "shop" || events[0].Actor.Name != "ada" {
		t.Errorf("events %+v", events)
	}

	w.unchanged(t, "a name twice", landward.CodeConflict, func() error {
		_, err := w.CreateApp(t.Context(), "shop", ada)
		return err
	})
	for _, name := range []string{"", "Shop", "a b", "-x", "landward", "a\x00b", "shop#1", strings.Repeat("a", 41), "'; DROP TABLE apps; --"} {
		w.unchanged(t, name, landward.CodeInvalid, func() error {
			_, err := w.CreateApp(t.Context(), name, ada)
			return err
		})
	}
}

func TestUnknownApp(t *testing.T) {
	w := newWorld(t)
	const none = 99
	for what, fn := range map[string]func(context.Context) error{
		"App":            func(ctx context.Context) error { _, err := w.App(ctx, none); return err },
		"AppByName":      func(ctx context.Context) error { _, err := w.AppByName(ctx, "none"); return err },
		"SetStopped":     func(ctx context.Context) error { return w.SetStopped(ctx, none, true) },
		"SetBranch":      func(ctx context.Context) error { return w.SetDeployBranch(ctx, none, "main") },
		"MarkAppDeleted": func(ctx context.Context) error { return w.MarkAppDeleted(ctx, none) },
		"UpdateSettings": func(ctx context.Context) error {
			_, err := w.UpdateSettings(ctx, none, func(s landward.Settings) (landward.Settings, error) { return s, nil })
			return err
		},
		"CreateDeployment": func(ctx context.Context) error {
			_, err := w.CreateDeployment(ctx, store.NewDeployment{AppID: none, State: landward.StateQueued})
			return err
		},
		"CreateRelease": func(ctx context.Context) error {
			_, _, err := w.CreateRelease(ctx, store.NewRelease{AppID: none})
			return err
		},
		"Revert": func(ctx context.Context) error {
			_, err := w.Revert(ctx, none, 1, &landward.Failure{})
			return err
		},
		"StartCron": func(ctx context.Context) error {
			_, _, err := w.StartCron(ctx, none, "x", w.clock.Now(), store.CronRunning)
			return err
		},
		"SetAppRole": func(ctx context.Context) error { return w.SetAppRole(ctx, none, 1, landward.RoleOwner) },
	} {
		w.unchanged(t, what, landward.CodeNotFound, func() error { return fn(t.Context()) })
	}
}

func TestAppFields(t *testing.T) {
	w := newWorld(t)
	app := w.app(t, "shop")
	check(t, w.SetDeployBranch(t.Context(), app.ID, "main"))
	check(t, w.SetStopped(t.Context(), app.ID, true))
	got := must(w.App(t.Context(), app.ID))
	if got.DeployBranch != "main" || !got.Stopped {
		t.Errorf("got %+v", got)
	}
	check(t, w.SetStopped(t.Context(), app.ID, false))
	if got := must(w.App(t.Context(), app.ID)); got.Stopped {
		t.Error("still stopped")
	}
}

func TestDeleteApp(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	app := w.app(t, "shop")
	w.app(t, "blog")
	w.live(t, app.ID, &landward.Settings{Domains: []string{"shop.example.com"}})
	open := w.deployment(t, app.ID, landward.StateBuilding)
	user := must(w.CreateUser(ctx, "bob", false))
	check(t, w.SetAppRole(ctx, app.ID, user.ID, landward.RoleOwner))
	hash := make([]byte, 32)
	must(w.AddToken(ctx, store.Token{Name: "ci", AppID: app.ID, Role: landward.RoleDeployer}, hash))

	check(t, w.MarkAppDeleted(ctx, app.ID))
	_, err := w.App(ctx, app.ID)
	wantCode(t, "a deleted app by id", err, landward.CodeNotFound)
	_, err = w.AppByName(ctx, "shop")
	wantCode(t, "a deleted app by name", err, landward.CodeNotFound)
	_, err = w.ActorByToken(ctx, hash)
	wantCode(t, "a token of a deleted app", err, landward.CodeUnauthenticated)
	wantCode(t, "deleting it again", w.MarkAppDeleted(ctx, app.ID), landward.CodeNotFound)
	_, err = w.Commit(ctx, open.ID, w.clock.Now(), "")
	wantCode(t, "committing a deployment of it", err, landward.CodeConflict)
	if d := must(w.Deployment(ctx, open.ID)); d.State != landward.StateCancelled || d.FinishedAt.IsZero() {
		t.Errorf("its open deployment is %+v", d)
	}
	if got := w.domains(t); got != "" {
		t.Errorf("domains are still claimed: %s", got)
	}
	names := func(apps []landward.App, err error) []string {
		check(t, err)
		var out []string
		for _, a := range apps {
			out = append(out, a.Name)
		}
		return out
	}
	if got := names(w.Apps(ctx)); !slices.Equal(got, []string{"blog"}) {
		t.Errorf("apps %v", got)
	}
	deleted := must(w.DeletedApps(ctx))
	if len(deleted) != 1 || deleted[0].ID != app.ID || deleted[0].Current != 1 {
		t.Errorf("deleted apps %+v", deleted)
	}
	_, err = w.AppByName(ctx, deleted[0].Name)
	wantCode(t, "a deleted app by its new name", err, landward.CodeNotFound)

	again := w.app(t, "shop") // the name is free
	w.live(t, again.ID, &landward.Settings{Domains: []string{"shop.example.com"}})
	check(t, w.DropApp(ctx, again.ID)) // does nothing: it was not deleted
	must(w.App(ctx, again.ID))
	check(t, w.DropApp(ctx, app.ID))
	check(t, w.DropApp(ctx, app.ID))
	if left := must(w.DeletedApps(ctx)); len(left) != 0 {
		t.Errorf("not dropped: %+v", left)
	}
	if again.ID == app.ID {
		t.Error("an id was given out twice")
	}
	check(t, w.MarkAppDeleted(ctx, again.ID))
	check(t, w.DropApp(ctx, again.ID))
	if third := w.app(t, "shop"); third.ID <= again.ID {
		t.Errorf("id %d was given out again after a drop", third.ID)
	}
	events := must(w.Events(ctx, app.ID, 0, 0))
	if len(events) != 1 || events[0].App != "shop" {
		t.Errorf("history is gone with the app: %+v", events)
	}
}

func TestUpdateSettings(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	app := w.app(t, "shop")
	set := func(s landward.Settings) func(landward.Settings) (landward.Settings, error) {
		return func(landward.Settings) (landward.Settings, error) { return s, nil }
	}
	full := landward.Settings{
		Env:       []landward.Var{{Name: "A", Value: "1", Secret: true, File: true, Build: true}, {Name: "B", Value: "2"}},
		Scale:     map[string]int{"web": 2},
		Resources: map[string]landward.Resources{"web": {Memory: 1, MilliCPU: 2, Pids: 3}},
		Health:    map[string]landward.Health{"web": {Path: "/up"}},
		Domains:   []string{"a.example.com"},
		Restart:   "x",
	}
	must(w.UpdateSettings(ctx, app.ID, set(full)))
	got := must(w.App(ctx, app.ID)).Settings
	wantSettings(t, "saved", got, full)

	must(w.UpdateSettings(ctx, app.ID, func(s landward.Settings) (landward.Settings, error) {
		wantSettings(t, "handed to change", s, full)
		s.Domains = []string{"b.example.com"}
		return s, nil
	}))
	if got := w.domains(t); got != "1 b.example.com" {
		t.Errorf("domains %q, want only the new one", got)
	}

	refused := errors.New("no")
	w.unchanged(t, "an error of change", landward.CodeInternal, func() error {
		_, err := w.UpdateSettings(ctx, app.ID, func(landward.Settings) (landward.Settings, error) { return full, refused })
		if !errors.Is(err, refused) {
			t.Errorf("error %v, want the one of change", err)
		}
		return err
	})
	for _, host := range []string{"UPPER.example.com", "a b", "", "a..b", "http://x", "x:80"} {
		w.unchanged(t, host, landward.CodeInvalid, func() error {
			_, err := w.UpdateSettings(ctx, app.ID, set(landward.Settings{Domains: []string{host}}))
			return err
		})
	}
	blog := w.app(t, "blog")
	w.unchanged(t, "another app's domain", landward.CodeConflict, func() error {
		_, err := w.UpdateSettings(ctx, blog.ID, set(landward.Settings{Domains: []string{"c.example.com", "b.example.com"}}))
		e := landward.AsError(err)
		if e.Field != "domains" || !strings.Contains(e.Message, "b.example.com") {
			t.Errorf("error %+v, want one that names the host", e)
		}
		return err
	})
}

func TestOneOfManyGetsADomain(t *testing.T) {
	w := newWorld(t)
	const n = 8
	ids := make([]int64, n)
	for i := range n {
		ids[i] = w.app(t, "app"+string(rune('a'+i))).ID
	}
	for range 5 {
		won := race(t, n, landward.CodeConflict, func(i int) error {
			_, err := w.UpdateSettings(t.Context(), ids[i], func(s landward.Settings) (landward.Settings, error) {
				s.Domains = []string{"one.example.com"}
				return s, nil
			})
			return err
		})
		if won != 1 {
			t.Errorf("%d apps have one domain", won)
		}
		for _, id := range ids {
			must(w.UpdateSettings(t.Context(), id, func(s landward.Settings) (landward.Settings, error) {
				s.Domains = nil
				return s, nil
			}))
		}
	}
}
