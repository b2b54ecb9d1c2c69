package reconcile

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/robfig/cron/v3"
	"golang.org/x/sync/errgroup"

	"landward/internal/engine"
	"landward/internal/landward"
	"landward/internal/logs"
)

// scheduler runs the cron jobs of current releases. A job's run is written down
// by its due time before it starts, so that no restart and no step of the clock runs it twice.
type scheduler struct {
	r       *Reconciler
	jobs    map[int64]jobs // by app; only run's goroutine uses it
	mu      sync.Mutex
	running map[string]map[int64]context.CancelFunc // "app/name" → run → stop
}

// jobs are what a version schedules. Versions never change, so they are read
// once.
type jobs struct {
	version int
	cron    []landward.Cron
}

// cronTimeout bounds one run of a job.
const cronTimeout = 6 * time.Hour

func (s *scheduler) run(ctx context.Context) error {
	s.running = map[string]map[int64]context.CancelFunc{}
	s.jobs = map[int64]jobs{}
	s.forgetLost(ctx)
	group, gctx := errgroup.WithContext(ctx)
	last := s.r.Now()
	for {
		// To the next full second: schedules have minutes, tests have less patience.
		if !pause(ctx, time.Second-time.Duration(s.r.Now().Nanosecond())) {
			break
		}
		now := s.r.Now()
		if now.Before(last) {
			last = now // the clock was set back: what is due again was run already
		}
		apps, err := s.r.Store.Apps(ctx)
		if err != nil {
			s.r.Log.Warn("cron", "error", err)
			continue
		}
		for _, app := range apps {
			if app.Current != 0 && !app.Stopped {
				s.due(gctx, group, app, last, now)
			}
		}
		last = now
	}
	_ = group.Wait()
	return ctx.Err()
}

// forgetLost ends the runs of a process that is no more: their containers are
// removed with them.
func (s *scheduler) forgetLost(ctx context.Context) {
	runs, err := s.r.Store.RunningCrons(ctx)
	if err != nil {
		s.r.Log.Warn("cron", "error", err)
	}
	for _, run := range runs {
		id := cronUnit(run.AppID, run.ID)
		err := s.r.Engine.Remove(ctx, id, 0)
		if err == nil {
			err = s.r.Store.EndCron(ctx, run.ID, "lost", 0, "Landward was restarted while it ran")
		}
		if err != nil {
			s.r.Log.Warn("cron run not ended", "run", run.ID, "error", err)
		}
	}
}

func cronUnit(appID, run int64) string { return fmt.Sprintf("a%d-cron-%d", appID, run) }

// due starts the jobs of one app whose time came in (last, now]. Only the
// newest due time of a job counts: a host that slept does not catch up.
func (s *scheduler) due(ctx context.Context, group *errgroup.Group, app landward.App, last, now time.Time) {
	known, ok := s.jobs[app.ID]
	if !ok || known.version != app.Current {
		rel, err := s.r.Store.Release(ctx, app.ID, app.Current)
		if err != nil {
			s.r.Log.Warn("cron", "app", app.Name, "error", err)
			return
		}
		known = jobs{version: app.Current, cron: rel.Cron}
		s.jobs[app.ID] = known
	}
	for _, job := range known.cron {
		schedule, err := cron.ParseStandard(job.Schedule)
		if err != nil {
			continue // refused when the release was planned
		}
		var at time.Time
		for t := schedule.Next(last.UTC()); !t.IsZero() && !t.After(now.UTC()); t = schedule.Next(t) {
			at = t
		}
		if !at.IsZero() {
			s.launch(ctx, group, app, job, at)
		}
	}
}

func (s *scheduler) launch(ctx context.Context, group *errgroup.Group, app landward.App, job landward.Cron, at time.Time) {
	rel, err := s.r.Store.Release(ctx, app.ID, app.Current)
	if err != nil {
		s.r.Log.Warn("cron", "app", app.Name, "error", err)
		return
	}
	key := fmt.Sprintf("%d/%s", app.ID, job.Name)
	s.mu.Lock()
	before := s.running[key]
	s.mu.Unlock()
	state := "running"
	if len(before) > 0 && job.Overlap == landward.OverlapForbid {
		state = "skipped"
	}
	run, first, err := s.r.Store.StartCron(ctx, app.ID, job.Name, at, state)
	if err != nil || !first {
		if err != nil {
			s.r.Log.Warn("cron", "app", app.Name, "error", err)
		}
		return
	}
	if state == "skipped" {
		s.say(app.ID, job, "skipped: the run before has not ended")
		return
	}
	if job.Overlap == landward.OverlapReplace {
		for _, stop := range before {
			stop()
		}
	}
	ctx, stop := context.WithTimeout(ctx, cronTimeout)
	s.mu.Lock()
	if s.running[key] == nil {
		s.running[key] = map[int64]context.CancelFunc{}
	}
	s.running[key][run.ID] = stop
	s.mu.Unlock()
	group.Go(func() error {
		defer stop()
		s.runJob(ctx, app, rel, job, run.ID)
		s.mu.Lock()
		delete(s.running[key], run.ID)
		s.mu.Unlock()
		return nil
	})
}

func (s *scheduler) runJob(ctx context.Context, app landward.App, rel landward.Release, job landward.Cron, run int64) {
	u := OneOff(app, rel, job.Command, s.r.Defaults)
	u.Process, u.Kind, u.ID = "cron-"+job.Name, engine.KindCron, cronUnit(app.ID, run)
	w := &lineWriter{fn: func(text string) {
		_ = s.r.Logs.AppendApp(app.ID, logs.Line{At: s.r.Now(), Kind: logs.KindApp, Source: "cron." + job.Name, Unit: u.ID, Text: landward.CleanLine(text)})
	}}
	exit, err := s.r.Runner.Run(ctx, u, engine.Streams{Stdout: w, Stderr: w})
	w.flush()
	state, message := "done", ""
	switch {
	case err != nil && ctx.Err() != nil:
		state, message = "failed", "stopped: replaced, out of time, or Landward was stopped"
	case err != nil:
		state, message = "failed", landward.AsError(err).Message
	case exit != 0:
		state = "failed"
	}
	// Written even while stopping, so that the next start has nothing to forget.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := s.r.Store.EndCron(ctx, run, state, exit, message); err != nil {
		s.r.Log.Warn("cron run not ended", "run", run, "error", err)
	}
	if state == "failed" {
		s.say(app.ID, job, "failed with exit code %d %s", exit, message)
	}
}

func (s *scheduler) say(appID int64, job landward.Cron, format string, args ...any) {
	_ = s.r.Logs.AppendApp(appID, logs.Line{At: s.r.Now(), Kind: logs.KindSystem, Source: "cron." + job.Name, Text: fmt.Sprintf(format, args...)})
}

// lineWriter cuts a stream into lines of at most maxLine bytes.
type lineWriter struct {
	mu  sync.Mutex
	buf []byte
	fn  func(string)
}

const maxLine = 16 << 10

func (w *lineWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, b := range p {
		if b == '\n' || len(w.buf) >= maxLine {
			w.fn(string(w.buf))
			w.buf = w.buf[:0]
		}
		if b != '\n' && b != '\r' {
			w.buf = append(w.buf, b)
		}
	}
	return len(p), nil
}

func (w *lineWriter) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.buf) > 0 {
		w.fn(string(w.buf))
		w.buf = nil
	}
}
