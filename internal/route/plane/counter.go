package plane

import (
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
