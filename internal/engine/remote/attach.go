package remote

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"landward/internal/engine"
	"landward/internal/landward"
)

const upgradeTo = "landward-attach"

// attach serves Run and Exec on an upgraded connection. The client ends the
// command by closing its side; the exit comes all the same.
func (h *handler) attach(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != upgradeTo {
		h.fail(w, r, landward.Errorf(landward.CodeInvalid, "an attached command needs an upgraded connection"))
		return
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		h.fail(w, r, err)
		return
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+upgradeTo+"\r\n\r\n"); err != nil {
		return
	}
	out := &frameWriter{w: conn}
	f := newFeed(out)
	// After a hijack the request's context ends with the server only, so the
	// feed ends this one with the client.
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	var reading sync.WaitGroup
	var answer exitAnswer
	q, err := readAttach(rw.Reader)
	if err == nil {
		reading.Go(func() {
			defer cancel()
			f.read(rw.Reader)
		})
		answer.Exit, err = h.serveAttached(ctx, q, f)
	}
	f.close()
	if err != nil {
		h.note(r, err)
		answer.Error = toWire(err)
	}
	if text, err := json.Marshal(answer); err == nil {
		_ = out.write(frameExit, text) // a client that is gone needs no answer
	}
	conn.Close()
	reading.Wait()
}

func readAttach(in io.Reader) (attachRequest, error) {
	var q attachRequest
	kind, payload, err := readFrame(in, maxRequest)
	if err != nil || kind != frameRequest {
		return q, landward.Errorf(landward.CodeInvalid, "the engine does not understand the request").Wrap(err)
	}
	return q, decode(bytes.NewReader(payload), &q)
}

func (h *handler) serveAttached(ctx context.Context, q attachRequest, f *feed) (int, error) {
	s := engine.Streams{
		Stdout: streamWriter{frameStdout, f.out}, Stderr: streamWriter{frameStderr, f.out},
		TTY: q.TTY, Resize: f.sizes,
	}
	if q.Stdin {
		s.Stdin = f
	}
	if q.Unit != nil {
		return h.s.Runner.Run(ctx, *q.Unit, s)
	}
	return h.s.Runner.Exec(ctx, q.ID, q.Argv, s)
}

// feed receives the client's frames: input, which it hands out as a reader,
// and terminal sizes.
type feed struct {
	out    *frameWriter
	input  chan []byte
	sizes  chan engine.Size
	closed chan struct{}
	once   sync.Once
	rest   []byte // of the frame that is being read
}

func newFeed(out *frameWriter) *feed {
	return &feed{out: out, input: make(chan []byte, window), sizes: make(chan engine.Size, 1), closed: make(chan struct{})}
}

// close makes Read return: nobody wants the input any more.
func (f *feed) close() { f.once.Do(func() { close(f.closed) }) }

// read takes frames until the client's side is closed.
func (f *feed) read(r io.Reader) {
	defer f.close()
	ended := false
	for {
		kind, payload, err := readFrame(r, chunk)
		if err != nil {
			return
		}
		switch {
		case kind == frameStdin && !ended:
			select {
			case f.input <- payload:
			default: // more than the window allows
				return
			}
		case kind == frameStdinEnd && !ended:
			ended = true
			close(f.input)
		case kind == frameResize && len(payload) == 4:
			f.resize(engine.Size{Width: binary.BigEndian.Uint16(payload), Height: binary.BigEndian.Uint16(payload[2:])})
		default:
			return
		}
	}
}

// resize keeps the newest size only. It has one caller, so that there is room
// once the older one is out.
func (f *feed) resize(s engine.Size) {
	select {
	case <-f.sizes:
	default:
	}
	f.sizes <- s
}

// Read implements io.Reader over the input frames.
func (f *feed) Read(p []byte) (int, error) {
	for len(f.rest) == 0 {
		select {
		case b, ok := <-f.input:
			if !ok {
				return 0, io.EOF
			}
			f.rest = b
			if err := f.out.write(frameCredit, nil); err != nil {
				return 0, err
			}
		case <-f.closed:
			return 0, io.EOF
		}
	}
	n := copy(p, f.rest)
	f.rest = f.rest[n:]
	return n, nil
}

// Run implements engine.Runner.
func (c *Client) Run(ctx context.Context, u engine.Unit, s engine.Streams) (int, error) {
	return c.attach(ctx, attachRequest{Unit: &u, Stdin: s.Stdin != nil, TTY: s.TTY}, s, u.StopTimeout)
}

// Exec implements engine.Runner.
func (c *Client) Exec(ctx context.Context, id string, argv []string, s engine.Streams) (int, error) {
	return c.attach(ctx, attachRequest{ID: id, Argv: argv, Stdin: s.Stdin != nil, TTY: s.TTY}, s, 0)
}

// undoing is how long a cancelled command's end is waited for, beside its grace.
const undoing = 30 * time.Second

func (c *Client) attach(ctx context.Context, q attachRequest, s engine.Streams, grace time.Duration) (int, error) {
	conn, in, err := c.upgrade(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Close() //nolint:errcheck // the conversation is over
	out := &frameWriter{w: conn}
	request, err := json.Marshal(q)
	if err != nil {
		return 0, landward.Errorf(landward.CodeInternal, "the request cannot be written").Wrap(err)
	}
	if err := out.write(frameRequest, request); err != nil {
		return 0, c.failure(ctx, err)
	}
	// When ctx ends our side is closed, which ends the command; its exit is
	// still waited for, so that nothing is left when this returns.
	stop := context.AfterFunc(ctx, func() {
		_ = conn.SetReadDeadline(time.Now().Add(grace + undoing))
		_ = conn.CloseWrite()
	})
	defer stop()
	sending, done := context.WithCancel(ctx)
	defer done()
	credits := make(chan struct{}, window)
	for range window {
		credits <- struct{}{}
	}
	if s.Stdin != nil {
		go sendInput(sending, out, s.Stdin, credits) // ends with the input, or at its next write
	}
	if s.Resize != nil {
		go sendSizes(sending, out, s.Resize)
	}
	answer, err := receiveOutput(in, s, credits)
	switch {
	case ctx.Err() != nil:
		return 0, c.failure(ctx, ctx.Err())
	case err != nil:
		return 0, err
	case answer.Error != nil:
		return answer.Exit, answer.Error.err()
	}
	return answer.Exit, nil
}

// upgrade opens a connection that carries frames.
func (c *Client) upgrade(ctx context.Context) (*net.UnixConn, *bufio.Reader, error) {
	plain, err := c.dial(ctx)
	if err != nil {
		return nil, nil, c.failure(ctx, err)
	}
	conn := plain.(*net.UnixConn)
	stop := context.AfterFunc(ctx, func() { conn.Close() }) //nolint:errcheck // it only wakes the reader
	defer stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://engine/v1/attach", http.NoBody)
	if err != nil {
		conn.Close() //nolint:errcheck // the first error says it all
		return nil, nil, lost(err)
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", upgradeTo)
	in := bufio.NewReader(conn)
	err = req.Write(conn)
	if err == nil {
		var res *http.Response
		if res, err = http.ReadResponse(in, req); err == nil {
			res.Body.Close()
			if res.StatusCode != http.StatusSwitchingProtocols {
				err = errors.New("not upgraded: " + res.Status)
			}
		}
	}
	if err != nil {
		conn.Close() //nolint:errcheck // the first error says it all
		return nil, nil, c.failure(ctx, err)
	}
	return conn, in, nil
}

// receiveOutput copies the output until the exit.
func receiveOutput(in io.Reader, s engine.Streams, credits chan<- struct{}) (exitAnswer, error) {
	for {
		kind, payload, err := readFrame(in, maxRequest)
		if err != nil {
			return exitAnswer{}, lost(err)
		}
		switch kind {
		case frameStdout:
			err = writeTo(s.Stdout, payload)
		case frameStderr:
			err = writeTo(s.Stderr, payload)
		case frameCredit:
			select {
			case credits <- struct{}{}:
			default:
			}
		case frameExit:
			var a exitAnswer
			if err := json.Unmarshal(payload, &a); err != nil {
				return a, lost(err)
			}
			return a, nil
		}
		if err != nil {
			return exitAnswer{}, err
		}
	}
}

func writeTo(w io.Writer, p []byte) error {
	if w == nil {
		return nil
	}
	_, err := w.Write(p)
	return err
}

// sendInput sends what stdin gives, as far as the server takes it.
func sendInput(ctx context.Context, out *frameWriter, stdin io.Reader, credits <-chan struct{}) {
	buf := make([]byte, chunk)
	for {
		n, err := stdin.Read(buf)
		if n > 0 {
			select {
			case <-credits:
			case <-ctx.Done():
				return
			}
			if out.write(frameStdin, buf[:n]) != nil {
				return
			}
		}
		if err != nil {
			_ = out.write(frameStdinEnd, nil) // a broken input ends like a finished one
			return
		}
	}
}

func sendSizes(ctx context.Context, out *frameWriter, sizes <-chan engine.Size) {
	for {
		select {
		case s, ok := <-sizes:
			if !ok {
				return
			}
			b := binary.BigEndian.AppendUint16(nil, s.Width)
			if out.write(frameResize, binary.BigEndian.AppendUint16(b, s.Height)) != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}
