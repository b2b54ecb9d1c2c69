package check

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/publicsuffix"

	edge "landward/internal/dns"
)

// maxServers is how many of a domain's name servers are asked.
const maxServers = 4

// lookup is one check under way.
type lookup struct {
	c   *Checker
	ctx context.Context
	r   *Report

	base  string // the host without "*."
	asked string // the name that is looked up
	wild  bool

	names     []string // of the zone's name servers
	broken    string   // the first name that the resolver got no answer for
	publicTTL time.Duration
	publicBad bool // the recursive resolver refuses what is there without checks
}

func itoa(n int) string { return strconv.Itoa(n) }

func (l *lookup) problem(kind Kind, blocks bool, format string, args ...any) *Problem {
	l.r.Problems = append(l.r.Problems, Problem{Kind: kind, Blocks: blocks, Text: fmt.Sprintf(format, args...)})
	return &l.r.Problems[len(l.r.Problems)-1]
}

// recurse asks the recursive resolver. Without checks it answers with what is
// there even where signatures are broken (RFC 4035 section 3.2.2).
func (l *lookup) recurse(name string, kind uint16, checked bool) (*dns.Msg, error) {
	m := new(dns.Msg).SetQuestion(dns.Fqdn(name), kind)
	m.CheckingDisabled = !checked
	return l.c.Resolver.Exchange(l.ctx, m, netip.Addr{})
}

// findZone finds the domain that has the host's records: the nearest name at or
// above it that has name servers.
func (l *lookup) findZone() bool {
	for name := l.base; name != ""; _, name, _ = strings.Cut(name, ".") {
		m, err := l.recurse(name, dns.TypeNS, false)
		if err != nil {
			l.problem(NoResolver, true, "%s could not be looked up: no DNS resolver answers (%v).", l.r.Host, err)
			return false
		}
		for _, rr := range m.Answer {
			if ns, ok := rr.(*dns.NS); ok && strings.EqualFold(ns.Hdr.Name, dns.Fqdn(name)) {
				l.names = append(l.names, strings.ToLower(strings.TrimSuffix(ns.Ns, ".")))
			}
		}
		if len(l.names) > 0 {
			return l.inZone(name)
		}
		if l.broken == "" && m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
			l.broken = name
		}
	}
	l.unregistered()
	return false
}

// inZone takes the zone that was found, unless it is one where people register
// domains: then the one that was meant is not there.
func (l *lookup) inZone(zone string) bool {
	suffix, official := publicsuffix.PublicSuffix(zone)
	if suffix == zone && zone != l.base && (official || !strings.Contains(zone, ".")) {
		l.unregistered()
		return false
	}
	l.r.Zone = zone
	l.r.Apex = zone == l.base && !l.wild
	slices.Sort(l.names)
	l.names = slices.Compact(l.names)
	return true
}

func (l *lookup) unregistered() {
	if l.broken != "" {
		l.problem(SilentServers, true, "The name servers of %s do not answer, or its delegation is broken.", l.broken)
		return
	}
	domain, err := publicsuffix.EffectiveTLDPlusOne(l.base)
	if err != nil {
		domain = l.base
	}
	l.problem(NotRegistered, true, "The domain %s does not exist or has no name servers: register it, or correct the name.", domain)
}

// askServers asks the zone's own servers, all at once.
func (l *lookup) askServers() {
	names := l.names[:min(len(l.names), maxServers)]
	l.r.Servers = make([]Server, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() { l.r.Servers[i] = l.askServer(name) })
	}
	wg.Wait()
}

func (l *lookup) askServer(name string) Server {
	s := Server{Name: name}
	addr, err := l.serverAddr(name)
	if err != nil {
		s.Error = err.Error()
		return s
	}
	s.Addr = addr
	for _, kind := range [...]uint16{dns.TypeA, dns.TypeAAAA} {
		m := new(dns.Msg).SetQuestion(dns.Fqdn(l.asked), kind)
		m.RecursionDesired = false
		answer, err := l.c.Resolver.Exchange(l.ctx, m, addr)
		switch {
		case err != nil:
			s.Error = "does not answer: " + err.Error()
			return s
		case answer.Rcode != dns.RcodeSuccess && answer.Rcode != dns.RcodeNameError:
			s.Error = "answers " + dns.RcodeToString[answer.Rcode]
			return s
		case !answer.Authoritative:
			s.Error = "does not have the domain"
			return s
		}
		got, alias, _ := addresses(answer, l.asked)
		if alias != "" {
			s.Alias = alias
			continue
		}
		s.Addresses = append(s.Addresses, got...)
	}
	if s.Alias != "" {
		s.Addresses, _, _ = l.resolve(s.Alias, false)
	}
	slices.SortFunc(s.Addresses, netip.Addr.Compare)
	return s
}

// serverAddr finds an address of a name server that may be asked.
func (l *lookup) serverAddr(name string) (netip.Addr, error) {
	got, _, err := l.resolve(name, false)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("address not found: %w", err)
	}
	for _, a := range got {
		if l.c.AllowPrivate || !edge.IsPrivate(a) {
			return a, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("has no public address")
}

// resolve returns the addresses of a name as the recursive resolver has them,
// IPv4 first, and the shortest TTL of its answers.
func (l *lookup) resolve(name string, checked bool) (list []netip.Addr, ttl time.Duration, err error) {
	for _, kind := range [...]uint16{dns.TypeA, dns.TypeAAAA} {
		m, err := l.recurse(name, kind, checked)
		if err != nil {
			return nil, 0, err
		}
		if m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
			return nil, 0, fmt.Errorf("resolver answers %s", dns.RcodeToString[m.Rcode])
		}
		got, _, left := addresses(m, name)
		list = append(list, got...)
		ttl = max(ttl, left)
	}
	return list, ttl, nil
}

// addresses returns what an answer says about a name: the addresses at the end
// of its aliases, the last alias, and how long that may be remembered.
func addresses(m *dns.Msg, name string) (list []netip.Addr, alias string, ttl time.Duration) {
	at := dns.Fqdn(name)
	for range 16 {
		i := slices.IndexFunc(m.Answer, func(rr dns.RR) bool {
			return rr.Header().Rrtype == dns.TypeCNAME && strings.EqualFold(rr.Header().Name, at)
		})
		if i < 0 {
			break
		}
		cname, _ := m.Answer[i].(*dns.CNAME)
		at = cname.Target
		alias = strings.ToLower(strings.TrimSuffix(at, "."))
	}
	for _, rr := range m.Answer {
		if !strings.EqualFold(rr.Header().Name, at) {
			continue
		}
		var ip []byte
		switch v := rr.(type) {
		case *dns.A:
			ip = v.A
		case *dns.AAAA:
			ip = v.AAAA
		}
		if a, ok := netip.AddrFromSlice(ip); ok {
			list = append(list, a.Unmap())
			ttl = time.Duration(rr.Header().Ttl) * time.Second
		}
	}
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok && len(list) == 0 {
			ttl = time.Duration(min(soa.Hdr.Ttl, soa.Minttl)) * time.Second
		}
	}
	return list, alias, ttl
}

// askPublic asks what everybody else sees.
func (l *lookup) askPublic() {
	list, ttl, err := l.resolve(l.asked, true)
	if err != nil {
		_, _, without := l.resolve(l.asked, false)
		l.publicBad = without == nil
		return
	}
	slices.SortFunc(list, netip.Addr.Compare)
	l.r.Public, l.publicTTL = list, ttl
}
