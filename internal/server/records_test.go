package server_test

import (
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libdns/libdns"
	"github.com/miekg/dns"

	"landward/client"
	"landward/internal/cert"
	"landward/internal/cert/dnsprovider"
	"landward/internal/config"
	"landward/internal/landward"
	"landward/internal/server"
	"landward/internal/servertest"
	"landward/internal/store/storetest"
)

// zone is a provider with one zone.
type zone struct {
	mu      sync.Mutex
	records []libdns.RR
	err     error
}

func (z *zone) GetRecords(context.Context, string) ([]libdns.Record, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	var out []libdns.Record
	for _, rr := range z.records {
		out = append(out, rr)
	}
	return out, z.err
}

func (z *zone) AppendRecords(_ context.Context, _ string, list []libdns.Record) ([]libdns.Record, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	for _, r := range list {
		z.records = append(z.records, r.RR())
	}
	return list, nil
}

func (z *zone) DeleteRecords(_ context.Context, _ string, list []libdns.Record) ([]libdns.Record, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	for _, r := range list {
		z.records = slices.DeleteFunc(z.records, func(rr libdns.RR) bool { return rr == r.RR() })
	}
	return list, nil
}

func (z *zone) text() string {
	z.mu.Lock()
	defer z.mu.Unlock()
	var out []string
	for _, rr := range z.records {
		out = append(out, rr.Name+" "+rr.Type+" "+rr.Data)
	}
	slices.Sort(out)
	return strings.Join(out, "; ")
}

func (z *zone) put(name, value string) {
	z.records = append(z.records, libdns.RR{Name: name, Type: "A", Data: value, TTL: dnsprovider.RecordTTL})
}

const (
	shopHost = "shop.example.com"
	here     = "203.0.113.7"
)

func overZone(z *zone, f server.Facts) server.HostRecords {
	linked := dnsprovider.Over("cloudflare", z, []string{"example.com"}, nil)
	return server.NewHostRecords(linked, []netip.Addr{netip.MustParseAddr(here)}, false, f)
}

func TestRecordsAreTakenBack(t *testing.T) {
	z, s := &zone{}, storetest.New(t)
	ctx := t.Context()
	want := []client.HostRecord{{Type: "A", Host: shopHost, Value: here}}
	c := overZone(z, s).Make(ctx, 1, shopHost, false)
	if c == nil || c.Provider != "cloudflare" || c.Zone != "example.com" || !slices.Equal(c.Created, want) || c.Warning != "" || z.text() != "shop A "+here {
		t.Fatalf("made %+v; the zone is %q", c, z.text())
	}
	// Another start of the program, and another app: it is not that one's.
	if c = overZone(z, s).Remove(ctx, 2, shopHost); c != nil || z.text() == "" {
		t.Errorf("another app's: %+v", c)
	}
	if c = overZone(z, s).Remove(ctx, 1, shopHost); c == nil || !slices.Equal(c.Removed, want) || z.text() != "" {
		t.Fatalf("removed %+v; the zone is %q", c, z.text())
	}
	// It is forgotten: what somebody makes by hand stays.
	z.put("shop", here)
	if c = overZone(z, s).Remove(ctx, 1, shopHost); c != nil || z.text() == "" {
		t.Errorf("removed what it did not make: %+v", c)
	}
}

func TestRecordsOfOthersStay(t *testing.T) {
	for name, tt := range map[string]struct {
		before  string // there before the host was added
		between string // what somebody makes of it
		left    string
		kept    int
	}{
		"made by hand, with the same value": {before: here, left: "shop A " + here},
		"made by hand, with another":        {before: "192.0.2.9", left: "shop A 192.0.2.9"},
		"changed later":                     {between: "192.0.2.9", left: "shop A 192.0.2.9", kept: 1},
	} {
		t.Run(name, func(t *testing.T) {
			z, s := &zone{}, storetest.New(t)
			if tt.before != "" {
				z.put("shop", tt.before)
			}
			h := overZone(z, s)
			h.Make(t.Context(), 1, shopHost, false)
			if tt.between != "" {
				z.records = nil
				z.put("shop", tt.between)
			}
			c := h.Remove(t.Context(), 1, shopHost)
			if z.text() != tt.left || (c != nil) != (tt.kept > 0) || c != nil && (len(c.Kept) != tt.kept || len(c.Removed) > 0) {
				t.Errorf("removed %+v; the zone is %q", c, z.text())
			}
		})
	}
}

// A host that moves to another app takes its records along.
func TestRecordsMoveWithTheHost(t *testing.T) {
	z, s := &zone{}, storetest.New(t)
	h := overZone(z, s)
	h.Make(t.Context(), 1, shopHost, false)
	z.err = errors.New("the token has expired")
	if c := h.Remove(t.Context(), 1, shopHost); c == nil || !strings.Contains(c.Warning, "token has expired") || !strings.Contains(c.Hint, "--acme-settings") {
		t.Fatalf("a provider that fails: %+v", c)
	}
	if c := h.Make(t.Context(), 2, shopHost, false); c == nil || !strings.Contains(c.Warning, "token has expired") {
		t.Fatalf("a provider that fails: %+v", c)
	}
	z.err = nil
	if c := h.Make(t.Context(), 2, shopHost, false); len(c.There) != 1 || len(c.Created) > 0 || c.Warning != "" {
		t.Fatalf("%+v", c)
	}
	h.Forget(t.Context(), landward.App{ID: 1, Settings: landward.Settings{Domains: []string{shopHost}}})
	if z.text() == "" {
		t.Error("the app that had it before took it away")
	}
	h.Forget(t.Context(), landward.App{ID: 2, Settings: landward.Settings{Domains: []string{"other.example.com", shopHost}}})
	if z.text() != "" {
		t.Errorf("the app is gone, and the zone is %q", z.text())
	}
}

func TestRecordsOfAProviderThatIsGone(t *testing.T) {
	z, s := &zone{}, storetest.New(t)
	overZone(z, s).Make(t.Context(), 1, shopHost, false)
	other := server.NewHostRecords(dnsprovider.Over("rfc2136", &zone{}, []string{"example.com"}, nil), nil, false, s)
	c := other.Remove(t.Context(), 1, shopHost)
	if c == nil || c.Provider != "cloudflare" || len(c.Kept) != 1 || !strings.Contains(c.Warning, "cloudflare") || z.text() == "" {
		t.Errorf("%+v", c)
	}
}

// Only addresses that the world can reach, or that somebody has named, get
// into a public zone.
func TestRecordsLeadToAddressesThatAreKnown(t *testing.T) {
	for name, tt := range map[string]struct {
		want  []string
		named bool
		zone  string
	}{
		"public":             {want: []string{here, "2001:4860::7"}, zone: "shop A 203.0.113.7; shop AAAA 2001:4860::7"},
		"private":            {want: []string{"10.0.0.5"}},
		"private, and named": {want: []string{"10.0.0.5"}, named: true, zone: "shop A 10.0.0.5"},
		"loopback":           {want: []string{"127.0.0.1", "::1"}, named: true},
		"one of two":         {want: []string{here, "fd00::1"}, zone: "shop A 203.0.113.7"},
	} {
		var want []netip.Addr
		for _, a := range tt.want {
			want = append(want, netip.MustParseAddr(a))
		}
		z := &zone{}
		h := server.NewHostRecords(dnsprovider.Over("cloudflare", z, []string{"example.com"}, nil), want, tt.named, storetest.New(t))
		c := h.Make(t.Context(), 1, shopHost, false)
		if z.text() != tt.zone || (c.Hint == "name them with --dns-addresses") != (tt.zone == "") {
			t.Errorf("%s: the zone is %q: %+v", name, z.text(), c)
		}
	}
}

func TestLinkRecords(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := write("good", "API_TOKEN=hunter2\nZONE=example.com\n")
	for name, tt := range map[string]struct {
		provider, settings string
		linked             bool
		warning            string
	}{
		"none":            {},
		"off":             {provider: "off", settings: good},
		"our own":         {provider: "own", settings: good},
		"cloudflare":      {provider: "cloudflare", settings: good, linked: true, warning: "is in none of the zones at cloudflare"},
		"no file":         {provider: "cloudflare", settings: filepath.Join(dir, "none"), linked: true, warning: "cannot be read"},
		"no token":        {provider: "cloudflare", settings: write("bad", "API_TOKEN=\n"), linked: true, warning: "api_token"},
		"no zone":         {provider: "cloudflare", settings: write("zone", "API_TOKEN=hunter2\nZONE=a/b\n"), linked: true, warning: "a/b"},
		"no such setting": {provider: "rfc2136", settings: good, linked: true, warning: "server of rfc2136 is missing"},
	} {
		h, linked := server.LinkRecords(config.Config{ACMEProvider: tt.provider, ACMESettings: tt.settings, DNSAddresses: []netip.Addr{netip.MustParseAddr(here)}}, storetest.New(t))
		if linked != tt.linked {
			t.Errorf("%s: linked %v", name, linked)
		}
		if !linked {
			continue
		}
		// The host is in no zone that is named: nobody is asked.
		c := h.Make(t.Context(), 1, "shop.example.org", false)
		if !strings.Contains(c.Warning, tt.warning) || strings.Contains(c.Warning+c.Hint, "hunter2") {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

// The zones that the settings name are the only ones that names are proved in.
func TestZonesOfTheSettings(t *testing.T) {
	for settings, want := range map[string][]string{
		"API_TOKEN=x\n": {cert.AnyZone}, "API_TOKEN=x\nZONE=\n": {cert.AnyZone},
		"API_TOKEN=x\nzone=Example.com.\n": {"example.com"}, "API_TOKEN=x\nZONE=\"a.example b.example\"\n": {"a.example", "b.example"},
	} {
		cfg := config.Default()
		cfg.Data, cfg.ACMEEmail, cfg.ACMEProvider = t.TempDir(), "ada@example.com", "cloudflare"
		cfg.ACMESettings = filepath.Join(cfg.Data, "dns.env")
		if err := os.WriteFile(cfg.ACMESettings, []byte(settings), 0o600); err != nil {
			t.Fatal(err)
		}
		o, err := server.EdgeOptions(cfg, slog.New(slog.DiscardHandler))
		if got := slices.Sorted(maps.Keys(o.Certs.DNS)); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v", settings, got, err)
		}
		if err := os.WriteFile(cfg.ACMESettings, []byte(settings+"ZONE=a/b\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := server.EdgeOptions(cfg, slog.New(slog.DiscardHandler)); landward.CodeOf(err) != landward.CodeInvalid {
			t.Errorf("a zone that is none: %v", err)
		}
	}
}

// updated is a name server that takes any update of example.com.
type updated struct {
	mu      sync.Mutex
	records []dns.RR
}

func (u *updated) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	u.mu.Lock()
	defer u.mu.Unlock()
	m := new(dns.Msg).SetReply(q)
	m.Authoritative = true
	if q.Opcode == dns.OpcodeUpdate {
		for _, rr := range q.Ns {
			if rr.Header().Class == dns.ClassINET {
				u.records = append(u.records, rr)
				continue
			}
			u.records = slices.DeleteFunc(u.records, func(have dns.RR) bool { return have.Header().Name == rr.Header().Name })
		}
	} else {
		for _, rr := range u.records {
			if h := rr.Header(); h.Name == q.Question[0].Name && h.Rrtype == q.Question[0].Qtype {
				m.Answer = append(m.Answer, rr)
			}
		}
		m.Ns = []dns.RR{&dns.SOA{Hdr: dns.RR_Header{Name: "example.com.", Rrtype: dns.TypeSOA, Class: dns.ClassINET}, Ns: "ns.", Mbox: "x."}}
	}
	m.SetTsig("k.", dns.HmacSHA256, 300, time.Now().Unix())
	_ = w.WriteMsg(m)
}

func (u *updated) text() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	var out []string
	for _, rr := range u.records {
		out = append(out, strings.Join(strings.Fields(rr.String()), " "))
	}
	return strings.Join(out, "; ")
}

// TestDomainsWithALinkedProvider goes the whole way: from the API to a name
// server, and back.
func TestDomainsWithALinkedProvider(t *testing.T) {
	u, key := &updated{}, base64.StdEncoding.EncodeToString([]byte("hunter2"))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	started, ended := make(chan struct{}), make(chan error, 1)
	ns := &dns.Server{
		Listener: l, Handler: u, TsigSecret: map[string]string{"k.": key}, NotifyStartedFunc: func() { close(started) },
		MsgAcceptFunc: func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept },
	}
	go func() { ended <- ns.ActivateAndServe() }()
	<-started
	defer func() {
		if err := errors.Join(ns.Shutdown(), <-ended); err != nil {
			t.Error(err)
		}
	}()
	settings := filepath.Join(t.TempDir(), "dns.env")
	if err := os.WriteFile(settings, []byte("SERVER="+l.Addr().String()+"\nKEY_NAME=k\nKEY="+key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := servertest.Start(t, "--acme-provider", "rfc2136", "--acme-settings", settings, "--dns-addresses", here)
	ctx := t.Context()
	if _, err := s.Client.CreateApp(ctx, "shop"); err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{shopHost, "two.example.com"} {
		got, err := s.Client.AddDomain(ctx, "shop", client.NewDomain{Host: host})
		if err != nil || got.DNS == nil || len(got.DNS.Created) != 1 || got.DNS.Zone != "example.com" || got.DNS.Warning != "" {
			t.Fatalf("%s: %+v, %v", host, got.DNS, err)
		}
	}
	if want := "shop.example.com. 300 IN A 203.0.113.7; two.example.com. 300 IN A 203.0.113.7"; u.text() != want {
		t.Errorf("the server has %q", u.text())
	}
	got, err := s.Client.AddDomain(ctx, "shop", client.NewDomain{Host: "shop.example.org"})
	if err != nil || got.DNS == nil || got.DNS.Zone != "example.com" && got.DNS.Warning == "" {
		t.Fatalf("a foreign host: %+v, %v", got.DNS, err)
	}
	if got, err = s.Client.RemoveDomain(ctx, "shop", shopHost, false); err != nil || got.DNS == nil || len(got.DNS.Removed) != 1 {
		t.Fatalf("%+v, %v", got.DNS, err)
	}
	if want := "two.example.com. 300 IN A 203.0.113.7"; u.text() != want {
		t.Errorf("the server has %q", u.text())
	}
	if err := s.Client.DeleteApp(ctx, "shop"); err != nil {
		t.Fatal(err)
	}
	s.Eventually("the records of the app are gone", func() error {
		if text := u.text(); text != "" {
			return errors.New(text)
		}
		return nil
	})
}
