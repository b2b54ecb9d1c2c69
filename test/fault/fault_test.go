// Package fault kills Landward at every step of a deployment, and everything
// that it leans on, and looks whether what is left is true: one version is
// routed, what the status says is so, nothing is left behind.
package fault

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"landward/client"
	"landward/internal/failpoint"
	"landward/internal/waittest"
	"landward/test/harness"
)

var programs *harness.Programs

func TestMain(m *testing.M) { harness.Main(m, &programs) }

// settled waits until no deployment is open and what runs is what should, and returns the version that serves.
func settled(t *testing.T, s *harness.Server, app string) string {
	t.Helper()
	ctx := context.Background()
	var served string
	waittest.Succeeds(t, "the installation settles", func() error {
		deploys, err := s.Client.Deployments(ctx, app, 50)
		if err != nil {
			return err
		}
		for _, d := range deploys {
			switch d.State {
			case "live", "failed", "cancelled", "superseded":
			default:
				return fmt.Errorf("deployment #%d is %s", d.Number, d.State)
			}
		}
		a, err := s.Client.App(ctx, app)
		if err != nil {
			return err
		}
		code, body := s.Get(app, "/")
		if code != http.StatusOK {
			return fmt.Errorf("the app answers %d %s", code, body)
		}
		served = body
		return reality(t, s, a)
	})
	return served
}

// reality compares what Landward says with what Docker has.
func reality(t *testing.T, s *harness.Server, a client.App) error {
	t.Helper()
	st, err := s.Client.Status(context.Background())
	if err != nil {
		return err
	}
	label := "label=landward.instance=" + st.Instance
	units, err := s.Client.Units(context.Background(), a.Name)
	if err != nil {
		return err
	}
	boxes := strings.Fields(harness.Docker(t, "ps", "-aq", "--filter", label))
	if len(boxes) != 2 || len(units) != 2 {
		return fmt.Errorf("%d containers and %d units, want web.1 and worker.1:\n%s", len(boxes), len(units),
			harness.Docker(t, "ps", "-a", "--filter", label))
	}
	for _, u := range units {
		if u.State != "running" {
			return fmt.Errorf("%s is %s", u.Name, u.State)
		}
	}
	if nets := strings.Fields(harness.Docker(t, "network", "ls", "-q", "--filter", label)); len(nets) != 1 {
		return fmt.Errorf("%d networks", len(nets))
	}
	return nil
}

func newApp(t *testing.T, flags ...string) (*harness.Server, *harness.Repo) {
	t.Helper()
	s := harness.Start(t, programs, flags...)
	repo := s.NewRepo("app")
	repo.Write("Procfile", "web: /app/testapp serve\nworker: /app/testapp work\nrelease: /app/testapp append /data/releases\n")
	repo.Write("landward.yaml", "services:\n  web:\n    volumes: [data:/data]\n")
	repo.Testapp("one", "")
	repo.Push()
	if got := settled(t, s, "app"); got != "one" {
		t.Fatalf("%q serves", got)
	}
	return s, repo
}

// TestKillControl kills control at each failpoint in the middle of a push.
func TestKillControl(t *testing.T) {
	for _, point := range failpoint.Names() {
		t.Run(point, func(t *testing.T) {
			s, repo := newApp(t)
			s.Down()
			once := filepath.Join(s.Data, "once")
			if err := os.WriteFile(once, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			s.Up("LANDWARD_FAILPOINT="+point, "LANDWARD_FAILPOINT_ONCE="+once)
			repo.Testapp("two", "")
			out, pushErr := repo.TryGit("push", "landward", "HEAD:main")
			if point != "reconcile.retiring" && point != "reconcile.committed" && pushErr == nil && !strings.Contains(out, "Deployed") {
				t.Errorf("the push was accepted without a deployment:\n%s", out)
			}
			waittest.Succeeds(t, "the failpoint is hit", func() error {
				if _, err := os.Stat(once); err == nil {
					return fmt.Errorf("%s is still there", once)
				}
				return nil
			})
			s.WaitReady()
			served := settled(t, s, "app")
			if pushErr == nil && served != "two" {
				t.Errorf("the push was accepted, yet %q serves", served)
			}
			a, err := s.Client.App(context.Background(), "app")
			if err != nil {
				t.Fatal(err)
			}
			want := map[bool]string{true: "one", false: "two"}[a.Release == 1]
			if served != want {
				t.Errorf("v%d is called current, %q serves", a.Release, served)
			}
			runs := strings.Count(body(s, "/file?path=/data/releases"), "two")
			if runs > 1 || served == "two" && runs != 1 {
				t.Errorf("the release command of the second version ran %d times", runs)
			}
			repo.Testapp("three", "")
			repo.Push()
			if got := settled(t, s, "app"); got != "three" {
				t.Errorf("after another push %q serves", got)
			}
		})
	}
}

func body(s *harness.Server, path string) string {
	_, b := s.Get("app", path)
	return b
}

// TestKillOthers kills each process in the middle of a push, and all at once.
func TestKillOthers(t *testing.T) {
	for _, role := range []string{"edge", "engine", "control", "all"} {
		t.Run(role, func(t *testing.T) {
			s, repo := newApp(t)
			repo.Testapp("two", "slow 2s")
			push := repo.Command("push", "landward", "HEAD:main")
			if err := push.Start(); err != nil {
				t.Fatal(err)
			}
			waittest.Succeeds(t, "the deployment starts containers", func() error {
				d, err := s.Client.Deployment(context.Background(), "app", 2)
				if err == nil && d.State != "starting" {
					err = fmt.Errorf("it is %s", d.State)
				}
				return err
			})
			if role == "all" {
				s.KillAll()
				s.Up()
			} else {
				s.Kill(role)
			}
			_ = push.Wait()
			s.WaitReady()
			if got := settled(t, s, "app"); got != "two" {
				t.Errorf("%q serves", got)
			}
		})
	}
}

// TestEdgeAlone stops control and engine: apps keep serving, and an edge that
// is restarted then finds its routes by itself.
func TestEdgeAlone(t *testing.T) {
	s, _ := newApp(t)
	s.KillAll()
	if code, _ := s.Get("app", "/"); code != 0 {
		t.Fatalf("something answers with all of Landward killed: %d", code)
	}
	stop := s.Alone("edge")
	defer stop()
	s.WantGet("app", "/", "one")
	stop()
	s.Up()
	if got := settled(t, s, "app"); got != "one" {
		t.Errorf("%q serves", got)
	}
}

// TestDockerRestart restarts the Docker Engine under everything: what served
// serves again, at the same addresses, and deployments work.
func TestDockerRestart(t *testing.T) {
	s, repo := newApp(t)
	restartDocker(t)
	s.WantGet("app", "/", "one")
	if got := settled(t, s, "app"); got != "one" {
		t.Errorf("%q serves", got)
	}
	repo.Testapp("two", "")
	repo.Push()
	if got := settled(t, s, "app"); got != "two" {
		t.Errorf("%q serves", got)
	}
}

// TestReboot kills everything, Docker too, as a power cut does.
func TestReboot(t *testing.T) {
	s, repo := newApp(t)
	s.KillAll()
	restartDocker(t)
	s.Up()
	s.WantGet("app", "/", "one")
	if got := settled(t, s, "app"); got != "one" {
		t.Errorf("%q serves", got)
	}
	repo.Testapp("two", "")
	repo.Push()
	if got := settled(t, s, "app"); got != "two" {
		t.Errorf("%q serves", got)
	}
}

// restartDocker stops dockerd, containers and all, and starts it again by the
// project's own set-up.
func restartDocker(t *testing.T) {
	t.Helper()
	pid, err := os.ReadFile("/var/run/docker.pid")
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(pid)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(n, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	waittest.Succeeds(t, "dockerd has ended", func() error {
		if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", n)); err == nil && filepath.Base(exe) == "dockerd" {
			return fmt.Errorf("%d still runs", n)
		}
		return nil
	})
	if out, err := exec.Command(filepath.Join(harness.Root(), "scripts", "setup"), "run").CombinedOutput(); err != nil {
		t.Fatalf("scripts/setup run: %v\n%s", err, out)
	}
}
