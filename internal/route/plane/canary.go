package plane

import (
	"math/rand/v2"
	"time"

	"landward/internal/route"
	"landward/internal/route/guard"
)

// canary is a second version of an app that gets a share of its requests. What
// becomes of them is counted apart from the others, so that the two can be
// compared.
type canary struct {
	release int
	percent int
	cookie  string
	targets []*target
	stats   *Stats // of the canary
	stable  *Stats // of the other version, while there is a canary
}

// canaryOf makes a route's canary ready. Counts go on while the release is the
// same: its steps are one trial.
func (p *Plane) canaryOf(r *route.Route, old *site) *canary {
	c := &canary{release: r.Canary.Release, percent: r.Canary.Percent, cookie: r.Canary.Cookie}
	for _, t := range r.Canary.Targets {
		c.targets = append(c.targets, p.targetOf("tcp", t.Addr.String(), t, r.Protocol))
	}
	if old != nil && old.canary != nil && old.canary.release == c.release {
		c.stats, c.stable = old.canary.stats, old.canary.stable
	} else {
		c.stats, c.stable = &Stats{app: r.App, appID: r.AppID}, &Stats{app: r.App, appID: r.AppID}
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
	var seen uint64
	for i, n := range a.Buckets {
		seen += n
		if seen*100 >= c.Answers*95 {
			if i < len(bounds) {
				c.P95 = bounds[i]
			} else {
				c.P95 = time.Hour
			}
			break
		}
	}
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
