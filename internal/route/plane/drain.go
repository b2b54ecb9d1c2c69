package plane

import (
	"context"
	"slices"
	"time"

	"landward/internal/route"
)

// Drain waits until the requests on those targets have ended, at most for
// limit; then WebSockets are told to go away and other requests are cut.
// Targets that the table still has are left alone and reported. When ctx ends
// first, Drain returns what is so far, and cuts nothing.
func (p *Plane) Drain(ctx context.Context, ids []string, limit time.Duration) route.DrainReport {
	begun := time.Now()
	list, serving := p.retiredTargets(ids)
	r := route.DrainReport{Serving: serving}
	for _, t := range list {
		t.closeIdle(true)
		r.InFlight += int(t.inflight.Load())
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	quiet := waitQuiet(ctx, list, timer.C)
	if !quiet && ctx.Err() == nil {
		r.Closed, r.Cut = p.cut(ctx, list)
	}
	r.Finished = max(r.InFlight-r.Closed-r.Cut-inflight(list), 0)
	r.Took = time.Since(begun)
	return r
}

// retiredTargets sorts the ids into targets to wait for and those that serve.
func (p *Plane) retiredTargets(ids []string) (list []*target, serving []string) {
	p.swap.Lock()
	defer p.swap.Unlock()
	for _, t := range p.targets {
		switch {
		case !slices.Contains(ids, t.id):
		case t.retired.Load():
			list = append(list, t)
		default:
			serving = append(serving, t.id)
		}
	}
	slices.Sort(serving)
	return list, serving
}

func inflight(list []*target) int {
	n := int64(0)
	for _, t := range list {
		n += t.inflight.Load()
	}
	return int(n)
}

// waitQuiet waits for all of list, and reports whether they are quiet.
func waitQuiet(ctx context.Context, list []*target, end <-chan time.Time) bool {
	for _, t := range list {
		for t.inflight.Load() > 0 {
			select {
			case <-t.quiet:
			case <-end:
				return inflight(list) == 0
			case <-ctx.Done():
				return inflight(list) == 0
			}
		}
	}
	return true
}

// cut ends everything on those targets and returns how many tunnels and
// requests that were. It tries until nothing is left, for a request can only
// be cut while it blocks.
func (p *Plane) cut(ctx context.Context, list []*target) (tunnels, requests int) {
	done := make(map[*session]bool)
	for inflight(list) > 0 && ctx.Err() == nil {
		for _, s := range p.all() {
			u := s.up.Load()
			if u == nil || done[s] || !contains(list, u.target) {
				continue
			}
			if t := s.tunnel.Load(); t != nil {
				t.leave()
				tunnels++
				done[s] = true
			} else if s.hitAll(hitCut) {
				requests++
				done[s] = true
			}
		}
		timer := time.NewTimer(10 * time.Millisecond)
		waitQuiet(ctx, list, timer.C)
		timer.Stop()
	}
	return tunnels, requests
}
