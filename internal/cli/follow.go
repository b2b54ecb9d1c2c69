package cli

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"landward/client"
)

// follower watches one deployment to its end. The server goes on without it:
// a follower may come back as often as it likes.
type follower struct {
	f      *factory
	client *client.Client
	app    string
	number int
	shown  int    // lines that were printed
	told   string // the last lines with a mark, to not say a failure twice
}

// retryFor is how long a follower looks for a server that went away, as it
// does when Landward is upgraded in the middle of a deployment.
const retryFor = 60 * time.Second

// follow prints a deployment's lines until it ends and answers with it. What
// did not become live is an error, which its lines have explained.
func (f *factory) follow(ctx context.Context, c *client.Client, d client.Deployment) error {
	return f.followTo(ctx, c, d, func(end client.Deployment) any { return end })
}

// followTo is follow with another answer for programs.
func (f *factory) followTo(ctx context.Context, c *client.Client, d client.Deployment, answer func(end client.Deployment) any) error {
	w := &follower{f: f, client: c, app: d.App, number: d.Number}
	end, err := w.watch(ctx)
	if ctx.Err() != nil {
		f.detached(d)
		return exitStatus(exitInterrupted)
	}
	if err != nil {
		return err
	}
	if f.json {
		if err := writeJSON(f.Stdout, answer(end), "  "); err != nil {
			return err
		}
	}
	failure := end.Err()
	if failure == nil {
		return nil
	}
	if lines := explain(failure); !strings.Contains(w.told, clean(lines[0])) {
		complain(f.Stderr, lines...)
	}
	return exitStatus(exitFailed)
}

// detached says that the deployment goes on, and how to come back to it.
func (f *factory) detached(d client.Deployment) {
	f.note("")
	f.note("Detached; deployment %d of %s goes on.", d.Number, d.App)
	f.note("Follow it: landward deploys output %d -f -a %s", d.Number, d.App)
	f.note("Cancel it: landward deploys cancel %d -a %s", d.Number, d.App)
}

// watch reads the output to its end, and again from where it was when the
// connection breaks.
func (w *follower) watch(ctx context.Context) (client.Deployment, error) {
	var lost time.Time
	delay := 250 * time.Millisecond
	for {
		before := w.shown
		end, err := w.read(ctx, true)
		if err == nil || !broken(err) {
			return end, err
		}
		now := w.f.Now()
		if lost.IsZero() || w.shown > before {
			lost, delay = now, 250*time.Millisecond
		}
		if now.Sub(lost) > retryFor {
			return end, err
		}
		select {
		case <-ctx.Done():
			return end, ctx.Err()
		case <-time.After(delay):
		}
		delay = min(2*delay, 4*time.Second)
	}
}

// broken reports whether err is the connection's fault, not the deployment's.
func broken(err error) bool {
	return errors.Is(err, io.ErrUnexpectedEOF) || client.CodeOf(err) == client.CodeUnavailable
}

// read prints the lines of the output that were not shown yet.
func (w *follower) read(ctx context.Context, wait bool) (client.Deployment, error) {
	out := w.f.Stdout
	if w.f.json {
		out = w.f.Stderr
	}
	n := 0
	return w.client.DeployOutput(ctx, w.app, w.number, wait, func(line client.LogLine) error {
		n++
		if n <= w.shown {
			return nil
		}
		w.shown = n
		text := clean(line.Text)
		if strings.HasPrefix(text, " !") {
			w.told += text + "\n"
		}
		_, err := io.WriteString(out, text+"\n")
		return err
	})
}

// changed answers a change of settings: it follows the deployment that carries
// the change out, where there is one.
func (f *factory) changed(ctx context.Context, c *client.Client, d *client.Deployment, detach bool, err error) error {
	switch {
	case err != nil:
		return err
	case d == nil:
		return f.show(client.Changed{}, func() { f.printf("Saved. No new release was needed.\n") })
	case detach:
		return f.started(*d)
	}
	return f.follow(ctx, c, *d)
}

// started answers for a deployment that nobody wants to watch.
func (f *factory) started(d client.Deployment) error {
	return f.show(d, func() {
		f.printf("Deployment %d of %s is %s. Follow it: landward deploys output %d -f -a %s\n",
			d.Number, d.App, d.State, d.Number, d.App)
	})
}
