package reconcile

import (
	"net/netip"
	"slices"

	"landward/internal/engine"
	"landward/internal/landward"
)

// namesBelow is the zone of names that are nobody's on the internet (ICANN
// has reserved it for private use).
const namesBelow = ".internal"

// withNames adds to the share what the app's own network sees when rel serves.
// Every container of the app may ask, whatever it is for.
func (d Desired) withNames(s Share, rel *landward.Release, o Observed, def Defaults) Share {
	if !def.Names {
		return s
	}
	s[0].Networks = networks(o.Containers)
	if len(s[0].Networks) > 0 {
		s[0].Names = d.names(rel, o, def)
	}
	return s
}

// networks are those that the containers are in.
func networks(boxes []engine.Container) []netip.Prefix {
	var out []netip.Prefix
	for _, c := range boxes {
		if c.Network.IsValid() && !slices.Contains(out, c.Network) {
			out = append(out, c.Network)
		}
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return out
}

// names are what the app's processes are found by, and the addresses of their
// containers that serve: PROCESS, PROCESS.internal and PROCESS.APP.internal. A
// process that none serves for has its names too: nobody else is to be asked
// for them.
//
// The containers of a candidate are not among them, with one exception:
// processes that only it runs. Nobody serves for those, and a candidate whose
// web needs its new database would never become healthy without.
func (d Desired) names(rel *landward.Release, o Observed, def Defaults) map[string][]netip.Addr {
	found := map[string][]netip.Addr{}
	if rel != nil {
		d.find(found, *rel, o, def)
	}
	if d.Candidate != nil && (rel == nil || rel.Version != d.Candidate.Release.Version) {
		fresh := map[string][]netip.Addr{}
		d.find(fresh, d.Candidate.Release, o, def)
		for process, addrs := range fresh {
			if !runs(rel, process) {
				found[process] = addrs
			}
		}
	}
	out := make(map[string][]netip.Addr, 3*len(found))
	for process, addrs := range found {
		slices.SortFunc(addrs, netip.Addr.Compare)
		for _, name := range []string{process, process + namesBelow, process + "." + d.App.Name + namesBelow} {
			out[name] = addrs
		}
	}
	return out
}

// find adds a release's processes and the addresses of their containers that run.
func (d Desired) find(into map[string][]netip.Addr, rel landward.Release, o Observed, def Defaults) {
	for _, svc := range rel.Effective() {
		for _, p := range svc.Processes {
			into[p.Name] = []netip.Addr{}
		}
	}
	if d.App.Stopped {
		return
	}
	falls := d.App.Traffic.Asleep && d.Current != nil && d.Current.Version == rel.Version
	for _, u := range Units(d.App, rel, def) {
		if falls && rel.Routing.Serves(u.Process) {
			continue // it runs no longer, or not for long
		}
		c, ok := o.container(u.ID)
		if ok && c.State == engine.Running && c.Network.Contains(c.Addr) {
			into[u.Process] = append(into[u.Process], c.Addr)
		}
	}
}

// runs reports whether a release wants containers of a process.
func runs(rel *landward.Release, process string) bool {
	if rel == nil {
		return false
	}
	p, _, ok := rel.Process(process)
	return ok && p.Replicas > 0
}

// introduces reports whether the candidate runs a process that the release that
// serves does not, so that its name must be told before anybody waits for
// health.
func (d Desired) introduces(def Defaults) bool {
	if !def.Names {
		return false
	}
	for _, svc := range d.Candidate.Release.Services {
		for _, p := range svc.Processes {
			if runs(&d.Candidate.Release, p.Name) && !runs(d.Current, p.Name) {
				return true
			}
		}
	}
	return false
}
