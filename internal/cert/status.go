package cert

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"landward/internal/landward"
)

// Source is where a host's certificate comes from.
type Source string

// The sources.
const (
	SourceOwn   Source = "own"   // a pair that people brought
	SourceACME  Source = "acme"  // ordered from the CA
	SourceLocal Source = "local" // signed by the local CA
	SourceNone  Source = "none"  // handshakes for the host fail
)

// Status is how one host stands: what is served, and why it is not something
// better.
type Status struct {
	Host        string    `json:"host"`
	App         string    `json:"app,omitempty"`
	Wanted      bool      `json:"wanted"`              // it has a route
	OnDemand    bool      `json:"on_demand,omitempty"` // allowed in a handshake
	Source      Source    `json:"source"`              // of what is served
	Via         string    `json:"via,omitempty"`       // the wildcard whose certificate it is
	Issuer      string    `json:"issuer,omitempty"`
	NotBefore   time.Time `json:"not_before,omitzero"`
	NotAfter    time.Time `json:"not_after,omitzero"`
	Names       []string  `json:"names,omitempty"`
	Fingerprint string    `json:"fingerprint,omitempty"` // SHA-256, hex
	Revoked     bool      `json:"revoked,omitempty"`     // by its CA
	// Expiring: less than a fifth of its life is left, or none, and nothing is
	// coming in its place: its renewal fails, or it is one that nobody renews.
	Expiring  bool      `json:"expiring,omitempty"`
	LastError string    `json:"last_error,omitempty"`
	Hint      string    `json:"hint,omitempty"` // what to do about it
	LastTry   time.Time `json:"last_try,omitzero"`
	NextTry   time.Time `json:"next_try,omitzero"` // of an order; for one that is well, its renewal
	Attempts  int       `json:"attempts,omitempty"`
	Ordering  bool      `json:"ordering,omitempty"` // an order is under way
}

// Status tells how all hosts stand, by name: those that are wanted, those with
// an own pair, and those with a certificate on demand.
func (m *Manager) Status() []Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.o.Now()
	out := make([]Status, 0, len(m.sites))
	for _, s := range m.sites {
		if s.wanted || s.Demand || s.own != nil {
			out = append(out, m.status(s, now))
		}
	}
	slices.SortFunc(out, func(a, b Status) int { return strings.Compare(a.Host, b.Host) })
	return out
}

// status tells how one host stands. mu is held.
func (m *Manager) status(s *site, now time.Time) Status {
	st := Status{
		Host: s.name, App: s.app, Wanted: s.wanted, OnDemand: s.Demand && !s.wanted, Source: SourceNone,
		LastTry: s.LastTry, Attempts: s.Attempts, Ordering: s.flight != nil && s.running,
	}
	e := m.serving(s)
	m.fill(&st, e)
	m.explain(&st, s, now)
	if e.pair != nil && e.source != SourceLocal && st.Via == "" {
		left := e.pair.leaf.NotAfter.Sub(now)
		nobody := st.Source == SourceOwn || !m.wantsOrder(s, now)
		st.Expiring = left < e.pair.life()/5 && (s.Attempts > 0 || s.Error != "" || nobody)
	}
	return st
}

// serving is what a handshake for the host gets now.
func (m *Manager) serving(s *site) entry {
	x := m.index.Load()
	if domain, wild := strings.CutPrefix(s.name, "*."); wild {
		if e := x.wild[domain]; e.rank > rankExpired || !m.local.covers(domain) {
			return e
		}
		return entry{source: SourceLocal, rank: rankACME} // each host below has its own
	}
	if x.exact[s.name].rank <= rankExpired && m.local.covers(s.name) {
		// One is made with the first handshake.
		if p := m.local.peek(s.name); p != nil {
			return entry{p, rankACME, SourceLocal}
		}
		return entry{source: SourceLocal, rank: rankACME}
	}
	return m.find(s.name)
}

func (m *Manager) fill(st *Status, e entry) {
	if e.rank == rankNone {
		return
	}
	st.Source = e.source
	if e.source == SourceLocal {
		st.Issuer = landward.Printable(m.local.root.Subject.CommonName)
	}
	p := e.pair
	if p == nil {
		return
	}
	st.Issuer = p.issuerName()
	st.NotBefore, st.NotAfter = p.leaf.NotBefore, p.leaf.NotAfter
	st.Fingerprint = p.fingerprint
	st.Revoked = p.revoked.Load()
	for _, n := range p.leaf.DNSNames {
		st.Names = append(st.Names, landward.Printable(n))
	}
	if _, domain, ok := strings.Cut(st.Host, "."); ok {
		if w, ok := m.index.Load().wild[domain]; ok && w.pair == p {
			st.Via = "*." + domain
		}
	}
}

// explain adds why the host has no better certificate, and when that changes.
func (m *Manager) explain(st *Status, s *site, now time.Time) {
	set := func(e *landward.Error) {
		st.LastError, st.Hint = e.Message, e.Hint
		if e.Cause != "" {
			st.LastError += ": " + strings.ReplaceAll(e.Cause, "\n", "; ")
		}
	}
	switch {
	case s.own != nil && s.own.problem != nil:
		set(s.own.problem)
		if s.own.pair != nil {
			st.LastError = "the new key pair is not used: " + st.LastError
		}
	case s.own != nil && s.own.pair != nil && !s.own.pair.valid(now):
		if err := s.own.pair.checkTime(now); err != nil {
			set(asProblem(err))
		}
	case s.Attempts > 0 || s.Error != "":
		st.LastError, st.Hint = s.Error, s.Hint
	case st.Source == SourceNone && (s.wanted || s.Demand) && !m.coveredByWildcard(s.name, now):
		if e := m.orderable(s.name); e != nil {
			set(e)
		}
	}
	if st.Revoked && st.LastError == "" {
		st.LastError = fmt.Sprintf("the certificate was revoked by %s", st.Issuer)
	}
	if m.ca == nil || m.orderable(s.name) != nil || s.own != nil && s.own.pair.valid(now) || !s.wanted && !s.Demand {
		return
	}
	switch {
	case s.Attempts > 0 || s.Error != "":
		st.NextTry = s.NextTry
	case s.issued != nil && st.Source == SourceACME && st.Via == "":
		st.NextTry = latest(s.renewAt, s.NextTry)
	}
}
