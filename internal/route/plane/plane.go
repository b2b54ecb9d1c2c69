// Package plane is the data plane of the edge: it takes HTTP/1.1 connections,
// finds the app by host in the table of the moment, and relays each request to
// one of its targets and the answer back, byte by byte. One goroutine serves a
// client's connection; a request without a body needs no other. It must never
// know where tables come from, where logs go or what an error page looks like.
package plane

import (
	"context"
	crand "crypto/rand"
	"log/slog"
	"net/netip"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"landward/internal/landward"
	"landward/internal/route"
	"landward/internal/route/door"
	"landward/internal/route/squeeze"
	"landward/internal/route/static"
	"landward/internal/route/upstream"
)

// Sink takes the record of every finished request. It must not block and must
// not keep the entry.
type Sink interface {
	Access(e *route.Entry)
}

// Pages renders the answers that the edge makes itself. It appends the body to
// dst and returns it with its media type; accept is the client's Accept header.
type Pages interface {
	Append(dst []byte, f route.Fault, accept []byte) (body []byte, contentType string)
}

// Limits bound every connection. Zero values mean the defaults in brackets.
type Limits struct {
	Header         int           // bytes of a request's head [64 KiB]
	HeaderTimeout  time.Duration // from a request's first byte to the end of its head [10 s]
	IdleTimeout    time.Duration // between two requests [75 s]
	ReadTimeout    time.Duration // between two reads of a body [60 s]
	WriteTimeout   time.Duration // for one write of at most 64 KiB, or until there is room for more [60 s]
	AnswerWithin   time.Duration // until the app's answer begins [60 s]
	ConnectTimeout time.Duration // to a target [5 s]
	MaxBody        int64         // bytes of a request's body [1 GiB]; negative: none
	MaxConns       int           // of clients at once [16384]
	MaxConnsPerIP  int           // of one client address [1024]
	UpstreamIdle   time.Duration // how long an unused connection to a target is kept [30 s]
	MaxIdle        int           // unused connections kept to one target [256]
	ParkAfter      time.Duration // how long an idle client's connection keeps its goroutine [100 ms]; negative: always
	Tick           time.Duration // how exactly limits in time are kept [250 ms]
}

func or[T int | int64 | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

func (l Limits) withDefaults() Limits {
	or(&l.Header, 64<<10)
	or(&l.HeaderTimeout, 10*time.Second)
	or(&l.IdleTimeout, 75*time.Second)
	or(&l.ReadTimeout, time.Minute)
	or(&l.WriteTimeout, time.Minute)
	or(&l.AnswerWithin, time.Minute)
	or(&l.ConnectTimeout, 5*time.Second)
	or(&l.MaxBody, 1<<30)
	or(&l.MaxConns, 16384)
	or(&l.MaxConnsPerIP, 1024)
	or(&l.UpstreamIdle, 30*time.Second)
	or(&l.MaxIdle, 256)
	or(&l.ParkAfter, 100*time.Millisecond)
	or(&l.Tick, 250*time.Millisecond)
	return l
}

// Options are what a Plane is made of. All but Limits are required.
type Options struct {
	Log    *slog.Logger
	Access Sink
	Pages  Pages
	Limits Limits

	// Wake is told of an app that sleeps and has a request, Idle of one that
	// has had none for its time. Both are told again and must not block.
	Wake, Idle func(appID int64)
	// Local reports a host whose certificate is of our own authority.
	Local func(host string) bool
	// ToHTTPS reports a host for which HTTPS works, so that plain HTTP is sent
	// there unless its route says otherwise. It is asked for each such request.
	ToHTTPS func(host []byte) bool
	// Challenge answers a certificate authority's question about a host, at
	// paths below /.well-known/acme-challenge/. Where it is set no such request
	// reaches an app; nil: they are the apps' own.
	Challenge func(host, path string) (answer string, ok bool)
	// Covers reports whether the certificate of an HTTPS connection whose client
	// asked for server is good for host, too, both in lower case. Where it is not
	// the request gets a 421; nil: nobody looks.
	Covers func(server, host string) bool
	// HTTPSPort is where clients find HTTPS; 443 where it is 0.
	HTTPSPort int
	// Apps are where requests of the apps come from. A rule for networks has
	// those only where it names them.
	Apps netip.Prefix
	// Trusted are front proxies whose word about the client counts.
	Trusted []netip.Prefix
}

// Plane is the data plane. It is safe for concurrent use.
type Plane struct {
	log    *slog.Logger
	access Sink
	pages  Pages
	limits Limits

	index  atomic.Pointer[index]
	pool   sync.Pool // of *exchange
	bodies sync.Pool // of *[]byte, bodyBuffer long
	heads  sync.Pool // of *[]byte, firstBuffer long

	alone bool         // there is one processor only
	epoch time.Time    // zero of now()
	wall  atomic.Int64 // Unix nanoseconds at the epoch, kept in step with the host's clock

	swap    sync.Mutex         // held while a table is applied
	tables  uint64             // how many have been
	targets map[string]*target // by key; those in the table and those not yet quiet
	stats   map[int64]*Stats   // by app
	trials  map[int64]*trial   // by app: of its last canary

	mu       sync.Mutex
	sessions map[*session]struct{}
	empty    chan struct{} // closed when the last session has gone after Shutdown
	closing  atomic.Bool
	refused  atomic.Uint64 // connections over a limit
	doors    counter
	lot      lot
	crowd    chan struct{} // told when many sessions have a goroutine each
	swept    []*session    // of the sweeper, to be used again
	pipes    pipes

	wake, idle func(appID int64)
	local      func(host string) bool
	toHTTPS    func(host []byte) bool
	challenge  func(host, path string) (string, bool)
	covers     func(server, host string) bool
	httpsPort  string
	stickyKey  []byte
	trust      *door.Trust
	apps       netip.Prefix
	coders     *squeeze.Pool
	dialer     upstream.Dialer
	files      sync.Pool              // of *static.Answer
	altSvc     atomic.Pointer[[]byte] // header line that tells of HTTP/3

	ctx    context.Context // ends dials at shutdown
	cancel context.CancelFunc
}

// New makes a Plane with an empty table. It starts nothing.
func New(o Options) *Plane {
	p := &Plane{
		log: o.Log, access: o.Access, pages: o.Pages, limits: o.Limits.withDefaults(),
		alone:    runtime.GOMAXPROCS(0) == 1,
		epoch:    time.Now(),
		targets:  make(map[string]*target),
		stats:    make(map[int64]*Stats),
		trials:   make(map[int64]*trial),
		sessions: make(map[*session]struct{}),
		wake:     o.Wake, idle: o.Idle, local: o.Local, toHTTPS: o.ToHTTPS, challenge: o.Challenge, covers: o.Covers,
		empty: make(chan struct{}), crowd: make(chan struct{}, 1),
	}
	p.lot.p = p
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.wall.Store(p.epoch.UnixNano())
	p.doors = counter{gone: make(chan struct{}), max: p.limits.MaxConns, maxPerIP: p.limits.MaxConnsPerIP, perIP: make(map[netip.Addr]int)}
	p.setDefaults(o)
	p.coders = squeeze.NewPool(0)
	p.dialer.Timeout = p.limits.ConnectTimeout
	p.apps = o.Apps
	p.trust = door.NewTrust(o.Trusted, door.FromXForwarded)
	p.files.New = func() any { return new(static.Answer) }
	p.stickyKey = make([]byte, 32)
	_, _ = crand.Read(p.stickyKey) // never fails
	p.index.Store(&index{none: p.statsOf(0, ""), replaced: make(chan struct{})})
	p.pool.New = func() any { return newExchange(p) }
	p.heads.New = func() any { b := make([]byte, firstBuffer); return &b }
	p.bodies.New = func() any { b := make([]byte, bodyBuffer); return &b }
	return p
}

// setDefaults fills in what nobody has asked for.
func (p *Plane) setDefaults(o Options) {
	nobody := func(int64) {}
	if p.wake == nil {
		p.wake = nobody
	}
	if p.idle == nil {
		p.idle = nobody
	}
	if p.local == nil {
		p.local = func(string) bool { return false }
	}
	if p.toHTTPS == nil {
		p.toHTTPS = func([]byte) bool { return false }
	}
	if o.HTTPSPort != 0 && o.HTTPSPort != 443 {
		p.httpsPort = ":" + strconv.Itoa(o.HTTPSPort)
	}
}

// now is the time since the epoch, which never jumps.
func (p *Plane) now() int64 { return int64(time.Since(p.epoch)) }

// giveWay lets the other connections go on before one waits for its peer. On
// one processor the peer has often acted by then, and the read finds something
// at once: a system call and a wake-up less. With more, Gosched would wake
// others for nothing.
func (p *Plane) giveWay() {
	if p.alone {
		runtime.Gosched()
	}
}

// Run keeps the limits in time until ctx ends. Without it no timeout fires, and
// every idle connection keeps its goroutine.
func (p *Plane) Run(ctx context.Context) error {
	stop := p.lot.start()
	defer stop()
	tick := time.NewTicker(p.limits.Tick)
	defer tick.Stop()
	var soon <-chan time.Time
	var memory settler
	defer memory.working.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.crowd:
			if soon == nil {
				soon = time.After(min(parkSoon, p.limits.Tick))
			}
		case <-soon:
			soon = nil
			p.thin(p.now())
		case t := <-tick.C:
			p.wall.Store(t.UnixNano() - int64(t.Sub(p.epoch)))
			p.sweep(p.now())
			memory.look(p.now(), p.lot.parked())
			p.tellIdle(p.now())
		}
	}
}

// enlist notes a session, so that it can be ended.
func (p *Plane) enlist(s *session) {
	p.mu.Lock()
	p.sessions[s] = struct{}{}
	many := len(p.sessions) > manyAwake
	p.mu.Unlock()
	if many {
		select {
		case p.crowd <- struct{}{}:
		default:
		}
	}
}

// leave forgets a session.
func (p *Plane) leave(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.sessions, s)
	if len(p.sessions) == 0 && p.closing.Load() {
		p.closeEmpty()
	}
}

// closeEmpty says that no session is left. The caller holds mu.
func (p *Plane) closeEmpty() {
	select {
	case <-p.empty:
	default:
		close(p.empty)
	}
}

// all returns the sessions of the moment.
func (p *Plane) all() []*session {
	return p.appendAll(nil)
}

func (p *Plane) appendAll(list []*session) []*session {
	p.mu.Lock()
	defer p.mu.Unlock()
	list = slices.Grow(list, len(p.sessions))
	for s := range p.sessions {
		list = append(list, s)
	}
	return list
}

// SetAltSvc says where else the same is served: the value of Alt-Svc
// (RFC 7838) of answers over HTTPS.
func (p *Plane) SetAltSvc(value string) {
	line := []byte("Alt-Svc: " + value + "\r\n")
	p.altSvc.Store(&line)
}

// Shutdown lets requests in progress finish until ctx ends, then cuts them.
// Idle connections are closed and WebSockets told to go away at once. Close
// the listeners first. It returns once no session is left.
func (p *Plane) Shutdown(ctx context.Context) {
	p.doors.close()
	p.closing.Store(true)
	p.lot.evict(forever)
	for _, s := range p.all() {
		s.wind()
	}
	// Who was accepted a moment ago, and has no session yet, is answered too.
	select {
	case <-p.doors.gone:
	case <-ctx.Done():
	}
	p.mu.Lock()
	if len(p.sessions) == 0 {
		p.closeEmpty()
	}
	p.mu.Unlock()
	select {
	case <-p.empty:
	case <-ctx.Done():
		p.cancel()
		p.killAll()
	}
	p.cancel()
	p.pipes.close()
	p.swap.Lock()
	defer p.swap.Unlock()
	for _, t := range p.targets {
		t.closeIdle(true)
	}
}

// killAll cuts what is left until nothing is: a session can only be cut while
// it blocks.
func (p *Plane) killAll() {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		for _, s := range p.all() {
			s.kill()
		}
		select {
		case <-p.empty:
			return
		case <-tick.C:
		}
	}
}

func staleTable(have, got int64) error {
	return landward.Errorf(landward.CodeConflict,
		"route table %d is older than table %d, which is in use", got, have)
}
