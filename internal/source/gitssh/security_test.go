package gitssh_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"landward/internal/landward"
	"landward/internal/source"
	"landward/internal/source/git"
	"landward/internal/source/gitssh"
	"landward/internal/waittest"
)

// run runs a command over a new session and returns what it says and its exit
// status.
func run(t testing.TB, c *ssh.Client, command string, env ...string) (string, int) {
	t.Helper()
	s, err := c.NewSession()
	check(t, err)
	defer func() { _ = s.Close() }()
	for _, kv := range env {
		name, value, _ := strings.Cut(kv, "=")
		_ = s.Setenv(name, value) // refused ones fail, as they should
	}
	out, err := s.CombinedOutput(command)
	var exit *ssh.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%q: %v", command, err)
	}
	if exit != nil {
		return string(out), exit.ExitStatus()
	}
	return string(out), 0
}

// pretender offers another's public key but signs with its own.
type pretender struct {
	ssh.Signer
	offers ssh.PublicKey
}

func (p pretender) PublicKey() ssh.PublicKey { return p.offers }

// Who somebody is, the key says that signed, not one that was shown before.
func TestIdentityIsTheSigner(t *testing.T) {
	var asked []string
	g := newGround(t, git.Limits{}, func(o *gitssh.Options) {
		next := o.Authenticate
		o.Authenticate = func(ctx context.Context, fingerprint string, key []byte) (landward.Actor, error) {
			actor, err := next(ctx, fingerprint, key)
			asked = append(asked, actor.Name)
			return actor, err
		}
	})
	// The real client asks whether admin's public key would do, hears that it
	// would, has no private key for it, and signs with ada's.
	shown := g.admin
	shown.file = filepath.Join(t.TempDir(), "admin.pub")
	check(t, os.WriteFile(shown.file, ssh.MarshalAuthorizedKey(g.admin.signer.PublicKey()), 0o600))
	g.work(t, shown, "-i", g.ada.file).Must("push", "-q", g.url("my-app"), "main")
	if !slices.Equal(asked, []string{"admin", "ada"}) {
		t.Errorf("keys shown: %v", asked)
	}
	if opened := g.Intake.Opened(); !slices.Equal(opened, []string{"ada my-app true"}) {
		t.Errorf("opened %v", opened)
	}
	// And a client that puts its own signature under admin's key.
	if _, err := g.dial(t, "git", ssh.PublicKeys(pretender{g.ada.signer, g.admin.signer.PublicKey()})); err == nil {
		t.Error("signed in with a signature of another key")
	}
}

func TestWaysIn(t *testing.T) {
	g := newGround(t, git.Limits{}, nil)
	stranger := newPerson(t, "stranger")
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	check(t, err)
	weakSigner, err := ssh.NewSignerFromKey(weak)
	check(t, err)
	cert := &ssh.Certificate{Key: g.ada.signer.PublicKey(), CertType: ssh.UserCert, ValidPrincipals: []string{"git"}, ValidBefore: ssh.CertTimeInfinity}
	check(t, cert.SignCert(rand.Reader, stranger.signer))
	certSigner, err := ssh.NewCertSigner(cert, g.ada.signer)
	check(t, err)
	question := func(string, string, []string, []bool) ([]string, error) { return nil, nil }
	for name, tt := range map[string]struct {
		user string
		auth []ssh.AuthMethod
	}{
		"unknown key":  {"git", []ssh.AuthMethod{ssh.PublicKeys(stranger.signer)}},
		"nothing":      {"git", nil},
		"password":     {"git", []ssh.AuthMethod{ssh.Password("x")}},
		"interactive":  {"git", []ssh.AuthMethod{ssh.KeyboardInteractive(question)}},
		"another user": {"root", []ssh.AuthMethod{ssh.PublicKeys(g.ada.signer)}},
		"short RSA":    {"git", []ssh.AuthMethod{ssh.PublicKeys(weakSigner)}},
		"certificate":  {"git", []ssh.AuthMethod{ssh.PublicKeys(certSigner)}},
	} {
		if _, err := g.dial(t, tt.user, tt.auth...); err == nil {
			t.Errorf("%s: got in", name)
		}
	}
	w := g.work(t, g.ada)
	out, err := w.Run("push", strings.Replace(g.url("my-app"), "git@", "ada@", 1), "main")
	if err == nil {
		t.Error("pushed as another user")
	}
	contains(t, out, "the user name is always git")
}

func TestOldAlgorithmsRefused(t *testing.T) {
	g := newGround(t, git.Limits{}, nil)
	for name, c := range map[string]ssh.Config{
		"key exchange": {KeyExchanges: []string{ssh.InsecureKeyExchangeDH14SHA1}},
		"cipher":       {Ciphers: []string{ssh.InsecureCipherAES128CBC}},
		"mac":          {Ciphers: []string{ssh.CipherAES128CTR}, MACs: []string{ssh.HMACSHA1}},
	} {
		_, err := ssh.Dial("tcp", g.addr, &ssh.ClientConfig{
			Config: c, User: "git", Auth: []ssh.AuthMethod{ssh.PublicKeys(g.ada.signer)}, HostKeyCallback: ssh.InsecureIgnoreHostKey(),
		})
		if err == nil || !strings.Contains(err.Error(), "no common algorithm") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNoShellNoForwarding(t *testing.T) {
	g := newGround(t, git.Limits{}, nil)
	c, err := g.dial(t, "git", ssh.PublicKeys(g.ada.signer))
	check(t, err)
	if _, err := c.Dial("tcp", "127.0.0.1:22"); err == nil {
		t.Error("a connection was forwarded")
	}
	if l, err := c.Listen("tcp", "127.0.0.1:0"); err == nil {
		_ = l.Close()
		t.Error("a port was forwarded")
	}
	s, err := c.NewSession()
	check(t, err)
	if err := s.RequestPty("xterm", 24, 80, nil); err == nil {
		t.Error("got a terminal")
	}
	for _, request := range []string{"auth-agent-req@openssh.com", "x11-req", "subsystem"} {
		if ok, err := s.SendRequest(request, true, ssh.Marshal(struct{ Name string }{"sftp"})); ok || err != nil {
			t.Errorf("%s: %t, %v", request, ok, err)
		}
	}
	var out bytes.Buffer
	s.Stderr = &out
	check(t, s.Shell())
	if err := s.Wait(); err == nil {
		t.Error("the shell ended well")
	}
	contains(t, out.String(), "Hello ada: your key works", "There is no shell here")
}

// What is refused, is refused before anything is looked up or started.
func TestOtherCommands(t *testing.T) {
	g := newGround(t, git.Limits{}, nil)
	c, err := g.dial(t, "git", ssh.PublicKeys(g.ada.signer))
	check(t, err)
	canary := filepath.Join(t.TempDir(), "canary")
	for _, line := range []string{
		"", "ls", "sh", "scp -t /", "git-upload-archive 'my-app'", "git receive-pack 'my-app'", "GIT-RECEIVE-PACK 'my-app'",
		"git-receive-pack", "git-receive-pack ", "git-receive-pack ''", "git-receive-pack my-app other", "git-receive-pack 'my-app' 'other'",
		"git-receive-pack  'my-app'", "git-receive-pack 'my-app' ", "git-receive-pack\t'my-app'", "git-receive-pack 'my-app'\n", "git-receive-pack 'my-app", `git-receive-pack "my-app"`,
		"git-receive-pack '../my-app'", "git-receive-pack 'a/../b'", "git-receive-pack '/etc/passwd'", "git-receive-pack '//my-app'", "git-receive-pack 'my-app/'",
		"git-receive-pack '.git'", "git-receive-pack 'my-app.git.git'", "git-receive-pack 'MY-APP'", "git-receive-pack '~ada/x'",
		"git-receive-pack '-oProxyCommand=touch " + canary + "'", "git-receive-pack '--upload-pack=touch " + canary + "'",
		"git-receive-pack 'x;touch " + canary + "'", "git-receive-pack '$(touch " + canary + ")'", "git-receive-pack '`touch " + canary + "`'",
		"git-receive-pack 'a'\\''b'", "git-receive-pack 'a\x00b'", "git-receive-pack 'a\nb'", "git-upload-pack --strict 'my-app'",
		"git-upload-pack 'my-app' | touch " + canary, "git-receive-pack '" + strings.Repeat("a", 10000) + "'", "git-receive-pack '\u202emy-app'",
	} {
		out, code := run(t, c, line)
		if code == 0 || !strings.HasPrefix(out, " !     ") {
			t.Errorf("%.60q: exit %d, %.100q", line, code, out)
		}
		if strings.ContainsAny(out, "\x00\x1b\u202e") || len(out) > 1000 {
			t.Errorf("%.60q: answer %.200q", line, out)
		}
	}
	if opened := g.Intake.Opened(); len(opened) != 0 {
		t.Errorf("opened %v", opened)
	}
	if starts := g.Starts(t); len(starts) != 0 {
		t.Errorf("started %v", starts)
	}
	if _, err := os.Stat(canary); err == nil {
		t.Error("a shell was at work")
	}
}

// No variable of a client reaches git but a well-formed GIT_PROTOCOL; no
// variable of ours either.
func TestEnvironment(t *testing.T) {
	t.Setenv("LANDWARD_SECRET_SENTINEL", "leak")
	t.Setenv("GIT_SSH_COMMAND", "leak")
	g := newGround(t, git.Limits{}, nil)
	g.work(t, g.ada).Must("push", "-q", g.url("my-app"), "main")
	c, err := g.dial(t, "git", ssh.PublicKeys(g.ada.signer))
	check(t, err)
	env := []string{"GIT_PROTOCOL=version=2:--exec=x", "LD_PRELOAD=/tmp/leak.so", "GIT_SSH_COMMAND=leak", "GIT_CONFIG_GLOBAL=/tmp/leak", "GIT_EXEC_PATH=/leak",
		"GIT_CONFIG_COUNT=99", "PATH=/leak", "HOME=/leak", "GIT_DIR=/leak", "LANDWARD_PUSH_ID=leak", "BASH_ENV=leak", "--split-string=leak"}
	for i := range 50 {
		env = append(env, fmt.Sprintf("LEAK_%d=leak", i))
	}
	before := len(g.Starts(t))
	run(t, c, "git-upload-pack 'my-app'", env...)
	run(t, c, "git-receive-pack 'my-app'", env...)
	starts := g.Starts(t)[before:]
	if len(starts) != 2 {
		t.Fatalf("%d starts", len(starts))
	}
	allowed := []string{"PATH", "HOME", "LANG", "LC_ALL", "GIT_CONFIG_NOSYSTEM", "GIT_CONFIG_GLOBAL", "GIT_ATTR_NOSYSTEM",
		"GIT_NO_REPLACE_OBJECTS", "GIT_TERMINAL_PROMPT", "GIT_CONFIG_COUNT", git.HookSocketVar, git.HookPushVar}
	for _, s := range starts {
		for _, kv := range s.Env {
			name, value, _ := strings.Cut(kv, "=")
			known := slices.Contains(allowed, name) || strings.HasPrefix(name, "GIT_CONFIG_KEY_") || strings.HasPrefix(name, "GIT_CONFIG_VALUE_")
			if !known || strings.Contains(value, "leak") {
				t.Errorf("git %s got %s", s.Argv[0], kv)
			}
		}
	}
	dir := g.Intake.Repo("my-app").Dir
	if got := starts[0].Argv; !slices.Equal(got, []string{"upload-pack", "--strict", "--timeout=60", dir}) {
		t.Errorf("argv %q", got)
	}
	if got := starts[1].Argv; !slices.Equal(got, []string{"receive-pack", dir}) {
		t.Errorf("argv %q", got)
	}
}

// Connections that say nothing do not keep a push out, are closed in time and
// leave nothing.
func TestSilentConnections(t *testing.T) {
	g := newGround(t, git.Limits{}, func(o *gitssh.Options) {
		o.HandshakeTimeout = 3 * time.Second
		o.Strangers, o.StrangersPerIP = 100, 50
	})
	w := g.work(t, g.ada)
	w.Must("push", "-q", g.url("my-app"), "main")
	before := runtime.NumGoroutine()
	var silent []net.Conn
	for range 1000 {
		c, err := net.Dial("tcp", g.addr)
		check(t, err)
		silent = append(silent, c)
	}
	w.Commit("a", "a")
	w.Must("push", "-q", g.url("my-app"), "main")
	for _, c := range silent {
		check(t, c.SetReadDeadline(time.Now().Add(20*time.Second)))
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("a silent connection stays open")
		}
		_ = c.Close()
	}
	waittest.Eventually(t, "goroutines are back", func() bool { return runtime.NumGoroutine() <= before+5 })
}

// Somebody who signs in and then does nothing is closed as well.
func TestIdleAfterSignIn(t *testing.T) {
	g := newGround(t, git.Limits{}, func(o *gitssh.Options) {
		o.IdleTimeout = 100 * time.Millisecond
		o.HandshakeTimeout = 2 * time.Second
		o.ConnectionsPerIP = 2
	})
	one, err := g.dial(t, "git", ssh.PublicKeys(g.ada.signer))
	check(t, err)
	if err := one.Wait(); err == nil {
		t.Error("Wait = nil")
	}
	// A session that never says what to run.
	two, err := g.dial(t, "git", ssh.PublicKeys(g.ada.signer))
	check(t, err)
	_, err = two.NewSession()
	check(t, err)
	if err := two.Wait(); err == nil {
		t.Error("Wait = nil")
	}
}

func TestConnectionsPerIP(t *testing.T) {
	g := newGround(t, git.Limits{}, func(o *gitssh.Options) { o.ConnectionsPerIP = 2 })
	var open []*ssh.Client
	for range 2 {
		c, err := g.dial(t, "git", ssh.PublicKeys(g.ada.signer))
		check(t, err)
		run(t, c, "hello") // it is in for good
		open = append(open, c)
	}
	if c, err := g.dial(t, "git", ssh.PublicKeys(g.ada.signer)); err == nil {
		if _, err := c.NewSession(); err == nil {
			t.Error("a third connection works")
		}
	}
	check(t, open[0].Close())
	waittest.Eventually(t, "there is room again", func() bool {
		c, err := g.dial(t, "git", ssh.PublicKeys(g.ada.signer))
		if err != nil {
			return false
		}
		defer func() { _ = c.Close() }()
		_, err = c.NewSession()
		return err == nil
	})
}

func TestRefusedByIntake(t *testing.T) {
	g := newGround(t, git.Limits{}, nil)
	g.Intake.MayOpen = func(_ landward.Actor, app string, _ bool) error {
		return landward.Errorf(landward.CodeNotFound, "there is no app %q", app).WithHint("see `landward apps`")
	}
	w := g.work(t, g.ada)
	out, err := w.Run("push", g.url("other"), "main")
	if err == nil {
		t.Error("accepted")
	}
	contains(t, out, ` !     there is no app "other"`, " !     see `landward apps`")
	if starts := g.Starts(t); len(starts) != 0 {
		t.Errorf("git was started: %v", starts)
	}
}

// Run ends in time though a pusher is still there, and waits for one who ends.
func TestShutdown(t *testing.T) {
	g := newGround(t, git.Limits{}, func(o *gitssh.Options) { o.ShutdownTimeout = 10 * time.Second })
	asked, release := make(chan struct{}), make(chan struct{})
	g.Intake.OnPush = func(context.Context, source.Push, io.Writer) error {
		close(asked)
		<-release
		return nil
	}
	idle, err := g.dial(t, "git", ssh.PublicKeys(g.ada.signer))
	check(t, err)
	w := g.work(t, g.ada)
	cmd := w.Cmd("push", "-q", g.url("my-app"), "main")
	check(t, cmd.Start())
	<-asked
	stopped := make(chan struct{})
	go func() {
		g.stopSSH()
		close(stopped)
	}()
	if err := idle.Wait(); err == nil {
		t.Error("Wait = nil")
	}
	if _, err := net.DialTimeout("tcp", g.addr, time.Second); err == nil {
		t.Error("still listening")
	}
	close(release)
	if err := cmd.Wait(); err != nil {
		t.Errorf("the push that ran: %v", err)
	}
	<-stopped
}

func TestHostKey(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "keys", "host")
	listen := func() (string, error) {
		s := gitssh.New(gitssh.Options{Addr: "127.0.0.1:0", HostKeyFile: file})
		if err := s.Listen(); err != nil {
			return "", err
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		return s.HostKey(), s.Run(ctx)
	}
	first, err := listen()
	check(t, err)
	info, err := os.Stat(file)
	check(t, err)
	if info.Mode().Perm() != 0o400 {
		t.Errorf("mode %v", info.Mode())
	}
	if again, err := listen(); err != nil || again != first {
		t.Errorf("another key after a restart: %v", err)
	}
	check(t, os.Chmod(file, 0o644))
	if _, err := listen(); landward.CodeOf(err) != landward.CodeInvalid {
		t.Errorf("a key that others can read: %v", err)
	}
	check(t, os.Chmod(file, 0o600))
	check(t, os.WriteFile(file, nil, 0o600))
	if _, err := listen(); landward.CodeOf(err) != landward.CodeInvalid {
		t.Errorf("an empty key: %v", err)
	}
}

// CI clones without history and pushes from there.
func TestShallowPush(t *testing.T) {
	g := newGround(t, git.Limits{}, nil)
	var title string
	g.Intake.OnPush = func(ctx context.Context, p source.Push, _ io.Writer) error {
		c, err := g.Git.CommitInfo(ctx, p.Repo, p.Env, p.Refs[0].New)
		if err != nil {
			return err
		}
		title = c.Title
		tree, err := g.Git.Tree(ctx, p.Repo, p.Env, c.Hash)
		if err != nil {
			return err
		}
		defer func() { _ = tree.Close() }()
		_, err = io.Copy(io.Discard, tree)
		return err
	}
	w := g.work(t, g.ada)
	w.Commit("a", "a")
	w.Commit("b", "b")
	shallow := filepath.Join(t.TempDir(), "shallow")
	w.Must("clone", "-q", "--depth=1", "file://"+w.Dir, shallow)
	w.At(shallow).Must("push", "-q", g.url("my-app"), "main")
	if title != "Change b" {
		t.Errorf("title %q", title)
	}
	// The whole history goes after it.
	w.Commit("c", "c")
	w.Must("push", "-q", g.url("my-app"), "main")
	dir := filepath.Join(t.TempDir(), "clone")
	w.Must("clone", "-q", g.url("my-app"), dir)
}

func FuzzParseCommand(f *testing.F) {
	for _, line := range []string{"git-receive-pack 'my-app'", "git-upload-pack '/my-app.git'", "git-upload-pack my-app", "git-receive-pack '../x'", "ls -la", "git-receive-pack 'a'\\''b'"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		service, app, err := gitssh.ParseCommand(line)
		if err != nil {
			return
		}
		if landward.CheckAppName(app) != nil || service != "git-receive-pack" && service != "git-upload-pack" {
			t.Errorf("%q: %q %q", line, service, app)
		}
		// Nothing else was in the line.
		if rest := strings.NewReplacer(service, "", app, "", "'", "", "/", "", ".git", "", " ", "").Replace(line); rest != "" {
			t.Errorf("%q: %q was ignored", line, rest)
		}
	})
}

// BenchmarkPush is a push of a one-file change until the hook is asked, and
// until the client ends.
func BenchmarkPush(b *testing.B) {
	g := newGround(b, git.Limits{}, nil)
	var started time.Time
	var asked time.Duration
	g.Intake.OnPush = func(context.Context, source.Push, io.Writer) error {
		asked += time.Since(started)
		return nil
	}
	w := g.work(b, g.ada)
	w.Must("push", "-q", g.url("my-app"), "main")
	asked = 0
	n := 0
	for b.Loop() {
		b.StopTimer()
		n++
		w.Commit("a", fmt.Sprint(n))
		b.StartTimer()
		started = time.Now()
		w.Must("push", "-q", g.url("my-app"), "main")
	}
	b.ReportMetric(float64(asked.Milliseconds())/float64(n), "ms-until-asked/op")
}

// The rule that keeps shells out: one place starts programs, and it names git.
func TestOnePlaceStartsPrograms(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "grep", "-rln", "--include=*.go", `exec\.Command`, "..").Output()
	check(t, err)
	for file := range strings.Lines(string(out)) {
		file = strings.TrimSpace(file)
		if !strings.HasSuffix(file, "_test.go") && !strings.Contains(file, "gittest") && file != "../git/git.go" {
			t.Errorf("%s starts a program", file)
		}
	}
}
