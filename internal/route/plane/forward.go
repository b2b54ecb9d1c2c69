package plane

import (
	"errors"
	"net/http"
	"time"

	"landward/internal/route"
	"landward/internal/route/guard"
	"landward/internal/route/wire"
)

// outcome is how one try to get an answer ended.
type outcome uint8

const (
	settled     outcome = iota // answered, well or badly; or the client has gone
	stale                      // a used connection turned out dead: try a new one
	spoilt                     // likewise, before it was used: try the next
	unreachable                // no connection to the target: nothing was sent
	unready                    // it was woken a moment ago and says that it is not ready: nothing was sent
	silent                     // the target closed before the first byte of an answer
)

// maxTries bounds the targets and connections that one request may see.
const maxTries = 4

// forward gets the request answered by one of the app's targets. It is sent
// again only where no byte of an answer has come, and either the app cannot
// have seen it or seeing it twice does no harm.
func (x *exchange) forward() {
	twice := x.req.Idempotent() && x.body == 0
	fresh := false
	last := unreachable
	for tries := 0; tries < maxTries; tries++ {
		t := x.choose()
		if t == nil {
			break
		}
		// Now: another request may find it listening while this one hears that it
		// did not a moment ago.
		warm := x.site.warm.Load()
		last = x.attempt(t, fresh, !twice)
		if last == settled {
			return
		}
		x.drop()
		if x.s.busy.Load() > 0 && x.s.gone() {
			x.fault(route.Fault{Code: route.CodeClientGone})
			return
		}
		switch {
		case (last == unreachable || last == unready) && x.p.now() < warm:
			if !x.p.pause(listenAgain) {
				break
			}
			tries, fresh = -1, false // it was woken a moment ago, and is about to listen
		case last == spoilt:
			tries-- // there are only so many
		case last == stale:
			fresh = true
		case last == silent && (!twice || len(x.site.targets) == 1):
			x.fault(route.Fault{Status: http.StatusBadGateway, Code: route.CodeReset, App: x.site.app})
			return
		default:
			t.suspect.Store(x.p.now() + suspicion)
			x.skip = append(x.skip, t)
			fresh = false
		}
	}
	x.noAnswer(last)
}

// listenAgain is how soon an app that was just woken is tried again.
const listenAgain = 10 * time.Millisecond

// pause waits for d. It reports false where the plane shuts down first.
func (p *Plane) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-p.ctx.Done():
		return false
	}
}

// noAnswer says why there is none, by how the app stands.
func (x *exchange) noAnswer(last outcome) {
	if x.site == nil {
		x.unknownHost()
		return
	}
	f := route.Fault{Status: http.StatusServiceUnavailable, Code: route.CodeNoTarget, App: x.site.app,
		State: x.site.state, RetryAfter: 30}
	switch {
	case last == unready:
		f.Code = route.CodeHeld
	case last == silent:
		f = route.Fault{Status: http.StatusBadGateway, Code: route.CodeReset, App: x.site.app}
	case x.site.state == route.StateStarting:
		f.RetryAfter = 2
	case x.site.state == route.StateUp:
		f = route.Fault{Status: http.StatusBadGateway, Code: route.CodeRefused, App: x.site.app, RetryAfter: 5}
	}
	x.fault(f)
}

// choose finds a target and counts the request in. Where the table was swapped
// since the look-up, it looks again.
func (x *exchange) choose() *target {
	for {
		t := x.site.choose(x)
		if t == nil {
			return nil
		}
		if t.enter() {
			x.target = t
			x.entry.Unit = t.unit
			return t
		}
		if !x.look(x.p.index.Load()) {
			return nil
		}
	}
}

// choose finds the target for a request: by its cookie, by lot where a canary
// runs, else the one with the least to do.
func (s *site) choose(x *exchange) *target {
	targets := s.targets
	if s.canary == nil && s.sticky == nil {
		return s.pick(targets, x.start, x.skip)
	}
	cookies := x.req.Get("cookie")
	if i := s.sticky.Find(cookies); i >= 0 && !contains(x.skip, s.all[i]) {
		x.fresh = false
		x.judge(s.all[i])
		return s.all[i]
	}
	x.fresh = s.sticky != nil
	if c := s.canary; c != nil && len(c.targets) > 0 && c.takes(cookies) {
		targets = c.targets
	}
	t := s.pick(targets, x.start, x.skip)
	if t == nil { // all of that version were tried
		t = s.pick(s.all, x.start, x.skip)
	}
	x.judge(t)
	return t
}

// judge notes which of the two versions answers, while a canary runs.
func (x *exchange) judge(t *target) {
	c := x.site.canary
	switch {
	case c == nil || t == nil:
		x.trial = nil
	case contains(c.targets, t):
		x.trial = c.stats
	default:
		x.trial = c.stable
	}
}

// drop gives up the connection and the target of a try.
func (x *exchange) drop() {
	x.s.up.Store(nil)
	if x.up != nil {
		x.up.close()
		x.up = nil
	}
	x.target.exit()
	x.target = nil
	x.s.ur.clear()
	x.s.uw.clear()
}

// attempt sends the request to one target and relays the answer. careful is
// for a request that must not be sent twice.
func (x *exchange) attempt(t *target, fresh, careful bool) outcome {
	if x.site.ready != "" && x.site.warm.Load() > x.start && !x.ready(t) {
		return unready
	}
	if !fresh {
		x.up = t.take(x.host, x.start, careful)
	}
	used := x.up != nil
	if used {
		x.linked = x.start
	} else {
		u, err := t.dial(x.p.ctx, x.host, x.p.limits.ConnectTimeout)
		if err != nil {
			return unreachable
		}
		x.up = u
		x.linked = x.p.now()
	}
	if x.site.warm.Load() != 0 {
		x.site.warm.Store(0) // it listens
	}
	x.s.up.Store(x.up)
	n, err := x.send()
	if err != nil {
		switch {
		case err == errSpoken: //nolint:errorlint // the very value
			return spoilt
		case x.s.uw.at.Load() == hitCut || x.s.uw.at.Load() == hitTimeout:
			return x.interrupted(x.s.uw.at.Load())
		case n == 0 && used, !careful && used:
			return stale
		case n == 0:
			return unreachable
		}
		// The answer may be there all the same: an early refusal.
		x.keep = false
	}
	return x.receive(used, careful)
}

// send writes the head, and the body if it is here and small; the rest of a
// body is sent while the answer is already waited for.
func (x *exchange) send() (int, error) {
	s := x.s
	x.out = x.appendHead(x.out[:0])
	have := s.in[x.headLen:s.w]
	whole := x.body >= 0 && x.body <= int64(len(have)) && x.body <= inlineBody
	if whole {
		x.out = append(x.out, have[:x.body]...)
		x.entry.In = x.body
		s.busy.Store(max(x.start, 1)) // nothing more to read from the client
	}
	s.uw.arm(x.linked + int64(x.p.limits.WriteTimeout))
	var n int
	var err error
	if whole {
		n, err = x.up.ask(x.out, x.in, x.asked)
	} else {
		n, err = x.up.tell(x.out)
	}
	if hit := s.uw.disarm(); hit != 0 {
		return n, errHit
	}
	if err == nil && !whole {
		x.startUpload()
	}
	return n, err
}

// awaitAnswer is called between the two halves of asking.
func (x *exchange) awaitAnswer() {
	x.s.uw.disarm()
	x.armAnswer()
}

// errHit says that a guard has fired; which one is in the guard.
var errHit = errors.New("interrupted")

// interrupted answers after a guard has fired.
func (x *exchange) interrupted(hit int64) outcome {
	app := x.site.app
	x.stopUpload()
	x.keep = x.keep && hit == hitTimeout
	switch hit {
	case hitTimeout:
		x.fault(route.Fault{Status: http.StatusGatewayTimeout, Code: route.CodeTimeout, App: app})
	case hitGone:
		x.fault(route.Fault{Code: route.CodeClientGone})
	case hitUpload:
		x.uploadFailed()
	default:
		x.fault(route.Fault{Status: http.StatusServiceUnavailable, Code: route.CodeCut, App: app, RetryAfter: 1})
	}
	x.up.close()
	return settled
}

// appendHead appends the request's head as the target gets it: the client's
// lines but those that are hop by hop or claim who the client is, and ours.
func (x *exchange) appendHead(out []byte) []byte {
	r := &x.req
	host := r.Host()
	out = append(append(out, r.Method...), ' ')
	out = append(x.appendTarget(out), " HTTP/1.1\r\nHost: "...)
	out = append(append(out, host...), '\r', '\n')
	out = appendKept(out, r.Fields())
	switch {
	case r.Chunked():
		out = append(out, "Transfer-Encoding: chunked\r\n"...)
	case r.HasLength():
		out = append(out, "Content-Length: "...)
		out = appendInt(out, x.body)
		out = append(out, '\r', '\n')
	}
	if up := r.Upgrade(); up != nil {
		out = append(append(out, "Connection: Upgrade\r\nUpgrade: "...), up...)
		out = append(out, '\r', '\n')
	}
	told := x.s.fixed
	if x.told != nil {
		told = x.told
	}
	out = append(append(out, told...), host...)
	out = append(append(out, "\"\r\nX-Forwarded-Host: "...), host...)
	out = append(out, "\r\nX-Forwarded-Port: "...)
	switch port := wire.Port(host); {
	case port != nil:
		out = append(out, port...)
	case x.scheme() == "https":
		out = append(out, "443"...)
	default:
		out = append(out, "80"...)
	}
	out = append(append(out, "\r\nX-Request-Id: "...), x.id[:]...)
	// The request is a trace of its own (W3C Trace Context, level 1): who sends
	// it may not choose which one it is part of.
	out = append(append(out, "\r\ntraceparent: 00-"...), x.id[:]...)
	out = append(append(append(out, '-'), x.id[8:24]...), "-01\r\n"...)
	if x.site.strip != "" {
		out = append(append(append(out, "X-Forwarded-Prefix: "...), x.site.strip...), '\r', '\n')
	}
	out = append(out, x.extra...)
	return append(out, '\r', '\n')
}

// appendTarget appends the path and query that the app sees.
func (x *exchange) appendTarget(out []byte) []byte {
	if x.site.strip == "" {
		return append(out, x.req.Target...)
	}
	path := x.req.Path()
	out = append(out, guard.StripPrefix(path, x.site.strip)...)
	return append(out, x.req.Target[len(path):]...)
}

// appendKept appends the lines that go to the other side, neighbours at once.
func appendKept(out []byte, list []wire.Field) []byte {
	for i := 0; i < len(list); {
		if list[i].Kind.Dropped() {
			i++
			continue
		}
		run := list[i].Line
		for i++; i < len(list) && !list[i].Kind.Dropped(); i++ {
			// Lines of a head lie behind each other in one buffer.
			run = run[:len(run)+len(list[i].Line)]
		}
		out = append(out, run...)
	}
	return out
}

func appendInt(out []byte, n int64) []byte {
	if n == 0 {
		return append(out, '0')
	}
	var digits [20]byte
	i := len(digits)
	for ; n > 0; n /= 10 {
		i--
		digits[i] = byte('0' + n%10)
	}
	return append(out, digits[i:]...)
}
