package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"landward/internal/config"
	"landward/internal/landward"
	"landward/internal/route"
	"landward/internal/route/edge"
)

// buildLandward builds the program as `make build` does.
func buildLandward(ctx context.Context, to string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-ldflags", "-s -w", "-o", to, "landward/cmd/landward")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	_, err := output(cmd)
	return err
}

// startEdge starts `landward edge` with the settings that an installation has:
// access log and metrics are on, GOMAXPROCS is what it finds.
func (b *bench) startEdge(ctx context.Context, o serverOptions) (*server, error) {
	s, data, err := b.spawnEdge(o)
	if err != nil {
		return nil, err
	}
	r := b.route(benchHost, 1)
	if o.static {
		r.Targets, r.Static = nil, &route.Static{Dir: filepath.Join(data.SitesDir(), "bench", "1")}
		if err := os.CopyFS(r.Static.Dir, os.DirFS(b.www)); err != nil {
			s.proc.stop()
			return nil, fmt.Errorf("copy files: %w", err)
		}
	}
	if err := putTable(ctx, s.proc, data.EdgeSocket(), route.Table{Generation: 1, MadeAt: time.Now(), Routes: []*route.Route{&r}}); err != nil {
		s.proc.stop()
		if o.static && landward.AsError(err).Code == landward.CodeInvalid {
			return nil, notAvailable("this edge serves no static files")
		}
		return nil, err
	}
	limit := startWithin
	if o.tls || o.static {
		limit = 3 * time.Second
	}
	if err := await(ctx, s.proc, s, "/1k", limit); err != nil {
		s.proc.stop()
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case o.tls:
			return nil, notAvailable("this edge does not listen for TLS")
		case o.static:
			return nil, notAvailable("this edge serves no static files")
		}
		return nil, err
	}
	return s, nil
}

// spawnEdge starts the process. Nothing is in its table yet.
func (b *bench) spawnEdge(o serverOptions) (*server, config.Config, error) {
	c := config.Default()
	dir, err := b.folder("edge")
	if err != nil {
		return nil, c, err
	}
	c.Data = filepath.Join(dir, "data")
	if !strings.HasPrefix(c.EdgeSocket(), b.dir) {
		return nil, c, errors.New("the path of the temporary folder is too long for a unix socket: set TMPDIR to a shorter one")
	}
	s := &server{label: "the edge"}
	if s.http, err = freeAddr(); err != nil {
		return nil, c, err
	}
	https := "off"
	if o.tls {
		if s.https, err = freeAddr(); err != nil {
			return nil, c, err
		}
		https = s.https.String()
		if err := b.cert.install(filepath.Join(c.CertsDir(), "own", benchHost)); err != nil {
			return nil, c, err
		}
	}
	settings := filepath.Join(dir, "landward.yaml") // not the machine's own
	if err := os.WriteFile(settings, []byte("log_level: warn\n"), 0o600); err != nil {
		return nil, c, err
	}
	s.proc, err = b.spawn(true, dir, b.s.landward, "edge", "--config", settings, "--data", c.Data,
		"--http", s.http.String(), "--https", https)
	return s, c, err
}

// route is a route to the backend.
func (b *bench) route(host string, id int64) route.Route {
	return route.Route{
		App: fmt.Sprintf("app%d", id), AppID: id, Release: 1, Hosts: []string{host}, State: route.StateUp,
		HTTPS:   landward.HTTPSOff, // the app answers on both
		Targets: []route.Target{{Addr: b.backend, Unit: "web.1", ID: fmt.Sprintf("app%d-web-1", id)}},
	}
}

// putTable hands a table over, as soon as the edge takes one.
func putTable(ctx context.Context, p *process, socket string, t route.Table) error {
	c := edge.NewClient(socket)
	defer c.Close()
	for end := time.Now().Add(startWithin); ; {
		err := c.PutTable(ctx, t.Text())
		if err == nil || landward.AsError(err).Code != landward.CodeUnavailable || time.Now().After(end) {
			return err
		}
		if p.ended() {
			return fmt.Errorf("the edge has ended: %s", p.said())
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}
