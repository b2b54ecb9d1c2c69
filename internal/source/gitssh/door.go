package gitssh

import (
	"net"
	"net/netip"
	"sync"
)

// door counts who is inside. Strangers make room for newer strangers; people
// who signed are never put out for others.
type door struct {
	o Options

	mu        sync.Mutex
	closing   bool
	strangers []*visitor // oldest first
	perIP     map[netip.Addr]int
	people    map[*visitor]struct{}
}

// visitor is one connection.
type visitor struct {
	conn net.Conn
	ip   netip.Addr
	busy int // sessions; guarded by the door
}

func newDoor(o Options) *door {
	return &door{o: o, perIP: map[netip.Addr]int{}, people: map[*visitor]struct{}{}}
}

// addrOf groups an IPv6 host's addresses, of which it has as many as it likes.
func addrOf(conn net.Conn) netip.Addr {
	ap, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	ip := ap.Addr().Unmap().WithZone("")
	if ip.Is6() {
		if p, err := ip.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return ip
}

// enter lets a stranger in, and puts out the oldest one where there are too
// many.
func (d *door) enter(conn net.Conn) *visitor {
	v := &visitor{conn: conn, ip: addrOf(conn)}
	d.mu.Lock()
	defer d.mu.Unlock()
	same := 0
	for _, s := range d.strangers {
		if s.ip == v.ip {
			same++
		}
	}
	switch {
	case same >= d.o.StrangersPerIP:
		d.evict(func(s *visitor) bool { return s.ip == v.ip })
	case len(d.strangers) >= d.o.Strangers:
		d.evict(func(*visitor) bool { return true })
	}
	d.strangers = append(d.strangers, v)
	if d.closing {
		_ = conn.Close()
	}
	return v
}

func (d *door) evict(which func(*visitor) bool) {
	for i, s := range d.strangers {
		if which(s) {
			d.strangers = append(d.strangers[:i], d.strangers[i+1:]...)
			_ = s.conn.Close()
			return
		}
	}
}

// admit makes a stranger one of the people, where there is room.
func (d *door) admit(v *visitor) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forget(v)
	if d.closing || len(d.people) >= d.o.Connections || d.perIP[v.ip] >= d.o.ConnectionsPerIP {
		return false
	}
	d.people[v] = struct{}{}
	d.perIP[v.ip]++
	return true
}

func (d *door) forget(v *visitor) {
	for i, s := range d.strangers {
		if s == v {
			d.strangers = append(d.strangers[:i], d.strangers[i+1:]...)
			return
		}
	}
}

// leave closes the connection and forgets it.
func (d *door) leave(v *visitor) {
	_ = v.conn.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forget(v)
	if _, ok := d.people[v]; ok {
		delete(d.people, v)
		if d.perIP[v.ip]--; d.perIP[v.ip] == 0 {
			delete(d.perIP, v.ip)
		}
	}
}

// work counts a session that begins (+1) or ends (-1); ok is false where the
// server is closing or the connection has too many.
func (d *door) work(v *visitor, n int) (busy int, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n > 0 && (d.closing || v.busy >= maxSessions) {
		return v.busy, false
	}
	v.busy += n
	if d.closing && v.busy == 0 {
		_ = v.conn.Close()
	}
	return v.busy, true
}

// closeIdle closes every connection without a session, now and from now on.
func (d *door) closeIdle() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closing = true
	for _, v := range d.strangers {
		_ = v.conn.Close()
	}
	for v := range d.people {
		if v.busy == 0 {
			_ = v.conn.Close()
		}
	}
}

// closeAll closes the rest.
func (d *door) closeAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for v := range d.people {
		_ = v.conn.Close()
	}
}
