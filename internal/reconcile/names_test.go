package reconcile_test

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"landward/internal/engine"
	"landward/internal/landward"
	. "landward/internal/reconcile"
)

// named is def where containers ask the edge for names.
var named = func() Defaults {
	d := def
	d.Names = true
	return d
}()

var blogNet = netip.MustParsePrefix("10.201.0.0/16") // where boxes puts containers

// networked puts containers into the app's network.
func networked(cs []engine.Container, change ...func(c *engine.Container)) []engine.Container {
	cs = slices.Clone(cs)
	for i := range cs {
		cs[i].Network = blogNet
		for _, f := range change {
			f(&cs[i])
		}
	}
	return cs
}

// shown writes what a network sees, the bare names only: "web=10.201.1.2 worker=".
// It checks that each has its longer forms, which lead to the same.
func shown(t *testing.T, s Share) string {
	t.Helper()
	var out []string
	names := s[0].Names
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if strings.Contains(name, ".") {
			continue
		}
		var addrs []string
		for _, a := range names[name] {
			addrs = append(addrs, a.String())
		}
		out = append(out, name+"="+strings.Join(addrs, ","))
		for _, long := range []string{name + ".internal", name + ".blog.internal"} {
			if !slices.Equal(names[long], names[name]) {
				t.Errorf("%s leads to %v, %s to %v", name, names[name], long, names[long])
			}
		}
	}
	if len(names) != 3*len(out) {
		t.Errorf("names beyond those: %v", names)
	}
	for _, r := range s[1:] {
		if r.Names != nil || r.Networks != nil {
			t.Errorf("the route %s%s has names, too", r.Hosts[0], r.Prefix)
		}
	}
	return strings.Join(out, " ")
}

// planned is the app's share of the table as the plan wants it.
func planned(t *testing.T, d Desired, o Observed) Share {
	t.Helper()
	o.Now, o.Share = noon, nil
	for _, op := range Plan(d, o, named) {
		if s, ok := op.(SetRoute); ok {
			return s.Share
		}
	}
	t.Fatal("the plan sets no route")
	return nil
}

func TestNames(t *testing.T) {
	v1, v2 := release(1, "sha256:one"), release(2, "sha256:two")
	old, fresh := networked(boxes(v1, engine.RestartAlways)), networked(boxes(v2, engine.RestartNever))
	cand := func(rel landward.Release) *Candidate {
		return &Candidate{Release: rel, Deployment: landward.Deployment{ID: 7, State: landward.StateStarting, Deadline: noon.Add(time.Hour)}}
	}
	withDB := release(2, "sha256:two")
	withDB.Services = append(withDB.Services, landward.Service{Name: "db", Image: landward.Image{ID: "sha256:db"},
		Processes: []landward.Process{{Name: "db", Replicas: 1}}})
	bigger := networked(boxes(withDB, engine.RestartNever))
	scaled := release(1, "sha256:one")
	scaled.Settings.Scale = map[string]int{"web": 3, "worker": 0}
	wide := networked(boxes(scaled, engine.RestartAlways))
	slices.Reverse(wide)
	routed := release(1, "sha256:one")
	routed.Routing.Paths = []landward.PathRule{{Prefix: "/jobs", Process: "worker"}}
	run := networked(old[:1], func(c *engine.Container) {
		c.Unit, c.Kind, c.Process = "a1-run-x", engine.KindRun, "run"
		c.Addr = netip.MustParseAddr("10.201.9.9")
	})
	set := func(change func(*landward.App)) landward.App {
		a := app(1, 0, time.Time{})
		change(&a)
		return a
	}
	live := app(1, 0, time.Time{})
	tests := []struct {
		name string
		d    Desired
		o    Observed
		want string
	}{
		{"all is well", Desired{App: live, Current: &v1}, Observed{Containers: old}, "web=10.201.1.2 worker=10.201.1.3"},
		{"replicas, in order; a process scaled to none", Desired{App: live, Current: &scaled}, Observed{Containers: wide},
			"web=10.201.1.2,10.201.1.3,10.201.1.4 worker="},
		{"a one-off may ask and is not found", Desired{App: live, Current: &v1}, Observed{Containers: slices.Concat(old, run)},
			"web=10.201.1.2 worker=10.201.1.3"},
		{"a candidate is not found", Desired{App: live, Current: &v1, Candidate: cand(v2)}, Observed{Containers: slices.Concat(old, fresh)},
			"web=10.201.1.2 worker=10.201.1.3"},
		{"but for what only it has", Desired{App: live, Current: &v1, Candidate: cand(withDB)},
			Observed{Containers: slices.Concat(old, bigger)}, "db=10.201.2.4 web=10.201.1.2 worker=10.201.1.3"},
		{"or what did not run before", Desired{App: live, Current: &scaled, Candidate: cand(v2)}, Observed{Containers: slices.Concat(wide, fresh)},
			"web=10.201.1.2,10.201.1.3,10.201.1.4 worker=10.201.2.3"},
		{"the first deployment", Desired{App: app(0, 0, time.Time{}), Candidate: cand(v2)}, Observed{Containers: fresh},
			"web=10.201.2.2 worker=10.201.2.3"},
		{"one that died", Desired{App: live, Current: &v1},
			Observed{Containers: slices.Concat(old[:1], networked(old[1:], func(c *engine.Container) { c.State = engine.Restarting }))},
			"web=10.201.1.2 worker="},
		{"one that goes", Desired{App: live, Current: &v2}, Observed{Containers: slices.Concat(old, fresh), Retiring: ready(old)},
			"web=10.201.2.2 worker=10.201.2.3"},
		{"the release before, while it is warm", Desired{App: app(2, 1, noon.Add(5*time.Second)), Current: &v2, Previous: &v1, WentLive: noon},
			Observed{Containers: slices.Concat(old, fresh)}, "web=10.201.2.2 worker=10.201.2.3"},
		{"stopped", Desired{App: set(func(a *landward.App) { a.Stopped = true }), Current: &v1}, Observed{Containers: old}, "web= worker="},
		{"asleep", Desired{App: set(func(a *landward.App) { a.Traffic.Asleep = true }), Current: &v1},
			Observed{Containers: networked(old, func(c *engine.Container) {
				if c.Process == "web" {
					c.State = engine.Created
				}
			})}, "web= worker=10.201.1.3"},
		{"falling asleep", Desired{App: set(func(a *landward.App) { a.Traffic.Asleep = true }), Current: &v1}, Observed{Containers: old},
			"web= worker=10.201.1.3"},
		{"paused: requests are held, names are not", Desired{App: set(func(a *landward.App) { a.Traffic.Paused = true }), Current: &v1},
			Observed{Containers: old}, "web=10.201.1.2 worker=10.201.1.3"},
		{"a path of its own", Desired{App: live, Current: &routed}, Observed{Containers: networked(boxes(routed, engine.RestartAlways))}, "web=10.201.1.2 worker=10.201.1.3"},
		{"an address outside the network", Desired{App: live, Current: &v1},
			Observed{Containers: slices.Concat(old[:1], networked(old[1:], func(c *engine.Container) { c.Addr = netip.MustParseAddr("192.0.2.1") }))},
			"web=10.201.1.2 worker="},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			share := planned(t, tt.d, tt.o)
			if got := shown(t, share); got != tt.want {
				t.Errorf("names:\n got %s\nwant %s", got, tt.want)
			}
			if nets := fmt.Sprint(share[0].Networks); nets != "[10.201.0.0/16]" {
				t.Errorf("networks: %s", nets)
			}
		})
	}
}

// TestNamesChangeWithTraffic: the commit names the release that takes over.
func TestNamesChangeWithTraffic(t *testing.T) {
	v1, v2 := release(1, "sha256:one"), release(2, "sha256:two")
	old, fresh := networked(boxes(v1, engine.RestartAlways)), networked(boxes(v2, engine.RestartNever))
	d := Desired{App: app(1, 0, time.Time{}), Current: &v1, Candidate: &Candidate{Release: v2,
		Deployment: landward.Deployment{ID: 7, State: landward.StateStarting, Deadline: noon.Add(time.Hour)}}}
	ops := Plan(d, Observed{Now: noon, Containers: slices.Concat(old, fresh), Ready: ready(fresh)}, named)
	c, ok := ops[len(ops)-1].(Commit)
	if !ok {
		t.Fatalf("plan: %s", show(ops))
	}
	if got := shown(t, c.Share); got != "web=10.201.2.2 worker=10.201.2.3" {
		t.Errorf("names: %s", got)
	}
}

// TestNamesBeforeHealth: what waits for a process that is new must find it.
func TestNamesBeforeHealth(t *testing.T) {
	v1, v2 := release(1, "sha256:one"), release(2, "sha256:two")
	first := Desired{App: app(0, 0, time.Time{}), Candidate: &Candidate{Release: v1,
		Deployment: landward.Deployment{ID: 7, State: landward.StateStarting, Deadline: noon.Add(time.Hour)}}}
	if got, want := show(Plan(first, Observed{Now: noon}, named)), "setroute v0 starting 0; start web.1 worker.1 on probation"; got != want {
		t.Errorf("plan: %q, want %q", got, want)
	}
	boxed := networked(boxes(v1, engine.RestartNever))
	if got, want := show(Plan(first, Observed{Now: noon, Containers: boxed}, named)), "setroute v0 starting 0; await"; got != want {
		t.Errorf("plan: %q, want %q", got, want)
	}
	next := first
	next.App, next.Current, next.Candidate = app(1, 0, time.Time{}), &v1, &Candidate{Release: v2, Deployment: first.Candidate.Deployment}
	old := networked(boxes(v1, engine.RestartAlways))
	share := planned(t, next, Observed{Containers: old})
	if got, want := show(Plan(next, Observed{Now: noon, Containers: old, Share: share}, named)), "start web.1 worker.1 on probation; await"; got != want {
		t.Errorf("plan: %q, want %q", got, want)
	}
}

// TestNoNames: without a DNS server the table says nothing of networks.
func TestNoNames(t *testing.T) {
	v1 := release(1, "sha256:one")
	old := networked(boxes(v1, engine.RestartAlways))
	for _, op := range Plan(Desired{App: app(1, 0, time.Time{}), Current: &v1}, Observed{Now: noon, Containers: old}, def) {
		if s, ok := op.(SetRoute); ok && (s.Share[0].Names != nil || s.Share[0].Networks != nil) {
			t.Errorf("route %+v", s.Share[0])
		}
	}
}
