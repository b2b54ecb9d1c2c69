package plane

import (
	"math/rand/v2"

	"landward/internal/route"
	"landward/internal/route/guard"
)

// canary is a second version of an app that gets a share of its requests.
type canary struct {
	*trial
	percent int
	cookie  string
	targets []*target
}

// trial counts what becomes of the requests to each of the two versions, so
// that they can be compared. All routes of an app have the same.
type trial struct {
	release int
	stats   *Stats // of the canary
	stable  *Stats // of the other version, while there is a canary
}

// canaryOf makes a route's canary ready. Counts go on while the release is the
// same, also after a table that did not have it: its steps are one trial. The
// caller holds swap.
func (p *Plane) canaryOf(r *route.Route) *canary {
	c := &canary{trial: p.trials[r.AppID], percent: r.Canary.Percent, cookie: r.Canary.Cookie}
	for _, t := range r.Canary.Targets {
		c.targets = append(c.targets, p.targetOf("tcp", t.Addr.String(), t, r.Protocol))
	}
	if c.trial == nil || c.release != r.Canary.Release {
		c.trial = &trial{
			release: r.Canary.Release,
			stats:   &Stats{app: r.App, appID: r.AppID, fine: new(histogram)},
			stable:  &Stats{app: r.App, appID: r.AppID, fine: new(histogram)},
		}
		p.trials[r.AppID] = c.trial
	}
	return c
}

// takes reports whether a request goes to the canary.
func (c *canary) takes(cookies []byte) bool {
	if c.cookie != "" && guard.HasCookie(cookies, c.cookie) {
		return true
	}
	return rand.IntN(100) < c.percent //nolint:gosec // a share, not a secret
}

// Counts sums a version's counters up.
func (a AppSnapshot) Counts() route.Counts {
	c := route.Counts{Errors: a.Faults}
	for class, n := range a.Requests {
		c.Answers += n
		if class == 5 {
			c.Errors = max(c.Errors, n)
		}
	}
	c.P95 = a.P95
	return c
}

// CanarySnapshot compares the two versions of an app while a canary runs.
type CanarySnapshot struct {
	AppID   int64       `json:"app_id"`
	Release int         `json:"release"`
	Percent int         `json:"percent"`
	Canary  AppSnapshot `json:"canary"`
	Stable  AppSnapshot `json:"stable"`
}
