// Package door is what stands before the first byte of HTTP: it takes
// connections at a bounded pace, and learns from proxies in front of Landward,
// where they are trusted, who the client really is: by the PROXY protocol or by
// the headers that proxies add. It must never know about routes, apps or what
// an HTTP message is beyond the values of those headers.
package door

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"landward/internal/route/cidr"
)

// Options are what a Listener is made of.
type Options struct {
	// Trusted are the networks of proxies that speak the PROXY protocol. What
	// others send is passed on as it is, so that nobody else can claim to be a
	// client.
	Trusted []netip.Prefix
	// Required closes a trusted peer's connection that does not begin with a
	// header. Without it, such a connection is the peer's own.
	Required bool
	// Timeout is how long a header may take [5 s].
	Timeout time.Duration
	// MaxHeader is the size in bytes up to which a header of version 2 is read
	// [4096]. The protocol's own limit is 65551.
	MaxHeader int
	// PerSecond is how many connections are taken in a second; 0: as many as
	// come. Others wait in the kernel's queue.
	PerSecond int
	// Burst is how many of them may come at once [PerSecond].
	Burst int
}

// Listener takes connections of another listener. Those of trusted peers come
// as *Conn, the others as they are.
type Listener struct {
	inner     net.Listener
	trusted   cidr.Set
	required  bool
	timeout   time.Duration
	maxHeader int
	pace      pace
	closed    chan struct{}
	once      sync.Once
}

// defaults of Options.
const (
	headerTimeout = 5 * time.Second
	maxHeader     = 4096
)

// Listen wraps l, which the Listener owns from then on. It starts nothing.
func Listen(l net.Listener, o Options) *Listener {
	d := &Listener{
		inner: l, trusted: cidr.NewSet(o.Trusted), required: o.Required, timeout: o.Timeout, maxHeader: o.MaxHeader,
		closed: make(chan struct{}),
	}
	if d.timeout <= 0 {
		d.timeout = headerTimeout
	}
	if d.maxHeader <= 0 {
		d.maxHeader = maxHeader
	}
	d.maxHeader = min(max(d.maxHeader, headV2), maxV2)
	d.pace.set(o.PerSecond, o.Burst)
	return d
}

// Accept returns the next connection once its turn has come. It does not wait
// for a header: the first Read does, or Handshake.
func (l *Listener) Accept() (net.Conn, error) {
	if !l.pace.wait(l.closed) {
		return nil, fmt.Errorf("accept on %s: %w", l.inner.Addr(), net.ErrClosed)
	}
	conn, err := l.inner.Accept()
	if err != nil {
		return nil, err
	}
	if len(l.trusted) == 0 || !l.trusted.Has(addrOf(conn.RemoteAddr())) {
		return conn, nil
	}
	return &Conn{raw: conn, required: l.required, timeout: l.timeout, maxHeader: l.maxHeader}, nil
}

// Close closes the listener and wakes whoever waits in Accept.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.inner.Close()
}

// Addr is the address that is listened on.
func (l *Listener) Addr() net.Addr { return l.inner.Addr() }

// addrOf is the address of a peer; not valid where it has none.
func addrOf(a net.Addr) netip.Addr {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return t.AddrPort().Addr().Unmap().WithZone("")
}

// pace hands out turns, so many a second.
type pace struct {
	every, slack time.Duration

	mu   sync.Mutex
	full time.Time // when as many turns as may come at once are there again
}

func (p *pace) set(perSecond, burst int) {
	if perSecond <= 0 {
		return
	}
	if burst <= 0 {
		burst = perSecond
	}
	p.every = max(time.Second/time.Duration(perSecond), 1)
	p.slack = time.Duration(min(int64(burst-1), int64(time.Hour)/int64(p.every))) * p.every
}

// wait waits for a turn. It returns false once closed is.
func (p *pace) wait(closed <-chan struct{}) bool {
	select {
	case <-closed:
		return false
	default:
	}
	d := p.take(time.Now())
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-closed:
		return false
	}
}

// take takes a turn and returns how long it is until then.
func (p *pace) take(now time.Time) time.Duration {
	if p.every == 0 {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.full.Before(now) {
		p.full = now
	}
	wait := p.full.Sub(now) - p.slack
	p.full = p.full.Add(p.every)
	return wait
}
