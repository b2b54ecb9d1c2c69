package store_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"landward/internal/landward"
	"landward/internal/store"
)

// walk does things to two apps in an order that nobody thought of.
type walk struct {
	*world
	t    *testing.T
	rng  *rand.Rand
	apps []int64
}

func (w walk) app() int64 { return w.apps[w.rng.IntN(len(w.apps))] }

// anyOpen returns an open deployment, of no app in particular.
func (w walk) anyOpen() (landward.Deployment, bool) {
	open := must(w.OpenDeployments(w.t.Context()))
	if len(open) == 0 {
		return landward.Deployment{}, false
	}
	return open[w.rng.IntN(len(open))], true
}

func (w walk) anySettings() *landward.Settings {
	if w.rng.IntN(3) == 0 {
		return nil
	}
	s := env(fmt.Sprint(w.rng.IntN(1000)))
	for range w.rng.IntN(3) {
		if host := fmt.Sprintf("h%d.example.com", w.rng.IntN(4)); !slices.Contains(s.Domains, host) {
			s.Domains = append(s.Domains, host)
		}
	}
	return s
}

// step does one thing and returns what, with its error.
func (w walk) step() (string, error) {
	ctx, now := w.t.Context(), w.clock.Now()
	d, ok := w.anyOpen()
	appID := w.app()
	switch what := w.rng.IntN(10); {
	case what == 0 || !ok:
		_, err := w.CreateDeployment(ctx, store.NewDeployment{AppID: appID, State: landward.StateQueued, Deadline: now})
		return "queue", err
	case what == 1:
		_, err := w.CreateDeployment(ctx, store.NewDeployment{AppID: appID, State: landward.StateBuilding, Deadline: now})
		return "build", err
	case what == 2:
		_, err := w.Advance(ctx, d.ID, []landward.State{landward.StateQueued}, landward.StateBuilding, now)
		return "advance", err
	case what == 3:
		_, err := w.End(ctx, d.ID, landward.StateFailed, &landward.Failure{Message: "x"}, "")
		return "fail", err
	case what == 4:
		a := must(w.App(ctx, appID))
		_, err := w.Revert(ctx, appID, a.Current-w.rng.IntN(2), &landward.Failure{Message: "x"})
		return "revert", err
	case what == 5:
		a := must(w.App(ctx, appID))
		return "end warm", w.EndWarm(ctx, appID, a.Current-w.rng.IntN(2))
	case what <= 7:
		_, err := w.Commit(ctx, d.ID, now.Add(time.Second), "")
		return "commit", err
	default:
		_, _, err := w.CreateRelease(ctx, store.NewRelease{AppID: d.AppID, DeploymentID: d.ID, Settings: w.anySettings()})
		return "release", err
	}
}

// TestInvariants checks, after every step of many random walks, what must
// always be true.
func TestInvariants(t *testing.T) {
	walks, steps := 10, 60
	if testing.Short() {
		walks = 3
	}
	done := map[string]int{}
	for seed := range walks {
		w := walk{world: newWorld(t), t: t, rng: rand.New(rand.NewPCG(uint64(seed), 1))}
		w.apps = []int64{w.world.app(t, "shop").ID, w.world.app(t, "blog").ID}
		var trace []string
		for range steps {
			w.clock.Advance(time.Second)
			before := w.dump(t)
			what, err := w.step()
			trace = append(trace, what)
			if err == nil {
				done[what]++
			} else {
				wantCode(t, what, err, landward.CodeConflict)
				if w.dump(t) != before {
					t.Errorf("%s was refused (%v) but changed something", what, err)
				}
			}
			for _, id := range w.apps {
				w.invariants(t, id)
			}
			if t.Failed() {
				t.Fatalf("walk %d: %s", seed, strings.Join(trace, ", "))
			}
		}
	}
	for _, what := range []string{"queue", "build", "advance", "fail", "revert", "end warm", "commit", "release"} {
		if done[what] == 0 {
			t.Errorf("no walk ever did %q: the test proves less than it says", what)
		}
	}
}

func (w walk) invariants(t *testing.T, appID int64) {
	t.Helper()
	ctx := t.Context()
	app := must(w.App(ctx, appID))
	all := must(w.Deployments(ctx, appID, 0))
	count := map[string]int{}
	newest := 0 // version of the newest release that is under way
	for i, d := range all {
		if d.Number != len(all)-i {
			t.Errorf("deployment #%d is at place %d of %d", d.Number, i, len(all))
		}
		if d.State.Ended() == d.FinishedAt.IsZero() {
			t.Errorf("#%d is %s and finished at %s", d.Number, d.State, d.FinishedAt)
		}
		switch {
		case d.State == landward.StateQueued:
			count["queued"]++
		case d.State.Reconciling():
			count["reconciling"]++
			newest = max(newest, d.Release)
		case d.State == landward.StateLive && d.Release == app.Current:
			count["current"]++
		case d.State == landward.StateSuperseded && (d.SupersededBy == d.Number || d.SupersededBy < 1 || d.SupersededBy > len(all)):
			t.Errorf("#%d gave way to #%d", d.Number, d.SupersededBy)
		}
	}
	if count["queued"] > 1 || count["reconciling"] > 1 {
		t.Errorf("more than one is queued or reconciling: %v", count)
	}
	if (count["current"] == 1) != (app.Current != 0) {
		t.Errorf("v%d is current, and %d live deployments say so", app.Current, count["current"])
	}
	hosts := app.Settings.Domains
	for _, version := range []int{app.Current, app.Previous, newest} {
		if version != 0 {
			hosts = append(hosts, must(w.Release(ctx, appID, version)).Settings.Domains...)
		}
	}
	slices.Sort(hosts)
	claimed := column(t, w.raw(t), `SELECT host FROM domains WHERE app_id = ? ORDER BY host`, appID)
	if hosts = slices.Compact(hosts); !slices.Equal(hosts, claimed) {
		t.Errorf("claims %v, needs %v", claimed, hosts)
	}
	if owner := cmp.Or(newest, app.Current); owner != 0 {
		wantSettings(t, fmt.Sprintf("of the app and of v%d", owner), app.Settings, must(w.Release(ctx, appID, owner)).Settings)
	}
}
