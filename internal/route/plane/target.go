package plane

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

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
	table         uint64 // the number of the last one that had it; guarded by the plane's swap

	inflight atomic.Int64
	retired  atomic.Bool
	suspect  atomic.Int64  // passed over until then
	quiet    chan struct{} // told when a retired target has no request left

	mu      sync.Mutex
	idle    []*link            // the latest used last
	closed  bool               // keeps none
	bridges map[string]*bridge // by name, where the app speaks HTTP/2
}

// bridge leads to an app that speaks HTTP/2, for one host or for all.
type bridge struct {
	*upstream.Bridge
	dialing int // who is about to have a connection; guarded by target.mu
}

// maxNames bounds the bridges to one target: below a wildcard clients choose
// the names.
const maxNames = 64

// link is a connection to a target.
type link struct {
	name   string // what the app was told in the handshake (SNI); empty without TLS
	conn   net.Conn
	inner  upstream.Conn // where conn is one; nil else
	sock   *socket       // where conn is plain; nil else
	target *target
	since  int64 // when it was last given back; 0: never, it is new
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

// named reports whether the app is told in a handshake which host is asked
// for: a connection is for one host then.
func (t *target) named() bool {
	return t.proto == landward.ProtocolHTTPS || t.proto == landward.ProtocolH2
}

// take returns an idle connection for a host, or nil. careful is for a request
// that cannot be sent twice.
func (t *target) take(host []byte, now int64, careful bool) *link {
	for {
		u := t.pop(host)
		if u == nil {
			return nil
		}
		if u.until > now && (!careful || now-u.since < freshFor) {
			return u
		}
		u.close()
	}
}

// pop takes the idle connection for a host that was used last.
func (t *target) pop(host []byte) *link {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := len(t.idle) - 1
	if t.named() {
		for i >= 0 && t.idle[i].name != string(host) {
			i--
		}
	}
	if i < 0 {
		return nil
	}
	u := t.idle[i]
	t.idle = slices.Delete(t.idle, i, i+1)
	return u
}

// give keeps a connection for the next request.
func (t *target) give(u *link, now, until int64) {
	u.since, u.until = now, until
	spare := t.keep(u)
	if spare != nil {
		spare.close()
	}
}

// keep puts u among the idle connections, and returns the one for which there
// is no room. With names that is the oldest: all of them may be for hosts that
// nobody asks for any more.
func (t *target) keep(u *link) (spare *link) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed:
		return u
	case len(t.idle) < t.maxIdle:
	case !t.named():
		return u
	default:
		spare = t.idle[0]
		t.idle = slices.Delete(t.idle, 0, 1)
	}
	t.idle = append(t.idle, u)
	return spare
}

// open lets the target keep connections.
func (t *target) open() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = false
}

// closeIdle closes all idle connections, and for good those that come back.
func (t *target) closeIdle(forGood bool) {
	t.mu.Lock()
	list := t.idle
	t.idle = nil
	var bridges map[string]*bridge
	if forGood {
		t.closed = true
		bridges, t.bridges = t.bridges, nil
	}
	t.mu.Unlock()
	for _, b := range bridges {
		b.Close() // what runs on it ends by itself
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

// dial makes a new connection for a host, on which HTTP/1.1 is spoken whatever
// the app speaks.
func (t *target) dial(ctx context.Context, host []byte, timeout time.Duration) (*link, error) {
	u := &link{target: t}
	if t.named() {
		u.name = string(host)
	}
	var err error
	switch t.proto {
	case landward.ProtocolH2C, landward.ProtocolH2:
		u.inner, err = t.cross(ctx, u.name)
	case landward.ProtocolHTTPS:
		u.inner, err = t.dialer.HTTPS(ctx, t.addr, u.name)
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
	u.sock = newSocket(u.conn, nil)
	return u, nil
}

// cross makes a connection over the bridge for a name.
func (t *target) cross(ctx context.Context, name string) (upstream.Conn, error) {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil, net.ErrClosed
	}
	b := t.bridges[name]
	if b == nil {
		b = t.build(name)
	}
	b.dialing++
	t.mu.Unlock()
	conn, err := b.Dial(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	b.dialing--
	return conn, err
}

// build makes the bridge for a name. Where there are many, some that nobody is
// about to use are let go. The caller holds mu.
func (t *target) build(name string) *bridge {
	for other, b := range t.bridges {
		if len(t.bridges) < maxNames {
			break
		}
		if b.dialing == 0 {
			delete(t.bridges, other)
			b.Close() // what runs on it ends by itself
		}
	}
	if t.bridges == nil {
		t.bridges = make(map[string]*bridge)
	}
	b := new(bridge)
	if t.proto == landward.ProtocolH2 {
		b.Bridge = t.dialer.H2(t.addr, name)
	} else {
		b.Bridge = t.dialer.H2C(t.addr)
	}
	t.bridges[name] = b
	return b
}

// unused reports whether the peer is there and has said nothing that nobody
// asked for.
func (u *link) unused() bool {
	if u.inner != nil {
		return u.inner.Idle()
	}
	return u.sock == nil || u.sock.quiet()
}

func (u *link) read(b []byte) (int, error) {
	if u.sock == nil {
		return u.conn.Read(b)
	}
	return u.sock.read(b)
}

func (u *link) write(b []byte) (int, error) {
	if u.sock == nil {
		return u.conn.Write(b)
	}
	return u.sock.write(b)
}

// errSpoken says that the peer of a used connection has closed it, or has said
// something that nobody asked for: the next request would get what was meant for
// another. Nothing was sent.
var errSpoken = errors.New("the app has closed the connection, or spoken unasked")

// tell writes b.
func (u *link) tell(b []byte) (int, error) {
	if u.since > 0 && !u.unused() {
		return 0, errSpoken
	}
	return u.write(b)
}

// ask writes b, calls asked, and may wait until there is an answer: what it has
// read of it then is in the buffer answer, which the next read must be into.
func (u *link) ask(b, answer []byte, asked func()) (int, error) {
	if u.sock != nil {
		return u.sock.ask(b, answer, u.since > 0, asked)
	}
	n, err := u.tell(b)
	asked()
	return n, err
}

func (u *link) close() { _ = u.conn.Close() }
