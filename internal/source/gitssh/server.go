// Package gitssh is the SSH face of git: it finds out whose key signed, which
// of the two git services is asked for and for which app, and hands the rest to
// package git. It offers no shell, no terminal, no forwarding and no file
// transfer, and must never know what a push leads to.
package gitssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"landward/internal/landward"
	"landward/internal/source"
	"landward/internal/source/git"
)

// User is the only user name that we answer to: who somebody is, their key
// says.
const User = "git"

// Git is what serves the two services; *git.Server does.
type Git interface {
	Receive(ctx context.Context, repo source.Repo, actor landward.Actor, c git.Session) (int, error)
	Upload(ctx context.Context, repo source.Repo, c git.Session) (int, error)
}

// Options are what a Server needs. Zero limits mean the default that the
// comment names.
type Options struct {
	Addr string // ":2222"; not used with Listener
	// Listener is used instead of Addr where the socket was handed over.
	Listener net.Listener
	// HostKeyFile holds our ed25519 key in OpenSSH form. It is made where it
	// is missing and refused where others may read it.
	HostKeyFile string
	// Authenticate finds who owns a public key, by its fingerprint
	// ("SHA256:…") or its wire form (RFC 4253 section 6.6). It is asked for
	// every key that a client offers; only a key that then signs counts.
	Authenticate func(ctx context.Context, fingerprint string, key []byte) (landward.Actor, error)
	Intake       source.Intake
	Git          Git
	Log          *slog.Logger

	HandshakeTimeout time.Duration // from connect to a signed key; 15 s
	IdleTimeout      time.Duration // without a session, after sign-in; 2 min
	KeepAlive        time.Duration // between probes of a silent client; 30 s
	StallTimeout     time.Duration // for a client to take a piece of output; 60 s
	ShutdownTimeout  time.Duration // for sessions to end by themselves; 30 s
	// A stranger is a connection that has not signed yet. When there are too
	// many, the oldest one makes room, so that silent ones never lock out a
	// push.
	Strangers        int // all together; 256
	StrangersPerIP   int // 32
	Connections      int // signed in, all together; 512
	ConnectionsPerIP int // signed in; 64
}

func (o Options) withDefaults() Options {
	setDefault(&o.HandshakeTimeout, 15*time.Second)
	setDefault(&o.IdleTimeout, 2*time.Minute)
	setDefault(&o.KeepAlive, 30*time.Second)
	setDefault(&o.StallTimeout, time.Minute)
	setDefault(&o.ShutdownTimeout, 30*time.Second)
	setDefault(&o.Strangers, 256)
	setDefault(&o.StrangersPerIP, 32)
	setDefault(&o.Connections, 512)
	setDefault(&o.ConnectionsPerIP, 64)
	return o
}

func setDefault[T int | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// Server is the SSH server.
type Server struct {
	o        Options
	config   *ssh.ServerConfig
	hostKey  ssh.PublicKey
	listener net.Listener
	door     *door
	wg       sync.WaitGroup // connections
}

// New returns a Server; it does nothing before Listen.
func New(o Options) *Server {
	o = o.withDefaults()
	return &Server{o: o, door: newDoor(o)}
}

// Listen reads the host key, making it where there is none, and opens the port.
func (s *Server) Listen() error {
	key, err := hostKey(s.o.HostKeyFile)
	if err != nil {
		return err
	}
	s.hostKey = key.PublicKey()
	s.listener = s.o.Listener
	if s.listener == nil {
		if s.listener, err = net.Listen("tcp", s.o.Addr); err != nil {
			return landward.Errorf(landward.CodeUnavailable, "cannot listen for SSH on %s", s.o.Addr).
				WithHint("another program has the port; choose one with --ssh").Wrap(err)
		}
	}
	s.config = s.serverConfig(key)
	return nil
}

// Addr is where the server listens, after Listen.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// HostKey is the server's public key, after Listen, in the form of a
// known_hosts or authorized_keys line without a host.
func (s *Server) HostKey() string { return string(ssh.MarshalAuthorizedKey(s.hostKey)) }

// Run serves until ctx ends. Then it takes no more connections, closes those
// that do nothing, waits for pushes and fetches up to ShutdownTimeout, and
// closes what is left.
func (s *Server) Run(ctx context.Context) error {
	// Sessions outlive ctx by the shutdown time.
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	unhook := context.AfterFunc(ctx, func() {
		_ = s.listener.Close()
		s.door.closeIdle()
	})
	defer unhook()

	fault := s.accept(ctx, work)
	done := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(done)
	}()
	timer := time.NewTimer(s.o.ShutdownTimeout)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		stop()
		s.door.closeAll()
		<-done
	}
	return fault
}

func (s *Server) accept(ctx, work context.Context) error {
	for {
		conn, err := s.listener.Accept()
		switch {
		case err == nil:
			v := s.door.enter(conn)
			s.wg.Go(func() { s.serve(work, v) })
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept: %w", err)
		default: // out of file descriptors, or a client that left at once
			s.o.Log.Warn("accept", "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
}

// serve holds one connection from handshake to close.
func (s *Server) serve(ctx context.Context, v *visitor) {
	defer s.door.leave(v)
	if err := v.conn.SetDeadline(time.Now().Add(s.o.HandshakeTimeout)); err != nil {
		return
	}
	prompt := newPromptAcks(v.conn)
	conn, channels, requests, err := ssh.NewServerConn(prompt, s.config)
	if err != nil {
		if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
			s.o.Log.Debug("ssh handshake", "remote", v.conn.RemoteAddr().String(), "error", err)
		}
		return
	}
	prompt.relax()
	defer func() { _ = conn.Close() }()
	if err := v.conn.SetDeadline(time.Time{}); err != nil {
		return
	}
	c := &connection{server: s, conn: conn, visitor: v}
	var ok bool
	// The permissions are those of the key that signed, not of another that
	// the client offered before.
	if c.actor, ok = conn.Permissions.ExtraData[actorKey{}].(landward.Actor); !ok {
		s.o.Log.Error("ssh connection without an actor", "remote", v.conn.RemoteAddr().String())
		return
	}
	if !s.door.admit(v) {
		s.o.Log.Warn("ssh connection refused: too many", "remote", v.conn.RemoteAddr().String(), "actor", c.actor.Name)
		return
	}
	c.serve(ctx, channels, requests)
}
