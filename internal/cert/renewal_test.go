package cert_test

import (
	"strings"
	"testing"
	"time"

	"landward/internal/cert"
	"landward/internal/waittest"
)

const day = 24 * time.Hour

// TestCADownForAFortnight has the CA go down when a renewal is due and come
// back after 14 days. All the while the old certificate is served and another
// attempt is never more than some hours away; nobody has to do anything.
func TestCADownForAFortnight(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	stopCA := r.ca(t)
	c := &clock{}
	o := r.options()
	o.Now = c.now
	m, _ := r.edge(t, o)
	m.SetHosts([]cert.Host{{Name: "a.example.com"}})
	first := r.serves(t, "a.example.com", "").SerialNumber.String()
	orders := r.orders()
	stopCA()
	back := r.maintenance(t)
	const begin, end = 61 * day, 75 * day
	attempts, expiring := 0, false
	for at := time.Duration(begin); at < end; {
		c.set(at)
		attempts++
		waittest.Eventually(t, "another attempt fails", func() bool { return statusOf(m, "a.example.com").Attempts == attempts })
		st := statusOf(m, "a.example.com")
		wait := st.NextTry.Sub(st.LastTry)
		if wait <= 0 || wait > 7*time.Hour || attempts > 12 && wait < 5*time.Hour {
			t.Fatalf("after %d attempts the next one is in %v", attempts, wait)
		}
		if !strings.Contains(st.LastError, "does not answer") || st.Hint == "" || st.Source != cert.SourceACME {
			t.Fatalf("status %+v", st)
		}
		if at < 71*day && st.Expiring || expiring && !st.Expiring {
			t.Fatalf("after %v it is said to expire: %v", at, st.Expiring)
		}
		expiring = st.Expiring
		if got := servedSerial(t, m, "a.example.com"); got != first {
			t.Fatalf("%q is served in place of %q", got, first)
		}
		at += wait + time.Second
	}
	// 6 hours at most, for 14 days, and a few more in the beginning.
	if !expiring || attempts < 50 || attempts > 80 {
		t.Errorf("%d attempts; expiring: %v", attempts, expiring)
	}
	back()
	r.ca(t)
	next := statusOf(m, "a.example.com").NextTry
	c.set(time.Until(next) + time.Second) // and nobody asks for it
	r.serves(t, "a.example.com", first)
	if st := statusOf(m, "a.example.com"); st.Attempts != 0 || st.LastError != "" || st.Expiring {
		t.Errorf("status %+v", st)
	}
	if n := r.orders() - orders; n != 1 {
		t.Errorf("%d orders for one renewal", n)
	}
}

// TestFailsThreeTimesThenSucceeds has a host whose name leads elsewhere at
// first: three validations fail. Once it leads here the next attempt, which
// nobody asks for, brings the certificate.
func TestFailsThreeTimesThenSucceeds(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.ca(t)
	r.closedHTTP.Store(true)
	r.closedTLS.Store(true)
	c := &clock{}
	o := r.options()
	o.Now = c.now
	m, _ := r.edge(t, o)
	m.SetHosts([]cert.Host{{Name: "a.example.com", App: "shop"}})
	var at time.Duration
	for n := 1; n <= 3; n++ {
		waittest.Eventually(t, "an attempt fails", func() bool { return statusOf(m, "a.example.com").Attempts == n })
		st := statusOf(m, "a.example.com")
		says := map[int]string{1: "on port 80 (http-01)", 2: "(tls-alpn-01)", 3: "on port 80 (http-01)"}[n] // one challenge, then the other
		if !strings.Contains(st.LastError, says) || st.Hint == "" || st.Source != cert.SourceNone || !st.NextTry.After(st.LastTry) || st.App != "shop" {
			t.Fatalf("attempt %d: %+v", n, st)
		}
		if n == 3 {
			break
		}
		at += st.NextTry.Sub(st.LastTry) + time.Second
		c.set(at)
	}
	if n := r.orders(); n != 3 {
		t.Errorf("%d orders", n)
	}
	r.closedHTTP.Store(false)
	r.closedTLS.Store(false)
	st := statusOf(m, "a.example.com")
	if wait := st.NextTry.Sub(st.LastTry); wait > 5*time.Minute {
		t.Errorf("after three failures the next attempt is in %v", wait)
	}
	c.set(time.Until(st.NextTry) + time.Second)
	r.serves(t, "a.example.com", "")
	if st = statusOf(m, "a.example.com"); st.Attempts != 0 || st.LastError != "" || st.Hint != "" || st.Source != cert.SourceACME {
		t.Errorf("status %+v", st)
	}
	if n := r.orders(); n != 4 {
		t.Errorf("%d orders", n)
	}
}
