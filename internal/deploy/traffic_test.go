package deploy_test

import (
	"log/slog"
	"testing"
	"time"

	"landward/internal/deploy"
	"landward/internal/landward"
	"landward/internal/logs"
	"landward/internal/store"
	"landward/internal/store/storetest"
)

type quiet struct{}

func (quiet) Publish(int64) {}

// TestCronKeepsAwake: an app that nobody asks for does not fall asleep while one
// of its jobs runs; another app's does not matter.
func TestCronKeepsAwake(t *testing.T) {
	ctx := t.Context()
	s, clock := storetest.NewWithClock(t)
	l := logs.New(t.TempDir(), 1<<20)
	t.Cleanup(l.Close)
	d := deploy.New(deploy.Options{Store: s, Logs: l, Notify: quiet{}, Now: clock.Now, Log: slog.New(slog.DiscardHandler)})
	ids := map[string]int64{}
	for _, name := range []string{"shop", "other"} {
		app, err := s.CreateApp(ctx, name, landward.System)
		if err != nil {
			t.Fatal(err)
		}
		dep, err := s.CreateDeployment(ctx, store.NewDeployment{AppID: app.ID, State: landward.StateReleasing, Actor: landward.System})
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = s.CreateRelease(ctx, store.NewRelease{AppID: app.ID, DeploymentID: dep.ID, Actor: landward.System,
			Routing: landward.Routing{Idle: landward.Idle{SleepAfter: time.Minute}}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Commit(ctx, dep.ID, clock.Now(), ""); err != nil {
			t.Fatal(err)
		}
		ids[name] = app.ID
	}
	asleep := func(want bool) {
		t.Helper()
		if err := d.Sleep(ctx, ids["shop"]); err != nil {
			t.Fatal(err)
		}
		app, err := s.App(ctx, ids["shop"])
		if err != nil || app.Traffic.Asleep != want {
			t.Fatalf("asleep: %v, want %v (%v)", app.Traffic.Asleep, want, err)
		}
	}
	own, _, err := s.StartCron(ctx, ids["shop"], "tidy", clock.Now(), store.CronRunning)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.StartCron(ctx, ids["other"], "tidy", clock.Now(), store.CronRunning); err != nil {
		t.Fatal(err)
	}
	asleep(false)
	if err := s.EndCron(ctx, own.ID, "done", 0, ""); err != nil {
		t.Fatal(err)
	}
	asleep(true)
	// What was returned is of this sleep only.
	_, err = s.UpdateTraffic(ctx, ids["shop"], func(tr landward.Traffic) landward.Traffic { tr.Returned = 7; return tr })
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Wake(ctx, ids["shop"]); err != nil {
		t.Fatal(err)
	}
	if app, err := s.App(ctx, ids["shop"]); err != nil || app.Traffic != (landward.Traffic{}) {
		t.Errorf("woken: %+v, %v", app.Traffic, err)
	}
}
