// Package harness starts whole installations of Landward for tests that need
// the real thing: the built program, its three processes, real git and real
// Docker. It must never reach into the program: what a user cannot see, a test
// of this kind does not look at.
package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"landward/client"
	"landward/internal/waittest"
)

// Root returns the folder of the checkout.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}

// built are the programs that this test process has built.
type built struct {
	once sync.Once
	path string
	err  error
}

// Programs are the binaries under test, built once for all tests of a package.
type Programs struct {
	dir      string
	landward built
	testapp  built
}

// NewPrograms returns the binaries, to be built in dir when they are first
// wanted.
func NewPrograms(dir string) *Programs { return &Programs{dir: dir} }

func (p *Programs) build(b *built, name, pkg string, args ...string) (string, error) {
	b.once.Do(func() {
		b.path = filepath.Join(p.dir, name)
		cmd := exec.Command("go", append(append([]string{"build", "-o", b.path}, args...), pkg)...)
		cmd.Dir = Root()
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			b.err = fmt.Errorf("build %s: %w\n%s", name, err, out)
		}
	})
	return b.path, b.err
}

// Landward returns the path of the program, built with failpoints.
func (p *Programs) Landward(t testing.TB) string {
	t.Helper()
	path, err := p.build(&p.landward, "landward", "./cmd/landward", "-tags", "failpoints")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Testapp returns the path of the app that behaves as it is told.
func (p *Programs) Testapp(t testing.TB) string {
	t.Helper()
	path, err := p.build(&p.testapp, "testapp", "./test/testapp", "-ldflags=-s -w")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Server is one running installation.
type Server struct {
	Data     string
	HTTP     string // host:port
	HTTPS    string // likewise, with TLS
	SSH      string // host:port
	Domain   string
	Client   *client.Client // as root
	programs *Programs
	t        testing.TB
	args     []string
	log      *waittest.Buffer
	key      string

	mu  sync.Mutex
	cmd *exec.Cmd
	end chan struct{}
}

// Main runs a package's tests with programs that are built once for all of them.
func Main(m *testing.M, into **Programs) {
	dir, err := os.MkdirTemp("", "landward-test-")
	if err != nil {
		panic(err)
	}
	*into = NewPrograms(dir)
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// Start starts an installation with settings of its own and removes everything
// it made at the end of the test.
func Start(t testing.TB, p *Programs, flags ...string) *Server {
	t.Helper()
	NeedDocker(t)
	data, err := os.MkdirTemp("", "lw-") // short: unix sockets have short names
	if err != nil {
		t.Fatal(err)
	}
	host := waittest.Loopback()
	s := &Server{
		Data: data, HTTP: FreePort(t, host), HTTPS: FreePort(t, host), SSH: FreePort(t, host), Domain: "localhost",
		programs: p, t: t, log: &waittest.Buffer{},
	}
	s.args = append([]string{
		"serve", "--data", data, "--domain", s.Domain, "--http", s.HTTP, "--https", s.HTTPS, "--ssh", s.SSH,
		"--warm", "2s", "--drain-limit", "5s", "--build-disk-free", "512M",
	}, flags...)
	t.Cleanup(func() { s.purge() })
	s.Up()
	s.Client = client.NewUnix(filepath.Join(data, "run", "control.sock"))
	s.makeKey()
	return s
}

// Up starts the installation and waits until it answers.
func (s *Server) Up(env ...string) {
	s.t.Helper()
	cmd := exec.Command(s.programs.Landward(s.t), s.args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = s.log, s.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	end := make(chan struct{})
	go func() { _ = cmd.Wait(); close(end) }()
	s.mu.Lock()
	s.cmd, s.end = cmd, end
	s.mu.Unlock()
	s.WaitReady()
}

// WaitReady waits until all three processes answer.
func (s *Server) WaitReady() {
	s.t.Helper()
	c := client.NewUnix(filepath.Join(s.Data, "run", "control.sock"))
	defer c.Close()
	s.Eventually("all processes answer", func() error {
		st, err := c.Status(context.Background())
		if err != nil {
			return err
		}
		for _, p := range st.Components {
			if p.State == "down" {
				return fmt.Errorf("%s is %s: %s", p.Name, p.State, p.Message)
			}
		}
		return nil
	})
}

// Down stops the installation as an operator would.
func (s *Server) Down() {
	s.mu.Lock()
	cmd, end := s.cmd, s.end
	s.mu.Unlock()
	_ = cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-end:
	case <-time.After(time.Minute):
		s.t.Errorf("landward does not stop; its log:\n%s", s.Log())
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-end
	}
}

// Pids returns the process ids of a role ("edge", "control", "engine") of this installation.
func (s *Server) Pids(role string) []int {
	s.mu.Lock()
	parent := s.cmd.Process.Pid
	s.mu.Unlock()
	var pids []int
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue
		}
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		cmdline, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil || len(fields) < 2 || fields[1] != strconv.Itoa(parent) {
			continue
		}
		if args := strings.Split(string(cmdline), "\x00"); len(args) > 1 && args[1] == role {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Roll asks the supervisor for a new edge in the place of the one that runs.
func (s *Server) Roll() {
	s.t.Helper()
	s.mu.Lock()
	supervisor := s.cmd.Process
	s.mu.Unlock()
	if err := supervisor.Signal(syscall.SIGUSR2); err != nil {
		s.t.Fatal(err)
	}
}

// Kill kills a role's process as kill -9 does.
func (s *Server) Kill(role string) {
	s.t.Helper()
	pids := s.Pids(role)
	if len(pids) == 0 {
		s.t.Fatalf("no process %s", role)
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			s.t.Fatal(err)
		}
	}
}

// KillAll kills supervisor and processes at once.
func (s *Server) KillAll() {
	s.mu.Lock()
	cmd, end := s.cmd, s.end
	s.mu.Unlock()
	pids := []int{cmd.Process.Pid}
	for _, role := range []string{"control", "engine", "edge"} {
		pids = append(pids, s.Pids(role)...)
	}
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	<-end
}

// Log returns what the installation has written so far.
func (s *Server) Log() string { return s.log.String() }

func (s *Server) purge() {
	s.Down()
	cmd := exec.Command(s.programs.Landward(s.t), "purge", "--data", s.Data, "--yes")
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Errorf("purge: %v\n%s", err, out)
	}
	_ = os.RemoveAll(s.Data)
	if s.t.Failed() {
		s.t.Logf("landward's log:\n%s", s.Log())
	}
}

// CLI runs a command as root and returns its output; it must succeed.
func (s *Server) CLI(args ...string) string {
	s.t.Helper()
	out, err := s.TryCLI(nil, args...)
	if err != nil {
		s.t.Fatalf("landward %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// TryCLI runs a command as root.
func (s *Server) TryCLI(stdin io.Reader, args ...string) (string, error) {
	cmd := exec.Command(s.programs.Landward(s.t), args...)
	cmd.Env = append(os.Environ(), "LANDWARD_DATA="+s.Data)
	cmd.Dir = s.Data
	cmd.Stdin = stdin
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// URL returns the address of a path on a host of the installation's domain.
func (s *Server) request(ctx context.Context, app, path string) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.HTTP+path, nil)
	if err == nil {
		req.Host = app + "." + s.Domain
		if strings.Contains(app, ".") {
			req.Host = app
		}
	}
	return req, err
}

// Get asks an app for a path and returns status and body; status 0 is an error
// of the connection.
func (s *Server) Get(app, path string) (int, string) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	req, err := s.request(ctx, app, path)
	if err != nil {
		return 0, err.Error()
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, strings.TrimSpace(string(b))
}

// WantGet asks until the app answers 200 with the body, or fails.
func (s *Server) WantGet(app, path, body string) {
	s.t.Helper()
	s.Eventually(app+path+" says "+body, func() error {
		if code, got := s.Get(app, path); code != http.StatusOK || got != body {
			return fmt.Errorf("%d %q", code, got)
		}
		return nil
	})
}

// Eventually asks until there is no error, or fails with the last one.
func (s *Server) Eventually(what string, ask func() error) {
	s.t.Helper()
	waittest.Succeeds(s.t, what, ask)
}

// FreePort returns an address with a port that nobody uses at that host.
func FreePort(t testing.TB, host string) string {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // only its number was wanted
	return l.Addr().String()
}

// Alone runs one role without the others until stop is called.
func (s *Server) Alone(role string) (stop func()) {
	s.t.Helper()
	cmd := exec.Command(s.programs.Landward(s.t), append([]string{role}, s.args[1:]...)...)
	cmd.Stdout, cmd.Stderr = s.log, s.log
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	return sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
}
