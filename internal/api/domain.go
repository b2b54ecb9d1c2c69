package api

import (
	"context"
	"net/http"
	"strings"

	"landward/client"
	"landward/internal/auth"
	"landward/internal/deploy"
	"landward/internal/landward"
)

// DNSRecords changes the records of hosts at the DNS provider that is linked.
// What goes wrong is in the answer: nothing that a provider does may keep an
// app from getting or losing a host. A nil answer: there was nothing to do.
type DNSRecords interface {
	// MakeRecords lets a host of the app, which is normal, lead here. Records
	// that lead it elsewhere are taken away with replace only.
	MakeRecords(ctx context.Context, appID int64, host string, replace bool) *client.DNSChange
	// RemoveRecords takes those away that were made for the host and are still
	// as they were.
	RemoveRecords(ctx context.Context, appID int64, host string) *client.DNSChange
}

func (a *API) registerDomains() {
	const tag = "Domains"
	handle(a, tag, endpoint{"list-domains", http.MethodGet, "/apps/{app}/domains", auth.AppRead, "The hosts that the app answers at", nil}, a.listDomains)
	handle(a, tag, endpoint{"add-domain", http.MethodPost, "/apps/{app}/domains", auth.AppDomains, "Give the app a host, and let it lead here where a DNS provider is linked", nil}, a.addDomain)
	handle(a, tag, endpoint{"remove-domain", http.MethodDelete, "/apps/{app}/domains/{host}", auth.AppDomains, "Take a host away, with the records that were made for it", nil}, a.removeDomain)
	handle(a, tag, endpoint{"check-domain", http.MethodGet, "/apps/{app}/domains/{host}/check", auth.AppRead, "Look up whether a host leads here", nil}, a.checkDomain)
}

func (a *API) listDomains(ctx context.Context, _ *OnApp) (*answer[client.DomainList], error) {
	return reply(client.DomainList{Domains: a.wireDomains(callOf(ctx).app)})
}

type domainInput struct {
	OnApp
	Body client.NewDomain
}

func (a *API) addDomain(ctx context.Context, in *domainInput) (*answer[client.DomainChanged], error) {
	n := in.Body
	switch {
	case n.ReplaceRecord && n.NoRecord:
		return nil, landward.Invalid("replace_record", "records cannot be replaced and left alone at once")
	// The provider has records of more than this app: who owns an app must not
	// be able to take another host of the zone over.
	case n.ReplaceRecord && !auth.Can(callOf(ctx).actor, auth.SystemAdmin, 0):
		return nil, landward.Errorf(landward.CodeForbidden, "only administrators may replace records at the DNS provider").
			WithHint("remove the record at the provider, or ask an administrator")
	}
	d, err := a.changed(ctx, deploy.Change{AddDomains: []string{n.Host}})
	if err != nil {
		return nil, err
	}
	out := client.DomainChanged{Deployment: d}
	if host, ok := landward.NormalDomain(n.Host); ok && a.Records != nil && !n.NoRecord {
		out.DNS = a.Records.MakeRecords(ctx, callOf(ctx).app.ID, host, n.ReplaceRecord)
	}
	return a.domainChanged(ctx, out)
}

// OnDomain is the input of an operation about a host of an app.
type OnDomain struct {
	OnApp
	Host string `path:"host" doc:"A host of the app"`
}

type removeDomainInput struct {
	OnDomain
	NoRecord bool `query:"no_record" doc:"Leave the DNS alone"`
}

func (a *API) removeDomain(ctx context.Context, in *removeDomainInput) (*answer[client.DomainChanged], error) {
	d, err := a.changed(ctx, deploy.Change{RemoveDomains: []string{in.Host}})
	if err != nil {
		return nil, err
	}
	out := client.DomainChanged{Deployment: d}
	if host, ok := landward.NormalDomain(in.Host); ok && a.Records != nil && !in.NoRecord {
		out.DNS = a.Records.RemoveRecords(ctx, callOf(ctx).app.ID, host)
	}
	return a.domainChanged(ctx, out)
}

// domainChanged notes what was done at the provider, and answers.
func (a *API) domainChanged(ctx context.Context, out client.DomainChanged) (*answer[client.DomainChanged], error) {
	c := out.DNS
	if c == nil {
		return reply(out)
	}
	c.Created, c.Removed, c.There, c.Kept = list(c.Created), list(c.Removed), list(c.There), list(c.Kept)
	for _, did := range []struct {
		kind, what string
		records    []client.HostRecord
	}{{"dns.remove", "removed", c.Removed}, {"dns.create", "created", c.Created}} {
		var names []string
		for _, r := range did.records {
			names = append(names, r.String())
		}
		if len(names) == 0 {
			continue
		}
		if err := a.note(ctx, did.kind, did.what+" "+strings.Join(names, ", ")+" at "+c.Provider); err != nil {
			return nil, err
		}
	}
	return reply(out)
}
