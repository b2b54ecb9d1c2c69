package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const roleHandshakes = "handshakes"

// handshakes connects, shakes hands, asks once and closes, again and again.
type handshakes struct {
	addr   netip.AddrPort
	name   string
	path   string
	resume bool

	sources atomic.Uint32
	good    atomic.Int64
	wrong   atomic.Int64
	mu      sync.Mutex
	trouble string
}

func handshakesMain(ctx context.Context, args []string) error {
	var h handshakes
	fs := flag.NewFlagSet(roleHandshakes, flag.ContinueOnError)
	addr := fs.String("addr", "", "server")
	fs.StringVar(&h.name, "name", "", "server name")
	fs.StringVar(&h.path, "path", "", "path")
	fs.BoolVar(&h.resume, "resume", false, "resume a session")
	conns := fs.Int("conns", 8, "connections at once")
	window := fs.Duration("window", time.Second, "measured time")
	pid := fs.Int("pid", 0, "server")
	if err := fs.Parse(args); err != nil {
		return err
	}
	var err error
	if h.addr, err = netip.ParseAddrPort(*addr); err != nil {
		return err
	}
	s, err := h.run(ctx, *conns, *window, *pid)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(s)
}

// run measures one window.
func (h *handshakes) run(ctx context.Context, conns int, window time.Duration, pid int) (sample, error) {
	ctx, cancel := context.WithCancel(ctx)
	var clients sync.WaitGroup
	defer clients.Wait()
	defer cancel()
	for range conns {
		clients.Go(func() { h.client(ctx) })
	}
	if err := pause(ctx, window/5); err != nil { // each client has a ticket by then
		return sample{}, err
	}
	before, err := cpuTime(pid)
	if err != nil {
		return sample{}, err
	}
	start, good, wrong := time.Now(), h.good.Load(), h.wrong.Load()
	if err := pause(ctx, window); err != nil {
		return sample{}, err
	}
	after, err := cpuTime(pid)
	if err != nil {
		return sample{}, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return sample{
		Requests: h.good.Load() - good, Wrong: h.wrong.Load() - wrong, Trouble: h.trouble,
		Elapsed: time.Since(start), CPU: after - before,
	}, nil
}

// client shakes hands until ctx ends.
func (h *handshakes) client(ctx context.Context) {
	c := &tls.Config{
		ServerName: h.name, InsecureSkipVerify: true, //nolint:gosec // our own certificate, of this run
		MinVersion: tls.VersionTLS13,
		// What every server here has. Newer key exchanges cost both sides more.
		CurvePreferences: []tls.CurveID{tls.X25519},
		NextProtos:       []string{"http/1.1"},
	}
	if h.resume {
		c.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	}
	for first := true; ctx.Err() == nil; first = false {
		switch err := h.once(ctx, c, first); {
		case err == nil:
			h.good.Add(1)
		case ctx.Err() == nil:
			h.wrong.Add(1)
			h.mu.Lock()
			h.trouble = err.Error()
			h.mu.Unlock()
		}
	}
}

// once is one connection.
func (h *handshakes) once(ctx context.Context, config *tls.Config, first bool) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: loopback(int(h.sources.Add(1) % 50)).AsSlice()}, Control: lateport}
	tcp, err := d.DialContext(ctx, "tcp", h.addr.String())
	if err != nil {
		return err
	}
	defer func() { _ = tcp.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = tcp.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	conn := tls.Client(tcp, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	if got := conn.ConnectionState().DidResume; got != (h.resume && !first) {
		return fmt.Errorf("session resumed: %t", got)
	}
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", h.path, h.name); err != nil {
		return err
	}
	// Tickets come with the answer.
	answer, err := io.ReadAll(conn)
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(answer, []byte("HTTP/1.1 200 ")) {
		return errors.New("not the answer that was expected")
	}
	return nil
}

// loopback is one of the machine's many addresses of its own: clients come
// from several, because servers limit what one address may do.
func loopback(i int) netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 1, byte(i%250 + 1)}) }

// lateport has the kernel choose the port when it knows the peer.
func lateport(_, _ string, c syscall.RawConn) error {
	var inner error
	err := c.Control(func(fd uintptr) {
		inner = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	})
	return errors.Join(err, inner)
}
