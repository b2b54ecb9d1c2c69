package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"landward/client"
	"landward/internal/auth"
	"landward/internal/landward"
)

const (
	maxFrame    = 64 << 10         // bytes of one message
	startWithin = 15 * time.Second // for the first message
	maxCommand  = 32 << 10         // bytes of a command with all arguments
)

func (a *API) registerAttach() {
	const tag = "Commands"
	handle(a, tag, endpoint{
		"exec", http.MethodGet, "/apps/{app}/exec", auth.AppRun,
		"Run a command inside a running unit (WebSocket)", with(upgrades()),
	}, func(context.Context, *OnApp) (*streamed, error) { return a.attached(a.exec), nil })
	handle(a, tag, endpoint{
		"run", http.MethodGet, "/apps/{app}/run", auth.AppRun,
		"Run a command in a new container of the app (WebSocket)", with(upgrades()),
	}, func(context.Context, *OnApp) (*streamed, error) { return a.attached(a.launch), nil })
}

// upgrades describes a WebSocket in the OpenAPI document, which has no words
// for what it carries.
func upgrades() func(*huma.Operation) {
	return func(op *huma.Operation) {
		op.DefaultStatus = http.StatusSwitchingProtocols
		op.Description = "The first message is text: a Start. Every other is binary; its first byte is the channel: " +
			"0 standard input, 1 standard output, 2 standard error, 3 a change of the terminal's size (JSON), " +
			"4 the exit code (JSON, last), 5 a problem (JSON, last), 6 the end of standard input."
	}
}

// command runs what start says for the call's app.
type command func(ctx context.Context, c *call, start client.Start, s landward.Streams) (exit int, err error)

func (a *API) exec(ctx context.Context, c *call, start client.Start, s landward.Streams) (int, error) {
	unit, err := a.unit(ctx, c.app, start.Unit)
	if err != nil {
		return 0, err
	}
	if err := a.note(ctx, "app.exec", "ran a command in "+unit.Name()); err != nil {
		return 0, err
	}
	return a.Units.Exec(ctx, unit.ID, start.Command, s)
}

func (a *API) launch(ctx context.Context, c *call, start client.Start, s landward.Streams) (int, error) {
	if start.Unit != "" {
		return 0, landward.Invalid("unit", "a new container is no unit that runs").WithHint("use exec for that")
	}
	if err := a.note(ctx, "app.run", "ran a command in a new container"); err != nil {
		return 0, err
	}
	return a.Launcher.Launch(ctx, c.actor, c.app.ID, start.Command, s)
}

// unit finds a running unit by name; "" is the first one, of web before others.
func (a *API) unit(ctx context.Context, app landward.App, name string) (landward.Unit, error) {
	containers, err := a.Units.List(ctx, app.ID)
	if err != nil {
		return landward.Unit{}, err
	}
	slices.SortFunc(containers, byUse)
	for _, c := range containers {
		if c.State == landward.UnitRunning && !c.OneOff && (name == "" || name == c.Name()) {
			return c, nil
		}
	}
	if name == "" {
		return landward.Unit{}, landward.Errorf(landward.CodeConflict, "no unit of %s is running", app.Name).
			WithHint("`landward ps` shows why; `landward run` starts a container for one command")
	}
	return landward.Unit{}, landward.Errorf(landward.CodeNotFound, "no unit %q is running", landward.Printable(name)).
		WithHint("`landward ps` lists them: web.1")
}

// attached answers with a WebSocket that run is attached to.
func (a *API) attached(run command) *streamed {
	return &streamed{Body: func(hctx huma.Context) {
		r, w := humago.Unwrap(hctx)
		c := callOf(r.Context())
		if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
			w.Header().Set("Upgrade", "websocket")
			p := c.problem(landward.Errorf(landward.CodeInvalid, "this is a WebSocket").WithHint("open it as one, or use the command line"))
			p.wire.Status, p.wire.Title = http.StatusUpgradeRequired, http.StatusText(http.StatusUpgradeRequired)
			p.write(w)
			return
		}
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionDisabled})
		if err != nil {
			c.err = fmt.Errorf("accept WebSocket: %w", err) // it has answered itself
			return
		}
		defer conn.CloseNow() //nolint:errcheck // what there was to say was said
		conn.SetReadLimit(maxFrame)
		a.serveCommand(r.Context(), c, conn, run)
	}}
}

// serveCommand runs the command that the first message names, and says how it
// ended. When the caller goes, the command does.
func (a *API) serveCommand(ctx context.Context, c *call, conn *websocket.Conn, run command) {
	out := &frames{conn: conn}
	start, err := readStart(ctx, conn)
	if err != nil {
		out.end(client.ChannelError, c.problem(err).wire)
		return
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	in := newInput(conn, start)
	read := make(chan struct{})
	go func() {
		defer close(read)
		cancel(in.read(ctx))
	}()
	stop := a.keep(ctx, c, cancel, in.ping)
	exit, err := run(ctx, c, start, landward.Streams{
		Stdin: in.stdin, Stdout: out.channel(ctx, client.ChannelStdout), Stderr: out.channel(ctx, client.ChannelStderr),
		TTY: start.TTY, Resize: in.resize,
	})
	stop()
	if err == nil {
		out.end(client.ChannelExit, client.Exit{Code: exit})
	} else {
		if cause := context.Cause(ctx); cause != nil {
			err = interrupted(cause)
		}
		out.end(client.ChannelError, c.problem(err).wire)
	}
	cancel(nil)
	_ = in.stdin.Close() // it never fails
	_ = conn.CloseNow()  // ends a read that is under way
	<-read
}

// readStart reads the first message.
func readStart(ctx context.Context, conn *websocket.Conn) (client.Start, error) {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	kind, msg, err := conn.Read(ctx)
	if err != nil {
		return client.Start{}, fmt.Errorf("read first message: %w", err)
	}
	var start client.Start
	decoder := json.NewDecoder(bytes.NewReader(msg))
	decoder.DisallowUnknownFields()
	if kind != websocket.MessageText || decoder.Decode(&start) != nil {
		return start, landward.Invalid("", "the first message is not the JSON text of a Start").
			WithHint(`send {"command": ["ls", "-l"]}`)
	}
	return start, checkStart(start)
}

func checkStart(start client.Start) error {
	size := 0
	for i, arg := range start.Command {
		if strings.ContainsRune(arg, 0) {
			return landward.Invalid(fmt.Sprintf("command[%d]", i), "an argument cannot have a NUL byte")
		}
		size += len(arg) + 1
	}
	switch {
	case len(start.Command) == 0 || start.Command[0] == "":
		return landward.Invalid("command", "there is no command").WithHint("say what to run: landward run -- ls -l")
	case size > maxCommand:
		return landward.Invalid("command", "the command is longer than %d KiB", maxCommand>>10).
			WithHint("send long input over standard input")
	}
	return nil
}

// frames writes messages of an attached command.
type frames struct{ conn *websocket.Conn }

// channel returns a writer whose writes become messages of the channel.
func (f *frames) channel(ctx context.Context, channel byte) io.Writer {
	return writerFunc(func(p []byte) (int, error) {
		written := 0
		for chunk := range slices.Chunk(p, maxFrame/2) {
			if err := f.write(ctx, channel, chunk); err != nil {
				return written, err
			}
			written += len(chunk)
		}
		return written, nil
	})
}

func (f *frames) write(ctx context.Context, channel byte, data []byte) error {
	ctx, cancel := context.WithTimeout(ctx, writeWithin)
	defer cancel()
	return f.conn.Write(ctx, websocket.MessageBinary, append([]byte{channel}, data...))
}

// end sends the last message. It does not depend on the call's context, which
// may be why the command ended.
func (f *frames) end(channel byte, body any) {
	data, err := json.Marshal(body)
	if err != nil || f.write(context.Background(), channel, data) != nil {
		return // nobody is there to read it
	}
	_ = f.conn.Close(websocket.StatusNormalClosure, "") // nor to say goodbye to
}

type writerFunc func(p []byte) (int, error)

func (w writerFunc) Write(p []byte) (int, error) { return w(p) }

// input is what a caller sends to an attached command.
type input struct {
	conn    *websocket.Conn
	stdin   *io.PipeReader
	feed    *io.PipeWriter
	resize  chan landward.Size // the newest only; nil without a terminal
	feeding atomic.Bool        // the command is slow to read its input
}

func newInput(conn *websocket.Conn, start client.Start) *input {
	r, w := io.Pipe()
	in := &input{conn: conn, stdin: r, feed: w}
	if start.TTY {
		in.resize = make(chan landward.Size, 1)
		in.setSize(start.Size)
	}
	return in
}

// errGone is why a command ends whose caller does not wait for it any more.
var errGone = landward.Errorf(landward.CodeCancelled, "the caller went away")

// read hands messages on until the caller goes or ctx ends.
func (in *input) read(ctx context.Context) error {
	defer in.feed.Close() //nolint:errcheck // it never fails
	for {
		kind, msg, err := in.conn.Read(ctx)
		if err != nil {
			return fmt.Errorf("%w: %w", errGone, err)
		}
		if kind != websocket.MessageBinary || len(msg) == 0 {
			return landward.Invalid("", "a message without a channel came in")
		}
		switch msg[0] {
		case client.ChannelStdin:
			in.feeding.Store(true)
			_, _ = in.feed.Write(msg[1:]) // a command that reads no more misses nothing
			in.feeding.Store(false)
		case client.ChannelEOF:
			_ = in.feed.Close() // it never fails
		case client.ChannelResize:
			var size client.TermSize
			if json.Unmarshal(msg[1:], &size) == nil {
				in.setSize(size)
			}
		}
	}
}

// setSize puts the newest size in the place of one that was not read yet. It
// has one caller at a time.
func (in *input) setSize(size client.TermSize) {
	if in.resize == nil || size == (client.TermSize{}) {
		return
	}
	select {
	case <-in.resize:
	default:
	}
	in.resize <- landward.Size{Width: size.Width, Height: size.Height}
}

// ping asks whether the caller is still there. While the command does not read
// its input nobody reads the answer; then only a broken connection shows.
func (in *input) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, beatEvery)
	defer cancel()
	err := in.conn.Ping(ctx)
	if errors.Is(err, context.DeadlineExceeded) && in.feeding.Load() {
		return nil
	}
	return err
}
