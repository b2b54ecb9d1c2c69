// Package upstream makes connections on which the data plane can speak
// HTTP/1.1 to an app that speaks something else: HTTP/1.1 over TLS, or HTTP/2
// with TLS or without. It must never know about clients, routes or the choice
// of a target.
package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"landward/internal/route/sockio"
)

// Conn is a connection to a target that tells whether it can be used again.
type Conn interface {
	net.Conn
	// Idle reports whether the peer still is there and has said nothing that
	// nobody asked for. Call it between two requests, when nobody reads.
	Idle() bool
}

// Dialer connects to targets. The zero value is ready.
type Dialer struct {
	Timeout time.Duration // of one connection, with its handshake [5 s]
	// Sessions is how many TLS sessions are remembered, so that the next
	// handshake is short [256].
	Sessions int

	sessions atomic.Pointer[tls.ClientSessionCache]
}

func (d *Dialer) timeout() time.Duration {
	if d.Timeout > 0 {
		return d.Timeout
	}
	return 5 * time.Second
}

// HTTPS connects to addr ("10.0.0.2:8443") and makes a TLS connection for
// HTTP/1.1. name is what the app is told it was asked for (SNI); empty or an
// address: nothing. Whose certificate the app shows does not matter: the
// connection does not leave the app's own network, where only the app has that
// address.
func (d *Dialer) HTTPS(ctx context.Context, addr, name string) (Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout())
	defer cancel()
	c, err := d.secure(ctx, addr, name, "http/1.1")
	if err != nil {
		return nil, err
	}
	return c, nil
}

// secure makes a TLS connection for one protocol (RFC 7301).
func (d *Dialer) secure(ctx context.Context, addr, name, protocol string) (*secure, error) {
	var dialer net.Dialer
	raw, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	s := &sock{Conn: raw}
	if sc, ok := raw.(syscall.Conn); ok {
		if s.raw, err = sc.SyscallConn(); err != nil {
			_ = raw.Close()
			return nil, fmt.Errorf("get at socket: %w", err)
		}
	}
	c := &secure{Conn: tls.Client(s, d.config(addr, name, protocol)), sock: s}
	if err := c.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	return c, nil
}

func (d *Dialer) config(addr, name, protocol string) *tls.Config {
	cache := d.sessions.Load()
	if cache == nil {
		n := d.Sessions
		if n <= 0 {
			n = 256
		}
		made := tls.NewLRUClientSessionCache(n)
		d.sessions.CompareAndSwap(nil, &made)
		cache = d.sessions.Load()
	}
	return &tls.Config{
		ServerName:         name,
		MinVersion:         tls.VersionTLS12,
		NextProtos:         []string{protocol},
		InsecureSkipVerify: true, //nolint:gosec // see HTTPS
		ClientSessionCache: sessions{*cache, addr + " " + protocol},
	}
}

// sessions keeps the sessions of one target apart from those of another app
// that goes by the same name.
type sessions struct {
	cache tls.ClientSessionCache
	of    string
}

func (s sessions) Get(key string) (*tls.ClientSessionState, bool) {
	return s.cache.Get(s.of + " " + key)
}

func (s sessions) Put(key string, state *tls.ClientSessionState) {
	s.cache.Put(s.of+" "+key, state)
}

// secure is a TLS connection to a target.
type secure struct {
	*tls.Conn
	sock *sock
}

// Idle lets TLS look at what has come, without waiting. Session tickets and
// new keys are TLS's own business and no data.
func (c *secure) Idle() bool {
	c.sock.looking = true
	var b [1]byte
	n, err := c.Conn.Read(b[:])
	c.sock.looking = false
	return n == 0 && errors.Is(err, errNothing)
}

// Close ends the connection. It says so to the peer if that takes no waiting.
func (c *secure) Close() error {
	c.sock.closing.Store(true)
	return c.Conn.Close()
}

// sock is the socket under a TLS connection.
type sock struct {
	net.Conn
	raw     syscall.RawConn // nil where there is none
	looking bool            // reads do not wait; only the one who reads sets it
	closing atomic.Bool     // writes do not wait
}

// nothing is the error of a read that would have to wait. TLS goes on after a
// temporary one.
type nothing struct{}

func (nothing) Error() string   { return "nothing to read" }
func (nothing) Timeout() bool   { return true }
func (nothing) Temporary() bool { return true }

var errNothing error = nothing{}

// Read reads, and does not wait while looking is set.
func (s *sock) Read(b []byte) (int, error) {
	if !s.looking {
		return s.Conn.Read(b)
	}
	if s.raw == nil || len(b) == 0 {
		return 0, errNothing
	}
	var n int
	var err syscall.Errno
	if e := s.raw.Read(func(fd uintptr) bool {
		n, err = sockio.Receive(fd, b)
		return true
	}); e != nil {
		return 0, e
	}
	switch {
	case err == unix.EAGAIN:
		return 0, errNothing
	case err != 0:
		return 0, os.NewSyscallError("recvfrom", err)
	case n == 0:
		return 0, errGone
	}
	return n, nil
}

// errGone is the end of the connection, seen while looking.
var errGone = errors.New("closed by the target")

// Write writes; the farewell of a connection that is being closed is not
// waited for: the sweeper of the plane closes many.
func (s *sock) Write(b []byte) (int, error) {
	if !s.closing.Load() || s.raw == nil || len(b) == 0 {
		return s.Conn.Write(b)
	}
	var n int
	var err syscall.Errno
	if e := s.raw.Write(func(fd uintptr) bool {
		n, err = sockio.Send(fd, b)
		return true
	}); e != nil {
		return 0, e
	}
	if err != 0 {
		return 0, os.NewSyscallError("sendto", err)
	}
	return n, nil
}
