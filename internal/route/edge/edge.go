// Package edge is the process that the public talks to: the data plane with
// its listeners, TLS, DNS, its access logs, the route table that it keeps over
// restarts, and the unix socket by which control hands it the next one. It must
// never call Docker, open the database or decide anything about a deployment.
package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"landward/internal/cert"
	"landward/internal/dns"
	"landward/internal/route"
	"landward/internal/route/access"
	"landward/internal/route/cidr"
	"landward/internal/route/h2"
	"landward/internal/route/page"
	"landward/internal/route/plane"
)

// Options are what an Edge is made of.
type Options struct {
	HTTP       string // address to listen on, such as ":8080"
	HTTPS      string // likewise; empty: no TLS
	HTTP3      bool   // beside HTTPS, on the same port
	RoutesFile string // where the table is kept
	Socket     string // control's way in, a unix socket
	LogDir     string // of the access logs
	LogKeep    time.Duration
	LogBytes   int64 // per app
	Quiet      bool  // no access logs
	Log        *slog.Logger
	Limits     plane.Limits  // of clients, whatever they speak, and of control
	Handshake  time.Duration // until keys are agreed on [30 s; HTTP/3: 10 s]
	Grace      time.Duration // for requests in progress at shutdown [10 s]

	// Certs says where certificates come from; OnDemand is set here. Used with
	// HTTPS only.
	Certs cert.Options
	// ByDNS proves the zone's names to a certificate authority with records of
	// our own DNS server. Wildcard is a host for which a certificate is wanted
	// whatever the table has ("*.apps.example.com"); empty: none.
	ByDNS    bool
	Wildcard string
	// DNS is what names are answered with; DNSAddr empty: nothing.
	DNS     dns.Options
	DNSAddr string
	// Apps are where requests of the apps come from. Networks of Trusted, and of
	// rules, have those only where they name them.
	Apps netip.Prefix
	// Trusted are front proxies whose word about the client counts. With
	// ProxyProtocol they begin each connection with the PROXY protocol.
	Trusted       []netip.Prefix
	ProxyProtocol bool
	// Inherit returns a socket that another process has opened for us, by its
	// name (the Name functions and constants say which there are), or nil.
	Inherit func(name string) (*os.File, error)
}

// probeLimit is how long a start waits for the targets of the table on disk.
const probeLimit = time.Second

// Edge is the edge process. It is safe for concurrent use.
type Edge struct {
	o     Options
	log   *slog.Logger
	logs  *access.Log
	plane *plane.Plane
	certs *cert.Manager // nil without HTTPS
	h2    *h2.Server    // likewise
	dns   *dns.Server   // nil without an address for it

	events hub
	ending chan struct{} // closed when Run ends

	put    sync.Mutex // held while a table is applied and written
	tables route.Reader
	told   bool    // who has something for each host has heard of a table
	inside []shown // of the table in use: what the apps' networks see
	public net.Listener
	secure net.Listener // nil without HTTPS
	quic   handed       // of HTTP/3
	named  bool         // the DNS server has its sockets
	admin  net.Listener
}

// New makes an Edge. It starts nothing; of files it touches the certificates'
// only.
func New(o Options) (*Edge, error) {
	if o.Grace == 0 {
		o.Grace = 10 * time.Second
	}
	if o.Inherit == nil {
		o.Inherit = func(string) (*os.File, error) { return nil, nil }
	}
	o.Trusted = cidr.Apart(o.Trusted, o.Apps)
	e := &Edge{o: o, log: o.Log, ending: make(chan struct{})}
	e.logs = access.New(access.Options{Dir: o.LogDir, Log: o.Log, Keep: o.LogKeep, KeepBytes: o.LogBytes})
	var sink plane.Sink = e.logs
	if o.Quiet {
		sink = quiet{}
	}
	var challenge func(host, path string) (string, bool)
	if o.HTTPS != "" && o.Certs.ACME.Directory != "" {
		challenge = e.challenge
	}
	e.plane = plane.New(plane.Options{
		Log: o.Log, Access: sink, Pages: page.New(), Limits: o.Limits,
		Wake:    func(app int64) { e.events.tell(Event{Kind: EventWake, AppID: app}) },
		Idle:    func(app int64) { e.events.tell(Event{Kind: EventIdle, AppID: app}) },
		Local:   e.isLocal,
		ToHTTPS: e.hasCertificate, Covers: e.covers, Challenge: challenge, HTTPSPort: portOf(o.HTTPS),
		Apps: o.Apps, Trusted: o.Trusted,
	})
	if o.DNSAddr != "" {
		var err error
		if e.dns, err = dns.New(o.DNS); err != nil {
			return nil, err
		}
	}
	return e, e.secureWith(o)
}

// quiet is where access log entries go that nobody wants.
type quiet struct{}

func (quiet) Access(*route.Entry) {}

// Listen opens the listeners, so that an address in use is an error at once.
// What can be had a moment later without harm to others, Run waits for.
func (e *Edge) Listen() (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, e.closeFaces(), e.disinherit())
		}
	}()
	if e.public, err = e.listen(NameHTTP, e.o.HTTP); err != nil {
		return err
	}
	if e.o.HTTPS != "" {
		if e.secure, err = e.listen(NameHTTPS, e.o.HTTPS); err != nil {
			return err
		}
	}
	if err = e.inherit(); err != nil {
		return err
	}
	e.admin, err = listenPrivate(e.o.Socket)
	return err
}

// listen takes over a listener, or opens one.
func (e *Edge) listen(name, addr string) (net.Listener, error) {
	l, err := e.inheritListener(name)
	if err == nil && l == nil {
		l, err = net.Listen("tcp", addr)
	}
	if err != nil {
		return nil, fmt.Errorf("listen for %s: %w", name, err)
	}
	return e.proxied(l), nil
}

// closeFaces closes what Listen has opened for clients.
func (e *Edge) closeFaces() error {
	var err error
	for _, l := range []net.Listener{e.public, e.secure} {
		if l != nil {
			err = errors.Join(err, l.Close())
		}
	}
	return err
}

// Addr is where the public listener listens, after Listen.
func (e *Edge) Addr() net.Addr { return e.public.Addr() }

// SecureAddr is where HTTPS is served, after Listen; nil without it.
func (e *Edge) SecureAddr() net.Addr {
	if e.secure == nil {
		return nil
	}
	return e.secure.Addr()
}

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
	ctx, end := context.WithCancel(ctx)
	defer end()

	// These outlive ctx: requests that finish late still have limits and logs.
	late, stop := context.WithCancel(context.WithoutCancel(ctx))
	var background sync.WaitGroup
	background.Go(func() { e.note("keep access logs", e.logs.Run(late)) })
	background.Go(func() { e.note("keep limits", e.plane.Run(late)) })
	if e.certs != nil {
		// Not late: an edge that takes over orders nothing until this one has let go.
		background.Go(func() { e.note("keep certificates", e.certs.Run(ctx)) })
	}
	if e.dns != nil {
		background.Go(func() { e.note("answer DNS", e.serveDNS(ctx)) })
	}
	admin := e.adminServer()
	failed := make(chan error, 4)
	var doors, inner sync.WaitGroup
	doors.Go(func() { failed <- e.plane.Serve(e.public, "http") })
	inner.Go(func() { failed <- serveAdmin(admin, e.admin) })
	if e.secure != nil {
		doors.Go(func() { failed <- e.plane.Accept(e.secure, e.serveTLS) })
		if e.o.HTTP3 {
			release := e.plane.Hold()
			background.Go(func() {
				defer release()
				e.note("serve HTTP/3", e.serveQUIC(ctx, late))
			})
		}
	}
	e.log.Info("edge serves", "http", e.public.Addr().String(), "https", e.SecureAddr(), "generation", e.plane.Generation())

	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	e.log.Info("edge stops", "connections", e.plane.Snapshot().Connections)
	end()
	close(e.ending)
	err = errors.Join(err, e.closeFaces())
	doors.Wait() // whoever has been let in is known from here on
	grace, cancel := context.WithTimeout(late, e.o.Grace)
	defer cancel()
	e.shutdown(grace)
	err = errors.Join(err, admin.Close(), e.removeOwnSocket())
	inner.Wait()
	stop()
	background.Wait()
	e.log.Info("edge stopped", "connections", e.plane.Snapshot().Connections)
	return err
}

// shutdown lets what is in progress end, at most until ctx does.
func (e *Edge) shutdown(ctx context.Context) {
	var all sync.WaitGroup
	if e.h2 != nil {
		all.Go(func() { e.h2.Shutdown(ctx) })
	}
	all.Go(func() { e.plane.Shutdown(ctx) })
	all.Wait()
	if e.h2 != nil {
		e.h2.Shutdown(ctx) // who was in a handshake then
	}
}

func (e *Edge) note(what string, err error) {
	if err != nil {
		e.log.Error(what, "err", err)
	}
}

// restore takes the table from disk. A file that cannot be used is no reason
// not to start: control sends a table soon.
func (e *Edge) restore(ctx context.Context) {
	text, err := os.ReadFile(e.o.RoutesFile)
	if errors.Is(err, os.ErrNotExist) {
		e.log.Info("no route table yet", "path", e.o.RoutesFile)
		return
	}
	e.put.Lock()
	defer e.put.Unlock()
	var t route.Table
	if err == nil {
		t, err = e.use(text)
	}
	if err != nil {
		e.log.Error("read route table, start without one", "path", e.o.RoutesFile, "err", err)
		return
	}
	answering, suspects := e.plane.Probe(ctx, probeLimit)
	e.log.Info("route table restored", "generation", t.Generation, "routes", len(t.Routes),
		"answering", answering, "suspects", suspects)
}

// use puts the table that a text says into use. An error leaves the one that
// is. The caller holds put.
func (e *Edge) use(text []byte) (route.Table, error) {
	before := e.plane.Table()
	t, err := e.tables.Read(text)
	if err == nil {
		err = e.plane.Apply(t)
	}
	if err != nil {
		return t, err
	}
	// Most tables are new in what they say of containers only.
	if !e.told || !equal(before, t, wantsTheSame) {
		e.want(t)
	}
	if !e.told || !equal(before, t, seesTheSame) {
		e.show(t)
	}
	e.told = true
	return t, nil
}

// equal reports whether two tables have routes of which the same is true.
func equal(a, b route.Table, same func(x, y *route.Route) bool) bool {
	return slices.EqualFunc(a.Routes, b.Routes, func(x, y *route.Route) bool { return x == y || same(x, y) })
}

// putTable puts a table into use and keeps its text over restarts.
func (e *Edge) putTable(text []byte) (route.Table, error) {
	e.put.Lock()
	defer e.put.Unlock()
	// The disk is slow, and need not wait for the table to be put into use.
	file := make(chan staged, 1)
	go func() { file <- stage(e.o.RoutesFile, text) }()
	t, err := e.use(text)
	s := <-file
	if err != nil {
		if left := s.discard(); left != nil {
			e.log.Warn("a refused route table is left on disk", "err", left)
		}
		return t, err
	}
	if err := s.replace(); err != nil {
		return t, fmt.Errorf("keep route table: %w", err)
	}
	return t, nil
}
