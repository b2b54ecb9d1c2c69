package store_test

import (
	"database/sql"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"landward/internal/landward"
	"landward/internal/store"
	"landward/internal/store/storetest"
)

// world is a store with its clock and its folder, where a second connection
// can look at what is really there.
type world struct {
	*store.Store
	clock *storetest.Clock
	dir   string
	db    *sql.DB // the second connection
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{clock: storetest.NewClock(), dir: t.TempDir()}
	w.Store = storetest.Open(t, w.dir, w.clock.Now)
	return w
}

// raw returns a connection to the database behind the store's back.
func (w *world) raw(t *testing.T) *sql.DB {
	t.Helper()
	if w.db == nil {
		w.db = must(sql.Open("sqlite", "file:"+filepath.Join(w.dir, "landward.db")+"?_pragma=busy_timeout(5000)"))
		closed(t, w.db)
	}
	return w.db
}

// dump returns every row of every table.
func (w *world) dump(t *testing.T) string {
	t.Helper()
	db := w.raw(t)
	var out strings.Builder
	for _, table := range column(t, db, `SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name`) {
		rows, err := db.Query(`SELECT * FROM ` + table)
		if err != nil {
			t.Fatal(err)
		}
		columns, err := rows.Columns()
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			values, into := make([]any, len(columns)), make([]any, len(columns))
			for i := range values {
				into[i] = &values[i]
			}
			if err := rows.Scan(into...); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintln(&out, table, values)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		rows.Close()
	}
	return out.String()
}

func column(t *testing.T, db *sql.DB, query string, args ...any) []string {
	t.Helper()
	rows, err := db.Query(query, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// unchanged checks that fn fails with the code and changes nothing at all.
func (w *world) unchanged(t *testing.T, what string, want landward.Code, fn func() error) {
	t.Helper()
	before := w.dump(t)
	err := fn()
	wantCode(t, what, err, want)
	if after := w.dump(t); after != before {
		t.Errorf("%s: was refused but changed the database\nbefore:\n%s\nafter:\n%s", what, before, after)
	}
}

func wantCode(t *testing.T, what string, err error, want landward.Code) {
	t.Helper()
	if got := landward.CodeOf(err); got != want {
		t.Errorf("%s: code %q (%v), want %q", what, got, err, want)
	}
}

// must is for steps that a test takes for granted: it panics where one fails.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// closed closes c when the test ends.
func closed(t *testing.T, c io.Closer) {
	t.Helper()
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var ada = landward.Actor{Kind: landward.ActorLocal, Name: "ada", Admin: true}

func (w *world) app(t *testing.T, name string) landward.App {
	t.Helper()
	return must(w.CreateApp(t.Context(), name, ada))
}

func (w *world) deployment(t *testing.T, appID int64, state landward.State) landward.Deployment {
	t.Helper()
	return must(w.CreateDeployment(t.Context(), store.NewDeployment{
		AppID: appID, State: state, Source: landward.Source{Kind: landward.SourceGit, Commit: "1a2b3c4d"},
		Actor: ada, Deadline: w.clock.Now().Add(time.Minute),
	}))
}

// released makes a deployment with a release of these settings (nil: the app's).
func (w *world) released(t *testing.T, appID int64, settings *landward.Settings) (landward.Release, landward.Deployment) {
	t.Helper()
	d := w.deployment(t, appID, landward.StateBuilding)
	r, d, err := w.CreateRelease(t.Context(), store.NewRelease{AppID: appID, DeploymentID: d.ID, Settings: settings, Actor: ada})
	check(t, err)
	return r, d
}

// live makes a release of these settings and commits it.
func (w *world) live(t *testing.T, appID int64, settings *landward.Settings) landward.Release {
	t.Helper()
	r, d := w.released(t, appID, settings)
	must(w.Commit(t.Context(), d.ID, w.clock.Now().Add(10*time.Second), ""))
	return r
}

// domains returns the hosts that are claimed, with the app that has each.
func (w *world) domains(t *testing.T) string {
	t.Helper()
	return strings.Join(column(t, w.raw(t), `SELECT app_id || ' ' || host FROM domains ORDER BY app_id, host`), ", ")
}

// race runs fn n times at once and returns how often it succeeded; every
// failure must have the code.
func race(t *testing.T, n int, fails landward.Code, fn func(i int) error) int {
	t.Helper()
	errs := make([]error, n)
	var group sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		group.Go(func() {
			<-start
			errs[i] = fn(i)
		})
	}
	close(start)
	group.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
			continue
		}
		wantCode(t, "the loser", err, fails)
	}
	return won
}
