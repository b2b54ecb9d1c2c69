package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/coder/websocket"
)

// Channels of an attached command. The first message is text: a Start. Every
// other is binary, and its first byte is the channel.
const (
	ChannelStdin  = 0 // to the command
	ChannelStdout = 1 // from it
	ChannelStderr = 2 // from it; nothing with a terminal
	ChannelResize = 3 // to the command: a TermSize as JSON
	ChannelExit   = 4 // from it, last: an Exit as JSON
	ChannelError  = 5 // from the server, last: an Error as JSON
	ChannelEOF    = 6 // to the command: its standard input ends
)

// maxFrame is the largest message of an attached command, in bytes.
const maxFrame = 64 << 10

// Start is the first message of an attached command. The command travels here
// and not in the URL, which logs remember.
type Start struct {
	Unit    string   `json:"unit,omitempty" doc:"Where exec runs it; empty: the first that runs, of web before others"`
	Command []string `json:"command"`
	TTY     bool     `json:"tty,omitempty"`
	Size    TermSize `json:"size,omitzero"`
}

// TermSize is a terminal's, in cells.
type TermSize struct {
	Width  uint16 `json:"width"`
	Height uint16 `json:"height"`
}

// Exit is how an attached command ended.
type Exit struct {
	Code int `json:"code"`
}

// Attach is what an attached command reads and writes.
type Attach struct {
	Stdin  io.Reader // nil: none
	Stdout io.Writer
	Stderr io.Writer       // unused with a terminal
	Resize <-chan TermSize // nil: never
}

// Exec runs a command inside a running unit and returns its exit code. It does
// not wait for a read of a.Stdin that is under way when the command ends.
func (c *Client) Exec(ctx context.Context, app string, start Start, a Attach) (int, error) {
	return c.attach(ctx, path("apps", app, "exec"), start, a)
}

// Run runs a command in a new container of the app and returns its exit code.
// It does not wait for a read of a.Stdin that is under way when the command ends.
func (c *Client) Run(ctx context.Context, app string, start Start, a Attach) (int, error) {
	return c.attach(ctx, path("apps", app, "run"), start, a)
}

func (c *Client) attach(ctx context.Context, p string, start Start, a Attach) (int, error) {
	conn, err := c.dial(ctx, p)
	if err != nil {
		return 0, err
	}
	defer conn.CloseNow() //nolint:errcheck // the end was agreed on already, or there is none
	conn.SetReadLimit(maxFrame)
	first, err := json.Marshal(start)
	if err != nil {
		return 0, fmt.Errorf("encode command: %w", err)
	}
	if err := conn.Write(ctx, websocket.MessageText, first); err != nil {
		return 0, fmt.Errorf("send command: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if a.Stdin != nil {
		go sendInput(ctx, conn, a.Stdin)
	}
	if a.Resize != nil {
		go sendSizes(ctx, conn, a.Resize)
	}
	return receive(ctx, conn, a)
}

func (c *Client) dial(ctx context.Context, p string) (*websocket.Conn, error) {
	header := make(map[string][]string)
	c.setHeader(header)
	conn, resp, err := websocket.Dial(ctx, c.base+p, &websocket.DialOptions{HTTPClient: c.http, HTTPHeader: header})
	if err == nil {
		return conn, nil
	}
	if resp != nil && resp.StatusCode >= 300 {
		return nil, readError(resp)
	}
	return nil, unreachable(c.base, err)
}

// sendInput copies r to the command until it ends, then says so.
func sendInput(ctx context.Context, conn *websocket.Conn, r io.Reader) {
	buf := make([]byte, maxFrame/2)
	buf[0] = ChannelStdin
	for {
		n, err := r.Read(buf[1:])
		if n > 0 && conn.Write(ctx, websocket.MessageBinary, buf[:1+n]) != nil {
			return // receive sees the same broken connection
		}
		if err != nil {
			_ = conn.Write(ctx, websocket.MessageBinary, []byte{ChannelEOF})
			return
		}
	}
}

func sendSizes(ctx context.Context, conn *websocket.Conn, sizes <-chan TermSize) {
	for {
		select {
		case <-ctx.Done():
			return
		case size, ok := <-sizes:
			if !ok {
				return
			}
			data, err := json.Marshal(size)
			if err != nil || conn.Write(ctx, websocket.MessageBinary, append([]byte{ChannelResize}, data...)) != nil {
				return
			}
		}
	}
}

// receive copies what the command writes until it ends.
func receive(ctx context.Context, conn *websocket.Conn, a Attach) (int, error) {
	for {
		kind, msg, err := conn.Read(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return 0, ctx.Err()
			}
			return 0, fmt.Errorf("the connection broke before the command ended: %w", err)
		}
		if kind != websocket.MessageBinary || len(msg) == 0 {
			return 0, errors.New("the server sent something that is no frame of a command")
		}
		switch data := msg[1:]; msg[0] {
		case ChannelStdout:
			err = writeTo(a.Stdout, data)
		case ChannelStderr:
			err = writeTo(a.Stderr, data)
		case ChannelExit:
			var exit Exit
			if err := json.Unmarshal(data, &exit); err != nil {
				return 0, fmt.Errorf("decode exit: %w", err)
			}
			_ = conn.Close(websocket.StatusNormalClosure, "")
			return exit.Code, nil
		case ChannelError:
			e := &Error{}
			if err := json.Unmarshal(data, e); err != nil {
				return 0, fmt.Errorf("decode error: %w", err)
			}
			_ = conn.Close(websocket.StatusNormalClosure, "")
			return 0, e
		}
		if err != nil {
			return 0, fmt.Errorf("write output: %w", err)
		}
	}
}

func writeTo(w io.Writer, data []byte) error {
	if w == nil {
		return nil
	}
	_, err := w.Write(data)
	return err
}
