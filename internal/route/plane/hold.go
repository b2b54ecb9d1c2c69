package plane

import (
	"net/http"
	"time"

	"landward/internal/route"
)

// lookAfter is how often it is checked whether the client of a held request
// still waits.
const lookAfter = time.Second

// hold keeps a request whose app sleeps or is paused until the table says
// otherwise. It reports whether the request may go on.
func (x *exchange) hold() bool {
	s := x.site
	if s.held.Add(1) > maxHeld {
		s.held.Add(-1)
		x.fault(route.Fault{Status: http.StatusServiceUnavailable, Code: route.CodeBusy, App: s.app, RetryAfter: 5})
		return false
	}
	// The count is of the site that the request came to: it may be another's turn by then.
	defer s.held.Add(-1)
	end := time.NewTimer(s.holdFor)
	defer end.Stop()
	look := time.NewTicker(lookAfter)
	defer look.Stop()
	for {
		ix := x.p.index.Load()
		if !x.look(ix) {
			x.unknownHost()
			return false
		}
		switch x.site.state {
		case route.StateAsleep:
			x.p.wake(x.site.appID)
		case route.StatePaused:
		default:
			return true
		}
		select {
		case <-ix.replaced:
		case <-look.C:
			if x.s.busy.Load() > 0 && x.s.gone() {
				x.fault(route.Fault{Code: route.CodeClientGone})
				return false
			}
		case <-end.C:
			x.fault(route.Fault{Status: http.StatusServiceUnavailable, Code: route.CodeHeld, App: x.site.app,
				State: x.site.state, RetryAfter: 30})
			return false
		case <-x.p.ctx.Done():
			x.fault(route.Fault{Status: http.StatusServiceUnavailable, Code: route.CodeShuttingDown, RetryAfter: 1})
			return false
		}
	}
}

// holds reports whether requests to an app in that state wait.
func holds(s route.State) bool { return s == route.StateAsleep || s == route.StatePaused }

// tellIdle tells who wants to know about apps that nobody has asked anything
// for their time. It is told again while that lasts: whoever was told may have
// died.
func (p *Plane) tellIdle(now int64) {
	for _, s := range p.index.Load().sites {
		idle := int64(s.route.Idle)
		if idle <= 0 || s.state != route.StateUp || s.stats.inflight.Load() > 0 {
			continue
		}
		last := max(s.stats.last.Load(), s.born)
		if now-last < idle || now-s.told.Load() < int64(tellEvery) {
			continue
		}
		s.told.Store(now)
		p.idle(s.appID)
	}
}

// tellEvery is how long until an idle app is told of again.
const tellEvery = 10 * time.Second
