// Package server puts the parts together: it is the one package that knows
// all of them. It owns the three processes, the supervisor that keeps them
// running, and the order in which they start and stop. Nothing imports it but
// main and tests that want a whole server.
package server

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"landward/internal/build"
	"landward/internal/build/buildkit"
	"landward/internal/config"
	"landward/internal/engine"
	"landward/internal/engine/docker"
	"landward/internal/engine/remote"
	"landward/internal/route/edge"
)

// newLog returns the process's own log.
func newLog(cfg config.Config) *slog.Logger {
	o := &slog.HandlerOptions{Level: cfg.LogLevel}
	if cfg.LogFormat == config.LogJSON {
		return slog.New(slog.NewJSONHandler(os.Stderr, o))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, o))
}

// RunControl runs control until ctx ends; the engine and the edge are other
// processes, which may come and go.
func RunControl(ctx context.Context, cfg config.Config) error {
	eng := remote.New(cfg.EngineSocket())
	defer eng.Close()
	edgeClient := edge.NewClient(cfg.EdgeSocket())
	defer edgeClient.Close()
	c, err := NewControl(ctx, cfg, Parts{
		Engine: eng, Runner: eng, Images: eng, Builder: eng, Edge: edgeClient,
	}, newLog(cfg).With("process", "control"))
	if err != nil {
		return err
	}
	return c.Run(ctx)
}

// RunEngine runs the engine until ctx ends: the only process that talks to
// Docker.
func RunEngine(ctx context.Context, cfg config.Config) error {
	if err := makeDirs(cfg); err != nil {
		return err
	}
	log := newLog(cfg).With("process", "engine")
	eng, err := newEngine(cfg, log)
	if err != nil {
		return err
	}
	defer func() { _ = eng.Close() }()
	builder, err := buildkit.New(buildkit.Options{
		Host: cfg.Docker, Dir: filepath.Join(cfg.Data, "cache", "context"), Instance: eng.instance,
		Private: "landward/", Defaults: buildLimits(cfg), Now: time.Now, Log: log.With("component", "build"),
	})
	if err != nil {
		return err
	}
	l, err := remote.Listen(cfg.EngineSocket())
	if err != nil {
		return errors.Join(err, builder.Close())
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return eng.Guard(ctx) })
	group.Go(func() error { return pruneCache(ctx, builder, cfg.BuildCache, log) })
	handler := remote.Handler(remote.Services{Engine: forgetful{eng, builder}, Runner: eng, Images: eng, Builder: builder}, log)
	group.Go(func() error { return serveHTTP(ctx, newHTTPServer(handler, nil, log), l) })
	log.Info("engine is up", "instance", eng.instance)
	return errors.Join(group.Wait(), builder.Close())
}

// pruneEvery is how often the build cache is brought back to its size.
const pruneEvery = time.Hour

func pruneCache(ctx context.Context, b *buildkit.Builder, keep int64, log *slog.Logger) error {
	tick := time.NewTicker(pruneEvery)
	defer tick.Stop()
	for keep > 0 {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := b.Prune(ctx, keep); err != nil && ctx.Err() == nil {
			log.Warn("build cache not pruned", "error", err)
		}
	}
	return nil
}

// forgetful is an engine that, with an app, removes what its builds have kept.
type forgetful struct {
	engine.Engine
	builder *buildkit.Builder
}

func (f forgetful) RemoveApp(ctx context.Context, appID int64, volumes bool) error {
	if err := f.Engine.RemoveApp(ctx, appID, volumes); err != nil {
		return err
	}
	return f.builder.Forget(ctx, appID)
}

// instanceEngine is a Docker engine and the id of the instance it works for.
type instanceEngine struct {
	*docker.Docker
	instance string
}

func newEngine(cfg config.Config, log *slog.Logger) (instanceEngine, error) {
	id, err := instance(cfg)
	if err != nil {
		return instanceEngine{}, err
	}
	d, err := docker.New(docker.Options{
		Host: cfg.Docker, Instance: id, Pool: cfg.Pool, SubnetBits: cfg.SubnetBits,
		Egress: docker.Egress(cfg.Egress), Resolver: appResolver(cfg), Forwards: len(cfg.DNSForward) > 0,
		Doors: doors(cfg), Now: time.Now, Log: log.With("component", "docker"),
	})
	return instanceEngine{d, id}, err
}

func buildLimits(cfg config.Config) build.Limits {
	return build.Limits{
		Memory: cfg.BuildMemory, MilliCPU: cfg.BuildCPU, Pids: cfg.BuildPids,
		Timeout: cfg.BuildTimeout, Disk: cfg.BuildDiskFree, Context: cfg.MaxUpload,
	}
}

// Purge removes everything that the installation has made, Docker objects
// first: without its instance id nobody could tell them from others'.
func Purge(ctx context.Context, cfg config.Config) error {
	if _, err := os.Stat(cfg.InstanceFile()); errors.Is(err, os.ErrNotExist) {
		return nil // nothing was ever made
	}
	if err := makeDirs(cfg); err != nil {
		return err
	}
	held, err := lock(cfg, "serve")
	if err != nil {
		return err
	}
	defer held.Close() //nolint:errcheck // the kernel lets go either way
	eng, err := newEngine(cfg, newLog(cfg))
	if err != nil {
		return err
	}
	defer func() { _ = eng.Close() }()
	if err := eng.Purge(ctx, true); err != nil {
		return err
	}
	return removeData(cfg)
}

// removeData removes what we put into the data folder, by name: whoever named
// a folder with other things in it keeps those.
func removeData(cfg config.Config) error {
	var errs []error
	for _, path := range []string{
		cfg.DBPath(), cfg.DBPath() + "-wal", cfg.DBPath() + "-shm", cfg.ReposDir(), cfg.LogsDir(), cfg.KeysDir(), cfg.WorkDir(),
		cfg.RoutesFile(), cfg.CertsDir(), cfg.SitesDir(), cfg.RunDir(), filepath.Join(cfg.Data, "cache"), cfg.InstanceFile(),
	} {
		errs = append(errs, os.RemoveAll(path))
	}
	if entries, err := os.ReadDir(cfg.Data); err == nil && len(entries) == 0 {
		errs = append(errs, os.Remove(cfg.Data))
	}
	return errors.Join(errs...)
}
