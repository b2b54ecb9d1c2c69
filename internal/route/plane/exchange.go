package plane

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"landward/internal/landward"
	"landward/internal/route"
	"landward/internal/route/wire"
)

// Sizes of the buffers of an exchange.
const (
	outBuffer  = 8 << 10
	inBuffer   = 16 << 10
	bodyBuffer = 64 << 10 // for what is left of a large body
	inlineBody = 16 << 10 // a request's body up to this goes out with its head
)

// exchange is one request and its answer. It is used again for others, so that
// a connection between two requests holds little.
type exchange struct {
	p *Plane
	s *session

	req    wire.Request
	ans    wire.Answer
	chunks wire.Chunks
	out    []byte // what is written next
	in     []byte // what was read from the upstream
	host   []byte // normalised
	id     [32]byte

	vhost  *vhost
	site   *site
	stats  *Stats
	trial  *Stats // where a canary runs: those of the version that answers
	target *target
	up     *link
	upload *upload
	skip   []*target // those that did not answer

	entry    route.Entry
	start    int64   // when the request's first byte was there, as now() tells
	linked   int64   // when there was a connection to the target
	headed   int64   // when the answer's head was there
	headLen  int     // the head is the front of the session's buffer, and stays there
	body     int64   // length of the request's body; -1: chunked
	surplus  bool    // the upstream sent more than its answer
	keep     bool    // the client's connection may stay
	answered bool    // the client has got something of the final answer
	broken   bool    // the answer is cut off: the client must see that
	call     bool    // the answer is that of a gRPC call to a client that can read its trailer
	tunnel   *tunnel // what the connection has become
	by       string  // what the client speaks with a trusted proxy; empty: as with us
	told     []byte  // in place of the session's fixed headers; nil: those
	squeezed []byte  // what a compressor has made and nobody has sent
	asked    func()  // awaitAnswer
	extra    []byte  // header lines that a service which was asked adds to the request
	fresh    bool    // the client's cookie has to be set
}

func newExchange(p *Plane) *exchange {
	x := &exchange{p: p, out: make([]byte, 0, outBuffer), in: make([]byte, inBuffer), host: make([]byte, 0, 256)}
	x.asked = x.awaitAnswer
	return x
}

// begin makes x ready for the next request of s.
func (x *exchange) begin(s *session) {
	x.s = s
	x.vhost, x.site, x.trial, x.target, x.up, x.upload = nil, nil, nil, nil, nil, nil
	x.extra, x.fresh = nil, false
	x.by, x.told = "", nil
	x.stats = x.p.index.Load().none
	x.skip = x.skip[:0]
	x.host = x.host[:0]
	x.out = x.out[:0]
	x.start, x.linked, x.headed = s.began, 0, 0
	x.keep, x.answered, x.broken, x.call, x.surplus = false, false, false, false, false
	x.tunnel = nil
	x.body, x.headLen = 0, 0
	x.req.Method, x.req.Target, x.req.Minor = nil, nil, 1
	x.entry = route.Entry{IP: s.ip, Minor: 1, Proto: s.proto, TLS: s.scheme == "https"}
	var raw [16]byte
	binary.LittleEndian.PutUint64(raw[:], rand.Uint64())  //nolint:gosec // unique, not secret
	binary.LittleEndian.PutUint64(raw[8:], rand.Uint64()) //nolint:gosec // unique, not secret
	hex.Encode(x.id[:], raw[:])
}

// serve answers the request whose head is the first end bytes of the buffer.
func (x *exchange) serve(end int) {
	s := x.s
	if err := x.req.Parse(s.in[:end]); err != nil {
		e := refusalOf(err)
		x.fault(route.Fault{Status: e.Status, Code: codeOf(e), Reason: e.Reason})
		return
	}
	x.handle(end)
}

// handle answers the request that was parsed from the first end bytes of the
// buffer. Unless it has a body, or is one for another protocol, it reads nothing
// from the client.
func (x *exchange) handle(end int) {
	s := x.s
	x.entry.Minor = x.req.Minor
	x.keep = x.req.KeepAlive() && !x.p.closing.Load()
	x.body = x.req.Length()
	if x.body == 0 {
		s.busy.Store(max(x.start, 1))
	} else {
		s.busy.Store(stateOwn)
	}
	x.headLen = end
	if s.trusted {
		x.believe()
	}
	x.host = wire.Hostname(x.host, x.req.Host())
	if x.misdirected() || x.challenged() {
		return
	}
	if !x.look(x.p.index.Load()) {
		if x.entry.Status == 0 {
			x.unknownHost()
		}
		return
	}
	if !x.gate() {
		return
	}
	if site := x.site; site.maxBody >= 0 && x.body > site.maxBody {
		x.fault(route.Fault{Status: http.StatusRequestEntityTooLarge, Code: route.CodeTooLarge, App: site.app,
			Reason: "the limit is " + strconv.FormatInt(site.maxBody, 10) + " bytes"})
		return
	}
	if holds(x.site.state) && !x.hold() {
		return
	}
	x.forward()
}

// look finds the request's site in an index. It reports false where there is
// none, or where it has answered: the path does not mean one thing only.
func (x *exchange) look(ix *index) bool {
	v := ix.find(x.host)
	if v == nil {
		x.leave()
		return false
	}
	s := v.rest
	if v.paths != nil {
		var ok bool
		if s, ok = v.paths.find(x.req.Path(), v.rest); !ok {
			x.enter(v.any())
			x.fault(route.Fault{Status: http.StatusBadRequest, Code: route.CodeBadRequest,
				Reason: ambiguousPath})
			return false
		}
	}
	if s == nil {
		x.leave()
		return false
	}
	x.vhost = v
	x.enter(s)
	return true
}

// enter counts the request in with its app.
func (x *exchange) enter(s *site) {
	if x.site == nil || x.stats != s.stats {
		x.leave()
		x.stats = s.stats
		x.stats.inflight.Add(1)
		x.stats.last.Store(x.start)
	}
	x.site = s
	x.entry.AppID = s.appID
}

// leave counts the request out.
func (x *exchange) leave() {
	if x.site != nil {
		x.leaveAt(x.p.now())
	}
}

func (x *exchange) leaveAt(now int64) {
	if x.site != nil {
		x.stats.inflight.Add(-1)
		x.stats.last.Store(now)
	}
	x.site = nil
}

func codeOf(e *wire.Error) route.Code {
	if e.Status == http.StatusRequestHeaderFieldsTooLarge {
		return route.CodeHeaderLarge
	}
	return route.CodeBadRequest
}

// unknownHost answers for a host without a route: the same neutral words for
// every host, and 400 where it is no host name at all.
func (x *exchange) unknownHost() {
	f := route.Fault{Status: http.StatusNotFound, Code: route.CodeUnknownHost}
	if _, ok := landward.NormalHost(string(x.host)); !ok && len(x.host) > 0 && x.host[0] != '[' {
		f = route.Fault{Status: http.StatusBadRequest, Code: route.CodeBadRequest, Reason: wire.ErrHost.Reason}
		x.host = x.host[:0]
	}
	x.fault(f)
}

// fault answers in the app's stead. The connection stays where all of the
// request's body has come already.
func (x *exchange) fault(f route.Fault) {
	s := x.s
	x.entry.Code = f.Code
	if x.answered {
		x.keep, x.broken = false, true
		return
	}
	if f.Code == route.CodeClientGone {
		x.keep, x.entry.Status = false, 499
		return
	}
	buffered := int64(s.w - x.headLen)
	if x.keep && (x.body < 0 || x.body > buffered || x.upload != nil) {
		x.keep = false
	}
	f.RequestID = string(x.id[:])
	x.entry.Status = f.Status
	page, kind := x.page(f)
	out := append(x.out[:0], "HTTP/1.1 "...)
	out = strconv.AppendInt(out, int64(f.Status), 10)
	out = append(append(append(out, ' '), http.StatusText(f.Status)...), "\r\nContent-Type: "...)
	out = append(append(out, kind...), "\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"...)
	out = append(out, f.Header...)
	if f.RetryAfter > 0 {
		out = append(append(out, "Retry-After: "...), strconv.Itoa(f.RetryAfter)...)
		out = append(out, '\r', '\n')
	}
	if f.Status == http.StatusMethodNotAllowed {
		out = append(out, "Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"...)
	}
	out = x.appendOurs(out, false)
	out = append(append(out, "Content-Length: "...), strconv.Itoa(len(page))...)
	out = append(out, "\r\n\r\n"...)
	if string(x.req.Method) != "HEAD" {
		out = append(out, page...)
	}
	x.out = out
	x.writeClient(out)
	x.answered = true
}

// appendOurs appends the headers that every answer of ours has.
func (x *exchange) appendOurs(out []byte, hasDate bool) []byte {
	if !hasDate {
		out = append(out, "Date: "...)
		out = time.Unix(0, x.p.wall.Load()+x.start).UTC().AppendFormat(out, http.TimeFormat)
		out = append(out, '\r', '\n')
	}
	if line := x.p.altSvc.Load(); line != nil && x.entry.TLS && x.s.proto != "HTTP/3.0" {
		out = append(out, *line...)
	}
	out = append(out, "X-Request-Id: "...)
	out = append(append(out, x.id[:]...), '\r', '\n')
	switch {
	case !x.keep:
		out = append(out, "Connection: close\r\n"...)
	case x.req.Minor == 0:
		out = append(out, "Connection: keep-alive\r\n"...)
	}
	return out
}

// writeClient writes b to the client whole, and reports whether it did.
func (x *exchange) writeClient(b []byte) bool { return x.writeClientAt(b, x.p.now()) }

// writeClientAt does it where the time is known.
func (x *exchange) writeClientAt(b []byte, now int64) bool {
	s := x.s
	if hit := s.cw.arm(now + int64(x.p.limits.WriteTimeout)); hit != 0 {
		x.lost(hit)
		return false
	}
	n, err := s.write(b)
	x.entry.Out += int64(n)
	if hit := s.cw.disarm(); hit != 0 || err != nil {
		x.lost(hit)
		return false
	}
	return true
}

// lost notes that the client cannot be written to any more.
func (x *exchange) lost(hit int64) {
	x.keep, x.broken = false, true
	switch hit {
	case hitTimeout:
		x.entry.Code = route.CodeSlow
	case hitCut:
		x.entry.Code = route.CodeCut
	default:
		x.entry.Code = route.CodeClientGone
	}
}

// end writes the request's record and reports whether the connection stays.
func (x *exchange) end() bool {
	s := x.s
	now := x.p.now()
	if x.target != nil {
		x.target.exit()
		s.up.Store(nil)
	}
	x.finishUpload()
	x.record(now)
	s.served, s.began = true, now
	s.ur.clear()
	s.uw.clear()
	if x.keep && !x.broken {
		s.use(x.used())
		return true
	}
	s.busy.Store(stateOwn)
	x.hangUp()
	return false
}

// used is how much of the session's buffer this request was.
func (x *exchange) used() int {
	if x.upload != nil {
		return x.headLen // the upload took the body, and put back what came after
	}
	return x.headLen + int(x.body)
}

// record hands the request to the log and the counters.
func (x *exchange) record(now int64) {
	x.stamp(now)
	x.stats.count(&x.entry)
	if x.trial != nil {
		x.trial.count(&x.entry)
	}
	x.leaveAt(now)
	x.p.access.Access(&x.entry)
}

// stamp completes the request's record.
func (x *exchange) stamp(now int64) {
	e := &x.entry
	e.At = time.Unix(0, x.p.wall.Load()+x.start)
	e.Method, e.Path, e.Host, e.ID = x.req.Method, x.req.Target, x.host, x.id[:]
	if e.Path != nil {
		e.Path = x.req.Path()
		e.Agent, e.Referer = x.req.Agent(), x.req.Referer()
	}
	e.Total = time.Duration(now - x.start)
	if x.linked > 0 {
		e.Connect = time.Duration(x.linked - x.start)
		if x.headed > 0 {
			e.Service = time.Duration(x.headed - x.linked)
		}
	}
}

// Limits of what is read from a client only to be thrown away.
const (
	lingerBytes = 16 << 20
	lingerTime  = int64(5 * time.Second)
)

// hangUp ends the client's connection. A client that still sends would lose
// our answer to a reset, so what it sends is taken for a while. Where the
// answer is broken off, the reset is what we want.
func (x *exchange) hangUp() {
	s := x.s
	if s.tcp == nil {
		return // a door's own connection ends with a mere Close
	}
	if x.broken {
		// Below TLS, which would end with a polite goodbye.
		_ = s.tcp.SetLinger(0)
		_ = s.tcp.Close()
		return
	}
	if x.req.Method != nil && x.body == 0 && x.entry.Code == "" {
		return // nothing more can be on its way but another request
	}
	if c, ok := s.conn.(interface{ CloseWrite() error }); !ok || c.CloseWrite() != nil {
		return
	}
	s.cr.clear()
	_ = s.conn.SetReadDeadline(time.Time{})
	s.cr.arm(x.p.now() + lingerTime)
	for n := 0; n < lingerBytes; {
		m, err := s.conn.Read(x.in)
		if err != nil {
			break
		}
		n += m
	}
	s.cr.disarm()
}
