package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"landward/internal/config"
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

// keeper keeps one process running.
type keeper struct {
	role string
	self string
	env  []string
	log  *slog.Logger
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

// once runs the process to its end. The kernel tells it to stop when the
// supervisor dies, however it dies; that is bound to the thread that started
// it, which therefore waits here.
func (k *keeper) once(ctx context.Context) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.Command(k.self, k.role)
	cmd.Env = append(os.Environ(), k.env...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", k.role, err)
	}
	k.log.Info("process started", "pid", cmd.Process.Pid)
	ended := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		k.stopWhenTold(ctx, cmd.Process, ended)
	}()
	err := cmd.Wait()
	close(ended)
	<-stopped
	if err == nil {
		err = errors.New("exit status 0")
	}
	return err
}

func (k *keeper) stopWhenTold(ctx context.Context, p *os.Process, ended <-chan struct{}) {
	select {
	case <-ended:
		return
	case <-ctx.Done():
	}
	_ = p.Signal(syscall.SIGTERM)
	t := time.NewTimer(stopWithin)
	defer t.Stop()
	select {
	case <-ended:
	case <-t.C:
		k.log.Warn("process does not stop, killing it")
		_ = p.Kill()
	}
}
