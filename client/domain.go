package client

import (
	"context"
	"net/http"
)

// DomainReport is what the world's DNS says of a host, and what it should say.
type DomainReport struct {
	Host     string      `json:"host" example:"shop.example.com"`
	OK       bool        `json:"ok" doc:"Requests for the host come here"`
	Wanted   []string    `json:"wanted" doc:"The addresses that it should lead to"`
	Found    []string    `json:"found" doc:"The addresses that it leads to"`
	Records  []DNSRecord `json:"records" doc:"What to do at the DNS provider"`
	Instead  []DNSRecord `json:"instead,omitempty" doc:"These in place of all that records adds, where that is possible"`
	Problems []string    `json:"problems" doc:"What is wrong, a sentence each"`
	Advice   []string    `json:"advice" doc:"What to do, a sentence each"`
}

// DomainChanged is the answer to a host that was added or taken away.
type DomainChanged struct {
	Deployment *Deployment `json:"deployment,omitempty" doc:"What carries the change out; none where nothing changed or nothing was deployed yet"`
	DNS        *DNSChange  `json:"dns,omitempty" doc:"What was done about the host's records; none where there was nothing to do, or no provider is linked"`
}

// DNSChange is what was done about a host's records at the DNS provider that
// is linked.
type DNSChange struct {
	Provider string       `json:"provider" example:"cloudflare"`
	Zone     string       `json:"zone,omitempty" doc:"That has the records; none where the provider has no zone of the host" example:"example.com"`
	Created  []HostRecord `json:"created"`
	Removed  []HostRecord `json:"removed"`
	There    []HostRecord `json:"there" doc:"Were right already"`
	Kept     []HostRecord `json:"kept" doc:"Others of the host, which were left as they are"`
	Warning  string       `json:"warning,omitempty" doc:"Why not everything was done, in a sentence"`
	Hint     string       `json:"hint,omitempty" doc:"What to do about it"`
}

// HostRecord is a record that a host has.
type HostRecord struct {
	Type  string `json:"type" example:"A"`
	Host  string `json:"host" doc:"The whole name" example:"shop.example.com"`
	Value string `json:"value" example:"203.0.113.7"`
}

// String is the record in a line.
func (r HostRecord) String() string { return r.Type + " " + r.Host + " " + r.Value }

// DNSRecord is one record of a zone that is to be made or removed.
type DNSRecord struct {
	Action string `json:"action" enum:"add,remove" doc:"What to do with it"`
	Type   string `json:"type" example:"A"`
	Name   string `json:"name" doc:"As providers ask for it: below the zone, @ for the zone itself" example:"shop"`
	Value  string `json:"value" example:"203.0.113.7"`
	TTL    int    `json:"ttl,omitempty" doc:"In seconds"`
}

// What to do with a DNSRecord.
const (
	RecordAdd    = "add"
	RecordRemove = "remove"
)

// CheckDomain has the server look up whether a host of an app leads to it.
func (c *Client) CheckDomain(ctx context.Context, app, host string) (DomainReport, error) {
	var out DomainReport
	err := c.call(ctx, http.MethodGet, path("apps", app, "domains", host, "check"), nil, &out)
	return out, err
}
