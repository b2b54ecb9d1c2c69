package plane

import (
	"context"
	"net"
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
			if t.listens(ctx, limit) {
				t.suspect.Store(0)
			} else {
				t.suspect.Store(p.now() + suspicion)
			}
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

// listens reports whether a connection can be made. Where that takes the name
// of a host, the socket alone is looked at.
func (t *target) listens(ctx context.Context, limit time.Duration) bool {
	if t.named() {
		conn, err := new(net.Dialer).DialContext(ctx, t.network, t.addr)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}
	u, err := t.dial(ctx, nil, limit)
	if err == nil {
		u.close()
	}
	return err == nil
}
