package plane

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime/debug"
	"sync/atomic"

	"landward/internal/route"
	"landward/internal/route/wire"
)

// The states of a session as the sweeper sees them. A greater value is when
// the request in progress began; the client of such a one is looked after.
const (
	stateIdle int64 = 0  // between two requests
	stateOwn  int64 = -1 // uploading, upgraded, ending: someone reads from the client
	stateNew  int64 = -2 // no request yet
)

// firstBuffer is the size of the buffer that every connection holds, enough
// for the heads that browsers send.
const firstBuffer = 4 << 10

// session is one client's connection.
type session struct {
	p      *Plane
	conn   net.Conn
	scheme string
	ip     netip.Addr
	fixed  []byte // the forwarded headers that are the same for every request

	in     []byte // bytes read and not used yet are in[:w]
	w      int
	small  []byte    // the first buffer, to go back to
	began  int64     // when the request's first byte was there
	served bool      // at least one request
	x      *exchange // the request in progress

	cr, cw, ur, uw guard // of client and upstream, reading and writing
	busy           atomic.Int64
	up             atomic.Pointer[upstream]
	tunnel         atomic.Pointer[tunnel]
}

func newSession(p *Plane, conn net.Conn, scheme string) *session {
	s := &session{p: p, conn: conn, scheme: scheme, small: make([]byte, firstBuffer)}
	if a, err := netip.ParseAddrPort(conn.RemoteAddr().String()); err == nil {
		s.ip = a.Addr().Unmap().WithZone("")
	}
	s.in = s.small
	s.busy.Store(stateNew)
	ip := "unknown"
	if s.ip.IsValid() {
		ip = s.ip.String()
	}
	s.fixed = append(s.fixed, "X-Forwarded-For: "+ip+"\r\nX-Real-IP: "+ip+"\r\nX-Forwarded-Proto: "+scheme+
		"\r\nForwarded: for="...)
	if s.ip.Is6() {
		ip = `"[` + ip + `]"`
	}
	s.fixed = append(s.fixed, ip+";proto="+scheme+";host=\""...)
	return s
}

// serve answers requests until the connection ends.
func (s *session) serve() {
	defer s.p.leave(s)
	defer func() { _ = s.conn.Close() }()
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

// abandon counts out what a panic has left in progress.
func (s *session) abandon() {
	x := s.x
	if x == nil {
		return
	}
	if x.up != nil {
		x.up.close()
	}
	if x.site != nil {
		x.stats.inflight.Add(-1)
	}
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

// request reads and answers one request and reports whether another may come.
func (s *session) request() bool {
	end, err := s.readHead()
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
	if t := x.tunnel; t != nil {
		s.x = nil
		s.p.pool.Put(x) // a connection that lives for hours holds little
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
	if s.w <= len(s.small) && len(s.in) > len(s.small) {
		copy(s.small, s.in[:s.w])
		s.in = s.small
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
		seen = s.w
		if s.w == len(s.in) && !s.grow() {
			return 0, errHeadLarge
		}
		if err := s.fill(now); err != nil {
			return 0, err
		}
	}
}

// fill reads once. An idle client may take IdleTimeout; one that has begun,
// or just connected, HeaderTimeout in all.
func (s *session) fill(now int64) error {
	idle := s.w == 0 && s.served
	limit := s.began + int64(s.p.limits.HeaderTimeout)
	if idle {
		limit = now + int64(s.p.limits.IdleTimeout)
	}
	s.cr.arm(limit)
	if s.w == 0 && s.p.closing.Load() {
		return io.EOF
	}
	s.p.giveWay()
	n, err := s.conn.Read(s.in[s.w:])
	hit := s.cr.disarm()
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
	var p peeker
	p.init(s.conn)
	return p.peek() == peekEnd
}

// wind asks the session to end when its request has.
func (s *session) wind() {
	if t := s.tunnel.Load(); t != nil {
		t.leave()
		return
	}
	if v := s.busy.Load(); v == stateIdle || v == stateNew {
		_ = s.conn.SetReadDeadline(past)
	}
}

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
