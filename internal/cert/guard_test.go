package cert_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"landward/internal/cert"
	"landward/internal/landward"
)

func TestGuardPerDomain(t *testing.T) {
	g := &cert.Guard{PerDomain: 3, Failures: 2}
	now := time.Date(2026, 10, 1, 12, 0, 0, 0, time.UTC)
	for i := range 3 {
		if _, err := g.Reserve(fmt.Sprintf("h%d.shop.example.co.uk", i), true, now.Add(time.Duration(i)*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	later := now.Add(10 * time.Hour)
	at, err := g.Reserve("*.example.co.uk", true, later)
	if landward.CodeOf(err) != landward.CodeLimited || !at.Equal(now.Add(7*24*time.Hour)) {
		t.Errorf("the fourth: %v at %v", err, at)
	}
	if _, err := g.Reserve("other.co.uk", true, later); err != nil {
		t.Errorf("another registered domain: %v", err)
	}
	if _, err := g.Reserve("h0.shop.example.co.uk", false, later); err != nil {
		t.Errorf("a renewal: %v", err)
	}
	g.Release("h1.shop.example.co.uk", now.Add(time.Hour))
	if _, err := g.Reserve("h4.example.co.uk", true, later); err != nil {
		t.Errorf("after an order that gave nothing: %v", err)
	}
	// The counts survive being stored.
	data, err := json.Marshal(g)
	check(t, err)
	again := &cert.Guard{PerDomain: 3, Failures: 2}
	check(t, json.Unmarshal(data, again))
	if _, err := again.Reserve("h5.example.co.uk", true, later); err == nil {
		t.Error("the counts are lost")
	}
	if _, err := again.Reserve("h5.example.co.uk", true, now.Add(7*24*time.Hour)); err != nil {
		t.Errorf("after 7 days: %v", err)
	}
}

func TestGuardFailures(t *testing.T) {
	g := &cert.Guard{PerDomain: -1, Failures: 2}
	now := time.Date(2026, 10, 1, 12, 0, 0, 0, time.UTC)
	g.Fail("a.example.com", now)
	g.Fail("a.example.com", now.Add(10*time.Minute))
	at, err := g.Reserve("a.example.com", true, now.Add(20*time.Minute))
	if err == nil || !at.Equal(now.Add(time.Hour)) {
		t.Errorf("%v at %v", err, at)
	}
	if _, err := g.Reserve("b.example.com", true, now.Add(20*time.Minute)); err != nil {
		t.Errorf("another host: %v", err)
	}
	if _, err := g.Reserve("a.example.com", true, at); err != nil {
		t.Errorf("after the hour: %v", err)
	}
	// A clock that was set back by years must not block for years.
	g.Fail("a.example.com", now.AddDate(3, 0, 0))
	g.Fail("a.example.com", now.AddDate(3, 0, 0))
	if _, err := g.Reserve("a.example.com", true, now.Add(5*time.Hour)); err != nil {
		t.Errorf("counts from the future: %v", err)
	}
}

func TestGuardOrdersInAll(t *testing.T) {
	g := &cert.Guard{PerDomain: -1, Failures: -1}
	now := time.Date(2026, 10, 1, 12, 0, 0, 0, time.UTC)
	for i := range cert.MaxOrders {
		if _, err := g.Reserve(fmt.Sprintf("h%d.example.com", i), true, now); err != nil {
			t.Fatal(err)
		}
	}
	at, err := g.Reserve("x.example.com", false, now.Add(time.Hour))
	if err == nil || !at.Equal(now.Add(3*time.Hour)) {
		t.Errorf("%v at %v", err, at)
	}
}

func TestBackoff(t *testing.T) {
	last := time.Duration(0)
	for n := 1; n < 40; n++ {
		d := cert.Backoff(n, 2)
		if d < last*8/10 || d > 6*time.Hour*11/10 || d <= 0 {
			t.Errorf("attempt %d waits %v after %v", n, d, last)
		}
		last = d
	}
	if d := cert.Backoff(1, 2); d > 10*time.Second {
		t.Errorf("the second challenge waits %v", d)
	}
	if d := cert.Backoff(1, 1); d < 50*time.Second {
		t.Errorf("the same challenge again after %v", d)
	}
	if last < 5*time.Hour {
		t.Errorf("in the end %v", last)
	}
}

func TestRenewAtIsSpread(t *testing.T) {
	ca := newCA(t, "ca")
	seen := map[time.Duration]bool{}
	for range 20 {
		chain, key := ca.issue(t, nil, "a.example.com")
		p, err := cert.ParsePair("a.example.com", chain, key)
		check(t, err)
		leaf := p.Leaf()
		life := leaf.NotAfter.Sub(leaf.NotBefore)
		left := leaf.NotAfter.Sub(cert.RenewAt(p))
		if left < life/3 || left > life/3+life/20 {
			t.Errorf("renewed with %v of %v left", left, life)
		}
		seen[left] = true
	}
	if len(seen) < 15 {
		t.Errorf("%d different times of 20", len(seen))
	}
}

func TestNames(t *testing.T) {
	for _, c := range []struct {
		in, want, file string
	}{
		{"Example.COM.", "example.com", "example.com"},
		{"*.example.com", "*.example.com", "wildcard_.example.com"},
		{"localhost", "localhost", "localhost"},
		{"*.*.example.com", "", ""},
		{"a.*.example.com", "", ""},
		{"*", "", ""},
		{"..", "", ""},
		{"a/b", "", ""},
		{"", "", ""},
	} {
		got, ok := cert.Normal(c.in)
		if got != c.want || ok != (c.want != "") {
			t.Errorf("%q: %q, %v", c.in, got, ok)
		}
		if !ok {
			continue
		}
		if f := cert.FileName(got); f != c.file {
			t.Errorf("%q: file %q", c.in, f)
		}
		if back, ok := cert.HostOfFile(c.file); !ok || back != got {
			t.Errorf("%q: back %q", c.file, back)
		}
	}
	for _, name := range []string{".gone-1", ".tmp-1", "*.example.com", "Example.com", "wildcard_", "a..b"} {
		if host, ok := cert.HostOfFile(name); ok {
			t.Errorf("%q is the folder of %q", name, host)
		}
	}
}

func TestOrderable(t *testing.T) {
	m := manager(t, cert.Options{Local: []string{"localhost", "paas.local"}, ACME: cert.ACME{Directory: "https://ca.example/dir"}})
	for host, want := range map[string]bool{
		"example.com": true, "a.b.example.co.uk": true, "xn--bcher-kva.example.org": true,
		"localhost": false, "a.localhost": false, "paas.local": false, "x.paas.local": false, "nas.local": false,
		"10.0.0.1": false, "1.2.3": false, "single": false, "a_b.example.com": false, "x.onion": false,
		"router.lan": false, "x.home.arpa": false, "x.internal": false, "*.example.com": false, // no DNS provider
	} {
		if err := m.Orderable(host); (err == nil) != want {
			t.Errorf("%s: %v", host, err)
		}
	}
}

func TestSettingsAreChecked(t *testing.T) {
	for name, a := range map[string]cert.ACME{
		"plain http": {Directory: "http://ca.example/dir"}, "no address": {Directory: "x"},
		"half an account": {Directory: "https://ca.example/dir", EABKeyID: "x"},
		"bad HMAC":        {Directory: "https://ca.example/dir", EABKeyID: "x", EABHMAC: "ä"},
		"bad email":       {Directory: "https://ca.example/dir", Email: "ada"},
		"two emails":      {Directory: "https://ca.example/dir", Email: "a@b.c,d@e.f"},
	} {
		if _, err := cert.New(cert.Options{Dir: t.TempDir(), ACME: a}); landward.CodeOf(err) != landward.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := cert.New(cert.Options{}); landward.CodeOf(err) != landward.CodeInvalid {
		t.Errorf("no folder: %v", err)
	}
	if _, err := cert.New(cert.Options{Dir: t.TempDir(), ACME: cert.ACME{Directory: "https://ca.example/dir"},
		DNS: map[string]cert.DNSProvider{"a b": &names{}}}); landward.CodeOf(err) != landward.CodeInvalid {
		t.Errorf("bad zone: %v", err)
	}
}

func FuzzParsePair(f *testing.F) {
	ca := newCA(f, "ca")
	chain, key := ca.issue(f, nil, "a.example.com")
	f.Add("a.example.com", chain, key)
	f.Add("*.example.com", chain[:len(chain)/2], key)
	f.Add("", []byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----"), []byte{})
	f.Fuzz(func(t *testing.T, host string, chain, key []byte) {
		p, err := cert.ParsePair(host, chain, key)
		if (p == nil) == (err == nil) {
			t.Fatal("neither a pair nor an error, or both")
		}
		if err != nil {
			if f := fieldOf(err); f != "cert" && f != "key" {
				t.Errorf("field %q", f)
			}
		}
	})
}

func FuzzHostOfFile(f *testing.F) {
	for _, s := range []string{"example.com", "wildcard_.example.com", "..", "a/b", "*.x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		host, ok := cert.HostOfFile(name)
		if ok && cert.FileName(host) != name {
			t.Errorf("%q is the folder of %q, whose folder is %q", name, host, cert.FileName(host))
		}
	})
}
