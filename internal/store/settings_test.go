package store_test

import (
	"encoding/base64"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"landward/internal/landward"
	"landward/internal/store"
)

// wantSettings compares settings, for which nothing and empty are the same.
func wantSettings(t *testing.T, what string, got, want landward.Settings) {
	t.Helper()
	normal := func(s landward.Settings) landward.Settings {
		s = s.Clone() // makes every map
		if len(s.Env) == 0 {
			s.Env = nil
		}
		if len(s.Domains) == 0 {
			s.Domains = nil
		}
		return s
	}
	if !reflect.DeepEqual(normal(got), normal(want)) {
		t.Errorf("settings %s: got %+v, want %+v", what, got, want)
	}
}

// allBytes holds every byte that an environment variable can.
func allBytes() string {
	var b []byte
	for c := 1; c < 256; c++ {
		b = append(b, byte(c))
	}
	return string(b)
}

func TestValuesAreByteExact(t *testing.T) {
	w := newWorld(t)
	app := w.app(t, "shop")
	values := []string{
		"", " ", "a=b", `"'$HOME${X}` + "`id`", "line one\nline two\r\n", " spaces around ", `back\slash\n`,
		"<&>\u2028\u2029", "\ufeffbom", "ünïcödé 日本 🚀", "\xff\xfe invalid \x80", allBytes(), strings.Repeat("x", 1<<16),
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		v := make([]byte, rng.IntN(200))
		for i := range v {
			v[i] = byte(1 + rng.IntN(255))
		}
		values = append(values, string(v))
	}
	var env []landward.Var
	for i, v := range values {
		env = append(env, landward.Var{Name: fmt.Sprint("V", i), Value: v, Secret: i%2 == 0})
	}
	want := landward.Settings{Env: env}
	must(w.UpdateSettings(t.Context(), app.ID, func(landward.Settings) (landward.Settings, error) { return want, nil }))
	wantSettings(t, "of the app", must(w.App(t.Context(), app.ID)).Settings, want)
	w.live(t, app.ID, nil)
	w.live(t, app.ID, &landward.Settings{})
	wantSettings(t, "of the release", must(w.Release(t.Context(), app.ID, 1)).Settings, want)
	// Rolled back, and after a restart.
	must(w.Revert(t.Context(), app.ID, 2, &landward.Failure{}))
	reopened := must(open(t, w.dir))
	closed(t, reopened)
	wantSettings(t, "after a rollback and a restart", must(reopened.App(t.Context(), app.ID)).Settings, want)
}

// TestNoPlaintextOnDisk looks for a secret in every byte that the store wrote.
func TestNoPlaintextOnDisk(t *testing.T) {
	const value = "correct-horse-battery-staple"
	dir := t.TempDir()
	s := must(open(t, dir))
	w := &world{Store: s, dir: dir}
	app := must(s.CreateApp(t.Context(), "shop", ada))
	settings := landward.Settings{Env: []landward.Var{{Name: "PASSWORD", Value: value, Secret: true}, {Name: "PLAIN", Value: value}}}
	must(s.UpdateSettings(t.Context(), app.ID, func(landward.Settings) (landward.Settings, error) { return settings, nil }))
	_, d, err := s.CreateRelease(t.Context(), store.NewRelease{AppID: app.ID, DeploymentID: must(s.CreateDeployment(t.Context(), store.NewDeployment{AppID: app.ID, State: landward.StateBuilding})).ID})
	check(t, err)
	must(s.Commit(t.Context(), d.ID, d.CreatedAt, ""))

	look := func(when string) {
		t.Helper()
		wrote, marker := 0, false
		check(t, filepath.WalkDir(w.dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			wrote += len(data)
			marker = marker || strings.Contains(string(data), "app.create")
			for _, form := range []string{value, base64.StdEncoding.EncodeToString([]byte(value)), "PASSWORD"} {
				if strings.Contains(string(data), form) {
					t.Errorf("%s: %s holds %q", when, filepath.Base(path), form)
				}
			}
			return nil
		}))
		if wrote == 0 || !marker {
			t.Fatalf("%s: the test looks in the wrong place", when)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "landward.db-wal")); err != nil {
		t.Fatalf("there is no log to look into: %v", err)
	}
	look("while open")
	check(t, s.Close())
	look("after closing")
}

func TestSettingsCannotBeMoved(t *testing.T) {
	w := newWorld(t)
	shop, blog := w.app(t, "shop"), w.app(t, "blog")
	if _, err := w.raw(t).Exec(`UPDATE apps SET settings = (SELECT settings FROM apps WHERE id = ?) WHERE id = ?`, shop.ID, blog.ID); err != nil {
		t.Fatal(err)
	}
	must(w.App(t.Context(), shop.ID))
	_, err := w.App(t.Context(), blog.ID)
	wantReadable(t, err, landward.CodeInternal, "moved")
}
