package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"landward/internal/cert"
	"landward/internal/landward"
	"landward/internal/server"
	"landward/internal/store"
	"landward/internal/store/storetest"
)

const day = 24 * time.Hour

// edgeCerts is an edge with certificates.
type edgeCerts struct {
	list []cert.Status
	err  error
}

func (e *edgeCerts) certs(context.Context) ([]cert.Status, error) { return e.list, e.err }

func ending(host string, from time.Time, life time.Duration, s cert.Status) cert.Status {
	s.Host, s.NotBefore, s.NotAfter = host, from, from.Add(life)
	if s.Fingerprint == "" {
		s.Fingerprint = "sha-" + host
	}
	return s
}

// told are the events, the oldest first.
func told(t *testing.T, s *store.Store) []string {
	t.Helper()
	list, err := s.Events(t.Context(), 0, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(list)
	var out []string
	for _, e := range list {
		if strings.HasPrefix(e.Kind, "cert.") {
			out = append(out, e.Kind+" "+e.Data["host"]+" "+e.Data["days"])
		}
	}
	return out
}

// TestExpiryIsTold follows certificates over 100 days, hour by hour, with a
// restart every ten hours.
func TestExpiryIsTold(t *testing.T) {
	s, clock := storetest.NewWithClock(t)
	from, failing := clock.Now(), cert.Status{Source: cert.SourceACME, LastError: "the CA does not answer", Attempts: 3, Wanted: true}
	wild := failing
	wild.Fingerprint = "sha-wild"
	below := wild
	below.Via, below.LastError, below.Attempts = "*.example.com", "", 0
	edge := &edgeCerts{list: []cert.Status{
		ending("a.example.com", from, 90*day, below),
		ending("failing.example.net", from, 90*day, failing),
		ending("own.example.net", from, 60*day, cert.Status{Source: cert.SourceOwn, Fingerprint: "sha-own"}),
		ending("local.localhost", from, 90*day, cert.Status{Source: cert.SourceLocal, LastError: "x"}),
		ending("none.example.net", time.Time{}, 0, cert.Status{Source: cert.SourceNone, LastError: "x"}),
		ending("short.example.net", from, 6*day, failing),
		ending("well.example.net", from, 90*day, cert.Status{Source: cert.SourceACME, Wanted: true}),
		ending("*.example.com", from, 90*day, wild),
	}}
	var log bytes.Buffer
	var x server.Expiry
	seen := map[string]time.Duration{}
	for hour := range 100 * 24 {
		if hour%10 == 0 {
			x = server.NewExpiry(edge.certs, s, clock.Now, slog.New(slog.NewTextHandler(&log, nil)))
		}
		if err := x.Look(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, e := range told(t, s) {
			if _, known := seen[e]; !known {
				seen[e] = clock.Now().Sub(from)
			}
		}
		if hour == 71*24 { // the failing one is renewed in time
			for i := range edge.list {
				if h := edge.list[i].Host; h == "failing.example.net" {
					edge.list[i] = ending(h, clock.Now(), 90*day, cert.Status{Source: cert.SourceACME, Wanted: true, Fingerprint: "sha-new"})
				}
			}
		}
		clock.Advance(time.Hour)
	}
	want := map[string]time.Duration{
		"cert.expiring failing.example.net 21": 69 * day,
		"cert.expiring *.example.com 21":       69 * day, "cert.expiring *.example.com 7": 83 * day, "cert.expiring *.example.com 3": 87 * day,
		"cert.expiring *.example.com 1": 89 * day, "cert.expired *.example.com 0": 90 * day,
		// Of lives below 90 days the steps are parts.
		"cert.expiring own.example.net 21": 46 * day, "cert.expiring own.example.net 7": 60*day - 112*time.Hour, "cert.expiring own.example.net 3": 58 * day,
		"cert.expiring own.example.net 1": 60*day - 16*time.Hour, "cert.expired own.example.net 0": 60 * day,
	}
	for e, at := range want {
		if got, ok := seen[e]; !ok || got < at || got > at+time.Hour {
			t.Errorf("%s was told after %v, %v; want after %v", e, got, ok, at)
		}
	}
	n := 0
	for _, e := range told(t, s) {
		if !strings.Contains(e, "short") {
			n++
		}
	}
	if short := len(told(t, s)) - n; n != len(want) || short != 5 {
		t.Errorf("told %d times, and %d of the short one: %q", n, short, told(t, s))
	}
	if got := strings.Count(log.String(), "level=WARN"); got != n+5 {
		t.Errorf("%d warnings in the log", got)
	}
}

func TestExpirySays(t *testing.T) {
	s, clock := storetest.NewWithClock(t)
	app, err := s.CreateApp(t.Context(), "shop", landward.System)
	if err != nil {
		t.Fatal(err)
	}
	now := clock.Now()
	edge := &edgeCerts{list: []cert.Status{
		ending("shop.example.com", now.Add(-80*day), 90*day, cert.Status{Source: cert.SourceACME, App: "shop", LastError: "the CA does not answer", Hint: "check the network"}),
		ending("gone.example.com", now.Add(-90*day), 90*day, cert.Status{Source: cert.SourceACME, App: "gone", Expiring: true}),
		ending("own.example.com", now.Add(-364*day-12*time.Hour), 365*day, cert.Status{Source: cert.SourceOwn}),
	}}
	if err := server.NewExpiry(edge.certs, s, clock.Now, slog.New(slog.DiscardHandler)).Look(t.Context()); err != nil {
		t.Fatal(err)
	}
	list, err := s.Events(t.Context(), 0, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]store.Event{}
	for _, e := range list {
		got[e.Data["host"]] = e
	}
	date := func(in time.Duration) string { return now.Add(in).UTC().Format(time.DateOnly) }
	for host, want := range map[string]string{
		"shop.example.com": "the certificate of shop.example.com ends in 10 days, on " + date(10*day) + "; renewal fails: the CA does not answer (check the network)",
		"gone.example.com": "the certificate of gone.example.com has expired, on " + date(0) + "; renewal fails: nothing renews it",
		"own.example.com":  "the certificate of own.example.com ends in 12 hours, on " + date(12*time.Hour) + "; it is one of your own, which nobody renews: bring the next with `landward certs add`",
	} {
		if got[host].Message != want {
			t.Errorf("%q, want %q", got[host].Message, want)
		}
	}
	if e := got["shop.example.com"]; e.AppID != app.ID || e.App != "shop" || e.Actor.Kind != landward.ActorSystem || e.Data["days"] != "21" {
		t.Errorf("the event is %+v", e)
	}
	if e := got["gone.example.com"]; e.AppID != 0 || e.Kind != "cert.expired" {
		t.Errorf("the event of an app that is gone is %+v", e)
	}
}

// forgetful is a store that cannot keep facts, or events, for a while.
type forgetful struct {
	*store.Store
	facts, events bool
}

func (f *forgetful) SetFact(ctx context.Context, name, value string) error {
	if f.facts {
		return errors.New("disk full")
	}
	return f.Store.SetFact(ctx, name, value)
}

func (f *forgetful) AddEvent(ctx context.Context, e store.Event) error {
	if f.events {
		return errors.New("disk full")
	}
	return f.Store.AddEvent(ctx, e)
}

func TestExpiryWithAFullDisk(t *testing.T) {
	inner, clock := storetest.NewWithClock(t)
	s := &forgetful{Store: inner, events: true}
	edge := &edgeCerts{list: []cert.Status{ending("own.example.com", clock.Now().Add(-85*day), 90*day, cert.Status{Source: cert.SourceOwn})}}
	x := server.NewExpiry(edge.certs, s, clock.Now, slog.New(slog.DiscardHandler))
	if err := x.Look(t.Context()); err == nil {
		t.Error("an event that was not written is no error")
	}
	s.events, s.facts = false, true
	for range 3 {
		if err := x.Look(t.Context()); err == nil {
			t.Error("a fact that was not written is no error")
		}
	}
	s.facts = false
	if err := x.Look(t.Context()); err != nil {
		t.Fatal(err)
	}
	again := server.NewExpiry(edge.certs, s, clock.Now, slog.New(slog.DiscardHandler))
	if err := again.Look(t.Context()); err != nil || len(told(t, inner)) != 1 {
		t.Errorf("told %q: %v", told(t, inner), err)
	}
	// What is gone is forgotten in the end.
	edge.list = nil
	clock.Advance(70 * day)
	if err := again.Look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if text, err := inner.Fact(t.Context(), "cert-alerts"); err != nil || text != "" {
		t.Errorf("still remembered: %q, %v", text, err)
	}
}

// plain is a store in memory, for tests whose clock is not the machine's.
type plain struct {
	fact   string
	events []string
}

func (p *plain) Fact(context.Context, string) (string, error)     { return p.fact, nil }
func (p *plain) SetFact(_ context.Context, _, value string) error { p.fact = value; return nil }
func (p *plain) AddEvent(_ context.Context, e store.Event) error {
	p.events = append(p.events, e.Kind)
	return nil
}
func (p *plain) AppByName(context.Context, string) (landward.App, error) { return landward.App{}, nil }

// TestExpiryIsLookedForHourly counts how often the edge is asked: every hour,
// and every minute while it does not answer.
func TestExpiryIsLookedForHourly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var asked []string
		down := true
		certs := func(context.Context) ([]cert.Status, error) {
			asked = append(asked, fmt.Sprint(time.Since(start)))
			if down {
				return nil, errors.New("connection refused")
			}
			return []cert.Status{ending("own.example.com", start, 2*time.Hour+30*time.Minute, cert.Status{Source: cert.SourceOwn})}, nil
		}
		p := &plain{}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- server.NewExpiry(certs, p, time.Now, slog.New(slog.DiscardHandler)).Run(ctx) }()
		<-time.After(90 * time.Second)
		down = false
		<-time.After(3 * time.Hour)
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if want := []string{"0s", "1m0s", "2m0s", "1h2m0s", "2h2m0s", "3h2m0s"}; !slices.Equal(asked, want[:len(asked)]) || len(asked) < 5 {
			t.Errorf("asked after %v", asked)
		}
		if len(p.events) == 0 {
			t.Error("nothing was told")
		}
	})
}
