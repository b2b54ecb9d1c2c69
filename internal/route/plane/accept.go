package plane

import (
	"errors"
	"net"
	"net/netip"
	"time"

	"landward/internal/route/door"
)

// Serve takes connections from l until it is closed, and returns nil then.
// scheme is what the client speaks: "http", or "https" where l ends TLS.
func (p *Plane) Serve(l net.Listener, scheme string) error {
	return p.accept(l, func(conn net.Conn) {
		if _, ok := p.admit(conn); !ok {
			return
		}
		s := newSession(p, conn, scheme)
		s.counted = true
		p.enlist(s)
		s.serve()
	})
}

// Accept takes connections from l until it is closed, and returns nil then.
// Each that there is room for is served by serve, which must close it.
func (p *Plane) Accept(l net.Listener, serve func(net.Conn)) error {
	return p.accept(l, func(conn net.Conn) {
		ip, ok := p.admit(conn)
		if !ok {
			return
		}
		defer p.dismiss(ip)
		serve(conn)
	})
}

// accept hands each connection to take, which has a goroutine of its own.
func (p *Plane) accept(l net.Listener, take func(net.Conn)) error {
	pause := time.Duration(0)
	for {
		conn, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			// Out of descriptors, most likely: it passes when clients go.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			p.log.Warn("accept connection", "err", err, "pause", pause)
			select {
			case <-time.After(pause):
				continue
			case <-p.ctx.Done():
				return nil
			}
		}
		pause = 0
		p.doors.arrive()
		go take(conn)
	}
}

// admit counts a connection in that has arrived, or ends it. It may have to be
// read from to know its client.
func (p *Plane) admit(conn net.Conn) (ip netip.Addr, ok bool) {
	if c, ok := conn.(*door.Conn); ok && c.Handshake() != nil {
		_ = conn.Close()
		p.doors.depart()
		return ip, false
	}
	ip = clientOf(conn)
	if !p.doors.enter(ip) {
		p.refused.Add(1)
		refuse(conn)
		p.doors.depart()
		return ip, false
	}
	return ip, true
}

// dismiss counts a connection out that was admitted.
func (p *Plane) dismiss(ip netip.Addr) {
	p.doors.leave(ip)
	p.doors.depart()
}

// refuse tells a client over a limit so, without waiting for it.
func refuse(conn net.Conn) {
	_ = conn.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
	_, _ = conn.Write([]byte("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\n" +
		"Content-Length: 0\r\nConnection: close\r\n\r\n"))
	_ = conn.Close()
}

// ServeConn serves one HTTP/1.1 connection until it ends. It is for those who
// have a connection from Accept, which has counted it in, and for the inner
// connections of a door that speaks another protocol with the client: those may
// tell the client's address as RemoteAddr, its protocol as Proto() string, and
// whether it has gone as Gone() bool.
func (p *Plane) ServeConn(conn net.Conn, scheme string) {
	s := newSession(p, conn, scheme)
	p.enlist(s)
	s.serve()
}
