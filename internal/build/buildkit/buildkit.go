// Package buildkit makes images with the BuildKit inside the Docker Engine. The
// Dockerfile frontend runs in this process, so that a Dockerfile means the same
// on every Engine and no foreign frontend is ever fetched. It must never know
// about deployments, users, or how a tree was recognised.
package buildkit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	bk "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/frontend/dockerfile/builder"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/secrets/secretsprovider"
	"github.com/moby/moby/client"
	"github.com/tonistiigi/fsutil"
	"google.golang.org/grpc"

	"landward/internal/build"
	"landward/internal/landward"
)

// pingTimeout is how long the Docker Engine may take to say that it is there.
const pingTimeout = 10 * time.Second

// Options are what a Builder needs.
type Options struct {
	// Host is where Docker listens; empty: unix:///var/run/docker.sock.
	Host string
	// Dir holds a copy of each app's source between builds, so that only what
	// changed is sent again. It is a cache: removing it costs time only.
	Dir      string
	Instance string // which installation this is
	// Private is the beginning of the image names that no Dockerfile may build
	// from ("landward-1f/"): those of other apps. Empty: none.
	Private  string
	Defaults build.Limits // for the limits that a request leaves at zero
	Now      func() time.Time
	Log      *slog.Logger
}

// Builder implements build.Builder.
type Builder struct {
	opt    Options
	docker *client.Client
	locks  keyedLock

	mu     sync.Mutex
	client *bk.Client // nil until it is needed
	root   string     // Docker's data folder, once known
}

var _ build.Builder = (*Builder)(nil)

// New returns a Builder. Nothing is opened until the first build.
func New(opt Options) (*Builder, error) {
	if opt.Host == "" {
		opt.Host = client.DefaultDockerHost
	}
	docker, err := client.New(client.WithHost(opt.Host))
	if err != nil {
		return nil, fmt.Errorf("make docker client: %w", err)
	}
	return &Builder{opt: opt, docker: docker}, nil
}

// Close ends the connection to BuildKit. Builds must have ended.
func (b *Builder) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var err error
	if b.client != nil {
		err = b.client.Close()
		b.client = nil
	}
	return errors.Join(err, b.docker.Close())
}

// Build implements build.Builder. Builds of the same app and service run one
// after the other.
func (b *Builder) Build(ctx context.Context, req build.Request, source io.Reader, out func(build.Line)) (landward.Image, error) {
	if err := checkRequest(req); err != nil {
		return landward.Image{}, err
	}
	limits := withDefaults(req.Limits, b.opt.Defaults)
	started := b.opt.Now()
	if limits.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limits.Timeout, errTimeout(limits.Timeout))
		defer cancel()
	}
	image, err := b.locked(ctx, req, limits, source, out)
	if err != nil {
		err = explain(ctx, limits, err)
	}
	b.opt.Log.Info("build ended", "app", req.App, "service", req.Service, "image", image.ID,
		"duration", b.opt.Now().Sub(started), "code", string(landward.CodeOf(err)))
	return image, err
}

// locked builds while no other build of the same service runs.
func (b *Builder) locked(ctx context.Context, req build.Request, limits build.Limits, source io.Reader, out func(build.Line)) (landward.Image, error) {
	c, root, err := b.connect(ctx)
	if err != nil {
		return landward.Image{}, err
	}
	folder := strconv.FormatInt(req.AppID, 10) + "-" + req.Service
	unlock, err := b.locks.lock(ctx, folder)
	if err != nil {
		return landward.Image{}, err
	}
	defer unlock()

	dir := filepath.Join(b.opt.Dir, folder)
	if err := unpack(ctx, dir, source, limits.Context); err != nil {
		return landward.Image{}, err
	}
	tree, err := openContext(dir, req.Plan)
	if err != nil {
		return landward.Image{}, err
	}
	// What goes on beside the build ends with it.
	ctx, cancel := context.WithCancelCause(ctx)
	var beside sync.WaitGroup
	defer beside.Wait()
	defer cancel(nil)
	if limits.Disk > 0 {
		if err := checkDisk(root, limits.Disk); err != nil {
			return landward.Image{}, err
		}
		beside.Go(func() { watchDisk(ctx, root, limits.Disk, cancel) })
	}
	host := b.hostname(req)
	if w := newWarden(root, host, limits, b.opt.Log); w != nil {
		beside.Go(func() { w.run(ctx) })
	}
	id, err := b.solve(ctx, c, req, limits, host, tree, out)
	if err != nil {
		return landward.Image{}, explain(ctx, limits, err)
	}
	return b.inspect(ctx, id, req.Tag)
}

// solve runs the build and returns what BuildKit calls the image.
func (b *Builder) solve(ctx context.Context, c *bk.Client, req build.Request, limits build.Limits, host string, tree sourceTree, out func(build.Line)) (string, error) {
	secrets := make(map[string][]byte, len(req.Secrets))
	for id, value := range req.Secrets {
		secrets[id] = []byte(value)
	}
	opt := bk.SolveOpt{
		LocalMounts:   map[string]fsutil.FS{"context": tree.context, "dockerfile": tree.dockerfile},
		FrontendAttrs: frontendAttrs(req, limits, host, tree.name),
		SharedKey:     fmt.Sprintf("landward/%s/%d/%s", b.opt.Instance, req.AppID, req.Service),
		Session:       []session.Attachable{secretsprovider.FromMap(secrets)},
		Exports:       []bk.ExportEntry{{Type: "moby", Attrs: map[string]string{"name": req.Tag}}},
	}
	status := make(chan *bk.SolveStatus)
	p := newProgress(out)
	var reader sync.WaitGroup
	reader.Go(func() {
		// The channel must be drained whatever happens, or the build hangs.
		for s := range status {
			p.show(s)
		}
		p.finish()
	})
	var refused atomic.Pointer[landward.Error]
	frontend := func(ctx context.Context, c gateway.Client) (*gateway.Result, error) {
		return builder.Build(ctx, &gate{Client: c, private: b.opt.Private, refused: &refused})
	}
	res, err := c.Build(ctx, opt, "landward", frontend, status)
	reader.Wait()
	if e := refused.Load(); e != nil {
		return "", e
	}
	if err != nil {
		return "", &buildError{err: err, step: p.failed(), dockerfile: tree.shown}
	}
	return res.ExporterResponse["containerimage.digest"], nil
}

// inspect asks Docker what was built.
func (b *Builder) inspect(ctx context.Context, id, tag string) (landward.Image, error) {
	res, err := b.docker.ImageInspect(ctx, tag)
	if err != nil {
		return landward.Image{}, fmt.Errorf("inspect image %s: %w", id, err)
	}
	image := landward.Image{Ref: tag, ID: res.ID, Size: res.Size}
	if res.Config == nil {
		return image, nil
	}
	image.User = res.Config.User
	for port := range res.Config.ExposedPorts {
		number, protocol, _ := strings.Cut(port, "/")
		n, err := strconv.Atoi(number)
		if err == nil && n > 0 && n < 1<<16 && (protocol == "" || protocol == "tcp") {
			image.Exposed = append(image.Exposed, n)
		}
	}
	slices.Sort(image.Exposed)
	return image, nil
}

// connect makes sure that the Docker Engine answers and returns the one
// connection to its BuildKit. The connection mends itself after a restart of
// the Engine.
func (b *Builder) connect(ctx context.Context) (c *bk.Client, root string, err error) {
	ping, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.root == "" {
		info, err := b.docker.Info(ping, client.InfoOptions{})
		if err != nil {
			return nil, "", errDocker(err)
		}
		b.root = info.Info.DockerRootDir
	} else if _, err := b.docker.Ping(ping, client.PingOptions{}); err != nil {
		return nil, "", errDocker(err)
	}
	if b.client != nil {
		return b.client, b.root, nil
	}
	docker := b.docker
	b.client, err = bk.New(ctx, "",
		bk.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return docker.DialHijack(ctx, "/grpc", "h2c", nil)
		}),
		bk.WithSessionDialer(func(ctx context.Context, proto string, meta map[string][]string) (net.Conn, error) {
			return docker.DialHijack(ctx, "/session", proto, meta)
		}),
		// A connection that broke while nothing was built is dialled anew.
		bk.WithGRPCDialOption(grpc.WithDefaultCallOptions(grpc.WaitForReady(true))),
	)
	if err != nil {
		return nil, "", fmt.Errorf("connect to BuildKit: %w", err)
	}
	return b.client, b.root, nil
}

// Prune removes what builds have cached, the oldest first, until it takes at
// most keep bytes. It is the Engine's whole build cache: BuildKit does not know
// whose a part of it is.
func (b *Builder) Prune(ctx context.Context, keep int64) error {
	c, _, err := b.connect(ctx)
	if err != nil {
		return err
	}
	if err := c.Prune(ctx, nil, bk.WithKeepOpt(0, keep, keep, 0)); err != nil {
		return fmt.Errorf("prune build cache: %w", err)
	}
	return nil
}

// Forget removes the copies of an app's source.
func (b *Builder) Forget(ctx context.Context, appID int64) error {
	folders, err := filepath.Glob(filepath.Join(b.opt.Dir, strconv.FormatInt(appID, 10)+"-*"))
	if err != nil {
		return fmt.Errorf("find source copies: %w", err)
	}
	var failed error
	for _, dir := range folders {
		unlock, err := b.locks.lock(ctx, filepath.Base(dir))
		if err != nil {
			return err
		}
		failed = errors.Join(failed, os.RemoveAll(dir))
		unlock()
	}
	return failed
}

// keyedLock is one lock for each key, given up on when ctx ends.
type keyedLock struct {
	mu   sync.Mutex
	held map[string]chan struct{} // closed when the holder is done
}

func (k *keyedLock) lock(ctx context.Context, key string) (unlock func(), err error) {
	for {
		k.mu.Lock()
		busy, ok := k.held[key]
		if !ok {
			if k.held == nil {
				k.held = map[string]chan struct{}{}
			}
			done := make(chan struct{})
			k.held[key] = done
			k.mu.Unlock()
			return func() {
				k.mu.Lock()
				delete(k.held, key)
				k.mu.Unlock()
				close(done)
			}, nil
		}
		k.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
