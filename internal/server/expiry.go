package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"landward/internal/cert"
	"landward/internal/landward"
	"landward/internal/store"
)

const (
	day = 24 * time.Hour
	// expiryEvery is how often control looks at the edge's certificates, and
	// expiryAgain how soon where the edge did not answer.
	expiryEvery  = time.Hour
	expiryAgain  = time.Minute
	expiryWithin = 30 * time.Second
	// usualLife is the life of a certificate that the steps are meant for. Of a
	// shorter one they are parts.
	usualLife = 90 * day
	// keepAlerts is how long after its end a certificate that is gone is
	// remembered: the edge keeps those that nobody wants for 30 days.
	keepAlerts = 60 * day
	alertsFact = "cert-alerts"
)

// expirySteps are how long before a certificate's end somebody is told that
// nothing is coming in its place.
var expirySteps = [...]time.Duration{21 * day, 7 * day, 3 * day, day, 0}

// expiryStore keeps events, and what has been told.
type expiryStore interface {
	facts
	AddEvent(ctx context.Context, e store.Event) error
	AppByName(ctx context.Context, name string) (landward.App, error)
}

// expiry tells, by events and in the log, of certificates that end with nothing
// coming in their place: once for each certificate and step, over restarts too.
type expiry struct {
	certs func(context.Context) ([]cert.Status, error) // of the edge
	store expiryStore
	now   func() time.Time
	log   *slog.Logger
	told  map[string]toldAlert // by fingerprint; nil: not read yet
	dirty bool                 // told has what is not written yet
}

// toldAlert is what has been told of a certificate.
type toldAlert struct {
	Step  int       `json:"step"` // of expirySteps, the last one
	Until time.Time `json:"until"`
}

// run looks again and again until ctx ends.
func (x *expiry) run(ctx context.Context) error {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		next := expiryEvery
		if err := x.look(ctx); err != nil && ctx.Err() == nil {
			next = expiryAgain
			x.log.Debug("certificates not looked at", "error", err)
		}
		t.Reset(next)
	}
}

// look tells what is due.
func (x *expiry) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, expiryWithin)
	defer cancel()
	if err := x.read(ctx); err != nil {
		return err
	}
	list, err := x.certs(ctx)
	if err != nil {
		return err
	}
	now, present := x.now(), map[string]bool{}
	for _, s := range endangered(list) {
		present[s.Fingerprint] = true
		step := expiryStep(s, now)
		told, known := x.told[s.Fingerprint]
		if step < 0 || known && step <= told.Step {
			continue
		}
		if err = x.tell(ctx, s, step, now); err != nil {
			break
		}
		x.told[s.Fingerprint], x.dirty = toldAlert{step, s.NotAfter}, true
	}
	for f, t := range x.told {
		if err == nil && !present[f] && now.Sub(t.Until) > keepAlerts {
			delete(x.told, f)
			x.dirty = true
		}
	}
	if x.dirty {
		err = errors.Join(err, x.write(ctx))
	}
	return err
}

// endangered are the certificates that are served and that nobody replaces, each
// once: the one of a wildcard stands for the hosts that it serves.
func endangered(list []cert.Status) []cert.Status {
	var out []cert.Status
	at := map[string]int{}
	for _, s := range list {
		failing := s.Source == cert.SourceACME && (s.LastError != "" || s.Attempts > 0 || s.Expiring)
		if s.Fingerprint == "" || s.Source != cert.SourceOwn && !failing {
			continue
		}
		i, seen := at[s.Fingerprint]
		switch {
		case !seen:
			at[s.Fingerprint] = len(out)
			out = append(out, s)
		case out[i].Via != "" && s.Via == "":
			out[i] = s
		}
	}
	return out
}

// expiryStep is the last step that a certificate has reached, -1 for none.
func expiryStep(s cert.Status, now time.Time) int {
	left, life := s.NotAfter.Sub(now), s.NotAfter.Sub(s.NotBefore)
	step := -1
	for i, before := range expirySteps {
		if life < usualLife {
			before = time.Duration(float64(before) * float64(life) / float64(usualLife))
		}
		if left <= before {
			step = i
		}
	}
	return step
}

// tell writes the event and the line in the log.
func (x *expiry) tell(ctx context.Context, s cert.Status, step int, now time.Time) error {
	e := store.Event{
		At: now, App: s.App, Actor: landward.System, Kind: "cert.expiring", Message: expiryMessage(s, now),
		Data: map[string]string{
			"host": s.Host, "source": string(s.Source), "not_after": s.NotAfter.UTC().Format(time.RFC3339), "fingerprint": s.Fingerprint,
			"days": strconv.Itoa(int(expirySteps[step] / day)),
		},
	}
	if step == len(expirySteps)-1 {
		e.Kind = "cert.expired"
	}
	if s.App != "" {
		app, err := x.store.AppByName(ctx, s.App)
		if err != nil && landward.CodeOf(err) != landward.CodeNotFound {
			return err
		}
		e.AppID = app.ID
	}
	if err := x.store.AddEvent(ctx, e); err != nil {
		return fmt.Errorf("tell of the certificate of %s: %w", s.Host, err)
	}
	x.log.Warn("a certificate ends, and nothing is coming in its place", "host", s.Host, "app", s.App, "source", string(s.Source),
		"not_after", s.NotAfter, "last_error", s.LastError, "next_try", s.NextTry)
	return nil
}

// expiryMessage says how a certificate stands and what to do.
func expiryMessage(s cert.Status, now time.Time) string {
	left := s.NotAfter.Sub(now)
	host := s.Host
	if s.Via != "" {
		host = s.Via
	}
	text := fmt.Sprintf("the certificate of %s ends in %s, on %s", host, inDays(left), s.NotAfter.UTC().Format(time.DateOnly))
	if left <= 0 {
		text = fmt.Sprintf("the certificate of %s has expired, on %s", host, s.NotAfter.UTC().Format(time.DateOnly))
	}
	if s.Source == cert.SourceOwn {
		return text + "; it is one of your own, which nobody renews: bring the next with `landward certs add`"
	}
	why := s.LastError
	if why == "" {
		why = "nothing renews it"
	}
	text += "; renewal fails: " + why
	if s.Hint != "" {
		text += " (" + s.Hint + ")"
	}
	return text
}

// inDays is a time that is left, in the largest unit that says something.
func inDays(d time.Duration) string {
	switch n := int(d / day); {
	case n > 1:
		return strconv.Itoa(n) + " days"
	case d >= 2*time.Hour:
		return strconv.Itoa(int(d/time.Hour)) + " hours"
	}
	return strconv.Itoa(int(d/time.Minute)) + " minutes"
}

// read reads what was told before the last restart.
func (x *expiry) read(ctx context.Context) error {
	if x.told != nil {
		return nil
	}
	text, err := x.store.Fact(ctx, alertsFact)
	if err != nil {
		return err
	}
	told := map[string]toldAlert{}
	if text != "" {
		if err := json.Unmarshal([]byte(text), &told); err != nil {
			x.log.Error("read which certificates were told of: all are told of again", "error", err)
			told = map[string]toldAlert{}
		}
	}
	x.told = told
	return nil
}

func (x *expiry) write(ctx context.Context) error {
	text, err := json.Marshal(x.told)
	if err != nil {
		return fmt.Errorf("write which certificates were told of: %w", err)
	}
	if len(x.told) == 0 {
		text = nil
	}
	err = x.store.SetFact(ctx, alertsFact, string(text))
	x.dirty = err != nil
	return err
}
