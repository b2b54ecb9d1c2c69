package server

import (
	"context"
	"crypto/x509"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"landward/internal/cert"
	"landward/internal/cert/dnsprovider"
	"landward/internal/cli/dotenv"
	"landward/internal/config"
	"landward/internal/dns"
	"landward/internal/landward"
	"landward/internal/route"
	"landward/internal/route/cidr"
	"landward/internal/route/edge"
	"landward/internal/route/plane"
)

// ownDNS is the provider that is Landward itself.
const ownDNS = "own"

// letsEncrypt is the certificate authority that is asked where the settings
// name none.
const letsEncrypt = "https://acme-v02.api.letsencrypt.org/directory"

// RunEdge runs the edge until ctx ends.
func RunEdge(ctx context.Context, cfg config.Config) error {
	if err := makeDirs(cfg); err != nil {
		return err
	}
	o, err := EdgeOptions(cfg, newLog(cfg).With("process", "edge"))
	if err != nil {
		return err
	}
	o.Inherit = inherited
	e, err := edge.New(o)
	if err != nil {
		return err
	}
	return e.Run(ctx)
}

// EdgeOptions says what an edge with these settings is made of.
func EdgeOptions(cfg config.Config, log *slog.Logger) (edge.Options, error) {
	limits := plane.Limits{MaxBody: cfg.MaxBody}
	if cfg.MaxBody == 0 {
		limits.MaxBody = -1
	}
	// The apps' networks may ask as well, but not for what is inside.
	lan := cidr.Without(inside(), cfg.Pool)
	o := edge.Options{
		HTTP: cfg.HTTP, HTTPS: cfg.HTTPS, HTTP3: cfg.HTTP3,
		RoutesFile: cfg.RoutesFile(), Socket: cfg.EdgeSocket(),
		LogDir: cfg.LogsDir(), LogKeep: cfg.AccessKeep, LogBytes: cfg.AccessBytes, Quiet: !cfg.AccessLog,
		Log: log, Limits: limits, Apps: cfg.Pool, Trusted: cfg.TrustedProxies, ProxyProtocol: cfg.ProxyProtocol,
		DNSAddr: cfg.DNS, DNS: dns.Options{
			Zone: cfg.Domain, Addresses: dnsAddresses(cfg), Forward: cfg.DNSForward,
			ForwardFor: append([]netip.Prefix{cfg.Pool}, lan...), AllowPrivate: lan,
			Now: time.Now, Log: log.With("component", "dns"),
		},
	}
	o.ByDNS = cfg.ACMEProvider == ownDNS
	if o.ByDNS && cfg.DNS == "" {
		return o, landward.Invalid("acme-provider", "own is Landward's own DNS server, which is off").WithHint("give it an address: --dns :53")
	}
	var err error
	o.Certs, err = certOptions(cfg, log)
	if o.Certs.ACME.Directory != "" && (o.ByDNS || len(o.Certs.DNS) > 0) {
		o.Wildcard = "*." + cfg.Domain // one certificate for all apps
	}
	return o, err
}

// certOptions says where certificates come from. A certificate authority is
// asked only where somebody has set one going: its terms are theirs to accept.
func certOptions(cfg config.Config, log *slog.Logger) (cert.Options, error) {
	o := cert.Options{Dir: cfg.CertsDir(), Now: time.Now, Log: log.With("component", "cert"), Local: cfg.LocalDomains}
	if cfg.ACMEEmail == "" && cfg.ACMEDirectory == "" {
		return o, nil
	}
	o.ACME = cert.ACME{Directory: cfg.ACMEDirectory, Email: cfg.ACMEEmail}
	if o.ACME.Directory == "" {
		o.ACME.Directory = letsEncrypt
	}
	if cfg.ACMERoots != "" {
		pem, err := os.ReadFile(cfg.ACMERoots)
		if err != nil {
			return o, landward.Invalid("acme-roots", "the file %s cannot be read", landward.Printable(cfg.ACMERoots)).Wrap(err)
		}
		o.ACME.Roots = x509.NewCertPool()
		if !o.ACME.Roots.AppendCertsFromPEM(pem) {
			return o, landward.Invalid("acme-roots", "the file %s holds no certificate", landward.Printable(cfg.ACMERoots)).
				WithHint("it must hold root certificates, PEM")
		}
	}
	if cfg.ACMEProvider == "" || cfg.ACMEProvider == "off" || cfg.ACMEProvider == ownDNS {
		return o, nil
	}
	settings, err := providerSettings(cfg.ACMESettings)
	if err != nil {
		return o, err
	}
	p, err := dnsprovider.New(cfg.ACMEProvider, settings)
	if err != nil {
		return o, err
	}
	zones, err := dnsprovider.Zones(settings)
	if err != nil {
		return o, err
	}
	o.DNS = map[string]cert.DNSProvider{}
	for _, zone := range zones {
		o.DNS[zone] = p
	}
	if len(zones) == 0 {
		o.DNS[cert.AnyZone] = p
	}
	return o, nil
}

// providerSettings reads KEY=VALUE lines.
func providerSettings(path string) (map[string]string, error) {
	if path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, landward.Invalid("acme-settings", "the file %s cannot be read", landward.Printable(path)).Wrap(err)
	}
	vars, err := dotenv.Parse(path, data)
	if err != nil {
		return nil, landward.Invalid("acme-settings", "%s", landward.Printable(err.Error())).WithHint("write KEY=VALUE lines")
	}
	out := map[string]string{}
	for _, v := range vars {
		out[v.Name] = v.Value
	}
	return out, nil
}

// dnsAddresses are what the apps' names lead to.
func dnsAddresses(cfg config.Config) []netip.Addr {
	if len(cfg.DNSAddresses) > 0 {
		return cfg.DNSAddresses
	}
	return hostAddresses()
}

// hostAddresses are the addresses of this host that others can reach: what the
// apps' names lead to where nobody says.
func hostAddresses() []netip.Addr {
	loopback := []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	list, err := net.InterfaceAddrs()
	if err != nil {
		return loopback
	}
	var out []netip.Addr
	for _, a := range list {
		p, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		if ip := p.Addr().Unmap(); ip.IsGlobalUnicast() && !ip.IsLinkLocalUnicast() {
			out = append(out, ip)
		}
	}
	if len(out) == 0 {
		return loopback
	}
	return out[:1]
}

// Variables by which a socket is handed to a process, as systemd does it
// (sd_listen_fds(3)).
const (
	listenFDs   = "LISTEN_FDS"
	listenNames = "LISTEN_FDNAMES"
	firstFD     = 3
)

// inherited returns the socket of that name that this process was started with,
// or nil. It is asked once for each.
func inherited(name string) (*os.File, error) {
	n, err := strconv.Atoi(os.Getenv(listenFDs))
	if err != nil || n < 1 {
		return nil, nil //nolint:nilerr // nobody has handed anything over
	}
	for i, have := range strings.Split(os.Getenv(listenNames), ":") {
		if have == name && i < n {
			return os.NewFile(uintptr(firstFD+i), name), nil
		}
	}
	return nil, nil
}

// edgeOf is the edge as the reconciler knows it.
type edgeOf struct{ *edge.Client }

func (e edgeOf) Drain(ctx context.Context, units []string, limit time.Duration) error {
	_, err := e.Client.Drain(ctx, units, limit)
	return err
}

func (e edgeOf) Generation(ctx context.Context) (int64, error) {
	s, err := e.Status(ctx)
	return s.Generation, err
}

// Trial implements reconcile.Edge.
func (e edgeOf) Trial(ctx context.Context, appID int64) (*route.Trial, error) {
	s, err := e.Status(ctx)
	if err != nil {
		return nil, err
	}
	for _, c := range s.Canaries {
		if c.AppID == appID {
			return &route.Trial{Canary: c.Canary.Counts(), Stable: c.Stable.Counts()}, nil
		}
	}
	return nil, nil
}

// followAgain is how long control waits before it listens to the edge again.
const followAgain = time.Second

// followEdge does what the edge asks for, until ctx ends: apps that sleep are
// woken, idle ones put to sleep.
func (c *Control) followEdge(ctx context.Context) error {
	for ctx.Err() == nil {
		err := c.parts.Edge.Events(ctx, func() {}, func(e edge.Event) {
			if err := c.heed(ctx, e); err != nil && ctx.Err() == nil && landward.CodeOf(err) != landward.CodeNotFound {
				c.log.Warn("edge not heeded", "event", string(e.Kind), "app_id", e.AppID, "error", err)
			}
		})
		c.log.Debug("edge not heard", "error", err)
		t := time.NewTimer(followAgain)
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
	}
	return nil
}

func (c *Control) heed(ctx context.Context, e edge.Event) error {
	switch e.Kind {
	case edge.EventWake:
		return c.deployer.Wake(ctx, e.AppID)
	case edge.EventIdle:
		return c.deployer.Sleep(ctx, e.AppID)
	}
	return nil
}
