package check

import (
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// certificates finds out whether a certificate authority may issue for the
// host: the nearest name at or above it with CAA records decides (RFC 8659).
func (l *lookup) certificates() {
	issuers := l.c.Issuers
	if len(issuers) == 0 {
		issuers = []string{"letsencrypt.org"}
	}
	for name := l.base; name != ""; _, name, _ = strings.Cut(name, ".") {
		m, err := l.recurse(name, dns.TypeCAA, true)
		if err != nil {
			return // the lookup of addresses says that nobody answers
		}
		if m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
			if !l.publicBad && len(l.r.Found) > 0 {
				l.problem(Forbidden, true, "The name servers of %s cannot say which certificate authorities it allows (CAA: %s), so none will issue for it.",
					name, dns.RcodeToString[m.Rcode])
			}
			return
		}
		var set []*dns.CAA
		for _, rr := range m.Answer {
			if caa, ok := rr.(*dns.CAA); ok {
				set = append(set, caa)
			}
		}
		if len(set) == 0 {
			continue
		}
		if !slices.ContainsFunc(issuers, func(ca string) bool { return allows(set, ca, l.wild) }) {
			l.forbidden(name, issuers[0])
		}
		return
	}
}

func (l *lookup) forbidden(name, ca string) {
	l.problem(Forbidden, true, "The CAA records of %s do not allow %s to issue certificates for %s.", name, ca, l.r.Host)
	tag := "issue"
	if l.wild {
		tag = "issuewild"
	}
	at := "@"
	if name != l.r.Zone {
		at = strings.TrimSuffix(name, "."+l.r.Zone)
	}
	l.r.Records = append(l.r.Records, Record{Action: Add, Type: "CAA", Name: at, Host: name, Value: `0 ` + tag + ` "` + ca + `"`, TTL: TTL})
}

// allows says whether a set of CAA records lets an authority issue.
func allows(set []*dns.CAA, ca string, wild bool) bool {
	var issue, issueWild []string
	for _, r := range set {
		value, _, _ := strings.Cut(r.Value, ";")
		value = strings.ToLower(strings.TrimSpace(value))
		switch strings.ToLower(r.Tag) {
		case "issue":
			issue = append(issue, value)
		case "issuewild":
			issueWild = append(issueWild, value)
		case "iodef", "issuemail", "issuevmc", "contactemail", "contactphone":
		default:
			if r.Flag&128 != 0 {
				return false // critical, and nobody knows what it means
			}
		}
	}
	list := issue
	if wild && len(issueWild) > 0 {
		list = issueWild
	}
	return len(list) == 0 || slices.Contains(list, strings.ToLower(ca))
}
