package plane

import (
	"context"
	"sync"
	"time"
)

// probes bounds how many targets are tried at once.
const probes = 64

// Probe tries to connect to every target of the table in use and marks those
// that do not answer as suspects, to be used only where nothing else is. It
// takes at most limit, and returns how many there are of each.
func (p *Plane) Probe(ctx context.Context, limit time.Duration) (answering, suspects int) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	p.swap.Lock()
	list := make([]*target, 0, len(p.targets))
	for _, t := range p.targets {
		if !t.retired.Load() {
			list = append(list, t)
		}
	}
	p.swap.Unlock()
	var all sync.WaitGroup
	room := make(chan struct{}, probes)
	for _, t := range list {
		all.Go(func() {
			select {
			case room <- struct{}{}:
				defer func() { <-room }()
			case <-ctx.Done():
			}
			u, err := t.dial(ctx, limit)
			if err != nil {
				t.suspect.Store(p.now() + suspicion)
				return
			}
			u.close()
			t.suspect.Store(0)
		})
	}
	all.Wait()
	for _, t := range list {
		if t.suspect.Load() > p.now() {
			suspects++
		}
	}
	return len(list) - suspects, suspects
}
