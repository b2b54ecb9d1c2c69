package git

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"landward/internal/landward"
	"landward/internal/source"
)

// killAfter is how long git may take to end once it was told to.
const killAfter = 5 * time.Second

// inOwnGroup puts git and its children in a process group of their own: a
// Ctrl-C at the server's terminal does not reach it, and a kill reaches all.
func inOwnGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = killAfter
	cmd.Cancel = func() error { return killGroup(cmd) }
}

func killGroup(cmd *exec.Cmd) error {
	err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	if errors.Is(err, syscall.ESRCH) {
		return nil // all of it has ended
	}
	return err
}

// start starts git with its memory and CPU bounded, before it has read a byte
// of input. The limits hold for its children too.
func (g *Git) start(cmd *exec.Cmd) error {
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start git: %w", err)
	}
	for resource, limit := range map[int]uint64{
		unix.RLIMIT_DATA: uint64(g.limits.Memory),
		unix.RLIMIT_CPU:  uint64(g.limits.CPU / time.Second),
		unix.RLIMIT_CORE: 0,
	} {
		err := unix.Prlimit(cmd.Process.Pid, resource, &unix.Rlimit{Cur: limit, Max: limit}, nil)
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return errors.Join(fmt.Errorf("limit git: %w", err), killGroup(cmd), cmd.Wait())
		}
	}
	return nil
}

// Session is the client's end of a transfer.
type Session struct {
	In  io.ReadCloser // Close must unblock a Read
	Out io.Writer     // must not block for ever; an error means that the client is gone
	Err io.Writer     // git's own complaints, as lines; nil throws them away
	// Protocol is what the client asked for: "version=2". Anything else is
	// ignored.
	Protocol string
	// Stateless is smart HTTP: one request and its answer.
	Stateless bool
}

// converse runs cmd with the client at its ends and returns git's exit code.
// A client that hangs up does not stop git: what is left of its input ends, and
// its output goes nowhere. When ctx ends, its cause is the error.
func (g *Git) converse(ctx context.Context, cmd *exec.Cmd, c Session, in io.Reader) (int, error) {
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return 0, fmt.Errorf("make pipe: %w", err)
	}
	cmd.Stdout = &detachable{w: c.Out}
	if c.Err != nil {
		cmd.Stderr = &detachable{w: c.Err}
	}
	// The end of its input makes git end and remove its temporary objects; a
	// signal would leave them. It is killed only where that takes too long.
	cmd.Cancel = c.In.Close
	if err := g.start(cmd); err != nil {
		return 0, err
	}
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		_, _ = io.Copy(stdin, in) // git judges what it got
		_ = stdin.Close()
	}()
	err = cmd.Wait()
	if ctx.Err() != nil {
		err = errors.Join(err, killGroup(cmd)) // children that outlived it
	}
	_ = c.In.Close()
	<-copied

	var exit *exec.ExitError
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		return cmd.ProcessState.ExitCode(), nil
	case ctx.Err() != nil:
		return 0, context.Cause(ctx)
	case errors.As(err, &exit) && exit.Exited():
		return exit.ExitCode(), nil
	}
	return 0, fmt.Errorf("run git: %w", err)
}

// named makes git's complaints speak of the app, not of a path on the server.
func (c Session) named(repo source.Repo) Session {
	if c.Err != nil {
		c.Err = &complaints{w: c.Err, repo: repo}
	}
	return c
}

// complaints cleans what git writes to its standard error, which it does a
// line or more at a time.
type complaints struct {
	w    io.Writer
	repo source.Repo
}

func (c *complaints) Write(p []byte) (int, error) {
	text := strings.ReplaceAll(string(p), c.repo.Dir, c.repo.App)
	for line := range strings.Lines(text) {
		if _, err := io.WriteString(c.w, cleanLine(strings.TrimSuffix(line, "\n"))+"\n"); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// detachable writes until the first error and then swallows, so that git never
// notices that nobody listens any more.
type detachable struct {
	w    io.Writer
	gone bool
}

func (d *detachable) Write(p []byte) (int, error) {
	if !d.gone {
		if _, err := d.w.Write(p); err != nil {
			d.gone = true
		}
	}
	return len(p), nil
}

// patience ends a transfer that makes no progress. It stops watching when the
// hook is asked: from then on the client is only a listener.
type patience struct {
	r     io.Reader
	idle  time.Duration
	timer *time.Timer
	total *time.Timer
	asked *atomic.Bool
}

// newPatience watches reads from r; giveUp is called with the reason.
func newPatience(r io.Reader, l Limits, asked *atomic.Bool, giveUp context.CancelCauseFunc) *patience {
	p := &patience{r: r, idle: l.Idle, asked: asked}
	end := func(code landward.Code, format string, d time.Duration) func() {
		return func() {
			if !p.asked.Load() {
				giveUp(landward.Errorf(code, format, d).WithHint("check the connection and push again"))
			}
		}
	}
	p.timer = time.AfterFunc(l.Idle, end(landward.CodeTimeout, "no data came for %s", l.Idle))
	p.total = time.AfterFunc(l.Transfer, end(landward.CodeTimeout, "the transfer took longer than %s", l.Transfer))
	return p
}

func (p *patience) Read(b []byte) (int, error) {
	p.timer.Reset(p.idle)
	n, err := p.r.Read(b)
	p.timer.Stop() // git is busy now, not the client
	return n, err
}

func (p *patience) stop() {
	p.timer.Stop()
	p.total.Stop()
}
