package guard

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"landward/internal/landward"
)

// Sizes of a Rate's table: 8192 clients in 136 KiB.
const (
	rateSets = 1024
	rateWays = 8
)

// Bounds of a rate, which keep its sums far from overflow.
const (
	maxRequests = 1_000_000
	minPer      = time.Millisecond
	maxPer      = 24 * time.Hour
	maxRefill   = 30 * 24 * time.Hour
)

// Rate gives each client address a bucket of tokens, one for a request, which
// fills at an even pace. IPv6 clients share a bucket per /64, which is what one
// client has. Memory is fixed: where there are more clients than slots, the
// bucket that is nearest to full is forgotten, to its client's advantage. A nil
// Rate lets everything pass. It is safe for concurrent use.
type Rate struct {
	rule  landward.Rate // with defaults
	every int64         // nanoseconds for one token
	slack int64         // how far ahead of now a bucket's time may be
	seed  maphash.Seed  // so that nobody can choose whose slots to fill
	sets  [rateSets]rateSet
}

// rateSet is where the buckets of the clients with one hash are.
type rateSet struct {
	mu    sync.Mutex
	slots [rateWays]rateSlot
}

// rateSlot is a bucket. full is when it will be full again: a bucket whose time
// has passed says the same as none.
type rateSlot struct {
	key  uint64
	full int64
}

// NewRate compiles a rule. No limit gives nil.
func NewRate(rule landward.Rate) (*Rate, error) {
	if err := checkRate(rule); err != nil {
		return nil, err
	}
	if rule.Requests == 0 {
		return nil, nil
	}
	rule = rateDefaults(rule)
	r := &Rate{rule: rule, every: int64(rule.Per) / int64(rule.Requests), seed: maphash.MakeSeed()}
	r.slack = int64(rule.Burst-1) * r.every
	return r, nil
}

func rateDefaults(rule landward.Rate) landward.Rate {
	if rule.Per == 0 {
		rule.Per = time.Second
	}
	if rule.Burst == 0 {
		rule.Burst = rule.Requests
	}
	return rule
}

func checkRate(rule landward.Rate) error {
	switch {
	case rule.Requests < 0 || rule.Requests > maxRequests:
		return landward.Invalid("routes.rate.requests", "%d is not a number of requests from 0 to %d", rule.Requests, maxRequests)
	case rule.Burst < 0 || rule.Burst > maxRequests:
		return landward.Invalid("routes.rate.burst", "%d is not a number of requests from 0 to %d", rule.Burst, maxRequests)
	case rule.Per != 0 && (rule.Per < minPer || rule.Per > maxPer):
		return landward.Invalid("routes.rate.per", "%s is not between %s and %s", rule.Per, minPer, maxPer)
	case rule.Requests == 0 && (rule.Per != 0 || rule.Burst != 0):
		return landward.Invalid("routes.rate.requests", "a rate needs a number of requests")
	case rule.Requests == 0:
		return nil
	}
	rule = rateDefaults(rule)
	every := rule.Per / time.Duration(rule.Requests)
	if int64(rule.Burst) > int64(maxRefill)/int64(every) {
		return landward.Invalid("routes.rate.burst", "%d requests would take more than %d days to come back",
			rule.Burst, maxRefill/(24*time.Hour))
	}
	return nil
}

// Same reports whether r is what NewRate would make of rule, so that clients
// keep their buckets when a table is swapped.
func (r *Rate) Same(rule landward.Rate) bool {
	if r == nil || rule.Requests == 0 {
		return r == nil && rule.Requests == 0
	}
	return r.rule == rateDefaults(rule)
}

// Take takes a token of addr's bucket at now, in nanoseconds of a clock that
// never jumps. Where there is none, retryAfter is how many nanoseconds until
// there is.
func (r *Rate) Take(addr netip.Addr, now int64) (ok bool, retryAfter int64) {
	if r == nil {
		return true, 0
	}
	key := rateKey(addr)
	set := &r.sets[maphash.Comparable(r.seed, key)%rateSets]
	set.mu.Lock()
	defer set.mu.Unlock()
	slot := set.find(key)
	full := now
	if slot.key == key && slot.full > now {
		full = slot.full
	}
	if wait := full - now - r.slack; wait > 0 {
		return false, wait
	}
	slot.key, slot.full = key, full+r.every
	return true, 0
}

// find returns key's slot, or the one to use for it: that whose bucket is, or
// will be, full first.
func (s *rateSet) find(key uint64) *rateSlot {
	best := &s.slots[0]
	for i := range s.slots {
		slot := &s.slots[i]
		if slot.key == key {
			return slot
		}
		if slot.full < best.full {
			best = slot
		}
	}
	return best
}

// rateKey is one number for each client: the /64 of IPv6, and IPv4 where its
// mapped addresses would be, which no network has. Zero is kept for slots that
// nobody has used.
func rateKey(addr netip.Addr) uint64 {
	const mapped = 0xffff << 32
	if !addr.IsValid() {
		return 1
	}
	if addr = addr.Unmap(); addr.Is4() {
		b := addr.As4()
		return mapped | uint64(binary.BigEndian.Uint32(b[:]))
	}
	b := addr.As16()
	return max(binary.BigEndian.Uint64(b[:8]), 1)
}
