package dnsprovider

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/libdns/libdns"
	"github.com/libdns/rfc2136"
	"github.com/miekg/dns"
)

// updates is a name server that takes dynamic updates (RFC 2136). It asks the
// server for single names: whole zones are handed to few keys, by transfers.
type updates struct {
	server *rfc2136.Provider
	zones  []string // by the settings; empty: all that the server has
}

// AppendRecords implements cert.DNSProvider.
func (u *updates) AppendRecords(ctx context.Context, zone string, list []libdns.Record) ([]libdns.Record, error) {
	return u.server.AppendRecords(ctx, zone, list)
}

// DeleteRecords implements cert.DNSProvider.
func (u *updates) DeleteRecords(ctx context.Context, zone string, list []libdns.Record) ([]libdns.Record, error) {
	return u.server.DeleteRecords(ctx, zone, list)
}

func (u *updates) client() *dns.Client {
	return &dns.Client{Net: "tcp", Timeout: askWithin, TsigSecret: map[string]string{dns.Fqdn(u.server.KeyName): u.server.Key}}
}

// sign signs a message: what a server says may depend on who asks (views).
func (u *updates) sign(m *dns.Msg) {
	m.SetTsig(dns.Fqdn(u.server.KeyName), dns.Fqdn(u.server.KeyAlg), 300, time.Now().Unix())
}

// survey implements keeper.
func (u *updates) survey(ctx context.Context, host string) (view, error) {
	if len(u.zones) > 0 && longest(u.zones, strings.TrimPrefix(host, "*.")) == "" {
		return view{}, nil
	}
	var v view
	var found []dns.RR
	for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
		m, err := ask(ctx, u.client(), u.server.Server, host, kind, false, u.sign)
		if err != nil {
			if errors.Is(err, rcode(dns.RcodeRefused)) {
				return view{}, nil // not a zone of the server's
			}
			return view{}, err
		}
		if !m.Authoritative {
			return view{}, nil
		}
		for _, rr := range m.Answer {
			if h := rr.Header(); strings.EqualFold(h.Name, dns.Fqdn(host)) && leads(dns.TypeToString[h.Rrtype]) &&
				!slices.ContainsFunc(found, func(have dns.RR) bool { return dns.IsDuplicate(have, rr) }) {
				found = append(found, rr)
			}
		}
	}
	var err error
	if v.zone, err = u.zoneOf(ctx, host); err != nil || v.zone == "" {
		return view{}, err
	}
	own := len(found) > 0
	if own && !strings.HasPrefix(host, "*.") {
		// The answer may be a wildcard's: only an update tells the difference.
		if own, err = u.exists(ctx, v.zone, host, found); err != nil {
			return view{}, err
		}
	}
	for _, rr := range found {
		name := libdns.RelativeName(host, v.zone)
		rec, err := record(rr, name)
		if err != nil {
			return view{}, err
		}
		if own {
			v.here = append(v.here, rec)
		} else {
			v.wild = append(v.wild, rec)
		}
	}
	return v, nil
}

// zoneOf asks the server which of its zones a host is in: the answer has, or is,
// the start of authority of it (RFC 2308 §3).
func (u *updates) zoneOf(ctx context.Context, host string) (string, error) {
	for at := host; strings.Contains(at, "."); _, at, _ = strings.Cut(at, ".") {
		m, err := ask(ctx, u.client(), u.server.Server, at, dns.TypeSOA, false, u.sign)
		if err != nil {
			return "", err
		}
		for _, rr := range slices.Concat(m.Answer, m.Ns) {
			name := strings.ToLower(strings.TrimSuffix(rr.Header().Name, "."))
			if rr.Header().Rrtype == dns.TypeSOA && (at == name || strings.HasSuffix(at, "."+name)) {
				return name, nil
			}
		}
	}
	return "", nil
}

// exists asks whether a name has records of the found types itself. It sends an
// update that has conditions and changes nothing (RFC 2136 §2.4.1).
func (u *updates) exists(ctx context.Context, zone, host string, found []dns.RR) (bool, error) {
	m := new(dns.Msg).SetUpdate(dns.Fqdn(zone))
	m.RRsetUsed([]dns.RR{&dns.ANY{Hdr: dns.RR_Header{Name: dns.Fqdn(host), Rrtype: found[0].Header().Rrtype}}})
	u.sign(m)
	answer, _, err := u.client().ExchangeContext(ctx, m, u.server.Server)
	if err != nil {
		return false, fmt.Errorf("ask %s whether %s has records: %w", u.server.Server, host, err)
	}
	switch answer.Rcode {
	case dns.RcodeSuccess:
		return true, nil
	case dns.RcodeNXRrset, dns.RcodeNameError:
		return false, nil
	}
	return false, fmt.Errorf("ask %s whether %s has records: %w", u.server.Server, host, rcode(answer.Rcode))
}

// record is a record of the server's as libdns writes it.
func record(rr dns.RR, name string) (libdns.Record, error) {
	ttl := time.Duration(rr.Header().Ttl) * time.Second
	var ip []byte
	switch rr := rr.(type) {
	case *dns.CNAME:
		return libdns.CNAME{Name: name, TTL: ttl, Target: rr.Target}, nil
	case *dns.A:
		ip = rr.A
	case *dns.AAAA:
		ip = rr.AAAA
	}
	a, ok := netip.AddrFromSlice(ip)
	if !ok {
		return nil, fmt.Errorf("%q is no address", rr.String())
	}
	return libdns.Address{Name: name, TTL: ttl, IP: a.Unmap()}, nil
}
