package store

import (
	"context"
	"fmt"
	"slices"
)

// LiveVersions returns the versions of the app's releases that have been live
// and were not taken back, newest first.
func (s *Store) LiveVersions(ctx context.Context, appID int64) ([]int, error) {
	return s.versions(ctx, "list live releases",
		`SELECT DISTINCT release FROM deployments WHERE app_id = ? AND state = 'live' AND release > 0 ORDER BY release DESC`, appID)
}

// KeptVersions returns the versions whose images must stay: the current and
// the previous release, those that a deployment still works on, and the
// newest n that have been live beside the current one.
func (s *Store) KeptVersions(ctx context.Context, appID int64, n int) ([]int, error) {
	app, err := s.App(ctx, appID)
	if err != nil {
		return nil, err
	}
	keep, err := s.versions(ctx, "list open releases",
		`SELECT release FROM deployments WHERE app_id = ? AND finished_at = 0 AND release > 0`, appID)
	if err != nil {
		return nil, err
	}
	live, err := s.LiveVersions(ctx, appID)
	if err != nil {
		return nil, err
	}
	live = slices.DeleteFunc(live, func(v int) bool { return v == app.Current })
	keep = append(keep, live[:min(n, len(live))]...)
	for _, v := range []int{app.Current, app.Previous} {
		if v != 0 {
			keep = append(keep, v)
		}
	}
	slices.Sort(keep)
	return slices.Compact(keep), nil
}

func (s *Store) versions(ctx context.Context, what, query string, args ...any) ([]int, error) {
	rows, err := s.reader.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, readable(err))
	}
	defer rows.Close() //nolint:errcheck // rows.Err says what matters
	var out []int
	for rows.Next() {
		var v int
		if err := rows.Scan(&v); err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		out = append(out, v)
	}
	return out, rows.Err()
}
