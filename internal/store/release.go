package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"landward/internal/landward"
)

// NewRelease is what CreateRelease needs to know.
type NewRelease struct {
	AppID, DeploymentID int64
	Services            []landward.Service
	ReleasePhase        landward.Command
	Cron                []landward.Cron
	Routing             landward.Routing
	Assets              string
	Settings            *landward.Settings // nil: the app's
	Source              landward.Source
	Actor               landward.Actor
	Description         string
	Deadline            time.Time // of the deployment's next state, releasing
}

// releaseBody is the part of a release that is only ever read whole.
type releaseBody struct {
	Services     []landward.Service `json:"services"`
	ReleasePhase landward.Command   `json:"release,omitzero"`
	Cron         []landward.Cron    `json:"cron,omitempty"`
	Routing      landward.Routing   `json:"routing,omitzero"`
	Assets       string             `json:"assets,omitempty"`
	Source       landward.Source    `json:"source"`
	Description  string             `json:"description"`
}

const releaseColumns = `app_id, version, body, settings, actor, phase, created_at`

func (s *Store) scanRelease(row scanner) (landward.Release, error) {
	var r landward.Release
	var data, sealed, actor []byte
	var created int64
	if err := row.Scan(&r.AppID, &r.Version, &data, &sealed, &actor, &r.Phase, &created); err != nil {
		return landward.Release{}, err
	}
	body, err := landward.ParseJSON[releaseBody](data)
	if err != nil {
		return landward.Release{}, fmt.Errorf("decode release v%d of app %d: %w", r.Version, r.AppID, err)
	}
	if r.Actor, err = landward.ParseJSON[landward.Actor](actor); err != nil {
		return landward.Release{}, fmt.Errorf("decode actor of release v%d of app %d: %w", r.Version, r.AppID, err)
	}
	if r.Settings, err = s.openSettings(sealed, releaseContext(r.AppID, r.Version)); err != nil {
		return landward.Release{}, fmt.Errorf("read settings of release v%d of app %d: %w", r.Version, r.AppID, err)
	}
	r.Services, r.ReleasePhase, r.Cron = body.Services, body.ReleasePhase, body.Cron
	r.Routing, r.Assets = body.Routing, body.Assets
	r.Source, r.Description = body.Source, body.Description
	r.CreatedAt = moment(created)
	return r, nil
}

func (s *Store) release(ctx context.Context, q queryer, appID int64, version int) (landward.Release, error) {
	r, err := s.scanRelease(q.QueryRowContext(ctx, `SELECT `+releaseColumns+` FROM releases WHERE app_id = ? AND version = ?`, appID, version))
	if errors.Is(err, sql.ErrNoRows) {
		err = notFound("there is no release v%d", version).WithHint("`landward releases` lists them")
	}
	return r, err
}

// CreateRelease writes a release with the app's next version, makes its
// settings the app's, moves its deployment to releasing, and takes the place
// of every deployment of the app that the reconciler still works on.
//
// CodeConflict: the deployment has ended or has a release; or, with the field
// "domains", a host of its settings belongs to another app.
func (s *Store) CreateRelease(ctx context.Context, n NewRelease) (landward.Release, landward.Deployment, error) {
	var r landward.Release
	var d landward.Deployment
	err := s.write(ctx, "create release", func(t tx) error {
		a, err := s.appByID(ctx, t, n.AppID)
		if err != nil {
			return err
		}
		if d, err = openDeployment(ctx, t, n.DeploymentID); err != nil {
			return err
		}
		if d.AppID != a.ID {
			return fmt.Errorf("deployment %d is not of app %d", d.ID, a.ID)
		}
		if d.Release != 0 {
			return conflict("deployment #%d has release v%d already", d.Number, d.Release)
		}
		settings := a.Settings
		if n.Settings != nil {
			settings = *n.Settings
			if err := s.saveSettings(ctx, t, a.ID, settings); err != nil {
				return err
			}
		}
		if r, err = s.insertRelease(ctx, t, n, settings); err != nil {
			return err
		}
		if _, err := t.exec(ctx, `UPDATE deployments SET release = ? WHERE id = ?`, r.Version, d.ID); err != nil {
			return err
		}
		if d, err = advance(ctx, t, d, landward.StateReleasing, n.Deadline); err != nil {
			return err
		}
		if err := supersede(ctx, t, d, landward.StateReleasing, landward.StateStarting); err != nil {
			return err
		}
		return s.claimDomains(ctx, t, a.ID)
	})
	if err != nil {
		return landward.Release{}, landward.Deployment{}, err
	}
	return r, d, nil
}

func (s *Store) insertRelease(ctx context.Context, t tx, n NewRelease, settings landward.Settings) (landward.Release, error) {
	body, err := json.Marshal(releaseBody{
		Services: n.Services, ReleasePhase: n.ReleasePhase, Cron: n.Cron, Routing: n.Routing, Assets: n.Assets,
		Source: n.Source, Description: n.Description,
	})
	if err != nil {
		return landward.Release{}, fmt.Errorf("encode release: %w", err)
	}
	actor, err := json.Marshal(n.Actor)
	if err != nil {
		return landward.Release{}, fmt.Errorf("encode actor: %w", err)
	}
	phase := landward.PhasePending
	if n.ReleasePhase.IsZero() {
		phase = landward.PhaseDone
	}
	var version int
	err = t.QueryRowContext(ctx, `SELECT coalesce(max(version), 0) + 1 FROM releases WHERE app_id = ?`, n.AppID).Scan(&version)
	if err != nil {
		return landward.Release{}, err
	}
	sealed, err := s.sealSettings(settings, releaseContext(n.AppID, version))
	if err != nil {
		return landward.Release{}, err
	}
	return s.scanRelease(t.QueryRowContext(ctx, `INSERT INTO releases (`+releaseColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?)
		RETURNING `+releaseColumns, n.AppID, version, body, sealed, string(actor), phase, millis(t.now)))
}

// Release returns an app's release. CodeNotFound: there is none.
func (s *Store) Release(ctx context.Context, appID int64, version int) (landward.Release, error) {
	r, err := s.release(ctx, s.reader, appID, version)
	if err != nil {
		return landward.Release{}, fmt.Errorf("read release: %w", readable(err))
	}
	return r, nil
}

// Releases returns an app's releases, newest first. limit 0 means all.
func (s *Store) Releases(ctx context.Context, appID int64, limit int) ([]landward.Release, error) {
	rs, err := list(ctx, s.reader, s.scanRelease, `SELECT `+releaseColumns+` FROM releases
		WHERE app_id = ? ORDER BY version DESC LIMIT ?`, appID, rowLimit(limit))
	if err != nil {
		return nil, fmt.Errorf("list releases: %w", err)
	}
	return rs, nil
}

// SetPhase says how a release's command stands.
func (s *Store) SetPhase(ctx context.Context, appID int64, version int, p landward.PhaseState) error {
	return s.write(ctx, "set release phase", func(t tx) error {
		n, err := t.exec(ctx, `UPDATE releases SET phase = ? WHERE app_id = ? AND version = ?`, p, appID, version)
		if err == nil && n == 0 {
			return notFound("there is no release v%d", version)
		}
		return err
	})
}
