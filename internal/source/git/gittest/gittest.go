// Package gittest is the ground that tests of the git faces stand on: a
// git.Server with a scripted Intake, and work trees that the real git client
// pushes from. It must never be imported outside tests.
package gittest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"landward/internal/landward"
	"landward/internal/source"
	"landward/internal/source/git"
)

// Main runs the tests of a package whose test binary also has to be the hook
// and the recorder of git's command lines.
func Main(m *testing.M) {
	switch {
	case git.IsHook(os.Args[0]):
		os.Exit(git.HookMain(os.Stdin, os.Stdout, os.Stderr, os.Getenv))
	case filepath.Base(os.Args[0]) == "git":
		os.Exit(record())
	}
	os.Exit(m.Run())
}

// Start is one start of git by the code under test.
type Start struct{ Argv, Env []string }

// record notes how it was started and becomes the real git.
func record() int {
	dir := filepath.Dir(os.Args[0])
	real, err := os.ReadFile(filepath.Join(dir, "real"))
	if err != nil {
		panic(err)
	}
	line, err := json.Marshal(Start{Argv: os.Args[1:], Env: os.Environ()})
	if err != nil {
		panic(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "record"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	if _, err := f.Write(append(line, '\n')); err != nil {
		panic(err)
	}
	if err := f.Close(); err != nil {
		panic(err)
	}
	panic(syscall.Exec(string(real), append([]string{"git"}, os.Args[1:]...), os.Environ()))
}

// Fixture is a running git.Server.
type Fixture struct {
	Git    *git.Git
	Server *git.Server
	Intake *Intake
	Dir    string // of the repositories, the hook and the socket
	Log    *slog.Logger
	Stop   func() // ends Run and waits for it; the test's end does so too

	recorder string
}

// New starts a server whose git is recorded.
func New(t testing.TB, limits git.Limits) *Fixture {
	t.Helper()
	// A short path: a socket's name has at most 107 bytes.
	dir, err := os.MkdirTemp("", "lw")
	check(t, err)
	f := &Fixture{Dir: dir, recorder: filepath.Join(dir, "bin"), Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	self, err := os.Executable()
	check(t, err)
	real, err := exec.LookPath("git")
	check(t, err)
	check(t, os.Mkdir(f.recorder, 0o700))
	check(t, os.WriteFile(filepath.Join(f.recorder, "real"), []byte(real), 0o600))
	check(t, os.Symlink(self, filepath.Join(f.recorder, "git")))

	f.Git, err = git.New(filepath.Join(f.recorder, "git"), limits)
	check(t, err)
	f.Intake = &Intake{git: f.Git, dir: filepath.Join(dir, "repos")}
	f.Server = git.NewServer(git.ServerOptions{
		Git: f.Git, Intake: f.Intake, Log: f.Log, Executable: self,
		Socket: filepath.Join(dir, "hook.sock"), HooksDir: filepath.Join(dir, "hooks"),
	})
	check(t, f.Server.Listen())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Server.Run(ctx) }()
	f.Stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(func() {
		f.Stop()
		check(t, os.RemoveAll(dir))
	})
	return f
}

// Starts returns every start of git since the fixture was made.
func (f *Fixture) Starts(t testing.TB) []Start {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(f.recorder, "record"))
	if os.IsNotExist(err) {
		return nil
	}
	check(t, err)
	var out []Start
	for line := range strings.Lines(string(text)) {
		var s Start
		check(t, json.Unmarshal([]byte(line), &s))
		out = append(out, s)
	}
	return out
}

// Intake is a scripted source.Intake. Set its functions before it is used.
type Intake struct {
	// MayOpen decides OpenRepo; nil allows everything.
	MayOpen func(actor landward.Actor, app string, write bool) error
	// OnPush decides Push; nil accepts.
	OnPush func(ctx context.Context, p source.Push, out io.Writer) error

	git *git.Git
	dir string

	mu     sync.Mutex
	pushes []source.Push
	opened []string
}

// Repo is where an app's repository is.
func (in *Intake) Repo(app string) source.Repo {
	return source.Repo{AppID: 1, App: app, Dir: filepath.Join(in.dir, app)}
}

// OpenRepo implements source.Intake.
func (in *Intake) OpenRepo(ctx context.Context, actor landward.Actor, app string, write bool) (source.Repo, error) {
	in.mu.Lock()
	in.opened = append(in.opened, fmt.Sprintf("%s %s %t", actor.Name, app, write))
	in.mu.Unlock()
	if in.MayOpen != nil {
		if err := in.MayOpen(actor, app, write); err != nil {
			return source.Repo{}, err
		}
	}
	repo := in.Repo(app)
	if !write && !git.Exists(repo.Dir) {
		return source.Repo{}, landward.Errorf(landward.CodeNotFound, "there is no app %q", app)
	}
	return repo, in.git.Create(ctx, repo.Dir)
}

// Push implements source.Intake.
func (in *Intake) Push(ctx context.Context, p source.Push, out io.Writer) error {
	in.mu.Lock()
	in.pushes = append(in.pushes, p)
	in.mu.Unlock()
	if in.OnPush != nil {
		return in.OnPush(ctx, p, out)
	}
	return nil
}

// Pushes returns what Push was asked.
func (in *Intake) Pushes() []source.Push {
	in.mu.Lock()
	defer in.mu.Unlock()
	return append([]source.Push(nil), in.pushes...)
}

// Opened returns what OpenRepo was asked: "actor app write".
func (in *Intake) Opened() []string {
	in.mu.Lock()
	defer in.mu.Unlock()
	return append([]string(nil), in.opened...)
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
