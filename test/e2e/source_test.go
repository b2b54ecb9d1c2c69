package e2e

import (
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"landward/test/harness"
)

// copyExample makes the repository's tree a copy of an example's.
func copyExample(t *testing.T, repo *harness.Repo, name string) {
	t.Helper()
	root := os.DirFS(filepath.Join(harness.Root(), "examples", name))
	err := fs.WalkDir(root, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(root, path)
		if err == nil {
			repo.Write(path, string(b))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	repo.Commit("the example " + name)
}

// TestExamples pushes every example as its README says, those without a
// Dockerfile among them.
func TestExamples(t *testing.T) {
	s := start(t)
	for _, tt := range []struct{ name, detected string }{
		{"hello", "Dockerfile app detected: Dockerfile"},
		{"go", "Go app detected: go.mod"},
		{"node", "Node app detected: package.json"},
		{"python", "Python app detected"},
		{"static", "Static app detected: index.html"},
		{"worker", "app detected"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			repo := s.NewRepo("ex-" + tt.name)
			copyExample(t, repo, tt.name)
			out := repo.Push()
			want(t, out, tt.detected, "=====> Deployed")
			if tt.name != "static" { // whose files the edge serves as they are
				want(t, out, "-----> Building app")
			}
			s.Eventually("the example answers", func() error {
				if code, body := s.Get("ex-"+tt.name, "/"); code != http.StatusOK {
					return fmt.Errorf("%d %s", code, body)
				}
				return nil
			})
			if _, err := os.Stat(filepath.Join(repo.Dir, "Dockerfile")); err != nil && tt.name != "static" {
				want(t, s.CLI("plan", repo.Dir, "--dockerfile"), "FROM ")
			}
		})
	}
}

// TestHTTPPush pushes with a token that is bound to one app.
func TestHTTPPush(t *testing.T) {
	s := start(t)
	s.CLI("apps", "create", "mine")
	s.CLI("apps", "create", "other")
	token := ""
	for _, line := range strings.Split(s.CLI("tokens", "create", "ci", "-a", "mine", "--role", "deployer"), "\n") {
		for _, word := range strings.Fields(line) {
			if strings.HasPrefix(word, "lw_") {
				token = word
			}
		}
	}
	if token == "" {
		t.Fatal("tokens create shows no token")
	}
	repo := s.NewRepo("mine")
	repo.Testapp("by http", "")
	host, port, _ := net.SplitHostPort(s.HTTP)
	repo.Git("config", "http.curloptResolve", "landward.localhost:"+port+":"+host)
	url := func(app, token string) string {
		return "http://ci:" + token + "@landward.localhost:" + port + "/git/" + app + ".git"
	}
	want(t, repo.Git("push", url("mine", token), "HEAD:main"), "=====> Deployed mine v1")
	s.WantGet("mine", "/", "by http")
	for name, u := range map[string]string{"another app": url("other", token), "a wrong token": url("mine", "lw_wrong"), "no app": url("nosuch", token)} {
		if out, err := repo.TryGit("push", u, "HEAD:main"); err == nil {
			t.Errorf("a push to %s was accepted:\n%s", name, out)
		}
	}
	clone := filepath.Join(s.Data, "clone")
	repo.Git("-c", "http.curloptResolve=landward.localhost:"+port+":"+host, "clone", "-q", url("mine", token), clone)
	if b, err := os.ReadFile(filepath.Join(clone, "VERSION")); err != nil || string(b) != "by http\n" {
		t.Errorf("the clone says %q, %v", b, err)
	}
}

// TestCancel cancels a build that hangs, and a push that hangs up goes on.
func TestCancel(t *testing.T) {
	s := start(t)
	repo := s.NewRepo("hang")
	repo.Write("Dockerfile", "FROM debian:bookworm-slim\nRUN echo hanging-"+filepath.Base(s.Data)+" && sleep 600\n")
	repo.Commit("hang")
	push := repo.Command("push", "landward", "HEAD:main")
	if err := push.Start(); err != nil {
		t.Fatal(err)
	}
	s.Eventually("the build hangs", func() error {
		if out, err := s.TryCLI(nil, "deploys", "output", "1", "-a", "hang"); err != nil || !strings.Contains(out, "hanging-") {
			return fmt.Errorf("%v %s", err, out)
		}
		return nil
	})
	if err := push.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = push.Wait()
	want(t, s.CLI("deploys", "info", "1", "-a", "hang"), "building")
	s.CLI("deploys", "cancel", "1", "-a", "hang")
	want(t, s.CLI("deploys", "info", "1", "-a", "hang"), "cancelled")
	s.Eventually("no build process is left", func() error {
		return noProcess("sleep\x00600\x00")
	})
	repo.Testapp("after", "")
	repo.Write("Dockerfile", "FROM scratch\nCOPY testapp VERSION BEHAVIOUR /app/\nCMD [\"/app/testapp\", \"serve\"]\n")
	repo.Commit("works")
	repo.Push()
	s.WantGet("hang", "/", "after")
}

// noProcess reports a process of this host with that command line.
func noProcess(cmdline string) error {
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return err
	}
	for _, p := range paths {
		if b, err := os.ReadFile(p); err == nil && string(b) == cmdline {
			return fmt.Errorf("%s is still there", p)
		}
	}
	return nil
}

func TestCron(t *testing.T) {
	s := start(t)
	repo := s.NewRepo("cron")
	repo.Write("landward.yaml", "cron:\n  - {name: tick, schedule: \"* * * * *\", command: /app/testapp echo cron says hello}\n")
	repo.Testapp("one", "")
	repo.Push()
	s.Eventually("the job has run", func() error {
		if out := s.CLI("logs", "-a", "cron", "-n", "500"); !strings.Contains(out, "cron says hello") {
			return fmt.Errorf("the log says:\n%s", out)
		}
		return nil
	})
	want(t, s.CLI("cron", "-a", "cron"), "tick")
}

// TestTwoInstances share one Docker and do not touch each other, and apps of
// one cannot reach each other.
func TestTwoInstances(t *testing.T) {
	a, b := start(t), start(t)
	for _, s := range []*harness.Server{a, b} {
		repo := s.NewRepo("same")
		repo.Testapp("of "+filepath.Base(s.Data), "")
		repo.Push()
		s.WantGet("same", "/", "of "+filepath.Base(s.Data))
	}
	repo := a.NewRepo("neighbour")
	repo.Testapp("next door", "")
	repo.Push()
	id := harness.Docker(t, "ps", "-q", "--filter", "label=landward.app_name=neighbour", "--filter", "label=landward.instance="+instanceOf(t, a))
	addr := strings.TrimSpace(harness.Docker(t, "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.Gateway}}{{end}}", id))
	ip, gateway, _ := strings.Cut(addr, " ")
	port := portOf(t, a.HTTP)
	for what, to := range map[string]string{"a neighbour": ip + ":5000", "the host": gateway + ":" + port, "metadata": "169.254.169.254:80"} {
		if code, body := a.Get("same", "/dial?addr="+to); code != http.StatusBadGateway {
			t.Errorf("an app reaches %s at %s: %d %s", what, to, code, body)
		}
	}
	b.CLI("apps", "destroy", "same", "--confirm", "same")
	b.Eventually("nothing of the destroyed app is left", func() error {
		if left := harness.Docker(t, "ps", "-aq", "--filter", "label=landward.instance="+instanceOf(t, b)); left != "" {
			return fmt.Errorf("containers %s", left)
		}
		if left := harness.Docker(t, "network", "ls", "-q", "--filter", "label=landward.instance="+instanceOf(t, b)); left != "" {
			return fmt.Errorf("networks %s", left)
		}
		return nil
	})
	a.WantGet("same", "/", "of "+filepath.Base(a.Data))
}

// TestAppCallsApp by its public name, as everybody does: through the edge, and
// as who it is. Nothing else of the host answers.
func TestAppCallsApp(t *testing.T) {
	web, ssh := harness.FreePort(t, "0.0.0.0"), harness.FreePort(t, "0.0.0.0")
	s := start(t, "--http", web, "--ssh", ssh, "--trusted-proxies", "10.0.0.0/8")
	port, sshPort := portOf(t, web), portOf(t, ssh)
	s.HTTP, s.SSH = "127.0.0.1:"+port, "127.0.0.1:"+sshPort
	var callee *harness.Repo
	for _, name := range []string{"caller", "callee"} {
		repo := s.NewRepo(name)
		if name == "callee" {
			callee = repo
			repo.Write("landward.yaml", "routes:\n  auth: {allow: [10.0.0.0/8, 127.0.0.0/8]}\n")
		}
		repo.Testapp("of "+name, "")
		repo.Push()
		s.WantGet(name, "/", "of "+name)
	}
	id := harness.Docker(t, "ps", "-q", "--filter", "label=landward.app_name=caller", "--filter", "label=landward.instance="+instanceOf(t, s))
	ip, gateway, _ := strings.Cut(strings.TrimSpace(harness.Docker(t, "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.Gateway}}{{end}}", id)), " ")
	fetch := "/fetch?addr=" + gateway + ":" + port + "&host="
	if code, body := s.Get("caller", fetch+"caller.localhost&path=/headers"); code != http.StatusOK || !strings.Contains(body, `"X-Forwarded-For":["`+ip+`"]`) {
		t.Errorf("an app that calls itself gets %d: %s", code, body)
	}
	if code, body := s.Get("caller", fetch+"callee.localhost&path=/"); code != http.StatusForbidden {
		t.Errorf("an app is taken for a client of 10.0.0.0/8: %d %s", code, body)
	}
	callee.Write("landward.yaml", "{}\n")
	callee.Testapp("for all", "")
	callee.Push()
	if code, body := s.Get("caller", fetch+"callee.localhost&path=/"); code != http.StatusOK || !strings.HasPrefix(body, "for all") {
		t.Errorf("an app that calls another gets %d: %s", code, body)
	}
	if code, body := s.Get("caller", "/dial?addr="+gateway+":"+sshPort); code != http.StatusBadGateway {
		t.Errorf("an app reaches the git server of the host: %d %s", code, body)
	}
}

func portOf(t *testing.T, addr string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func instanceOf(t *testing.T, s *harness.Server) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(s.Data, "instance"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// TestForwarded looks at what an app is told about a request.
func TestForwarded(t *testing.T) {
	s := start(t)
	repo := s.NewRepo("fwd")
	repo.Testapp("one", "")
	repo.Push()
	_, body := s.Get("fwd", "/headers")
	want(t, body, `"X-Forwarded-For":["127.0.0.1"]`, `"X-Forwarded-Host":["fwd.localhost`, `"X-Forwarded-Proto":["http"]`)
	if code, body := s.Get("unknown", "/"); code != http.StatusNotFound || strings.Contains(body, "one") {
		t.Errorf("an unknown host answers %d %s", code, body)
	}
	s.CLI("ps:stop", "-a", "fwd")
	s.Eventually("a stopped app says so", func() error {
		if code, body := s.Get("fwd", "/"); code != http.StatusServiceUnavailable || !strings.Contains(strings.ToLower(body), "stopped") {
			return fmt.Errorf("%d %s", code, body)
		}
		return nil
	})
	s.CLI("ps:start", "-a", "fwd")
	s.WantGet("fwd", "/", "one")
	want(t, s.CLI("logs", "-a", "fwd", "--router", "-n", "100"), "router", "status=")
}
