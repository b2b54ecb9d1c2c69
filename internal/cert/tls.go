package cert

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"landward/internal/cert/acme"
)

const (
	// ticketEvery and ticketKeys make a session good for at most a day: with an
	// old ticket key a recorded session can be read.
	ticketEvery = 6 * time.Hour
	ticketKeys  = 4
)

// makeConfigs makes the configurations that handshakes use.
func (m *Manager) makeConfigs() error {
	m.base = &tls.Config{
		MinVersion: tls.VersionTLS12,
		// Only for TLS 1.2, which has others: forward secret and with AEAD.
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
		CurvePreferences: []tls.CurveID{tls.X25519MLKEM768, tls.X25519, tls.CurveP256, tls.CurveP384},
		NextProtos:       []string{"h2", "http/1.1"},
		GetCertificate:   m.certificate,
	}
	m.strange = m.base.Clone()
	m.strange.SessionTicketsDisabled = true
	// Each handshake takes its configuration from configFor, so that every copy
	// that a listener makes of this one has the same ticket keys.
	m.outer = m.base.Clone()
	m.outer.GetConfigForClient = m.configFor
	return m.tickets.next(m.base)
}

// TLSConfig is for the listeners, HTTP/3's too; it is always the same one and
// must not be changed. A handshake without a server name, or with one that is
// neither managed nor local, fails with the alert unrecognized_name (RFC 6066
// §3). For a host whose first certificate is being ordered a handshake takes up
// to Options.Wait.
func (m *Manager) TLSConfig() *tls.Config { return m.outer }

func (m *Manager) configFor(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	if len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == acme.Protocol {
		return m.challengeConfig(hello.ServerName), nil
	}
	if m.lookup(hello.ServerName).pair == nil {
		// A session from before the host was let go must not go on.
		return m.strange, nil
	}
	return m.base, nil
}

// challengeConfig answers a CA, and nobody else (RFC 8737 §3).
func (m *Manager) challengeConfig(host string) *tls.Config {
	c := &tls.Config{
		MinVersion: tls.VersionTLS12, CipherSuites: m.base.CipherSuites, CurvePreferences: m.base.CurvePreferences,
		NextProtos: []string{acme.Protocol}, SessionTicketsDisabled: true,
	}
	if m.ca != nil {
		if cert := m.ca.ALPNCertificate(strings.ToLower(host)); cert != nil {
			c.Certificates = []tls.Certificate{*cert}
		}
	}
	return c
}

// lookup is find for a name as a client sent it.
func (m *Manager) lookup(sni string) entry {
	if sni == "" {
		return entry{}
	}
	return m.find(strings.ToLower(sni)) // which copies only what is not lower case
}

func (m *Manager) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	p := m.lookup(hello.ServerName).pair
	if p == nil && hello.ServerName != "" {
		p = m.late(hello.Context(), hello.ServerName)
	}
	if p == nil {
		return nil, nil // with no other certificate there, that is unrecognized_name
	}
	return p.served.Load(), nil
}

// Covers reports whether what a handshake for the server name sni gets is good
// for host, too, which is in normal form: a client may ask for both on one
// connection (RFC 9113 §9.1.1). For a name that gets nothing it is false.
func (m *Manager) Covers(sni, host string) bool {
	p := m.lookup(sni).pair
	return p != nil && p.leaf.VerifyHostname(host) == nil
}

// tickets are the keys of session tickets, newest first. They are never
// written down: a restart costs clients one whole handshake.
type tickets struct {
	mu   sync.Mutex
	keys [][32]byte
}

// next puts a new key in front.
func (t *tickets) next(c *tls.Config) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	keys := make([][32]byte, 1, ticketKeys)
	if _, err := rand.Read(keys[0][:]); err != nil {
		return fmt.Errorf("make a ticket key: %w", err)
	}
	keys = append(keys, t.keys[:min(len(t.keys), ticketKeys-1)]...)
	t.keys = keys
	c.SetSessionTicketKeys(keys)
	return nil
}

func (t *tickets) rotate(ctx context.Context, log *slog.Logger, c *tls.Config) {
	tick := time.NewTicker(ticketEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := t.next(c); err != nil {
				log.Error("rotate the keys of session tickets", "err", err)
			}
		}
	}
}
