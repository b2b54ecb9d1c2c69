package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"landward/internal/landward"
)

// socket is one address that is listened on: the same port with UDP and TCP.
type socket struct {
	udp *net.UDPConn
	tcp *net.TCPListener
	// all: bound to no address of its own. Answers must then be told to leave
	// from the address that the question came to.
	all, six bool
}

// tries for a port that is free with both UDP and TCP.
const portTries = 20

// Listen opens addresses, each for UDP and TCP: "192.168.1.10:53", or ":53" for
// all addresses of the machine. A name is no address. Where one cannot be
// opened, none is.
func (s *Server) Listen(addrs ...string) error {
	for _, addr := range addrs {
		if err := s.listen(addr); err != nil {
			_ = s.Close()
			return err
		}
	}
	if err := s.checkSelf(); err != nil {
		_ = s.Close()
		return err
	}
	return nil
}

func (s *Server) listen(addr string) error {
	host, portText, err := net.SplitHostPort(addr)
	port, portErr := strconv.ParseUint(portText, 10, 16)
	if err != nil || portErr != nil {
		return landward.Invalid("dns", "%q is not an address to listen on", addr).WithHint("such as :53 or 192.168.1.10:53")
	}
	hosts := []string{host}
	if host == "" {
		hosts = []string{"0.0.0.0", "::"}
	}
	for i, h := range hosts {
		ip, err := netip.ParseAddr(h)
		if err != nil {
			return landward.Invalid("dns", "%q is not an IP address to listen on", h).WithHint("such as :53 or 192.168.1.10:53")
		}
		sock, err := open(netip.AddrPortFrom(ip, uint16(port)))
		if err != nil {
			if i > 0 && host == "" {
				continue // a machine without IPv6
			}
			return landward.Errorf(landward.CodeUnavailable, "cannot listen for DNS on %s", addr).
				WithHint("another program may have the port (systemd-resolved has 127.0.0.53:53): name one address of this machine, or another port, with --dns").Wrap(err)
		}
		s.sockets = append(s.sockets, sock)
		port = uint64(sock.addr().Port())
	}
	return nil
}

// open opens both sockets of an address. Where any port will do, it finds one
// that is free with both.
func open(at netip.AddrPort) (*socket, error) {
	sock := &socket{all: at.Addr().IsUnspecified(), six: at.Addr().Is6() && !at.Addr().Is4In6()}
	udp, tcp := "udp4", "tcp4"
	if sock.six {
		udp, tcp = "udp6", "tcp6"
	}
	var err error
	for range portTries {
		if sock.udp, err = net.ListenUDP(udp, net.UDPAddrFromAddrPort(at)); err != nil {
			return nil, fmt.Errorf("listen: %w", err)
		}
		both := netip.AddrPortFrom(at.Addr(), sock.addr().Port())
		if sock.tcp, err = net.ListenTCP(tcp, net.TCPAddrFromAddrPort(both)); err == nil {
			break
		}
		_ = sock.udp.Close()
		if at.Port() != 0 {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if err := sock.control(); err != nil {
		sock.close()
		return nil, fmt.Errorf("ask for packets' destinations: %w", err)
	}
	return sock, nil
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

func (k *socket) addr() netip.AddrPort {
	a, _ := k.udp.LocalAddr().(*net.UDPAddr)
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

// Run answers until ctx ends. It returns when every goroutine is done, which
// takes no longer than closing sockets does: those who wait for an upstream get
// no answer and ask again, as DNS clients do.
func (s *Server) Run(ctx context.Context) error {
	if len(s.sockets) == 0 {
		return errors.New("DNS server runs before it listens")
	}
	work, stop := context.WithCancel(ctx)
	defer stop()
	s.work = work
	context.AfterFunc(work, func() {
		for _, k := range s.sockets {
			k.close()
		}
	})
	for _, k := range s.sockets {
		for range readers {
			s.wg.Go(func() { s.readUDP(k) })
		}
		s.wg.Go(func() { s.accept(k.tcp) })
	}
	<-ctx.Done()
	s.wg.Wait()
	return nil
}

// pause waits after an error that is not of one client's making, so that it
// cannot come back at full speed. It returns false when the server stops.
func (s *Server) pause() bool {
	t := time.NewTimer(20 * time.Millisecond)
	defer t.Stop()
	select {
	case <-s.work.Done():
		return false
	case <-t.C:
		return true
	}
}
