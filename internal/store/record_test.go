package store_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	"landward/internal/landward"
	"landward/internal/store"
)

func TestFacts(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	if got := must(w.Fact(ctx, "a")); got != "" {
		t.Errorf("unset is %q", got)
	}
	check(t, w.SetFact(ctx, "a", "1"))
	check(t, w.SetFact(ctx, "a", "2"))
	if got := must(w.Fact(ctx, "a")); got != "2" {
		t.Errorf("got %q", got)
	}
	check(t, w.SetFact(ctx, "a", ""))
	check(t, w.SetFact(ctx, "a", ""))
	if got := must(w.Fact(ctx, "a")); got != "" {
		t.Errorf("removed is %q", got)
	}
}

func TestNextFactNeverRepeats(t *testing.T) {
	w := newWorld(t)
	got := make([]int64, 20)
	race(t, len(got), "", func(i int) (err error) {
		got[i], err = w.NextFact(t.Context(), "generation")
		return err
	})
	slices.Sort(got)
	for i, n := range got {
		if n != int64(i+1) {
			t.Fatalf("numbers %v", got)
		}
	}
	if v := must(w.Fact(t.Context(), "generation")); v != "20" {
		t.Errorf("the fact is %q", v)
	}
	again := must(open(t, w.dir))
	closed(t, again)
	if n := must(again.NextFact(t.Context(), "generation")); n != 21 {
		t.Errorf("after a restart: %d", n)
	}
}

func TestEvents(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	app := w.app(t, "shop") // event 1
	at := w.clock.Now().Add(-time.Hour)
	check(t, w.AddEvent(ctx, store.Event{At: at, AppID: app.ID, Actor: ada, Kind: "config.set", Message: "Set A", Data: map[string]string{"names": "A"}}))
	check(t, w.AddEvent(ctx, store.Event{Kind: "system.start", Actor: landward.System}))
	ids := func(appID, before int64, limit int) []int64 {
		var out []int64
		for _, e := range must(w.Events(ctx, appID, before, limit)) {
			out = append(out, e.ID)
		}
		return out
	}
	for _, test := range []struct {
		appID, before int64
		limit         int
		want          []int64
	}{
		{0, 0, 0, []int64{3, 2, 1}}, {0, 0, 2, []int64{3, 2}}, {0, 3, 0, []int64{2, 1}},
		{0, 2, 5, []int64{1}}, {0, 1, 0, nil}, {app.ID, 0, 0, []int64{2, 1}}, {app.ID, 2, 1, []int64{1}}, {99, 0, 0, nil},
	} {
		if got := ids(test.appID, test.before, test.limit); !slices.Equal(got, test.want) {
			t.Errorf("app %d before %d limit %d: %v, want %v", test.appID, test.before, test.limit, got, test.want)
		}
	}
	e := must(w.Events(ctx, 0, 3, 1))[0]
	if !e.At.Equal(at) || e.App != "shop" || e.Actor.Name != "ada" || e.Kind != "config.set" || e.Message != "Set A" || !maps.Equal(e.Data, map[string]string{"names": "A"}) {
		t.Errorf("got %+v", e)
	}
	if e := must(w.Events(ctx, 0, 0, 1))[0]; !e.At.Equal(w.clock.Now()) || e.AppID != 0 || e.App != "" {
		t.Errorf("got %+v", e)
	}
}

func TestCron(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	app := w.app(t, "shop")
	due := w.clock.Now()
	run, isNew, err := w.StartCron(ctx, app.ID, "clean", due, store.CronRunning)
	check(t, err)
	want := store.CronRun{ID: run.ID, AppID: app.ID, Name: "clean", DueAt: due, State: store.CronRunning, StartedAt: w.clock.Now()}
	if !isNew || run != want {
		t.Errorf("new %v, got %+v, want %+v", isNew, run, want)
	}
	again, isNew, err := w.StartCron(ctx, app.ID, "clean", due, store.CronRunning)
	check(t, err)
	if isNew || again != want {
		t.Errorf("the same time twice: new %v, got %+v", isNew, again)
	}
	if running := must(w.RunningCrons(ctx)); len(running) != 1 || running[0] != want {
		t.Errorf("running %+v", running)
	}
	skipped, isNew, err := w.StartCron(ctx, app.ID, "clean", due.Add(time.Minute), "skipped")
	check(t, err)
	if !isNew || skipped.FinishedAt.IsZero() {
		t.Errorf("skipped %+v", skipped)
	}
	w.clock.Advance(time.Second)
	check(t, w.EndCron(ctx, run.ID, "failed", 3, "it said no"))
	want.State, want.ExitCode, want.Message, want.FinishedAt = "failed", 3, "it said no", w.clock.Now()
	if runs := must(w.CronRuns(ctx, app.ID, 0)); len(runs) != 2 || runs[1] != want {
		t.Errorf("runs %+v", runs)
	}
	if running := must(w.RunningCrons(ctx)); len(running) != 0 {
		t.Errorf("still running %+v", running)
	}
	w.unchanged(t, "ending it twice", landward.CodeConflict, func() error { return w.EndCron(ctx, run.ID, "done", 0, "") })
	w.unchanged(t, "ending none", landward.CodeNotFound, func() error { return w.EndCron(ctx, 99, "done", 0, "") })
}

func TestOneOfManyStartsACronJob(t *testing.T) {
	w := newWorld(t)
	app := w.app(t, "shop")
	started := make([]bool, 8)
	race(t, len(started), "", func(i int) (err error) {
		_, started[i], err = w.StartCron(t.Context(), app.ID, "clean", w.clock.Now(), store.CronRunning)
		return err
	})
	n := 0
	for _, ok := range started {
		if ok {
			n++
		}
	}
	if n != 1 {
		t.Errorf("it started %d times", n)
	}
}

func TestOldCronRunsAreForgotten(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	app := w.app(t, "shop")
	start := w.clock.Now()
	_, _, err := w.StartCron(ctx, app.ID, "long", start, store.CronRunning)
	check(t, err)
	for i := range 250 {
		for _, name := range []string{"often", "long"} {
			_, _, err := w.StartCron(ctx, app.ID, name, start.Add(time.Duration(i+1)*time.Minute), "skipped")
			check(t, err)
		}
	}
	count := map[string]int{}
	for _, r := range must(w.CronRuns(ctx, app.ID, 0)) {
		count[r.Name]++
	}
	if count["often"] != 200 || count["long"] != 201 { // one of them still runs
		t.Errorf("kept %v", count)
	}
	if running := must(w.RunningCrons(ctx)); len(running) != 1 {
		t.Errorf("running %+v", running)
	}
}
