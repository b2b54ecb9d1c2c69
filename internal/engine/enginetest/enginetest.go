// Package enginetest is the one suite that every engine passes. It owns what
// "the same contract" means, and must never know which engine it tests.
package enginetest

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"landward/internal/engine"
	"landward/internal/landward"
)

// Subject is one engine under test.
type Subject struct {
	Engine engine.Engine
	Runner engine.Runner
	Images engine.Images
	// Image is the id of an image with the program of package probe at
	// /probe, which is also its command, as user 0. It exposes 8080/tcp,
	// 9090/tcp and 53/udp.
	Image string
}

// Run runs the suite. open makes an engine of the named instance; what it left
// behind is removed when the test ends.
func Run(t *testing.T, open func(t *testing.T, instance string) Subject) {
	s := &suite{Subject: open(t, "suite"), open: open}
	for _, c := range []struct {
		name string
		run  func(t *testing.T, s *suite)
	}{
		{"apply is idempotent", applyTwice},
		{"apply holds", applyHold},
		{"apply starts what stopped", applyStopped},
		{"apply changes the restart rule", applyRestartRule},
		{"apply in parallel gives unique addresses", applyParallel},
		{"apply one unit in parallel makes one container", applySameParallel},
		{"address is stable", addressStable},
		{"network is the app's own", networkOwn},
		{"describes containers", describes},
		{"exit code is seen", exitCode},
		{"start failure", startFailure},
		{"no such image", noImage},
		{"policy refuses", policyRefuses},
		{"secret files", secretFiles},
		{"volumes survive", volumes},
		{"remove is idempotent and graceful", removeTwice},
		{"remove kills after grace", removeStubborn},
		{"list by app", listByApp},
		{"instances are apart", instancesApart},
		{"remove app", removeApp},
		{"listening is seen", listening},
		{"memory is seen", memory},
		{"watch", watch},
		{"logs", logs},
		{"logs follow", logsFollow},
		{"logs callback error", logsStop},
		{"run", run},
		{"run with input", runInput},
		{"run ends with its context", runCancelled},
		{"run with a terminal", runTerminal},
		{"exec", exec},
		{"images", images},
		{"load", load},
		{"collect", collect},
		{"info", info},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // an engine is safe for concurrent use
			c.run(t, s)
		})
	}
}

type suite struct {
	Subject
	open func(t *testing.T, instance string) Subject

	mu   sync.Mutex
	apps int64
}

// app returns a new app, removed with all it has at the end of the test.
func (s *suite) app(t *testing.T) int64 {
	s.mu.Lock()
	s.apps++
	id := s.apps
	s.mu.Unlock()
	t.Cleanup(func() {
		if err := s.Engine.RemoveApp(context.Background(), id, true); err != nil {
			t.Errorf("remove app %d: %v", id, err)
		}
	})
	return id
}

// unit returns a sound unit of the app that runs the probe with args.
func (s *suite) unit(app int64, name string, args ...string) engine.Unit {
	u := engine.Unit{
		ID:        fmt.Sprintf("a%d-%s", app, name),
		AppID:     app,
		App:       fmt.Sprintf("app%d", app),
		Service:   landward.DefaultService,
		Process:   "web",
		Index:     1,
		Kind:      engine.KindProcess,
		Release:   3,
		Spec:      "spec-" + name,
		Image:     s.Image,
		Resources: landward.Resources{Memory: 64 << 20, MilliCPU: 500, Pids: 64},
		Restart:   engine.RestartNever,
	}
	if len(args) > 0 {
		u.Command = append([]string{"/probe"}, args...)
	}
	return u
}

func ctx(t *testing.T) context.Context {
	c, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	return c
}

func (s *suite) apply(t *testing.T, u engine.Unit) engine.Container {
	t.Helper()
	c, err := s.Engine.Apply(ctx(t), u)
	if err != nil {
		t.Fatalf("apply %s: %v", u.ID, err)
	}
	return c
}

func (s *suite) inspect(t *testing.T, id string) engine.Container {
	t.Helper()
	c, err := s.Engine.Inspect(ctx(t), id)
	if err != nil {
		t.Fatalf("inspect %s: %v", id, err)
	}
	return c
}

// until polls check, which says what is still missing, until it returns "".
func until(t *testing.T, check func() string) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for {
		missing := check()
		if missing == "" {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("still: %s", missing)
		}
	}
}

func (s *suite) untilState(t *testing.T, id string, want engine.ContainerState) engine.Container {
	t.Helper()
	var c engine.Container
	until(t, func() string {
		c = s.inspect(t, id)
		if c.State != want {
			return fmt.Sprintf("%s is %s, want %s", id, c.State, want)
		}
		return ""
	})
	return c
}

// untilSays waits for a line in the unit's output.
func (s *suite) untilSays(t *testing.T, id, want string) {
	t.Helper()
	until(t, func() string {
		for _, l := range s.logs(t, id, engine.LogOptions{}) {
			if l.Text == want {
				return ""
			}
		}
		return fmt.Sprintf("%s has not said %q", id, want)
	})
}

func (s *suite) logs(t *testing.T, id string, o engine.LogOptions) []engine.LogLine {
	t.Helper()
	var out []engine.LogLine
	err := s.Engine.Logs(ctx(t), id, o, func(l engine.LogLine) error {
		out = append(out, l)
		return nil
	})
	if err != nil {
		t.Fatalf("logs of %s: %v", id, err)
	}
	return out
}

// run runs the unit to its end and returns exit code and output.
func (s *suite) run(t *testing.T, u engine.Unit) (int, string) {
	t.Helper()
	var out bytes.Buffer
	u.Kind = engine.KindRun
	code, err := s.Runner.Run(ctx(t), u, engine.Streams{Stdout: &out, Stderr: &out})
	if err != nil {
		t.Fatalf("run %s: %v", u.ID, err)
	}
	return code, out.String()
}

func wantCode(t *testing.T, err error, want landward.Code) {
	t.Helper()
	if landward.CodeOf(err) != want {
		t.Fatalf("error %v has code %q, want %q", err, landward.CodeOf(err), want)
	}
}
