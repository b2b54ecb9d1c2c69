// Package dnsprovider makes the DNS providers that people name in settings, to
// prove names by DNS. It must never know what the records are for.
package dnsprovider

import (
	"encoding/base64"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/libdns/cloudflare"
	"github.com/libdns/rfc2136"
	"github.com/libdns/route53"

	"landward/internal/cert"
	"landward/internal/landward"
)

// The kinds of providers.
const (
	Cloudflare = "cloudflare" // api_token; zone_token
	Route53    = "route53"    // access_key_id, secret_access_key; session_token, region, hosted_zone_id
	RFC2136    = "rfc2136"    // server, key_name, key; key_alg
)

// callTimeout bounds one call to a provider's API.
const callTimeout = 30 * time.Second

// Kinds lists the kinds that New knows.
func Kinds() []string { return []string{Cloudflare, RFC2136, Route53} }

// New makes the provider of a kind. Names of settings may be in upper case. It
// asks nobody. The error is a
// *landward.Error that names the setting that is missing or unknown; it never
// holds a setting's value.
func New(kind string, settings map[string]string) (cert.DNSProvider, error) {
	s := &reader{kind: kind, left: make(map[string]string, len(settings))}
	for name, v := range settings {
		s.left[strings.ToLower(name)] = v
	}
	_ = s.may("zone") // for whom it is meant is the caller's to read
	var p cert.DNSProvider
	switch kind {
	case Cloudflare:
		p = &cloudflare.Provider{
			APIToken: s.need("api_token"), ZoneToken: s.may("zone_token"),
			HTTPClient: &http.Client{Timeout: callTimeout},
		}
	case Route53:
		// The keys are asked for, so that what works never depends on files and
		// variables that happen to be on the machine.
		p = &route53.Provider{
			AccessKeyId: s.need("access_key_id"), SecretAccessKey: s.need("secret_access_key"),
			SessionToken: s.may("session_token"), HostedZoneID: s.may("hosted_zone_id"),
			Region: s.or("region", "us-east-1"), WaitForRoute53Sync: true, SkipRoute53SyncOnDelete: true,
		}
	case RFC2136:
		p = s.rfc2136()
	default:
		return nil, landward.Invalid("acme-provider", "%q is not a kind of DNS provider", landward.Printable(kind)).
			WithHint("the kinds are %s", strings.Join(Kinds(), ", "))
	}
	if err := s.finish(); err != nil {
		return nil, err
	}
	return p, nil
}

// reader takes settings one by one and remembers the first that is wrong.
type reader struct {
	kind string
	left map[string]string
	err  *landward.Error
}

func (s *reader) may(name string) string {
	v := strings.TrimSpace(s.left[name])
	delete(s.left, name)
	return v
}

func (s *reader) or(name, otherwise string) string {
	if v := s.may(name); v != "" {
		return v
	}
	return otherwise
}

func (s *reader) need(name string) string {
	v := s.may(name)
	if v == "" {
		s.refuse(name, "is missing")
	}
	return v
}

func (s *reader) refuse(name, why string) {
	if s.err == nil {
		s.err = landward.Invalid("acme-settings", "the setting %s of %s %s", name, s.kind, why)
	}
}

func (s *reader) finish() error {
	for _, name := range slices.Sorted(maps.Keys(s.left)) {
		s.refuse(landward.Printable(name), "is not known")
	}
	if s.err != nil {
		return s.err
	}
	return nil
}

// algorithms are the MACs of TSIG (RFC 8945 §6) that are still good.
var algorithms = []string{"hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512"}

func (s *reader) rfc2136() *rfc2136.Provider {
	p := &rfc2136.Provider{
		Server: s.need("server"), KeyName: s.need("key_name"), Key: s.need("key"),
		KeyAlg: strings.TrimSuffix(strings.ToLower(s.or("key_alg", "hmac-sha256")), "."),
	}
	if _, _, err := net.SplitHostPort(p.Server); err != nil {
		p.Server = net.JoinHostPort(p.Server, "53")
	}
	if !slices.Contains(algorithms, p.KeyAlg) {
		s.refuse("key_alg", "is none of "+strings.Join(algorithms, ", "))
	}
	if _, err := base64.StdEncoding.DecodeString(p.Key); err != nil {
		s.refuse("key", "is not base64")
	}
	return p
}
