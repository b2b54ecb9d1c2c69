// Package acme gets certificates from a certificate authority by RFC 8555: one
// order for one name at a time, with the challenge that it is told to use. It
// owns the account and the answers to challenges. It must never know when a
// certificate is due, where it is kept, or who serves it.
//
// It is written on the protocol layer of acmez and not on certmagic, because
// the edge needs what certmagic keeps to itself: which validation failed and
// how often (our own rate guard counts them), a fixed order of challenges
// instead of a learned one, the CA's Retry-After, and goroutines that end.
package acme

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/libdns/libdns"
	"github.com/mholt/acmez/v3/acme"

	"landward/internal/landward"
)

// The kinds of challenges that can be answered.
const (
	HTTP01    = acme.ChallengeTypeHTTP01    // RFC 8555 §8.3
	DNS01     = acme.ChallengeTypeDNS01     // RFC 8555 §8.4
	TLSALPN01 = acme.ChallengeTypeTLSALPN01 // RFC 8737 §3
)

// Protocol is what a CA offers as its only protocol when it validates a
// TLS-ALPN-01 challenge (RFC 8737 §3).
const Protocol = "acme-tls/1"

// AnyZone stands for all zones that are not named.
const AnyZone = "*"

// DNSProvider changes the records of a zone. All libdns providers are one.
type DNSProvider interface {
	libdns.RecordAppender
	libdns.RecordDeleter
}

// Store keeps the account: small named files. Read's error is
// [os.ErrNotExist] for what is not there.
type Store interface {
	Read(name string) ([]byte, error)
	Write(name string, data []byte) error
}

// Options are what a Client is made of.
type Options struct {
	Directory string         // of the CA (RFC 8555 §7.1.1), https
	Email     string         // of the account; may be empty
	Roots     *x509.CertPool // that the CA's API is verified with; nil: the system's
	EABKeyID  string         // external account binding (RFC 8555 §7.3.4), where the CA wants one
	EABHMAC   string         // base64url
	Profile   string         // of certificates, where the CA offers several
	// Resolvers are name servers, "host:port" or "host", that are asked whether
	// a DNS-01 record is there. Empty: the name servers of the zone itself.
	Resolvers []string
	// Propagation is how long a DNS-01 record may take until it is seen
	// [2 min]. Negative: not looked at.
	Propagation time.Duration
	// DNS says who changes the records of a zone. The one of AnyZone changes
	// those of all others; which zone a name is in is then asked of the DNS.
	DNS   map[string]DNSProvider
	Store Store
	Log   *slog.Logger
}

// Client speaks to one CA with one account.
type Client struct {
	o       Options
	api     *acme.Client
	zones   []string // normalised, longest first
	dns     map[string]DNSProvider
	any     DNSProvider // of zones that are not named; nil: none
	answers answers
	account account
	system  func() ([]string, error) // the system's resolvers
	port    uint16                   // of the name servers of zones
}

const (
	apiTimeout   = 30 * time.Second // of one request to the CA
	maxAnswer    = 1 << 20          // bytes of one answer of the CA
	pollEvery    = 500 * time.Millisecond
	pollFor      = 3 * time.Minute
	defaultWait  = 2 * time.Minute
	cleanTimeout = 10 * time.Second
)

// New makes a Client. It starts nothing and asks nobody. The error is a
// *landward.Error that names the setting that is wrong.
func New(o Options) (*Client, error) {
	u, err := url.Parse(o.Directory)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, landward.Invalid("acme-directory", "%q is not an https address", landward.Printable(o.Directory))
	}
	if (o.EABKeyID == "") != (o.EABHMAC == "") {
		return nil, landward.Invalid("acme-eab", "an external account has a key id and an HMAC key, not one of them")
	}
	o.EABHMAC = strings.TrimRight(o.EABHMAC, "=")
	if _, err := base64.RawURLEncoding.DecodeString(o.EABHMAC); err != nil {
		return nil, landward.Invalid("acme-eab", "the HMAC key is not base64url")
	}
	if strings.ContainsAny(o.Email, " \t\r\n,<>?") || o.Email != "" && !strings.Contains(o.Email, "@") {
		return nil, landward.Invalid("acme-email", "%q is not an email address", landward.Printable(o.Email))
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Propagation == 0 {
		o.Propagation = defaultWait
	}
	o.Resolvers = slices.Clone(o.Resolvers)
	for i, r := range o.Resolvers {
		if _, _, err := net.SplitHostPort(r); err != nil {
			o.Resolvers[i] = net.JoinHostPort(r, "53")
		}
	}
	c := &Client{o: o, dns: make(map[string]DNSProvider, len(o.DNS)), system: systemResolvers, port: 53}
	c.account.turn = make(chan struct{}, 1)
	for zone, p := range o.DNS {
		if zone == AnyZone && p != nil {
			c.any = p
			continue
		}
		n, ok := landward.NormalHost(zone)
		if !ok || p == nil {
			return nil, landward.Invalid("acme-provider", "%q is not a zone", landward.Printable(zone))
		}
		c.zones = append(c.zones, n)
		c.dns[n] = p
	}
	slices.SortFunc(c.zones, func(a, b string) int { return len(b) - len(a) })
	c.api = &acme.Client{
		Directory:    o.Directory,
		HTTPClient:   &http.Client{Transport: newTransport(o.Roots), Timeout: apiTimeout},
		UserAgent:    "landward",
		PollInterval: pollEvery,
		PollTimeout:  pollFor,
		Logger:       quiet(o.Log),
	}
	return c, nil
}

// Close lets go of idle connections. The Client must not be used after it.
func (c *Client) Close() { c.api.HTTPClient.CloseIdleConnections() }

// Challenges says which kinds of challenges can prove name, the one to try
// first in front. A wildcard can only be proved by DNS (RFC 8555 §7.1.3).
func (c *Client) Challenges(name string) []string {
	if strings.HasPrefix(name, "*.") {
		if len(c.zones) == 0 && c.any == nil {
			return nil
		}
		// A name outside the zones may still point into one of them.
		return []string{DNS01}
	}
	kinds := []string{HTTP01, TLSALPN01}
	if _, ok := c.zoneOf(name); ok || c.any != nil {
		kinds = append(kinds, DNS01)
	}
	return kinds
}

// HTTPChallenge is the answer to a request for host's path
// /.well-known/acme-challenge/TOKEN (RFC 8555 §8.3).
func (c *Client) HTTPChallenge(host, token string) (keyAuthorization string, ok bool) {
	return c.answers.http(host, token)
}

// ALPNCertificate is the certificate that answers a TLS-ALPN-01 challenge for
// host, or nil.
func (c *Client) ALPNCertificate(host string) *tls.Certificate { return c.answers.alpn(host) }

// transport bounds what the CA may send, and notes when it wants to be asked
// again.
type transport struct{ inner *http.Transport }

func newTransport(roots *x509.CertPool) *transport {
	return &transport{&http.Transport{
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout:    10 * time.Second,
		ResponseHeaderTimeout:  20 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		MaxIdleConnsPerHost:    2,
		IdleConnTimeout:        30 * time.Second,
		ForceAttemptHTTP2:      true,
	}}
}

func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.inner.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	resp.Body = http.MaxBytesReader(nil, resp.Body, maxAnswer)
	if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable {
		if p, ok := r.Context().Value(patienceKey{}).(*patience); ok {
			p.note(resp.Header.Get("Retry-After"))
		}
	}
	return resp, nil
}

// CloseIdleConnections is what http.Client looks for.
func (t *transport) CloseIdleConnections() { t.inner.CloseIdleConnections() }

// quiet makes everything that the protocol layer logs a debug line: what
// matters of it comes back as an error.
func quiet(log *slog.Logger) *slog.Logger { return slog.New(debugOnly{log.Handler()}) }

type debugOnly struct{ inner slog.Handler }

func (d debugOnly) Enabled(ctx context.Context, _ slog.Level) bool {
	return d.inner.Enabled(ctx, slog.LevelDebug)
}

func (d debugOnly) Handle(ctx context.Context, r slog.Record) error {
	r.Level = slog.LevelDebug
	return d.inner.Handle(ctx, r)
}

func (d debugOnly) WithAttrs(a []slog.Attr) slog.Handler { return debugOnly{d.inner.WithAttrs(a)} }
func (d debugOnly) WithGroup(n string) slog.Handler      { return debugOnly{d.inner.WithGroup(n)} }
