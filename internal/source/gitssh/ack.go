package gitssh

import (
	"net"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// promptAcks acknowledges at once what a client sends, until relax is called.
//
// OpenSSH leaves Nagle's algorithm on until a session begins, and twice in a
// handshake it writes two packets in a row: the second waits for the first
// one's acknowledgement, which the kernel holds back for 40 ms in the hope of
// data to send it with (RFC 1122 section 4.2.3.2). Every push would wait twice.
type promptAcks struct {
	net.Conn
	raw     syscall.RawConn // nil where the connection is not TCP
	relaxed atomic.Bool
}

func newPromptAcks(c net.Conn) *promptAcks {
	p := &promptAcks{Conn: c}
	if tcp, ok := c.(*net.TCPConn); ok {
		if raw, err := tcp.SyscallConn(); err == nil {
			p.raw = raw
		}
	}
	return p
}

// Read reads, and has the kernel acknowledge now. The option is no state that
// lasts (tcp(7)), so it is set each time.
func (p *promptAcks) Read(b []byte) (int, error) {
	n, err := p.Conn.Read(b)
	if n > 0 && p.raw != nil && !p.relaxed.Load() {
		// Where it fails, the handshake is slower; nothing else.
		_ = p.raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1)
		})
	}
	return n, err
}

// relax leaves acknowledging to the kernel from now on.
func (p *promptAcks) relax() { p.relaxed.Store(true) }
