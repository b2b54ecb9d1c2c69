// Package h3 is a door for HTTP/3 (RFC 9114): it takes QUIC connections, leads
// each request through a lane to who serves HTTP/1.1, and the answer back. It
// owns what a client may cost before and beside its requests. QUIC, header
// compression and frames are quic-go's. It must never know hosts, routes,
// targets, pages or logs of requests: all that is behind Hand.
package h3

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"landward/internal/route/h2/lane"
)

// Limits bound every connection. Zero values mean the defaults in brackets.
type Limits struct {
	Conns            int           // of clients at once [4096]
	ConnsPerIP       int           // of one client address [256]
	Streams          int           // of a client at once [100]
	Header           int           // decoded bytes of a request's head or trailer, 32 more for each field [64 KiB]
	StreamWindow     int           // bytes of a request's body that wait to be read [256 KiB]
	ConnWindow       int           // the same for all of a connection's streams [1 MiB]
	Resets           int           // requests given up at once before the client is cut off [200]
	HandshakeTimeout time.Duration // [10 s]
	HeaderTimeout    time.Duration // until a request without a content-length has said whether it has a body [10 s]
	IdleTimeout      time.Duration // without a request [75 s]
	LaneIdle         time.Duration // how long an unused lane is kept [10 s]
}

func or[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

func (l Limits) withDefaults() Limits {
	or(&l.Conns, 4096)
	or(&l.ConnsPerIP, 256)
	or(&l.Streams, 100)
	or(&l.Header, 64<<10)
	or(&l.StreamWindow, 256<<10)
	or(&l.ConnWindow, 1<<20)
	or(&l.Resets, 200)
	or(&l.HandshakeTimeout, 10*time.Second)
	or(&l.HeaderTimeout, 10*time.Second)
	or(&l.IdleTimeout, 75*time.Second)
	or(&l.LaneIdle, 10*time.Second)
	return l
}

// Options are what a Server is made of. All but Limits are required.
type Options struct {
	TLS *tls.Config // NextProtos is replaced; at least one certificate or GetCertificate
	Log *slog.Logger
	// Hand serves one HTTP/1.1 connection until it ends. Each carries one
	// request at a time. They have the client's addresses, a method
	// Proto() string ("HTTP/3.0"), and a method Gone() bool that tells when
	// the client has given the request up; reads and writes fail then too.
	Hand   func(c net.Conn)
	Limits Limits
}

// tick is how exactly limits in time are kept.
const tick = time.Second

// Server serves HTTP/3. It is safe for concurrent use.
type Server struct {
	o    Options
	http *http3.Server

	mu      sync.Mutex
	open    int                // connections, those in their handshake too
	perIP   map[netip.Addr]int // likewise
	clients map[*client]struct{}
	timer   *time.Timer // runs while there are clients
	closing bool
	all     sync.WaitGroup // of clients
	stopped chan struct{}  // closed when Shutdown is through
	once    sync.Once
}

// New makes a Server. It starts nothing.
func New(o Options) *Server {
	o.Limits = o.Limits.withDefaults()
	s := &Server{o: o, perIP: make(map[netip.Addr]int), clients: make(map[*client]struct{}), stopped: make(chan struct{})}
	s.http = &http3.Server{
		Handler: http.HandlerFunc(s.serve), MaxHeaderBytes: o.Limits.Header, IdleTimeout: o.Limits.IdleTimeout,
		ConnContext: s.greet, Logger: slog.New(slog.DiscardHandler), // it logs what clients do wrong
	}
	return s
}

// AltSvc is the value of the Alt-Svc header by which other protocols' answers
// say that there is HTTP/3 on a port (RFC 7838).
func (s *Server) AltSvc(port int) string {
	return http3.NextProtoH3 + `=":` + strconv.Itoa(port) + `"; ma=86400`
}

// Serve serves HTTP/3 on conn until Shutdown is through, and returns nil then.
// It closes neither conn nor takes more than one.
func (s *Server) Serve(conn net.PacketConn) error {
	l := &s.o.Limits
	tr := &quic.Transport{Conn: conn, VerifySourceAddress: s.suspects, ConnContext: s.admit}
	defer func() { _ = tr.Close() }()
	ln, err := tr.Listen(http3.ConfigureTLSConfig(s.o.TLS), &quic.Config{
		HandshakeIdleTimeout:           l.HandshakeTimeout / 2, // the whole handshake may take twice as long
		MaxIdleTimeout:                 l.IdleTimeout,
		InitialStreamReceiveWindow:     uint64(min(l.StreamWindow, 64<<10)), //nolint:gosec // positive
		MaxStreamReceiveWindow:         uint64(l.StreamWindow),              //nolint:gosec // positive
		InitialConnectionReceiveWindow: uint64(min(l.ConnWindow, 256<<10)),  //nolint:gosec // positive
		MaxConnectionReceiveWindow:     uint64(l.ConnWindow),                //nolint:gosec // positive
		MaxIncomingStreams:             int64(l.Streams),
		MaxIncomingUniStreams:          8,     // control, two of QPACK, and what nobody knows
		Allow0RTT:                      false, // a request in it can be sent again by anybody
	})
	if err != nil {
		return fmt.Errorf("listen for http/3: %w", err)
	}
	err = s.http.ServeListener(ln)
	if !errors.Is(err, http.ErrServerClosed) {
		_ = ln.Close()
		return fmt.Errorf("serve http/3: %w", err)
	}
	<-s.stopped // until then there are connections that need the socket
	_ = ln.Close()
	return nil
}

// suspects reports whether a client must prove its address before anything is
// kept for it (RFC 9000 section 8.1.2): where there are many.
func (s *Server) suspects(net.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open > s.o.Limits.Conns/4
}

var errFull = errors.New("too many connections")

// admit counts a connection in before its handshake, unless there are too many.
func (s *Server) admit(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
	var ip netip.Addr
	if a, err := netip.ParseAddrPort(info.RemoteAddr.String()); err == nil {
		ip = a.Addr().Unmap().WithZone("")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing || s.open >= s.o.Limits.Conns || s.perIP[ip] >= s.o.Limits.ConnsPerIP {
		return nil, errFull
	}
	s.open++
	s.perIP[ip]++
	context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.open--
		if s.perIP[ip]--; s.perIP[ip] <= 0 {
			delete(s.perIP, ip)
		}
	})
	return ctx, nil
}

// clientKey is where a connection's context has its client.
type clientKey struct{}

// client is one connection.
type client struct {
	conn  *quic.Conn
	lanes *lane.Set

	mu     sync.Mutex
	active int
	quiet  time.Time // since when there is no request
	resets int       // requests given up, less those answered and what time forgives
}

// greet makes the client of a connection.
func (s *Server) greet(ctx context.Context, conn *quic.Conn) context.Context {
	l := &s.o.Limits
	c := &client{conn: conn, quiet: time.Now()}
	c.lanes = lane.NewSet(lane.Options{
		Hand: s.o.Hand, Far: newStream, Proto: "HTTP/3.0", Local: conn.LocalAddr(), Remote: conn.RemoteAddr(),
		Max: 2 * l.Streams, Credit: 1,
	})
	s.mu.Lock()
	if len(s.clients) == 0 {
		s.timer = time.AfterFunc(tick, s.tick)
	}
	s.clients[c] = struct{}{}
	s.all.Add(1)
	s.mu.Unlock()
	context.AfterFunc(conn.Context(), func() {
		defer s.all.Done()
		c.lanes.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.clients, c)
		if len(s.clients) == 0 {
			s.timer.Stop()
		}
	})
	return context.WithValue(ctx, clientKey{}, c)
}

func (s *Server) everyone() []*client {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*client, 0, len(s.clients))
	for c := range s.clients {
		list = append(list, c)
	}
	return list
}

// resetsPerSecond is how many given up requests time forgives.
const resetsPerSecond = 10

// tick trims lanes and forgives.
func (s *Server) tick() {
	now := time.Now()
	for _, c := range s.everyone() {
		c.lanes.Trim(now, s.o.Limits.LaneIdle)
		c.mu.Lock()
		c.resets = max(c.resets-resetsPerSecond, 0)
		c.mu.Unlock()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.clients) > 0 {
		s.timer.Reset(tick)
	}
}

// enter counts a request in.
func (c *client) enter() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.active++
}

// leave counts a request out. One that was given up costs.
func (c *client) leave(gaveUp bool, most int) {
	c.mu.Lock()
	if c.active--; c.active == 0 {
		c.quiet = time.Now()
	}
	if gaveUp {
		c.resets++
	} else {
		c.resets = max(c.resets-1, 0)
	}
	over := c.resets > most
	c.mu.Unlock()
	if over {
		_ = c.conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeExcessiveLoad), "too many requests given up")
	}
}

// idle reports whether the client has had no request for that time.
func (c *client) idle(now time.Time, d time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.active == 0 && now.Sub(c.quiet) >= d
}

// goawayGap is how long a client may still have requests on their way after it
// was told to go elsewhere.
const goawayGap = 500 * time.Millisecond

// Shutdown tells all clients to go elsewhere (RFC 9114 section 5.2), lets the
// requests in progress finish until ctx ends, then cuts them. It returns once
// no connection is left.
func (s *Server) Shutdown(ctx context.Context) {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_ = s.http.Shutdown(ctx) // its error is that ctx has ended
	}()
	begun := time.Now()
	watch := time.NewTicker(goawayGap / 10)
	defer watch.Stop()
	for waiting := true; waiting; {
		select {
		case <-closed:
			waiting = false
		case now := <-watch.C:
			// Many clients keep the connection for a next time.
			for _, c := range s.everyone() {
				if now.Sub(begun) >= goawayGap && c.idle(now, goawayGap) {
					_ = c.conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "")
				}
			}
		}
	}
	s.all.Wait()
	s.once.Do(func() { close(s.stopped) })
}
