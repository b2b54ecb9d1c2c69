package server

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"landward/internal/config"
	"landward/internal/dns"
	"landward/internal/landward"
	"landward/internal/route/edge"
	"landward/internal/route/h3"
)

// faces are the edge's sockets. They outlive it: who connects while there is
// none waits a moment and is served by the next, and while one edge takes
// another's place both have them.
type faces struct {
	files []*os.File // that every edge gets
	names []string   // of files
	slots []*os.File // of HTTP/3: one for each edge; none where it is not held
}

// openFaces opens what the settings want. Without the listeners of HTTP and
// HTTPS there is nothing to serve; the others are left to the edge where they
// cannot be had, which tries on beside its work.
func openFaces(cfg config.Config, log *slog.Logger) (_ *faces, err error) {
	f := &faces{}
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	if err := f.listen(edge.NameHTTP, cfg.HTTP); err != nil {
		return nil, err
	}
	if cfg.HTTPS != "" {
		if err := f.listen(edge.NameHTTPS, cfg.HTTPS); err != nil {
			return nil, err
		}
		if cfg.HTTP3 {
			if err := f.listenQUIC(); err != nil {
				log.Warn("HTTP/3 socket not held: connections end where an edge does", "error", err)
			}
		}
	}
	if cfg.DNS != "" {
		if err := f.listenDNS(cfg.DNS); err != nil {
			log.Warn("DNS sockets not held: no answers while one edge follows another", "error", err)
		}
	}
	return f, nil
}

// listen opens a TCP listener, or takes over the one that the supervisor itself
// was started with.
func (f *faces) listen(name, addr string) error {
	l, err := inheritedListener(name)
	if err == nil && l == nil {
		l, err = net.Listen("tcp", addr)
	}
	if err != nil {
		return landward.Errorf(landward.CodeUnavailable, "cannot listen on %s for %s", addr, name).
			WithHint("another program has the port, or the user may not take it; choose another with --%s", name).Wrap(err)
	}
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return errors.Join(fmt.Errorf("keep listener %s: not one of TCP", name), l.Close())
	}
	file, err := held(tcp)
	if err != nil {
		return fmt.Errorf("keep listener %s: %w", name, err)
	}
	f.add(file, name)
	return nil
}

// inheritedListener returns the listener that was handed to the supervisor, or
// nil.
func inheritedListener(name string) (net.Listener, error) {
	file, err := inherited(name)
	if err != nil || file == nil {
		return nil, err
	}
	l, err := net.FileListener(file)
	return l, errors.Join(err, file.Close())
}

func (f *faces) add(file *os.File, name string) {
	f.files, f.names = append(f.files, file), append(f.names, name)
}

// listenQUIC opens the sockets of HTTP/3 where HTTPS is, and leads all packets
// to the first one.
func (f *faces) listenQUIC() (err error) {
	addr, err := localAddr(f.files[len(f.files)-1])
	if err != nil {
		return err
	}
	socks, err := h3.ListenSlots(addr)
	if err != nil {
		return err
	}
	var secret *os.File
	defer func() {
		if err != nil {
			closeAll(f.slots)
			f.slots = nil
			if secret != nil {
				_ = secret.Close()
			}
		}
	}()
	for _, c := range socks {
		file, keepErr := held(c)
		if err = errors.Join(err, keepErr); keepErr == nil {
			f.slots = append(f.slots, file)
		}
	}
	if err != nil {
		return err
	}
	if err := h3.Steer(f.slots[0], 0, 0); err != nil {
		return err
	}
	if secret, err = newSecret(); err != nil {
		return err
	}
	f.add(secret, edge.NameSecret)
	return nil
}

// newSecret makes a file in memory that edges read their common secret from.
func newSecret() (*os.File, error) {
	fd, err := unix.MemfdCreate(edge.NameSecret, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make secret: %w", err)
	}
	file := os.NewFile(uintptr(fd), edge.NameSecret) //nolint:gosec // a descriptor
	b := make([]byte, edge.SecretSize)
	_, _ = rand.Read(b) // never fails
	if _, err := file.WriteAt(b, 0); err != nil {
		return nil, errors.Join(fmt.Errorf("make secret: %w", err), file.Close())
	}
	return file, nil
}

// listenDNS opens the sockets of the DNS server.
func (f *faces) listenDNS(addr string) error {
	list, err := dns.Open(addr)
	if err != nil {
		return err
	}
	var files []*os.File
	for _, s := range list {
		udp, udpErr := held(s.UDP)
		tcp, tcpErr := held(s.TCP)
		err = errors.Join(err, udpErr, tcpErr)
		files = append(files, udp, tcp)
	}
	if err != nil {
		closeAll(files)
		return err
	}
	for i := range list {
		udp, tcp := edge.NameDNS(i)
		f.add(files[2*i], udp)
		f.add(files[2*i+1], tcp)
	}
	return nil
}

// of returns what the edge in a slot gets, and what it is called.
func (f *faces) of(slot int) (files []*os.File, names []string) {
	files, names = append(files, f.files...), append(names, f.names...)
	if slot < len(f.slots) {
		files, names = append(files, f.slots[slot]), append(names, edge.NameSlot(slot))
	}
	return files, names
}

// steer leads the packets of new HTTP/3 clients to a slot, and the others to
// theirs, as far as it is live.
func (f *faces) steer(slot int, live uint) error {
	if len(f.slots) == 0 {
		return nil
	}
	return h3.Steer(f.slots[0], slot, live)
}

func (f *faces) close() {
	closeAll(f.files)
	closeAll(f.slots)
}

func closeAll(files []*os.File) {
	for _, file := range files {
		if file != nil {
			_ = file.Close() // at the end
		}
	}
}

// held makes a file of a socket, for other processes, and closes the socket.
// The file is out of this process's own poller: nothing wakes it for each
// packet of others. It is no File() of the socket either: starting a process
// with one of those makes reads block for all who have the socket already.
func held(c interface {
	syscall.Conn
	Close() error
},
) (file *os.File, err error) {
	defer func() {
		if err = errors.Join(err, c.Close()); err != nil && file != nil {
			_ = file.Close()
			file = nil
		}
	}()
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd, dupErr := -1, error(nil)
	if err := raw.Control(func(from uintptr) { fd, dupErr = unix.FcntlInt(from, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return nil, err
	}
	if dupErr != nil {
		return nil, os.NewSyscallError("dup", dupErr)
	}
	// Only so is it no file that the poller takes; who gets it sets it back.
	if err := unix.SetNonblock(fd, false); err != nil {
		return nil, errors.Join(os.NewSyscallError("fcntl", err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "socket"), nil //nolint:gosec // a descriptor
}

// localAddr is what a socket is bound to.
func localAddr(file *os.File) (string, error) {
	l, err := net.FileListener(file)
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
