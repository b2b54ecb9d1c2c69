package lane

import (
	"net"
	"net/http"
	"os"
	"sync"

	"landward/internal/route/wire"
)

// maxHead bounds an answer's head, in bytes.
const maxHead = 128 << 10

// phase is what a parser expects next.
type phase uint8

const (
	phaseHead phase = iota
	phaseLength
	phaseChunks
	phaseTunnel
	phaseBroken
)

// parser takes an answer apart as it is written.
type parser struct {
	phase   phase
	partial []byte // of a head
	seen    int
	left    int64
	chunks  wire.Chunks
}

// answers are for the time between the first and the last byte of a head.
var answers = sync.Pool{New: func() any { return new(wire.Answer) }}

// Write passes on a piece of the answer. Any error breaks the answer off.
func (l *Lane) Write(b []byte) (int, error) {
	l.write.Lock()
	defer l.write.Unlock()
	if err := l.writable(); err != nil {
		return 0, err
	}
	n := 0
	for n < len(b) {
		m, end, err := l.step(b[n:])
		n += m
		if end && n < len(b) {
			// Nobody may take it for the beginning of another answer.
			l.answer.phase = phaseBroken
			l.complete(true)
			return n, errExtra
		}
		if end {
			l.complete(false)
			return n, nil
		}
		if err != nil {
			l.answer.phase = phaseBroken
			return n, err
		}
	}
	if err := l.far.Flush(); err != nil {
		l.answer.phase = phaseBroken
		return n, err
	}
	return n, nil
}

// writable says why nothing can be written.
func (l *Lane) writable() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.gone:
		return errGone
	case l.closed:
		return net.ErrClosed
	case l.wd.expired:
		return os.ErrDeadlineExceeded
	case l.answer.phase == phaseBroken:
		return errBroken
	case !l.begun || l.answered:
		return errExtra
	}
	return nil
}

// complete notes that the answer is complete. close means that the near side
// is of no more use.
func (l *Lane) complete(close bool) {
	if l.answer.phase != phaseBroken {
		l.answer.phase = phaseHead
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answered = true
	l.ending = l.ending || close
	l.readable.Broadcast() // one who waits for what a refused tunnel sends
	l.settle()
}

// step takes one part of the answer off the front of b. It reports how much
// that was and whether the answer has ended with it.
func (l *Lane) step(b []byte) (n int, end bool, err error) {
	p := &l.answer
	switch p.phase {
	case phaseHead:
		return l.stepHead(b)
	case phaseLength:
		n = int(min(p.left, int64(len(b))))
		p.left -= int64(n)
		return n, p.left == 0, l.far.Data(b[:n], p.left == 0)
	case phaseChunks:
		return l.stepChunks(b)
	}
	return len(b), false, l.far.Data(b, false)
}

// stepHead collects a head and passes it on.
func (l *Lane) stepHead(b []byte) (n int, end bool, err error) {
	p := &l.answer
	whole := b
	if len(p.partial) > 0 {
		p.partial = append(p.partial, b...)
		whole = p.partial
	}
	size, err := wire.HeadEnd(whole, p.seen)
	if err != nil {
		return 0, false, err
	}
	if size == 0 {
		if len(whole) > maxHead {
			return 0, false, &wire.Error{Status: http.StatusBadGateway, Reason: "answer's head too large"}
		}
		if len(p.partial) == 0 {
			p.partial = append(p.partial, b...)
		}
		p.seen = len(p.partial)
		return len(b), false, nil
	}
	n = size - (len(whole) - len(b))
	a := answers.Get().(*wire.Answer)
	defer answers.Put(a)
	err = a.Parse(whole[:size])
	if err == nil {
		end, err = l.takeHead(a)
	}
	p.partial, p.seen = p.partial[:0], 0
	return n, end && err == nil, err
}

// takeHead passes a head on and prepares for what follows it.
func (l *Lane) takeHead(a *wire.Answer) (end bool, err error) {
	l.mu.Lock()
	req := l.req
	if !a.KeepAlive() && a.Status >= http.StatusOK {
		l.ending = true
	}
	l.mu.Unlock()
	p := &l.answer
	switch {
	case a.Status == http.StatusSwitchingProtocols:
		return false, l.open(a, req.Accept)
	case a.Status < http.StatusOK:
		return false, l.far.Head(a.Status, a, false)
	case req.Tunnel && a.Status < http.StatusMultipleChoices:
		// The client would take it for the tunnel.
		return l.refuseTunnel()
	}
	switch a.Framing(req.HeadOnly) {
	case wire.NoBody:
		end = true
	case wire.ByLength:
		p.phase, p.left = phaseLength, a.Length()
		end = p.left == 0
	case wire.ByChunks:
		p.phase = phaseChunks
		p.chunks.Reset()
	default:
		return false, errClosing // its end could not be told from a break
	}
	return end, l.far.Head(a.Status, a, end)
}

// open makes the exchange a tunnel (RFC 8441 section 5): the near side has
// proved with the key that it speaks WebSocket, and the client learns that by
// a plain 200.
func (l *Lane) open(a *wire.Answer, accept string) error {
	if accept == "" || !wire.EqualFold(a.Upgrade(), "websocket") || !accepts(a, accept) {
		if accept != "" {
			_, _ = l.refuseTunnel() // the exchange is broken off all the same
		}
		return errUpgrade
	}
	if err := l.far.Head(http.StatusOK, a, false); err != nil {
		return err
	}
	l.answer.phase = phaseTunnel
	l.mu.Lock()
	l.req.open = true
	l.readable.Broadcast()
	l.mu.Unlock()
	return nil
}

func accepts(a *wire.Answer, accept string) bool {
	for i := range a.Fields() {
		f := &a.Fields()[i]
		if wire.EqualFold(f.Name, "sec-websocket-accept") {
			return string(f.Value) == accept
		}
	}
	return false
}

// refuseTunnel tells the client that there is no tunnel.
func (l *Lane) refuseTunnel() (bool, error) {
	if err := l.far.Head(http.StatusBadGateway, nil, true); err != nil {
		return false, err
	}
	l.complete(true)
	return false, errUpgrade
}

// stepChunks passes on what the chunks in b hold. One piece is held back until
// it is known whether it is the last.
func (l *Lane) stepChunks(b []byte) (n int, end bool, err error) {
	c := &l.answer.chunks
	var held []byte
	for n < len(b) && !c.Done() {
		data, used, err := c.Next(b[n:])
		if err != nil {
			return n, false, err
		}
		n += used
		if len(data) == 0 {
			continue
		}
		if len(held) > 0 {
			if err := l.far.Data(held, false); err != nil {
				return n, false, err
			}
		}
		held = data
	}
	if !c.Done() {
		if len(held) > 0 {
			err = l.far.Data(held, false)
		}
		return n, false, err
	}
	lines, err := c.AppendTrailer(nil)
	switch {
	case err != nil:
		return n, false, err
	case len(lines) == 0:
		return n, true, l.far.Data(held, true)
	}
	if len(held) > 0 {
		if err := l.far.Data(held, false); err != nil {
			return n, false, err
		}
	}
	return n, true, l.far.Trailer(lines)
}

// CloseWrite ends what goes to the client through a tunnel.
func (l *Lane) CloseWrite() error {
	l.write.Lock()
	defer l.write.Unlock()
	if err := l.writable(); err != nil {
		return err
	}
	if l.answer.phase != phaseTunnel {
		return errBroken
	}
	if err := l.far.Data(nil, true); err != nil {
		return err
	}
	l.complete(true)
	return nil
}

// Kept reports whether a line of a belongs to the other side too: all but those
// that speak of the connection (RFC 9113 section 8.2.2), and what an upgrade
// proves to us (RFC 8441 section 5).
func Kept(a *wire.Answer, f *wire.Field) bool {
	switch f.Kind {
	case wire.Connection, wire.Hop, wire.TransferEncoding, wire.Upgrade, wire.Named:
		return false
	case wire.ContentLength:
		return a.Status >= http.StatusOK
	}
	return a.Status != http.StatusSwitchingProtocols || !wire.EqualFold(f.Name, "sec-websocket-accept")
}
