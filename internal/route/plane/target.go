package plane

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"landward/internal/landward"
	"landward/internal/route/upstream"
)

// target is one address of an app with its connections and its requests in
// progress. It outlives the table that named it until it is quiet.
type target struct {
	id, unit      string
	network, addr string
	proto         landward.Protocol
	maxIdle       int
	dialer        *upstream.Dialer

	inflight atomic.Int64
	retired  atomic.Bool
	suspect  atomic.Int64  // passed over until then
	quiet    chan struct{} // told when a retired target has no request left

	mu     sync.Mutex
	idle   []*link          // the latest used last
	closed bool             // keeps none
	bridge *upstream.Bridge // where the app speaks HTTP/2; nil else
}

// link is a connection to a target.
type link struct {
	conn   net.Conn
	inner  upstream.Conn // where conn is one; nil else
	peeker peeker
	target *target
	since  int64 // when it was last given back
	until  int64 // when it is too old to be used again
}

// enter counts a request in. It reports false where the target has been
// retired since it was chosen; choose again from the table of the moment.
func (t *target) enter() bool {
	t.inflight.Add(1)
	if t.retired.Load() {
		t.exit()
		return false
	}
	return true
}

// exit counts a request out.
func (t *target) exit() {
	if t.inflight.Add(-1) == 0 && t.retired.Load() {
		select {
		case t.quiet <- struct{}{}:
		default:
		}
	}
}

// freshFor is how long a connection may have been idle to carry a request that
// cannot be sent twice: the peer may be closing an older one just now.
const freshFor = int64(time.Second)

// take returns an idle connection, or nil. careful is for a request that
// cannot be sent twice. One on which the peer has closed, or has said something
// that nobody asked for, is never used again: the next request would get what
// was meant for another.
func (t *target) take(now int64, careful bool) *link {
	for {
		t.mu.Lock()
		n := len(t.idle)
		if n == 0 {
			t.mu.Unlock()
			return nil
		}
		u := t.idle[n-1]
		t.idle[n-1] = nil
		t.idle = t.idle[:n-1]
		t.mu.Unlock()
		if u.until > now && (!careful || now-u.since < freshFor) && u.unused() {
			return u
		}
		u.close()
	}
}

// give keeps a connection for the next request.
func (t *target) give(u *link, now, until int64) {
	u.since, u.until = now, until
	t.mu.Lock()
	if t.closed || len(t.idle) >= t.maxIdle {
		t.mu.Unlock()
		u.close()
		return
	}
	t.idle = append(t.idle, u)
	t.mu.Unlock()
}

// open lets the target keep connections.
func (t *target) open() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed && t.proto == landward.ProtocolH2C {
		t.bridge = t.dialer.H2C(t.addr)
	}
	t.closed = false
}

// closeIdle closes all idle connections, and for good those that come back.
func (t *target) closeIdle(forGood bool) {
	t.mu.Lock()
	list, bridge := t.idle, t.bridge
	t.idle = nil
	t.closed = t.closed || forGood
	t.mu.Unlock()
	if forGood && bridge != nil {
		bridge.Close() // what runs on it ends by itself
	}
	for _, u := range list {
		u.close()
	}
}

// expire closes the connections that are too old.
func (t *target) expire(now int64) {
	t.mu.Lock()
	var old []*link
	kept := t.idle[:0]
	for _, u := range t.idle {
		if u.until > now {
			kept = append(kept, u)
		} else {
			old = append(old, u)
		}
	}
	clear(t.idle[len(kept):])
	t.idle = kept
	t.mu.Unlock()
	for _, u := range old {
		u.close()
	}
}

// dial makes a new connection, on which HTTP/1.1 is spoken whatever the app
// speaks.
func (t *target) dial(ctx context.Context, timeout time.Duration) (*link, error) {
	u := &link{target: t}
	var err error
	switch {
	case t.proto == landward.ProtocolH2C:
		u.inner, err = t.http2().Dial(ctx)
	case t.proto == landward.ProtocolHTTPS:
		u.inner, err = t.dialer.HTTPS(ctx, t.addr, "")
	default:
		d := net.Dialer{Timeout: timeout}
		u.conn, err = d.DialContext(ctx, t.network, t.addr)
	}
	if err != nil {
		return nil, err
	}
	if u.inner != nil {
		u.conn = u.inner
		return u, nil
	}
	u.peeker.init(u.conn)
	return u, nil
}

func (t *target) http2() *upstream.Bridge {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.bridge
}

// unused reports whether the peer is there and has said nothing that nobody
// asked for.
func (u *link) unused() bool {
	if u.inner != nil {
		return u.inner.Idle()
	}
	return u.peeker.peek() == peekNothing
}

func (u *link) close() { _ = u.conn.Close() }

// What a peek finds.
type peeked uint8

const (
	peekNothing peeked = iota
	peekData
	peekEnd // closed or broken
)

// peeker looks whether there is something to read on a connection, without
// reading or waiting.
type peeker struct {
	raw   syscall.RawConn
	look  func(fd uintptr)
	fds   [1]unix.PollFd
	wait  unix.Timespec // none
	found peeked
}

func (p *peeker) init(conn net.Conn) {
	if sc, ok := conn.(syscall.Conn); ok {
		p.raw, _ = sc.SyscallConn() //nolint:errcheck // nil where it fails, and then peek finds nothing
	}
	p.look = func(fd uintptr) {
		p.fds[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN | unix.POLLRDHUP} //nolint:gosec // a descriptor fits
		n, err := unix.Ppoll(p.fds[:], &p.wait, nil)
		switch {
		case err == unix.EINTR || n == 0: //nolint:errorlint // package unix returns it as it is
			p.found = peekNothing
		case err != nil || p.fds[0].Revents&^unix.POLLIN != 0:
			p.found = peekEnd
		default:
			p.found = peekData
		}
	}
}

// peek looks. It must not be called by two goroutines at once.
func (p *peeker) peek() peeked {
	if p.raw == nil {
		return peekNothing
	}
	if p.raw.Control(p.look) != nil {
		return peekEnd
	}
	return p.found
}
