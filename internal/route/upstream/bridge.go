package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// Bounds of a bridge.
const (
	// maxConns is how many HTTP/2 connections there are to one target. Each
	// carries as many requests as the target allows, a hundred or more.
	maxConns = 32
	// streamWindow is how many bytes of one answer wait here for a client that
	// does not take them.
	streamWindow = 256 << 10
	maxHead      = 64 << 10 // bytes of an answer's head, as the plane has it
	idleConn     = 90 * time.Second
	stuckWrite   = time.Minute // the target takes nothing of what is sent
)

// Bridge speaks HTTP/1.1 to the plane and HTTP/2 to one target: over TLS, or
// with prior knowledge (RFC 9113 section 3.3). It is safe for concurrent use.
type Bridge struct {
	addr      string
	scheme    string
	timeout   time.Duration
	transport *http.Transport
	wake      chan struct{} // something may have become free

	mu      sync.Mutex
	conns   []*http.ClientConn
	dialing bool
	links   map[*link]struct{}
	closed  bool
	done    chan struct{} // closed when closed and the last link has gone
}

// H2C makes a bridge to addr ("10.0.0.2:8080"). It starts nothing.
func (d *Dialer) H2C(addr string) *Bridge {
	return d.bridge(addr, "http", new(net.Dialer).DialContext)
}

// H2 makes a bridge to addr that speaks HTTP/2 over TLS. name and the app's
// certificate are as with HTTPS.
func (d *Dialer) H2(addr, name string) *Bridge {
	return d.bridge(addr, "https", func(ctx context.Context, _, addr string) (net.Conn, error) {
		c, err := d.secure(ctx, addr, name, "h2")
		if err != nil {
			return nil, err
		}
		if c.ConnectionState().NegotiatedProtocol != "h2" {
			_ = c.Close()
			return nil, errNoH2
		}
		return c, nil
	})
}

var errNoH2 = errors.New("the target does not speak HTTP/2 over TLS")

type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

func (d *Dialer) bridge(addr, scheme string, dial dialFunc) *Bridge {
	// What it runs over is dial's business: here it always is prior knowledge.
	var only http.Protocols
	only.SetUnencryptedHTTP2(true)
	return &Bridge{
		addr:    addr,
		scheme:  scheme,
		timeout: d.timeout(),
		transport: &http.Transport{
			DialContext:            dialGreeting(dial),
			Protocols:              &only,
			DisableCompression:     true,
			MaxResponseHeaderBytes: maxHead,
			IdleConnTimeout:        idleConn,
			// No pings: gRPC servers hang up on those who send many.
			HTTP2: &http.HTTP2Config{MaxReceiveBufferPerStream: streamWindow, WriteByteTimeout: stuckWrite},
		},
		wake:  make(chan struct{}, 1),
		links: make(map[*link]struct{}),
		done:  make(chan struct{}),
	}
}

// Dial returns a connection on which HTTP/1.1 is spoken with the target. It
// fails where there is no HTTP/2 connection and none can be made.
func (b *Bridge) Dial(ctx context.Context) (Conn, error) {
	if b.retired() {
		return nil, net.ErrClosed
	}
	if !b.connected() {
		ctx, cancel := context.WithTimeout(ctx, b.timeout)
		defer cancel()
		cc, err := b.reserve(ctx)
		if err != nil {
			return nil, err
		}
		cc.Release()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, net.ErrClosed
	}
	l := newLink(b)
	b.links[l] = struct{}{}
	go l.serve()
	return l.plane, nil
}

// connected reports whether there is a connection that works.
func (b *Bridge) connected() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.prune()
	return len(b.conns) > 0
}

// prune forgets connections that have ended. The caller holds mu.
func (b *Bridge) prune() {
	kept := b.conns[:0]
	for _, cc := range b.conns {
		if cc.Err() == nil {
			kept = append(kept, cc)
		}
	}
	clear(b.conns[len(kept):])
	b.conns = kept
}

// reserve returns a connection with room for one request, which is reserved:
// RoundTrip or Release must follow. Where all are full it makes a new one, and
// waits where there may be no more.
func (b *Bridge) reserve(ctx context.Context) (*http.ClientConn, error) {
	for {
		cc, full, err := b.find()
		if cc != nil {
			b.signal() // there may be room for another who waits
			return cc, nil
		}
		if err != nil {
			return nil, err
		}
		if !full {
			if err := b.connect(ctx); err != nil {
				return nil, err
			}
			continue
		}
		select {
		case <-b.wake:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for a free HTTP/2 stream: %w", context.Cause(ctx))
		}
	}
}

// find looks for a connection with room. full: there is none, and this caller
// is not to make one; else it is, and has the right to.
func (b *Bridge) find() (cc *http.ClientConn, full bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.prune()
	for _, cc := range b.conns {
		if cc.Reserve() == nil {
			return cc, false, nil
		}
	}
	if b.closed && len(b.links) == 0 {
		return nil, false, net.ErrClosed
	}
	if b.dialing || len(b.conns) >= maxConns {
		return nil, true, nil
	}
	b.dialing = true
	return nil, false, nil
}

// connect makes a connection, for the one caller that find told to.
func (b *Bridge) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	var g *greeting
	cc, err := b.transport.NewClientConn(context.WithValue(ctx, greetingKey{}, &g), "http", b.addr)
	if err == nil && g != nil {
		if err = g.greeted(ctx); err != nil {
			_ = cc.Close()
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.signal()
	b.dialing = false
	if err != nil {
		return err
	}
	if b.closed && len(b.links) == 0 {
		_ = cc.Close()
		return net.ErrClosed
	}
	cc.SetStateHook(func(*http.ClientConn) { b.signal() })
	b.conns = append(b.conns, cc)
	return nil
}

// greetingKey is where dialGreeting finds the place for what it has made: the
// transport does not hand it out.
type greetingKey struct{}

func dialGreeting(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		g := &greeting{Conn: conn, ready: make(chan struct{})}
		if at, ok := ctx.Value(greetingKey{}).(**greeting); ok {
			*at = g
		}
		return g, nil
	}
}

// signal wakes one that waits for a connection. It must not take mu: it runs
// inside of calls that are made with mu held.
func (b *Bridge) signal() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// Close retires the bridge: Dial fails from now on, connections that the plane
// keeps between two requests are closed, and requests in progress go on. So
// does the first one on a connection that was just dialled. It returns at once.
func (b *Bridge) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	b.closed = true
	for l := range b.links {
		if !l.busy {
			l.shut()
		}
	}
	b.finish()
}

// Wait waits until a closed bridge has come to rest, or ctx ends.
func (b *Bridge) Wait(ctx context.Context) error {
	select {
	case <-b.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// finish closes the HTTP/2 connections once nobody needs them. The caller
// holds mu.
func (b *Bridge) finish() {
	if !b.closed || len(b.links) > 0 {
		return
	}
	select {
	case <-b.done:
		return
	default:
	}
	for _, cc := range b.conns {
		_ = cc.Close()
	}
	b.conns = nil
	close(b.done)
}

// begin notes that l has got a request. It reports false where the bridge has
// been closed while l was idle.
func (b *Bridge) begin(l *link) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed && !l.busy {
		return false
	}
	l.busy = true
	return true
}

// rest notes that l waits for its next request. It reports false where none
// may come.
func (b *Bridge) rest(l *link) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	l.busy = false
	return !b.closed
}

// retired reports whether Close was called.
func (b *Bridge) retired() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed
}

// leave notes that l has ended.
func (b *Bridge) leave(l *link) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.links, l)
	b.finish()
}
