// Package edge is the process that the public talks to: the data plane with
// its listeners, its access logs, the route table that it keeps over restarts,
// and the unix socket by which control hands it the next one. It must never
// call Docker, open the database or decide anything about a deployment.
package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"landward/internal/route"
	"landward/internal/route/access"
	"landward/internal/route/page"
	"landward/internal/route/plane"
)

// Options are what an Edge is made of.
type Options struct {
	HTTP       string // address to listen on, such as ":8080"
	RoutesFile string // where the table is kept
	Socket     string // control's way in, a unix socket
	LogDir     string // of the access logs
	Quiet      bool   // no access logs
	Log        *slog.Logger
	Limits     plane.Limits
	Grace      time.Duration // for requests in progress at shutdown [10 s]
}

// probeLimit is how long a start waits for the targets of the table on disk.
const probeLimit = time.Second

// Edge is the edge process. It is safe for concurrent use.
type Edge struct {
	o     Options
	log   *slog.Logger
	logs  *access.Log
	plane *plane.Plane

	put    sync.Mutex // held while a table is applied and written
	public net.Listener
	admin  net.Listener
}

// New makes an Edge. It starts nothing and touches no file.
func New(o Options) *Edge {
	if o.Grace == 0 {
		o.Grace = 10 * time.Second
	}
	logs := access.New(access.Options{Dir: o.LogDir, Log: o.Log})
	var sink plane.Sink = logs
	if o.Quiet {
		sink = quiet{}
	}
	return &Edge{
		o: o, log: o.Log, logs: logs,
		plane: plane.New(plane.Options{Log: o.Log, Access: sink, Pages: page.New(), Limits: o.Limits}),
	}
}

// quiet is where access log entries go that nobody wants.
type quiet struct{}

func (quiet) Access(*route.Entry) {}

// Listen opens the listeners, so that an address in use is an error at once.
func (e *Edge) Listen() error {
	public, err := net.Listen("tcp", e.o.HTTP)
	if err != nil {
		return fmt.Errorf("listen for HTTP: %w", err)
	}
	admin, err := listenPrivate(e.o.Socket)
	if err != nil {
		return errors.Join(err, public.Close())
	}
	e.public, e.admin = public, admin
	return nil
}

// Addr is where the public listener listens, after Listen.
func (e *Edge) Addr() net.Addr { return e.public.Addr() }

// Run serves until ctx ends; then it takes no more connections, lets requests
// in progress finish within the grace, and returns. It calls Listen where
// nobody has.
func (e *Edge) Run(ctx context.Context) error {
	if e.public == nil {
		if err := e.Listen(); err != nil {
			return err
		}
	}
	e.restore(ctx)

	// These outlive ctx: requests that finish late still have limits and logs.
	late, stop := context.WithCancel(context.WithoutCancel(ctx))
	var background sync.WaitGroup
	background.Go(func() { e.note("keep access logs", e.logs.Run(late)) })
	background.Go(func() { e.note("keep limits", e.plane.Run(late)) })

	admin := e.adminServer()
	failed := make(chan error, 2)
	var faces sync.WaitGroup
	faces.Go(func() { failed <- e.plane.Serve(e.public, "http") })
	faces.Go(func() { failed <- serveAdmin(admin, e.admin) })
	e.log.Info("edge serves", "addr", e.public.Addr().String(), "generation", e.plane.Generation())

	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	err = errors.Join(err, e.public.Close())
	grace, cancel := context.WithTimeout(late, e.o.Grace)
	defer cancel()
	e.plane.Shutdown(grace)
	err = errors.Join(err, admin.Close(), removeSocket(e.o.Socket))
	faces.Wait()
	stop()
	background.Wait()
	return err
}

func (e *Edge) note(what string, err error) {
	if err != nil {
		e.log.Error(what, "err", err)
	}
}

// restore takes the table from disk. A file that cannot be used is no reason
// not to start: control sends a table soon.
func (e *Edge) restore(ctx context.Context) {
	t, err := readTable(e.o.RoutesFile)
	switch {
	case errors.Is(err, os.ErrNotExist):
		e.log.Info("no route table yet", "path", e.o.RoutesFile)
		return
	case err == nil:
		err = e.plane.Apply(t)
	}
	if err != nil {
		e.log.Error("read route table, start without one", "path", e.o.RoutesFile, "err", err)
		return
	}
	answering, suspects := e.plane.Probe(ctx, probeLimit)
	e.log.Info("route table restored", "generation", t.Generation, "routes", len(t.Routes),
		"answering", answering, "suspects", suspects)
}

// putTable puts a table into use and keeps it over restarts. An error leaves
// the one in use.
func (e *Edge) putTable(t route.Table) error {
	e.put.Lock()
	defer e.put.Unlock()
	if err := e.plane.Apply(t); err != nil {
		return err
	}
	if err := writeTable(e.o.RoutesFile, t); err != nil {
		return fmt.Errorf("keep route table: %w", err)
	}
	return nil
}
