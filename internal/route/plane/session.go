package plane

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"landward/internal/route"
	"landward/internal/route/wire"
)

// The states of a session as the sweeper sees them. A greater value is when
// the request in progress began; the client of such a one is looked after.
const (
	stateIdle int64 = 0  // between two requests
	stateOwn  int64 = -1 // uploading, upgraded, ending: someone reads from the client
	stateNew  int64 = -2 // no request yet, or a piece of one's head
)

// firstBuffer is the size of the buffer that a connection borrows while a
// request is there, enough for the heads that browsers send.
const firstBuffer = 4 << 10

// session is one client's connection.
type session struct {
	p      *Plane
	conn   net.Conn
	scheme string
	proto  string       // what the client speaks where that is not HTTP/1.x
	server string       // the name that its TLS handshake asked for
	tcp    *net.TCPConn // below TLS and the like; nil where there is none
	sock   *socket      // nil where there is TLS or the like in between
	ip     netip.Addr
	fixed  []byte // the forwarded headers that are the same for every request
	// trusted is set where the peer is a front proxy whose word counts, counted
	// where the session counts its connection out, parked where it has given it
	// away, and lively where the client does not leave it idle for long.
	trusted, counted, parked, lively bool

	in     []byte // bytes read and not used yet are in[:w]; nil while there are none
	w      int
	small  *[]byte   // the borrowed buffer, to go back to
	taken  error     // what has come of a request that was served in the wait for it
	began  int64     // when the request's first byte was there, or since when it is idle
	served bool      // at least one request
	x      *exchange // the request in progress

	cr, cw, ur, uw deadline    // of client and upstream, reading and writing
	nudge          sync.Mutex  // held by who asks the session to park
	stays          atomic.Bool // it could not be parked
	busy           atomic.Int64
	body           pace
	up             atomic.Pointer[link]
	tunnel         atomic.Pointer[tunnel]
}

func newSession(p *Plane, conn net.Conn, scheme string) *session {
	s := &session{p: p, conn: conn, scheme: scheme, tcp: tcpBelow(conn), ip: clientOf(conn)}
	if pr, ok := conn.(interface{ Proto() string }); ok {
		s.proto = pr.Proto()
	}
	s.server = serverName(conn)
	s.sock = newSocket(conn, s)
	s.busy.Store(stateNew)
	s.fixed = forwarded(s.ip, scheme)
	s.trusted = p.trust.Trusts(s.ip)
	return s
}

// serverName is the name that the client's TLS handshake asked for, in lower
// case; empty where there was none.
func serverName(conn net.Conn) string {
	switch c := conn.(type) {
	case *tls.Conn:
		return strings.ToLower(c.ConnectionState().ServerName)
	case interface{ ServerName() string }:
		return strings.ToLower(c.ServerName())
	}
	return ""
}

// forwarded is what the app is told about a client, up to the host.
func forwarded(client netip.Addr, scheme string) []byte {
	ip := "unknown"
	if client.IsValid() {
		ip = client.String()
	}
	node := ip
	if client.Is6() {
		node = `"[` + ip + `]"`
	}
	return []byte("X-Forwarded-For: " + ip + "\r\nX-Real-IP: " + ip + "\r\nX-Forwarded-Proto: " + scheme +
		"\r\nForwarded: for=" + node + ";proto=" + scheme + ";host=\"")
}

// clientOf is the client's address, the zero one where it has none.
func clientOf(conn net.Conn) netip.Addr { return addrOf(conn.RemoteAddr()) }

func addrOf(a net.Addr) netip.Addr {
	switch a := a.(type) {
	case *net.TCPAddr:
		return a.AddrPort().Addr().Unmap().WithZone("")
	case *net.UDPAddr:
		return a.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

// tcpBelow finds the TCP connection that conn wraps, or nil.
func tcpBelow(conn net.Conn) *net.TCPConn {
	for {
		switch c := conn.(type) {
		case *net.TCPConn:
			return c
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return nil
		}
	}
}

// serve answers requests until the connection ends, or is parked.
func (s *session) serve() {
	defer s.end()
	defer func() {
		// A mistake of ours on one connection must not end all others.
		if v := recover(); v != nil {
			s.p.log.Error("serve connection", "panic", v, "stack", string(debug.Stack()))
			s.abandon()
		}
	}()
	for s.request() {
	}
}

// end forgets the session, and closes the connection unless it is parked: then
// it is no longer ours.
func (s *session) end() {
	s.release()
	if !s.parked {
		_ = s.conn.Close()
	}
	s.p.leave(s)
	if s.counted && !s.parked {
		s.p.dismiss(s.ip)
	}
}

// abandon counts out what a panic has left in progress.
func (s *session) abandon() {
	x := s.x
	if x == nil {
		return
	}
	if x.up != nil {
		x.up.close()
	}
	x.leave()
	if x.target != nil {
		x.target.exit()
	}
}

// errHeadLarge and the others are how reading a head can end beside an error
// of the grammar.
var (
	errHeadLarge = &wire.Error{Status: 431, Reason: "request head too large"}
	errHeadSlow  = &wire.Error{Status: 408, Reason: "request head took too long"}
)

// How reading a head can end where there is none to serve.
var (
	errPark   = errors.New("idle")
	errServed = errors.New("served")           // and still to be finished
	errAgain  = errors.New("served, and more") // what came after it is here
)

// request reads and answers one request and reports whether another may come.
func (s *session) request() bool {
	end, err := s.readHead()
	switch err { //nolint:errorlint // the very values
	case errPark:
		return !s.park()
	case errAgain:
		return true
	case errServed:
		return s.finish()
	}
	refusal := refusalOf(err)
	if err != nil && refusal == nil {
		return false // closed, or idle for too long
	}
	x := s.p.pool.Get().(*exchange)
	x.begin(s)
	s.x = x
	if refusal != nil {
		code := route.CodeBadRequest
		switch refusal {
		case errHeadLarge:
			code = route.CodeHeaderLarge
		case errHeadSlow:
			code = route.CodeSlow
		}
		x.fault(route.Fault{Status: refusal.Status, Code: code, Reason: refusal.Reason})
	} else {
		x.serve(end)
	}
	return s.finish()
}

// take serves a request that has come whole, and reads nothing more from the
// client, within the wait for it: the next one is waited for without a read that
// would find nothing. All else it leaves to request. So it does with what fills
// the buffer, as more may be there, and with the first request: clients that
// close their side do so after one, and that may have been told already.
func (s *session) take(n int) bool {
	if !s.served || n == len(s.in) {
		return false
	}
	end, err := wire.HeadEnd(s.in[:n], 0)
	if end <= 0 || err != nil {
		return false
	}
	s.began = s.p.now()
	x := s.p.pool.Get().(*exchange)
	x.begin(s)
	if x.req.Parse(s.in[:end]) != nil || x.req.Length() != 0 || x.req.Upgrade() != nil {
		s.p.pool.Put(x)
		return false
	}
	if s.cr.disarm() == hitPark {
		s.rouse()
	}
	s.x, s.w = x, n
	x.handle(end)
	if !x.keep || x.broken || x.tunnel != nil {
		s.taken = errServed // what is left to do may read from the client
		return false
	}
	s.finish()
	if s.w > 0 {
		s.taken = errAgain
		return false
	}
	s.release()
	if !s.expect(s.began) {
		s.taken = io.EOF
		return false
	}
	return true
}

// finish ends the request in progress and reports whether another may come.
func (s *session) finish() bool {
	x := s.x
	if t := x.tunnel; t != nil {
		s.x = nil
		s.p.pool.Put(x) // a connection that lives for hours holds little
		s.release()
		t.run()
		return false
	}
	keep := x.end()
	s.x = nil
	s.p.pool.Put(x)
	if !keep {
		return false
	}
	s.busy.Store(stateIdle)
	return true
}

// refusalOf returns the error of the grammar in err, or nil.
func refusalOf(err error) *wire.Error {
	if err == nil {
		return nil
	}
	var e *wire.Error
	errors.As(err, &e)
	return e
}

// readHead fills the buffer until it holds a whole head and returns its length.
func (s *session) readHead() (int, error) {
	switch {
	case s.w == 0:
		s.release()
	case s.w <= firstBuffer && len(s.in) > firstBuffer:
		copy(*s.small, s.in[:s.w])
		s.in = *s.small
	}
	now := s.p.now()
	s.began = now
	seen := 0
	for {
		if s.w > 0 {
			end, err := wire.HeadEnd(s.in[:s.w], seen)
			if end > 0 || err != nil {
				return end, err
			}
		}
		if seen = s.w; seen > 0 {
			s.busy.Store(stateNew) // not idle any more
		}
		if s.in != nil && s.w == len(s.in) && !s.grow() {
			return 0, errHeadLarge
		}
		if err := s.fill(now); err != nil {
			return 0, err
		}
	}
}

// expect limits the time of the next read. An idle client may take IdleTimeout;
// one that has begun, or just connected, HeaderTimeout in all. It reports false
// where nothing more is to be read: the plane shuts down.
func (s *session) expect(now int64) bool {
	idle := s.w == 0 && s.served
	limit := s.began + int64(s.p.limits.HeaderTimeout)
	if idle {
		limit = now + int64(s.p.limits.IdleTimeout)
	}
	s.cr.arm(limit)
	if s.w == 0 && s.p.closing.Load() {
		s.cr.arm(min(limit, now+newcomer))
		return !idle
	}
	return true
}

// fill reads once.
func (s *session) fill(now int64) error {
	if !s.expect(now) {
		return io.EOF
	}
	s.taken = nil
	n, err := s.read()
	if s.taken != nil {
		return s.taken
	}
	hit := s.cr.disarm()
	if hit == hitPark {
		s.rouse()
		if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) {
			return errPark
		}
	}
	if n > 0 {
		if s.w == 0 {
			s.began = s.p.now()
		}
		s.w += n
		return nil
	}
	switch {
	case hit == hitTimeout && s.w > 0:
		return errHeadSlow
	case err == nil:
		return io.ErrNoProgress
	}
	return err
}

// read reads what there is. A plain connection waits without a buffer: ten
// thousand idle ones hold none.
func (s *session) read() (int, error) {
	if s.sock == nil {
		s.p.giveWay()
		return s.conn.Read(s.borrow()[s.w:])
	}
	if s.w == 0 {
		return s.sock.read(nil)
	}
	return s.sock.read(s.in[s.w:])
}

// write writes to the client.
func (s *session) write(b []byte) (int, error) {
	if s.sock == nil {
		return s.conn.Write(b)
	}
	return s.sock.write(b)
}

// borrow returns the buffer, and makes sure that there is one.
func (s *session) borrow() []byte {
	if s.in == nil {
		s.small = s.p.heads.Get().(*[]byte)
		s.in = *s.small
	}
	return s.in
}

// release gives the buffer back.
func (s *session) release() {
	if s.small != nil {
		s.p.heads.Put(s.small)
	}
	s.in, s.small, s.w = nil, nil, 0
}

// grow makes room for a larger head, up to the limit.
func (s *session) grow() bool {
	size := min(len(s.in)*4, s.p.limits.Header)
	if size <= len(s.in) {
		return false
	}
	larger := make([]byte, size)
	copy(larger, s.in[:s.w])
	s.in = larger
	return true
}

// use takes n bytes off the buffer.
func (s *session) use(n int) {
	s.w = copy(s.in, s.in[n:s.w])
}

// gone reports whether the client has closed its side. Nobody who still wants
// an answer does.
func (s *session) gone() bool {
	if g, ok := s.conn.(interface{ Gone() bool }); ok {
		return g.Gone()
	}
	if s.tcp == nil {
		return false
	}
	return hungUp(s.tcp)
}

// wind asks the session to end when its request has.
func (s *session) wind() {
	if t := s.tunnel.Load(); t != nil {
		t.leave()
		return
	}
	switch s.busy.Load() {
	case stateIdle:
		_ = s.conn.SetReadDeadline(past)
	case stateNew:
		_ = s.conn.SetReadDeadline(time.Now().Add(time.Duration(newcomer)))
	}
}

// newcomer is how long a client that connected just before a shutdown may take
// to send its one request: it could not know.
const newcomer = int64(time.Second)

// kill ends the session's request at once.
func (s *session) kill() {
	if t := s.tunnel.Load(); t != nil {
		t.cut()
		return
	}
	s.hitAll(hitCut)
	_ = s.conn.SetReadDeadline(past)
}

// hitAll wakes the session wherever it blocks. It reports whether it did.
func (s *session) hitAll(reason int64) bool {
	up := s.up.Load()
	hit := false
	if up != nil && s.ur.hit(reason) {
		hit = true
		_ = up.conn.SetReadDeadline(past)
	}
	if up != nil && s.uw.hit(reason) {
		hit = true
		_ = up.conn.SetWriteDeadline(past)
	}
	if s.cw.hit(reason) {
		hit = true
		_ = s.conn.SetWriteDeadline(past)
	}
	return hit
}
