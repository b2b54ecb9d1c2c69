package store

import (
	"context"
	"fmt"
	"time"

	"landward/internal/landward"
)

// Commit makes a deployment live: its release becomes the app's current one,
// and the one that served so far stays the way back until warmUntil.
// CodeConflict: the deployment has ended, or has no release.
func (s *Store) Commit(ctx context.Context, deploymentID int64, warmUntil time.Time, warning string) (landward.App, error) {
	var a landward.App
	err := s.write(ctx, "commit release", func(t tx) error {
		d, err := openDeployment(ctx, t, deploymentID)
		if err != nil {
			return err
		}
		if d.Release == 0 {
			return conflict("deployment #%d has no release yet", d.Number)
		}
		// Without a release to go back to there is nothing to keep warm.
		_, err = t.exec(ctx, `UPDATE apps SET previous = current, warm_until = CASE current WHEN 0 THEN 0 ELSE ? END,
			current = ?, updated_at = ? WHERE id = ?`, millis(warmUntil), d.Release, millis(t.now), d.AppID)
		if err != nil {
			return err
		}
		if _, err := finish(ctx, t, d.ID, landward.StateLive, nil, warning); err != nil {
			return err
		}
		a, err = s.settle(ctx, t, d.AppID)
		return err
	})
	return a, err
}

// Revert makes the release before version current again, because version
// turned out not to work: its deployment becomes failed with f, and the
// settings follow unless a newer release is on its way. CodeConflict: version
// is not current any more, or there is no way back.
func (s *Store) Revert(ctx context.Context, appID int64, version int, f *landward.Failure) (landward.App, error) {
	var a landward.App
	err := s.write(ctx, "revert release", func(t tx) error {
		if f == nil {
			return fmt.Errorf("no failure is given")
		}
		var err error
		if a, err = s.appByID(ctx, t, appID); err != nil {
			return err
		}
		if a.Current != version {
			return conflict("v%d is not current any more: v%d is", version, a.Current)
		}
		if a.Previous == 0 {
			return conflict("there is no release to go back to from v%d", version)
		}
		d, err := deploymentWhere(ctx, t, `app_id = ? AND release = ? AND state = ?`, appID, version, landward.StateLive)
		if err != nil {
			return err
		}
		if _, err := finish(ctx, t, d.ID, landward.StateFailed, f, ""); err != nil {
			return err
		}
		if _, err := t.exec(ctx, `UPDATE apps SET current = previous, previous = 0, warm_until = 0, updated_at = ?
			WHERE id = ?`, millis(t.now), appID); err != nil {
			return err
		}
		if err := s.restoreSettings(ctx, t, appID, version); err != nil {
			return err
		}
		a, err = s.settle(ctx, t, appID)
		return err
	})
	return a, err
}

// EndWarm gives up the way back from version. Nothing happens when version is
// not current any more: the way back is then another release's.
func (s *Store) EndWarm(ctx context.Context, appID int64, version int) error {
	return s.write(ctx, "end warm release", func(t tx) error {
		n, err := t.exec(ctx, `UPDATE apps SET previous = 0, warm_until = 0, updated_at = ?
			WHERE id = ? AND current = ? AND deleted_at = 0`, millis(t.now), appID, version)
		if err != nil || n == 0 {
			return err
		}
		return s.claimDomains(ctx, t, appID)
	})
}

// settle brings the app's claims in line with its releases and returns it.
func (s *Store) settle(ctx context.Context, t tx, appID int64) (landward.App, error) {
	if err := s.claimDomains(ctx, t, appID); err != nil {
		return landward.App{}, err
	}
	return s.appByID(ctx, t, appID)
}
