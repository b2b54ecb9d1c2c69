package dns

import (
	"log/slog"
	"net/netip"
	"time"

	"landward/internal/landward"
)

// Options are what a Server is made of. Zone and Addresses are required; a
// zero value of anything else means its default.
type Options struct {
	// Zone is the base domain, "paas.local": we are authoritative for it and
	// for everything below it.
	Zone string
	// Addresses of the edge. They are the answer for the zone's apex, for its
	// name server, and for every name below that is a wanted host.
	Addresses []netip.Addr
	// Wildcard answers Addresses for any name below the zone, whatever its
	// depth, so that nothing in the zone is NXDOMAIN. That is more than
	// "*.zone" of RFC 4592 would do: a name made for a challenge does not
	// take the addresses away from its neighbours.
	Wildcard bool
	// NameServer is our own name, for NS and SOA [ns.<zone>].
	NameServer string
	// Issuers are the certificate authorities that may issue for the zone:
	// values of CAA issue properties (RFC 8659) at its apex. Empty: no CAA.
	Issuers []string
	// TTL of address records, in whole seconds [60 s].
	TTL time.Duration
	// NegativeTTL is how long others may remember that something is not there
	// (RFC 2308): short, because a new app has a name that was just asked for
	// [15 s].
	NegativeTTL time.Duration

	// Forward are the resolvers that foreign questions go to, in the order of
	// preference: "1.1.1.1:53", "1.1.1.1". Empty: foreign names are refused.
	Forward []string
	// ForwardFor says who may use us as a resolver: app networks, loopback,
	// the LAN. Everybody else gets answers about Zone only.
	ForwardFor []netip.Prefix
	// AllowPrivate says who gets answers of upstreams that hold private or
	// loopback addresses. For all others those addresses are left out, so
	// that a name on the internet cannot point an app at the inside (DNS
	// rebinding).
	AllowPrivate []netip.Prefix

	Limits Limits
	Now    func() time.Time // [time.Now]
	Log    *slog.Logger     // [none]
}

// Limits bound what others can make the server hold or do. Zero means the
// default in brackets.
type Limits struct {
	CacheEntries int           // answers of upstreams that are kept [20000]
	CacheBytes   int           // memory for them, roughly [16 MiB]
	MaxTTL       time.Duration // longer TTLs of upstreams are cut to this [24 h]
	// MaxNegativeTTL is the same for answers that say that something is not
	// there [5 min].
	MaxNegativeTTL time.Duration
	// StaleFor is how long an answer is kept past its TTL for the time when no
	// upstream answers (RFC 8767); negative: not at all [24 h].
	StaleFor time.Duration
	// StaleAfter is how long a client waits for a fresh answer before it gets
	// a stale one [1.8 s].
	StaleAfter time.Duration

	Forwards          int // questions that wait for an upstream at once; beyond it SERVFAIL [512]
	ForwardsPerClient int // of them, for one address [128]

	// Timeouts of one upstream's answer, and of all tries for one question.
	UpstreamTimeout time.Duration // [1 s]
	ForwardTimeout  time.Duration // [5 s]

	// Drain is how long a server that ends still answers what it has been asked [5 s].
	Drain time.Duration

	Conns          int           // TCP connections at once [256]
	ConnsPerClient int           // of them, from one address [16]
	ConnTimeout    time.Duration // to send a question, to take an answer, and between questions [5 s]
	ConnLifetime   time.Duration // of a TCP connection [2 min]

	// StrangerRate is how many UDP answers a second one network (/24, /56)
	// outside ForwardFor gets; ClientRate is how many one address inside, or
	// over TCP. Twice as many may come at once. Negative: no limit [20, 1000].
	StrangerRate int
	ClientRate   int
	// Slip lets one of so many questions over the rate have a truncated answer,
	// no longer than the question, so that who really asks can come back over
	// TCP; negative: none [2].
	Slip int
	// Amplify is how many times longer than the question a stranger's UDP
	// answer may be; a longer one is truncated [4].
	Amplify int
}

func (o Options) withDefaults() Options {
	setDefault(&o.TTL, time.Minute)
	setDefault(&o.NegativeTTL, 15*time.Second)
	if o.NameServer == "" {
		o.NameServer = "ns." + o.Zone
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Limits = o.Limits.withDefaults()
	return o
}

func (l Limits) withDefaults() Limits {
	setDefault(&l.CacheEntries, 20000)
	setDefault(&l.CacheBytes, 16<<20)
	setDefault(&l.MaxTTL, 24*time.Hour)
	setDefault(&l.MaxNegativeTTL, 5*time.Minute)
	setDefault(&l.StaleFor, 24*time.Hour)
	setDefault(&l.StaleAfter, 1800*time.Millisecond)
	setDefault(&l.Forwards, 512)
	setDefault(&l.ForwardsPerClient, 128)
	setDefault(&l.Drain, 5*time.Second)
	setDefault(&l.UpstreamTimeout, time.Second)
	setDefault(&l.ForwardTimeout, 5*time.Second)
	setDefault(&l.Conns, 256)
	setDefault(&l.ConnsPerClient, 16)
	setDefault(&l.ConnTimeout, 5*time.Second)
	setDefault(&l.ConnLifetime, 2*time.Minute)
	setDefault(&l.StrangerRate, 20)
	setDefault(&l.ClientRate, 1000)
	setDefault(&l.Slip, 2)
	setDefault(&l.Amplify, 4)
	return l
}

func setDefault[T int | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

func (o Options) check() error {
	if len(o.Addresses) == 0 {
		return landward.Invalid("dns-addresses", "the DNS server needs an address of the edge to answer with").
			WithHint("name the address that browsers reach this machine at: --dns-addresses 192.168.1.10")
	}
	for _, a := range o.Addresses {
		if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.Zone() != "" {
			return landward.Invalid("dns-addresses", "%s is not an address that others can reach", a)
		}
	}
	if o.TTL < time.Second || o.NegativeTTL < time.Second {
		return landward.Invalid("", "TTLs of the DNS server are at least a second")
	}
	for _, p := range o.ForwardFor {
		// The widest that are one owner's: 10.0.0.0/8 and fc00::/7.
		if a := p.Addr(); !p.IsValid() || a.Is4() && p.Bits() < 8 || a.Is6() && p.Bits() < 7 {
			return landward.Invalid("dns-forward", "%s is too wide: a resolver for everybody is used to attack others", p)
		}
	}
	for _, issuer := range o.Issuers {
		if issuer == "" || len(issuer) > 200 {
			return landward.Invalid("", "%q is not the name of a certificate authority", issuer)
		}
	}
	return nil
}

// upstreamAddrs reads Forward.
func (o Options) upstreamAddrs() ([]netip.AddrPort, error) {
	out := make([]netip.AddrPort, 0, len(o.Forward))
	for _, s := range o.Forward {
		addr, err := netip.ParseAddrPort(s)
		if ip, ipErr := netip.ParseAddr(s); ipErr == nil {
			addr, err = netip.AddrPortFrom(ip, 53), nil
		}
		if err != nil || addr.Port() == 0 || addr.Addr().IsUnspecified() || addr.Addr().IsMulticast() {
			return nil, landward.Invalid("dns-forward", "%q is not the address of a resolver", s).
				WithHint("give an IP address, with a port where it is not 53: 1.1.1.1, [2606:4700:4700::1111]:53")
		}
		out = append(out, netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()))
	}
	return out, nil
}
