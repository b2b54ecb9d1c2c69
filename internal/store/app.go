package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"landward/internal/landward"
)

// defaultEnvironment is the one that migration 0001 makes.
const defaultEnvironment = 1

const appColumns = `id, environment_id, name, deploy_branch, current, previous, warm_until, stopped, traffic, settings, created_at, updated_at`

func (s *Store) scanApp(row scanner) (landward.App, error) {
	var a landward.App
	var warm, created, updated int64
	var sealed, traffic []byte
	err := row.Scan(&a.ID, &a.EnvironmentID, &a.Name, &a.DeployBranch, &a.Current, &a.Previous,
		&warm, &a.Stopped, &traffic, &sealed, &created, &updated)
	if err != nil {
		return landward.App{}, err
	}
	if a.Settings, err = s.openSettings(sealed, appContext(a.ID)); err != nil {
		return landward.App{}, fmt.Errorf("read settings of app %d: %w", a.ID, err)
	}
	if a.Traffic, err = landward.ParseJSON[landward.Traffic](traffic); err != nil {
		return landward.App{}, fmt.Errorf("decode traffic of app %d: %w", a.ID, err)
	}
	a.WarmUntil, a.CreatedAt, a.UpdatedAt = moment(warm), moment(created), moment(updated)
	return a, nil
}

func (s *Store) appByID(ctx context.Context, q queryer, id int64) (landward.App, error) {
	a, err := s.scanApp(q.QueryRowContext(ctx, `SELECT `+appColumns+` FROM apps WHERE id = ? AND deleted_at = 0`, id))
	if errors.Is(err, sql.ErrNoRows) {
		return a, noApp("there is no such app")
	}
	return a, err
}

func noApp(format string, args ...any) error {
	return notFound(format, args...).WithHint("`landward apps` lists yours; the first push to a new name makes it")
}

// CreateApp makes an app without a release. A user who makes one owns it.
// CodeInvalid: not a name; CodeConflict: the name is taken.
func (s *Store) CreateApp(ctx context.Context, name string, actor landward.Actor) (landward.App, error) {
	if err := landward.CheckAppName(name); err != nil {
		return landward.App{}, err
	}
	var a landward.App
	err := s.write(ctx, "create app", func(t tx) error {
		var id int64
		err := t.QueryRowContext(ctx, `INSERT INTO apps (environment_id, name, settings, created_at, updated_at)
			VALUES (?, ?, x'', ?, ?) RETURNING id`, defaultEnvironment, name, millis(t.now), millis(t.now)).Scan(&id)
		if duplicate(err) {
			return conflict("there is an app called %q already", name).WithHint("choose another name")
		}
		if err != nil {
			return err
		}
		// The settings are sealed for this row, so the row's id comes first.
		if err := s.saveSettings(ctx, t, id, landward.Settings{}); err != nil {
			return err
		}
		if actor.Kind == landward.ActorUser {
			if err := setAppRole(ctx, t, id, actor.ID, landward.RoleOwner); err != nil {
				return err
			}
		}
		e := Event{AppID: id, App: name, Actor: actor, Kind: "app.create", Message: "Created " + name}
		if err := addEvent(ctx, t, e); err != nil {
			return err
		}
		a, err = s.appByID(ctx, t, id)
		return err
	})
	return a, err
}

// App returns an app. CodeNotFound: there is none, or it was deleted.
func (s *Store) App(ctx context.Context, id int64) (landward.App, error) {
	a, err := s.appByID(ctx, s.reader, id)
	if err != nil {
		return landward.App{}, fmt.Errorf("read app: %w", readable(err))
	}
	return a, nil
}

// AppByName returns an app. CodeNotFound: there is none.
func (s *Store) AppByName(ctx context.Context, name string) (landward.App, error) {
	a, err := s.scanApp(s.reader.QueryRowContext(ctx,
		`SELECT `+appColumns+` FROM apps WHERE name = ? AND deleted_at = 0`, name))
	if errors.Is(err, sql.ErrNoRows) {
		err = noApp("there is no app called %q", landward.Printable(name))
	}
	if err != nil {
		return landward.App{}, fmt.Errorf("read app: %w", readable(err))
	}
	return a, nil
}

// Apps returns all apps by name, without the deleted ones.
func (s *Store) Apps(ctx context.Context) ([]landward.App, error) {
	return s.apps(ctx, `deleted_at = 0 ORDER BY name`)
}

// DeletedApps returns the apps that were deleted and are not dropped yet: those
// of which something may be left to remove. Their names are no longer theirs.
func (s *Store) DeletedApps(ctx context.Context) ([]landward.App, error) {
	return s.apps(ctx, `deleted_at <> 0 ORDER BY id`)
}

func (s *Store) apps(ctx context.Context, where string) ([]landward.App, error) {
	apps, err := list(ctx, s.reader, s.scanApp, `SELECT `+appColumns+` FROM apps WHERE `+where)
	if err != nil {
		return nil, fmt.Errorf("list apps: %w", err)
	}
	return apps, nil
}

// SetDeployBranch names the branch whose pushes deploy.
func (s *Store) SetDeployBranch(ctx context.Context, appID int64, branch string) error {
	return s.updateApp(ctx, "set deploy branch", appID, `deploy_branch = ?`, branch)
}

// SetStopped says whether the app's owner wants it to run nothing at all.
func (s *Store) SetStopped(ctx context.Context, appID int64, stopped bool) error {
	return s.updateApp(ctx, "set stopped", appID, `stopped = ?`, stopped)
}

// UpdateTraffic changes what holds for the app's requests, and returns what
// holds then.
func (s *Store) UpdateTraffic(ctx context.Context, appID int64, change func(landward.Traffic) landward.Traffic) (landward.Traffic, error) {
	var now landward.Traffic
	err := s.write(ctx, "set traffic", func(t tx) error {
		a, err := s.appByID(ctx, t, appID)
		if err != nil {
			return err
		}
		now = change(a.Traffic)
		data, err := json.Marshal(now)
		if err != nil {
			return fmt.Errorf("encode traffic: %w", err)
		}
		_, err = t.exec(ctx, `UPDATE apps SET traffic = ?, updated_at = ? WHERE id = ?`, string(data), millis(t.now), appID)
		return err
	})
	return now, err
}

func (s *Store) updateApp(ctx context.Context, what string, appID int64, set string, arg any) error {
	return s.write(ctx, what, func(t tx) error {
		n, err := t.exec(ctx, `UPDATE apps SET `+set+`, updated_at = ? WHERE id = ? AND deleted_at = 0`, arg, millis(t.now), appID)
		if err == nil && n == 0 {
			return noApp("there is no such app")
		}
		return err
	})
}

// MarkAppDeleted deletes an app as far as people can see: its name, domains,
// tokens and roles are gone and its open deployments are cancelled. The row
// stays for the reconciler, until DropApp.
func (s *Store) MarkAppDeleted(ctx context.Context, appID int64) error {
	return s.write(ctx, "delete app", func(t tx) error {
		n, err := t.exec(ctx, `UPDATE apps SET name = name || '#' || id, deleted_at = ?, updated_at = ?
			WHERE id = ? AND deleted_at = 0`, millis(t.now), millis(t.now), appID)
		if err != nil {
			return err
		}
		if n == 0 {
			return noApp("there is no such app")
		}
		for _, table := range []string{"domains", "tokens", "app_roles"} {
			if _, err := t.exec(ctx, `DELETE FROM `+table+` WHERE app_id = ?`, appID); err != nil {
				return err
			}
		}
		_, err = t.exec(ctx, `UPDATE deployments SET state = ?, finished_at = ? WHERE app_id = ? AND finished_at = 0`,
			landward.StateCancelled, millis(t.now), appID)
		return err
	})
}

// DropApp removes a deleted app's row and everything that hangs on it. An app
// that was not deleted, or is gone already, stays as it is: no error.
func (s *Store) DropApp(ctx context.Context, appID int64) error {
	return s.write(ctx, "drop app", func(t tx) error {
		_, err := t.exec(ctx, `DELETE FROM apps WHERE id = ? AND deleted_at <> 0`, appID)
		return err
	})
}
