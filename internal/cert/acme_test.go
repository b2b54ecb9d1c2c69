package cert_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"landward/internal/cert"
	"landward/internal/landward"
	"landward/internal/waittest"
)

func TestIssueByHTTP(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.ca(t)
	r.closedTLS.Store(true)
	m, _ := r.edge(t, r.options())
	m.SetHosts([]cert.Host{{Name: "shop.example.com", App: "shop"}, {Name: "localhost"}, {Name: "10.0.0.1"}, {Name: "shop"}})
	waittest.Eventually(t, "it is issued", func() bool { return statusOf(m, "shop.example.com").Source == cert.SourceACME })
	r.closedTLS.Store(false)
	leaf := r.serves(t, "shop.example.com", "")
	st := statusOf(m, "shop.example.com")
	if st.Source != cert.SourceACME || st.App != "shop" || !st.NotAfter.Equal(leaf.NotAfter) || st.Attempts != 0 ||
		!strings.Contains(st.Issuer, "Pebble") || len(st.Names) != 1 || st.LastError != "" || st.Expiring || st.LastTry.IsZero() {
		t.Errorf("status %+v", st)
	}
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	if left := leaf.NotAfter.Sub(st.NextTry); left < life/3-time.Hour || left > life*4/10 {
		t.Errorf("renewal with %v of %v left", left, life)
	}
	for _, host := range []string{"localhost", "10.0.0.1", "shop"} {
		if st := statusOf(m, host); st.Source != cert.SourceNone || st.LastError == "" || st.Attempts > 0 {
			t.Errorf("%s: %+v", host, st)
		}
	}
	if n := r.orders(); n != 1 {
		t.Errorf("%d orders", n)
	}
	if _, ok := m.HTTPChallenge("shop.example.com", "/.well-known/acme-challenge/unknown"); ok {
		t.Error("an unknown token has an answer")
	}
	if _, ok := m.HTTPChallenge("shop.example.com", "/"); ok {
		t.Error("a path outside has an answer")
	}
}

// TestFallsBackToTLSALPN has port 80 closed: the second attempt takes 443, and
// the renewal begins with it.
func TestFallsBackToTLSALPN(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.ca(t)
	r.closedHTTP.Store(true)
	c := &clock{}
	o := r.options()
	o.Now = c.now
	m, _ := r.edge(t, o)
	m.SetHosts([]cert.Host{{Name: "shop.example.com"}})
	waittest.Eventually(t, "the first attempt fails", func() bool { return statusOf(m, "shop.example.com").Attempts == 1 })
	st := statusOf(m, "shop.example.com")
	if !strings.Contains(st.LastError, "port 80") || !strings.Contains(st.Hint, "firewall") || st.NextTry.IsZero() {
		t.Errorf("status %+v", st)
	}
	c.set(time.Minute)
	leaf := r.serves(t, "shop.example.com", "")
	if n := r.orders(); n != 2 {
		t.Errorf("%d orders", n)
	}
	if got := cert.Challenge(m, "shop.example.com"); got != "tls-alpn-01" {
		t.Errorf("the next challenge is %s", got)
	}
	c.set(70 * 24 * time.Hour)
	r.serves(t, "shop.example.com", leaf.SerialNumber.String())
}

func TestIssueWildcardByDNS(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.ca(t)
	o := r.options()
	o.DNS = map[string]cert.DNSProvider{"example.com": r.dns}
	m, _ := r.edge(t, o)
	m.SetHosts([]cert.Host{{Name: "*.apps.example.com"}, {Name: "a.apps.example.com", App: "a"}, {Name: "*.example.org"}})
	r.serves(t, "anything.apps.example.com", "")
	r.serves(t, "a.apps.example.com", "")
	if n := r.orders(); n != 1 {
		t.Errorf("%d orders: the host below the wildcard needs none", n)
	}
	waittest.Eventually(t, "the record is removed", func() bool { return r.dns.left() == 0 })
	if st := statusOf(m, "a.apps.example.com"); st.Via != "*.apps.example.com" || st.Source != cert.SourceACME {
		t.Errorf("status %+v", st)
	}
	waittest.Eventually(t, "the other zone has an error", func() bool {
		st := statusOf(m, "*.example.org")
		return strings.Contains(st.LastError, "no DNS provider") && st.Hint != ""
	})
}

// TestDelegatedChallenge proves a name in a foreign zone by a CNAME into ours.
func TestDelegatedChallenge(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.ca(t)
	r.dns.alias["_acme-challenge.foreign.org."] = "foreign.proofs.example.com."
	o := r.options()
	o.DNS = map[string]cert.DNSProvider{cert.AnyZone: r.dns}
	m, _ := r.edge(t, o)
	m.SetHosts([]cert.Host{{Name: "*.foreign.org"}})
	r.serves(t, "www.foreign.org", "")
}

func TestBrokenDNSProvider(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.ca(t)
	r.dns.broken = true
	o := r.options()
	o.DNS = map[string]cert.DNSProvider{"example.com": r.dns}
	m, _ := r.edge(t, o)
	m.SetHosts([]cert.Host{{Name: "*.example.com"}})
	waittest.Eventually(t, "the status says why", func() bool {
		st := statusOf(m, "*.example.com")
		return strings.Contains(st.LastError, "token is not allowed") && strings.Contains(st.Hint, "--acme-settings")
	})
}

func TestRestartOrdersNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.ca(t)
	m, stop := r.edge(t, r.options())
	hosts := []cert.Host{{Name: "a.example.com"}, {Name: "b.example.com"}, {Name: "c.example.com"}}
	m.SetHosts(hosts)
	serial := r.serves(t, "a.example.com", "").SerialNumber.String()
	r.serves(t, "b.example.com", "")
	r.serves(t, "c.example.com", "")
	key := storedKey(t, r.dir)
	stop()

	m, _ = r.edge(t, r.options())
	if _, err := r.dial(t, "a.example.com", r.issuers(t)); err == nil {
		t.Error("a certificate for a host that is not wanted (yet)")
	}
	m.SetHosts(hosts)
	if leaf, err := r.dial(t, "a.example.com", r.issuers(t)); err != nil || leaf.SerialNumber.String() != serial {
		t.Errorf("after the restart: %v", err)
	}
	// One host more shows that the loop runs, and what else it did.
	m.SetHosts(append(hosts, cert.Host{Name: "d.example.com"}))
	r.serves(t, "d.example.com", "")
	if n := r.orders(); n != 4 {
		t.Errorf("%d orders", n)
	}
	if !bytes.Equal(storedKey(t, r.dir).Bytes, key.Bytes) {
		t.Error("another account")
	}
	m.SetHosts(nil)
	if _, err := r.dial(t, "a.example.com", r.issuers(t)); err == nil {
		t.Error("a certificate for a host that was let go")
	}
	m.SetHosts(hosts)
	r.serves(t, "a.example.com", "")
	if n := r.orders(); n != 4 {
		t.Errorf("%d orders after the host came back", n)
	}
}

func TestRenewal(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.ca(t)
	c := &clock{}
	o := r.options()
	o.Now = c.now
	m, stop := r.edge(t, o)
	m.SetHosts([]cert.Host{{Name: "a.example.com"}})
	first := r.serves(t, "a.example.com", "").SerialNumber.String()
	c.set(55 * day) // of 90
	waittest.Eventually(t, "the CA was asked when to renew", func() bool { return r.output.count("/draft-ietf-acme-ari") > 0 || r.output.count("renewal") > 0 })
	if n := r.orders(); n != 1 {
		t.Errorf("%d orders before a third was left", n)
	}
	c.set(60*day + time.Minute)
	second := r.serves(t, "a.example.com", first).SerialNumber.String()
	if !strings.Contains(r.output.String(), "is a replacement of") {
		t.Error("the CA was not told what is replaced")
	}
	// The clock is 60 days ahead of the CA's: the new one looks old at once.
	c.set(60*day + time.Hour)
	stop()
	m, _ = r.edge(t, o)
	m.SetHosts([]cert.Host{{Name: "a.example.com"}, {Name: "b.example.com"}})
	r.serves(t, "b.example.com", "")
	if n := r.orders(); n != 3 {
		t.Errorf("%d orders: a wrong clock makes a loop", n)
	}
	if st := statusOf(m, "a.example.com"); st.Source != cert.SourceACME {
		t.Errorf("status %+v", st)
	}
	_ = second
}

func TestCADownThenBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	stopCA := r.ca(t)
	c := &clock{}
	o := r.options()
	o.Now = c.now
	m, stop := r.edge(t, o)
	m.SetHosts([]cert.Host{{Name: "a.example.com"}})
	first := r.serves(t, "a.example.com", "").SerialNumber.String()
	stopCA()
	at := 62 * 24 * time.Hour
	c.set(at)
	last := time.Duration(0)
	for n := 1; n <= 4; n++ {
		waittest.Eventually(t, fmt.Sprintf("attempt %d", n), func() bool { return statusOf(m, "a.example.com").Attempts == n })
		st := statusOf(m, "a.example.com")
		if !strings.Contains(st.LastError, "does not answer") || st.Hint == "" || st.Source != cert.SourceACME || st.Expiring {
			t.Fatalf("status %+v", st)
		}
		wait := st.NextTry.Sub(st.LastTry)
		if wait <= last {
			t.Errorf("attempt %d waits %v after %v", n, wait, last)
		}
		last = wait
		at += wait + time.Second
		if n < 4 {
			c.set(at)
		}
	}
	// The back-off is not forgotten by a restart.
	stop()
	m, _ = r.edge(t, o)
	m.SetHosts([]cert.Host{{Name: "a.example.com"}})
	if st := statusOf(m, "a.example.com"); st.Attempts != 4 || !strings.Contains(st.LastError, "does not answer") {
		t.Errorf("after a restart: %+v", st)
	}
	c.set(80 * 24 * time.Hour) // a ninth is left
	waittest.Eventually(t, "it is an alert", func() bool { st := statusOf(m, "a.example.com"); return st.Expiring && st.Attempts == 5 })
	if _, err := hello(t, m, "a.example.com", nil); err != nil && strings.Contains(err.Error(), "unrecognized") {
		t.Error("the certificate is not served any more")
	}
	r.ca(t) // with an empty memory: the account is made anew
	check(t, m.Retry("a.example.com"))
	r.serves(t, "a.example.com", first)
	if st := statusOf(m, "a.example.com"); st.LastError != "" || st.Attempts != 0 {
		t.Errorf("status %+v", st)
	}
}

func TestOnDemand(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.ca(t)
	var asked atomic.Int64
	var deny atomic.Bool
	o := r.options()
	c := &clock{}
	o.Now = c.now
	o.OnDemand = func(_ context.Context, host string) error {
		asked.Add(1)
		if deny.Load() || !strings.HasSuffix(host, ".customer.org") {
			return landward.Errorf(landward.CodeForbidden, "%s is nobody's", host)
		}
		return nil
	}
	m, stop := r.edge(t, o)
	m.SetHosts([]cert.Host{{Name: "shop.example.com"}})
	r.serves(t, "shop.example.com", "")
	if asked.Load() != 0 {
		t.Error("asked about a host that is wanted")
	}
	roots := r.issuers(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := r.dial(t, "a.customer.org", roots); err != nil {
				t.Errorf("the handshake did not wait: %v", err)
			}
		})
	}
	wg.Wait()
	if a, n := asked.Load(), r.orders(); a != 1 || n != 2 {
		t.Errorf("8 handshakes: asked %d times, %d orders in all", a, n)
	}
	for range 3 {
		if _, err := r.dial(t, "a.stranger.org", roots); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
			t.Errorf("a stranger: %v", err)
		}
	}
	if a, n := asked.Load(), r.orders(); a != 2 || n != 2 {
		t.Errorf("a refusal is not remembered: asked %d times, %d orders", a, n)
	}
	for _, host := range []string{"x.localhost", "single"} {
		if _, err := r.dial(t, host, roots); err == nil {
			t.Errorf("%s has a certificate", host)
		}
	}
	if asked.Load() != 2 {
		t.Error("asked about a host that no CA issues for")
	}
	if st := statusOf(m, "a.customer.org"); !st.OnDemand || st.Wanted || st.Source != cert.SourceACME {
		t.Errorf("status %+v", st)
	}
	stop()
	m, _ = r.edge(t, o)
	m.SetHosts([]cert.Host{{Name: "shop.example.com"}})
	if _, err := r.dial(t, "a.customer.org", roots); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	deny.Store(true)
	c.set(65 * 24 * time.Hour)
	waittest.Eventually(t, "it is given up at its renewal", func() bool { return statusOf(m, "a.customer.org").Host == "" })
	if _, err := r.dial(t, "a.customer.org", roots); err == nil {
		t.Error("still served")
	}
}

func TestOnDemandNeedsNoControl(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.ca(t)
	var down atomic.Bool
	o, c := r.options(), &clock{}
	o.Now = c.now
	o.OnDemand = func(context.Context, string) error {
		if down.Load() {
			return errors.New("connection refused")
		}
		return nil
	}
	r.edge(t, o)
	leaf, err := r.dial(t, "a.customer.org", r.issuers(t))
	check(t, err)
	down.Store(true)
	c.set(65 * 24 * time.Hour)
	r.serves(t, "a.customer.org", leaf.SerialNumber.String())
}

func TestFailedValidationsAreLimited(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.ca(t)
	r.closedHTTP.Store(true)
	r.closedTLS.Store(true)
	c := &clock{}
	o := r.options()
	o.Now, o.ACME.Failures = c.now, 2
	m, stop := r.edge(t, o)
	m.SetHosts([]cert.Host{{Name: "a.example.com"}})
	waittest.Eventually(t, "the first", func() bool { return statusOf(m, "a.example.com").Attempts == 1 })
	c.set(10 * time.Second)
	waittest.Eventually(t, "the second", func() bool { return statusOf(m, "a.example.com").Attempts == 2 })
	stop() // the count is not forgotten
	c.set(5 * time.Minute)
	m, _ = r.edge(t, o)
	m.SetHosts([]cert.Host{{Name: "a.example.com"}})
	check(t, m.Retry("a.example.com"))
	waittest.Eventually(t, "the third waits", func() bool { return strings.Contains(statusOf(m, "a.example.com").LastError, "within an hour") })
	st := statusOf(m, "a.example.com")
	if r.orders() != 2 || st.NextTry.Before(c.now().Add(50*time.Minute)) {
		t.Errorf("%d orders, status %+v", r.orders(), st)
	}
	r.closedHTTP.Store(false)
	r.closedTLS.Store(false)
	c.set(62 * time.Minute)
	r.serves(t, "a.example.com", "")
}

func TestOrdersPerDomainAreLimited(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.ca(t)
	c := &clock{}
	o := r.options()
	o.Now, o.ACME.PerDomain = c.now, 2
	m, stop := r.edge(t, o)
	hosts := []cert.Host{{Name: "a.example.com"}, {Name: "b.example.com"}}
	m.SetHosts(hosts)
	r.serves(t, "a.example.com", "")
	r.serves(t, "b.example.com", "")
	stop()
	m, _ = r.edge(t, o)
	hosts = append(hosts, cert.Host{Name: "c.example.com"}, cert.Host{Name: "c.example.org"})
	m.SetHosts(hosts)
	r.serves(t, "c.example.org", "")
	waittest.Eventually(t, "the third below example.com waits", func() bool {
		return strings.Contains(statusOf(m, "c.example.com").LastError, "below example.com within 7 days")
	})
	if n := r.orders(); n != 3 {
		t.Errorf("%d orders", n)
	}
	c.set(7*24*time.Hour + time.Minute)
	r.serves(t, "c.example.com", "")
}

func TestExternalAccount(t *testing.T) {
	const secret = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
	t.Parallel()
	r := newRig(t, func(c map[string]any) {
		c["externalAccountBindingRequired"] = true
		c["externalAccountMACKeys"] = map[string]string{"kid-1": secret}
	})
	r.ca(t)
	m, stop := r.edge(t, r.options())
	m.SetHosts([]cert.Host{{Name: "a.example.com"}})
	waittest.Eventually(t, "it is said what is missing", func() bool {
		return strings.Contains(statusOf(m, "a.example.com").LastError, "external account")
	})
	stop()
	o := r.options()
	o.ACME.EABKeyID, o.ACME.EABHMAC = "kid-1", secret
	m, _ = r.edge(t, o)
	m.SetHosts([]cert.Host{{Name: "a.example.com"}})
	check(t, m.Retry("a.example.com"))
	r.serves(t, "a.example.com", "")
	if strings.Contains(r.log.String(), secret) {
		t.Error("the secret is in the log")
	}
}

func TestOwnPairEndsOrders(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.ca(t)
	m, _ := r.edge(t, r.options())
	ca := newCA(t, "ca")
	chain, key := ca.issue(t, nil, "a.example.com")
	_, err := m.PutPair("a.example.com", chain, key)
	check(t, err)
	m.SetHosts([]cert.Host{{Name: "a.example.com"}, {Name: "b.example.com"}})
	r.serves(t, "b.example.com", "")
	if n := r.orders(); n != 1 || statusOf(m, "a.example.com").Source != cert.SourceOwn {
		t.Errorf("%d orders, %+v", n, statusOf(m, "a.example.com"))
	}
	check(t, m.RemovePair("a.example.com"))
	r.serves(t, "a.example.com", "")
}

// TestTwoEdgesOrderOnce has the next edge start while the old one still runs.
func TestTwoEdgesOrderOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.ca(t)
	old, stop := r.edge(t, r.options())
	hosts := []cert.Host{{Name: "a.example.com"}}
	// Whoever has the folder first orders, and only the old one answers the CA.
	waittest.Eventually(t, "the old edge orders", old.Orders)
	next := manager(t, r.options())
	run(t, next)
	next.SetHosts(hosts)
	old.SetHosts(hosts)
	serial := r.serves(t, "a.example.com", "").SerialNumber.String()
	r.now.Store(next)
	stop()
	waittest.Eventually(t, "the next edge has it from disk", func() bool { return servedSerial(t, next, "a.example.com") == serial })
	next.SetHosts(append(hosts, cert.Host{Name: "b.example.com"}))
	r.serves(t, "b.example.com", "")
	if n := r.orders(); n != 2 {
		t.Errorf("%d orders", n)
	}
}

func TestManyHosts(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.ca(t)
	m, _ := r.edge(t, r.options())
	var hosts []cert.Host
	for i := range 20 {
		hosts = append(hosts, cert.Host{Name: fmt.Sprintf("h%d.example.com", i)})
	}
	m.SetHosts(hosts)
	waittest.Eventually(t, "all are issued", func() bool {
		busy, done := 0, 0
		for _, s := range m.Status() {
			if s.Ordering {
				busy++
			}
			if s.Source == cert.SourceACME {
				done++
			}
		}
		if busy > 4 {
			t.Fatalf("%d orders at once", busy)
		}
		return done == len(hosts)
	})
	if n := r.orders(); n != len(hosts) {
		t.Errorf("%d orders", n)
	}
}
