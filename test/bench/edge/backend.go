package main

import (
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // RFC 6455 asks for it
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

const roleBackend = "backend"

// bodySizes are the bodies that there are, by path.
var bodySizes = map[string]int{"/1k": 1 << 10, "/64k": 64 << 10, "/10m": 10 << 20}

// body is what a path's answer carries: not all the same byte, so that a body
// that was mixed up is noticed.
func body(path string) []byte {
	b := make([]byte, bodySizes[path])
	for i := range b {
		b[i] = "0123456789abcdefghijklmnopqrstuvwxyz\n"[i%37]
	}
	return b
}

// backend is the app behind the servers: ready-made answers by path, and an
// echo for WebSockets at /ws. It runs on one thread.
type backend struct {
	poll    *poller
	listen  int
	answers map[string][]byte
	conns   []*backendConn // by descriptor
}

// backendConn is one connection of a server's.
type backendConn struct {
	fd      int
	in      []byte // read and not yet used
	out     []byte // not yet written
	waiting bool   // for room to write
	closing bool   // once out is written
	upgrade bool   // a WebSocket
}

// maxHead bounds what a request may hold before its end is there.
const maxHead = 64 << 10

func backendMain(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet(roleBackend, flag.ContinueOnError)
	addr := fs.String("addr", "", "address to listen on")
	if err := fs.Parse(args); err != nil {
		return err
	}
	at, err := netip.ParseAddrPort(*addr)
	if err != nil {
		return err
	}
	b, err := newBackend(at)
	if err != nil {
		return err
	}
	return b.run(ctx)
}

func newBackend(at netip.AddrPort) (*backend, error) {
	b := &backend{answers: make(map[string][]byte)}
	for path, size := range bodySizes {
		head := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nDate: Sat, 21 Nov 2026 10:00:00 GMT\r\n"+
			"Content-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n\r\n", size)
		b.answers[path] = append(head, body(path)...)
	}
	var err error
	if b.poll, err = newPoller(); err != nil {
		return nil, err
	}
	if b.listen, err = listen(at); err != nil {
		b.poll.close()
		return nil, err
	}
	return b, nil
}

// run serves until ctx ends.
func (b *backend) run(ctx context.Context) error {
	defer b.close()
	if err := b.poll.watch(b.listen, unix.EPOLLIN); err != nil {
		return fmt.Errorf("watch listener: %w", err)
	}
	buf := make([]byte, maxHead)
	for ctx.Err() == nil {
		events, err := b.poll.wait(100)
		if err != nil {
			return fmt.Errorf("wait: %w", err)
		}
		for _, e := range events {
			if int(e.Fd) == b.listen {
				if err := b.accept(); err != nil {
					return err
				}
				continue
			}
			c := b.conns[e.Fd]
			if c != nil && !b.serve(c, e.Events, buf) {
				b.conns[e.Fd] = nil
				_ = unix.Close(c.fd)
			}
		}
	}
	return nil
}

func (b *backend) close() {
	for _, c := range b.conns {
		if c != nil {
			_ = unix.Close(c.fd)
		}
	}
	_ = unix.Close(b.listen)
	b.poll.close()
}

func (b *backend) accept() error {
	for {
		fd, _, err := unix.Accept4(b.listen, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ECONNABORTED):
			continue
		case err != nil:
			return fmt.Errorf("accept: %w", err)
		}
		if err := errors.Join(unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
			b.poll.watch(fd, unix.EPOLLIN)); err != nil {
			return fmt.Errorf("watch connection: %w", err)
		}
		for fd >= len(b.conns) {
			b.conns = append(b.conns, make([]*backendConn, max(64, len(b.conns)))...)
		}
		b.conns[fd] = &backendConn{fd: fd}
	}
}

// serve handles what has happened on a connection and reports whether it lives on.
func (b *backend) serve(c *backendConn, events uint32, buf []byte) bool {
	if c.waiting && events&(unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		return false
	}
	if events&unix.EPOLLOUT != 0 && !b.flush(c) {
		return false
	}
	if events&(unix.EPOLLIN|unix.EPOLLHUP|unix.EPOLLERR) == 0 || c.waiting {
		return true
	}
	n, err := unix.Read(c.fd, buf)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return true
	}
	if err != nil || n == 0 || len(c.in)+n > maxHead {
		return false
	}
	data := buf[:n]
	if len(c.in) > 0 {
		c.in = append(c.in, data...)
		data = c.in
	}
	rest, ok := b.use(c, data)
	c.in = append(c.in[:0], rest...)
	if len(c.in) == 0 {
		c.in = nil // an idle connection holds nothing
	}
	return ok && b.flush(c)
}

// use takes one request, or the frames there are, off data.
func (b *backend) use(c *backendConn, data []byte) (rest []byte, ok bool) {
	if c.upgrade {
		c.out, rest, ok = echoFrames(c.out, data)
		return rest, ok
	}
	end := bytes.Index(data, []byte("\r\n\r\n"))
	if end < 0 {
		return data, true
	}
	head, rest := data[:end+2], data[end+4:]
	_, target, _ := bytes.Cut(head, []byte{' '})
	path, _, _ := bytes.Cut(target, []byte{' '})
	if path, _, _ = bytes.Cut(path, []byte{'?'}); string(path) == "/ws" {
		c.upgrade = true
		c.out = fmt.Appendf(c.out, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
			"Sec-WebSocket-Accept: %s\r\n\r\n", webSocketAccept(field(head, "Sec-WebSocket-Key")))
		return rest, true
	}
	answer, found := b.answers[string(path)]
	if !found {
		answer = []byte("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
	}
	c.out = answer
	c.closing = bytes.EqualFold(field(head, "Connection"), []byte("close")) || bytes.Contains(head, []byte(" HTTP/1.0\r\n"))
	return rest, true
}

// flush writes what there is to write and reports whether the connection lives on.
func (b *backend) flush(c *backendConn) bool {
	for len(c.out) > 0 {
		n, err := unix.Write(c.fd, c.out)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if errors.Is(err, unix.EAGAIN) {
			if c.waiting {
				return true
			}
			c.waiting = true
			return b.poll.change(c.fd, unix.EPOLLOUT) == nil
		}
		if err != nil {
			return false
		}
		c.out = c.out[n:]
	}
	c.out = nil
	if c.closing {
		return false
	}
	if c.waiting {
		c.waiting = false
		return b.poll.change(c.fd, unix.EPOLLIN) == nil
	}
	return true
}

// field returns the value of a head's field, nil for none. The head's lines all
// end in CRLF.
func field(head []byte, name string) []byte {
	for line := range bytes.SplitSeq(head, []byte("\r\n")) {
		if len(line) > len(name) && line[len(name)] == ':' && bytes.EqualFold(line[:len(name)], []byte(name)) {
			return bytes.TrimSpace(line[len(name)+1:])
		}
	}
	return nil
}

// webSocketAccept is the answer to a key (RFC 6455 section 4.2.2).
func webSocketAccept(key []byte) string {
	sum := sha1.Sum(append(bytes.Clone(key), "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"...)) //nolint:gosec // as above
	return base64.StdEncoding.EncodeToString(sum[:])
}

// echoFrames appends the answers to a client's frames to dst. It knows short
// ones only: the load sends no others.
func echoFrames(dst, data []byte) (out, rest []byte, ok bool) {
	const head = 6 // two bytes and the mask
	for len(data) >= head {
		n := int(data[1] & 0x7f)
		if data[1]&0x80 == 0 || n > 125 {
			return dst, nil, false
		}
		if len(data) < head+n {
			break
		}
		dst = append(dst, data[0], byte(n))
		for i, c := range data[head : head+n] {
			dst = append(dst, c^data[2+i%4])
		}
		data = data[head+n:]
	}
	return dst, data, true
}
