package plane

import (
	"sync"
	"sync/atomic"
	"time"

	"landward/internal/landward"
	"landward/internal/route"
	"landward/internal/route/guard"
)

// site is one route of the table, made ready: everything that a request needs
// is worked out once.
type site struct {
	route   *route.Route
	appID   int64
	app     string
	state   route.State
	targets []*target
	all     []*target // with those of a canary
	stats   *Stats
	turn    atomic.Uint32 // where the next search for a target begins

	maxBody      int64 // negative: none
	readTimeout  int64
	answerWithin int64
	holdFor      time.Duration

	https  landward.HTTPSMode
	strip  string // the prefix that the app does not see
	rules  *rules // what a request must pass; nil for nothing
	reply  *reply // how answers are changed; nil for not at all
	canary *canary
	sticky *guard.Sticky // over all; nil: none

	born int64 // when it was made, as now() tells
	// warm is until when an app that has just been woken may take to listen, as
	// now() tells; 0 once it does.
	warm atomic.Int64
	// ready is the path that says whether it can answer then, readyWithin how
	// long that may take.
	ready       string
	readyWithin time.Duration
	asking      sync.Mutex // held by who asks there

	held  atomic.Int64 // requests that wait for the app
	told  atomic.Int64 // when control was last told that the app is idle
	plane *Plane
}

// maxHeld bounds the requests that wait for one app to wake.
const maxHeld = 1000

// defaultHold is how long a request waits for an app that sleeps or is paused.
const defaultHold = time.Minute

// defaultReady is how long an app may take to say that it is ready.
const defaultReady = 5 * time.Second

// siteOf makes a route ready. old is the site in use under the same key, or
// nil: what it has learned goes on where its rules are the same. The caller
// holds swap.
func (p *Plane) siteOf(r *route.Route, old *site) (*site, error) {
	s := &site{
		route: r, plane: p, appID: r.AppID, app: r.App, state: r.State,
		stats:        p.statsOf(r.AppID, r.App),
		maxBody:      p.limits.MaxBody,
		readTimeout:  int64(p.limits.ReadTimeout),
		answerWithin: int64(p.limits.AnswerWithin),
		holdFor:      defaultHold,
		ready:        r.Ready,
		readyWithin:  defaultReady,
		born:         p.now(),
		https:        r.HTTPS,
	}
	if r.ReadyWithin > 0 {
		s.readyWithin = r.ReadyWithin
	}
	if r.Strip {
		s.strip = r.Prefix
	}
	if r.Limits.MaxBody != 0 {
		s.maxBody = r.Limits.MaxBody
	}
	if d := r.Limits.ReadTimeout; d > 0 {
		s.readTimeout = int64(d)
	}
	if d := r.Limits.AnswerWithin; d > 0 {
		s.answerWithin = int64(d)
	}
	if d := r.Limits.Hold; d > 0 {
		s.holdFor = d
	}
	switch {
	case old == nil || s.state != route.StateUp:
	case old.state == route.StateAsleep:
		s.warm.Store(s.born + int64(s.holdFor))
	default:
		s.warm.Store(old.warm.Load())
	}
	var err error
	if s.rules, err = p.rulesOf(r, old); err != nil {
		return nil, err
	}
	if s.reply, err = p.replyOf(r); err != nil {
		return nil, err
	}
	if r.Socket != "" {
		s.targets = append(s.targets, p.targetOf("unix", r.Socket, route.Target{ID: "unix:" + r.Socket}, landward.ProtocolHTTP))
	}
	for _, t := range r.Targets {
		s.targets = append(s.targets, p.targetOf("tcp", t.Addr.String(), t, r.Protocol))
	}
	s.all = s.targets
	if r.Canary != nil {
		s.canary = p.canaryOf(r)
		s.all = append(s.all[:len(s.all):len(s.all)], s.canary.targets...)
	}
	if r.Sticky {
		ids := make([]string, len(s.all))
		for i, t := range s.all {
			ids[i] = t.id
		}
		s.sticky = guard.NewSticky(p.stickyKey, ids)
	}
	return s, nil
}

// abandon lets go of what next, which takes the site's place, has not taken over.
func (s *site) abandon(next *site) {
	if s.rules != nil && (next == nil || next.rules != s.rules) {
		s.rules.close(next)
	}
}

// targetOf returns the target with its counts and connections, which outlive a
// table. An id at another address is another target.
func (p *Plane) targetOf(network, addr string, t route.Target, proto landward.Protocol) *target {
	key := t.ID + " " + addr + " " + string(proto)
	g := p.targets[key]
	if g == nil {
		g = &target{id: t.ID, unit: t.Unit, network: network, addr: addr, maxIdle: p.limits.MaxIdle,
			proto: proto, dialer: &p.dialer, quiet: make(chan struct{}, 1)}
		p.targets[key] = g
	}
	return g
}

// suspicion is how long a target that did not answer is passed over.
const suspicion = int64(2 * time.Second)

// pick chooses the target with the fewest requests in progress, each in turn
// where they are equal. Suspects come last, those in skip not at all.
func (s *site) pick(targets []*target, now int64, skip []*target) *target {
	if len(targets) == 1 && len(skip) == 0 {
		return targets[0]
	}
	var best *target
	var least int64
	n := uint32(len(targets)) //nolint:gosec // a table has far fewer targets
	turn := s.turn.Add(1)
	for i := range n {
		t := targets[(turn+i)%n]
		if contains(skip, t) {
			continue
		}
		load := t.inflight.Load()
		if t.suspect.Load() > now {
			load += 1 << 32
		}
		if best == nil || load < least {
			best, least = t, load
		}
	}
	return best
}

func contains(list []*target, t *target) bool {
	for _, o := range list {
		if o == t {
			return true
		}
	}
	return false
}
