package e2e

import (
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"landward/test/harness"
)

func TestConfig(t *testing.T) {
	s := start(t)
	repo := s.NewRepo("conf")
	repo.Testapp("one", "")
	repo.Push()
	const odd = "a b\n\"$HOME\" `id` $(id) ü ;"
	s.CLI("config:set", "-a", "conf", "PLAIN="+odd, "OTHER=x")
	s.WantGet("conf", "/env?name=PLAIN", odd)
	if out, err := s.TryCLI(strings.NewReader("hunter2hunter2"), "config", "set", "-a", "conf", "--secret", "--file", "KEY=-"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s.WantGet("conf", "/file?path=/run/secrets/KEY", "hunter2hunter2")
	s.WantGet("conf", "/env?name=KEY", "")
	if out := s.CLI("config", "-a", "conf"); strings.Contains(out, "hunter2") || !strings.Contains(out, "KEY") {
		t.Errorf("config shows:\n%s", out)
	}
	s.CLI("config:unset", "-a", "conf", "OTHER")
	s.WantGet("conf", "/env?name=OTHER", "")
	s.CLI("rollback", "-a", "conf", "v2")
	s.WantGet("conf", "/env?name=OTHER", "x")
	want(t, s.CLI("config", "diff", "-a", "conf", "v1", "v2"), "OTHER")
}

func TestProcesses(t *testing.T) {
	s := start(t)
	repo := s.NewRepo("procs")
	repo.Write("Procfile", "web: /app/testapp serve\nworker: /app/testapp work\nrelease: /app/testapp append /data/releases\n")
	repo.Write("landward.yaml", "services:\n  web:\n    health: {path: /up}\n    volumes: [data:/data]\n")
	repo.Testapp("one", "")
	want(t, repo.Push(), "Running release command", "web.1, worker.1", "web.1 is healthy: GET /up")
	s.CLI("ps:scale", "-a", "procs", "web=2", "worker=0")
	s.Eventually("two web, no worker", func() error {
		out := s.CLI("ps", "-a", "procs")
		if !strings.Contains(out, "web.2") || strings.Contains(out, "worker") {
			return fmt.Errorf("ps says:\n%s", out)
		}
		return nil
	})
	repo.Testapp("two", "")
	repo.Push()
	s.WantGet("procs", "/file?path=/data/releases", "one\ntwo")
	want(t, s.CLI("logs", "-a", "procs", "-n", "1000"), "app[worker.1]: working 0")
	if out := s.CLI("run", "-a", "procs", "--", "/app/testapp", "echo", "$HOME;", "`id`"); !strings.Contains(out, "$HOME; `id`") {
		t.Errorf("run says %q", out)
	}
	if out, err := s.TryCLI(nil, "run", "-a", "procs", "--", "/app/testapp", "fail", "7"); err == nil || err.(*exec.ExitError).ExitCode() != 7 {
		t.Errorf("a run that exits with 7: %v\n%s", err, out)
	}
	if out := s.CLI("exec", "-a", "procs", "web.1", "--", "/app/testapp", "echo", "inside"); !strings.Contains(out, "inside") {
		t.Errorf("exec says %q", out)
	}
}

// TestFailedRelease is a release command that fails: nothing goes live.
func TestFailedRelease(t *testing.T) {
	s := start(t)
	repo := s.NewRepo("rel")
	repo.Testapp("one", "")
	repo.Push()
	repo.Write("Procfile", "web: /app/testapp serve\nrelease: /app/testapp fail 5\n")
	repo.Testapp("two", "")
	want(t, repo.PushFails(), "Running release command: /app/testapp fail 5", "the release command ended with exit code 5",
		"the disk of cards is missing", "v1 keeps serving", "declined")
	s.WantGet("rel", "/", "one")
}

func TestImages(t *testing.T) {
	s := start(t)
	dir := t.TempDir()
	harness.Docker(t, "build", "-q", "-t", "landward-test/by-hand:1", imageContext(s))
	t.Cleanup(func() { harness.Docker(t, "rmi", "-f", "landward-test/by-hand:1") })
	out, err := exec.Command("/usr/bin/docker", "save", "-o", dir+"/image.tar", "landward-test/by-hand:1").CombinedOutput()
	if err != nil {
		t.Fatalf("save: %v\n%s", err, out)
	}
	s.CLI("apps", "create", "img")
	want(t, s.CLI("deploy", "-a", "img", "--image-archive", dir+"/image.tar"), "-----> Loading image", "=====> Deployed img v1")
	s.WantGet("img", "/", "none")
	s.CLI("apps", "create", "byref")
	want(t, s.CLI("deploy", "-a", "byref", "--image", "landward-test/by-hand:1"), "-----> Pulling landward-test/by-hand:1",
		"the copy on this host is used", "=====> Deployed byref v1")
	s.WantGet("byref", "/", "none")
	if out, err := s.TryCLI(nil, "deploy", "-a", "byref", "--image", "landward-test/no-such:1"); err == nil || !strings.Contains(out, "landward-test/no-such:1") {
		t.Errorf("an image that is nowhere: %v\n%s", err, out)
	}
	s.WantGet("byref", "/", "none")
}

// imageContext makes a folder with the test app and its Dockerfile.
func imageContext(s *harness.Server) string {
	repo := s.NewRepo("ctx")
	repo.Testapp("none", "")
	return repo.Dir
}

func TestUpload(t *testing.T) {
	s := start(t)
	repo := s.NewRepo("up")
	repo.Testapp("uploaded", "")
	repo.Write(".gitignore", "secret.txt\n")
	repo.Write("secret.txt", "x")
	repo.Write("Dockerfile", "FROM scratch\nCOPY . /app/\nCMD [\"/app/testapp\", \"serve\"]\n")
	s.CLI("apps", "create", "up")
	want(t, s.CLI("deploy", repo.Dir, "-a", "up"), "=====> Deployed up v1")
	s.WantGet("up", "/", "uploaded")
	if code, _ := s.Get("up", "/file?path=/app/secret.txt"); code != http.StatusNotFound {
		t.Errorf("an ignored file was uploaded: %d", code)
	}
	want(t, s.CLI("plan", repo.Dir), "Dockerfile")
}

func TestDomains(t *testing.T) {
	s := start(t)
	for _, app := range []string{"first", "second"} {
		repo := s.NewRepo(app)
		repo.Testapp(app, "")
		repo.Push()
	}
	s.CLI("domains", "add", "-a", "first", "Shop.Example.COM.")
	s.WantGet("shop.example.com", "/", "first")
	if out, err := s.TryCLI(nil, "domains", "add", "-a", "second", "shop.example.com"); err == nil || !strings.Contains(out, "shop.example.com") {
		t.Errorf("a domain was given away twice: %v\n%s", err, out)
	}
	s.CLI("rollback", "-a", "first", "v1")
	s.Eventually("the domain is gone with the release that had it", func() error {
		if code, body := s.Get("shop.example.com", "/"); code != http.StatusNotFound {
			return fmt.Errorf("%d %s", code, body)
		}
		return nil
	})
}
