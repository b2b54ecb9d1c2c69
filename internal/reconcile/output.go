package reconcile

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"landward/internal/engine"
	"landward/internal/landward"
	"landward/internal/logs"
)

// collector copies what containers write into the app's log, so that it stays
// when they are gone. One goroutine follows each running container.
type collector struct {
	engine engine.Engine
	logs   *logs.Store
	now    func() time.Time
	log    *slog.Logger

	mu        sync.Mutex
	ctx       context.Context // of run; nil while it is not running
	group     sync.WaitGroup
	following map[string]chan struct{} // unit → closed at its end
	seen      map[int64]map[string]time.Time
}

func newCollector(e engine.Engine, l *logs.Store, now func() time.Time, log *slog.Logger) *collector {
	return &collector{engine: e, logs: l, now: now, log: log, following: map[string]chan struct{}{}, seen: map[int64]map[string]time.Time{}}
}

// run lets follow work until ctx ends, and then waits for the followers.
func (c *collector) run(ctx context.Context) error {
	c.mu.Lock()
	c.ctx = ctx
	c.mu.Unlock()
	<-ctx.Done()
	c.mu.Lock()
	c.ctx = nil
	c.mu.Unlock()
	c.group.Wait()
	return ctx.Err()
}

// follow makes sure that each container's output is being copied, or was until
// its end.
func (c *collector) follow(boxes []engine.Container) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx == nil {
		return
	}
	for _, b := range boxes {
		if c.following[b.Unit] != nil || b.State == engine.Created || b.Kind == engine.KindRun || b.Kind == engine.KindCron {
			continue
		}
		since, done := c.since(b)
		if done {
			continue
		}
		ended := make(chan struct{})
		c.following[b.Unit] = ended
		ctx := c.ctx
		c.group.Add(1)
		go func() {
			defer c.group.Done()
			c.copy(ctx, b, since)
			c.mu.Lock()
			delete(c.following, b.Unit)
			c.mu.Unlock()
			close(ended)
		}()
	}
}

// since returns where to go on: after the last line that was kept. done when
// the container has ended and all of it was.
func (c *collector) since(b engine.Container) (since time.Time, done bool) {
	seen := c.seen[b.AppID]
	if seen == nil {
		var err error
		if seen, err = c.logs.LastSeen(b.AppID); err != nil {
			c.log.Warn("log not read", "app_id", b.AppID, "error", err)
			seen = map[string]time.Time{}
		}
		c.seen[b.AppID] = seen
	}
	since = seen[b.Unit]
	return since, b.State == engine.Exited && !since.Before(b.FinishedAt)
}

func (c *collector) copy(ctx context.Context, b engine.Container, since time.Time) {
	source := b.Process
	if b.Kind == engine.KindProcess {
		source = fmt.Sprintf("%s.%d", b.Process, b.Index)
	}
	last := since
	err := c.engine.Logs(ctx, b.Unit, engine.LogOptions{Follow: true, Since: since}, func(l engine.LogLine) error {
		if !l.At.After(since) {
			return nil // the engine's clock is coarser than its lines
		}
		last = l.At
		return c.logs.AppendApp(b.AppID, logs.Line{
			At: l.At, Kind: logs.KindApp, Source: source, Unit: b.Unit, Stderr: l.Stderr, Text: landward.CleanLine(l.Text),
		})
	})
	if err != nil && ctx.Err() == nil && landward.CodeOf(err) != landward.CodeNotFound {
		c.log.Warn("output lost", "unit", b.Unit, "error", err)
	}
	if ctx.Err() == nil && err == nil {
		if now := c.now(); b.State == engine.Exited && last.Before(now) {
			last = now // it wrote nothing more before it ended
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if seen := c.seen[b.AppID]; seen != nil {
		seen[b.Unit] = last
	}
}

// wait waits, not for long, until a container that has ended was copied whole.
func (c *collector) wait(ctx context.Context, unit string) {
	c.mu.Lock()
	ended := c.following[unit]
	c.mu.Unlock()
	if ended == nil {
		return
	}
	t := time.NewTimer(2 * time.Second)
	defer t.Stop()
	select {
	case <-ended:
	case <-ctx.Done():
	case <-t.C:
	}
}
