//go:build bench

// Package deploy measures what a deployment costs, each figure against the
// same work done by hand in the same run. `make bench` prints the table.
package deploy

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"landward/internal/waittest"
	"landward/test/harness"
)

const (
	rounds = 7
	docker = "/usr/bin/docker"
)

var programs *harness.Programs

func TestMain(m *testing.M) { harness.Main(m, &programs) }

func median(ds []time.Duration) time.Duration {
	s := slices.Sorted(slices.Values(ds))
	return s[len(s)/2]
}

// row prints one line of the table.
func row(what string, ours, theirs time.Duration, bar float64) {
	ratio := float64(ours) / float64(theirs)
	verdict := "ok"
	if ratio > bar {
		verdict = "OVER"
	}
	fmt.Printf("| %-50s | %8s | %8s | %5.2f | %5.2f | %-4s |\n", what,
		ours.Round(time.Millisecond), theirs.Round(time.Millisecond), ratio, bar, verdict)
}

func head() {
	fmt.Printf("| %-50s | %8s | %8s | %5s | %5s |      |\n", "what (medians)", "landward", "by hand", "ratio", "bar")
	fmt.Println("|---|---|---|---|---|---|")
}

// How exactly an answer's first moment is known: often enough to matter little,
// seldom enough to leave the cores to what is measured.
const (
	pollDeploy = 10 * time.Millisecond
	pollSwap   = 2 * time.Millisecond
)

// until asks until the answer is want.
func until(t *testing.T, url, host, want string, every time.Duration) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	for time.Now().Before(deadline) {
		req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		resp, err := client.Do(req)
		if err == nil {
			b := make([]byte, 64)
			n, _ := resp.Body.Read(b)
			_ = resp.Body.Close()
			if strings.TrimSpace(string(b[:n])) == want {
				return
			}
		}
		time.Sleep(every)
	}
	t.Fatalf("%s never said %q", url, want)
}

// byHand builds and runs the tree with the docker client. It returns the times of
// building and of running until the first answer.
func byHand(t *testing.T, dir, version string) (build, run time.Duration) {
	t.Helper()
	begin := time.Now()
	cmd := exec.Command(docker, "build", "-q", "-t", byHandImage, dir)
	cmd.Env = append(os.Environ(), "DOCKER_BUILDKIT=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("docker build: %v\n%s", err, out)
	}
	build = time.Since(begin)
	begin = time.Now()
	id := harness.Docker(t, "run", "-d", "-e", "PORT=5000", "--init", byHandImage)
	addr := harness.Docker(t, "inspect", "-f", "{{.NetworkSettings.IPAddress}}", id)
	until(t, "http://"+addr+":5000/", "", version, pollDeploy)
	run = time.Since(begin)
	harness.Docker(t, "rm", "-f", id)
	return build, run
}

// sourceTree makes the repository what most apps are: a Dockerfile on a base
// image that is there already, and some hundred source files, of which one
// changes.
func sourceTree(t *testing.T, repo *harness.Repo) {
	t.Helper()
	dir := t.TempDir()
	program, err := os.ReadFile(programs.Testapp(t))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "testapp"), program, 0o755) //nolint:gosec // a program
	}
	if err == nil {
		text := "FROM scratch\nCOPY testapp /app/testapp\nCMD [\"/app/testapp\", \"serve\"]\n"
		err = os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(text), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	harness.Docker(t, "build", "-q", "-t", baseImage, dir)
	t.Cleanup(func() { harness.Docker(t, "rmi", "-f", baseImage) })
	repo.Write(".dockerignore", ".git\n")
	repo.Write("Dockerfile", "FROM "+baseImage+"\nCOPY . /app/\n")
	for i := range 300 {
		line := fmt.Sprintf("export const line%d = %d;\n", i, i*7919)
		repo.Write(fmt.Sprintf("src/part%d/module%d.js", i%15, i), strings.Repeat(line, 120))
	}
}

const (
	baseImage   = "landward-bench/base"
	byHandImage = "landward-bench/by-hand"
)

// deployTimes are medians.
type deployTimes struct{ push, hand, rollback, run time.Duration }

// measureDeploys pushes and rolls back, and does the same by hand. change makes
// and commits a version.
func measureDeploys(t *testing.T, s *harness.Server, repo *harness.Repo, change func(version string)) deployTimes {
	t.Helper()
	host := repo.App + ".localhost"
	change("warmup")
	repo.Push()
	_, _ = byHand(t, repo.Dir, "warmup")
	t.Cleanup(func() { harness.Docker(t, "rmi", "-f", byHandImage) })
	var push, hand, rollback, run []time.Duration
	for i := range rounds {
		v := fmt.Sprint("round", i)
		change(v)
		begin := time.Now()
		cmd := repo.Command("push", "-q", "landward", "HEAD:main")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		until(t, "http://"+s.HTTP+"/", host, v, pollDeploy)
		push = append(push, time.Since(begin))
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		settle(t, s, repo.App) // the version before is not ours to measure
		b, r := byHand(t, repo.Dir, v)
		hand, run = append(hand, b+r), append(run, r)
	}
	for i := range rounds {
		// The releases before the last: v1 is the warm-up, so round i is v(i+2).
		target := rounds - i%2
		want := fmt.Sprint("round", target-2)
		begin := time.Now()
		if _, err := s.Client.Rollback(context.Background(), repo.App, target); err != nil {
			t.Fatal(err)
		}
		until(t, "http://"+s.HTTP+"/", host, want, pollDeploy)
		rollback = append(rollback, time.Since(begin))
		settle(t, s, repo.App)
	}
	return deployTimes{median(push), median(hand), median(rollback), median(run)}
}

func TestDeploy(t *testing.T) {
	s := harness.Start(t, programs, "--warm", "1s")
	source := s.NewRepo("bench")
	sourceTree(t, source)
	typical := measureDeploys(t, s, source, func(version string) {
		source.Write("VERSION", version+"\n")
		source.Commit(version)
	})
	binary := s.NewRepo("binary")
	heavy := measureDeploys(t, s, binary, func(version string) { binary.Testapp(version, "") })
	head()
	row("git push, 1 of 300 files changed, until it answers", typical.push, typical.hand, 1.5)
	row("the same, a program of 9 MB in the tree", heavy.push, heavy.hand, 1.5)
	row("rollback (cold) until it answers", typical.rollback, typical.run, 1.3)
	memory(t, s)
}

// settle waits until old containers are gone, so that a rollback starts cold.
func settle(t *testing.T, s *harness.Server, app string) {
	t.Helper()
	waittest.Succeeds(t, "the app settles", func() error {
		units, err := s.Client.Units(context.Background(), app)
		if err == nil && len(units) != 1 {
			err = fmt.Errorf("%d units", len(units))
		}
		return err
	})
}

// memory prints what the processes keep resident. PSS counts a page that they
// share once.
func memory(t *testing.T, s *harness.Server) {
	t.Helper()
	var rss, pss int64
	for _, role := range []string{"edge", "control", "engine"} {
		for _, pid := range s.Pids(role) {
			b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "smaps_rollup"))
			if err != nil {
				t.Fatal(err)
			}
			var r, p int64
			for _, line := range strings.Split(string(b), "\n") {
				_, _ = fmt.Sscanf(line, "Rss: %d kB", &r)
				_, _ = fmt.Sscanf(line, "Pss: %d kB", &p)
			}
			fmt.Printf("memory %-8s %4d MiB resident, %4d MiB proportional\n", role, r>>10, p>>10)
			rss, pss = rss+r, pss+p
		}
	}
	fmt.Printf("memory together %4d MiB resident, %4d MiB proportional\n", rss>>10, pss>>10)
}

// TestZeroDowntime counts failed requests during 20 deployments.
func TestZeroDowntime(t *testing.T) {
	s := harness.Start(t, programs, "--warm", "1s")
	repo := s.NewRepo("load")
	repo.Testapp("v0", "")
	repo.Push()
	var asked, failed atomic.Int64
	ctx, stop := context.WithCancel(context.Background())
	var users sync.WaitGroup
	for i := range 8 {
		users.Go(func() {
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4}, Timeout: 20 * time.Second}
			for ctx.Err() == nil {
				path, body := "/", strings.Repeat("x", 256<<10)
				method := http.MethodGet
				if i%4 == 3 {
					path, method = "/upload", http.MethodPost
				}
				req, err := http.NewRequestWithContext(context.Background(), method, "http://"+s.HTTP+path, strings.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				if method == http.MethodGet {
					req.Body, req.ContentLength = nil, 0
				}
				req.Host = "load.localhost"
				asked.Add(1)
				resp, err := client.Do(req)
				if err != nil {
					failed.Add(1)
					t.Log(err)
					continue
				}
				if resp.StatusCode != http.StatusOK {
					failed.Add(1)
					t.Log(resp.Status)
				}
				_, _ = fmt.Fscan(resp.Body, new(string))
				_ = resp.Body.Close()
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	users.Go(func() { socket(ctx, t, s, &asked, &failed) })
	for i := range 20 {
		repo.Testapp(fmt.Sprint("v", i+1), "")
		repo.Push()
	}
	stop()
	users.Wait()
	fmt.Printf("20 deployments under load: %d requests, %d failed\n", asked.Load(), failed.Load())
	if failed.Load() > 0 {
		t.Errorf("%d of %d requests failed", failed.Load(), asked.Load())
	}
}

// socket talks over a WebSocket and dials again when it is closed as a server
// that goes away should close it (RFC 6455 section 7.4.1); any other end is a
// failure.
func socket(ctx context.Context, t *testing.T, s *harness.Server, asked, failed *atomic.Int64) {
	for ctx.Err() == nil {
		asked.Add(1)
		conn, resp, err := websocket.Dial(ctx, "ws://"+s.HTTP+"/ws", &websocket.DialOptions{Host: "load.localhost"})
		if err != nil {
			if ctx.Err() == nil {
				failed.Add(1)
				t.Log("websocket:", err)
			}
			continue
		}
		if resp.Body != nil {
			_ = resp.Body.Close()
		}
		for err == nil {
			if err = conn.Write(ctx, websocket.MessageText, []byte("ping")); err == nil {
				_, _, err = conn.Read(ctx)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if code := websocket.CloseStatus(err); code != websocket.StatusGoingAway && ctx.Err() == nil {
			failed.Add(1)
			t.Log("websocket:", code, err)
		}
		_ = conn.CloseNow()
	}
}

// TestManyApps compares a deployment with one app and with a hundred.
func TestManyApps(t *testing.T) {
	s := harness.Start(t, programs, "--warm", "1s")
	repo := s.NewRepo("bench")
	repo.Testapp("v0", "")
	repo.Push()
	deploys := func(name string) time.Duration {
		var ds []time.Duration
		for i := range rounds {
			repo.Testapp(fmt.Sprint(name, i), "")
			begin := time.Now()
			repo.Push()
			ds = append(ds, time.Since(begin))
			settle(t, s, "bench")
		}
		return median(ds)
	}
	swaps := func(name string) time.Duration {
		var ds []time.Duration
		for i := range 2 * rounds {
			before := fmt.Sprint(name, "before", i)
			repo.Testapp(before, "")
			repo.Push()
			settle(t, s, "bench")
			repo.Testapp(fmt.Sprint(name, "after", i), "")
			repo.Push()
			begin := time.Now()
			if _, err := s.Client.Rollback(context.Background(), "bench", 0); err != nil {
				t.Fatal(err)
			}
			until(t, "http://"+s.HTTP+"/", "bench.localhost", before, pollSwap)
			ds = append(ds, time.Since(begin))
			settle(t, s, "bench")
		}
		return median(ds)
	}
	one, oneSwap := deploys("one"), swaps("one")
	dir := t.TempDir()
	harness.Docker(t, "build", "-q", "-t", "landward-bench/many", repo.Dir)
	t.Cleanup(func() { harness.Docker(t, "rmi", "-f", "landward-bench/many") })
	harness.Docker(t, "save", "-o", filepath.Join(dir, "many.tar"), "landward-bench/many")
	for i := range 99 {
		app := fmt.Sprintf("app-%d", i)
		s.CLI("apps", "create", app)
		s.CLI("deploy", "-a", app, "--image-archive", filepath.Join(dir, "many.tar"))
	}
	many, manySwap := deploys("many"), swaps("many")
	head()
	row("git push with 100 apps, against 1 app", many, one, 1.2)
	row("warm rollback (a route swap), 100 apps against 1", manySwap, oneSwap, 1.2)
	memory(t, s)
}
