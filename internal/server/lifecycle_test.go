package server_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"landward/client"
	"landward/internal/engine"
	"landward/internal/landward"
	"landward/internal/servertest"
)

// source makes a tar with a Dockerfile and a file that makes it differ.
func source(t *testing.T, text string) *bytes.Buffer {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for name, body := range map[string]string{"Dockerfile": "FROM scratch\n" + text + "\n"} {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(body))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &buf
}

// app makes an app and deploys its first version.
func app(t *testing.T, s *servertest.Server, name string) client.App {
	t.Helper()
	ctx := t.Context()
	a, err := s.Client.CreateApp(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	set(t, s, name, "SAY", "one")
	deploy(t, s, name, "# "+name, "live")
	s.WantPage(name, "one")
	return a
}

func deploy(t *testing.T, s *servertest.Server, name, text, state string) client.Deployment {
	t.Helper()
	d, err := s.Client.DeployArchive(t.Context(), name, source(t, text), client.DeployOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if d = s.Ended(name, d.Number); d.State != state {
		t.Fatalf("deployment #%d is %s: %+v", d.Number, d.State, d.Failure)
	}
	return d
}

func set(t *testing.T, s *servertest.Server, name, key, value string) *client.Deployment {
	t.Helper()
	d, err := s.Client.ChangeConfig(t.Context(), name, client.ConfigChange{Set: []client.Var{{Name: key, Value: value}}})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestLifecycle(t *testing.T) {
	s := servertest.Start(t)
	app(t, s, "shop")
	ctx := t.Context()

	set(t, s, "shop", "SAY", "two")
	s.WantPage("shop", "two")
	if _, err := s.Client.Scale(ctx, "shop", map[string]int{"web": 3}); err != nil {
		t.Fatal(err)
	}
	s.Eventually("three units", func() error { return units(s, 3) })
	if _, err := s.Client.Rollback(ctx, "shop", 1); err != nil {
		t.Fatal(err)
	}
	s.WantPage("shop", "one")
	s.Eventually("one unit, as in v1", func() error { return units(s, 1) })

	if err := s.Client.Stop(ctx, "shop"); err != nil {
		t.Fatal(err)
	}
	s.Eventually("no unit, and a page that says so", func() error {
		if status, _ := s.Get("shop"); status != http.StatusServiceUnavailable {
			return fmt.Errorf("status %d", status)
		}
		return units(s, 0)
	})
	if err := s.Client.Start(ctx, "shop"); err != nil {
		t.Fatal(err)
	}
	s.WantPage("shop", "one")
	before := s.Units(0)[0].Unit
	d, err := s.Client.Restart(ctx, "shop")
	if err != nil {
		t.Fatal(err)
	}
	s.Ended("shop", d.Number)
	s.Eventually("another unit", func() error {
		if list := s.Units(0); len(list) != 1 || list[0].Unit == before {
			return fmt.Errorf("%d units", len(list))
		}
		return nil
	})
	if err := s.Client.DeleteApp(ctx, "shop"); err != nil {
		t.Fatal(err)
	}
	s.Eventually("nothing is left", func() error {
		if status, _ := s.Get("shop"); status != http.StatusNotFound {
			return fmt.Errorf("status %d", status)
		}
		return units(s, 0)
	})
}

func units(s *servertest.Server, n int) error {
	if list := s.Units(0); len(list) != n {
		return fmt.Errorf("%d units, want %d", len(list), n)
	}
	return nil
}

// TestFailureKeepsAll: a change that does not work changes nothing, neither
// what serves nor what the next release gets.
func TestFailureKeepsAll(t *testing.T) {
	s := servertest.Start(t)
	app(t, s, "shop")
	ctx := t.Context()
	for _, tt := range []struct{ behaviour, message, cause string }{
		{"exit", "web.1 ended with exit code 3", "no good"},
	} {
		d := set(t, s, "shop", "BEHAVIOUR", tt.behaviour)
		end := s.Ended("shop", d.Number)
		if end.State != "failed" || end.Failure == nil || end.Failure.Message != tt.message || !strings.Contains(end.Failure.Cause, tt.cause) {
			t.Errorf("%s: %s %+v", tt.behaviour, end.State, end.Failure)
		}
		s.WantPage("shop", "one")
		vars, err := s.Client.Config(ctx, "shop")
		if err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(vars, func(v client.Var) bool { return v.Name == "BEHAVIOUR" }) {
			t.Error("the variable of a failed release stayed")
		}
		s.Eventually("the failed unit is gone", func() error { return units(s, 1) })
	}
	end := deploy(t, s, "shop", "RUN false", "failed")
	if !strings.Contains(end.Failure.Message, "RUN false failed") {
		t.Errorf("failure %+v", end.Failure)
	}
	s.WantPage("shop", "one")
}

// TestEngineTroubles: an engine that is away for a moment delays a deployment,
// one that refuses ends it.
func TestEngineTroubles(t *testing.T) {
	s := servertest.Start(t)
	app(t, s, "shop")
	away := landward.Errorf(landward.CodeUnavailable, "the engine process is not answering")
	for range 3 {
		s.Engine.FailNext("Apply", away)
	}
	s.Engine.FailNext("List", away)
	d := set(t, s, "shop", "SAY", "two")
	if end := s.Ended("shop", d.Number); end.State != "live" {
		t.Errorf("an engine that came back: %s %+v", end.State, end.Failure)
	}
	s.WantPage("shop", "two")
	s.Eventually("all that comes after going live is done", func() error {
		for _, c := range s.Units(0) {
			if c.Restart != engine.RestartAlways {
				return fmt.Errorf("%s is restarted by nobody", c.Unit)
			}
		}
		return units(s, 1)
	})
	s.Engine.BreakWatches()
	s.Engine.FailNext("Apply", landward.Errorf(landward.CodePolicy, "the container may not be privileged"))
	d = set(t, s, "shop", "SAY", "three")
	if end := s.Ended("shop", d.Number); end.State != "failed" || !strings.Contains(end.Failure.Message, "privileged") {
		t.Errorf("a refusal: %s %+v", end.State, end.Failure)
	}
	s.WantPage("shop", "two")
}

// TestCancelStarting cancels a release whose unit never listens.
func TestCancelStarting(t *testing.T) {
	s := servertest.Start(t)
	app(t, s, "shop")
	d := set(t, s, "shop", "BEHAVIOUR", "silent")
	s.Eventually("two units", func() error { return units(s, 2) })
	if _, err := s.Client.CancelDeployment(t.Context(), "shop", d.Number); err != nil {
		t.Fatal(err)
	}
	if end := s.Ended("shop", d.Number); end.State != "cancelled" {
		t.Errorf("it is %s", end.State)
	}
	s.Eventually("its unit is gone", func() error { return units(s, 1) })
	s.WantPage("shop", "one")
	_, err := s.Client.CancelDeployment(t.Context(), "shop", d.Number)
	var e *client.Error
	if !errors.As(err, &e) || e.Code != string(landward.CodeConflict) {
		t.Errorf("cancelled twice: %v", err)
	}
}

// TestConcurrentChanges: many users set many variables at once, and all get theirs.
func TestConcurrentChanges(t *testing.T) {
	s := servertest.Start(t)
	app(t, s, "shop")
	var all sync.WaitGroup
	const n = 12
	for i := range n {
		all.Go(func() {
			_, err := s.Client.ChangeConfig(context.Background(), "shop", client.ConfigChange{Set: []client.Var{{Name: fmt.Sprint("V", i), Value: "x"}}})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	s.Eventually("every deployment has ended", func() error {
		ds, err := s.Client.Deployments(context.Background(), "shop", 100)
		for _, d := range ds {
			if d.State != "live" && d.State != "superseded" {
				err = fmt.Errorf("#%d is %s %+v", d.Number, d.State, d.Failure)
			}
		}
		return err
	})
	vars, err := s.Client.Config(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	if len(vars) != n+1 {
		t.Errorf("%d variables, want %d", len(vars), n+1)
	}
	s.Eventually("one unit", func() error { return units(s, 1) })
}

// TestWantedAgain rolls back to a release whose unit is being stopped at that
// moment.
func TestWantedAgain(t *testing.T) {
	s := servertest.Start(t, "--warm", "0s")
	if _, err := s.Client.CreateApp(t.Context(), "shop"); err != nil {
		t.Fatal(err)
	}
	set(t, s, "shop", "STOPS_IN", "700ms")
	set(t, s, "shop", "SAY", "one")
	deploy(t, s, "shop", "# shop", "live")
	s.WantPage("shop", "one")
	for i, say := range []string{"two", "three", "four"} {
		d := set(t, s, "shop", "SAY", say)
		s.Ended("shop", d.Number)
		s.WantPage("shop", say)
		back, err := s.Client.Rollback(t.Context(), "shop", 1)
		if err != nil {
			t.Fatal(err)
		}
		if end := s.Ended("shop", back.Number); end.State != "live" {
			t.Fatalf("round %d: %s %+v", i, end.State, end.Failure)
		}
		s.WantPage("shop", "one")
	}
	s.Eventually("one unit", func() error { return units(s, 1) })
}
