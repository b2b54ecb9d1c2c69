package plane

import (
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"landward/internal/route"
	"landward/internal/route/squeeze"
	"landward/internal/route/wire"
)

const (
	maxAnswerHead    = 64 << 10
	maxInformational = 16
	// continueAfter is when a client that waits for leave to send its body gets
	// it from us, because the app says nothing.
	continueAfter = time.Second
)

// receive reads the answer and relays it.
func (x *exchange) receive(used, careful bool) outcome {
	n := 0
	for informational := 0; ; informational++ {
		var end int
		var err error
		n, end, err = x.readHead(n)
		if hit := x.s.ur.disarm(); hit != 0 {
			return x.interrupted(hit)
		}
		if err != nil {
			return x.noHead(err, n, informational > 0, used, careful)
		}
		if err := x.ans.Parse(x.in[:end]); err != nil || informational > maxInformational {
			return x.badAnswer()
		}
		switch {
		case x.ans.Status == http.StatusSwitchingProtocols:
			return x.switchProtocols(x.in[end:n])
		case x.ans.Status >= 200:
			x.headed = x.p.now()
			x.relay(x.in[end:n])
			return settled
		}
		if !x.inform() {
			x.up.close()
			return settled
		}
		n = copy(x.in, x.in[end:n])
	}
}

// noHead decides what to do without an answer.
func (x *exchange) noHead(err error, n int, informed, used, careful bool) outcome {
	switch {
	case n > 0 || informed:
		x.stopUpload()
		x.up.close()
		code := route.CodeReset
		if errors.As(err, new(*wire.Error)) {
			code = route.CodeBadAnswer
		}
		x.fault(route.Fault{Status: http.StatusBadGateway, Code: code, App: x.site.app})
		return settled
	case x.upload != nil:
		x.stopUpload()
		return silent
	case used && !careful:
		return stale
	}
	return silent
}

// readHead reads until x.in holds a head; n bytes are there already. It leaves
// the guard armed.
func (x *exchange) readHead(n int) (total, end int, err error) {
	x.armAnswer()
	waiting := x.req.Expects() && x.upload != nil && !x.upload.moving.Load()
	if waiting {
		_ = x.up.conn.SetReadDeadline(time.Now().Add(continueAfter))
	}
	for seen := 0; ; {
		if n > 0 {
			if end, err := wire.HeadEnd(x.in[:n], seen); end > 0 || err != nil {
				return n, end, err
			}
		}
		if n == len(x.in) {
			if n >= maxAnswerHead {
				return n, 0, errHeadLarge
			}
			larger := make([]byte, maxAnswerHead)
			copy(larger, x.in)
			x.in = larger
		}
		seen = n
		m, err := x.up.read(x.in[n:])
		n += m
		if m > 0 {
			continue
		}
		if waiting && errors.Is(err, os.ErrDeadlineExceeded) && x.s.ur.at.Load() > 0 {
			waiting = false
			_ = x.up.conn.SetReadDeadline(time.Time{})
			if x.s.ur.at.Load() > 0 && x.goAhead() {
				continue
			}
		}
		if err == nil {
			err = io.ErrNoProgress
		}
		return n, 0, err
	}
}

// armAnswer sets the time for the answer's head: from now, or from the end of
// the upload.
func (x *exchange) armAnswer() {
	s := x.s
	if x.upload == nil {
		s.ur.arm(x.linked + x.site.answerWithin)
		return
	}
	x.armRead(afterUpload)
	if x.upload.sent.Load() {
		s.ur.at.CompareAndSwap(afterUpload, x.p.now()+x.site.answerWithin)
	}
}

// armRead arms the guard of reading from the upstream. An upload that failed
// while nobody was waiting is noticed here.
func (x *exchange) armRead(at int64) {
	x.s.ur.arm(at)
	if x.upload != nil && x.upload.failed.Load() && x.s.ur.hit(hitUpload) {
		_ = x.up.conn.SetReadDeadline(past)
	}
}

// goAhead tells the client to send its body.
func (x *exchange) goAhead() bool {
	x.upload.moving.Store(true)
	return x.writeClient([]byte("HTTP/1.1 100 Continue\r\n\r\n"))
}

// inform passes an interim answer on to a client that can understand it.
func (x *exchange) inform() bool {
	switch {
	case x.req.Minor == 0:
		return true
	case x.ans.Status == http.StatusContinue:
		if x.req.Expects() && x.upload != nil && !x.upload.moving.Load() {
			_ = x.up.conn.SetReadDeadline(time.Time{})
			return x.goAhead()
		}
		return true
	}
	out := append(append(x.out[:0], "HTTP/1.1 "...), x.ans.Line...)
	out = appendKept(append(out, '\r', '\n'), x.ans.Fields())
	x.out = append(out, '\r', '\n')
	return x.writeClient(x.out)
}

func (x *exchange) badAnswer() outcome {
	x.stopUpload()
	x.up.close()
	x.fault(route.Fault{Status: http.StatusBadGateway, Code: route.CodeBadAnswer, App: x.site.app})
	return settled
}

// relay sends the answer to the client; rest is what of its body has been read
// with the head.
func (x *exchange) relay(rest []byte) {
	framing := x.ans.Framing(string(x.req.Method) == "HEAD")
	x.entry.Status = x.ans.Status
	if x.upload != nil && !x.upload.finishing() && (!x.ans.KeepAlive() || !x.upload.moving.Load()) {
		x.keep = false // an early answer: the rest of the body is not wanted
	}
	if x.p.closing.Load() {
		x.keep = false
	}
	if x.ownPage(framing) {
		return
	}
	w, varies := x.coder(framing)
	chunked := (framing == wire.ByChunks || framing == wire.ByClosing || w != nil) && x.req.Minor == 1
	if !chunked && framing > wire.ByLength {
		x.keep = false
	}
	x.call = chunked && w == nil && x.s.proto != "" && isGRPC(x.ans.Get("content-type"))
	coding := squeeze.Identity
	if w != nil {
		coding = w.Coding()
		defer w.Release()
	}
	x.out = x.appendAnswerHead(x.out[:0], framing, chunked, varies, coding)
	x.answered = true
	x.armRead(forever)
	clean := false
	switch {
	case w != nil:
		clean = x.relayCoded(w, framing, rest)
	default:
		clean = x.relayBody(framing, chunked, rest)
	}
	uploaded := x.upload == nil || x.awaitUpload()
	x.finishRelay(clean, uploaded)
}

// relayBody relays a body as it is. It reports whether the upstream is clean
// after it.
func (x *exchange) relayBody(framing wire.Framing, chunked bool, rest []byte) (clean bool) {
	switch framing {
	case wire.NoBody:
		clean = x.writeClientAt(x.out, x.headed) && len(rest) == 0
	case wire.ByLength:
		clean = x.relayLength(rest)
	case wire.ByChunks:
		clean = x.relayChunks(rest, chunked)
	case wire.ByClosing:
		x.relayAll(rest, chunked)
	}
	return clean
}

// finishRelay gives the upstream back, or up, after the answer's last byte.
func (x *exchange) finishRelay(clean, uploaded bool) {
	hit := x.s.ur.disarm()
	switch {
	case hit == 0 || x.entry.Code != "":
	case hit == hitCut:
		x.entry.Code = route.CodeCut
	default:
		x.entry.Code = route.CodeClientGone
	}
	if !uploaded {
		x.stopUpload()
		clean, x.keep = false, false
	}
	x.settle(clean && hit == 0)
}

// settle gives the upstream back if it can carry another request.
func (x *exchange) settle(clean bool) {
	if !clean || !x.ans.KeepAlive() {
		x.up.close()
		return
	}
	idle := int64(x.p.limits.UpstreamIdle)
	if sec := x.ans.IdleFor(); sec > 0 {
		// The peer counts from its own clock: be a second earlier.
		idle = min(idle, int64(time.Duration(sec)*time.Second-time.Second))
	}
	x.s.up.Store(nil)
	x.target.give(x.up, x.headed, x.headed+idle)
}

// appendAnswerHead appends the head that the client gets. varies is for an answer
// whose coding depends on what the client accepts.
func (x *exchange) appendAnswerHead(out []byte, framing wire.Framing, chunked, varies bool, coding squeeze.Coding) []byte {
	x.rewrite()
	out = append(append(out, "HTTP/1.1 "...), x.ans.Line...)
	out = append(out, '\r', '\n')
	if varies {
		out = squeeze.AppendFields(out, x.ans.Fields(), coding)
	} else {
		out = appendKept(out, x.ans.Fields())
	}
	out = x.appendReply(out)
	switch {
	case chunked:
		out = append(out, "Transfer-Encoding: chunked\r\n"...)
	case x.ans.Length() >= 0 && (framing == wire.ByLength || x.ans.Status != http.StatusNoContent):
		out = append(out, "Content-Length: "...)
		out = append(appendInt(out, x.ans.Length()), '\r', '\n')
	}
	out = x.appendOurs(out, x.ans.HasDate())
	return append(out, '\r', '\n')
}

// broke notes that the answer cannot be finished.
func (x *exchange) broke() bool {
	x.keep, x.broken = false, true
	if x.entry.Code == "" && x.s.ur.at.Load() > 0 {
		x.entry.Code = route.CodeReset
	}
	return false
}

// relayLength relays a body of known length. It reports whether the upstream
// is clean after it.
func (x *exchange) relayLength(rest []byte) bool {
	left := x.ans.Length()
	surplus := int64(len(rest)) > left
	if surplus {
		rest = rest[:left]
	}
	x.out = append(x.out, rest...)
	if !x.writeClientAt(x.out, x.headed) {
		return false
	}
	left -= int64(len(rest))
	if m := x.p.pipes.between(x.up.conn, x.s.conn, left); m != nil {
		return x.relaySpliced(m, left)
	}
	buf := x.in
	if left > int64(len(buf)) {
		b := x.p.bodies.Get().(*[]byte)
		defer x.p.bodies.Put(b)
		buf = *b
	}
	for left > 0 {
		n, err := x.up.read(buf[:min(left, int64(len(buf)))])
		if n > 0 && !x.writeClient(buf[:n]) {
			return false
		}
		left -= int64(n)
		if err != nil && left > 0 {
			return x.broke()
		}
	}
	return !surplus
}

// relayChunks relays a chunked body in chunks of our own, each as soon as it
// is there, or as plain bytes to a client that knows no chunks.
func (x *exchange) relayChunks(rest []byte, chunked bool) bool {
	x.chunks.Reset()
	if !x.decode(rest, chunked) {
		// Nothing has been written yet.
		x.answered = false
		x.fault(route.Fault{Status: http.StatusBadGateway, Code: route.CodeBadAnswer, App: x.site.app})
		return false
	}
	if !x.writeClient(x.out) {
		return false
	}
	for !x.chunks.Done() {
		n, err := x.up.read(x.in)
		if n > 0 {
			x.out = x.out[:0]
			if !x.decode(x.in[:n], chunked) {
				x.entry.Code = route.CodeBadAnswer
				return x.broke()
			}
			if len(x.out) > 0 && !x.writeClient(x.out) {
				return false
			}
		}
		if err != nil && !x.chunks.Done() {
			return x.cutShort()
		}
	}
	return !x.surplus
}

// decode takes the chunk framing off src, which it overwrites, and appends to
// x.out what the client gets for it. It reports whether src was well formed.
func (x *exchange) decode(src []byte, chunked bool) bool {
	payload := src[:0]
	for len(src) > 0 && !x.chunks.Done() {
		data, n, err := x.chunks.Next(src)
		if err != nil {
			return false
		}
		payload = append(payload, data...)
		src = src[n:]
	}
	x.surplus = len(src) > 0
	if !chunked {
		x.out = append(x.out, payload...)
		return true
	}
	x.out = wire.AppendChunk(x.out, payload)
	if !x.chunks.Done() {
		return true
	}
	x.out = append(x.out, '0', '\r', '\n')
	var err error
	if x.out, err = x.chunks.AppendTrailer(x.out); err != nil {
		return false
	}
	x.out = append(x.out, '\r', '\n')
	return true
}

// relayAll relays a body that ends when the upstream closes.
func (x *exchange) relayAll(rest []byte, chunked bool) {
	if chunked {
		x.out = wire.AppendChunk(x.out, rest)
	} else {
		x.out = append(x.out, rest...)
	}
	if !x.writeClient(x.out) {
		return
	}
	for {
		n, err := x.up.read(x.in)
		if n > 0 {
			out := x.in[:n]
			if chunked {
				x.out = wire.AppendChunk(x.out[:0], out)
				out = x.out
			}
			if !x.writeClient(out) {
				return
			}
		}
		if err == nil {
			continue
		}
		if !errors.Is(err, io.EOF) {
			x.broke()
			return
		}
		if chunked {
			x.writeClient([]byte("0\r\n\r\n"))
		}
		return
	}
}
