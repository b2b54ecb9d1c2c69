// Package servertest runs a whole server inside a test: real control, real
// edge, real database, real sockets, and the fake engine. It owns how such a
// server is put together and must never be part of one that serves.
package servertest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"landward/client"
	"landward/internal/build"
	"landward/internal/config"
	"landward/internal/engine"
	"landward/internal/engine/fake"
	"landward/internal/landward"
	"landward/internal/route/edge"
	"landward/internal/server"
	"landward/internal/waittest"
)

// Server is a server that runs.
type Server struct {
	Client *client.Client // as root
	Engine *fake.Engine
	HTTP   string // where the edge listens
	HTTPS  string // likewise; empty without --https
	Config config.Config
	t      testing.TB
	log    *waittest.Buffer
}

// Start starts a server with a temporary data folder; it stops with the test.
// Flags are those of `landward serve`.
func Start(t testing.TB, flags ...string) *Server {
	t.Helper()
	dir, err := os.MkdirTemp("", "lw-") // short: sockets have short names
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Engine: fake.New(fake.Options{Program: Web}), t: t, log: &waittest.Buffer{}}
	s.Config = settings(t, append([]string{"--data", dir}, flags...))
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() {
		stop()
		running.Wait()
		s.Engine.Close()
		_ = os.RemoveAll(dir)
		if t.Failed() {
			t.Logf("the server's log:\n%s", s.log)
		}
	})
	log := slog.New(slog.NewTextHandler(s.log, nil))
	o, err := server.EdgeOptions(s.Config, log)
	if err != nil {
		t.Fatal(err)
	}
	o.HTTP, o.Grace = "127.0.0.1:0", time.Second
	e, err := edge.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(s.Config.RunDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := e.Listen(); err != nil {
		t.Fatal(err)
	}
	s.HTTP = e.Addr().String()
	if a := e.SecureAddr(); a != nil {
		s.HTTPS = a.String()
	}
	edgeClient := edge.NewClient(s.Config.EdgeSocket())
	c, err := server.NewControl(ctx, s.Config, server.Parts{
		Engine: s.Engine, Runner: s.Engine, Images: s.Engine, Builder: builder{s.Engine}, Edge: edgeClient,
	}, log)
	if err != nil {
		t.Fatal(err)
	}
	running.Go(func() { s.ended("edge", e.Run(ctx)) })
	running.Go(func() { s.ended("control", c.Run(ctx)) })
	s.Client = client.NewUnix(s.Config.ControlSocket())
	return s
}

func (s *Server) ended(what string, err error) {
	if err != nil {
		s.t.Errorf("%s: %v", what, err)
	}
}

func settings(t testing.TB, flags []string) config.Config {
	t.Helper()
	c := config.Default()
	fs := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	c.Flags(fs)
	args := append([]string{
		"--domain", "localhost", "--http", "127.0.0.1:8080", "--https", "off", "--ssh", "127.0.0.1:0", "--config", os.DevNull,
		"--warm", "300ms", "--drain-limit", "1s", "--deploy-timeout", "20s",
	}, flags...)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	if err := c.Load(fs, func(string) string { return "" }, os.ReadFile); err != nil {
		t.Fatal(err)
	}
	return c
}

// Web is the program of the fake containers: it behaves as its variable
// BEHAVIOUR says and answers HTTP with its variable SAY, or what its image is called.
func Web(ctx context.Context, p fake.Process) int {
	_, _ = fmt.Fprintln(p.Stdout, "starting", p.Unit.Process)
	switch p.Unit.Env["BEHAVIOUR"] {
	case "exit":
		_, _ = fmt.Fprintln(p.Stderr, "no good")
		return 3
	case "silent":
		return wait(ctx, p)
	}
	if p.Unit.Process != landward.WebProcess {
		return wait(ctx, p)
	}
	l, err := net.Listen("tcp", net.JoinHostPort(p.Addr.String(), p.Unit.Env["PORT"]))
	if err != nil {
		_, _ = fmt.Fprintln(p.Stderr, err)
		return 1
	}
	srv := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, p.Unit.Env["SAY"]+"|"+p.Unit.Image)
	})}
	var serving sync.WaitGroup
	serving.Go(func() { _ = srv.Serve(l) })
	defer serving.Wait()
	defer srv.Close() //nolint:errcheck // it is to end, however
	return wait(ctx, p)
}

func wait(ctx context.Context, p fake.Process) int {
	select {
	case <-p.Term:
	case <-ctx.Done():
		return 0
	}
	// How long it takes to stop, at most until it is killed.
	slow, err := time.ParseDuration(p.Unit.Env["STOPS_IN"])
	if err != nil {
		return 0
	}
	t := time.NewTimer(slow)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	return 0
}

// builder "builds" an image whose ID comes from the source.
type builder struct{ engine *fake.Engine }

func (b builder) Build(_ context.Context, req build.Request, source io.Reader, out func(build.Line)) (landward.Image, error) {
	text, err := io.ReadAll(source)
	if err != nil {
		return landward.Image{}, err
	}
	out(build.Line{Headline: true, Text: "[1/1] COPY . ."})
	if bytes.Contains(text, []byte("RUN false")) {
		return landward.Image{}, landward.Errorf(landward.CodeFailed, "step [1/1] RUN false failed with exit code 1")
	}
	img := landward.Image{ID: fake.ImageID(string(text)), Ref: req.Tag}
	b.engine.AddImage(img)
	return img, nil
}

// Get asks an app for its page. Status 0 is an error of the connection.
func (s *Server) Get(app string) (status int, body string) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+s.HTTP+"/", nil)
	if err != nil {
		return 0, err.Error()
	}
	req.Host = app + "." + s.Config.Domain
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(b)
}

// patience bounds a failing test; nothing is measured by it.
const patience = 30 * time.Second

// Eventually asks until there is no error, or fails with the last one.
func (s *Server) Eventually(what string, ask func() error) {
	s.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for {
		err := ask()
		if err == nil {
			return
		}
		select {
		case <-deadline:
			s.t.Fatalf("%s: not within %s: %v", what, patience, err)
		case <-tick.C:
		}
	}
}

// WantPage asks until the app's page begins with say.
func (s *Server) WantPage(app, say string) {
	s.t.Helper()
	s.Eventually(app+" says "+say, func() error {
		if status, body := s.Get(app); status != http.StatusOK || !strings.HasPrefix(body, say+"|") {
			return fmt.Errorf("%d %q", status, body)
		}
		return nil
	})
}

// Ended waits for a deployment's end and returns it.
func (s *Server) Ended(app string, number int) client.Deployment {
	s.t.Helper()
	d, err := s.Client.DeployOutput(context.Background(), app, number, true, func(client.LogLine) error { return nil })
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}

// Units returns the app's containers as the engine has them.
func (s *Server) Units(appID int64) []engine.Container {
	s.t.Helper()
	list, err := s.Engine.List(context.Background(), appID)
	if err != nil {
		s.t.Fatal(err)
	}
	return list
}
