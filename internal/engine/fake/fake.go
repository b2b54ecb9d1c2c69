// Package fake is an engine in memory, for tests: its containers are Go
// functions. It owns the same contract as the real ones, proved by the same
// suite, and knobs to make things go wrong. It must never be part of a server.
package fake

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"landward/internal/engine"
	"landward/internal/landward"
	"landward/internal/policy"
)

// Options say how a fake engine is made. Zero fields get defaults.
type Options struct {
	// Program is what containers run: by default one that says "ready" and
	// ends with 0 at the stop signal.
	Program Program
	// Pool is where addresses come from. The default is 127.77.0.0/16, which on
	// Linux programs can really listen on.
	Pool netip.Prefix
	Now  func() time.Time
}

// Engine is a fake engine. It is safe for concurrent use.
type Engine struct {
	o Options

	mu         sync.Mutex
	program    Program
	containers map[string]*container
	volumes    map[volume]map[string][]byte
	images     map[string]*image
	remote     map[string]landward.Image
	watchers   map[chan engine.Event]bool
	failures   map[string][]error
	running    sync.WaitGroup
}

var (
	_ engine.Engine = (*Engine)(nil)
	_ engine.Runner = (*Engine)(nil)
	_ engine.Images = (*Engine)(nil)
)

// New makes a fake engine.
func New(o Options) *Engine {
	if !o.Pool.IsValid() {
		o.Pool = netip.MustParsePrefix("127.77.0.0/16")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Program == nil {
		o.Program = func(ctx context.Context, p Process) int {
			fmt.Fprintln(p.Stdout, "ready")
			select {
			case <-p.Term:
			case <-ctx.Done():
			}
			return 0
		}
	}
	return &Engine{
		o: o, program: o.Program,
		containers: map[string]*container{}, volumes: map[volume]map[string][]byte{}, images: map[string]*image{},
		remote: map[string]landward.Image{}, watchers: map[chan engine.Event]bool{}, failures: map[string][]error{},
	}
}

// Close kills every container and waits for programs that heed it.
func (e *Engine) Close() {
	for _, c := range e.all(0) {
		e.end(context.Background(), c, 0)
	}
	e.running.Wait()
}

// SetProgram changes what containers run that start from now on.
func (e *Engine) SetProgram(p Program) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.program = p
}

// FailNext makes the next call of a method ("Apply", "Remove", "List", …)
// return err without doing anything. Several queue up.
func (e *Engine) FailNext(method string, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.failures[method] = append(e.failures[method], err)
}

func (e *Engine) fail(ctx context.Context, method string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if list := e.failures[method]; len(list) > 0 {
		e.failures[method] = list[1:]
		return list[0]
	}
	return cancelled(ctx)
}

func cancelled(ctx context.Context) error {
	switch ctx.Err() {
	case nil:
		return nil
	case context.DeadlineExceeded:
		return landward.Errorf(landward.CodeTimeout, "the engine did not answer in time").Wrap(ctx.Err())
	}
	return landward.Errorf(landward.CodeCancelled, "cancelled").Wrap(ctx.Err())
}

func notFound(id string) error {
	return landward.Errorf(landward.CodeNotFound, "there is no container %s", landward.Printable(id))
}

// Apply implements engine.Engine.
func (e *Engine) Apply(ctx context.Context, u engine.Unit) (engine.Container, error) {
	if err := e.fail(ctx, "Apply"); err != nil {
		return engine.Container{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	c, err := e.ensure(u)
	if err != nil {
		return engine.Container{}, err
	}
	c.is.Restart = u.Restart
	if !u.Hold && c.life == nil {
		e.start(c, streams{})
	}
	return c.is, nil
}

// ensure returns the unit's container, made where there is none. e.mu is held.
func (e *Engine) ensure(u engine.Unit) (*container, error) {
	if err := u.Check(); err != nil {
		return nil, err
	}
	img, ok := e.images[u.Image]
	if !ok {
		return nil, landward.Errorf(landward.CodeNotFound, "the image %s is gone", u.Image)
	}
	c := e.containers[u.ID]
	addr, err := e.address(u.AppID)
	if c != nil {
		addr, err = c.is.Addr, nil
	}
	if err != nil {
		return nil, err
	}
	if err := e.check(u, img, addr); err != nil {
		return nil, err
	}
	if !hasUser(u.User) {
		return nil, landward.Errorf(landward.CodeFailed, "the container cannot start").
			WithCause("unable to find user " + u.User + ": no matching entries in passwd file").
			WithHint("the image's USER must exist in its /etc/passwd, or be a number")
	}
	if c != nil {
		return c, nil
	}
	c = &container{
		e: e, unit: u, out: newOutput(e.o.Now),
		is: engine.Container{
			Unit: u.ID, Engine: "fake-" + rand.Text(), AppID: u.AppID, App: u.App, Service: u.Service,
			Process: u.Process, Index: u.Index, Kind: u.Kind, Release: u.Release, Spec: u.Spec, Image: u.Image,
			State: engine.Created, Restart: u.Restart, Addr: addr, Network: netip.PrefixFrom(addr, subnetBits).Masked(), CreatedAt: e.o.Now(),
		},
	}
	e.containers[u.ID] = c
	for _, v := range u.Volumes {
		if key := (volume{u.AppID, v.Name}); e.volumes[key] == nil {
			e.volumes[key] = map[string][]byte{}
		}
	}
	return c, nil
}

// hasUser reports whether images of the fake know the user: root, app, numbers.
func hasUser(user string) bool {
	return user == "" || user == "root" || user == "app" || user[0] >= '0' && user[0] <= '9'
}

// check asks the policy about what a real engine would be told.
func (e *Engine) check(u engine.Unit, img *image, addr netip.Addr) error {
	s := policy.Profile(cmp.Or(u.User, img.User), u.Resources, policy.Bounds{LogSize: 1 << 20, LogFiles: 1, OpenFiles: 1024})
	s.Name, s.Image, s.Cmd, s.WorkDir = "fake-"+u.ID, img.ID, u.Command, u.WorkDir
	s.NetworkMode, s.Addr = "fake", addr
	for k, v := range u.Env {
		s.Env = append(s.Env, k+"="+v)
	}
	for _, v := range u.Volumes {
		s.Mounts = append(s.Mounts, policy.Mount{Type: "volume", Source: "fake-" + v.Name, Target: v.Path, ReadOnly: v.ReadOnly})
	}
	return policy.Check(s, policy.Limits{NamePrefix: "fake-", Network: "fake", Subnet: e.o.Pool, VolumePrefix: "fake-"})
}

// subnetBits is the prefix length of one app's network.
const subnetBits = 26

// address returns the lowest free one of the app's subnet. e.mu is held.
func (e *Engine) address(app int64) (netip.Addr, error) {
	taken := map[netip.Addr]bool{}
	for _, c := range e.containers {
		taken[c.is.Addr] = true
	}
	first := e.o.Pool.Masked().Addr().As4()
	offset := app % (1 << (subnetBits - min(subnetBits, e.o.Pool.Bits()))) * 64
	for i := offset + 2; i < offset+63; i++ {
		a := first
		a[2] += byte(i >> 8)
		a[3] += byte(i)
		if addr := netip.AddrFrom4(a); !taken[addr] {
			return addr, nil
		}
	}
	return netip.Addr{}, landward.Errorf(landward.CodeUnavailable, "the app's network is full")
}

// Remove implements engine.Engine.
func (e *Engine) Remove(ctx context.Context, id string, grace time.Duration) error {
	if err := e.fail(ctx, "Remove"); err != nil {
		return err
	}
	e.mu.Lock()
	c := e.containers[id]
	e.mu.Unlock()
	if c != nil {
		e.end(ctx, c, grace)
	}
	return nil
}

// end stops the container and forgets it.
func (e *Engine) end(ctx context.Context, c *container, grace time.Duration) {
	e.mu.Lock()
	life := c.life
	e.mu.Unlock()
	if life != nil {
		c.stop(ctx, life, grace)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.containers[c.unit.ID] == c {
		delete(e.containers, c.unit.ID)
		e.tell(c, "destroy")
	}
}

// List implements engine.Engine.
func (e *Engine) List(ctx context.Context, appID int64) ([]engine.Container, error) {
	if err := e.fail(ctx, "List"); err != nil {
		return nil, err
	}
	out := []engine.Container{}
	for _, c := range e.all(appID) {
		e.mu.Lock()
		out = append(out, c.is)
		e.mu.Unlock()
	}
	return out, nil
}

// all returns the containers of one app or, with 0, of all, in order.
func (e *Engine) all(appID int64) []*container {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []*container
	for _, c := range e.containers {
		if appID == 0 || c.unit.AppID == appID {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b *container) int { return cmp.Compare(a.unit.ID, b.unit.ID) })
	return out
}

// memory is what every container of the fake uses while it runs.
const memory = 24 << 20

// Inspect implements engine.Engine.
func (e *Engine) Inspect(ctx context.Context, id string) (engine.Container, error) {
	if err := e.fail(ctx, "Inspect"); err != nil {
		return engine.Container{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.containers[id]
	if c == nil {
		return engine.Container{}, notFound(id)
	}
	out := c.is
	if c.life != nil {
		out.Listening = slices.Clone(c.life.listening)
		out.Memory = memory
	}
	return out, nil
}

// Watch implements engine.Engine.
func (e *Engine) Watch(ctx context.Context) (<-chan engine.Event, error) {
	if err := e.fail(ctx, "Watch"); err != nil {
		return nil, err
	}
	ch := make(chan engine.Event, 256)
	e.mu.Lock()
	e.watchers[ch] = true
	e.mu.Unlock()
	context.AfterFunc(ctx, func() { e.unwatch(ch) })
	return ch, nil
}

func (e *Engine) unwatch(ch chan engine.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.watchers[ch] {
		delete(e.watchers, ch)
		close(ch)
	}
}

// BreakWatches closes every watch, as a lost connection would.
func (e *Engine) BreakWatches() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for ch := range e.watchers {
		delete(e.watchers, ch)
		close(ch)
	}
}

// tell sends an event to the watchers. e.mu is held.
func (e *Engine) tell(c *container, action string) {
	for ch := range e.watchers {
		select {
		case ch <- engine.Event{Unit: c.unit.ID, AppID: c.unit.AppID, Action: action, At: e.o.Now()}:
		default:
			delete(e.watchers, ch)
			close(ch)
		}
	}
}

// RemoveApp implements engine.Engine.
func (e *Engine) RemoveApp(ctx context.Context, appID int64, volumes bool) error {
	if err := e.fail(ctx, "RemoveApp"); err != nil {
		return err
	}
	for _, c := range e.all(appID) {
		e.end(ctx, c, 0)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for v := range e.volumes {
		if volumes && v.app == appID {
			delete(e.volumes, v)
		}
	}
	return nil
}

// Info implements engine.Engine.
func (e *Engine) Info(ctx context.Context) (engine.Info, error) {
	if err := e.fail(ctx, "Info"); err != nil {
		return engine.Info{}, err
	}
	return engine.Info{
		Name: "fake", Version: "1", APIVersion: "1", OS: "none", Arch: "none", CPUs: 1, Memory: 1 << 30,
		DiskFree: -1, DiskTotal: -1, Firewall: "ok",
	}, nil
}
