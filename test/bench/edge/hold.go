package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const roleHold = "hold"

// holder opens many connections and keeps them idle.
type holder struct {
	addr      netip.AddrPort
	webSocket bool
	length    int64 // of the body that each connection gets once
	poll      *poller
	open      map[int32]*held
}

// held is one connection.
type held struct {
	fd  int
	got []byte // until it is ready
}

const (
	holdBatch    = 64 // connections that are opened at once
	holdSources  = 50 // addresses that they come from
	holdPatience = 20 * time.Second
)

// holding is what a holder prints, when all connections are open and again
// when it is told to end.
type holding struct {
	Open int `json:"open"`
}

// holdMain opens the connections, says so, holds them until its input ends, and
// says how many are open still.
func holdMain(_ context.Context, args []string) error {
	fs := flag.NewFlagSet(roleHold, flag.ContinueOnError)
	addr := fs.String("addr", "", "server")
	n := fs.Int("n", 1, "connections")
	h := &holder{open: make(map[int32]*held)}
	fs.BoolVar(&h.webSocket, "websocket", false, "WebSockets")
	fs.Int64Var(&h.length, "length", 0, "length of the body")
	if err := fs.Parse(args); err != nil {
		return err
	}
	var err error
	if h.addr, err = netip.ParseAddrPort(*addr); err != nil {
		return err
	}
	if h.poll, err = newPoller(); err != nil {
		return err
	}
	defer h.poll.close()
	for first := 0; first < *n; first += holdBatch {
		if err := h.batch(first, min(first+holdBatch, *n)); err != nil {
			return err
		}
	}
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(holding{len(h.open)}); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	if err := h.count(); err != nil {
		return err
	}
	return out.Encode(holding{len(h.open)})
}

// batch opens connections and returns when each has had its first answer.
func (h *holder) batch(from, to int) error {
	waiting := make(map[int32]bool)
	ask := request("/1k", benchHost)
	if h.webSocket {
		ask = []byte("GET /ws HTTP/1.1\r\nHost: " + benchHost + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n")
	}
	for i := from; i < to; i++ {
		fd, err := dial(h.addr, loopback(i%holdSources))
		if err != nil {
			return fmt.Errorf("connection %d: %w", i+1, err)
		}
		key := int32(fd) //nolint:gosec // a descriptor is small
		h.open[key] = &held{fd: fd}
		waiting[key] = true
		if _, err = unix.Write(fd, ask); err == nil {
			err = h.poll.watch(fd, unix.EPOLLIN|unix.EPOLLRDHUP)
		}
		if err != nil {
			return fmt.Errorf("connection %d: %w", i+1, err)
		}
	}
	for end := time.Now().Add(holdPatience); len(waiting) > 0; {
		if time.Now().After(end) {
			return fmt.Errorf("%d of the connections up to %d have no answer", len(waiting), to)
		}
		events, err := h.poll.wait(100)
		if err != nil {
			return fmt.Errorf("wait: %w", err)
		}
		for _, e := range events {
			ready, err := h.read(h.open[e.Fd])
			if err != nil {
				return err
			}
			if ready {
				delete(waiting, e.Fd)
			}
		}
	}
	return nil
}

// greeting is a masked frame with the text "ping!", and its echo.
var (
	greeting = []byte{0x81, 0x85, 1, 2, 3, 4, 'p' ^ 1, 'i' ^ 2, 'n' ^ 3, 'g' ^ 4, '!' ^ 1}
	echo     = []byte{0x81, 5, 'p', 'i', 'n', 'g', '!'}
)

// read takes what there is and reports whether the connection is ready to idle:
// it has its answer, and a WebSocket the echo of a frame.
func (h *holder) read(c *held) (bool, error) {
	if c == nil {
		return false, nil
	}
	var buf [8 << 10]byte
	n, err := unix.Read(c.fd, buf[:])
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return false, nil
	}
	if err != nil || n == 0 {
		return false, fmt.Errorf("the server closed a connection: %w", errors.Join(err, io.EOF))
	}
	c.got = append(c.got, buf[:n]...)
	head, rest, whole := bytes.Cut(c.got, []byte("\r\n\r\n"))
	switch {
	case !whole:
		return false, nil
	case h.webSocket && len(rest) == 0:
		if !bytes.HasPrefix(head, []byte("HTTP/1.1 101 ")) {
			return false, fmt.Errorf("no WebSocket: %q", head)
		}
		_, err := unix.Write(c.fd, greeting)
		return false, err
	case h.webSocket:
		if !bytes.HasPrefix(echo, rest) {
			return false, fmt.Errorf("no echo: %q", rest)
		}
		if len(rest) < len(echo) {
			return false, nil
		}
	default:
		if !bytes.HasPrefix(head, []byte("HTTP/1.1 200 ")) {
			return false, fmt.Errorf("no answer: %q", head)
		}
		if int64(len(rest)) < h.length {
			return false, nil
		}
	}
	c.got = nil
	return true, nil
}

// count forgets the connections that the server has closed meanwhile.
func (h *holder) count() error {
	for {
		events, err := h.poll.wait(0)
		if err != nil {
			return fmt.Errorf("wait: %w", err)
		}
		if len(events) == 0 {
			return nil
		}
		for _, e := range events {
			if err := unix.Close(int(e.Fd)); err != nil {
				return fmt.Errorf("close: %w", err)
			}
			delete(h.open, e.Fd)
		}
	}
}

// heldBy is a holder in a process of its own.
type heldBy struct {
	stop context.CancelFunc
	wait func() error
	in   io.Closer
	out  *bufio.Reader
	say  *bytes.Buffer
}

// hold has n connections opened to a server. The caller releases them.
func (b *bench) hold(ctx context.Context, on *server, n int, webSocket bool) (*heldBy, error) {
	ctx, stop := context.WithCancel(ctx)
	args := []string{roleHold, "-addr", on.http.String(), "-n", fmt.Sprint(n), "-length", fmt.Sprint(bodySizes["/1k"])}
	if webSocket {
		args = append(args, "-websocket")
	}
	cmd := b.command(ctx, false, b.dir, b.self, args...)
	h := &heldBy{stop: stop, say: &bytes.Buffer{}}
	cmd.Stderr = h.say
	in, err := cmd.StdinPipe()
	if err == nil {
		h.in = in
		var out io.ReadCloser
		if out, err = cmd.StdoutPipe(); err == nil {
			h.out = bufio.NewReader(out)
			err = cmd.Start()
		}
	}
	if err != nil {
		stop()
		return nil, fmt.Errorf("hold connections: %w", err)
	}
	h.wait = cmd.Wait
	open, err := h.read()
	if err == nil && open != n {
		err = fmt.Errorf("%d of %d connections are open", open, n)
	}
	if err != nil {
		stop()
		return nil, fmt.Errorf("hold connections: %w: %s", errors.Join(err, h.wait()), h.say)
	}
	return h, nil
}

func (h *heldBy) read() (int, error) {
	line, err := h.out.ReadBytes('\n')
	if err != nil {
		return 0, err
	}
	var v holding
	if err := json.Unmarshal(line, &v); err != nil {
		return 0, err
	}
	return v.Open, nil
}

// release ends the connections and returns how many were open until then.
func (h *heldBy) release() (int, error) {
	defer h.stop()
	err := h.in.Close()
	open, readErr := h.read()
	return open, errors.Join(err, readErr, h.wait())
}
