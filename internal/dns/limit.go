package dns

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// limiter bounds how often each of very many addresses gets something, in
// fixed memory. An address hashes to a slot; two that share one share its
// rate, which only a flood from a whole network's worth of addresses makes
// likely. Keys are not kept: there is nothing that a flood could push out.
type limiter struct {
	seed  maphash.Seed
	every int64 // nanoseconds between two, at the steady rate
	burst int64 // how far ahead of the steady rate one may be
	slots []atomic.Int64
}

const limiterSlots = 1 << 14

// newLimiter returns nil, which allows everything, for a rate below zero.
func newLimiter(rate int) *limiter {
	if rate < 0 {
		return nil
	}
	every := int64(time.Second) / int64(rate)
	return &limiter{
		seed:  maphash.MakeSeed(),
		every: every,
		burst: every * int64(2*rate-1),
		slots: make([]atomic.Int64, limiterSlots),
	}
}

// allow counts one for the first bits of addr. It is the generic cell rate
// algorithm: a slot holds the time at which the steady rate would have let
// through all that was counted so far.
func (l *limiter) allow(addr netip.Addr, bits int, now time.Time) bool {
	if l == nil {
		return true
	}
	key := addr.As16()
	if addr.Is4() {
		bits += 96
	}
	slot := &l.slots[maphash.Bytes(l.seed, key[:bits/8])%limiterSlots]
	at := now.UnixNano()
	for {
		held := slot.Load()
		due := held
		if due-at > l.burst+l.every {
			due = at // the clock was set back
		}
		if due-at > l.burst {
			return false
		}
		if slot.CompareAndSwap(held, max(due, at)+l.every) {
			return true
		}
	}
}

// network is how much of an address stands for one stranger: what one line at
// home is given.
func network(addr netip.Addr) int {
	if addr.Is4() {
		return 24
	}
	return 56
}

// gate bounds how many things go on at once, all together and for an address.
type gate struct {
	all, each int

	mu   sync.Mutex
	n    int
	held map[netip.Addr]int
}

func newGate(all, each int) *gate {
	return &gate{all: all, each: each, held: make(map[netip.Addr]int)}
}

// enter takes a place, of which the last spare ones are not given out.
func (g *gate) enter(addr netip.Addr, spare int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.n >= g.all-spare || g.held[addr] >= g.each {
		return false
	}
	g.n++
	g.held[addr]++
	return true
}

func (g *gate) leave(addr netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.n--
	if g.held[addr]--; g.held[addr] == 0 {
		delete(g.held, addr)
	}
}
