// Package check finds out whether a host name leads to the edge and a
// certificate can be had for it, and says which records to make where not. It
// asks the domain's own name servers, because what others remember may be old.
// It only looks and tells; it must never change a record or a route.
package check

import (
	"context"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/idna"
)

// Resolver asks one question.
type Resolver interface {
	// Exchange asks the name server at an address, or a recursive resolver
	// where the address is the zero one.
	Exchange(ctx context.Context, m *dns.Msg, server netip.Addr) (*dns.Msg, error)
}

// Checker looks hosts up.
type Checker struct {
	Resolver Resolver
	// Issuers are the certificate authorities that certificates are wanted
	// from, as CAA names them (RFC 8659); one that may is enough
	// [letsencrypt.org].
	Issuers []string
	// Target is a name that leads to the edge, for hosts that can be aliases
	// of it ("landward.example.net"). Empty: aliases are not proposed.
	Target string
	// AllowPrivate lets name servers be asked that have private addresses. A
	// domain's owner says where its name servers are, and could otherwise send
	// questions into our network.
	AllowPrivate bool
	Timeout      time.Duration // for the whole check [10 s]
}

// TTL is what proposed records get, in seconds: short enough to move.
const TTL = 300

// Kind says what is wrong.
type Kind string

// The kinds of problems.
const (
	BadName       Kind = "bad_name"       // it is no host name
	NoResolver    Kind = "no_resolver"    // nobody could be asked
	NotRegistered Kind = "not_registered" // the domain does not exist
	SilentServers Kind = "silent_servers" // the domain's name servers do not answer
	Disagree      Kind = "disagree"       // they say different things
	Missing       Kind = "missing"        // there is no record
	WrongAddress  Kind = "wrong_address"  // a record leads elsewhere
	StaleAAAA     Kind = "stale_aaaa"     // only the IPv6 one does
	WrongAlias    Kind = "wrong_alias"    // a CNAME leads elsewhere
	Proxied       Kind = "proxied"        // Cloudflare stands before it
	NotPropagated Kind = "not_propagated" // right at its own servers, old elsewhere
	Forbidden     Kind = "caa"            // CAA forbids the certificate
	BadSignature  Kind = "dnssec"         // its signatures are broken
)

// Problem is one thing that is wrong.
type Problem struct {
	Kind Kind `json:"kind"`
	// Blocks: visitors do not get here, or no certificate can be had, until it
	// is mended. Others may settle by themselves or do no harm.
	Blocks bool   `json:"blocks"`
	Text   string `json:"text"` // a sentence or two
	// Wait is how long others may still remember what was before.
	Wait time.Duration `json:"wait,omitempty"`
}

// Action says what to do with a record.
type Action string

// The actions.
const (
	Add    Action = "add"
	Remove Action = "remove"
)

// Record is a record to make or to remove, in the words of the forms that
// providers have.
type Record struct {
	Action Action `json:"action"`
	Type   string `json:"type"`          // "A"
	Name   string `json:"name"`          // relative to the zone: "shop", "@" for the zone itself
	Host   string `json:"host"`          // the same as a whole name
	Value  string `json:"value"`         // "203.0.113.7"
	TTL    int    `json:"ttl,omitempty"` // seconds
}

// Server is what one of the domain's name servers says.
type Server struct {
	Name      string       `json:"name"`
	Addr      netip.Addr   `json:"addr,omitzero"`
	Addresses []netip.Addr `json:"addresses,omitempty"`
	Alias     string       `json:"alias,omitempty"`
	Error     string       `json:"error,omitempty"`
}

// Report is what a check found.
type Report struct {
	Host string `json:"host"`
	Zone string `json:"zone,omitempty"` // the domain whose servers have the records
	Apex bool   `json:"apex"`           // the host is the zone itself
	// OK: nothing blocks. Where a proxy stands before the host, nobody can see
	// from outside whether it leads here.
	OK      bool         `json:"ok"`
	Proxied bool         `json:"proxied,omitempty"`
	Want    []netip.Addr `json:"want"`
	Found   []netip.Addr `json:"found,omitempty"`  // at the domain's own servers
	Public  []netip.Addr `json:"public,omitempty"` // at a recursive resolver
	Alias   string       `json:"alias,omitempty"`  // what the host is an alias of

	Servers  []Server  `json:"servers,omitempty"`
	Problems []Problem `json:"problems,omitempty"`
	Records  []Record  `json:"records,omitempty"` // what to do
	Instead  []Record  `json:"instead,omitempty"` // or this in place of all Add
}

// Check looks at host, which may be "*.example.com", and compares it with the
// addresses of the edge. It does not fail: what goes wrong is in the report.
func (c *Checker) Check(ctx context.Context, host string, want []netip.Addr) Report {
	timeout := c.Timeout
	if timeout == 0 {
		timeout = 10 * time.Second
	}
	ctx, stop := context.WithTimeout(ctx, timeout)
	defer stop()
	r := Report{Host: strings.TrimSuffix(host, "."), Want: want}
	l := &lookup{c: c, ctx: ctx, r: &r}
	if l.name(r.Host) && l.findZone() {
		l.askServers()
		l.askPublic()
		l.compare()
		l.certificates()
	}
	r.OK = true
	for _, p := range r.Problems {
		r.OK = r.OK && !p.Blocks
	}
	return r
}

// Lines are the report for people: what is wrong, then what to do.
func (r *Report) Lines() []string {
	var out []string
	if r.OK && len(r.Problems) == 0 {
		out = append(out, r.Host+" leads here.")
	}
	for _, p := range r.Problems {
		out = append(out, p.Text)
	}
	for _, rec := range r.Records {
		out = append(out, rec.String())
	}
	for _, rec := range r.Instead {
		out = append(out, "or, in place of addresses, "+rec.String())
	}
	return out
}

// String says what to enter at the provider of the domain.
func (r Record) String() string {
	if r.Action == Remove {
		return "remove the " + r.Type + " record: name " + r.Name + ", value " + r.Value
	}
	return r.Type + " record: name " + r.Name + ", value " + r.Value + ", TTL " + itoa(r.TTL)
}

// name makes the host's ASCII form.
func (l *lookup) name(host string) bool {
	base, wild := strings.CutPrefix(host, "*.")
	ascii, err := idna.Lookup.ToASCII(base)
	if err != nil || ascii == "" || len(ascii) > 250 || !strings.Contains(ascii, ".") || strings.HasPrefix(ascii, ".") {
		l.problem(BadName, true, "%q is not a host name that visitors could use.", host)
		return false
	}
	if _, err := netip.ParseAddr(ascii); err == nil {
		l.problem(BadName, true, "%s is an address, not a host name.", host)
		return false
	}
	l.base, l.wild = ascii, wild
	l.r.Host = ascii
	l.asked = ascii
	if wild {
		l.r.Host = "*." + ascii
		l.asked = "landward-check." + ascii // stands for every name below
	}
	return true
}
