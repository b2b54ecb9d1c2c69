package reconcile

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"reflect"

	"landward/internal/engine"
	"landward/internal/landward"
	"landward/internal/route"
)

// Share is one app's part of the route table: its route, and one more for each
// path prefix that another process serves.
type Share []route.Route

func (s Share) same(other Share) bool { return reflect.DeepEqual(s, other) }

// waking keeps requests held until an app that was woken has a container: before
// that it is not down, it is on its way.
func (s Share) waking(before Share) Share {
	for i := range s {
		if s[i].State == route.StateDown && i < len(before) && before[i].State == route.StateAsleep {
			s[i].State = route.StateAsleep
		}
	}
	return s
}

// hosts are those of the app.
func (s Share) hosts() []string {
	if len(s) == 0 {
		return nil
	}
	return s[0].Hosts
}

// shareOf returns the app's share of the table when rel serves; nil: none does.
// Where that is the current release, a candidate's canary has its part.
func shareOf(d Desired, rel *landward.Release, o Observed, def Defaults) Share {
	r := route.Route{App: d.App.Name, AppID: d.App.ID, Hosts: []string{d.App.Name + "." + def.Domain}}
	if rel == nil {
		r.Hosts = append(r.Hosts, d.App.Settings.Domains...)
		r.State = route.StateEmpty
		if d.Candidate != nil {
			r.State = route.StateStarting
		}
		return d.withNames(Share{r}, nil, o, def)
	}
	r.Release = rel.Version
	r.Hosts = append(r.Hosts, rel.Settings.Domains...)
	apply(&r, d.App, *rel, def)
	share := Share{processRoute(r, landward.WebProcess, d, rel, o, def)}
	if rel.Routing.Static.Dir != "" {
		share[0] = staticRoute(r, d.App, *rel, def)
	}
	for _, rule := range rel.Routing.Paths {
		p := r
		p.Prefix, p.Strip = rule.Prefix, rule.Strip
		share = append(share, processRoute(p, rule.Process, d, rel, o, def))
	}
	if rel == d.Current {
		share = d.withCanary(share, o, def)
	}
	return d.withNames(share, rel, o, def)
}

// apply puts what the release says about its traffic into a route.
func apply(r *route.Route, app landward.App, rel landward.Release, def Defaults) {
	say := rel.Routing
	r.HTTPS, r.Redirects, r.Headers, r.Auth, r.Rate = say.HTTPS, say.Redirects, say.Headers, say.Auth, say.Rate
	r.Compress, r.Sticky, r.Protocol, r.Idle = say.Compress, say.Sticky, say.Protocol, say.Idle.SleepAfter
	r.Limits.MaxBody, r.Limits.AnswerWithin = say.Body, say.Timeout
	if app.Traffic.Paused {
		r.Limits.Hold = app.Traffic.MaxPause
	}
	if say.Errors.Dir != "" && rel.Assets != "" {
		r.Pages = route.Pages{Dir: def.assets(app.ID, rel, landward.AssetPages), Replace: say.Errors.Replace}
	}
	if app.Traffic.Maintenance {
		r.Maintenance = &route.Maintenance{Message: app.Traffic.Message}
	}
}

// staticRoute serves the release's own files.
func staticRoute(r route.Route, app landward.App, rel landward.Release, def Defaults) route.Route {
	s := rel.Routing.Static
	r.State = route.StateUp
	r.Static = &route.Static{Dir: def.assets(app.ID, rel, landward.AssetStatic), Fallback: s.Fallback, Immutable: s.Immutable}
	if app.Stopped {
		r.State, r.Static = route.StateStopped, nil
	}
	return r
}

// processRoute sends a route's requests to the containers of a process.
func processRoute(r route.Route, process string, d Desired, rel *landward.Release, o Observed, def Defaults) route.Route {
	if p, _, ok := rel.Process(process); ok && r.Idle > 0 {
		r.Ready, r.ReadyWithin = p.Health.Path, healthRule(p.Health, def.Health).Timeout
	}
	wanted := 0
	for _, u := range Units(d.App, *rel, def) {
		if u.Process != process {
			continue
		}
		wanted++
		c, ok := o.container(u.ID)
		if !ok || c.State != engine.Running || !c.Addr.IsValid() {
			continue
		}
		r.Targets = append(r.Targets, targetOf(u, c, *rel, o, def))
	}
	switch {
	case d.App.Stopped || wanted == 0:
		r.State, r.Targets = route.StateStopped, nil
	case d.App.Traffic.Asleep:
		r.State, r.Targets = route.StateAsleep, nil
	case d.App.Traffic.Paused:
		r.State = route.StatePaused
	case len(r.Targets) == 0:
		r.State = route.StateDown
	default:
		r.State = route.StateUp
	}
	return r
}

// targetOf is where a unit's container answers.
func targetOf(u engine.Unit, c engine.Container, rel landward.Release, o Observed, def Defaults) route.Target {
	p, svc, _ := rel.Process(u.Process)
	port := Port(rel, svc, p, def)
	if found := o.Ports[u.ID]; found != 0 {
		port = found
	}
	return route.Target{
		Addr: netip.AddrPortFrom(c.Addr, uint16(port)), //nolint:gosec // checked to be a port
		Unit: fmt.Sprintf("%s.%d", u.Process, u.Index), ID: u.ID,
	}
}

// assets is where a kind of files of a release lies.
func (d Defaults) assets(appID int64, rel landward.Release, kind string) string {
	return filepath.Join(d.Sites, fmt.Sprint(appID), rel.Assets, kind)
}
