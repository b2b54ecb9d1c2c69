package edge

import (
	"errors"
	"fmt"
	"net"
	"strconv"

	"landward/internal/dns"
	"landward/internal/route/h3"
)

// Names of what Options.Inherit is asked for.
const (
	NameHTTP  = "http"
	NameHTTPS = "https"
	// NameSecret is a file of SecretSize random bytes, the same for all edges
	// that have a slot of one address.
	NameSecret = "h3-secret"
)

// SecretSize is how many bytes NameSecret has.
const SecretSize = 32

// NameSlot names the UDP socket of a slot: one of those that h3.ListenSlots
// opens. An edge has one.
func NameSlot(slot int) string { return "h3-" + strconv.Itoa(slot) }

// NameDNS names the sockets of a DNS address, the first one 0: those that
// dns.Open opens.
func NameDNS(i int) (udp, tcp string) {
	return "dns-udp-" + strconv.Itoa(i), "dns-tcp-" + strconv.Itoa(i)
}

// handed is the socket of HTTP/3 that another process has opened.
type handed struct {
	conn   net.PacketConn // nil: none has
	slot   int
	secret []byte
}

// inherit takes over what other processes have opened, but for the listeners.
func (e *Edge) inherit() error {
	if e.secure != nil && e.o.HTTP3 {
		if err := e.inheritSlot(); err != nil {
			return fmt.Errorf("take over HTTP/3: %w", err)
		}
	}
	if e.dns != nil {
		if err := e.inheritDNS(); err != nil {
			return fmt.Errorf("take over DNS: %w", err)
		}
	}
	return nil
}

// disinherit closes what inherit has taken, and nothing serves.
func (e *Edge) disinherit() error {
	var err error
	if e.quic.conn != nil {
		err = e.quic.conn.Close()
	}
	if e.named {
		err = errors.Join(err, e.dns.Close())
	}
	return err
}

// inheritListener returns the listener of a name, or nil.
func (e *Edge) inheritListener(name string) (net.Listener, error) {
	f, err := e.o.Inherit(name)
	if err != nil || f == nil {
		return nil, err
	}
	l, err := net.FileListener(f) // its own copy
	return l, errors.Join(err, f.Close())
}

// inheritConn returns the UDP socket of a name, or nil.
func (e *Edge) inheritConn(name string) (net.PacketConn, error) {
	f, err := e.o.Inherit(name)
	if err != nil || f == nil {
		return nil, err
	}
	c, err := net.FilePacketConn(f)
	return c, errors.Join(err, f.Close())
}

func (e *Edge) inheritSlot() error {
	for slot := range h3.Slots {
		conn, err := e.inheritConn(NameSlot(slot))
		if err != nil {
			return err
		}
		if conn != nil {
			e.quic = handed{conn: conn, slot: slot}
			break
		}
	}
	if e.quic.conn == nil {
		return nil
	}
	f, err := e.o.Inherit(NameSecret)
	if err != nil || f == nil {
		return err
	}
	e.quic.secret = make([]byte, SecretSize)
	_, err = f.ReadAt(e.quic.secret, 0) // others read it too
	return errors.Join(err, f.Close())
}

func (e *Edge) inheritDNS() (err error) {
	var list []dns.Socket
	defer func() {
		if err != nil {
			for _, s := range list {
				_ = s.Close()
			}
		}
	}()
	for {
		udpName, tcpName := NameDNS(len(list))
		conn, err := e.inheritConn(udpName)
		if err != nil {
			return err
		}
		udp, ok := conn.(*net.UDPConn)
		if !ok {
			break
		}
		l, err := e.inheritListener(tcpName)
		tcp, ok := l.(*net.TCPListener)
		if err != nil || !ok {
			return errors.Join(err, fmt.Errorf("%s without %s", udpName, tcpName), udp.Close())
		}
		list = append(list, dns.Socket{UDP: udp, TCP: tcp})
	}
	e.named = len(list) > 0
	if !e.named {
		return nil
	}
	return e.dns.Use(list...)
}
