package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"landward/internal/landward"
)

// Socket is one address that is listened on: the same port with UDP and TCP.
type Socket struct {
	UDP *net.UDPConn
	TCP *net.TCPListener
}

// Close closes both. Others that have the same sockets keep them.
func (s Socket) Close() error { return errors.Join(s.UDP.Close(), s.TCP.Close()) }

// socket is a Socket in use.
type socket struct {
	udp *net.UDPConn
	tcp *net.TCPListener
	// all: bound to no address of its own. Answers must then be told to leave
	// from the address that the question came to.
	all, six bool
}

// tries for a port that is free with both UDP and TCP.
const portTries = 20

// Open opens an address for a Server, this process's or another's: for UDP and
// TCP "192.168.1.10:53", or ":53" for all addresses of the machine, IPv4's and
// IPv6's, a Socket each. A name is no address.
func Open(addr string) (list []Socket, err error) {
	defer func() {
		if err != nil {
			for _, s := range list {
				_ = s.Close()
			}
			list = nil
		}
	}()
	host, portText, err := net.SplitHostPort(addr)
	port, portErr := strconv.ParseUint(portText, 10, 16)
	if err != nil || portErr != nil {
		return nil, landward.Invalid("dns", "%q is not an address to listen on", addr).WithHint("such as :53 or 192.168.1.10:53")
	}
	hosts := []string{host}
	if host == "" {
		hosts = []string{"0.0.0.0", "::"}
	}
	for i, h := range hosts {
		ip, err := netip.ParseAddr(h)
		if err != nil {
			return list, landward.Invalid("dns", "%q is not an IP address to listen on", h).WithHint("such as :53 or 192.168.1.10:53")
		}
		sock, err := open(netip.AddrPortFrom(ip, uint16(port)))
		if err != nil {
			if i > 0 && host == "" {
				continue // a machine without IPv6
			}
			return list, landward.Errorf(landward.CodeUnavailable, "cannot listen for DNS on %s", addr).
				WithHint("another program may have the port (systemd-resolved has 127.0.0.53:53): name one address of this machine, or another port, with --dns").Wrap(err)
		}
		list = append(list, sock)
		port = uint64(local(sock.UDP).Port())
	}
	return list, nil
}

// open opens both sockets of an address. Where any port will do, it finds one
// that is free with both.
func open(at netip.AddrPort) (sock Socket, err error) {
	udp, tcp := "udp4", "tcp4"
	if at.Addr().Is6() && !at.Addr().Is4In6() {
		udp, tcp = "udp6", "tcp6"
	}
	for range portTries {
		if sock.UDP, err = net.ListenUDP(udp, net.UDPAddrFromAddrPort(at)); err != nil {
			return sock, fmt.Errorf("listen: %w", err)
		}
		both := netip.AddrPortFrom(at.Addr(), local(sock.UDP).Port())
		if sock.TCP, err = net.ListenTCP(tcp, net.TCPAddrFromAddrPort(both)); err == nil {
			return sock, nil
		}
		_ = sock.UDP.Close()
		if at.Port() != 0 {
			break
		}
	}
	return sock, fmt.Errorf("listen: %w", err)
}

// Listen opens addresses, as Open does. Where one cannot be opened, none is.
func (s *Server) Listen(addrs ...string) error {
	var all []Socket
	for _, addr := range addrs {
		list, err := Open(addr)
		if err != nil {
			for _, sock := range all {
				_ = sock.Close()
			}
			return err
		}
		all = append(all, list...)
	}
	return s.Use(all...)
}

// Use takes sockets that are open already, in place of Listen. Several
// processes may answer from the same ones. They are the server's from then on;
// with an error they are closed.
func (s *Server) Use(list ...Socket) error {
	for _, l := range list {
		at := local(l.UDP)
		s.sockets = append(s.sockets, &socket{
			udp: l.UDP, tcp: l.TCP, all: at.Addr().IsUnspecified(), six: at.Addr().Is6(),
		})
	}
	for _, sock := range s.sockets {
		if err := sock.control(); err != nil {
			_ = s.Close()
			return fmt.Errorf("ask for packets' destinations: %w", err)
		}
	}
	if err := s.checkSelf(); err != nil {
		_ = s.Close()
		return err
	}
	return nil
}

// control asks for the address that each packet came to, where there can be
// more than one.
func (k *socket) control() error {
	switch {
	case !k.all:
		return nil
	case k.six:
		return ipv6.NewPacketConn(k.udp).SetControlMessage(ipv6.FlagDst|ipv6.FlagInterface, true)
	default:
		return ipv4.NewPacketConn(k.udp).SetControlMessage(ipv4.FlagDst|ipv4.FlagInterface, true)
	}
}

func (k *socket) addr() netip.AddrPort { return local(k.udp) }

func local(c *net.UDPConn) netip.AddrPort {
	a, _ := c.LocalAddr().(*net.UDPAddr)
	at := a.AddrPort()
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}

func (k *socket) close() {
	_ = k.udp.Close()
	_ = k.tcp.Close()
}

// checkSelf refuses an upstream that is this server: each question would come
// back for ever.
func (s *Server) checkSelf() error {
	own, err := net.InterfaceAddrs()
	if err != nil {
		return fmt.Errorf("list own addresses: %w", err)
	}
	mine := func(a netip.Addr) bool {
		return a.IsLoopback() || slices.ContainsFunc(own, func(n net.Addr) bool {
			p, err := netip.ParsePrefix(n.String())
			return err == nil && p.Addr().Unmap() == a
		})
	}
	for _, u := range s.upstream.list {
		up := u.addr.Addr().WithZone("")
		for _, sock := range s.sockets {
			at := sock.addr()
			if at.Port() == u.addr.Port() && (at.Addr().WithZone("") == up || sock.all && mine(up)) {
				return landward.Invalid("dns-forward", "%s is this DNS server itself", u.addr).
					WithHint("name a resolver of your provider or network")
			}
		}
	}
	return nil
}

// Addrs are the addresses that are listened on, after Listen: for each the UDP
// one, then the TCP one.
func (s *Server) Addrs() []net.Addr {
	out := make([]net.Addr, 0, 2*len(s.sockets))
	for _, k := range s.sockets {
		out = append(out, k.udp.LocalAddr(), k.tcp.Addr())
	}
	return out
}

// Close closes what Listen opened. It is for servers that never Run; Run closes
// by itself.
func (s *Server) Close() error {
	for _, k := range s.sockets {
		k.close()
	}
	s.sockets = nil
	return nil
}

// readers is how many goroutines read one UDP socket.
const readers = 2

// Run answers until ctx ends, and then what has been asked by then, for as long
// as Limits.Drain at most. It returns when every goroutine is done.
func (s *Server) Run(ctx context.Context) error {
	if len(s.sockets) == 0 {
		return errors.New("DNS server runs before it listens")
	}
	var stop, drain context.CancelFunc
	s.work, stop = context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	s.reading, drain = context.WithCancel(s.work)
	defer drain()
	var faces sync.WaitGroup
	for _, k := range s.sockets {
		for range readers {
			faces.Go(func() { s.readUDP(k) })
		}
		faces.Go(func() { s.accept(k.tcp) })
	}
	<-ctx.Done()
	// The readers stop, the sockets stay open: answers leave by them. What has
	// come in and is not read yet is for whoever else reads them.
	drain()
	for _, k := range s.sockets {
		_ = k.udp.SetReadDeadline(past)
		_ = k.tcp.SetDeadline(past)
	}
	faces.Wait()
	limit := time.AfterFunc(s.o.Limits.Drain, stop)
	defer limit.Stop()
	s.wg.Wait()
	for _, k := range s.sockets {
		k.close()
	}
	return nil
}

// past is a deadline that is over.
var past = time.Unix(1, 0)

// pause waits after an error that is not of one client's making, so that it
// cannot come back at full speed. It returns false when the server stops.
func (s *Server) pause() bool {
	t := time.NewTimer(20 * time.Millisecond)
	defer t.Stop()
	select {
	case <-s.reading.Done():
		return false
	case <-t.C:
		return true
	}
}
