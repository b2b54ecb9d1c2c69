package remote_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"landward/internal/build"
	"landward/internal/engine"
	"landward/internal/engine/fake"
	"landward/internal/engine/remote"
	"landward/internal/landward"
)

// serve serves s on a socket until the test ends, and returns a client.
func serve(t *testing.T, s remote.Services) (*remote.Client, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "engine.sock")
	l, err := remote.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: remote.Handler(s, slog.New(slog.NewTextHandler(t.Output(), nil)))}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = srv.Serve(l)
	}()
	c := remote.New(path)
	t.Cleanup(func() {
		c.Close()
		srv.Close()
		<-served
	})
	return c, path
}

func serveFake(t *testing.T, o fake.Options) (*remote.Client, *fake.Engine) {
	t.Helper()
	e := fake.New(o)
	t.Cleanup(e.Close)
	e.AddImage(landward.Image{ID: fake.ImageID("x"), Ref: "x:1"})
	c, _ := serve(t, remote.Services{Engine: e, Runner: e, Images: e})
	return c, e
}

func unit(id string) engine.Unit {
	return engine.Unit{
		ID: id, AppID: 1, App: "app", Image: fake.ImageID("x"), Restart: engine.RestartNever, Kind: engine.KindRun,
		Resources: landward.Resources{Memory: 1 << 20, MilliCPU: 100, Pids: 10},
	}
}

func TestErrorsTravelWhole(t *testing.T) {
	c, e := serveFake(t, fake.Options{})
	want := &landward.Error{Code: landward.CodePolicy, Message: "no", Cause: "because\nof two lines", Hint: "do this", Field: "Mounts", Err: errors.New("for the log only")}
	e.FailNext("Apply", want)
	_, err := c.Apply(t.Context(), unit("a1-u"))
	got := landward.AsError(err)
	if got.Code != want.Code || got.Message != want.Message || got.Cause != want.Cause || got.Hint != want.Hint || got.Field != want.Field {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if strings.Contains(err.Error(), "for the log") {
		t.Errorf("%v tells the log's part", err)
	}
	e.FailNext("Inspect", errors.New("a path /secret of the server"))
	_, err = c.Inspect(t.Context(), "u")
	if landward.CodeOf(err) != landward.CodeInternal || strings.Contains(err.Error(), "/secret") {
		t.Errorf("an inner error came as %v", err)
	}
	e.FailNext("Logs", want)
	err = c.Logs(t.Context(), "u", engine.LogOptions{}, func(engine.LogLine) error { return nil })
	if landward.CodeOf(err) != landward.CodePolicy {
		t.Errorf("an error in a stream came as %v", err)
	}
}

func TestNotAnswering(t *testing.T) {
	c := remote.New(filepath.Join(t.TempDir(), "none.sock"))
	ctx := t.Context()
	_, watchErr := c.Watch(ctx)
	_, runErr := c.Run(ctx, unit("a1-u"), engine.Streams{})
	_, loadErr := c.Load(ctx, strings.NewReader("x"))
	for call, err := range map[string]error{
		"remove": c.Remove(ctx, "u", 0), "watch": watchErr, "run": runErr, "load": loadErr,
	} {
		e := landward.AsError(err)
		if e == nil || e.Code != landward.CodeUnavailable || e.Message != "the engine process is not answering" || e.Hint == "" {
			t.Errorf("%s: %+v", call, e)
		}
	}
}

func TestRefusesWhatItDoesNotKnow(t *testing.T) {
	e := fake.New(fake.Options{})
	t.Cleanup(e.Close)
	_, path := serve(t, remote.Services{Engine: e, Runner: e, Images: e})
	hc := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
	t.Cleanup(hc.CloseIdleConnections)
	for name, q := range map[string]struct {
		method, path, body string
		status             int
	}{
		"unknown field":    {"POST", "/v1/apply", `{"id":"u","privileged":true}`, 422},
		"unknown in depth": {"POST", "/v1/apply", `{"id":"u","resources":{"memory":1,"devices":[]}}`, 422},
		"two values":       {"POST", "/v1/inspect", `{"id":"u"}{"id":"v"}`, 422},
		"not json":         {"POST", "/v1/logs", `id=u`, 422},
		"too large":        {"POST", "/v1/inspect", `{"id":"` + strings.Repeat("x", 9<<20) + `"}`, 422},
		"unknown call":     {"POST", "/v1/privileged", `{}`, 404},
		"wrong method":     {"GET", "/v1/list", ``, 405},
		"not upgraded":     {"POST", "/v1/attach", `{}`, 422},
	} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), q.method, "http://engine"+q.path, strings.NewReader(q.body))
			if err != nil {
				t.Fatal(err)
			}
			res, err := hc.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if res.StatusCode != q.status {
				t.Errorf("status %d, want %d", res.StatusCode, q.status)
			}
		})
	}
	if units := e.Units(); len(units) > 0 {
		t.Errorf("refused requests made %v", units)
	}
}

func TestListen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := remote.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	if _, err := remote.Listen(path); err == nil {
		t.Error("a second listener took the socket over")
	}
	accepted := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			c.Close()
		}
		accepted <- err
	}()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-accepted; err != nil {
		t.Errorf("accept from our own user: %v", err)
	}
	c.Close()

	// One whose process died leaves its file behind.
	l.(interface{ SetUnlinkOnClose(bool) }).SetUnlinkOnClose(false)
	l.Close()
	l, err = remote.Listen(path)
	if err != nil {
		t.Fatalf("listen in place of a dead one: %v", err)
	}
	l.Close()
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := remote.Listen(path); err == nil {
		t.Error("a file that is no socket was replaced")
	}
}

// builder is a build.Builder of one function.
type builder func(ctx context.Context, req build.Request, source io.Reader, out func(build.Line)) (landward.Image, error)

func (b builder) Build(ctx context.Context, req build.Request, source io.Reader, out func(build.Line)) (landward.Image, error) {
	return b(ctx, req, source, out)
}

func serveBuilder(t *testing.T, b builder) *remote.Client {
	e := fake.New(fake.Options{})
	t.Cleanup(e.Close)
	c, _ := serve(t, remote.Services{Engine: e, Runner: e, Images: e, Builder: b})
	return c
}

func TestBuildIsDuplex(t *testing.T) {
	// The builder answers each block before it reads the next; the client sends
	// the next only when it has the answer.
	c := serveBuilder(t, func(_ context.Context, req build.Request, source io.Reader, out func(build.Line)) (landward.Image, error) {
		buf := make([]byte, 4)
		for {
			if _, err := io.ReadFull(source, buf); errors.Is(err, io.EOF) {
				return landward.Image{ID: "sha256:1", Ref: req.Tag}, nil
			} else if err != nil {
				return landward.Image{}, err
			}
			out(build.Line{Text: string(buf), Headline: true})
		}
	})
	pr, pw := io.Pipe()
	answers := make(chan string)
	go func() {
		for i := range 3 {
			fmt.Fprintf(pw, "b%03d", i)
			if got := <-answers; got != fmt.Sprintf("b%03d", i) {
				t.Errorf("answer %q to block %d", got, i)
			}
		}
		pw.Close()
	}()
	req := build.Request{App: "app", Tag: "t:1", Secrets: map[string]string{"K": "v\nw"}}
	img, err := c.Build(t.Context(), req, pr, func(l build.Line) { answers <- l.Text })
	if err != nil || img.ID != "sha256:1" || img.Ref != "t:1" {
		t.Errorf("built %+v, %v", img, err)
	}
}

// endless is a source that never ends.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestBuildFailsEarly(t *testing.T) {
	failed := landward.Errorf(landward.CodeFailed, "step 2/4 ended with 1").WithCause("last line")
	c := serveBuilder(t, func(context.Context, build.Request, io.Reader, func(build.Line)) (landward.Image, error) {
		return landward.Image{}, failed
	})
	for range 20 {
		_, err := c.Build(t.Context(), build.Request{}, endless{}, func(build.Line) {})
		if e := landward.AsError(err); e == nil || e.Code != landward.CodeFailed || e.Cause != "last line" {
			t.Fatalf("a build that failed before its source was read: %v", err)
		}
	}
}

func TestBuildSourceBreaks(t *testing.T) {
	c := serveBuilder(t, func(_ context.Context, _ build.Request, source io.Reader, _ func(build.Line)) (landward.Image, error) {
		_, err := io.Copy(io.Discard, source)
		return landward.Image{}, err
	})
	broken := landward.Errorf(landward.CodeTooLarge, "the source is too large")
	_, err := c.Build(t.Context(), build.Request{}, io.MultiReader(strings.NewReader("abc"), brokenReader{broken}), func(build.Line) {})
	if landward.CodeOf(err) != landward.CodeTooLarge {
		t.Errorf("a source that broke gave %v", err)
	}
}

type brokenReader struct{ err error }

func (b brokenReader) Read([]byte) (int, error) { return 0, b.err }

func TestBuildIsCancelled(t *testing.T) {
	ended := make(chan struct{})
	c := serveBuilder(t, func(ctx context.Context, _ build.Request, _ io.Reader, out func(build.Line)) (landward.Image, error) {
		out(build.Line{Text: "begun"})
		<-ctx.Done()
		close(ended)
		return landward.Image{}, ctx.Err()
	})
	ctx, cancel := context.WithCancel(t.Context())
	_, err := c.Build(ctx, build.Request{}, strings.NewReader("source"), func(build.Line) { cancel() })
	if landward.CodeOf(err) != landward.CodeCancelled {
		t.Errorf("cancelled build gave %v", err)
	}
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Error("the builder goes on")
	}
}

func TestNoBuilder(t *testing.T) {
	c, _ := serveFake(t, fake.Options{})
	_, err := c.Build(t.Context(), build.Request{}, strings.NewReader(""), func(build.Line) {})
	if landward.CodeOf(err) != landward.CodeUnavailable {
		t.Errorf("got %v", err)
	}
}

func TestUnreadInputDoesNotHinderTheEnd(t *testing.T) {
	c, _ := serveFake(t, fake.Options{Program: func(ctx context.Context, p fake.Process) int {
		fmt.Fprintln(p.Stdout, "deaf")
		<-p.Term
		return 0
	}})
	ctx, cancel := context.WithCancel(t.Context())
	u := unit("a1-deaf")
	u.StopTimeout = 10 * time.Second
	done := make(chan error, 1)
	go func() {
		_, err := c.Run(ctx, u, engine.Streams{Stdin: endless{}, Stdout: writerFunc(func(p []byte) { cancel() })})
		done <- err
	}()
	select {
	case err := <-done:
		if landward.CodeOf(err) != landward.CodeCancelled {
			t.Errorf("got %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("input that nobody reads keeps the end away")
	}
	if list, err := c.List(t.Context(), 0); err != nil || len(list) != 0 {
		t.Errorf("%d containers are left, %v", len(list), err)
	}
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) { f(p); return len(p), nil }

func TestRunEndsWhenTheClientDies(t *testing.T) {
	ended := make(chan struct{})
	e := fake.New(fake.Options{Program: func(ctx context.Context, p fake.Process) int {
		fmt.Fprintln(p.Stdout, "up")
		<-p.Term
		close(ended)
		return 0
	}})
	t.Cleanup(e.Close)
	e.AddImage(landward.Image{ID: fake.ImageID("x")})
	_, path := serve(t, remote.Services{Engine: e, Runner: e, Images: e})
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	request := `{"unit":{"id":"a1-u","app_id":1,"app":"a","service":"s","process":"p","index":1,"kind":"run","release":1,"spec":"",` +
		`"image":"` + fake.ImageID("x") + `","resources":{"memory":1048576,"cpu":100,"pids":10},"restart":"no","stop_timeout":10000000000}}`
	fmt.Fprintf(conn, "POST /v1/attach HTTP/1.1\r\nHost: engine\r\nConnection: Upgrade\r\nUpgrade: landward-attach\r\n\r\n")
	frame := append([]byte{'q', 0, 0, byte(len(request) >> 8), byte(len(request))}, request...)
	if _, err := conn.Write(frame); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	buf := make([]byte, 1024)
	for !strings.Contains(got.String(), "up\n") {
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatalf("after %q: %v", got.String(), err)
		}
		got.Write(buf[:n])
	}
	conn.Close()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("the command goes on without its client")
	}
}

func TestWatchClosesWithTheServer(t *testing.T) {
	c, e := serveFake(t, fake.Options{})
	events, err := c.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	e.BreakWatches()
	for range events {
	}
}
