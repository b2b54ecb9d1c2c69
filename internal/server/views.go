package server

import (
	"context"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"

	"github.com/miekg/dns"

	"landward/client"
	"landward/internal/api"
	"landward/internal/cert"
	"landward/internal/dns/check"
	"landward/internal/landward"
	"landward/internal/logs/accesslog"
	"landward/internal/route/edge"
)

// certificates are the edge's as the API knows them.
type certificates struct{ edge *edge.Client }

func (c certificates) Certificates(ctx context.Context) ([]client.Certificate, error) {
	list, err := c.edge.Certs(ctx)
	out := make([]client.Certificate, 0, len(list))
	for _, s := range list {
		out = append(out, wireCertificate(s))
	}
	return out, err
}

func (c certificates) PutCertificate(ctx context.Context, host string, n client.NewCertificate) (client.Certificate, error) {
	s, err := c.edge.PutPair(ctx, host, edge.Pair{Certificate: n.Certificate, Key: n.Key})
	if e := landward.AsError(err); err != nil && e.Field == "cert" {
		named := *e
		named.Field = "certificate"
		err = &named
	}
	return wireCertificate(s), err
}

func (c certificates) RemoveCertificate(ctx context.Context, host string) error {
	return c.edge.RemovePair(ctx, host)
}

func (c certificates) LocalRoot(ctx context.Context) (string, error) { return c.edge.Root(ctx) }

func wireCertificate(s cert.Status) client.Certificate {
	return client.Certificate{
		Host: s.Host, App: s.App, Wanted: s.Wanted, OnDemand: s.OnDemand, Source: string(s.Source), Via: s.Via,
		Issuer: s.Issuer, NotBefore: s.NotBefore, NotAfter: s.NotAfter, Names: s.Names, Fingerprint: s.Fingerprint,
		Revoked: s.Revoked, Expiring: s.Expiring, LastError: s.LastError, Hint: s.Hint,
		LastTry: s.LastTry, NextTry: s.NextTry, Attempts: s.Attempts, Ordering: s.Ordering,
	}
}

// domainChecker looks hosts up where the whole world would.
type domainChecker struct{ want []netip.Addr }

// resolvConf names the host's resolvers.
const resolvConf = "/etc/resolv.conf"

func (d domainChecker) CheckDomain(ctx context.Context, host string) (client.DomainReport, error) {
	c := check.Checker{Resolver: &check.Client{Recursive: resolvers()}}
	r := c.Check(ctx, host, d.want)
	out := client.DomainReport{
		Host: host, OK: r.OK, Wanted: texts(r.Want), Found: texts(r.Found),
		Records: records(r.Records), Instead: records(r.Instead), Problems: []string{}, Advice: []string{},
	}
	for _, p := range r.Problems {
		out.Problems = append(out.Problems, p.Text)
	}
	for _, rec := range r.Records {
		out.Advice = append(out.Advice, rec.String())
	}
	return out, nil
}

func resolvers() []netip.AddrPort {
	conf, err := dns.ClientConfigFromFile(resolvConf)
	if err != nil {
		return nil // the report says that nobody could be asked
	}
	var out []netip.AddrPort
	for _, s := range conf.Servers {
		if a, err := netip.ParseAddrPort(net.JoinHostPort(s, conf.Port)); err == nil {
			out = append(out, a)
		}
	}
	return out
}

func texts(list []netip.Addr) []string {
	out := make([]string, 0, len(list))
	for _, a := range list {
		out = append(out, a.String())
	}
	return out
}

func records(list []check.Record) []client.DNSRecord {
	out := make([]client.DNSRecord, 0, len(list))
	for _, r := range list {
		out = append(out, client.DNSRecord{Action: string(r.Action), Type: r.Type, Name: r.Name, Value: r.Value, TTL: r.TTL})
	}
	return out
}

// accessLogs are the edge's, below the folder of logs.
type accessLogs string

func (dir accessLogs) Read(ctx context.Context, appID int64, q api.AccessQuery, fn func(line []byte) error) error {
	query := accesslog.Query{Since: q.Since, Tail: q.Tail, Follow: q.Follow,
		Filter: accesslog.Filter{MinStatus: q.MinStatus, MaxStatus: q.MaxStatus}}
	return accesslog.Read(ctx, filepath.Join(string(dir), strconv.FormatInt(appID, 10)), query,
		func(raw []byte, _ *accesslog.Entry) error { return fn(raw) })
}
