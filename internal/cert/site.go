package cert

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"landward/internal/landward"
)

// site is all that is known of one host. The Manager's mu guards it.
type site struct {
	name   string // normalised; may be "*.example.com"
	app    string
	wanted bool // by SetHosts
	own    *ownPair
	issued *pair
	orderState

	renewAt time.Time // of issued
	askCA   time.Time // when to ask the CA for its renewal window
	window  time.Time // start of the CA's window, to tell a new one
	running bool      // an order, or a question to the CA, is under way
	flight  *flight   // what handshakes wait for
	asked   time.Time // when a handshake last wanted it on demand
}

// orderState is what is kept of a host's orders across restarts.
type orderState struct {
	// Demand: a handshake asked for it, and OnDemand said yes.
	Demand    bool      `json:"demand,omitempty"`
	Attempts  int       `json:"attempts,omitempty"` // failed, since the last certificate
	LastTry   time.Time `json:"last_try,omitzero"`
	NextTry   time.Time `json:"next_try,omitzero"` // not before
	Error     string    `json:"error,omitempty"`
	Hint      string    `json:"hint,omitempty"`
	Challenge string    `json:"challenge,omitempty"` // that worked last
}

// flight is an order that handshakes wait for.
type flight struct{ done chan struct{} }

// rank orders the pairs that could be served for a host.
type rank int

const (
	rankNone    rank = iota
	rankExpired      // better than nothing: the client says what is wrong
	rankACME
	rankOwn
)

// entry is what a handshake gets.
type entry struct {
	pair   *pair
	rank   rank
	source Source
}

// index is what handshakes look at: made anew with each change, never changed.
type index struct {
	exact map[string]entry
	wild  map[string]entry // domain → entry of "*.domain"
	until time.Time        // when a pair in it begins or ends to be valid
}

// site returns a host's record, a new one where there is none.
func (m *Manager) site(name string) *site {
	s := m.sites[name]
	if s == nil {
		s = &site{name: name}
		m.sites[name] = s
	}
	return s
}

// dropIfIdle forgets a host of which nothing has to be remembered. The back-off
// of a failing host is remembered even while it is not wanted.
func (m *Manager) dropIfIdle(s *site) {
	if !s.wanted && !s.Demand && s.own == nil && s.issued == nil && !s.running && s.Attempts == 0 {
		delete(m.sites, s.name)
	}
}

// best is the pair that is served for exactly this host.
func (s *site) best(now time.Time) entry {
	var own *pair
	if s.own != nil {
		own = s.own.pair
	}
	issued := s.issued
	if !s.wanted && !s.Demand {
		issued = nil // of a host that was let go
	}
	switch {
	case own.valid(now):
		return entry{own, rankOwn, SourceOwn}
	case issued.valid(now):
		return entry{issued, rankACME, SourceACME}
	case own != nil:
		return entry{own, rankExpired, SourceOwn}
	case issued != nil:
		return entry{issued, rankExpired, SourceACME}
	}
	return entry{}
}

// rebuild makes the index anew.
func (m *Manager) rebuild() {
	now := m.o.Now()
	x := &index{exact: make(map[string]entry, len(m.sites)), wild: map[string]entry{}}
	for name, s := range m.sites {
		e := s.best(now)
		if e.pair == nil {
			continue
		}
		if domain, wild := strings.CutPrefix(name, "*."); wild {
			x.wild[domain] = e
		} else {
			x.exact[name] = e
		}
		own := (*pair)(nil)
		if s.own != nil {
			own = s.own.pair
		}
		for _, p := range []*pair{own, s.issued} {
			if p == nil {
				continue
			}
			for _, t := range []time.Time{p.leaf.NotBefore, p.leaf.NotAfter.Add(time.Nanosecond)} {
				if t.After(now) && (x.until.IsZero() || t.Before(x.until)) {
					x.until = t
				}
			}
		}
	}
	m.index.Store(x)
}

// find is the pair for a host in normal form. It allocates nothing but for a
// local host that is new.
func (m *Manager) find(name string) entry {
	x := m.index.Load()
	e := x.exact[name]
	if len(x.wild) > 0 {
		if i := strings.IndexByte(name, '.'); i > 0 {
			if w := x.wild[name[i+1:]]; w.rank > e.rank {
				e = w
			}
		}
	}
	if e.rank <= rankExpired && m.local != nil {
		if p := m.local.find(name); p != nil {
			return entry{p, rankACME, SourceLocal}
		}
	}
	return e
}

// servedPairs are all pairs that handshakes may get, without local ones.
func (m *Manager) servedPairs() []*pair {
	x := m.index.Load()
	out := make([]*pair, 0, len(x.exact)+len(x.wild))
	for _, e := range x.exact {
		out = append(out, e.pair)
	}
	for _, e := range x.wild {
		out = append(out, e.pair)
	}
	return out
}

// wantsOrder says whether the CA has to be asked for a certificate now, leaving
// aside when it may be asked.
func (m *Manager) wantsOrder(s *site, now time.Time) bool {
	switch {
	case m.ca == nil, !s.wanted && !s.Demand:
		return false
	case s.own != nil && s.own.pair.valid(now):
		return false
	case m.orderable(s.name) != nil:
		return false
	case s.issued != nil && !now.Before(s.renewAt):
		// One that a wildcard now covers is let run out.
		return !m.coveredByWildcard(s.name, now)
	case s.issued != nil:
		return s.issued.revoked.Load()
	}
	return !m.coveredByWildcard(s.name, now)
}

// wildAttempts is how often a wildcard's order may fail until the hosts below
// it get certificates of their own.
const wildAttempts = 3

// coveredByWildcard says whether a host needs no certificate of its own.
func (m *Manager) coveredByWildcard(name string, now time.Time) bool {
	if strings.HasPrefix(name, "*.") {
		return false
	}
	_, domain, ok := strings.Cut(name, ".")
	if !ok {
		return false
	}
	w := m.sites["*."+domain]
	if w == nil {
		return false
	}
	if w.best(now).rank > rankExpired {
		return true
	}
	return w.wanted && w.Attempts < wildAttempts && m.orderable(w.name) == nil
}

// neverPublic are top-level domains that no public CA issues for (RFC 6761, RFC
// 6762, RFC 8375, RFC 9476 and ICANN's reservation of internal).
var neverPublic = []string{"local", "internal", "test", "example", "home.arpa", "alt", "lan"}

// orderable says why no certificate can be ordered for a host, or nil.
func (m *Manager) orderable(name string) *landward.Error {
	host, wild := strings.CutPrefix(name, "*.")
	refuse := func(why string) *landward.Error {
		return landward.Errorf(landward.CodeInvalid, "no certificate can be ordered for %s: %s", name, why)
	}
	_, notIP := netip.ParseAddr(host)
	switch {
	case m.ca == nil:
		return landward.Errorf(landward.CodeFailed, "there is no certificate for %s, and no CA is set", name).
			WithHint("set --acme-email, or add a key pair with `landward certs add %s`", name)
	case notIP == nil:
		return refuse("it is an address")
	case under(host, "localhost"), under(host, "invalid"), under(host, "onion"), m.local.covers(host):
		return refuse("it is a local name")
	case !strings.Contains(host, "."):
		return refuse("it has only one label")
	case strings.Contains(host, "_"):
		return refuse("a CA allows no underscore in a host")
	case allDigits(host[strings.LastIndexByte(host, '.')+1:]):
		return refuse("it is not a domain name")
	case m.o.ACME.Roots == nil && slices.ContainsFunc(neverPublic, func(d string) bool { return under(host, d) }):
		return refuse("it is no public name")
	case wild && len(m.ca.Challenges(name)) == 0:
		return landward.Errorf(landward.CodeFailed, "a certificate for %s needs a DNS provider", name).
			WithHint("set --acme-provider and --acme-settings, or add a key pair with `landward certs add`")
	}
	return nil
}

func allDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
