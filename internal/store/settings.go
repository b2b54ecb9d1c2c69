package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"landward/internal/landward"
)

// storedSettings is how settings are written. JSON strings cannot hold every
// byte sequence, and an environment variable can be any but NUL, so the values
// are bytes here: this Env takes the place of the embedded one.
type storedSettings struct {
	landward.Settings
	Env []storedVar `json:"env,omitempty"`
}

type storedVar struct {
	Name   string `json:"name"`
	Value  []byte `json:"value"`
	Secret bool   `json:"secret,omitempty"`
	File   bool   `json:"file,omitempty"`
	Build  bool   `json:"build,omitempty"`
}

func appContext(appID int64) string { return fmt.Sprintf("app/%d/settings", appID) }

func releaseContext(appID int64, version int) string {
	return fmt.Sprintf("app/%d/release/%d/settings", appID, version)
}

func (s *Store) sealSettings(v landward.Settings, context string) ([]byte, error) {
	w := storedSettings{Settings: v, Env: make([]storedVar, len(v.Env))}
	for i, e := range v.Env {
		w.Env[i] = storedVar{Name: e.Name, Value: []byte(e.Value), Secret: e.Secret, File: e.File, Build: e.Build}
	}
	plain, err := json.Marshal(w)
	if err != nil {
		return nil, fmt.Errorf("encode settings: %w", err)
	}
	sealed, err := s.sealer.Seal(plain, context)
	if err != nil {
		return nil, fmt.Errorf("seal settings: %w", err)
	}
	return sealed, nil
}

func (s *Store) openSettings(sealed []byte, context string) (landward.Settings, error) {
	plain, err := s.sealer.Open(sealed, context)
	if err != nil {
		return landward.Settings{}, fmt.Errorf("open settings: %w", err)
	}
	var w storedSettings
	if err := json.Unmarshal(plain, &w); err != nil {
		// The decoder's own text could quote what it read.
		return landward.Settings{}, fmt.Errorf("decode settings of %s", context)
	}
	v := w.Settings
	for _, e := range w.Env {
		v.Env = append(v.Env, landward.Var{Name: e.Name, Value: string(e.Value), Secret: e.Secret, File: e.File, Build: e.Build})
	}
	return v, nil
}

func (s *Store) saveSettings(ctx context.Context, t tx, appID int64, v landward.Settings) error {
	sealed, err := s.sealSettings(v, appContext(appID))
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, `UPDATE apps SET settings = ?, updated_at = ? WHERE id = ?`, sealed, millis(t.now), appID)
	return err
}

// UpdateSettings lets change make new settings out of the app's and saves them,
// in one transaction. An error of change is returned and nothing is changed.
// change must not use the store.
//
// CodeConflict with the field "domains": a host belongs to another app.
func (s *Store) UpdateSettings(ctx context.Context, appID int64, change func(landward.Settings) (landward.Settings, error)) (landward.Settings, error) {
	var v landward.Settings
	err := s.write(ctx, "update settings", func(t tx) error {
		a, err := s.appByID(ctx, t, appID)
		if err != nil {
			return err
		}
		if v, err = change(a.Settings.Clone()); err != nil {
			return err
		}
		if err := s.saveSettings(ctx, t, appID, v); err != nil {
			return err
		}
		return s.claimDomains(ctx, t, appID)
	})
	if err != nil {
		return landward.Settings{}, err
	}
	return v, nil
}

// restoreSettings gives the app the settings of its current release again,
// after the release that brought other ones came to nothing. It does nothing
// while there is no current release, or while a newer release than the failed one
// is on its way, for then the settings are that one's.
func (s *Store) restoreSettings(ctx context.Context, t tx, appID int64, failed int) error {
	a, err := s.appByID(ctx, t, appID)
	if err != nil || a.Current == 0 {
		return err
	}
	var newer bool
	err = t.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM deployments WHERE app_id = ? AND finished_at = 0 AND release > ?)`,
		appID, failed).Scan(&newer)
	if err != nil || newer {
		return err
	}
	r, err := s.release(ctx, t, appID, a.Current)
	if err != nil {
		return err
	}
	return s.saveSettings(ctx, t, appID, r.Settings)
}

// claimDomains makes the app's claims those that it needs: the hosts of its
// settings, and those of every release that serves, that traffic may go back
// to, or that is on its way. A host is therefore free for another app only
// when no route can lead to this one through it any more.
func (s *Store) claimDomains(ctx context.Context, t tx, appID int64) error {
	a, err := s.appByID(ctx, t, appID)
	if err != nil {
		return err
	}
	want := slices.Clone(a.Settings.Domains)
	for i, host := range want {
		if normal, ok := landward.NormalDomain(host); !ok || normal != host {
			return landward.Invalid(fmt.Sprintf("domains[%d]", i), "%q is not a host name", landward.Printable(host)).
				WithHint("use lower-case letters, digits, dashes and dots: shop.example.com")
		}
	}
	inUse, err := list(ctx, t, s.scanRelease, `SELECT `+releaseColumns+` FROM releases WHERE app_id = ?1 AND version IN
		(SELECT ?2 UNION SELECT ?3 UNION SELECT release FROM deployments WHERE app_id = ?1 AND finished_at = 0)`, appID, a.Current, a.Previous)
	if err != nil {
		return err
	}
	for _, r := range inUse {
		want = append(want, r.Settings.Domains...)
	}
	slices.Sort(want)
	want = slices.Compact(want)

	have, err := list(ctx, t, func(row scanner) (string, error) {
		var host string
		return host, row.Scan(&host)
	}, `SELECT host FROM domains WHERE app_id = ?`, appID)
	if err != nil {
		return err
	}
	for _, host := range have {
		if !slices.Contains(want, host) {
			if _, err := t.exec(ctx, `DELETE FROM domains WHERE host = ?`, host); err != nil {
				return err
			}
		}
	}
	for _, host := range want {
		if slices.Contains(have, host) {
			continue
		}
		_, err := t.exec(ctx, `INSERT INTO domains (host, app_id, created_at) VALUES (?, ?, ?)`, host, appID, millis(t.now))
		if duplicate(err) {
			e := conflict("%s belongs to another app", host).
				WithHint("take it off that app first; it is free as soon as the release that still has it is retired")
			e.Field = "domains"
			return e
		}
		if err != nil {
			return err
		}
	}
	return nil
}
