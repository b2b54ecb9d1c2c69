package reconcile

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"landward/internal/landward"
	"landward/internal/route"
)

// Edge is what the reconciler asks of the edge.
type Edge interface {
	// PutTable makes the edge use the table of a text (route.Table.Text); when it
	// returns nil every later request goes by it.
	PutTable(ctx context.Context, text []byte) error
	// Drain waits until the units have no request left, or cuts those that
	// remain at the limit.
	Drain(ctx context.Context, units []string, limit time.Duration) error
	// Generation returns the generation of the table in use.
	Generation(ctx context.Context) (int64, error)
	// Trial returns what was counted while the app's canary runs, nil without one.
	Trial(ctx context.Context, appID int64) (*route.Trial, error)
}

// routes holds every app's share of the table and sends the whole each time
// that one changes.
type routes struct {
	edge   Edge
	system share
	now    func() time.Time
	log    *slog.Logger

	mu         sync.Mutex
	byApp      map[int64]share
	generation int64
	whole      bool // every app has been put once
	sent       bool // the edge has our latest
}

// share is an app's share and its lines of the table's text, made once.
type share struct {
	Share
	text []byte
}

func shared(s Share) share {
	out := share{Share: s}
	for i := range s {
		out.text = route.AppendRoute(out.text, &s[i])
	}
	return out
}

// checkEvery is how often the edge is asked whether it still has our table: an
// edge that lost its file gets it again.
const checkEvery = 5 * time.Second

func newRoutes(edge Edge, domain, socket string, now func() time.Time, log *slog.Logger) *routes {
	return &routes{
		edge: edge, now: now, log: log, byApp: map[int64]share{},
		system: shared(Share{{App: "landward", Hosts: []string{"landward." + domain}, State: route.StateUp, Socket: socket, Compress: landward.SwitchOff,
			// Uploads have limits of their own there, and some answers take as long as a build.
			Limits: route.Limits{MaxBody: -1, AnswerWithin: time.Hour}}}),
	}
}

// put notes an app's share without sending it.
func (t *routes) put(appID int64, s Share) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byApp[appID] = shared(s)
}

// get returns the app's share as last set.
func (t *routes) get(appID int64) Share {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byApp[appID].Share
}

// ready says that every app has been put, and sends the table.
func (t *routes) ready(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.send(ctx); err != nil {
		return err
	}
	t.whole = true
	return nil
}

func (t *routes) isReady() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.whole
}

// set changes one app's share in the edge. On an error the edge still has what
// it had, and so have we.
func (t *routes) set(ctx context.Context, appID int64, s Share) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	old, had := t.byApp[appID]
	t.byApp[appID] = shared(s)
	if err := t.send(ctx); err != nil {
		if had {
			t.byApp[appID] = old
		} else {
			delete(t.byApp, appID)
		}
		return err
	}
	return nil
}

// remove takes an app out of the table.
func (t *routes) remove(ctx context.Context, appID int64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	old, had := t.byApp[appID]
	if !had {
		return nil
	}
	delete(t.byApp, appID)
	if err := t.send(ctx); err != nil {
		t.byApp[appID] = old
		return err
	}
	return nil
}

// send sends the whole table. Generations go up across restarts because they
// start from the clock.
func (t *routes) send(ctx context.Context) error {
	t.sent = false
	t.generation = max(t.generation+1, t.now().UnixMicro())
	n := len(t.system.Share)
	for _, s := range t.byApp {
		n += len(s.Share)
	}
	text := append(route.AppendHead(nil, t.generation, t.now(), n), t.system.text...)
	for _, app := range slices.Sorted(maps.Keys(t.byApp)) {
		text = append(text, t.byApp[app].text...)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := t.edge.PutTable(ctx, text); err != nil {
		if landward.CodeOf(err) == landward.CodeConflict {
			// The edge has a newer table, made while the clock was ahead: go past it.
			if have, genErr := t.edge.Generation(ctx); genErr == nil {
				t.generation = max(t.generation, have)
			}
		}
		return err
	}
	t.sent = true
	return nil
}

// run sends the table again whenever the edge does not have it.
func (t *routes) run(ctx context.Context) error {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		t.mu.Lock()
		have, err := t.edge.Generation(ctx)
		if err == nil && (!t.sent || have != t.generation) {
			err = t.send(ctx)
		}
		t.mu.Unlock()
		if err != nil && ctx.Err() == nil {
			t.log.Warn("edge has not the latest routes", "error", err)
		}
	}
}
