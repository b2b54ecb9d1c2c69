package acme

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"landward/internal/landward"
)

// Failure is why an order gave no certificate.
type Failure struct {
	// Validation: the CA asked for the proof and did not get it. CAs limit how
	// often that may happen.
	Validation bool
	// RetryAfter is how long the CA wants to be left alone; 0: it does not say.
	RetryAfter time.Duration
	Reason     *landward.Error // for people
}

// Error returns the reason.
func (f *Failure) Error() string { return f.Reason.Error() }

// Unwrap returns the reason.
func (f *Failure) Unwrap() error { return f.Reason }

// invalid is a challenge that was answered wrongly, or not at all.
type invalid struct {
	kind string
	err  error
}

func (e *invalid) Error() string { return e.kind + ": " + e.err.Error() }
func (e *invalid) Unwrap() error { return e.err }

// notOffered is a challenge that the CA does not have for this name.
type notOffered struct{ kind, offered string }

func (e *notOffered) Error() string {
	return fmt.Sprintf("the CA does not offer %s, only: %s", e.kind, e.offered)
}

// dnsError is a step of DNS-01 on our side.
type dnsError struct {
	reason *landward.Error
}

func (e *dnsError) Error() string { return e.reason.Error() }
func (e *dnsError) Unwrap() error { return e.reason }

// oursError is trouble with the stored account.
type oursError struct{ err error }

func (e *oursError) Error() string { return e.err.Error() }
func (e *oursError) Unwrap() error { return e.err }

// failure says in words what went wrong with an order.
func (c *Client) failure(o Order, err error, p *patience) *Failure {
	f := &Failure{RetryAfter: p.wanted()}
	var (
		inv  *invalid
		not  *notOffered
		dns  *dnsError
		ours *oursError
		prob acme.Problem
	)
	f.Validation = errors.As(err, &inv)
	switch {
	case errors.As(err, &dns):
		f.Reason = dns.reason
		return f
	case errors.As(err, &ours):
		f.Reason = landward.Errorf(landward.CodeUnavailable, "the stored account at the CA cannot be used").
			WithHint("the log of the edge has the details; without the file account.key a new account is made")
	case errors.As(err, &not):
		f.Reason = landward.Errorf(landward.CodeFailed, "the CA refuses %s for %s", not.kind, o.Name).WithCause(not.Error())
	case asProblem(err, &prob):
		f.Reason = explain(o, prob)
	default:
		f.Reason = landward.Errorf(landward.CodeUnavailable, "the CA does not answer as it should").
			WithCause(clean(err.Error())).
			WithHint("it is tried again by itself; check that this machine reaches %s", c.o.Directory)
	}
	// The log gets what the CA said, but not all of a page that it sent.
	f.Reason = f.Reason.Wrap(errors.New(clean(err.Error())))
	return f
}

// explain turns a problem of the CA (RFC 8555 §6.7) into what a person can do.
func explain(o Order, p acme.Problem) *landward.Error {
	name := o.Name
	port := "80"
	if o.Challenge == TLSALPN01 {
		port = "443"
	}
	e := landward.Errorf(landward.CodeFailed, "the CA gave no certificate for %s", name)
	switch p.Type {
	case acme.ProblemTypeConnection, acme.ProblemTypeTLS:
		e.Message = fmt.Sprintf("the CA could not reach %s on port %s (%s)", name, port, o.Challenge)
		e.Hint = "point the name's A and AAAA records at this machine, and let port " + port + " through the firewall"
	case acme.ProblemTypeDNS:
		e.Message = fmt.Sprintf("the CA could not look up %s (%s)", name, o.Challenge)
		e.Hint = "check the name's records at your DNS provider"
	case acme.ProblemTypeUnauthorized, acme.ProblemTypeIncorrectResponse:
		e.Message = fmt.Sprintf("the CA looked for the proof of %s and found something else (%s)", name, o.Challenge)
		e.Hint = "the name may point at another machine, or at a CDN that answers in our place"
		if o.Challenge == DNS01 {
			e.Hint = "check that the zone's name servers are those of the DNS provider in the settings"
		}
	case acme.ProblemTypeCAA:
		e.Message = fmt.Sprintf("a CAA record forbids this CA to issue for %s", name)
		e.Hint = "add the CA to the zone's CAA records, or remove them"
	case acme.ProblemTypeRateLimited:
		e.Code, e.Message = landward.CodeLimited, "the CA's rate limit is reached for "+name
		e.Hint = "it is tried again when the CA allows it"
	case acme.ProblemTypeRejectedIdentifier, acme.ProblemTypeUnsupportedIdentifier:
		e.Message = "the CA does not issue for " + name
	case acme.ProblemTypeExternalAccountRequired:
		e.Message = "the CA wants an external account"
		e.Hint = "set the key id and HMAC key that the CA gave you"
	case acme.ProblemTypeInvalidContact, acme.ProblemTypeUnsupportedContact:
		e.Message = "the CA does not accept the account's email address"
		e.Hint = "set another one with --acme-email"
	case acme.ProblemTypeServerInternal:
		e.Code, e.Message = landward.CodeUnavailable, "the CA has trouble of its own"
		e.Hint = "it is tried again by itself"
	}
	e.Cause = clean(p.Detail)
	for _, sub := range p.Subproblems {
		e.Cause += "\n" + clean(sub.Detail)
	}
	return e
}

// clean bounds what the CA, or a stranger that the CA quotes, wrote.
func clean(s string) string {
	const limit = 600
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return landward.CleanLine(s)
}

// asProblem finds the CA's problem in err. An order carries its own as a
// pointer.
func asProblem(err error, p *acme.Problem) bool {
	if errors.As(err, p) {
		return true
	}
	var at *acme.Problem
	if errors.As(err, &at) && at != nil {
		*p = *at
		return true
	}
	return false
}

func isProblem(err error, kind string) bool {
	var p acme.Problem
	return asProblem(err, &p) && p.Type == kind
}

// patience notes the longest Retry-After of refusals during an order.
type patience struct {
	mu   sync.Mutex
	wait time.Duration
}

type patienceKey struct{}

// maxPatience bounds what a CA can make us wait.
const maxPatience = 24 * time.Hour

// note reads a Retry-After (RFC 9110 §10.2.3): seconds or a date.
func (p *patience) note(header string) {
	var d time.Duration
	if s, err := strconv.ParseUint(header, 10, 31); err == nil {
		d = time.Duration(s) * time.Second
	} else if t, err := http.ParseTime(header); err == nil {
		d = time.Until(t)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wait = min(max(p.wait, d), maxPatience)
}

func (p *patience) wanted() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wait
}
