package plane

import (
	"sync/atomic"
	"time"

	"landward/internal/route"
)

// index is a table made ready for look-ups. It never changes.
type index struct {
	table route.Table
	hosts map[string]*site
	none  *Stats // of requests that belong to no app
}

// site is one route of the table.
type site struct {
	appID   int64
	app     string
	state   route.State
	targets []*target
	stats   *Stats
	turn    atomic.Uint32 // where the next search for a target begins

	maxBody      int64 // negative: none
	readTimeout  int64
	answerWithin int64
}

// Apply puts a table into use as a whole, or returns why not and leaves the
// one in use. Requests in progress stay with the target they have.
func (p *Plane) Apply(t route.Table) error {
	if err := t.Check(); err != nil {
		return err
	}
	p.swap.Lock()
	defer p.swap.Unlock()
	old := p.index.Load()
	if t.Generation < old.table.Generation {
		return staleTable(old.table.Generation, t.Generation)
	}
	next := &index{table: t, hosts: make(map[string]*site), none: old.none}
	used := make(map[*target]bool)
	for i := range t.Routes {
		s := p.siteOf(&t.Routes[i])
		for _, g := range s.targets {
			used[g] = true
			g.retired.Store(false)
			g.open()
		}
		for _, h := range t.Routes[i].Hosts {
			next.hosts[h] = s
		}
	}
	p.index.Store(next)
	// Only now, so that a request that finds its target retired finds another
	// in the new table.
	for key, g := range p.targets {
		if used[g] {
			continue
		}
		g.retired.Store(true)
		g.closeIdle(true)
		if g.inflight.Load() == 0 {
			delete(p.targets, key)
		}
	}
	return nil
}

// Generation is the generation of the table in use.
func (p *Plane) Generation() int64 { return p.index.Load().table.Generation }

// Table is the table in use.
func (p *Plane) Table() route.Table { return p.index.Load().table }

// siteOf makes a route ready. The caller holds swap.
func (p *Plane) siteOf(r *route.Route) *site {
	s := &site{
		appID: r.AppID, app: r.App, state: r.State,
		stats:        p.statsOf(r.AppID, r.App),
		maxBody:      p.limits.MaxBody,
		readTimeout:  int64(p.limits.ReadTimeout),
		answerWithin: int64(p.limits.AnswerWithin),
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
	if r.Socket != "" {
		s.targets = append(s.targets, p.targetOf("unix", r.Socket, route.Target{ID: "unix:" + r.Socket}))
	}
	for _, t := range r.Targets {
		s.targets = append(s.targets, p.targetOf("tcp", t.Addr.String(), t))
	}
	return s
}

// targetOf returns the target with its counts and connections, which outlive a
// table. An id at another address is another target.
func (p *Plane) targetOf(network, addr string, t route.Target) *target {
	key := t.ID + " " + addr
	g := p.targets[key]
	if g == nil {
		g = &target{id: t.ID, unit: t.Unit, network: network, addr: addr, maxIdle: p.limits.MaxIdle,
			quiet: make(chan struct{}, 1)}
		p.targets[key] = g
	}
	return g
}

// find looks a host up: lower case, no port, no final dot.
func (ix *index) find(host []byte) *site { return ix.hosts[string(host)] }

// suspicion is how long a target that did not answer is passed over.
const suspicion = int64(2 * time.Second)

// pick chooses the target with the fewest requests in progress, each in turn
// where they are equal. Suspects come last, those in skip not at all.
func (s *site) pick(now int64, skip []*target) *target {
	if len(s.targets) == 1 && len(skip) == 0 {
		return s.targets[0]
	}
	var best *target
	var least int64
	n := uint32(len(s.targets)) //nolint:gosec // a table has far fewer targets
	turn := s.turn.Add(1)
	for i := range n {
		t := s.targets[(turn+i)%n]
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
