package api

import (
	"context"
	"time"

	"landward/client"
	"landward/internal/landward"
)

// DomainChecker looks up where a host leads.
type DomainChecker interface {
	// CheckDomain says what DNS says about host, which is normal and may begin
	// with "*.". What DNS says is never an error.
	CheckDomain(ctx context.Context, host string) (client.DomainReport, error)
}

// checkWithin bounds what a look at DNS may take.
const checkWithin = 20 * time.Second

func (a *API) checkDomain(ctx context.Context, in *OnDomain) (*answer[client.DomainReport], error) {
	if a.Domains == nil {
		return nil, notAvailable("this server does not check where domains lead")
	}
	host, ok := landward.NormalDomain(in.Host)
	if app := callOf(ctx).app; !ok || !hasHost(app, a.Domain, host) {
		return nil, noHost(in.Host)
	}
	ctx, cancel := context.WithTimeout(ctx, checkWithin)
	defer cancel()
	r, err := a.Domains.CheckDomain(ctx, host)
	if err != nil {
		return nil, err
	}
	r.Wanted, r.Found, r.Problems, r.Advice = list(r.Wanted), list(r.Found), list(r.Problems), list(r.Advice)
	if r.Records == nil {
		r.Records = []client.DNSRecord{}
	}
	return reply(r)
}
