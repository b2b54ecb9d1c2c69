package plane

import (
	"errors"
	"io"
	"net/http"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"time"

	"landward/internal/route"
	"landward/internal/route/wire"
)

// upload sends a request's body to the target while the exchange waits for the
// answer, which may come first. It owns the reading side of the client and the
// writing side of the upstream until done is closed.
type upload struct {
	x      *exchange
	done   chan struct{}
	moving atomic.Bool // the client was told to send, or sends
	call   bool        // it may pause for as long as it likes
	last   atomic.Bool // the last bytes are being written
	sent   atomic.Bool // all has been written
	failed atomic.Bool // it ended early, and not because the target wanted no more

	// Valid after done.
	in   int64       // bytes of body taken from the client
	rest []byte      // what came after the body: the next request
	buf  *[]byte     // that rest points into
	err  error       // why it ended early
	says route.Fault // what to tell the client for it
}

// errPanic means that sending failed for our own fault.
var errPanic = errors.New("panic")

// errTarget means that the target takes no more: its answer says why.
var errTarget = errors.New("target stopped reading")

// startUpload begins to send the body.
func (x *exchange) startUpload() {
	u := &upload{x: x, done: make(chan struct{}), buf: x.p.bodies.Get().(*[]byte), call: x.calls()}
	x.upload = u
	n := copy(*u.buf, x.s.in[x.headLen:x.s.w])
	if !u.call {
		x.s.body.begin(x.p.now())
	}
	go u.run((*u.buf)[:n])
}

// run sends the body and wakes the exchange if it cannot.
func (u *upload) run(have []byte) {
	defer close(u.done)
	x := u.x
	defer x.s.body.end()
	if len(have) > 0 {
		u.moving.Store(true)
	}
	u.err = u.send(have)
	switch {
	case u.err == nil:
		u.sent.Store(true)
		x.s.busy.CompareAndSwap(stateOwn, max(x.start, 1)) // nothing more to read from the client
		x.s.ur.at.CompareAndSwap(afterUpload, x.p.now()+x.site.answerWithin)
	case errors.Is(u.err, errTarget):
		x.s.ur.at.CompareAndSwap(afterUpload, x.p.now()+x.site.answerWithin)
	default:
		u.failed.Store(true)
		if x.s.ur.hit(hitUpload) {
			_ = x.up.conn.SetReadDeadline(past)
		}
	}
}

// send sends the body, and turns a mistake of ours into an error: it must not
// end all other connections.
func (u *upload) send(have []byte) (err error) {
	defer func() {
		if v := recover(); v != nil {
			u.x.p.log.Error("send request body", "panic", v, "stack", string(debug.Stack()))
			u.says = route.Fault{Status: http.StatusInternalServerError, Code: route.CodeInternal}
			err = errPanic
		}
	}()
	if u.x.req.Chunked() {
		return u.chunks(have)
	}
	return u.length(have)
}

// length sends a body of known length.
func (u *upload) length(have []byte) error {
	left := u.x.body
	for {
		body := have[:min(int64(len(have)), left)]
		left -= int64(len(body))
		u.in += int64(len(body))
		u.last.Store(left == 0)
		if err := u.write(body); err != nil {
			return err
		}
		if left == 0 {
			u.rest = have[len(body):]
			return nil
		}
		if m := u.x.p.pipes.between(u.x.s.conn, u.x.up.conn, left); m != nil {
			return u.splice(m, left)
		}
		n, err := u.read((*u.buf)[:min(left, bodyBuffer)])
		if err != nil {
			return err
		}
		have = (*u.buf)[:n]
	}
}

// chunks sends a chunked body in chunks of our own.
func (u *upload) chunks(have []byte) error {
	var dec wire.Chunks
	limit := u.x.site.maxBody
	if r := u.x.site.rules; r != nil && r.forward != nil {
		dec.Drop = r.forward.Removes // no more than in the head
	}
	out := make([]byte, 0, 8<<10)
	for {
		out = out[:0]
		for len(have) > 0 && !dec.Done() {
			data, n, err := dec.Next(have)
			if err != nil {
				return u.refuse(refusalOf(err))
			}
			u.in += int64(len(data))
			out = wire.AppendChunk(out, data)
			have = have[n:]
		}
		if limit >= 0 && u.in > limit {
			u.says = route.Fault{Status: http.StatusRequestEntityTooLarge, Code: route.CodeTooLarge,
				Reason: "the limit is " + strconv.FormatInt(limit, 10) + " bytes"}
			return errors.New("body over limit")
		}
		if dec.Done() {
			var err error
			if out, err = dec.AppendTrailer(append(out, '0', '\r', '\n')); err != nil {
				return u.refuse(refusalOf(err))
			}
			out = append(out, '\r', '\n')
			u.last.Store(true)
		}
		if err := u.write(out); err != nil {
			return err
		}
		if dec.Done() {
			u.rest = have
			return nil
		}
		n, err := u.read(*u.buf)
		if err != nil {
			return err
		}
		have = (*u.buf)[:n]
	}
}

func (u *upload) refuse(e *wire.Error) error {
	u.says = route.Fault{Status: e.Status, Code: route.CodeBadRequest, Reason: e.Reason}
	return e
}

// read takes what the client has sent.
func (u *upload) read(b []byte) (int, error) {
	return u.take(func() (int, error) { return u.x.s.conn.Read(b) })
}

// take reads from the client within the limits.
func (u *upload) take(read func() (int, error)) (int, error) {
	s := u.x.s
	if u.call {
		s.cr.arm(forever)
	} else {
		s.cr.arm(u.x.p.now() + u.x.site.readTimeout)
	}
	n, err := read()
	hit := s.cr.disarm()
	if n > 0 {
		u.moving.Store(true)
		s.body.bytes.Add(int64(n))
		return n, nil
	}
	u.says = route.Fault{Code: route.CodeClientGone}
	if hit == hitTimeout {
		u.says = route.Fault{Status: http.StatusRequestTimeout, Code: route.CodeSlow,
			Reason: "the request's body took too long"}
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return 0, err
}

// write sends to the target.
func (u *upload) write(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	return u.give(func() (int, error) { return u.x.up.write(b) })
}

// give writes to the target within the limits.
func (u *upload) give(write func() (int, error)) error {
	x := u.x
	x.s.uw.arm(x.p.now() + int64(x.p.limits.WriteTimeout))
	_, err := write()
	if hit := x.s.uw.disarm(); hit == hitTimeout {
		u.says = route.Fault{Status: http.StatusGatewayTimeout, Code: route.CodeTimeout}
		return errHit
	}
	if err != nil {
		return errTarget
	}
	return nil
}

// lastMoment is how long an answer waits for an upload that should be at its
// end, because the app has answered.
const lastMoment = 100 * time.Millisecond

// wait waits a moment for the upload's end.
func (u *upload) wait() {
	t := time.NewTimer(lastMoment)
	defer t.Stop()
	select {
	case <-u.done:
	case <-t.C:
	}
}

// finishing reports whether the upload has sent everything. One that is in its
// last write gets the time for it: the app has seen all when it answers, we
// may not have returned from the write.
func (u *upload) finishing() bool {
	if u.last.Load() && !u.sent.Load() {
		u.wait()
	}
	return u.sent.Load()
}

// awaitUpload waits, after a complete answer, for the rest of the body, and
// reports whether it has been sent. It is given up where the app will not read
// it, or the client has not even begun to send it.
func (x *exchange) awaitUpload() bool {
	u := x.upload
	if !x.keep {
		u.wait()
		return u.sent.Load()
	}
	tick := time.NewTicker(lastMoment)
	defer tick.Stop()
	for {
		select {
		case <-u.done:
			return u.err == nil
		case <-tick.C:
			if x.s.ur.at.Load() < 0 {
				return false
			}
		}
	}
}

// stopUpload ends the upload, if there is one, and waits for it.
func (x *exchange) stopUpload() {
	u := x.upload
	if u == nil {
		return
	}
	select {
	case <-u.done:
		return
	default:
	}
	_ = x.s.conn.SetReadDeadline(past)
	_ = x.up.conn.SetWriteDeadline(past)
	<-u.done
}

// uploadFailed answers for an upload that has ended early.
func (x *exchange) uploadFailed() {
	f := x.upload.says
	f.App = x.site.app
	if f.Code == "" {
		f = route.Fault{Code: route.CodeClientGone}
	}
	x.fault(f)
}

// finishUpload takes back what the upload had borrowed. The exchange's end
// calls it when the upload has ended.
func (x *exchange) finishUpload() {
	u := x.upload
	if u == nil {
		return
	}
	x.stopUpload()
	x.entry.In = u.in
	s := x.s
	if x.keep {
		if need := x.headLen + len(u.rest); need > len(s.in) {
			larger := make([]byte, need)
			copy(larger, s.in[:x.headLen])
			s.in = larger
		}
		s.w = x.headLen + copy(s.in[x.headLen:], u.rest)
	}
	x.p.bodies.Put(u.buf)
}
