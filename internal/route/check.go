package route

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"

	"landward/internal/landward"
)

// Check says what is wrong with the table as a whole, or nil. A table with a
// mistake in one route is refused with all its routes, so that no half of it
// ever serves. Routes of before, which has been checked, are not looked at one
// by one again.
func (t Table) Check(before Table) error {
	if t.Generation < 0 {
		return landward.Invalid("generation", "%d is not a generation", t.Generation)
	}
	hosts := claims{make(map[string]owner, len(t.Routes)), make(map[string]int)}
	ids := make(map[string]int, len(t.Routes))
	known := follower{list: before.Routes}
	for i, r := range t.Routes {
		if !known.next(r) {
			if err := r.check(fmt.Sprintf("routes[%d]", i)); err != nil {
				return err
			}
		}
		for j, h := range r.Hosts {
			if why := hosts.claim(h, r, i); why != "" {
				return landward.Invalid(fmt.Sprintf("routes[%d].hosts[%d]", i, j), "%s", why)
			}
		}
		targets := r.Targets
		if r.Canary != nil {
			targets = append(targets[:len(targets):len(targets)], r.Canary.Targets...)
		}
		for j, g := range targets {
			if other, taken := ids[g.ID]; taken {
				return landward.Invalid(fmt.Sprintf("routes[%d].targets[%d].id", i, j),
					"%s is already a target of routes[%d]", landward.Printable(g.ID), other)
			}
			ids[g.ID] = i
		}
	}
	return nil
}

// claims are the hosts that routes have.
type claims struct {
	owners   map[string]owner // by host
	prefixes map[string]int   // by host and prefix, where there is one: which route
}

// owner is who has a host.
type owner struct {
	app   int64
	whole int // the route that has it without a prefix; -1: none
}

// claim gives a host to the i-th route, or says why it cannot have it.
func (c claims) claim(host string, r *Route, i int) (why string) {
	o, owned := c.owners[host]
	if !owned {
		o = owner{r.AppID, -1}
	}
	taken := o.whole
	if r.Prefix != "" {
		var ok bool
		if taken, ok = c.prefixes[host+r.Prefix]; !ok {
			taken = -1
		}
	}
	switch {
	case taken >= 0:
		return fmt.Sprintf("%s is already the host of routes[%d]", host+r.Prefix, taken)
	case o.app != r.AppID:
		return host + " is the host of another app"
	case r.Prefix != "":
		c.prefixes[host+r.Prefix] = i
	default:
		o.whole = i
	}
	c.owners[host] = o
	return ""
}

// follower finds the routes of one table in another that is in the same order,
// but for some that are new, or gone.
type follower struct {
	list   []*Route
	at     int // the one after that which was found last
	missed int // how many were not found since
}

// furthest is how far a follower looks ahead.
const furthest = 64

// next reports whether that very route is where it may be expected.
func (f *follower) next(r *Route) bool {
	end := min(f.at+min(f.missed, furthest)+2, len(f.list))
	for i := f.at; i < end; i++ {
		if f.list[i] == r {
			f.at, f.missed = i+1, 0
			return true
		}
	}
	f.missed++
	return false
}

func (r *Route) check(at string) error {
	for j, h := range r.Hosts {
		if n, ok := landward.NormalHost(strings.TrimPrefix(h, "*.")); !ok || n != strings.TrimPrefix(h, "*.") {
			return landward.Invalid(fmt.Sprintf("%s.hosts[%d]", at, j),
				"%q is not a host name in its normal form", landward.Printable(h))
		}
	}
	switch r.State {
	case StateUp, StateStarting, StateDown, StateStopped, StateEmpty, StateAsleep, StatePaused:
	default:
		return landward.Invalid(at+".state", "%q is not a state of a route", landward.Printable(string(r.State)))
	}
	if r.Socket != "" && (!strings.HasPrefix(r.Socket, "/") || strings.ContainsRune(r.Socket, 0)) {
		return landward.Invalid(at+".socket", "%q is not an absolute path", landward.Printable(r.Socket))
	}
	if r.Socket != "" && len(r.Targets) > 0 {
		return landward.Invalid(at+".socket", "a route has a socket or targets, not both")
	}
	if err := checkTargets(at+".targets", r.Targets); err != nil {
		return err
	}
	if r.Canary != nil {
		if r.Canary.Percent < 0 || r.Canary.Percent > 100 {
			return landward.Invalid(at+".canary.percent", "%d is not between 0 and 100", r.Canary.Percent)
		}
		if err := checkTargets(at+".canary.targets", r.Canary.Targets); err != nil {
			return err
		}
	}
	if r.Limits.ReadTimeout < 0 || r.Limits.AnswerWithin < 0 || r.Limits.Hold < 0 || r.Idle < 0 {
		return landward.Invalid(at+".limits", "a time limit cannot be negative")
	}
	if r.Static != nil && !strings.HasPrefix(r.Static.Dir, "/") {
		return landward.Invalid(at+".static.dir", "%q is not an absolute path", landward.Printable(r.Static.Dir))
	}
	if strings.ContainsFunc(r.Ready, func(c rune) bool { return c <= ' ' || c == 0x7f }) || r.Ready != "" && r.Ready[0] != '/' {
		return landward.Invalid(at+".ready", "%q is not a path", landward.Printable(r.Ready))
	}
	if err := r.checkNames(at); err != nil {
		return err
	}
	return checkPrefix(at, r.Prefix)
}

// checkNames keeps what an app's containers are told to the app: its names hide
// no name on the internet, and lead into its own networks only.
func (r *Route) checkNames(at string) error {
	for j, p := range r.Networks {
		if !p.IsValid() || p != p.Masked() || p.Bits() == 0 {
			return landward.Invalid(fmt.Sprintf("%s.networks[%d]", at, j), "%s is not a network", p)
		}
	}
	for name, addrs := range r.Names {
		where := at + ".names." + landward.Printable(name)
		if n, ok := landward.NormalHost(name); !ok || n != name || strings.Contains(name, ".") && !strings.HasSuffix(name, ".internal") {
			return landward.Invalid(where, "%q is not a name of a service such as db or web.shop.internal", landward.Printable(name))
		}
		for _, a := range addrs {
			if !slices.ContainsFunc(r.Networks, func(p netip.Prefix) bool { return p.Contains(a) }) {
				return landward.Invalid(where, "%s is in none of the app's networks", a)
			}
		}
	}
	return nil
}

// checkPrefix accepts "" and "/a/b": no other way to write the same path.
func checkPrefix(at, prefix string) error {
	if prefix == "" {
		return nil
	}
	if prefix[0] != '/' || path.Clean(prefix) != prefix || prefix == "/" || strings.ContainsAny(prefix, "%?#\\;") {
		return landward.Invalid(at+".prefix", "%q is not a path prefix such as /api", landward.Printable(prefix))
	}
	return nil
}

func checkTargets(at string, targets []Target) error {
	for j, g := range targets {
		where := fmt.Sprintf("%s[%d]", at, j)
		if !g.Addr.IsValid() || g.Addr.Port() == 0 || g.Addr.Addr().IsUnspecified() || g.Addr.Addr().IsMulticast() {
			return landward.Invalid(where+".addr", "%s is not an address that can be connected to", g.Addr)
		}
		if g.ID == "" {
			return landward.Invalid(where+".id", "a target needs an id")
		}
	}
	return nil
}
