package cert_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"landward/internal/cert"
	"landward/internal/waittest"
)

// away is a CA that never answers.
const away = "https://127.0.0.1:1/dir"

// stored puts a certificate into dir as if the CA had issued it.
func stored(t testing.TB, dir string, ca *testCA, host string) (path string) {
	t.Helper()
	chain, key := ca.issue(t, nil, host)
	certs := filepath.Join(dir, "acme", "127.0.0.1-1-dir", "certs")
	check(t, os.MkdirAll(certs, 0o700))
	path = filepath.Join(certs, host+".pem")
	check(t, os.WriteFile(path, append(bytes.Clone(chain), key...), 0o600))
	return path
}

func TestOldFilesAreRemoved(t *testing.T) {
	dir, ca, c := t.TempDir(), newCA(t, "ca"), &clock{}
	gone, kept := stored(t, dir, ca, "gone.example.com"), stored(t, dir, ca, "kept.example.com")
	left := filepath.Join(filepath.Dir(gone), ".tmp-123")
	check(t, os.WriteFile(left, nil, 0o600))
	c.set(101*time.Hour + 31*24*time.Hour) // a month after their end
	m := manager(t, cert.Options{Dir: dir, Now: c.now, ACME: cert.ACME{Directory: away}})
	m.SetHosts([]cert.Host{{Name: "kept.example.com"}})
	run(t, m)
	waittest.Eventually(t, "the one that nobody wants is removed", func() bool { _, err := os.Stat(gone); return os.IsNotExist(err) })
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Error("what a crash left behind is still there")
	}
	if servedSerial(t, m, "kept.example.com") == "" {
		t.Error("with nothing better an expired certificate must be served")
	}
}

func TestBrokenStateIsSurvived(t *testing.T) {
	dir, ca := t.TempDir(), newCA(t, "ca")
	good, bad := stored(t, dir, ca, "good.example.com"), stored(t, dir, ca, "bad.example.com")
	check(t, os.WriteFile(bad, []byte("x"), 0o600))
	check(t, os.WriteFile(filepath.Join(filepath.Dir(good), "..", "state.json"), []byte("{"), 0o600))
	log := &lines{}
	m := manager(t, cert.Options{Dir: dir, Log: logTo(log), ACME: cert.ACME{Directory: away}})
	m.SetHosts([]cert.Host{{Name: "good.example.com"}, {Name: "bad.example.com"}})
	if _, err := hello(t, m, "good.example.com", ca.pool()); err != nil {
		t.Error(err)
	}
	if servedSerial(t, m, "bad.example.com") != "" {
		t.Error("something is served from a broken file")
	}
	if log.count("bad.example.com") != 1 || log.count("counts begin anew") != 1 {
		t.Errorf("log: %s", log)
	}
}

// TestTimesOfAWrongClock has a next try years ahead, from a clock that was wrong.
func TestTimesOfAWrongClock(t *testing.T) {
	dir := t.TempDir()
	folder := filepath.Join(dir, "acme", "127.0.0.1-1-dir")
	check(t, os.MkdirAll(folder, 0o700))
	state := fmt.Sprintf(`{"hosts":{"a.example.com":{"attempts":3,"error":"old","last_try":%q,"next_try":%q}}}`,
		time.Now().AddDate(5, 0, 0).Format(time.RFC3339), time.Now().AddDate(5, 0, 1).Format(time.RFC3339))
	check(t, os.WriteFile(filepath.Join(folder, "state.json"), []byte(state), 0o600))
	m := manager(t, cert.Options{Dir: dir, ACME: cert.ACME{Directory: away}})
	m.SetHosts([]cert.Host{{Name: "a.example.com"}})
	run(t, m)
	waittest.Eventually(t, "it is tried", func() bool {
		st := statusOf(m, "a.example.com")
		return st.Attempts == 4 && strings.Contains(st.LastError, "does not answer")
	})
}

// TestUnwritableFolder must order nothing: what cannot be counted cannot be
// limited.
func TestUnwritableFolder(t *testing.T) {
	dir := t.TempDir()
	folder := filepath.Join(dir, "acme", "127.0.0.1-1-dir")
	check(t, os.MkdirAll(filepath.Join(folder, "state.json", "x"), 0o700)) // no file can take its place
	log := &lines{}
	m := manager(t, cert.Options{Dir: dir, Log: logTo(log), ACME: cert.ACME{Directory: away}})
	m.SetHosts([]cert.Host{{Name: "a.example.com"}})
	run(t, m)
	waittest.Eventually(t, "the status says why", func() bool {
		return strings.Contains(statusOf(m, "a.example.com").LastError, "cannot be written")
	})
	if log.count("order a certificate") != 0 {
		t.Error("an order was placed")
	}
}

func TestRunOnce(t *testing.T) {
	m := manager(t, cert.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	for range 2 {
		go func() { done <- m.Run(ctx) }()
	}
	if err := <-done; err == nil {
		t.Error("the second is not refused")
	}
	cancel()
	check(t, <-done)
}
