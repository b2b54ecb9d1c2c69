package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// docker is the distribution's client, whose builds use BuildKit.
const docker = "/usr/bin/docker"

// NeedDocker fails the test where there is no Docker.
func NeedDocker(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs Docker")
	}
	if out, err := exec.Command(docker, "version").CombinedOutput(); err != nil {
		t.Fatalf("needs Docker (scripts/setup test): %v\n%s", err, out)
	}
}

// Docker runs the docker client and returns its output.
func Docker(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.Command(docker, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// makeKey gives the user "dev", an administrator, an SSH key.
func (s *Server) makeKey() {
	s.t.Helper()
	s.key = filepath.Join(s.Data, "id_test")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", s.key).CombinedOutput(); err != nil {
		s.t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	pub, err := os.Open(s.key + ".pub")
	if err != nil {
		s.t.Fatal(err)
	}
	defer pub.Close() //nolint:errcheck // only read
	if out, err := s.TryCLI(pub, "keys", "add", "dev"); err != nil {
		s.t.Fatalf("keys add: %v\n%s", err, out)
	}
}

// Repo is a work tree whose remote is an app.
type Repo struct {
	Dir string
	App string
	s   *Server
	n   int
}

// NewRepo makes a work tree that pushes to the app over SSH.
func (s *Server) NewRepo(app string) *Repo {
	s.t.Helper()
	r := &Repo{Dir: filepath.Join(s.Data, "src-"+app), App: app, s: s}
	if err := os.MkdirAll(r.Dir, 0o700); err != nil {
		s.t.Fatal(err)
	}
	r.Git("init", "-q", "-b", "main")
	r.Git("remote", "add", "landward", fmt.Sprintf("ssh://git@%s/%s", s.SSH, app))
	return r
}

// Git runs git in the work tree; it must succeed.
func (r *Repo) Git(args ...string) string {
	r.s.t.Helper()
	out, err := r.TryGit(args...)
	if err != nil {
		r.s.t.Fatalf("git %s: %v\n%s\nserver:\n%s", strings.Join(args, " "), err, out, r.s.Log())
	}
	return out
}

// Command returns git with the test's key and without the user's settings.
func (r *Repo) Command(args ...string) *exec.Cmd {
	cmd := exec.Command("git", args...)
	cmd.Dir = r.Dir
	cmd.Env = append(os.Environ(),
		"GIT_SSH_COMMAND=ssh -i "+r.s.key+" -o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o LogLevel=ERROR -o UserKnownHostsFile="+r.s.Data+"/known_hosts",
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=Dev", "GIT_AUTHOR_EMAIL=dev@example.com", "GIT_COMMITTER_NAME=Dev", "GIT_COMMITTER_EMAIL=dev@example.com")
	return cmd
}

// TryGit runs git in the work tree.
func (r *Repo) TryGit(args ...string) (string, error) {
	out, err := r.Command(args...).CombinedOutput()
	return string(out), err
}

// Write writes a file of the tree.
func (r *Repo) Write(name, text string) {
	r.s.t.Helper()
	path := filepath.Join(r.Dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // a source tree
		r.s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil { //nolint:gosec // a source tree
		r.s.t.Fatal(err)
	}
}

// Commit commits everything.
func (r *Repo) Commit(message string) {
	r.s.t.Helper()
	r.Git("add", "-A")
	r.Git("commit", "-q", "--allow-empty", "-m", message)
}

// Push pushes main; it must succeed. It returns what the pusher saw.
func (r *Repo) Push() string {
	r.s.t.Helper()
	return r.Git("push", "landward", "HEAD:main")
}

// PushFails pushes main; it must be declined. It returns what the pusher saw.
func (r *Repo) PushFails() string {
	r.s.t.Helper()
	out, err := r.TryGit("push", "landward", "HEAD:main")
	if err == nil {
		r.s.t.Fatalf("the push was accepted:\n%s", out)
	}
	return out
}

// Testapp makes the tree an app that behaves as it is told: a Dockerfile with
// the program and two files that say what to be.
func (r *Repo) Testapp(version, behaviour string) {
	r.s.t.Helper()
	bin := filepath.Join(r.Dir, "testapp")
	if _, err := os.Stat(bin); err != nil {
		b, err := os.ReadFile(r.s.programs.Testapp(r.s.t))
		if err != nil {
			r.s.t.Fatal(err)
		}
		if err := os.WriteFile(bin, b, 0o755); err != nil { //nolint:gosec // a program
			r.s.t.Fatal(err)
		}
		r.Write("Dockerfile", "FROM scratch\nCOPY testapp /app/testapp\nCOPY VERSION BEHAVIOUR /app/\nCMD [\"/app/testapp\", \"serve\"]\n")
	}
	r.Write("VERSION", version+"\n")
	r.Write("BEHAVIOUR", behaviour+"\n")
	r.n++
	r.Commit(fmt.Sprintf("%s %s (%d)", version, behaviour, r.n))
}
