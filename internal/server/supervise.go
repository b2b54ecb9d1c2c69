package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"landward/internal/config"
	"landward/internal/route/edge"
	"landward/internal/route/h3"
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
	faces, err := openFaces(cfg, log)
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
				k.faces, k.roll, k.ready = faces, roll, edgeServes(cfg)
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

// keeper keeps one process running. It belongs to the goroutine that runs it.
type keeper struct {
	role  string
	self  string
	env   []string
	faces *faces // sockets that outlive the process; nil: it has none
	log   *slog.Logger

	// roll asks for a new process in place of the one that runs; ready reports
	// whether the process with that id serves. nil: it is never replaced.
	roll  <-chan os.Signal
	ready func(ctx context.Context, pid int) bool

	live     uint           // slots that processes have
	retiring sync.WaitGroup // processes that do not serve, or no longer, and have not ended
	retired  chan *child    // those that have
}

// child is one process.
type child struct {
	slot   int
	pid    int
	signal func(os.Signal) error
	ended  chan struct{} // closed when it has; err is set then
	err    error
}

func (k *keeper) run(ctx context.Context) error {
	k.retired = make(chan *child, h3.Slots)
	defer k.retiring.Wait()
	backoff := firstBackoff
	slot := 0
	for {
		begin := time.Now()
		var err error
		// In the same slot again: what has come for it meanwhile is answered.
		slot, err = k.once(ctx, slot)
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

// once runs the process, and those that take its place, until the one that
// serves ends. It returns the slot that this one had.
func (k *keeper) once(ctx context.Context, slot int) (int, error) {
	c, err := k.start(slot)
	if err != nil {
		return slot, err
	}
	defer func() { k.leave(c) }()
	k.steer(c)
	wanted := false
	for {
		select {
		case <-c.ended:
			return c.slot, c.err
		case <-ctx.Done():
			k.stop(c)
			return c.slot, c.err
		case last := <-k.retired:
			k.leave(last)
			k.steer(c)
		case <-k.roll:
			wanted = true
		}
		free, ok := k.free()
		if !wanted || !ok { // with all slots taken, as soon as one is free
			continue
		}
		wanted = false
		if next := k.replace(ctx, c, free); next != nil {
			k.retire(c)
			c = next
		}
	}
}

// free returns a slot that no process has.
func (k *keeper) free() (slot int, ok bool) {
	for slot := range h3.Slots {
		if k.live&(1<<slot) == 0 {
			return slot, true
		}
	}
	return 0, false
}

func (k *keeper) leave(c *child) { k.live &^= 1 << c.slot }

// steer has new clients go to c.
func (k *keeper) steer(c *child) bool {
	if k.faces == nil {
		return true
	}
	if err := k.faces.steer(c.slot, k.live); err != nil {
		k.log.Error("HTTP/3 clients not led to the process", "pid", c.pid, "error", err)
		return false
	}
	return true
}

// takeOver is how long a new process may take to serve before the old one goes
// on alone.
const takeOver = 30 * time.Second

// replace starts a new process and waits until it serves. Both have the same
// sockets, so no client notices. nil: it does not serve; the old one goes on.
func (k *keeper) replace(ctx context.Context, old *child, slot int) *child {
	next, err := k.start(slot)
	if err != nil {
		k.log.Error("no new process in place of the old", "error", err)
		return nil
	}
	limit, cancel := context.WithTimeout(ctx, takeOver)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !k.ready(limit, next.pid) {
		var err error
		select {
		case <-next.ended:
			err = next.err
		case <-limit.Done():
			err = limit.Err()
		case <-tick.C:
			continue
		}
		k.log.Error("the new process does not serve, the old one goes on", "pid", old.pid, "error", err)
		k.retire(next)
		return nil
	}
	if !k.steer(next) {
		k.retire(next)
		return nil
	}
	k.log.Info("process replaced", "pid", next.pid, "old", old.pid)
	return next
}

// retire ends a process beside everything else. It keeps its slot until then.
func (k *keeper) retire(c *child) {
	k.retiring.Go(func() {
		k.stop(c)
		k.retired <- c
	})
}

// start starts the process, in a slot. The kernel tells it to stop when the supervisor
// dies, however it dies; that is bound to the thread that started it, which
// therefore waits for its end.
func (k *keeper) start(slot int) (*child, error) {
	cmd := exec.Command(k.self, k.role)
	cmd.Env = append(os.Environ(), k.env...)
	if k.faces != nil {
		files, names := k.faces.of(slot)
		cmd.ExtraFiles = files
		cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%d", listenFDs, len(files)), listenNames+"="+strings.Join(names, ":"))
	}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
	started := make(chan error)
	c := &child{slot: slot, ended: make(chan struct{})}
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
	k.live |= 1 << slot
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
