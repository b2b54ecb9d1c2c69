package fake_test

import (
	"testing"

	"landward/internal/engine"
	"landward/internal/engine/enginetest"
	"landward/internal/engine/fake"
	"landward/internal/landward"
)

func TestSuite(t *testing.T) {
	enginetest.Run(t, open)
}

func open(t *testing.T, instance string) enginetest.Subject {
	e := fake.New(fake.Options{Program: enginetest.RunProbe})
	t.Cleanup(e.Close)
	img := landward.Image{ID: fake.ImageID("probe"), Exposed: []int{8080, 9090}, Size: 1 << 20}
	e.AddImage(img)
	return enginetest.Subject{Engine: e, Runner: e, Images: e, Image: img.ID}
}

func TestKnobs(t *testing.T) {
	e := fake.New(fake.Options{})
	t.Cleanup(e.Close)
	e.AddImage(landward.Image{ID: fake.ImageID("x"), Ref: "x:1"})
	u := engine.Unit{
		ID: "a1-u", AppID: 1, Image: fake.ImageID("x"), Restart: engine.RestartAlways,
		Resources: landward.Resources{Memory: 1 << 20, MilliCPU: 100, Pids: 10},
	}
	ctx := t.Context()
	boom := landward.Errorf(landward.CodeFailed, "boom")
	e.FailNext("Apply", boom)
	if _, err := e.Apply(ctx, u); err != boom {
		t.Fatalf("apply: %v, want the failure that was asked for", err)
	}
	if _, err := e.Apply(ctx, u); err != nil {
		t.Fatal(err)
	}
	events, err := e.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Exit("a1-u", 137, true); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"oom", "die", "start"} {
		if got := <-events; got.Action != want {
			t.Errorf("event %q, want %q", got.Action, want)
		}
	}
	c, err := e.Inspect(ctx, "a1-u")
	if err != nil || c.State != engine.Running || c.Restarts != 1 {
		t.Errorf("after the restart: %+v, %v", c, err)
	}
	if err := e.Say("a1-u", "a word"); err != nil {
		t.Fatal(err)
	}
	e.BreakWatches()
	for range events {
	}
	u.Restart = engine.RestartNever
	if _, err := e.Apply(ctx, u); err != nil {
		t.Fatal(err)
	}
	follow := make(chan string, 8)
	if err := e.Exit("a1-u", 3, false); err != nil {
		t.Fatal(err)
	}
	if err := e.Logs(ctx, "a1-u", engine.LogOptions{Follow: true}, func(l engine.LogLine) error { follow <- l.Text; return nil }); err != nil {
		t.Fatal(err)
	}
	if c, err := e.Inspect(ctx, "a1-u"); err != nil || c.State != engine.Exited || c.ExitCode != 3 {
		t.Errorf("after the exit: %+v, %v", c, err)
	}
	close(follow)
	found := false
	for l := range follow {
		found = found || l == "a word"
	}
	if !found {
		t.Error("the line that was said is not in the log")
	}
}

// TestUnreadWatch holds that a watch which nobody reads ends rather than leave
// something out.
func TestUnreadWatch(t *testing.T) {
	e := fake.New(fake.Options{})
	t.Cleanup(e.Close)
	e.AddImage(landward.Image{ID: fake.ImageID("x"), Ref: "x:1"})
	u := engine.Unit{
		ID: "a1-u", AppID: 1, Image: fake.ImageID("x"), Restart: engine.RestartNever,
		Resources: landward.Resources{Memory: 1 << 20, MilliCPU: 100, Pids: 10},
	}
	events, err := e.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const lives = 200
	for range lives {
		if _, err := e.Apply(t.Context(), u); err != nil {
			t.Fatal(err)
		}
		if err := e.Remove(t.Context(), u.ID, 0); err != nil {
			t.Fatal(err)
		}
	}
	told := 0
	for range events { // ends: it is closed
		told++
	}
	if told == 0 || told >= 2*lives {
		t.Errorf("%d events came", told)
	}
}
