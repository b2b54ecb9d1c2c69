package gittest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Work is a work tree on the client's side, and how its git is run.
type Work struct {
	Dir string
	// Env is added to the client's environment (GIT_SSH_COMMAND and the like).
	Env []string
	t   testing.TB
}

// NewWork makes a work tree with one commit on main.
func NewWork(t testing.TB, env ...string) *Work {
	t.Helper()
	w := &Work{Dir: t.TempDir(), Env: env, t: t}
	w.Must("init", "-q", "-b", "main")
	w.Commit("README.md", "hello\n")
	return w
}

// At is the same client in another folder.
func (w *Work) At(dir string) *Work { return &Work{Dir: dir, Env: w.Env, t: w.t} }

// Cmd prepares the client's git.
func (w *Work) Cmd(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(w.t.Context(), "git", args...)
	cmd.Dir = w.Dir
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + w.Dir, "LANG=C",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com",
		"GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com",
	}, w.Env...)
	return cmd
}

// Run runs the client's git and returns all that it says.
func (w *Work) Run(args ...string) (string, error) {
	out, err := w.Cmd(args...).CombinedOutput()
	return string(out), err
}

// Must is Run that must succeed; it returns trimmed output.
func (w *Work) Must(args ...string) string {
	w.t.Helper()
	out, err := w.Run(args...)
	if err != nil {
		w.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(out)
}

// Write writes a file of the work tree.
func (w *Work) Write(name, text string) {
	w.t.Helper()
	file := filepath.Join(w.Dir, name)
	check(w.t, os.MkdirAll(filepath.Dir(file), 0o700))
	check(w.t, os.WriteFile(file, []byte(text), 0o600))
}

// Commit writes a file, commits everything and returns the hash.
func (w *Work) Commit(name, text string) string {
	w.t.Helper()
	w.Write(name, text)
	w.Must("add", "-A", "-f", "--", ".")
	w.Must("commit", "-q", "-m", "Change "+name)
	return w.Must("rev-parse", "HEAD")
}
