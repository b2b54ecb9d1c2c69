package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"landward/internal/config"
	"landward/internal/landward"
	"landward/internal/route/edge"
)

// How a process that ended is started again, and how long one may take to end.
const (
	firstBackoff = 100 * time.Millisecond
	lastBackoff  = 10 * time.Second
	healthyAfter = 10 * time.Second // a process that lived this long starts from the first back-off again
	stopWithin   = 45 * time.Second
)

// Serve runs edge, control and engine, each a process of its own, and starts
// again whichever ends, until ctx ends.
func Serve(ctx context.Context, cfg config.Config) error {
	log := newLog(cfg).With("process", "supervisor")
	if err := makeDirs(cfg); err != nil {
		return err
	}
	held, err := lock(cfg, "serve")
	if err != nil {
		return err
	}
	defer held.Close() //nolint:errcheck // the kernel lets go either way
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find own program: %w", err)
	}
	faces, err := openFaces(cfg)
	if err != nil {
		return err
	}
	defer faces.close()
	// SIGUSR2 puts a new edge, of the program as it is on disk by then, in the
	// place of the one that runs.
	roll := make(chan os.Signal, 1)
	signal.Notify(roll, syscall.SIGUSR2)
	defer signal.Stop(roll)
	// Control ends before the engine that it talks to, the edge last: it can
	// serve without either.
	var group sync.WaitGroup
	stages := []string{"control", "engine", "edge"}
	gone := make([]chan struct{}, len(stages))
	fatal := make(chan error, len(stages))
	for i, role := range stages {
		gone[i] = make(chan struct{})
		roleCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		before := ctx.Done()
		if i > 0 {
			before = gone[i-1]
		}
		group.Go(func() {
			defer close(gone[i])
			k := &keeper{role: role, self: self, env: cfg.Environ(), log: log.With("role", role)}
			if role == "edge" {
				k.files, k.names = faces.files, faces.names
				k.roll, k.ready = roll, edgeServes(cfg)
			}
			if err := k.run(roleCtx); err != nil {
				fatal <- err
			}
		})
		group.Go(func() {
			defer cancel()
			select {
			case <-before:
			case <-gone[i]:
			}
		})
	}
	group.Wait()
	select {
	case err := <-fatal:
		return err
	default:
		return nil
	}
}

// faces are the edge's listeners. They outlive it: who connects while there is
// none waits a moment and is served by the next.
type faces struct {
	files []*os.File
	names []string
}

func openFaces(cfg config.Config) (f faces, err error) {
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	for _, face := range []struct{ name, addr string }{{"http", cfg.HTTP}, {"https", cfg.HTTPS}} {
		if face.addr == "" {
			continue
		}
		l, err := inherited(face.name)
		if err == nil && l == nil {
			l, err = net.Listen("tcp", face.addr)
		}
		if err != nil {
			return f, landward.Errorf(landward.CodeUnavailable, "cannot listen on %s for %s", face.addr, face.name).
				WithHint("another program has the port, or the user may not take it; choose another with --%s", face.name).Wrap(err)
		}
		file, err := l.(*net.TCPListener).File() // a copy
		if err := errors.Join(err, l.Close()); err != nil {
			return f, fmt.Errorf("keep listener %s: %w", face.name, err)
		}
		f.files, f.names = append(f.files, file), append(f.names, face.name)
	}
	return f, nil
}

func (f faces) close() {
	for _, file := range f.files {
		_ = file.Close() // at the end
	}
}

// edgeServes asks whether the edge that answers is the process with an id.
func edgeServes(cfg config.Config) func(ctx context.Context, pid int) bool {
	return func(ctx context.Context, pid int) bool {
		// A client each time: a kept connection leads to the edge before.
		c := edge.NewClient(cfg.EdgeSocket())
		defer c.Close()
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		s, err := c.Status(ctx)
		return err == nil && s.PID == pid
	}
}

// keeper keeps one process running.
type keeper struct {
	role  string
	self  string
	env   []string
	files []*os.File // listeners that outlive the process
	names []string   // of files
	log   *slog.Logger

	// roll asks for a new process in place of the one that runs; ready reports
	// whether the process with that id serves. nil: it is never replaced.
	roll  <-chan os.Signal
	ready func(ctx context.Context, pid int) bool
}

// child is one process.
type child struct {
	pid    int
	signal func(os.Signal) error
	ended  chan struct{} // closed when it has; err is set then
	err    error
}

func (k *keeper) run(ctx context.Context) error {
	backoff := firstBackoff
	for {
		begin := time.Now()
		err := k.once(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(begin) > healthyAfter {
			backoff = firstBackoff
		}
		k.log.Warn("process ended, starting it again", "error", err, "after", backoff)
		t := time.NewTimer(backoff)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		}
		backoff = min(2*backoff, lastBackoff)
	}
}

// once runs the process, and those that take its place, to the end.
func (k *keeper) once(ctx context.Context) error {
	c, err := k.start()
	if err != nil {
		return err
	}
	var old sync.WaitGroup
	defer old.Wait()
	for {
		select {
		case <-c.ended:
			return c.err
		case <-ctx.Done():
			k.stop(c)
			return c.err
		case <-k.roll:
		}
		if next := k.replace(ctx, c); next != nil {
			last := c
			old.Go(func() { k.stop(last) })
			c = next
		}
	}
}

// takeOver is how long a new process may take to serve before the old one goes
// on alone.
const takeOver = 30 * time.Second

// replace starts a new process and waits until it serves. Both have the same
// listeners, so no client notices. nil: it does not serve; the old one goes on.
func (k *keeper) replace(ctx context.Context, old *child) *child {
	next, err := k.start()
	if err != nil {
		k.log.Error("no new process in place of the old", "error", err)
		return nil
	}
	limit, cancel := context.WithTimeout(ctx, takeOver)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !k.ready(limit, next.pid) {
		select {
		case <-next.ended:
		case <-limit.Done():
		case <-tick.C:
			continue
		}
		k.log.Error("the new process does not serve, the old one goes on", "pid", old.pid, "error", next.err)
		k.stop(next)
		return nil
	}
	k.log.Info("process replaced", "pid", next.pid, "old", old.pid)
	return next
}

// start starts the process. The kernel tells it to stop when the supervisor
// dies, however it dies; that is bound to the thread that started it, which
// therefore waits for its end.
func (k *keeper) start() (*child, error) {
	cmd := exec.Command(k.self, k.role)
	cmd.Env = append(os.Environ(), k.env...)
	if len(k.files) > 0 {
		cmd.ExtraFiles = k.files
		cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%d", listenFDs, len(k.files)), listenNames+"="+strings.Join(k.names, ":"))
	}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
	started := make(chan error)
	c := &child{ended: make(chan struct{})}
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		if c.err = cmd.Wait(); c.err == nil {
			c.err = errors.New("exit status 0")
		}
		close(c.ended)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", k.role, err)
	}
	c.pid, c.signal = cmd.Process.Pid, cmd.Process.Signal
	k.log.Info("process started", "pid", c.pid)
	return c, nil
}

// stop ends a process and waits until it has ended.
func (k *keeper) stop(c *child) {
	_ = c.signal(syscall.SIGTERM)
	t := time.NewTimer(stopWithin)
	defer t.Stop()
	select {
	case <-c.ended:
		return
	case <-t.C:
		k.log.Warn("process does not stop, killing it", "pid", c.pid)
		_ = c.signal(os.Kill)
	}
	<-c.ended
}
