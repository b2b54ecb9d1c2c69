package gitssh_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"landward/internal/landward"
	"landward/internal/source"
	"landward/internal/source/git"
	"landward/internal/source/git/gittest"
	"landward/internal/source/gitssh"
	"landward/internal/waittest"
)

func TestMain(m *testing.M) { gittest.Main(m) }

// ground is a running SSH server and two people with keys.
type ground struct {
	*gittest.Fixture
	ssh        *gitssh.Server
	addr       string
	ada, admin person
	stopSSH    func()
}

type person struct {
	actor  landward.Actor
	signer ssh.Signer
	file   string // private key
}

func newPerson(t testing.TB, name string) person {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	check(t, err)
	signer, err := ssh.NewSignerFromKey(private)
	check(t, err)
	block, err := ssh.MarshalPrivateKey(private, name)
	check(t, err)
	file := filepath.Join(t.TempDir(), "key")
	check(t, os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
	return person{actor: landward.Actor{Kind: landward.ActorUser, Name: name, Admin: name == "admin"}, signer: signer, file: file}
}

func newGround(t testing.TB, limits git.Limits, tune func(*gitssh.Options)) *ground {
	t.Helper()
	g := &ground{Fixture: gittest.New(t, limits), ada: newPerson(t, "ada"), admin: newPerson(t, "admin")}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	o := gitssh.Options{
		Listener:    l,
		HostKeyFile: filepath.Join(g.Dir, "keys", "ssh_host"),
		Authenticate: func(_ context.Context, fingerprint string, key []byte) (landward.Actor, error) {
			for _, p := range []person{g.ada, g.admin} {
				if bytes.Equal(key, p.signer.PublicKey().Marshal()) && fingerprint == ssh.FingerprintSHA256(p.signer.PublicKey()) {
					return p.actor, nil
				}
			}
			return landward.Actor{}, landward.Errorf(landward.CodeUnauthenticated, "unknown key")
		},
		Intake: g.Intake, Git: g.Server, Log: g.Log,
	}
	if tune != nil {
		tune(&o)
	}
	g.ssh = gitssh.New(o)
	check(t, g.ssh.Listen())
	g.addr = g.ssh.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.ssh.Run(ctx) }()
	g.stopSSH = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(g.stopSSH)
	return g
}

// work is a client whose git uses the real ssh program with p's key.
func (g *ground) work(t testing.TB, p person, more ...string) *gittest.Work {
	t.Helper()
	known := filepath.Join(t.TempDir(), "known_hosts")
	host, port, err := net.SplitHostPort(g.addr)
	check(t, err)
	check(t, os.WriteFile(known, []byte("["+host+"]:"+port+" "+g.ssh.HostKey()), 0o600))
	cmd := "ssh -F /dev/null -o BatchMode=yes -o IdentitiesOnly=yes -o StrictHostKeyChecking=yes" +
		" -o UserKnownHostsFile=" + known + " -i " + p.file + " " + strings.Join(more, " ")
	return gittest.NewWork(t, "GIT_SSH_COMMAND="+cmd)
}

func (g *ground) url(app string) string { return "ssh://git@" + g.addr + "/" + app }

// dial signs in with the Go client.
func (g *ground) dial(t testing.TB, user string, auth ...ssh.AuthMethod) (*ssh.Client, error) {
	t.Helper()
	c, err := ssh.Dial("tcp", g.addr, &ssh.ClientConfig{
		User: user, Auth: auth, HostKeyCallback: ssh.InsecureIgnoreHostKey(), Timeout: 10 * time.Second,
	})
	if err == nil {
		t.Cleanup(func() { _ = c.Close() })
	}
	return c, err
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func contains(t testing.TB, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("no %q in:\n%s", p, text)
		}
	}
}

func TestPushCloneFetch(t *testing.T) {
	g := newGround(t, git.Limits{}, nil)
	g.Intake.OnPush = func(_ context.Context, p source.Push, out io.Writer) error {
		_, err := io.WriteString(out, "-----> Building\n=====> Deployed\x1b[31m\n")
		return err
	}
	w := g.work(t, g.ada)
	out, err := w.Run("push", "-o", "ci.skip", g.url("my-app"), "main")
	if err != nil {
		t.Fatalf("push: %v\n%s", err, out)
	}
	contains(t, out, "remote: -----> Building", "remote: =====> Deployed\uFFFD[31m", "main -> main")
	pushes := g.Intake.Pushes()
	if len(pushes) != 1 {
		t.Fatalf("%d pushes", len(pushes))
	}
	p := pushes[0]
	if p.Actor.Name != "ada" || p.Repo.App != "my-app" || len(p.Options) != 1 || p.Options[0] != "ci.skip" || len(p.Env) != 2 {
		t.Errorf("push = %+v", p)
	}
	if want := w.Must("rev-parse", "main"); len(p.Refs) != 1 || p.Refs[0].New != want || p.Refs[0].Name != "refs/heads/main" {
		t.Errorf("refs = %+v", p.Refs)
	}
	for _, path := range []string{"my-app", "my-app.git"} {
		dir := filepath.Join(t.TempDir(), "clone")
		w.Must("-c", "protocol.version=2", "clone", "-q", g.url(path), dir)
		if got, want := w.At(dir).Must("rev-parse", "HEAD"), w.Must("rev-parse", "main"); got != want {
			t.Errorf("%s: cloned %s, want %s", path, got, want)
		}
	}
	if !strings.Contains(strings.Join(lastEnv(t, g), "\n"), "GIT_PROTOCOL=version=2") {
		t.Error("the client's protocol version did not reach git")
	}
	// A second push, a fetch, and a branch that is deleted.
	w.Commit("a.txt", "a")
	w.Must("push", "-q", g.url("my-app"), "main", "main:refs/heads/side")
	w.Must("fetch", "-q", g.url("my-app"), "side")
	w.Must("push", "-q", g.url("my-app"), ":side")
	if p := g.Intake.Pushes()[2]; p.Env != nil || !p.Refs[0].Deletes() {
		t.Errorf("push of a deletion = %+v", p)
	}
}

func lastEnv(t testing.TB, g *ground) []string {
	starts := g.Starts(t)
	return starts[len(starts)-1].Env
}

func TestDeclined(t *testing.T) {
	g := newGround(t, git.Limits{}, nil)
	g.Intake.OnPush = func(context.Context, source.Push, io.Writer) error {
		return landward.Errorf(landward.CodeFailed, "the build failed").WithCause("exit code 2").WithHint("read the lines above")
	}
	w := g.work(t, g.ada)
	out, err := w.Run("push", g.url("my-app"), "main")
	if err == nil {
		t.Error("the push went through")
	}
	contains(t, out, "remote:  !     the build failed", "remote:  !     exit code 2", "remote:  !     read the lines above",
		"pre-receive hook declined")
	if refs := w.Must("ls-remote", g.url("my-app")); refs != "" {
		t.Errorf("refs moved: %s", refs)
	}
}

// A deployment outlives its pusher, and the refs move at its end.
func TestPusherHangsUp(t *testing.T) {
	g := newGround(t, git.Limits{}, nil)
	asked, release, gone := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	g.Intake.OnPush = func(ctx context.Context, _ source.Push, out io.Writer) error {
		_, _ = io.WriteString(out, "-----> Building\n")
		close(asked)
		<-release
		for range 1000 { // far more than any pipe holds
			_, _ = io.WriteString(out, strings.Repeat("x", 1000)+"\n")
		}
		gone <- ctx.Err()
		return nil
	}
	w := g.work(t, g.ada)
	cmd := w.Cmd("push", g.url("my-app"), "main")
	pipe, err := cmd.StderrPipe()
	check(t, err)
	check(t, cmd.Start())
	<-asked
	// The line arrives while the deployment runs.
	var seen bytes.Buffer
	buf := make([]byte, 256)
	for !strings.Contains(seen.String(), "-----> Building") {
		n, err := pipe.Read(buf)
		check(t, err)
		seen.Write(buf[:n])
	}
	check(t, cmd.Process.Kill())
	_ = cmd.Wait()
	close(release)
	if err := <-gone; err != nil {
		t.Errorf("the deployment's context ended: %v", err)
	}
	waittest.Eventually(t, "the ref moves", func() bool {
		_, err := os.Stat(filepath.Join(g.Intake.Repo("my-app").Dir, "refs", "heads", "main"))
		return err == nil
	})
}

// When Landward stops, the pusher is told and the push declined.
func TestStopDuringPush(t *testing.T) {
	g := newGround(t, git.Limits{}, nil)
	asked := make(chan struct{})
	g.Intake.OnPush = func(ctx context.Context, _ source.Push, _ io.Writer) error {
		close(asked)
		<-ctx.Done()
		return landward.Errorf(landward.CodeUnavailable, "Landward is stopping")
	}
	w := g.work(t, g.ada)
	done := make(chan string, 1)
	go func() {
		out, err := w.Run("push", g.url("my-app"), "main")
		if err == nil {
			out += "\npush went through"
		}
		done <- out
	}()
	<-asked
	g.Stop()
	out := <-done
	contains(t, out, "remote:  !     Landward is stopping", "pre-receive hook declined")
	if _, err := w.Run("push", g.url("my-app"), "main"); err == nil {
		t.Error("a stopped server took a push")
	}
}

func TestRefusedRefs(t *testing.T) {
	g := newGround(t, git.Limits{Refs: 5}, nil)
	w := g.work(t, g.ada)
	w.Must("push", "-q", g.url("my-app"), "main")
	w.Commit("b", "b")
	many := []string{"push", g.url("my-app")}
	for _, n := range strings.Split("a b c d e f", " ") {
		many = append(many, "main:refs/heads/"+n)
	}
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"one forbidden among allowed", []string{"push", g.url("my-app"), "main", "main:refs/hidden/x"}, "neither a branch nor a tag"},
		{"notes", []string{"push", g.url("my-app"), "main:refs/notes/commits"}, "neither a branch nor a tag"},
		{"like an option", []string{"push", g.url("my-app"), "main:refs/heads/--upload-pack=x"}, "is not a name for a branch"},
		{"too many", many, "more than 5 refs"},
		{"deploy branch deleted", []string{"push", g.url("my-app"), ":main"}, "cannot be deleted"},
	}
	before := len(g.Intake.Pushes())
	refs := w.Must("ls-remote", g.url("my-app"))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, err := w.Run(tt.args...)
			if err == nil {
				t.Error("accepted")
			}
			contains(t, out, tt.want, "pre-receive hook declined")
		})
	}
	if n := len(g.Intake.Pushes()); n != before {
		t.Errorf("the Intake was asked %d times", n-before)
	}
	if now := w.Must("ls-remote", g.url("my-app")); now != refs {
		t.Errorf("refs moved:\n%s\nwant\n%s", now, refs)
	}
}

func TestOversizePush(t *testing.T) {
	g := newGround(t, git.Limits{Pack: 64 << 10}, nil)
	w := g.work(t, g.ada)
	noise := make([]byte, 200<<10)
	_, err := io.ReadFull(newNoise(), noise)
	check(t, err)
	w.Commit("big", string(noise))
	out, err := w.Run("push", g.url("my-app"), "main")
	if err == nil {
		t.Error("accepted")
	}
	contains(t, out, "maximum allowed size")
	if len(g.Intake.Pushes()) != 0 {
		t.Error("the Intake was asked")
	}
	left, err := filepath.Glob(filepath.Join(g.Intake.Repo("my-app").Dir, "objects", "tmp_*"))
	check(t, err)
	if len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// newNoise does not compress.
func newNoise() io.Reader {
	key := make([]byte, ed25519.SeedSize)
	return readerFunc(func(p []byte) (int, error) {
		k := ed25519.NewKeyFromSeed(key)
		copy(key, ed25519.Sign(k, key))
		return copy(p, ed25519.Sign(k, key)), nil
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// A client that stops in the middle of a push is put out, and leaves nothing.
func TestSilentPusher(t *testing.T) {
	g := newGround(t, git.Limits{Idle: 300 * time.Millisecond}, nil)
	c, err := g.dial(t, "git", ssh.PublicKeys(g.ada.signer))
	check(t, err)
	s, err := c.NewSession()
	check(t, err)
	in, err := s.StdinPipe()
	check(t, err)
	var out bytes.Buffer
	s.Stderr = &out
	check(t, s.Start("git-receive-pack 'my-app'"))
	zero, one := strings.Repeat("0", 40), strings.Repeat("1", 40)
	line := zero + " " + one + " refs/heads/main\x00report-status\n"
	_, err = io.WriteString(in, pkt(line)+"0000PACK\x00\x00\x00\x02\x00\x00\x00\x05")
	check(t, err)
	var exit *ssh.ExitError
	if err := s.Wait(); !errors.As(err, &exit) || exit.ExitStatus() != 1 {
		t.Errorf("Wait = %v", err)
	}
	contains(t, out.String(), "no data came for 300ms")
	waittest.Eventually(t, "the quarantine is gone", func() bool {
		left, _ := filepath.Glob(filepath.Join(g.Intake.Repo("my-app").Dir, "objects", "tmp_*"))
		return len(left) == 0
	})
}

func pkt(s string) string {
	const digits = "0123456789abcdef"
	n := len(s) + 4
	return string([]byte{digits[n>>12&15], digits[n>>8&15], digits[n>>4&15], digits[n&15]}) + s
}
