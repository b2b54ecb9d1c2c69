package acme

import (
	"crypto/tls"
	"fmt"
	"sync"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
)

// answers are what a CA may ask for while orders are under way. Each order has
// one, so that there are never more than orders.
type answers struct {
	mu    sync.RWMutex
	token map[string]keyAuth          // token → answer
	certs map[string]*tls.Certificate // host → certificate
}

type keyAuth struct{ host, text string }

func (a *answers) http(host, token string) (string, bool) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	k, ok := a.token[token]
	if !ok || k.host != host {
		return "", false
	}
	return k.text, true
}

func (a *answers) alpn(host string) *tls.Certificate {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.certs[host]
}

// offer puts out the answer to a challenge, and returns what takes it back.
func (a *answers) offer(ch acme.Challenge) (withdraw func(), err error) {
	host := ch.Identifier.Value
	switch ch.Type {
	case HTTP01:
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.token == nil {
			a.token = map[string]keyAuth{}
		}
		a.token[ch.Token] = keyAuth{host, ch.KeyAuthorization}
		return func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			delete(a.token, ch.Token)
		}, nil
	case TLSALPN01:
		cert, err := acmez.TLSALPN01ChallengeCert(ch)
		if err != nil {
			return nil, fmt.Errorf("make the challenge's certificate: %w", err)
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.certs == nil {
			a.certs = map[string]*tls.Certificate{}
		}
		a.certs[host] = cert
		return func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			if a.certs[host] == cert {
				delete(a.certs, host)
			}
		}, nil
	}
	return nil, fmt.Errorf("no answer to a challenge of type %q", ch.Type)
}
