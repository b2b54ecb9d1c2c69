package api_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"landward/client"
	"landward/internal/api"
)

// fakeRecords has made whatever it was asked for.
type fakeRecords struct {
	mu     sync.Mutex
	asked  []string
	answer *client.DNSChange
}

func (f *fakeRecords) say(format string, args ...any) *client.DNSChange {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, fmt.Sprintf(format, args...))
	return f.answer
}

func (f *fakeRecords) MakeRecords(_ context.Context, appID int64, host string, replace bool) *client.DNSChange {
	return f.say("make %d %s %v", appID, host, replace)
}

func (f *fakeRecords) RemoveRecords(_ context.Context, appID int64, host string) *client.DNSChange {
	return f.say("remove %d %s", appID, host)
}

func TestRecordsOfDomains(t *testing.T) {
	f := &fakeRecords{}
	e := newEnv(t, func(o *api.Options) { o.Records = f })
	ctx, id := t.Context(), e.shop().ID
	a := client.HostRecord{Type: "A", Host: "www.example.org", Value: "203.0.113.7"}
	f.answer = &client.DNSChange{Provider: "cloudflare", Zone: "example.org", Created: []client.HostRecord{a},
		Removed: []client.HostRecord{{Type: "CNAME", Host: "www.example.org", Value: "old.example.net"}}}

	got := must(e.client(admin).AddDomain(ctx, "shop", client.NewDomain{Host: "WWW.example.org.", ReplaceRecord: true}))(t)
	if d := got.DNS; got.Deployment == nil || d == nil || d.Provider != "cloudflare" || !slices.Equal(d.Created, []client.HostRecord{a}) || len(d.Removed) != 1 ||
		d.There == nil || d.Kept == nil {
		t.Errorf("the answer is %+v", got)
	}
	var said []string
	for _, ev := range must(e.client(viewer).Events(ctx, client.EventQuery{App: "shop", Limit: 2}))(t) {
		said = append(said, ev.Kind+": "+ev.Message)
	}
	if want := []string{"dns.create: created A www.example.org 203.0.113.7 at cloudflare", "dns.remove: removed CNAME www.example.org old.example.net at cloudflare"}; !slices.Equal(said, want) {
		t.Errorf("the events are %q", said)
	}

	f.answer = &client.DNSChange{Provider: "cloudflare", Warning: "cloudflare did not answer"}
	got = must(e.client(owner).AddDomain(ctx, "shop", client.NewDomain{Host: "two.example.org"}))(t)
	if got.DNS == nil || got.DNS.Warning != "cloudflare did not answer" || !slices.Contains(e.shop().Settings.Domains, "two.example.org") {
		t.Errorf("a provider that fails: %+v, domains %q", got, e.shop().Settings.Domains)
	}
	f.answer = nil
	must(e.client(owner).AddDomain(ctx, "shop", client.NewDomain{Host: "three.example.org", NoRecord: true}))(t)
	must(e.client(owner).RemoveDomain(ctx, "shop", "three.example.org", true))(t)
	if got = must(e.client(owner).RemoveDomain(ctx, "shop", "Two.example.org", false))(t); got.DNS != nil {
		t.Errorf("nothing was done, and the answer is %+v", got.DNS)
	}
	want := []string{fmt.Sprintf("make %d www.example.org true", id), fmt.Sprintf("make %d two.example.org false", id), fmt.Sprintf("remove %d two.example.org", id)}
	if !slices.Equal(f.asked, want) {
		t.Errorf("asked %q, want %q", f.asked, want)
	}
}

// What an app may not have, and who may not replace, changes nothing anywhere.
func TestRecordsThatAreRefused(t *testing.T) {
	f := &fakeRecords{}
	e := newEnv(t, func(o *api.Options) { o.Records = f })
	before := e.shop().Settings.Domains
	for name, tt := range map[string]struct {
		caller string
		n      client.NewDomain
		code   string
	}{
		"an owner replaces":      {owner, client.NewDomain{Host: "www.example.org", ReplaceRecord: true}, client.CodeForbidden},
		"a deployer adds":        {deployer, client.NewDomain{Host: "www.example.org"}, client.CodeForbidden},
		"both at once":           {admin, client.NewDomain{Host: "www.example.org", ReplaceRecord: true, NoRecord: true}, client.CodeInvalid},
		"a host of ours":         {admin, client.NewDomain{Host: "x.example.test"}, client.CodeInvalid},
		"another app's by a dot": {admin, client.NewDomain{Host: ".."}, client.CodeInvalid},
	} {
		if _, err := e.client(tt.caller).AddDomain(t.Context(), "shop", tt.n); string(client.CodeOf(err)) != tt.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := e.client(owner).RemoveDomain(t.Context(), "shop", "www.example.org", false); client.CodeOf(err) != client.CodeNotFound {
		t.Errorf("a domain that it does not have: %v", err)
	}
	if len(f.asked) > 0 || !slices.Equal(e.shop().Settings.Domains, before) {
		t.Errorf("asked %q, domains %q", f.asked, e.shop().Settings.Domains)
	}
	if got := e.request(owner, http.MethodPost, "/api/v1/apps/shop/domains", `{"host":"www.example.org","replace_record":true}`); got.status != 403 || !strings.Contains(got.body, "administrator") {
		t.Errorf("answer %d: %s", got.status, got.body)
	}
}
