package enginetest

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"landward/internal/engine"
	"landward/internal/landward"
)

func applyTwice(t *testing.T, s *suite) {
	u := s.unit(s.app(t), "one")
	first := s.apply(t, u)
	if first.State != engine.Running {
		t.Errorf("state %q, want running", first.State)
	}
	second := s.apply(t, u)
	if first.Engine != second.Engine || first.StartedAt != second.StartedAt || first.Addr != second.Addr {
		t.Errorf("second apply made another: %+v, then %+v", first, second)
	}
	list, err := s.Engine.List(ctx(t), u.AppID)
	if err != nil || len(list) != 1 {
		t.Errorf("list = %d containers, %v; want 1", len(list), err)
	}
}

func applyHold(t *testing.T, s *suite) {
	u := s.unit(s.app(t), "held", "cat", "/run/secrets/KEY")
	u.Hold, u.Files = true, map[string]string{"KEY": "held value\n"}
	c := s.apply(t, u)
	if c.State != engine.Created || !c.StartedAt.IsZero() {
		t.Fatalf("held container is %s, started %v", c.State, c.StartedAt)
	}
	u.Hold = false
	again := s.apply(t, u)
	if again.Engine != c.Engine || again.Addr != c.Addr {
		t.Errorf("start made another container: %+v, then %+v", c, again)
	}
	s.untilSays(t, u.ID, "held value")
}

func applyStopped(t *testing.T, s *suite) {
	u := s.unit(s.app(t), "stopped", "exit", "0")
	c := s.apply(t, u)
	done := s.untilState(t, u.ID, engine.Exited)
	again := s.apply(t, u)
	if again.Engine != c.Engine || again.Addr != c.Addr {
		t.Errorf("apply made another: %+v, then %+v", c, again)
	}
	until(t, func() string {
		if s.inspect(t, u.ID).StartedAt.After(done.StartedAt) {
			return ""
		}
		return "not started again"
	})
}

func applyRestartRule(t *testing.T, s *suite) {
	u := s.unit(s.app(t), "rule")
	c := s.apply(t, u)
	if c.Restart != engine.RestartNever {
		t.Fatalf("restart rule %q, want %q", c.Restart, engine.RestartNever)
	}
	u.Restart = engine.RestartAlways
	changed := s.apply(t, u)
	if changed.Restart != engine.RestartAlways || changed.StartedAt != c.StartedAt || changed.Engine != c.Engine {
		t.Fatalf("after the change: %+v", changed)
	}
	crash := s.unit(u.AppID, "crash", "exit", "1")
	crash.Restart = engine.RestartAlways
	s.apply(t, crash)
	until(t, func() string {
		if s.inspect(t, crash.ID).Restarts > 0 {
			return ""
		}
		return "not restarted"
	})
}

func applyParallel(t *testing.T, s *suite) {
	app, other := s.app(t), s.app(t)
	var mu sync.Mutex
	var wg sync.WaitGroup
	seen := map[netip.Addr]string{}
	for _, u := range []engine.Unit{
		s.unit(app, "p1"), s.unit(app, "p2"), s.unit(app, "p3"), s.unit(other, "p1"), s.unit(other, "p2"),
	} {
		wg.Go(func() {
			c, err := s.Engine.Apply(ctx(t), u)
			if err != nil {
				t.Errorf("apply %s: %v", u.ID, err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if had, ok := seen[c.Addr]; ok || !c.Addr.IsValid() {
				t.Errorf("%s and %s share the address %s", had, u.ID, c.Addr)
			}
			seen[c.Addr] = u.ID
		})
	}
	wg.Wait()
}

func applySameParallel(t *testing.T, s *suite) {
	u := s.unit(s.app(t), "same")
	u.Files = map[string]string{"KEY": "v"}
	ids := make([]string, 4)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			c, err := s.Engine.Apply(ctx(t), u)
			if err != nil {
				t.Errorf("apply: %v", err)
			}
			ids[i] = c.Engine
		})
	}
	wg.Wait()
	if len(slices.Compact(ids)) != 1 {
		t.Errorf("one unit became %v", ids)
	}
}

func addressStable(t *testing.T, s *suite) {
	app := s.app(t)
	crash := s.unit(app, "first", "exit", "1")
	c := s.apply(t, crash)
	s.untilState(t, crash.ID, engine.Exited)
	if other := s.apply(t, s.unit(app, "second")); other.Addr == c.Addr {
		t.Errorf("a running container took the address %s of a stopped one", c.Addr)
	}
	if again := s.apply(t, crash); again.Addr != c.Addr {
		t.Errorf("address %s became %s with the restart", c.Addr, again.Addr)
	}
}

func networkOwn(t *testing.T, s *suite) {
	app, other := s.app(t), s.app(t)
	held := s.unit(app, "held")
	held.Hold = true
	first, second := s.apply(t, held), s.apply(t, s.unit(app, "runs"))
	if !first.Network.IsValid() || first.Network != first.Network.Masked() || !first.Network.Contains(first.Addr) {
		t.Errorf("%s is in the network %s", first.Addr, first.Network)
	}
	if second.Network != first.Network || !second.Network.Contains(second.Addr) {
		t.Errorf("two of an app are in the networks %s and %s", first.Network, second.Network)
	}
	if foreign := s.apply(t, s.unit(other, "x")); foreign.Network.Overlaps(first.Network) {
		t.Errorf("two apps are in the networks %s and %s", first.Network, foreign.Network)
	}
	list, err := s.Engine.List(ctx(t), app)
	if err != nil || len(list) != 2 {
		t.Fatalf("%d containers, %v", len(list), err)
	}
	for _, c := range append(list, s.inspect(t, held.ID)) {
		if c.Network != first.Network {
			t.Errorf("%s is listed in the network %s, not %s", c.Unit, c.Network, first.Network)
		}
	}
}

func describes(t *testing.T, s *suite) {
	u := s.unit(s.app(t), "described")
	u.Service, u.Process, u.Index, u.Release, u.Kind = "api", "worker", 7, 42, engine.KindCron
	before := time.Now().Add(-time.Minute)
	s.apply(t, u)
	c := s.inspect(t, u.ID)
	got := engine.Container{
		Unit: c.Unit, AppID: c.AppID, App: c.App, Service: c.Service, Process: c.Process, Index: c.Index,
		Kind: c.Kind, Release: c.Release, Spec: c.Spec, Image: c.Image, State: c.State, Restart: c.Restart,
	}
	want := engine.Container{
		Unit: u.ID, AppID: u.AppID, App: u.App, Service: "api", Process: "worker", Index: 7,
		Kind: engine.KindCron, Release: 42, Spec: u.Spec, Image: s.Image, State: engine.Running, Restart: engine.RestartNever,
	}
	got.Listening, want.Listening = nil, nil
	if !equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if c.Engine == "" || !c.Addr.IsValid() || c.CreatedAt.Before(before) || c.StartedAt.Before(c.CreatedAt) || !c.FinishedAt.IsZero() {
		t.Errorf("id, address or times are wrong: %+v", c)
	}
}

func equal(a, b engine.Container) bool {
	return a.Unit == b.Unit && a.AppID == b.AppID && a.App == b.App && a.Service == b.Service && a.Process == b.Process &&
		a.Index == b.Index && a.Kind == b.Kind && a.Release == b.Release && a.Spec == b.Spec && a.Image == b.Image &&
		a.State == b.State && a.Restart == b.Restart
}

func exitCode(t *testing.T, s *suite) {
	u := s.unit(s.app(t), "exits", "exit", "7")
	s.apply(t, u)
	c := s.untilState(t, u.ID, engine.Exited)
	if c.ExitCode != 7 || c.FinishedAt.IsZero() || c.OOMKilled {
		t.Errorf("ended with %d at %v (oom %v), want 7", c.ExitCode, c.FinishedAt, c.OOMKilled)
	}
}

func startFailure(t *testing.T, s *suite) {
	u := s.unit(s.app(t), "nobody")
	u.User = "nosuchuser"
	_, err := s.Engine.Apply(ctx(t), u)
	wantCode(t, err, landward.CodeFailed)
	if e := landward.AsError(err); !strings.Contains(e.Cause, "nosuchuser") || e.Hint == "" {
		t.Errorf("cause %q and hint %q do not explain it", e.Cause, e.Hint)
	}
	_, err = s.Engine.Inspect(ctx(t), u.ID)
	wantCode(t, err, landward.CodeNotFound)
	u.User = ""
	s.apply(t, u)
}

func noImage(t *testing.T, s *suite) {
	u := s.unit(s.app(t), "imageless")
	u.Image = "sha256:" + strings.Repeat("0", 64)
	_, err := s.Engine.Apply(ctx(t), u)
	wantCode(t, err, landward.CodeNotFound)
}

func policyRefuses(t *testing.T, s *suite) {
	app := s.app(t)
	for name, change := range map[string]func(*engine.Unit){
		"user number":     func(u *engine.Unit) { u.User = "4294967296" },
		"negative user":   func(u *engine.Unit) { u.User = "-1" },
		"no memory limit": func(u *engine.Unit) { u.Resources.Memory = 0 },
		"no cpu limit":    func(u *engine.Unit) { u.Resources.MilliCPU = 0 },
		"no pids limit":   func(u *engine.Unit) { u.Resources.Pids = 0 },
		"proc":            func(u *engine.Unit) { u.Volumes = []landward.VolumeMount{{Name: "v", Path: "/proc"}} },
		"secrets":         func(u *engine.Unit) { u.Volumes = []landward.VolumeMount{{Name: "v", Path: "/run/secrets/x"}} },
		"dots":            func(u *engine.Unit) { u.Volumes = []landward.VolumeMount{{Name: "v", Path: "/data/../proc"}} },
		"work dir":        func(u *engine.Unit) { u.WorkDir = "/proc/self/fd/8" },
		"variable":        func(u *engine.Unit) { u.Env = map[string]string{"A B": "x"} },
	} {
		t.Run(name, func(t *testing.T) {
			u := s.unit(app, "refused")
			change(&u)
			_, err := s.Engine.Apply(ctx(t), u)
			wantCode(t, err, landward.CodePolicy)
			if landward.AsError(err).Field == "" {
				t.Error("the error names no field")
			}
		})
	}
	for name, change := range map[string]func(*engine.Unit){
		"id":          func(u *engine.Unit) { u.ID = "../x" },
		"app":         func(u *engine.Unit) { u.AppID = -1 },
		"restart":     func(u *engine.Unit) { u.Restart = "on-failure" },
		"file name":   func(u *engine.Unit) { u.Files = map[string]string{"../x": "y"} },
		"volume name": func(u *engine.Unit) { u.Volumes = []landward.VolumeMount{{Name: "/etc", Path: "/data"}} },
	} {
		t.Run(name, func(t *testing.T) {
			u := s.unit(app, "refused")
			change(&u)
			_, err := s.Engine.Apply(ctx(t), u)
			wantCode(t, err, landward.CodeInvalid)
		})
	}
	if list, err := s.Engine.List(ctx(t), app); err != nil || len(list) != 0 {
		t.Errorf("refused units left %d containers, %v", len(list), err)
	}
}

func secretFiles(t *testing.T, s *suite) {
	u := s.unit(s.app(t), "secrets", "cat", "/run/secrets/A", "/run/secrets/B.pem")
	u.Files = map[string]string{"A": "first $x\n", "B.pem": "second\nthird\n"}
	u.User = "1234"
	code, out := s.run(t, u)
	if code != 0 || out != "first $x\nsecond\nthird\n" {
		t.Errorf("exit %d, output %q", code, out)
	}
}

func volumes(t *testing.T, s *suite) {
	app := s.app(t)
	w := s.unit(app, "write", "write", "/data/f", "kept")
	w.Volumes = []landward.VolumeMount{{Name: "data", Path: "/data"}}
	if code, out := s.run(t, w); code != 0 {
		t.Fatalf("write: exit %d, %s", code, out)
	}
	r := s.unit(app, "read", "cat", "/elsewhere/f")
	r.Volumes = []landward.VolumeMount{{Name: "data", Path: "/elsewhere", ReadOnly: true}}
	if code, out := s.run(t, r); code != 0 || out != "kept" {
		t.Fatalf("read: exit %d, %q", code, out)
	}
	ro := s.unit(app, "ro", "write", "/elsewhere/g", "x")
	ro.Volumes = r.Volumes
	if code, _ := s.run(t, ro); code == 0 {
		t.Error("wrote to a read-only volume")
	}
	if err := s.Engine.RemoveApp(ctx(t), app, false); err != nil {
		t.Fatal(err)
	}
	if code, out := s.run(t, r); code != 0 || out != "kept" {
		t.Fatalf("after removing the app without its volumes: exit %d, %q", code, out)
	}
	if err := s.Engine.RemoveApp(ctx(t), app, true); err != nil {
		t.Fatal(err)
	}
	if code, _ := s.run(t, r); code == 0 {
		t.Error("the volume outlived its removal")
	}
}
