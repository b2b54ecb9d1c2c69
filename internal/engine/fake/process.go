package fake

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"landward/internal/engine"
	"landward/internal/landward"
)

// Program is what a container runs. It returns the exit code. It should end
// when ctx does, which is the kill; what it writes afterwards is lost.
type Program func(ctx context.Context, p Process) int

// Process is what a program sees.
type Process struct {
	Unit   engine.Unit
	Addr   netip.Addr
	Args   []string // the unit's command, or that of the exec
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	Term   <-chan struct{}    // closed by the stop signal
	Sizes  <-chan engine.Size // of the terminal
	// Listen makes Inspect show the socket; it opens none.
	Listen func(netip.AddrPort)
	// ReadFile and WriteFile reach secret files and volumes only.
	ReadFile  func(name string) ([]byte, error)
	WriteFile func(name string, data []byte) error
}

type volume struct {
	app  int64
	name string
}

type container struct {
	e    *Engine
	unit engine.Unit
	is   engine.Container
	out  *output
	life *life // nil: not started, or ended
}

// life is one time that a container runs, restarts included.
type life struct {
	term      chan struct{}
	termOnce  sync.Once
	ended     chan struct{} // closed when the container has ended
	listening []netip.AddrPort
	killed    context.Context // of the program that runs now
	kill      context.CancelFunc
	forced    *forced // set by Exit
}

type forced struct {
	code int
	oom  bool
}

// stop asks a life to end, waits for grace or ctx, and kills. It returns when
// the container has ended.
func (c *container) stop(ctx context.Context, l *life, grace time.Duration) {
	l.termOnce.Do(func() { close(l.term) })
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-l.ended:
	case <-timer.C:
	case <-ctx.Done():
	}
	c.e.mu.Lock()
	l.kill()
	c.e.mu.Unlock()
	<-l.ended
}

// streams are what an attached program is connected to.
type streams struct {
	in          io.Reader
	out, errOut io.Writer
	sizes       <-chan engine.Size
}

// start runs the container's program until it ends and is not to be restarted.
// e.mu is held.
func (e *Engine) start(c *container, s streams) *life {
	l := &life{term: make(chan struct{}), ended: make(chan struct{})}
	c.life = l
	ctx := e.started(c, l)
	e.running.Go(func() {
		defer close(l.ended)
		for backoff := 20 * time.Millisecond; ; backoff = min(2*backoff, time.Second) {
			code := e.runOnce(ctx, c, l, s)
			if !e.ended(c, l, code) {
				return
			}
			select {
			case <-time.After(backoff):
			case <-l.term:
			}
			if ctx = e.restarted(c, l); ctx == nil {
				return
			}
		}
	})
	return l
}

// runOnce runs the program to its end, or until it is killed.
func (e *Engine) runOnce(ctx context.Context, c *container, l *life, s streams) int {
	e.mu.Lock()
	program := e.program
	e.mu.Unlock()
	p := c.process(c.unit.Command, s)
	p.Term = l.term
	stdout, stderr := c.out.writer(false), c.out.writer(true)
	defer stderr.close()
	defer stdout.close()
	p.Stdout, p.Stderr = tee(stdout, s.out), tee(stderr, s.errOut)
	p.Listen = func(a netip.AddrPort) {
		e.mu.Lock()
		defer e.mu.Unlock()
		l.listening = append(l.listening, a)
	}
	code := make(chan int, 1)
	go func() { code <- program(ctx, p) }() // one that ignores its kill outlives its container
	select {
	case n := <-code:
		return n
	case <-ctx.Done():
		return 137
	}
}

// process makes what the program sees, but for its output.
func (c *container) process(args []string, s streams) Process {
	p := Process{
		Unit: c.unit, Addr: c.is.Addr, Args: args, Stdin: s.in, Sizes: s.sizes,
		Listen: func(netip.AddrPort) {}, ReadFile: c.readFile, WriteFile: c.writeFile,
	}
	if p.Stdin == nil {
		p.Stdin = strings.NewReader("")
	}
	return p
}

// started, ended and restarted keep what List shows. started returns the
// context of the program, which its kill ends. e.mu is held.
func (e *Engine) started(c *container, l *life) context.Context {
	c.is.State, c.is.StartedAt, c.is.FinishedAt = engine.Running, e.o.Now(), time.Time{}
	c.is.ExitCode, c.is.OOMKilled = 0, false
	l.killed, l.kill = context.WithCancel(context.Background())
	c.out.begin()
	e.tell(c, "start")
	return l.killed
}

// ended reports whether the container is to be started again.
func (e *Engine) ended(c *container, l *life, code int) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	killed := l.killed.Err() != nil
	l.kill()
	c.is.ExitCode, c.is.FinishedAt = code, e.o.Now()
	if f := l.forced; f != nil {
		c.is.ExitCode, c.is.OOMKilled = f.code, f.oom
		killed, l.forced = false, nil
	}
	if c.is.OOMKilled {
		e.tell(c, "oom")
	}
	e.tell(c, "die")
	l.listening = nil
	if c.is.Restart == engine.RestartAlways && !isClosed(l.term) && !killed {
		c.is.State = engine.Restarting
		return true
	}
	e.rest(c)
	return false
}

// restarted starts the program again, or returns nil where it was stopped
// while it waited.
func (e *Engine) restarted(c *container, l *life) context.Context {
	e.mu.Lock()
	defer e.mu.Unlock()
	if isClosed(l.term) {
		e.rest(c)
		return nil
	}
	c.is.Restarts++
	return e.started(c, l)
}

// rest is the end of a life. e.mu is held.
func (e *Engine) rest(c *container) {
	c.is.State = engine.Exited
	c.life = nil
	c.out.end()
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// Exit ends a running container's program as if it had ended so by itself, or
// with oom, as if the kernel had killed it.
func (e *Engine) Exit(id string, code int, oom bool) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.containers[id]
	if c == nil || c.life == nil {
		return notFound(id)
	}
	c.life.forced = &forced{code, oom}
	c.life.kill()
	return nil
}

// Files returns the contents of an app's volume by path in it.
func (e *Engine) Files(app int64, name string) map[string][]byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	return maps.Clone(e.volumes[volume{app, name}])
}

func (c *container) readFile(name string) ([]byte, error) {
	c.e.mu.Lock()
	defer c.e.mu.Unlock()
	if text, ok := c.unit.Files[strings.TrimPrefix(name, "/run/secrets/")]; ok && strings.HasPrefix(name, "/run/secrets/") {
		return []byte(text), nil
	}
	if v, file, _, ok := c.mounted(name); ok {
		if data, ok := v[file]; ok {
			return bytes.Clone(data), nil
		}
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

func (c *container) writeFile(name string, data []byte) error {
	c.e.mu.Lock()
	defer c.e.mu.Unlock()
	v, file, readOnly, ok := c.mounted(name)
	if !ok || readOnly {
		return &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	v[file] = bytes.Clone(data)
	return nil
}

// mounted returns the volume that has name, and the path in it.
func (c *container) mounted(name string) (v map[string][]byte, file string, readOnly, ok bool) {
	for _, m := range c.unit.Volumes {
		if file, ok := strings.CutPrefix(name, m.Path+"/"); ok {
			return c.e.volumes[volume{c.unit.AppID, m.Name}], file, m.ReadOnly, true
		}
	}
	return nil, "", false, false
}

// Run implements engine.Runner.
func (e *Engine) Run(ctx context.Context, u engine.Unit, s engine.Streams) (int, error) {
	if err := e.fail(ctx, "Run"); err != nil {
		return 0, err
	}
	u.Restart, u.Hold = engine.RestartNever, false
	e.mu.Lock()
	if e.containers[u.ID] != nil {
		e.mu.Unlock()
		return 0, landward.Errorf(landward.CodeConflict, "%s exists already", u.ID)
	}
	c, err := e.ensure(u)
	if err != nil {
		e.mu.Unlock()
		return 0, err
	}
	l := e.start(c, attached(s))
	e.mu.Unlock()
	select {
	case <-l.ended:
	case <-ctx.Done():
		e.end(context.WithoutCancel(ctx), c, u.StopTimeout)
		return 0, cancelled(ctx)
	}
	e.mu.Lock()
	code := c.is.ExitCode
	e.mu.Unlock()
	e.end(ctx, c, 0)
	return code, nil
}

// Exec implements engine.Runner.
func (e *Engine) Exec(ctx context.Context, id string, argv []string, s engine.Streams) (int, error) {
	if err := e.fail(ctx, "Exec"); err != nil {
		return 0, err
	}
	if len(argv) == 0 {
		return 0, landward.Invalid("argv", "there is no command")
	}
	e.mu.Lock()
	c, program := e.containers[id], e.program
	if c == nil {
		e.mu.Unlock()
		return 0, notFound(id)
	}
	l := c.life
	if l == nil {
		e.mu.Unlock()
		return 0, landward.Errorf(landward.CodeConflict, "%s is not running", id)
	}
	killed := l.killed
	e.mu.Unlock()
	a := attached(s)
	p := c.process(argv, a)
	p.Stdout, p.Stderr, p.Term = a.out, a.errOut, l.term
	code := make(chan int, 1)
	go func() { code <- program(killed, p) }() // ends with the container, as the real ones do
	select {
	case n := <-code:
		return n, nil
	case <-l.ended:
		return 137, nil
	case <-ctx.Done():
		return 0, cancelled(ctx)
	}
}

// attached connects a program to s, a terminal's way where s is one.
func attached(s engine.Streams) streams {
	a := streams{in: s.Stdin, out: orDiscard(s.Stdout), errOut: orDiscard(s.Stderr), sizes: s.Resize}
	if s.TTY {
		a.out = terminal{a.out}
		a.errOut = a.out
	}
	return a
}

// terminal writes line ends as a terminal does.
type terminal struct{ w io.Writer }

func (t terminal) Write(p []byte) (int, error) {
	if _, err := t.w.Write(bytes.ReplaceAll(p, []byte("\n"), []byte("\r\n"))); err != nil {
		return 0, err
	}
	return len(p), nil
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

func tee(log, attached io.Writer) io.Writer {
	if attached == nil {
		return log
	}
	return io.MultiWriter(log, attached)
}

// Say writes a line to a container's log, as if its program had.
func (e *Engine) Say(id, text string) error {
	e.mu.Lock()
	c := e.containers[id]
	e.mu.Unlock()
	if c == nil {
		return notFound(id)
	}
	fmt.Fprintln(c.out.writer(false), text)
	return nil
}

// Units returns the ids of the containers that exist, sorted.
func (e *Engine) Units() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Sorted(maps.Keys(e.containers))
}
