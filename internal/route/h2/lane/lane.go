// Package lane leads one stream of HTTP/2 or HTTP/3 through HTTP/1.1: a Lane is
// an in-memory connection whose near side is served like any client's, and
// whose far side is the stream. It makes the HTTP/1.1 head of a request out of
// fields that it has checked, frames the body, and takes the answer apart as it
// is written. It must never know frames, header compression, flow control
// windows, routes or clocks other than deadlines.
package lane

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"landward/internal/route/wire"
)

// Far is the stream at the far side of a lane. Head, Data, Trailer and Flush
// are called by who writes the answer, one at a time, and may block; an error
// from them breaks the answer off. No method is called with a lock of the
// lane's held, so that all may call the lane.
type Far interface {
	// Head passes on the head of an answer: an interim one below 200, else the
	// final one, which end says is all of it. A status of 200 without end
	// after an Upgrade opens a tunnel. a and its slices are only good during
	// the call; Kept says which of its lines belong to the other side.
	Head(status int, a *wire.Answer, end bool) error
	// Data passes on a piece of the body. p is only good during the call.
	Data(p []byte, end bool) error
	// Trailer ends the answer with these lines ("Name: value\r\n", checked).
	Trailer(lines []byte) error
	// Flush says that nothing more is to come for now.
	Flush() error
	// Taken says that n bytes of the request's body have been read. due says
	// that Credit has grown to what is worth telling the client.
	Taken(n int, due bool)
	// Ended says that the near side is gone and the lane of no more use, once,
	// if an exchange was in progress. untouched means that nobody has read a
	// byte of the request: it may be sent again. discarded is how many bytes
	// of the body will never be read.
	Ended(untouched bool, discarded int)
	// Wake says that the deadline of writing has passed: a blocked call must
	// look at WriteExpired.
	Wake()
}

// The errors of the near side.
var (
	errGone    error = &net.OpError{Op: "read", Net: "lane", Err: syscall.ECONNRESET}
	errExtra         = errors.New("answer without a request, or longer than it says")
	errBroken        = errors.New("answer broken off")
	errClosing       = errors.New("answer of unknown length")
	errUpgrade       = errors.New("malformed upgrade")
)

// keepBody is how large a body buffer an idle lane keeps.
const keepBody = 16 << 10

// Lane is an in-memory connection. Its net.Conn methods are the near side, all
// others the far side's.
type Lane struct {
	set *Set
	far Far

	mu       sync.Mutex
	readable sync.Cond
	started  bool // the near side is being served
	begun    bool // an exchange is in progress
	touched  bool // the near side has read of this request
	answered bool // the answer is complete
	finished bool // the request is complete
	ending   bool // no other request: the near side reads the end
	gone     bool // the client has gone
	closed   bool // the near side has gone
	req      Request
	credit   int // bytes of body read and not told to the client
	rd       deadline
	wd       deadline
	late     atomic.Bool // the deadline of writing has passed

	// What the near side reads next, in this order.
	head    []byte
	headPos int
	stage   []byte // framing of chunks, and trailers
	stagePo int
	chunk   int   // bytes of body before the next framing
	fed     int64 // bytes of body so far
	body    []byte
	bodyPos int
	trailer []byte
	tailed  bool // the end of a chunked body is in stage

	write  sync.Mutex
	answer parser

	since time.Time // idle since; the set's
}

// Far returns the far side that the set made for this lane.
func (l *Lane) Far() Far { return l.far }

// Begin starts an exchange. It copies the head. It reports false where the
// near side has ended since: take another lane. The near side learns of it by
// Kick.
func (l *Lane) Begin(r *Request, finished bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ending || l.closed || l.gone || l.begun {
		return false
	}
	l.begun, l.touched, l.answered, l.finished = true, false, false, finished
	l.req = *r
	l.req.Head = nil
	l.credit, l.chunk, l.fed, l.tailed = 0, 0, 0, false
	if r.Tunnel {
		l.ending = true // whatever comes of it
	}
	l.head, l.headPos = append(l.head[:0], r.Head...), 0
	l.stage, l.stagePo = l.stage[:0], 0
	l.body, l.bodyPos = l.body[:0], 0
	l.trailer = l.trailer[:0]
	return true
}

// Feed adds a piece of the body. The far side's window bounds how much there
// can be. It reports false where nobody will read it, and where the head has
// announced less: what follows a body would be taken for another request.
func (l *Lane) Feed(p []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.begun || l.closed || l.gone || l.finished {
		return false
	}
	l.fed += int64(len(p))
	if !l.req.Chunked && !l.req.Tunnel && l.fed > l.req.Length {
		return false
	}
	if l.bodyPos > 0 && len(l.body)+len(p) > cap(l.body) {
		l.body = l.body[:copy(l.body, l.body[l.bodyPos:])]
		l.bodyPos = 0
	}
	l.body = append(l.body, p...)
	return true
}

// Buffered is how many bytes of the body wait to be read.
func (l *Lane) Buffered() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.body) - l.bodyPos
}

// Finish says that the request is complete. trailer are its checked trailer
// lines; they are dropped where the body is not chunked. A body that is shorter
// than announced is never finished.
func (l *Lane) Finish(trailer []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.begun || l.finished || !l.req.Chunked && !l.req.Tunnel && l.fed < l.req.Length {
		return
	}
	l.finished = true
	l.trailer = append(l.trailer, trailer...)
	l.settle()
}

// Kick lets the near side see what has come since the last call.
func (l *Lane) Kick() {
	l.mu.Lock()
	if l.started {
		l.readable.Broadcast()
		l.mu.Unlock()
		return
	}
	gone := l.gone
	l.started = true
	l.mu.Unlock()
	if gone {
		l.set.forget(l)
		return
	}
	l.set.start(l)
}

// Cut ends the exchange because the client has gone. It returns how many bytes
// of the body will never be read. The far side is not called any more, but for
// calls that are under way.
func (l *Lane) Cut() (discarded int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone || l.closed {
		return 0
	}
	l.gone, l.begun, l.ending = true, false, true
	discarded = len(l.body) - l.bodyPos
	l.body, l.bodyPos = nil, 0
	l.rd.stop()
	l.wd.stop()
	l.readable.Broadcast()
	return discarded
}

// Credit returns and forgets how many bytes of this exchange's body have been
// read since the last call.
func (l *Lane) Credit() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.credit
	l.credit = 0
	return n
}

// WriteExpired reports whether the deadline of writing has passed.
func (l *Lane) WriteExpired() bool { return l.late.Load() }

// Tunnel reports whether the exchange has become a tunnel.
func (l *Lane) Tunnel() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.req.open
}

// settle makes the lane idle once both messages are complete and the near side
// has read all. The caller holds mu.
func (l *Lane) settle() {
	if !l.begun || !l.answered || !l.finished || l.unread() {
		return
	}
	l.begun = false
	if l.ending || l.closed {
		l.ending = true
		l.readable.Broadcast()
		return
	}
	if cap(l.body) > keepBody {
		l.body = nil
	}
	if !l.set.put(l) {
		l.ending = true
		l.readable.Broadcast()
	}
}

// retire ends the lane if it is idle.
func (l *Lane) retire() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.begun {
		l.ending = true
		l.readable.Broadcast()
	}
}

// unread reports whether there is something to read. The caller holds mu.
func (l *Lane) unread() bool {
	return l.headPos < len(l.head) || l.stagePo < len(l.stage) || l.bodyPos < len(l.body) ||
		l.finished && l.req.Chunked && !l.tailed
}

// Read reads the request: its head, then its body in the framing that the head
// announces.
func (l *Lane) Read(b []byte) (int, error) {
	l.mu.Lock()
	for {
		var err error
		switch {
		case l.gone:
			err = errGone
		case l.closed:
			err = net.ErrClosed
		case l.rd.expired:
			err = os.ErrDeadlineExceeded
		}
		if err != nil {
			l.mu.Unlock()
			return 0, err
		}
		n, body := l.take(b)
		if n > 0 {
			l.touched = true
			l.credit += body
			due := body > 0 && l.credit >= l.set.o.Credit
			l.settle()
			l.mu.Unlock()
			if body > 0 {
				l.far.Taken(body, due)
			}
			return n, nil
		}
		if len(b) == 0 || l.ended() {
			l.mu.Unlock()
			if len(b) == 0 {
				return 0, nil
			}
			return 0, io.EOF
		}
		l.readable.Wait()
	}
}

// ended reports whether nothing more will come. The caller holds mu.
func (l *Lane) ended() bool {
	switch {
	case !l.begun:
		return l.ending
	case l.req.open:
		return l.finished
	}
	return l.req.Tunnel && l.answered
}

// take fills b, and says how many bytes of that are the body's own. The caller
// holds mu.
func (l *Lane) take(b []byte) (n, body int) {
	if !l.begun {
		return 0, 0
	}
	n = copy(b, l.head[l.headPos:])
	l.headPos += n
	for n < len(b) {
		if l.stagePo < len(l.stage) {
			m := copy(b[n:], l.stage[l.stagePo:])
			l.stagePo += m
			n += m
			continue
		}
		have := len(l.body) - l.bodyPos
		if l.req.Tunnel && !l.req.open {
			return n, body // it would be taken for another request
		}
		switch {
		case l.chunk > 0 || have > 0 && !l.req.Chunked:
			m := min(have, len(b)-n)
			if l.req.Chunked {
				m = min(m, l.chunk)
				l.chunk -= m
				if l.chunk == 0 {
					l.stage, l.stagePo = append(l.stage[:0], '\r', '\n'), 0
				}
			}
			copy(b[n:], l.body[l.bodyPos:l.bodyPos+m])
			l.bodyPos += m
			n, body = n+m, body+m
			if l.bodyPos == len(l.body) {
				l.body, l.bodyPos = l.body[:0], 0
			}
		case have > 0:
			l.chunk = have
			l.stage, l.stagePo = wire.AppendSize(l.stage[:0], have), 0
		case l.finished && l.req.Chunked && !l.tailed:
			l.tailed = true
			l.stage = append(append(l.stage[:0], '0', '\r', '\n'), l.trailer...)
			l.stage, l.stagePo = append(l.stage, '\r', '\n'), 0
		default:
			return n, body
		}
	}
	return n, body
}

// Close ends the near side. An answer that is not complete is broken off.
func (l *Lane) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return net.ErrClosed
	}
	l.closed, l.ending = true, true
	tell, untouched := l.begun, !l.touched && !l.answered
	discarded := len(l.body) - l.bodyPos
	l.begun = false
	l.body, l.bodyPos = nil, 0
	l.rd.stop()
	l.wd.stop()
	l.readable.Broadcast()
	l.mu.Unlock()
	l.set.forget(l)
	if tell {
		l.far.Ended(untouched, discarded)
	}
	return nil
}

// Gone reports whether the client has gone: nobody waits for an answer.
func (l *Lane) Gone() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.gone
}

// Proto is what the client speaks: "HTTP/2.0" or "HTTP/3.0".
func (l *Lane) Proto() string { return l.set.o.Proto }

// ServerName is the name that the client's handshake asked for, which its
// certificate is for; empty without one.
func (l *Lane) ServerName() string { return l.set.o.Server }

// LocalAddr is the local address of the client's connection.
func (l *Lane) LocalAddr() net.Addr { return l.set.o.Local }

// RemoteAddr is the client's address.
func (l *Lane) RemoteAddr() net.Addr { return l.set.o.Remote }
