// Package dnsprovider makes the DNS providers that people name in settings, and
// changes records through them: those that prove names to a certificate
// authority, and those by which hosts lead to the edge. It must never know of
// apps, routes or certificates.
package dnsprovider

import (
	"cmp"
	"encoding/base64"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/libdns/cloudflare"
	"github.com/libdns/rfc2136"

	"landward/internal/cert"
	"landward/internal/landward"
)

// The kinds of providers.
const (
	Cloudflare = "cloudflare" // api_token; zone_token
	Route53    = "route53"    // access_key_id, secret_access_key; session_token, region, hosted_zone_id
	RFC2136    = "rfc2136"    // server, key_name, key; key_alg
)

const (
	callTimeout = 30 * time.Second // of one call to a provider's API
	maxAnswer   = 16 << 20         // bytes of one answer
)

// Kinds lists the kinds that New knows.
func Kinds() []string { return []string{Cloudflare, RFC2136, Route53} }

// New makes the provider of a kind. Names of settings may be in upper case. It
// asks nobody, and reads no file and no variable of the machine's: what works
// never depends on what else is there. The error is a *landward.Error that
// names the setting that is missing or unknown; it never holds a setting's
// value.
func New(kind string, settings map[string]string) (cert.DNSProvider, error) {
	p, _, err := open(kind, settings, options{wait: true})
	return p, err
}

// Zones are the zones that the settings name with ZONE, normalised: several are
// separated by blanks. None: whatever the provider has. The error is a
// *landward.Error.
func Zones(settings map[string]string) ([]string, error) {
	for name, v := range settings {
		if strings.EqualFold(name, "zone") {
			return zones(v)
		}
	}
	return nil, nil
}

func zones(list string) ([]string, error) {
	var out []string
	for _, z := range strings.FieldsFunc(list, func(r rune) bool { return r == ' ' || r == '\t' || r == ',' }) {
		n, ok := landward.NormalHost(z)
		if !ok {
			return nil, landward.Invalid("acme-settings", "ZONE names %q, which is no zone", landward.Printable(z)).
				WithHint("write it as example.com; separate several with blanks")
		}
		out = append(out, n)
	}
	return out, nil
}

// options are what differs between the uses of a provider.
type options struct {
	wait  bool              // until all of the provider's servers have a change
	every time.Duration     // between questions about that [2 s]
	http  http.RoundTripper // nil: the usual one
	base  string            // address of the API, in tests
}

func open(kind string, settings map[string]string, o options) (cert.DNSProvider, []string, error) {
	s := &reader{kind: kind, left: make(map[string]string, len(settings))}
	for name, v := range settings {
		lower := strings.ToLower(name)
		if _, twice := s.left[lower]; twice {
			s.refuse(landward.Printable(lower), "is given twice")
		}
		s.left[lower] = v
	}
	if s.err != nil {
		return nil, nil, s.err
	}
	named, err := zones(s.may("zone"))
	if err != nil {
		return nil, nil, err
	}
	if o.http == nil {
		o.http = http.DefaultTransport
	}
	httpClient := &http.Client{Timeout: callTimeout, Transport: bounded{o.http}}
	var p cert.DNSProvider
	switch kind {
	case Cloudflare:
		p = &cloudflare.Provider{APIToken: s.need("api_token"), ZoneToken: s.may("zone_token"), HTTPClient: httpClient}
	case Route53:
		p = newRoute53(route53Settings{
			key: s.need("access_key_id"), secret: s.need("secret_access_key"), session: s.may("session_token"),
			region: s.or("region", "us-east-1"), zoneID: s.may("hosted_zone_id"), base: o.base,
			http: httpClient, wait: o.wait, every: cmp.Or(o.every, syncEvery),
		})
	case RFC2136:
		p = &updates{server: s.rfc2136()}
	default:
		return nil, nil, landward.Invalid("acme-provider", "%q is not a kind of DNS provider", landward.Printable(kind)).
			WithHint("the kinds are %s", strings.Join(Kinds(), ", "))
	}
	if err := s.finish(); err != nil {
		return nil, nil, err
	}
	return p, named, nil
}

// bounded cuts answers that no API of a sound mind sends.
type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.RoundTripper.RoundTrip(r)
	if err == nil && resp.Body != nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, maxAnswer), resp.Body}
	}
	return resp, err
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
