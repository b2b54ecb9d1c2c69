package dnsprovider_test

import (
	"context"
	"encoding/base64"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libdns/libdns"
	"github.com/miekg/dns"

	"landward/internal/cert/dnsprovider"
	"landward/internal/landward"
)

const secret = "very-secret-value"

func TestSettings(t *testing.T) {
	key := base64.StdEncoding.EncodeToString([]byte(secret))
	for _, c := range []struct {
		name     string
		kind     string
		settings map[string]string
		wrong    string // setting; "": none
	}{
		{"cloudflare", "cloudflare", map[string]string{"api_token": secret}, ""},
		{"cloudflare with two tokens", "cloudflare", map[string]string{"api_token": secret, "zone_token": secret}, ""},
		{"cloudflare in upper case", "cloudflare", map[string]string{"API_TOKEN": secret}, ""},
		{"cloudflare without", "cloudflare", nil, "api_token"},
		{"cloudflare with blanks", "cloudflare", map[string]string{"api_token": "  "}, "api_token"},
		{"a setting twice", "cloudflare", map[string]string{"api_token": secret, "API_TOKEN": secret}, "api_token"},
		{"a misspelt setting", "cloudflare", map[string]string{"api_token": secret, "zonetoken": secret}, "zonetoken"},
		{"route53", "route53", map[string]string{"access_key_id": "x", "secret_access_key": secret}, ""},
		{"route53 in a region", "route53", map[string]string{"access_key_id": "x", "secret_access_key": secret, "region": "eu-central-1"}, ""},
		{"route53 without a key", "route53", map[string]string{"access_key_id": "x"}, "secret_access_key"},
		{"rfc2136", "rfc2136", map[string]string{"server": "ns.example.com", "key_name": "k", "key": key}, ""},
		{"rfc2136 with a port", "rfc2136", map[string]string{"server": "[::1]:5353", "key_name": "k", "key": key, "key_alg": "HMAC-SHA512."}, ""},
		{"rfc2136 without a server", "rfc2136", map[string]string{"key_name": "k", "key": key}, "server"},
		{"rfc2136 with MD5", "rfc2136", map[string]string{"server": "x", "key_name": "k", "key": key, "key_alg": "hmac-md5"}, "key_alg"},
		{"rfc2136 with a bad key", "rfc2136", map[string]string{"server": "x", "key_name": "k", "key": secret + "!"}, "key"},
		{"another kind", "godaddy", map[string]string{"token": secret}, "kind"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := dnsprovider.New(c.kind, c.settings)
			if c.wrong == "" {
				if err != nil || p == nil {
					t.Fatalf("%v", err)
				}
				return
			}
			var e *landward.Error
			field, says := "acme-settings", "the setting "+c.wrong+" of "+c.kind
			if c.wrong == "kind" {
				field, says = "acme-provider", "is not a kind"
			}
			if !errors.As(err, &e) || e.Field != field || !strings.Contains(e.Message, says) || e.Code != landward.CodeInvalid || p != nil {
				t.Fatalf("%v, want one of %s that says %q", err, field, says)
			}
			if strings.Contains(strings.Join(e.Explain(), " ")+err.Error(), secret) {
				t.Errorf("the secret is in the error: %v", err)
			}
		})
	}
	if k := dnsprovider.Kinds(); !slices.IsSorted(k) || len(k) != 3 {
		t.Errorf("kinds %v", k)
	}
}

func TestNamedZones(t *testing.T) {
	for in, want := range map[string][]string{
		"": nil, " ": nil, "Example.COM.": {"example.com"}, "a.example, b.example\tc.example": {"a.example", "b.example", "c.example"},
	} {
		for _, name := range []string{"zone", "ZONE"} {
			if got, err := dnsprovider.Zones(map[string]string{name: in, "api_token": secret}); err != nil || !slices.Equal(got, want) {
				t.Errorf("%q: %q, %v", in, got, err)
			}
		}
	}
	for _, in := range []string{"a/b", "*.example.com", "example.com *"} {
		var e *landward.Error
		if _, err := dnsprovider.Zones(map[string]string{"zone": in}); !errors.As(err, &e) || e.Field != "acme-settings" || e.Hint == "" {
			t.Errorf("%q: %v", in, err)
		}
		if _, err := dnsprovider.New("cloudflare", map[string]string{"zone": in, "api_token": secret}); landward.CodeOf(err) != landward.CodeInvalid {
			t.Errorf("%q: %v", in, err)
		}
	}
}

// TestUpdate speaks RFC 2136 to a server.
func TestUpdate(t *testing.T) {
	key := base64.StdEncoding.EncodeToString([]byte(secret))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	updates := make(chan string, 4)
	started, done := make(chan struct{}), make(chan error, 1)
	s := &dns.Server{
		Listener: l, TsigSecret: map[string]string{"k.": key}, NotifyStartedFunc: func() { close(started) },
		MsgAcceptFunc: func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept }, // updates too
		Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
			m := new(dns.Msg).SetReply(q)
			if w.TsigStatus() != nil || q.IsTsig() == nil {
				m.Rcode = dns.RcodeNotAuth
			} else {
				for _, rr := range q.Ns {
					updates <- rr.String()
				}
				m.SetTsig("k.", dns.HmacSHA256, 300, time.Now().Unix())
			}
			_ = w.WriteMsg(m)
		}),
	}
	go func() { done <- s.ActivateAndServe() }()
	<-started
	defer func() {
		if err := errors.Join(s.Shutdown(), <-done); err != nil {
			t.Error(err)
		}
	}()
	p, err := dnsprovider.New("rfc2136", map[string]string{"server": l.Addr().String(), "key_name": "k", "key": key})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	record := []libdns.Record{libdns.TXT{Name: "_acme-challenge.a", Text: "proof", TTL: time.Minute}}
	if _, err := p.AppendRecords(ctx, "example.com.", record); err != nil {
		t.Fatal(err)
	}
	if got := <-updates; !strings.Contains(got, "_acme-challenge.a.example.com.") || !strings.Contains(got, "proof") {
		t.Errorf("update %q", got)
	}
	if _, err := p.DeleteRecords(ctx, "example.com.", record); err != nil {
		t.Fatal(err)
	}
	if got := <-updates; !strings.Contains(got, "NONE") {
		t.Errorf("removal %q", got)
	}
}
