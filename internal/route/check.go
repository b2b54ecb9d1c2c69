package route

import (
	"fmt"
	"strings"

	"landward/internal/landward"
)

// Check says what is wrong with the table as a whole, or nil. A table with a
// mistake in one route is refused with all its routes, so that no half of it
// ever serves.
func (t Table) Check() error {
	if t.Generation < 0 {
		return landward.Invalid("generation", "%d is not a generation", t.Generation)
	}
	hosts := make(map[string]int, len(t.Routes))
	ids := make(map[string]int)
	for i, r := range t.Routes {
		at := fmt.Sprintf("routes[%d]", i)
		if err := r.check(at); err != nil {
			return err
		}
		for j, h := range r.Hosts {
			if other, taken := hosts[h]; taken {
				return landward.Invalid(fmt.Sprintf("%s.hosts[%d]", at, j),
					"%s is already the host of routes[%d]", h, other)
			}
			hosts[h] = i
		}
		for j, g := range r.Targets {
			if other, taken := ids[g.ID]; taken {
				return landward.Invalid(fmt.Sprintf("%s.targets[%d].id", at, j),
					"%s is already a target of routes[%d]", landward.Printable(g.ID), other)
			}
			ids[g.ID] = i
		}
	}
	return nil
}

func (r Route) check(at string) error {
	for j, h := range r.Hosts {
		if n, ok := landward.NormalHost(h); !ok || n != h {
			return landward.Invalid(fmt.Sprintf("%s.hosts[%d]", at, j),
				"%q is not a host name in its normal form", landward.Printable(h))
		}
	}
	switch r.State {
	case StateUp, StateStarting, StateDown, StateStopped, StateEmpty:
	default:
		return landward.Invalid(at+".state", "%q is not a state of a route", landward.Printable(string(r.State)))
	}
	if r.Socket != "" && (!strings.HasPrefix(r.Socket, "/") || strings.ContainsRune(r.Socket, 0)) {
		return landward.Invalid(at+".socket", "%q is not an absolute path", landward.Printable(r.Socket))
	}
	if r.Socket != "" && len(r.Targets) > 0 {
		return landward.Invalid(at+".socket", "a route has a socket or targets, not both")
	}
	for j, g := range r.Targets {
		where := fmt.Sprintf("%s.targets[%d]", at, j)
		if !g.Addr.IsValid() || g.Addr.Port() == 0 || g.Addr.Addr().IsUnspecified() || g.Addr.Addr().IsMulticast() {
			return landward.Invalid(where+".addr", "%s is not an address that can be connected to", g.Addr)
		}
		if g.ID == "" {
			return landward.Invalid(where+".id", "a target needs an id")
		}
	}
	if r.Limits.ReadTimeout < 0 || r.Limits.AnswerWithin < 0 {
		return landward.Invalid(at+".limits", "a time limit cannot be negative")
	}
	return nil
}
