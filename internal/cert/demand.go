package cert

import (
	"context"
	"strings"
	"time"

	"landward/internal/landward"
)

// What handshakes of strangers can make us do is bounded by these.
const (
	maxWaiting  = 256   // handshakes that wait for an order
	maxAsks     = 32    // questions to OnDemand at a time
	maxQueued   = 64    // first orders on demand that have not begun
	maxDemanded = 10000 // hosts that were allowed on demand
	maxRefused  = 4096  // names whose refusal is remembered
	askWithin   = 5 * time.Second
	refusedFor  = time.Minute
	// idleDemand is how long a host that was allowed, but never got its
	// certificate, is remembered after the last handshake for it.
	idleDemand = 24 * time.Hour
)

// question is one question to OnDemand, for all who wait for its answer.
type question struct {
	done chan struct{}
	yes  bool
}

// late is for a host without a certificate: it waits for one whose first order
// is under way, or has one ordered where OnDemand allows it. nil: there is
// none in time.
func (m *Manager) late(ctx context.Context, sni string) *pair {
	if m.ca == nil || !m.ordering.Load() {
		return nil
	}
	name, ok := normal(sni)
	if !ok || strings.HasPrefix(name, "*.") {
		return nil
	}
	if m.waiting.Add(1) > maxWaiting {
		m.waiting.Add(-1)
		return nil
	}
	defer m.waiting.Add(-1)
	f := m.expected(name)
	if f == nil && m.allowed(ctx, name) {
		f = m.demand(name)
	}
	if f == nil {
		return m.find(name).pair // it may have come in the meantime
	}
	timer := time.NewTimer(m.o.Wait)
	defer timer.Stop()
	select {
	case <-f.done:
	case <-timer.C:
	case <-ctx.Done():
	}
	return m.find(name).pair
}

// expected is the first order for a host, or for the wildcard above it, that
// is under way or about to be.
func (m *Manager) expected(name string) *flight {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, domain, _ := strings.Cut(name, ".")
	for _, n := range []string{name, "*." + domain} {
		s := m.sites[n]
		if s == nil || !s.wanted && !s.Demand {
			continue
		}
		s.asked = m.o.Now()
		if s.flight == nil && s.Attempts == 0 && s.issued == nil && m.orderDue(s, s.asked) {
			s.flight = &flight{done: make(chan struct{})}
			m.stir()
		}
		if s.flight != nil {
			return s.flight
		}
	}
	return nil
}

// allowed asks OnDemand, once for all handshakes that want to know.
func (m *Manager) allowed(ctx context.Context, name string) bool {
	q, mine := m.question(name)
	if q == nil {
		return false
	}
	if !mine {
		select {
		case <-q.done:
			return q.yes
		case <-ctx.Done():
			return false
		}
	}
	// Others wait for the answer too, so that it outlives this client.
	asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), askWithin)
	defer cancel()
	err := m.o.OnDemand(asking, name)
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.asks, name)
	q.yes = err == nil
	close(q.done)
	if err != nil {
		m.log.Debug("no certificate on demand", "host", name, "err", err)
		m.remember(name)
	}
	return q.yes
}

func (m *Manager) question(name string) (q *question, mine bool) {
	if m.o.OnDemand == nil || m.orderable(name) != nil {
		return nil, false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.sites[name]; s != nil && (s.wanted || s.Demand) {
		return nil, false // its turn comes; it failed before, or it is not for the CA
	}
	if until, no := m.refused[name]; no && m.o.Now().Before(until) {
		return nil, false
	}
	if q := m.asks[name]; q != nil {
		return q, false
	}
	if len(m.asks) >= maxAsks {
		return nil, false
	}
	q = &question{done: make(chan struct{})}
	m.asks[name] = q
	return q, true
}

// remember keeps a refusal for a while, so that OnDemand is not asked by every
// handshake.
func (m *Manager) remember(name string) {
	now := m.o.Now()
	if len(m.refused) >= maxRefused {
		for n, until := range m.refused {
			if !now.Before(until) {
				delete(m.refused, n)
			}
		}
	}
	if len(m.refused) >= maxRefused {
		clear(m.refused)
	}
	m.refused[name] = now.Add(refusedFor)
}

// demand puts an allowed host into the queue of orders.
func (m *Manager) demand(name string) *flight {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.sites[name]; s != nil && (s.wanted || s.Demand) && s.flight != nil {
		return s.flight // of another handshake with the same answer
	}
	demanded, queued := 0, 0
	for _, s := range m.sites {
		if s.Demand {
			demanded++
			if s.issued == nil && !s.running && s.Attempts == 0 {
				queued++
			}
		}
	}
	if demanded >= maxDemanded || queued >= maxQueued {
		return nil
	}
	s := m.site(name)
	s.Demand, s.asked = true, m.o.Now()
	if s.issued != nil {
		m.rebuild() // it had one from before
	}
	now := m.o.Now()
	if !m.orderDue(s, now) {
		return nil
	}
	if s.flight == nil {
		s.flight = &flight{done: make(chan struct{})}
	}
	m.stir()
	return s.flight
}

// stillAllowed asks OnDemand again before a certificate is renewed. Only a
// clear no counts: who cannot be asked now has said yes before.
func (m *Manager) stillAllowed(ctx context.Context, name string) bool {
	if m.o.OnDemand == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	err := m.o.OnDemand(ctx, name)
	switch landward.CodeOf(err) {
	case landward.CodeForbidden, landward.CodeNotFound:
		return false
	}
	return true
}
