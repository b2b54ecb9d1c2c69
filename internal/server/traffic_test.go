package server_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"landward/client"
	"landward/internal/servertest"
)

// tree makes a tar of files.
func tree(t *testing.T, files map[string]string) *bytes.Buffer {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for name, body := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(body))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &buf
}

func push(t *testing.T, s *servertest.Server, name string, files map[string]string, state string) client.Deployment {
	t.Helper()
	d, err := s.Client.DeployArchive(t.Context(), name, tree(t, files), client.DeployOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if d = s.Ended(name, d.Number); d.State != state {
		t.Fatalf("deployment #%d is %s: %+v", d.Number, d.State, d.Failure)
	}
	return d
}

func create(t *testing.T, s *servertest.Server, name, say string) {
	t.Helper()
	if _, err := s.Client.CreateApp(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	set(t, s, name, "SAY", say)
}

// TestSleep: an app that nobody asks for stops, and the first request starts it
// again and is answered.
func TestSleep(t *testing.T) {
	s := servertest.Start(t)
	create(t, s, "shop", "awake")
	push(t, s, "shop", map[string]string{"Dockerfile": "FROM scratch\n", "landward.yaml": "routes: {idle: {sleep_after: 1s}}\n"}, "live")
	s.WantPage("shop", "awake")
	asleep := func() error {
		list, err := s.Client.Units(t.Context(), "shop")
		if err != nil || len(list) != 1 || list[0].State != client.UnitAsleep {
			return errors.Join(fmt.Errorf("units: %+v", list), err)
		}
		if now, err := s.Client.App(t.Context(), "shop"); err != nil || !now.Asleep || now.Returned < 1<<20 {
			return errors.Join(fmt.Errorf("not asleep: %+v", now), err)
		}
		return nil
	}
	for range 2 {
		s.Eventually("the app sleeps", asleep)
		if code, body := s.Get("shop"); code != http.StatusOK || !strings.HasPrefix(body, "awake|") {
			t.Fatalf("a sleeping app answers %d %q", code, body)
		}
	}
	// What is deployed while it sleeps is what wakes.
	s.Eventually("the app sleeps", asleep)
	set(t, s, "shop", "SAY", "refreshed")
	s.Eventually("the new version answers", func() error {
		if code, body := s.Get("shop"); !strings.HasPrefix(body, "refreshed|") {
			return fmt.Errorf("%d %q", code, body)
		}
		return nil
	})
}

func TestMaintenanceAndPause(t *testing.T) {
	s := servertest.Start(t)
	create(t, s, "shop", "open")
	push(t, s, "shop", map[string]string{"Dockerfile": "FROM scratch\n"}, "live")
	s.WantPage("shop", "open")
	if err := s.Client.SetMaintenance(t.Context(), "shop", client.Maintenance{On: true, Message: "back at nine"}); err != nil {
		t.Fatal(err)
	}
	s.Eventually("the maintenance page", func() error {
		code, body := s.Get("shop")
		if code != http.StatusServiceUnavailable || !strings.Contains(body, "back at nine") {
			return fmt.Errorf("%d %q", code, body)
		}
		return nil
	})
	// A deployment goes on behind it and does not end it.
	push(t, s, "shop", map[string]string{"Dockerfile": "FROM scratch\n", "x": "2"}, "live")
	if code, _ := s.Get("shop"); code != http.StatusServiceUnavailable {
		t.Errorf("after a deployment: %d", code)
	}
	if err := s.Client.SetMaintenance(t.Context(), "shop", client.Maintenance{}); err != nil {
		t.Fatal(err)
	}
	s.WantPage("shop", "open")

	if err := s.Client.Pause(t.Context(), "shop", 0); err != nil {
		t.Fatal(err)
	}
	answer := make(chan string, 1)
	s.Eventually("requests are held", func() error {
		// Until the edge knows, a request is answered at once.
		done := make(chan string, 1)
		go func() {
			_, body := s.Get("shop")
			done <- body
		}()
		select {
		case <-done:
			return errors.New("answered")
		case <-time.After(100 * time.Millisecond):
			go func() { answer <- <-done }()
			return nil
		}
	})
	if err := s.Client.Resume(t.Context(), "shop"); err != nil {
		t.Fatal(err)
	}
	if got := <-answer; !strings.HasPrefix(got, "open|") {
		t.Errorf("a held request got %q", got)
	}
}

// TestStaticSite: files are served without a container, and a rollback brings
// the old ones back.
func TestStaticSite(t *testing.T) {
	s := servertest.Start(t)
	if _, err := s.Client.CreateApp(t.Context(), "site"); err != nil {
		t.Fatal(err)
	}
	page := func(want string) func() error {
		return func() error {
			if code, body := s.Get("site"); code != http.StatusOK || body != want {
				return fmt.Errorf("%d %q, want %q", code, body, want)
			}
			return nil
		}
	}
	push(t, s, "site", map[string]string{"index.html": "one"}, "live")
	s.Eventually("the first version", page("one"))
	push(t, s, "site", map[string]string{"index.html": "two", ".env": "secret"}, "live")
	s.Eventually("the second version", page("two"))
	if n := len(s.Units(1)); n != 0 {
		t.Errorf("a static site has %d containers", n)
	}
	if _, err := s.Client.Rollback(t.Context(), "site", 0); err != nil {
		t.Fatal(err)
	}
	s.Eventually("the first version again", page("one"))
	// From files to an app and back.
	set(t, s, "site", "SAY", "an app")
	push(t, s, "site", map[string]string{"Dockerfile": "FROM scratch\n"}, "live")
	s.WantPage("site", "an app")
	push(t, s, "site", map[string]string{"index.html": "three"}, "live")
	s.Eventually("files again", page("three"))
	s.Eventually("the container has gone", func() error {
		if n := len(s.Units(1)); n != 0 {
			return fmt.Errorf("%d containers", n)
		}
		return nil
	})
}

// TestBadRoutes: what the edge could not follow is refused before anything is
// built.
func TestBadRoutes(t *testing.T) {
	s := servertest.Start(t)
	create(t, s, "shop", "fine")
	push(t, s, "shop", map[string]string{"Dockerfile": "FROM scratch\n"}, "live")
	for _, yaml := range []string{
		"routes: {paths: [{prefix: /api, process: nobody}]}\n",
		"routes: {headers: {set: {Content-Length: '5'}}}\n",
		"routes: {errors: {dir: nowhere}}\n",
		"routes: {auth: {allow: [10.0.0.0/99]}}\n",
	} {
		d := push(t, s, "shop", map[string]string{"Dockerfile": "FROM scratch\n", "landward.yaml": yaml}, "failed")
		if d.Failure == nil || d.Failure.Message == "" {
			t.Errorf("%s: %+v", yaml, d.Failure)
		}
	}
	s.WantPage("shop", "fine")
}

// TestCanaryDeployment: a canary gets its share, and then all; one that fails is
// taken back.
func TestCanaryDeployment(t *testing.T) {
	s := servertest.Start(t)
	create(t, s, "shop", "old")
	files := func(n string) map[string]string {
		return map[string]string{"Dockerfile": "FROM scratch\n", "n": n,
			"landward.yaml": "deploy: {strategy: {canary: {steps: [50], every: 2s, cookie: beta}}}\n"}
	}
	push(t, s, "shop", files("1"), "live")
	s.WantPage("shop", "old")
	set(t, s, "shop", "SAY", "new") // a release by itself, through the same strategy
	seen := map[string]bool{}
	s.Eventually("both versions answer", func() error {
		_, body := s.Get("shop")
		say, _, _ := strings.Cut(body, "|")
		seen[say] = true
		if !seen["old"] || !seen["new"] {
			return fmt.Errorf("seen %v", seen)
		}
		return nil
	})
	s.Eventually("the canary is live", func() error {
		a, err := s.Client.App(t.Context(), "shop")
		if err == nil && a.Release != 2 {
			err = fmt.Errorf("v%d", a.Release)
		}
		return err
	})
	s.WantPage("shop", "new")
}
