package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"landward/internal/landward"
)

// NewDeployment is what CreateDeployment needs to know.
type NewDeployment struct {
	AppID    int64
	State    landward.State // the one it starts in
	Source   landward.Source
	Actor    landward.Actor
	Deadline time.Time // of that state
}

const deploymentColumns = `id, app_id, number, state, source, actor, release, failure, warning, deadline,
	superseded_by, created_at, started_at, finished_at`

func scanDeployment(row scanner) (landward.Deployment, error) {
	var d landward.Deployment
	var source, actor, failure []byte
	var deadline, created, started, finished int64
	err := row.Scan(&d.ID, &d.AppID, &d.Number, &d.State, &source, &actor, &d.Release, &failure, &d.Warning,
		&deadline, &d.SupersededBy, &created, &started, &finished)
	if err != nil {
		return landward.Deployment{}, err
	}
	if d.Source, err = landward.ParseJSON[landward.Source](source); err != nil {
		return landward.Deployment{}, fmt.Errorf("decode source of deployment %d: %w", d.ID, err)
	}
	if d.Actor, err = landward.ParseJSON[landward.Actor](actor); err != nil {
		return landward.Deployment{}, fmt.Errorf("decode actor of deployment %d: %w", d.ID, err)
	}
	if d.Failure, err = landward.ParseJSON[*landward.Failure](failure); err != nil {
		return landward.Deployment{}, fmt.Errorf("decode failure of deployment %d: %w", d.ID, err)
	}
	d.Deadline, d.CreatedAt, d.StartedAt, d.FinishedAt = moment(deadline), moment(created), moment(started), moment(finished)
	return d, nil
}

func deploymentWhere(ctx context.Context, q queryer, where string, args ...any) (landward.Deployment, error) {
	d, err := scanDeployment(q.QueryRowContext(ctx, `SELECT `+deploymentColumns+` FROM deployments WHERE `+where, args...))
	if errors.Is(err, sql.ErrNoRows) {
		err = notFound("there is no such deployment").WithHint("`landward deploys` lists them")
	}
	return d, err
}

// openDeployment is the deployment, or CodeConflict when it has ended.
func openDeployment(ctx context.Context, t tx, id int64) (landward.Deployment, error) {
	d, err := deploymentWhere(ctx, t, `id = ?`, id)
	if err == nil && !d.FinishedAt.IsZero() {
		err = conflict("deployment #%d has ended: %s", d.Number, d.State)
	}
	return d, err
}

// CreateDeployment records a new deployment; its number is the app's highest
// plus one. A queued one takes the place of every other that is still queued.
func (s *Store) CreateDeployment(ctx context.Context, n NewDeployment) (landward.Deployment, error) {
	var d landward.Deployment
	err := s.write(ctx, "create deployment", func(t tx) error {
		if n.State.Ended() || n.State == "" {
			return fmt.Errorf("a deployment cannot start as %q", n.State)
		}
		if _, err := s.appByID(ctx, t, n.AppID); err != nil {
			return err
		}
		source, err := json.Marshal(n.Source)
		if err != nil {
			return fmt.Errorf("encode source: %w", err)
		}
		actor, err := json.Marshal(n.Actor)
		if err != nil {
			return fmt.Errorf("encode actor: %w", err)
		}
		started := t.now
		if n.State == landward.StateQueued {
			started = time.Time{}
		}
		d, err = scanDeployment(t.QueryRowContext(ctx, `INSERT INTO deployments
			(app_id, number, state, source, actor, deadline, created_at, started_at)
			VALUES (?1, (SELECT coalesce(max(number), 0) + 1 FROM deployments WHERE app_id = ?1), ?2, ?3, ?4, ?5, ?6, ?7)
			RETURNING `+deploymentColumns,
			n.AppID, n.State, string(source), string(actor), millis(n.Deadline), millis(t.now), millis(started)))
		if err != nil || n.State != landward.StateQueued {
			return err
		}
		return supersede(ctx, t, d, landward.StateQueued)
	})
	return d, err
}

// supersede ends all other deployments of d's app that are in one of states.
func supersede(ctx context.Context, t tx, d landward.Deployment, states ...landward.State) error {
	for _, state := range states {
		_, err := t.exec(ctx, `UPDATE deployments SET state = ?, superseded_by = ?, finished_at = ?
			WHERE app_id = ? AND id <> ? AND state = ? AND finished_at = 0`,
			landward.StateSuperseded, d.Number, millis(t.now), d.AppID, d.ID, state)
		if err != nil {
			return err
		}
	}
	return nil
}

// Deployment returns a deployment. CodeNotFound: there is none.
func (s *Store) Deployment(ctx context.Context, id int64) (landward.Deployment, error) {
	d, err := deploymentWhere(ctx, s.reader, `id = ?`, id)
	if err != nil {
		return d, fmt.Errorf("read deployment: %w", readable(err))
	}
	return d, nil
}

// DeploymentByNumber returns an app's deployment. CodeNotFound: there is none.
func (s *Store) DeploymentByNumber(ctx context.Context, appID int64, number int) (landward.Deployment, error) {
	d, err := deploymentWhere(ctx, s.reader, `app_id = ? AND number = ?`, appID, number)
	if err != nil {
		return d, fmt.Errorf("read deployment: %w", readable(err))
	}
	return d, nil
}

// Deployments returns an app's deployments, newest first. limit 0 means all.
func (s *Store) Deployments(ctx context.Context, appID int64, limit int) ([]landward.Deployment, error) {
	return s.deployments(ctx, `app_id = ? ORDER BY number DESC LIMIT ?`, appID, rowLimit(limit))
}

// OpenDeployments returns the deployments of all apps that have not ended,
// oldest first.
func (s *Store) OpenDeployments(ctx context.Context) ([]landward.Deployment, error) {
	return s.deployments(ctx, `finished_at = 0 ORDER BY id`)
}

func (s *Store) deployments(ctx context.Context, where string, args ...any) ([]landward.Deployment, error) {
	ds, err := list(ctx, s.reader, scanDeployment, `SELECT `+deploymentColumns+` FROM deployments WHERE `+where, args...)
	if err != nil {
		return nil, fmt.Errorf("list deployments: %w", err)
	}
	return ds, nil
}

// Advance moves an open deployment from one of the states in from to another
// open state and sets that state's deadline. It started when it first left
// the queue. CodeConflict: it has ended, or is in none of those states.
func (s *Store) Advance(ctx context.Context, id int64, from []landward.State, to landward.State, deadline time.Time) (landward.Deployment, error) {
	var d landward.Deployment
	err := s.write(ctx, "advance deployment", func(t tx) error {
		if to.Ended() || to == "" {
			return fmt.Errorf("a deployment cannot advance to %q", to)
		}
		var err error
		if d, err = openDeployment(ctx, t, id); err != nil {
			return err
		}
		if !slices.Contains(from, d.State) {
			return conflict("deployment #%d is %s", d.Number, d.State)
		}
		d, err = advance(ctx, t, d, to, deadline)
		return err
	})
	return d, err
}

func advance(ctx context.Context, t tx, d landward.Deployment, to landward.State, deadline time.Time) (landward.Deployment, error) {
	if d.StartedAt.IsZero() && to != landward.StateQueued {
		d.StartedAt = t.now
	}
	return scanDeployment(t.QueryRowContext(ctx, `UPDATE deployments SET state = ?, deadline = ?, started_at = ?
		WHERE id = ? RETURNING `+deploymentColumns, to, millis(deadline), millis(d.StartedAt), d.ID))
}

// End puts a deployment into a named end other than live (that is Commit's),
// once: CodeConflict when it has ended. f belongs to a failed one only.
//
// When the deployment had written a release, the app's settings go back to
// those of the release that serves, unless a newer release is on its way.
func (s *Store) End(ctx context.Context, id int64, state landward.State, f *landward.Failure, warning string) (landward.Deployment, error) {
	var d landward.Deployment
	err := s.write(ctx, "end deployment", func(t tx) error {
		if !state.Ended() || state == landward.StateLive || (f != nil) != (state == landward.StateFailed) {
			return fmt.Errorf("a deployment cannot end as %q with failure %v", state, f)
		}
		var err error
		if d, err = openDeployment(ctx, t, id); err != nil {
			return err
		}
		if d, err = finish(ctx, t, id, state, f, warning); err != nil || d.Release == 0 {
			return err
		}
		if err := s.restoreSettings(ctx, t, d.AppID, d.Release); err != nil {
			return err
		}
		return s.claimDomains(ctx, t, d.AppID)
	})
	return d, err
}

func finish(ctx context.Context, t tx, id int64, state landward.State, f *landward.Failure, warning string) (landward.Deployment, error) {
	var failure []byte
	if f != nil {
		var err error
		if failure, err = json.Marshal(f); err != nil {
			return landward.Deployment{}, fmt.Errorf("encode failure: %w", err)
		}
	}
	return scanDeployment(t.QueryRowContext(ctx, `UPDATE deployments SET state = ?, failure = ?, warning = ?, finished_at = ?
		WHERE id = ? RETURNING `+deploymentColumns, state, string(failure), warning, millis(t.now), id))
}
