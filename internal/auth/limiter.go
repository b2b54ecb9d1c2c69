package auth

import (
	"container/list"
	"crypto/sha256"
	"net/netip"
	"sync"
	"time"

	"landward/internal/landward"
)

// maxTracked bounds how many addresses, and how many accounts, a Limiter remembers.
const maxTracked = 10_000

// Limiter slows down whoever guesses credentials: by address, and by account,
// so that neither many accounts from one address nor one account from many
// addresses is worth trying. Failures are forgotten with time. It is safe for
// concurrent use and its memory is bounded.
type Limiter struct {
	now func() time.Time

	mu        sync.Mutex
	addresses meter
	accounts  meter
}

// NewLimiter makes a limiter that reads the time from now.
func NewLimiter(now func() time.Time) *Limiter {
	return &Limiter{
		now:       now,
		addresses: newMeter(30, 2*time.Second),
		accounts:  newMeter(10, 30*time.Second),
	}
}

// Check says whether an attempt may be made now. Account is "" where none was
// named, addr the zero value where the peer has none. CodeLimited: not yet;
// the hint says when.
func (l *Limiter) Check(addr netip.Addr, account string) error {
	wait := l.Wait(addr, account)
	if wait <= 0 {
		return nil
	}
	wait = wait.Truncate(time.Second) + time.Second
	return landward.Errorf(landward.CodeLimited, "too many failed attempts to sign in").WithHint("try again in %s", wait)
}

// Wait returns how long it is until an attempt may be made; not positive: now.
func (l *Limiter) Wait(addr netip.Addr, account string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	return max(l.addresses.wait(addressKey(addr), now), l.accounts.wait(account, now))
}

// Failed notes that an attempt failed.
func (l *Limiter) Failed(addr netip.Addr, account string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	l.addresses.add(addressKey(addr), now)
	l.accounts.add(account, now)
}

// Succeeded forgets the account's failures. Those of the address stay:
// whoever has one account must not gain free guesses at others.
func (l *Limiter) Succeeded(account string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.accounts.forget(account)
}

// addressKey groups what one peer can choose from: an IPv6 customer has a
// whole /64.
func addressKey(addr netip.Addr) string {
	addr = addr.Unmap().WithZone("")
	switch {
	case !addr.IsValid():
		return ""
	case addr.Is4():
		return addr.String()
	}
	p, err := addr.Prefix(64)
	if err != nil {
		return ""
	}
	return p.String()
}

// meter counts failures by key. Each is forgotten after a while, one by one; from
// burst on the key has to wait.
type meter struct {
	burst float64
	each  time.Duration // that one failure takes to be forgotten
	byKey map[[16]byte]*list.Element
	order *list.List // of *failures, the one that failed last at the front
}

type failures struct {
	key   [16]byte
	count float64
	at    time.Time
}

func newMeter(burst float64, each time.Duration) meter {
	return meter{burst: burst, each: each, byKey: make(map[[16]byte]*list.Element), order: list.New()}
}

// digest makes keys of one size out of what a peer may make as long as it likes.
func digest(key string) [16]byte {
	sum := sha256.Sum256([]byte(key))
	return [16]byte(sum[:16])
}

// count is how many failures of f are not forgotten at that time. A clock
// that jumped back forgets nothing.
func (m *meter) count(f *failures, now time.Time) float64 {
	passed := max(0, now.Sub(f.at))
	return max(0, f.count-float64(passed)/float64(m.each))
}

func (m *meter) wait(key string, now time.Time) time.Duration {
	e := m.byKey[digest(key)]
	if key == "" || e == nil {
		return 0
	}
	over := m.count(e.Value.(*failures), now) - (m.burst - 1)
	return time.Duration(over * float64(m.each))
}

func (m *meter) add(key string, now time.Time) {
	if key == "" {
		return
	}
	k := digest(key)
	if e := m.byKey[k]; e != nil {
		f := e.Value.(*failures)
		// Never far over the limit, or a long attack would lock the owner out
		// for days.
		f.count, f.at = min(m.count(f, now)+1, 2*m.burst), now
		m.order.MoveToFront(e)
		return
	}
	if m.order.Len() >= maxTracked {
		oldest := m.order.Back()
		delete(m.byKey, m.order.Remove(oldest).(*failures).key)
	}
	m.byKey[k] = m.order.PushFront(&failures{key: k, count: 1, at: now})
}

func (m *meter) forget(key string) {
	k := digest(key)
	if e := m.byKey[k]; e != nil {
		m.order.Remove(e)
		delete(m.byKey, k)
	}
}
