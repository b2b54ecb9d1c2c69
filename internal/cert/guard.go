package cert

import (
	"slices"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"

	"landward/internal/landward"
)

// guard keeps us below the limits of a CA, where a refusal would shut out
// others of the same domain for days. It is part of the stored state.
type guard struct {
	PerDomain int `json:"-"` // negative: no limit
	Failures  int `json:"-"`

	// First holds, by registered domain, when first certificates were ordered:
	// orders that ended in none are taken out again. Renewals do not count, at
	// public CAs neither.
	First map[string][]time.Time `json:"first,omitempty"`
	// Failed holds, by host, when a validation failed.
	Failed map[string][]time.Time `json:"failed,omitempty"`
	// Orders holds when any order was placed.
	Orders []time.Time `json:"orders,omitempty"`
}

const (
	domainWindow = 7 * 24 * time.Hour
	failWindow   = time.Hour
	orderWindow  = 3 * time.Hour
	maxOrders    = 250 // in orderWindow; Let's Encrypt: 300
)

// registered is the domain that a CA counts by: the one below a public suffix.
func registered(name string) string {
	host := strings.TrimPrefix(name, "*.")
	if d, err := publicsuffix.EffectiveTLDPlusOne(host); err == nil {
		return d
	}
	return host
}

// reserve counts an order before it is placed. Where it may not be placed now,
// it says when it may.
func (g *guard) reserve(name string, first bool, now time.Time) (at time.Time, err *landward.Error) {
	g.prune(now)
	if failed := g.Failed[name]; g.Failures >= 0 && len(failed) >= g.Failures {
		return failed[len(failed)-g.Failures].Add(failWindow),
			landward.Errorf(landward.CodeLimited, "%d validations of %s failed within an hour: the next order waits", len(failed), name)
	}
	if len(g.Orders) >= maxOrders {
		return g.Orders[len(g.Orders)-maxOrders].Add(orderWindow),
			landward.Errorf(landward.CodeLimited, "%d orders within 3 hours: the next one waits", maxOrders)
	}
	if first && g.PerDomain >= 0 {
		domain := registered(name)
		if had := g.First[domain]; len(had) >= g.PerDomain {
			at := now.Add(domainWindow)
			if g.PerDomain > 0 {
				at = had[len(had)-g.PerDomain].Add(domainWindow)
			}
			return at, landward.Errorf(landward.CodeLimited,
				"%d first certificates below %s within 7 days: the next one waits", len(had), domain).
				WithHint("a wildcard certificate for the domain would count once for all its hosts")
		}
		if g.First == nil {
			g.First = map[string][]time.Time{}
		}
		g.First[domain] = append(g.First[domain], now)
	}
	g.Orders = append(g.Orders, now)
	return time.Time{}, nil
}

// release takes back what reserve counted for an order that gave no
// certificate.
func (g *guard) release(name string, reserved time.Time) {
	domain := registered(name)
	if i := slices.IndexFunc(g.First[domain], reserved.Equal); i >= 0 {
		g.First[domain] = slices.Delete(g.First[domain], i, i+1)
	}
}

// fail counts a failed validation.
func (g *guard) fail(name string, now time.Time) {
	if g.Failed == nil {
		g.Failed = map[string][]time.Time{}
	}
	g.Failed[name] = append(g.Failed[name], now)
}

func (g *guard) prune(now time.Time) {
	pruneMap(g.First, now, domainWindow)
	pruneMap(g.Failed, now, failWindow)
	g.Orders = pruned(g.Orders, now, orderWindow)
}

func pruneMap(m map[string][]time.Time, now time.Time, window time.Duration) {
	for k, list := range m {
		if list = pruned(list, now, window); len(list) == 0 {
			delete(m, k)
		} else {
			m[k] = list
		}
	}
}

// pruned drops what is outside the window. What lies in the future, after the
// clock was set back, is dropped too: it would never leave.
func pruned(list []time.Time, now time.Time, window time.Duration) []time.Time {
	return slices.DeleteFunc(list, func(t time.Time) bool {
		return now.Sub(t) >= window || t.After(now.Add(time.Minute))
	})
}
