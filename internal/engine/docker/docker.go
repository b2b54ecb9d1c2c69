// Package docker runs units on one Docker Engine (API 1.41 and newer). It owns
// every Docker object that carries its instance's label, the addresses of the
// containers, and the packet filter around them. It keeps no state but caches:
// labels are the state. It must never know about releases' history, routes or
// users, touch an object without the label, or start a process on the host.
package docker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"github.com/moby/moby/client"

	"landward/internal/engine"
	"landward/internal/landward"
	"landward/internal/policy"
)

// Egress says where apps may connect to.
type Egress string

// The egress rules. Link-local addresses, where clouds keep their metadata,
// and the host itself are out of reach with either.
const (
	EgressInternet Egress = "internet" // everything but private networks
	EgressAny      Egress = "all"      // private networks too
)

// Options say how an engine is made. Zero fields get defaults, but Instance
// must be set.
type Options struct {
	// Host is where Docker listens; "" is unix:///var/run/docker.sock.
	Host string
	// Instance names this installation: 1 to 32 of [a-z0-9-]. Engines of
	// different instances share one Docker without seeing each other.
	Instance string
	// Pool is where the apps' subnets come from and SubnetBits the length of
	// each: 10.88.0.0/16 and 26.
	Pool       netip.Prefix
	SubnetBits int
	Egress     Egress // EgressInternet
	// Resolver is where Landward's own DNS server listens, on port 53, for apps
	// to ask first. The unspecified address stands for all addresses of the
	// host: each app asks the one on its own bridge. Invalid: apps ask the
	// host's resolvers only. It answers for the whole internet where Forwards
	// is set; where it is not, it refuses, and the host's resolvers are asked.
	Resolver netip.Addr
	Forwards bool
	// Doors are where the public reaches the host, and so may apps: what calls
	// another app, or itself, by its public name comes in here.
	Doors  []Door
	Max    landward.Resources // ceiling of one container; zero fields: none
	Bounds policy.Bounds      // logs of 3 files of 10 MiB, 16384 open files
	// MaxImage is how many bytes an image archive may unpack to: 20 GiB.
	MaxImage int64
	// GuardEvery is how often Guard asserts the packet filter again: a minute.
	GuardEvery time.Duration
	Now        func() time.Time
	Log        *slog.Logger
}

// Door is an address of the host that apps may connect to. The unspecified one
// stands for all of the host's.
type Door struct {
	UDP  bool // UDP in place of TCP
	Addr netip.AddrPort
}

func (o Options) withDefaults() (Options, error) {
	if !instanceName.MatchString(o.Instance) {
		return o, fmt.Errorf("instance name %q: want 1 to 32 of [a-z0-9-], no dash at either end", o.Instance)
	}
	if o.Host == "" {
		o.Host = client.DefaultDockerHost
	}
	if !o.Pool.IsValid() {
		o.Pool = netip.MustParsePrefix("10.88.0.0/16")
	}
	if o.SubnetBits == 0 {
		o.SubnetBits = 26
	}
	if !o.Pool.Addr().Is4() || o.SubnetBits < o.Pool.Bits() || o.SubnetBits > 29 {
		return o, fmt.Errorf("address pool %s with subnets of /%d: want IPv4 and subnets no wider than the pool and no narrower than /29", o.Pool, o.SubnetBits)
	}
	o.Pool = o.Pool.Masked()
	if o.Egress == "" {
		o.Egress = EgressInternet
	}
	if o.Egress != EgressInternet && o.Egress != EgressAny {
		return o, fmt.Errorf("egress %q: want %q or %q", o.Egress, EgressInternet, EgressAny)
	}
	if o.Resolver = o.Resolver.Unmap(); o.Resolver.IsValid() && (!o.Resolver.Is4() || o.Resolver.IsLoopback()) {
		return o, fmt.Errorf("resolver %s: want an IPv4 address that apps can reach", o.Resolver)
	}
	if o.Bounds == (policy.Bounds{}) {
		o.Bounds = policy.Bounds{LogSize: 10 << 20, LogFiles: 3, OpenFiles: 16384}
	}
	if o.MaxImage == 0 {
		o.MaxImage = 20 << 30
	}
	if o.GuardEvery == 0 {
		o.GuardEvery = time.Minute
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

// Docker is an engine. It is safe for concurrent use.
type Docker struct {
	api   *client.Client
	o     Options
	names names
	// local is true where dockerd shares our kernel, so that /proc and the
	// packet filter here are the containers' own.
	local bool

	units  locks // one at a time for a unit
	apps   locks // one at a time for an app's addresses
	nets   networks
	images imageCache
	fence  *firewall
}

var (
	_ engine.Engine = (*Docker)(nil)
	_ engine.Runner = (*Docker)(nil)
	_ engine.Images = (*Docker)(nil)
)

// New makes an engine. It does not connect: a Docker that is down shows in the
// answers, as CodeUnavailable.
func New(o Options) (*Docker, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	api, err := client.New(client.WithHost(o.Host), client.WithUserAgent("landward"))
	if err != nil {
		return nil, fmt.Errorf("make docker client: %w", err)
	}
	n := newNames(o.Instance)
	return &Docker{
		api:   api,
		o:     o,
		names: n,
		local: strings.HasPrefix(o.Host, "unix://"),
		fence: newFirewall(n.short, o),
	}, nil
}

// Close ends idle connections. Containers and the packet filter stay.
func (d *Docker) Close() error { return d.api.Close() }

// Guard keeps the packet filter in place until ctx ends: other programs reload
// or flush theirs at any time.
func (d *Docker) Guard(ctx context.Context) error {
	tick := time.NewTicker(d.o.GuardEvery)
	defer tick.Stop()
	for {
		if err := d.assertFence(ctx); err != nil && ctx.Err() == nil {
			d.o.Log.Warn("packet filter not in place", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

var instanceName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)

// names makes the names of one instance's objects. They are for people and
// for idempotency; objects are recognised by their labels.
type names struct {
	instance string
	short    string // hash of instance, short enough for interface names
}

func newNames(instance string) names {
	sum := sha256.Sum256([]byte(instance))
	return names{instance: instance, short: hex.EncodeToString(sum[:])[:5]}
}

func (n names) containerPrefix() string      { return "lw-" + n.instance + "-" }
func (n names) container(unit string) string { return n.containerPrefix() + unit }
func (n names) network(app int64) string     { return fmt.Sprintf("lw-%s-%d", n.instance, app) }

func (n names) volumePrefix(app int64) string { return fmt.Sprintf("lw-%s-%d-", n.instance, app) }

// bridge names the app's network interface on the host: at most 15 characters,
// and starting with what the packet filter matches.
func (n names) bridge(app int64) string { return fmt.Sprintf("%s%x", n.bridgePrefix(), app) }
func (n names) bridgePrefix() string    { return "lw" + n.short }

func (n names) imageRepo(app int64, name string) string {
	return fmt.Sprintf("landward/%s/%d/%s", n.instance, app, name)
}
func (n names) imagePrefix() string { return "landward/" + n.instance + "/" }

// The labels on every object. Their values are strings that Docker keeps for us.
const (
	labelInstance = "landward.instance"
	labelApp      = "landward.app"
	labelAppName  = "landward.app_name"
	labelUnit     = "landward.unit"
	labelService  = "landward.service"
	labelProcess  = "landward.process"
	labelIndex    = "landward.index"
	labelKind     = "landward.kind"
	labelRelease  = "landward.release"
	labelSpec     = "landward.spec"
	labelAddr     = "landward.addr"
	labelVolume   = "landward.volume"
)

// mine filters for this instance's objects, and further labels.
func (d *Docker) mine(labels ...string) client.Filters {
	return make(client.Filters).Add("label", append([]string{labelInstance + "=" + d.o.Instance}, labels...)...)
}

func label(key string, value any) string { return fmt.Sprintf("%s=%v", key, value) }
