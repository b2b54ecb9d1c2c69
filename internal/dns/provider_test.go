package dns_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/libdns/libdns"
	"github.com/miekg/dns"

	"landward/internal/landward"
)

func challenge(name string, texts ...string) []libdns.Record {
	var out []libdns.Record
	for _, text := range texts {
		out = append(out, libdns.TXT{Name: name, Text: text})
	}
	return out
}

func TestProvider(t *testing.T) {
	s := start(t, options())
	p := s.Provider()
	const zone = "Paas.Local."
	const name = "_acme-challenge.shop.paas.local"
	check := func(want ...string) {
		t.Helper()
		r := ask(t, s, stranger, name, dns.TypeTXT)
		wantData(t, r, want...)
		if len(want) == 0 {
			wantSOA(t, r)
		}
	}
	check()
	got, err := p.AppendRecords(t.Context(), zone, challenge("_acme-challenge.shop", "one", "two", "one"))
	if err != nil || len(got) != 2 {
		t.Fatalf("%v, %v", got, err)
	}
	if rr := got[0].RR(); rr.Name != "_acme-challenge.shop" || rr.TTL != 30*time.Second || rr.Type != "TXT" || rr.Data != "one" {
		t.Errorf("record %v", rr)
	}
	check(`TXT "one"`, `TXT "two"`)
	wantCode(t, ask(t, s, stranger, "shop.paas.local", dns.TypeA), dns.RcodeSuccess) // exists, has nothing

	if again, err := p.AppendRecords(t.Context(), zone, challenge("_acme-challenge.shop", "one")); err != nil || len(again) != 0 {
		t.Errorf("appended twice: %v, %v", again, err)
	}
	if _, err := p.SetRecords(t.Context(), zone, challenge("_acme-challenge.SHOP.paas.local.", "three")); err != nil {
		t.Fatal(err)
	}
	check(`TXT "three"`)

	list, err := p.GetRecords(t.Context(), zone)
	if err != nil || len(list) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	other := libdns.TXT{Name: "_acme-challenge.shop", TTL: time.Hour, Text: "three"}
	if gone, err := p.DeleteRecords(t.Context(), zone, []libdns.Record{other}); err != nil || len(gone) != 0 {
		t.Errorf("deleted one with another TTL: %v, %v", gone, err)
	}
	if gone, err := p.DeleteRecords(t.Context(), zone, list); err != nil || len(gone) != 1 {
		t.Errorf("%v, %v", gone, err)
	}
	check()
	wantCode(t, ask(t, s, stranger, name, dns.TypeTXT), dns.RcodeNameError)
}

func TestProviderAtTheApex(t *testing.T) {
	s := start(t, options())
	if _, err := s.Provider().AppendRecords(t.Context(), "paas.local", challenge("@", strings.Repeat("x", 300))); err != nil {
		t.Fatal(err)
	}
	r := exchange(t, s, "tcp", stranger, question("paas.local", dns.TypeTXT))
	if len(r.Answer) != 1 {
		t.Fatalf("%v", r)
	}
	if txt := r.Answer[0].(*dns.TXT).Txt; len(txt) != 2 || len(txt[0]) != 255 || len(txt[1]) != 45 {
		t.Errorf("strings %q", txt)
	}
	if list, _ := s.Provider().GetRecords(t.Context(), "paas.local"); len(list) != 1 || list[0].RR().Name != "@" {
		t.Errorf("%v", list)
	}
}

func TestProviderRefuses(t *testing.T) {
	s := start(t, options())
	p := s.Provider()
	ctx := t.Context()
	for name, recs := range map[string][]libdns.Record{
		"an address":    {libdns.RR{Name: "x", Type: "A", Data: "192.0.2.1"}},
		"another zone":  {libdns.TXT{Name: "x.example.com.", Text: "t"}},
		"a bad name":    {libdns.TXT{Name: "a..b", Text: "t"}},
		"a long text":   {libdns.TXT{Name: "x", Text: strings.Repeat("x", 2000)}},
		"half and half": {libdns.TXT{Name: "x", Text: "t"}, libdns.RR{Name: "x", Type: "MX", Data: "1 m."}},
	} {
		if _, err := p.AppendRecords(ctx, "paas.local", recs); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := p.GetRecords(ctx, "example.com"); landward.CodeOf(err) != landward.CodeNotFound {
		t.Errorf("another zone: %v", err)
	}
	var many []libdns.Record
	for i := range 1001 {
		many = append(many, libdns.TXT{Name: fmt.Sprintf("n%d", i), Text: "t"})
	}
	if _, err := p.AppendRecords(ctx, "paas.local", many); landward.CodeOf(err) != landward.CodeLimited {
		t.Errorf("too many: %v", err)
	}
	if list, _ := p.GetRecords(ctx, "paas.local"); len(list) != 0 {
		t.Errorf("a refused call left %d records", len(list))
	}
}

func TestProviderForgets(t *testing.T) {
	c := newClock()
	o := options()
	o.Now = c.now
	s := start(t, o)
	p := s.Provider()
	if _, err := p.AppendRecords(t.Context(), "paas.local", challenge("x", "old")); err != nil {
		t.Fatal(err)
	}
	c.move(23 * time.Hour)
	wantData(t, ask(t, s, stranger, "x.paas.local", dns.TypeTXT), `TXT "old"`)
	c.move(2 * time.Hour)
	wantData(t, ask(t, s, stranger, "x.paas.local", dns.TypeTXT))
	if list, _ := p.GetRecords(t.Context(), "paas.local"); len(list) != 0 {
		t.Errorf("%v", list)
	}
	// The next change takes it out of the zone.
	if _, err := p.AppendRecords(t.Context(), "paas.local", challenge("y", "new")); err != nil {
		t.Fatal(err)
	}
	wantCode(t, ask(t, s, stranger, "x.paas.local", dns.TypeTXT), dns.RcodeNameError)
}
