package enginetest

import (
	"context"
	"sync"
	"testing"
	"time"

	"landward/internal/engine"
	"landward/internal/landward"
)

func removeTwice(t *testing.T, s *suite) {
	app := s.app(t)
	u := s.unit(app, "going")
	s.apply(t, u)
	begun := make(chan struct{})
	followed := make(chan error, 1)
	go func() {
		ready := sync.OnceFunc(func() { close(begun) })
		followed <- s.Engine.Logs(ctx(t), u.ID, engine.LogOptions{Follow: true}, func(engine.LogLine) error {
			ready()
			return nil
		})
	}()
	<-begun
	start := time.Now()
	for range 2 {
		if err := s.Engine.Remove(ctx(t), u.ID, 20*time.Second); err != nil {
			t.Fatalf("remove: %v", err)
		}
	}
	if took := time.Since(start); took > 19*time.Second {
		t.Errorf("the stop signal did not arrive: killed after %s", took)
	}
	if err := <-followed; err != nil {
		t.Errorf("the follow ended with %v", err)
	}
	_, err := s.Engine.Inspect(ctx(t), u.ID)
	wantCode(t, err, landward.CodeNotFound)
	if err := s.Engine.Remove(ctx(t), "never-existed", time.Second); err != nil {
		t.Errorf("remove of nothing: %v", err)
	}
}

func removeStubborn(t *testing.T, s *suite) {
	u := s.unit(s.app(t), "stubborn", "stubborn")
	s.apply(t, u)
	s.untilSays(t, u.ID, "ready")
	if err := s.Engine.Remove(ctx(t), u.ID, 100*time.Millisecond); err != nil {
		t.Fatalf("remove: %v", err)
	}
	_, err := s.Engine.Inspect(ctx(t), u.ID)
	wantCode(t, err, landward.CodeNotFound)
}

func listByApp(t *testing.T, s *suite) {
	a, b := s.app(t), s.app(t)
	s.apply(t, s.unit(a, "x"))
	s.apply(t, s.unit(a, "y"))
	held := s.unit(b, "z")
	held.Hold = true
	s.apply(t, held)
	for _, c := range []struct {
		app  int64
		want int
	}{{a, 2}, {b, 1}, {b + 1000, 0}} {
		list, err := s.Engine.List(ctx(t), c.app)
		if err != nil || len(list) != c.want {
			t.Errorf("app %d has %d containers, %v; want %d", c.app, len(list), err, c.want)
		}
		for _, got := range list {
			if got.AppID != c.app {
				t.Errorf("list of app %d has %+v", c.app, got)
			}
		}
	}
	all, err := s.Engine.List(ctx(t), 0)
	if err != nil || len(all) < 3 {
		t.Errorf("all: %d containers, %v", len(all), err)
	}
}

func instancesApart(t *testing.T, s *suite) {
	other := s.open(t, "other")
	app := s.app(t)
	u := s.unit(app, "mine")
	s.apply(t, u)
	if list, err := other.Engine.List(ctx(t), 0); err != nil || len(list) != 0 {
		t.Errorf("the other instance sees %d containers, %v", len(list), err)
	}
	_, err := other.Engine.Inspect(ctx(t), u.ID)
	wantCode(t, err, landward.CodeNotFound)
	if err := other.Engine.Remove(ctx(t), u.ID, 0); err != nil {
		t.Errorf("remove in the other instance: %v", err)
	}
	// The same unit there is another container.
	theirs := u
	theirs.Image = other.Image
	c, err := other.Engine.Apply(ctx(t), theirs)
	if err != nil {
		t.Fatalf("apply in the other instance: %v", err)
	}
	if err := other.Engine.RemoveApp(ctx(t), app, true); err != nil {
		t.Fatalf("remove app in the other instance: %v", err)
	}
	if mine := s.inspect(t, u.ID); mine.State != engine.Running || mine.Engine == c.Engine {
		t.Errorf("after the other instance removed its app, ours is %+v", mine)
	}
}

func removeApp(t *testing.T, s *suite) {
	app := s.app(t)
	u := s.unit(app, "x")
	s.apply(t, u)
	s.apply(t, s.unit(app, "y", "exit", "0"))
	bystander := s.unit(s.app(t), "z")
	s.apply(t, bystander)
	for range 2 {
		if err := s.Engine.RemoveApp(ctx(t), app, true); err != nil {
			t.Fatalf("remove app: %v", err)
		}
	}
	if list, err := s.Engine.List(ctx(t), app); err != nil || len(list) != 0 {
		t.Errorf("%d containers are left, %v", len(list), err)
	}
	if c := s.inspect(t, bystander.ID); c.State != engine.Running {
		t.Errorf("another app's container is %s", c.State)
	}
	s.apply(t, u) // the network comes back
}

func listening(t *testing.T, s *suite) {
	u := s.unit(s.app(t), "listens", "serve", "0.0.0.0:8080", "127.0.0.1:9999")
	s.apply(t, u)
	s.untilSays(t, u.ID, "ready")
	got := map[string]bool{}
	for _, a := range s.inspect(t, u.ID).Listening {
		got[a.String()] = true
	}
	if len(got) != 2 || !got["127.0.0.1:9999"] || !got["0.0.0.0:8080"] && !got["[::]:8080"] {
		t.Errorf("listening on %v", got)
	}
}

func memory(t *testing.T, s *suite) {
	u := s.unit(s.app(t), "remembers", "serve", "0.0.0.0:8080")
	s.apply(t, u)
	s.untilSays(t, u.ID, "ready")
	if got := s.inspect(t, u.ID).Memory; got < 64<<10 || got > 1<<30 {
		t.Errorf("it uses %d bytes", got)
	}
	if err := s.Engine.Remove(ctx(t), u.ID, 0); err != nil {
		t.Fatal(err)
	}
	u.Hold = true
	s.apply(t, u)
	if got := s.inspect(t, u.ID).Memory; got != 0 {
		t.Errorf("one that does not run uses %d bytes", got)
	}
}

func watch(t *testing.T, s *suite) {
	c, cancel := context.WithCancel(ctx(t))
	events, err := s.Engine.Watch(c)
	if err != nil {
		t.Fatal(err)
	}
	u := s.unit(s.app(t), "watched", "exit", "3")
	s.apply(t, u)
	s.untilState(t, u.ID, engine.Exited)
	if err := s.Engine.Remove(ctx(t), u.ID, 0); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"start", "die", "destroy"} {
		for got := ""; got != want; {
			select {
			case e, ok := <-events:
				if !ok {
					t.Fatalf("closed before %q", want)
				}
				if e.Unit == u.ID {
					got = e.Action
				}
				if e.Unit == u.ID && (e.AppID != u.AppID || e.At.IsZero()) {
					t.Errorf("event %+v", e)
				}
			case <-time.After(20 * time.Second):
				t.Fatalf("no %q", want)
			}
		}
	}
	cancel()
	for {
		select {
		case _, ok := <-events:
			if !ok {
				return
			}
		case <-time.After(20 * time.Second):
			t.Fatal("not closed with its context")
		}
	}
}
