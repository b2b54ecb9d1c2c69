package guard

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"hash"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"

	"landward/internal/landward"
	"landward/internal/route/wire"
)

// Entry is what Basic says to a request.
type Entry uint8

// The entries.
const (
	// Refused is for no or wrong credentials: 401 with Challenge.
	Refused Entry = iota
	// Admitted is for a user who may come in. The Authorization header was for
	// us: the app must not get it.
	Admitted
	// Busy is for a password that there was no time to look at: 503, and the
	// client may try again in a second. It says nothing about the password.
	Busy
)

// Bounds of Basic.
const (
	maxAuthorization = 1024             // bytes of the header's value
	maxPassword      = 72               // bytes; bcrypt sees no more
	maxUserName      = 128              // bytes
	maxRealm         = 128              // bytes
	maxCost          = 14               // about a second of CPU
	goodFor          = 10 * time.Minute // a password that was right
	badFor           = 10 * time.Second // one that was wrong
	maxGood          = 2048             // credentials remembered
	maxBad           = 1024
	maxRunning       = 1  // bcrypt runs at once
	maxTrials        = 32 // credentials that are looked at, or wait for that
	maxWait          = 2 * time.Second
)

// Basic is HTTP basic authentication (RFC 7617) against bcrypt hashes. A hash is
// slow on purpose, so what it said is remembered for a while, under a key that
// exists in this process only; one credential is looked at once however many
// requests bring it; and only one runs at a time, so that a flood of passwords
// costs no more than one processor and never more than a bounded queue. A nil
// Basic must not be asked. It is safe for concurrent use.
type Basic struct {
	rule      []landward.BasicUser
	realm     string
	challenge string
	users     map[digest]user
	nobody    []byte // a hash that costs as much as the dearest user's
	cost      int    // of that hash
	pool      sync.Pool

	slots chan struct{} // taken while bcrypt runs

	mu      sync.Mutex
	good    map[digest]known
	bad     map[digest]known
	running map[digest]*trial
}

// digest is the keyed digest of a credential or a name.
type digest [sha256.Size]byte

type user struct {
	name string
	hash []byte
	cost int
}

// known is what is remembered of a credential.
type known struct {
	user  string
	until int64
}

// trial is one run of bcrypt. What it said can be read once done is closed.
type trial struct {
	done  chan struct{}
	user  string
	entry Entry
}

// scratch is what one check works in.
type scratch struct {
	mac   hash.Hash
	plain [maxAuthorization]byte
	used  int // bytes of plain
	sum   []byte
}

// NewBasic compiles users and realm. No users give nil. An error names the
// user's part, such as routes.auth.basic[1].hash.
func NewBasic(users []landward.BasicUser, realm string) (*Basic, error) {
	if err := checkBasic(users, realm); err != nil {
		return nil, err
	}
	if len(users) == 0 {
		return nil, nil
	}
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // it never fails: the program ends instead
	b := &Basic{
		rule: slices.Clone(users), realm: realm,
		challenge: `Basic realm="` + realmOf(realm) + `", charset="UTF-8"`,
		users:     make(map[digest]user, len(users)),
		slots:     make(chan struct{}, maxRunning),
		good:      make(map[digest]known),
		bad:       make(map[digest]known),
		running:   make(map[digest]*trial),
	}
	b.pool.New = func() any {
		return &scratch{mac: hmac.New(sha256.New, key), sum: make([]byte, 0, sha256.Size)}
	}
	w := b.pool.Get().(*scratch)
	defer b.pool.Put(w)
	for _, u := range users {
		cost, err := bcrypt.Cost([]byte(u.Hash))
		if err != nil {
			return nil, fmt.Errorf("read cost of a hash: %w", err)
		}
		b.users[w.digest([]byte(u.Name))] = user{name: u.Name, hash: []byte(u.Hash), cost: cost}
		b.cost = max(b.cost, cost)
	}
	b.nobody = nobodyOf(b.cost)
	return b, nil
}

// nobodyOf is a hash of that cost which no password has. Only its cost counts.
func nobodyOf(cost int) []byte {
	return fmt.Appendf(nil, "$2a$%02d$%s", cost, strings.Repeat(".", 53))
}

func realmOf(realm string) string {
	if realm == "" {
		return "Restricted"
	}
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(realm)
}

func checkBasic(users []landward.BasicUser, realm string) error {
	if len(users) > maxUsers {
		return tooMany("routes.auth.basic", len(users), maxUsers)
	}
	if len(realm) > maxRealm || !isText(realm) {
		return landward.Invalid("routes.auth.realm", "a realm is at most %d printable ASCII characters", maxRealm)
	}
	seen := make(map[string]int, len(users))
	for i, u := range users {
		at := fmt.Sprintf("routes.auth.basic[%d]", i)
		switch other, taken := seen[u.Name]; {
		case u.Name == "" || len(u.Name) > maxUserName || strings.Contains(u.Name, ":") || hasControl([]byte(u.Name)):
			return landward.Invalid(at+".name", "%q is not a user name", landward.Printable(u.Name)).
				WithHint("use 1 to %d bytes without colons", maxUserName)
		case taken:
			return landward.Invalid(at+".name", "%s is already the user of routes.auth.basic[%d]", landward.Printable(u.Name), other)
		}
		seen[u.Name] = i
		if err := checkHash(at+".hash", u.Hash); err != nil {
			return err
		}
	}
	return nil
}

// checkHash accepts what bcrypt can compare and nothing else. The hash itself
// is in no message.
func checkHash(field, s string) error {
	const makeOne = "make one with: htpasswd -nB USER"
	if len(s) != 60 || s[0] != '$' || s[1] != '2' || s[3] != '$' || s[6] != '$' ||
		strings.Trim(s[7:], "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789") != "" {
		return landward.Invalid(field, "this is not a bcrypt hash").WithHint(makeOne)
	}
	if s[2] != 'a' && s[2] != 'b' && s[2] != 'y' {
		return landward.Invalid(field, "bcrypt version 2%c is not supported", s[2]).WithHint(makeOne)
	}
	cost, err := bcrypt.Cost([]byte(s))
	if err != nil || cost < bcrypt.MinCost || cost > maxCost {
		return landward.Invalid(field, "the cost of the hash is not between %d and %d", bcrypt.MinCost, maxCost).WithHint(makeOne)
	}
	return nil
}

func hasControl(s []byte) bool {
	for _, c := range s {
		if c < ' ' || c == 0x7f {
			return true
		}
	}
	return false
}

// Same reports whether b is what NewBasic would make of users and realm, so
// that a swap of tables forgets no credentials.
func (b *Basic) Same(users []landward.BasicUser, realm string) bool {
	if b == nil {
		return len(users) == 0
	}
	return b.realm == realm && slices.Equal(b.rule, users)
}

// Challenge is the value of WWW-Authenticate that goes with a 401.
func (b *Basic) Challenge() string { return b.challenge }

// Check looks at the value of an Authorization header, nil where there is none,
// at now, in nanoseconds of a clock that never jumps. A request with more than
// one such header is to be refused before. A credential that is not known costs
// a bcrypt run, which Check waits for: at most a few seconds. The time that it
// takes does not tell whether there is such a user.
func (b *Basic) Check(authorization []byte, now int64) (name string, entry Entry) {
	w := b.pool.Get().(*scratch)
	defer b.release(w)
	credential, colon := w.decode(authorization)
	if credential == nil {
		return "", Refused
	}
	id := w.digest(credential)
	if name, entry, ok := b.recall(id, now); ok {
		return name, entry
	}
	t, first := b.join(id)
	switch {
	case t == nil:
		return "", Busy
	case first:
		defer b.finish(id, t, now)
		t.user, t.entry = b.try(w.digest(credential[:colon]), credential[colon+1:])
	default:
		<-t.done
	}
	return t.user, t.entry
}

// recall returns what is known of a credential.
func (b *Basic) recall(id digest, now int64) (name string, entry Entry, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if k, found := b.good[id]; found && now < k.until {
		return k.user, Admitted, true
	}
	k, found := b.bad[id]
	return "", Refused, found && now < k.until
}

// join returns the run for a credential: one to wait for, or a new one that the
// caller has to do, or nil where there are too many.
func (b *Basic) join(id digest) (t *trial, first bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t = b.running[id]; t != nil {
		return t, false
	}
	if len(b.running) >= maxTrials {
		return nil, false
	}
	t = &trial{done: make(chan struct{}), entry: Busy}
	b.running[id] = t
	return t, true
}

// finish tells those that wait, and remembers what bcrypt said. It runs after a
// panic too: nobody must wait for ever.
func (b *Basic) finish(id digest, t *trial, now int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.running, id)
	close(t.done)
	switch t.entry {
	case Admitted:
		remember(b.good, maxGood, id, known{t.user, now + int64(goodFor)}, now)
	case Refused:
		remember(b.bad, maxBad, id, known{"", now + int64(badFor)}, now)
	}
}

// release puts w back without the password that was in it.
func (b *Basic) release(w *scratch) {
	clear(w.plain[:w.used])
	w.used = 0
	b.pool.Put(w)
}

// remember puts k into m, in place of others where there is no room: those out
// of date, or else any.
func remember(m map[digest]known, limit int, id digest, k known, now int64) {
	if len(m) >= limit {
		for other, o := range m {
			if o.until <= now {
				delete(m, other)
			}
		}
	}
	for other := range m {
		if len(m) < limit {
			break
		}
		delete(m, other)
	}
	m[id] = k
}

// try runs bcrypt once there is room.
func (b *Basic) try(name digest, password []byte) (string, Entry) {
	limit := time.NewTimer(maxWait)
	defer limit.Stop()
	select {
	case b.slots <- struct{}{}:
	case <-limit.C:
		return "", Busy
	}
	defer func() { <-b.slots }()
	u, exists := b.users[name]
	if !exists {
		u = user{hash: b.nobody, cost: b.cost}
	}
	if bcrypt.CompareHashAndPassword(u.hash, password) == nil && exists {
		return u.name, Admitted
	}
	// A cheaper hash would tell that there is such a user: costs are powers of
	// two, and these make up for the difference.
	for cost := u.cost; cost < b.cost; cost++ {
		_ = bcrypt.CompareHashAndPassword(nobodyOf(cost), password)
	}
	return "", Refused
}

// decode returns the credential in a header's value and where its colon is, or
// nil. Control characters are refused (RFC 7617 section 2): bcrypt would take
// what is behind a NUL for the same password again.
func (w *scratch) decode(value []byte) (credential []byte, colon int) {
	const scheme = "basic "
	if len(value) <= len(scheme) || len(value) > maxAuthorization || !wire.EqualFold(value[:len(scheme)], scheme) {
		return nil, 0
	}
	code := value[len(scheme):]
	for len(code) > 0 && code[0] == ' ' {
		code = code[1:]
	}
	n, err := base64.StdEncoding.Strict().Decode(w.plain[:], code)
	w.used = n
	credential = w.plain[:n]
	colon = slices.Index(credential, ':')
	if err != nil || colon < 1 || colon > maxUserName || n-colon-1 > maxPassword || hasControl(credential) {
		return nil, 0
	}
	return credential, colon
}

// digest is the keyed digest of b.
func (w *scratch) digest(b []byte) (d digest) {
	w.mac.Reset()
	_, _ = w.mac.Write(b) // a hash takes all
	w.sum = w.mac.Sum(w.sum[:0])
	copy(d[:], w.sum)
	return d
}
