package reconcile

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"landward/internal/engine"
	"landward/internal/failpoint"
	"landward/internal/landward"
)

// Times of a wait for health that no rule sets.
const (
	firstProbe   = 5 * time.Millisecond
	inspectEvery = 250 * time.Millisecond
	settle       = time.Second     // a process that nothing can be asked of must live this long
	wrongPort    = 3 * time.Second // of listening where nobody can reach it, until we say so
)

// await probes the candidate's units until all are healthy, one fails, the
// wish changes or time is up. It returns nil when another look is due.
func (w *worker) await(ctx context.Context, op Await) error {
	begin := w.r.Now()
	for _, u := range op.Units {
		if w.ready[u.ID] {
			continue
		}
		p, svc, _ := op.Candidate.Release.Process(u.Process)
		t := &trial{w: w, cand: op.Candidate, unit: u, process: p, service: svc, begin: begin, last: ProbeResult{}}
		ok, err := t.run(ctx)
		if err != nil || !ok {
			return err
		}
		w.ready[u.ID] = true
	}
	failpoint.Hit("reconcile.healthy")
	return nil
}

// trial is one unit on probation.
type trial struct {
	w       *worker
	cand    Candidate
	unit    engine.Unit
	process landward.Process
	service landward.Service
	begin   time.Time

	box   engine.Container
	last  ProbeResult
	wrong time.Time // since when it has listened elsewhere only
}

// run returns true when the unit is healthy, false when the plan must be made
// anew, or after it has failed the deployment.
func (t *trial) run(ctx context.Context) (bool, error) {
	t.box = t.w.boxes[t.unit.ID]
	rule := t.rule()
	delay := firstProbe
	inspected := t.w.r.Now()
	for {
		if ok, err := t.probe(ctx, rule); ok || err != nil {
			return ok, err
		}
		now := t.w.r.Now()
		if now.Sub(t.begin) > rule.Grace {
			return false, t.w.fail(ctx, t.cand, "starting", t.w.explain(ctx, t.unit, t.box, t.last, t.expected(), rule))
		}
		if !pauseOrWake(ctx, delay, t.w) || now.Sub(inspected) > inspectEvery {
			if ctx.Err() != nil {
				return false, ctx.Err()
			}
			inspected = now
			if again, err := t.inspect(ctx, rule); again || err != nil {
				return false, err
			}
		}
		delay = min(delay*3/2, rule.Interval, inspectEvery)
	}
}

// probe asks the unit once.
func (t *trial) probe(ctx context.Context, rule landward.Health) (bool, error) {
	if !t.cand.Release.Routing.Serves(t.process.Name) && t.process.Port == 0 {
		return t.w.r.Now().Sub(t.box.StartedAt) >= settle && t.box.State == engine.Running, nil
	}
	port := t.expected()
	if found, err := t.found(ctx); err != nil {
		return false, err
	} else if found != 0 {
		port = found
	}
	addr := netip.AddrPortFrom(t.box.Addr, uint16(port)) //nolint:gosec // checked to be a port
	t.last = Probe(ctx, addr, t.host(), rule, t.cand.Release.Routing.Protocol)
	if !t.last.Healthy {
		return false, nil
	}
	out := t.w.out(t.cand.Deployment)
	out.Info("%s.%d is healthy: %s", t.process.Name, t.unit.Index, t.last)
	return true, nil
}

// inspect looks at the container. It returns true when the plan must be made anew.
func (t *trial) inspect(ctx context.Context, rule landward.Health) (again bool, err error) {
	open, err := t.w.r.Store.Deployment(ctx, t.cand.Deployment.ID)
	if err != nil || open.State.Ended() {
		return true, err
	}
	t.box, err = t.w.r.Engine.Inspect(ctx, t.unit.ID)
	if err != nil {
		return true, err
	}
	if t.box.State == engine.Exited {
		return true, t.w.fail(ctx, t.cand, "starting", t.w.explain(ctx, t.unit, t.box, t.last, t.expected(), rule))
	}
	return t.elsewhere(ctx, rule)
}

// elsewhere finds the port that the app really listens on, when it is not the
// expected one: a reachable one is taken, a loopback one explained.
func (t *trial) elsewhere(ctx context.Context, rule landward.Health) (again bool, err error) {
	if t.last.Connected || len(t.box.Listening) == 0 {
		t.wrong = time.Time{}
		return false, nil
	}
	reachable := map[int]bool{}
	for _, l := range t.box.Listening {
		if int(l.Port()) == t.expected() && !l.Addr().IsLoopback() {
			return false, nil
		}
		if !l.Addr().IsLoopback() {
			reachable[int(l.Port())] = true
		}
	}
	now := t.w.r.Now()
	if t.wrong.IsZero() {
		t.wrong = now
		return false, nil
	}
	if len(reachable) == 1 {
		for port := range reachable {
			t.w.out(t.cand.Deployment).Info("%s.%d listens on %d, not on $PORT (%d): traffic goes to %d",
				t.process.Name, t.unit.Index, port, t.expected(), port)
			return false, t.w.r.Store.SetFact(ctx, portFact(t.unit.ID), strconv.Itoa(port))
		}
	}
	if now.Sub(t.wrong) < wrongPort {
		return false, nil
	}
	return true, t.w.fail(ctx, t.cand, "starting", t.w.explain(ctx, t.unit, t.box, t.last, t.expected(), rule))
}

func (t *trial) expected() int {
	return Port(t.cand.Release, t.service, t.process, t.w.r.Defaults)
}

func (t *trial) found(ctx context.Context) (int, error) {
	ports, err := t.w.r.ports(ctx, []engine.Container{t.box})
	return ports[t.unit.ID], err
}

func (t *trial) host() string { return t.w.last.App.Name + "." + t.w.r.Defaults.Domain }

func (t *trial) rule() landward.Health { return healthRule(t.process.Health, t.w.r.Defaults.Health) }

// healthRule fills a rule's gaps in.
func healthRule(h, def landward.Health) landward.Health {
	if h.Interval == 0 {
		h.Interval = def.Interval
	}
	if h.Timeout == 0 {
		h.Timeout = def.Timeout
	}
	if h.Grace == 0 {
		h.Grace = def.Grace
	}
	return h
}

// pauseOrWake waits for d and reports true, or false at once when the worker
// was woken or ctx has ended.
func pauseOrWake(ctx context.Context, d time.Duration, w *worker) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-w.wake:
		return false
	case <-t.C:
		return true
	}
}

// lastWords is how many lines of an app's output a failure shows.
const lastWords = 15

// explain says why a unit did not become healthy: how it ended, what it said
// last, what was asked and answered, where it listens, and what to do.
func (w *worker) explain(ctx context.Context, u engine.Unit, c engine.Container, last ProbeResult, port int, rule landward.Health) *landward.Error {
	name := fmt.Sprintf("%s.%d", u.Process, u.Index)
	e := &landward.Error{Code: landward.CodeFailed}
	switch {
	case c.OOMKilled:
		e.Message = fmt.Sprintf("%s was killed: it used more than its %s of memory", name, size(u.Resources.Memory))
		e.Hint = fmt.Sprintf("give it more: landward limits set %s memory=%s", u.Process, size(2*u.Resources.Memory))
	case c.State == engine.Exited && c.ExitCode == 0:
		e.Message = name + " ended (exit code 0) where it should keep running"
		e.Hint = "its command must stay in the foreground until it is told to stop"
	case c.State == engine.Exited:
		e.Message = fmt.Sprintf("%s ended with exit code %d", name, c.ExitCode)
		e.Hint = exitHint(c.ExitCode)
	default:
		explainListening(e, name, c, last, port, rule)
	}
	e.Cause = w.words(ctx, u.ID)
	return e
}

func explainListening(e *landward.Error, name string, c engine.Container, last ProbeResult, port int, rule landward.Health) {
	var loopback, other []string
	for _, l := range c.Listening {
		if l.Addr().IsLoopback() {
			loopback = append(loopback, l.String())
		} else {
			other = append(other, l.String())
		}
	}
	switch {
	case last.Connected:
		e.Message = fmt.Sprintf("%s did not become healthy within %s: %s", name, rule.Grace, last)
		e.Hint = last.hint()
	case len(loopback) > 0 && len(other) == 0:
		e.Message = fmt.Sprintf("your app listens on %s; it must listen on 0.0.0.0:$PORT (%d)", strings.Join(loopback, ", "), port)
		e.Hint = "an address of 127.0.0.1 or localhost can be reached from inside its container only; bind to 0.0.0.0"
	case len(other) > 0:
		e.Message = fmt.Sprintf("%s listens on %s, not on $PORT (%d)", name, strings.Join(other, ", "), port)
		e.Hint = "listen on 0.0.0.0:$PORT, or name the port: `landward config set PORT=…`, or `port:` in landward.yaml"
	default:
		e.Message = fmt.Sprintf("%s runs but listens on no port after %s; it must listen on 0.0.0.0:$PORT (%d)", name, rule.Grace, port)
		e.Hint = "if it only needs longer to start, raise `grace` of its health rule; if it serves nothing, name its process other than web"
	}
}

func exitHint(code int) string {
	switch code {
	case 126:
		return "126: its command was found but cannot be executed; is it a program for this machine, with the executable bit?"
	case 127:
		return "127: its command was not found in the image; check the Procfile and the Dockerfile's CMD"
	case 137:
		return "137: it was killed (SIGKILL) by itself or by the host"
	}
	return "its last lines are above; run the same image by hand with `landward run`"
}

// words returns the unit's last lines.
func (w *worker) words(ctx context.Context, unit string) string {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	var lines []string
	err := w.r.Engine.Logs(ctx, unit, engine.LogOptions{Tail: lastWords}, func(l engine.LogLine) error {
		lines = append(lines, "| "+landward.CleanLine(l.Text))
		return nil
	})
	if err != nil {
		w.log.Warn("last lines not read", "unit", unit, "error", err)
	}
	if len(lines) == 0 {
		return "(it wrote nothing)"
	}
	return strings.Join(lines, "\n")
}

// size writes bytes as people set them.
func size(n int64) string {
	switch {
	case n >= 1<<30 && n%(1<<30) == 0:
		return fmt.Sprintf("%dG", n>>30)
	default:
		return fmt.Sprintf("%dM", n>>20)
	}
}

func names(units []engine.Unit) string {
	var out []string
	for _, u := range units {
		out = append(out, fmt.Sprintf("%s.%d", u.Process, u.Index))
	}
	return strings.Join(out, ", ")
}
