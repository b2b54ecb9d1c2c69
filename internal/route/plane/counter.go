package plane

import (
	"net"
	"net/netip"
	"sync"
)

// counter counts clients' connections: all together, and of one address.
type counter struct {
	max, maxPerIP int

	mu       sync.Mutex
	total    int
	perIP    map[netip.Addr]int
	accepted int           // connections that a listener gave and that have not ended
	closed   bool          // no listener gives more
	gone     chan struct{} // closed when closed and none is left
}

// arrive notes a connection as soon as it is accepted, depart its end.
func (d *counter) arrive() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.accepted++
}

func (d *counter) depart() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.accepted--
	d.settle()
}

// settle says that none is left. The caller holds mu.
func (d *counter) settle() {
	if d.closed && d.accepted == 0 {
		select {
		case <-d.gone:
		default:
			close(d.gone)
		}
	}
}

func (d *counter) enter(ip netip.Addr) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.total >= d.max || d.perIP[ip] >= d.maxPerIP {
		return false
	}
	d.total++
	d.perIP[ip]++
	return true
}

func (d *counter) leave(ip netip.Addr) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.total--
	if d.perIP[ip]--; d.perIP[ip] <= 0 {
		delete(d.perIP, ip)
	}
}

func (d *counter) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	d.settle()
}

func (d *counter) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.total
}

// crowded reports whether idle clients should make room.
func (d *counter) crowded() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.total > d.max/4*3
}

// Enter counts a connection in before anything is read from it. ok is false
// where there are too many; else leave must be called when it has ended.
func (p *Plane) Enter(conn net.Conn) (leave func(), ok bool) {
	ip := clientOf(conn)
	if !p.doors.enter(ip) {
		p.refused.Add(1)
		return nil, false
	}
	return func() { p.doors.leave(ip) }, true
}

// ServeConn serves one HTTP/1.1 connection until it ends. It is for those who
// have counted the connection in, by Enter, and for the inner connections of a
// door that speaks another protocol with the client: those may tell the
// client's address as RemoteAddr, its protocol as Proto() string, and whether
// it has gone as Gone() bool.
func (p *Plane) ServeConn(conn net.Conn, scheme string) {
	s := newSession(p, conn, scheme)
	p.mu.Lock()
	p.sessions[s] = struct{}{}
	p.mu.Unlock()
	s.serve()
}
