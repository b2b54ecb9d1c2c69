package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// Fact returns a small fact about the installation, "" when it is not set.
func (s *Store) Fact(ctx context.Context, name string) (string, error) {
	v, err := fact(ctx, s.reader, name)
	if err != nil {
		return "", fmt.Errorf("read fact %s: %w", name, readable(err))
	}
	return v, nil
}

func fact(ctx context.Context, q queryer, name string) (string, error) {
	var v string
	err := q.QueryRowContext(ctx, `SELECT value FROM facts WHERE name = ?`, name).Scan(&v)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return v, err
}

// SetFact sets a fact; "" removes it.
func (s *Store) SetFact(ctx context.Context, name, value string) error {
	return s.write(ctx, "set fact "+name, func(t tx) error { return setFact(ctx, t, name, value) })
}

func setFact(ctx context.Context, t tx, name, value string) error {
	if value == "" {
		_, err := t.exec(ctx, `DELETE FROM facts WHERE name = ?`, name)
		return err
	}
	_, err := t.exec(ctx, `INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value`, name, value)
	return err
}

// NextFact adds one to a fact that is a number (0 when it is not set) and
// returns it. A number is never given out twice, whatever crashes.
func (s *Store) NextFact(ctx context.Context, name string) (int64, error) {
	var n int64
	err := s.write(ctx, "count fact "+name, func(t tx) error {
		return t.QueryRowContext(ctx, `INSERT INTO facts (name, value) VALUES (?, '1')
			ON CONFLICT (name) DO UPDATE SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT)
			RETURNING CAST(value AS INTEGER)`, name).Scan(&n)
	})
	return n, err
}
