package dns

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// keySize is the longest key of the cache: a name, a type, and a byte of bits.
const keySize = maxName + 3

// key is what an answer is kept under. Those who check signatures (DO, CD) get
// other answers than those who do not.
func (q *query) key(b []byte) []byte {
	b = append(b, q.name()...)
	b = binary.BigEndian.AppendUint16(b, q.qtype)
	bits := byte(0)
	if q.do {
		bits |= 1
	}
	if q.bits&bitCD != 0 {
		bits |= 2
	}
	return append(b, bits)
}

// flight is one question that upstreams are being asked, for all who want to
// know.
type flight struct {
	q    query
	key  string
	sent string // the name as upstreams get it, in random case
	at   atomic.Pointer[upstream]
	done chan struct{}
	e    *entry // after done
}

// flights are those under way. For one question there is never more than one:
// who could start many for the same name would have as many chances to slip a
// forged answer in.
type flights struct {
	most int

	mu     sync.Mutex
	byKey  map[string]*flight
	bySent map[string]*flight
}

func newFlights(most int) *flights {
	return &flights{most: most, byKey: make(map[string]*flight), bySent: make(map[string]*flight)}
}

// loopLetters is how many letters of random case are no coincidence.
const loopLetters = 12

// looped returns the flight that a question is the echo of: it has the case
// that we chose by chance, so it went out from us and came back.
func (fs *flights) looped(q *query) *flight {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.bySent[string(q.sent[:q.n])]
}

// join returns the flight for a question. first: it is the caller's to run.
func (fs *flights) join(q *query, key string) (f *flight, first bool) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if f := fs.byKey[key]; f != nil {
		return f, false
	}
	if len(fs.byKey) >= fs.most {
		return nil, false
	}
	f = &flight{q: *q, key: key, done: make(chan struct{})}
	f.sent = randomCase(q.name())
	fs.byKey[key] = f
	if letters(q.name()) >= loopLetters {
		fs.bySent[f.sent] = f
	}
	return f, true
}

func (fs *flights) end(f *flight, e *entry) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	f.e = e
	close(f.done)
	delete(fs.byKey, f.key)
	if fs.bySent[f.sent] == f {
		delete(fs.bySent, f.sent)
	}
}

// randomCase writes each letter of a name large or small, by chance: an answer
// must repeat it, and somebody who cannot see the question cannot know it.
func randomCase(name []byte) string {
	b := append([]byte(nil), name...)
	var coins [(maxName + 7) / 8]byte
	_, _ = rand.Read(coins[:]) // never fails
	for i, c := range b {
		if 'a' <= c && c <= 'z' && coins[i/8]>>(i%8)&1 != 0 {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}

// forward answers a foreign question from the cache, or starts to find out.
func (s *Server) forward(p peer, c *client, q *query, out []byte) ([]byte, outcome) {
	now := s.o.Now()
	var room [keySize]byte
	key := q.key(room[:0])
	e, state := s.cache.get(key, now)
	if state == fresh || state == held {
		return s.kept(c, q, e, state != fresh, now, out), answered
	}
	if f := s.flights.looped(q); f != nil {
		if u := f.at.Load(); u != nil {
			u.loops(now, s.o.Log)
		}
		return s.fail(c, q, out), answered
	}
	if !s.forwarding.enter(c.addr, 0) {
		if e != nil {
			return s.kept(c, q, e, true, now, out), answered
		}
		return s.fail(c, q, out), answered
	}
	f, first := s.flights.join(q, string(key))
	if f == nil {
		s.forwarding.leave(c.addr)
		return s.fail(c, q, out), answered
	}
	if first {
		s.count.forwarded.Add(1)
		s.wg.Go(func() { s.fly(f) })
	}
	w := &waiter{s: s, p: p.keep(), c: *c, q: *q, f: f, stale: e}
	s.wg.Go(w.wait)
	return nil, later
}

// kept answers with an entry.
func (s *Server) kept(c *client, q *query, e *entry, stale bool, now time.Time, out []byte) []byte {
	switch {
	case e.failed:
		return s.fail(c, q, out)
	case stale:
		s.count.stale.Add(1)
	default:
		s.count.hits.Add(1)
	}
	return s.give(c, q, e, stale, now, out)
}

func (s *Server) give(c *client, q *query, e *entry, stale bool, now time.Time, out []byte) []byte {
	if e.filtered && !c.private {
		s.count.filtered.Add(1)
	}
	r := q.start(out, bitRA, dns.RcodeSuccess)
	e.write(&r, c.private, stale, now)
	return r.finish(s.limit(c, q))
}

// waiter is a question whose answer an upstream has.
type waiter struct {
	s     *Server
	p     peer
	c     client
	q     query
	f     *flight
	stale *entry // to fall back to; may be nil
}

func (w *waiter) wait() {
	defer w.s.forwarding.leave(w.c.addr)
	var enough <-chan time.Time
	if w.stale != nil {
		t := time.NewTimer(w.s.o.Limits.StaleAfter)
		defer t.Stop()
		enough = t.C
	}
	select {
	case <-w.f.done:
		w.p.send(w.answer(w.f.e))
	case <-enough:
		w.p.send(w.answer(nil))
	case <-w.s.work.Done():
		w.p.send(nil)
	}
}

// answer makes the answer of a flight, or of one that takes too long.
func (w *waiter) answer(e *entry) []byte {
	now := w.s.o.Now()
	switch {
	case e != nil && !e.failed:
		return w.s.give(&w.c, &w.q, e, false, now, nil)
	case w.stale != nil:
		return w.s.kept(&w.c, &w.q, w.stale, true, now, nil)
	default:
		return w.s.fail(&w.c, &w.q, nil)
	}
}

// fly asks the upstreams and keeps what they say.
func (s *Server) fly(f *flight) {
	ctx, stop := context.WithTimeout(s.work, s.o.Limits.ForwardTimeout)
	defer stop()
	e := s.askAll(ctx, f)
	if e == nil {
		e = &entry{failed: true, ttl: failureTTL, stored: s.o.Now()}
	}
	e.key = f.key
	if s.work.Err() == nil {
		s.cache.put(e)
	}
	s.flights.end(f, e)
}

// rounds is how often each upstream is asked at most: a packet may be lost.
const rounds = 2

// askAll asks one upstream after the other, the ones that lately answered
// first. It returns nil when none has an answer.
func (s *Server) askAll(ctx context.Context, f *flight) *entry {
	for round := range rounds {
		for _, u := range s.upstream.order(s.o.Now()) {
			f.at.Store(u)
			e, err := s.ask(ctx, u, f, s.o.Limits.UpstreamTimeout<<round)
			if s.work.Err() != nil {
				return nil
			}
			s.judge(u, err)
			if err == nil {
				return e
			}
			if ctx.Err() != nil {
				return nil
			}
		}
	}
	return nil
}
