// Package plane is the data plane of the edge: it takes HTTP/1.1 connections,
// finds the app by host in the table of the moment, and relays each request to
// one of its targets and the answer back, byte by byte. One goroutine serves a
// client's connection; a request without a body needs no other. It must never
// know where tables come from, where logs go or what an error page looks like.
package plane

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"landward/internal/landward"
	"landward/internal/route"
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
	WriteTimeout   time.Duration // for one write of at most 64 KiB [60 s]
	AnswerWithin   time.Duration // until the app's answer begins [60 s]
	ConnectTimeout time.Duration // to a target [5 s]
	MaxBody        int64         // bytes of a request's body [1 GiB]; negative: none
	MaxConns       int           // of clients at once [16384]
	MaxConnsPerIP  int           // of one client address [1024]
	UpstreamIdle   time.Duration // how long an unused connection to a target is kept [30 s]
	MaxIdle        int           // unused connections kept to one target [256]
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
	or(&l.Tick, 250*time.Millisecond)
	return l
}

// Options are what a Plane is made of. All but Limits are required.
type Options struct {
	Log    *slog.Logger
	Access Sink
	Pages  Pages
	Limits Limits
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

	alone bool         // there is one processor only
	epoch time.Time    // zero of now()
	wall  atomic.Int64 // Unix nanoseconds at the epoch, kept in step with the host's clock

	swap    sync.Mutex         // held while a table is applied
	targets map[string]*target // by key; those in the table and those not yet quiet
	stats   map[int64]*Stats   // by app

	mu       sync.Mutex
	sessions map[*session]struct{}
	perIP    map[netip.Addr]int
	empty    chan struct{} // closed when the last session has gone after Shutdown
	closing  atomic.Bool
	refused  atomic.Uint64 // connections over a limit

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
		sessions: make(map[*session]struct{}),
		perIP:    make(map[netip.Addr]int),
		empty:    make(chan struct{}),
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.wall.Store(p.epoch.UnixNano())
	p.index.Store(&index{none: p.statsOf(0, "")})
	p.pool.New = func() any { return newExchange(p) }
	p.bodies.New = func() any { b := make([]byte, bodyBuffer); return &b }
	return p
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

// Run keeps the limits in time until ctx ends. Without it no timeout fires.
func (p *Plane) Run(ctx context.Context) error {
	tick := time.NewTicker(p.limits.Tick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case t := <-tick.C:
			p.wall.Store(t.UnixNano() - int64(t.Sub(p.epoch)))
			p.sweep(p.now())
		}
	}
}

// Serve takes connections from l until it is closed, and returns nil then.
// scheme is what the client speaks: "http", or "https" where l ends TLS.
func (p *Plane) Serve(l net.Listener, scheme string) error {
	pause := time.Duration(0)
	for {
		conn, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			// Out of descriptors, most likely: it passes when clients go.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			p.log.Warn("accept connection", "err", err, "pause", pause)
			select {
			case <-time.After(pause):
				continue
			case <-p.ctx.Done():
				return nil
			}
		}
		pause = 0
		s := newSession(p, conn, scheme)
		if !p.admit(s) {
			refuse(conn)
			continue
		}
		go s.serve()
	}
}

// refuse tells a client over a limit so, without waiting for it.
func refuse(conn net.Conn) {
	_ = conn.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
	_, _ = conn.Write([]byte("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\n" +
		"Content-Length: 0\r\nConnection: close\r\n\r\n"))
	_ = conn.Close()
}

// admit counts a connection in, unless there are too many.
func (p *Plane) admit(s *session) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing.Load() || len(p.sessions) >= p.limits.MaxConns || p.perIP[s.ip] >= p.limits.MaxConnsPerIP {
		p.refused.Add(1)
		return false
	}
	p.sessions[s] = struct{}{}
	p.perIP[s.ip]++
	return true
}

// leave counts a connection out.
func (p *Plane) leave(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.sessions, s)
	if p.perIP[s.ip]--; p.perIP[s.ip] <= 0 {
		delete(p.perIP, s.ip)
	}
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

// crowded reports whether idle clients should make room.
func (p *Plane) crowded() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.sessions) > p.limits.MaxConns/4*3
}

// all returns the sessions of the moment.
func (p *Plane) all() []*session {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]*session, 0, len(p.sessions))
	for s := range p.sessions {
		list = append(list, s)
	}
	return list
}

// Shutdown lets requests in progress finish until ctx ends, then cuts them.
// Idle connections are closed and WebSockets told to go away at once. Close
// the listeners first. It returns once no session is left.
func (p *Plane) Shutdown(ctx context.Context) {
	p.mu.Lock()
	p.closing.Store(true)
	if len(p.sessions) == 0 {
		p.closeEmpty()
	}
	p.mu.Unlock()
	for _, s := range p.all() {
		s.wind()
	}
	select {
	case <-p.empty:
	case <-ctx.Done():
		p.cancel()
		p.killAll()
	}
	p.cancel()
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
