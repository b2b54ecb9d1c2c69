package dnsprovider

import (
	"net/http"
	"time"

	"landward/internal/cert"
)

// LinkTo is Link with an API of the test's.
func LinkTo(kind string, settings map[string]string, resolvers []string, rt http.RoundTripper, base string) (*Records, error) {
	return link(kind, settings, resolvers, options{http: rt, base: base})
}

// NewAt is New with an API of the test's.
func NewAt(kind string, settings map[string]string, rt http.RoundTripper, base string) (cert.DNSProvider, error) {
	p, _, err := open(kind, settings, options{http: rt, base: base, wait: true, every: 10 * time.Millisecond})
	return p, err
}
