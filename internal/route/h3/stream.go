package h3

import (
	"errors"
	"net/http"
	"net/textproto"
	"sync"
	"sync/atomic"
	"time"

	"landward/internal/route/h2/lane"
	"landward/internal/route/wire"
)

// errOver means that there is nobody to answer any more.
var errOver = errors.New("request over")

// ending is how an exchange has ended.
type ending uint8

const (
	whole     ending = iota // the answer is complete
	broken                  // the answer was broken off
	untouched               // nobody has seen the request
)

// exchange is one request and its answer.
type exchange struct {
	w    http.ResponseWriter
	rc   *http.ResponseController
	done chan ending // its answer's end
	gone chan struct{}
	room chan struct{} // some of the body was read

	answered atomic.Bool // the answer is complete

	mu   sync.Mutex // held while w is used
	over bool
	lost bool // the near side has ended
}

func newExchange(w http.ResponseWriter) *exchange {
	return &exchange{w: w, rc: http.NewResponseController(w), done: make(chan ending, 1), gone: make(chan struct{}),
		room: make(chan struct{}, 1)}
}

// end notes how the exchange has ended. Only the first call counts.
func (x *exchange) end(how ending) {
	select {
	case x.done <- how:
	default:
	}
}

// wake makes a write fail that waits for the client. Nobody waits once the
// answer is complete, and its end must still be sent.
func (x *exchange) wake() {
	if !x.answered.Load() {
		_ = x.rc.SetWriteDeadline(past)
	}
}

// finish makes sure that w is not used any more.
func (x *exchange) finish() {
	x.wake()
	x.mu.Lock()
	defer x.mu.Unlock()
	x.over = true
	_ = x.rc.SetWriteDeadline(time.Time{})
}

var past = time.Unix(1, 0)

// stream is the far side of a lane: one exchange after another.
type stream struct {
	lane *lane.Lane
	mu   sync.Mutex
	x    *exchange
}

func newStream(l *lane.Lane) lane.Far { return &stream{lane: l} }

func (s *stream) now() *exchange {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.x
}

func (s *stream) begin(x *exchange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.x = x
}

// use calls do with the exchange's writer, unless the exchange is over.
func (s *stream) use(end bool, do func(x *exchange) error) error {
	x := s.now()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.over {
		return errOver
	}
	if err := do(x); err != nil {
		return err
	}
	if end {
		x.answered.Store(true)
		x.end(whole)
	}
	return nil
}

// Head passes on an answer's head.
func (s *stream) Head(status int, a *wire.Answer, end bool) error {
	return s.use(end, func(x *exchange) error {
		h := x.w.Header()
		clear(h)
		if a != nil {
			fill(h, a)
		}
		if _, ok := h["Content-Type"]; !ok && status >= http.StatusOK {
			h["Content-Type"] = nil // nobody is to guess
		}
		x.w.WriteHeader(status)
		if status < http.StatusOK {
			clear(h)
			return nil
		}
		if end {
			return x.rc.Flush() // or a Content-Length would be made up for HEAD
		}
		return nil
	})
}

func fill(h http.Header, a *wire.Answer) {
	for i := range a.Fields() {
		f := &a.Fields()[i]
		if lane.Kept(a, f) {
			key := textproto.CanonicalMIMEHeaderKey(string(f.Name))
			h[key] = append(h[key], string(f.Value))
		}
	}
}

// Data passes on a piece of the answer's body.
func (s *stream) Data(p []byte, end bool) error {
	return s.use(end, func(x *exchange) error {
		if len(p) == 0 {
			return nil
		}
		_, err := x.w.Write(p)
		return err
	})
}

// Trailer ends the answer with a trailer.
func (s *stream) Trailer(lines []byte) error {
	return s.use(true, func(x *exchange) error {
		h := x.w.Header()
		for len(lines) > 0 {
			var name, value []byte
			name, value, lines = wireLine(lines)
			if len(name) > 0 {
				key := http.TrailerPrefix + textproto.CanonicalMIMEHeaderKey(string(name))
				h[key] = append(h[key], string(value))
			}
		}
		return nil
	})
}

// Flush sends what has been written.
func (s *stream) Flush() error {
	return s.use(false, func(x *exchange) error {
		return x.rc.Flush()
	})
}

// Taken lets the upload go on.
func (s *stream) Taken(int, bool) {
	select {
	case s.now().room <- struct{}{}:
	default:
	}
}

// Ended ends the exchange.
func (s *stream) Ended(unseen bool, _ int) {
	x := s.now()
	x.wake()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.lost {
		return
	}
	x.lost = true
	close(x.gone)
	if unseen {
		x.end(untouched)
	} else {
		x.end(broken) // unless the answer was complete
	}
}

// Wake makes a blocked write fail.
func (s *stream) Wake() {
	if x := s.now(); x != nil && s.lane.WriteExpired() {
		x.wake()
	}
}
