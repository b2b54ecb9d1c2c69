package acme

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/libdns/libdns"
	"github.com/mholt/acmez/v3/acme"
	"github.com/miekg/dns"

	"landward/internal/landward"
)

const (
	resolvConf   = "/etc/resolv.conf"
	dnsTimeout   = 4 * time.Second
	dnsEvery     = time.Second
	maxAliases   = 8  // CNAMEs in a row
	maxAskedAt   = 16 // name servers
	challengeTTL = time.Minute
)

// zoneOf finds the zone that name is in: the longest that fits.
func (c *Client) zoneOf(name string) (zone string, ok bool) {
	name = strings.TrimPrefix(name, "*.")
	for _, z := range c.zones {
		if name == z || strings.HasSuffix(name, "."+z) {
			return z, true
		}
	}
	return "", false
}

// challengeName is where the proof of a name is looked for (RFC 8555 §8.4).
func challengeName(name string) string {
	return "_acme-challenge." + strings.TrimPrefix(name, "*.")
}

// presentDNS writes the record of a DNS-01 challenge and waits until it is
// seen, so that no validation is wasted on a record that is still on its way.
func (c *Client) presentDNS(ctx context.Context, ch acme.Challenge) (withdraw func(), err error) {
	target, zone, err := c.delegated(ctx, challengeName(ch.Identifier.Value))
	if err != nil {
		return nil, err
	}
	p := c.provider(zone)
	record := libdns.TXT{
		Name: libdns.RelativeName(target, zone), Text: ch.DNS01KeyAuthorization(), TTL: challengeTTL,
	}
	made, err := p.AppendRecords(ctx, zone+".", []libdns.Record{record})
	if err != nil {
		return nil, &dnsError{landward.Errorf(landward.CodeUnavailable, "the DNS provider of %s did not take the record %s", zone, target).
			WithCause(clean(err.Error())).
			WithHint("check the provider's settings in --acme-settings, and that they allow changes of this zone")}
	}
	if len(made) == 0 {
		made = []libdns.Record{record}
	}
	withdraw = func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
		defer cancel()
		if _, err := p.DeleteRecords(ctx, zone+".", made); err != nil {
			c.o.Log.Warn("remove a challenge's record", "zone", zone, "name", target, "err", err)
		}
	}
	if c.o.Propagation < 0 {
		return withdraw, nil
	}
	if err := c.awaitRecord(ctx, target, zone, ch.DNS01KeyAuthorization()); err != nil {
		withdraw()
		return nil, err
	}
	return withdraw, nil
}

// delegated follows the CNAMEs of a challenge's name: a name whose zone is not
// ours to change may point into one that is (RFC 8555 §8.4 lets the CA follow
// them too).
func (c *Client) delegated(ctx context.Context, name string) (target, zone string, err error) {
	target, last := name, error(nil)
	for range maxAliases {
		next, err := c.alias(ctx, target)
		if err != nil {
			last = err
			break
		}
		if next == "" {
			break
		}
		target = next
	}
	if zone, ok := c.zoneOf(target); ok {
		return target, zone, nil
	}
	if c.any != nil {
		zone, err := c.apex(ctx, target)
		if err == nil {
			return target, zone, nil
		}
		last = err
	}
	if zone, ok := c.zoneOf(name); ok {
		return name, zone, nil
	}
	e := landward.Errorf(landward.CodeFailed, "no DNS provider is set for %s", name).
		WithHint("set --acme-provider and --acme-settings for its zone, or point %s into one with a CNAME", name)
	if last != nil {
		e = e.WithCause(clean(last.Error()))
	}
	return "", "", &dnsError{e}
}

// apex finds the zone that a name is in: the nearest with a start of authority
// of its own.
func (c *Client) apex(ctx context.Context, name string) (string, error) {
	servers, err := c.resolvers()
	if err != nil {
		return "", err
	}
	for at := name; strings.Contains(at, "."); _, at, _ = strings.Cut(at, ".") {
		m, err := askAny(ctx, servers, at, dns.TypeSOA)
		if err != nil {
			return "", fmt.Errorf("find the zone of %s: %w", name, err)
		}
		for _, rr := range m.Answer {
			if rr.Header().Rrtype == dns.TypeSOA && strings.EqualFold(rr.Header().Name, dns.Fqdn(at)) {
				return at, nil
			}
		}
	}
	return "", fmt.Errorf("find the zone of %s: there is none", name)
}

// provider is who changes a zone's records.
func (c *Client) provider(zone string) DNSProvider {
	if p, ok := c.dns[zone]; ok {
		return p
	}
	return c.any
}

// alias asks where name points; "" for nowhere.
func (c *Client) alias(ctx context.Context, name string) (string, error) {
	servers, err := c.resolvers()
	if err != nil {
		return "", err
	}
	var last error
	for _, s := range servers {
		m, err := ask(ctx, s, name, dns.TypeCNAME, true)
		if err != nil {
			last = err
			continue
		}
		for _, rr := range m.Answer {
			if cn, ok := rr.(*dns.CNAME); ok && strings.EqualFold(cn.Hdr.Name, dns.Fqdn(name)) {
				if n, ok := landward.NormalHost(cn.Target); ok {
					return n, nil
				}
			}
		}
		return "", nil
	}
	return "", last
}

func (c *Client) resolvers() ([]string, error) {
	if len(c.o.Resolvers) > 0 {
		return c.o.Resolvers, nil
	}
	return c.system()
}

func systemResolvers() ([]string, error) {
	conf, err := dns.ClientConfigFromFile(resolvConf)
	if err != nil {
		return nil, fmt.Errorf("find a resolver: %w", err)
	}
	var out []string
	for _, s := range conf.Servers {
		out = append(out, net.JoinHostPort(s, conf.Port))
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("find a resolver: %s names none", resolvConf)
	}
	return out, nil
}

// awaitRecord waits until every name server that answers has the record.
func (c *Client) awaitRecord(ctx context.Context, name, zone, value string) error {
	ctx, cancel := context.WithTimeout(ctx, c.o.Propagation)
	defer cancel()
	tick := time.NewTicker(dnsEvery)
	defer tick.Stop()
	var last error
	for {
		seen, err := c.seen(ctx, name, zone, value)
		if seen {
			return nil
		}
		if err != nil && ctx.Err() == nil {
			last = err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			e := landward.Errorf(landward.CodeTimeout, "the record %s was not seen within %s", name, c.o.Propagation).
				WithHint("check that the name servers of %s are those of its DNS provider", zone)
			if last != nil {
				e = e.WithCause(clean(last.Error()))
			}
			return &dnsError{e}
		}
	}
}

func (c *Client) seen(ctx context.Context, name, zone, value string) (bool, error) {
	servers, recurse := c.o.Resolvers, true
	if len(servers) == 0 {
		var err error
		if servers, err = c.authorities(ctx, zone); err != nil {
			return false, err
		}
		recurse = false
	}
	answered, last := 0, error(nil)
	for _, s := range servers {
		m, err := ask(ctx, s, name, dns.TypeTXT, recurse)
		if err != nil {
			last = err
			continue
		}
		answered++
		if !hasText(m, value) {
			return false, fmt.Errorf("%s does not have it yet", s)
		}
	}
	return answered > 0, last
}

func hasText(m *dns.Msg, value string) bool {
	return slices.ContainsFunc(m.Answer, func(rr dns.RR) bool {
		txt, ok := rr.(*dns.TXT)
		return ok && strings.Join(txt.Txt, "") == value
	})
}

// authorities finds the addresses of a zone's own name servers. They know of a
// record first, and have no stale absence in a cache.
func (c *Client) authorities(ctx context.Context, zone string) ([]string, error) {
	resolvers, err := c.resolvers()
	if err != nil {
		return nil, err
	}
	list, err := nameServers(ctx, resolvers, zone)
	if err != nil {
		return nil, fmt.Errorf("find the name servers of %s: %w", zone, err)
	}
	var out []string
	for _, ns := range list {
		for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
			m, err := askAny(ctx, resolvers, ns, kind)
			if err != nil {
				continue
			}
			for _, rr := range m.Answer {
				var ip net.IP
				switch rr := rr.(type) {
				case *dns.A:
					ip = rr.A
				case *dns.AAAA:
					ip = rr.AAAA
				}
				if a, ok := netip.AddrFromSlice(ip); ok && len(out) < maxAskedAt {
					out = append(out, netip.AddrPortFrom(a.Unmap(), c.port).String())
				}
			}
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("find the name servers of %s: they have no addresses", zone)
	}
	return out, nil
}

// nameServers finds the names of the servers that a zone is on: its own, or
// those of the zone that it is only a part of.
func nameServers(ctx context.Context, resolvers []string, zone string) ([]string, error) {
	for name := zone; strings.Contains(name, "."); _, name, _ = strings.Cut(name, ".") {
		m, err := askAny(ctx, resolvers, name, dns.TypeNS)
		if err != nil {
			return nil, err
		}
		var out []string
		for _, rr := range m.Answer {
			if ns, ok := rr.(*dns.NS); ok {
				out = append(out, ns.Ns)
			}
		}
		if len(out) > 0 {
			return out, nil
		}
	}
	return nil, errors.New("there are none")
}

func askAny(ctx context.Context, servers []string, name string, kind uint16) (*dns.Msg, error) {
	err := errors.New("no resolver")
	for _, s := range servers {
		m, e := ask(ctx, s, name, kind, true)
		if e == nil {
			return m, nil
		}
		err = e
	}
	return nil, err
}

// ask puts one question to one server. No such name is an answer, not an error.
func ask(ctx context.Context, server, name string, kind uint16, recurse bool) (*dns.Msg, error) {
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(name), kind)
	q.RecursionDesired = recurse
	q.SetEdns0(1232, false)
	var err error
	for _, network := range []string{"udp", "tcp"} { // what is cut, and what UDP does not bring, comes by TCP
		var m *dns.Msg
		m, _, err = (&dns.Client{Net: network, Timeout: dnsTimeout}).ExchangeContext(ctx, q, server)
		if err != nil || m.Truncated {
			continue
		}
		if m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
			return nil, fmt.Errorf("ask %s: %s", server, dns.RcodeToString[m.Rcode])
		}
		return m, nil
	}
	if err == nil {
		err = errors.New("the answer is cut")
	}
	return nil, fmt.Errorf("ask %s: %w", server, err)
}
