package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// FinishStep records what a step of a deployment found out, as JSON. Doing it
// again replaces the result.
func (s *Store) FinishStep(ctx context.Context, id int64, step string, result any) error {
	data, err := json.Marshal(result)
	if err != nil {
		return fmt.Errorf("encode result of step %s: %w", step, err)
	}
	return s.write(ctx, "finish step "+step, func(t tx) error {
		_, err := t.exec(ctx, `INSERT INTO deployment_steps (deployment_id, step, result, finished_at) VALUES (?, ?, ?, ?)
			ON CONFLICT (deployment_id, step) DO UPDATE SET result = excluded.result, finished_at = excluded.finished_at`,
			id, step, string(data), millis(t.now))
		if dangling(err) {
			return notFound("there is no such deployment")
		}
		return err
	})
}

// Step reports whether the step is done, and reads what it found out into
// result (a pointer, or nil).
func (s *Store) Step(ctx context.Context, id int64, step string, result any) (done bool, err error) {
	var data []byte
	err = s.reader.QueryRowContext(ctx, `SELECT result FROM deployment_steps WHERE deployment_id = ? AND step = ?`, id, step).Scan(&data)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read step %s: %w", step, readable(err))
	}
	if result != nil {
		if err := json.Unmarshal(data, result); err != nil {
			return false, fmt.Errorf("decode result of step %s: %w", step, err)
		}
	}
	return true, nil
}

// Lease gives an open deployment to owner until then, or prolongs owner's
// lease. It returns false while another owner's lease is still valid, and for a
// deployment that has ended.
func (s *Store) Lease(ctx context.Context, id int64, owner string, until time.Time) (ok bool, err error) {
	err = s.write(ctx, "lease deployment", func(t tx) error {
		n, err := t.exec(ctx, `UPDATE deployments SET lease_owner = ?1, lease_until = ?2
			WHERE id = ?3 AND finished_at = 0 AND (lease_owner IN ('', ?1) OR lease_until <= ?4)`,
			owner, millis(until), id, millis(t.now))
		ok = n == 1
		return err
	})
	return ok && err == nil, err
}
