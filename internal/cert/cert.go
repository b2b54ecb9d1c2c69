// Package cert owns the certificates of the edge: key pairs that people bring,
// certificates ordered from a CA, a local CA for names that never leave the
// machine, and the choice among them in a handshake. It keeps them in one
// folder. It must never know a database, an app's routes or a request: it is
// told which hosts are wanted, and goes on with those while nobody tells it
// anything.
package cert

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"landward/internal/cert/acme"
	"landward/internal/landward"
)

// DNSProvider changes the records of a zone. All libdns providers are one.
type DNSProvider = acme.DNSProvider

// AnyZone stands for all zones that are not named.
const AnyZone = acme.AnyZone

// Options are what a Manager is made of.
type Options struct {
	Dir  string           // only ours: made 0700, keys in it 0600
	Now  func() time.Time // [time.Now]
	Log  *slog.Logger
	ACME ACME
	// Local are domains for which the local CA signs, with everything below
	// them. Empty: there is no local CA.
	Local []string
	// OnDemand is asked, in a handshake, whether a certificate may be ordered
	// for a host that is not among the wanted ones; nil error: yes. nil: never.
	OnDemand func(ctx context.Context, host string) error
	// DNS says who changes the records of a zone, for wildcards. The one of
	// AnyZone changes those of all zones that are not named.
	DNS map[string]DNSProvider
	// Poll is how often files are looked at and due orders are begun [2 s].
	Poll time.Duration
	// Wait is how long a handshake waits for a first certificate [20 s].
	Wait time.Duration
}

// ACME says which CA to order from, and how often.
type ACME struct {
	Directory string         // its address (RFC 8555 §7.1.1); empty: nothing is ordered
	Email     string         // of the account
	Roots     *x509.CertPool // that the CA's API is verified with; nil: the system's. Not nil also says that the CA is private
	EABKeyID  string         // external account binding (RFC 8555 §7.3.4)
	EABHMAC   string
	Profile   string        // of certificates, where the CA offers several
	Resolvers []string      // asked whether a DNS-01 record is there; empty: the zone's own name servers
	Wait      time.Duration // for a DNS-01 record to be seen [2 min]; negative: not looked at

	// Our own limits, below those of public CAs, counted across restarts.
	PerDomain int // first certificates per registered domain in 7 days [45]; negative: no limit
	Failures  int // failed validations per host in an hour [4]; negative: no limit
	AtOnce    int // orders under way [4]
}

// Host is a name that has a route.
type Host struct {
	Name string // "*.example.com" is every host one label below
	App  string // for people
}

// Manager owns the certificates. All methods are safe for concurrent use.
type Manager struct {
	o        Options
	log      *slog.Logger
	ca       *acme.Client // nil: nothing is ordered
	caStore  folder       // what belongs to the CA
	local    *localCA     // nil: there is none
	index    atomic.Pointer[index]
	outer    *tls.Config // of listeners
	base     *tls.Config // of a handshake for a host that has a certificate
	strange  *tls.Config // of any other: sessions are not resumed
	tickets  tickets
	staples  stapler
	wake     chan struct{} // something may be due
	running  atomic.Bool
	ordering atomic.Bool  // the folder's orders are ours, and are begun
	waiting  atomic.Int32 // handshakes that wait for an order

	ownMu sync.Mutex // serialises work on the folder of own pairs

	stateMu sync.Mutex // serialises writes of the state; before mu

	mu      sync.Mutex
	sites   map[string]*site
	busy    int  // orders under way
	asking  bool // a question to the CA is
	guard   guard
	asks    map[string]*question // OnDemand, under way
	refused map[string]time.Time // OnDemand said no → until when that holds
}

const (
	defaultPoll      = 2 * time.Second
	defaultWait      = 20 * time.Second
	defaultAtOnce    = 4
	defaultPerDomain = 45 // Let's Encrypt: 50
	defaultFailures  = 4  // Let's Encrypt: 5

	ownDir   = "own"
	acmeDir  = "acme"
	localDir = "local"
	lockFile = "lock"
)

// New makes a Manager with what the folder holds. It starts nothing and asks
// nobody; certificates that are there are served at once. The error is a
// *landward.Error where a setting is wrong.
func New(o Options) (*Manager, error) {
	if o.Dir == "" {
		return nil, landward.Invalid("certs", "a folder for certificates is needed")
	}
	o.defaults()
	m := &Manager{
		o: o, log: o.Log, wake: make(chan struct{}, 1),
		sites: map[string]*site{}, asks: map[string]*question{}, refused: map[string]time.Time{},
		guard: guard{PerDomain: o.ACME.PerDomain, Failures: o.ACME.Failures},
	}
	for _, dir := range []string{o.Dir, filepath.Join(o.Dir, ownDir), filepath.Join(o.Dir, acmeDir), filepath.Join(o.Dir, localDir)} {
		if err := makeDir(dir); err != nil {
			return nil, fmt.Errorf("make the folder of certificates: %w", err)
		}
	}
	m.staples.init(o)
	if err := m.makeConfigs(); err != nil {
		return nil, err
	}
	var err error
	if len(o.Local) > 0 {
		if m.local, err = openLocalCA(folder(filepath.Join(o.Dir, localDir)), o.Local, o.Now, o.Log); err != nil {
			return nil, err
		}
	}
	if err := m.openACME(); err != nil {
		return nil, err
	}
	if err := m.openOwn(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rebuild()
	return m, nil
}

func (o *Options) defaults() {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Poll <= 0 {
		o.Poll = defaultPoll
	}
	if o.Wait <= 0 {
		o.Wait = defaultWait
	}
	if o.ACME.AtOnce <= 0 {
		o.ACME.AtOnce = defaultAtOnce
	}
	if o.ACME.PerDomain == 0 {
		o.ACME.PerDomain = defaultPerDomain
	}
	if o.ACME.Failures == 0 {
		o.ACME.Failures = defaultFailures
	}
}

func (m *Manager) openACME() error {
	a := m.o.ACME
	if a.Directory == "" {
		return nil
	}
	// Each CA has a folder, so that certificates of a CA's test directory are
	// never served once the real one is set.
	m.caStore = folder(filepath.Join(m.o.Dir, acmeDir, caName(a.Directory)))
	if err := makeDir(m.caStore.path(certsDir)); err != nil {
		return fmt.Errorf("make the CA's folder: %w", err)
	}
	ca, err := acme.New(acme.Options{
		Directory: a.Directory, Email: a.Email, Roots: a.Roots, EABKeyID: a.EABKeyID, EABHMAC: a.EABHMAC,
		Profile: a.Profile, Resolvers: a.Resolvers, Propagation: a.Wait, DNS: m.o.DNS,
		Store: m.caStore, Log: m.log,
	})
	if err != nil {
		return err
	}
	m.ca = ca
	return m.loadIssued()
}

// caName makes a directory's address the name of a folder.
func caName(directory string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '.', r == '-':
			return r
		}
		return '-'
	}, strings.ToLower(strings.TrimPrefix(directory, "https://")))
	name = strings.Trim(name, ".-")
	return name[:min(len(name), 200)]
}

// Run renews certificates, watches the files of own pairs, rotates the keys of
// session tickets and fetches OCSP answers, until ctx ends. What is under way
// then is given up and waited for. It runs once at a time.
func (m *Manager) Run(ctx context.Context) error {
	if !m.running.CompareAndSwap(false, true) {
		return errors.New("certificates: Run is running already")
	}
	defer m.running.Store(false)
	var wg sync.WaitGroup
	wg.Go(func() { m.watchOwn(ctx) })
	wg.Go(func() { m.tickets.rotate(ctx, m.log, m.base) })
	wg.Go(func() { m.staples.run(ctx, m.servedPairs, m.stir) })
	if m.ca != nil {
		wg.Go(func() { m.orderLoop(ctx) })
	}
	wg.Wait()
	if m.ca != nil {
		m.ca.Close()
	}
	return nil
}

// HTTPChallenge is the answer to a plain HTTP request for host (normalised)
// and path, where the path is below /.well-known/acme-challenge/ and a CA is
// expected to ask for it (RFC 8555 §8.3). A path with a token that nobody
// expects is not ok; it must be answered 404 and never reach an app.
func (m *Manager) HTTPChallenge(host, path string) (keyAuthorization string, ok bool) {
	token, is := strings.CutPrefix(path, "/.well-known/acme-challenge/")
	if !is || m.ca == nil {
		return "", false
	}
	return m.ca.HTTPChallenge(host, token)
}

// SetHosts says which hosts are wanted from now on, all of them. It does not
// wait for anything. A name that is not a host name is left out and logged.
func (m *Manager) SetHosts(hosts []Host) {
	wanted := make(map[string]string, len(hosts))
	for _, h := range hosts {
		name, ok := normal(h.Name)
		if !ok {
			m.log.Warn("no certificate for what is not a host name", "host", landward.Printable(h.Name))
			continue
		}
		wanted[name] = h.App
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	changed := false
	for name, app := range wanted {
		s := m.site(name)
		if !s.wanted {
			s.wanted, changed = true, true
		}
		s.app = app
	}
	for name, s := range m.sites {
		if _, still := wanted[name]; !still && s.wanted {
			s.wanted, s.app, changed = false, "", true
			m.dropIfIdle(s)
		}
	}
	if changed {
		m.rebuild()
		m.stir()
	}
}

// LocalRoot is the certificate of the local CA, PEM; nil where there is none.
func (m *Manager) LocalRoot() []byte {
	if m.local == nil {
		return nil
	}
	return m.local.rootPEM()
}

// stir makes the order loop look for what is due.
func (m *Manager) stir() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// maxName bounds names, so that each can be a file's.
const maxName = 240

// normal is a host's normal form; "*." in front is allowed.
func normal(host string) (string, bool) {
	rest, wild := strings.CutPrefix(host, "*.")
	name, ok := landward.NormalHost(rest)
	if !ok || len(name) > maxName {
		return "", false
	}
	if wild {
		return "*." + name, true
	}
	return name, true
}

// wildFile stands for "*." in file names. No host has such a label: none ends
// in an underscore.
const wildFile = "wildcard_."

func fileName(host string) string {
	if rest, wild := strings.CutPrefix(host, "*."); wild {
		return wildFile + rest
	}
	return host
}

func hostOfFile(name string) (string, bool) {
	host := name
	if rest, wild := strings.CutPrefix(name, wildFile); wild {
		host = "*." + rest
	}
	n, ok := normal(host)
	return n, ok && fileName(n) == name
}

// alone waits until no other process orders certificates into the folder, and
// keeps it so until the returned function is called: while one edge hands over
// to the next, both run.
func (m *Manager) alone(ctx context.Context) (release func(), waited bool, err error) {
	f, err := os.OpenFile(filepath.Join(m.o.Dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, false, fmt.Errorf("open the lock: %w", err)
	}
	tick := time.NewTicker(m.o.Poll)
	defer tick.Stop()
	for {
		held, err := tryLock(f)
		if err != nil {
			return nil, waited, errors.Join(fmt.Errorf("lock the folder of certificates: %w", err), f.Close())
		}
		if held {
			return func() { _ = f.Close() }, waited, nil // closing unlocks
		}
		if !waited {
			waited = true
			m.log.Info("another process orders certificates: waiting until it ends")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, waited, errors.Join(ctx.Err(), f.Close())
		}
	}
}
