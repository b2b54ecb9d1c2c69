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

// Options are what a Server is made of. TLS, Log and Hand are required.
type Options struct {
	TLS *tls.Config // NextProtos is replaced; at least one certificate or GetCertificate
	Log *slog.Logger
	// Hand serves one HTTP/1.1 connection until it ends. Each carries one
	// request at a time. They have the client's addresses, a method
	// Proto() string ("HTTP/3.0"), and a method Gone() bool that tells when
	// the client has given the request up; reads and writes fail then too.
	Hand func(c net.Conn)
	// Refused hears of each request that is answered here, without a Hand. nil:
	// nobody.
	Refused func(status int, client net.Addr)
	Limits  Limits

	// Slot is this process's place among those that serve the same address, by
	// sockets of ListenSlots. Their Secret is the same: at least 32 bytes that
	// nobody else knows. Empty: there is no other process.
	Slot   int
	Secret []byte
}

// tick is how exactly limits in time are kept.
const tick = time.Second

// Server serves HTTP/3. It is safe for concurrent use.
type Server struct {
	o    Options
	http *http3.Server

	mu      sync.Mutex
	open    int                // connections, those in their handshake too
	coming  int                // of them, those in their handshake
	perIP   map[netip.Addr]int // of open
	clients map[*client]struct{}
	timer   *time.Timer    // runs while there are clients
	closing bool           // takes nobody new
	serving chan struct{}  // while Serve takes new clients: closed when it no longer does
	all     sync.WaitGroup // of clients
	refuse  chan struct{}  // closed when nobody new is served any more
	stopped chan struct{}  // closed when Shutdown is through
	once    sync.Once
}

// New makes a Server. It starts nothing.
func New(o Options) *Server {
	if o.Refused == nil {
		o.Refused = func(int, net.Addr) {}
	}
	o.Limits = o.Limits.withDefaults()
	s := &Server{o: o, perIP: make(map[netip.Addr]int), clients: make(map[*client]struct{}),
		refuse: make(chan struct{}), stopped: make(chan struct{})}
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
	tr := &quic.Transport{Conn: conn, ConnectionIDGenerator: ids{s.o.Slot}, VerifySourceAddress: s.suspects, ConnContext: s.admit}
	if s.shared() {
		reset, token, err := keys(s.o.Secret)
		if err != nil {
			return err
		}
		tr.StatelessResetKey, tr.TokenGeneratorKey = &reset, &token
	}
	defer func() { _ = tr.Close() }()
	ln, err := tr.Listen(http3.ConfigureTLSConfig(s.o.TLS), s.config())
	if err != nil {
		return fmt.Errorf("listen for http/3: %w", err)
	}
	serving := make(chan struct{})
	s.mu.Lock()
	s.serving = serving
	s.mu.Unlock()
	var closer sync.WaitGroup
	closer.Go(func() {
		// Refuses those whose handshake still goes on. Those who are through it
		// are handed out first.
		select {
		case <-s.refuse:
		case <-serving:
		}
		_ = ln.Close()
	})
	defer closer.Wait()
	err = s.http.ServeListener(ln)
	close(serving)
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve http/3: %w", err)
	}
	<-s.stopped // until then there are connections that need the socket
	return nil
}

func (s *Server) config() *quic.Config {
	l := &s.o.Limits
	return &quic.Config{
		HandshakeIdleTimeout: l.HandshakeTimeout / 2, // the whole handshake may take twice as long
		MaxIdleTimeout:       l.IdleTimeout,
		// QUIC counts packets, not requests: a stream of events may be silent for
		// longer. Connections without a request end at the limit all the same.
		KeepAlivePeriod:                l.IdleTimeout / 3,
		InitialStreamReceiveWindow:     uint64(min(l.StreamWindow, 64<<10)), //nolint:gosec // positive
		MaxStreamReceiveWindow:         uint64(l.StreamWindow),              //nolint:gosec // positive
		InitialConnectionReceiveWindow: uint64(min(l.ConnWindow, 256<<10)),  //nolint:gosec // positive
		MaxConnectionReceiveWindow:     uint64(l.ConnWindow),                //nolint:gosec // positive
		MaxIncomingStreams:             int64(l.Streams),
		MaxIncomingUniStreams:          8, // control, two of QPACK, and what nobody knows
		// A request in the first flight can be sent again by anybody (RFC 8470
		// section 2). Tickets offer none, and what comes in one is thrown away.
		Allow0RTT: false,
	}
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
	s.coming++
	s.perIP[ip]++
	a := &arrival{}
	context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.came(a)
		s.open--
		if s.perIP[ip]--; s.perIP[ip] <= 0 {
			delete(s.perIP, ip)
		}
	})
	return context.WithValue(ctx, arrivalKey{}, a), nil
}

// arrivalKey is where a connection's context has its arrival.
type arrivalKey struct{}

// arrival is a connection's handshake.
type arrival struct{ over bool }

// came notes the end of a handshake, good or bad. The caller holds mu.
func (s *Server) came(a *arrival) {
	if !a.over {
		a.over = true
		s.coming--
	}
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
		Server: conn.ConnectionState().TLS.ServerName, Max: 2 * l.Streams, Credit: 1,
	})
	s.mu.Lock()
	if len(s.clients) == 0 {
		s.timer = time.AfterFunc(tick, s.tick)
	}
	s.clients[c] = struct{}{}
	s.all.Add(1)
	if a, ok := conn.Context().Value(arrivalKey{}).(*arrival); ok {
		s.came(a)
	}
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

// tick trims lanes, forgives, and ends connections that nobody uses.
func (s *Server) tick() {
	now := time.Now()
	for _, c := range s.everyone() {
		c.lanes.Trim(now, s.o.Limits.LaneIdle)
		if c.idle(now, s.o.Limits.IdleTimeout) {
			// Streams may be open: with heads that do not come to their end.
			_ = c.conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "")
		}
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
// was told to go elsewhere; one that is far away, a few round trips.
const goawayGap = 500 * time.Millisecond

// A server that another one takes over from still gets clients whose first
// packet came before: for lull there may be such in its socket, and some that it
// has asked to prove their address. Handshakes that have begun may take
// settleWithin.
const (
	lull         = 200 * time.Millisecond
	settleWithin = 2 * time.Second
)

// Shutdown lets handshakes in progress come to their end, tells all clients to
// go elsewhere (RFC 9114 section 5.2), lets the requests in progress finish
// until ctx ends, then cuts them. It returns once no connection is left. Where
// another process has taken over, Steer must have said so before.
func (s *Server) Shutdown(ctx context.Context) {
	watch := time.NewTicker(goawayGap / 25)
	defer watch.Stop()
	s.settle(ctx, watch.C)
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_ = s.http.Shutdown(ctx) // its error is that ctx has ended
	}()
	begun := time.Now()
	for waiting := true; waiting; {
		select {
		case <-closed:
			waiting = false
		case now := <-watch.C:
			// Many clients keep the connection for a next time.
			for _, c := range s.everyone() {
				if gap := max(goawayGap, 3*c.conn.ConnectionStats().SmoothedRTT); now.Sub(begun) >= gap && c.idle(now, gap) {
					_ = c.conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "")
				}
			}
		}
	}
	s.all.Wait()
	s.once.Do(func() { close(s.stopped) })
}

// settle ends the taking of new clients: with the last one who is on the way
// here, and who is then served. Alone, a server refuses everybody at once.
func (s *Server) settle(ctx context.Context, tick <-chan time.Time) {
	limit, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	s.mu.Lock()
	s.closing = s.closing || !s.shared()
	s.mu.Unlock()
	begun := time.Now()
	for now := begun; limit.Err() == nil && (s.shared() && now.Sub(begun) < lull || s.awaits()); {
		select {
		case <-limit.Done():
		case now = <-tick:
		}
	}
	s.mu.Lock()
	s.closing = true
	serving := s.serving
	select {
	case <-s.refuse:
	default:
		close(s.refuse)
	}
	s.mu.Unlock()
	if serving != nil {
		<-serving
	}
}

// shared reports whether other processes serve the same address.
func (s *Server) shared() bool { return len(s.o.Secret) > 0 }

// awaits reports whether there are connections whose handshake goes on.
func (s *Server) awaits() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.coming > 0
}
