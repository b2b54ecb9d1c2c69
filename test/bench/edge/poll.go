package main

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// poller watches many descriptors on one thread. The backend, the load and the
// held connections use it, because what they cost is missing to the servers.
type poller struct {
	ep     int
	events [256]unix.EpollEvent
}

func newPoller() (*poller, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make poller: %w", err)
	}
	return &poller{ep: ep}, nil
}

// watch has wait report events of a descriptor.
func (p *poller) watch(fd int, events uint32) error {
	return unix.EpollCtl(p.ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)})
}

// change watches for other events.
func (p *poller) change(fd int, events uint32) error {
	return unix.EpollCtl(p.ep, unix.EPOLL_CTL_MOD, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)})
}

// wait returns the events that there are; ms is how long to wait, -1 for ever.
func (p *poller) wait(ms int) ([]unix.EpollEvent, error) {
	for {
		n, err := unix.EpollWait(p.ep, p.events[:], ms)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return p.events[:max(n, 0)], err
	}
}

func (p *poller) close() { _ = unix.Close(p.ep) }

// sockaddr turns an address of loopback into the kernel's form.
func sockaddr(a netip.AddrPort) *unix.SockaddrInet4 {
	return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
}

// dial connects from an address, or from any where it is not valid, and
// returns a descriptor that does not block.
func dial(to netip.AddrPort, from netip.Addr) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("make socket: %w", err)
	}
	if from.IsValid() {
		// The port is chosen when the peer is known: more than there are ports
		// may connect from one address.
		err = errors.Join(unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1),
			unix.Bind(fd, &unix.SockaddrInet4{Addr: from.As4()}))
	}
	if err == nil {
		err = unix.Connect(fd, sockaddr(to))
	}
	if err == nil {
		err = errors.Join(unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1), unix.SetNonblock(fd, true))
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("connect to %s: %w", to, err)
	}
	return fd, nil
}

// listen opens a listening descriptor that does not block.
func listen(at netip.AddrPort) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("make socket: %w", err)
	}
	err = errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1), unix.Bind(fd, sockaddr(at)))
	if err == nil {
		err = unix.Listen(fd, 4096)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("listen on %s: %w", at, err)
	}
	return fd, nil
}

// timer wakes a poller more exactly than its milliseconds do.
type timer struct{ fd int }

func newTimer(p *poller) (timer, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return timer{}, fmt.Errorf("make timer: %w", err)
	}
	if err := p.watch(fd, unix.EPOLLIN); err != nil {
		_ = unix.Close(fd)
		return timer{}, fmt.Errorf("watch timer: %w", err)
	}
	return timer{fd}, nil
}

// set has the timer wake its poller once, after d.
func (t timer) set(d time.Duration) error {
	value := unix.NsecToTimespec(int64(max(d, 1)))
	if err := unix.TimerfdSettime(t.fd, 0, &unix.ItimerSpec{Value: value}, nil); err != nil {
		return fmt.Errorf("set timer: %w", err)
	}
	return nil
}

// clear forgets that the timer has fired.
func (t timer) clear() {
	var count [8]byte
	_, _ = unix.Read(t.fd, count[:]) // it has not always fired
}

func (t timer) close() { _ = unix.Close(t.fd) }
