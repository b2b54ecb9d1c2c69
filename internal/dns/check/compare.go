package check

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// compare says what is wrong with the addresses, and what to do.
func (l *lookup) compare() {
	heard := l.gather()
	l.signatures()
	r := l.r
	var foreign, foreignSix, proxied []netip.Addr
	for _, a := range r.Found {
		switch {
		case slices.Contains(r.Want, a):
		case isCloudflare(a):
			proxied = append(proxied, a)
		case a.Is6():
			foreignSix = append(foreignSix, a)
		default:
			foreign = append(foreign, a)
		}
	}
	switch {
	case len(r.Found) == 0 && !heard:
		return // nobody knows; said already
	case len(proxied) > 0 && len(foreign)+len(foreignSix) == 0:
		r.Proxied = true
		l.problem(Proxied, false, "%s is behind Cloudflare's proxy, so it cannot be seen from here whether it leads to this server. "+
			"Set the record to \"DNS only\" there, or set the encryption mode to \"Full (strict)\" and check that the proxy's own target is right.", r.Host)
		return
	case len(r.Found) == 0 && r.Alias == "":
		l.problem(Missing, true, "%s has no address record yet.", r.Host)
		l.propose()
	case r.Alias != "" && (len(r.Found) == 0 || len(foreign)+len(foreignSix) > 0):
		l.problem(WrongAlias, true, "%s is an alias of %s, which leads to %s and not here.", r.Host, r.Alias, words(r.Found))
		l.record(Remove, "CNAME", r.Alias)
		l.propose()
	case len(foreign) == 0 && len(foreignSix) > 0 && slices.ContainsFunc(r.Found, netip.Addr.Is4):
		l.problem(StaleAAAA, true, "%s leads here over IPv4, but its IPv6 address %s is somewhere else. Most visitors and certificate authorities try IPv6 first.", r.Host, words(foreignSix))
		l.replace(foreignSix)
	case len(foreign)+len(foreignSix) > 0:
		l.problem(WrongAddress, true, "%s leads to %s, not here.", r.Host, words(append(foreign, foreignSix...)))
		l.replace(append(foreign, foreignSix...))
	}
	l.propagation()
}

// gather puts together what the servers said, and says which did not answer or
// say something else. It returns false when nobody answered at all.
func (l *lookup) gather() bool {
	r := l.r
	var silent, different []string
	var first *Server
	for i := range r.Servers {
		s := &r.Servers[i]
		if s.Error != "" {
			silent = append(silent, s.Name+" ("+s.Error+")")
			continue
		}
		for _, a := range s.Addresses {
			if !slices.Contains(r.Found, a) {
				r.Found = append(r.Found, a)
			}
		}
		if s.Alias != "" {
			r.Alias = s.Alias
		}
		if first == nil {
			first = s
		} else if !slices.Equal(s.Addresses, first.Addresses) {
			different = append(different, s.Name)
		}
	}
	slices.SortFunc(r.Found, netip.Addr.Compare)
	if first == nil {
		l.problem(SilentServers, true, "None of the name servers of %s answers for it: %s.", r.Zone, strings.Join(silent, "; "))
		return false
	}
	if len(silent) > 0 {
		l.problem(SilentServers, false, "Some name servers of %s do not answer for it: %s.", r.Zone, strings.Join(silent, "; "))
	}
	if len(different) > 0 {
		l.problem(Disagree, false, "The name servers of %s do not agree about %s: %s says something else than %s. A change of a moment ago takes a minute to reach all of them.",
			r.Zone, r.Host, strings.Join(different, ", "), first.Name)
	}
	return true
}

func (l *lookup) signatures() {
	if l.publicBad {
		l.problem(BadSignature, true, "The DNSSEC signatures of %s are broken: resolvers that check them refuse it. Mend or remove the DS record at the registrar.", l.r.Zone)
	}
}

// propagation compares what the zone's servers say with what others remember.
func (l *lookup) propagation() {
	r := l.r
	if l.publicBad || len(r.Records) > 0 || slices.Equal(r.Public, r.Found) {
		return
	}
	if len(r.Public) > 0 && subset(r.Public, r.Want) {
		return // another selection of our addresses
	}
	wait := max(l.publicTTL, time.Second)
	l.problem(NotPropagated, false, "The record of %s is right, but resolvers still remember what was there before (%s), for up to %s.",
		r.Host, words(r.Public), wait).Wait = wait
}

func subset(a, of []netip.Addr) bool {
	for _, x := range a {
		if !slices.Contains(of, x) {
			return false
		}
	}
	return true
}

// propose asks for records with all addresses of the edge, and offers an alias
// where there can be one.
func (l *lookup) propose() {
	for _, a := range l.r.Want {
		if !slices.Contains(l.r.Found, a) || l.r.Alias != "" {
			l.record(Add, kindOf(a), a.String())
		}
	}
	// A zone's apex has SOA and NS, and so no CNAME (RFC 1034 section 3.6.2).
	if l.c.Target != "" && !l.r.Apex && !strings.EqualFold(l.c.Target, l.r.Host) {
		l.r.Instead = append(l.r.Instead, l.made(Add, "CNAME", strings.TrimSuffix(l.c.Target, ".")+"."))
	}
}

// replace asks for addresses to be taken away, and for ours of the same kind
// where they are missing.
func (l *lookup) replace(foreign []netip.Addr) {
	for _, a := range foreign {
		l.record(Remove, kindOf(a), a.String())
	}
	for _, a := range l.r.Want {
		same := slices.ContainsFunc(foreign, func(f netip.Addr) bool { return f.Is4() == a.Is4() })
		ours := slices.ContainsFunc(l.r.Found, func(f netip.Addr) bool { return slices.Contains(l.r.Want, f) })
		if !slices.Contains(l.r.Found, a) && (same || !ours) {
			l.record(Add, kindOf(a), a.String())
		}
	}
}

func (l *lookup) record(action Action, kind, value string) {
	l.r.Records = append(l.r.Records, l.made(action, kind, value))
}

func (l *lookup) made(action Action, kind, value string) Record {
	rec := Record{Action: action, Type: kind, Name: l.relative(l.r.Host), Host: l.r.Host, Value: value}
	if action == Add {
		rec.TTL = TTL
	}
	return rec
}

// relative writes a name as the forms of providers want it.
func (l *lookup) relative(name string) string {
	if name == l.r.Zone {
		return "@"
	}
	return strings.TrimSuffix(name, "."+l.r.Zone)
}

func kindOf(a netip.Addr) string {
	if a.Is4() {
		return dns.TypeToString[dns.TypeA]
	}
	return dns.TypeToString[dns.TypeAAAA]
}

func words(list []netip.Addr) string {
	if len(list) == 0 {
		return "nothing"
	}
	var out []string
	for _, a := range list {
		out = append(out, a.String())
	}
	return strings.Join(out, ", ")
}

// isCloudflare says whether an address is one of Cloudflare's proxies.
func isCloudflare(a netip.Addr) bool {
	for _, text := range [...]string{
		"103.21.244.0/22", "103.22.200.0/22", "103.31.4.0/22", "104.16.0.0/13", "104.24.0.0/14",
		"108.162.192.0/18", "131.0.72.0/22", "141.101.64.0/18", "162.158.0.0/15", "172.64.0.0/13",
		"173.245.48.0/20", "188.114.96.0/20", "190.93.240.0/20", "197.234.240.0/22", "198.41.128.0/17",
		"2400:cb00::/32", "2405:8100::/32", "2405:b500::/32", "2606:4700::/32", "2803:f800::/32",
		"2a06:98c0::/29", "2c0f:f248::/32",
	} {
		if p, err := netip.ParsePrefix(text); err == nil && p.Contains(a) {
			return true
		}
	}
	return false
}
