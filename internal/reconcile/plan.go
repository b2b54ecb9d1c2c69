package reconcile

import (
	"slices"
	"time"

	"landward/internal/engine"
	"landward/internal/landward"
	"landward/internal/route"
)

// Desired is what the store says about one app.
type Desired struct {
	App       landward.App
	Deleted   bool
	Current   *landward.Release
	Previous  *landward.Release // kept warm until App.WarmUntil
	Candidate *Candidate
	WentLive  time.Time // when Current was committed; meaningful while Previous is set
}

// Candidate is a release that wants to be current, and its deployment.
type Candidate struct {
	Deployment landward.Deployment
	Release    landward.Release
	Trial      *Trial // its canary; nil before the first step
}

// Observed is what the world says about it.
type Observed struct {
	Now        time.Time
	Containers []engine.Container
	Ready      map[string]bool // units on probation that passed their health rule
	Ports      map[string]int  // units that listen elsewhere than expected
	Retiring   map[string]bool // units that are being drained and removed
	Adopting   map[string]bool // units that Docker is being told to restart from now on
	Share      Share           // as last sent to the edge
	Canary     *route.Trial    // what the edge has counted of the candidate's canary; nil for nothing
}

func (o Observed) container(id string) (engine.Container, bool) {
	i := slices.IndexFunc(o.Containers, func(c engine.Container) bool { return c.Unit == id })
	if i < 0 || o.Retiring[id] {
		return engine.Container{}, false
	}
	return o.Containers[i], true
}

// Op is one step towards the wish. Each is idempotent: after a crash at any
// instruction the next Plan asks for it again where it is still needed.
type Op interface{ op() }

// The operations, one file each where they take more than a call.
type (
	// RemoveApp takes everything away that a deleted app had.
	RemoveApp struct{}
	// RunPhase runs the candidate's release command to its end.
	RunPhase struct{ Candidate Candidate }
	// Start makes units run. On probation nobody restarts them.
	Start struct {
		Units     []engine.Unit
		Probation bool
	}
	// Adopt has Docker restart units that run, which nobody did on probation.
	// Nothing waits for it.
	Adopt struct{ Units []engine.Unit }
	// Await waits until the candidate's units are healthy.
	Await struct {
		Candidate Candidate
		Units     []engine.Unit
	}
	// SetRoute makes the edge use the app's share of the table.
	SetRoute struct{ Share Share }
	// Commit sends traffic to the candidate and makes it current: the point of
	// no return of a deployment.
	Commit struct {
		Candidate Candidate
		Share     Share
	}
	// Fail ends the candidate's deployment.
	Fail struct {
		Candidate Candidate
		Unit      string // the one that died; empty: the deadline passed
	}
	// Revert goes back to the previous release, which is still warm.
	Revert struct{ Unit string }
	// EndWarm forgets the previous release.
	EndWarm struct{}
	// Retire drains units that get no traffic any more and removes them.
	Retire struct{ Units []engine.Container }
)

func (RemoveApp) op() {}
func (RunPhase) op()  {}
func (Start) op()     {}
func (Adopt) op()     {}
func (Await) op()     {}
func (SetRoute) op()  {}
func (Commit) op()    {}
func (Fail) op()      {}
func (Revert) op()    {}
func (EndWarm) op()   {}
func (Retire) op()    {}

// Plan compares wish and world and returns what to do next, in order. It is
// pure. The caller does what it says and plans again; an empty plan means that
// the wish is true.
func Plan(d Desired, o Observed, def Defaults) []Op {
	if d.Deleted {
		return []Op{RemoveApp{}}
	}
	if d.revertible(o, def) {
		if id := d.died(o, def); id != "" {
			return []Op{Revert{Unit: id}}
		}
	}
	var ops []Op
	keep := map[string]bool{}
	if d.Current != nil && !d.App.Stopped {
		ops = append(ops, d.upkeep(o, def, keep)...)
	}
	now := shareOf(d, d.Current, o, def).waking(o.Share)
	if !now.same(o.Share) {
		ops = append(ops, SetRoute{now})
	}
	if d.Previous != nil {
		switch {
		case !o.Now.Before(d.App.WarmUntil):
			ops = append(ops, EndWarm{})
		case !d.App.Traffic.Asleep: // what nobody asks for sleeps as a whole
			d.keepWarm(def, keep)
		}
	}
	if d.Candidate != nil {
		ops = append(ops, d.advance(o, def, keep)...)
	}
	if gone := retired(o, keep, d.Candidate); len(gone) > 0 {
		// Before a wait, not after it: nothing below depends on the outcome.
		at := slices.IndexFunc(ops, func(op Op) bool {
			switch op.(type) {
			case RunPhase, Await, Commit:
				return true
			}
			return false
		})
		if at < 0 {
			at = len(ops)
		}
		ops = slices.Insert(ops, at, Op(Retire{gone}))
	}
	return ops
}

// upkeep returns the starts that the current release needs and marks its units
// as kept.
func (d Desired) upkeep(o Observed, def Defaults, keep map[string]bool) []Op {
	var start, adopt []engine.Unit
	for _, u := range Units(d.App, *d.Current, def) {
		c, ok := o.container(u.ID)
		if d.App.Traffic.Asleep && d.Current.Routing.Serves(u.Process) {
			// One that runs goes. Once it has, it is made anew and held: to wake
			// it is then only to start it.
			switch {
			case ok && c.State == engine.Created:
				keep[u.ID] = true
			case !ok && !o.Retiring[u.ID]:
				keep[u.ID], u.Hold = true, true
				start = append(start, u)
			}
			continue
		}
		keep[u.ID] = true
		switch {
		case !ok || c.State == engine.Created || c.State == engine.Exited:
			start = append(start, u)
		case c.Restart != engine.RestartAlways && !o.Adopting[u.ID]:
			adopt = append(adopt, u)
		}
	}
	var ops []Op
	if len(start) > 0 {
		ops = append(ops, Start{Units: start})
	}
	if len(adopt) > 0 {
		ops = append(ops, Adopt{Units: adopt})
	}
	return ops
}

// asleep returns the units that are stopped because the app sleeps.
func (d Desired) asleep(def Defaults) map[string]bool {
	if d.Current == nil || !d.App.Traffic.Asleep {
		return nil
	}
	units := map[string]bool{}
	for _, u := range Units(d.App, *d.Current, def) {
		units[u.ID] = d.Current.Routing.Serves(u.Process)
	}
	return units
}

// keepWarm marks the previous release's units that requests reach as kept.
func (d Desired) keepWarm(def Defaults, keep map[string]bool) {
	for _, u := range Units(d.App, *d.Previous, def) {
		if d.Previous.Routing.Serves(u.Process) {
			keep[u.ID] = true
		}
	}
}

// advance returns the candidate's next step.
func (d Desired) advance(o Observed, def Defaults, keep map[string]bool) []Op {
	c := *d.Candidate
	units := Units(d.App, c.Release, def)
	for _, u := range units {
		keep[u.ID] = true
	}
	if o.Now.After(c.Deployment.Deadline) {
		return []Op{Fail{Candidate: c}}
	}
	if !c.Release.ReleasePhase.IsZero() && c.Release.Phase == landward.PhasePending {
		return []Op{RunPhase{c}}
	}
	var start, wait []engine.Unit
	for _, u := range units {
		if d.App.Stopped {
			break // a stopped app's release is made current without a run
		}
		box, ok := o.container(u.ID)
		switch {
		case !ok || box.State == engine.Created:
			start = append(start, u)
		case box.State == engine.Exited && box.Restart == engine.RestartNever:
			return []Op{Fail{Candidate: c, Unit: u.ID}}
		case box.State == engine.Exited:
			start = append(start, u)
		case !o.Ready[u.ID]:
			wait = append(wait, u)
		}
	}
	switch {
	case len(start) > 0 && d.introduces(def):
		return []Op{Start{Units: start, Probation: true}} // and tell their names, before anything waits
	case len(start) > 0:
		return []Op{Start{Units: start, Probation: true}, Await{c, units}}
	case len(wait) > 0:
		return []Op{Await{c, units}}
	}
	if ops, ok := d.canary(o); ok {
		return ops
	}
	return []Op{Commit{c, shareOf(d, &c.Release, o, def)}}
}

// revertible reports whether the previous release could take over at once.
func (d Desired) revertible(o Observed, def Defaults) bool {
	return d.Current != nil && d.Previous != nil && !d.App.Stopped && o.Now.Before(d.App.WarmUntil) &&
		o.Now.Before(d.WentLive.Add(def.Warm))
}

// died returns a web unit of the current release that ended since it went
// live, where the previous release's own are all well: then it is the release,
// not the host.
func (d Desired) died(o Observed, def Defaults) string {
	previous := map[string]bool{}
	for _, u := range Units(d.App, *d.Previous, def) {
		if u.Process != landward.WebProcess {
			continue
		}
		previous[u.ID] = true
		c, ok := o.container(u.ID)
		if !ok || c.State != engine.Running || c.FinishedAt.After(d.WentLive) {
			return ""
		}
	}
	if len(previous) == 0 {
		return ""
	}
	for _, u := range Units(d.App, *d.Current, def) {
		if u.Process != landward.WebProcess || previous[u.ID] {
			continue
		}
		c, ok := o.container(u.ID)
		if ok && (c.State == engine.Exited || c.State == engine.Restarting || c.FinishedAt.After(d.WentLive)) {
			return u.ID
		}
	}
	return ""
}

// retired returns the containers that nobody wants. One-off runs belong to
// whoever waits for them.
func retired(o Observed, keep map[string]bool, cand *Candidate) []engine.Container {
	var gone []engine.Container
	for _, c := range o.Containers {
		switch {
		case o.Retiring[c.Unit], keep[c.Unit]:
		case c.Kind == engine.KindProcess:
			gone = append(gone, c)
		case c.Kind == engine.KindRelease && (cand == nil || c.Release != cand.Release.Version || cand.Release.Phase != landward.PhasePending):
			gone = append(gone, c)
		}
	}
	return gone
}
