package reconcile_test

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"landward/internal/engine"
	"landward/internal/landward"
	. "landward/internal/reconcile"
	"landward/internal/route"
)

var (
	noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	def  = Defaults{Warm: 10 * time.Second,
		Domain:    domain,
		Resources: landward.Resources{Memory: 512 << 20, MilliCPU: 1000, Pids: 512}, StopTimeout: 30 * time.Second, Port: 5000,
		Health: landward.Health{Interval: time.Second, Timeout: 5 * time.Second, Grace: time.Minute},
	}
)

const domain = "localhost"

// release returns a release of app 1 that runs image, with web=1 and worker=1.
func release(version int, image string) landward.Release {
	return landward.Release{AppID: 1, Version: version, Phase: landward.PhasePending, Services: []landward.Service{{
		Name: landward.DefaultService, Image: landward.Image{ID: image},
		Processes: []landward.Process{{Name: "web", Replicas: 1}, {Name: "worker", Replicas: 1, Command: landward.Command{Argv: []string{"work"}}}},
	}}}
}

func app(current, previous int, warm time.Time) landward.App {
	return landward.App{ID: 1, Name: "blog", Current: current, Previous: previous, WarmUntil: warm}
}

// boxes returns the containers of a release as they are when all is well.
func boxes(rel landward.Release, restart engine.Restart) []engine.Container {
	var out []engine.Container
	for i, u := range Units(app(0, 0, time.Time{}), rel, def) {
		out = append(out, engine.Container{
			Unit: u.ID, AppID: 1, Process: u.Process, Index: u.Index, Kind: u.Kind, Release: rel.Version, Spec: u.Spec,
			State: engine.Running, Restart: restart, Addr: netip.AddrFrom4([4]byte{10, 201, byte(rel.Version), byte(2 + i)}),
			StartedAt: noon.Add(-time.Hour),
		})
	}
	return out
}

func ready(cs []engine.Container) map[string]bool {
	m := map[string]bool{}
	for _, c := range cs {
		m[c.Unit] = true
	}
	return m
}

// show writes operations shortly: "start web.1 worker.1 on probation".
func show(ops []Op) string {
	var out []string
	for _, op := range ops {
		s := strings.ToLower(reflect.TypeOf(op).Name())
		switch op := op.(type) {
		case Start:
			for _, u := range op.Units {
				s += fmt.Sprintf(" %s.%d", u.Process, u.Index)
				if u.Hold {
					s += " held"
				}
			}
			if op.Probation {
				s += " on probation"
			}
		case Adopt:
			for _, u := range op.Units {
				s += fmt.Sprintf(" %s.%d", u.Process, u.Index)
			}
		case Retire:
			for _, c := range op.Units {
				s += fmt.Sprintf(" v%d/%s.%d", c.Release, c.Process, c.Index)
			}
		case SetRoute:
			s += fmt.Sprintf(" v%d %s %d", op.Share[0].Release, op.Share[0].State, len(op.Share[0].Targets))
		case StepCanary:
			s += fmt.Sprintf(" %d", op.Percent)
		case Commit:
			s += fmt.Sprintf(" v%d to %d", op.Candidate.Release.Version, len(op.Share[0].Targets))
		}
		out = append(out, s)
	}
	return strings.Join(out, "; ")
}

// upRoute is the route that the plan wants for a release whose containers are cs.
func upRoute(rel landward.Release, cs []engine.Container) Share {
	for _, op := range Plan(Desired{App: app(rel.Version, 0, time.Time{}), Current: &rel}, Observed{Now: noon, Containers: cs}, def) {
		if s, ok := op.(SetRoute); ok {
			return s.Share
		}
	}
	return nil
}

func TestPlan(t *testing.T) {
	v1, v2 := release(1, "sha256:one"), release(2, "sha256:two")
	old, fresh := boxes(v1, engine.RestartAlways), boxes(v2, engine.RestartNever)
	live2 := boxes(v2, engine.RestartAlways)
	both := slices.Concat(old, fresh)
	cand := func(rel landward.Release) *Candidate {
		return &Candidate{Release: rel, Deployment: landward.Deployment{ID: 7, State: landward.StateReleasing, Deadline: noon.Add(time.Minute)}}
	}
	with := func(cs []engine.Container, change func(c *engine.Container)) []engine.Container {
		cs = slices.Clone(cs)
		for i := range cs {
			change(&cs[i])
		}
		return cs
	}
	phased := release(2, "sha256:two")
	phased.ReleasePhase = landward.Command{Argv: []string{"migrate"}}
	migrated := phased
	migrated.Phase = landward.PhaseDone
	scaled := release(2, "sha256:one")
	scaled.Settings.Scale = map[string]int{"web": 2}
	renamed := release(2, "sha256:one")
	renamed.Settings.Domains = []string{"www.example.com"}
	warm := noon.Add(5 * time.Second)

	tests := []struct {
		name string
		d    Desired
		o    Observed
		want string
	}{
		{"nothing deployed", Desired{App: app(0, 0, time.Time{})}, Observed{}, "setroute v0 empty 0"},
		{"first deployment", Desired{App: app(0, 0, time.Time{}), Candidate: cand(v1)}, Observed{},
			"setroute v0 starting 0; start web.1 worker.1 on probation; await"},
		{"all is well", Desired{App: app(1, 0, time.Time{}), Current: &v1}, Observed{Containers: old, Share: upRoute(v1, old)}, ""},
		{"new beside old", Desired{App: app(1, 0, time.Time{}), Current: &v1, Candidate: cand(v2)},
			Observed{Containers: old, Share: upRoute(v1, old)}, "start web.1 worker.1 on probation; await"},
		{"wait for health", Desired{App: app(1, 0, time.Time{}), Current: &v1, Candidate: cand(v2)},
			Observed{Containers: both, Share: upRoute(v1, old)}, "await"},
		{"healthy", Desired{App: app(1, 0, time.Time{}), Current: &v1, Candidate: cand(v2)},
			Observed{Containers: both, Ready: ready(both), Share: upRoute(v1, old)}, "commit v2 to 1"},
		{"the edge was swapped, the store was not told", Desired{App: app(1, 0, time.Time{}), Current: &v1, Candidate: cand(v2)},
			Observed{Containers: both, Share: upRoute(v2, fresh)}, "setroute v1 up 1; await"},
		{"committed: old web stays warm, old worker goes, new ones are kept", Desired{App: app(2, 1, warm), Current: &v2, Previous: &v1, WentLive: noon},
			Observed{Containers: both, Share: upRoute(v2, fresh)}, "adopt web.1 worker.1; retire v1/worker.1"},
		{"warm", Desired{App: app(2, 1, warm), Current: &v2, Previous: &v1, WentLive: noon.Add(-time.Second)},
			Observed{Containers: slices.Concat(old[:1], live2), Share: upRoute(v2, live2)}, ""},
		{"no longer warm", Desired{App: app(2, 1, noon.Add(-time.Second)), Current: &v2, Previous: &v1},
			Observed{Containers: slices.Concat(old[:1], live2), Share: upRoute(v2, live2)}, "endwarm; retire v1/web.1"},
		{"being retired already", Desired{App: app(2, 0, time.Time{}), Current: &v2},
			Observed{Containers: slices.Concat(old[:1], live2), Retiring: ready(old), Share: upRoute(v2, live2)}, ""},
		{"died on probation", Desired{App: app(1, 0, time.Time{}), Current: &v1, Candidate: cand(v2)},
			Observed{Containers: slices.Concat(old, with(fresh, func(c *engine.Container) { c.State = engine.Exited })), Share: upRoute(v1, old)}, "fail"},
		{"deadline passed", Desired{App: app(1, 0, time.Time{}), Current: &v1, Candidate: cand(v2)},
			Observed{Now: noon.Add(time.Hour), Containers: both, Share: upRoute(v1, old)}, "fail"},
		{"failed: its containers go", Desired{App: app(1, 0, time.Time{}), Current: &v1},
			Observed{Containers: both, Share: upRoute(v1, old)}, "retire v2/web.1 v2/worker.1"},
		{"died soon after going live", Desired{App: app(2, 1, warm), Current: &v2, Previous: &v1, WentLive: noon.Add(-5 * time.Second)},
			Observed{Containers: slices.Concat(old, with(live2, func(c *engine.Container) { c.State, c.FinishedAt = engine.Restarting, noon })), Share: upRoute(v2, live2)}, "revert"},
		{"the whole host was restarted while warm", Desired{App: app(2, 1, warm), Current: &v2, Previous: &v1},
			Observed{Containers: with(slices.Concat(old[:1], live2), func(c *engine.Container) { c.FinishedAt = noon }), Share: upRoute(v2, live2)}, ""},
		{"release command first", Desired{App: app(1, 0, time.Time{}), Current: &v1, Candidate: cand(phased)},
			Observed{Containers: old, Share: upRoute(v1, old)}, "runphase"},
		{"release command done", Desired{App: app(1, 0, time.Time{}), Current: &v1, Candidate: cand(migrated)},
			Observed{Containers: old, Share: upRoute(v1, old)}, "start web.1 worker.1 on probation; await"},
		{"scale takes over what runs", Desired{App: app(1, 0, time.Time{}), Current: &v1, Candidate: cand(scaled)},
			Observed{Containers: old, Ready: ready(old), Share: upRoute(v1, old)}, "start web.2 on probation; await"},
		{"a domain needs no container", Desired{App: app(1, 0, time.Time{}), Current: &v1, Candidate: cand(renamed)},
			Observed{Containers: old, Ready: ready(old), Share: upRoute(v1, old)}, "commit v2 to 1"},
		{"somebody removed a container", Desired{App: app(1, 0, time.Time{}), Current: &v1},
			Observed{Containers: old[1:], Share: upRoute(v1, old)}, "start web.1; setroute v1 down 0"},
		{"stopped by its owner", Desired{App: landward.App{ID: 1, Name: "blog", Current: 1, Stopped: true}, Current: &v1},
			Observed{Containers: old, Share: upRoute(v1, old)}, "setroute v1 stopped 0; retire v1/web.1 v1/worker.1"},
		{"deleted", Desired{App: app(1, 0, time.Time{}), Deleted: true}, Observed{Containers: old}, "removeapp"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.o.Now.IsZero() {
				tt.o.Now = noon
			}
			if got := show(Plan(tt.d, tt.o, def)); got != tt.want {
				t.Errorf("plan:\n got %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestUnits(t *testing.T) {
	rel := release(3, "sha256:one")
	rel.Services[0].Processes[0].Command = landward.Command{Argv: []string{"./server", "--port", "$PORT", "${GREETING}", "$UNSET"}}
	rel.Settings.Env = []landward.Var{{Name: "GREETING", Value: "a b; $(id)"}, {Name: "KEY", Value: "s3cret", Secret: true, File: true}}
	u := Units(landward.App{ID: 1, Name: "blog"}, rel, def)[0]
	if want := []string{"./server", "--port", "5000", "a b; $(id)", ""}; !slices.Equal(u.Command, want) {
		t.Errorf("command %q, want %q", u.Command, want)
	}
	if u.Env["PORT"] != "5000" || u.Files["KEY"] != "s3cret" || u.Env["KEY"] != "" {
		t.Errorf("env %v files %v", u.Env, u.Files)
	}
	again := rel
	again.Version = 9
	if Units(landward.App{ID: 1, Name: "blog"}, again, def)[0].ID != u.ID {
		t.Error("a release that changes nothing wants another container")
	}
	again.Settings.Restart = "x"
	if Units(landward.App{ID: 1, Name: "blog"}, again, def)[0].ID == u.ID {
		t.Error("a restart wants the same container")
	}
}

func TestPort(t *testing.T) {
	env := func(port string) landward.Settings {
		return landward.Settings{Env: []landward.Var{{Name: "PORT", Value: port}}}
	}
	for _, tt := range []struct {
		name     string
		settings landward.Settings
		declared int
		exposed  []int
		want     int
	}{
		{"default", landward.Settings{}, 0, nil, 5000},
		{"only EXPOSE", landward.Settings{}, 0, []int{80}, 80},
		{"two EXPOSE", landward.Settings{}, 0, []int{80, 443}, 5000},
		{"declared beats EXPOSE", landward.Settings{}, 3000, []int{80}, 3000},
		{"PORT beats all", env("8000"), 3000, []int{80}, 8000},
		{"a PORT that is none", env("http"), 0, []int{80}, 80},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := Port(landward.Release{Settings: tt.settings}, landward.Service{Image: landward.Image{Exposed: tt.exposed}},
				landward.Process{Name: "web", Port: tt.declared}, def)
			if got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

func TestCanaryPlan(t *testing.T) {
	v1, v2 := release(1, "sha256:one"), release(2, "sha256:two")
	v2.Routing.Strategy = landward.Strategy{Kind: landward.StrategyCanary, Steps: []int{5, 25, 100}, StepTime: time.Minute}
	both := slices.Concat(boxes(v1, engine.RestartAlways), boxes(v2, engine.RestartNever))
	ready := map[string]bool{}
	for _, c := range both {
		ready[c.Unit] = true
	}
	counts := func(answers, errors uint64) *route.Trial {
		return &route.Trial{Canary: route.Counts{Answers: answers, Errors: errors}, Stable: route.Counts{Answers: 100}}
	}
	since := func(d time.Duration, step int) *Trial { return &Trial{Step: step, Since: noon.Add(-d)} }
	promoted := func(t *Trial) *Trial { t.Promoted = true; return t }
	tests := []struct {
		name   string
		trial  *Trial
		counts *route.Trial
		want   string
		share  int // of the canary in the route, -1 for none
	}{
		{"begins", nil, nil, "stepcanary 5", -1},
		{"runs", since(time.Second, 0), counts(10, 0), "", 5},
		{"goes on", since(time.Minute, 0), counts(100, 0), "stepcanary 25", 5},
		{"a few errors are allowed", since(time.Second, 1), counts(100, 5), "", 25},
		{"too few answers to judge", since(time.Second, 1), counts(10, 10), "", 25},
		{"aborted", since(time.Second, 1), counts(100, 50), "abortcanary", 25},
		{"ends", since(time.Minute, 1), counts(100, 0), "commit v2 to 1", 25},
		{"promoted before it began", &Trial{Promoted: true}, nil, "commit v2 to 1", -1},
		{"promoted while it runs", promoted(since(time.Second, 0)), counts(10, 0), "commit v2 to 1", 5},
		{"promoted against the figures", promoted(since(time.Second, 0)), counts(100, 50), "commit v2 to 1", 5},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := Desired{App: app(1, 0, time.Time{}), Current: &v1, Candidate: &Candidate{
				Release: v2, Trial: tt.trial,
				Deployment: landward.Deployment{ID: 7, State: landward.StateStarting, Deadline: noon.Add(time.Hour)},
			}}
			o := Observed{Now: noon, Containers: both, Ready: ready, Canary: tt.counts}
			var share Share
			for _, op := range Plan(d, o, def) {
				if s, ok := op.(SetRoute); ok {
					share = s.Share
				}
			}
			got := -1
			if share[0].Canary != nil {
				got = share[0].Canary.Percent
				if len(share[0].Canary.Targets) != 1 {
					t.Errorf("the canary has %d targets", len(share[0].Canary.Targets))
				}
			}
			if got != tt.share {
				t.Errorf("the route gives the canary %d%%, want %d%%", got, tt.share)
			}
			o.Share = share
			if got := show(Plan(d, o, def)); got != tt.want {
				t.Errorf("plan: %q, want %q", got, tt.want)
			}
		})
	}
}

// TestSleepPlan: the units of an app that sleeps go, once the route says so, and
// are made anew and held: what wakes it only starts them. The release before
// sleeps with it.
func TestSleepPlan(t *testing.T) {
	v1, v2 := release(1, "sha256:one"), release(2, "sha256:two")
	old, live := boxes(v1, engine.RestartAlways), boxes(v2, engine.RestartAlways)
	held := slices.Clone(live)
	held[0].State, held[0].Addr = engine.Created, netip.Addr{}
	web, worker := live[0].Unit, live[1:]
	asleep, awake := app(2, 0, time.Time{}), app(2, 0, time.Time{})
	asleep.Traffic.Asleep = true
	warm := app(2, 1, noon.Add(time.Hour))
	warm.Traffic.Asleep = true
	sleeping := Share{upRoute(v2, live)[0]}
	sleeping[0].State, sleeping[0].Targets = route.StateAsleep, nil
	for _, tt := range []struct {
		name string
		app  landward.App
		o    Observed
		want string
	}{
		{"falls asleep", asleep, Observed{Containers: live, Share: upRoute(v2, live)}, "setroute v2 asleep 0; retire v2/web.1"},
		{"what goes is waited for", asleep, Observed{Containers: live, Share: sleeping, Retiring: map[string]bool{web: true}}, ""},
		{"is held", asleep, Observed{Containers: worker, Share: sleeping}, "start web.1 held"},
		{"sleeps", asleep, Observed{Containers: held, Share: sleeping}, ""},
		{"is woken", awake, Observed{Containers: held, Share: sleeping}, "start web.1"},
		{"is woken at once", awake, Observed{Containers: worker, Share: sleeping}, "start web.1"},
		{"the release before sleeps too", warm, Observed{Containers: slices.Concat(old[:1], held), Share: sleeping}, "retire v1/web.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := Desired{App: tt.app, Current: &v2}
			if tt.app.Previous != 0 {
				d.Previous, d.WentLive = &v1, noon.Add(-time.Minute)
			}
			tt.o.Now = noon
			if got := show(Plan(d, tt.o, def)); got != tt.want {
				t.Errorf("plan: %q, want %q", got, tt.want)
			}
		})
	}
}

// TestStaticPlan: a site of files goes live without a container.
func TestStaticPlan(t *testing.T) {
	v1 := landward.Release{AppID: 1, Version: 1, Phase: landward.PhaseDone, Assets: "9",
		Routing: landward.Routing{Static: landward.Static{Dir: "public"}}}
	d := Desired{App: app(0, 0, time.Time{}), Candidate: &Candidate{Release: v1,
		Deployment: landward.Deployment{ID: 9, State: landward.StateReleasing, Deadline: noon.Add(time.Hour)}}}
	ops := Plan(d, Observed{Now: noon}, def)
	c, ok := ops[len(ops)-1].(Commit)
	if !ok || c.Share[0].State != route.StateUp || c.Share[0].Static == nil || c.Share[0].Static.Dir != "1/9/static" {
		t.Errorf("plan: %s %+v", show(ops), ops)
	}
}
