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
