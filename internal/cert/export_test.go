package cert

import (
	"context"
	"crypto/x509"
	"time"
)

// What tests of the package's inner pieces reach.

type (
	// Guard is the rate guard.
	Guard = guard
	// Pair is a parsed pair.
	Pair = pair
)

// Names of what is stored.
const (
	AcceptedFile = acceptedFile
	PutFile      = putFile
	MaxMinted    = maxMinted
	MaxOrders    = maxOrders
)

// Reserve, Release and Fail reach the guard's methods.
func (g *guard) Reserve(name string, first bool, now time.Time) (time.Time, error) {
	at, err := g.reserve(name, first, now)
	if err != nil {
		return at, err
	}
	return at, nil
}
func (g *guard) Release(name string, at time.Time) { g.release(name, at) }
func (g *guard) Fail(name string, at time.Time)    { g.fail(name, at) }

// ParsePair parses a pair.
func ParsePair(host string, certPEM, keyPEM []byte) (*Pair, error) {
	return parsePair(host, certPEM, keyPEM)
}

// Leaf is the pair's certificate.
func (p *pair) Leaf() *x509.Certificate { return p.leaf }

// RenewAt is when a pair is renewed.
func RenewAt(p *Pair) time.Time { return renewAt(p) }

// Backoff is the wait after failed attempts.
func Backoff(attempts, challenges int) time.Duration { return backoff(attempts, challenges) }

// FileName and HostOfFile turn hosts into names of files and back.
func FileName(host string) string           { return fileName(host) }
func HostOfFile(name string) (string, bool) { return hostOfFile(name) }
func Normal(host string) (string, bool)     { return normal(host) }
func PublicOnly(address string) error       { return publicOnly("tcp", address, nil) }
func Challenge(m *Manager, host string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.challenge(m.sites[host])
}
func (m *Manager) Orderable(host string) error {
	if err := m.orderable(host); err != nil {
		return err
	}
	return nil
}

// RotateTickets puts a new ticket key in front.
func (m *Manager) RotateTickets() error { return m.tickets.next(m.base) }

// Staple fetches what is due of OCSP answers, from any address.
func (m *Manager) Staple(ctx context.Context) (revoked int) {
	m.staples.client.Transport = nil
	m.staples.round(ctx, m.servedPairs(), func() { revoked++ })
	m.staples.client.CloseIdleConnections()
	return revoked
}

// Orders reports whether m is the one that orders into its folder.
func (m *Manager) Orders() bool { return m.ordering.Load() }

// Minted is how many local certificates are held.
func (m *Manager) Minted() int {
	m.local.mu.RLock()
	defer m.local.mu.RUnlock()
	return len(m.local.minted)
}
