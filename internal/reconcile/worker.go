package reconcile

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"landward/internal/engine"
	"landward/internal/landward"
	"landward/internal/logs"
)

// worker is one app's own loop: observe, plan, do, again.
type worker struct {
	r     *Reconciler
	appID int64
	log   *slog.Logger
	wake  chan struct{}
	// stale says that the containers may not be those last seen.
	stale atomic.Bool

	// Only run's goroutine uses these.
	ready map[string]bool
	last  Desired
	seen  []engine.Container          // at the last look at the engine
	boxes map[string]engine.Container // those, by unit
	// collected is the version after whose taking over old ones were collected.
	collected int

	mu       sync.Mutex
	retiring map[string]context.CancelFunc
	gone     map[string]chan struct{} // closed when a retirement has ended
	adopting map[string]bool          // until a look shows that it is done
	adopted  []string                 // of them, those that Docker has been told about
	kept     int                      // version whose images were tagged last
	keeping  bool                     // images are being tagged
}

func newWorker(r *Reconciler, appID int64) *worker {
	w := &worker{
		r: r, appID: appID, log: r.Log.With("app_id", appID),
		wake: make(chan struct{}, 1), ready: map[string]bool{},
		retiring: map[string]context.CancelFunc{}, gone: map[string]chan struct{}{},
		adopting: map[string]bool{},
	}
	w.stale.Store(true)
	return w
}

// poke has the worker plan again.
func (w *worker) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// stir has it look at the containers, too.
func (w *worker) stir() {
	w.stale.Store(true)
	w.poke()
}

// Waits between two tries after an error.
const (
	firstRetry = 200 * time.Millisecond
	lastRetry  = 15 * time.Second
)

func (w *worker) run(ctx context.Context) {
	retry := firstRetry
	for {
		next, done, err := w.pass(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case done:
			w.r.drop(w.appID)
			return
		case err != nil:
			w.log.Warn("reconcile", "error", err)
			next, retry = retry, min(2*retry, lastRetry)
		default:
			retry = firstRetry
		}
		t := time.NewTimer(next)
		select {
		case <-ctx.Done():
		case <-w.wake:
		case <-t.C:
		}
		t.Stop()
	}
}

// maxSteps bounds one pass: a plan that never becomes empty is a bug that must
// not burn a core.
const maxSteps = 50

// pass plans and does until there is nothing to do. It returns when to look
// again; done when the app is gone for good.
func (w *worker) pass(ctx context.Context) (next time.Duration, done bool, err error) {
	for range maxSteps {
		d, o, err := w.look(ctx)
		if landward.CodeOf(err) == landward.CodeNotFound {
			return 0, true, nil
		}
		if err != nil {
			return 0, false, err
		}
		w.last = d
		w.keepImages(ctx, d.Current)
		ops := Plan(d, o, w.r.Defaults)
		if len(ops) == 0 {
			w.atRest(ctx)
			return w.nextLook(d, o), false, nil
		}
		if err := w.do(ctx, ops); err != nil {
			return 0, false, err
		}
	}
	return firstRetry, false, nil
}

func (w *worker) look(ctx context.Context) (Desired, Observed, error) {
	d, err := w.r.desired(ctx, w.appID)
	if err != nil {
		return d, Observed{}, err
	}
	if err := w.see(ctx); err != nil {
		return d, Observed{}, w.whileBlind(ctx, d, err)
	}
	ports, err := w.r.ports(ctx, w.seen)
	if err != nil {
		return d, Observed{}, err
	}
	w.mu.Lock()
	retiring := make(map[string]bool, len(w.retiring))
	for id := range w.retiring {
		retiring[id] = true
	}
	adopting := maps.Clone(w.adopting)
	w.mu.Unlock()
	return d, Observed{
		Now: w.r.Now(), Containers: w.seen, Ready: w.ready, Ports: ports,
		Retiring: retiring, Adopting: adopting, Share: w.r.routes.get(w.appID), Canary: w.measured(ctx, d),
	}, nil
}

// see looks at the app's containers, unless nothing has happened to them since:
// a busy Docker takes its time to list them, and a way back that is asked for
// should not wait for that.
func (w *worker) see(ctx context.Context) error {
	if !w.stale.Swap(false) && w.r.watching.Load() {
		return nil
	}
	w.mu.Lock()
	done := len(w.adopted)
	w.mu.Unlock()
	containers, err := w.r.Engine.List(ctx, w.appID)
	if err != nil {
		w.stale.Store(true)
		return err
	}
	w.mu.Lock()
	for _, id := range w.adopted[:done] {
		delete(w.adopting, id)
	}
	w.adopted = w.adopted[done:]
	w.mu.Unlock()
	w.r.output.follow(containers)
	w.seen, w.boxes = containers, make(map[string]engine.Container, len(containers))
	for _, c := range containers {
		w.boxes[c.Unit] = c
	}
	w.forgetReady()
	return nil
}

// whileBlind ends a candidate whose deadline has passed even though the engine
// cannot be asked: no deployment hangs because dockerd does.
func (w *worker) whileBlind(ctx context.Context, d Desired, blind error) error {
	c := d.Candidate
	if c == nil || !w.r.Now().After(c.Deployment.Deadline) {
		return blind
	}
	return w.fail(ctx, *c, "starting", landward.AsError(blind))
}

// forgetReady drops what is known about containers that have gone or ended.
func (w *worker) forgetReady() {
	for id := range w.ready {
		if w.boxes[id].State != engine.Running {
			delete(w.ready, id)
		}
	}
}

// nextLook is when time alone changes the plan.
func (w *worker) nextLook(d Desired, o Observed) time.Duration {
	next := time.Hour
	if d.Previous != nil {
		next = min(next, d.App.WarmUntil.Sub(o.Now))
	}
	if d.Candidate != nil {
		next = min(next, d.Candidate.Deployment.Deadline.Sub(o.Now))
		if d.Candidate.Trial != nil {
			next = min(next, judgeEvery)
		}
	}
	return max(next+time.Millisecond, time.Millisecond)
}

// do carries the operations out in order. An operation that fails ends the
// pass, but for the upkeep of what runs already: a container that cannot be
// started must not keep the app's other wishes from coming true.
func (w *worker) do(ctx context.Context, ops []Op) error {
	var upkeep error
	for _, op := range ops {
		err := w.step(ctx, op)
		if s, ok := op.(Start); ok && !s.Probation && err != nil {
			upkeep = err
			continue
		}
		if err != nil {
			return err
		}
	}
	return upkeep
}

func (w *worker) step(ctx context.Context, op Op) error {
	switch op := op.(type) {
	case RemoveApp:
		w.stale.Store(true)
		return w.removeApp(ctx)
	case RunPhase:
		w.stale.Store(true)
		return w.runPhase(ctx, op.Candidate)
	case Start:
		w.stale.Store(true)
		return w.start(ctx, op)
	case Adopt:
		w.adopt(ctx, op.Units)
		return nil
	case Await:
		return w.await(ctx, op)
	case SetRoute:
		return w.r.routes.set(ctx, w.appID, op.Share)
	case Commit:
		return w.commit(ctx, op)
	case Fail:
		return w.failed(ctx, op)
	case StepCanary:
		return w.stepCanary(ctx, op)
	case AbortCanary:
		return w.abortCanary(ctx, op)
	case Revert:
		return w.revert(ctx, op)
	case EndWarm:
		return w.r.Store.EndWarm(ctx, w.appID, w.last.App.Current)
	case Retire:
		w.retire(ctx, op.Units)
		return nil
	}
	return fmt.Errorf("unknown operation %T", op)
}

// out returns the writer of the candidate's lines.
func (w *worker) out(dep landward.Deployment) *logs.Output {
	return w.r.Logs.Output(dep.AppID, dep.ID, w.r.Now, w.log)
}

// say adds a line of Landward's own to the app's log.
func (w *worker) say(source, format string, args ...any) {
	err := w.r.Logs.AppendApp(w.appID, logs.Line{
		At: w.r.Now(), Kind: logs.KindSystem, Source: source, Text: landward.CleanLine(fmt.Sprintf(format, args...)),
	})
	if err != nil {
		w.log.Warn("log line lost", "error", err)
	}
}
