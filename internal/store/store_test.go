package store_test

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"landward/internal/landward"
	"landward/internal/secret"
	"landward/internal/store"
	"landward/internal/store/storetest"
)

var update = flag.Bool("update", false, "write schema.sql anew")

// TestMigrationsMakeTheSchema compares what the migrations make with
// schema.sql, where the whole can be read in one place.
func TestMigrationsMakeTheSchema(t *testing.T) {
	w := newWorld(t)
	got := strings.Join(column(t, w.raw(t), `SELECT sql FROM sqlite_schema
		WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' AND name NOT LIKE 'goose_%' ORDER BY name`), ";\n\n") + ";\n"
	if *update {
		check(t, os.WriteFile("schema.sql", []byte(got), 0o644))
	}
	want := must(os.ReadFile("schema.sql"))
	if got != string(want) {
		t.Errorf("the migrations make another schema than schema.sql has; if that is right, run: go test ./internal/store -update\n%s", got)
	}
}

func TestOpenAgainKeepsEverything(t *testing.T) {
	dir := t.TempDir()
	clock := storetest.NewClock()
	box := must(secret.LoadOrCreate(filepath.Join(dir, "keys")))
	path := filepath.Join(dir, "landward.db")
	first := must(store.Open(t.Context(), path, box, clock.Now))
	app := must(first.CreateApp(t.Context(), "shop", ada))
	check(t, first.Close())

	second := storetest.Open(t, dir, clock.Now)
	check(t, second.Ping(t.Context()))
	got := must(second.AppByName(t.Context(), "shop"))
	if got.ID != app.ID || !got.CreatedAt.Equal(clock.Now()) {
		t.Errorf("got %+v, want %+v", got, app)
	}
}

func TestFilesAreNobodyElses(t *testing.T) {
	w := newWorld(t)
	w.app(t, "shop")
	for _, name := range []string{"landward.db", "landward.db-wal", "landward.db-shm"} {
		info, err := os.Stat(filepath.Join(w.dir, name))
		check(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %#o, want 0600", name, info.Mode().Perm())
		}
	}
}

func TestPathsWithOddCharacters(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a b?c#d%41&e=ü")
	check(t, os.Mkdir(dir, 0o700))
	storetest.Open(t, dir, time.Now)
	if _, err := os.Stat(filepath.Join(dir, "landward.db-wal")); err != nil {
		t.Errorf("the database is somewhere else: %v", err)
	}
}

func open(t *testing.T, dir string) (*store.Store, error) {
	t.Helper()
	box := must(secret.LoadOrCreate(filepath.Join(dir, "keys")))
	return store.Open(t.Context(), filepath.Join(dir, "landward.db"), box, time.Now)
}

// wantReadable checks that an error tells a person what to do.
func wantReadable(t *testing.T, err error, code landward.Code, says string) {
	t.Helper()
	e := landward.AsError(err)
	if err == nil || e.Code != code || !strings.Contains(e.Message, says) || e.Hint == "" {
		t.Errorf("error = %+v, want %s with a hint, saying %q", e, code, says)
	}
}

func TestNotADatabase(t *testing.T) {
	dir := t.TempDir()
	check(t, os.WriteFile(filepath.Join(dir, "landward.db"), []byte(strings.Repeat("not a database ", 1000)), 0o600))
	_, err := open(t, dir)
	wantReadable(t, err, landward.CodeUnavailable, "is not a database")
}

func TestDamagedDatabase(t *testing.T) {
	dir := t.TempDir()
	s := must(open(t, dir))
	for i := range 200 {
		check(t, s.AddEvent(t.Context(), store.Event{Kind: "test", Message: strings.Repeat(fmt.Sprint(i), 100)}))
	}
	check(t, s.Close())
	path := filepath.Join(dir, "landward.db")
	data := must(os.ReadFile(path))
	const page = 4096
	for i := page; i < len(data); i++ { // all but the first page, which lists the tables
		data[i] = 0xa5
	}
	check(t, os.WriteFile(path, data, 0o600))

	s, err := open(t, dir)
	if err == nil {
		_, err = s.Events(t.Context(), 0, 0, 0)
		check(t, s.Close())
	}
	wantReadable(t, err, landward.CodeUnavailable, "damaged")
}

func TestDatabaseOfANewerVersion(t *testing.T) {
	w := newWorld(t)
	_, err := w.raw(t).Exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)`)
	check(t, err)
	_, err = open(t, w.dir)
	wantReadable(t, err, landward.CodeConflict, "newer Landward")
}

func TestBusyDatabase(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for SQLite's busy timeout")
	}
	t.Parallel()
	w := newWorld(t)
	lock := must(w.raw(t).Conn(t.Context()))
	closed(t, lock)
	_, err := lock.ExecContext(t.Context(), `BEGIN IMMEDIATE`)
	check(t, err)
	_, err = w.CreateApp(t.Context(), "shop", ada)
	wantReadable(t, err, landward.CodeUnavailable, "busy")
	_, err = w.Apps(t.Context())
	check(t, err) // who reads does not wait
	_, err = lock.ExecContext(t.Context(), `ROLLBACK`)
	check(t, err)
	w.app(t, "shop")
}

func TestWrongKey(t *testing.T) {
	dir := t.TempDir()
	s := must(open(t, dir))
	must(s.CreateApp(t.Context(), "shop", ada))
	check(t, s.Close())
	check(t, os.RemoveAll(filepath.Join(dir, "keys")))
	s = must(open(t, dir))
	closed(t, s)
	_, err := s.AppByName(t.Context(), "shop")
	wantReadable(t, err, landward.CodeUnavailable, "key")
}

// crashDir tells the test binary that it is the process to be killed.
const crashDir = "LANDWARD_TEST_CRASH_DIR"

// TestCrashWriter is not a test: it is what TestKilledWriter starts and kills.
func TestCrashWriter(t *testing.T) {
	dir := os.Getenv(crashDir)
	if dir == "" {
		t.Skip("only a part of TestKilledWriter")
	}
	s := must(open(t, dir))
	app := must(s.CreateApp(t.Context(), "shop", ada))
	for {
		d := must(s.CreateDeployment(t.Context(), store.NewDeployment{AppID: app.ID, State: landward.StateQueued}))
		fmt.Printf("committed %d\n", d.Number)
	}
}

func TestKilledWriter(t *testing.T) {
	dir := t.TempDir()
	writer := exec.Command(os.Args[0], "-test.run=^TestCrashWriter$", "-test.v")
	writer.Env = append(os.Environ(), crashDir+"="+dir)
	out := must(writer.StdoutPipe())
	check(t, writer.Start())
	lines := bufio.NewScanner(out)
	last := 0
	read := func() bool {
		more := lines.Scan()
		if number, ok := strings.CutPrefix(lines.Text(), "committed "); ok { // the others are the test runner's
			last = must(strconv.Atoi(number))
		}
		return more
	}
	for last < 50 && read() {
	}
	check(t, writer.Process.Kill())
	for read() { // what was committed before the kill came through
	}
	if err := writer.Wait(); err == nil {
		t.Fatal("the writer ended by itself")
	}
	if last < 50 {
		t.Fatalf("the writer got only to %d", last)
	}

	w := &world{Store: must(open(t, dir)), dir: dir}
	closed(t, w)
	app := must(w.AppByName(t.Context(), "shop"))
	all := must(w.Deployments(t.Context(), app.ID, 0))
	// One more may be there: committed, but killed before it was printed.
	if n := len(all); n != last && n != last+1 {
		t.Errorf("%d deployments are left of %d", n, last)
	}
	for i, d := range all {
		if want := len(all) - i; d.Number != want {
			t.Fatalf("number %d is where %d should be", d.Number, want)
		}
		if queued := d.State == landward.StateQueued; queued != (i == 0) {
			t.Errorf("deployment %d is %s: half a transaction", d.Number, d.State)
		}
	}
	if result := column(t, w.raw(t), `PRAGMA integrity_check`); strings.Join(result, "") != "ok" {
		t.Errorf("integrity check: %v", result)
	}
}
