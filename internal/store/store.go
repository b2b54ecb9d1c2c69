// Package store owns Landward's database: what is wanted, who may want it and
// what happened, in one SQLite file. It must never know about Docker, HTTP or
// how a wish is made true; callers get nouns of package landward and never SQL.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"runtime"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// Sealer keeps what is written to disk unreadable without a key that is not in
// the database. The context is bound to the sealed value: it opens under the
// same context only, so a value cannot be moved to another row.
type Sealer interface {
	Seal(plain []byte, context string) ([]byte, error)
	Open(sealed []byte, context string) ([]byte, error)
}

// Store is the database. It is safe for concurrent use. All of its functions
// either change everything that they promise or nothing.
type Store struct {
	writer *sql.DB // one connection: SQLite has one writer, and waiting here is fair
	reader *sql.DB
	sealer Sealer
	now    func() time.Time
}

// Open opens the database at path, makes it when it is missing, and brings its
// tables up to date. now is the clock of everything that is written.
func Open(ctx context.Context, path string, sealer Sealer, now func() time.Time) (*Store, error) {
	// SQLite would make the file readable for everybody; its -wal and -shm
	// files take over the mode of this one.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	s := &Store{sealer: sealer, now: now}
	if s.writer, err = sql.Open("sqlite", dsn(path, "_txlock=immediate")); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	s.writer.SetMaxOpenConns(1)
	if s.reader, err = sql.Open("sqlite", dsn(path, "_pragma=query_only(1)")); err != nil {
		return nil, errors.Join(fmt.Errorf("open database: %w", err), s.writer.Close())
	}
	readers := max(4, runtime.NumCPU())
	s.reader.SetMaxOpenConns(readers)
	s.reader.SetMaxIdleConns(readers)
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open database: %w", readable(err)), s.Close())
	}
	return s, nil
}

func dsn(path, extra string) string {
	return (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath()}).String() +
		"?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)" +
		"&_pragma=foreign_keys(1)&_pragma=journal_size_limit(16777216)&" + extra
}

func (s *Store) prepare(ctx context.Context) error {
	if err := checkSQLite(ctx, s.writer); err != nil {
		return err
	}
	return migrate(ctx, s.writer)
}

// checkSQLite refuses an SQLite whose write-ahead log can be corrupted by a
// reset at the wrong moment, which releases before 3.51.3 can.
func checkSQLite(ctx context.Context, db *sql.DB) error {
	var version string
	if err := db.QueryRowContext(ctx, `SELECT sqlite_version()`).Scan(&version); err != nil {
		return fmt.Errorf("read SQLite version: %w", err)
	}
	var v [3]int
	if _, err := fmt.Sscanf(version, "%d.%d.%d", &v[0], &v[1], &v[2]); err != nil {
		return fmt.Errorf("read SQLite version %q: %w", version, err)
	}
	if least := [3]int{3, 51, 3}; v[0]*1_000_000+v[1]*1000+v[2] < least[0]*1_000_000+least[1]*1000+least[2] {
		return fmt.Errorf("SQLite %s is too old: %d.%d.%d is the first that does not lose data", version, least[0], least[1], least[2])
	}
	return nil
}

// Close closes the database. Nothing may use the store afterwards.
func (s *Store) Close() error {
	// The writer last: closing the last connection folds the log into the file.
	return errors.Join(s.reader.Close(), s.writer.Close())
}

// Ping reports whether the database answers.
func (s *Store) Ping(ctx context.Context) error {
	var one int
	if err := s.reader.QueryRowContext(ctx, `SELECT 1 FROM teams LIMIT 1`).Scan(&one); err != nil {
		return fmt.Errorf("ping database: %w", readable(err))
	}
	return nil
}

// queryer is what reads: the reader pool or a transaction.
type queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// tx is one writing transaction with its own moment in time.
type tx struct {
	*sql.Tx
	now time.Time
}

// exec runs a statement and returns how many rows it changed.
func (t tx) exec(ctx context.Context, query string, args ...any) (int64, error) {
	r, err := t.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// write runs fn in a transaction that is committed when fn returns nil. what
// names the work in the error: "create app". fn must not call the store: there
// is one writing connection, and fn has it.
func (s *Store) write(ctx context.Context, what string, fn func(tx) error) error {
	t, err := s.writer.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", what, readable(err))
	}
	if err := fn(tx{Tx: t, now: s.now()}); err != nil {
		// The rollback's own error says nothing that the first does not.
		_ = t.Rollback()
		return fmt.Errorf("%s: %w", what, readable(err))
	}
	if err := t.Commit(); err != nil {
		return fmt.Errorf("%s: %w", what, readable(err))
	}
	return nil
}

// scanner is a row: *sql.Row or *sql.Rows.
type scanner interface{ Scan(dest ...any) error }

// list runs a query and scans each of its rows.
func list[T any](ctx context.Context, q queryer, scan func(scanner) (T, error), query string, args ...any) ([]T, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, readable(err)
	}
	defer rows.Close()
	var out []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, readable(err)
		}
		out = append(out, v)
	}
	return out, readable(rows.Err())
}

// rowLimit turns a caller's limit into SQL's: nothing or less means no limit.
func rowLimit(n int) int {
	if n <= 0 {
		return -1
	}
	return n
}

// millis is how times are stored: unix milliseconds, 0 for the zero time.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// moment is the reverse of millis, in UTC.
func moment(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
