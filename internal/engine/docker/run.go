package docker

import (
	"context"
	"errors"
	"io"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"landward/internal/engine"
	"landward/internal/landward"
)

// Run implements engine.Runner.
func (d *Docker) Run(ctx context.Context, u engine.Unit, s engine.Streams) (exit int, err error) {
	u.Restart, u.TTY, u.Hold = engine.RestartNever, s.TTY, false
	var p *process
	m, err := d.launch(ctx, u, s, &p)
	if err != nil {
		return 0, err
	}
	defer func() {
		// Whatever became of ctx, nothing stays behind.
		grace := u.StopTimeout
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace+cleanup)
		defer cancel()
		if e := errors.Join(d.stop(undo, m.id, grace), d.removeContainer(undo, m.id)); e != nil {
			d.o.Log.Warn("one-off container not removed", "unit", u.ID, "err", e)
		}
	}()
	return d.wait(ctx, m.id, p, s)
}

// process is a container that was attached to before it was started.
type process struct {
	att  client.HijackedResponse
	wait client.ContainerWaitResult
}

// launch makes, attaches to and starts a one-off container. The unit is locked
// no longer than that: another call may remove it while it runs.
func (d *Docker) launch(ctx context.Context, u engine.Unit, s engine.Streams, p **process) (made, error) {
	release, err := d.units.acquire(ctx, u.ID)
	if err != nil {
		return made{}, explain("wait for unit", err)
	}
	defer release()
	return d.bring(ctx, order{Unit: u, stdin: s.Stdin != nil}, func(m made) error {
		if !m.fresh {
			return landward.Errorf(landward.CodeConflict, "%s exists already", u.ID)
		}
		att, err := d.api.ContainerAttach(ctx, m.id, client.ContainerAttachOptions{Stream: true, Stdin: s.Stdin != nil, Stdout: true, Stderr: true})
		if err != nil {
			return explain("attach to container", err)
		}
		wait := d.api.ContainerWait(ctx, m.id, client.ContainerWaitOptions{Condition: container.WaitConditionNextExit})
		if _, err := d.api.ContainerStart(ctx, m.id, client.ContainerStartOptions{}); err != nil {
			att.Close()
			return startError(err)
		}
		*p = &process{att: att.HijackedResponse, wait: wait}
		return nil
	})
}

// wait copies the streams and returns the exit code when both the output and
// the container have ended.
func (d *Docker) wait(ctx context.Context, id string, p *process, s engine.Streams) (int, error) {
	defer p.att.Close()
	resize := func(size engine.Size) error {
		_, err := d.api.ContainerResize(ctx, id, client.ContainerResizeOptions{Width: uint(size.Width), Height: uint(size.Height)})
		return err
	}
	if err := stream(ctx, p.att, s, resize); err != nil {
		return 0, explain("copy output", err)
	}
	select {
	case res := <-p.wait.Result:
		return int(res.StatusCode), nil
	case err := <-p.wait.Error:
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return 0, explain("wait for container", err)
	}
}

// Exec implements engine.Runner. Docker has no way to end a command that was
// started so: when ctx ends its input and terminal are closed, and a command
// that takes no notice ends with the container.
func (d *Docker) Exec(ctx context.Context, id string, argv []string, s engine.Streams) (int, error) {
	if len(argv) == 0 {
		return 0, landward.Invalid("argv", "there is no command")
	}
	c, err := d.find(ctx, id)
	if err != nil {
		return 0, err
	}
	ex, err := d.api.ExecCreate(ctx, c.ID, client.ExecCreateOptions{
		TTY: s.TTY, AttachStdin: s.Stdin != nil, AttachStdout: true, AttachStderr: true, Cmd: argv,
	})
	if cerrdefs.IsConflict(err) {
		return 0, landward.Errorf(landward.CodeConflict, "%s is not running", id).Wrap(err)
	}
	if err != nil {
		return 0, explain("prepare command", err)
	}
	att, err := d.api.ExecAttach(ctx, ex.ID, client.ExecAttachOptions{TTY: s.TTY})
	if err != nil {
		return 0, explain("start command", err)
	}
	defer att.Close()
	resize := func(size engine.Size) error {
		_, err := d.api.ExecResize(ctx, ex.ID, client.ExecResizeOptions{Width: uint(size.Width), Height: uint(size.Height)})
		return err
	}
	if err := stream(ctx, att.HijackedResponse, s, resize); err != nil {
		return 0, explain("copy output", err)
	}
	return d.execResult(ctx, ex.ID)
}

// execResult reads the exit code. The output may end a moment before Docker
// knows the command to have ended.
func (d *Docker) execResult(ctx context.Context, id string) (int, error) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		res, err := d.api.ExecInspect(ctx, id, client.ExecInspectOptions{})
		if err != nil {
			return 0, explain("inspect command", err)
		}
		if !res.Running {
			return res.ExitCode, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, explain("wait for command", ctx.Err())
		}
	}
}

// stream copies between s and a hijacked connection until the output ends or
// ctx does. The input is half-closed at its end, so that the command sees an
// end of file and its last words still arrive.
func stream(ctx context.Context, att client.HijackedResponse, s engine.Streams, resize func(engine.Size) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, att.Close)
	defer stop()
	if s.Stdin != nil {
		// Ends with the input. An input that never ends is the caller's to
		// close; writes fail once the connection is.
		go func() {
			_, _ = io.Copy(att.Conn, s.Stdin)
			_ = att.CloseWrite()
		}()
	}
	if s.TTY && s.Resize != nil {
		go follow(ctx, s.Resize, resize)
	}
	stdout, stderr := orDiscard(s.Stdout), orDiscard(s.Stderr)
	var err error
	if s.TTY {
		_, err = io.Copy(stdout, att.Reader)
	} else {
		_, err = stdcopy.StdCopy(stdout, stderr, att.Reader)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// follow applies sizes until there are no more. One that fails does not
// matter: the command may just have ended.
func follow(ctx context.Context, sizes <-chan engine.Size, resize func(engine.Size) error) {
	for {
		select {
		case size, ok := <-sizes:
			if !ok {
				return
			}
			_ = resize(size)
		case <-ctx.Done():
			return
		}
	}
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}
