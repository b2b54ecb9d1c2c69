package cert

import (
	"context"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"landward/internal/cert/acme"
	"landward/internal/landward"
)

const (
	secondTry  = 5 * time.Second // with another challenge
	firstDelay = time.Minute
	maxDelay   = 6 * time.Hour
	// askEvery is how often the CA is asked when it would like a renewal (RFC
	// 9773 §4.3), unless it says itself.
	askEvery    = 6 * time.Hour
	minAskEvery = time.Hour
	pruneEvery  = time.Hour
	maxWait     = domainWindow + 24*time.Hour
	keepNew     = 36 * time.Hour // Let's Encrypt: 5 of the same in 7 days
)

// orderLoop begins what is due until ctx ends, and waits for it.
func (m *Manager) orderLoop(ctx context.Context) {
	release, waited, err := m.alone(ctx)
	if err != nil {
		if ctx.Err() == nil {
			m.log.Error("certificates are not renewed", "err", err)
		}
		return
	}
	defer release()
	if waited {
		// Whoever had the folder before may have ordered since it was read.
		if err := m.loadIssued(); err != nil {
			m.log.Error("read certificates again", "err", err)
		}
		m.mu.Lock()
		m.rebuild()
		m.mu.Unlock()
	}
	m.ordering.Store(true)
	defer m.ordering.Store(false)
	var wg sync.WaitGroup
	defer wg.Wait()
	tick := time.NewTicker(m.o.Poll)
	defer tick.Stop()
	var pruned time.Time
	for {
		now := m.o.Now()
		if now.Sub(pruned) >= pruneEvery || now.Before(pruned) {
			pruned = now
			m.tidy(now)
		}
		m.beginDue(ctx, &wg)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-m.wake:
		}
	}
}

func (m *Manager) tidy(now time.Time) {
	m.mu.Lock()
	files := m.prune(now)
	m.mu.Unlock()
	for _, f := range files {
		if err := os.Remove(f); err != nil && !errors.Is(err, os.ErrNotExist) {
			m.log.Warn("remove an old certificate", "err", err)
		}
	}
}

// task is what a worker does for a host, with what it needs to know.
type task struct {
	s        *site
	ask      bool // only when to renew
	leaf     *x509.Certificate
	demanded bool // and not wanted otherwise
	kind     string
}

// beginDue starts workers for what is due, while there is room.
func (m *Manager) beginDue(ctx context.Context, wg *sync.WaitGroup) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.o.Now()
	var due []*site
	for _, s := range m.sites {
		if !s.running && (m.orderDue(s, now) || m.askDue(s, now)) {
			due = append(due, s)
		}
	}
	// Where somebody waits comes first, then who has waited longest.
	slices.SortFunc(due, func(a, b *site) int {
		if (a.flight != nil) != (b.flight != nil) {
			if a.flight != nil {
				return -1
			}
			return 1
		}
		if c := a.NextTry.Compare(b.NextTry); c != 0 {
			return c
		}
		return strings.Compare(a.name, b.name)
	})
	for _, s := range due {
		t := task{s: s, ask: !m.orderDue(s, now), demanded: s.Demand && !s.wanted}
		// One that ends looks again. Questions are not urgent: one at a time, so
		// that they take no room from orders.
		if m.busy >= m.o.ACME.AtOnce {
			return
		}
		if t.ask && m.asking {
			continue
		}
		if s.issued != nil {
			t.leaf = s.issued.leaf
		}
		if !t.ask {
			t.kind = m.challenge(s)
			if s.flight == nil {
				s.flight = &flight{done: make(chan struct{})}
			}
		}
		m.begin(ctx, wg, t)
	}
}

// begin starts the worker of a task. mu is held.
func (m *Manager) begin(ctx context.Context, wg *sync.WaitGroup, t task) {
	t.s.running = true
	if t.ask {
		m.asking = true
	} else {
		m.busy++
	}
	wg.Go(func() {
		if t.ask {
			m.askWindow(ctx, t)
		} else {
			m.order(ctx, t)
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		t.s.running = false
		if t.ask {
			m.asking = false
		} else {
			m.busy--
		}
		m.dropIfIdle(t.s)
		m.stir()
	})
}

func (m *Manager) orderDue(s *site, now time.Time) bool {
	// One that was revoked is of no use to anybody: it need not be kept.
	revoked := s.Attempts == 0 && s.issued != nil && s.issued.revoked.Load()
	// A time further off than any wait is from a clock that was wrong.
	waits := now.Before(s.NextTry) && s.NextTry.Sub(now) <= maxWait
	return (revoked || !waits) && m.wantsOrder(s, now)
}

func (m *Manager) askDue(s *site, now time.Time) bool {
	return s.issued != nil && (s.wanted || s.Demand) && !now.Before(s.askCA) && s.issued.valid(now)
}

// challenge picks the challenge of the next attempt: the one that worked last,
// then the others in turn.
func (m *Manager) challenge(s *site) string {
	kinds := m.ca.Challenges(s.name)
	if i := slices.Index(kinds, s.Challenge); i > 0 {
		kinds[0], kinds[i] = kinds[i], kinds[0]
	}
	return kinds[s.Attempts%len(kinds)]
}

// order places one order and takes in what comes of it.
func (m *Manager) order(ctx context.Context, t task) {
	name, now := t.s.name, m.o.Now()
	defer m.land(t.s)
	if t.demanded && t.leaf != nil && !m.stillAllowed(ctx, name) {
		m.mu.Lock()
		t.s.Demand = false
		m.rebuild()
		m.mu.Unlock()
		m.log.Info("a certificate on demand is given up", "host", name)
		return
	}
	m.mu.Lock()
	at, limit := m.guard.reserve(name, t.leaf == nil, now)
	if limit != nil {
		t.s.setError(limit)
		t.s.NextTry = at
	}
	m.mu.Unlock()
	// The count is on disk before the CA counts: a crash must not lose it.
	if err := m.saveState(); err != nil {
		m.log.Error("no certificate is ordered", "host", name, "err", err)
		m.failed(t, now, landward.Errorf(landward.CodeUnavailable, "the folder of certificates cannot be written").
			WithHint("is the disk full?").Wrap(err))
		return
	}
	if limit != nil {
		m.log.Warn("an order waits", "host", name, "until", at, "reason", limit.Message)
		return
	}
	m.log.Info("order a certificate", "host", name, "challenge", t.kind, "renewal", t.leaf != nil)
	issued, err := m.ca.Obtain(ctx, acme.Order{Name: name, Challenge: t.kind, Replaces: t.leaf})
	if err == nil {
		err = m.take(t, issued)
	}
	if err != nil {
		m.failed(t, now, err)
	}
	if err := m.saveState(); err != nil {
		m.log.Error("keep the state of orders", "err", err)
	}
}

// land tells the handshakes that wait.
func (m *Manager) land(s *site) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s.flight != nil {
		close(s.flight.done)
		s.flight = nil
	}
}

// take puts a new certificate into use.
func (m *Manager) take(t task, issued acme.Issued) error {
	name := t.s.name
	p, err := parsePair(name, issued.Chain, issued.Key)
	if err != nil {
		return landward.Errorf(landward.CodeFailed, "the CA sent a certificate for %s that is not good", name).
			WithCause(err.Error()).Wrap(err)
	}
	// One that cannot be stored serves until the next restart.
	stored := m.storePair(name, issued.Chain, issued.Key)
	if stored != nil {
		m.log.Error("store a certificate", "host", name, "err", stored)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.setIssued(t.s, p)
	s := t.s
	s.Attempts, s.Error, s.Hint, s.Challenge = 0, "", "", t.kind
	s.LastTry = m.o.Now()
	// Whatever clocks and CAs say, a certificate is kept for a while: a loop of
	// renewals would use up the CA's limits.
	s.NextTry = s.LastTry.Add(min(p.life()/6, keepNew))
	m.rebuild()
	m.log.Info("certificate is in use", "host", name, "issuer", p.issuerName(), "not_after", p.leaf.NotAfter)
	return nil
}

// failed notes an attempt that gave no certificate, and when the next one is.
func (m *Manager) failed(t task, began time.Time, err error) {
	if errors.Is(err, context.Canceled) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.guard.release(t.s.name, began)
		return // we are going down; that is nobody's failure
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s, now := t.s, m.o.Now()
	m.guard.release(s.name, began)
	s.Attempts++
	s.LastTry = now
	wait := backoff(s.Attempts, len(m.ca.Challenges(s.name)))
	var f *acme.Failure
	if errors.As(err, &f) {
		if f.Validation {
			m.guard.fail(s.name, now)
		}
		wait = max(wait, f.RetryAfter)
	}
	s.setError(landward.AsError(err))
	s.NextTry = now.Add(wait)
	m.log.Warn("no certificate", "host", s.name, "challenge", t.kind, "attempts", s.Attempts,
		"next_try", s.NextTry, "expiring", m.status(s, now).Expiring, "err", err)
}

// backoff is how long to wait after so many failed attempts: other challenges
// soon, then longer each time, up to 6 hours, for ever. A fifth of it is
// chance, so that many hosts do not come at once.
func backoff(attempts, challenges int) time.Duration {
	d := maxDelay
	switch n := attempts - challenges; {
	case n < 0:
		d = secondTry
	case n < 9:
		d = min(firstDelay<<n, maxDelay)
	}
	return d - d/10 + rand.N(d/5)
}

// renewAt is when a third of a certificate's life is left, and up to a
// twentieth earlier, always the same for one certificate: so many that were
// ordered together are not renewed together.
func renewAt(p *pair) time.Time {
	life := p.life()
	var early time.Duration
	if sum, err := hex.DecodeString(p.fingerprint); err == nil && len(sum) >= 2 {
		early = life / 20 / (1 << 16) * time.Duration(binary.BigEndian.Uint16(sum))
	}
	return p.leaf.NotAfter.Add(-life/3 - early)
}

// setIssued makes p the host's certificate from the CA.
func (m *Manager) setIssued(s *site, p *pair) {
	s.issued = p
	s.renewAt = renewAt(p)
	s.window = time.Time{}
	// The first question comes at a time of its own, as all after it do.
	s.askCA = m.o.Now().Add(rand.N(min(askEvery, max(p.life()/20, time.Second))))
}

// askWindow asks the CA when it would like the host's certificate renewed. It
// can only be earlier than we would by ourselves: after an incident the CA
// brings renewals forward this way.
func (m *Manager) askWindow(ctx context.Context, t task) {
	w, ok, err := m.ca.RenewalWindow(ctx, t.leaf)
	m.mu.Lock()
	defer m.mu.Unlock()
	s, now := t.s, m.o.Now()
	if s.issued == nil || s.issued.leaf != t.leaf {
		return
	}
	s.askCA = now.Add(askEvery - askEvery/10 + rand.N(askEvery/5))
	switch {
	case err != nil:
		m.log.Debug("ask the CA when to renew", "host", s.name, "err", err)
		return
	case !ok:
		s.askCA = now.Add(24 * time.Hour)
		return
	}
	if w.AskAgain.After(now.Add(minAskEvery)) && w.AskAgain.Before(now.Add(24*time.Hour)) {
		s.askCA = w.AskAgain
	}
	if w.Start.Equal(s.window) {
		return // the time in it stays as it was picked
	}
	s.window = w.Start
	s.renewAt = renewAt(s.issued)
	if w.At.Before(s.renewAt) {
		s.renewAt = w.At
		m.log.Info("the CA wants an early renewal", "host", s.name, "at", w.At)
	}
}

// Retry lets a host's next order begin now instead of at the end of its
// back-off; the limits hold all the same. The error is a *landward.Error.
func (m *Manager) Retry(host string) error {
	name, ok := normal(host)
	if !ok {
		return landward.Invalid("host", "%q is not a host name", landward.Printable(host))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.sites[name]
	if s == nil || !s.wanted && !s.Demand {
		return landward.Errorf(landward.CodeNotFound, "%s is not a host that is served here", name)
	}
	if err := m.orderable(name); err != nil {
		return err
	}
	if s.Attempts > 0 {
		s.NextTry = m.o.Now()
		m.stir()
	}
	return nil
}

func (s *site) setError(e *landward.Error) {
	s.Error, s.Hint = e.Message, e.Hint
	if e.Cause != "" {
		s.Error += ": " + strings.ReplaceAll(e.Cause, "\n", "; ")
	}
}
