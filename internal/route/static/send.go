package static

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"landward/internal/route/sockio"
)

// Plain is a connection that wraps a TCP connection and changes no byte of
// what is written to it. TLS has a connection underneath, too, but writing to
// that would send the file in the clear; so a wrapper must say by this method
// that it may be passed by. A nil connection means that it may not.
type Plain interface {
	PlainTCP() *net.TCPConn
}

const (
	// piece is how much WriteBody sends before it looks around.
	piece = 1 << 20
	// copied is how much is read from a file at once where the kernel cannot
	// send it by itself.
	copied = 64 << 10
)

// buffers are for copying. They are the same for all sites.
var buffers = sync.Pool{New: func() any { b := make([]byte, copied); return &b }}

// sending is how far the body of an answer has got.
type sending struct {
	done    int64 // bytes of body
	section int
	lead    int   // bytes of the section's lead
	at      int64 // bytes of the section itself

	// Of one call of Send.
	head    []byte // goes first
	budget  int64
	sent    int64
	err     error
	vectors [2][]byte
	buffers net.Buffers
	conn    *net.TCPConn
	raw     syscall.RawConn       // of conn
	step    func(fd uintptr) bool // a.push, made once
}

func (s *sending) reset() { *s = sending{step: s.step} }

// Left is how many bytes of body are still to be sent.
func (a *Answer) Left() int64 { return a.Length - a.send.done }

// WriteBody sends what is left of the body to c, and returns how many bytes
// that were.
func (a *Answer) WriteBody(c net.Conn) (int64, error) {
	var total int64
	for a.Left() > 0 {
		n, err := a.Send(c, nil, piece)
		total += n
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// Send sends head, whole, and then at most limit bytes of the body. It returns
// how many bytes it has written, those of head included. Call it until Left is
// 0: between two calls the caller can set a new deadline. Over plain TCP the
// kernel takes the bytes from the file; see Plain.
func (a *Answer) Send(c net.Conn, head []byte, limit int64) (int64, error) {
	s := &a.send
	s.head, s.budget, s.sent, s.err = head, limit, 0, nil
	tcp := plainTCP(c)
	var err error
	switch {
	case a.Body != nil && tcp != nil:
		err = a.vector(tcp)
	case a.open != nil && tcp != nil:
		err = a.kernel(tcp)
		if errors.Is(err, errNoKernel) {
			err = a.copy(c)
		}
	default:
		err = a.copy(c)
	}
	s.head = nil
	return s.sent, err
}

func plainTCP(c net.Conn) *net.TCPConn {
	switch c := c.(type) {
	case *net.TCPConn:
		return c
	case Plain:
		return c.PlainTCP()
	}
	return nil
}

// vector sends a body in memory with the head in one call.
func (a *Answer) vector(c *net.TCPConn) error {
	s := &a.send
	s.vectors[0] = s.head
	s.vectors[1] = a.Body[s.done:][:max(min(s.budget, a.Left()), 0)]
	s.buffers = s.vectors[:]
	n, err := s.buffers.WriteTo(c)
	s.sent = n
	s.done += max(n-int64(len(s.head)), 0)
	s.vectors = [2][]byte{}
	return err
}

// next returns what comes next of the body: bytes in memory, or a piece of the
// file.
func (a *Answer) next() (mem []byte, offset, length int64) {
	s := &a.send
	if a.Body != nil {
		return a.Body[s.done:], 0, 0
	}
	for s.section < len(a.Ranges) {
		r := &a.Ranges[s.section]
		switch {
		case s.lead < len(r.Lead):
			return r.Lead[s.lead:], 0, 0
		case s.at < r.Length:
			return nil, r.Offset + s.at, r.Length - s.at
		}
		s.section, s.lead, s.at = s.section+1, 0, 0
	}
	return a.Tail[s.lead:], 0, 0
}

// advance moves on by n bytes, which were in memory or not.
func (a *Answer) advance(n int, memory bool) {
	s := &a.send
	s.done += int64(n)
	s.budget -= int64(n)
	if memory {
		s.lead += n
	} else {
		s.at += int64(n)
	}
}

// copy sends through a buffer.
func (a *Answer) copy(c net.Conn) error {
	s := &a.send
	b := buffers.Get().(*[]byte)
	defer buffers.Put(b)
	for {
		n := copy(*b, s.head)
		s.head = s.head[n:]
		for n < len(*b) && len(s.head) == 0 && s.budget > 0 && a.Left() > 0 {
			m, err := a.fill((*b)[n:min(int64(len(*b)), int64(n)+s.budget)])
			if err != nil {
				return err
			}
			n += m
		}
		if n == 0 {
			return nil
		}
		m, err := c.Write((*b)[:n])
		s.sent += int64(m)
		if err != nil {
			return err
		}
	}
}

// fill reads some of what comes next into b, and moves on.
func (a *Answer) fill(b []byte) (int, error) {
	mem, offset, length := a.next()
	if mem != nil {
		n := copy(b, mem)
		a.advance(n, true)
		return n, nil
	}
	n, err := a.File.ReadAt(b[:min(int64(len(b)), length)], offset)
	if n == 0 {
		return 0, shorter(err)
	}
	a.advance(n, false)
	return n, nil
}

// shorter turns the end of a file, where there should be none, into an error.
func shorter(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return fmt.Errorf("read file: %w", io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("read file: %w", err)
}

// errNoKernel says that this file system or socket does not do sendfile.
var errNoKernel = errors.New("sendfile not supported")

// kernel lets the kernel send. The position in the file is given with each
// call, so that any number of answers can share one open file.
func (a *Answer) kernel(c *net.TCPConn) error {
	s := &a.send
	if s.raw == nil || s.conn != c {
		raw, err := c.SyscallConn()
		if err != nil {
			return err
		}
		s.conn, s.raw = c, raw
	}
	if s.step == nil {
		s.step = a.push
	}
	if err := s.raw.Write(s.step); err != nil {
		return err
	}
	return s.err
}

// push sends until all of this call has gone, or the socket takes no more: then
// it reports false, and is called again when the socket does.
func (a *Answer) push(fd uintptr) bool {
	s := &a.send
	for {
		n, err := 0, error(nil)
		switch {
		case len(s.head) > 0:
			if n, err = a.message(fd, s.head, s.budget > 0 && a.Left() > 0); err == nil {
				s.head = s.head[n:]
			}
		case s.budget <= 0 || a.Left() == 0:
			return true
		default:
			n, err = a.pushBody(fd)
		}
		switch {
		case err == nil:
			s.sent += int64(n)
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return false
		default:
			s.err = err
			return true
		}
	}
}

// pushBody sends some of the body, with one system call.
func (a *Answer) pushBody(fd uintptr) (int, error) {
	s := &a.send
	mem, offset, length := a.next()
	if mem != nil {
		mem = mem[:min(int64(len(mem)), s.budget)]
		n, err := a.message(fd, mem, int64(len(mem)) < min(s.budget, a.Left()))
		if err == nil {
			a.advance(n, true)
		}
		return n, err
	}
	n, err := unix.Sendfile(int(fd), a.open.fd, &offset, int(min(length, s.budget))) //nolint:gosec // a descriptor fits
	switch {
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EOPNOTSUPP):
		return 0, errNoKernel
	case err != nil:
		return 0, err
	case n == 0:
		return 0, shorter(nil)
	}
	a.advance(n, false)
	return n, nil
}

// message writes bytes in memory. more: others follow at once, so the kernel
// need not send a packet for these alone.
func (a *Answer) message(fd uintptr, b []byte, more bool) (int, error) {
	send := sockio.Send
	if more {
		send = sockio.SendMore
	}
	n, err := send(fd, b)
	if err != 0 {
		return 0, err
	}
	return n, nil
}
