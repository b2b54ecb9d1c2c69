package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// CronRun is one time that a cron job was due.
type CronRun struct {
	ID, AppID  int64
	Name       string
	DueAt      time.Time
	State      string // running, done, failed, skipped, lost
	ExitCode   int
	Message    string
	StartedAt  time.Time
	FinishedAt time.Time // zero while it runs
}

// CronRunning is the state of a run that has not ended.
const CronRunning = "running"

// keptCronRuns is how many runs of one job stay on record.
const keptCronRuns = 200

const cronColumns = `id, app_id, name, due_at, state, exit_code, message, started_at, finished_at`

func scanCronRun(row scanner) (CronRun, error) {
	var r CronRun
	var due, started, finished int64
	if err := row.Scan(&r.ID, &r.AppID, &r.Name, &due, &r.State, &r.ExitCode, &r.Message, &started, &finished); err != nil {
		return CronRun{}, err
	}
	r.DueAt, r.StartedAt, r.FinishedAt = moment(due), moment(started), moment(finished)
	return r, nil
}

// StartCron records that a job is due: running, or ended at once in another
// state. It returns false and the first record when that job has one for that time
// already, so that nothing runs twice.
func (s *Store) StartCron(ctx context.Context, appID int64, name string, due time.Time, state string) (CronRun, bool, error) {
	var run CronRun
	var isNew bool
	err := s.write(ctx, "start cron", func(t tx) error {
		finished := int64(0)
		if state != CronRunning {
			finished = millis(t.now)
		}
		n, err := t.exec(ctx, `INSERT INTO cron_runs (app_id, name, due_at, state, started_at, finished_at)
			VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (app_id, name, due_at) DO NOTHING`,
			appID, name, millis(due), state, millis(t.now), finished)
		if dangling(err) {
			return noApp("there is no such app")
		}
		if err != nil {
			return err
		}
		isNew = n == 1
		run, err = scanCronRun(t.QueryRowContext(ctx, `SELECT `+cronColumns+` FROM cron_runs
			WHERE app_id = ? AND name = ? AND due_at = ?`, appID, name, millis(due)))
		if err != nil {
			return err
		}
		_, err = t.exec(ctx, `DELETE FROM cron_runs WHERE app_id = ?1 AND name = ?2 AND finished_at <> 0 AND due_at <
			(SELECT due_at FROM cron_runs WHERE app_id = ?1 AND name = ?2 ORDER BY due_at DESC LIMIT 1 OFFSET ?3)`,
			appID, name, keptCronRuns-1)
		return err
	})
	return run, isNew, err
}

// EndCron ends a running job. CodeConflict when it has ended.
func (s *Store) EndCron(ctx context.Context, id int64, state string, exit int, message string) error {
	return s.write(ctx, "end cron", func(t tx) error {
		n, err := t.exec(ctx, `UPDATE cron_runs SET state = ?, exit_code = ?, message = ?, finished_at = ?
			WHERE id = ? AND finished_at = 0`, state, exit, message, millis(t.now), id)
		if err != nil || n == 1 {
			return err
		}
		var was string
		err = t.QueryRowContext(ctx, `SELECT state FROM cron_runs WHERE id = ?`, id).Scan(&was)
		if errors.Is(err, sql.ErrNoRows) {
			return notFound("there is no such cron run")
		}
		if err != nil {
			return err
		}
		return conflict("the cron run has ended: %s", was)
	})
}

// CronRuns returns an app's runs, newest first. limit 0 means all.
func (s *Store) CronRuns(ctx context.Context, appID int64, limit int) ([]CronRun, error) {
	return s.cronRuns(ctx, `app_id = ? ORDER BY id DESC LIMIT ?`, appID, rowLimit(limit))
}

// RunningCrons returns the runs of all apps that have not ended, oldest first.
func (s *Store) RunningCrons(ctx context.Context) ([]CronRun, error) {
	return s.cronRuns(ctx, `finished_at = 0 ORDER BY id`)
}

func (s *Store) cronRuns(ctx context.Context, where string, args ...any) ([]CronRun, error) {
	runs, err := list(ctx, s.reader, scanCronRun, `SELECT `+cronColumns+` FROM cron_runs WHERE `+where, args...)
	if err != nil {
		return nil, fmt.Errorf("list cron runs: %w", err)
	}
	return runs, nil
}
