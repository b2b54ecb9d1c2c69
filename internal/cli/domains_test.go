package cli_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"landward/client"
)

func TestDomainsMakeRecords(t *testing.T) {
	a := client.HostRecord{Type: "A", Host: "www.example.com", Value: "203.0.113.7"}
	old := client.HostRecord{Type: "CNAME", Host: "www.example.com", Value: "old.example.net"}
	missing := client.DomainReport{
		Host: "www.example.com", Problems: []string{"www.example.com has no address record yet."},
		Records: []client.DNSRecord{{Action: "add", Type: "A", Name: "www", Value: "203.0.113.7", TTL: 300}},
	}
	for name, tt := range map[string]struct {
		args   string
		dns    *client.DNSChange
		report client.DomainReport
		code   int
		asked  string
		out    string
		err    string
	}{
		"created": {args: "add www.example.com", dns: &client.DNSChange{Provider: "cloudflare", Created: []client.HostRecord{a}},
			report: client.DomainReport{Host: "www.example.com", OK: true}, asked: `POST /apps/b/domains {"host":"www.example.com"}`,
			out: "created A www.example.com 203.0.113.7 at cloudflare\nSaved. No new release was needed.\n",
		},
		"created, and not to be seen yet": {args: "add www.example.com", dns: &client.DNSChange{Provider: "cloudflare", Created: []client.HostRecord{a}}, report: missing,
			out: "created A www.example.com 203.0.113.7 at cloudflare\nSaved. No new release was needed.\n",
			err: "\nwww.example.com does not lead here yet.\n  www.example.com has no address record yet.\n" +
				"The record was made a moment ago; name servers may need a minute.\nLook again with: landward domains check www.example.com -a b\n",
		},
		"replaced": {args: "add www.example.com --replace-record", dns: &client.DNSChange{Provider: "cloudflare", Created: []client.HostRecord{a}, Removed: []client.HostRecord{old}},
			report: client.DomainReport{Host: "www.example.com", OK: true}, asked: `POST /apps/b/domains {"host":"www.example.com","replace_record":true}`,
			out: "removed CNAME www.example.com old.example.net at cloudflare\ncreated A www.example.com 203.0.113.7 at cloudflare\nSaved. No new release was needed.\n",
		},
		"in the way": {args: "add www.example.com", dns: &client.DNSChange{Provider: "cloudflare", Kept: []client.HostRecord{old}, Warning: "www.example.com has other records\x1b[2J already", Hint: "Take them away."},
			report: client.DomainReport{Host: "www.example.com", OK: true},
			out:    "Saved. No new release was needed.\n",
			err:    "left as it is: CNAME www.example.com old.example.net at cloudflare\nwww.example.com has other records already\nTake them away.\n",
		},
		"left alone": {args: "add www.example.com --no-record", report: client.DomainReport{Host: "www.example.com", OK: true},
			asked: `POST /apps/b/domains {"host":"www.example.com","no_record":true}`, out: "Saved. No new release was needed.\n",
		},
		"nobody to replace it": {args: "add www.example.com --replace-record", report: client.DomainReport{Host: "www.example.com", OK: true},
			out: "Saved. No new release was needed.\n", err: "No record was replaced: the server has no DNS provider.\n",
		},
		"both": {args: "add www.example.com --replace-record --no-record", code: 2},
		"removed": {args: "remove www.example.com", dns: &client.DNSChange{Provider: "cloudflare", Removed: []client.HostRecord{a}}, asked: "DELETE /apps/b/domains/www.example.com",
			out: "removed A www.example.com 203.0.113.7 at cloudflare\nSaved. No new release was needed.\n",
		},
		"removed, the record left alone": {args: "rm www.example.com --no-record", asked: "DELETE /apps/b/domains/www.example.com no_record=true", out: "Saved. No new release was needed.\n"},
	} {
		t.Run(name, func(t *testing.T) {
			url, asked := asking(t, map[string]any{
				"POST /apps/b/domains": client.DomainChanged{DNS: tt.dns}, "DELETE /apps/b/domains/www.example.com": client.DomainChanged{DNS: tt.dns},
				"GET /apps/b/domains/www.example.com/check": tt.report,
			})
			w := newWorld(t, url, append(append([]string{"domains"}, strings.Fields(tt.args)...), "-a", "b")...)
			if code := w.run(t.Context()); code != tt.code || code == 0 && (w.out.String() != tt.out || strings.ReplaceAll(w.err.String(), "�[2J", "") != tt.err) {
				t.Errorf("exit code %d, said\n%s---\n%s", code, w.out.String(), w.err.String())
			}
			if tt.asked != "" && strings.Replace((*asked)[0], "domains{", "domains {", 1) != tt.asked {
				t.Errorf("asked %q", *asked)
			}
			if tt.code != 0 && len(*asked) > 0 {
				t.Errorf("asked %q", *asked)
			}
		})
	}
}

func TestDomainsAddAnswersPrograms(t *testing.T) {
	d := &client.Deployment{App: "b", Number: 3, State: "queued"}
	did := &client.DNSChange{Provider: "cloudflare", Created: []client.HostRecord{{Type: "A", Host: "www.example.com", Value: "203.0.113.7"}}}
	url, _ := asking(t, map[string]any{"POST /apps/b/domains": client.DomainChanged{Deployment: d, DNS: did}, "DELETE /apps/b/domains/www.example.com": client.DomainChanged{DNS: did}})
	for args, number := range map[string]int{"add www.example.com --detach": 3, "remove www.example.com": 0} {
		w := newWorld(t, url, append(append([]string{"domains"}, strings.Fields(args)...), "-a", "b", "--json")...)
		var got struct {
			Number int
			DNS    *client.DNSChange
		}
		if code := w.run(t.Context()); code != 0 || json.Unmarshal(w.out.Bytes(), &got) != nil || w.err.Len() > 0 || got.Number != number ||
			got.DNS == nil || !slices.Equal(got.DNS.Created, did.Created) {
			t.Errorf("%s: exit code %d, said %s%s", args, code, w.out.String(), w.err.String())
		}
	}
}
