// Package event owns the wake-up calls inside one process: whoever changed
// something about an app says so, whoever cares looks again. It must never
// carry what changed: the database says that, and a lost or doubled call
// costs nothing.
package event

import (
	"context"
	"sync"
)

// All is the topic of everything: who publishes it wakes everybody, who
// subscribes to it hears about every app.
const All int64 = 0

// Bus passes wake-up calls on. Its zero value is ready and safe for concurrent use.
type Bus struct {
	mu   sync.Mutex
	subs map[*subscription]struct{}
}

type subscription struct {
	appID int64
	ready chan struct{}
}

// Publish tells that something about the app changed. It never waits: a
// subscriber that has not yet looked is not told twice.
func (b *Bus) Publish(appID int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for s := range b.subs {
		if appID != All && s.appID != All && s.appID != appID {
			continue
		}
		select {
		case s.ready <- struct{}{}:
		default:
		}
	}
}

// Subscribe returns a channel that has something to receive whenever the app
// changed since the last time; never more than one thing. It is never closed,
// and stays quiet after ctx has ended.
func (b *Bus) Subscribe(ctx context.Context, appID int64) <-chan struct{} {
	s := &subscription{appID: appID, ready: make(chan struct{}, 1)}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.subs == nil {
		b.subs = make(map[*subscription]struct{})
	}
	b.subs[s] = struct{}{}
	context.AfterFunc(ctx, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.subs, s)
	})
	return s.ready
}
