package door

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Conn is a connection of a trusted peer. The first Read, or Handshake, takes
// the PROXY header off it. Nothing behind the header is read with it: after
// Handshake what NetConn returns stands at the client's first byte, unless
// there was no header and none was required.
type Conn struct {
	raw       net.Conn
	required  bool
	timeout   time.Duration
	maxHeader int

	once   sync.Once
	err    error                       // of the handshake
	client atomic.Pointer[net.TCPAddr] // nil: the peer is the client

	held atomic.Bool // there is something in rest
	mu   sync.Mutex
	rest []byte // read, and found to be no header

	// The header's own deadline must not be lost to the caller's, nor the other
	// way round: limit is the caller's, by the header's while there is one.
	limit, by time.Time
}

// Handshake takes the header off, once. A connection whose header is missing,
// malformed or late is closed; every call then returns the same error, io.EOF
// where the peer closed without a word, as probes do. Call it from the goroutine
// that serves the connection: it waits for the peer.
func (c *Conn) Handshake() error {
	c.once.Do(func() {
		err := c.handshake()
		if err == nil {
			return
		}
		_ = c.raw.Close()
		if c.err = err; err != io.EOF { // the very value: nothing was read
			c.err = fmt.Errorf("read PROXY header from %s: %w", c.raw.RemoteAddr(), err)
		}
	})
	return c.err
}

func (c *Conn) handshake() error {
	if c.required {
		c.arm(time.Now().Add(c.timeout))
	}
	defer c.arm(time.Time{})
	head := make([]byte, 0, maxV1)
	for {
		client, n, err := ParseHeader(head, c.maxHeader)
		switch {
		case errors.Is(err, ErrNoHeader) && !c.required:
			c.keep(head)
			return nil
		case err != nil:
			return err
		case n <= len(head):
			if client.IsValid() {
				c.client.Store(net.TCPAddrFromAddrPort(client))
			}
			return nil
		}
		if head, err = c.more(head, n); err != nil {
			return err
		}
	}
}

// more reads up to n bytes in all. Once there is one, the rest has to come in
// time.
func (c *Conn) more(head []byte, n int) ([]byte, error) {
	have := len(head)
	if n > cap(head) {
		head = append(make([]byte, 0, n), head...)
	}
	got, err := c.raw.Read(head[have:n])
	head = head[:have+got]
	switch {
	case got > 0:
		if have == 0 && !c.required {
			c.arm(time.Now().Add(c.timeout))
		}
		return head, nil
	case err == nil:
		return head, io.ErrNoProgress
	case errors.Is(err, io.EOF) && have > 0:
		return head, io.ErrUnexpectedEOF
	}
	return head, err
}

// keep puts back what is no header.
func (c *Conn) keep(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rest = b
	c.held.Store(len(b) > 0)
}

// arm sets the header's deadline; the zero time takes it away.
func (c *Conn) arm(by time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.by = by
	_ = c.raw.SetReadDeadline(c.earlier()) // a closed connection says so when it is read
}

// earlier is the deadline that counts. The caller holds mu.
func (c *Conn) earlier() time.Time {
	if c.limit.IsZero() || !c.by.IsZero() && c.by.Before(c.limit) {
		return c.by
	}
	return c.limit
}

// Read reads what the client sent.
func (c *Conn) Read(p []byte) (int, error) {
	if err := c.Handshake(); err != nil {
		return 0, err
	}
	if c.held.Load() {
		if n := c.take(p); n > 0 {
			return n, nil
		}
	}
	return c.raw.Read(p)
}

// take moves what was put back into p.
func (c *Conn) take(p []byte) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	c.held.Store(len(c.rest) > 0)
	return n
}

// WriteTo copies what the client sends to w. It lets the kernel do so where it
// can.
func (c *Conn) WriteTo(w io.Writer) (int64, error) {
	if err := c.Handshake(); err != nil {
		return 0, err
	}
	var before int64
	var buf [maxV1]byte
	for c.held.Load() {
		n, err := w.Write(buf[:c.take(buf[:])])
		before += int64(n)
		if err != nil {
			return before, err
		}
	}
	n, err := io.Copy(w, c.raw)
	return before + n, err
}

// ReadFrom copies r to the client. It lets the kernel do so where it can.
func (c *Conn) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(c.raw, r)
}

// Write writes to the client. It does not wait for the header.
func (c *Conn) Write(p []byte) (int, error) {
	return c.raw.Write(p)
}

// Close closes the connection.
func (c *Conn) Close() error { return c.raw.Close() }

// NetConn is the connection below. Its peer is the proxy.
func (c *Conn) NetConn() net.Conn { return c.raw }

// PlainTCP returns the TCP connection below, for who hands files to the kernel;
// nil where there is none. Nothing that was read stands between.
func (c *Conn) PlainTCP() *net.TCPConn {
	tcp, ok := c.raw.(*net.TCPConn)
	if !ok {
		return nil
	}
	return tcp
}

// LocalAddr is the address that the peer connected to.
func (c *Conn) LocalAddr() net.Addr { return c.raw.LocalAddr() }

// RemoteAddr is the client's address as the header has it, once Handshake or
// Read has returned, and the peer's before. It never waits.
func (c *Conn) RemoteAddr() net.Addr {
	if a := c.client.Load(); a != nil {
		return a
	}
	return c.raw.RemoteAddr()
}

// Client is RemoteAddr without a port, and whether a header said so.
func (c *Conn) Client() (addr netip.Addr, said bool) {
	if a := c.client.Load(); a != nil {
		return addrOf(a), true
	}
	return addrOf(c.raw.RemoteAddr()), false
}

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline sets the deadline of reads. While the header is read the
// header's own counts too.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.limit = t
	return c.raw.SetReadDeadline(c.earlier())
}

// SetWriteDeadline sets the deadline of writes.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	return c.raw.SetWriteDeadline(t)
}

// SyscallConn gives access to the connection's descriptor.
func (c *Conn) SyscallConn() (syscall.RawConn, error) {
	if s, ok := c.raw.(syscall.Conn); ok {
		return s.SyscallConn()
	}
	return nil, fmt.Errorf("descriptor of %T: %w", c.raw, errors.ErrUnsupported)
}

// CloseWrite shuts down the direction to the client.
func (c *Conn) CloseWrite() error {
	if h, ok := c.raw.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return fmt.Errorf("half close of %T: %w", c.raw, errors.ErrUnsupported)
}

// CloseRead shuts down the direction from the client.
func (c *Conn) CloseRead() error {
	if h, ok := c.raw.(interface{ CloseRead() error }); ok {
		return h.CloseRead()
	}
	return fmt.Errorf("half close of %T: %w", c.raw, errors.ErrUnsupported)
}
