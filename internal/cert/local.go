package cert

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"landward/internal/landward"
)

const (
	rootFile    = "root.pem" // certificate and key
	rootOldFile = "root.old.pem"
	rootLife    = 10 * 365 * 24 * time.Hour
	leafLife    = 90 * 24 * time.Hour
	backdate    = time.Hour // for clients whose clocks are late
	// maxMinted bounds what handshakes with made-up names below a local domain
	// can make us hold.
	maxMinted = 1024
)

// localCA signs for names that never leave the machine. Its root may sign for
// nothing else (RFC 5280 §4.2.1.10), so that trusting it costs little.
type localCA struct {
	domains []string
	now     func() time.Time
	root    *x509.Certificate
	key     *ecdsa.PrivateKey
	// leafKey is the key of all leaves: they are served by one process, and end
	// with it.
	leafKey *ecdsa.PrivateKey

	mu     sync.RWMutex
	minted map[string]*pair
}

// openLocalCA loads the root or makes one. A root that does not reach all
// domains, or is about to end, is replaced and has to be trusted anew.
func openLocalCA(dir folder, domains []string, now func() time.Time, log *slog.Logger) (*localCA, error) {
	c := &localCA{now: now, minted: map[string]*pair{}}
	for _, d := range domains {
		n, ok := landward.NormalHost(d)
		if !ok {
			return nil, landward.Invalid("local", "%q is not a domain", landward.Printable(d))
		}
		c.domains = append(c.domains, n)
	}
	slices.Sort(c.domains)
	c.domains = slices.Compact(c.domains)
	var err error
	if c.leafKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	sweep(string(dir))
	err = c.load(dir)
	switch {
	case err == nil && c.fits():
		return c, nil
	case err == nil:
		log.Warn("the local CA is made anew: run `landward trust` again", "domains", c.domains)
	case !errors.Is(err, os.ErrNotExist):
		log.Error("the local CA cannot be read and is made anew: run `landward trust` again", "err", err)
	}
	if err == nil || !errors.Is(err, os.ErrNotExist) {
		if err := os.Rename(dir.path(rootFile), dir.path(rootOldFile)); err != nil {
			return nil, fmt.Errorf("put the old local CA away: %w", err)
		}
	}
	return c, c.create(dir)
}

func (c *localCA) load(dir folder) error {
	data, err := dir.Read(rootFile)
	if err != nil {
		return err
	}
	made, err := tls.X509KeyPair(data, data)
	if err != nil {
		return err
	}
	key, ok := made.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || !made.Leaf.IsCA {
		return errors.New("it is not a CA of ours")
	}
	c.root, c.key = made.Leaf, key
	return nil
}

// fits says whether the root can sign for all domains for some time.
func (c *localCA) fits() bool {
	for _, d := range c.domains {
		if !slices.ContainsFunc(c.root.PermittedDNSDomains, func(p string) bool { return under(d, p) }) {
			return false
		}
	}
	return c.now().Add(2 * leafLife).Before(c.root.NotAfter)
}

func (c *localCA) create(dir folder) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make the local CA: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return fmt.Errorf("make the local CA: %w", err)
	}
	sum := sha256.Sum256(public)
	now := c.now()
	serial, err := newSerial()
	if err != nil {
		return fmt.Errorf("make the local CA: %w", err)
	}
	// The name tells the roots of several machines apart in a list of CAs.
	name := fmt.Sprintf("Landward local CA %s %s", now.UTC().Format(time.DateOnly), hex.EncodeToString(sum[:3]))
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(rootLife),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		IsCA:     true, BasicConstraintsValid: true, MaxPathLenZero: true,
		// Names below our domains and nothing else; an address is excluded by
		// itself, as a constraint on names says nothing about it.
		PermittedDNSDomainsCritical: true, PermittedDNSDomains: c.domains,
		ExcludedIPRanges: []*net.IPNet{
			{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}, {IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)},
		},
	}, &x509.Certificate{Subject: pkix.Name{CommonName: name}}, &key.PublicKey, key)
	if err != nil {
		return fmt.Errorf("make the local CA: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("make the local CA: %w", err)
	}
	data := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})...)
	if err := writeNew(dir.path(rootFile), data); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("write the local CA: %w", err)
	}
	// What is on disk counts: another process may have been faster.
	if err := c.load(dir); err != nil {
		return fmt.Errorf("read the local CA: %w", err)
	}
	return nil
}

func (c *localCA) rootPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.root.Raw})
}

// covers says whether host is one that the local CA signs for.
func (c *localCA) covers(host string) bool {
	if c == nil {
		return false
	}
	for _, d := range c.domains {
		if under(host, d) {
			return true
		}
	}
	return false
}

// under says whether host is domain or below it.
func under(host, domain string) bool {
	return strings.HasSuffix(host, domain) &&
		(len(host) == len(domain) || host[len(host)-len(domain)-1] == '.')
}

// find returns host's pair, and makes one where there is none or the one there
// is has lived two thirds of its time. nil: host is none of ours.
func (c *localCA) find(host string) *pair {
	if !c.covers(host) {
		return nil
	}
	p, now := c.peek(host), c.now()
	if p != nil && now.Before(p.leaf.NotAfter.Add(-leafLife/3)) && !now.Before(p.leaf.NotBefore) {
		return p
	}
	if n, ok := landward.NormalHost(host); !ok || n != host {
		return nil
	}
	made, err := c.mint(host, now)
	if err != nil {
		return p // an old one at worst
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.minted) >= maxMinted {
		drop := maxMinted / 8
		for name := range c.minted {
			delete(c.minted, name)
			if drop--; drop == 0 {
				break
			}
		}
	}
	c.minted[host] = made
	return made
}

func (c *localCA) peek(host string) *pair {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.minted[host]
}

func (c *localCA) mint(host string, now time.Time) (*pair, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, DNSNames: []string{host},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(leafLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}, c.root, &c.leafKey.PublicKey, c.key)
	if err != nil {
		return nil, fmt.Errorf("sign for %s: %w", host, err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("sign for %s: %w", host, err)
	}
	sum := sha256.Sum256(der)
	p := &pair{leaf: leaf, fingerprint: hex.EncodeToString(sum[:])}
	p.served.Store(&tls.Certificate{Certificate: [][]byte{der}, PrivateKey: c.leafKey, Leaf: leaf})
	return p, nil
}

func newSerial() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("make a serial number: %w", err)
	}
	return n.Add(n, big.NewInt(1)), nil
}
