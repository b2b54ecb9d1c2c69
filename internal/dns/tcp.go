package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// tcpConn is a TCP connection (RFC 7766). It is also the peer of its questions.
type tcpConn struct {
	s       *Server
	conn    *net.TCPConn
	pending sync.WaitGroup // answers that come later

	mu  sync.Mutex // writing
	out []byte
}

// accept takes connections until the listener is closed. A part of the places
// is for our own networks, so that strangers cannot take them all.
func (s *Server) accept(l *net.TCPListener) {
	for {
		conn, err := l.AcceptTCP()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || s.reading.Err() != nil || !s.pause() {
				return
			}
			continue
		}
		addr := remote(conn)
		c := s.client(addr, false)
		spare := 0
		if !c.known() {
			spare = s.o.Limits.Conns / 4
		}
		if !s.conns.enter(addr, spare) {
			s.count.limited.Add(1)
			_ = conn.Close()
			continue
		}
		s.wg.Go(func() {
			defer s.conns.leave(addr)
			s.serve(conn, addr)
		})
	}
}

func remote(conn *net.TCPConn) netip.Addr {
	a, _ := conn.RemoteAddr().(*net.TCPAddr)
	return a.AddrPort().Addr().Unmap()
}

// lastQuestion is how long a client has for another question once the server
// ends: one may be on its way.
const lastQuestion = 300 * time.Millisecond

// serve answers the questions of one connection until it is quiet for too long,
// sends what is no question, or is as old as it may get.
func (s *Server) serve(conn *net.TCPConn, addr netip.Addr) {
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(s.work, func() { _ = conn.Close() })()
	hurry := func() { _ = conn.SetReadDeadline(time.Now().Add(lastQuestion)) }
	defer context.AfterFunc(s.reading, hurry)()

	t := &tcpConn{s: s, conn: conn}
	defer t.pending.Wait() // before it is closed
	end := time.Now().Add(s.o.Limits.ConnLifetime)
	var q query
	in := make([]byte, maxQuery)
	out := make([]byte, 0, 1024)
	for {
		until := time.Now().Add(s.o.Limits.ConnTimeout)
		if until.After(end) {
			until = end
		}
		if conn.SetReadDeadline(until) != nil {
			return
		}
		if s.reading.Err() != nil {
			hurry()
		}
		packet, err := readMessage(conn, in)
		if err != nil {
			return
		}
		answer, what := s.handle(t, &q, addr, false, packet, out)
		switch what {
		case answered:
			if t.write(answer) != nil {
				return
			}
		case dropped:
			return
		case later:
		}
	}
}

var errMessageSize = errors.New("message too long or too short")

// readMessage reads one message into buf, with the length before it (RFC 1035
// section 4.2.2).
func readMessage(r io.Reader, buf []byte) ([]byte, error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(head[:]))
	if n < headerSize || n > len(buf) {
		return nil, errMessageSize
	}
	_, err := io.ReadFull(r, buf[:n])
	return buf[:n], err
}

func (t *tcpConn) write(b []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.out = binary.BigEndian.AppendUint16(t.out[:0], uint16(len(b)))
	t.out = append(t.out, b...)
	if err := t.conn.SetWriteDeadline(time.Now().Add(t.s.o.Limits.ConnTimeout)); err != nil {
		return err
	}
	_, err := t.conn.Write(t.out)
	return err
}

func (t *tcpConn) keep() peer {
	t.pending.Add(1)
	return t
}

func (t *tcpConn) send(b []byte) {
	defer t.pending.Done()
	if b != nil {
		_ = t.write(b) // a client that is gone: the reader sees it too
	}
}
