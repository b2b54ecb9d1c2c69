package git

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"landward/internal/landward"
	"landward/internal/source"
)

// Service is one of the two halves of git's transfer protocol.
type Service string

// The services. A client names them so, over SSH and over HTTP.
const (
	ReceivePack Service = "git-receive-pack" // a push
	UploadPack  Service = "git-upload-pack"  // a fetch or clone
)

// ParseService knows exactly the two services.
func ParseService(name string) (Service, bool) {
	s := Service(name)
	return s, s == ReceivePack || s == UploadPack
}

// Writes reports whether the service changes the repository.
func (s Service) Writes() bool { return s == ReceivePack }

// command is the service as an argument of git.
func (s Service) command() string { return string(s)[len("git-"):] }

// ServerOptions are what a Server needs.
type ServerOptions struct {
	Git    *Git
	Intake source.Intake
	// Socket is where the hook finds us, absolute, in a folder that only we
	// can enter; at most 100 bytes.
	Socket string
	// HooksDir is a folder of our own, absolute. Listen makes it and puts the
	// hook into it, a link to Executable.
	HooksDir string
	// Executable is a program that calls HookMain when it is started under
	// the name HookName.
	Executable string
	Log        *slog.Logger
}

// Server serves pushes and fetches to the SSH and HTTP faces and answers the
// hooks of the pushes that it started. It is safe for concurrent use.
type Server struct {
	o        ServerOptions
	listener *net.UnixListener
	pushes   chan struct{} // a place each
	fetches  chan struct{}
	hooks    sync.WaitGroup // conversations with hooks

	mu      sync.Mutex
	pending map[string]*push // by id, until its hook asks
	cancels map[int]context.CancelFunc
	next    int
	stopped bool
	running sync.WaitGroup // git processes
}

// push is a receive-pack whose hook has not asked yet.
type push struct {
	repo  source.Repo
	actor landward.Actor
	asked *atomic.Bool
}

// NewServer returns a Server; it does nothing before Listen.
func NewServer(o ServerOptions) *Server {
	return &Server{
		o:       o,
		pushes:  make(chan struct{}, o.Git.limits.Pushes),
		fetches: make(chan struct{}, o.Git.limits.Fetches),
		pending: map[string]*push{},
		cancels: map[int]context.CancelFunc{},
	}
}

// Listen installs the hook and opens the socket.
func (s *Server) Listen() error {
	if err := s.installHook(); err != nil {
		return fmt.Errorf("install hook: %w", err)
	}
	if err := os.Remove(s.o.Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("listen for hooks: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: s.o.Socket, Net: "unix"})
	if err != nil {
		return fmt.Errorf("listen for hooks: %w", err)
	}
	if err := os.Chmod(s.o.Socket, 0o600); err != nil {
		return errors.Join(fmt.Errorf("listen for hooks: %w", err), l.Close())
	}
	s.listener = l
	return nil
}

// installHook makes the folder hold exactly one thing, the link.
func (s *Server) installHook() error {
	if err := os.MkdirAll(s.o.HooksDir, 0o700); err != nil {
		return err
	}
	link := filepath.Join(s.o.HooksDir, HookName)
	if at, err := os.Readlink(link); err == nil && at == s.o.Executable {
		return nil
	}
	tmp := link + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Symlink(s.o.Executable, tmp); err != nil {
		return err
	}
	return os.Rename(tmp, link)
}

// Run answers hooks until ctx ends. Then the Intake's pushes are told, and Run
// returns when they and every git process have ended; processes that only
// transfer are stopped.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stopAccepting := context.AfterFunc(ctx, func() { _ = s.listener.Close() })
	defer stopAccepting()

	var fault error
	for {
		conn, err := s.listener.AcceptUnix()
		if err != nil {
			if ctx.Err() == nil {
				fault = fmt.Errorf("accept hook: %w", err)
			}
			break
		}
		s.hooks.Go(func() { s.serveHook(ctx, conn) })
	}
	cancel()
	s.hooks.Wait()
	s.stopAll()
	s.running.Wait()
	return fault
}

func (s *Server) stopAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	for _, cancel := range s.cancels {
		cancel()
	}
}

// enter registers a git process, so that Run can stop it and wait for it. One
// whose hook has asked ends by itself when the Intake has answered.
func (s *Server) enter(ctx context.Context, asked *atomic.Bool) (context.Context, context.CancelCauseFunc, func(), error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil, nil, nil, landward.Errorf(landward.CodeUnavailable, "Landward is stopping").WithHint("try again in a moment")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	id := s.next
	s.next++
	s.cancels[id] = func() {
		if asked == nil || !asked.Load() {
			cancel(landward.Errorf(landward.CodeUnavailable, "Landward is stopping"))
		}
	}
	s.running.Add(1)
	return ctx, cancel, func() {
		cancel(nil)
		s.mu.Lock()
		delete(s.cancels, id)
		s.mu.Unlock()
		s.running.Done()
	}, nil
}

// take takes one of the places, or says that there is none.
func take(places chan struct{}) (func(), error) {
	select {
	case places <- struct{}{}:
		return func() { <-places }, nil
	default:
		return nil, landward.Errorf(landward.CodeLimited, "too many transfers are running").WithHint("try again in a moment")
	}
}

// Receive serves a push and returns git's exit code. It returns when
// receive-pack has ended, which is after the Intake has answered, even when the
// client is long gone. ctx is not the client's: its end stops the push. Errors
// are for the pusher.
func (s *Server) Receive(ctx context.Context, repo source.Repo, actor landward.Actor, c Session) (int, error) {
	free, err := take(s.pushes)
	if err != nil {
		return 0, err
	}
	defer free()
	var asked atomic.Bool
	ctx, cancel, leave, err := s.enter(ctx, &asked)
	if err != nil {
		return 0, err
	}
	defer leave()

	patient := newPatience(c.In, s.o.Git.limits, &asked, cancel)
	defer patient.stop()
	id, forget := s.expect(&push{repo: repo, actor: actor, asked: &asked})
	defer forget()
	env := environ(s.o.Git.receiveSettings(s.o.HooksDir), append(protocolEnv(c.Protocol),
		HookSocketVar+"="+s.o.Socket, HookPushVar+"="+id)...)
	return s.o.Git.converse(ctx, s.o.Git.command(ctx, env, c.args(ReceivePack, repo)...), c.named(repo), patient)
}

// Upload serves a fetch or clone; ctx is the client's.
func (s *Server) Upload(ctx context.Context, repo source.Repo, c Session) (int, error) {
	free, err := take(s.fetches)
	if err != nil {
		return 0, err
	}
	defer free()
	ctx, cancel, leave, err := s.enter(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer leave()
	// A client that is gone ends the fetch; git would go on counting objects.
	c.Out = &hangUp{w: c.Out, gone: func() { cancel(context.Canceled) }}
	env := environ(s.o.Git.settings("/dev/null"), protocolEnv(c.Protocol)...)
	return s.o.Git.converse(ctx, s.o.Git.command(ctx, env, c.args(UploadPack, repo)...), c.named(repo), c.In)
}

// Advertise writes what smart HTTP's info/refs answers after the service line.
func (s *Server) Advertise(ctx context.Context, repo source.Repo, service Service, protocol string, out io.Writer) error {
	ctx, _, leave, err := s.enter(ctx, nil)
	if err != nil {
		return err
	}
	defer leave()
	set := s.o.Git.settings("/dev/null")
	if service.Writes() {
		set = s.o.Git.receiveSettings("/dev/null")
	}
	cmd := s.o.Git.command(ctx, environ(set, protocolEnv(protocol)...),
		service.command(), "--stateless-rpc", "--http-backend-info-refs", repo.Dir)
	cmd.Stdout = out
	if err := s.o.Git.start(cmd); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return cmp.Or(context.Cause(ctx), fmt.Errorf("advertise refs: %w", err))
	}
	return nil
}

func (c Session) args(service Service, repo source.Repo) []string {
	args := []string{service.command()}
	if c.Stateless {
		args = append(args, "--stateless-rpc")
	}
	if service == UploadPack {
		args = append(args, "--strict", "--timeout=60")
	}
	return append(args, repo.Dir)
}

// hangUp reports the first write that failed.
type hangUp struct {
	w    io.Writer
	gone func()
}

func (h *hangUp) Write(p []byte) (int, error) {
	n, err := h.w.Write(p)
	if err != nil {
		h.gone()
	}
	return n, err
}

// expect makes a one-time id for a push, which only the receive-pack that gets
// it in its environment knows.
func (s *Server) expect(p *push) (id string, forget func()) {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	id = hex.EncodeToString(b[:])
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending[id] = p
	return id, func() { s.claim(id) }
}

// claim takes a pending push; nobody gets it twice.
func (s *Server) claim(id string) (*push, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.pending[id]
	delete(s.pending, id)
	return p, ok
}
