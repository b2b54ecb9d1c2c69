// Package dns answers questions about names. It is the authority for the base
// domain and everything below it; for the machine's own networks it is also a
// resolver that hands foreign questions on, and tells each app the names of
// its own services and of nobody else's. It must never resolve for strangers,
// never send one more than a small multiple of what came in their name, and
// never know what an app, a release or a container is: it gets names and
// addresses.
package dns

import (
	"context"
	"maps"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Server is the DNS server. Its methods are safe for concurrent use.
type Server struct {
	o        Options
	upstream *upstreams
	private  *special
	cache    *cache
	flights  *flights

	forwarding *gate // questions that wait
	conns      *gate // TCP connections
	strangers  *limiter
	clients    *limiter
	slipped    atomic.Uint32

	zone  atomic.Pointer[zone]
	views atomic.Pointer[views]

	mu    sync.Mutex // below
	hosts []string
	texts map[string][]text

	sockets []*socket
	work    context.Context // of everything that waits; set by Run
	reading context.Context // ends before work: no more questions are read
	wg      sync.WaitGroup
	count   counters
}

// New returns a Server; it opens nothing before Listen and does nothing before
// Run.
func New(o Options) (*Server, error) {
	o.Zone = strings.ToLower(strings.TrimSuffix(o.Zone, "."))
	o = o.withDefaults()
	if err := o.check(); err != nil {
		return nil, err
	}
	base, err := newZone(o)
	if err != nil {
		return nil, err
	}
	addrs, err := o.upstreamAddrs()
	if err != nil {
		return nil, err
	}
	s := &Server{
		o:          o,
		upstream:   newUpstreams(addrs, o.Log),
		private:    newSpecial(),
		cache:      newCache(o.Limits),
		flights:    newFlights(o.Limits.Forwards),
		forwarding: newGate(o.Limits.Forwards, o.Limits.ForwardsPerClient),
		conns:      newGate(o.Limits.Conns, o.Limits.ConnsPerClient),
		strangers:  newLimiter(o.Limits.StrangerRate),
		clients:    newLimiter(o.Limits.ClientRate),
		texts:      make(map[string][]text),
	}
	s.o.ForwardFor = masked(o.ForwardFor)
	s.o.AllowPrivate = masked(o.AllowPrivate)
	s.zone.Store(base.with(nil, nil))
	s.views.Store(newViews(nil, &views{}, s.private))
	return s, nil
}

// masked returns prefixes in the form that addresses of clients have.
func masked(list []netip.Prefix) []netip.Prefix {
	out := make([]netip.Prefix, 0, len(list))
	for _, p := range list {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		if p.IsValid() {
			out = append(out, p.Masked())
		}
	}
	return out
}

// SetHosts says which names in the zone are wanted hosts, in place of those
// said before. Hosts elsewhere are left out; "*.shop.<zone>" is every name
// below shop that has no nearer one (RFC 4592).
func (s *Server) SetHosts(hosts []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	z := s.zone.Load()
	s.hosts = z.inZone(hosts)
	s.zone.Store(z.with(s.hosts, s.texts))
}

// SetViews says what which networks see, in place of what was said before. Of
// two views with the same network the last one counts.
func (s *Server) SetViews(list []*View) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.views.Store(newViews(list, s.views.Load(), s.private))
}

// liveTexts returns a copy of the challenges that are not forgotten. The caller
// holds mu.
func (s *Server) liveTexts(now time.Time) map[string][]text {
	out := maps.Clone(s.texts)
	for name, list := range out {
		var live []text
		for _, t := range list {
			if now.Before(t.until) {
				live = append(live, t)
			}
		}
		if out[name] = live; len(live) == 0 {
			delete(out, name)
		}
	}
	return out
}

// setTexts replaces the challenges. The caller holds mu.
func (s *Server) setTexts(texts map[string][]text) {
	s.texts = texts
	s.zone.Store(s.zone.Load().with(s.hosts, texts))
}

// Stats are counters since New, and what the cache holds now.
type Stats struct {
	Queries     uint64 // packets and messages that came in
	Dropped     uint64 // that were no questions; they got no answer
	Answered    uint64 // from the zone, a view or a special name
	Forwarded   uint64 // that an upstream was asked for
	CacheHits   uint64 // answered from the cache, within the TTL
	Stale       uint64 // answered from the cache, past it
	Refused     uint64
	RateLimited uint64
	Filtered    uint64 // answers that private addresses were taken out of
	Errors      uint64 // SERVFAIL
	Forged      uint64 // packets in place of an upstream's that were not its answer
	Upstream    uint64 // tries at an upstream that failed

	CacheEntries, CacheBytes int
}

type counters struct {
	queries, dropped, answered, forwarded, hits, stale           atomic.Uint64
	refused, limited, filtered, errors, forged, upstreamFailures atomic.Uint64
}

// Stats returns the counters.
func (s *Server) Stats() Stats {
	c := &s.count
	st := Stats{
		Queries: c.queries.Load(), Dropped: c.dropped.Load(), Answered: c.answered.Load(),
		Forwarded: c.forwarded.Load(), CacheHits: c.hits.Load(), Stale: c.stale.Load(),
		Refused: c.refused.Load(), RateLimited: c.limited.Load(), Filtered: c.filtered.Load(),
		Errors: c.errors.Load(), Forged: c.forged.Load(), Upstream: c.upstreamFailures.Load(),
	}
	st.CacheEntries, st.CacheBytes = s.cache.size()
	return st
}

// Keys of log lines.
const (
	keyUpstream = "upstream"
	keyError    = "error"
)
