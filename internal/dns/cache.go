package dns

import (
	"encoding/binary"
	"sync"
	"time"
)

// staleTTL is what an answer past its TTL is given with, and staleHold how long
// no upstream is asked again after one could not be reached (RFC 8767 section
// 5). failureTTL is how long a failure without such an answer is remembered
// (RFC 9520 section 3.2).
const (
	staleTTL   = 30 // seconds
	staleHold  = 30 * time.Second
	failureTTL = time.Second
)

// entry is an upstream's answer to one question, as it is kept. Only the cache
// changes it, and only what the comment says.
type entry struct {
	key    string
	code   int
	whole  message
	public message // the same without private addresses
	// filtered: something is missing in public.
	filtered bool
	failed   bool // no upstream answered; there is no message
	stored   time.Time
	ttl      time.Duration

	// Changed by the cache, under its lock.
	retry      time.Time // when upstreams may be asked again, once it is stale
	prev, next *entry
}

// message is what follows the question in a packed answer. Its pointers stay
// right with any other question of the same length in front.
type message struct {
	body   []byte
	ttls   []int // where TTLs are in the whole answer
	an, ns uint16
}

// overhead is a guess at what an entry takes beside its own bytes: the structs,
// its share of the map.
const overhead = 320

func (e *entry) size() int {
	n := overhead + 2*len(e.key) + len(e.whole.body) + 8*len(e.whole.ttls)
	if e.filtered {
		n += len(e.public.body) + 8*len(e.public.ttls)
	}
	return n
}

// write puts the answer into r. Its TTLs are as much smaller as it is old.
func (e *entry) write(r *reply, private, stale bool, now time.Time) {
	m := &e.whole
	if !private && e.filtered {
		m = &e.public
		r.reason = reasonFiltered
	}
	r.code = e.code
	r.b = append(r.b, m.body...)
	r.an, r.ns = m.an, m.ns
	age := uint32(max(now.Sub(e.stored), 0) / time.Second)
	for _, at := range m.ttls {
		ttl := binary.BigEndian.Uint32(r.b[at:])
		switch {
		case stale:
			ttl = staleTTL
		case ttl > age:
			ttl -= age
		default:
			ttl = 0
		}
		binary.BigEndian.PutUint32(r.b[at:], ttl)
	}
	if stale {
		r.reason = reasonStale
	}
}

// freshness says what an entry is good for.
type freshness int

const (
	missing freshness = iota
	fresh             // within its TTL
	aged              // past it: to be asked for again, and used if nothing comes
	held              // past it, and upstreams failed a moment ago: to be used at once
)

// cache keeps answers, the least recently used of which go first.
type cache struct {
	entries, bytes int
	staleFor       time.Duration

	mu   sync.Mutex
	byID map[string]*entry
	used int   // bytes
	ring entry // next: the most recently used; prev: the least
}

func newCache(l Limits) *cache {
	c := &cache{
		entries: l.CacheEntries, bytes: l.CacheBytes,
		staleFor: max(l.StaleFor, 0), byID: make(map[string]*entry),
	}
	c.ring.next, c.ring.prev = &c.ring, &c.ring
	return c
}

func (c *cache) get(key []byte, now time.Time) (*entry, freshness) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.byID[string(key)]
	if e == nil {
		return nil, missing
	}
	old := now.Sub(e.stored)
	switch {
	case old < e.ttl:
		c.front(e)
		return e, fresh
	case e.failed || old >= e.ttl+c.staleFor:
		c.drop(e)
		return nil, missing
	}
	c.front(e)
	if now.Before(e.retry) {
		return e, held
	}
	return e, aged
}

// put keeps an answer. A failure does not push a stale answer out: it only
// spares the upstreams for a while.
func (c *cache) put(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.byID[e.key]; old != nil {
		if e.failed && !old.failed && e.stored.Sub(old.stored) < old.ttl+c.staleFor {
			old.retry = e.stored.Add(staleHold)
			return
		}
		c.drop(old)
	}
	if e.ttl <= 0 || e.size() > c.bytes/8 {
		return
	}
	c.byID[e.key] = e
	c.used += e.size()
	c.link(e)
	for (len(c.byID) > c.entries || c.used > c.bytes) && c.ring.prev != e {
		c.drop(c.ring.prev)
	}
}

func (c *cache) front(e *entry) {
	c.unlink(e)
	c.link(e)
}

func (c *cache) link(e *entry) {
	e.prev, e.next = &c.ring, c.ring.next
	e.prev.next, e.next.prev = e, e
}

func (c *cache) unlink(e *entry) {
	e.prev.next, e.next.prev = e.next, e.prev
}

func (c *cache) drop(e *entry) {
	c.unlink(e)
	c.used -= e.size()
	delete(c.byID, e.key)
}

func (c *cache) size() (entries, bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.byID), c.used
}
