package dnsprovider

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/libdns/libdns"
	"github.com/miekg/dns"
	"golang.org/x/net/publicsuffix"
)

// askWithin bounds one question to one name server.
const askWithin = 3 * time.Second

// lister is a keeper by a provider that lists its zones.
type lister struct {
	Lister
	zones     []string // by the settings; empty: all that the provider has
	resolvers []string
}

// survey implements keeper.
func (l *lister) survey(ctx context.Context, host string) (view, error) {
	var last error
	for _, zone := range l.candidates(ctx, host) {
		list, err := l.GetRecords(ctx, zone+".")
		if err != nil {
			if !isUnknown(err) {
				last = err
			}
			if ctx.Err() != nil {
				return view{}, err
			}
			continue
		}
		v := read(list, zone, host)
		if v.cut == "" || len(l.zones) > 0 {
			return v, nil
		}
		// What is delegated may well be another zone of the same provider.
		if list, err := l.GetRecords(ctx, v.cut+"."); err == nil {
			return read(list, v.cut, host), nil
		}
		return v, nil
	}
	return view{}, last
}

// isUnknown reports whether a provider says that it does not have a zone.
// libdns has no error for that.
func isUnknown(err error) bool {
	return errors.Is(err, errNoZone) || strings.Contains(err.Error(), "expected 1 zone, got 0")
}

// candidates are the zones that may have a host's records, the likeliest first.
func (l *lister) candidates(ctx context.Context, host string) []string {
	base := strings.TrimPrefix(host, "*.")
	if len(l.zones) > 0 {
		if z := longest(l.zones, base); z != "" {
			return []string{z}
		}
		return nil
	}
	domain, err := publicsuffix.EffectiveTLDPlusOne(base)
	if err != nil {
		return nil // nobody can have a zone there
	}
	// The host itself is not asked about: a resolver remembers for minutes that
	// it was not there (RFC 2308), just when it is being made.
	from := base
	if base != domain {
		_, from, _ = strings.Cut(base, ".")
	}
	if zone := apex(ctx, l.resolvers, from, domain); zone != "" {
		if zone == base {
			return []string{zone}
		}
		return []string{zone, base} // the host may be a zone of its own, and not delegated yet
	}
	// No resolver knows a zone: it may be one for inside.
	var out []string
	for at := from; ; _, at, _ = strings.Cut(at, ".") {
		out = append(out, at)
		if at == domain {
			return out
		}
	}
}

// longest is the longest of zones that name is in, or "".
func longest(zones []string, name string) string {
	best := ""
	for _, z := range zones {
		if (name == z || strings.HasSuffix(name, "."+z)) && len(z) > len(best) {
			best = z
		}
	}
	return best
}

// apex finds the zone that a name is in: the nearest name at or above it with a
// start of authority of its own, not above last. "" where nobody knows.
func apex(ctx context.Context, resolvers []string, name, last string) string {
	for at := name; ; _, at, _ = strings.Cut(at, ".") {
		for _, server := range resolvers {
			m, err := ask(ctx, &dns.Client{Timeout: askWithin}, server, at, dns.TypeSOA, true)
			if err != nil {
				continue
			}
			for _, rr := range m.Answer {
				if rr.Header().Rrtype == dns.TypeSOA && strings.EqualFold(rr.Header().Name, dns.Fqdn(at)) {
					return at
				}
			}
			break
		}
		if at == last || ctx.Err() != nil {
			return ""
		}
	}
}

// rcode is an answer that gives none.
type rcode int

func (r rcode) Error() string { return dns.RcodeToString[int(r)] }

// ask puts one question to one server. No such name is an answer; any other
// that is none is an rcode.
func ask(ctx context.Context, c *dns.Client, server, name string, kind uint16, recurse bool, sign ...func(*dns.Msg)) (*dns.Msg, error) {
	q := new(dns.Msg).SetQuestion(dns.Fqdn(name), kind)
	q.RecursionDesired = recurse
	for _, s := range sign {
		s(q)
	}
	m, _, err := c.ExchangeContext(ctx, q, server)
	if err != nil {
		return nil, fmt.Errorf("ask %s for %s of %s: %w", server, dns.TypeToString[kind], name, err)
	}
	if m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return nil, fmt.Errorf("ask %s for %s of %s: %w", server, dns.TypeToString[kind], name, rcode(m.Rcode))
	}
	return m, nil
}

// read finds in a zone's records what is about a host.
func read(list []libdns.Record, zone, host string) view {
	v := view{zone: zone}
	exists := map[string]bool{zone: true} // names that have records, or others below them
	at := map[string][]libdns.Record{}
	for _, rec := range list {
		rr := rec.RR()
		name := absolute(rr.Name, zone)
		if name != zone && !strings.HasSuffix(name, "."+zone) {
			continue
		}
		if rr.Type == "NS" && name != zone && (host == name || strings.HasSuffix(host, "."+name)) && len(name) > len(v.cut) {
			v.cut = name
		}
		if leads(rr.Type) {
			at[name] = append(at[name], rec)
		}
		for n := name; n != zone && !exists[n]; _, n, _ = strings.Cut(n, ".") {
			exists[n] = true
		}
	}
	v.here = at[host]
	if exists[host] || strings.HasPrefix(host, "*.") {
		return v // a wildcard above says nothing about it (RFC 4592 §2.2.1)
	}
	encloser := host
	for !exists[encloser] {
		_, encloser, _ = strings.Cut(encloser, ".")
	}
	v.wild = at["*."+encloser]
	return v
}

// leads reports whether records of a type lead a host somewhere. The last two
// are providers' own, for aliases of a zone itself.
func leads(kind string) bool {
	switch kind {
	case "A", "AAAA", "CNAME", "ALIAS", "ANAME":
		return true
	}
	return false
}

// absolute is a record's whole name, normalised, without a final dot.
func absolute(name, zone string) string {
	name = strings.TrimSuffix(libdns.AbsoluteName(name, zone+"."), ".")
	return strings.Replace(strings.ToLower(name), `\052`, "*", 1)
}
