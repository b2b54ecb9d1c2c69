package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// want fails unless text holds every part, in order.
func want(t *testing.T, text string, parts ...string) {
	t.Helper()
	rest := text
	for _, p := range parts {
		i := strings.Index(rest, p)
		if i < 0 {
			t.Errorf("%q is missing, or not in its place, in:\n%s", p, text)
			return
		}
		rest = rest[i+len(p):]
	}
}

// TestPush follows a newcomer: push, see it live, break it, read why, mend it,
// go back.
func TestPush(t *testing.T) {
	s := start(t)
	repo := s.NewRepo("blog")

	repo.Testapp("one", "")
	want(t, repo.Push(), "-----> ", "Dockerfile app detected", "-----> Building app", "-----> Releasing v1", "-----> Starting web.1",
		"web.1 is healthy", "=====> Deployed blog v1", "http://blog.localhost:")
	s.WantGet("blog", "/", "one")

	repo.Testapp("two", "")
	want(t, repo.Push(), "=====> Deployed blog v2")
	s.WantGet("blog", "/", "two")

	for _, tt := range []struct {
		behaviour string
		says      []string
	}{
		{"exit", []string{"web.1 ended with exit code 3", "panic: no database", "v2 keeps serving."}},
		{"loopback", []string{"your app listens on 127.0.0.1:3000; it must listen on 0.0.0.0:$PORT (5000)", "bind to 0.0.0.0"}},
		{"eat", []string{"used more than its 64M of memory", "landward limits set web memory=128M"}},
	} {
		t.Run(tt.behaviour, func(t *testing.T) {
			if tt.behaviour == "eat" {
				s.CLI("limits", "set", "-a", "blog", "web", "memory=64M")
				defer s.CLI("limits", "set", "-a", "blog", "web", "memory=256M")
			}
			repo.Testapp("broken", tt.behaviour)
			out := repo.PushFails()
			want(t, out, append(tt.says[:len(tt.says):len(tt.says)], "pre-receive hook declined")...)
			s.WantGet("blog", "/", "two")
			repo.Git("reset", "-q", "--hard", "HEAD~1")
			shown := s.CLI("deploys", "info", "-a", "blog")
			want(t, shown, tt.says[0])
		})
	}

	t.Run("otherport", func(t *testing.T) {
		repo.Testapp("three", "otherport")
		want(t, repo.Push(), "web.1 listens on 3000, not on $PORT (5000): traffic goes to 3000", "=====> Deployed")
		s.WantGet("blog", "/", "three")
	})

	t.Run("rollback", func(t *testing.T) {
		s.CLI("rollback", "-a", "blog", "v1")
		s.WantGet("blog", "/", "one")
		want(t, s.CLI("releases", "-a", "blog"), "Roll back to v1", "Deploy")
	})
}

// TestDiesLater is a version that answers, goes live and dies: the one before
// serves again.
func TestDiesLater(t *testing.T) {
	s := start(t, "--warm", "20s")
	repo := s.NewRepo("late")
	repo.Testapp("good", "")
	repo.Push()
	s.WantGet("late", "/", "good")
	repo.Testapp("bad", "die 5s")
	want(t, repo.Push(), "=====> Deployed late v2")
	s.Eventually("the deployment is called failed", func() error {
		if out := s.CLI("deploys", "info", "2", "-a", "late"); !strings.Contains(out, "fatal: lost my way") {
			return fmt.Errorf("it says:\n%s", out)
		}
		return nil
	})
	s.WantGet("late", "/", "good")
	want(t, s.CLI("deploys", "info", "2", "-a", "late"), "soon after v2 went live; v1 serves again")
}

func TestBranches(t *testing.T) {
	s := start(t)
	repo := s.NewRepo("branchy")
	repo.Testapp("one", "")
	repo.Push()
	repo.Testapp("side", "")
	want(t, repo.Git("push", "landward", "HEAD:feature"), "-----> Stored. A push to main deploys.")
	s.WantGet("branchy", "/", "one")
	repo.Write("VERSION", "skipped\n")
	repo.Commit("docs only [skip ci]")
	want(t, repo.Push(), "[skip ci]")
	s.WantGet("branchy", "/", "one")
	if out, err := repo.TryGit("push", "landward", ":main"); err == nil {
		t.Errorf("the deploy branch could be deleted:\n%s", out)
	}
	clone := repo.Command("clone", "-q", repo.Git("remote", "get-url", "landward")[:len(repo.Git("remote", "get-url", "landward"))-1], "copy")
	if out, err := clone.CombinedOutput(); err != nil {
		t.Errorf("clone: %v\n%s", err, out)
	}
}

// TestBuildFails shows the failing step's own words.
func TestBuildFails(t *testing.T) {
	s := start(t)
	repo := s.NewRepo("nobuild")
	repo.Write("Dockerfile", "FROM debian:bookworm-slim\nRUN echo compiling && echo 'main.c:7: missing ;' >&2 && exit 9\n")
	repo.Commit("broken build")
	want(t, repo.PushFails(), "main.c:7: missing ;", "exit code 9", "pre-receive hook declined")
	repo.Write("Dockerfile", "FROM debian:bookworm-slim\nRUNN echo\n")
	repo.Commit("typo")
	want(t, repo.PushFails(), "Dockerfile:2", "declined")
	repo.Write("Dockerfile", "FROM debian:bookworm-slim\n")
	repo.Write("landward.yaml", "build:\n  dockerfil: Dockerfile\n")
	repo.Commit("typo in yaml")
	want(t, repo.PushFails(), "landward.yaml:2", "dockerfil", "declined")
	if code, body := s.Get("nobuild", "/"); code != http.StatusServiceUnavailable {
		t.Errorf("an app without a release answers %d %s", code, body)
	}
}
