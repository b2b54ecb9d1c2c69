package upstream

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// pipeSize is how many bytes may be on their way in one direction of an
// in-memory connection. One that is idle holds none of them.
const pipeSize = 32 << 10

// pipeBuffers are for the bytes on their way. They are the same for all.
var pipeBuffers = sync.Pool{New: func() any { b := make([]byte, pipeSize); return &b }}

// pipe is one direction of an in-memory connection.
type pipe struct {
	mu          sync.Mutex
	changed     sync.Cond
	buf         *[]byte // nil while there is nothing in it
	start, end  int
	noReader    bool // closed by the one who reads
	noWriter    bool // closed by the one who writes: the reader gets what is left
	read, write deadline
}

func newPipe() *pipe {
	p := &pipe{}
	p.changed.L = &p.mu
	return p
}

// deadline is a time after which one side waits no longer.
type deadline struct {
	timer  *time.Timer
	set    uint64 // counts, so that a late timer does no harm
	passed bool
}

// setDeadline sets d, which is one of p's.
func (p *pipe) setDeadline(d *deadline, t time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d.stop()
	if !t.IsZero() {
		left := time.Until(t)
		d.passed = left <= 0
		if set := d.set; !d.passed {
			d.timer = time.AfterFunc(left, func() {
				p.mu.Lock()
				defer p.mu.Unlock()
				if d.set == set {
					d.passed = true
					p.changed.Broadcast()
				}
			})
		}
	}
	p.changed.Broadcast()
}

// stop forgets the deadline. The caller holds the pipe's mu.
func (d *deadline) stop() {
	d.set++
	d.passed = false
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

func (p *pipe) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case p.noReader:
			return 0, net.ErrClosed
		case p.read.passed:
			return 0, os.ErrDeadlineExceeded
		case len(b) == 0:
			return 0, nil
		case p.buf != nil:
			n := copy(b, (*p.buf)[p.start:p.end])
			if p.start += n; p.start == p.end {
				p.empty()
			}
			p.changed.Broadcast()
			return n, nil
		case p.noWriter:
			return 0, io.EOF
		}
		p.changed.Wait()
	}
}

// empty gives the buffer back. The caller holds mu.
func (p *pipe) empty() {
	if p.buf != nil {
		pipeBuffers.Put(p.buf)
	}
	p.buf, p.start, p.end = nil, 0, 0
}

func (p *pipe) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	total := 0
	for {
		switch {
		case p.noWriter:
			return total, net.ErrClosed
		case p.write.passed:
			return total, os.ErrDeadlineExceeded
		case p.noReader:
			return total, io.ErrClosedPipe
		case len(b) == 0:
			return total, nil
		}
		n := p.put(b)
		total += n
		if b = b[n:]; n > 0 {
			p.changed.Broadcast()
			continue
		}
		p.changed.Wait()
	}
}

// put takes as much of b as there is room for. The caller holds mu.
func (p *pipe) put(b []byte) int {
	if p.buf == nil {
		p.buf = pipeBuffers.Get().(*[]byte)
	}
	buf := *p.buf
	if p.start > 0 && len(buf)-p.end < len(b) {
		p.end = copy(buf, buf[p.start:p.end])
		p.start = 0
	}
	n := copy(buf[p.end:], b)
	p.end += n
	return n
}

// offer writes b if there is room for all of it. It never waits.
func (p *pipe) offer(b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.noReader || p.noWriter || len(b) == 0 || p.end-p.start+len(b) > pipeSize {
		return
	}
	p.put(b)
	p.changed.Broadcast()
}

// closeRead and closeWrite close one side.
func (p *pipe) closeRead() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.noReader = true
	p.empty()
	p.read.stop()
	p.changed.Broadcast()
}

func (p *pipe) closeWrite() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.noWriter = true
	p.write.stop()
	p.changed.Broadcast()
}

// quiet reports whether both sides are open and nothing is on its way.
func (p *pipe) quiet() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.noReader && !p.noWriter && p.buf == nil
}

// end is one end of an in-memory connection.
type end struct {
	in, out *pipe
	addr    address
}

// Read and the rest make an end a net.Conn.
func (e *end) Read(b []byte) (int, error)  { return e.in.Read(b) }
func (e *end) Write(b []byte) (int, error) { return e.out.Write(b) }

func (e *end) Close() error {
	e.in.closeRead()
	e.out.closeWrite()
	return nil
}

func (e *end) LocalAddr() net.Addr  { return address("bridge") }
func (e *end) RemoteAddr() net.Addr { return e.addr }

func (e *end) SetDeadline(t time.Time) error {
	_ = e.SetReadDeadline(t)
	return e.SetWriteDeadline(t)
}

func (e *end) SetReadDeadline(t time.Time) error {
	e.in.setDeadline(&e.in.read, t)
	return nil
}

func (e *end) SetWriteDeadline(t time.Time) error {
	e.out.setDeadline(&e.out.write, t)
	return nil
}

// address is what an in-memory connection calls its ends.
type address string

func (address) Network() string  { return "bridge" }
func (a address) String() string { return string(a) }
