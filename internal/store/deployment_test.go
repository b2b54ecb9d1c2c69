package store_test

import (
	"slices"
	"testing"
	"time"

	"landward/internal/landward"
	"landward/internal/store"
)

func TestNumbersCountUp(t *testing.T) {
	w := newWorld(t)
	shop, blog := w.app(t, "shop"), w.app(t, "blog")
	const n = 20
	numbers := make([]int, n)
	race(t, n, "", func(i int) error {
		d, err := w.CreateDeployment(t.Context(), store.NewDeployment{AppID: shop.ID, State: landward.StateBuilding})
		numbers[i] = d.Number
		return err
	})
	slices.Sort(numbers)
	for i, number := range numbers {
		if number != i+1 {
			t.Fatalf("numbers %v, want 1 to %d", numbers, n)
		}
	}
	if d := w.deployment(t, blog.ID, landward.StateQueued); d.Number != 1 {
		t.Errorf("another app's first number is %d", d.Number)
	}
	all := must(w.Deployments(t.Context(), shop.ID, 3))
	if len(all) != 3 || all[0].Number != n || all[2].Number != n-2 {
		t.Errorf("the newest three: %+v", all)
	}
}

func TestNewDeployment(t *testing.T) {
	w := newWorld(t)
	app := w.app(t, "shop")
	queued := w.deployment(t, app.ID, landward.StateQueued)
	if !queued.StartedAt.IsZero() || !queued.FinishedAt.IsZero() || !queued.CreatedAt.Equal(w.clock.Now()) ||
		!queued.Deadline.Equal(w.clock.Now().Add(time.Minute)) || queued.Source.Commit != "1a2b3c4d" || queued.Actor.Name != "ada" {
		t.Errorf("got %+v", queued)
	}
	if got := must(w.Deployment(t.Context(), queued.ID)); got.Number != queued.Number || got.Failure != nil {
		t.Errorf("by id %+v", got)
	}
	if got := must(w.DeploymentByNumber(t.Context(), app.ID, 1)); got.ID != queued.ID {
		t.Errorf("by number %+v", got)
	}
	if started := w.deployment(t, app.ID, landward.StateReleasing); started.StartedAt.IsZero() {
		t.Error("one that skips the queue has not started")
	}
	_, err := w.DeploymentByNumber(t.Context(), app.ID, 99)
	wantCode(t, "an unknown number", err, landward.CodeNotFound)
	for _, state := range []landward.State{"", landward.StateLive, landward.StateFailed} {
		w.unchanged(t, "starting as "+string(state), landward.CodeInternal, func() error {
			_, err := w.CreateDeployment(t.Context(), store.NewDeployment{AppID: app.ID, State: state})
			return err
		})
	}
}

func TestANewQueuedOneTakesTheQueuedOnesPlace(t *testing.T) {
	w := newWorld(t)
	shop, blog := w.app(t, "shop"), w.app(t, "blog")
	building := w.deployment(t, shop.ID, landward.StateBuilding)
	first := w.deployment(t, shop.ID, landward.StateQueued)
	foreign := w.deployment(t, blog.ID, landward.StateQueued)
	second := w.deployment(t, shop.ID, landward.StateQueued)

	if d := must(w.Deployment(t.Context(), first.ID)); d.State != landward.StateSuperseded || d.SupersededBy != second.Number || d.FinishedAt.IsZero() {
		t.Errorf("the first is %+v", d)
	}
	var open []int64
	for _, d := range must(w.OpenDeployments(t.Context())) {
		open = append(open, d.ID)
	}
	if want := []int64{building.ID, foreign.ID, second.ID}; !slices.Equal(open, want) {
		t.Errorf("open are %v, want %v", open, want)
	}
}

func TestAdvance(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	app := w.app(t, "shop")
	d := w.deployment(t, app.ID, landward.StateQueued)
	w.clock.Advance(time.Second)
	started := w.clock.Now()
	deadline := started.Add(time.Hour)
	d = must(w.Advance(ctx, d.ID, []landward.State{landward.StateQueued}, landward.StateChecking, deadline))
	if d.State != landward.StateChecking || !d.StartedAt.Equal(started) || !d.Deadline.Equal(deadline) {
		t.Errorf("got %+v", d)
	}
	w.clock.Advance(time.Second)
	d = must(w.Advance(ctx, d.ID, []landward.State{landward.StateQueued, landward.StateChecking}, landward.StateBuilding, deadline))
	if !d.StartedAt.Equal(started) {
		t.Errorf("it started again at %s", d.StartedAt)
	}
	w.unchanged(t, "from a state it is not in", landward.CodeConflict, func() error {
		_, err := w.Advance(ctx, d.ID, []landward.State{landward.StateQueued}, landward.StateScanning, deadline)
		return err
	})
	w.unchanged(t, "to an end", landward.CodeInternal, func() error {
		_, err := w.Advance(ctx, d.ID, []landward.State{landward.StateBuilding}, landward.StateLive, deadline)
		return err
	})
	w.unchanged(t, "an unknown one", landward.CodeNotFound, func() error {
		_, err := w.Advance(ctx, 99, []landward.State{landward.StateBuilding}, landward.StateScanning, deadline)
		return err
	})
	must(w.End(ctx, d.ID, landward.StateCancelled, nil, ""))
	w.unchanged(t, "after its end", landward.CodeConflict, func() error {
		_, err := w.Advance(ctx, d.ID, []landward.State{landward.StateBuilding, landward.StateCancelled}, landward.StateScanning, deadline)
		return err
	})
}

func TestEnd(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	app := w.app(t, "shop")
	d := w.deployment(t, app.ID, landward.StateBuilding)
	for what, state := range map[string]landward.State{"live": landward.StateLive, "open": landward.StateScanning, "failed without a failure": landward.StateFailed} {
		w.unchanged(t, what, landward.CodeInternal, func() error {
			_, err := w.End(ctx, d.ID, state, nil, "")
			return err
		})
	}
	w.unchanged(t, "cancelled with a failure", landward.CodeInternal, func() error {
		_, err := w.End(ctx, d.ID, landward.StateCancelled, &landward.Failure{}, "")
		return err
	})
	f := landward.Failure{Step: "build", Code: landward.CodeFailed, Message: "m", Cause: "a\nb", Hint: "h"}
	w.clock.Advance(time.Second)
	got := must(w.End(ctx, d.ID, landward.StateFailed, &f, "careful"))
	if got.State != landward.StateFailed || got.Failure == nil || *got.Failure != f || got.Warning != "careful" || !got.FinishedAt.Equal(w.clock.Now()) {
		t.Errorf("got %+v", got)
	}
	if read := must(w.Deployment(ctx, d.ID)); read.Failure == nil || *read.Failure != f {
		t.Errorf("read %+v", read)
	}
	w.unchanged(t, "twice", landward.CodeConflict, func() error {
		_, err := w.End(ctx, d.ID, landward.StateCancelled, nil, "")
		return err
	})
}

func TestThereIsOneEnd(t *testing.T) {
	w := newWorld(t)
	app := w.app(t, "shop")
	for range 10 {
		_, d := w.released(t, app.ID, nil)
		won := race(t, 6, landward.CodeConflict, func(i int) error {
			var err error
			switch i % 3 {
			case 0:
				_, err = w.End(t.Context(), d.ID, landward.StateCancelled, nil, "")
			case 1:
				_, err = w.End(t.Context(), d.ID, landward.StateFailed, &landward.Failure{Message: "x"}, "")
			case 2:
				_, err = w.Commit(t.Context(), d.ID, w.clock.Now(), "")
			}
			return err
		})
		if won != 1 {
			t.Errorf("it ended %d times", won)
		}
		live := must(w.Deployment(t.Context(), d.ID)).State == landward.StateLive
		current := must(w.App(t.Context(), app.ID)).Current == d.Release
		if live != current {
			t.Errorf("live %v, current %v", live, current)
		}
	}
}

func TestSteps(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	app := w.app(t, "shop")
	d, other := w.deployment(t, app.ID, landward.StateBuilding), w.deployment(t, app.ID, landward.StateBuilding)
	type result struct {
		Image landward.Image
		Lines []string
	}
	want := result{Image: landward.Image{ID: "sha256:1"}, Lines: []string{"a", "b"}}
	var got result
	if done := must(w.Step(ctx, d.ID, "build", &got)); done {
		t.Error("done before it was")
	}
	check(t, w.FinishStep(ctx, d.ID, "build", result{}))
	check(t, w.FinishStep(ctx, d.ID, "build", want))
	if done := must(w.Step(ctx, d.ID, "build", &got)); !done || got.Image.ID != want.Image.ID || !slices.Equal(got.Lines, want.Lines) {
		t.Errorf("done %v, got %+v", done, got)
	}
	if done := must(w.Step(ctx, d.ID, "build", nil)); !done {
		t.Error("not done without a result to read into")
	}
	if done := must(w.Step(ctx, other.ID, "build", nil)); done {
		t.Error("another deployment's step is done")
	}
	wantCode(t, "of no deployment", w.FinishStep(ctx, 99, "build", want), landward.CodeNotFound)
}

func TestLease(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	app := w.app(t, "shop")
	d := w.deployment(t, app.ID, landward.StateBuilding)
	lease := func(owner string) bool {
		t.Helper()
		return must(w.Lease(ctx, d.ID, owner, w.clock.Now().Add(time.Minute)))
	}
	if !lease("a") {
		t.Error("nobody has it, but a does not get it")
	}
	if lease("b") {
		t.Error("b got what a has")
	}
	w.clock.Advance(50 * time.Second)
	if !lease("a") {
		t.Error("a cannot prolong it")
	}
	w.clock.Advance(50 * time.Second)
	if lease("b") {
		t.Error("b got what a prolonged")
	}
	w.clock.Advance(10 * time.Second)
	if !lease("b") {
		t.Error("it has run out, but b does not get it")
	}
	if lease("a") {
		t.Error("a got what b has")
	}
	w.clock.Advance(time.Hour)
	must(w.End(ctx, d.ID, landward.StateCancelled, nil, ""))
	if lease("a") || lease("b") {
		t.Error("somebody got one that has ended")
	}
	if must(w.Lease(ctx, 99, "a", w.clock.Now())) {
		t.Error("somebody got one that does not exist")
	}
}

func TestOneOfManyGetsTheLease(t *testing.T) {
	w := newWorld(t)
	app := w.app(t, "shop")
	d := w.deployment(t, app.ID, landward.StateBuilding)
	got := make([]bool, 8)
	race(t, len(got), "", func(i int) (err error) {
		got[i], err = w.Lease(t.Context(), d.ID, string(rune('a'+i)), w.clock.Now().Add(time.Minute))
		return err
	})
	n := 0
	for _, ok := range got {
		if ok {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d have the lease", n)
	}
}
